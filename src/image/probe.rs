//! What a partition, or an image without a table, holds: recognised by its magic numbers.
//!
//! Sources: the headers named with each row; util-linux `libblkid/src/superblocks` for how labels and
//! UUIDs are shown.

use std::io;

use serde::Serialize;
use uuid::Uuid;

use super::ext::Ext;
use super::fat::FatVolume;
use super::read::{Source, bytes, le32, le64, text};
use crate::units::ByteSize;

/// What was recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Name of the format: `FAT32`, `ext4`, `squashfs`, `FIT`.
    pub kind: String,
    /// True for filesystems, false for other things with a magic number.
    pub filesystem: bool,
    /// Label; empty for none.
    pub label: String,
    /// UUID or serial number as blkid shows it; empty for none.
    pub uuid: String,
    /// Size by its own account.
    pub size: Option<ByteSize>,
    /// Bytes in use by its own account.
    pub used: Option<ByteSize>,
}

impl Content {
    fn filesystem(kind: impl Into<String>) -> Self {
        Content {
            kind: kind.into(),
            filesystem: true,
            label: String::new(),
            uuid: String::new(),
            size: None,
            used: None,
        }
    }
}

/// A format that a magic number tells; offsets from the first byte, 0 length for what it does not have.
struct Magic {
    kind: &'static str,
    filesystem: bool,
    at: u64,
    bytes: &'static [u8],
    /// Where a UUID of 16 bytes is.
    uuid: u64,
    /// Where the label is, and its length.
    label: (u64, usize),
}

const fn other(kind: &'static str, at: u64, bytes: &'static [u8]) -> Magic {
    Magic { kind, filesystem: false, at, bytes, uuid: 0, label: (0, 0) }
}

const fn filesystem(
    kind: &'static str,
    at: u64,
    bytes: &'static [u8],
    uuid: u64,
    label: (u64, usize),
) -> Magic {
    Magic { kind, filesystem: true, at, bytes, uuid, label }
}

const fn swap(page: u64) -> Magic {
    Magic { uuid: 1036, label: (1052, 16), ..other("swap", page - 10, b"SWAPSPACE2") }
}

const MAGICS: &[Magic] = &[
    // Linux fs/squashfs/squashfs_fs.h
    filesystem("squashfs", 0, b"hsqs", 0, (0, 0)),
    // Linux fs/erofs/erofs_fs.h
    filesystem("erofs", 1024, &[0xE2, 0xE1, 0xF5, 0xE0], 1024 + 48, (1024 + 64, 16)),
    // Linux include/uapi/linux/btrfs_tree.h
    filesystem("btrfs", 0x1_0040, b"_BHRfS_M", 0x1_0020, (0x1_012B, 256)),
    // Linux include/linux/f2fs_fs.h
    filesystem("f2fs", 1024, &[0x10, 0x20, 0xF5, 0xF2], 1024 + 108, (0, 0)),
    // Linux fs/xfs/libxfs/xfs_format.h
    filesystem("XFS", 0, b"XFSB", 32, (108, 12)),
    // Microsoft exFAT specification
    filesystem("exFAT", 3, b"EXFAT   ", 0, (0, 0)),
    filesystem("NTFS", 3, b"NTFS    ", 0, (0, 0)),
    // ECMA-119
    filesystem("ISO 9660", 0x8001, b"CD001", 0, (0x8028, 32)),
    // Linux include/linux/swap.h, at the end of the first page
    swap(4096),
    swap(8192),
    swap(16_384),
    swap(65_536),
    // LUKS on-disk format specification
    other("LUKS", 0, b"LUKS\xBA\xBE"),
    other("LVM", 512, b"LABELONE"),
    // Devicetree specification: a FIT is one as well
    other("device tree or FIT", 0, &[0xD0, 0x0D, 0xFE, 0xED]),
    // U-Boot include/image.h
    other("uImage", 0, &[0x27, 0x05, 0x19, 0x56]),
    // Android boot image header
    other("Android boot image", 0, b"ANDROID!"),
    // Linux Documentation/arch/arm64/booting.rst and riscv/boot-image-header.rst
    other("arm64 kernel", 56, b"ARM\x64"),
    other("riscv kernel", 56, b"RSC\x05"),
    other("gzip", 0, &[0x1F, 0x8B, 0x08]),
    other("xz", 0, b"\xFD7zXZ\0"),
    other("zstd", 0, &[0x28, 0xB5, 0x2F, 0xFD]),
];

/// Bytes looked at before saying that a range is empty.
const EMPTY: usize = 1 << 20;

/// Recognises what `source` holds; `None` when it is nothing that has a name.
pub fn probe(source: &Source) -> io::Result<Option<Content>> {
    if let Some(volume) = FatVolume::open(source.clone())? {
        let fat = volume.fat();
        let mut content = Content::filesystem(fat.width.name());
        // A directory that cannot be read is the checker's business.
        content.label = volume.label().unwrap_or_else(|_| fat.label.clone());
        content.uuid.clone_from(&fat.serial);
        content.size = Some(ByteSize(fat.size));
        content.used = fat.used_bytes(source).ok().map(|used| ByteSize(used.0 + fat.data_start));
        return Ok(Some(content));
    }
    if let Some(ext) = Ext::read(source)? {
        let mut content = Content::filesystem(ext.name());
        content.label.clone_from(&ext.label);
        content.uuid = ext.uuid.to_string();
        content.size = Some(ByteSize(ext.size()));
        content.used = Some(ByteSize(ext.used_bytes()));
        return Ok(Some(content));
    }
    for row in MAGICS {
        if source.read_some_at(row.at, row.bytes.len())? == row.bytes {
            return described(source, row).map(Some);
        }
    }
    Ok(None)
}

fn described(source: &Source, row: &Magic) -> io::Result<Content> {
    let mut content = Content { filesystem: row.filesystem, ..Content::filesystem(row.kind) };
    if row.label.1 > 0 {
        content.label = text(&source.read_some_at(row.label.0, row.label.1)?);
    }
    if row.uuid > 0 {
        let uuid = Uuid::from_bytes(bytes(&source.read_some_at(row.uuid, 16)?, 0));
        content.uuid = uuid.to_string();
    }
    let head = source.read_some_at(0, 2048)?;
    let size = match row.kind {
        "squashfs" => Some(le64(&head, 40)),
        "erofs" => Some(u64::from(le32(&head, 1024 + 36)).saturating_mul(1 << (head[1024 + 12] & 31))),
        _ => None,
    };
    content.size = size.map(ByteSize);
    // Neither has free space.
    content.used = content.size;
    Ok(content)
}

/// True when nothing but zeros is at the start of it, as far as one looks.
pub fn is_empty(source: &Source) -> io::Result<bool> {
    Ok(source.read_some_at(0, EMPTY)?.iter().all(|byte| *byte == 0))
}
