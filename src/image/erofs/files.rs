//! Files and directories of an EROFS.

use std::io::{self, Read};
use std::rc::Rc;

use super::super::read::{ReadAt, le16, le64};
use super::super::volume::{self, Entry, Kind, Volume, failed};
use super::packed::Packed;
use super::{ErofsVolume, Inode, Layout, Run, bad};
use crate::error::Result;

/// Bytes of a directory that are read.
const MAX_DIRECTORY: u64 = 256 << 20;
/// Bytes that a name takes before its own.
const DIRENT: usize = 12;
/// Longest target of a symbolic link.
const MAX_TARGET: u64 = 4096;
/// Directories that are kept.
const KEPT: usize = 64;

/// A name in a directory, and the number of its inode.
pub struct Name {
    pub(super) name: String,
    pub(super) inode: u64,
}

/// What is in a directory.
pub type Names = Rc<Vec<Name>>;

impl Inode {
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

impl ErofsVolume {
    /// The names in a directory, `.` and `..` left out.
    fn names(&self, number: u64, inode: &Inode) -> io::Result<Names> {
        if let Some(names) = self.names.borrow().get(&number) {
            return Ok(names.clone());
        }
        if inode.size > MAX_DIRECTORY.min(self.size) {
            return Err(bad("a directory is larger than it may be"));
        }
        let mut bytes = Vec::new();
        Flat { volume: self, inode: *inode, at: 0 }.read_to_end(&mut bytes)?;
        let mut names = Vec::new();
        for block in bytes.chunks(self.block() as usize) {
            let first = usize::from(le16(block, 8));
            if first == 0 || !first.is_multiple_of(DIRENT) || first > block.len() {
                return Err(bad("a directory has no sensible number of names"));
            }
            for at in (0..first).step_by(DIRENT) {
                let start = usize::from(le16(block, at + 8));
                let is_last = at + DIRENT == first;
                let end = if is_last { block.len() } else { usize::from(le16(block, at + DIRENT + 8)) };
                let name = block.get(start..end).ok_or_else(|| bad("a directory is cut off"))?;
                // Only the last one may be followed by zeros.
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name.is_empty() || name.len() > 255 {
                    return Err(bad("a name has no sensible length"));
                }
                if name != b"." && name != b".." {
                    names.push(Name { name: volume::name(name), inode: le64(block, at) });
                }
            }
        }
        let names = Rc::new(names);
        let mut kept = self.names.borrow_mut();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(number, names.clone());
        Ok(names)
    }

    /// What a path names and its number, no link followed.
    pub(super) fn find(&self, path: &str) -> io::Result<Option<(u64, Inode)>> {
        let mut found = (self.root, self.inode(self.root)?);
        let mut above = vec![self.root];
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if found.1.kind != Kind::Directory {
                return Ok(None);
            }
            let names = self.names(found.0, &found.1)?;
            let Some(name) = names.iter().find(|name| name.name == part) else { return Ok(None) };
            // A directory has one name; one that holds itself goes on for ever.
            if above.contains(&name.inode) {
                return Err(bad("its directories lead in circles"));
            }
            above.push(name.inode);
            found = (name.inode, self.inode(name.inode)?);
        }
        Ok(Some(found))
    }

    fn needed(&self, path: &str) -> Result<(u64, Inode)> {
        self.find(path).map_err(|cause| failed(path, &cause))?.ok_or_else(|| volume::not_there(path))
    }
}

impl Volume for ErofsVolume {
    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let (number, inode) = self.needed(path)?;
        if inode.kind != Kind::Directory {
            return Err(volume::cannot_read(path).caused_by("it is not a directory"));
        }
        let names = self.names(number, &inode).map_err(|cause| failed(path, &cause))?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names.iter() {
            let inode = self.inode(name.inode).map_err(|cause| failed(path, &cause))?;
            entries.push(inode.entry(&name.name));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>> {
        let name = path.rsplit('/').next().unwrap_or_default();
        Ok(self.find(path).map_err(|cause| failed(path, &cause))?.map(|(_, inode)| inode.entry(name)))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        let (_, inode) = self.needed(path)?;
        if inode.kind != Kind::File {
            return Err(volume::cannot_read(path).caused_by("it is not a file"));
        }
        if matches!(inode.layout, Layout::Full | Layout::Compact) {
            let packed = Packed::new(self, inode).map_err(|cause| failed(path, &cause))?;
            return Ok(Box::new(packed));
        }
        Ok(Box::new(Flat { volume: self, inode, at: 0 }))
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
        let read = Flat { volume: self, inode, at: 0 }.read_to_end(&mut target);
        read.map_err(|cause| failed(path, &cause))?;
        Ok(volume::name(&target))
    }

    fn most_names(&self) -> u64 {
        self.size / DIRENT as u64
    }
}

/// Content that is not compressed.
struct Flat<'a> {
    volume: &'a ErofsVolume,
    inode: Inode,
    at: u64,
}

impl Read for Flat<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.inode.size || buffer.is_empty() {
            return Ok(0);
        }
        let n = match self.volume.run(&self.inode, self.at)? {
            Run::Zeros(len) => {
                let n = len.min(buffer.len() as u64) as usize;
                buffer[..n].fill(0);
                n
            }
            Run::Data(at, len) => {
                let n = len.min(buffer.len() as u64) as usize;
                if at.checked_add(n as u64).is_none_or(|end| end > self.volume.size) {
                    return Err(bad("it points behind the end of the filesystem"));
                }
                self.volume.source.read_exact_at(at, &mut buffer[..n])?;
                n
            }
        };
        self.at += n as u64;
        Ok(n)
    }
}
