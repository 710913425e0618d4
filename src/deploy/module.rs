//! One module, built, pushed and reloaded with those that use it: the shortest way from an edit to dmesg.
//!
//! It lives in memory until the next boot. What the board boots is not touched.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::remote::Remote;
use crate::error::{Error, Result};
use crate::fsx;
use crate::image::kernel;

/// A module that was reloaded.
#[derive(Debug, Clone, Serialize)]
pub struct Reloaded {
    /// Where.
    pub host: String,
    /// Its name, as `lsmod` has it.
    pub module: String,
    /// Those that use it, loaded again.
    pub dependents: Vec<String>,
    /// What the kernel said meanwhile.
    pub dmesg: Vec<String>,
    /// Seconds from the finished module to this.
    pub seconds: f64,
}

/// Names of modules go to a shell, and into paths.
pub fn check_name(name: &str) -> Result<()> {
    if crate::kernel::is_module_name(name) {
        return Ok(());
    }
    Err(Error::usage(format!("`{}` is not the name of a kernel module", name.escape_debug()))
        .hint("a name as `lsmod` prints it, without `.ko`"))
}

/// Pushes and reloads the module file at `path`. `release`: what the board runs.
pub fn reload(remote: &Remote, path: &Path, name: &str, release: &str) -> Result<Reloaded> {
    let start = std::time::Instant::now();
    let bytes = fsx::read(path)?;
    let vermagic = kernel::vermagic(&path.display().to_string(), &bytes).unwrap_or_default();
    let of = vermagic.split(' ').next().unwrap_or_default();
    let host = remote.session().host().to_string();
    if of != release {
        return Err(Error::new(format!("module `{name}` was built for Linux {of}"))
            .caused_by(format!("{host} runs {release}, which refuses it"))
            .hint("deploy the kernel of this build first"));
    }
    let name = name.replace('-', "_");
    let depends = String::from_utf8_lossy(kernel::modinfo(&bytes, "depends").next().unwrap_or_default());
    let mut args = vec![name.as_str()];
    args.extend(depends.split(',').filter(|name| check_name(name).is_ok()));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder
        .write_all(&bytes)
        .and_then(|()| encoder.finish())
        .map_err(|cause| Error::new("cannot pack the module").caused_by(cause))?;
    let text = remote.send("reload the module", include_str!("remote/module.sh"), &args, &packed)?;
    let lines = |key: &str| {
        text.lines().filter_map(|line| line.strip_prefix(key).map(str::to_string)).collect::<Vec<_>>()
    };
    Ok(Reloaded {
        host,
        module: name,
        dependents: lines("reloaded ")
            .iter()
            .flat_map(|line| line.split_whitespace())
            .map(str::to_string)
            .collect(),
        dmesg: lines("dmesg "),
        seconds: start.elapsed().as_secs_f64(),
    })
}
