//! One module, built, pushed and reloaded with those that use it: the shortest way from an edit to dmesg.
//!
//! It lives in memory until the next boot. What the board boots is not touched.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::remote::Remote;
use crate::error::{Error, Exit, Result};
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
    let needs = needs(&bytes);
    let mut args = vec![name.as_str()];
    args.extend(needs.iter().map(String::as_str));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder
        .write_all(&bytes)
        .and_then(|()| encoder.finish())
        .map_err(|cause| Error::new("cannot pack the module").caused_by(cause))?;
    let script = include_str!("remote/module.sh");
    let text = remote.send("reload the module", script, &args, &packed).map_err(|error| {
        if error.exit() != Exit::Unreachable {
            return error;
        }
        error.hint(format!(
            "`{name}` may have crashed the kernel, or be what the connection needs: a reset boots what the board booted before"
        ))
    })?;
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

/// Modules that one wants loaded before itself: those whose symbols it takes, and others (`MODULE_SOFTDEP`).
fn needs(module: &[u8]) -> Vec<String> {
    let texts = |key| kernel::modinfo(module, key).map(String::from_utf8_lossy);
    let mut names: Vec<String> =
        texts("depends").flat_map(|text| text.split(',').map(str::to_string).collect::<Vec<_>>()).collect();
    for text in texts("softdep") {
        let before =
            text.split_once("pre:").map_or("", |(_, rest)| rest.split("post:").next().unwrap_or(rest));
        names.extend(before.split_whitespace().map(str::to_string));
    }
    names.retain(|name| check_name(name).is_ok());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_wants_before_itself() {
        let module =
            b"\x7FELF\0depends=gpio,snd-pcm\0softdep=post: late\0softdep=pre: crc32c aes post: later\0x";
        assert_eq!(needs(module), ["gpio", "snd-pcm", "crc32c", "aes"]);
        assert_eq!(needs(b"\0depends=\0"), [] as [&str; 0]);
    }
}
