//! Unpacks tar archives from anywhere, safely and fast.
//!
//! Decompression runs on threads of its own while this one writes files. The target directory is ours
//! and empty, so safety needs no path lookups: names are checked as text, and a parent must be a
//! directory that this archive made, never a symbolic link.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, UNIX_EPOCH};

use tar::{Archive, Entry, EntryType};

use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::tree::TreePath;
use crate::{fsx, input, interrupt};

const CHUNK: usize = 256 << 10;
/// The last second of the year 9999: a compiler takes no later `SOURCE_DATE_EPOCH`, and none before 1970.
const LAST_TIME: i64 = 253_402_300_799;
/// Chunks between the decompressor and the writer: 8 MiB.
const AHEAD: usize = 32;

/// Where symbolic links of an archive may point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Inside the tree only: sources.
    Inside,
    /// Anywhere: packages, made for a root directory. Read them with [`super::resolve`].
    Any,
}

/// What was unpacked.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// The newest modification time of its files, seconds since 1970.
    pub newest: i64,
    /// Entries.
    pub entries: u64,
    /// The one directory that holds all the rest, if there is one.
    top: Option<String>,
}

/// Unpacks a tar archive of any known compression into the empty directory `into`. `size` is that of the
/// compressed bytes, for the progress of `what`.
pub(super) fn unpack(
    reader: impl Read + Send + 'static,
    size: u64,
    into: &Path,
    links: Links,
    what: &str,
    progress: &dyn Progress,
) -> Result<Unpacked> {
    let done = Arc::new(AtomicU64::new(0));
    let counting = Counting { inner: reader, done: Arc::clone(&done) };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || decompress(counting, &sender));
        let stream = Stream { receiver, chunk: Vec::new(), at: 0 };
        let mut writer = Writer::new(into, links);
        let mut shown = 0;
        let mut tick = || {
            let now = done.load(Ordering::Relaxed);
            // A step of 1/256 is finer than any bar, and few events for a program that listens.
            if now > shown + size / 256 {
                shown = now;
                progress.count(what, now.min(size), Some(size), Unit::Bytes);
            }
        };
        writer.write_all(Archive::new(stream), &mut tick)?;
        progress.count(what, size, Some(size), Unit::Bytes);
        writer.finish()
    })
}

/// Moves the content of a single top directory up, as tarballs of sources have one.
pub(super) fn strip_top(dir: &Path, unpacked: &Unpacked) -> Result<()> {
    let Some(top) = &unpacked.top else { return Ok(()) };
    let aside = dir.with_file_name("top");
    fsx::rename(dir, &aside)?;
    fsx::rename(&aside.join(top), dir)?;
    fs::remove_dir(&aside).map_err(|cause| fsx::io_error("remove", &aside, &cause))
}

/// Counts what is read of the compressed bytes.
struct Counting<R> {
    inner: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The writer's end of the channel, as a reader.
struct Stream {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => self.chunk = chunk?,
                Err(_) => return Ok(0),
            }
            self.at = 0;
        }
        let n = buffer.len().min(self.chunk.len() - self.at);
        buffer[..n].copy_from_slice(&self.chunk[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Sends the plain bytes.
fn decompress(reader: impl Read + Send + 'static, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let result = input::decompress(reader).and_then(|(format, plain)| {
        // Not a word of any library: users see the same ones wherever a compressed file is damaged.
        pump(plain, sender).map_err(|cause| match format.damage(&cause) {
            Some(why) if cause.kind() != ErrorKind::UnexpectedEof => io::Error::other(why),
            _ => cause,
        })
    });
    if let Err(cause) = result {
        // A writer that is gone has its own error to tell.
        let _ = sender.send(Err(cause));
    }
}

/// Sends chunks until the end, or until nobody listens.
fn pump(mut reader: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() || sender.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// Writes entries below one directory.
struct Writer<'a> {
    root: &'a Path,
    links: Links,
    /// Directories that this archive made: the only parents anything is written into.
    directories: HashSet<String>,
    symlinks: Vec<(String, String)>,
    tops: HashSet<String>,
    top_is_directory: bool,
    unpacked: Unpacked,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(root: &'a Path, links: Links) -> Self {
        Writer {
            root,
            links,
            directories: HashSet::from([String::new()]),
            symlinks: Vec::new(),
            tops: HashSet::new(),
            top_is_directory: true,
            unpacked: Unpacked::default(),
            buffer: vec![0; CHUNK],
        }
    }

    fn write_all(&mut self, mut archive: Archive<Stream>, tick: &mut dyn FnMut()) -> Result<()> {
        let damaged = |cause: io::Error| {
            // What the tar crate says, with no kind of its own, when a stream ends too early.
            let early = ["failed to read entire block", "unexpected EOF during skip"];
            let why = match fsx::describe(&cause) {
                _ if cause.kind() == ErrorKind::UnexpectedEof => "it is truncated".to_string(),
                why if early.contains(&why.as_str()) => "it is truncated".to_string(),
                why => why,
            };
            Error::new("the archive is damaged or not a tar archive").caused_by(why)
        };
        for entry in archive.entries().map_err(damaged)? {
            interrupt::check()?;
            let mut entry = entry.map_err(damaged)?;
            self.write(&mut entry, damaged)?;
            tick();
        }
        if self.unpacked.entries == 0 {
            return Err(Error::new("the archive is empty"));
        }
        Ok(())
    }

    fn write(&mut self, entry: &mut Entry<'_, Stream>, damaged: impl Fn(io::Error) -> Error) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        let path = text(&entry.path_bytes())?;
        let path = TreePath::new(&path)?;
        self.unpacked.entries += 1;
        if path == TreePath::root() {
            return Ok(());
        }
        let (top, below) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
        self.top_is_directory &= !below.is_empty() || kind == EntryType::Directory;
        if !self.tops.contains(top) {
            self.tops.insert(top.to_string());
        }
        let mtime = entry.header().mtime().map_err(&damaged)?.cast_signed().clamp(0, LAST_TIME);
        match kind {
            EntryType::Directory => return self.directory(&path),
            EntryType::Symlink => self.symlink(&path, &target(entry)?)?,
            EntryType::Link => self.hard_link(&path, &target(entry)?)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().map_err(&damaged)?;
                self.file(&path, entry, mode, mtime, damaged)?;
            }
            _ => {
                return Err(Error::new(format!(
                    "`{}` is a device, a pipe or of an unknown kind",
                    path.as_str()
                ))
                .caused_by("a source may hold files, directories and links only"));
            }
        }
        self.unpacked.newest = self.unpacked.newest.max(mtime);
        Ok(())
    }

    fn directory(&mut self, path: &TreePath) -> Result<()> {
        if self.directories.contains(path.as_str()) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(&parent)?;
        }
        let host = self.root.join(path.as_str());
        fs::create_dir(&host).map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => Error::new(format!("`{}` is not a directory", path.as_str()))
                .caused_by("the archive writes through a link or a file"),
            _ => fsx::io_error("create", &host, &cause),
        })?;
        self.directories.insert(path.as_str().to_string());
        Ok(())
    }

    fn parent(&mut self, path: &TreePath) -> Result<()> {
        match path.parent() {
            Some(parent) => self.directory(&parent),
            None => Ok(()),
        }
    }

    fn file(
        &mut self,
        path: &TreePath,
        entry: &mut Entry<'_, Stream>,
        mode: u32,
        mtime: i64,
        damaged: impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        self.parent(path)?;
        let host = self.root.join(path.as_str());
        let failed = |cause: io::Error| fsx::io_error("write", &host, &cause);
        let mut file = match File::create_new(&host) {
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
                // A later entry replaces an earlier one; what a link points to is not touched.
                fsx::remove_file(&host)?;
                File::create_new(&host)
            }
            result => result,
        }
        .map_err(failed)?;
        loop {
            let n = entry.read(&mut self.buffer).map_err(&damaged)?;
            if n == 0 {
                break;
            }
            file.write_all(&self.buffer[..n]).map_err(failed)?;
        }
        // The same modes whatever the umask; nothing else of the owner's bits means anything here.
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        let time = UNIX_EPOCH + Duration::from_secs(mtime.cast_unsigned());
        file.set_times(FileTimes::new().set_modified(time)).map_err(failed)
    }

    fn symlink(&mut self, path: &TreePath, target: &str) -> Result<()> {
        self.parent(path)?;
        let host = self.root.join(path.as_str());
        fsx::remove_file(&host)?;
        symlink(target, &host).map_err(|cause| fsx::io_error("create", &host, &cause))?;
        self.symlinks.push((path.as_str().to_string(), target.to_string()));
        Ok(())
    }

    fn hard_link(&mut self, path: &TreePath, target: &str) -> Result<()> {
        let target = TreePath::new(target)?;
        let parent = target.parent().unwrap_or_else(TreePath::root);
        let from = self.root.join(target.as_str());
        let there =
            self.directories.contains(parent.as_str()).then(|| from.symlink_metadata().ok()).flatten();
        // From another directory a symbolic link leads elsewhere: nobody packs one twice.
        if !there.is_some_and(|meta| meta.is_file()) {
            return Err(Error::new(format!("`{}` is a hard link to `{}`", path.as_str(), target.as_str()))
                .caused_by("the archive holds no such file before it"));
        }
        self.parent(path)?;
        let host = self.root.join(path.as_str());
        if host == from {
            return Ok(());
        }
        fsx::remove_file(&host)?;
        fs::hard_link(&from, &host).map_err(|cause| fsx::io_error("create", &host, &cause))
    }

    /// Checks what only the whole archive tells: where links lead once the top directory is stripped.
    fn finish(mut self) -> Result<Unpacked> {
        if self.tops.len() == 1 && self.top_is_directory {
            self.unpacked.top = self.tops.drain().next();
        }
        if self.links == Links::Inside {
            let depth_of_top = usize::from(self.unpacked.top.is_some());
            for (path, target) in &self.symlinks {
                let depth = path.split('/').count() - 1 - depth_of_top;
                if escapes(depth, target) {
                    return Err(Error::new(format!("symbolic link `{path}` leads out of the archive"))
                        .caused_by(format!("it points to `{target}`")));
                }
            }
        }
        Ok(self.unpacked)
    }
}

/// True unless a link in a real directory `depth` levels down stays inside by its text alone: at most
/// `depth` times up, then only down. (`other-link/..` might be anywhere.)
fn escapes(depth: usize, target: &str) -> bool {
    let parts: Vec<&str> = target.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let up = parts.iter().take_while(|part| **part == "..").count();
    target.starts_with('/') || up > depth || parts[up..].contains(&"..")
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Error::new(format!("the name `{}` in the archive is not UTF-8", String::from_utf8_lossy(bytes)))
    })
}

fn target(entry: &Entry<'_, Stream>) -> Result<String> {
    text(&entry.link_name_bytes().unwrap_or_default())
}
