//! Is this machine ready: tools and their versions, headers, room on disk, memory.
//!
//! 1. The plan says what it needs: a list of [`Need`]s, disk and memory ([`Request`]).
//! 2. `probe` looks: [`Facts`]. This is the only part with I/O.
//! 3. [`evaluate`] compares, with the [`table`] of known tools: a [`Report`].
//! 4. `bimg doctor` shows the report; `bimg build` stops at [`require`] before its first write.
//!
//! The report ends with the one command that installs what is missing on this distribution.

mod host;
mod probe;
mod report;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::units::ByteSize;

pub use self::host::{Family, Host};
pub use self::probe::Prober;
pub use self::report::{Disk, Finding, Memory, Report, Status, require};
pub use crate::version::Version;

/// The packages that hold a tool, by distribution.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// On Debian and Ubuntu.
    #[serde(default)]
    pub debian: Vec<String>,
    /// On Fedora.
    #[serde(default)]
    pub fedora: Vec<String>,
    /// On Arch.
    #[serde(default)]
    pub arch: Vec<String>,
}

impl Packages {
    fn of(&self, family: Family) -> &[String] {
        match family {
            Family::Debian => &self.debian,
            Family::Fedora => &self.fedora,
            Family::Arch => &self.arch,
        }
    }
}

/// A tool that the plan is going to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// A program name or path, or a library of the [`table`] (`libelf`, `openssl`) for its headers.
    pub tool: String,
    /// Oldest version that will do; the table's when None.
    pub min: Option<Version>,
    /// What it is for: `cross-compiles the kernel`.
    pub why: String,
    /// Builds do without it.
    pub optional: bool,
    /// The packages that hold it; the table's when None.
    pub packages: Option<Packages>,
}

impl Need {
    /// A tool in its table's version.
    pub fn new(tool: impl Into<String>, why: impl Into<String>) -> Self {
        Need { tool: tool.into(), min: None, why: why.into(), optional: false, packages: None }
    }

    /// In this version or newer.
    #[must_use]
    pub fn at_least(mut self, min: Version) -> Self {
        self.min = Some(min);
        self
    }

    /// Builds do without it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Held by these packages.
    #[must_use]
    pub fn packages(mut self, packages: Packages) -> Self {
        self.packages = Some(packages);
        self
    }
}

/// What every kernel build needs: the [`table`]'s kernel rows.
pub fn kernel_needs() -> Vec<Need> {
    let kernel = |tool: &table::Tool| match tool.purpose {
        table::Purpose::Kernel(why) => Some(Need::new(tool.name, why)),
        table::Purpose::Some(_) => None,
    };
    table::TOOLS.iter().filter_map(kernel).collect()
}

/// What some kernel configurations need beside that: rows that kernel guides list for every build.
pub fn optional_kernel_needs() -> Vec<Need> {
    let names = ["libelf", "openssl", "cpio", "xz", "pahole"];
    let rows = table::TOOLS.iter().filter(|tool| names.contains(&tool.name));
    rows.filter_map(|tool| match tool.purpose {
        table::Purpose::Some(why) => Some(Need::new(tool.name, why).optional()),
        table::Purpose::Kernel(_) => None,
    })
    .collect()
}

/// Everything in the table, for a look at the machine without a board: only what every kernel build
/// needs counts as missing.
pub fn general_needs() -> Vec<Need> {
    let optional = |tool: &table::Tool| match tool.purpose {
        table::Purpose::Some(why) => Some(Need::new(tool.name, why).optional()),
        table::Purpose::Kernel(_) => None,
    };
    kernel_needs().into_iter().chain(table::TOOLS.iter().filter_map(optional)).collect()
}

/// Room that the build takes in a directory, which need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The directory.
    pub dir: PathBuf,
    /// What will be written below it.
    pub bytes: ByteSize,
}

/// A kernel tree whose own minimum versions win.
#[derive(Debug, Clone, Copy)]
pub struct KernelTree<'a> {
    /// The tree.
    pub dir: &'a Path,
    /// The kernel's name of the architecture (`arm64`).
    pub arch: &'a str,
}

/// What to check.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Tools; named twice, the newer version counts.
    pub needs: &'a [Need],
    /// Directories and what they have to take.
    pub disk: &'a [Room],
    /// Memory for the largest stage.
    pub memory: ByteSize,
    /// The kernel tree, when it is there already.
    pub tree: Option<KernelTree<'a>>,
}

/// A tool that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where; None for headers.
    pub path: Option<PathBuf>,
    /// None when it has not said.
    pub version: Option<Version>,
}

/// What probing found out.
#[derive(Debug, Clone)]
pub struct Facts {
    /// By [`Need::tool`]; what is not in here is missing.
    pub tools: BTreeMap<String, Found>,
    /// The kernel tree's minimum versions, by [`table::Tool::kernel_name`].
    pub minimums: BTreeMap<String, Version>,
    /// The distribution.
    pub host: Host,
    /// For each of [`Request::disk`]: which filesystem it is on, and the bytes free there.
    pub disk: Vec<(u64, ByteSize)>,
    /// Memory that can be had without swapping.
    pub memory: ByteSize,
}

/// Looks at this machine and compares.
pub fn check(request: &Request<'_>) -> Result<Report> {
    Ok(evaluate(request, &Prober::new().facts(request)?))
}

/// Compares what is needed with what is there. Pure.
pub fn evaluate(request: &Request<'_>, facts: &Facts) -> Report {
    let needs = merged(request.needs);
    let tools: Vec<Finding> = needs.iter().map(|need| judge(need, facts)).collect();
    let mut packages = BTreeSet::new();
    let mut backports = BTreeSet::new();
    for (need, finding) in needs.iter().zip(&tools) {
        if finding.status == Status::Ok || need.optional {
            continue;
        }
        let qemu = need.tool.starts_with("qemu-") && facts.host.debian_12;
        let newer = finding
            .min
            .as_ref()
            .is_some_and(|min| table::DEBIAN_12_QEMU.parse::<Version>().is_ok_and(|stable| *min > stable));
        let names = package_names(need, facts.host.family.unwrap_or(Family::Debian));
        if qemu && newer { backports.extend(names) } else { packages.extend(names) }
    }
    // One QEMU of one version: packages of both origins do not fit together.
    if !backports.is_empty() {
        packages.retain(|name: &String| !name.starts_with("qemu-") && !backports.contains(name));
    }
    Report {
        host: facts.host.name.clone(),
        tools,
        disk: disks(request.disk, &facts.disk),
        memory: Memory { free: facts.memory, needed: request.memory },
        install: facts.host.install(&packages, &backports),
        packages: packages.into_iter().chain(backports.iter().cloned()).collect(),
        backports: !backports.is_empty(),
    }
}

/// Each tool once, with the highest of the versions asked for.
pub fn merged(needs: &[Need]) -> Vec<Need> {
    let mut once: Vec<Need> = Vec::new();
    for need in needs {
        match once.iter_mut().find(|known| known.tool == need.tool) {
            Some(known) => {
                // The reason shown is the one that asks for most.
                if need.min > known.min || (known.optional && !need.optional) {
                    known.why.clone_from(&need.why);
                }
                known.min = known.min.take().max(need.min.clone());
                known.optional &= need.optional;
                if known.packages.is_none() {
                    known.packages.clone_from(&need.packages);
                }
            }
            None => once.push(need.clone()),
        }
    }
    once
}

fn judge(need: &Need, facts: &Facts) -> Finding {
    let row = table::lookup(&need.tool);
    let of_tree = row.and_then(|row| facts.minimums.get(row.kernel_name)).cloned();
    let of_table = row.and_then(|row| row.min.parse().ok());
    // A toolchain may ask for more than the kernel does; both are more than what is usual.
    let min = of_tree.max(need.min.clone()).or(of_table);
    let found = facts.tools.get(&need.tool);
    let version = found.and_then(|found| found.version.clone());
    let status = match (found, &version, &min) {
        (None, _, _) => Status::Missing,
        (Some(_), Some(version), Some(min)) if version < min => Status::TooOld,
        // A version that the tool does not tell is taken on trust.
        _ => Status::Ok,
    };
    Finding {
        tool: need.tool.clone(),
        headers: row.is_some_and(|row| matches!(row.probe, table::Probe::Header(_))),
        why: need.why.clone(),
        optional: need.optional,
        min,
        version,
        path: found.and_then(|found| found.path.clone()),
        status,
    }
}

fn package_names(need: &Need, family: Family) -> Vec<String> {
    if let Some(packages) = &need.packages {
        return packages.of(family).to_vec();
    }
    let names = table::lookup(&need.tool).map(|row| row.packages[family as usize]);
    // A cross tool's row names the native packages, which do not hold it.
    let own = names.filter(|_| table::TOOLS.iter().any(|row| row.name == need.tool));
    own.unwrap_or_default().split_whitespace().map(ToString::to_string).collect()
}

/// Directories on one filesystem share its room.
fn disks(rooms: &[Room], facts: &[(u64, ByteSize)]) -> Vec<Disk> {
    let mut disks: Vec<(u64, Disk)> = Vec::new();
    for (room, (id, free)) in rooms.iter().zip(facts) {
        match disks.iter_mut().find(|(known, _)| known == id) {
            Some((_, disk)) => {
                disk.dirs.push(room.dir.clone());
                disk.needed.0 = disk.needed.0.saturating_add(room.bytes.0);
            }
            None => disks.push((*id, Disk { dirs: vec![room.dir.clone()], free: *free, needed: room.bytes })),
        }
    }
    disks.into_iter().map(|(_, disk)| disk).collect()
}

#[cfg(test)]
mod tests;
