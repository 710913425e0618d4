use super::*;

const PLAIN: Paint = Paint(false);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn durations_have_two_figures_that_matter() {
    let shown = |ms| duration(Duration::from_millis(ms));
    assert_eq!(shown(0), "0.0s");
    assert_eq!(shown(449), "0.4s");
    assert_eq!(shown(9_949), "9.9s");
    assert_eq!(shown(9_950), "10s");
    assert_eq!(shown(59_499), "59s");
    assert_eq!(shown(59_600), "1m00s");
    assert_eq!(shown(372_000), "6m12s");
    assert_eq!(shown(3_725_000), "1h02m");
}

#[test]
fn finished_stage() {
    assert_eq!(
        stage(Mark::Done, "kernel", secs(372), "fragment boards/common/lean.config changed", 80, PLAIN),
        "✓ kernel   6m12s  fragment boards/common/lean.config changed"
    );
    assert_eq!(
        stage(Mark::Fresh, "rootfs", Duration::from_millis(12), "", 80, PLAIN),
        "✓ rootfs    0.0s  up to date"
    );
    assert_eq!(stage(Mark::Failed, "image", secs(2), "", 80, PLAIN), "✗ image     2.0s");
}

#[test]
fn a_long_reason_wraps_under_itself_and_loses_nothing() {
    let reason =
        "the kernel's release changed from 6.12.30-bimg to 6.12.41-bimg, and so did 3 modules of the board";
    assert_eq!(
        stage(Mark::Done, "rootfs", secs(12), reason, 80, PLAIN),
        "✓ rootfs     12s  the kernel's release changed from 6.12.30-bimg to\n                  \
         6.12.41-bimg, and so did 3 modules of the board"
    );
    let path = "/a/very/long/path/that/has/no/space/in/it/and/does/not/fit/the/room/that/is/left.config";
    assert!(stage(Mark::Done, "kernel", secs(1), path, 40, PLAIN).ends_with(path));
}

#[test]
fn a_live_line_never_exceeds_the_terminal() {
    let reason = "fragment boards/common/a-rather-long-name-of-a-fragment-file.config changed since";
    for width in [40, 60, 80, 120] {
        let line = stage(Mark::Running('⠋'), "kernel", secs(3), reason, width, PLAIN);
        assert!(line.chars().count() <= width, "{line}");
        for unit in [Unit::Bytes, Unit::Items] {
            for total in [None, Some(0), Some(153_000_000), Some(9)] {
                let count =
                    Count { done: 61_500_000, total, unit, rate: 12_345_678.0, left: Some(secs(3_000)) };
                let line = task("linux-source-6.12-with-a-long-name", &count, width, PLAIN);
                assert!(line.chars().count() <= width.max(64), "{width}: {line}");
            }
        }
    }
    assert_eq!(
        stage(Mark::Running('⠋'), "kernel", secs(3), reason, 60, PLAIN),
        "⠋ kernel      3s  fragment boards/common/a-rather-long-name…"
    );
}

#[test]
fn task_lines_at_80_columns() {
    let count = Count {
        done: 64_487_424,
        total: Some(160_000_000),
        unit: Unit::Bytes,
        rate: 12_900_000.0,
        left: Some(secs(7)),
    };
    assert_eq!(
        task("linux-source-6.12", &count, 80, PLAIN),
        "  linux-source-6.12     ━━━━━━━───────────  61.5 MiB of 152.6 MiB (40%)  7s left"
    );
    assert_eq!(
        task("linux-source-6.12", &count, 100, PLAIN),
        "  linux-source-6.12     ━━━━━━━━━───────────────  61.5 MiB of 152.6 MiB (40%)  7s left  12.3 MiB/s"
    );
    let count = Count { done: 1234, total: Some(2900), unit: Unit::Items, rate: 11.0, left: Some(secs(190)) };
    assert_eq!(
        task("compiling", &count, 80, PLAIN),
        "  compiling             ━━━━━━━━━━──────────────  1234 of 2900 (42%)  3m10s left"
    );
    let count = Count { total: None, left: None, ..count };
    assert_eq!(task("unpacking", &count, 80, PLAIN), "  unpacking             1234");
}

#[test]
fn an_estimate_that_was_passed_stays_at_the_end() {
    let count = Count { done: 31, total: Some(30), unit: Unit::Items, rate: 1.0, left: None };
    assert_eq!(count.plain(), "31 of 31 (100%)");
}

#[test]
fn errors_in_colour_and_without() {
    let failure = Error::new("no board `rpi5`").caused_by("boards known: rpi4").hint("did you mean `rpi4`?");
    assert_eq!(
        error(&failure, PLAIN),
        "error: no board `rpi5`\n  caused by: boards known: rpi4\n\nhint: did you mean `rpi4`?"
    );
    assert_eq!(
        error(&failure, Paint(true)),
        "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m no board `rpi5`\n  caused by: boards known: rpi4\n\n\
         \u{1b}[1m\u{1b}[36mhint:\u{1b}[0m did you mean `rpi4`?"
    );
}

#[test]
fn a_tools_line_cannot_repaint_the_terminal() {
    assert_eq!(clean("\u{1b}[01;31m\u{1b}[Kerror:\u{1b}[m\u{1b}[K bad\u{7}\ttab\r\u{9b}"), "error: bad\ttab");
    assert_eq!(warning("a\u{1b}[2Jb", PLAIN), "warning: ab");
}
