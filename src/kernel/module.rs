//! One module of a kernel that was built: `make DIR/NAME.ko` in its object directory, stripped and signed as the staged ones are.

use std::path::{Path, PathBuf};

use super::config::Values;
use super::make::{self, Make};
use super::run::Runner;
use super::signing;
use super::spec::KernelSpec;
use crate::error::{Error, Result, nearest};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Progress;
use crate::workdir::Lock;

/// Builds module `name` and leaves it as `TO/NAME.ko`.
pub fn build_module(spec: &KernelSpec, name: &str, to: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let Some(staged) = Staged::read(&spec.stage())? else {
        return Err(Error::new(format!("module `{name}` cannot be built alone"))
            .caused_by("there is no finished kernel build with modules")
            .hint("`bimg deploy` once, without `--module`"));
    };
    let _lock = Lock::take(&spec.lock(), progress)?;
    let goal = staged.find(name)?;
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
    let values = Values::parse(&fsx::read_to_string(&spec.config())?);
    if let Some(key) = signing::module_key(&values, &make) {
        // As scripts/Makefile.modinst does.
        let sign = Cmd::new(make.obj().join("scripts/sign-file"))
            .arg(values.get("MODULE_SIG_HASH").trim_matches('"'))
            .arg(key)
            .arg(make.obj().join("certs/signing_key.x509"))
            .arg(&stripped);
        runner.run(&sign)?;
    }
    Ok(stripped)
}

/// True for what `lsmod` may print as a name: nothing that a shell or a path would read differently.
pub fn is_module_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// What the last whole build says of the kernel's modules.
struct Staged {
    /// Modules of the kernel's own tree, as `modules_install` lists them: `kernel/drivers/net/dummy.ko`. (The list in the
    /// object directory is gone after a make of one module.)
    order: String,
    /// What is built in, the same way.
    builtin: String,
    /// Each module, wherever it is from, and behind a `:` those it needs.
    dep: String,
}

impl Staged {
    fn read(stage: &Path) -> Result<Option<Staged>> {
        // Of one release, which need not be that of the source any more.
        let all = stage.join("lib/modules");
        let Some(release) = fsx::names(&all).unwrap_or_default().pop() else { return Ok(None) };
        let read = |name: &str| fsx::read_optional(&all.join(&release).join(name));
        let Some(order) = read("modules.order")? else { return Ok(None) };
        let [builtin, dep] = [read("modules.builtin")?, read("modules.dep")?].map(Option::unwrap_or_default);
        Ok(Some(Staged { order, builtin, dep }))
    }

    /// `drivers/net/dummy.ko`.
    fn find(&self, name: &str) -> Result<String> {
        let wanted = name.replace('-', "_");
        let is_wanted = |path: &str| module_name(path).as_ref() == Some(&wanted);
        let ours = self.order.lines().filter_map(|line| line.strip_prefix("kernel/"));
        if let Some(line) = ours.clone().find(|line| is_wanted(line)) {
            return Ok(line.to_string());
        }
        let set = "`--set CONFIG_X=m` and a whole deploy make it a module";
        if self.builtin.lines().any(is_wanted) {
            return Err(Error::usage(format!("`{name}` is built into this kernel")).hint(set));
        }
        if self.dep.lines().filter_map(|line| line.split_once(':')).any(|(path, _)| is_wanted(path)) {
            return Err(Error::usage(format!("module `{name}` is not of the kernel's own tree"))
                .hint("a deploy without `--module` brings it: what has changed is built and sent"));
        }
        let all: Vec<String> = ours.filter_map(module_name).collect();
        let error = Error::usage(format!("this kernel has no module `{name}`"));
        Err(match nearest(&wanted, all.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("nearest: `{near}`")),
            None => error.hint(format!("it may be off: {set}")),
        })
    }
}

/// `snd_pcm`, of `sound/snd-pcm.ko.xz`.
pub fn module_name(path: &str) -> Option<String> {
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_as_kbuild_lists_it() {
        let order = "kernel/drivers/net/dummy.ko\nkernel/drivers/block/loop.ko\nkernel/sound/snd-pcm.ko\n";
        let staged = Staged {
            order: order.to_string(),
            builtin: "kernel/drivers/block/nbd.ko\n".to_string(),
            dep: "updates/hello.ko.xz:\nkernel/drivers/net/dummy.ko:\n".to_string(),
        };
        let find = |name: &str| staged.find(name);
        assert_eq!(find("dummy").unwrap(), "drivers/net/dummy.ko");
        assert_eq!(find("snd_pcm").unwrap(), "sound/snd-pcm.ko");
        let refused = |name: &str| find(name).unwrap_err().to_string();
        assert_eq!(refused("dumy"), "this kernel has no module `dumy`\n\nhint: nearest: `dummy`");
        assert_eq!(
            refused("virtio_gpu"),
            "this kernel has no module `virtio_gpu`\n\n\
             hint: it may be off: `--set CONFIG_X=m` and a whole deploy make it a module"
        );
        assert_eq!(
            refused("nbd"),
            "`nbd` is built into this kernel\n\n\
             hint: `--set CONFIG_X=m` and a whole deploy make it a module"
        );
        assert_eq!(
            refused("hello"),
            "module `hello` is not of the kernel's own tree\n\n\
             hint: a deploy without `--module` brings it: what has changed is built and sent"
        );
    }
}
