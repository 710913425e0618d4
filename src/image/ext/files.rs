//! Files and directories of ext2, ext3 and ext4, through the `ext4-view` crate.
//!
//! The crate believes some sizes that it reads; they are checked here before it is asked. It refuses features
//! that only say where descriptors are, as in a filesystem that has grown online: it is shown them where it
//! looks for them.

use std::io::{self, Read};

use ext4_view::{DirEntry, Ext4, Ext4Error, Ext4Read, FileType, Metadata};

use super::super::read::{ReadAt, Source, le16, le32};
use super::super::volume::{self, Entry, Kind, Volume};
use super::{Ext, INCOMPAT_64BIT, RO_METADATA_SUMS, SUPERBLOCK, SUPERBLOCK_LEN};
use crate::error::{Error, Result};

/// Where the superblock has the features that a reader must know.
const INCOMPAT: usize = 0x60;
/// Where it has those that a writer must know.
const RO_COMPAT: usize = 0x64;
/// Where it has the size of an inode.
const INODE_SIZE: usize = 0x58;
/// Those that do not matter to files here: descriptors in their groups (meta_bg), protection from mounting twice
/// (mmp), large attributes in inodes (ea_inode), indices of three levels (large_dir; the crate descends any number).
const PASSED_OVER: u32 = 0x10 | 0x100 | 0x400 | 0x4000;
/// Those that do matter and that the crate does not know, as mke2fs calls them.
const FOREIGN: [(u32, &str); 4] =
    [(0x1, "compression"), (0x1000, "dirdata"), (0x8000, "inline_data"), (0x2_0000, "casefold")];
/// The journal holds what is to be written back.
const RECOVER: u32 = 0x4;
/// Where it has the upper half of the number of blocks, with the feature 64bit.
const BLOCKS_HIGH: usize = 0x150;
/// Where the superblock's checksum is.
const CHECKSUM: usize = 0x3FC;
/// Longest target of a symbolic link.
const MAX_TARGET: u64 = 4096;

/// An ext filesystem for reading.
pub struct ExtVolume {
    inner: Ext4,
    size: u64,
}

/// The reader that the crate wants. It asks for the superblock, then for each descriptor once.
struct Reader {
    source: Source,
    ext: Ext,
    /// Groups whose descriptor it has.
    described: u64,
    /// Features of the superblock that it does not get to see.
    hidden: u32,
}

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if start == SUPERBLOCK && buffer.len() == SUPERBLOCK_LEN {
            self.source.read_exact_at(start, buffer)?;
            hide(buffer, self.hidden);
            return Ok(());
        }
        let mut at = start;
        if self.described < self.ext.groups && buffer.len() as u64 == self.ext.descriptor {
            at = self.ext.descriptor_at(self.described);
            self.described += 1;
        }
        Ok(self.source.read_exact_at(at, buffer)?)
    }
}

/// Takes the features out of a superblock that do not matter; a wrong checksum stays wrong.
fn hide(superblock: &mut [u8], hidden: u32) {
    let features = le32(superblock, INCOMPAT);
    let sum = mkext4::csum::superblock(superblock);
    let right = le32(superblock, CHECKSUM) == sum;
    superblock[INCOMPAT..INCOMPAT + 4].copy_from_slice(&(features & !hidden).to_le_bytes());
    if le16(superblock, INODE_SIZE) == 128 {
        // The crate wants checksums whole, and inodes of 128 bytes have half of theirs.
        let features = le32(superblock, RO_COMPAT) & !RO_METADATA_SUMS;
        superblock[RO_COMPAT..RO_COMPAT + 4].copy_from_slice(&features.to_le_bytes());
    }
    if features & INCOMPAT_64BIT == 0 {
        // The crate would take what lies here for the upper half of the number of blocks.
        superblock[BLOCKS_HIGH..BLOCKS_HIGH + 4].fill(0);
    }
    if right && le32(superblock, RO_COMPAT) & RO_METADATA_SUMS != 0 {
        let sum = mkext4::csum::superblock(superblock);
        superblock[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    }
}

impl ExtVolume {
    /// Of a partition that holds one; `None` for any other.
    pub fn open(source: &Source) -> Result<Option<Self>> {
        let failed =
            |cause: &dyn std::fmt::Display| Error::new("cannot read the filesystem").caused_by(cause);
        let Some(ext) = Ext::read(source).map_err(|cause| failed(&crate::fsx::describe(&cause)))? else {
            return Ok(None);
        };
        if ext.size() > source.len() {
            return Err(failed(&format!(
                "it has {} bytes by its own account, but there are only {}",
                ext.size(),
                source.len()
            )));
        }
        if let Some((_, name)) = FOREIGN.iter().find(|(bit, _)| ext.incompat & bit != 0) {
            let what = format!("it has the feature `{name}`, which bimg does not read");
            return Err(failed(&what).unsupported());
        }
        let size = ext.size();
        let load = |hidden| {
            let reader = Reader { source: source.clone(), ext: ext.clone(), described: 0, hidden };
            Ext4::load(Box::new(reader))
        };
        let inner = match load(PASSED_OVER) {
            // A journal that the crate cannot read, as most are, is left alone: `inspect` says so.
            Err(Ext4Error::Incompatible(_)) if ext.needs_recovery => load(PASSED_OVER | RECOVER),
            loaded => loaded,
        };
        let inner = inner.map_err(|cause| match cause {
            Ext4Error::Incompatible(_) => failed(&cause).unsupported(),
            cause => failed(&cause),
        })?;
        Ok(Some(ExtVolume { inner, size }))
    }

    /// No link may be followed on the way: the crate would read targets of any length.
    fn metadata(&self, path: &str) -> Result<Option<Metadata>> {
        let mut at = String::from("/");
        let look = |at: &str| match self.inner.symlink_metadata(volume::raw(at).as_slice()) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory | Ext4Error::MalformedPath) => Ok(None),
            Err(cause) => Err(volume::cannot_read(path).caused_by(cause)),
        };
        let mut found = look(&at)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if !found.is_some_and(|found| found.is_dir()) {
                return Ok(None);
            }
            if at.len() > 1 {
                at.push('/');
            }
            at.push_str(part);
            found = look(&at)?;
        }
        Ok(found)
    }
}

fn entry(name: &str, metadata: &Metadata) -> Entry {
    let kind = match metadata.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::Regular => Kind::File,
    };
    Entry {
        name: name.to_string(),
        kind,
        size: if matches!(kind, Kind::File | Kind::Symlink) { metadata.len() } else { 0 },
        mode: u32::from(metadata.mode()),
        owner: Some((metadata.uid(), metadata.gid())),
        mtime: Some(metadata.modified().seconds()),
    }
}

fn name(entry: &DirEntry) -> String {
    volume::name(entry.file_name().as_ref())
}

impl Volume for ExtVolume {
    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let failed = |cause: Ext4Error| volume::cannot_read(path).caused_by(cause);
        match self.metadata(path)? {
            None => return Err(volume::not_there(path)),
            Some(found) if !found.is_dir() => {
                return Err(volume::cannot_read(path).caused_by("it is not a directory"));
            }
            Some(_) => {}
        }
        let mut entries = Vec::new();
        for found in self.inner.read_dir(absolute(path).as_slice()).map_err(failed)? {
            let found = found.map_err(failed)?;
            let name = name(&found);
            if name != "." && name != ".." {
                entries.push(entry(&name, &found.metadata().map_err(failed)?));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>> {
        Ok(self.metadata(path)?.map(|found| entry(path.rsplit('/').next().unwrap_or_default(), &found)))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        match self.metadata(path)? {
            None => Err(volume::not_there(path)),
            Some(found) if found.file_type().is_regular_file() => {
                let file = self.inner.open(absolute(path).as_slice());
                Ok(Box::new(Content(file.map_err(|cause| volume::cannot_read(path).caused_by(cause))?)))
            }
            Some(_) => Err(volume::cannot_read(path).caused_by("it is not a file")),
        }
    }

    fn most_names(&self) -> u64 {
        // A directory entry has 12 bytes with a name of one letter.
        self.size / 12
    }

    fn target(&self, path: &str) -> Result<String> {
        let found = self.metadata(path)?.ok_or_else(|| volume::not_there(path))?;
        if found.len() > MAX_TARGET {
            return Err(volume::cannot_read(path).caused_by("the target of the link is too long"));
        }
        let target = self
            .inner
            .read_link(absolute(path).as_slice())
            .map_err(|cause| volume::cannot_read(path).caused_by(cause))?;
        Ok(volume::name(target.as_ref()))
    }
}

fn absolute(path: &str) -> Vec<u8> {
    [b"/", volume::raw(path).as_slice()].concat()
}

/// A file's content.
struct Content(ext4_view::File);

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_bytes(buffer).map_err(io::Error::other)
    }
}
