//! Files as a packed tar into a pipe: zstd where the board has it, else gzip, and better where the network is slow.

use std::io::{self, BufWriter, Read, Write};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;

use super::payload::Entry;
use super::remote::cannot_send;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::{disk, fsx, interrupt};

/// Bytes that go from the archive to the packer at once: what a pipe holds.
const PIECE: usize = 64 << 10;

/// How far a transfer is, of all its parts together.
pub struct Count<'a> {
    wire: AtomicU64,
    done: AtomicU64,
    total: u64,
    task: &'a str,
    /// Dates what is sent, seconds since 1970.
    epoch: i64,
    progress: &'a dyn Progress,
    packing: Packing,
    begun: Instant,
}

impl<'a> Count<'a> {
    /// Nothing sent yet, of `total` bytes unpacked.
    pub fn new(total: u64, task: &'a str, epoch: i64, packing: Packing, progress: &'a dyn Progress) -> Self {
        let (wire, done) = (AtomicU64::new(0), AtomicU64::new(0));
        Count { wire, done, total, task, epoch, progress, packing, begun: Instant::now() }
    }

    /// Bytes sent, packed.
    pub fn wire(&self) -> u64 {
        self.wire.load(Ordering::Relaxed)
    }

    fn slow(&self) -> bool {
        let time = self.begun.elapsed();
        time > SOON && (self.wire() as f64) < SLOW * time.as_secs_f64()
    }
}

/// Passes bytes on and counts them: what is read unpacked, what is written packed.
struct Counted<'a, T> {
    inner: T,
    count: &'a Count<'a>,
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check_io()?;
        let n = self.inner.read(buffer)?;
        let Count { done, total, task, progress, .. } = self.count;
        let done = done.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        progress.count(task, done.min(*total), Some(*total), Unit::Bytes);
        Ok(n)
    }
}

impl<T: Write> Write for Counted<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.count.wire.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Packed bytes per second below which the other side is what takes the time, so that packing better costs
/// nothing; 100 Mbit/s bring 12 MB/s.
const SLOW: f64 = 14e6;
/// Before that a connection has not shown what it can do.
const SOON: Duration = Duration::from_millis(500);

/// How files are packed for a board: by the program that unpacks them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// Every board has it; busybox unpacks 120 MB/s on the machine that sends, half of that on a Raspberry Pi 4.
    #[default]
    Gzip,
    /// Several times faster to unpack, and a tenth smaller.
    Zstd,
}

impl Packing {
    /// The program on the board, which takes `-dc`.
    pub fn program(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// Packs everything from `input`.
    fn pack(self, input: &mut impl Read, output: impl Write, slow: impl Fn() -> bool) -> io::Result<()> {
        match self {
            Packing::Gzip => {
                let threads = std::thread::available_parallelism().map_or(2, usize::from);
                disk::gz(input, output, threads, || {
                    if slow() { Compression::default() } else { Compression::fast() }
                })
            }
            Packing::Zstd => frames(input, output, || if slow() { 9 } else { 1 }),
        }
    }
}

/// Zstandard, a frame after the other, so that each can have its level (RFC 8878, section 3: frames may follow each
/// other). A thread is enough: parts go at the same time.
fn frames(input: &mut impl Read, mut output: impl Write, level: impl Fn() -> i32) -> io::Result<()> {
    const FRAME: u64 = 4 << 20;
    let mut block = Vec::with_capacity(FRAME as usize);
    loop {
        block.clear();
        if input.by_ref().take(FRAME).read_to_end(&mut block)? == 0 {
            return output.flush();
        }
        let mut packer = zstd::bulk::Compressor::new(level())?;
        packer.include_checksum(true)?;
        output.write_all(&packer.compress(&block)?)?;
    }
}

/// A packed tar of files, and of a few made here, into a pipe.
pub fn pack(
    entries: &[&Entry],
    made: &[(&str, String)],
    name: impl Fn(&str) -> String + Send,
    mode: Option<u32>,
    out: &mut ChildStdin,
    count: &Count<'_>,
) -> Result<()> {
    let (unpacked, archived) = io::pipe().map_err(|cause| cannot_send(&cause))?;
    std::thread::scope(|scope| {
        let archived = BufWriter::with_capacity(PIECE, archived);
        let reader = scope.spawn(move || archive(entries, made, name, mode, count.epoch, archived));
        // Dropped with its input before the reader is waited for, which may still want to write.
        let packed = {
            let mut input = Counted { inner: unpacked, count };
            count.packing.pack(&mut input, Counted { inner: out, count }, || count.slow())
        };
        let read = reader.join().unwrap_or_else(|_| Err(Error::new("a reading thread died")));
        interrupt::check()?;
        packed.map_err(|cause| cannot_send(&cause)).and(read)
    })
}

fn archive(
    entries: &[&Entry],
    made: &[(&str, String)],
    name: impl Fn(&str) -> String,
    mode: Option<u32>,
    epoch: i64,
    sink: impl Write,
) -> Result<()> {
    let mut builder = tar::Builder::new(sink);
    let mut append = |path: &str, size: u64, mode: u32, content: &mut dyn Read| -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(epoch.max(1).cast_unsigned());
        builder
            .append_data(&mut header, path, content)
            .map_err(|cause| Error::new(format!("cannot send `{path}`")).caused_by(fsx::describe(&cause)))
    };
    for entry in entries {
        let Some(content) = entry.content.as_ref() else { continue };
        let own = if entry.path == "init" { 0o755 } else { 0o644 };
        append(&name(&entry.path), entry.size, mode.unwrap_or(own), &mut content.open()?)?;
    }
    for (path, text) in made {
        append(path, text.len() as u64, mode.unwrap_or(0o644), &mut text.as_bytes())?;
    }
    builder.into_inner().and_then(|mut sink| sink.flush()).map_err(|cause| cannot_send(&cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn its_own_program_unpacks_it() {
        // More than a frame, and text that both levels make something else of.
        let mut random = 1u64;
        let mut text = Vec::new();
        for _ in 0..900_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word =
                ["kernel", "module", "of", "a", "board", "0x", "symbol", "\n"][(random >> 61) as usize];
            text.extend(format!("{word}{:x} ", (random >> 40) & 0xFF).into_bytes());
        }
        for packing in [Packing::Gzip, Packing::Zstd] {
            let sizes = [false, true].map(|slow| {
                let mut packed = tempfile::NamedTempFile::new().unwrap();
                packing.pack(&mut text.as_slice(), &mut packed, || slow).unwrap();
                let unpacked = Cmd::new(packing.program()).arg("-dc").arg(packed.path()).check().unwrap();
                assert!(unpacked.stdout == text, "{packing:?}");
                packed.as_file().metadata().unwrap().len()
            });
            assert!(sizes[1] < sizes[0], "{packing:?}: {sizes:?}");
        }
    }
}
