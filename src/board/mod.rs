//! Board profiles: `boards/*.toml` read, merged, validated.
//!
//! ```text
//! NAME or FILE -> text::parse -> RawBoard (+ extends) -> resolve -> Board
//! ```
//!
//! A [`Board`] is complete and consistent: every name in it means something, every size is possible.
//! What it refers to by file (fragments, overlays) has been read, so later stages do not look it up.

mod find;
mod raw;
mod resolve;
pub mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use find::{Select, names};
pub use raw::{Content, Filesystem, RawBoard};

use crate::arch::Arch;
use crate::boot::BootSpec;
use crate::data::{DataDirs, DataFile};
use crate::disk::{PartitionType, Table};
use crate::emulate::EmulatorSpec;
use crate::error::Result;
use crate::rootfs::RootfsSpec;
use crate::source::Source;
use crate::toolchain::Toolchain;
use crate::units::ByteSize;

/// A board, ready to be planned.
#[derive(Debug, Clone)]
pub struct Board {
    /// File stem of the profile.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// The profile as the user would name it.
    pub shown: String,
    /// Target architecture.
    pub arch: Arch,
    /// Cross toolchain.
    pub toolchain: Toolchain,
    /// The kernel.
    pub kernel: Kernel,
    /// Firmware sources by name.
    pub firmware: BTreeMap<String, Vec<Source>>,
    /// Boot chain.
    pub boot: BootSpec,
    /// Disk layout.
    pub disk: Disk,
    /// Root filesystem.
    pub rootfs: RootfsSpec,
    /// Directory that relative paths of the profile start from.
    pub base: PathBuf,
    /// QEMU machine, if one can boot it.
    pub emulator: Option<EmulatorSpec>,
    /// What the profile consists of, for the manifest and fingerprints: the files it was read from.
    pub files: Vec<DataFile>,
}

/// The kernel part of a board.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Alternatives, tried in order.
    pub source: Vec<Source>,
    /// Variant chosen with `--kernel`.
    pub variant: Option<String>,
    /// Configuration to start from.
    pub defconfig: String,
    /// Fragments in order.
    pub fragments: Vec<DataFile>,
    /// Image formats; the first is booted.
    pub targets: Vec<String>,
    /// DTBs with where the profile names them.
    pub dtbs: Vec<Named>,
    /// Overlays with where the profile names them.
    pub overlays: Vec<Named>,
    /// Out-of-tree modules.
    pub modules: Vec<PathBuf>,
    /// Command line without `root=`.
    pub cmdline: String,
}

/// A name and where the profile says it: `boards/rpi4.toml:14`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// File and line.
    pub origin: String,
}

/// The disk part of a board.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Kind of table.
    pub table: Table,
    /// Whole size, if fixed.
    pub size: Option<ByteSize>,
    /// Alignment of partitions.
    pub align: ByteSize,
    /// Partitions in table order.
    pub partitions: Vec<Partition>,
    /// Raw blobs.
    pub blobs: Vec<Blob>,
}

/// A partition of a board.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: PartitionType,
    /// What is written into it.
    pub fill: Fill,
    /// Fixed size, or room to add.
    pub size: Option<ByteSize>,
    /// Free room beyond what the content needs.
    pub room: Option<ByteSize>,
    /// Fixed offset.
    pub offset: Option<ByteSize>,
    /// Bootable.
    pub bootable: bool,
    /// UUID, if given.
    pub uuid: Option<String>,
    /// Where the profile says it.
    pub origin: String,
}

/// What fills a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// A filesystem.
    Filesystem {
        /// Kind.
        kind: Filesystem,
        /// Label.
        label: String,
        /// What it holds; `None` for an empty one.
        content: Option<Content>,
    },
    /// Bytes from a file.
    Raw(FileRef),
    /// Nothing.
    Empty,
}

/// A file in a fetched firmware, or of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRef {
    /// `NAME:PATH`.
    Firmware {
        /// Name in `[firmware]`.
        source: String,
        /// Path in it.
        path: String,
    },
    /// A host file.
    Host(PathBuf),
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileRef::Firmware { source, path } => write!(f, "{source}:{path}"),
            FileRef::Host(path) => path.display().fmt(f),
        }
    }
}

/// Raw data at a fixed offset.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Name.
    pub name: String,
    /// Content.
    pub file: FileRef,
    /// Offset from the start of the disk.
    pub offset: ByteSize,
    /// Where the profile says it.
    pub origin: String,
}

impl Board {
    /// Finds, reads, merges and validates a profile.
    pub fn load(select: &Select<'_>, dirs: &DataDirs) -> Result<Board> {
        let loaded = find::load(select.board, dirs)?;
        resolve::resolve(loaded, select.variant, dirs)
    }
}

/// JSON Schema of profiles, for editors.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(RawBoard)
}
