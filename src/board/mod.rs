//! Board profiles: `boards/*.toml` read, merged, validated.
//!
//! ```text
//! NAME or FILE -> text::parse -> RawBoard (+ extends) -> resolve -> Board
//! ```
//!
//! A [`Board`] is complete and consistent: every name in it means something, every size is possible.
//! What it refers to by file (fragments, overlays) has been read, so later stages do not look it up.

mod disk;
mod find;
mod raw;
mod resolve;
pub mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

pub use find::{Select, names};
pub use raw::{Content, Filesystem, PartitionSize, RawBoard};

use crate::arch::Arch;
use crate::boot::BootSpec;
use crate::data::{DataDirs, DataFile};
use crate::deploy::spec::DeploySpec;
use crate::disk::{Attribute, PartitionType, Table};
use crate::emulate::EmulatorSpec;
use crate::error::Result;
use crate::rootfs::RootfsSpec;
use crate::source::Source;
use crate::toolchain::Toolchain;
use crate::tree::TreePath;
use crate::units::ByteSize;

/// A board, ready to be planned.
#[derive(Debug, Clone)]
pub struct Board {
    /// File stem of the profile.
    pub name: String,
    /// As the user named it: by name or path.
    pub asked: String,
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
    /// How `bimg deploy` treats it.
    pub deploy: DeploySpec,
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
    /// Load and entry address in the header of a `uImage`.
    pub load_address: Option<u32>,
    /// DTBs with where the profile names them.
    pub dtbs: Vec<Named>,
    /// Overlays with where the profile names them.
    pub overlays: Vec<Named>,
    /// Out-of-tree modules.
    pub modules: Vec<PathBuf>,
    /// Command line without `root=`.
    pub cmdline: String,
}

/// A name and where the profile says it: `boards/rpi4.toml:14:9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// File, line and column.
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
    /// GUID of the disk, if given.
    pub uuid: Option<Uuid>,
    /// Disk signature, if given.
    pub signature: Option<u32>,
    /// Where the entries of the GPT lie.
    pub gpt_location: ByteSize,
    /// Whether the GPT has its copy at the end.
    pub gpt_backup: bool,
    /// Partitions in table order.
    pub partitions: Vec<Partition>,
    /// Raw blobs.
    pub blobs: Vec<Blob>,
}

impl Disk {
    /// The first partition with that content.
    pub fn holding(&self, wanted: Content) -> Option<&Partition> {
        self.partitions.iter().find(
            |it| matches!(&it.fill, Fill::Filesystem { content: Some(content), .. } if *content == wanted),
        )
    }

    /// Every file that is laid on the disk or into a filesystem as it is, with where that is declared.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileRef)> {
        let partitions = self.partitions.iter().flat_map(|partition| {
            let files: Vec<_> = match &partition.fill {
                Fill::Raw(file) => vec![file],
                Fill::Filesystem { files, .. } => files.values().collect(),
                Fill::Empty => Vec::new(),
            };
            files.into_iter().map(|file| (partition.origin.as_str(), file))
        });
        let blobs = self.blobs.iter();
        partitions.chain(blobs.filter_map(|blob| Some((blob.origin.as_str(), blob.file.as_ref()?))))
    }
}

/// A partition of a board.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: PartitionType,
    /// Type in the MBR of a hybrid table.
    pub mbr_kind: Option<PartitionType>,
    /// Number, if given.
    pub number: Option<u32>,
    /// Inside the extended partition.
    pub logical: bool,
    /// What is written into it.
    pub fill: Fill,
    /// Byte that everything behind raw content reads as.
    pub fill_byte: Option<u8>,
    /// Size, if given.
    pub size: Option<PartitionSize>,
    /// Free room beyond what the content needs.
    pub room: Option<ByteSize>,
    /// Fixed offset.
    pub offset: Option<ByteSize>,
    /// The blob that it comes behind when it has no offset.
    pub after: Option<String>,
    /// Alignment instead of the disk's.
    pub align: Option<ByteSize>,
    /// Bootable.
    pub bootable: bool,
    /// Other attributes.
    pub attributes: Vec<Attribute>,
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
        /// What it holds; `None` for nothing but `files`.
        content: Option<Content>,
        /// Files and directories laid over that, by their path in it.
        files: BTreeMap<TreePath, FileRef>,
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
    /// The partition that it lies in.
    pub partition: Option<String>,
    /// Content.
    pub file: Option<FileRef>,
    /// Offset from the start of the disk, or of that partition.
    pub offset: ByteSize,
    /// Room set aside for it.
    pub size: Option<ByteSize>,
    /// Byte that everything behind the content reads as.
    pub fill_byte: Option<u8>,
    /// Ranges that others may cover.
    pub holes: Vec<(ByteSize, ByteSize)>,
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

impl Disk {
    /// Reads the disk of a profile that need not say anything else, for images made of files alone.
    pub fn load(profile: &str, dirs: &DataDirs) -> Result<Disk> {
        resolve::disk_alone(find::load(profile, dirs)?, dirs)
    }

    /// True for a profile that is a layout and no board: it has a disk and says nothing of what runs on it. Such a
    /// file is for `bimg assemble`, and for boards to extend.
    pub fn is_layout(profile: &str, dirs: &DataDirs) -> bool {
        find::load(profile, dirs).is_ok_and(|loaded| {
            let raw = loaded.raw;
            raw.disk.is_some()
                && raw.arch.is_none()
                && raw.kernel.is_none()
                && raw.boot.is_none()
                && raw.rootfs.is_none()
        })
    }

    /// The same with its files looked up in `inputs`, and what the profile consists of.
    pub fn load_with(profile: &str, inputs: &Path, dirs: &DataDirs) -> Result<(Disk, Vec<DataFile>)> {
        let mut loaded = find::load(profile, dirs)?;
        loaded.base = Some(inputs.to_owned());
        let files = loaded.files.clone();
        Ok((resolve::disk_alone(loaded, dirs)?, files))
    }
}

/// JSON Schema of profiles, for editors.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(RawBoard)
}
