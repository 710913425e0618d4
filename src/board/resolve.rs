//! From what the files say to a [`Board`]: what is missing, impossible or unknown is an error here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::find::{Loaded, reference};
use super::raw::{RawKernel, Sources};
use super::text::At;
use super::{Board, Content, Disk, Filesystem, Fill, Kernel, Named, disk};
use crate::arch::Arch;
use crate::data::{DataDirs, DataFile};
use crate::deploy::spec::DeploySpec;
use crate::emulate::{EmulatorFirmware, EmulatorSpec};
use crate::error::{Error, Result};
use crate::kernel;
use crate::rootfs::{self, BaseKind, RootfsSpec};
use crate::source::Source;
use crate::toolchain::{self, Toolchain};
use crate::tree::tar;

/// What every part needs to find its references.
pub(super) struct Context<'a> {
    pub(super) shown: &'a str,
    base: Option<&'a Path>,
    dirs: &'a DataDirs,
}

impl Context<'_> {
    pub(super) fn need<T>(&self, value: Option<T>, key: &str) -> Result<T> {
        value.ok_or_else(|| {
            Error::usage(format!("`{}` does not say `{key}`", self.shown)).hint(format!(
                "add `{key}`, or `extends` a profile that has it; `bimg boards schema` describes it"
            ))
        })
    }

    fn file(&self, name: &At<String>, what: &str) -> Result<DataFile> {
        reference(&name.value, self.base, self.dirs)?.ok_or_else(|| {
            name.place
                .error(format!("{what} `{}` is not there", name.value), "named here")
                .hint("files are looked up beside the profile, then as `boards/NAME`")
        })
    }

    /// A path of the user's, from where the profile is.
    pub(super) fn host(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.unwrap_or(Path::new("")).join(path.as_ref())
    }
}

/// Validates a merged profile.
pub fn resolve(loaded: Loaded, variant: Option<&str>, dirs: &DataDirs) -> Result<Board> {
    let Loaded { name, asked, shown, raw, files, base } = loaded;
    let cx = Context { shown: &shown, base: base.as_deref(), dirs };
    let arch = cx.need(raw.arch, "arch")?;
    let toolchain = toolchain(raw.toolchain.as_ref(), arch.value, &cx)?;
    let kernel = kernel_of(cx.need(raw.kernel, "kernel")?, arch.value, variant, &cx)?;
    let firmware = firmware_of(raw.firmware);
    let boot = cx.need(raw.boot, "boot")?;
    boot.check().map_err(|error| boot.place.wrap(error))?;
    let disk = disk::resolve(cx.need(raw.disk, "disk")?, &firmware, &cx)?;
    disk::check_contents(&disk, &boot, &cx)?;
    let mut rootfs = cx.need(raw.rootfs, "rootfs")?;
    let root = disk.holding(Content::Root).map(|root| &root.fill);
    if !matches!(root, Some(Fill::Filesystem { kind: Filesystem::Ext4, .. })) {
        // Nothing else grows.
        rootfs.value.grow = false;
    }
    rootfs.validate().map_err(|error| rootfs.place.wrap(error))?;
    check_layers(&rootfs, &cx)?;
    if let Some(emulator) = &raw.emulator {
        check_emulator(emulator, arch.value, &firmware)?;
    }
    let deploy = raw.deploy.map_or(Ok(DeploySpec::default()), |deploy| {
        deploy.check().map_err(|error| deploy.place.wrap(error))?;
        Ok(deploy.value)
    })?;
    let board = Board {
        deploy,
        // It goes to terminals, as one line.
        description: raw.description.unwrap_or_default().trim().replace(char::is_control, " "),
        arch: arch.value,
        toolchain,
        kernel,
        boot: boot.value,
        disk,
        rootfs: rootfs.value,
        base: base.clone().unwrap_or_default(),
        emulator: raw.emulator.map(|emulator| emulator.value),
        firmware,
        files,
        name,
        asked,
        shown,
    };
    Ok(board)
}

/// The disk alone.
pub fn disk_alone(loaded: Loaded, dirs: &DataDirs) -> Result<Disk> {
    let cx = Context { shown: &loaded.shown, base: loaded.base.as_deref(), dirs };
    let firmware = firmware_of(loaded.raw.firmware);
    disk::resolve(cx.need(loaded.raw.disk, "disk")?, &firmware, &cx)
}

fn check_emulator(
    emulator: &At<EmulatorSpec>,
    arch: Arch,
    firmware: &BTreeMap<String, Vec<Source>>,
) -> Result<()> {
    emulator.check(arch).map_err(|error| emulator.place.wrap(error))?;
    let EmulatorFirmware { bios, kernel } = &emulator.firmware;
    for (key, file) in [("bios", bios), ("kernel", kernel)] {
        match file.as_deref().map(|file| (file, file.split_once(':'))) {
            None | Some(("default", _)) => {}
            Some((_, Some((source, _)))) => disk::check_firmware(source, firmware, &emulator.place)?,
            Some((file, None)) => {
                return Err(emulator
                    .place
                    .error(
                        format!("the emulator's `{key}` is `{file}`, which names no firmware"),
                        "said here",
                    )
                    .hint(format!("write `NAME:{file}`, with the NAME of a source under `[firmware]`")));
            }
        }
    }
    Ok(())
}

fn firmware_of(raw: Option<BTreeMap<String, At<Sources>>>) -> BTreeMap<String, Vec<Source>> {
    raw.unwrap_or_default().into_iter().map(|(name, sources)| (name, sources.value.0)).collect()
}

fn toolchain(name: Option<&At<String>>, arch: Arch, cx: &Context<'_>) -> Result<Toolchain> {
    let Some(name) = name else {
        return toolchain::load(&toolchain::default_name(arch), cx.dirs);
    };
    let toolchain = toolchain::load(&name.value, cx.dirs).map_err(|error| name.place.wrap(error))?;
    if toolchain.arch.contains(&arch) {
        return Ok(toolchain);
    }
    Err(name
        .place
        .error(format!("toolchain `{}` makes no code for {arch}", name.value), "named here")
        .hint(format!("leave it out, or name the usual one: `{}`", toolchain::default_name(arch))))
}

fn kernel_of(raw: RawKernel, arch: Arch, variant: Option<&str>, cx: &Context<'_>) -> Result<Kernel> {
    let source = cx.need(raw.source, "kernel.source")?;
    let mut defconfig = raw.defconfig;
    let mut fragments = raw.fragments.unwrap_or_default();
    if let Some(wanted) = variant {
        let variants = raw.variant.unwrap_or_default();
        let Some(chosen) = variants.get(wanted) else {
            let all: Vec<&str> = variants.keys().map(String::as_str).collect();
            let error = Error::usage(format!("`{}` has no kernel variant `{wanted}`", cx.shown));
            return Err(if all.is_empty() {
                error.hint("this board has one kernel only: leave `--kernel` out")
            } else {
                error.hint(format!("variants: {}", all.join(", ")))
            });
        };
        defconfig = Some(chosen.value.defconfig.clone());
        fragments = chosen.value.fragments.clone().unwrap_or_default();
    }
    let targets = cx.need(raw.targets, "kernel.targets")?;
    for target in &targets {
        check_target(target, arch)?;
        if target.value == "uImage" && raw.load_address.is_none() {
            return Err(target
                .place
                .error("a `uImage` needs the address to load it to", "named here")
                .hint("give `load_address` of the board's memory, for example `load_address = 0x8000`"));
        }
    }
    if targets.is_empty() {
        return Err(Error::usage(format!("`{}` has an empty `kernel.targets`", cx.shown))
            .hint("name the image format that the boot chain loads, e.g. `Image`"));
    }
    let named = |list: Option<Vec<At<String>>>, ending: &str| -> Result<Vec<Named>> {
        list.unwrap_or_default().into_iter().map(|name| device_tree(name, ending)).collect()
    };
    Ok(Kernel {
        source: source.value.0,
        variant: variant.map(str::to_string),
        defconfig: defconfig_name(&cx.need(defconfig, "kernel.defconfig")?, cx)?,
        fragments: fragments.iter().map(|name| fragment(name, cx)).collect::<Result<_>>()?,
        targets: targets.into_iter().map(|target| target.value).collect(),
        load_address: raw.load_address,
        dtbs: named(raw.dtbs, ".dtb")?,
        overlays: named(raw.overlays, ".dtbo")?,
        modules: raw.modules.unwrap_or_default().iter().map(|dir| cx.host(&dir.value)).collect(),
        cmdline: raw.cmdline.map(cmdline).transpose()?.unwrap_or_default(),
    })
}

/// The boot chain refuses it too, but only once there is a kernel.
fn cmdline(line: At<String>) -> Result<String> {
    match line.value.trim().chars().find(|c| c.is_control()) {
        None => Ok(line.value),
        Some(c) => Err(line
            .place
            .error(format!("the command line holds the control character `{}`", c.escape_debug()), "here")
            .hint("a kernel's command line is one line of text")),
    }
}

/// A line that means nothing would only be met once the source is there.
fn fragment(name: &At<String>, cx: &Context<'_>) -> Result<DataFile> {
    let file = cx.file(name, "fragment")?;
    kernel::config::requests(&[kernel::Fragment::of(&file)?], &[])?;
    Ok(file)
}

/// A layer that is not there would only be missed when the root filesystem is made, after the kernel.
fn check_layers(rootfs: &At<RootfsSpec>, cx: &Context<'_>) -> Result<()> {
    if let Some(path) = &rootfs.path
        && !cx.host(path).exists()
    {
        return Err(rootfs
            .place
            .error(format!("`{}` is not there", path.display()), "its `path`")
            .hint("the path starts where bimg was started, or at a profile that is given by path"));
    }
    // Better told now than once the kernel is compiled.
    if let (BaseKind::Tar, Some(path)) = (rootfs.kind, &rootfs.path) {
        tar::check(&cx.host(path)).map_err(|error| rootfs.place.wrap(error))?;
    }
    let base = cx.base.unwrap_or(Path::new(""));
    (rootfs.overlays.iter())
        .try_for_each(|name| rootfs::check_overlay(name, base, cx.dirs))
        .map_err(|error| rootfs.place.wrap(error))
}

/// `defconfig`-like names stay; a path is made absolute from where the profile is.
fn defconfig_name(name: &At<String>, cx: &Context<'_>) -> Result<String> {
    if !name.value.contains('/') && !name.value.ends_with(".config") {
        return Ok(name.value.clone());
    }
    let mut path = cx.host(&name.value);
    // Beside a profile that was found by its name, as fragments are.
    if !path.is_file()
        && let Some(found) = cx.dirs.path(&format!("boards/{}", name.value))
    {
        path = found;
    }
    let path = std::path::absolute(&path).map_err(|cause| crate::fsx::io_error("find", &path, &cause))?;
    if !path.is_file() {
        return Err(name
            .place
            .error(format!("configuration `{}` is not there", name.value), "named here")
            .hint("a name without `/` is a defconfig of the kernel source"));
    }
    Ok(path.to_string_lossy().into_owned())
}

fn check_target(target: &At<String>, arch: Arch) -> Result<()> {
    let valid = kernel::image_targets(arch);
    if valid.contains(&target.value.as_str()) {
        return Ok(());
    }
    Err(target
        .place
        .error(format!("a kernel for {arch} has no image format `{}`", target.value), "named here")
        .hint(format!("formats: {}", valid.join(", "))))
}

fn device_tree(name: At<String>, ending: &str) -> Result<Named> {
    if name.value.ends_with(ending) && crate::tree::TreePath::new(&name.value).is_ok() {
        return Ok(Named { origin: name.place.origin(), name: name.value });
    }
    Err(name
        .place
        .error(format!("`{}` is not the name of a `{ending}`", name.value), "named here")
        .hint(format!("write it as kbuild does, below arch/ARCH/boot/dts: `vendor/board{ending}`")))
}
