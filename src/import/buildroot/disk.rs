//! The disk of a Buildroot board: its genimage layout, filled with what bimg builds.

use super::defconfig::Defconfig;
use super::uboot::Packaged;
use crate::import::{Blob, Layout, Notes, Partition};

/// Room in a partition for a file that is not there.
const ROOM: u64 = 4 << 20;

/// A layout, and blobs whose files somebody has to make.
#[derive(Debug)]
pub struct BoardDisk {
    /// What can be used as it is.
    pub layout: Layout,
    /// What waits for its file.
    pub missing: Vec<Blob>,
}

/// Gives the partitions their content.
pub fn fill(
    mut layout: Layout,
    config: &Defconfig,
    uboot: Option<&Packaged>,
    notes: &mut Notes,
) -> BoardDisk {
    if layout.signature == Some(0) {
        layout.signature = None;
    }
    roots(&mut layout, config, notes);
    boot(&mut layout, config, notes);
    loaders(&mut layout, config, uboot, notes);
    let (blobs, missing) = blobs(std::mem::take(&mut layout.blobs), config, uboot, notes);
    layout.blobs = blobs;
    // Without its boot loader the rest must not move to the front.
    if missing.is_empty() {
        layout.forget_computed();
    }
    let blobs = &layout.blobs;
    for partition in &mut layout.partitions {
        partition.after = partition.after.take().filter(|after| blobs.iter().any(|blob| blob.name == *after));
    }
    BoardDisk { layout, missing }
}

fn is_fat(filesystem: &str) -> bool {
    filesystem.contains("fat")
}

/// The partitions that hold Buildroot's root filesystem.
fn roots(layout: &mut Layout, config: &Defconfig, notes: &mut Notes) {
    let is_root = |it: &Partition| {
        it.content == Some("root")
            || it
                .file
                .as_deref()
                .is_some_and(|file| file.rsplit('/').next().unwrap_or(file).starts_with("rootfs."))
    };
    let named = |it: &Partition| it.name.to_ascii_lowercase().starts_with("root");
    let mut found: Vec<usize> =
        (0..layout.partitions.len()).filter(|index| is_root(&layout.partitions[*index])).collect();
    if found.is_empty() {
        found.extend(layout.partitions.iter().position(named));
    }
    if found.is_empty() {
        notes.at(config.origin("TARGET_ROOTFS_EXT2"), "no partition held the root filesystem: one is added");
        layout.partitions.push(Partition {
            name: "root".into(),
            kind: Some(if layout.table == "gpt" { "linux" } else { "0x83" }.to_string()),
            ..Partition::default()
        });
        found.push(layout.partitions.len() - 1);
    }
    for index in found {
        let last = index + 1 == layout.partitions.len();
        let partition = &mut layout.partitions[index];
        let was = partition.file.take().or_else(|| partition.filesystem.map(str::to_string));
        if let Some(was) = was.filter(|was| !["ext2", "ext3", "ext4"].iter().any(|ext| was.ends_with(ext))) {
            notes.at(
                config.origin("TARGET_ROOTFS_EXT2"),
                format!("the root filesystem was `{was}` and becomes ext4"),
            );
        }
        partition.filesystem = Some("ext4");
        partition.content = Some("root");
        partition.files.clear();
        if last || partition.size.is_none() {
            // What grows on the first boot needs no fixed size.
            partition.size = None;
            partition.room = Some(64 << 20);
        }
    }
}

/// The partition that the boot loader reads.
fn boot(layout: &mut Layout, config: &Defconfig, notes: &mut Notes) {
    let fat = |it: &Partition| it.filesystem.is_some_and(is_fat);
    let fat_file = |it: &Partition| {
        it.file.as_deref().is_some_and(|file| file.ends_with("fat") || file.ends_with("boot.img"))
    };
    let boots = |it: &Partition| fat(it) && it.files.iter().any(|(path, _)| is_boot_file(path));
    let all = &layout.partitions;
    let index = all
        .iter()
        .position(|it| it.content == Some("boot"))
        .or_else(|| all.iter().position(boots))
        .or_else(|| all.iter().position(fat))
        .or_else(|| all.iter().position(fat_file));
    let Some(index) = index else {
        if config.has("PACKAGE_RPI_FIRMWARE") {
            notes.at(config.origin("PACKAGE_RPI_FIRMWARE"), "no partition held the boot files: one is added");
            let boot = Partition {
                name: "boot".into(),
                kind: Some("0x0c".into()),
                filesystem: Some("vfat"),
                content: Some("boot"),
                size: Some(256 << 20),
                bootable: true,
                ..Partition::default()
            };
            layout.partitions.insert(0, boot);
        }
        return;
    };
    let partition = &mut layout.partitions[index];
    partition.file = None;
    partition.filesystem.get_or_insert("vfat");
    partition.content = Some("boot");
    let others: Vec<String> = std::mem::take(&mut partition.files)
        .into_iter()
        .filter(|(path, _)| !is_boot_file(path))
        .map(|(path, _)| format!("`{}`", path.escape_debug()))
        .collect();
    if partition.size.is_none() {
        partition.size = Some(64 << 20);
    }
    if !others.is_empty() {
        notes.at(
            config.origin("ROOTFS_POST_IMAGE_SCRIPT"),
            format!(
                "partition `{}` also held {}: left out",
                partition.name.escape_debug(),
                others.join(", ")
            ),
        );
    }
    for partition in &mut layout.partitions {
        if partition.content.is_none() && !partition.files.is_empty() {
            let files: Vec<String> =
                partition.files.drain(..).map(|(path, _)| format!("`{}`", path.escape_debug())).collect();
            notes.at(
                config.origin("ROOTFS_POST_IMAGE_SCRIPT"),
                format!(
                    "partition `{}` held {}: it stays empty",
                    partition.name.escape_debug(),
                    files.join(", ")
                ),
            );
        }
    }
}

/// What a boot chain of bimg's makes or copies itself.
fn is_boot_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let names = ["Image", "zImage", "bzImage", "uImage", "extlinux", "extlinux.conf", "boot.scr", "overlays"];
    let starts = ["Image.", "kernel", "config.txt", "cmdline.txt", "start", "fixup", "bootcode"];
    let ends = [".dtb", ".dtbo"];
    names.contains(&name)
        || starts.iter().any(|start| name.starts_with(start))
        || ends.iter().any(|end| name.ends_with(end))
}

/// Boot loaders in partitions of their own.
fn loaders(layout: &mut Layout, config: &Defconfig, uboot: Option<&Packaged>, notes: &mut Notes) {
    let starts: Vec<u64> = (layout.partitions.iter().filter_map(|it| it.offset))
        .chain(layout.blobs.iter().filter(|blob| blob.partition.is_none()).map(|blob| blob.offset))
        .collect();
    for partition in &mut layout.partitions {
        let Some(file) = partition.file.take() else { continue };
        let name = file.rsplit('/').next().unwrap_or(&file);
        if let Some(packaged) = uboot.and_then(|uboot| uboot.file(name)) {
            partition.file = Some(packaged);
            continue;
        }
        notes.at(
            config.origin("ROOTFS_POST_IMAGE_SCRIPT"),
            format!(
                "partition `{}` waits for `{}`: make it and name it as the partition's `file`",
                partition.name.escape_debug(),
                file.escape_debug()
            ),
        );
        if partition.size.is_none() {
            let next = starts.iter().filter(|next| Some(**next) > partition.offset).min();
            partition.size = match (partition.offset, next) {
                (Some(offset), Some(next)) => Some(next - offset),
                _ => Some(ROOM),
            };
        }
    }
}

/// Boot loaders outside the table: from a package, or waiting for somebody to make them.
fn blobs(
    all: Vec<Blob>,
    config: &Defconfig,
    uboot: Option<&Packaged>,
    notes: &mut Notes,
) -> (Vec<Blob>, Vec<Blob>) {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    let whole = uboot.and_then(Packaged::whole_sunxi);
    // With the SPL comes U-Boot itself, and takes its room.
    let end =
        all.iter().filter(|blob| blob.file == "u-boot.itb").find_map(|blob| Some(blob.offset + blob.size?));
    for mut blob in all {
        let name = blob.file.rsplit('/').next().unwrap_or(&blob.file).to_string();
        let sunxi = match (&whole, name.as_str()) {
            (Some(whole), "sunxi-spl.bin") => {
                blob.size = end.and_then(|end| end.checked_sub(blob.offset));
                Some(whole.clone())
            }
            (Some(whole), "u-boot-sunxi-with-spl.bin") => Some(whole.clone()),
            (Some(_), "u-boot.itb") => continue,
            _ => None,
        };
        if let Some(file) = sunxi.or_else(|| uboot.and_then(|uboot| uboot.file(&name))) {
            there.push(Blob { file, ..blob });
            continue;
        }
        notes.at(
            config.origin("ROOTFS_POST_IMAGE_SCRIPT"),
            format!(
                "`{}` at {} is not packaged: make it and take its `[[disk.blob]]` out of the comment below",
                blob.file.escape_debug(),
                crate::units::ByteSize(blob.offset).exact()
            ),
        );
        missing.push(blob);
    }
    (there, missing)
}

/// Where a board says nothing of its disk: a FAT for the boot loader and the root.
pub fn default_layout(raspberry_pi: bool) -> Layout {
    let boot = Partition {
        name: "boot".into(),
        kind: Some(if raspberry_pi { "fat" } else { "esp" }.into()),
        filesystem: Some(if raspberry_pi { "fat32" } else { "vfat" }),
        content: Some("boot"),
        size: Some(256 << 20),
        bootable: true,
        ..Partition::default()
    };
    let root = Partition {
        name: "root".into(),
        kind: Some("linux".into()),
        filesystem: Some("ext4"),
        content: Some("root"),
        room: Some(64 << 20),
        ..Partition::default()
    };
    Layout {
        table: if raspberry_pi { "mbr" } else { "gpt" },
        align: 4 << 20,
        partitions: vec![boot, root],
        ..Layout::default()
    }
}
