//! The image file: written once, in ascending order, hashed on the way.
//!
//! ```text
//! writers --bytes, contents--> chunk (512 KiB) --Arc--> thread: direct write to NAME.partial
//!                                            |--Arc--> thread: SHA-256 of the image, and of its first range
//!                                            '--Arc--> thread: SHA-256 of each later range
//! ```
//!
//! File contents are read straight into the chunk at their place and go to the disk from there, past the
//! page cache: each byte is copied once, and when the last chunk is hashed the disk is done as well. A chunk
//! returns to the pool when the last of the three threads is done with it, which bounds memory and holds
//! the reader back when one of them falls behind. Ranges that nobody mentions stay holes and stay out of the block map.
//!
//! The first range starts at the first byte, so its digest is that of the image so far and costs
//! nothing. Hashing is most of the work; so small gaps early in the image (free space of a boot
//! partition) are bridged with zeros while that costs little when flashing, see [`BRIDGE`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::disk::layout::BLOCK;
use crate::error::{Error, Result};
use crate::filesystem::Sink;
use crate::progress::{Progress, Unit};
use crate::target::{Buffer, Target, write_all_at};
use crate::tree::{Content, next_run};
use crate::{fsx, interrupt};

/// Bytes in a chunk: few system calls, and all of them together stay in the cache between reading and hashing.
const CHUNK: usize = 512 << 10;
/// Chunks in flight.
const POOL: usize = 8;
/// The first range may grow by this share of what is mapped: hashing everything behind a gap once more
/// takes about as long as writing the gap to a card.
const BRIDGE: u64 = 16;
/// Source files kept open: most contents are ranges of one or two archives.
const OPEN_FILES: usize = 4;

/// A mapped range of the image in bytes, whole blocks up to the end of the image, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// What the writer knows when the image is whole.
#[derive(Debug)]
pub struct Written {
    /// SHA-256 of the whole image.
    pub sha256: Digest,
    /// What was written, in ascending order; nothing else matters on the medium.
    pub ranges: Vec<Range>,
}

/// An image being written.
pub struct Image<'a> {
    path: &'a Path,
    progress: &'a dyn Progress,
    size: u64,
    /// Where the next byte goes; everything before is final.
    position: u64,
    /// Mapped bytes so far, and about how many there will be: for progress.
    mapped: u64,
    content: u64,
    /// Start of the range that is being written.
    range_start: Option<u64>,
    starts: Vec<(u64, u64)>,
    /// Always of full length; its first `filled` bytes end at `position`.
    chunk: Buffer,
    filled: usize,
    pool: Receiver<Buffer>,
    give_back: Sender<Buffer>,
    /// Bytes of gaps that the first range may still take in.
    bridge: u64,
    whole: Hasher,
    ranges: Hasher,
    writer: Option<Writer>,
    sources: Sources,
}

impl<'a> Image<'a> {
    /// An image of `size` bytes, whole sectors, on a medium that reads as zeros. About
    /// `content` bytes of it will be written.
    pub fn new(
        target: Arc<dyn Target>,
        path: &'a Path,
        size: u64,
        content: u64,
        progress: &'a dyn Progress,
    ) -> Self {
        let (give_back, pool) = channel();
        for _ in 0..POOL {
            // The receiver lives as long as this image.
            let _ = give_back.send(Buffer::new(CHUNK));
        }
        Image {
            path,
            progress,
            size,
            position: 0,
            mapped: 0,
            range_start: None,
            content,
            bridge: content / BRIDGE,
            starts: Vec::new(),
            chunk: Buffer::new(CHUNK),
            filled: 0,
            pool,
            give_back,
            whole: Hasher::start(),
            ranges: Hasher::start(),
            writer: Some(Writer::start(target)),
            sources: Sources::default(),
        }
    }

    /// A sink for the partition that starts at `start`.
    pub fn partition(&mut self, start: u64) -> impl Sink {
        Partition { image: self, start }
    }

    /// Ends the image: the hashes of everything.
    pub fn finish(mut self) -> Result<Written> {
        self.close_range()?;
        self.skip_to(self.size)?;
        self.whole.send(Piece::Mark);
        self.end_writer()?;
        // Of the first range and of everything; without a range, of everything alone.
        let mut digests = self.whole.finish();
        interrupt::check()?;
        let sha256 = digests.pop().unwrap_or_else(|| Digest::of(b""));
        digests.append(&mut self.ranges.finish());
        let ranges =
            self.starts.iter().zip(digests).map(|(&(start, len), sha256)| Range { start, len, sha256 });
        Ok(Written { sha256, ranges: ranges.collect() })
    }

    /// True in the first range when it starts where the image does: the image's hasher serves it.
    fn in_first_range(&self) -> bool {
        self.starts.is_empty() && self.range_start == Some(0)
    }

    /// Makes `offset` the next place: within the range or the next block of it, or in a new range.
    fn seek(&mut self, offset: u64) -> Result<()> {
        if offset < self.position {
            return Err(Error::new(format!(
                "the image was not written in order: {offset} after {}",
                self.position
            )));
        }
        let block = offset / BLOCK * BLOCK;
        let gap = block.saturating_sub(self.position.next_multiple_of(BLOCK));
        if self.range_start.is_some() && gap > 0 {
            if self.in_first_range() && gap <= self.bridge {
                self.bridge -= gap;
            } else {
                self.close_range()?;
            }
        }
        if self.range_start.is_none() {
            self.skip_to(block)?;
            self.range_start = Some(block);
        }
        self.fill(offset)
    }

    /// Zeros up to `offset` within the range.
    fn fill(&mut self, offset: u64) -> Result<()> {
        // Large runs of zeros are hashed but not written: the file reads as zero there anyway. The blocks at both
        // ends are written, so that every write is whole blocks.
        let (first, last) = (self.position.next_multiple_of(BLOCK), offset / BLOCK * BLOCK);
        if last.saturating_sub(first) >= CHUNK as u64 {
            self.put_zeros(first)?;
            self.flush()?;
            self.whole.send(Piece::Zeros(last - first));
            if !self.in_first_range() {
                self.ranges.send(Piece::Zeros(last - first));
            }
            self.position = last;
        }
        self.put_zeros(offset)
    }

    /// Zeros up to `offset` into the chunk.
    fn put_zeros(&mut self, offset: u64) -> Result<()> {
        while self.position < offset {
            let n = (offset - self.position).min((CHUNK - self.filled) as u64) as usize;
            self.chunk[self.filled..self.filled + n].fill(0);
            self.advance(n)?;
        }
        Ok(())
    }

    /// Takes note of `n` bytes that were put into the chunk.
    fn advance(&mut self, n: usize) -> Result<()> {
        self.position += n as u64;
        self.filled += n;
        if self.filled == CHUNK { self.flush() } else { Ok(()) }
    }

    /// Ends the range at the next block boundary.
    fn close_range(&mut self) -> Result<()> {
        let Some(start) = self.range_start else { return Ok(()) };
        self.fill(self.position.next_multiple_of(BLOCK).min(self.size.max(self.position)))?;
        self.flush()?;
        if self.in_first_range() {
            self.whole.send(Piece::Mark);
        } else {
            self.ranges.send(Piece::End);
        }
        self.starts.push((start, self.position - start));
        self.range_start = None;
        Ok(())
    }

    /// Leaves a hole up to `offset`.
    fn skip_to(&mut self, offset: u64) -> Result<()> {
        if offset > self.size {
            return Err(Error::new(format!("the image of {} bytes has no place {offset}", self.size)));
        }
        self.whole.send(Piece::Zeros(offset - self.position));
        self.position = offset;
        Ok(())
    }

    /// Waits for the writing thread: everything is written, or this is why not.
    pub fn end_writer(&mut self) -> Result<()> {
        let written = self.writer.take().map_or(Ok(()), Writer::finish);
        written.map_err(|cause| fsx::io_error("write", self.path, &cause))
    }

    /// Hands the chunk to the writing thread and to the hashers.
    fn flush(&mut self) -> Result<()> {
        interrupt::check()?;
        if self.filled == 0 {
            return Ok(());
        }
        let len = self.filled as u64;
        if self.position > self.size {
            return Err(Error::new(format!(
                "the image of {} bytes has no place {}",
                self.size, self.position
            )));
        }
        self.mapped += len;
        self.progress.count("image", self.mapped, Some(self.content.max(self.mapped)), Unit::Bytes);
        // Fails never: this image holds a sender itself.
        let next = self.pool.recv().unwrap_or_else(|_| Buffer::new(CHUNK));
        let bytes = std::mem::replace(&mut self.chunk, next);
        let chunk = Arc::new(Chunk { bytes, len: self.filled, pool: self.give_back.clone() });
        self.filled = 0;
        let piece = (self.position - len, Arc::clone(&chunk));
        if self.writer.as_ref().is_none_or(|writer| writer.sender.send(piece).is_err()) {
            return Err(Error::new("the writing thread ended early"));
        }
        self.whole.send(Piece::Data(Arc::clone(&chunk)));
        if !self.in_first_range() {
            self.ranges.send(Piece::Data(chunk));
        }
        Ok(())
    }
}

/// A partition inside the image.
struct Partition<'i, 'a> {
    image: &'i mut Image<'a>,
    start: u64,
}

impl Sink for Partition<'_, '_> {
    fn bytes(&mut self, offset: u64, mut bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let image = &mut *self.image;
        image.seek(self.start + offset)?;
        while !bytes.is_empty() {
            let n = bytes.len().min(CHUNK - image.filled);
            image.chunk[image.filled..image.filled + n].copy_from_slice(&bytes[..n]);
            image.advance(n)?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.image.seek(self.start + offset)?;
        self.image.fill(self.start + offset + len)
    }

    fn content(&mut self, offset: u64, content: &Content, from: u64, len: u64) -> Result<()> {
        match content {
            Content::Bytes(bytes) => self.bytes(offset, &bytes[from as usize..(from + len) as usize]),
            Content::Range { file, offset: first, .. } => self.range(offset, file, first + from, len),
            Content::Sparse { file, extents, .. } => {
                let (mut at, end) = (from, from + len);
                while at < end {
                    let place = offset + (at - from);
                    let (data, n) = next_run(extents, at, end);
                    match data {
                        Some(first) => self.range(place, file, first, n)?,
                        None => self.zeros(place, n)?,
                    }
                    at += n;
                }
                Ok(())
            }
        }
    }
}

impl Partition<'_, '_> {
    /// `len` bytes of a host file from its byte `first` on.
    fn range(&mut self, offset: u64, file: &Arc<PathBuf>, first: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let image = &mut *self.image;
        image.seek(self.start + offset)?;
        let source = image.sources.open(file)?;
        let mut done = 0;
        while done < len {
            let n = (len - done).min((CHUNK - image.filled) as u64) as usize;
            source
                .read_exact_at(&mut image.chunk[image.filled..image.filled + n], first + done)
                .map_err(|cause| read_error(file, &cause))?;
            image.advance(n)?;
            done += n as u64;
        }
        Ok(())
    }
}

fn read_error(path: &Path, cause: &io::Error) -> Error {
    if cause.kind() == io::ErrorKind::UnexpectedEof {
        return Error::new(format!("cannot read `{}`", path.display()))
            .caused_by("it is shorter than it was a moment ago")
            .hint("something else writes to it; run the build again when that is done");
    }
    fsx::io_error("read", path, cause)
}

/// The source files in use, the last one used first.
#[derive(Debug, Default)]
struct Sources(Vec<(Arc<PathBuf>, Arc<File>)>);

impl Sources {
    fn open(&mut self, path: &Arc<PathBuf>) -> Result<Arc<File>> {
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, path) || known == path);
        let entry = match known {
            Some(0) => return Ok(Arc::clone(&self.0[0].1)),
            Some(index) => self.0.remove(index),
            None => (Arc::clone(path), Arc::new(fsx::open(path)?)),
        };
        self.0.truncate(OPEN_FILES - 1);
        let file = Arc::clone(&entry.1);
        self.0.insert(0, entry);
        Ok(file)
    }
}

/// A chunk that returns to the pool when nobody needs it any more.
struct Chunk {
    bytes: Buffer,
    len: usize,
    pool: Sender<Buffer>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // The pool is gone once the image is done.
        let _ = self.pool.send(std::mem::replace(&mut self.bytes, Buffer::new(0)));
    }
}

/// What a hasher hears.
enum Piece {
    Data(Arc<Chunk>),
    Zeros(u64),
    /// Tell the digest of everything so far.
    Mark,
    /// Tell the digest, and begin anew.
    End,
}

/// A hashing thread.
struct Hasher {
    sender: Sender<Piece>,
    thread: JoinHandle<Vec<Digest>>,
}

impl Hasher {
    fn start() -> Self {
        let (sender, receiver) = channel();
        Hasher { sender, thread: std::thread::spawn(move || hash(receiver)) }
    }

    fn send(&self, piece: Piece) {
        // Fails only when the thread panicked, which `finish` passes on.
        let _ = self.sender.send(piece);
    }

    fn finish(self) -> Vec<Digest> {
        drop(self.sender);
        join(self.thread)
    }
}

/// The writing thread. It ends at its first failure, and nobody can send to it any more.
struct Writer {
    sender: Sender<(u64, Arc<Chunk>)>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    fn start(target: Arc<dyn Target>) -> Self {
        let (sender, receiver) = channel::<(u64, Arc<Chunk>)>();
        let write = move || {
            receiver
                .iter()
                .try_for_each(|(offset, chunk)| write_all_at(&*target, &chunk.bytes[..chunk.len], offset))?;
            target.sync()
        };
        Writer { sender, thread: std::thread::spawn(write) }
    }

    fn finish(self) -> io::Result<()> {
        drop(self.sender);
        join(self.thread)
    }
}

fn join<T>(thread: JoinHandle<T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn hash(pieces: Receiver<Piece>) -> Vec<Digest> {
    let mut hasher = Sha256::new();
    let mut digests = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Data(chunk) => hasher.update(&chunk.bytes[..chunk.len]),
            Piece::Zeros(len) => update_zeros(&mut hasher, len),
            Piece::Mark => digests.push(Digest(hasher.clone().finalize().into())),
            Piece::End => digests.push(Digest(hasher.finalize_reset().into())),
        }
    }
    digests
}

fn update_zeros(hasher: &mut Sha256, mut len: u64) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    // A hole may be larger than any disk: no digest is waited for any more.
    while len > 0 && !interrupt::requested() {
        let n = len.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..n as usize]);
        len -= n;
    }
}
