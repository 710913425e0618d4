//! Filesystem writers: a [`Tree`] in, bytes at ascending offsets out.
//!
//! ```text
//! Tree --needed()--> size of the partition --plan()--> bytes in use known --prepare()--> every offset known
//!      --write()--> Sink
//! ```
//!
//! A writer never touches the host: it says what goes where, and the [`Sink`] (in the end
//! [`crate::disk`]'s image file) reads file contents straight to their place. Everything comes in
//! ascending order, so that the image is hashed while it is written. To add a filesystem, implement
//! [`Format`] in one more file and name it in [`Kind::format`].

mod erofs;
mod ext2;
mod ext4;
mod numbered;
mod squashfs;
mod vfat;

pub use vfat::Width;

use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::tree::{Content, Timestamp, Tree};
use crate::units::ByteSize;

/// The filesystems that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// FAT; 12, 16 or 32 by size.
    Vfat,
    /// FAT12.
    Fat12,
    /// FAT16.
    Fat16,
    /// FAT32.
    Fat32,
    /// ext2.
    Ext2,
    /// ext3.
    Ext3,
    /// ext4.
    Ext4,
    /// EROFS, read-only.
    Erofs,
    /// SquashFS, read-only and compressed.
    Squashfs,
}

impl Kind {
    /// Name for people: `ext4`, `FAT32`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Vfat => "FAT",
            Kind::Fat12 => "FAT12",
            Kind::Fat16 => "FAT16",
            Kind::Fat32 => "FAT32",
            Kind::Ext2 => "ext2",
            Kind::Ext3 => "ext3",
            Kind::Ext4 => "ext4",
            Kind::Erofs => "erofs",
            Kind::Squashfs => "squashfs",
        }
    }

    /// The writer for it.
    pub fn format(self) -> Box<dyn Format> {
        match self {
            Kind::Vfat => Box::new(vfat::Vfat(None)),
            Kind::Fat12 => Box::new(vfat::Vfat(Some(vfat::Width::Fat12))),
            Kind::Fat16 => Box::new(vfat::Vfat(Some(vfat::Width::Fat16))),
            Kind::Fat32 => Box::new(vfat::Vfat(Some(vfat::Width::Fat32))),
            Kind::Ext2 => Box::new(ext2::Ext2(ext2::Version::Ext2)),
            Kind::Ext3 => Box::new(ext2::Ext2(ext2::Version::Ext3)),
            Kind::Ext4 => Box::new(ext4::Ext4),
            Kind::Erofs => Box::new(erofs::Erofs),
            Kind::Squashfs => Box::new(squashfs::Squashfs),
        }
    }
}

/// What a filesystem is made of.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its content.
    pub tree: &'a Tree,
    /// Volume label; empty for none.
    pub label: &'a str,
    /// 32 bytes from which UUID, serial number and hash seed are made.
    pub seed: [u8; 32],
    /// The same for every question about the same content.
    pub scratch: &'a Scratch,
}

/// What a writer has made to tell how large it is, kept for when it is written.
#[derive(Debug, Clone, Default)]
pub struct Scratch(OnceLock<Arc<squashfs::Packed>>);

impl Scratch {
    /// What is kept, or is made now.
    fn packed(&self, make: impl FnOnce() -> Result<squashfs::Packed>) -> Result<Arc<squashfs::Packed>> {
        if let Some(packed) = self.0.get() {
            return Ok(packed.clone());
        }
        let made = Arc::new(make()?);
        Ok(self.0.get_or_init(|| made).clone())
    }
}

/// A kind of filesystem.
pub trait Format {
    /// The smallest size that holds the content and `room` free bytes besides.
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize>;

    /// Lays the content out in `size` bytes, which [`Format::needed`] has found to be enough.
    fn plan<'a>(&self, request: &Request<'a>, size: ByteSize) -> Result<Box<dyn Planned + 'a>>;

    /// The UUID as `blkid` shows it, known from the seed alone; empty for a filesystem without.
    fn uuid(&self, seed: &[u8; 32]) -> String;

    /// The label as it is stored; empty for a filesystem without.
    fn label(&self, label: &str) -> String;
}

/// A filesystem that has its size; nothing has been read or written yet.
pub trait Planned: Send {
    /// Variant for people and the manifest: `FAT32`, `ext4`.
    fn variant(&self) -> &'static str;

    /// Bytes that metadata and content take.
    fn used(&self) -> ByteSize;

    /// Gives every byte its place, where that takes time: it may be done while others are written. Done again, it
    /// does nothing.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Prepares it when nobody has, and writes it. Offsets are from the start of the partition and ascend; what is not
    /// mentioned is free space.
    fn write(&mut self, out: &mut dyn Sink) -> Result<()>;
}

/// Takes the bytes of a filesystem at ascending offsets, none twice.
pub trait Sink {
    /// Bytes in memory.
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Bytes that must read as zero, unlike free space, which may hold anything on a used card.
    fn zeros(&mut self, offset: u64, len: u64) -> Result<()>;

    /// `len` bytes of a file's content from its byte `from` on.
    fn content(&mut self, offset: u64, content: &Content, from: u64, len: u64) -> Result<()>;
}

/// The number of an extended attribute's namespace, which ext2 and EROFS share, and the rest of its name; the
/// names of access lists are numbers alone.
fn attribute_name(name: &str) -> std::result::Result<(u8, &str), String> {
    const PREFIXES: [(&str, u8); 5] = [
        ("user.", 1),
        ("system.posix_acl_access", 2),
        ("system.posix_acl_default", 3),
        ("trusted.", 4),
        ("security.", 6),
    ];
    let found = PREFIXES.iter().find_map(|(prefix, number)| Some((*number, name.strip_prefix(prefix)?)));
    found.ok_or_else(|| format!("it has no place for the extended attribute `{name}`"))
}

/// The newest time in a tree: dates what has no time of its own.
fn newest(tree: &Tree) -> Timestamp {
    tree.iter().map(|(_, _, inode)| inode.meta.mtime).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
