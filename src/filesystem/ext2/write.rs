//! Writing what is planned: group by group.

use mkext4::spec::{GroupDesc, Superblock, compat, incompat, ro_compat};

use super::geometry::{DESCRIPTOR, GROUP, Geometry};
use super::{BLOCK, INODES_PER_BLOCK, LOST_AND_FOUND, Piece, Plan, Version, content};
use crate::error::{Context, Result};
use crate::filesystem::{Planned, Sink, ext4};
use crate::units::ByteSize;

/// Share of blocks only root may take, as for our ext4.
const RESERVED_PERCENT: u64 = 1;
/// Bytes of an inode.
const INODE: u64 = BLOCK / INODES_PER_BLOCK;

impl Planned for Plan<'_> {
    fn variant(&self) -> &'static str {
        self.version.name()
    }

    fn used(&self) -> ByteSize {
        let used = (0..self.geometry.groups).map(|group| content::used(self.geometry, &self.taken, group));
        ByteSize(used.sum::<u64>() * BLOCK)
    }

    fn write(&mut self, out: &mut dyn Sink) -> Result<()> {
        let descriptors = self.descriptors();
        let mut pieces = self.pieces.iter().peekable();
        for group in 0..self.geometry.groups {
            let mut at = group * GROUP * BLOCK;
            if Geometry::has_super(group) {
                out.bytes(at, &self.superblock(group))?;
                out.bytes(at + BLOCK, &descriptors)?;
                at += self.geometry.head(group) * BLOCK;
            }
            out.bytes(at, &self.block_bitmap(group))?;
            out.bytes(at + BLOCK, &self.inode_bitmap(group))?;
            self.inode_table(out, at + 2 * BLOCK, group)?;
            let end = self.geometry.data(group).end;
            while let Some((block, piece)) = pieces.next_if(|(block, _)| *block < end) {
                let at = block * BLOCK;
                match piece {
                    Piece::Bytes(bytes) => out.bytes(at, bytes)?,
                    Piece::Zeros(blocks) => out.zeros(at, blocks * BLOCK)?,
                    Piece::Content(content, from, len) => {
                        out.content(at, content, *from, *len).context(|| {
                            format!("cannot write a file into the {} filesystem", self.variant())
                        })?;
                        out.zeros(at + len, len.next_multiple_of(BLOCK) - len)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// Inodes of a group that are in use.
    fn inodes_in(&self, group: u64) -> &[mkext4::spec::Inode] {
        let per_group = self.geometry.inodes_per_group as usize;
        let from = (group as usize * per_group).min(self.inodes.len());
        &self.inodes[from..(from + per_group).min(self.inodes.len())]
    }

    fn free_blocks(&self, group: u64) -> u64 {
        let end = ((group + 1) * GROUP).min(self.geometry.blocks);
        end - group * GROUP - content::used(self.geometry, &self.taken, group)
    }

    fn descriptors(&self) -> Vec<u8> {
        let mut bytes = vec![0; (self.geometry.descriptors() * BLOCK) as usize];
        for (group, slot) in (0..self.geometry.groups).zip(bytes.chunks_exact_mut(DESCRIPTOR as usize)) {
            let bitmap = group * GROUP + self.geometry.head(group);
            let inodes = self.inodes_in(group);
            let is_directory = |inode: &&mkext4::spec::Inode| inode.mode >> 12 == 0o04;
            GroupDesc {
                block_bitmap: bitmap,
                inode_bitmap: bitmap + 1,
                inode_table: bitmap + 2,
                free_blocks_count: self.free_blocks(group) as u32,
                free_inodes_count: (self.geometry.inodes_per_group - inodes.len() as u64) as u32,
                used_dirs_count: inodes.iter().filter(is_directory).count() as u32,
                ..GroupDesc::default()
            }
            .encode32(slot);
        }
        bytes
    }

    fn block_bitmap(&self, group: u64) -> Vec<u8> {
        let len = ((group + 1) * GROUP).min(self.geometry.blocks) - group * GROUP;
        bitmap(content::used(self.geometry, &self.taken, group), len)
    }

    fn inode_bitmap(&self, group: u64) -> Vec<u8> {
        bitmap(self.inodes_in(group).len() as u64, self.geometry.inodes_per_group)
    }

    fn inode_table(&self, out: &mut dyn Sink, at: u64, group: u64) -> Result<()> {
        let inodes = self.inodes_in(group);
        let mut bytes = vec![0; (inodes.len() as u64 * INODE).next_multiple_of(BLOCK) as usize];
        for (inode, slot) in inodes.iter().zip(bytes.chunks_exact_mut(INODE as usize)) {
            inode.encode(slot);
        }
        out.bytes(at, &bytes)?;
        let written = bytes.len() as u64;
        out.zeros(at + written, self.geometry.table() * BLOCK - written)
    }

    /// The block that a group's superblock is in: behind the boot block in the first group.
    fn superblock(&self, group: u64) -> Vec<u8> {
        let journal = self.version == Version::Ext3;
        let time = self.time.secs as u32;
        let mut volume_name = [0; 16];
        volume_name[..self.label.len()].copy_from_slice(self.label.as_bytes());
        let used = self.inodes.len() as u64;
        let groups = 0..self.geometry.groups;
        // The journal's block map, for e2fsck.
        let mut jnl_blocks = [0; 17];
        if journal {
            let inode = &self.inodes[7];
            for (word, bytes) in jnl_blocks.iter_mut().zip(inode.block.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            jnl_blocks[16] = inode.size as u32;
        }
        let superblock = Superblock {
            inodes_count: self.geometry.inodes() as u32,
            blocks_count: self.geometry.blocks,
            r_blocks_count: self.geometry.blocks * RESERVED_PERCENT / 100,
            free_blocks_count: groups.map(|group| self.free_blocks(group)).sum(),
            free_inodes_count: (self.geometry.inodes() - used) as u32,
            first_data_block: 0,
            log_block_size: 2,
            log_cluster_size: 2,
            blocks_per_group: GROUP as u32,
            clusters_per_group: GROUP as u32,
            inodes_per_group: self.geometry.inodes_per_group as u32,
            mtime: 0,
            wtime: time,
            mnt_count: 0,
            max_mnt_count: u16::MAX,
            // Clean; errors are passed over.
            state: 1,
            errors: 1,
            minor_rev_level: 0,
            lastcheck: time,
            checkinterval: 0,
            creator_os: 0,
            rev_level: 1,
            def_resuid: 0,
            def_resgid: 0,
            first_ino: LOST_AND_FOUND,
            inode_size: INODE as u16,
            block_group_nr: group as u16,
            feature_compat: compat::EXT_ATTR
                | compat::DIR_INDEX
                | if journal { compat::HAS_JOURNAL } else { 0 },
            feature_incompat: incompat::FILETYPE,
            feature_ro_compat: ro_compat::SPARSE_SUPER | ro_compat::LARGE_FILE,
            uuid: ext4::uuid(&self.seed),
            volume_name,
            last_mounted: [0; 64],
            reserved_gdt_blocks: 0,
            journal_uuid: [0; 16],
            journal_inum: if journal { 8 } else { 0 },
            journal_dev: 0,
            last_orphan: 0,
            hash_seed: ext4::hash_seed(&self.seed),
            // Half MD4, of signed characters, for the index of a directory that grows.
            def_hash_version: 1,
            jnl_backup_type: u8::from(journal),
            desc_size: 0,
            // Attributes and access lists.
            default_mount_opts: 0x0C,
            first_meta_bg: 0,
            mkfs_time: time,
            jnl_blocks,
            min_extra_isize: 32,
            want_extra_isize: 32,
            flags: 1,
            log_groups_per_flex: 0,
            checksum_type: 0,
            kbytes_written: 0,
            overhead_clusters: 0,
            lpf_ino: 0,
            checksum_seed: 0,
            checksum: 0,
        };
        let mut bytes = vec![0; BLOCK as usize];
        superblock.encode(&mut bytes[if group == 0 { 1024 } else { 0 }..]);
        bytes
    }
}

/// The first bits in use; those past the end as well.
fn bitmap(used: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    for bit in (0..used).chain(len..8 * BLOCK) {
        bytes[(bit / 8) as usize] |= 1 << (bit % 8);
    }
    bytes
}
