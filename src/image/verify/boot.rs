//! Does what the image boots fit together: files that are there, kernels with their modules, roots that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::super::chain::{Chain, Entry, Loader};
use super::super::inspect::{self, Inspection, Volumes};
use super::super::kernel;
use super::super::volume::{self, Kind};
use super::{Check, Finding, name_of};
use crate::device_tree;
use crate::error::Result;
use crate::units::count;

/// Bytes of a device tree that are read; the largest known has a quarter of a megabyte.
const MAX_DTB: u64 = 8 << 20;
/// Names given before counting the rest.
const SHOWN: usize = 3;

/// One check for each chain, and one for all device trees beside them.
pub fn check(volumes: &Volumes, found: &Inspection) -> Result<Vec<Check>> {
    if found.boot.is_empty() {
        return Ok(vec![Check::skipped("boot", "no boot chain that bimg knows is on the image")]);
    }
    let mut checks: Vec<Check> = Vec::new();
    for chain in &found.boot {
        let mut findings = chain.findings.clone();
        for entry in &chain.entries {
            files(volumes, found, chain, entry, &mut findings);
            root(found, entry, &mut findings);
        }
        if chain.entries.is_empty() && chain.loader != Loader::Uefi && findings.is_empty() {
            findings.push(Finding::warning("it names nothing to boot"));
        }
        let note = match chain.entries.len() {
            1 => "1 entry".to_string(),
            n => format!("{n} entries"),
        };
        checks.push(Check::done(name_of(found, chain), note, findings));
    }
    checks.push(device_trees(volumes, found)?);
    Ok(checks)
}

/// Whether what an entry names is there, and is what it should be.
fn files(volumes: &Volumes, found: &Inspection, chain: &Chain, entry: &Entry, findings: &mut Vec<Finding>) {
    for (what, path) in entry.files() {
        // What U-Boot fills in cannot be looked up.
        if path.contains("${") {
            continue;
        }
        match volumes.locate(chain.partition, path) {
            None => findings.push(Finding::error(format!("{what} `/{path}` is not there"))),
            Some((.., at)) if at.kind != Kind::File => {
                findings.push(Finding::error(format!("{what} `/{path}` is {}", at.kind.article())));
            }
            Some((partition, path, at)) if what == "kernel" => {
                let known = found.kernels.iter().find(|it| it.partition == partition && it.path == path);
                match known {
                    _ if at.size == 0 => {
                        findings.push(Finding::error(format!("kernel `/{path}` is empty")));
                    }
                    None if is_uboot(volumes, partition, &path) => {}
                    None => findings.push(Finding::error(format!("kernel `/{path}` is no kernel"))),
                    Some(it) if it.kernel.release.is_none() => {
                        findings.push(Finding::warning(format!("kernel `/{path}` does not say its release")));
                    }
                    Some(_) => {}
                }
            }
            Some((.., at)) if at.size == 0 => {
                findings.push(Finding::error(format!("{what} `/{path}` is empty")));
            }
            Some(_) => {}
        }
    }
    for any in &entry.needs {
        if !any.iter().any(|name| volumes.locate(chain.partition, name).is_some()) {
            findings.push(Finding::error(format!("{}: firmware `{}` is not there", entry.title, any[0])));
        }
    }
}

fn is_uboot(volumes: &Volumes, partition: u32, path: &str) -> bool {
    let read = volumes.of(partition).map(|volume| volume.read(path, kernel::MAX_FILE));
    matches!(read, Some(Ok(file)) if kernel::is_uboot(&file))
}

/// Whether `root=` names a partition or filesystem of this image.
fn root(found: &Inspection, entry: &Entry, findings: &mut Vec<Finding>) {
    let cmdline = entry.cmdline.as_deref().unwrap_or_default();
    let Some(root) = cmdline.split_whitespace().filter_map(|word| word.strip_prefix("root=")).next_back()
    else {
        return;
    };
    let Some((key, value)) = root.split_once('=') else { return };
    let is_there = found.partitions.iter().any(|part| {
        let content = part.content.as_ref();
        match key {
            "PARTUUID" => {
                // `…/PARTNROFF=1` counts on from the partition that is named.
                let value = value.split('/').next().unwrap_or(value);
                part.partuuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value))
            }
            "PARTLABEL" => part.name == value,
            "UUID" => content.is_some_and(|content| content.uuid.eq_ignore_ascii_case(value)),
            "LABEL" => content.is_some_and(|content| content.label == value),
            _ => true,
        }
    });
    if !is_there && !value.contains("${") {
        findings.push(Finding::error(format!("`root={root}` names nothing on this image")));
    }
}

/// Every `.dtb` and `.dtbo` on the filesystems that something boots from.
fn device_trees(volumes: &Volumes, found: &Inspection) -> Result<Check> {
    let partitions: BTreeSet<u32> = found.boot.iter().map(|chain| chain.partition).collect();
    let (mut findings, mut trees) = (Vec::new(), 0);
    for partition in partitions {
        let Some(volume) = volumes.of(partition) else { continue };
        let walked = volume::walk(volume, "", &mut |path, entry| {
            let is_tree = [".dtb", ".dtbo"].iter().any(|end| path.to_lowercase().ends_with(end));
            if entry.kind != Kind::File || !is_tree {
                return Ok(());
            }
            trees += 1;
            match volume.read(path, MAX_DTB) {
                Ok(bytes) => {
                    if let Err(why) = device_tree::check(&bytes) {
                        findings.push(Finding::error(format!("`/{path}` is no device tree: {why}")));
                    }
                }
                Err(error) => findings.push(Finding::error(error.one_line())),
            }
            Ok(())
        });
        crate::interrupt::check()?;
        findings.extend(walked.err().map(|error| Finding::error(error.one_line())));
    }
    if trees == 0 && findings.is_empty() {
        return Ok(Check::skipped("device trees", "there are none where something boots from"));
    }
    Ok(Check::done("device trees", count(trees, "file"), findings))
}

/// Kernels against directories of modules, and every module against its directory.
pub fn modules(volumes: &Volumes, found: &Inspection) -> Result<Check> {
    const WHAT: &str = "kernels and modules";
    let releases: BTreeSet<&str> =
        found.kernels.iter().filter_map(|kernel| kernel.kernel.release.as_deref()).collect();
    if found.modules.is_empty() {
        let why = if releases.is_empty() { "neither is on the image" } else { "there are no modules" };
        return Ok(Check::skipped(WHAT, why));
    }
    let mut findings = Vec::new();
    let dirs: BTreeSet<&str> = found.modules.iter().map(|modules| modules.release.as_str()).collect();
    for kernel in &found.kernels {
        let Some(release) = &kernel.kernel.release else { continue };
        if !dirs.contains(release.as_str()) {
            let names: Vec<&str> = dirs.iter().copied().collect();
            findings.push(Finding::error(format!(
                "kernel `/{}` is {release}, but there are modules for {} only",
                kernel.path,
                names.join(", ")
            )));
        }
    }
    let mut all = 0;
    for modules in &found.modules {
        if !releases.is_empty() && !releases.contains(modules.release.as_str()) {
            findings.push(Finding::warning(format!("nothing boots the kernel of `/{}`", modules.path)));
        }
        let Some(volume) = volumes.of(modules.partition) else { continue };
        let paths = match inspect::modules_in(volume, &modules.path) {
            Ok(paths) => paths,
            Err(error) => {
                findings.push(Finding::error(error.one_line()));
                continue;
            }
        };
        all += paths.len() as u64;
        if !paths.is_empty() && volume.entry(&volume::join(&modules.path, "modules.dep"))?.is_none() {
            let text = format!("`/{}` has no `modules.dep`: modprobe finds nothing", modules.path);
            findings.push(Finding::error(text));
        }
        // What they ask for, and who asks.
        let mut asked: BTreeMap<Option<String>, Vec<&str>> = BTreeMap::new();
        for path in &paths {
            crate::interrupt::check()?;
            asked.entry(inspect::vermagic(volume, path)).or_default().push(path);
        }
        for (vermagic, paths) in asked {
            let fits = vermagic.as_deref().and_then(|it| it.split(' ').next()) == Some(&modules.release);
            if !fits {
                let s = if paths.len() == 1 { "s" } else { "" };
                let why = vermagic.map_or(format!("say{s} no vermagic"), |it| format!("ask{s} for `{it}`"));
                findings.push(Finding::error(format!("{} {why}", some(&paths))));
            }
        }
    }
    Ok(Check::done(
        WHAT,
        format!("{}, {}", count(found.kernels.len() as u64, "kernel"), count(all, "module")),
        findings,
    ))
}

/// The first names and how many more.
fn some(paths: &[&str]) -> String {
    let names: Vec<String> = paths.iter().take(SHOWN).map(|path| format!("`/{path}`")).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
