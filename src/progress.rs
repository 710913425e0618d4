//! How the library tells what it is doing: events to a listener. It never draws.
//!
//! `ui` listens on a terminal, as plain lines, or as JSON lines (`--json`, one [`Event`] a line).

use serde::Serialize;

/// What a progress count counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes moved.
    Bytes,
    /// Objects compiled, files unpacked, packages fetched.
    Items,
}

/// Something a person or a program may want to know while it happens.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// A stage begins, and why it has to run.
    StageStarted {
        /// Stage name.
        stage: &'a str,
        /// Why it runs, e.g. `fragment boards/common/lean.config changed`.
        reason: &'a str,
    },
    /// A stage has ended well.
    StageFinished {
        /// Stage name.
        stage: &'a str,
        /// Seconds it took.
        seconds: f64,
        /// True when there was nothing to do.
        fresh: bool,
    },
    /// A task inside the stage moved on.
    Progress {
        /// What is counted, e.g. `linux-source-6.12`, `compiling`.
        task: &'a str,
        /// Done so far.
        done: u64,
        /// Total, when known; for compilations an estimate.
        total: Option<u64>,
        /// What `done` and `total` count.
        unit: Unit,
    },
    /// A line that a tool printed (shown with `-v`).
    Output {
        /// The line without its end.
        line: &'a str,
    },
    /// Something worth a plain line.
    Note {
        /// The text, one line.
        text: &'a str,
    },
    /// Something that should not pass unread.
    Warning {
        /// The text, one line.
        text: &'a str,
    },
}

/// Receives events; must be cheap and callable from any thread.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);

    /// Shorthand for [`Event::Note`].
    fn note(&self, text: &str) {
        self.event(&Event::Note { text });
    }

    /// Shorthand for [`Event::Warning`].
    fn warn(&self, text: &str) {
        self.event(&Event::Warning { text });
    }

    /// Shorthand for [`Event::Progress`].
    fn count(&self, task: &str, done: u64, total: Option<u64>, unit: Unit) {
        self.event(&Event::Progress { task, done, total, unit });
    }
}

/// Hears nothing: for tests and library use.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
