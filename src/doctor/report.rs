//! What the doctor found, for people, for programs, and as the error that stops a build.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::units::ByteSize;

use crate::version::Version;

/// How a tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// There, and new enough.
    Ok,
    /// Not there.
    Missing,
    /// There, but older than needed.
    TooOld,
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name.
    pub tool: String,
    /// It is a library's headers rather than a program.
    pub headers: bool,
    /// What it is for.
    pub why: String,
    /// Builds do without it.
    pub optional: bool,
    /// Oldest version that will do.
    pub min: Option<Version>,
    /// The version found.
    pub version: Option<Version>,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// How it stands.
    pub status: Status,
}

/// Room on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The directories on it.
    pub dirs: Vec<PathBuf>,
    /// Free for this user.
    pub free: ByteSize,
    /// What the build takes, all directories together.
    pub needed: ByteSize,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// To be had without swapping.
    pub free: ByteSize,
    /// For the largest stage.
    pub needed: ByteSize,
}

/// The whole result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The distribution's name.
    pub host: String,
    /// Every tool asked for.
    pub tools: Vec<Finding>,
    /// Every filesystem written to.
    pub disk: Vec<Disk>,
    /// Memory.
    pub memory: Memory,
    /// The one command that installs what is missing; None when nothing is, or when this
    /// distribution's package names are not known.
    pub install: Option<String>,
    /// The packages to install, under Debian's names where the distribution is not known.
    pub packages: Vec<String>,
    /// Some of them come from Debian 12's backports.
    pub backports: bool,
}

impl Report {
    /// Nothing that is needed is missing.
    pub fn is_ready(&self) -> bool {
        self.problems().is_empty()
    }

    /// The table that `bimg doctor` prints.
    pub fn table(&self) -> String {
        let versions: Vec<(String, String)> = self.tools.iter().map(Finding::versions).collect();
        let name = column(self.tools.iter().map(|finding| finding.tool.as_str()));
        let has = column(versions.iter().map(|(has, _)| has.as_str()));
        let min = column(versions.iter().map(|(_, min)| min.as_str()));
        let mut text = String::new();
        for (finding, (version, minimum)) in self.tools.iter().zip(&versions) {
            let mark = match finding.status {
                Status::Ok => '✓',
                _ if finding.optional => '-',
                _ => '✗',
            };
            let tool = &finding.tool;
            let why = &finding.why;
            line(&mut text, &format!("{mark} {tool:<name$}  {version:<has$}  {minimum:<min$}  {why}"));
        }
        for disk in &self.disk {
            let mark = if disk.is_enough() { '✓' } else { '✗' };
            let (free, needed, dirs) = (disk.free, disk.needed, disk.names());
            line(&mut text, &format!("{mark} {:<name$}  {free} free, {needed} needed for {dirs}", "disk"));
        }
        if self.memory.needed.0 > 0 {
            let mark = if self.memory.is_enough() { '✓' } else { '✗' };
            let Memory { free, needed } = self.memory;
            line(&mut text, &format!("{mark} {:<name$}  {free} free, {needed} needed", "memory"));
        }
        if let Some(advice) = self.advice() {
            line(&mut text, &format!("\n{advice}"));
        }
        text
    }

    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.tools.iter().filter_map(Finding::problem).collect();
        for disk in self.disk.iter().filter(|disk| !disk.is_enough()) {
            let (free, needed, dirs) = (disk.free, disk.needed, disk.names());
            problems.push(format!("{dirs} would take {needed}, but only {free} are free there"));
        }
        if !self.memory.is_enough() {
            let Memory { free, needed } = self.memory;
            problems.push(format!("the build takes {needed} of memory, but only {free} are free"));
        }
        problems
    }

    /// What to do about what is missing.
    fn advice(&self) -> Option<String> {
        let mut advice = Vec::new();
        if let Some(command) = &self.install {
            advice.push(format!("install what is missing with `{command}`"));
        } else if !self.packages.is_empty() {
            let names = self.packages.join(" ");
            advice.push(format!(
                "install what is missing with the package manager of {}; Debian's names are: {names}",
                self.host
            ));
        }
        if self.backports {
            advice.push(
                "on Debian 12 this QEMU comes from bookworm-backports; `scripts/setup` of bimg's sources \
                 installs it without changing the apt configuration"
                    .to_string(),
            );
        }
        if self.disk.iter().any(|disk| !disk.is_enough()) {
            advice.push("free some room, or point `--build-dir` and `--out` to another disk".to_string());
        }
        if !self.memory.is_enough() {
            advice.push("close other programs, or add swap".to_string());
        }
        (!advice.is_empty()).then(|| advice.join("\n"))
    }
}

impl Finding {
    /// The cells for what is there and what is needed.
    fn versions(&self) -> (String, String) {
        let has = match (&self.version, self.status) {
            (_, Status::Missing) => "missing".to_string(),
            (Some(version), _) => version.to_string(),
            (None, _) => "found".to_string(),
        };
        (has, self.min.as_ref().map(|min| format!(">= {min}")).unwrap_or_default())
    }

    fn problem(&self) -> Option<String> {
        if self.optional {
            return None;
        }
        let Finding { tool, why, .. } = self;
        match (self.status, &self.version, &self.min) {
            (Status::Missing, ..) if self.headers => {
                Some(format!("the headers of `{tool}` are missing: {why}"))
            }
            (Status::Missing, _, Some(min)) => Some(format!("`{tool}` {min} or newer is missing: {why}")),
            (Status::Missing, ..) => Some(format!("`{tool}` is missing: {why}")),
            (Status::TooOld, Some(version), Some(min)) => {
                Some(format!("`{tool}` is {version}, but {min} or newer is needed: {why}"))
            }
            _ => None,
        }
    }
}

impl Disk {
    fn is_enough(&self) -> bool {
        self.free >= self.needed
    }

    fn names(&self) -> String {
        let dirs: Vec<String> = self.dirs.iter().map(|dir| format!("`{}`", dir.display())).collect();
        dirs.join(" and ")
    }
}

impl Memory {
    fn is_enough(&self) -> bool {
        self.free >= self.needed
    }
}

/// Fails with everything that is missing at once, and the command that installs it as the hint.
pub fn require(report: &Report) -> Result<()> {
    let problems = report.problems();
    if problems.is_empty() {
        return Ok(());
    }
    let mut error = Error::new("this machine is not ready for the build");
    for problem in problems {
        error = error.caused_by(problem);
    }
    Err(match report.advice() {
        Some(advice) => error.hint(advice),
        None => error,
    })
}

fn column<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(6)
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}
