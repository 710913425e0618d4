//! Any goal of kbuild on the user's terminal, with the compiler, environment and object directory of a build:
//! `menuconfig`, `savedefconfig`, a single object, `headers_install`, `clean`.

use super::config::Values;
use super::configure;
use super::make::{self, Make};
use super::run::Runner;
use super::spec::KernelSpec;
use super::stamp::{self, Freshness, Inputs};
use super::{repair, source_tree};
use crate::error::Result;
use crate::fsx;
use crate::progress::Progress;
use crate::workdir::Lock;

/// Goals that need no configuration, and take it away.
const CLEANING: [&str; 3] = ["clean", "mrproper", "distclean"];

/// Goals that tell what the configuration says, and read it as it was when make last compiled: alone they do not
/// have kbuild synchronise it (`no-sync-config-targets` of the kernel's Makefile).
const TELLING: [&str; 2] = ["kernelrelease", "image_name"];

/// Runs make and returns what it changed in the configuration, as the lines of a fragment. The next build begins
/// with the configuration that the board asks for, whatever was done here.
pub fn make(spec: &KernelSpec, goals: &[String], progress: &dyn Progress) -> Result<Vec<String>> {
    source_tree::check(spec)?;
    fsx::create_dir_all(&spec.obj())?;
    let _lock = Lock::take(&spec.lock(), progress)?;
    let make = Make::new(spec)?;
    let cleaning = goals.iter().all(|goal| CLEANING.contains(&goal.as_str()));
    let is_fresh = matches!(stamp::freshness(spec)?, Freshness::Fresh(_));
    repair::begin(spec)?;
    if !cleaning && !is_fresh {
        stamp::invalidate(spec)?;
        let runner = Runner { log: &spec.log, progress, editable: spec.editable };
        configure::configure(spec, &make, &Inputs::of(spec)?, runner)?;
        if goals.iter().any(|goal| TELLING.contains(&goal.as_str())) {
            runner.run(&make.cmd(&["syncconfig".to_string()]))?;
        }
    }
    let config =
        || -> Result<Values> { Ok(Values::parse(&fsx::read_optional(&spec.config())?.unwrap_or_default())) };
    let before = config()?;
    progress.note(&format!("in `{}`", fsx::from_here(&spec.obj()).display()));
    let jobs = spec.jobs.unwrap_or_else(make::jobs).max(1);
    let mut cmd = make.cmd(goals).arg(format!("-j{jobs}"));
    if let Some(terminal) = std::env::var_os("TERM") {
        cmd = cmd.env("TERM", terminal);
    }
    let status = cmd.interactive()?;
    if !status.success() {
        return Err(cmd.failed(status));
    }
    repair::end(spec)?;
    Ok(if cleaning { Vec::new() } else { before.changes(&config()?) })
}
