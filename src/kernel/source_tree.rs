//! What can be known of a kernel tree before make starts: that it is one, that kbuild will accept it,
//! which defconfigs and device trees it has.

use std::path::Path;

use super::spec::{KernelSpec, image_targets};
use crate::error::{Error, Result, nearest};
use crate::fsx;

/// Refuses what kbuild would refuse later and less clearly.
pub fn check(spec: &KernelSpec) -> Result<()> {
    let source = &spec.source;
    for name in ["Makefile", "Kconfig", "scripts"] {
        if !source.join(name).exists() {
            return Err(Error::new(format!("`{}` is not a kernel source tree", source.display()))
                .caused_by(format!("it has no `{name}`")));
        }
    }
    check_clean(source, spec.arch.kbuild())?;
    check_targets(spec)?;
    check_defconfig(spec)?;
    check_device_trees(spec)
}

/// kbuild's own test (target `outputmakefile`), made before anything else happens.
fn check_clean(source: &Path, arch: &str) -> Result<()> {
    let generated = format!("arch/{arch}/include/generated");
    match [".config", "include/config", &generated].into_iter().find(|name| source.join(name).exists()) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!("kernel source `{}` is not clean", source.display()))
            .caused_by(format!(
                "it holds `{name}` of a build made inside it, and kbuild then refuses any other"
            ))
            .hint(format!(
                "keep its .config if you need it, then run `make -C {} ARCH={arch} mrproper`",
                source.display()
            ))),
    }
}

fn check_targets(spec: &KernelSpec) -> Result<()> {
    let known = image_targets(spec.arch);
    for target in &spec.targets {
        if !known.contains(&target.as_str()) {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            return Err(Error::usage(format!("there is no image `{target}` for {}", spec.arch))
                .hint(format!("its kernel comes as {}", names.join(", "))));
        }
    }
    if spec.targets.iter().any(|target| target == "uImage") && spec.load_address.is_none() {
        return Err(Error::usage("a `uImage` needs the address to load it to")
            .hint("give `load_address` of the board's memory, for example `load_address = 0x8000`"));
    }
    Ok(())
}

/// Configurations that kbuild makes up itself.
const GENERATED: &[&str] =
    &["allnoconfig", "allmodconfig", "allyesconfig", "alldefconfig", "tinyconfig", "defconfig"];

fn check_defconfig(spec: &KernelSpec) -> Result<()> {
    let name = spec.defconfig.as_str();
    if GENERATED.contains(&name) {
        return Ok(());
    }
    if name.contains('/') {
        return fsx::open(Path::new(name)).map(drop);
    }
    let arch = format!("arch/{}", spec.arch.kbuild());
    let configs = spec.configs();
    // Some defconfigs are rules of the architecture's Makefile that combine others.
    let rules = fsx::read_optional(&spec.source.join(&arch).join("Makefile"))?.unwrap_or_default();
    let is_rule = rules.lines().any(|line| {
        line.split(':')
            .next()
            .is_some_and(|goals| line.contains(':') && goals.split_whitespace().any(|goal| goal == name))
    });
    if configs.join(name).is_file() || (is_rule && name.ends_with("config")) {
        return Ok(());
    }
    let names: Vec<String> =
        file_names(&configs).into_iter().filter(|name| name.ends_with("defconfig")).collect();
    let error = Error::usage(format!("this kernel has no defconfig `{name}` for {}", spec.arch))
        .caused_by(format!("there is no `{arch}/configs/{name}` in `{}`", spec.source.display()));
    Err(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => error,
        None => error.hint(format!("it has {}", some_of(&names))),
    })
}

fn some_of(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > 12 { format!(" and {} more", names.len() - 12) } else { String::new() };
    shown.join(", ") + &more
}

fn check_device_trees(spec: &KernelSpec) -> Result<()> {
    let dts = spec.source.join(format!("arch/{}/boot/dts", spec.arch.kbuild()));
    for (what, suffix, names) in [("device tree", ".dtb", &spec.dtbs), ("overlay", ".dtbo", &spec.overlays)] {
        for name in names {
            let bad = name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
            let Some(stem) = name.strip_suffix(suffix).filter(|_| !bad) else {
                return Err(Error::usage(format!("`{name}` is not the name of a {what}")).hint(format!(
                    "it is a path below arch/{}/boot/dts, ending in `{suffix}`",
                    spec.arch.kbuild()
                )));
            };
            if !has_device_tree(&dts, stem, name)? {
                return Err(no_device_tree(spec, &dts, what, suffix, name));
            }
        }
    }
    Ok(())
}

/// A device tree is made from the source of its name, or put together by a rule of its Makefile
/// (`x-dtbs := base.dtb overlay.dtbo`).
fn has_device_tree(dts: &Path, stem: &str, name: &str) -> Result<bool> {
    if [".dts", ".dtso"].iter().any(|suffix| dts.join(format!("{stem}{suffix}")).is_file()) {
        return Ok(true);
    }
    let (dir, file) = name.rsplit_once('/').unwrap_or(("", name));
    let makefile = fsx::read_optional(&dts.join(dir).join("Makefile"))?.unwrap_or_default();
    Ok(makefile.split_whitespace().any(|word| word == file))
}

fn no_device_tree(spec: &KernelSpec, dts: &Path, what: &str, suffix: &str, name: &str) -> Error {
    let from = if suffix == ".dtb" { ".dts" } else { ".dtso" };
    let mut names = Vec::new();
    let dirs = file_names(dts);
    for dir in std::iter::once("").chain(dirs.iter().map(String::as_str)) {
        for file in file_names(&dts.join(dir)) {
            if let Some(stem) = file.strip_suffix(from) {
                let dir = if dir.is_empty() { String::new() } else { format!("{dir}/") };
                names.push(format!("{dir}{stem}{suffix}"));
            }
        }
    }
    let error = Error::usage(format!("this kernel has no {what} `{name}`"));
    // Most mistakes are in the directory or in one letter of the name: look at the name first.
    let file = |name: &str| name.rsplit('/').next().unwrap_or_default().to_string();
    let same = names.iter().find(|other| file(other) == file(name)).map(String::as_str);
    let near = same.or_else(|| nearest(name, names.iter().map(String::as_str)));
    let near = near.map(|near| format!("nearest: `{near}`"));
    let kind = if suffix == ".dtb" { "a DTB" } else { "an overlay" };
    let origin =
        spec.origins.get(name).map(|origin| format!("{origin} names {kind} that this kernel does not have"));
    match [origin, near].into_iter().flatten().collect::<Vec<_>>() {
        parts if parts.is_empty() => error,
        parts => error.hint(parts.join("; ")),
    }
}

/// Names in a directory, sorted; none when it is not one.
fn file_names(dir: &Path) -> Vec<String> {
    fsx::names(dir).unwrap_or_default()
}
