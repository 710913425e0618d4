//! One module of a kernel that was built: `make DIR/NAME.ko` in its object directory, stripped as the staged ones are.

use std::path::{Path, PathBuf};

use super::make::{self, Make};
use super::run::Runner;
use super::spec::KernelSpec;
use crate::error::{Error, Result, nearest};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Progress;
use crate::workdir::Lock;

/// Builds module `name` and leaves it as `TO/NAME.ko`.
pub fn build_module(spec: &KernelSpec, name: &str, to: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    // The staged list: that of the object directory is gone after a make of one module.
    let release = fsx::read_optional(&spec.obj().join("include/config/kernel.release"))?.unwrap_or_default();
    let order = spec.stage().join("lib/modules").join(release.trim()).join("modules.order");
    let Some(order) = fsx::read_optional(&order)? else {
        return Err(Error::new(format!("module `{name}` cannot be built alone"))
            .caused_by("there is no finished kernel build with modules")
            .hint("`bimg deploy` once, without `--module`"));
    };
    let _lock = Lock::take(&spec.lock(), progress)?;
    let goal = find(&order, name)?;
    let make = Make::new(spec)?;
    fsx::remove_file(&spec.log)?;
    let runner = Runner { log: &spec.log, progress, editable: spec.editable };
    let jobs = spec.jobs.unwrap_or_else(make::jobs).max(1);
    runner.run(&make.cmd(std::slice::from_ref(&goal)).arg(format!("-j{jobs}")))?;
    fsx::create_dir_all(to)?;
    let stripped = to.join(goal.rsplit('/').next().unwrap_or(&goal));
    Cmd::new(spec.toolchain.strip())
        .arg("--strip-debug")
        .arg("-o")
        .arg(&stripped)
        .arg(spec.obj().join(&goal))
        .check()?;
    Ok(stripped)
}

/// True for what `lsmod` may print as a name: nothing that a shell or a path would read differently.
pub fn is_module_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// `drivers/net/dummy.ko`, from a list of modules as `modules_install` writes it: `kernel/drivers/net/dummy.ko`.
fn find(order: &str, name: &str) -> Result<String> {
    let stem = |line: &str| {
        line.rsplit('/')
            .next()
            .unwrap_or(line)
            .rsplit_once('.')
            .map_or("", |(stem, _)| stem)
            .replace('-', "_")
    };
    let wanted = name.replace('-', "_");
    let ours = order.lines().filter_map(|line| line.strip_prefix("kernel/"));
    if let Some(line) = ours.clone().find(|line| stem(line) == wanted) {
        return Ok(line.to_string());
    }
    let all: Vec<String> = ours.map(stem).collect();
    let error = Error::usage(format!("this kernel has no module `{name}`"));
    Err(match nearest(&wanted, all.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("nearest: `{near}`")),
        None => {
            error.hint("it may be built in, or off: `--set CONFIG_X=m` and a whole deploy make it a module")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_as_kbuild_lists_it() {
        let order = "kernel/drivers/net/dummy.ko\nkernel/drivers/block/loop.ko\nkernel/sound/snd-pcm.ko\nupdates/hello.ko\n";
        assert_eq!(find(order, "dummy").unwrap(), "drivers/net/dummy.ko");
        assert_eq!(find(order, "snd_pcm").unwrap(), "sound/snd-pcm.ko");
        assert!(find(order, "hello").is_err());
        assert_eq!(
            find(order, "dumy").unwrap_err().to_string(),
            "this kernel has no module `dumy`\n\nhint: nearest: `dummy`"
        );
    }
}
