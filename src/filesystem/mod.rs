//! Filesystem writers: a [`Tree`] in, bytes at ascending offsets out.
//!
//! ```text
//! Tree --needed()--> size of the partition --plan()--> every offset known --write()--> Sink
//! ```
//!
//! A writer never touches the host: it says what goes where, and the [`Sink`] (in the end
//! [`crate::disk`]'s image file) reads file contents straight to their place. Everything comes in
//! ascending order, so that the image is hashed while it is written. To add a filesystem, implement
//! [`Format`] in one more file and name it in [`Kind::format`].

mod erofs;
mod ext4;
mod vfat;

pub use vfat::Width;

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
    /// ext4.
    Ext4,
    /// EROFS, read-only.
    Erofs,
}

impl Kind {
    /// Name for people: `ext4`, `FAT32`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Vfat => "FAT",
            Kind::Fat12 => "FAT12",
            Kind::Fat16 => "FAT16",
            Kind::Fat32 => "FAT32",
            Kind::Ext4 => "ext4",
            Kind::Erofs => "erofs",
        }
    }

    /// The writer for it.
    pub fn format(self) -> Box<dyn Format> {
        match self {
            Kind::Vfat => Box::new(vfat::Vfat(None)),
            Kind::Fat12 => Box::new(vfat::Vfat(Some(vfat::Width::Fat12))),
            Kind::Fat16 => Box::new(vfat::Vfat(Some(vfat::Width::Fat16))),
            Kind::Fat32 => Box::new(vfat::Vfat(Some(vfat::Width::Fat32))),
            Kind::Ext4 => Box::new(ext4::Ext4),
            Kind::Erofs => Box::new(erofs::Erofs),
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
}

/// A kind of filesystem.
pub trait Format {
    /// The smallest size that holds the content and `room` free bytes besides.
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize>;

    /// Lays the content out in `size` bytes, which [`Format::needed`] has found to be enough.
    fn plan<'a>(&self, request: &Request<'a>, size: ByteSize) -> Result<Box<dyn Planned + 'a>>;

    /// The UUID as `blkid` shows it, known from the seed alone.
    fn uuid(&self, seed: &[u8; 32]) -> String;

    /// The label as it is stored.
    fn label(&self, label: &str) -> String;
}

/// A filesystem whose every byte has its place; nothing has been read or written yet.
pub trait Planned {
    /// Variant for people and the manifest: `FAT32`, `ext4`.
    fn variant(&self) -> &'static str;

    /// Bytes that metadata and content take.
    fn used(&self) -> ByteSize;

    /// Writes it. Offsets are from the start of the partition and ascend; what is not mentioned is
    /// free space.
    fn write(&self, out: &mut dyn Sink) -> Result<()>;
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

/// The newest time in a tree: dates what has no time of its own.
fn newest(tree: &Tree) -> Timestamp {
    tree.iter().map(|(_, _, inode)| inode.meta.mtime).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
