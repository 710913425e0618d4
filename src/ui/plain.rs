//! Lines for a log: a stage's start and end, and how far it is every ten seconds.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Exit;
use crate::progress::{Event, Progress};

use super::text::{self, Count, Paint};

/// How often a log wants to hear of progress.
const EVERY: Duration = Duration::from_secs(10);

/// Writes plain lines.
pub struct Plain {
    verbose: bool,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    stages: Vec<(String, Instant)>,
    spoke: Instant,
}

impl State {
    fn line(&mut self, line: &str) {
        // The log may have gone; the work goes on.
        let _ = writeln!(self.out, "{line}");
    }
}

impl Plain {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>, verbose: bool) -> Self {
        Plain { verbose, state: Mutex::new(State { out, stages: Vec::new(), spoke: Instant::now() }) }
    }

    /// Names the stages that were at work when the command failed.
    pub fn fail(&self, exit: Exit) {
        self.fail_at(exit, Instant::now());
    }

    fn fail_at(&self, exit: Exit, now: Instant) {
        let how = if exit == Exit::Interrupted { "interrupted" } else { "failed" };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, start) in std::mem::take(&mut state.stages) {
            let time = text::duration(now.duration_since(start));
            state.line(&format!("{stage}: {how} after {time}"));
        }
    }

    fn event_at(&self, event: &Event<'_>, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StageStarted { stage, reason } => {
                state.stages.push(((*stage).to_string(), now));
                state.spoke = now;
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                state.line(&format!("{stage}: started{reason}"));
            }
            Event::StageFinished { stage, seconds, fresh } => {
                state.stages.retain(|(name, _)| name != stage);
                state.spoke = now;
                let line = if *fresh {
                    format!("{stage}: up to date")
                } else {
                    let time = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
                    format!("{stage}: done in {}", text::duration(time))
                };
                state.line(&line);
            }
            Event::Progress { task, done, total, unit } => {
                if now.duration_since(state.spoke) < EVERY {
                    return;
                }
                state.spoke = now;
                let count = Count { done: *done, total: *total, unit: *unit, rate: 0.0, left: None };
                let stage = state.stages.last().map(|(stage, _)| format!("{stage}: ")).unwrap_or_default();
                state.line(&format!("{stage}{task} {}", count.plain()));
            }
            Event::Output { line } if self.verbose => state.line(&text::clean(line)),
            Event::Output { .. } => {}
            Event::Note { text } => state.line(&text::clean(text)),
            Event::Warning { text } => state.line(&text::warning(text, Paint(false))),
        }
    }
}

impl Progress for Plain {
    fn event(&self, event: &Event<'_>) {
        self.event_at(event, Instant::now());
    }
}

#[cfg(test)]
mod tests;
