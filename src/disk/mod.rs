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

mod bmap;
mod compress;
mod ids;
mod image;
mod kind;
mod layout;
mod table;
mod write;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::filesystem;
use crate::tree::{Content, Tree};
use crate::units::ByteSize;

pub use compress::{Compression, compress, write_sums};
pub use kind::PartitionType;
pub use layout::{Layout, Placed, layout};
pub use write::{BlobFacts, ImageFacts, PartitionFacts, write};

/// Kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// DOS master boot record, four partitions.
    Mbr,
    /// GUID partition table with its copy at the end.
    Gpt,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::Mbr => "MBR",
            Table::Gpt => "GPT",
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
    /// Alignment of partitions that have no offset of their own.
    pub align: ByteSize,
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
}

/// A partition.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    /// Name: in the GPT, in messages, and the role that its identifiers derive from.
    pub name: String,
    /// Type.
    pub kind: PartitionType,
    /// Active flag (MBR) or legacy-boot attribute (GPT), where U-Boot's distro boot looks.
    pub bootable: bool,
    /// Fixed offset; by default the next free aligned one.
    pub offset: Option<ByteSize>,
    /// Size.
    pub size: Size,
    /// GUID instead of the derived one (GPT only).
    pub uuid: Option<String>,
    /// Content.
    pub fill: Fill,
    /// Where it was declared, for messages: `boards/rpi4.toml:14`.
    pub origin: Option<String>,
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
    },
    /// Raw bytes from the partition's first byte on.
    Raw(Content),
    /// Nothing; the first MiB reads as zero, the rest may hold anything on a used card.
    Empty,
}

/// Raw data at a fixed offset, outside every partition.
#[derive(Debug, Clone)]
pub struct BlobSpec {
    /// Name for messages and the manifest.
    pub name: String,
    /// First byte.
    pub offset: ByteSize,
    /// Content; `None` while it does not exist yet.
    pub content: Option<Content>,
    /// Where it was declared.
    pub origin: Option<String>,
}

#[cfg(test)]
mod tests;
