//! From what the files say to a [`Board`]: what is missing, impossible or unknown is an error here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::find::{Loaded, reference};
use super::raw::{Content, RawBlob, RawDisk, RawKernel, RawPartition};
use super::text::At;
use super::{Blob, Board, Disk, FileRef, Fill, Kernel, Named, Partition};
use crate::arch::Arch;
use crate::data::{DataDirs, DataFile};
use crate::disk::{PartitionType, Table};
use crate::error::{Error, Result, nearest};
use crate::kernel;
use crate::rootfs::{self, RootfsSpec};
use crate::source::Source;
use crate::toolchain::{self, Toolchain};
use crate::units::ByteSize;

/// The erase block of most cards; partitions start on it unless told otherwise.
const DEFAULT_ALIGN: ByteSize = ByteSize::mib(4);

/// What every part needs to find its references.
struct Context<'a> {
    shown: &'a str,
    base: Option<&'a Path>,
    dirs: &'a DataDirs,
}

impl Context<'_> {
    fn need<T>(&self, value: Option<T>, key: &str) -> Result<T> {
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
    fn host(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.unwrap_or(Path::new("")).join(path.as_ref())
    }
}

/// Validates a merged profile.
pub fn resolve(loaded: Loaded, variant: Option<&str>, dirs: &DataDirs) -> Result<Board> {
    let Loaded { name, shown, raw, files, base } = loaded;
    let cx = Context { shown: &shown, base: base.as_deref(), dirs };
    let arch = cx.need(raw.arch, "arch")?;
    let toolchain = toolchain(raw.toolchain.as_ref(), arch.value, &cx)?;
    let kernel = kernel_of(cx.need(raw.kernel, "kernel")?, arch.value, variant, &cx)?;
    let firmware: BTreeMap<String, Vec<Source>> =
        raw.firmware.unwrap_or_default().into_iter().map(|(name, sources)| (name, sources.value.0)).collect();
    let boot = cx.need(raw.boot, "boot")?;
    boot.check().map_err(|error| boot.place.wrap(error))?;
    let disk = disk(cx.need(raw.disk, "disk")?, &firmware, &cx)?;
    let rootfs = cx.need(raw.rootfs, "rootfs")?;
    rootfs.validate().map_err(|error| rootfs.place.wrap(error))?;
    check_layers(&rootfs, &cx)?;
    if let Some(emulator) = &raw.emulator {
        emulator.check(arch.value).map_err(|error| emulator.place.wrap(error))?;
    }
    let board = Board {
        description: raw.description.unwrap_or_default(),
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
        shown,
    };
    Ok(board)
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
        fragments: fragments.iter().map(|name| cx.file(name, "fragment")).collect::<Result<_>>()?,
        targets: targets.into_iter().map(|target| target.value).collect(),
        dtbs: named(raw.dtbs, ".dtb")?,
        overlays: named(raw.overlays, ".dtbo")?,
        modules: raw.modules.unwrap_or_default().iter().map(|dir| cx.host(&dir.value)).collect(),
        cmdline: raw.cmdline.map(|line| line.value).unwrap_or_default(),
    })
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
    let path = cx.host(&name.value);
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

fn disk(raw: RawDisk, firmware: &BTreeMap<String, Vec<Source>>, cx: &Context<'_>) -> Result<Disk> {
    let table = cx.need(raw.table, "disk.table")?.value;
    let align = raw.align.as_ref().map_or(DEFAULT_ALIGN, |align| align.value);
    if let Some(at) = &raw.align
        && (align.0 == 0 || !align.0.is_multiple_of(512))
    {
        return Err(at
            .place
            .error(format!("an alignment of {align} is impossible"), "said here")
            .hint("partitions start on sectors: a multiple of 512, better of 1M"));
    }
    let mut partitions: Vec<Partition> = Vec::new();
    for raw in cx.need(raw.partition, "disk.partition")? {
        let place = raw.place.clone();
        let partition = partition(raw.value, table, firmware, cx)?;
        if partitions.iter().any(|other| other.name == partition.name) {
            return Err(place
                .error(format!("two partitions are called `{}`", partition.name), "the second one")
                .hint("give each partition a name of its own"));
        }
        partitions.push(partition);
    }
    for content in [Content::Boot, Content::Root] {
        let holds =
            |p: &&Partition| matches!(&p.fill, Fill::Filesystem { content: Some(c), .. } if *c == content);
        if partitions.iter().filter(holds).count() != 1 {
            let name = if content == Content::Boot { "boot" } else { "root" };
            return Err(Error::usage(format!(
                "`{}` needs one partition with `content = \"{name}\"`",
                cx.shown
            ))
            .hint("bimg puts the boot files into one and the root filesystem into another"));
        }
    }
    let blobs = raw
        .blob
        .unwrap_or_default()
        .into_iter()
        .map(|raw| blob(&raw.value, firmware, cx))
        .collect::<Result<_>>()?;
    Ok(Disk { table, size: raw.size.map(|size| size.value), align, partitions, blobs })
}

fn partition(
    raw: RawPartition,
    table: Table,
    firmware: &BTreeMap<String, Vec<Source>>,
    cx: &Context<'_>,
) -> Result<Partition> {
    let origin = raw.name.place.origin();
    let name = raw.name.value.clone();
    let kind = raw.kind.as_ref().map_or_else(|| default_type(&raw), |kind| kind.value.clone());
    let kind = PartitionType::parse(&kind)
        .and_then(|kind| kind.check(table).map(|()| kind))
        .map_err(|error| raw.kind.as_ref().unwrap_or(&raw.name).place.wrap(error))?;
    let fill = match (&raw.filesystem, &raw.content, &raw.file) {
        (Some(filesystem), content, None) => Fill::Filesystem {
            kind: filesystem.value,
            label: raw.label.as_ref().map_or_else(|| name.clone(), |label| label.value.clone()),
            content: content.as_ref().map(|content| content.value),
        },
        (None, None, Some(file)) => Fill::Raw(file_ref(file, firmware, cx)?),
        (None, None, None) => Fill::Empty,
        (None, Some(content), _) => {
            return Err(content
                .place
                .error(format!("partition `{name}` has content but no filesystem"), "said here")
                .hint("add `filesystem = \"ext4\"` or `\"vfat\"`"));
        }
        (Some(_), _, Some(file)) => {
            return Err(file
                .place
                .error(format!("partition `{name}` has both a filesystem and a raw file"), "said here")
                .hint("leave one of the two out"));
        }
    };
    if let (Some(_), Some(room)) = (&raw.size, &raw.room) {
        return Err(room
            .place
            .error(format!("partition `{name}` has both a size and room"), "said here")
            .hint("`size` is the whole partition; `room` is added to what the content needs"));
    }
    if let Some(size) = &raw.size
        && (size.value.0 == 0 || !size.value.0.is_multiple_of(512))
    {
        return Err(size
            .place
            .error(format!("partition `{name}` cannot have a size of {}", size.value), "said here")
            .hint("a size is a multiple of the sector size, 512 bytes"));
    }
    if raw.size.is_none() && fill == Fill::Empty {
        return Err(raw
            .name
            .place
            .error(format!("partition `{name}` is empty and has no size"), "this one")
            .hint("give it a `size`, a `filesystem` or a `file`"));
    }
    Ok(Partition {
        kind,
        fill,
        size: raw.size.map(|size| size.value),
        room: raw.room.map(|room| room.value),
        offset: raw.offset.map(|offset| offset.value),
        bootable: raw.bootable,
        uuid: raw.uuid.map(|uuid| uuid.value),
        name,
        origin,
    })
}

/// The usual type for a content, so that most profiles need not say it.
fn default_type(raw: &RawPartition) -> String {
    use super::raw::Filesystem::{Fat16, Fat32, Vfat};
    let fat = raw.filesystem.as_ref().is_some_and(|fs| matches!(fs.value, Vfat | Fat16 | Fat32));
    if fat { "fat" } else { "linux" }.to_string()
}

fn blob(raw: &RawBlob, firmware: &BTreeMap<String, Vec<Source>>, cx: &Context<'_>) -> Result<Blob> {
    Ok(Blob {
        origin: raw.name.place.origin(),
        name: raw.name.value.clone(),
        file: file_ref(&raw.file, firmware, cx)?,
        offset: raw.offset.value,
    })
}

fn file_ref(
    file: &At<String>,
    firmware: &BTreeMap<String, Vec<Source>>,
    cx: &Context<'_>,
) -> Result<FileRef> {
    let Some((source, path)) = file.value.split_once(':') else {
        return Ok(FileRef::Host(cx.host(&file.value)));
    };
    if firmware.contains_key(source) {
        return Ok(FileRef::Firmware { source: source.to_string(), path: path.to_string() });
    }
    let error = file.place.error(format!("there is no firmware `{source}`"), "named here");
    Err(match nearest(source, firmware.keys().map(String::as_str)) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("name it under `[firmware]`, with its source"),
    })
}
