//! ext2 and ext3: what older boot loaders and kernels read.
//!
//! ```text
//! group: superblock and descriptors (some groups) | block bitmap | inode bitmap | inode table | data
//! ```
//!
//! Everything is planned up front and written once in ascending order: `mkext4` writes neither, and mke2fs
//! takes owners from a tar only from 1.47.1 on, which Debian 12 does not have. Its structures encode these as
//! well. Blocks of 4 KiB, inodes of 256 bytes with times past 2038, block maps instead of extents. ext3 has a
//! journal besides.
//!
//! Source: Linux `fs/ext2/ext2.h`, Documentation/filesystems/ext2.rst and ext4/.

mod content;
mod geometry;
mod write;

use mkext4::spec::Inode;

use crate::error::{Error, Result};
use crate::filesystem::numbered::{Numbered, numbered};
use crate::filesystem::{Format, Planned, Request, ext4, newest};
use crate::tree::{Content, Kind, Timestamp};
use crate::units::ByteSize;

use content::Builder;
use geometry::{Geometry, indirect};

/// The one block size.
const BLOCK: u64 = 4096;
/// Inodes in a block.
const INODES_PER_BLOCK: u64 = BLOCK / 256;
/// Smallest size that is tried, and the steps.
const STEP: u64 = 1 << 20;
/// Blocks are counted with 32 bits.
const MAX_BLOCKS: u64 = u32::MAX as u64 - 1;
/// Smallest journal in blocks.
const LEAST_JOURNAL: u64 = 1024;
/// Names of an inode at most: the kernel's `EXT2_LINK_MAX`.
const MAX_LINKS: u32 = 32_000;
/// First inode that is not reserved: `/lost+found`.
const LOST_AND_FOUND: u32 = 11;
/// Blocks of `/lost+found`, for e2fsck to use.
const LOST_AND_FOUND_BLOCKS: u64 = 4;
/// Longest target of a link that lies in the inode.
const SHORT_TARGET: usize = 59;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Without a journal.
    Ext2,
    /// With one.
    Ext3,
}

impl Version {
    const fn name(self) -> &'static str {
        match self {
            Version::Ext2 => "ext2",
            Version::Ext3 => "ext3",
        }
    }
}

/// ext2 or ext3.
#[derive(Debug, Clone, Copy)]
pub struct Ext2(pub Version);

impl Format for Ext2 {
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize> {
        let nodes = nodes(self.0, request)?;
        let data = demand(&nodes) + room.0.div_ceil(BLOCK) + indirect(room.0.div_ceil(BLOCK));
        let inodes = inodes(&nodes) + room.0 / (4 * BLOCK);
        let mut size = STEP;
        loop {
            let geometry = Geometry::new(self.0, size, inodes);
            let needed = data + geometry.overhead();
            if needed <= geometry.blocks && inodes <= geometry.inodes() {
                return Ok(ByteSize(size));
            }
            if needed > MAX_BLOCKS {
                return Err(Error::new(format!(
                    "{} cannot hold {}",
                    self.0.name(),
                    ByteSize(needed * BLOCK)
                ))
                .caused_by("its limit is 16 TiB"));
            }
            size = (needed * BLOCK).next_multiple_of(STEP).max(size + STEP);
        }
    }

    fn plan<'a>(&self, request: &Request<'a>, size: ByteSize) -> Result<Box<dyn Planned + 'a>> {
        if request.label.len() > 16 {
            return Err(Error::new(format!("`{}` cannot be an {} label", request.label, self.0.name()))
                .caused_by("it is longer than 16 bytes"));
        }
        let nodes = nodes(self.0, request)?;
        let mut geometry = Geometry::new(self.0, size.0, inodes(&nodes));
        // Just above a step of the journal's size, what fitted below the step would not fit any more.
        while geometry.journal > LEAST_JOURNAL && demand(&nodes) + geometry.overhead() > geometry.blocks {
            geometry.journal /= 2;
        }
        let mut builder = Builder::new(geometry);
        let time = Timestamp { secs: ext4::epoch(newest(request.tree)), nanos: 0 };
        builder.lay(self.0, &nodes, time)?;
        Ok(Box::new(Plan {
            version: self.0,
            geometry,
            pieces: builder.pieces,
            inodes: builder.inodes,
            taken: builder.taken,
            label: request.label.to_string(),
            seed: request.seed,
            time,
        }))
    }

    fn uuid(&self, seed: &[u8; 32]) -> String {
        ext4::Ext4.uuid(seed)
    }

    fn label(&self, label: &str) -> String {
        label.to_string()
    }
}

/// A filesystem whose every byte has its place.
struct Plan<'a> {
    version: Version,
    geometry: Geometry,
    /// Contents by their first block, ascending; none reaches into another group.
    pieces: Vec<(u64, Piece<'a>)>,
    /// From number 1 on.
    inodes: Vec<Inode>,
    /// Blocks of data in use in each group, from the first one on.
    taken: Vec<u64>,
    label: String,
    seed: [u8; 32],
    time: Timestamp,
}

/// What whole blocks hold.
enum Piece<'a> {
    Bytes(Vec<u8>),
    /// From a byte on, so many; the last block is filled up with zeros.
    Content(&'a Content, u64, u64),
    /// So many blocks.
    Zeros(u64),
}

/// The tree without a `/lost+found` of its own, checked for what cannot be held.
fn nodes<'a>(version: Version, request: &Request<'a>) -> Result<Vec<Numbered<'a>>> {
    let mut nodes = numbered(request.tree);
    let refused = |path: &dyn std::fmt::Display, why: String| {
        Error::new(format!("{} cannot hold `{path}`", version.name())).caused_by(why)
    };
    for node in &nodes {
        if ext4::is_lost_and_found(node.path)
            && !(node.path.as_str() == "lost+found" && node.inode.kind == Kind::Directory)
        {
            return Err(refused(&node.path, "/lost+found belongs to the filesystem checker".to_string())
                .hint("leave it out of the layer"));
        }
        if node.links >= MAX_LINKS {
            return Err(refused(
                &node.path,
                format!("it would have {} names, the limit is {MAX_LINKS}", node.links),
            ));
        }
        let blocks = blocks_of(node);
        // Counted in sectors, with 32 bits.
        if (blocks + indirect(blocks)) * (BLOCK / 512) > u32::MAX.into() {
            let len = ByteSize(blocks * BLOCK);
            return Err(refused(&node.path, format!("it has {len}, the limit is 2 TiB")));
        }
    }
    // It is the last but for what it would hold; nothing is numbered behind it that it would move.
    if let Some(at) = nodes.iter().position(|node| node.path.as_str() == "lost+found") {
        nodes.remove(at);
        let root = &mut nodes[0];
        root.links -= 1;
        root.children.retain(|(_, child)| *child != at);
        for node in &mut nodes {
            let moved = |index: &mut usize| *index -= usize::from(*index > at);
            moved(&mut node.parent);
            node.children.iter_mut().for_each(|(_, child)| moved(child));
        }
    }
    Ok(nodes)
}

/// Blocks of data of an inode, those that only hold block numbers aside.
fn blocks_of(node: &Numbered<'_>) -> u64 {
    match &node.inode.kind {
        Kind::File(content) => content.len().div_ceil(BLOCK),
        Kind::Symlink(target) if target.len() > SHORT_TARGET => 1,
        Kind::Directory => {
            let names = node.children.iter().map(|(name, _)| *name);
            content::in_blocks(names.chain(is_root(node).then_some("lost+found"))).len() as u64
        }
        _ => 0,
    }
}

fn is_root(node: &Numbered<'_>) -> bool {
    node.path.as_str().is_empty()
}

/// Blocks that the content takes, whatever the size of the filesystem.
fn demand(nodes: &[Numbered<'_>]) -> u64 {
    let of = |node: &Numbered<'_>| {
        let blocks = blocks_of(node);
        blocks + indirect(blocks) + u64::from(!node.inode.meta.xattrs.is_empty())
    };
    LOST_AND_FOUND_BLOCKS + nodes.iter().map(of).sum::<u64>()
}

/// Inodes that it takes: the root has a reserved one.
fn inodes(nodes: &[Numbered<'_>]) -> u64 {
    u64::from(LOST_AND_FOUND) + nodes.len() as u64 - 1
}
