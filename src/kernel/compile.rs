//! One make for everything: images, device trees, modules.

use super::config::Values;
use super::make::{self, Make};
use super::run::Runner;
use super::spec::KernelSpec;
use crate::error::{Error, Result};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Unit;

/// Lines of kbuild that stand for one compiled, assembled or linked object.
const COUNTED: &[&str] = &["CC", "AS", "LD", "AR", "HOSTCC", "HOSTLD", "DTC"];

/// The make goals of a spec, given its configuration.
fn goals(spec: &KernelSpec, values: &Values) -> Vec<String> {
    let mut goals: Vec<String> = Vec::new();
    for target in &spec.targets {
        let goal = match target.as_str() {
            "uImage" => super::uimage::payload(spec.arch),
            other => other,
        };
        if !goals.iter().any(|other| other == goal) {
            goals.push(goal.to_string());
        }
    }
    if values.is_y("MODULES") {
        goals.push("modules".to_string());
    }
    goals.extend(spec.dtbs.iter().chain(&spec.overlays).cloned());
    goals
}

/// The make that compiles, for the record of a build.
pub fn record(spec: &KernelSpec, make: &Make, values: &Values) -> String {
    make.record(&goals(spec, values))
}

/// The make that compiles.
pub fn command(spec: &KernelSpec, make: &Make, values: &Values) -> Cmd {
    let jobs = spec.jobs.unwrap_or_else(make::jobs).max(1);
    make.cmd(&goals(spec, values)).arg(format!("-j{jobs}"))
}

/// Compiles and returns the kernel's release.
pub fn compile(spec: &KernelSpec, make: &Make, values: &Values, runner: Runner<'_>) -> Result<String> {
    let mut counter = Counter::start(spec, values)?;
    let outcome = runner.run_watched(&command(spec, make, values), &mut |line| {
        if counter.line(line) {
            runner.progress.count("compiling", counter.done, counter.total, Unit::Items);
        }
    });
    counter.finish(spec, outcome.is_ok())?;
    outcome?;
    let path = spec.obj().join("include/config/kernel.release");
    let release = fsx::read_to_string(&path)?.trim().to_string();
    if release.is_empty() || release.contains('/') {
        return Err(Error::new(format!("`{}` holds no release", path.display())));
    }
    Ok(release)
}

/// Counts objects against what the last full build of this directory needed, or an estimate.
struct Counter {
    done: u64,
    total: Option<u64>,
    /// Objects of earlier, unfinished builds in this directory.
    before: u64,
}

impl Counter {
    /// The count lies in `objects` as `DONE` while unfinished, `DONE complete` after.
    fn start(spec: &KernelSpec, values: &Values) -> Result<Self> {
        let text = fsx::read_optional(&spec.dir.join("objects"))?.unwrap_or_default();
        let mut words = text.split_whitespace();
        let before = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let complete = words.next() == Some("complete");
        let total = if complete { None } else { Some(estimate(values).max(before)) };
        Ok(Counter { done: if complete { 0 } else { before }, total, before })
    }

    fn line(&mut self, line: &str) -> bool {
        let counted = line.starts_with("  ")
            && line.split_whitespace().next().is_some_and(|word| COUNTED.contains(&word));
        self.done += u64::from(counted);
        if self.total.is_some_and(|total| self.done > total) {
            self.total = Some(self.done);
        }
        counted
    }

    fn finish(&self, spec: &KernelSpec, ended_well: bool) -> Result<()> {
        let text = if ended_well {
            format!("{} complete\n", self.done.max(self.before))
        } else {
            format!("{}\n", self.done)
        };
        fsx::write_atomic(&spec.dir.join("objects"), text.as_bytes())
    }
}

/// Objects of a cold build: a constant part, and so many per option. Seen with 6.12: 1,972 for the lean arm64 kernel
/// (921 built in, 15 modules), 8,771 for rpi4's defconfig (2,077 and 683; 4,745 of them in modules).
fn estimate(values: &Values) -> u64 {
    let (built_in, modules) = values.counts();
    300 + built_in * 7 / 4 + modules * 7
}
