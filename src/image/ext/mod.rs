//! ext2, ext3 and ext4 as they are found: superblock, group descriptors, which blocks are in use.
//!
//! Source: Linux `Documentation/filesystems/ext4/` and `fs/ext4/{super,balloc}.c`. Checksums are not
//! looked at here: that is e2fsck's work. Understands 64bit, flex_bg, meta_bg, sparse_super(2), bigalloc and
//! groups whose bitmap was never written.

mod files;
mod map;

use std::io;
use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;

use super::inodes::bad;
use super::read::{ReadAt, bytes, le16, le32, text};

pub use files::ExtVolume;

/// Where the superblock is.
pub const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_LEN: usize = 1024;
const MAGIC: u16 = 0xEF53;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
/// What ext4 alone has: all but types of files in directories, a journal to be replayed, meta_bg.
const INCOMPAT_EXT4: u32 = !(0x2 | 0x4 | 0x10);
const RO_SPARSE_SUPER: u32 = 0x1;
const RO_BIGALLOC: u32 = 0x200;
/// What ext4 alone has: all but sparse superblocks, large files, trees of names.
const RO_EXT4: u32 = !(0x1 | 0x2 | 0x4);
/// Group descriptors have checksums, of the old or the new kind.
const RO_GROUP_SUMS: u32 = 0x10 | 0x400;
/// Metadata has checksums, the superblock among it.
const RO_METADATA_SUMS: u32 = 0x400;
/// Group flag: its block bitmap was never written.
const BLOCK_UNINIT: u16 = 2;
/// Descriptors read at once.
const PIECE: u32 = 1024;

/// Which of the three it is, by the features it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// Without a journal.
    Ext2,
    /// With one.
    Ext3,
    /// With extents or any other newer feature.
    Ext4,
}

/// A filesystem's geometry. Blocks are numbered from the filesystem's first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ext {
    /// Which of the three.
    pub version: Version,
    /// Bytes of a block.
    pub block: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks that are free, as the superblock has it.
    pub free: u64,
    /// Block that group 0 starts with: 1 for blocks of 1 KiB, or else 0.
    pub first: u64,
    /// Blocks of a group.
    pub per_group: u64,
    /// Groups.
    pub groups: u64,
    /// Inodes of a group.
    pub inodes_per_group: u64,
    /// Bytes of an inode.
    pub inode: u64,
    /// Bytes of a group descriptor.
    pub descriptor: u64,
    /// Volume label.
    pub label: String,
    /// UUID.
    pub uuid: Uuid,
    /// The journal holds what must be written back before the rest can be believed.
    pub needs_recovery: bool,
    /// Was unmounted well, and no error was noticed.
    pub clean: bool,
    compat: u32,
    incompat: u32,
    ro_compat: u32,
    reserved_gdt: u64,
    first_meta_group: u64,
    backup_groups: [u32; 2],
    /// Blocks that a bit of a bitmap stands for.
    ratio: u64,
}

/// A group's place in the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Number.
    pub number: u64,
    /// Block of the block bitmap.
    pub block_bitmap: u64,
    /// Block of the inode bitmap.
    pub inode_bitmap: u64,
    /// First block of the inode table.
    pub inode_table: u64,
    /// The block bitmap was never written: only metadata is in use.
    pub uninit: bool,
}

impl Ext {
    /// From the 1024 bytes at [`SUPERBLOCK`]; `None` when that is none, or one that the kernel would refuse.
    pub fn parse(sb: &[u8]) -> Option<Self> {
        if sb.len() < SUPERBLOCK_LEN || le16(sb, 0x38) != MAGIC {
            return None;
        }
        let (compat, incompat, ro_compat) = (le32(sb, 0x5C), le32(sb, 0x60), le32(sb, 0x64));
        let log = le32(sb, 0x18);
        if log > 6 || incompat & INCOMPAT_JOURNAL_DEV != 0 {
            return None;
        }
        let block = 1024u64 << log;
        let high = |at: usize| if incompat & INCOMPAT_64BIT == 0 { 0 } else { u64::from(le32(sb, at)) << 32 };
        let blocks = u64::from(le32(sb, 0x04)) | high(0x150);
        let free = u64::from(le32(sb, 0x0C)) | high(0x158);
        let first = u64::from(le32(sb, 0x14));
        let per_group = u64::from(le32(sb, 0x20));
        let inodes_per_group = u64::from(le32(sb, 0x28));
        let old = le32(sb, 0x4C) == 0;
        let inode = if old { 128 } else { u64::from(le16(sb, 0x58)) };
        let descriptor = match u64::from(le16(sb, 0xFE)) {
            len if incompat & INCOMPAT_64BIT != 0 => len,
            _ => 32,
        };
        let ratio = match le32(sb, 0x1C).checked_sub(log) {
            Some(shift) if ro_compat & RO_BIGALLOC != 0 && shift < 20 => 1 << shift,
            _ if ro_compat & RO_BIGALLOC != 0 => return None,
            _ => 1,
        };
        // With blocks of 1 KiB the boot block comes first; bigalloc takes it into its first cluster.
        let is_sound = first == u64::from(log == 0 && ratio == 1)
            && blocks > first
            && per_group >= 8 * ratio
            && per_group <= 8 * block * ratio
            && per_group % (8 * ratio) == 0
            && (32..=1024).contains(&descriptor)
            && descriptor.is_power_of_two()
            && (128..=block).contains(&inode)
            && inode.is_power_of_two()
            && inodes_per_group <= 8 * block
            // The kernel's limit; what follows cannot overflow.
            && blocks <= 1 << 47;
        if !is_sound {
            return None;
        }
        let version = if incompat & INCOMPAT_EXT4 != 0 || ro_compat & RO_EXT4 != 0 {
            Version::Ext4
        } else if compat & COMPAT_HAS_JOURNAL != 0 {
            Version::Ext3
        } else {
            Version::Ext2
        };
        Some(Ext {
            version,
            block,
            blocks,
            free: free.min(blocks),
            first,
            per_group,
            groups: (blocks - first).div_ceil(per_group),
            inodes_per_group,
            inode,
            descriptor,
            label: text(&sb[0x78..0x88]),
            uuid: Uuid::from_bytes(bytes(sb, 0x68)),
            needs_recovery: incompat & INCOMPAT_RECOVER != 0,
            clean: le16(sb, 0x3A) & 3 == 1,
            compat,
            incompat,
            ro_compat,
            reserved_gdt: u64::from(le16(sb, 0xCE)),
            first_meta_group: u64::from(le32(sb, 0x104)),
            backup_groups: [le32(sb, 0x24C), le32(sb, 0x250)],
            ratio,
        })
    }

    /// Of a volume; `None` when it is none of the three.
    pub fn read<R: ReadAt + ?Sized>(volume: &R) -> io::Result<Option<Self>> {
        Ok(Self::parse(&volume.read_some_at(SUPERBLOCK, SUPERBLOCK_LEN)?))
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.blocks * self.block
    }

    /// Bytes that hold something.
    pub fn used_bytes(&self) -> u64 {
        (self.blocks - self.free) * self.block
    }

    /// Name for people: `ext4`.
    pub fn name(&self) -> &'static str {
        match self.version {
            Version::Ext2 => "ext2",
            Version::Ext3 => "ext3",
            Version::Ext4 => "ext4",
        }
    }

    /// The blocks of a group.
    pub fn group_blocks(&self, group: u64) -> Range<u64> {
        let start = self.first + group * self.per_group;
        start..(start + self.per_group).min(self.blocks)
    }

    /// True when the group starts with a copy of the superblock.
    fn has_super(&self, group: u64) -> bool {
        let is_power = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        if group == 0 {
            true
        } else if self.compat & COMPAT_SPARSE_SUPER2 != 0 {
            self.backup_groups.iter().any(|backup| u64::from(*backup) == group)
        } else if self.ro_compat & RO_SPARSE_SUPER == 0 {
            true
        } else {
            group == 1 || is_power(3) || is_power(5) || is_power(7)
        }
    }

    /// Blocks that a bit of a block bitmap stands for: more than one with bigalloc.
    pub fn ratio(&self) -> u64 {
        self.ratio
    }

    /// Bytes of a group's block bitmap.
    pub fn bitmap_len(&self) -> u64 {
        (self.per_group / self.ratio).div_ceil(8)
    }

    /// Blocks of a group's inode table.
    pub fn inode_table_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode).div_ceil(self.block)
    }

    /// The block that holds the superblock.
    fn super_block(&self) -> u64 {
        SUPERBLOCK / self.block
    }

    fn per_block(&self) -> u64 {
        self.block / self.descriptor
    }

    fn is_meta(&self, group: u64) -> bool {
        self.incompat & INCOMPAT_META_BG != 0 && group / self.per_block() >= self.first_meta_group
    }

    /// The byte that a group's descriptor starts at.
    pub fn descriptor_at(&self, group: u64) -> u64 {
        let (index, within) = (group / self.per_block(), group % self.per_block());
        let block = if self.is_meta(group) {
            // Each descriptor block stands in the first of the groups it describes.
            let home = index * self.per_block();
            let start = if home == 0 { self.super_block() } else { self.first + home * self.per_group };
            start + u64::from(self.has_super(home))
        } else {
            self.super_block() + 1 + index
        };
        block * self.block + within * self.descriptor
    }

    /// Blocks that the superblock and the descriptors take at the start of a group.
    pub fn base_blocks(&self, group: u64) -> u64 {
        let head = u64::from(self.has_super(group));
        if self.is_meta(group) {
            let within = group % self.per_block();
            let holds = within == 0 || within == 1 || within == self.per_block() - 1;
            return head + u64::from(holds);
        }
        if head == 0 {
            return 0;
        }
        let table = if self.incompat & INCOMPAT_META_BG != 0 {
            self.first_meta_group
        } else {
            self.groups.div_ceil(self.per_block()) + self.reserved_gdt
        };
        head + table
    }

    /// A group from its descriptor.
    pub fn group(&self, number: u64, descriptor: &[u8]) -> Group {
        let wide = self.descriptor >= 64 && self.incompat & INCOMPAT_64BIT != 0;
        let block = |low: usize, high: usize| {
            u64::from(le32(descriptor, low)) | if wide { u64::from(le32(descriptor, high)) << 32 } else { 0 }
        };
        Group {
            number,
            block_bitmap: block(0x00, 0x20),
            inode_bitmap: block(0x04, 0x24),
            inode_table: block(0x08, 0x28),
            // Without group checksums the flag means nothing, to the kernel either.
            uninit: self.ro_compat & RO_GROUP_SUMS != 0 && le16(descriptor, 0x12) & BLOCK_UNINIT != 0,
        }
    }

    /// Calls `each` with every group in order, until it fails.
    pub fn each_group<R: ReadAt + ?Sized>(
        &self,
        volume: &R,
        each: &mut dyn FnMut(Group) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut number = 0;
        while number < self.groups {
            // Within one block descriptors follow each other; outside meta_bg blocks do as well.
            let step = if self.is_meta(number) { self.per_block() } else { u64::from(PIECE) };
            let mut count = step.min(self.groups - number);
            if !self.is_meta(number) && self.incompat & INCOMPAT_META_BG != 0 {
                count = count.min((self.first_meta_group * self.per_block()).saturating_sub(number).max(1));
            }
            let mut piece = vec![0; (count * self.descriptor) as usize];
            volume.read_exact_at(self.descriptor_at(number), &mut piece)?;
            for descriptor in piece.chunks_exact(self.descriptor as usize) {
                each(self.group(number, descriptor))?;
                number += 1;
            }
        }
        Ok(())
    }

    /// Calls `each` with every run of blocks in use, in ascending order.
    ///
    /// That is what the block bitmaps say; where one was never written, the group's own metadata. Fails
    /// when a bitmap cannot be read, or the filesystem is larger than its volume: the map would not be
    /// whole.
    pub fn used<R: ReadAt + ?Sized>(&self, volume: &R, each: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        if self.size() > volume.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the filesystem is cut off"));
        }
        let mut runs = Runs { open: None, each };
        // The boot block before the first group of a filesystem with blocks of 1 KiB.
        runs.add(0..self.first);
        self.each_group(volume, &mut |group| {
            let blocks = self.group_blocks(group.number);
            if group.uninit {
                self.metadata(&group, &blocks).into_iter().for_each(|range| runs.add(range));
                return Ok(());
            }
            let mut bitmap = vec![0; self.bitmap_len() as usize];
            let at = group.block_bitmap.checked_mul(self.block).ok_or(io::ErrorKind::InvalidData)?;
            volume.read_exact_at(at, &mut bitmap)?;
            for (index, byte) in (0u64..).zip(&bitmap) {
                let unit = 8 * self.ratio;
                let start = blocks.start + index * unit;
                match byte {
                    0 => {}
                    0xFF => runs.add(start..(start + unit).min(blocks.end)),
                    _ => (0..8).filter(|bit| byte >> bit & 1 != 0).for_each(|bit| {
                        let start = start + bit * self.ratio;
                        runs.add(start..(start + self.ratio).min(blocks.end));
                    }),
                }
            }
            Ok(())
        })?;
        if let Some(run) = runs.open {
            each(run);
        }
        Ok(())
    }

    /// What a group without a written bitmap has in use, in ascending order; as `ext4_init_block_bitmap` has it.
    fn metadata(&self, group: &Group, blocks: &Range<u64>) -> Vec<Range<u64>> {
        let table = self.inode_table_blocks();
        let base = blocks.start..(blocks.start + self.base_blocks(group.number)).min(blocks.end);
        let within = |start: u64, len: u64| {
            let end = start.saturating_add(len).min(blocks.end);
            start.max(blocks.start)..end.max(blocks.start)
        };
        let mut ranges = vec![
            base,
            within(group.block_bitmap, 1),
            within(group.inode_bitmap, 1),
            within(group.inode_table, table),
        ];
        ranges.retain(|range| range.start < range.end);
        ranges.sort_by_key(|range| range.start);
        ranges
    }
}

/// Joins ranges that touch.
struct Runs<'a> {
    open: Option<Range<u64>>,
    each: &'a mut dyn FnMut(Range<u64>),
}

impl Runs<'_> {
    fn add(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        match &mut self.open {
            Some(run) if range.start <= run.end => run.end = run.end.max(range.end),
            _ => {
                if let Some(run) = self.open.replace(range) {
                    (self.each)(run);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
