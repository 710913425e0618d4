//! Compression of finished images on all cores, and `SHA256SUMS`.
//!
//! The output depends on the input alone, never on the number of threads: zstd and xz cut the input
//! at fixed places by themselves, gzip is cut here into blocks that are deflated apart and joined into
//! one member, so that every gunzip, U-Boot's included, takes it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::{fsx, interrupt};
use flate2::{Compress, Crc, FlushCompress, Status};

/// A compression of the finished image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// xz: smallest, slowest.
    Xz,
    /// zstd: fast to pack and to unpack.
    Zstd,
    /// gzip: every tool takes it.
    Gz,
}

impl Compression {
    /// File name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::Xz => "xz",
            Compression::Zstd => "zst",
            Compression::Gz => "gz",
        }
    }
}

/// Input of one gzip block.
const GZ_BLOCK: usize = 1 << 20;
/// Input of one xz block: three dictionaries of preset 6, as `xz -T0` has it.
const XZ_BLOCK: u64 = 24 << 20;
const XZ_PRESET: u32 = 6;
const ZSTD_LEVEL: i32 = 9;
/// Match distance that zstd looks back, as a power of two: 32 MiB. Whoever unpacks it, `bimg flash` too, needs as
/// much memory.
const ZSTD_WINDOW: u32 = 25;

/// Compresses `image` to `image.EXTENSION` with `threads` threads (by default one for each core), atomically. Returns the
/// new file's path.
pub fn compress(
    image: &Path,
    compression: Compression,
    threads: Option<NonZeroUsize>,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let threads = threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let mut name = image.as_os_str().to_owned();
    name.push(".");
    name.push(compression.extension());
    let target = PathBuf::from(name);
    let file = fsx::open(image)?;
    let total = file.metadata().map_err(|cause| fsx::io_error("read", image, &cause))?.len();
    let mut input = Counted { file, done: 0, total, progress };
    let mut output = fsx::AtomicFile::create(&target)?;
    let sink = BufWriter::with_capacity(1 << 20, output.file());
    let result = match compression {
        Compression::Xz => xz(&mut input, sink, threads),
        Compression::Zstd => zstd(&mut input, sink, threads, total),
        Compression::Gz => gz(&mut input, sink, threads),
    };
    interrupt::check()?;
    result.map_err(|cause| fsx::io_error("write", &target, &cause))?;
    output.commit()?;
    Ok(target)
}

/// Reads the image and tells how far it is.
struct Counted<'a> {
    file: File,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check_io()?;
        let n = self.file.read(buffer)?;
        self.done += n as u64;
        self.progress.count("compressing", self.done, Some(self.total), Unit::Bytes);
        Ok(n)
    }
}

/// Copies with a large buffer: the encoders are fed in few calls.
fn pump(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = input.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        output.write_all(&buffer[..n])?;
    }
}

fn xz(input: &mut impl Read, output: impl Write, threads: usize) -> io::Result<()> {
    let stream = liblzma::stream::MtStreamBuilder::new()
        .threads(threads as u32)
        .block_size(XZ_BLOCK)
        .preset(XZ_PRESET)
        .check(liblzma::stream::Check::Crc64)
        .encoder()?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(output, stream);
    pump(input, &mut encoder)?;
    encoder.finish()?.flush()
}

fn zstd(input: &mut impl Read, output: impl Write, threads: usize, total: u64) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL)?;
    // One worker or more gives the same bytes; none would not.
    encoder.multithread(threads as u32)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(ZSTD_WINDOW)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(total))?;
    pump(input, &mut encoder)?;
    encoder.finish()?.flush()
}

/// A deflated block and what its trailer needs.
type Deflated = io::Result<(Vec<u8>, Crc)>;

/// Packs as one gzip member, with `threads` threads.
fn gz(input: &mut impl Read, mut output: impl Write, threads: usize) -> io::Result<()> {
    /// Deflate, no name, no time, unknown system (RFC 1952).
    const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];
    /// An empty last block with fixed codes.
    const END: [u8; 2] = [0x03, 0x00];
    output.write_all(&HEADER)?;
    let mut sum = Crc::new();
    let mut take = |output: &mut dyn Write, (bytes, crc): (Vec<u8>, Crc)| {
        sum.combine(&crc);
        output.write_all(&bytes)
    };
    std::thread::scope(|scope| {
        // Each worker takes every n-th block, so results come back in order by going round.
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (send, blocks) = sync_channel::<Vec<u8>>(2);
                let (done, results) = sync_channel::<Deflated>(2);
                scope.spawn(move || blocks.iter().try_for_each(|block| done.send(deflate(&block))));
                (send, results)
            })
            .collect();
        let mut waiting = VecDeque::new();
        let gone = || io::Error::other("a compression thread ended early");
        for worker in (0..threads).cycle() {
            let mut block = Vec::with_capacity(GZ_BLOCK);
            input.by_ref().take(GZ_BLOCK as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            workers[worker].0.send(block).map_err(|_| gone())?;
            waiting.push_back(worker);
            if waiting.len() >= 2 * threads
                && let Some(oldest) = waiting.pop_front()
            {
                take(&mut output, workers[oldest].1.recv().map_err(|_| gone())??)?;
            }
        }
        for oldest in waiting {
            take(&mut output, workers[oldest].1.recv().map_err(|_| gone())??)?;
        }
        Ok::<(), io::Error>(())
    })?;
    output.write_all(&END)?;
    output.write_all(&sum.sum().to_le_bytes())?;
    output.write_all(&sum.amount().to_le_bytes())?;
    output.flush()
}

/// One block, ended on a byte boundary so that the next can follow.
fn deflate(block: &[u8]) -> Deflated {
    let mut crc = Crc::new();
    crc.update(block);
    let mut encoder = Compress::new(flate2::Compression::default(), false);
    let mut bytes = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let consumed = encoder.total_in() as usize;
        let status = encoder.compress_vec(&block[consumed..], &mut bytes, FlushCompress::Sync)?;
        // Room left over means that everything has been flushed.
        if encoder.total_in() as usize == block.len() && bytes.len() < bytes.capacity() {
            return Ok((bytes, crc));
        }
        if status == Status::BufError && bytes.len() < bytes.capacity() {
            return Err(io::Error::other("deflate made no progress"));
        }
        bytes.reserve(bytes.capacity().max(4096));
    }
}

/// Writes `SHA256SUMS` beside the files it names, in the form that `sha256sum -c` takes.
pub fn write_sums(directory: &Path, files: &[(&str, Digest)]) -> Result<()> {
    let mut text = String::new();
    for (name, digest) in files {
        if name.contains(['\n', '\\']) {
            return Err(Error::new(format!("`SHA256SUMS` cannot hold the name `{}`", name.escape_debug())));
        }
        text.extend([digest.to_string().as_str(), "  ", name, "\n"]);
    }
    fsx::write_atomic(&directory.join("SHA256SUMS"), text.as_bytes())
}
