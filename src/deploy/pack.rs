//! Files as a packed tar into a pipe: zstd where the board has it, else gzip, and better where the network is slow.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::payload::Entry;
use super::remote::cannot_send;
use crate::error::{Error, Result};
use crate::exec::Input;
use crate::kernel::packed;
use crate::progress::{Progress, Unit};
use crate::tree::Content;
use crate::{fsx, interrupt};

/// Bytes that are packed at once, and those that go on at once: what a pipe holds.
const BLOCK: usize = 4 << 20;
const PIECE: usize = 64 << 10;

/// Levels of zstd, for a network that is fast and for one that is slow.
const FAST: i32 = 1;
const BETTER: i32 = 9;

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

    fn add(&self, n: usize) {
        let done = self.done.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        self.progress.count(self.task, done.min(self.total), Some(self.total), Unit::Bytes);
    }

    fn slow(&self) -> bool {
        let time = self.begun.elapsed();
        time > SOON && (self.wire() as f64) < SLOW * time.as_secs_f64()
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
}

/// Packs blocks, each by itself: a gzip member (RFC 1952, section 2.2) or a Zstandard frame (RFC 8878, section 3); both may
/// follow each other.
struct Blocks {
    packing: Packing,
    zstd: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl Blocks {
    fn new(packing: Packing) -> io::Result<Self> {
        Ok(Blocks { packing, zstd: packed::packer(FAST)?, packed: Vec::new() })
    }

    fn pack(&mut self, block: &[u8], slow: bool) -> io::Result<&[u8]> {
        self.packed.clear();
        match self.packing {
            Packing::Gzip => {
                let level = if slow { Compression::default() } else { Compression::fast() };
                let mut packer = GzEncoder::new(&mut self.packed, level);
                packer.write_all(block)?;
                packer.finish()?;
            }
            Packing::Zstd => {
                self.zstd.set_compression_level(if slow { BETTER } else { FAST })?;
                self.packed.reserve(zstd::zstd_safe::compress_bound(block.len()));
                self.zstd.compress_to_buffer(block, &mut self.packed)?;
            }
        }
        Ok(&self.packed)
    }
}

/// Packs what is written to it, block by block, each as the network is then, and passes on what is packed. A thread is enough:
/// parts go at the same time.
struct Packer<'a, W> {
    wire: Wire<'a, W>,
    block: Vec<u8>,
    blocks: Blocks,
    /// A frame that is there already.
    frame: Vec<u8>,
}

/// Where packed bytes go.
struct Wire<'a, W> {
    out: W,
    count: &'a Count<'a>,
    /// Why nothing more can be sent.
    failure: Option<io::Error>,
}

impl<W: Write> Wire<'_, W> {
    fn send(&mut self, packed: &[u8]) -> io::Result<()> {
        for piece in packed.chunks(PIECE) {
            let sent = interrupt::check_io().and_then(|()| self.out.write_all(piece));
            sent.map_err(|cause| {
                let told = io::Error::from(cause.kind());
                self.failure = Some(cause);
                told
            })?;
            self.count.wire.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(out: W, count: &'a Count<'a>) -> io::Result<Self> {
        let (block, blocks) = (Vec::with_capacity(BLOCK), Blocks::new(count.packing)?);
        Ok(Packer { wire: Wire { out, count, failure: None }, block, blocks, frame: Vec::new() })
    }

    /// Takes `size` bytes, and fills up to a block of tar.
    fn take(&mut self, mut content: impl Read, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let room = (BLOCK - self.block.len()).min(usize::try_from(left).unwrap_or(BLOCK));
            let n = content.by_ref().take(room as u64).read_to_end(&mut self.block)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter"));
            }
            left -= n as u64;
            self.wire.count.add(n);
            self.full()?;
        }
        let rest = size.next_multiple_of(512) - size;
        self.write_all(&[0; 512][..rest as usize])
    }

    /// Takes a file that is packed already, if it is; on a slow network whole blocks become a sixth smaller.
    fn take_packed(&mut self, path: &Path, size: u64) -> io::Result<bool> {
        let wanted = self.blocks.packing == Packing::Zstd && !self.wire.count.slow();
        if !wanted || !packed::frame(path, size, &mut self.frame) {
            return Ok(false);
        }
        self.flush()?;
        self.wire.send(&self.frame)?;
        self.wire.count.add(size as usize);
        Ok(true)
    }

    fn full(&mut self) -> io::Result<()> {
        if self.block.len() == BLOCK { self.flush() } else { Ok(()) }
    }
}

impl<W: Write> Write for Packer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        self.wire.count.add(n);
        self.full()?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = self.blocks.pack(&self.block, self.wire.count.slow())?;
        self.block.clear();
        self.wire.send(packed)
    }
}

/// Where a tar is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// On the root filesystem: several tars at once, in one place.
    Root,
    /// On the boot partition, alone.
    Boot,
}

impl Half {
    /// Mode of a file: on FAT what it shows anyway, so that nothing has to be changed there.
    fn mode(self, own: u32) -> u32 {
        if self == Half::Boot { 0o755 } else { own }
    }

    /// The directories that a tar names before its files. GNU tar makes those that it misses, and then cannot open a file when
    /// another tar has made one of them first.
    fn directories<'a>(self, entries: &[&'a Entry]) -> BTreeSet<&'a Path> {
        if self == Half::Boot {
            return BTreeSet::new();
        }
        let above = entries.iter().flat_map(|entry| Path::new(&entry.path).ancestors().skip(1));
        above.filter(|dir| !dir.as_os_str().is_empty()).collect()
    }
}

/// A packed tar of files, and of a few made here, into a pipe; why that takes no more, if so.
pub fn pack(
    entries: &[&Entry],
    made: &[(&str, String)],
    name: impl Fn(&str) -> String,
    half: Half,
    out: &mut Input,
    count: &Count<'_>,
) -> Result<Option<io::Error>> {
    let mut packer = Packer::new(out, count).map_err(|cause| cannot_send(&cause))?;
    let archived = archive(entries, made, name, half, count.epoch, &mut packer);
    interrupt::check()?;
    if packer.wire.failure.is_none() {
        archived?;
    }
    Ok(packer.wire.failure)
}

fn archive(
    entries: &[&Entry],
    made: &[(&str, String)],
    name: impl Fn(&str) -> String,
    half: Half,
    epoch: i64,
    packer: &mut Packer<'_, impl Write>,
) -> Result<()> {
    let header = |kind: tar::EntryType, size: u64, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(epoch.max(1).cast_unsigned());
        header
    };
    let mut builder = tar::Builder::new(packer);
    for dir in half.directories(entries) {
        let mut header = header(tar::EntryType::Directory, 0, 0o755);
        builder.append_data(&mut header, dir, io::empty()).map_err(|cause| cannot_send(&cause))?;
    }
    let mut append =
        |path: &str, size: u64, mode: u32, packed: Option<&Path>, content: &Content| -> Result<()> {
            let failed = |cause: io::Error| {
                Error::new(format!("cannot send `{path}`")).caused_by(fsx::describe(&cause))
            };
            // The header, and the name before it where it is long; the content goes straight into a block.
            let mut header = header(tar::EntryType::Regular, size, half.mode(mode));
            builder.append_data(&mut header, path, io::empty()).map_err(failed)?;
            let packer = builder.get_mut();
            if let Some(packed) = packed
                && packer.take_packed(packed, size).map_err(failed)?
            {
                return Ok(());
            }
            packer.take(content.open()?, size).map_err(failed)
        };
    for entry in entries {
        let Some(content) = entry.content.as_ref() else { continue };
        let own = if entry.path == "init" { 0o755 } else { 0o644 };
        append(&name(&entry.path), entry.size, own, entry.packed.as_deref(), content)?;
    }
    for (path, text) in made {
        append(path, text.len() as u64, 0o644, None, &text.as_str().into())?;
    }
    builder.into_inner().and_then(Write::flush).map_err(|cause| cannot_send(&cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::exec::Cmd;
    use crate::progress::Silent;

    #[test]
    fn several_tars_go_to_one_place_at_once() {
        let entries = [1, 2, 3].map(|number| Entry {
            path: format!("modules/6.12.0/kernel/net/{number}.ko"),
            content: Some("a module".into()),
            packed: None,
            sha256: Digest::of(b"a module"),
            size: 8,
        });
        let dir = tempfile::tempdir().unwrap();
        for (number, entry) in entries.iter().enumerate() {
            let count = Count::new(8, "deploy", 0, Packing::Gzip, &Silent);
            let mut packer = Packer::new(Vec::new(), &count).unwrap();
            archive(&[entry], &[], str::to_string, Half::Root, 0, &mut packer).unwrap();
            std::fs::write(dir.path().join(format!("{number}.gz")), packer.wire.out).unwrap();
        }
        let listed = Cmd::new("tar").arg("-tzf").arg(dir.path().join("0.gz")).check().unwrap().text();
        let dirs = "modules\nmodules/6.12.0\nmodules/6.12.0/kernel\nmodules/6.12.0/kernel/net\n";
        assert_eq!(listed, format!("{dirs}modules/6.12.0/kernel/net/1.ko\n"));
        // Without them one of a dozen fails.
        let script = "cd \"$1\" && for i in $(seq 50); do rm -rf to && mkdir to
             for tar in 0 1 2; do tar -xzf $tar.gz -C to || echo failed >failed & done; wait; done
             test ! -e failed && find to -type f | wc -l";
        let there = Cmd::new("sh").args(["-c", script, "sh"]).arg(dir.path()).check().unwrap();
        assert_eq!(there.text().trim(), "3");
    }

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
                let mut blocks = Blocks::new(packing).unwrap();
                for block in text.chunks(BLOCK) {
                    packed.write_all(blocks.pack(block, slow).unwrap()).unwrap();
                }
                let unpacked = Cmd::new(packing.program()).arg("-dc").arg(packed.path()).check().unwrap();
                assert!(unpacked.stdout == text, "{packing:?}");
                packed.as_file().metadata().unwrap().len()
            });
            assert!(sizes[1] < sizes[0], "{packing:?}: {sizes:?}");
        }
    }
}
