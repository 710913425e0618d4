//! Where the data of an inode is: extents, or blocks and blocks of blocks.
//!
//! Source: Linux `Documentation/filesystems/ext4/{ifork,blockmap}.rst`.

use std::io;

use super::super::inodes::{Run, Runs};
use super::super::read::{ReadAt, Source, le16, le32};
use super::{Ext, bad};

/// Before each node of a tree of extents.
const MAGIC: u16 = 0xF30A;
/// Bytes of a node's header, and of each entry.
const ENTRY: usize = 12;
/// Levels that a tree has at most.
const DEPTH: u16 = 5;
/// Blocks of an extent at most; one that says more is set aside, and reads as zeros.
const LONGEST: u64 = 1 << 15;
/// Blocks that an inode names itself.
const DIRECT: u64 = 12;

/// The map in an inode.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    root: [u8; 60],
    has_extents: bool,
}

impl Map {
    /// From the 60 bytes of an inode.
    pub fn new(root: &[u8], has_extents: bool) -> Self {
        Map { root: super::bytes(root, 0), has_extents }
    }

    /// Where a block of the file lies.
    pub(super) fn find(&self, source: &Source, ext: &Ext, block: u64) -> io::Result<Found> {
        let finder = Finder { source, ext };
        if self.has_extents { finder.extent(&self.root, block) } else { finder.blocks(&self.root, block) }
    }
}

/// `size` bytes of data.
pub fn data<'a>(
    source: &'a Source,
    ext: &'a Ext,
    map: Map,
    size: u64,
) -> Runs<'a, impl FnMut(u64) -> io::Result<Run> + 'a> {
    Runs::new(source, size, move |at| {
        let (block, within) = (at / ext.block, at % ext.block);
        let (place, count) = map.find(source, ext, block)?;
        let len = count.saturating_mul(ext.block) - within;
        match place {
            None => Ok(Run::Zeros(len)),
            Some(place) => {
                let place = place.checked_mul(ext.block).ok_or_else(|| bad("it points nowhere"))?;
                Ok(Run::Data(place + within, len))
            }
        }
    })
}

/// A block of the filesystem, or none for a hole, and how many of the file's blocks lie so.
type Found = (Option<u64>, u64);

struct Finder<'a> {
    source: &'a Source,
    ext: &'a Ext,
}

impl Finder<'_> {
    fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        if number == 0 || number >= self.ext.blocks {
            return Err(bad("it points behind the end of the filesystem"));
        }
        let mut bytes = vec![0; self.ext.block as usize];
        self.source.read_exact_at(number * self.ext.block, &mut bytes)?;
        Ok(bytes)
    }

    /// In a tree of extents.
    fn extent(&self, root: &[u8], wanted: u64) -> io::Result<Found> {
        let mut node = root.to_vec();
        // Where the next entry begins, of this node or of one above; blocks are counted with 32 bits.
        let mut end = 1 << 32;
        if wanted >= end {
            return Err(bad("a file is longer than its map"));
        }
        let mut level = le16(&node, 6);
        if level > DEPTH {
            return Err(bad("a tree of extents is too deep"));
        }
        loop {
            let count = usize::from(le16(&node, 2));
            if le16(&node, 0) != MAGIC || le16(&node, 6) != level || (count + 1) * ENTRY > node.len() {
                return Err(bad("a tree of extents is damaged"));
            }
            let start_of = |index: usize| u64::from(le32(&node, (index + 1) * ENTRY));
            let behind = (0..count).find(|index| start_of(*index) > wanted).unwrap_or(count);
            if behind < count {
                end = end.min(start_of(behind));
            }
            let Some(index) = behind.checked_sub(1) else { return Ok((None, end - wanted)) };
            let entry = &node[(index + 1) * ENTRY..];
            if level == 0 {
                let (len, start) = (u64::from(le16(entry, 4)), start_of(index));
                let place = u64::from(le16(entry, 6)) << 32 | u64::from(le32(entry, 8));
                let (len, is_set_aside) = if len > LONGEST { (len - LONGEST, true) } else { (len, false) };
                let left = (start + len).min(end);
                return Ok(match left.checked_sub(wanted) {
                    None | Some(0) => (None, end - wanted),
                    Some(count) if is_set_aside => (None, count),
                    Some(count) => (Some(place + (wanted - start)), count),
                });
            }
            node = self.block(u64::from(le16(entry, 8)) << 32 | u64::from(le32(entry, 4)))?;
            level -= 1;
        }
    }

    /// In blocks of blocks.
    fn blocks(&self, root: &[u8], wanted: u64) -> io::Result<Found> {
        let per = self.ext.block / 4;
        if wanted < DIRECT {
            return Ok(run(&root[..DIRECT as usize * 4], wanted));
        }
        let mut index = wanted - DIRECT;
        // Blocks that one entry stands for, at each number of levels.
        let (mut span, mut slot) = (per, DIRECT as usize);
        while index >= span {
            index -= span;
            (span, slot) = (span.saturating_mul(per), slot + 1);
            if slot > DIRECT as usize + 2 {
                return Err(bad("a file is longer than its map"));
            }
        }
        let mut table = u64::from(le32(root, slot * 4));
        loop {
            // A hole may be as large as what is missing.
            if table == 0 {
                return Ok((None, span - index));
            }
            let bytes = self.block(table)?;
            span /= per;
            if span == 1 {
                return Ok(run(&bytes, index));
            }
            table = le32(&bytes, (index / span) as usize * 4).into();
            index %= span;
        }
    }
}

/// From an entry of a table on: blocks that follow each other, or a hole.
fn run(table: &[u8], index: u64) -> Found {
    let entry = |index: u64| u64::from(le32(table, index as usize * 4));
    let (first, len) = (entry(index), table.len() as u64 / 4);
    let follows = |other: &u64| entry(*other) == if first == 0 { 0 } else { first + (other - index) };
    let end = (index + 1..len).find(|other| !follows(other)).unwrap_or(len);
    ((first != 0).then_some(first), end - index)
}
