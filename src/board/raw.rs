//! What a profile file says, word for word: the serde mirror, before inheritance and validation.
//!
//! Every field is optional because a file may extend another one; [`super::resolve`] lays them over
//! each other and says what is missing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::At;
use crate::arch::Arch;
use crate::boot::BootSpec;
use crate::disk::Table;
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
#[serde(deny_unknown_fields)]
pub struct RawDisk {
    /// Kind of partition table.
    pub table: Option<At<Table>>,
    /// Size of the whole image; by default what the partitions need.
    pub size: Option<At<ByteSize>>,
    /// Alignment of partitions; 4M by default, the erase block of most cards.
    pub align: Option<At<ByteSize>>,
    /// Partitions in table order.
    pub partition: Option<Vec<At<RawPartition>>>,
    /// Raw data at fixed offsets, e.g. boot loaders.
    pub blob: Option<Vec<At<RawBlob>>>,
}

/// A partition.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPartition {
    /// Name: in the GPT, in messages, and for `content = "boot"` and `"root"` what it is filled with.
    pub name: At<String>,
    /// Type by name (`esp`, `fat`, `linux`, `linux-root-arm64`, ...), MBR code (`0x0c`) or GUID.
    #[serde(rename = "type")]
    pub kind: Option<At<String>>,
    /// Filesystem written into it.
    pub filesystem: Option<At<Filesystem>>,
    /// What it holds.
    pub content: Option<At<Content>>,
    /// Raw content for a partition without a filesystem: `NAME:PATH` in a firmware, or a file.
    pub file: Option<At<String>>,
    /// Fixed size; by default what the content needs.
    pub size: Option<At<ByteSize>>,
    /// Free room added to what the content needs; not with `size`.
    pub room: Option<At<ByteSize>>,
    /// Fixed offset from the start of the disk.
    pub offset: Option<At<ByteSize>>,
    /// Bootable flag (MBR) or legacy-boot attribute (GPT).
    #[serde(default)]
    pub bootable: bool,
    /// Filesystem label; by default the name.
    pub label: Option<At<String>>,
    /// Partition UUID; by default derived from the content.
    pub uuid: Option<At<String>>,
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
    /// ext4.
    Ext4,
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
    /// What writes it.
    pub const fn writer(self) -> filesystem::Kind {
        match self {
            Filesystem::Vfat => filesystem::Kind::Vfat,
            Filesystem::Fat16 => filesystem::Kind::Fat16,
            Filesystem::Fat32 => filesystem::Kind::Fat32,
            Filesystem::Ext4 => filesystem::Kind::Ext4,
        }
    }
}

/// Raw data at a fixed offset.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBlob {
    /// Name for messages and the manifest.
    pub name: At<String>,
    /// `NAME:PATH` in a firmware, or a file.
    pub file: At<String>,
    /// Offset from the start of the disk.
    pub offset: At<ByteSize>,
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
    take: extends, description, arch, toolchain, boot, rootfs, emulator
});
over!(RawKernel {
    merge: variant;
    take: source, defconfig, fragments, targets, dtbs, overlays, modules, cmdline
});
over!(RawDisk { merge: ; take: table, size, align, partition, blob });
