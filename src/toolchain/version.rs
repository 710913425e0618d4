//! Versions of tools: numbers separated by dots, compared number by number.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::{Error, Result};

/// A tool's version: `12.2.0`. Missing parts count as zero, so `5.1` equals `5.1.0`.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(transparent)]
pub struct Version(#[schemars(with = "String")] Vec<u32>);

impl Version {
    /// The last dotted number outside parentheses: `aarch64-linux-gnu-gcc (Debian 12.2.0-14) 12.2.0`;
    /// in text without one, the first number.
    pub fn find(text: &str) -> Option<Version> {
        let mut depth = 0_i32;
        let outside: String = text
            .chars()
            .map(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                if depth > 0 { ' ' } else { c }
            })
            .collect();
        let words =
            || outside.split_whitespace().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        words().find(|word| word.contains('.')).or_else(|| words().next()).and_then(|word| {
            let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
            word[..end].trim_end_matches('.').parse().ok()
        })
    }

    fn part(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.split('.')
            .map(|part| part.parse().map_err(|_| Error::usage(format!("`{text}` is not a version"))))
            .collect::<Result<Vec<u32>>>()
            .map(Version)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let parts = self.0.len().max(other.0.len());
        (0..parts).map(|i| self.part(i)).cmp((0..parts).map(|i| other.part(i)))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is not a version: numbers with dots are expected"))
        })
    }
}
