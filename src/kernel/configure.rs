//! From defconfig, fragments and `--set` to a checked `.config`.

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
    let record = spec.dir.join("configured");
    let before = fsx::read_optional(&spec.config())?;
    let done = |config: &str| format!("{}\n{}\n", inputs.of_config(), Digest::of(config.as_bytes()));
    if let Some(config) = &before
        && fsx::read_optional(&record)?.is_some_and(|kept| kept == done(config))
    {
        return Ok(Values::parse(config));
    }
    let date = spec.config().metadata().and_then(|meta| meta.modified());
    let values = merge(spec, make, runner)?;
    let config = fsx::read_to_string(&spec.config())?;
    if let Ok(date) = date
        && before.as_ref() == Some(&config)
    {
        // With a new date make would take it for another.
        let file = File::options().write(true).open(spec.config());
        file.and_then(|file| file.set_modified(date))
            .map_err(|cause| fsx::io_error("set the date of", &spec.config(), &cause))?;
    }
    fsx::write_atomic(&record, done(&config).as_bytes())?;
    Ok(values)
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
    let values = Values::parse(&fsx::read_to_string(&path)?);
    let refused = config::dishonoured(&requests, &values);
    if refused.is_empty() { Ok(values) } else { Err(not_honoured(spec, &refused, &requests, &values)) }
}

fn not_honoured(spec: &KernelSpec, refused: &[&Request], requests: &[Request], values: &Values) -> Error {
    let headline = match refused {
        [one] => format!("Kconfig did not honour `{}` ({})", one.display(), one.origin),
        many => format!("Kconfig did not honour {} of {} requests", many.len(), requests.len()),
    };
    let mut error = Error::usage(headline);
    let tree = match kconfig::Tree::load(&spec.source, spec.arch.kbuild()) {
        Ok(tree) => tree,
        // Without the Kconfig files there is no why, but the what must still be told.
        Err(cause) => return error.caused_by(cause),
    };
    let mut hint = None;
    for request in refused.iter().take(SHOWN) {
        let explanation = kconfig::explain(&tree, request, values);
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
