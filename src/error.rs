//! The one error type: what failed, why, where, and what to do about it.
//!
//! An [`Error`] is a short story for a person. The first line says what failed; each
//! `caused by:` says why; `-->`, `log:` say where; `hint:` says what to do. Lower modules
//! make the innermost line, callers add context on the way up:
//!
//! ```text
//! error: stage `kernel` failed for board `rpi4`
//!   caused by: `make ... dtbs` exited with status 2
//!   log: build/rpi4/log/kernel.log
//!
//! hint: boards/rpi4.toml:14:9 names a DTB that this kernel does not have
//! ```
//!
//! Messages carry no final full stop and put backticks round literals.

use std::fmt;
use std::path::PathBuf;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Exit status of the process, by kind of failure.
///
/// Documented in the README; scripts branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The operation failed (status 1).
    Failure,
    /// Wrong usage, or a mistake in a profile (status 2).
    Usage,
    /// A check or comparison was done and found something (status 3).
    Mismatch,
    /// A new kernel did not pass its trial, and the board runs the old one again (status 4).
    RolledBack,
    /// A board does not answer: not reached, or not back after a boot (status 5).
    Unreachable,
    /// Interrupted by Ctrl-C or SIGTERM (status 130).
    Interrupted,
}

impl Exit {
    /// The process exit status.
    pub fn code(self) -> u8 {
        match self {
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Mismatch => 3,
            Exit::RolledBack => 4,
            Exit::Unreachable => 5,
            Exit::Interrupted => 130,
        }
    }
}

/// A failure, told from the outermost message to the innermost cause.
pub struct Error(Box<Inner>);

struct Inner {
    /// Outermost first; never empty.
    chain: Vec<String>,
    /// A rendered source excerpt (annotate-snippets), shown below the chain.
    snippet: Option<String>,
    log: Option<PathBuf>,
    hint: Option<String>,
    exit: Exit,
    unsupported: bool,
}

impl Error {
    /// A failure of the operation.
    pub fn new(message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            chain: vec![message.into()],
            snippet: None,
            log: None,
            hint: None,
            exit: Exit::Failure,
            unsupported: false,
        }))
    }

    /// Marks it: nothing is known to be wrong with what was given, only bimg does not go that far.
    #[must_use]
    pub fn unsupported(mut self) -> Self {
        self.0.unsupported = true;
        self
    }

    /// Marked by [`Error::unsupported`].
    pub fn is_unsupported(&self) -> bool {
        self.0.unsupported
    }

    /// A mistake in usage or in a profile: exit status 2.
    pub fn usage(message: impl Into<String>) -> Self {
        let mut error = Self::new(message);
        error.0.exit = Exit::Usage;
        error
    }

    /// The same story as a mistake in usage or in a profile: exit status 2.
    #[must_use]
    pub fn into_usage(mut self) -> Self {
        self.0.exit = Exit::Usage;
        self
    }

    /// The same story with another exit status.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// A check or comparison that was done and found something: exit status 3.
    pub fn mismatch(message: impl Into<String>) -> Self {
        let mut error = Self::new(message);
        error.0.exit = Exit::Mismatch;
        error
    }

    /// Ctrl-C or SIGTERM: exit status 130.
    pub fn interrupted() -> Self {
        let mut error = Self::new("interrupted");
        error.0.exit = Exit::Interrupted;
        error
    }

    /// The same, saying what was going on.
    pub fn interrupted_in(what: impl fmt::Display) -> Self {
        let mut error = Self::new(format!("interrupted in {what}"));
        error.0.exit = Exit::Interrupted;
        error.hint("the same command goes on from there")
    }

    /// Wraps this error in a message about what was being done.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.0.chain.insert(0, message.into());
        self
    }

    /// Adds a cause below the innermost message.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.0.chain.push(cause.to_string());
        self
    }

    /// Adds where a profile says what this is about. An interruption is about nothing that it says.
    #[must_use]
    pub fn declared_at(self, origin: &str) -> Self {
        if self.exit() == Exit::Interrupted { self } else { self.caused_by(format!("declared at {origin}")) }
    }

    /// Adds which part of the whole failed. An interruption is no fault of the part that it came upon.
    #[must_use]
    pub fn in_part(self, message: impl Into<String>) -> Self {
        if self.exit() == Exit::Interrupted { self } else { self.context(message) }
    }

    /// What to do about it. The innermost hint wins: it knows most.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// What to do about it, known better out here than where it happened.
    #[must_use]
    pub fn better_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The log that holds the whole output.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.log.get_or_insert_with(|| crate::fsx::from_here(&path.into()));
        self
    }

    /// A rendered excerpt of the file that is wrong.
    #[must_use]
    pub fn snippet(mut self, snippet: impl Into<String>) -> Self {
        self.0.snippet = Some(snippet.into());
        self
    }

    /// How the process should exit.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The messages, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.0.chain.iter().map(String::as_str)
    }

    /// The whole story in one line: what failed, then each cause behind a colon.
    pub fn one_line(&self) -> String {
        self.chain().collect::<Vec<_>>().join(": ")
    }

    /// The log, if there is one.
    pub fn log_path(&self) -> Option<&std::path::Path> {
        self.0.log.as_deref()
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut lines = inner.chain.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        for cause in lines {
            write!(f, "\n  caused by: {}", cause.trim_end().replace('\n', "\n    "))?;
        }
        if let Some(snippet) = &inner.snippet {
            write!(f, "\n{}", snippet.trim_end())?;
        }
        if let Some(log) = &inner.log {
            write!(f, "\n  log: {}", log.display())?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Adds context to any result on its way up.
pub trait Context<T> {
    /// Wraps the error in a message about what was being done.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| error.context(message()))
    }
}

/// From 0 to 1. One slip in a short word (`gtp` for `gpt`) is much to Jaro and Winkler and little to a person.
fn likeness(typed: &str, name: &str) -> f64 {
    let slip = typed.len() > 2 && strsim::osa_distance(typed, name) == 1;
    strsim::jaro_winkler(typed, name).max(if slip { 0.9 } else { 0.0 })
}

/// The candidate nearest to what was typed, for "did you mean" hints.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|name| (likeness(typed, name), name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_chain_log_and_hint() {
        let error = Error::new("`make dtbs` exited with status 2")
            .caused_by("No rule to make target `a.dtb`")
            .log("build/log")
            .hint("fix it")
            .hint("an outer, vaguer hint")
            .context("stage `kernel` failed for board `rpi4`");
        assert_eq!(
            error.to_string(),
            "stage `kernel` failed for board `rpi4`\n  \
             caused by: `make dtbs` exited with status 2\n  \
             caused by: No rule to make target `a.dtb`\n  \
             log: build/log\n\nhint: fix it"
        );
    }

    #[test]
    fn nearest_finds_a_typo_and_nothing_for_noise() {
        assert_eq!(nearest("rpi5", ["rpi4", "qemu-arm64"]), Some("rpi4"));
        assert_eq!(nearest("gtp", ["mbr", "gpt"]), Some("gpt"));
        assert_eq!(nearest("zzz", ["rpi4", "qemu-arm64"]), None);
    }
}
