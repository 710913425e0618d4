//! Is an image sound? Its table, its filesystems, and whether what it boots fits together.
//!
//! Every check is listed with its verdict, those that could not be done as well, so that nobody takes
//! silence for a pass. Filesystems are judged by bimg's own reading and, where it is installed, by the
//! filesystem's own checker.

mod boot;
pub mod fat;
mod fsck;

use std::io;

use serde::Serialize;

use super::chain;
use super::inspect::{self, Inspection, Volumes};
use super::volume::{self, Kind, Volume};
use super::{Finding, Image, Part, Severity};
use crate::error::Result;

/// Of a file at most so many times the size of its partition is read, of all files together 16 times as much; small
/// partitions count as having this size.
const EXPANDS: u64 = 4;
const LEAST: u64 = 4 << 20;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing wrong, or warnings only.
    Good,
    /// Something is wrong.
    Bad,
    /// Not done.
    Skipped,
}

impl Verdict {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Bad => "BAD",
            Verdict::Skipped => "not checked",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How it was done, or why not.
    pub note: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Check {
    /// From what was found.
    pub fn done(what: impl Into<String>, note: impl Into<String>, findings: Vec<Finding>) -> Self {
        let bad = findings.iter().any(|finding| finding.severity == Severity::Error);
        let verdict = if bad { Verdict::Bad } else { Verdict::Good };
        Check { what: what.into(), verdict, note: note.into(), findings }
    }

    /// Not done, and why.
    pub fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Check { what: what.into(), verdict: Verdict::Skipped, note: why.into(), findings: Vec::new() }
    }
}

/// Checks all that the image itself tells.
pub fn verify(image: &Image) -> Result<Vec<Check>> {
    let mut checks = vec![table(image)];
    let mut findings = Vec::new();
    let volumes = Volumes::open(image, &mut findings);
    for part in &image.parts {
        checks.push(filesystem(image, part, &volumes)?);
    }
    let found = inspect::inspect(image)?;
    checks.extend(boot::check(&volumes, &found)?);
    checks.push(boot::modules(&volumes, &found)?);
    Ok(checks)
}

fn table(image: &Image) -> Check {
    if image.table.kind == super::table::Kind::None {
        return Check::skipped("partition table", "the image has none");
    }
    Check::done("partition table", image.table.kind.name(), image.table.findings.clone())
}

/// A partition's filesystem: whether it fits, by reading all of its directories, and by its checker.
fn filesystem(image: &Image, part: &Part, volumes: &Volumes) -> Result<Check> {
    let Some(content) = part.content.as_ref().filter(|content| content.filesystem) else {
        return Ok(Check::skipped(part.describe(), "it holds no filesystem that is known"));
    };
    let what = format!("{}, {}", part.describe(), content.kind);
    let mut findings = Vec::new();
    let room = image.bytes(part).len();
    if let Some(size) = content.size.filter(|size| size.0 > room) {
        findings.push(Finding::error(format!("the filesystem has {} bytes, the partition {room}", size.0)));
        return Ok(Check::done(what, "its size", findings));
    }
    let (mut how, mut unread) = (Vec::new(), None);
    if let Some(volume) = volumes.of(part.number) {
        let (found, is_whole) = read_all(volume, room)?;
        how.push(if is_whole { "read" } else { "read but for what is many times larger than its partition" });
        findings.extend(found);
    } else if let Err(error) = image.volume(part) {
        if error.is_unsupported() {
            unread = Some(error.chain().last().unwrap_or_default().to_string());
        } else {
            findings.push(Finding::error(error.one_line()));
        }
    }
    if content.kind.starts_with("FAT") {
        findings.extend(fat::check(&image.bytes(part)));
    }
    let judged = fsck::check(&content.kind, &image.bytes(part))?;
    match judged {
        fsck::Judged::By(program, said) => {
            how.push(program);
            findings.extend(said);
        }
        fsck::Judged::Missing(program) => {
            let note = format!("{}; `{program}` is not installed", how.join(", "));
            return Ok(Check::done(what, note, findings));
        }
        fsck::Judged::Nobody if how.is_empty() && findings.is_empty() => {
            return Ok(Check::skipped(what, unread.unwrap_or_else(|| "bimg cannot read it".to_string())));
        }
        fsck::Judged::Nobody => {}
    }
    Ok(Check::done(what, how.join(", "), findings))
}

/// Reads every directory and file: what is out of place, and what does not unpack, shows as an error. Whether all of
/// them were read whole: files that are all holes, or one block many times, may have no end.
fn read_all(volume: &dyn Volume, room: u64) -> Result<(Vec<Finding>, bool)> {
    let mut findings = Vec::new();
    let most = room.max(LEAST).saturating_mul(EXPANDS);
    let (mut left, mut is_whole) = (most.saturating_mul(16), true);
    let walked = volume::walk(volume, "", &mut |path, entry| {
        let result = match entry.kind {
            Kind::File => {
                let mut own = most.min(left).max(1);
                left = left.saturating_sub(own);
                let read = read(volume, path, &mut own);
                left = left.saturating_add(own);
                read.map(|whole| is_whole &= whole)
            }
            Kind::Symlink => volume.target(path).map(drop),
            _ => Ok(()),
        };
        if let Err(error) = result
            && !error.is_unsupported()
        {
            findings.push(Finding::error(error.one_line()));
        }
        Ok(())
    });
    crate::interrupt::check()?;
    findings.extend(walked.err().map(|error| Finding::error(error.one_line())));
    Ok((findings, is_whole))
}

/// Reads a file, but for holes, as far as `left` bytes go; whether it was all of it.
fn read(volume: &dyn Volume, path: &str, left: &mut u64) -> Result<bool> {
    let failed = |cause: io::Error| volume::failed(path, &cause);
    let mut file = volume.open(path)?;
    let mut piece = vec![0; 1 << 16];
    while *left > 0 {
        crate::interrupt::check()?;
        let hole = file.zeros().map_err(failed)?;
        file.skip(hole);
        let n = if hole > 0 { 1 } else { file.read(&mut piece).map_err(failed)? as u64 };
        if n == 0 {
            return Ok(true);
        }
        *left = left.saturating_sub(n);
    }
    Ok(false)
}

/// What a chain is called in a check.
fn name_of(found: &Inspection, chain: &chain::Chain) -> String {
    let lone = found.partitions.iter().any(|part| part.number == 0);
    let place = if lone { String::new() } else { format!("{}:", chain.partition) };
    format!("boot: {}, {place}/{}", chain.loader.name(), chain.file)
}

#[cfg(test)]
mod tests;
