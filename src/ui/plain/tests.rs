use super::*;
use crate::progress::Unit;
use crate::ui::tests::Captured;

#[test]
fn a_build_in_a_log() {
    let out = Captured::default();
    let plain = Plain::new(Box::new(out.clone()), false);
    let start = Instant::now();
    let at = |seconds: f64, event: Event<'_>| {
        plain.event_at(&event, start + Duration::from_secs_f64(seconds));
    };
    let compiling = |done| Event::Progress { task: "compiling", done, total: Some(2900), unit: Unit::Items };
    at(0.0, Event::StageStarted { stage: "source", reason: "" });
    at(0.1, Event::StageFinished { stage: "source", seconds: 0.1, fresh: true });
    at(0.1, Event::StageStarted { stage: "kernel", reason: "fragment boards/common/lean.config changed" });
    for second in 1..25_u32 {
        at(f64::from(second), compiling(second.into()));
        at(f64::from(second), Event::Output { line: "  CC  init/main.o" });
    }
    at(25.0, Event::Warning { text: "ccache is \u{1b}[31mnot\u{1b}[0m installed" });
    at(26.0, Event::StageFinished { stage: "kernel", seconds: 371.6, fresh: false });
    at(27.0, Event::StageStarted { stage: "image", reason: "kernel changed" });
    at(40.0, Event::Progress { task: "writing", done: 64 << 20, total: Some(256 << 20), unit: Unit::Bytes });
    plain.fail_at(Exit::Failure, start + Duration::from_secs(45));
    assert_eq!(
        out.text(),
        "source: started\n\
         source: up to date\n\
         kernel: started: fragment boards/common/lean.config changed\n\
         kernel: compiling 11 of 2900 (0%)\n\
         kernel: compiling 21 of 2900 (0%)\n\
         warning: ccache is not installed\n\
         kernel: done in 6m12s\n\
         image: started: kernel changed\n\
         image: writing 64 MiB of 256 MiB (25%)\n\
         image: failed after 18s\n"
    );
}

#[test]
fn verbose_shows_tools_without_their_colours() {
    let out = Captured::default();
    let plain = Plain::new(Box::new(out.clone()), true);
    plain.event(&Event::Output { line: "\u{1b}[01;35mwarning:\u{1b}[m unused" });
    assert_eq!(out.text(), "warning: unused\n");
    assert!(!out.text().contains('\u{1b}'));
}
