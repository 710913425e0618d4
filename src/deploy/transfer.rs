//! Brings a deployment's files to a board: only what it does not have, packed, two streams at once.
//!
//! ```text
//! Payload - Base - what an interrupted deploy left -> tar, gzip on all cores -> root.sh | boot.sh
//! ```
//!
//! Everything arrives below `ID.partial`. The board checks every hash, syncs, and renames.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Read, Write};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;

use super::facts::{self, Facts};
use super::payload::{Entry, Payload, sum_line};
use super::remote::{Remote, cannot_send};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::{disk, fsx, interrupt};

/// Bytes that go from the archive to the packer at once: what a pipe holds.
const PIECE: usize = 64 << 10;
/// Mode of files on the boot partition: what FAT shows anyway, so that nothing has to be changed there.
const BOOT_MODE: u32 = 0o755;

/// What is sent, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Paths to send.
    pub send: BTreeSet<String>,
    /// Paths that are linked or copied on the board.
    pub keep: BTreeSet<String>,
    /// Paths below `modules/` of the base that do not belong to this deployment, or differ.
    pub remove: BTreeSet<String>,
    /// Paths that an interrupted deploy brought.
    pub arrived: BTreeSet<String>,
    /// Bytes to send, unpacked.
    pub bytes: u64,
    /// Boot files are all in place under their final name.
    pub boot_done: bool,
    /// So are those of the root filesystem.
    pub root_done: bool,
}

impl Delta {
    /// Compares. `arrived`: hashes of what an interrupted deploy left; `root_done`: it got as far as renaming the half on
    /// the root filesystem.
    pub fn new(
        payload: &Payload,
        base: &BTreeMap<String, Digest>,
        arrived: &BTreeMap<String, Digest>,
        root_done: bool,
    ) -> Delta {
        let mut boot_files =
            payload.entries.iter().filter_map(|it| Some((it.path.strip_prefix("boot/")?, it.sha256)));
        let whole = |(name, sha256)| arrived.get(&format!("whole/{name}")) == Some(&sha256);
        let mut delta = Delta { boot_done: boot_files.all(whole), root_done, ..Delta::default() };
        for entry in &payload.entries {
            let done = if entry.path.starts_with("boot/") { delta.boot_done } else { root_done };
            if done {
                delta.keep.insert(entry.path.clone());
            } else if arrived.get(&entry.path) == Some(&entry.sha256) {
                delta.arrived.insert(entry.path.clone());
            } else if base.get(&entry.path) == Some(&entry.sha256) && shared(&entry.path) {
                delta.keep.insert(entry.path.clone());
            } else {
                delta.bytes += entry.size;
                delta.send.insert(entry.path.clone());
            }
        }
        let kept = |path: &String| delta.keep.contains(path);
        delta.remove =
            base.keys().filter(|path| path.starts_with("modules/") && !kept(path)).cloned().collect();
        delta
    }
}

/// What may be taken over from another deployment.
fn shared(path: &str) -> bool {
    path.starts_with("modules/") || path.starts_with("boot/")
}

/// What a board still has of an interrupted deploy of the same files.
pub fn arrived(remote: &Remote, payload: &Payload, facts: &Facts) -> Result<BTreeMap<String, Digest>> {
    if !facts.leftovers.contains(&payload.id.to_string()) {
        return Ok(BTreeMap::new());
    }
    let id = payload.id.to_string();
    let text = remote.run("see what an interrupted deploy left", include_str!("remote/resume.sh"), &[&id])?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .filter_map(|(hash, path)| Some((path.to_string(), facts::digest(hash)?)))
        .collect())
}

/// Sends.
pub struct Transfer<'a> {
    /// The board.
    pub remote: &'a Remote,
    /// What it gets.
    pub payload: &'a Payload,
    /// What of it is sent.
    pub delta: &'a Delta,
    /// What the board has.
    pub facts: &'a Facts,
    /// `info` of the deployment.
    pub info: String,
    /// What progress is called.
    pub task: String,
}

impl Transfer<'_> {
    /// Both halves at once; bytes that went over the wire.
    pub fn run(&self, progress: &dyn Progress) -> Result<u64> {
        let (wire, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let count = Count {
            wire: &wire,
            done: &done,
            total: self.delta.bytes,
            task: &self.task,
            epoch: self.payload.epoch,
            progress,
        };
        let boot = || if self.delta.boot_done { Ok(()) } else { self.boot(&count) };
        std::thread::scope(|scope| {
            let boot = scope.spawn(boot);
            let root = if self.delta.root_done { Ok(()) } else { self.root(&count) };
            let boot = boot.join().unwrap_or_else(|_| Err(Error::new("a sending thread died")));
            root.and(boot)
        })?;
        Ok(wire.into_inner())
    }

    fn id(&self) -> String {
        self.payload.id.to_string()
    }

    /// Directory of the board whose modules are taken over.
    fn base(&self) -> String {
        if !self.delta.keep.iter().any(|path| path.starts_with("modules/")) {
            return String::new();
        }
        match &self.facts.base.id {
            Some(id) => format!("/lib/modules/.bimg/{id}/modules"),
            None => format!("/lib/modules/{}", self.facts.release),
        }
    }

    fn root(&self, count: &Count<'_>) -> Result<()> {
        let in_root = |entry: &&Entry| !entry.path.starts_with("boot/");
        let sent: Vec<&Entry> = self.chosen(in_root).collect();
        let with = |set: &BTreeSet<String>| {
            self.payload
                .entries
                .iter()
                .filter(in_root)
                .filter(|it| set.contains(&it.path))
                .map(sum_line)
                .collect::<String>()
        };
        let manifest = self.payload.manifest();
        // All that was sent or came earlier.
        let sums = with(&self.delta.send)
            + &with(&self.delta.arrived)
            + &format!("{}  files\n", Digest::of(manifest.as_bytes()));
        let made = [
            ("files", manifest),
            ("info", self.info.clone()),
            (".sums", sums),
            (".remove", lines(self.delta.remove.iter().map(String::as_str))),
        ];
        let remote = self.remote;
        let (id, base) = (self.id(), self.base());
        remote
            .feed(
                "take the modules",
                include_str!("remote/root.sh"),
                &[&id, &self.payload.release, &base],
                |stdin| pack(&sent, &made, |path| path, None, stdin, count),
            )
            .map(drop)
    }

    fn boot(&self, count: &Count<'_>) -> Result<()> {
        let in_boot = |entry: &&Entry| entry.path.starts_with("boot/");
        let sent: Vec<&Entry> = self.chosen(in_boot).collect();
        let all = self.payload.entries.iter().filter(in_boot);
        let made = [
            (".sums", all.map(|entry| sum_line(entry).replacen("  boot/", "  ", 1)).collect::<String>()),
            (".copy", lines(self.delta.keep.iter().filter_map(|path| path.strip_prefix("boot/")))),
        ];
        let base = self.facts.base.id.as_ref().map_or(".".to_string(), |id| format!("bimg/{id}"));
        let id = self.id();
        self.remote
            .feed("take the kernel", include_str!("remote/boot.sh"), &[&id, &base], |stdin| {
                pack(&sent, &made, |path| path.trim_start_matches("boot/"), Some(BOOT_MODE), stdin, count)
            })
            .map(drop)
    }

    fn chosen<'b>(&'b self, half: impl Fn(&&Entry) -> bool + 'b) -> impl Iterator<Item = &'b Entry> {
        self.payload.entries.iter().filter(half).filter(|entry| self.delta.send.contains(&entry.path))
    }
}

fn lines<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.flat_map(|word| [word, "\n"]).collect()
}

struct Count<'a> {
    wire: &'a AtomicU64,
    done: &'a AtomicU64,
    total: u64,
    task: &'a str,
    epoch: i64,
    progress: &'a dyn Progress,
}

/// Passes bytes on and counts them: what is read unpacked, what is written packed.
struct Counted<'a, T> {
    inner: T,
    count: &'a Count<'a>,
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if interrupt::requested() {
            return Err(io::Error::other("interrupted"));
        }
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

/// A gzipped tar of files, and of a few made here, into a pipe; packed on all cores.
fn pack(
    entries: &[&Entry],
    made: &[(&str, String)],
    name: impl Fn(&str) -> &str + Send,
    mode: Option<u32>,
    out: &mut ChildStdin,
    count: &Count<'_>,
) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (unpacked, archived) = io::pipe().map_err(|cause| cannot_send(&cause))?;
    std::thread::scope(|scope| {
        let archived = BufWriter::with_capacity(PIECE, archived);
        let reader = scope.spawn(move || archive(entries, made, name, mode, count.epoch, archived));
        // Dropped with its input before the reader is waited for, which may still want to write.
        let packed = {
            let mut input = Counted { inner: unpacked, count };
            disk::gz(&mut input, Counted { inner: out, count }, threads, Compression::fast())
        };
        let read = reader.join().unwrap_or_else(|_| Err(Error::new("a reading thread died")));
        interrupt::check()?;
        packed.map_err(|cause| cannot_send(&cause)).and(read)
    })
}

fn archive(
    entries: &[&Entry],
    made: &[(&str, String)],
    name: impl Fn(&str) -> &str,
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
        append(name(&entry.path), entry.size, mode.unwrap_or(own), &mut content.open()?)?;
    }
    for (path, text) in made {
        append(path, text.len() as u64, mode.unwrap_or(0o644), &mut text.as_bytes())?;
    }
    builder.into_inner().and_then(|mut sink| sink.flush()).map_err(|cause| cannot_send(&cause))
}
