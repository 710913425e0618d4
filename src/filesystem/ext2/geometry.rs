//! Where the fixed parts of a filesystem lie: groups, each with its own bitmaps and inode table.

use super::{BLOCK, INODES_PER_BLOCK, LEAST_JOURNAL, Version};
use crate::filesystem::ext4::has_backup;

/// Blocks of a group: what a bitmap of one block can count.
pub const GROUP: u64 = 8 * BLOCK;
/// One inode for this many bytes, as mke2fs has it.
const BYTES_PER_INODE: u64 = 16_384;
/// Blocks that a last group must have beyond its own metadata to be worth having, as for mke2fs.
const LEAST_IN_GROUP: u64 = 50;
/// Bytes of a group descriptor.
pub const DESCRIPTOR: u64 = 32;

/// The fixed parts of a filesystem of some size.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Blocks.
    pub blocks: u64,
    /// Groups.
    pub groups: u64,
    /// Inodes of a group, whole blocks of them.
    pub inodes_per_group: u64,
    /// Blocks of the journal.
    pub journal: u64,
}

impl Geometry {
    /// For a partition of `size` bytes and at least `inodes`. A last group that has no room beside its own
    /// metadata is left out.
    pub fn new(version: Version, size: u64, inodes: u64) -> Self {
        let blocks = size / BLOCK;
        let it = Self::of(version, blocks, inodes);
        let rest = blocks % GROUP;
        if it.groups > 1 && rest > 0 && rest < it.metadata(it.groups - 1) + LEAST_IN_GROUP {
            return Self::of(version, blocks - rest, inodes);
        }
        it
    }

    fn of(version: Version, blocks: u64, inodes: u64) -> Self {
        let groups = blocks.div_ceil(GROUP).max(1);
        let wanted = (blocks * BLOCK / BYTES_PER_INODE).max(inodes);
        let inodes_per_group = wanted.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK).min(GROUP);
        // As mke2fs has it up to 16 GiB.
        let journal = match (version, blocks) {
            (Version::Ext2, _) => 0,
            (Version::Ext3, 0..32_768) => LEAST_JOURNAL,
            (Version::Ext3, 32_768..262_144) => 4096,
            (Version::Ext3, 262_144..524_288) => 8192,
            (Version::Ext3, _) => 16_384,
        };
        Geometry { blocks, groups, inodes_per_group, journal }
    }

    /// Inodes.
    pub fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups
    }

    /// Blocks of a group's inode table.
    pub fn table(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Blocks of all group descriptors.
    pub fn descriptors(&self) -> u64 {
        (self.groups * DESCRIPTOR).div_ceil(BLOCK)
    }

    /// True for groups that start with superblock and descriptors.
    pub fn has_super(group: u64) -> bool {
        group == 0 || has_backup(group)
    }

    /// Blocks before a group's bitmaps.
    pub fn head(&self, group: u64) -> u64 {
        if Self::has_super(group) { 1 + self.descriptors() } else { 0 }
    }

    /// Blocks that a group has for itself.
    pub fn metadata(&self, group: u64) -> u64 {
        self.head(group) + 2 + self.table()
    }

    /// The blocks of a group that hold data.
    pub fn data(&self, group: u64) -> std::ops::Range<u64> {
        let end = ((group + 1) * GROUP).min(self.blocks);
        (group * GROUP + self.metadata(group)).min(end)..end
    }

    /// Blocks that never hold content.
    pub fn overhead(&self) -> u64 {
        self.journal
            + indirect(self.journal)
            + (0..self.groups).map(|group| self.metadata(group)).sum::<u64>()
    }
}

/// Block numbers in a block.
pub const PER_BLOCK: u64 = BLOCK / 4;
/// Block numbers in an inode.
pub const DIRECT: u64 = 12;

/// Blocks that hold nothing but the numbers of `blocks` others.
pub fn indirect(blocks: u64) -> u64 {
    let singly = blocks.saturating_sub(DIRECT);
    let doubly = singly.saturating_sub(PER_BLOCK);
    let triply = doubly.saturating_sub(PER_BLOCK * PER_BLOCK);
    // Each level has a block of the first kind for each 1024 others, and one above for each 1024 of those.
    let above = |blocks: u64, levels: u32| {
        (1..=levels).map(|level| blocks.div_ceil(PER_BLOCK.pow(level))).sum::<u64>()
    };
    above(singly.min(PER_BLOCK), 1) + above(doubly.min(PER_BLOCK * PER_BLOCK), 2) + above(triply, 3)
}
