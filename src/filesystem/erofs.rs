//! EROFS, read-only and uncompressed: metadata planned up front, everything written once in ascending order.
//!
//! ```text
//! block 0: superblock | inodes, each with attributes and the end of its data | whole blocks of data
//! ```
//!
//! Every inode is of the extended form; what a file, directory or link has beyond whole blocks lies right
//! behind its inode where that fits, so small files cost no block. Any kernel from 5.4 on reads it. mkfs.erofs
//! compresses, but takes owners from a tar only from version 1.7 on, which Debian 12 does not have.
//!
//! Source: Linux `fs/erofs/erofs_fs.h`, kernel Documentation/filesystems/erofs.

use crate::error::{Context, Error, Result};
use crate::filesystem::numbered::numbered;
use crate::filesystem::{Format, Planned, Request, Sink, attribute_name, ext4, newest};
use crate::tree::{self, Content, Kind, Meta, Timestamp, Tree};
use crate::units::ByteSize;

const BLOCK: u64 = 4096;
/// Inodes lie on such boundaries, and are numbered by them.
const SLOT: u64 = 32;
/// Bytes of an inode of the extended form.
const INODE: u64 = 64;
const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// The superblock has a checksum; inodes have times of modification.
const COMPATIBLE: u32 = 1 | 2;
/// `.` and `..` and a name each have 12 bytes before the names.
const DIRENT: u64 = 12;

/// EROFS.
#[derive(Debug, Clone, Copy)]
pub struct Erofs;

impl Format for Erofs {
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize> {
        Ok(ByteSize(Plan::new(request)?.blocks * BLOCK + room.0).align_up(ByteSize(BLOCK)))
    }

    fn plan<'a>(&self, request: &Request<'a>, _: ByteSize) -> Result<Box<dyn Planned + 'a>> {
        Ok(Box::new(Plan::new(request)?))
    }

    fn uuid(&self, seed: &[u8; 32]) -> String {
        uuid::Uuid::from_bytes(ext4::uuid(seed)).to_string()
    }

    fn label(&self, label: &str) -> String {
        label.to_string()
    }
}

/// A name in a directory, the node that it names, and of what type that is.
type Name<'a> = (&'a str, usize, u8);

/// What an inode holds.
enum Data<'a> {
    /// Directory blocks are made from names when they are written.
    Directory(Vec<Name<'a>>),
    File(&'a Content),
    Link(&'a str),
    /// Major and minor number.
    Device(u32, u32),
    Nothing,
}

struct Node<'a> {
    meta: &'a Meta,
    /// Type and permissions, as `stat` has them.
    mode: u16,
    data: Data<'a>,
    links: u32,
    /// Bytes of data.
    size: u64,
    attributes: Vec<u8>,
    /// First byte of the inode.
    at: u64,
    /// First block of data that does not lie behind the inode.
    block: u64,
}

impl Node<'_> {
    /// Bytes of data that lie behind the inode: all that is no whole block, if it fits there.
    fn tail(&self) -> u64 {
        let tail = self.size % BLOCK;
        if INODE + self.attributes.len() as u64 + tail <= BLOCK { tail } else { 0 }
    }

    /// Blocks of data that do not.
    fn blocks(&self) -> u64 {
        (self.size - self.tail()).div_ceil(BLOCK)
    }

    fn number(&self) -> u64 {
        self.at / SLOT
    }
}

/// A filesystem whose every byte has its place.
struct Plan<'a> {
    nodes: Vec<Node<'a>>,
    blocks: u64,
    label: String,
    seed: [u8; 32],
    time: Timestamp,
}

impl<'a> Plan<'a> {
    fn new(request: &Request<'a>) -> Result<Self> {
        if request.label.len() > 16 {
            return Err(Error::new(format!("`{}` cannot be an erofs label", request.label))
                .caused_by("it is longer than 16 bytes"));
        }
        let mut nodes = nodes(request.tree)?;
        let mut at = BLOCK;
        for node in &mut nodes {
            let len = INODE + node.attributes.len() as u64 + node.tail();
            // Data behind an inode must not cross into the next block.
            if at % BLOCK + len > BLOCK {
                at = at.next_multiple_of(BLOCK);
            }
            node.at = at;
            at = (at + len).next_multiple_of(SLOT);
        }
        let mut block = at.div_ceil(BLOCK);
        for node in nodes.iter_mut().filter(|node| node.blocks() > 0) {
            node.block = block;
            block += node.blocks();
        }
        if u32::try_from(block).is_err() {
            return Err(Error::new("erofs cannot hold so much").caused_by("its limit is 16 TiB"));
        }
        let time = newest(request.tree);
        Ok(Plan { nodes, blocks: block, label: request.label.to_string(), seed: request.seed, time })
    }

    fn superblock(&self) -> Vec<u8> {
        let mut bytes = vec![0; (BLOCK - SUPERBLOCK) as usize];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPATIBLE.to_le_bytes());
        put(12, &[BLOCK.ilog2() as u8]);
        // The root is the first inode of all.
        put(14, &(self.nodes[0].number() as u16).to_le_bytes());
        put(16, &(self.nodes.len() as u64).to_le_bytes());
        put(24, &self.time.secs.to_le_bytes());
        put(32, &self.time.nanos.to_le_bytes());
        put(36, &(self.blocks as u32).to_le_bytes());
        put(48, &ext4::uuid(&self.seed));
        put(64, self.label.as_bytes());
        let sum = mkext4::csum::crc32c_raw(u32::MAX, &bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn inode(&self, index: usize) -> Vec<u8> {
        let node = &self.nodes[index];
        // Flat data, with its end behind the inode or without.
        let layout: u16 = if node.tail() > 0 { 2 } else { 0 };
        let place = match node.data {
            Data::Device(major, minor) => minor & 0xFF | major << 8 | (minor & !0xFF) << 12,
            _ if node.blocks() > 0 => node.block as u32,
            _ => u32::MAX,
        };
        let attributes = node.attributes.len() as u64;
        let count = if attributes == 0 { 0 } else { (attributes - 12) / 4 + 1 };
        let mut bytes = Vec::with_capacity((INODE + attributes) as usize);
        bytes.extend((1 | layout << 1).to_le_bytes());
        bytes.extend((count as u16).to_le_bytes());
        bytes.extend(node.mode.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(node.size.to_le_bytes());
        for word in [place, index as u32 + 1, node.meta.uid, node.meta.gid] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(node.meta.mtime.secs.to_le_bytes());
        bytes.extend(node.meta.mtime.nanos.to_le_bytes());
        bytes.extend(node.links.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(&node.attributes);
        bytes
    }

    /// Writes a part of a node's data.
    fn data(&self, out: &mut dyn Sink, at: u64, node: &Node<'_>, from: u64, len: u64) -> Result<()> {
        match &node.data {
            Data::Directory(names) => {
                let bytes = self.directory(names);
                out.bytes(at, &bytes[from as usize..(from + len) as usize])
            }
            Data::File(content) => out
                .content(at, content, from, len)
                .context(|| "cannot write a file into the erofs filesystem"),
            Data::Link(target) => out.bytes(at, &target.as_bytes()[from as usize..(from + len) as usize]),
            Data::Device(..) | Data::Nothing => Ok(()),
        }
    }

    /// A directory: blocks of entries, each followed by their names.
    fn directory(&self, names: &[Name<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for block in in_blocks(names) {
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
            let mut name_at = DIRENT as usize * block.len();
            for (name, node, kind) in block {
                bytes.extend(self.nodes[*node].number().to_le_bytes());
                bytes.extend((name_at as u16).to_le_bytes());
                bytes.extend([*kind, 0]);
                name_at += name.len();
            }
            for (name, ..) in block {
                bytes.extend(name.as_bytes());
            }
        }
        bytes
    }
}

impl Planned for Plan<'_> {
    fn variant(&self) -> &'static str {
        "erofs"
    }

    fn used(&self) -> ByteSize {
        ByteSize(self.blocks * BLOCK)
    }

    fn write(&mut self, out: &mut dyn Sink) -> Result<()> {
        out.zeros(0, SUPERBLOCK)?;
        out.bytes(SUPERBLOCK, &self.superblock())?;
        let mut end = BLOCK;
        for (index, node) in self.nodes.iter().enumerate() {
            out.zeros(end, node.at - end)?;
            let bytes = self.inode(index);
            out.bytes(node.at, &bytes)?;
            end = node.at + bytes.len() as u64;
            let tail = node.tail();
            if tail > 0 {
                self.data(out, end, node, node.size - tail, tail)?;
                end += tail;
            }
        }
        out.zeros(end, end.next_multiple_of(BLOCK) - end)?;
        for node in self.nodes.iter().filter(|node| node.blocks() > 0) {
            let (at, len) = (node.block * BLOCK, node.size - node.tail());
            self.data(out, at, node, 0, len)?;
            out.zeros(at + len, len.next_multiple_of(BLOCK) - len)?;
        }
        Ok(())
    }
}

/// All inodes in the order of their first names.
fn nodes(tree: &Tree) -> Result<Vec<Node<'_>>> {
    let all = numbered(tree);
    let kind = |index: usize| file_type(kind_of(&all[index].inode.kind));
    let mut nodes = Vec::with_capacity(all.len());
    for (index, it) in all.iter().enumerate() {
        let mut node = node(it.inode)
            .map_err(|why| Error::new(format!("erofs cannot hold `{}`", it.path)).caused_by(why))?;
        node.links = it.links;
        if let Data::Directory(names) = &mut node.data {
            names.extend([(".", index, 2), ("..", it.parent, 2)]);
            names.extend(it.children.iter().map(|(name, child)| (*name, *child, kind(*child))));
            names.sort_unstable_by_key(|(name, ..)| name.as_bytes());
            let blocks = in_blocks(names);
            let last = blocks.last().map_or(0, |block| block.iter().map(|it| space(it.0)).sum());
            node.size = (blocks.len() as u64 - 1) * BLOCK + last;
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// What a name takes in a directory.
fn space(name: &str) -> u64 {
    DIRENT + name.len() as u64
}

/// Cuts the names of a directory into blocks; there are always `.` and `..`.
fn in_blocks<'n, 'a>(names: &'n [Name<'a>]) -> Vec<&'n [Name<'a>]> {
    let (mut blocks, mut start, mut used) = (Vec::new(), 0, 0);
    for (at, (name, ..)) in names.iter().enumerate() {
        if used + space(name) > BLOCK {
            blocks.push(&names[start..at]);
            (start, used) = (at, 0);
        }
        used += space(name);
    }
    blocks.push(&names[start..]);
    blocks
}

/// The type in the mode's upper bits.
fn kind_of(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o01,
        Kind::CharDevice { .. } => 0o02,
        Kind::Directory => 0o04,
        Kind::BlockDevice { .. } => 0o06,
        Kind::File(_) => 0o10,
        Kind::Symlink(_) => 0o12,
        Kind::Socket => 0o14,
    }
}

/// The type in a directory entry for that in the mode.
fn file_type(kind: u16) -> u8 {
    match kind {
        0o10 => 1,
        0o04 => 2,
        0o02 => 3,
        0o06 => 4,
        0o01 => 5,
        0o14 => 6,
        _ => 7,
    }
}

fn node(inode: &tree::Inode) -> std::result::Result<Node<'_>, String> {
    let (data, size) = match &inode.kind {
        Kind::Directory => (Data::Directory(Vec::new()), 0),
        Kind::File(content) => (Data::File(content), content.len()),
        Kind::Symlink(target) => (Data::Link(target), target.len() as u64),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            (Data::Device(*major, *minor), 0)
        }
        Kind::Fifo | Kind::Socket => (Data::Nothing, 0),
    };
    Ok(Node {
        mode: kind_of(&inode.kind) << 12 | (inode.meta.mode & 0o7777) as u16,
        attributes: attributes(&inode.meta)?,
        meta: &inode.meta,
        data,
        links: 0,
        size,
        at: 0,
        block: 0,
    })
}

/// Extended attributes as they lie behind the inode; nothing where there are none.
fn attributes(meta: &Meta) -> std::result::Result<Vec<u8>, String> {
    if meta.xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; 12];
    for (name, value) in &meta.xattrs {
        let (number, rest) = attribute_name(name)?;
        let (Ok(len), Ok(size)) = (u8::try_from(rest.len()), u16::try_from(value.len())) else {
            return Err(format!("the extended attribute `{name}` is too long"));
        };
        bytes.extend([len, number]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(rest.as_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if bytes.len() > usize::from(u16::MAX) * 4 {
        return Err("its extended attributes are too long".to_string());
    }
    Ok(bytes)
}
