//! The disk image: what goes where, and writing it once, in place.
//!
//! ```text
//! DiskSpec --layout()--> Layout (pure: every offset) --write()--> NAME.partial --> NAME + ImageFacts
//!                                                        |
//!             tables, blobs and filesystems, ascending --+--> file, image hash, block map
//! ```
//!
//! Identifiers (disk and partition GUIDs, MBR signature, filesystem UUIDs) derive from a seed and the
//! partition's name, so they are known before anything is written and the same inputs give the same
//! bytes. The block map comes from what the writers say, never from the holes of the host's file.

mod area;
mod bmap;
mod check;
mod compress;
mod format;
mod ids;
mod image;
mod kind;
mod layout;
mod pieces;
mod qcow2;
mod sparse;
mod table;
mod write;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::filesystem;
use crate::tree::{Content, Tree};
use crate::units::ByteSize;

pub use bmap::{Bmap, MAX_BMAP, Summer};
pub use compress::{Compression, compress, write_sums};
pub use format::{Finished, Format, Output};
pub use kind::PartitionType;
pub use layout::{Layout, Placed, layout};
pub use write::{BlobFacts, ImageFacts, PartitionFacts, write};

/// Kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// DOS master boot record: four partitions, or three and any number of logical ones.
    Mbr,
    /// GUID partition table.
    Gpt,
    /// GUID partition table whose MBR lists up to three of the partitions too.
    Hybrid,
    /// No partition table.
    None,
}

impl Table {
    /// True with a GUID partition table.
    pub const fn has_gpt(self) -> bool {
        matches!(self, Table::Gpt | Table::Hybrid)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::Mbr => "MBR",
            Table::Gpt => "GPT",
            Table::Hybrid => "hybrid MBR and GPT",
            Table::None => "no partition table",
        })
    }
}

/// A disk as a profile describes it, with its content.
#[derive(Debug, Clone)]
pub struct DiskSpec {
    /// Partition table.
    pub table: Table,
    /// Size of the whole disk; by default what its content needs.
    pub size: Option<ByteSize>,
    /// Alignment of partitions that have no offset of their own, and unit of sizes by content.
    pub align: ByteSize,
    /// GUID of the disk instead of the derived one (GPT).
    pub uuid: Option<Uuid>,
    /// Disk signature instead of the derived one (MBR); in a hybrid one it is 0 unless given.
    pub signature: Option<u32>,
    /// Where the entries of the GPT lie; the header is always in the second sector.
    pub gpt_location: ByteSize,
    /// Whether the GPT has its copy at the end of the disk.
    pub gpt_backup: bool,
    /// Partitions in table order.
    pub partitions: Vec<PartitionSpec>,
    /// Raw data at fixed offsets.
    pub blobs: Vec<BlobSpec>,
    /// What all identifiers derive from: different images must have different seeds.
    pub seed: Digest,
}

impl DiskSpec {
    /// Default alignment: the erase block of most cards.
    pub const ALIGN: ByteSize = ByteSize::mib(4);
    /// Where a GPT's entries lie unless told otherwise: behind its header.
    pub const GPT_LOCATION: ByteSize = ByteSize(1024);

    /// An empty disk.
    pub const fn new(table: Table, seed: Digest) -> Self {
        DiskSpec {
            table,
            size: None,
            align: Self::ALIGN,
            uuid: None,
            signature: None,
            gpt_location: Self::GPT_LOCATION,
            gpt_backup: true,
            partitions: Vec::new(),
            blobs: Vec::new(),
            seed,
        }
    }
}

/// A partition.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    /// Name: in the GPT, in messages, and the role that its identifiers derive from.
    pub name: String,
    /// Type.
    pub kind: PartitionType,
    /// Type in the MBR of a hybrid table; `None` keeps the partition out of it.
    pub mbr_kind: Option<PartitionType>,
    /// Number in the table; by default the lowest free one.
    pub number: Option<u32>,
    /// Inside the extended partition (MBR).
    pub logical: bool,
    /// Active flag (MBR) or legacy-boot attribute (GPT), where U-Boot's distro boot looks.
    pub bootable: bool,
    /// Other attributes (GPT).
    pub attributes: Vec<Attribute>,
    /// Fixed offset; by default the next free aligned one.
    pub offset: Option<ByteSize>,
    /// The blob that it comes behind when it has no offset; by default only what is declared before it.
    pub after: Option<String>,
    /// Alignment instead of the disk's.
    pub align: Option<ByteSize>,
    /// Size.
    pub size: Size,
    /// GUID instead of the derived one (GPT only).
    pub uuid: Option<String>,
    /// Content.
    pub fill: Fill,
    /// What everything behind raw content reads as; by default anything.
    pub fill_byte: Option<u8>,
    /// Where it was declared, for messages: `boards/rpi4.toml:14:9`.
    pub origin: Option<String>,
}

impl PartitionSpec {
    /// An empty partition that takes its place and size from what is said of it later.
    pub fn new(name: impl Into<String>, kind: PartitionType) -> Self {
        PartitionSpec {
            name: name.into(),
            kind,
            mbr_kind: None,
            number: None,
            logical: false,
            bootable: false,
            attributes: Vec::new(),
            offset: None,
            after: None,
            align: None,
            size: Size::Auto { room: ByteSize(0) },
            uuid: None,
            fill: Fill::Empty,
            fill_byte: None,
            origin: None,
        }
    }
}

/// An attribute of a GPT partition.
///
/// Source: UEFI 2.10 table 5-8 (bits 0 to 2), the Discoverable Partitions Specification (59, 60, 63),
/// Microsoft's `CREATE_PARTITION_PARAMETERS` (60, 62, 63).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// The platform needs it: not to be deleted.
    Required,
    /// Firmware makes no block device of it.
    NoBlockIo,
    /// Where legacy BIOS, and U-Boot's distro boot, look: the same as `bootable`.
    LegacyBoot,
    /// To be grown to its partition when mounted.
    Growfs,
    /// Not to be written to.
    ReadOnly,
    /// Not to be shown.
    Hidden,
    /// Not to be mounted by itself.
    NoAutomount,
}

impl Attribute {
    /// Its bit.
    pub const fn bit(self) -> u64 {
        1 << match self {
            Attribute::Required => 0,
            Attribute::NoBlockIo => 1,
            Attribute::LegacyBoot => 2,
            Attribute::Growfs => 59,
            Attribute::ReadOnly => 60,
            Attribute::Hidden => 62,
            Attribute::NoAutomount => 63,
        }
    }
}

/// How large a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// This large.
    Fixed(ByteSize),
    /// What the content needs.
    Auto {
        /// Free room besides.
        room: ByteSize,
    },
    /// Everything up to what comes next, or to the end of the disk.
    Rest,
}

/// What a partition holds.
#[derive(Debug, Clone)]
pub enum Fill {
    /// A filesystem.
    Filesystem {
        /// Kind of filesystem.
        kind: filesystem::Kind,
        /// Volume label, may be empty.
        label: String,
        /// Content; `None` while it does not exist yet: the layout is provisional then.
        tree: Option<Tree>,
        /// What its writer keeps from one question to the next.
        scratch: filesystem::Scratch,
    },
    /// Raw bytes from the partition's first byte on.
    Raw(Content),
    /// Content that does not exist yet: the layout is provisional.
    Pending,
    /// Nothing; the first MiB reads as zero, the rest may hold anything on a used card.
    Empty,
}

impl Fill {
    /// A filesystem; without a tree a provisional one.
    pub fn filesystem(kind: filesystem::Kind, label: impl Into<String>, tree: Option<Tree>) -> Self {
        Fill::Filesystem { kind, label: label.into(), tree, scratch: filesystem::Scratch::default() }
    }
}

/// Raw data at a fixed offset.
#[derive(Debug, Clone)]
pub struct BlobSpec {
    /// Name for messages and the manifest.
    pub name: String,
    /// The partition that it lies in; by default it lies outside every partition.
    pub partition: Option<String>,
    /// First byte, from the start of the disk or of that partition.
    pub offset: ByteSize,
    /// Content; `None` while it does not exist yet.
    pub content: Option<Content>,
    /// Bytes set aside for it; by default those of the content.
    pub size: Option<ByteSize>,
    /// What everything behind the content reads as, up to `size`; by default anything.
    pub fill_byte: Option<u8>,
    /// Ranges of it, first byte and end, that hold nothing of importance: others may lie there.
    pub holes: Vec<(ByteSize, ByteSize)>,
    /// Where it was declared.
    pub origin: Option<String>,
}

impl BlobSpec {
    /// A blob without content.
    pub fn new(name: impl Into<String>, offset: ByteSize) -> Self {
        BlobSpec {
            name: name.into(),
            partition: None,
            offset,
            content: None,
            size: None,
            fill_byte: None,
            holes: Vec::new(),
            origin: None,
        }
    }

    /// Bytes set aside.
    fn len(&self) -> u64 {
        let content = self.content.as_ref().map_or(0, Content::len);
        self.size.map_or(content, |size| size.0.max(content))
    }

    /// What it takes of itself between its holes: ascending ranges, first byte and end.
    fn segments(&self) -> Vec<(u64, u64)> {
        let mut holes: Vec<(u64, u64)> = self.holes.iter().map(|(start, end)| (start.0, end.0)).collect();
        holes.sort_unstable();
        let (mut segments, mut from, end) = (Vec::new(), 0, self.len());
        for (hole, behind) in holes {
            if hole > from {
                segments.push((from, hole.min(end)));
            }
            from = from.max(behind);
            if from >= end {
                return segments;
            }
        }
        segments.push((from, end));
        segments
    }
}

/// A block map of these ranges of blocks, both ends included, with their digests.
#[cfg(test)]
pub(crate) fn bmap_text(size: u64, ranges: impl Iterator<Item = (u64, u64, Digest)>) -> String {
    let ranges: Vec<_> = ranges
        .map(|(first, last, sha256)| image::Range {
            start: first * 4096,
            len: (last - first + 1) * 4096,
            sha256,
        })
        .collect();
    bmap::render(size, &ranges)
}

#[cfg(test)]
mod tests;
