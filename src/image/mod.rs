//! A finished image, read back: what is on it, whether it is sound, how it differs from another.
//!
//! ```text
//! bytes (ReadAt) -> table: MBR, GPT     -> partitions
//!                -> fat, ext: geometry and the map of what is used; squashfs, erofs
//! partitions     -> probe: what each holds -> volume: its files
//! files          -> chain, kernel: what boots
//! all of it      -> inspect, verify, diff
//! ```
//!
//! Nothing here believes what it reads: images come from anywhere. Parsers are total (every input
//! gives a value or `None`), work in bounded memory, and end on any chain that loops.

pub mod chain;
pub mod diff;
pub mod erofs;
pub mod ext;
pub mod extract;
pub mod fat;
pub mod inodes;
pub mod inspect;
pub mod kernel;
pub mod open;
pub mod probe;
pub mod read;
pub mod squashfs;
pub mod table;
mod trail;
pub mod verify;
pub mod volume;

use std::fmt;

use serde::Serialize;

pub use open::{Image, Part};
pub use read::{Disk, ReadAt, Window};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but is not as it should be.
    Warning,
    /// Something will not work, or data is damaged.
    Error,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// One line, in the style of error messages.
    pub text: String,
}

impl Finding {
    /// Something that will not work.
    pub fn error(text: impl Into<String>) -> Self {
        Finding { severity: Severity::Error, text: text.into() }
    }

    /// Something odd.
    pub fn warning(text: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{label}: {}", self.text)
    }
}

/// Numbers that are the same in every run of a test.
#[cfg(test)]
struct Random(u64);

#[cfg(test)]
impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[cfg(test)]
mod tests;
