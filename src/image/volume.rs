//! A filesystem inside an image, for reading: one file per filesystem behind one trait.
//!
//! Paths are relative to the filesystem's root and `/`-separated; the root itself is `""`.

use std::io::{self, Read};

use serde::Serialize;

use super::read::{ReadAt, Source};
use crate::error::{Error, Result};
use crate::fsx;

/// Symbolic links followed on one path; Linux has the same limit.
const MAX_LINKS: usize = 40;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

impl Kind {
    /// As `ls -l` shows it.
    pub fn letter(self) -> char {
        match self {
            Kind::File => '-',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::CharDevice => 'c',
            Kind::BlockDevice => 'b',
            Kind::Fifo => 'p',
            Kind::Socket => 's',
        }
    }

    /// For messages: `a directory`.
    pub fn article(self) -> &'static str {
        match self {
            Kind::File => "a file",
            Kind::Directory => "a directory",
            Kind::Symlink => "a symbolic link",
            Kind::CharDevice => "a character device",
            Kind::BlockDevice => "a block device",
            Kind::Fifo => "a named pipe",
            Kind::Socket => "a socket",
        }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, as [`name`] makes it of bytes that are not UTF-8.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file, or of a link's target.
    pub size: u64,
    /// The lower 12 mode bits.
    pub mode: u32,
    /// Owner and group; FAT has none.
    pub owner: Option<(u32, u32)>,
    /// Modification time in seconds since 1970, where it can be told.
    pub mtime: Option<i64>,
}

/// A file's content, from its first byte on.
pub trait Contents: Read {
    /// How many bytes from here on are zeros, as far as that is known without reading them.
    fn zeros(&mut self) -> io::Result<u64>;

    /// Goes over bytes that [`Contents::zeros`] told of.
    fn skip(&mut self, n: u64);
}

/// Content whose zeros are bytes like others.
pub struct Plain<R>(pub R);

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Contents for Plain<R> {
    fn zeros(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    fn skip(&mut self, _: u64) {}
}

/// A filesystem that can be read.
pub trait Volume {
    /// What is in a directory, sorted by name, without `.` and `..`.
    fn list(&self, path: &str) -> Result<Vec<Entry>>;

    /// What a path names, no link followed at its end; `None` when there is no such thing.
    fn entry(&self, path: &str) -> Result<Option<Entry>>;

    /// A regular file's content.
    fn open(&self, path: &str) -> Result<Box<dyn Contents + '_>>;

    /// A symbolic link's target.
    fn target(&self, path: &str) -> Result<String>;

    /// How many names it can hold at most: who has seen more goes round in circles.
    fn most_names(&self) -> u64;

    /// Up to `limit` bytes of a file.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(limit).read_to_end(&mut bytes).map_err(|cause| failed(path, &cause))?;
        Ok(bytes)
    }
}

/// The outer line of a failure to read something in a filesystem.
pub fn cannot_read(path: &str) -> Error {
    Error::new(format!("cannot read `/{}` in the image", path.escape_debug()))
}

/// The error of a filesystem that cannot be opened.
pub fn unreadable(cause: impl std::fmt::Display) -> Error {
    Error::new("cannot read the filesystem").caused_by(cause)
}

/// Fails when a filesystem of `size` bytes is not all there.
pub fn check_size(size: u64, source: &Source) -> Result<()> {
    if size > source.len() {
        let len = source.len();
        return Err(unreadable(format!("it has {size} bytes by its own account, but there are only {len}")));
    }
    Ok(())
}

/// The error of a path whose inode or data cannot be read.
pub fn failed(path: &str, cause: &io::Error) -> Error {
    let error = cannot_read(path).caused_by(fsx::describe(cause));
    if cause.kind() == io::ErrorKind::Unsupported { error.unsupported() } else { error }
}

/// The error of a path that names nothing.
pub fn not_there(path: &str) -> Error {
    cannot_read(path).caused_by("it is not there")
}

/// Bytes of a name that are not UTF-8 are these characters, of the private use area, plus the byte; so are the bytes of
/// such a character itself. [`raw`] undoes that. Only bytes from 0x80 on: none of them is a `/`.
const BYTES: u32 = 0xF700;

/// A name or a link's target as the functions here have it.
pub fn name(bytes: &[u8]) -> String {
    let byte = |byte: &u8| char::from_u32(BYTES + u32::from(*byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
    let is_ours = |c: char| (BYTES + 0x80..BYTES + 0x100).contains(&u32::from(c));
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_ours(c) {
                out.extend(c.encode_utf8(&mut [0; 4]).as_bytes().iter().map(byte));
            } else {
                out.push(c);
            }
        }
        out.extend(chunk.invalid().iter().map(byte));
    }
    out
}

/// The bytes that a name, path or target of the functions here stands for.
pub fn raw(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for c in name.chars() {
        match u32::from(c).checked_sub(BYTES).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte @ 0x80..) => out.push(byte),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

/// Makes a path as the functions here take it: no leading, doubled or trailing `/`, no `.`; `..` goes up, and stays at
/// the root there.
pub fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// `directory/name`, or the name alone at the root.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") }
}

/// Follows symbolic links as a kernel would that has this filesystem as its root; what the last one
/// leads to is returned with its own path. `None` when something on the way is not there.
pub fn resolve(volume: &dyn Volume, path: &str) -> Result<Option<(String, Entry)>> {
    let mut todo: Vec<String> = parts(path);
    let mut done = String::new();
    let mut links = 0;
    let mut last = volume.entry("")?;
    while let Some(part) = todo.pop() {
        if part == ".." {
            done = done.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_string());
            last = volume.entry(&done)?;
            continue;
        }
        let here = join(&done, &part);
        let Some(entry) = volume.entry(&here)? else { return Ok(None) };
        if entry.kind == Kind::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(cannot_read(path).caused_by("too many symbolic links follow each other"));
            }
            let target = volume.target(&here)?;
            if target.starts_with('/') {
                done.clear();
                last = volume.entry("")?;
            }
            todo.extend(parts(&target));
        } else {
            if !todo.is_empty() && entry.kind != Kind::Directory {
                return Ok(None);
            }
            done = here;
            last = Some(entry);
        }
    }
    Ok(last.map(|entry| (done, entry)))
}

/// Bytes of the longest path that is gone into: Linux takes none that is longer.
const MAX_PATH: usize = 4096;

/// Calls `each` with everything below a directory: path and entry, a directory before what it holds.
///
/// Names that no path can hold (`..`, a `/`) are passed over. No link is followed.
pub fn walk(volume: &dyn Volume, dir: &str, each: &mut dyn FnMut(&str, &Entry) -> Result<()>) -> Result<()> {
    let mut seen = 0;
    let mut todo = vec![dir.to_string()];
    while let Some(dir) = todo.pop() {
        crate::interrupt::check()?;
        for entry in volume.list(&dir)?.iter().filter(|entry| is_name(&entry.name)) {
            seen += 1;
            let path = join(&dir, &entry.name);
            if seen > volume.most_names() {
                return Err(cannot_read(&dir).caused_by("its directories lead in circles"));
            }
            if path.len() > MAX_PATH {
                return Err(Error::new("cannot read all directories in the image")
                    .caused_by(format!("a path is longer than {MAX_PATH} bytes")));
            }
            each(&path, entry)?;
            if entry.kind == Kind::Directory {
                todo.push(path);
            }
        }
    }
    Ok(())
}

/// True for what can be a component of a path.
pub fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// The components of a path, the first one last.
fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").rev().map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that holds a directory, and so on.
    struct Endless;

    impl Volume for Endless {
        fn list(&self, _: &str) -> Result<Vec<Entry>> {
            let name = "d".repeat(99);
            Ok(vec![Entry { name, kind: Kind::Directory, size: 0, mode: 0, owner: None, mtime: None }])
        }

        fn entry(&self, _: &str) -> Result<Option<Entry>> {
            Ok(None)
        }

        fn open(&self, path: &str) -> Result<Box<dyn Contents + '_>> {
            Err(not_there(path))
        }

        fn target(&self, path: &str) -> Result<String> {
            Err(not_there(path))
        }

        fn most_names(&self) -> u64 {
            1000
        }
    }

    #[test]
    fn a_walk_goes_as_deep_as_a_path_may_be_long() {
        let mut longest = 0;
        let walked = walk(&Endless, "", &mut |path, _| {
            longest = path.len();
            Ok(())
        });
        assert_eq!(longest, 3999);
        assert_eq!(
            walked.unwrap_err().to_string(),
            "cannot read all directories in the image\n  caused by: a path is longer than 4096 bytes"
        );
    }
}
