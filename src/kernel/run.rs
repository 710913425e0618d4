//! Runs the tools of a kernel build: everything into the log, progress to the listener, and a failure
//! explained.

use std::path::Path;

use super::diagnose::{Lines, SOURCE_HINT, STORE_HINT, diagnose};
use crate::error::{Error, Exit, Result};
use crate::exec::Cmd;
use crate::progress::{Event, Progress};

/// Where output and progress go.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    /// The log of the stage.
    pub log: &'a Path,
    /// The listener.
    pub progress: &'a dyn Progress,
    /// Whether the source is a tree of the user's own.
    pub editable: bool,
}

impl Runner<'_> {
    /// Runs to the end; a failure tells its cause.
    pub fn run(&self, cmd: &Cmd) -> Result<()> {
        self.run_watched(cmd, &mut |_| {})
    }

    /// The same, showing every line to `watch`.
    pub fn run_watched(&self, cmd: &Cmd, watch: &mut dyn FnMut(&str)) -> Result<()> {
        let mut lines = Lines::default();
        let result = cmd.run_logged(self.log, &mut |line| {
            lines.push(line);
            watch(line);
            self.progress.event(&Event::Output { line });
        });
        result.map_err(|error| explained(error, &lines, self.editable))
    }
}

fn explained(error: Error, lines: &Lines, editable: bool) -> Error {
    if error.exit() == Exit::Interrupted || error.hint_text().is_some() {
        return error;
    }
    let diagnosis = diagnose(lines);
    let error = error.caused_by(diagnosis.cause);
    match diagnosis.hint {
        Some(hint) if hint == SOURCE_HINT && !editable => error.hint(STORE_HINT),
        Some(hint) => error.hint(hint),
        None => error,
    }
}
