//! `--json`: one [`Event`] per line on stdout, and a last `error` line when the command failed.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::Error;
use crate::progress::{Event, Progress};

/// A program needs no more progress lines of one task than this.
const EVERY: Duration = Duration::from_millis(200);

/// Writes events as JSON lines.
pub struct Json {
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    last: HashMap<String, Instant>,
}

impl Json {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Json { state: Mutex::new(State { out, last: HashMap::new() }) }
    }

    /// The failure as the last line.
    pub fn fail(&self, error: &Error) {
        let line = json!({
            "event": "error",
            "chain": error.chain().collect::<Vec<_>>(),
            "hint": error.hint_text(),
            "text": error.to_string(),
            "status": error.exit().code(),
        });
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(&line.to_string());
    }
}

impl State {
    fn write(&mut self, line: &str) {
        // The reader may have gone; the work goes on.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    fn due(&mut self, task: &str, last: bool, now: Instant) -> bool {
        match self.last.get(task) {
            Some(then) if !last && now.duration_since(*then) < EVERY => false,
            _ => {
                self.last.insert(task.to_string(), now);
                true
            }
        }
    }
}

impl Progress for Json {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Event::Progress { task, done, total, .. } = event
            && !state.due(task, Some(*done) == *total, Instant::now())
        {
            return;
        }
        if let Ok(line) = serde_json::to_string(event) {
            state.write(&line);
        }
    }
}
