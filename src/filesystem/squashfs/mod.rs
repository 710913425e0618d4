//! SquashFS, read-only and compressed with zlib, which every kernel with SquashFS can read.
//!
//! ```text
//! superblock | blocks and fragments of data | inodes | directories | fragments | owners | attributes
//! ```
//!
//! How large it is shows only when it is compressed: it is made in a temporary file, on all cores, when its
//! size is asked for, and copied to its place. Every inode is of the extended form. Files below the size of a
//! block share blocks (fragments); blocks of zeros are left out. It has neither label nor UUID, and keeps
//! whole seconds.
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h` and what the files beside it check.

mod attributes;
mod data;
mod inodes;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use attributes::Attributes;
use data::{Data, data};
use inodes::inodes;

use crate::error::{Error, Result};
use crate::filesystem::numbered::{Numbered, numbered};
use crate::filesystem::{Format, Planned, Request, Sink, newest};
use crate::fsx;
use crate::tree::Timestamp;
use crate::units::ByteSize;

/// Bytes that are compressed together, as mksquashfs has it.
const BLOCK: usize = 128 << 10;
/// Bytes of inodes, directories and tables that are.
const METADATA: usize = 8192;
/// Bytes of the superblock.
const SUPERBLOCK: u64 = 96;
/// Devices are read in such units.
const PAD: u64 = 4096;
/// No fragment, no attributes.
const NONE: u32 = u32::MAX;
/// Flag of a block, and of one of metadata, that is not compressed.
const PLAIN: u32 = 1 << 24;
const PLAIN_METADATA: u16 = 1 << 15;
/// Superblock: nothing has attributes.
const NO_ATTRIBUTES: u16 = 0x200;

/// SquashFS.
#[derive(Debug, Clone, Copy)]
pub struct Squashfs;

impl Format for Squashfs {
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize> {
        let packed = request.scratch.packed(|| pack(request))?;
        Ok(ByteSize(packed.len + room.0).align_up(ByteSize(PAD)))
    }

    fn plan<'a>(&self, request: &Request<'a>, _: ByteSize) -> Result<Box<dyn Planned + 'a>> {
        Ok(Box::new(Plan(request.scratch.packed(|| pack(request))?)))
    }

    fn uuid(&self, _: &[u8; 32]) -> String {
        String::new()
    }

    fn label(&self, _: &str) -> String {
        String::new()
    }
}

/// A filesystem that is made.
#[derive(Debug)]
pub struct Packed {
    /// Has no name, and goes when this does.
    file: File,
    /// Bytes, whole units of [`PAD`].
    len: u64,
}

struct Plan(Arc<Packed>);

impl Planned for Plan {
    fn variant(&self) -> &'static str {
        "squashfs"
    }

    fn used(&self) -> ByteSize {
        ByteSize(self.0.len)
    }

    fn write(&mut self, out: &mut dyn Sink) -> Result<()> {
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        while at < self.0.len {
            let n = (self.0.len - at).min(piece.len() as u64) as usize;
            self.0.file.read_exact_at(&mut piece[..n], at).map_err(|cause| temporary(&cause))?;
            out.bytes(at, &piece[..n])?;
            at += n as u64;
        }
        Ok(())
    }
}

fn temporary(cause: &std::io::Error) -> Error {
    Error::new("cannot make the squashfs filesystem in a temporary file")
        .caused_by(fsx::describe(cause))
        .hint("`TMPDIR` says where it goes; it takes as much room as the filesystem")
}

/// The file that everything is appended to.
struct Out {
    file: File,
    at: u64,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|cause| temporary(&cause))
    }

    /// A table in blocks of metadata, then where they are: that place is what the superblock names.
    fn table(&mut self, bytes: &[u8]) -> Result<u64> {
        let mut places = Vec::new();
        for piece in bytes.chunks(METADATA) {
            places.extend(self.at.to_le_bytes());
            let mut block = Vec::new();
            append(&mut block, piece);
            self.put(&block)?;
        }
        let start = self.at;
        self.put(&places)?;
        Ok(start)
    }
}

fn pack(request: &Request<'_>) -> Result<Packed> {
    let nodes = numbered(request.tree);
    let file = tempfile::tempfile().map_err(|cause| temporary(&cause))?;
    let mut out = Out { file, at: 0 };
    out.put(&[0; SUPERBLOCK as usize])?;
    let owners = owners(&nodes)?;
    let attributes = Attributes::of(&nodes)?;
    let Data { stored, fragments, .. } = data(&nodes, &mut out)?;
    let tables = inodes(&nodes, &stored, &owners, &attributes);
    let inode_table = out.at;
    out.put(&tables.inodes)?;
    let directory_table = out.at;
    out.put(&tables.directories)?;
    let list: Vec<u8> = (fragments.iter())
        .flat_map(|(start, size)| [start.to_le_bytes(), u64::from(*size).to_le_bytes()].concat())
        .collect();
    let fragment_table = out.table(&list)?;
    let list: Vec<u8> = owners.iter().flat_map(|owner| owner.to_le_bytes()).collect();
    let owner_table = out.table(&list)?;
    let attribute_table = attributes.write(&mut out)?;
    let used = out.at;
    out.put(&vec![0; (used.next_multiple_of(PAD) - used) as usize])?;
    let mut superblock = Vec::new();
    superblock.extend(b"hsqs");
    superblock.extend((nodes.len() as u32).to_le_bytes());
    superblock.extend(seconds(newest(request.tree)).to_le_bytes());
    superblock.extend((BLOCK as u32).to_le_bytes());
    superblock.extend((fragments.len() as u32).to_le_bytes());
    let flags = if attribute_table == u64::MAX { NO_ATTRIBUTES } else { 0 };
    // Compressed with zlib; version 4.0.
    for field in [1, BLOCK.ilog2() as u16, flags, owners.len() as u16, 4, 0] {
        superblock.extend(field.to_le_bytes());
    }
    // There is no table for NFS.
    let none = u64::MAX;
    for field in
        [tables.root, used, owner_table, attribute_table, inode_table, directory_table, fragment_table, none]
    {
        superblock.extend(field.to_le_bytes());
    }
    out.file.write_all_at(&superblock, 0).map_err(|cause| temporary(&cause))?;
    Ok(Packed { file: out.file, len: out.at })
}

/// Users and groups, each once: inodes name them by their place here.
fn owners(nodes: &[Numbered<'_>]) -> Result<Vec<u32>> {
    let all: BTreeSet<u32> =
        nodes.iter().flat_map(|node| [node.inode.meta.uid, node.inode.meta.gid]).collect();
    if all.len() > usize::from(u16::MAX) {
        return Err(Error::new("squashfs cannot hold so many owners").caused_by(format!(
            "there are {}, its limit is {}",
            all.len(),
            u16::MAX
        )));
    }
    Ok(all.into_iter().collect())
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len()), Compression::best());
    // Memory takes everything.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_else(|_| bytes.to_vec())
}

/// Appends a block of metadata.
fn append(to: &mut Vec<u8>, block: &[u8]) {
    let packed = deflate(block);
    if packed.len() < block.len() {
        to.extend((packed.len() as u16).to_le_bytes());
        to.extend(packed);
    } else {
        to.extend((block.len() as u16 | PLAIN_METADATA).to_le_bytes());
        to.extend(block);
    }
}

/// A table that is read from any place on.
#[derive(Default)]
struct Metadata {
    done: Vec<u8>,
    block: Vec<u8>,
}

impl Metadata {
    /// Where the next byte goes: the start of its block in the table, and its place in what that holds.
    fn place(&self) -> (u32, u16) {
        (self.done.len() as u32, self.block.len() as u16)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend(bytes);
        while self.block.len() >= METADATA {
            let rest = self.block.split_off(METADATA);
            append(&mut self.done, &self.block);
            self.block = rest;
        }
    }

    fn end(mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            append(&mut self.done, &self.block);
        }
        self.done
    }
}

fn reference((block, offset): (u32, u16)) -> u64 {
    u64::from(block) << 16 | u64::from(offset)
}

/// Times have 32 bits without a sign.
fn seconds(time: Timestamp) -> u32 {
    time.secs.clamp(0, u32::MAX.into()) as u32
}
