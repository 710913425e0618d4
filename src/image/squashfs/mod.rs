//! SquashFS 4 as it is found: superblock, compressed metadata, inodes.
//!
//! Every block is unpacked into a buffer of the size that the format allows, whatever it claims. Compressed
//! with zlib, xz, zstd, LZ4 or LZMA; LZO is told by name.
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h`, Documentation/filesystems/squashfs.rst.

mod files;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;

use super::inodes::{ByInode, bad};
use super::read::{ReadAt, Source, le16, le32, le64};
use super::volume::{self, unreadable};
use crate::error::Result;
use crate::fsx;

const SUPERBLOCK: usize = 96;
const MAGIC: &[u8] = b"hsqs";
/// Bytes of unpacked metadata in a block.
const METADATA: usize = 8192;
/// Largest block of data.
const MAX_BLOCK: u32 = 1 << 20;
/// Flag of a block of metadata that is not compressed.
const PLAIN: u16 = 1 << 15;
/// Memory that unpacking xz or LZMA may take.
const MEMORY: u64 = 64 << 20;
/// Blocks of metadata that are kept unpacked.
const KEPT: usize = 64;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compressor {
    Zlib,
    Lzma,
    Xz,
    Lz4,
    Zstd,
}

impl Compressor {
    /// By its number; the name of one that is known but cannot be unpacked.
    fn of(number: u16) -> std::result::Result<Self, &'static str> {
        match number {
            1 => Ok(Compressor::Zlib),
            2 => Ok(Compressor::Lzma),
            3 => Err("LZO"),
            4 => Ok(Compressor::Xz),
            5 => Ok(Compressor::Lz4),
            6 => Ok(Compressor::Zstd),
            _ => Err("something unknown"),
        }
    }

    /// Unpacks a block of at most `limit` bytes.
    fn unpack(self, packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        use liblzma::read::XzDecoder;
        use liblzma::stream::Stream;
        let all = |reader: &mut dyn Read| {
            let mut bytes = Vec::new();
            reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = match self {
            Compressor::Zlib => all(&mut flate2::read::ZlibDecoder::new(packed)),
            Compressor::Xz => all(&mut XzDecoder::new_stream(packed, Stream::new_stream_decoder(MEMORY, 0)?)),
            Compressor::Lzma => all(&mut XzDecoder::new_stream(packed, Stream::new_lzma_decoder(MEMORY)?)),
            Compressor::Lz4 => {
                let mut bytes = vec![0; limit];
                let len = lz4_flex::block::decompress_into(packed, &mut bytes);
                bytes.truncate(len.map_err(|cause| bad(&cause.to_string()))?);
                Ok(bytes)
            }
            // In one piece it needs no window of its own.
            Compressor::Zstd => zstd::bulk::decompress(packed, limit),
        }?;
        if bytes.len() > limit { Err(bad("a block is larger than it may be")) } else { Ok(bytes) }
    }
}

/// A SquashFS for reading.
pub type SquashVolume = ByInode<Squash>;

/// What [`ByInode`] needs of it.
pub struct Squash {
    source: Source,
    compressor: Compressor,
    /// Bytes of a block of data.
    block: usize,
    used: u64,
    /// Places in the filesystem.
    inodes: u64,
    directories: u64,
    fragments: u64,
    owners: u64,
    /// Block of metadata and byte in it.
    root: u64,
    metadata: RefCell<HashMap<u64, Rc<Block>>>,
    /// The fragment that was read last, with its number.
    fragment: RefCell<Option<(u32, Rc<Vec<u8>>)>>,
}

/// Unpacked metadata, and where the next block is.
struct Block {
    bytes: Vec<u8>,
    next: u64,
}

impl SquashVolume {
    /// Of a partition that holds one; `None` for any other.
    pub fn open(source: Source) -> Result<Option<Self>> {
        let sb = source.read_some_at(0, SUPERBLOCK).map_err(|cause| unreadable(fsx::describe(&cause)))?;
        if sb.len() < SUPERBLOCK || !sb.starts_with(MAGIC) {
            return Ok(None);
        }
        if le16(&sb, 28) != 4 {
            return Err(unreadable(format!("it is SquashFS {}.{}, not 4", le16(&sb, 28), le16(&sb, 30))));
        }
        let compressor = Compressor::of(le16(&sb, 20)).map_err(|name| {
            unreadable(format!("it is compressed with {name}, which bimg does not unpack")).unsupported()
        })?;
        let (block, used) = (le32(&sb, 12), le64(&sb, 40));
        if !block.is_power_of_two() || !(4096..=MAX_BLOCK).contains(&block) {
            return Err(unreadable(format!("its blocks have {block} bytes")));
        }
        volume::check_size(used, &source)?;
        Ok(Some(ByInode::new(Squash {
            source,
            compressor,
            block: block as usize,
            used,
            root: le64(&sb, 32),
            owners: le64(&sb, 48),
            inodes: le64(&sb, 64),
            directories: le64(&sb, 72),
            fragments: le64(&sb, 80),
            metadata: RefCell::default(),
            fragment: RefCell::default(),
        })))
    }
}

impl Squash {
    /// Bytes of the filesystem.
    fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.used);
        if end.is_none() {
            return Err(bad("it points behind the end of the filesystem"));
        }
        let mut bytes = vec![0; len];
        self.source.read_exact_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// The block of metadata at a place in the filesystem.
    fn block(&self, at: u64) -> io::Result<Rc<Block>> {
        let mut kept = self.metadata.borrow_mut();
        if let Some(block) = kept.get(&at) {
            return Ok(block.clone());
        }
        let head = le16(&self.bytes(at, 2)?, 0);
        let len = usize::from(head & !PLAIN);
        if len == 0 || len > METADATA {
            return Err(bad("a block of metadata has no sensible size"));
        }
        let packed = self.bytes(at + 2, len)?;
        let bytes = if head & PLAIN != 0 { packed } else { self.compressor.unpack(&packed, METADATA)? };
        if bytes.is_empty() {
            return Err(bad("a block of metadata is empty"));
        }
        let block = Rc::new(Block { bytes, next: at + 2 + len as u64 });
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(at, block.clone());
        Ok(block)
    }

    /// `N` bytes of an entry of a table that is found through a list of its blocks.
    fn row<const N: usize>(&self, table: u64, index: u64) -> io::Result<[u8; N]> {
        let per_block = (METADATA / N) as u64;
        let place = (index / per_block)
            .checked_mul(8)
            .and_then(|at| table.checked_add(at))
            .ok_or_else(|| bad("it points nowhere"))?;
        let at = le64(&self.bytes(place, 8)?, 0);
        let mut entry = [0; N];
        Stream { at, offset: (index % per_block) as usize * N }.read(self, &mut entry)?;
        Ok(entry)
    }

    /// The user or group of a number.
    fn owner(&self, index: u16) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.row(self.owners, index.into())?))
    }

    /// A block of data as its size says: with a flag when it is not compressed, 0 for zeros.
    fn data(&self, at: u64, size: u32, len: usize) -> io::Result<Vec<u8>> {
        let stored = (size & 0xFF_FFFF) as usize;
        if stored == 0 {
            return Ok(vec![0; len]);
        }
        if stored > self.block {
            return Err(bad("a block is larger than it may be"));
        }
        let bytes = self.bytes(at, stored)?;
        let bytes = if size >> 24 & 1 != 0 { bytes } else { self.compressor.unpack(&bytes, self.block)? };
        if bytes.len() < len { Err(bad("a block is shorter than it should be")) } else { Ok(bytes) }
    }

    /// A block that files share.
    fn fragment(&self, index: u32) -> io::Result<Rc<Vec<u8>>> {
        if let Some((number, bytes)) = &*self.fragment.borrow()
            && *number == index
        {
            return Ok(bytes.clone());
        }
        let entry = self.row::<16>(self.fragments, index.into())?;
        let bytes = Rc::new(self.data(le64(&entry, 0), le32(&entry, 8), 0)?);
        *self.fragment.borrow_mut() = Some((index, bytes.clone()));
        Ok(bytes)
    }
}

/// A place in metadata, which goes from block to block.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    at: u64,
    offset: usize,
}

impl Stream {
    /// From a reference into a table on: the place of a block, and of a byte in it.
    fn new(table: u64, reference: u64) -> io::Result<Self> {
        let at = table.checked_add(reference >> 16).ok_or_else(|| bad("it points nowhere"))?;
        Ok(Stream { at, offset: (reference & 0xFFFF) as usize })
    }

    /// Fills `to` and goes on behind it.
    fn read(&mut self, volume: &Squash, mut to: &mut [u8]) -> io::Result<()> {
        while !to.is_empty() {
            let block = volume.block(self.at)?;
            let left = block.bytes.get(self.offset..).ok_or_else(|| bad("it points behind a block"))?;
            if left.is_empty() {
                (self.at, self.offset) = (block.next, 0);
                continue;
            }
            let n = left.len().min(to.len());
            let (now, later) = to.split_at_mut(n);
            now.copy_from_slice(&left[..n]);
            to = later;
            self.offset += n;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, volume: &Squash) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(volume, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
