//! Files and directories of an EROFS.

use std::io;

use super::super::inodes::{self, Inode, Inodes, Name, Runs};
use super::super::read::{le16, le64};
use super::super::volume::{Contents, Plain};
use super::packed::Packed;
use super::{Erofs, Layout, Place, bad};

/// Bytes that a name takes before its own.
const DIRENT: usize = 12;

impl Erofs {
    /// Data that is not compressed.
    fn flat(&self, size: u64, data: Place) -> impl Contents {
        Runs::new(&self.source, size, move |at| self.run(size, data, at))
    }
}

impl Inodes for Erofs {
    type Data = Place;

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, number: u64) -> io::Result<Inode<Place>> {
        self.read_inode(number)
    }

    fn names(&self, directory: &Inode<Place>) -> io::Result<Vec<Name>> {
        let bytes = inodes::listing(self.flat(directory.size, directory.data), directory.size, self.size)?;
        let mut names = Vec::new();
        for block in bytes.chunks(self.block() as usize) {
            let first = usize::from(le16(block, 8));
            if first == 0 || !first.is_multiple_of(DIRENT) || first > block.len() {
                return Err(bad("a directory has no sensible number of names"));
            }
            for at in (0..first).step_by(DIRENT) {
                let start = usize::from(le16(block, at + 8));
                let is_last = at + DIRENT == first;
                let end = if is_last { block.len() } else { usize::from(le16(block, at + DIRENT + 8)) };
                let name = block.get(start..end).ok_or_else(|| bad("a directory is cut off"))?;
                // Only the last one may be followed by zeros.
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name.is_empty() || name.len() > 255 {
                    return Err(bad("a name has no sensible length"));
                }
                if name != b"." && name != b".." {
                    inodes::push(&mut names, name, le64(block, at))?;
                }
            }
        }
        Ok(names)
    }

    fn data(&self, inode: Inode<Place>) -> io::Result<Box<dyn Contents + '_>> {
        if matches!(inode.data.layout, Layout::Full | Layout::Compact) {
            return Ok(Box::new(Plain(Packed::new(self, inode.size, inode.data)?)));
        }
        Ok(Box::new(self.flat(inode.size, inode.data)))
    }

    fn most_names(&self) -> u64 {
        self.size / DIRENT as u64
    }
}
