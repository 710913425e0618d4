//! Filesystems whose names stand for inodes: paths are looked up in one way for all of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;

use super::trail::{self, Trail};
use super::volume::{self, Contents, Entry, Kind, Volume, failed};
use crate::error::Result;
use crate::interrupt;

/// Bytes of a directory that are read.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Names in a directory that are read.
const MAX_NAMES: usize = 1 << 20;
/// Names of directories that are kept.
const KEPT: usize = 1 << 16;
/// Names between two looks at whether somebody wants to stop.
const PATIENCE: usize = 4096;
/// Longest target of a symbolic link.
const MAX_TARGET: u64 = 4096;

pub(super) fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What is needed of an inode, and where its data is.
#[derive(Debug, Clone)]
pub struct Inode<D> {
    /// What it is.
    pub kind: Kind,
    /// The lower 12 mode bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Bytes of data.
    pub size: u64,
    /// Where they are.
    pub data: D,
}

impl<D> Inode<D> {
    fn entry(&self, name: &str) -> Entry {
        Entry {
            name: name.to_string(),
            kind: self.kind,
            size: if matches!(self.kind, Kind::File | Kind::Symlink) { self.size } else { 0 },
            mode: self.mode,
            owner: Some(self.owner),
            mtime: Some(self.mtime),
        }
    }
}

/// A name in a directory, and the number of its inode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// As [`volume::name`] has it.
    pub name: String,
    /// Whatever finds the inode.
    pub inode: u64,
}

/// What an inode is, by the type in the upper bits of its mode.
pub(super) fn kind_of(mode: u32) -> io::Result<Kind> {
    Ok(match mode >> 12 {
        0o01 => Kind::Fifo,
        0o02 => Kind::CharDevice,
        0o04 => Kind::Directory,
        0o06 => Kind::BlockDevice,
        0o10 => Kind::File,
        0o12 => Kind::Symlink,
        0o14 => Kind::Socket,
        _ => return Err(bad("it has an inode of an unknown kind")),
    })
}

/// The bytes of a directory of `size`; it cannot have more than its filesystem.
pub(super) fn listing(mut data: impl Read, size: u64, filesystem: u64) -> io::Result<Vec<u8>> {
    if size > MAX_DIRECTORY.min(filesystem) {
        return Err(bad("a directory is larger than it may be"));
    }
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds a name; an error when there are more than a directory may have.
pub(super) fn push(names: &mut Vec<Name>, name: &[u8], inode: u64) -> io::Result<()> {
    if names.len() >= MAX_NAMES {
        return Err(bad("a directory has more names than it may have"));
    }
    names.push(Name { name: volume::name(name), inode });
    Ok(())
}

/// A filesystem with inodes.
pub trait Inodes {
    /// Where an inode's data is.
    type Data;

    /// The number of the root's inode.
    fn root(&self) -> u64;

    /// The inode of a number.
    fn inode(&self, number: u64) -> io::Result<Inode<Self::Data>>;

    /// The names in a directory in any order, `.` and `..` left out.
    fn names(&self, directory: &Inode<Self::Data>) -> io::Result<Vec<Name>>;

    /// The data of a file, or the target of a symbolic link.
    fn data(&self, inode: Inode<Self::Data>) -> io::Result<Box<dyn Contents + '_>>;

    /// How many names it can hold at most.
    fn most_names(&self) -> u64;
}

/// Looks paths up in a filesystem with inodes.
pub struct ByInode<F> {
    pub(super) inner: F,
    /// The names of directories, sorted, by the directory's number.
    names: RefCell<HashMap<u64, Rc<Vec<Name>>>>,
    trail: RefCell<Trail>,
}

impl<F: Inodes> ByInode<F> {
    pub(super) fn new(inner: F) -> Self {
        ByInode { inner, names: RefCell::default(), trail: RefCell::default() }
    }

    fn names(&self, number: u64, directory: &Inode<F::Data>) -> io::Result<Rc<Vec<Name>>> {
        if let Some(names) = self.names.borrow().get(&number) {
            return Ok(names.clone());
        }
        let mut names = self.inner.names(directory)?;
        names.sort();
        let names = Rc::new(names);
        let mut kept = self.names.borrow_mut();
        if kept.values().map(|names| names.len() + 1).sum::<usize>() > KEPT {
            kept.clear();
        }
        kept.insert(number, names.clone());
        Ok(names)
    }

    /// What a path names and its number, no link followed.
    pub(super) fn find(&self, path: &str) -> io::Result<Option<(u64, Inode<F::Data>)>> {
        let mut trail = self.trail.borrow_mut();
        let at = trail.back(path);
        let mut number = trail.last().unwrap_or(self.inner.root());
        let mut found = self.inner.inode(number)?;
        let mut known = at;
        for (part, end) in trail::names(path, at) {
            if found.kind != Kind::Directory {
                return Ok(None);
            }
            if known > at {
                trail.on(path, known, number);
            }
            let names = self.names(number, &found)?;
            let at = names.partition_point(|name| name.name.as_str() < part);
            let Some(name) = names.get(at).filter(|name| name.name == part) else { return Ok(None) };
            number = name.inode;
            if number == self.inner.root() {
                return Err(bad("its directories lead in circles"));
            }
            trail.check(number)?;
            found = self.inner.inode(number)?;
            known = end;
        }
        Ok(Some((number, found)))
    }

    fn needed(&self, path: &str) -> Result<(u64, Inode<F::Data>)> {
        self.find(path).map_err(|cause| failed(path, &cause))?.ok_or_else(|| volume::not_there(path))
    }
}

impl<F: Inodes> Volume for ByInode<F> {
    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let (number, inode) = self.needed(path)?;
        if inode.kind != Kind::Directory {
            return Err(volume::cannot_read(path).caused_by("it is not a directory"));
        }
        let names = self.names(number, &inode).map_err(|cause| failed(path, &cause))?;
        let mut entries = Vec::with_capacity(names.len());
        for names in names.chunks(PATIENCE) {
            interrupt::check()?;
            let entry = |name: &Name| self.inner.inode(name.inode).map(|inode| inode.entry(&name.name));
            let read = names.iter().map(entry).collect::<io::Result<Vec<Entry>>>();
            entries.append(&mut read.map_err(|cause| failed(path, &cause))?);
        }
        Ok(entries)
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>> {
        let name = path.rsplit('/').next().unwrap_or_default();
        Ok(self.find(path).map_err(|cause| failed(path, &cause))?.map(|(_, inode)| inode.entry(name)))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Contents + '_>> {
        let (_, inode) = self.needed(path)?;
        if inode.kind != Kind::File {
            return Err(volume::cannot_read(path).caused_by("it is not a file"));
        }
        self.inner.data(inode).map_err(|cause| failed(path, &cause))
    }

    fn target(&self, path: &str) -> Result<String> {
        let (_, inode) = self.needed(path)?;
        if inode.kind != Kind::Symlink {
            return Err(volume::cannot_read(path).caused_by("it is not a symbolic link"));
        }
        if inode.size > MAX_TARGET {
            return Err(volume::cannot_read(path).caused_by("the target of the link is too long"));
        }
        let mut target = Vec::new();
        let read = self.inner.data(inode).and_then(|mut data| data.read_to_end(&mut target));
        read.map_err(|cause| failed(path, &cause))?;
        Ok(volume::name(&target))
    }

    fn most_names(&self) -> u64 {
        self.inner.most_names()
    }
}

/// Where a run of data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// First byte in the filesystem, and how many.
    Data(u64, u64),
    /// So many bytes of a hole.
    Zeros(u64),
}

/// Data that lies in runs, read from the first byte on.
pub struct Runs<'a, G> {
    volume: &'a dyn super::read::ReadAt,
    /// Bytes of data, and how many are read.
    size: u64,
    at: u64,
    /// The run from a byte on, which is less than the size.
    run: G,
    current: Run,
}

impl<'a, G: FnMut(u64) -> io::Result<Run>> Runs<'a, G> {
    /// `size` bytes in the runs that `run` finds.
    pub fn new(volume: &'a dyn super::read::ReadAt, size: u64, run: G) -> Self {
        Runs { volume, size, at: 0, run, current: Run::Zeros(0) }
    }

    /// The rest of the run that is read now, which is not empty; `None` at the end of the data.
    fn rest(&mut self) -> io::Result<Option<Run>> {
        if self.at >= self.size {
            return Ok(None);
        }
        if matches!(self.current, Run::Data(_, 0) | Run::Zeros(0)) {
            self.current = (self.run)(self.at)?;
        }
        let most = self.size - self.at;
        let rest = match self.current {
            Run::Data(place, len) => Run::Data(place, len.min(most)),
            Run::Zeros(len) => Run::Zeros(len.min(most)),
        };
        match rest {
            Run::Data(_, 0) | Run::Zeros(0) => Err(bad("a run of data is empty")),
            rest => Ok(Some(rest)),
        }
    }
}

impl<G: FnMut(u64) -> io::Result<Run>> Contents for Runs<'_, G> {
    fn zeros(&mut self) -> io::Result<u64> {
        Ok(if let Some(Run::Zeros(len)) = self.rest()? { len } else { 0 })
    }

    fn skip(&mut self, n: u64) {
        if let Run::Zeros(len) = self.current {
            let n = n.min(len);
            self.current = Run::Zeros(len - n);
            self.at += n;
        }
    }
}

impl<G: FnMut(u64) -> io::Result<Run>> Read for Runs<'_, G> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(rest) = self.rest()? else { return Ok(0) };
        let (Run::Data(_, len) | Run::Zeros(len)) = rest;
        let n = len.min(buffer.len() as u64);
        let to = &mut buffer[..n as usize];
        self.current = match rest {
            Run::Zeros(len) => {
                to.fill(0);
                Run::Zeros(len - n)
            }
            Run::Data(place, len) => {
                if place.checked_add(n).is_none_or(|end| end > self.volume.len()) {
                    return Err(bad("it points behind the end of the filesystem"));
                }
                self.volume.read_exact_at(place, to)?;
                Run::Data(place + n, len - n)
            }
        };
        self.at += n;
        Ok(n as usize)
    }
}
