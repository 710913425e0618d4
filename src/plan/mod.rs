//! The plan: what a build will do and why. No I/O: it is made from facts handed to it.
//!
//! `bimg plan` prints it; `bimg build` carries it out. A stage with no reasons has nothing to do.

pub mod stamp;

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::units::ByteSize;

/// A stage and why it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StagePlan {
    /// Stage name.
    pub stage: &'static str,
    /// Why it runs; empty when it is up to date.
    pub reasons: Vec<String>,
    /// The commands it will run, as one would type them.
    pub commands: Vec<String>,
}

/// A row of the disk: a partition, a blob, the table itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskRow {
    /// Name.
    pub name: String,
    /// Offset from the start of the disk; unknown while the content before it is.
    pub offset: Option<ByteSize>,
    /// Size; unknown while its content is.
    pub size: Option<ByteSize>,
    /// Type, as the profile says it.
    pub kind: String,
    /// What fills it.
    pub fill: String,
}

/// Everything a build will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Board name.
    pub board: String,
    /// One line about it.
    pub description: String,
    /// Kind of partition table and alignment.
    pub table: String,
    /// The stages, in order.
    pub stages: Vec<StagePlan>,
    /// The disk, by offset.
    pub disk: Vec<DiskRow>,
    /// Tools needed on this host.
    pub tools: Vec<String>,
    /// Where the image will be.
    pub image: String,
}

impl Plan {
    /// One JSON object, on one line.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map(|text| text + "\n")
            .map_err(|cause| Error::new("cannot print the plan").caused_by(cause))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.board, self.description)?;
        writeln!(f, "\nstages")?;
        for stage in &self.stages {
            let why = match stage.reasons.as_slice() {
                [] => "up to date".to_string(),
                [one] => one.clone(),
                [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
            };
            writeln!(f, "  {:<8} {why}", stage.stage)?;
            for reason in stage.reasons.iter().skip(1) {
                writeln!(f, "  {:<8} - {reason}", "")?;
            }
        }
        writeln!(f, "\ndisk ({})", self.table)?;
        let size = |size: Option<ByteSize>| size.map_or("by content".to_string(), |size| size.to_string());
        let offset = |at: Option<ByteSize>| at.map_or("next".to_string(), |at| at.0.to_string());
        writeln!(f, "  {:>12} {:>12}  {:<12} {:<18} content", "offset", "size", "name", "type")?;
        for row in &self.disk {
            let (at, size) = (offset(row.offset), size(row.size));
            writeln!(f, "  {at:>12} {size:>12}  {:<12} {:<18} {}", row.name, row.kind, row.fill)?;
        }
        let commands: Vec<&String> = self.stages.iter().flat_map(|stage| &stage.commands).collect();
        if !commands.is_empty() {
            writeln!(f, "\ncommands")?;
            for command in commands {
                writeln!(f, "  {command}")?;
            }
        }
        writeln!(f, "\ntools: {}", self.tools.join(", "))?;
        writeln!(f, "image: {}", self.image)
    }
}
