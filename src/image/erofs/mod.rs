//! EROFS as it is found: superblock, inodes, and where their data is.
//!
//! Data may be flat, in chunks, or compressed with LZ4, see `packed`. What lies on further devices, and what is
//! compressed otherwise, is told by name; directories are never compressed.
//!
//! Source: Linux `fs/erofs/erofs_fs.h`, `fs/erofs/data.c`, Documentation/filesystems/erofs.rst.

mod files;
mod packed;

use std::io;

use super::inodes::{self, ByInode, Inode, Run, bad};
use super::read::{ReadAt, Source, le16, le32, le64};
use super::volume::{self, unreadable};
use crate::error::Result;
use crate::fsx;

/// Where the superblock is, and how much of it is read.
const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_LEN: usize = 128;
const MAGIC: u32 = 0xE0F5_E1E2;
/// Inodes lie on such boundaries, and are numbered by them.
const SLOT: u64 = 32;
/// Compressed data ends where its block does, zeros before it.
const LZ4_0PADDING: u32 = 0x1;
/// Padding, algorithms, chunks, devices, ends of files in inodes and elsewhere, prefixes of attributes.
const KNOWN: u32 = 0x7F;
/// Stands for a hole in place of a block.
const HOLE: u32 = u32::MAX;

/// What is right in itself, but cannot be read here.
fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// An EROFS for reading.
pub type ErofsVolume = ByInode<Erofs>;

/// What [`ByInode`] needs of it.
pub struct Erofs {
    source: Source,
    /// The logarithm of a block's bytes.
    block_bits: u32,
    /// Bytes.
    size: u64,
    /// First byte of inode 0.
    inodes: u64,
    root: u64,
    /// For inodes that have none of their own, in seconds since 1970.
    time: i64,
    features: u32,
}

/// Where an inode's data is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    layout: Layout,
    /// What the layout makes of it: a block, a format.
    word: u32,
    /// First byte behind the inode and its attributes.
    end: u64,
}

/// How data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// From one block on.
    Plain,
    /// From one block on, the last block behind the inode.
    Inline,
    /// Compressed, with an index of the older form.
    Full,
    /// Compressed.
    Compact,
    /// In chunks, each at a place of its own.
    Chunks,
}

impl ErofsVolume {
    /// Of a partition that holds one; `None` for any other.
    pub fn open(source: Source) -> Result<Option<Self>> {
        let sb = source
            .read_some_at(SUPERBLOCK, SUPERBLOCK_LEN)
            .map_err(|cause| unreadable(fsx::describe(&cause)))?;
        if sb.len() < SUPERBLOCK_LEN || le32(&sb, 0) != MAGIC {
            return Ok(None);
        }
        let (features, block_bits) = (le32(&sb, 80), u32::from(sb[12]));
        if features & !KNOWN != 0 {
            let what = format!("it has features that bimg does not know: {:#x}", features & !KNOWN);
            return Err(unreadable(what).unsupported());
        }
        if sb[90] != 0 {
            return Err(unreadable("its directories have blocks of their own size").unsupported());
        }
        if !(9..=16).contains(&block_bits) {
            return Err(unreadable(format!("its blocks have 2^{block_bits} bytes")));
        }
        let size = u64::from(le32(&sb, 36)) << block_bits;
        volume::check_size(size, &source)?;
        Ok(Some(ByInode::new(Erofs {
            source,
            block_bits,
            size,
            inodes: u64::from(le32(&sb, 40)) << block_bits,
            root: le16(&sb, 14).into(),
            time: le64(&sb, 24) as i64,
            features,
        })))
    }
}

impl Erofs {
    fn block(&self) -> u64 {
        1 << self.block_bits
    }

    /// Bytes of the filesystem.
    fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(bad("it points behind the end of the filesystem"));
        }
        let mut bytes = vec![0; len];
        self.source.read_exact_at(at, &mut bytes)?;
        Ok(bytes)
    }

    fn read_inode(&self, number: u64) -> io::Result<Inode<Place>> {
        let at = number.checked_mul(SLOT).and_then(|at| at.checked_add(self.inodes));
        let at = at.ok_or_else(|| bad("it points nowhere"))?;
        let format = le16(&self.bytes(at, 2)?, 0);
        let is_extended = format & 1 != 0;
        let it = self.bytes(at, if is_extended { 64 } else { 32 })?;
        let layout = match format >> 1 & 7 {
            0 => Layout::Plain,
            1 => Layout::Full,
            2 => Layout::Inline,
            3 => Layout::Compact,
            4 => Layout::Chunks,
            _ => return Err(bad("it has an inode of an unknown layout")),
        };
        let mode = u32::from(le16(&it, 4));
        let kind = inodes::kind_of(mode)?;
        let attributes = match u64::from(le16(&it, 2)) {
            0 => 0,
            words => 12 + (words - 1) * 4,
        };
        let (size, owner, mtime) = if is_extended {
            (le64(&it, 8), (le32(&it, 24), le32(&it, 28)), le64(&it, 32) as i64)
        } else {
            (le32(&it, 8).into(), (le16(&it, 24).into(), le16(&it, 26).into()), self.time)
        };
        Ok(Inode {
            kind,
            mode: mode & 0o7777,
            owner,
            mtime,
            size,
            data: Place { layout, word: le32(&it, 16), end: at + it.len() as u64 + attributes },
        })
    }

    /// The data of an inode that is not compressed from byte `at` on, as far as it lies in one piece; `at` is less
    /// than its size.
    fn run(&self, size: u64, data: Place, at: u64) -> io::Result<Run> {
        let left = size - at;
        let place = u64::from(data.word) << self.block_bits;
        match data.layout {
            Layout::Plain => Ok(Run::Data(place.saturating_add(at), left)),
            Layout::Inline => {
                let behind = (size - 1) / self.block() * self.block();
                if at < behind {
                    return Ok(Run::Data(place.saturating_add(at), behind - at));
                }
                if data.end % self.block() + (size - behind) > self.block() {
                    return Err(bad("the end of a file crosses a block"));
                }
                Ok(Run::Data(data.end + (at - behind), left))
            }
            Layout::Chunks => self.chunk(size, data, at),
            Layout::Full | Layout::Compact => Err(bad("a directory or a link is compressed")),
        }
    }

    fn chunk(&self, size: u64, data: Place, at: u64) -> io::Result<Run> {
        const INDEXED: u32 = 0x20;
        let chunk = 1u64 << (self.block_bits + (data.word & 0x1F));
        let (number, within) = (at / chunk, at % chunk);
        let len = (chunk - within).min(size - at);
        let width: u64 = if data.word & INDEXED != 0 { 8 } else { 4 };
        let entry = number
            .checked_mul(width)
            .and_then(|offset| offset.checked_add(data.end.next_multiple_of(width)))
            .ok_or_else(|| bad("it points nowhere"))?;
        let entry = self.bytes(entry, width as usize)?;
        let block = le32(&entry, width as usize - 4);
        if block == HOLE {
            return Ok(Run::Zeros(len));
        }
        if width == 8 && le16(&entry, 2) != 0 {
            return Err(unsupported("it lies on another device"));
        }
        Ok(Run::Data((u64::from(block) << self.block_bits).saturating_add(within), len))
    }
}

#[cfg(test)]
mod tests;
