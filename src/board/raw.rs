//! What a profile file says, word for word: the serde mirror, before inheritance and validation.
//!
//! Every field is optional because a file may extend another one; [`super::resolve`] lays them over
//! each other and says what is missing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};

use super::text::At;
use crate::arch::Arch;
use crate::boot::BootSpec;
use crate::deploy::spec::DeploySpec;
use crate::disk::{Attribute, Table};
use crate::emulate::EmulatorSpec;
use crate::filesystem;
use crate::rootfs::RootfsSpec;
use crate::source::Source;
use crate::units::ByteSize;

/// A board profile.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bimg board profile")]
pub struct RawBoard {
    /// Profiles that this one builds on, e.g. `common/qemu.toml`; later ones win, this file wins over all.
    pub extends: Option<Vec<At<String>>>,
    /// One line about the board.
    pub description: Option<String>,
    /// Target architecture.
    pub arch: Option<At<Arch>>,
    /// Cross toolchain by name (`toolchains/*.toml`); by default gcc for the architecture.
    pub toolchain: Option<At<String>>,
    /// The kernel.
    pub kernel: Option<RawKernel>,
    /// Firmware and boot loaders by name; files in them are written `NAME:PATH` elsewhere.
    pub firmware: Option<BTreeMap<String, At<Sources>>>,
    /// How the board loads its kernel.
    pub boot: Option<At<BootSpec>>,
    /// Partition table, partitions and raw blobs.
    pub disk: Option<RawDisk>,
    /// The root filesystem.
    pub rootfs: Option<At<RootfsSpec>>,
    /// How `bimg deploy` treats the board.
    pub deploy: Option<At<DeploySpec>>,
    /// The QEMU machine that can boot the image.
    pub emulator: Option<At<EmulatorSpec>>,
}

/// One source, or alternatives tried in order.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes the schema; values are read by the visitor below")]
enum SourcesShape {
    One(Source),
    Alternatives(Vec<Source>),
}

/// Alternatives, tried in order.
#[derive(Debug, Clone)]
pub struct Sources(pub Vec<Source>);

impl JsonSchema for Sources {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sources".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        SourcesShape::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Sources;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a source table or a list of them")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Sources, A::Error> {
                Source::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(|one| Sources(vec![one]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Sources, A::Error> {
                let mut all = Vec::new();
                while let Some(source) = seq.next_element()? {
                    all.push(source);
                }
                if all.is_empty() {
                    return Err(serde::de::Error::custom("a list of sources needs at least one"));
                }
                Ok(Sources(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The kernel: source, configuration and what to build.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKernel {
    /// Where the source comes from.
    pub source: Option<At<Sources>>,
    /// `defconfig`, `allnoconfig`, `NAME_defconfig`, or a file: what the configuration starts from.
    pub defconfig: Option<At<String>>,
    /// Configuration fragments laid over it, in order.
    pub fragments: Option<Vec<At<String>>>,
    /// Image formats: `Image`, `Image.gz`, `zImage`, `uImage`, `bzImage`; the first one is booted.
    pub targets: Option<Vec<At<String>>>,
    /// Load and entry address in the header of a `uImage`, which needs one: `0x8000`.
    pub load_address: Option<u32>,
    /// Device trees, as below `arch/ARCH/boot/dts`, e.g. `broadcom/bcm2711-rpi-4-b.dtb`.
    pub dtbs: Option<Vec<At<String>>>,
    /// Device tree overlays built from the kernel source (`.dtbo`).
    pub overlays: Option<Vec<At<String>>>,
    /// Directories of out-of-tree modules to build with it.
    pub modules: Option<Vec<At<String>>>,
    /// Kernel command line without `root=`, which bimg adds.
    pub cmdline: Option<At<String>>,
    /// Other configurations of the same kernel, chosen with `--kernel NAME`.
    pub variant: Option<BTreeMap<String, At<RawVariant>>>,
}

/// What a kernel variant replaces.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawVariant {
    /// As in `[kernel]`.
    pub defconfig: At<String>,
    /// As in `[kernel]`; replaces the list.
    pub fragments: Option<Vec<At<String>>>,
}

/// The disk.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawDisk {
    /// Kind of partition table: `mbr`, `gpt`, `hybrid` (both) or `none`.
    pub table: Option<At<Table>>,
    /// Size of the whole image; by default what the partitions need.
    pub size: Option<At<ByteSize>>,
    /// Alignment of partitions and of sizes by content; 4M by default, the erase block of most cards.
    pub align: Option<At<ByteSize>>,
    /// GUID of the disk; by default derived from the content (GPT).
    pub uuid: Option<At<String>>,
    /// Disk signature, e.g. `0x1234abcd`; by default derived from the content (MBR).
    pub signature: Option<At<u32>>,
    /// Where the entries of the GPT lie; 1K by default. Moved for boards that want their boot loader there.
    pub gpt_location: Option<At<ByteSize>>,
    /// Whether the GPT has its copy at the end of the disk; true by default.
    pub gpt_backup: Option<At<bool>>,
    /// Partitions in table order.
    pub partition: Option<Vec<At<RawPartition>>>,
    /// Raw data at fixed offsets, e.g. boot loaders.
    pub blob: Option<Vec<At<RawBlob>>>,
}

/// A partition.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPartition {
    /// Name: in the GPT, in messages, and what its identifiers derive from.
    pub name: At<String>,
    /// Type by name (`esp`, `fat`, `linux`, `linux-root-arm64`, ...), MBR code (`0x0c`) or GUID.
    #[serde(rename = "type")]
    pub kind: Option<At<String>>,
    /// Type in the MBR of a hybrid table; without it the partition is in the GPT alone.
    pub mbr_type: Option<At<String>>,
    /// Number in the table; by default the lowest free one.
    pub number: Option<u32>,
    /// Inside the extended partition (MBR), which is made for it.
    #[serde(default)]
    pub logical: bool,
    /// Filesystem written into it.
    pub filesystem: Option<At<Filesystem>>,
    /// What it holds; several partitions may hold the same.
    pub content: Option<At<Content>>,
    /// Files to put into its filesystem: path there = `NAME:PATH` in a firmware, or a file or directory.
    #[serde(default)]
    pub files: BTreeMap<String, At<String>>,
    /// Raw content for a partition without a filesystem: `NAME:PATH` in a firmware, or a file.
    pub file: Option<At<String>>,
    /// Fixed size, or `rest` for all that is left of the disk; by default what the content needs.
    pub size: Option<At<PartitionSize>>,
    /// Free room added to what the content needs; not with `size`.
    pub room: Option<At<ByteSize>>,
    /// Fixed offset from the start of the disk.
    pub offset: Option<At<ByteSize>>,
    /// The blob that it comes behind when it has no `offset`; by default only what is declared before it.
    pub after: Option<At<String>>,
    /// Alignment of this partition instead of the disk's.
    pub align: Option<At<ByteSize>>,
    /// Byte that everything behind a raw `file` reads as, e.g. `0xff`; by default it is not written.
    pub fill: Option<At<u8>>,
    /// Bootable flag (MBR) or legacy-boot attribute (GPT).
    #[serde(default)]
    pub bootable: bool,
    /// Other attributes (GPT).
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// Filesystem label; by default the name.
    pub label: Option<At<String>>,
    /// Partition UUID; by default derived from the content (GPT).
    pub uuid: Option<At<String>>,
}

/// The size of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionSize {
    /// This large.
    Fixed(ByteSize),
    /// What is left of the disk.
    Rest,
}

impl<'de> Deserialize<'de> for PartitionSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        let raw = Raw::deserialize(deserializer).map_err(|_| {
            serde::de::Error::custom("expected a size such as `64M`, a number of bytes, or `rest`")
        })?;
        match raw {
            Raw::Text(text) if text == "rest" => Ok(PartitionSize::Rest),
            Raw::Text(text) => ByteSize::deserialize(text.into_deserializer()).map(PartitionSize::Fixed),
            Raw::Number(number) => Ok(PartitionSize::Fixed(ByteSize(number))),
        }
    }
}

impl JsonSchema for PartitionSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PartitionSize".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let size = generator.subschema_for::<ByteSize>();
        schemars::json_schema!({ "anyOf": [size, { "const": "rest" }] })
    }
}

/// What a partition is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// The boot chain's files.
    Boot,
    /// The root filesystem.
    Root,
}

/// A filesystem that bimg writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// FAT; 12, 16 or 32 by size.
    Vfat,
    /// FAT32.
    Fat32,
    /// FAT16.
    Fat16,
    /// FAT12.
    Fat12,
    /// ext4.
    Ext4,
    /// ext3.
    Ext3,
    /// ext2.
    Ext2,
    /// EROFS: read-only, as it is.
    Erofs,
    /// SquashFS: read-only, compressed.
    Squashfs,
}

impl Content {
    /// As profiles write it.
    pub const fn name(self) -> &'static str {
        match self {
            Content::Boot => "boot",
            Content::Root => "root",
        }
    }
}

impl Filesystem {
    /// Some FAT.
    pub const fn is_fat(self) -> bool {
        matches!(self, Filesystem::Vfat | Filesystem::Fat12 | Filesystem::Fat16 | Filesystem::Fat32)
    }

    /// What writes it.
    pub const fn writer(self) -> filesystem::Kind {
        match self {
            Filesystem::Vfat => filesystem::Kind::Vfat,
            Filesystem::Fat12 => filesystem::Kind::Fat12,
            Filesystem::Fat16 => filesystem::Kind::Fat16,
            Filesystem::Fat32 => filesystem::Kind::Fat32,
            Filesystem::Ext4 => filesystem::Kind::Ext4,
            Filesystem::Ext3 => filesystem::Kind::Ext3,
            Filesystem::Ext2 => filesystem::Kind::Ext2,
            Filesystem::Erofs => filesystem::Kind::Erofs,
            Filesystem::Squashfs => filesystem::Kind::Squashfs,
        }
    }
}

/// Raw data at a fixed offset.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBlob {
    /// Name for messages and the manifest.
    pub name: At<String>,
    /// `NAME:PATH` in a firmware, or a file; without it `size` and `fill` say what is there.
    pub file: Option<At<String>>,
    /// Offset from the start of the disk, or of the partition that holds it.
    pub offset: At<ByteSize>,
    /// The partition that it lies in, which has no other content; by default it lies outside all.
    pub partition: Option<At<String>>,
    /// Room set aside for it; by default the size of the file, which may not be larger.
    pub size: Option<At<ByteSize>>,
    /// Byte that everything behind the file reads as, up to `size`, e.g. `0xff`.
    pub fill: Option<At<u8>>,
    /// Ranges of it that others may cover, e.g. the partition table: first byte and end, `[[440, 512]]`.
    #[serde(default, deserialize_with = "pairs")]
    pub holes: Vec<(ByteSize, ByteSize)>,
}

/// Pairs of sizes: serde's own pair passes over a third number.
fn pairs<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(ByteSize, ByteSize)>, D::Error> {
    let pair = |hole: Vec<ByteSize>| match hole.as_slice() {
        [start, end] => Ok((*start, *end)),
        _ => Err(serde::de::Error::custom("a hole is two numbers: its first byte and its end")),
    };
    Vec::<Vec<ByteSize>>::deserialize(deserializer)?.into_iter().map(pair).collect()
}

/// Lays `self` over `base`: what `self` says wins, tables merge, everything else is replaced.
pub trait Over {
    /// The merged value.
    #[must_use]
    fn over(self, base: Self) -> Self;
}

impl<T: Over> Over for Option<T> {
    fn over(self, base: Self) -> Self {
        match (self, base) {
            (Some(this), Some(base)) => Some(this.over(base)),
            (this, base) => this.or(base),
        }
    }
}

impl<T> Over for BTreeMap<String, T> {
    fn over(self, mut base: Self) -> Self {
        base.extend(self);
        base
    }
}

/// Merges field by field: `merge` fields are tables, `take` fields are values.
macro_rules! over {
    ($type:ty { merge: $($merge:ident),*; take: $($take:ident),* }) => {
        impl Over for $type {
            fn over(self, base: Self) -> Self {
                Self { $($merge: self.$merge.over(base.$merge),)* $($take: self.$take.or(base.$take),)* }
            }
        }
    };
}

over!(RawBoard {
    merge: kernel, firmware, disk;
    take: extends, description, arch, toolchain, boot, rootfs, deploy, emulator
});
over!(RawKernel {
    merge: variant;
    take: source, defconfig, fragments, targets, load_address, dtbs, overlays, modules, cmdline
});
over!(RawDisk {
    merge: ;
    take: table, size, align, uuid, signature, gpt_location, gpt_backup, partition, blob
});
