//! FAT12, FAT16 and FAT32, written once: sorted, contiguous, in ascending order.
//!
//! Clusters go to the root directory (FAT32), then to directories, then to files, each in path order
//! and in one piece, so the allocation table is known before anything is read. Ownership, modes and
//! extended attributes have no place on FAT and are dropped; hard links become copies; links and
//! devices are errors. Times are UTC with the resolution of the format, two seconds.
//!
//! Source: Microsoft "FAT32 File System Specification" 1.03.

mod entry;
mod geometry;
mod names;

use std::collections::BTreeMap;

use crate::error::{Context, Error, Result};
use crate::filesystem::{Format, Planned, Request, Sink, newest};
use crate::tree::{Content, Kind, Timestamp, Tree, TreePath};
use crate::units::ByteSize;

pub use geometry::Width;
use geometry::{Geometry, SECTOR};
use names::Stored;

/// Bytes in a directory entry.
const ENTRY: u64 = 32;
/// Drivers count directory entries in 16 bits.
const MAX_ENTRIES: u64 = 65_536;
/// Entries of a fixed root directory.
const MAX_ROOT_ENTRIES: u64 = 512;
/// Sizes are tried in steps of this.
const STEP: u64 = 1 << 20;

/// FAT, of the width asked for or the best one for the size.
#[derive(Debug, Clone, Copy)]
pub struct Vfat(pub Option<Width>);

impl Format for Vfat {
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize> {
        let volume = Volume::new(request)?;
        volume.check_root(self.0)?;
        let least = (volume.least_bytes() + room.0).next_multiple_of(STEP).max(STEP);
        let largest = Geometry::largest(self.0) * SECTOR / STEP * STEP;
        let mut size = least;
        while size <= largest {
            if let Some(geometry) = Geometry::new(size / SECTOR, self.0)
                && volume.fits(&geometry, room.0)
            {
                return Ok(ByteSize(size));
            }
            size += STEP;
        }
        let name = self.0.map_or("FAT", Width::name);
        Err(Error::new(format!("{name} cannot hold {}", ByteSize(least)))
            .caused_by(format!("its limit is {}", ByteSize(largest))))
    }

    fn plan<'a>(&self, request: &Request<'a>, size: ByteSize) -> Result<Box<dyn Planned + 'a>> {
        let volume = Volume::new(request)?;
        let geometry =
            Geometry::new(size.0 / SECTOR, self.0).filter(|it| volume.fits(it, 0)).ok_or_else(|| {
                let width = self.0.map_or("FAT", Width::name);
                Error::new(format!("no {width} with this content can have a size of {size}"))
            })?;
        Ok(Box::new(Plan::new(volume, geometry)))
    }

    fn uuid(&self, seed: &[u8; 32]) -> String {
        let serial = serial(seed);
        format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)
    }

    fn label(&self, label: &str) -> String {
        label.to_ascii_uppercase()
    }
}

/// The volume serial number.
fn serial(seed: &[u8; 32]) -> u32 {
    u32::from_le_bytes([seed[0], seed[1], seed[2], seed[3]])
}

/// A tree as FAT sees it, before sizes are known.
struct Volume<'a> {
    label: Option<[u8; 11]>,
    serial: u32,
    /// Dates the label.
    newest: Timestamp,
    /// In path order, the root first.
    directories: Vec<Directory<'a>>,
    /// In path order.
    files: Vec<&'a Content>,
}

struct Directory<'a> {
    path: &'a TreePath,
    parent: usize,
    mtime: Timestamp,
    children: Vec<Child<'a>>,
    /// Directory entries, with `.`, `..` and the label.
    entries: u64,
}

struct Child<'a> {
    name: &'a str,
    stored: Stored,
    mtime: Timestamp,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Directory(usize),
    File(usize),
}

impl<'a> Volume<'a> {
    fn new(request: &Request<'a>) -> Result<Self> {
        let label = label(request.label)?;
        let (mut directories, files) = collect(request.tree)?;
        for (index, directory) in directories.iter_mut().enumerate() {
            let names: Vec<&str> = directory.children.iter().map(|child| child.name).collect();
            let stored =
                names::store(&names).context(|| format!("`{}` cannot be put on FAT", directory.path))?;
            let own = if index == 0 { u64::from(label.is_some()) } else { 2 };
            directory.entries = own + stored.iter().map(|it| it.entries() as u64).sum::<u64>();
            if directory.entries > MAX_ENTRIES {
                return Err(Error::new(format!("a FAT directory cannot hold {} names", names.len()))
                    .caused_by(format!(
                        "they take {} entries, the limit is {MAX_ENTRIES}",
                        directory.entries
                    )));
            }
            for (child, stored) in directory.children.iter_mut().zip(stored) {
                child.stored = stored;
            }
        }
        Ok(Volume { label, serial: serial(&request.seed), newest: newest(request.tree), directories, files })
    }

    /// A fixed root directory does not grow with the volume.
    fn check_root(&self, width: Option<Width>) -> Result<()> {
        let root = &self.directories[0];
        match width {
            Some(width @ (Width::Fat12 | Width::Fat16)) if root.entries > MAX_ROOT_ENTRIES => {
                Err(Error::new(format!(
                    "the root directory of a {} cannot hold {} names",
                    width.name(),
                    root.children.len()
                ))
                .caused_by(format!("they take {} entries, the limit is {MAX_ROOT_ENTRIES}", root.entries))
                .hint("make it FAT32, or move some of them into a directory"))
            }
            _ => Ok(()),
        }
    }

    /// A lower bound for the size.
    fn least_bytes(&self) -> u64 {
        self.files.iter().map(|content| content.len()).sum()
    }

    /// Clusters that directories and files take, in the order of [`Plan`].
    fn chains(&self, geometry: &Geometry) -> impl Iterator<Item = u64> {
        let cluster = geometry.cluster_bytes();
        let fixed_root = usize::from(geometry.width != Width::Fat32);
        let directories = self.directories.iter().skip(fixed_root).map(|it| it.entries.max(1) * ENTRY);
        directories
            .chain(self.files.iter().map(|content| content.len()))
            .map(move |len| len.div_ceil(cluster))
    }

    fn fits(&self, geometry: &Geometry, room: u64) -> bool {
        let root = geometry.width == Width::Fat32 || self.directories[0].entries <= MAX_ROOT_ENTRIES;
        let used: u64 = self.chains(geometry).sum();
        root && used + room.div_ceil(geometry.cluster_bytes()) <= geometry.clusters
    }
}

/// Sorts a tree into directories and files.
fn collect(tree: &Tree) -> Result<(Vec<Directory<'_>>, Vec<&Content>)> {
    let mut directories: Vec<Directory<'_>> = Vec::new();
    let mut files = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, _, inode) in tree.iter() {
        let mtime = inode.meta.mtime;
        let parent = path.parent_str().and_then(|parent| index.get(parent).copied()).unwrap_or(0);
        let refuse = |what: &str| {
            Err(Error::new(format!("`{path}` is {what}, which FAT cannot hold"))
                .hint("put it on another filesystem, or a copy of what it points to in its place"))
        };
        let target = match &inode.kind {
            Kind::Directory => {
                index.insert(path.as_str(), directories.len());
                directories.push(Directory { path, parent, mtime, children: Vec::new(), entries: 0 });
                Target::Directory(directories.len() - 1)
            }
            Kind::File(content) if content.len() > u64::from(u32::MAX) => {
                return Err(Error::new(format!("`{path}` is too large for FAT"))
                    .caused_by(format!("it has {}, the limit is 4 GiB", ByteSize(content.len()))));
            }
            Kind::File(content) => {
                files.push(content);
                Target::File(files.len() - 1)
            }
            Kind::Symlink(_) => return refuse("a symbolic link"),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => return refuse("a device"),
            Kind::Fifo => return refuse("a named pipe"),
            Kind::Socket => return refuse("a socket"),
        };
        if *path != TreePath::root() {
            let stored = Stored { short: [b' '; 11], long: None };
            directories[parent].children.push(Child { name: path.name(), stored, mtime, target });
        }
    }
    Ok((directories, files))
}

/// The volume label as stored, padded; `None` for none.
fn label(text: &str) -> Result<Option<[u8; 11]>> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |why: &str| {
        Err(Error::new(format!("`{}` cannot be a FAT label", text.escape_debug()))
            .caused_by(why)
            .hint("a FAT label has at most 11 ASCII letters, digits, spaces, `-` or `_`"))
    };
    if text.len() > 11 {
        return bad("it is longer than 11 bytes");
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !" -_".contains(*c)) {
        return bad(&format!("the character `{}` is not allowed", c.escape_debug()));
    }
    if text.starts_with(' ') {
        return bad("it starts with a space");
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.to_ascii_uppercase().as_bytes());
    Ok(Some(label))
}

/// A volume in which everything has its cluster.
struct Plan<'a> {
    volume: Volume<'a>,
    geometry: Geometry,
    /// First cluster of each directory; 0 for a fixed root.
    directories: Vec<u32>,
    /// First cluster of each file; 0 for empty ones.
    files: Vec<u32>,
    /// Clusters of each chain, in cluster order.
    chains: Vec<u64>,
}

impl<'a> Plan<'a> {
    fn new(volume: Volume<'a>, geometry: Geometry) -> Self {
        let chains: Vec<u64> = volume.chains(&geometry).collect();
        let mut next = 2;
        let mut firsts = chains.iter().map(|&clusters| {
            let first = if clusters == 0 { 0 } else { next as u32 };
            next += clusters;
            first
        });
        let fixed_root = (geometry.width != Width::Fat32).then_some(0);
        let directories: Vec<u32> =
            fixed_root.into_iter().chain(firsts.by_ref()).take(volume.directories.len()).collect();
        let files = firsts.collect();
        Plan { volume, geometry, directories, files, chains }
    }

    fn used_clusters(&self) -> u64 {
        self.chains.iter().sum()
    }

    /// The part of the allocation table that is not zero.
    fn table(&self) -> Vec<u8> {
        let end = match self.geometry.width {
            Width::Fat12 => 0xFFF,
            Width::Fat16 => 0xFFFF,
            Width::Fat32 => 0x0FFF_FFFF,
        };
        // Entry 0 repeats the media byte, entry 1 says that the volume was cleanly unmounted.
        let mut entries = vec![end & 0xFFFF_FFF8, end];
        for &clusters in &self.chains {
            let next = entries.len() as u32 + 1;
            entries.extend((0..clusters).map(|i| if i + 1 == clusters { end } else { next + i as u32 }));
        }
        match self.geometry.width {
            Width::Fat32 => entries.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
            Width::Fat16 => entries.iter().flat_map(|entry| (*entry as u16).to_le_bytes()).collect(),
            Width::Fat12 => entries
                .chunks(2)
                .flat_map(|pair| {
                    let both = pair[0] | pair.get(1).unwrap_or(&0) << 12;
                    [both as u8, (both >> 8) as u8, (both >> 16) as u8]
                })
                .collect(),
        }
    }

    /// A directory's entries.
    fn directory(&self, index: usize) -> Vec<u8> {
        let directory = &self.volume.directories[index];
        let mut bytes = Vec::with_capacity((directory.entries * ENTRY) as usize);
        if index == 0 {
            if let Some(label) = &self.volume.label {
                entry::push(&mut bytes, label, entry::LABEL, self.volume.newest, 0, 0);
            }
        } else {
            // The parent of a first-level directory is cluster 0, whatever the root's cluster is.
            let parent = if directory.parent == 0 { 0 } else { self.directories[directory.parent] };
            entry::push(
                &mut bytes,
                b".          ",
                entry::DIRECTORY,
                directory.mtime,
                self.directories[index],
                0,
            );
            entry::push(&mut bytes, b"..         ", entry::DIRECTORY, directory.mtime, parent, 0);
        }
        for child in &directory.children {
            if let Some(long) = &child.stored.long {
                entry::push_long(&mut bytes, long, &child.stored.short);
            }
            let (attribute, cluster, len) = match child.target {
                Target::Directory(i) => (entry::DIRECTORY, self.directories[i], 0),
                Target::File(i) => (entry::ARCHIVE, self.files[i], self.volume.files[i].len() as u32),
            };
            entry::push(&mut bytes, &child.stored.short, attribute, child.mtime, cluster, len);
        }
        bytes
    }

    /// Boot sector, on FAT32 with FSInfo and the backup of both.
    fn reserved(&self) -> Vec<u8> {
        let free = self.geometry.clusters - self.used_clusters();
        let label = self.volume.label.as_ref();
        let boot = entry::boot_sector(&self.geometry, self.volume.serial, label);
        let mut sectors = boot.to_vec();
        if self.geometry.width == Width::Fat32 {
            let next = if free == 0 { u32::MAX } else { 2 + self.used_clusters() as u32 };
            sectors.extend(entry::fs_info(free as u32, next));
            // The third boot sector holds only its signature.
            sectors.extend(entry::empty_boot_sector());
            sectors.resize((entry::BACKUP_SECTOR * SECTOR) as usize, 0);
            sectors.extend_from_within(..3 * SECTOR as usize);
        }
        sectors
    }
}

impl Planned for Plan<'_> {
    fn variant(&self) -> &'static str {
        self.geometry.width.name()
    }

    fn used(&self) -> ByteSize {
        ByteSize(self.geometry.cluster_start(2 + self.used_clusters()))
    }

    fn write(&mut self, out: &mut dyn Sink) -> Result<()> {
        let geometry = &self.geometry;
        let padded = |out: &mut dyn Sink, start: u64, bytes: &[u8], len: u64| {
            out.bytes(start, bytes)?;
            out.zeros(start + bytes.len() as u64, len - bytes.len() as u64)
        };
        padded(out, 0, &self.reserved(), geometry.reserved * SECTOR)?;
        let table = self.table();
        for copy in 0..2 {
            padded(out, (geometry.reserved + copy * geometry.fat) * SECTOR, &table, geometry.fat * SECTOR)?;
        }
        drop(table);
        if geometry.root > 0 {
            padded(out, geometry.root_start(), &self.directory(0), geometry.root * SECTOR)?;
        }
        let cluster = geometry.cluster_bytes();
        for (index, &first) in self.directories.iter().enumerate().filter(|(_, first)| **first != 0) {
            let bytes = self.directory(index);
            let len = (bytes.len() as u64).max(1).next_multiple_of(cluster);
            padded(out, geometry.cluster_start(first.into()), &bytes, len)?;
        }
        for (&first, content) in self.files.iter().zip(&self.volume.files).filter(|(first, _)| **first != 0) {
            let start = geometry.cluster_start(first.into());
            let len = content.len();
            out.content(start, content, 0, len).context(|| "cannot write a file into the FAT")?;
            out.zeros(start + len, len.next_multiple_of(cluster) - len)?;
        }
        Ok(())
    }
}
