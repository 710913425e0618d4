//! Free blocks of ext2, ext3 and ext4, from group descriptors and block bitmaps as they pass.

use std::ops::Range;

use super::{Free, Piece, Wants};
use crate::image::ext::{Ext, Group};
use crate::image::read::le16;

/// Groups of the largest filesystem that is looked into: 16 TiB with blocks of 4 KiB.
const MAX_GROUPS: u64 = 1 << 17;

/// What is known of the groups.
pub(super) struct Groups {
    ext: Ext,
    groups: Vec<Group>,
}

impl Groups {
    /// Bitmaps are believed only where the filesystem was left in peace: a journal may hold newer ones.
    pub(super) fn start(ext: Ext, volume: &Range<u64>, index: usize, wants: &mut Wants) -> Option<Self> {
        if ext.needs_recovery || !ext.clean || ext.groups > MAX_GROUPS {
            return None;
        }
        let groups = Groups { ext, groups: Vec::new() };
        groups.want(0, volume, index, wants);
        Some(groups)
    }

    fn per_block(&self) -> u64 {
        self.ext.block / self.ext.descriptor
    }

    /// Waits for the descriptor block number `block`.
    fn want(&self, block: u64, volume: &Range<u64>, index: usize, wants: &mut Wants) {
        let first = block * self.per_block();
        let count = self.per_block().min(self.ext.groups - first);
        let place = volume.start.saturating_add(self.ext.descriptor_at(first));
        wants.add(place, count * self.ext.descriptor, index, Piece::Descriptors(block));
    }

    pub(super) fn descriptors(
        &mut self,
        block: u64,
        bytes: &[u8],
        volume: &Range<u64>,
        index: usize,
        wants: &mut Wants,
        free: &mut Free,
    ) {
        let len = self.ext.bitmap_len();
        for descriptor in bytes.chunks_exact(self.ext.descriptor as usize) {
            let group = self.ext.group(self.groups.len() as u64, descriptor);
            let place =
                group.block_bitmap.checked_mul(self.ext.block).and_then(|at| at.checked_add(volume.start));
            if let Some(place) = place.filter(|_| !group.uninit) {
                wants.add(place, len, index, Piece::Bitmap(group.number, self.free_count(descriptor)));
            }
            self.groups.push(group);
        }
        let next = (block + 1) * self.per_block();
        if next < self.ext.groups {
            self.want(block + 1, volume, index, wants);
        } else {
            self.untouched(volume, free);
        }
    }

    /// Free clusters of a group, as its descriptor has it.
    fn free_count(&self, descriptor: &[u8]) -> u64 {
        let high = if self.ext.descriptor >= 64 { u64::from(le16(descriptor, 0x2C)) << 16 } else { 0 };
        u64::from(le16(descriptor, 0x0C)) | high
    }

    /// Groups whose bitmap was never written: everything is free but metadata, whoever it belongs to.
    fn untouched(&self, volume: &Range<u64>, free: &mut Free) {
        let table = self.ext.inode_table_blocks();
        let mut metadata: Vec<Range<u64>> = self
            .groups
            .iter()
            .flat_map(|group| [(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, table)])
            .map(|(start, len)| start..start.saturating_add(len))
            .collect();
        metadata.sort_by_key(|range| range.start);
        let mut next = 0;
        let mut at = 0;
        for group in self.groups.iter().filter(|group| group.uninit) {
            let blocks = self.ext.group_blocks(group.number);
            at = blocks.start.saturating_add(self.ext.base_blocks(group.number)).max(at);
            while let Some(range) = metadata.get(next).filter(|range| range.start < blocks.end) {
                self.add(volume, at..range.start, free);
                at = at.max(range.end);
                next += 1;
            }
            self.add(volume, at..blocks.end, free);
        }
    }

    /// The bitmap of a group. One that does not agree with its descriptor is not believed.
    pub(super) fn bitmap(&self, group: u64, count: u64, bytes: &[u8], volume: &Range<u64>, free: &mut Free) {
        let blocks = self.ext.group_blocks(group);
        let ratio = self.ext.ratio();
        let clusters = (blocks.end - blocks.start).div_ceil(ratio);
        let is_free = |bit: u64| bytes.get(bit as usize / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 0);
        if (0..clusters).filter(|bit| is_free(*bit)).count() as u64 != count {
            return;
        }
        let mut bit = 0;
        while bit < clusters {
            let start = bit;
            while bit < clusters && is_free(bit) {
                bit += 1;
            }
            let run = blocks.start + start * ratio..(blocks.start + bit * ratio).min(blocks.end);
            self.add(volume, run, free);
            bit += 1;
        }
    }

    fn add(&self, volume: &Range<u64>, blocks: Range<u64>, free: &mut Free) {
        if blocks.start < blocks.end {
            let byte = |block: u64| volume.start.saturating_add(block.saturating_mul(self.ext.block));
            free.add(volume, byte(blocks.start)..byte(blocks.end));
        }
    }
}
