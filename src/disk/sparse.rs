//! Android sparse images, as fastboot, U-Boot and the vendors' flashing tools take them.
//!
//! What the block map leaves out becomes "don't care", so that it is not even sent; runs of one 32-bit
//! value become "fill". Source: `system/core/libsparse/sparse_format.h` of Android.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::disk::format::{Finished, Output, beside};
use crate::disk::layout::BLOCK;
use crate::error::Result;
use crate::progress::{Progress, Unit};
use crate::{fsx, interrupt};

const MAGIC: u32 = 0xED26_FF3A;
const RAW: u16 = 0xCAC1;
const FILL: u16 = 0xCAC2;
const DONT_CARE: u16 = 0xCAC3;
/// Bytes of the file's header, and of a chunk's.
const HEADER: u16 = 28;
const CHUNK: u16 = 12;
/// Bytes that are looked at together; the most that a raw chunk holds.
const PIECE: u64 = 1 << 20;

/// See the module.
pub struct Sparse;

impl Output for Sparse {
    fn write(&self, image: &Finished<'_>, progress: &dyn Progress) -> Result<Vec<PathBuf>> {
        let target = beside(image.path, "simg");
        let input = fsx::open(image.path)?;
        let mut output = fsx::AtomicFile::create(&target)?;
        let result = write(image, &input, output.file(), progress);
        interrupt::check()?;
        result.map_err(|cause| fsx::io_error("write", &target, &cause))?;
        output.commit()?;
        Ok(vec![target])
    }
}

fn write(image: &Finished<'_>, input: &File, output: &mut File, progress: &dyn Progress) -> io::Result<()> {
    let size = image.facts.size.0;
    // Blocks of a size that no tool minds; an image that ends in between has sectors for blocks.
    let block = if size.is_multiple_of(BLOCK) { BLOCK } else { 512 };
    let mut chunks =
        Chunks { output: BufWriter::with_capacity(PIECE as usize, output), block, count: 0, open: None };
    chunks.output.write_all(&[0; HEADER as usize])?;
    let mut at = 0;
    let mut done = 0;
    let mut buffer = vec![0; PIECE as usize];
    for range in &image.facts.ranges {
        chunks.dont_care(range.start - at)?;
        at = range.start;
        let end = range.start + range.len;
        while at < end {
            interrupt::check_io()?;
            let piece = &mut buffer[..(end - at).min(PIECE) as usize];
            input.read_exact_at(piece, at)?;
            chunks.data(piece)?;
            at += piece.len() as u64;
            done += piece.len() as u64;
            progress.count("sparse image", done, Some(image.facts.mapped.0), Unit::Bytes);
        }
    }
    chunks.dont_care(size - at)?;
    chunks.finish(size)
}

/// Writes chunks one after the other.
struct Chunks<'a> {
    output: BufWriter<&'a mut File>,
    block: u64,
    count: u32,
    /// A run of one value that may go on: the value and its blocks.
    open: Option<([u8; 4], u64)>,
}

impl Chunks<'_> {
    fn header(&mut self, kind: u16, bytes: u64, data: u64) -> io::Result<()> {
        self.count += 1;
        self.output.write_all(&kind.to_le_bytes())?;
        self.output.write_all(&[0; 2])?;
        self.output.write_all(&((bytes / self.block) as u32).to_le_bytes())?;
        self.output.write_all(&(u64::from(CHUNK) + data).to_le_bytes()[..4])
    }

    /// Ends the run of one value, if there is one.
    fn close(&mut self) -> io::Result<()> {
        if let Some((value, blocks)) = self.open.take() {
            self.header(FILL, blocks * self.block, 4)?;
            self.output.write_all(&value)?;
        }
        Ok(())
    }

    fn dont_care(&mut self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.close()?;
        self.header(DONT_CARE, bytes, 0)
    }

    /// Whole blocks of data, cut where blocks of one value begin and end.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let block = self.block as usize;
        let mut blocks = bytes.chunks_exact(block).map(|block| (block, value_of(block))).peekable();
        let mut at = 0;
        while let Some((_, value)) = blocks.next() {
            if let Some(value) = value {
                match &mut self.open {
                    Some((open, count)) if *open == value => *count += 1,
                    _ => {
                        self.close()?;
                        self.open = Some((value, 1));
                    }
                }
                at += block;
                continue;
            }
            let mut len = block;
            while blocks.next_if(|(_, value)| value.is_none()).is_some() {
                len += block;
            }
            self.close()?;
            self.header(RAW, len as u64, len as u64)?;
            self.output.write_all(&bytes[at..at + len])?;
            at += len;
        }
        Ok(())
    }

    /// Ends the file with its header.
    fn finish(mut self, size: u64) -> io::Result<()> {
        self.close()?;
        let (blocks, count) = ((size / self.block) as u32, self.count);
        let mut header = MAGIC.to_le_bytes().to_vec();
        for half in [1, 0, HEADER, CHUNK] {
            header.extend(half.to_le_bytes());
        }
        // The last word, a checksum of the whole image, is not used by anyone.
        for word in [self.block as u32, blocks, count, 0] {
            header.extend(word.to_le_bytes());
        }
        self.output.seek(SeekFrom::Start(0))?;
        self.output.write_all(&header)?;
        self.output.flush()
    }
}

/// The 32-bit value that a block consists of.
fn value_of(block: &[u8]) -> Option<[u8; 4]> {
    let value: [u8; 4] = block.get(..4)?.try_into().ok()?;
    block.chunks_exact(4).all(|word| word == value).then_some(value)
}
