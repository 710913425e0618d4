//! A kernel build from check to stamp.

use std::collections::BTreeMap;

use super::config::Values;
use super::make::Make;
use super::run::Runner;
use super::spec::{KernelArtifacts, KernelSpec};
use super::stamp::{self, Freshness, Inputs};
use super::{compile, configure, packed, repair, signing, source_tree, stage, staged, uimage};
use crate::digest::Digest;
use crate::error::Result;
use crate::progress::Progress;
use crate::workdir::Lock;
use crate::{fsx, interrupt};

/// Builds the kernel, or finishes an earlier build of the same directory.
///
/// Always runs make; ask [`stamp::freshness`] first. Another process that uses the same directory is waited
/// for; the artifacts stay as they are while the lock is held.
pub fn build(spec: &KernelSpec, progress: &dyn Progress) -> Result<(KernelArtifacts, Lock)> {
    source_tree::check(spec)?;
    fsx::create_dir_all(&spec.obj())?;
    let lock = Lock::take(&spec.lock(), progress)?;
    if lock.waited()
        && let Freshness::Fresh(artifacts) = stamp::freshness(spec)?
    {
        return Ok((*artifacts, lock));
    }
    let wanted = spec;
    let spec = &stamp::widened(spec)?;
    stamp::invalidate(spec)?;
    fsx::remove_file(&spec.log)?;
    let runner = Runner { log: &spec.log, progress, editable: spec.editable };
    let inputs = Inputs::of(spec)?;
    let make = Make::new(spec)?;
    repair::begin(spec)?;
    let artifacts = steps(spec, &make, &inputs, runner)?;
    repair::end(spec)?;
    stamp::write(spec, inputs, &artifacts)?;
    let mut own = stamp::artifacts(wanted, &artifacts.release, artifacts.command, artifacts.digests);
    own.keep_own_digests();
    Ok((own, lock))
}

fn steps(spec: &KernelSpec, make: &Make, inputs: &Inputs, runner: Runner<'_>) -> Result<KernelArtifacts> {
    let values = configure::configure(spec, make, inputs, runner)?;
    if let Some(warning) = signing::warning(&values) {
        runner.progress.warn(warning);
    }
    let release = compile::compile(spec, make, &values, runner)?;
    let values = configure::settle(spec, inputs)?;
    if spec.targets.iter().any(|target| target == "uImage") {
        write_uimage(spec, &release)?;
    }
    stage::stage(spec, make, &values, &release, runner)?;
    finish(spec, make, &values, &release, runner)
}

fn write_uimage(spec: &KernelSpec, release: &str) -> Result<()> {
    let kernel = fsx::read(&spec.image(uimage::payload(spec.arch)))?;
    let load = spec.load_address.unwrap_or_default();
    let image = uimage::wrap(spec.arch, release, load, spec.epoch, &kernel)?;
    fsx::write_atomic(&spec.image("uImage"), &image)
}

fn finish(
    spec: &KernelSpec,
    make: &Make,
    values: &Values,
    release: &str,
    runner: Runner<'_>,
) -> Result<KernelArtifacts> {
    let command = compile::record(spec, make, values);
    let mut artifacts = stamp::artifacts(spec, release, command, BTreeMap::new());
    let mut digests = BTreeMap::new();
    for (name, path) in artifacts.files() {
        digests.insert(name.to_string(), Digest::of_file(path)?);
    }
    let files = staged::staged(&spec.stage())?;
    staged::keep(&spec.stage(), &files)?;
    digests.insert("modules".to_string(), staged::digest(&files));
    artifacts.digests = digests;
    // Only deploys want it, and they do without.
    if let Err(error) = packed::keep(&spec.stage(), &files) {
        interrupt::check()?;
        // A full disk has better use for the room.
        packed::remove(&spec.stage())?;
        runner.progress.warn(&format!("modules are not packed for deploys: {}", error.one_line()));
    }
    Ok(artifacts)
}
