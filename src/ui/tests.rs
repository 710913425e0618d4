use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

/// A writer whose text can be read afterwards.
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn json_has_one_event_per_line_and_the_error_last() {
    let out = Captured::default();
    let json = json::Json::new(Box::new(out.clone()));
    json.event(&Event::StageStarted { stage: "kernel", reason: "never built" });
    for done in 0..=1000 {
        json.count("compiling", done, Some(1000), crate::progress::Unit::Items);
    }
    json.event(&Event::StageFinished { stage: "kernel", seconds: 1.5, fresh: false });
    json.warn("odd");
    json.fail(&Error::usage("bad").caused_by("worse").hint("better"));
    let text = out.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], r#"{"event":"stage-started","stage":"kernel","reason":"never built"}"#);
    assert_eq!(lines[1], r#"{"event":"progress","task":"compiling","done":0,"total":1000,"unit":"items"}"#);
    assert!(
        lines.contains(&r#"{"event":"progress","task":"compiling","done":1000,"total":1000,"unit":"items"}"#)
    );
    assert!(lines.len() < 50, "progress is throttled");
    assert_eq!(
        lines[lines.len() - 3..],
        [
            r#"{"event":"stage-finished","stage":"kernel","seconds":1.5,"fresh":false}"#,
            r#"{"event":"warning","text":"odd"}"#,
            r#"{"chain":["bad","worse"],"event":"error","hint":"better","status":2,"text":"bad\n  caused by: worse\n\nhint: better"}"#,
        ]
    );
}
