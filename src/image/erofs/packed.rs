//! Compressed content of an EROFS.
//!
//! The index has an entry for each block of a file, packed into two or four bytes. One where an extent begins, a head,
//! says at which byte, and where its packed blocks are; the entry behind it says how many, when they are several.
//! The older form of the index, of eight bytes, is told by name: with it come extents that are used in part.
//!
//! Source: Linux `fs/erofs/zmap.c`, `fs/erofs/decompressor.c`.

use std::io::{self, Read};

use super::super::read::{le16, le32};
use super::{Erofs, LZ4_0PADDING, Layout, Place, bad, unsupported};

/// What the header of the index says of all entries: entries of two bytes among those of four, extents of several
/// packed blocks, ...
const TWO_BYTES: u16 = 0x1;
const SEVERAL: u16 = 0x2;
/// ... plain extents that begin at the byte of a block where they begin in the file.
const INTERLACED: u16 = 0x10;
/// The end of the file in the inode, its end or all of it among others'.
const ELSEWHERE: u16 = 0x8 | 0x20;
/// In place of a distance: the number of packed blocks.
const COUNT: u32 = 1 << 11;
const NO_COUNT: &str = "an extent has no sensible number of blocks";
/// Most packed blocks, and unpacked bytes, of an extent.
const MAX_PACKED: u64 = 1 << 20;
const MAX_UNPACKED: u64 = 12 << 20;

/// An entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// An extent begins at this byte of the file's block.
    Head { is_plain: bool, offset: u64, block: u64 },
    /// None does; so many packed blocks has the one before, if this says so.
    Rest { count: Option<u64> },
}

/// Reads a file from its first byte on.
pub struct Packed<'a> {
    volume: &'a Erofs,
    size: u64,
    advice: u16,
    /// First byte of the index.
    index: u64,
    /// The logarithm of what an entry stands for.
    bits: u32,
    /// Entries.
    entries: u64,
    /// The entry that the next extent begins in, and at which byte of the file.
    next: u64,
    position: u64,
    piece: Vec<u8>,
    done: usize,
}

impl<'a> Packed<'a> {
    /// Of a file that is compressed.
    pub fn new(volume: &'a Erofs, size: u64, data: Place) -> io::Result<Self> {
        if data.layout == Layout::Full {
            return Err(unsupported("its index has the older form, which bimg does not read"));
        }
        let header = data.end.next_multiple_of(8);
        let bytes = volume.bytes(header, 8)?;
        let (advice, algorithm, bits) = (le16(&bytes, 4), bytes[6], bytes[7]);
        if bits & 0x80 != 0 || advice & ELSEWHERE != 0 {
            return Err(unsupported("its end lies among those of other files, which bimg does not read"));
        }
        match algorithm & 0xF {
            0 if volume.features & LZ4_0PADDING != 0 => {}
            0 => return Err(unsupported("it is compressed with LZ4 as Linux 5.2 had it")),
            1 => return Err(unsupported("it is compressed with LZMA, which bimg does not unpack")),
            2 => return Err(unsupported("it is compressed with DEFLATE, which bimg does not unpack")),
            3 => return Err(unsupported("it is compressed with Zstandard, which bimg does not unpack")),
            _ => return Err(bad("it is compressed with something unknown")),
        }
        let bits = volume.block_bits + u32::from(bits & 7);
        let entries = size.div_ceil(1 << bits);
        Ok(Packed {
            volume,
            size,
            advice,
            index: header + 8,
            bits,
            entries,
            next: 0,
            position: 0,
            piece: Vec::new(),
            done: 0,
        })
    }

    /// An entry, out of a pack: of two with four bytes, or of sixteen with two, the last four bytes of which are a block.
    fn entry(&self, number: u64) -> io::Result<Entry> {
        // Up to a boundary of 32 bytes there are entries of four bytes.
        let first = (32 - self.index % 32) / 4 % 8;
        let short = if self.advice & TWO_BYTES != 0 && first < self.entries {
            (self.entries - first) / 16 * 16
        } else {
            0
        };
        let (width, count, at) = if number < first {
            (4, 2, number * 4)
        } else if number < first + short {
            (2, 16, first * 4 + (number - first) * 2)
        } else {
            (4, 2, first * 4 + short * 2 + (number - first - short) * 4)
        };
        if self.bits > if width == 2 { 12 } else { 14 } {
            return Err(bad("its index has entries that are too short"));
        }
        let at = at.checked_add(self.index).ok_or_else(|| bad("it points nowhere"))?;
        let len = width * count;
        let (start, slot) = (at / len * len, (at % len / width) as i64);
        let pack = self.volume.bytes(start, len as usize)?;
        // Each has a type of two bits above an offset or a distance.
        let low = self.bits.max(COUNT.ilog2() + 1);
        let step = (len as usize - 4) * 8 / count as usize;
        let decoded = |slot: i64| {
            let bit = step * slot as usize;
            let word = le32(&pack, bit / 8) >> (bit % 8);
            (word >> low & 3, word & ((1 << low) - 1))
        };
        let (kind, value) = decoded(slot);
        if kind == 2 {
            let count = value & COUNT != 0 && self.advice & SEVERAL != 0;
            return Ok(Entry::Rest { count: count.then_some((value & !COUNT).into()) });
        }
        // The block is that of the pack plus what the heads before take.
        let mut blocks = 0;
        let mut slot = slot;
        if self.advice & SEVERAL == 0 {
            blocks = 1;
            while slot > 0 {
                slot -= 1;
                let (kind, value) = decoded(slot);
                if kind == 2 {
                    slot -= i64::from(value);
                }
                if slot >= 0 {
                    blocks += 1;
                }
            }
        } else {
            while slot > 0 {
                slot -= 1;
                let (kind, value) = decoded(slot);
                match (kind, value) {
                    (2, value) if value & COUNT != 0 => {
                        slot -= 1;
                        blocks += u64::from(value & !COUNT);
                    }
                    (2, 0 | 1) => return Err(bad(NO_COUNT)),
                    (2, value) => slot -= i64::from(value) - 2,
                    _ => blocks += 1,
                }
            }
        }
        if kind == 3 {
            return Err(unsupported("it is compressed in two ways, which bimg does not unpack"));
        }
        let block = u64::from(le32(&pack, len as usize - 4)) + blocks;
        Ok(Entry::Head { is_plain: kind == 0, offset: value.into(), block })
    }

    /// Unpacks the next extent.
    fn unpack(&mut self) -> io::Result<()> {
        let Entry::Head { is_plain, offset, block } = self.entry(self.next)? else {
            return Err(bad("its index does not begin with an extent"));
        };
        let start = (self.next << self.bits) + offset;
        if start != self.position {
            return Err(bad("an extent begins where none should"));
        }
        if start == self.size {
            // The index ends with a head where the file does.
            (self.done, self.next, self.piece) = (0, self.entries, Vec::new());
            return Ok(());
        }
        let (mut packed, mut at, mut end) = (1 << self.bits, self.next + 1, self.size);
        while at < self.entries {
            match self.entry(at)? {
                Entry::Head { offset, .. } => {
                    end = (at << self.bits) + offset;
                    break;
                }
                Entry::Rest { count: Some(count) } if at == self.next + 1 => {
                    packed = count << self.volume.block_bits;
                }
                Entry::Rest { .. } => {}
            }
            at += 1;
            if (at - self.next) << self.bits > 2 * MAX_UNPACKED {
                break;
            }
        }
        let len = end.min(self.size).checked_sub(start).filter(|len| (1..=MAX_UNPACKED).contains(len));
        let len = len.ok_or_else(|| bad("an extent has no sensible length"))?;
        if packed == 0 || packed > MAX_PACKED {
            return Err(bad(NO_COUNT));
        }
        let bytes = self.volume.bytes(block << self.volume.block_bits, packed as usize)?;
        self.piece = if is_plain { self.plain(bytes, start, len)? } else { lz4(&bytes, len as usize)? };
        (self.done, self.next, self.position) = (0, at, end);
        Ok(())
    }

    /// What is not compressed lies in one block, from its first byte on or turned round.
    fn plain(&self, mut bytes: Vec<u8>, start: u64, len: u64) -> io::Result<Vec<u8>> {
        if self.advice & INTERLACED != 0 {
            bytes.truncate(self.volume.block() as usize);
            let turn = (start % self.volume.block()) as usize;
            bytes.rotate_left(turn);
        }
        if len > bytes.len() as u64 {
            return Err(bad("an extent is longer than its block"));
        }
        bytes.truncate(len as usize);
        Ok(bytes)
    }
}

/// Unpacks `len` bytes; zeros come before what is packed.
fn lz4(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    let start = packed.iter().position(|byte| *byte != 0).unwrap_or(packed.len());
    let mut bytes = vec![0; len];
    match lz4_flex::block::decompress_into(&packed[start..], &mut bytes) {
        Ok(written) if written == len => Ok(bytes),
        _ => Err(bad("what is compressed is damaged")),
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done == self.piece.len() && self.next < self.entries {
            self.unpack()?;
        }
        let n = buffer.len().min(self.piece.len() - self.done);
        buffer[..n].copy_from_slice(&self.piece[self.done..self.done + n]);
        self.done += n;
        Ok(n)
    }
}
