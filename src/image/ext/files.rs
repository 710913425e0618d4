//! Files and directories of ext2, ext3 and ext4.
//!
//! Whatever features a filesystem has, directories are read from one end to the other, so neither hashes nor foldings
//! matter. A journal is not replayed: `inspect` says so. Checksums of superblock, groups and inodes are looked at.
//!
//! Source: Linux `Documentation/filesystems/ext4/`, `fs/ext4/{ext4.h,inline.c,xattr.h}`.

use std::cell::Cell;
use std::io::{self, Cursor, Read};

use mkext4::csum::{crc32c_raw, superblock};

use super::super::inodes::{self, ByInode, Inode, Inodes, Name};
use super::super::read::{ReadAt, Source, le16, le32};
use super::super::volume::{self, Contents, Kind, Plain, unreadable};
use super::map::{self, Map};
use super::{Ext, RO_METADATA_SUMS, SUPERBLOCK, SUPERBLOCK_LEN, bad};
use crate::error::Result;
use crate::fsx;

/// Features that change what lies where, and are understood or do not matter to files: all up to casefold.
const KNOWN: u32 = 0x3_F7D7;
const INCOMPAT_CHECKSUM_SEED: u32 = 0x2000;
const INCOMPAT_LARGE_DIR: u32 = 0x4000;
/// Where the superblock's checksum is.
const CHECKSUM: usize = 0x3FC;
/// Flags of an inode: compressed, encrypted, with extents, with data among its attributes.
const COMPRESSED: u32 = 0x4;
const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
/// Where an inode has its map or short data, and how many bytes.
const MAP: usize = 0x28;
const MAP_LEN: usize = 60;
/// Bytes of an inode that all have.
const OLD_INODE: usize = 128;
/// Before the attributes of an inode.
const ATTRIBUTES: u32 = 0xEA02_0000;
const ROOT: u64 = 2;

/// An ext filesystem for reading.
pub type ExtVolume = ByInode<Files>;

/// What [`ByInode`] needs of it.
pub struct Files {
    source: Source,
    ext: Ext,
    /// What all checksums start with; none without checksums.
    seed: Option<u32>,
    /// The group that was asked for last, and where its inodes are.
    group: Cell<Option<(u64, u64)>>,
}

/// Where an inode's data is.
pub enum Data {
    Blocks(Map),
    Bytes(Vec<u8>),
    /// A directory: two pieces, the second among the attributes.
    Names(Vec<u8>, Vec<u8>),
    /// Bimg cannot read it, and why.
    Unread(&'static str),
}

impl ExtVolume {
    /// Of a partition that holds one; `None` for any other.
    pub fn open(source: &Source) -> Result<Option<Self>> {
        let sb = source.read_some_at(SUPERBLOCK, SUPERBLOCK_LEN);
        let sb = sb.map_err(|cause| unreadable(fsx::describe(&cause)))?;
        let Some(ext) = Ext::parse(&sb) else { return Ok(None) };
        volume::check_size(ext.size(), source)?;
        if ext.incompat & !KNOWN != 0 {
            let what = format!("it has features that bimg does not know: {:#x}", ext.incompat & !KNOWN);
            return Err(unreadable(what).unsupported());
        }
        let mut seed = None;
        if ext.ro_compat & RO_METADATA_SUMS != 0 {
            if superblock(&sb) != le32(&sb, CHECKSUM) {
                return Err(unreadable("its superblock has a wrong checksum"));
            }
            let has_seed = ext.incompat & INCOMPAT_CHECKSUM_SEED != 0;
            seed = Some(if has_seed { le32(&sb, 0x270) } else { crc32c_raw(u32::MAX, &sb[0x68..0x78]) });
        }
        let files = Files { source: source.clone(), ext, seed, group: Cell::new(None) };
        match files.inode(ROOT) {
            Ok(root) if root.kind == Kind::Directory => Ok(Some(ByInode::new(files))),
            Ok(_) => Err(unreadable("its root is no directory")),
            Err(cause) => Err(unreadable(fsx::describe(&cause))),
        }
    }
}

impl Files {
    /// The bytes of an inode.
    fn raw(&self, number: u64) -> io::Result<Vec<u8>> {
        let per_group = self.ext.inodes_per_group;
        // They are numbered from 1 on.
        let index = number.wrapping_sub(1);
        if index >= per_group * self.ext.groups {
            return Err(bad("it has no inode of such a number"));
        }
        let (group, within) = (index / per_group, index % per_group);
        let table = match self.group.get() {
            Some((known, table)) if known == group => table,
            _ => {
                let mut descriptor = vec![0; self.ext.descriptor as usize];
                self.source.read_exact_at(self.ext.descriptor_at(group), &mut descriptor)?;
                if let Some(seed) = self.seed {
                    Self::check_group(group, &descriptor, seed)?;
                }
                let table = self.ext.group(group, &descriptor).inode_table;
                self.group.set(Some((group, table)));
                table
            }
        };
        let at = table
            .checked_mul(self.ext.block)
            .and_then(|at| at.checked_add(within * self.ext.inode))
            .filter(|at| *at < self.ext.size())
            .ok_or_else(|| bad("it points behind the end of the filesystem"))?;
        let mut bytes = vec![0; self.ext.inode as usize];
        self.source.read_exact_at(at, &mut bytes)?;
        if let Some(seed) = self.seed {
            Self::check(number, &bytes, seed)?;
        }
        Ok(bytes)
    }

    /// Compares a group descriptor's checksum.
    fn check_group(group: u64, bytes: &[u8], seed: u32) -> io::Result<()> {
        const SUM: usize = 0x1E;
        let mut cleared = bytes.to_vec();
        cleared[SUM..SUM + 2].fill(0);
        let sum = crc32c_raw(crc32c_raw(seed, &(group as u32).to_le_bytes()), &cleared);
        if sum as u16 == le16(bytes, SUM) {
            return Ok(());
        }
        Err(bad(&format!("the descriptor of group {group} has a wrong checksum")))
    }

    /// Compares an inode's checksum; those of 128 bytes have half of it.
    fn check(number: u64, bytes: &[u8], seed: u32) -> io::Result<()> {
        const LOW: usize = 0x7C;
        const HIGH: usize = 0x82;
        let is_whole = bytes.len() > OLD_INODE && le16(bytes, OLD_INODE) >= 4;
        let mut cleared = bytes.to_vec();
        cleared[LOW..LOW + 2].fill(0);
        let mut stored = u32::from(le16(bytes, LOW));
        if is_whole {
            cleared[HIGH..HIGH + 2].fill(0);
            stored |= u32::from(le16(bytes, HIGH)) << 16;
        }
        let sum = crc32c_raw(seed, &(number as u32).to_le_bytes());
        let sum = crc32c_raw(crc32c_raw(sum, &bytes[0x64..0x68]), &cleared);
        let sum = if is_whole { sum } else { sum & 0xFFFF };
        if sum == stored { Ok(()) } else { Err(bad("an inode has a wrong checksum")) }
    }

    /// The value of the attribute that holds the rest of short data.
    fn rest(raw: &[u8]) -> Option<&[u8]> {
        const SYSTEM: u8 = 7;
        let start = OLD_INODE + usize::from(le16(raw, OLD_INODE));
        let all = raw.get(start..).filter(|all| le32(all, 0) == ATTRIBUTES)?;
        let all = &all[4..];
        let mut at = 0;
        // The list ends with zeros.
        while le32(all, at) != 0 {
            let (len, index) = (usize::from(all[at]), all[at + 1]);
            let name = all.get(at + 16..at + 16 + len)?;
            if index == SYSTEM && name == b"data" {
                let start = usize::from(le16(all, at + 2));
                return all.get(start..start + le32(all, at + 8) as usize);
            }
            at += (16 + len).next_multiple_of(4);
        }
        None
    }

    /// What an inode has among its attributes, as far as it is its data.
    fn inline(raw: &[u8], kind: Kind) -> Data {
        let (first, rest) = (&raw[MAP..MAP + MAP_LEN], Self::rest(raw).unwrap_or_default());
        if kind == Kind::Directory {
            // The number of the directory above comes first.
            return Data::Names(first[4..].to_vec(), rest.to_vec());
        }
        Data::Bytes([first, rest].concat())
    }

    /// Names in a piece of a directory, which entries fill from one end to the other.
    fn entries(piece: &[u8], names: &mut Vec<Name>) -> io::Result<()> {
        let mut at = 0;
        while at + 8 <= piece.len() {
            let (inode, len) = (le32(piece, at), le16(piece, at + 4));
            // A block of 64 KiB has a length that 16 bits do not hold.
            let len = if len == 0 || len == u16::MAX { piece.len() - at } else { usize::from(len) };
            if len < 8 || at + len > piece.len() {
                return Err(bad("a directory is cut off"));
            }
            let name = piece[at + 8..at + len].get(..usize::from(piece[at + 6]));
            let name = name.ok_or_else(|| bad("a name is longer than its place"))?;
            at += len;
            if inode != 0 && !name.is_empty() && name != b"." && name != b".." {
                inodes::push(names, name, inode.into())?;
            }
        }
        Ok(())
    }
}

impl Inodes for Files {
    type Data = Data;

    fn root(&self) -> u64 {
        ROOT
    }

    fn inode(&self, number: u64) -> io::Result<Inode<Data>> {
        let raw = self.raw(number)?;
        let mode = u32::from(le16(&raw, 0));
        let kind = inodes::kind_of(mode)?;
        let flags = le32(&raw, 0x20);
        let is_wide =
            kind == Kind::File || kind == Kind::Directory && self.ext.incompat & INCOMPAT_LARGE_DIR != 0;
        let high = if is_wide { u64::from(le32(&raw, 0x6C)) << 32 } else { 0 };
        let size = u64::from(le32(&raw, 4)) | high;
        let has_extra = raw.len() > OLD_INODE && le16(&raw, OLD_INODE) >= 12;
        let epoch = if has_extra { i64::from(le32(&raw, 0x88) & 3) << 32 } else { 0 };
        let short = &raw[MAP..MAP + MAP_LEN];
        let data = match kind {
            Kind::File | Kind::Directory | Kind::Symlink if flags & ENCRYPTED != 0 => {
                Data::Unread("it is encrypted")
            }
            Kind::File if flags & COMPRESSED != 0 => Data::Unread("it is compressed as ext2 once did"),
            Kind::File | Kind::Directory | Kind::Symlink if flags & INLINE != 0 => Self::inline(&raw, kind),
            Kind::Symlink if size < MAP_LEN as u64 && flags & EXTENTS == 0 => {
                Data::Bytes(short[..size as usize].to_vec())
            }
            Kind::File | Kind::Directory | Kind::Symlink => {
                Data::Blocks(Map::new(short, flags & EXTENTS != 0))
            }
            _ => Data::Bytes(Vec::new()),
        };
        Ok(Inode {
            kind,
            mode: mode & 0o7777,
            owner: (
                u32::from(le16(&raw, 2)) | u32::from(le16(&raw, 0x78)) << 16,
                u32::from(le16(&raw, 0x18)) | u32::from(le16(&raw, 0x7A)) << 16,
            ),
            mtime: i64::from(le32(&raw, 0x10) as i32) + epoch,
            size,
            data,
        })
    }

    fn names(&self, directory: &Inode<Data>) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        match &directory.data {
            Data::Unread(why) => return Err(io::Error::new(io::ErrorKind::Unsupported, *why)),
            Data::Bytes(bytes) => Self::entries(bytes, &mut names)?,
            Data::Names(first, rest) => {
                Self::entries(first, &mut names)?;
                Self::entries(rest, &mut names)?;
            }
            Data::Blocks(map) => {
                let data = map::data(&self.source, &self.ext, *map, directory.size);
                let bytes = inodes::listing(data, directory.size, self.ext.size())?;
                for block in bytes.chunks(self.ext.block as usize) {
                    Self::entries(block, &mut names)?;
                }
            }
        }
        Ok(names)
    }

    fn data(&self, inode: Inode<Data>) -> io::Result<Box<dyn Contents + '_>> {
        Ok(match inode.data {
            Data::Unread(why) => return Err(io::Error::new(io::ErrorKind::Unsupported, why)),
            // What is longer than that ends with a hole.
            Data::Bytes(bytes) | Data::Names(bytes, _) => {
                Box::new(Plain(Cursor::new(bytes).chain(io::repeat(0)).take(inode.size)))
            }
            Data::Blocks(map) => Box::new(map::data(&self.source, &self.ext, map, inode.size)),
        })
    }

    fn most_names(&self) -> u64 {
        // A directory entry has 12 bytes with a name of one letter.
        self.ext.size() / 12
    }
}
