//! What a profile's `[deploy]` table may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How `bimg deploy` treats boards of this kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploySpec {
    /// Deployments that stay on the board; 3 by default, at least 2.
    pub keep: usize,
    /// Seconds that a trial boot has until it must be confirmed; 180 by default.
    pub timeout: u64,
    /// Shell commands that must succeed on the board before a new kernel is kept.
    pub checks: Vec<String>,
}

impl Default for DeploySpec {
    fn default() -> Self {
        DeploySpec { keep: 3, timeout: 180, checks: Vec::new() }
    }
}

impl DeploySpec {
    /// Values that would leave nothing to go back to, or no time to boot.
    pub fn check(&self) -> Result<()> {
        if self.keep < 2 {
            return Err(Error::usage(format!("`deploy.keep` is {}", self.keep))
                .caused_by("a board needs the running kernel and one to go back to")
                .hint("2 or more"));
        }
        if !(20..=3600).contains(&self.timeout) {
            return Err(Error::usage(format!("`deploy.timeout` is {} s", self.timeout))
                .hint("a trial boot takes from 20 s to an hour"));
        }
        Ok(())
    }
}
