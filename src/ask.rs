//! How the library asks a person: it hands over the words, and never draws.

use crate::error::Result;

/// Somebody who can be asked.
pub trait Ask {
    /// Asks, and waits for one line. `None`: nobody is there.
    fn ask(&self, question: &str) -> Result<Option<String>>;
}

/// Nobody: for scripts, tests and library use.
#[derive(Debug, Default, Clone, Copy)]
pub struct Nobody;

impl Ask for Nobody {
    fn ask(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }
}
