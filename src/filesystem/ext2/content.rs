//! Inodes and what they hold, each block given its place.

use mkext4::csum;
use mkext4::spec::{Inode, JournalSuperblock, file_type};

use super::geometry::{DIRECT, GROUP, Geometry, PER_BLOCK, indirect};
use super::{BLOCK, LOST_AND_FOUND, LOST_AND_FOUND_BLOCKS, Piece, SHORT_TARGET, Version, is_root};
use crate::error::{Error, Result};
use crate::filesystem::numbered::Numbered;
use crate::filesystem::{attribute_name, ext4};
use crate::tree::{Kind, Meta, Timestamp};

/// Number of the root's inode, and of the journal's.
const ROOT: u32 = 2;
const JOURNAL: u32 = 8;
/// Bytes of an inode's fields behind the first 128.
const EXTRA: u16 = 32;
/// Bytes of the header of a block of attributes.
const ATTRIBUTES_HEADER: usize = 32;

/// Gives everything its place.
pub struct Builder<'a> {
    geometry: Geometry,
    /// Where the next block comes from.
    group: u64,
    next: u64,
    pub pieces: Vec<(u64, Piece<'a>)>,
    pub inodes: Vec<Inode>,
    pub taken: Vec<u64>,
}

impl<'a> Builder<'a> {
    pub fn new(geometry: Geometry) -> Self {
        Builder {
            geometry,
            group: 0,
            next: geometry.data(0).start,
            pieces: Vec::new(),
            inodes: Vec::new(),
            taken: vec![0; geometry.groups as usize],
        }
    }

    /// Lays out all inodes: reserved ones, `/lost+found`, the tree.
    pub fn lay(&mut self, version: Version, nodes: &[Numbered<'a>], time: Timestamp) -> Result<()> {
        self.inodes.resize(LOST_AND_FOUND as usize, Inode::default());
        if version == Version::Ext3 {
            self.inodes[JOURNAL as usize - 1] = self.journal(time)?;
        }
        self.inodes[LOST_AND_FOUND as usize - 1] = self.lost_and_found(time)?;
        for (index, node) in nodes.iter().enumerate() {
            let inode = self
                .inode(nodes, index)
                .map_err(|error| error.context(format!("{} cannot hold `{}`", version.name(), node.path)))?;
            if index == 0 {
                self.inodes[ROOT as usize - 1] = inode;
            } else {
                self.inodes.push(inode);
            }
        }
        // The blocks of numbers come before those they name, but are known after them.
        self.pieces.sort_by_key(|(block, _)| *block);
        Ok(())
    }

    /// Takes so many blocks: runs of them, none over the end of a group.
    fn take(&mut self, mut blocks: u64) -> Result<Vec<(u64, u64)>> {
        let mut runs = Vec::new();
        while blocks > 0 {
            let end = self.geometry.data(self.group).end;
            let n = blocks.min(end - self.next);
            if n == 0 {
                self.group += 1;
                if self.group == self.geometry.groups {
                    return Err(Error::new("there is no room left"));
                }
                self.next = self.geometry.data(self.group).start;
                continue;
            }
            runs.push((self.next, n));
            self.taken[self.group as usize] += n;
            self.next += n;
            blocks -= n;
        }
        Ok(runs)
    }

    fn one(&mut self) -> Result<u64> {
        Ok(self.take(1)?[0].0)
    }

    /// Takes the blocks of `inode` and enters them into it.
    fn map(&mut self, inode: &mut Inode, blocks: u64) -> Result<Vec<(u64, u64)>> {
        let above: Vec<u64> = numbers(&self.take(indirect(blocks))?).collect();
        let runs = self.take(blocks)?;
        inode.blocks += (blocks + above.len() as u64) * (BLOCK / 512);
        let all: Vec<u64> = numbers(&runs).collect();
        let mut data = all.into_iter();
        let mut words: Vec<u32> = data.by_ref().take(DIRECT as usize).map(|block| block as u32).collect();
        let mut above = above.into_iter();
        let mut data = data.peekable();
        words.resize(DIRECT as usize, 0);
        for level in 1..=3 {
            let word = if data.peek().is_some() { self.branch(level, &mut data, &mut above) } else { 0 };
            words.push(word);
        }
        for (to, word) in inode.block.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Ok(runs)
    }

    /// A block of block numbers, and those below it; its own number.
    fn branch(
        &mut self,
        level: u32,
        data: &mut std::iter::Peekable<impl Iterator<Item = u64>>,
        above: &mut impl Iterator<Item = u64>,
    ) -> u32 {
        // As many were taken as are needed.
        let me = above.next().unwrap_or_default();
        let mut bytes = Vec::with_capacity(BLOCK as usize);
        for _ in 0..PER_BLOCK {
            if data.peek().is_none() {
                break;
            }
            let number = match level {
                1 => data.next().unwrap_or_default() as u32,
                _ => self.branch(level - 1, data, above),
            };
            bytes.extend(number.to_le_bytes());
        }
        bytes.resize(BLOCK as usize, 0);
        self.pieces.push((me, Piece::Bytes(bytes)));
        me as u32
    }

    /// Whole blocks of bytes.
    fn bytes(&mut self, inode: &mut Inode, bytes: &[u8]) -> Result<()> {
        let runs = self.map(inode, bytes.len() as u64 / BLOCK)?;
        let mut rest = bytes;
        for (start, len) in runs {
            let (now, later) = rest.split_at((len * BLOCK) as usize);
            self.pieces.push((start, Piece::Bytes(now.to_vec())));
            rest = later;
        }
        Ok(())
    }

    fn inode(&mut self, nodes: &[Numbered<'a>], index: usize) -> Result<Inode> {
        let node = &nodes[index];
        let meta = &node.inode.meta;
        let mut inode = dated(meta.mtime);
        inode.mode = mode(&node.inode.kind) | meta.mode as u16 & 0o7777;
        (inode.uid, inode.gid) = (meta.uid, meta.gid);
        inode.links_count = (node.links + u32::from(is_root(node))) as u16;
        self.attributes(&mut inode, meta)?;
        match &node.inode.kind {
            Kind::Directory => {
                let own = if index == 0 { ROOT } else { number(index) };
                let parent = if node.parent == 0 { ROOT } else { number(node.parent) };
                let mut names: Vec<Name<'_>> = (node.children.iter())
                    .map(|(name, child)| (*name, number(*child), kind(&nodes[*child].inode.kind)))
                    .collect();
                if index == 0 {
                    names.push(("lost+found", LOST_AND_FOUND, file_type::DIR));
                }
                let bytes = directory(own, parent, &names);
                inode.size = bytes.len() as u64;
                self.bytes(&mut inode, &bytes)?;
            }
            Kind::File(content) => {
                inode.size = content.len();
                let mut from = 0;
                for (start, len) in self.map(&mut inode, content.len().div_ceil(BLOCK))? {
                    let len = (len * BLOCK).min(content.len() - from);
                    self.pieces.push((start, Piece::Content(content, from, len)));
                    from += len;
                }
            }
            Kind::Symlink(target) => {
                inode.size = target.len() as u64;
                if target.len() > SHORT_TARGET {
                    let mut bytes = target.clone().into_bytes();
                    bytes.resize(BLOCK as usize, 0);
                    self.bytes(&mut inode, &bytes)?;
                } else {
                    inode.block[..target.len()].copy_from_slice(target.as_bytes());
                }
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                // The kernel's `old_encode_dev` where it can hold them, or else `new_encode_dev` in the next word.
                if *major < 256 && *minor < 256 {
                    inode.block[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
                } else {
                    let device = minor & 0xFF | major << 8 | (minor & !0xFF) << 12;
                    inode.block[4..8].copy_from_slice(&device.to_le_bytes());
                }
            }
            Kind::Fifo | Kind::Socket => {}
        }
        Ok(inode)
    }

    fn lost_and_found(&mut self, time: Timestamp) -> Result<Inode> {
        let mut inode = Inode { mode: 0o40700, links_count: 2, ..dated(time) };
        let mut bytes = directory(LOST_AND_FOUND, ROOT, &[]);
        for _ in 1..LOST_AND_FOUND_BLOCKS {
            // A record that is free and fills its block.
            bytes.extend([0, 0, 0, 0]);
            bytes.extend((BLOCK as u32).to_le_bytes());
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        }
        inode.size = bytes.len() as u64;
        self.bytes(&mut inode, &bytes)?;
        Ok(inode)
    }

    fn journal(&mut self, time: Timestamp) -> Result<Inode> {
        let blocks = self.geometry.journal;
        let mut inode = Inode { mode: 0o100_600, links_count: 1, size: blocks * BLOCK, ..dated(time) };
        let runs = self.map(&mut inode, blocks)?;
        let mut head = vec![0; BLOCK as usize];
        JournalSuperblock {
            blocktype: 4,
            blocksize: BLOCK as u32,
            maxlen: blocks as u32,
            first: 1,
            sequence: 1,
            start: 0,
            errno: 0,
            feature_compat: 0,
            feature_incompat: 0,
            feature_ro_compat: 0,
            uuid: [0; 16],
            nr_users: 1,
            dynsuper: 0,
            max_transaction: 0,
            max_trans_data: 0,
            checksum_type: 0,
            num_fc_blocks: 0,
            head: 0,
            checksum: 0,
        }
        .encode(&mut head);
        for (index, (start, len)) in runs.into_iter().enumerate() {
            if index == 0 {
                self.pieces.push((start, Piece::Bytes(std::mem::take(&mut head))));
                self.pieces.push((start + 1, Piece::Zeros(len - 1)));
            } else {
                self.pieces.push((start, Piece::Zeros(len)));
            }
        }
        Ok(inode)
    }

    /// Extended attributes in a block of their own.
    fn attributes(&mut self, inode: &mut Inode, meta: &Meta) -> Result<()> {
        if meta.xattrs.is_empty() {
            return Ok(());
        }
        let bytes = attributes(meta).map_err(Error::new)?;
        let block = self.one()?;
        inode.file_acl = block;
        inode.blocks += BLOCK / 512;
        self.pieces.push((block, Piece::Bytes(bytes)));
        Ok(())
    }
}

fn numbers(runs: &[(u64, u64)]) -> impl Iterator<Item = u64> {
    runs.iter().copied().flat_map(|(start, len)| start..start + len)
}

/// Inodes behind the reserved ones follow each other; the root has one of those.
fn number(index: usize) -> u32 {
    LOST_AND_FOUND + index as u32
}

fn dated(time: Timestamp) -> Inode {
    let time = ext4::held(time);
    let (seconds, extra) = Inode::encode_timestamp(time.secs, time.nanos);
    Inode {
        atime: seconds,
        ctime: seconds,
        mtime: seconds,
        crtime: seconds,
        atime_extra: extra,
        ctime_extra: extra,
        mtime_extra: extra,
        crtime_extra: extra,
        extra_isize: EXTRA,
        ..Inode::default()
    }
}

fn mode(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o10_000,
        Kind::CharDevice { .. } => 0o20_000,
        Kind::Directory => 0o40_000,
        Kind::BlockDevice { .. } => 0o60_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Socket => 0o140_000,
    }
}

fn kind(kind: &Kind) -> u8 {
    match kind {
        Kind::Fifo => file_type::FIFO,
        Kind::CharDevice { .. } => file_type::CHR,
        Kind::Directory => file_type::DIR,
        Kind::BlockDevice { .. } => file_type::BLK,
        Kind::File(_) => file_type::REG,
        Kind::Symlink(_) => file_type::SYMLINK,
        Kind::Socket => file_type::SOCK,
    }
}

/// A name, its inode, and of what type that is.
type Name<'a> = (&'a str, u32, u8);

/// Bytes of a record with a name of this length.
fn record(name: &str) -> u64 {
    (8 + name.len() as u64).next_multiple_of(4)
}

/// How many names each block of a directory holds; `.` and `..` are in the first besides.
pub fn in_blocks<'n>(names: impl Iterator<Item = &'n str>) -> Vec<usize> {
    let mut blocks = vec![0];
    let mut used = record(".") + record("..");
    for name in names {
        if used + record(name) > BLOCK {
            blocks.push(0);
            used = 0;
        }
        used += record(name);
        if let Some(last) = blocks.last_mut() {
            *last += 1;
        }
    }
    blocks
}

/// A directory: records that tile its blocks, the last of each up to the end.
fn directory(own: u32, parent: u32, names: &[Name<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = names;
    for (block, count) in in_blocks(names.iter().map(|(name, ..)| *name)).into_iter().enumerate() {
        let (now, later) = rest.split_at(count);
        rest = later;
        let dots = [(".", own, file_type::DIR), ("..", parent, file_type::DIR)];
        let dots = if block == 0 { dots.as_slice() } else { &[] };
        let end = (block as u64 + 1) * BLOCK;
        let mut records = dots.iter().chain(now).peekable();
        while let Some((name, inode, kind)) = records.next() {
            let at = bytes.len() as u64;
            let len = if records.peek().is_none() { end - at } else { record(name) };
            bytes.extend(inode.to_le_bytes());
            bytes.extend((len as u16).to_le_bytes());
            bytes.extend([name.len() as u8, *kind]);
            bytes.extend(name.as_bytes());
            bytes.resize((at + len) as usize, 0);
        }
    }
    bytes
}

/// A block of attributes: entries from the front, values from the back.
fn attributes(meta: &Meta) -> std::result::Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for (name, value) in &meta.xattrs {
        let (index, rest) = attribute_name(name)?;
        all.push((index, rest.len(), rest, ext4::stored_attribute(name, value)?));
    }
    // The kernel looks for them in this order.
    all.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
    let padded = |len: usize| len.next_multiple_of(4);
    let sizes = all.iter().map(|(_, len, _, value)| 16 + padded(*len) + padded(value.len()));
    if ATTRIBUTES_HEADER + sizes.sum::<usize>() + 4 > BLOCK as usize {
        return Err("its attributes are larger than a block of 4 KiB".to_string());
    }
    let mut bytes = vec![0; BLOCK as usize];
    let (mut entry, mut end) = (ATTRIBUTES_HEADER, bytes.len());
    let mut hashes = Vec::new();
    for (index, len, name, value) in &all {
        end -= padded(value.len());
        bytes[end..end + value.len()].copy_from_slice(value);
        let hash = csum::xattr_entry_hash(name.as_bytes(), value);
        let mut put = |at: usize, field: &[u8]| {
            bytes[entry + at..entry + at + field.len()].copy_from_slice(field);
        };
        put(0, &[*len as u8, *index]);
        put(2, &(end as u16).to_le_bytes());
        put(8, &(value.len() as u32).to_le_bytes());
        put(12, &hash.to_le_bytes());
        put(16, name.as_bytes());
        entry += 16 + padded(*len);
        hashes.push(hash);
    }
    bytes[..4].copy_from_slice(&mkext4::spec::XATTR_MAGIC.to_le_bytes());
    // One inode refers to it, it is one block.
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&csum::xattr_block_hash(hashes).to_le_bytes());
    Ok(bytes)
}

/// Blocks in use at the start of a group, its own metadata among them.
pub fn used(geometry: Geometry, taken: &[u64], group: u64) -> u64 {
    let data = geometry.data(group);
    (data.start - group * GROUP) + taken[group as usize]
}
