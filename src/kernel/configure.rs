//! From defconfig, fragments and `--set` to a checked `.config`.

use std::fmt;
use std::fs::File;
use std::path::Path;

use super::config::{self, Request, Values};
use super::kconfig;
use super::make::Make;
use super::run::Runner;
use super::spec::KernelSpec;
use super::stamp::Inputs;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fsx;

/// Requests shown in one error; more are counted.
const SHOWN: usize = 8;

/// Writes `.config` and returns its values. One that `inputs` made already is left alone, and its date with it: three
/// runs of Kconfig take longer than make takes to compile one file.
pub fn configure(spec: &KernelSpec, make: &Make, inputs: &Inputs, runner: Runner<'_>) -> Result<Values> {
    let before = Configured::now(spec, inputs);
    let kept = fsx::read_optional(&spec.dir.join(RECORD)).ok().flatten().unwrap_or_default();
    if kept == before.to_string() {
        return values(spec);
    }
    let date = spec.config().metadata().and_then(|meta| meta.modified());
    let values = merge(spec, make, runner)?;
    let together = kept.split_once('\n').is_some_and(|(_, files)| files == before.files());
    if let Ok(date) = date
        && together
        && digest(&spec.config()) == before.config
    {
        // With a new date make would take it for another than what it has in auto.conf.
        let file = File::options().write(true).open(spec.config());
        file.and_then(|file| file.set_modified(date))
            .map_err(|cause| fsx::io_error("set the date of", &spec.config(), &cause))?;
    }
    Ok(values)
}

/// After make, which runs Kconfig itself when it knows of a change that we do not: checks what it built, and
/// remembers it for the next build.
pub fn settle(spec: &KernelSpec, inputs: &Inputs) -> Result<Values> {
    let values = check(spec)?;
    fsx::write_atomic(&spec.dir.join(RECORD), Configured::now(spec, inputs).to_string().as_bytes())?;
    Ok(values)
}

/// Where a finished configuration is remembered.
const RECORD: &str = "configured";

/// A configuration and what it was made of, by digests.
struct Configured {
    inputs: String,
    config: String,
    /// What make took from `.config`; make compares dates alone.
    auto: String,
}

impl Configured {
    fn now(spec: &KernelSpec, inputs: &Inputs) -> Configured {
        Configured {
            inputs: inputs.of_config().to_string(),
            config: digest(&spec.config()),
            auto: digest(&spec.obj().join("include/config/auto.conf")),
        }
    }

    fn files(&self) -> String {
        format!("{}\n{}\n", self.config, self.auto)
    }
}

impl fmt::Display for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.inputs, self.files())
    }
}

/// Of a file's bytes; `none` of one that cannot be read.
fn digest(path: &Path) -> String {
    fsx::read(path).map_or("none".to_string(), |it| Digest::of(&it).to_string())
}

fn values(spec: &KernelSpec) -> Result<Values> {
    Ok(Values::parse(&String::from_utf8_lossy(&fsx::read(&spec.config())?)))
}

fn merge(spec: &KernelSpec, make: &Make, runner: Runner<'_>) -> Result<Values> {
    let requests = config::requests(&spec.fragments, &spec.sets)?;
    let path = spec.config();
    let base = if spec.defconfig.contains('/') {
        fsx::read_to_string(Path::new(&spec.defconfig))?
    } else {
        runner.run(&make.cmd(std::slice::from_ref(&spec.defconfig)))?;
        fsx::read_to_string(&path)?
    };
    fsx::write_atomic(&path, config::merge(&base, &requests).as_bytes())?;
    runner.run(&make.cmd(&["olddefconfig".to_string()]))?;
    check(spec)
}

/// The values of `.config`, among which must be what was asked for.
fn check(spec: &KernelSpec) -> Result<Values> {
    let requests = config::requests(&spec.fragments, &spec.sets)?;
    let values = values(spec)?;
    let mut refused = config::dishonoured(&requests, &values);
    if refused.is_empty() {
        return Ok(values);
    }
    let tree = match kconfig::Tree::load(&spec.source, spec.arch.kbuild()) {
        Ok(tree) => tree,
        // Without the Kconfig files there is no why, but the what must still be told.
        Err(cause) => return Err(headline(&refused, &requests).caused_by(cause)),
    };
    refused.retain(|request| !kconfig::is_overridden(&tree, request, &requests, &values));
    if refused.is_empty() { Ok(values) } else { Err(not_honoured(&tree, &refused, &requests, &values)) }
}

fn headline(refused: &[&Request], requests: &[Request]) -> Error {
    Error::usage(match refused {
        [one] => format!("Kconfig did not honour `{}` ({})", one.display(), one.origin),
        many => format!("Kconfig did not honour {} of {} requests", many.len(), requests.len()),
    })
}

fn not_honoured(tree: &kconfig::Tree, refused: &[&Request], requests: &[Request], values: &Values) -> Error {
    let mut error = headline(refused, requests);
    let mut hint = None;
    for request in refused.iter().take(SHOWN) {
        let explanation = kconfig::explain(tree, request, requests, values);
        let what = match refused {
            [_] => format!("it {}", explanation.why),
            _ => format!("{}: `{}` {}", request.origin, request.display(), explanation.why),
        };
        error = error.caused_by(what);
        hint = hint.or(explanation.hint);
    }
    if refused.len() > SHOWN {
        error = error.caused_by(format!("and {} more", refused.len() - SHOWN));
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
