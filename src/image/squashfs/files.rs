//! Files and directories of a SquashFS.

use std::io::{self, Read};

use super::super::inodes::{self, Inode, Inodes, Name};
use super::super::read::{le16, le32, le64};
use super::super::volume::{Contents, Kind, Plain};
use super::{Squash, Stream, bad};

/// Names that even a tiny filesystem may hold.
const FEW_NAMES: u64 = 1 << 14;
/// Names behind one header.
const MAX_RUN: u32 = 256;
/// Stands for no fragment.
const NONE: u32 = u32::MAX;

/// Where an inode's data is.
#[derive(Clone, Copy)]
pub enum Data {
    /// Where its listing is, and how long.
    Directory {
        listing: u64,
        size: u32,
    },
    File(Stored),
    /// Where the target is, and how long.
    Link(Stream, usize),
    Nothing,
}

/// Where a file's data is.
#[derive(Clone, Copy)]
pub struct Stored {
    start: u64,
    size: u64,
    fragment: u32,
    /// First byte in the fragment.
    offset: u32,
    /// The sizes of its blocks.
    sizes: Stream,
}

impl Inodes for Squash {
    type Data = Data;

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, reference: u64) -> io::Result<Inode<Data>> {
        let mut stream = Stream::new(self.inodes, reference)?;
        let head = stream.array::<16>(self)?;
        let (kind, data) = match le16(&head, 0) {
            1 => {
                let it = stream.array::<16>(self)?;
                let listing = u64::from(le32(&it, 0)) << 16 | u64::from(le16(&it, 10));
                (Kind::Directory, Data::Directory { listing, size: le16(&it, 8).into() })
            }
            8 => {
                let it = stream.array::<24>(self)?;
                let listing = u64::from(le32(&it, 8)) << 16 | u64::from(le16(&it, 18));
                (Kind::Directory, Data::Directory { listing, size: le32(&it, 4) })
            }
            2 => {
                let it = stream.array::<16>(self)?;
                (
                    Kind::File,
                    Data::File(Stored {
                        start: le32(&it, 0).into(),
                        fragment: le32(&it, 4),
                        offset: le32(&it, 8),
                        size: le32(&it, 12).into(),
                        sizes: stream,
                    }),
                )
            }
            9 => {
                let it = stream.array::<40>(self)?;
                (
                    Kind::File,
                    Data::File(Stored {
                        start: le64(&it, 0),
                        size: le64(&it, 8),
                        fragment: le32(&it, 28),
                        offset: le32(&it, 32),
                        sizes: stream,
                    }),
                )
            }
            3 | 10 => {
                let it = stream.array::<8>(self)?;
                (Kind::Symlink, Data::Link(stream, le32(&it, 4) as usize))
            }
            4 | 11 => (Kind::BlockDevice, Data::Nothing),
            5 | 12 => (Kind::CharDevice, Data::Nothing),
            6 | 13 => (Kind::Fifo, Data::Nothing),
            7 | 14 => (Kind::Socket, Data::Nothing),
            _ => return Err(bad("it has an inode of an unknown kind")),
        };
        let size = match data {
            Data::File(stored) => stored.size,
            Data::Link(_, len) => len as u64,
            Data::Directory { size, .. } => size.into(),
            Data::Nothing => 0,
        };
        Ok(Inode {
            kind,
            mode: u32::from(le16(&head, 2)) & 0o7777,
            owner: (self.owner(le16(&head, 4))?, self.owner(le16(&head, 6))?),
            mtime: le32(&head, 8).into(),
            size,
            data,
        })
    }

    fn names(&self, directory: &Inode<Data>) -> io::Result<Vec<Name>> {
        let Data::Directory { listing, size } = directory.data else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        let mut stream = Stream::new(self.directories, listing)?;
        // `.` and `..` count as three bytes and are not there.
        let mut left = size.saturating_sub(3);
        let mut take = |len: u32| {
            left = left.checked_sub(len).ok_or_else(|| bad("a directory is cut off"))?;
            Ok::<_, io::Error>(left)
        };
        let mut more = size > 3;
        while more {
            take(12)?;
            let head = stream.array::<12>(self)?;
            let (count, block) = (le32(&head, 0), u64::from(le32(&head, 4)) << 16);
            if count >= MAX_RUN {
                return Err(bad("a directory has more names than it may have"));
            }
            for _ in 0..=count {
                take(8)?;
                let entry = stream.array::<8>(self)?;
                let len = le16(&entry, 6);
                if len > 255 {
                    return Err(bad("a name is longer than 256 bytes"));
                }
                more = take(u32::from(len) + 1)? > 0;
                let mut name = vec![0; usize::from(len) + 1];
                stream.read(self, &mut name)?;
                inodes::push(&mut names, &name, block | u64::from(le16(&entry, 0)))?;
            }
        }
        Ok(names)
    }

    fn data(&self, inode: Inode<Data>) -> io::Result<Box<dyn Contents + '_>> {
        match inode.data {
            Data::File(stored) => Ok(Box::new(Plain(Content {
                volume: self,
                stored,
                left: stored.size,
                at: stored.start,
                piece: Vec::new(),
                done: 0,
            }))),
            Data::Link(mut stream, len) => {
                let mut target = vec![0; len];
                stream.read(self, &mut target)?;
                Ok(Box::new(Plain(io::Cursor::new(target))))
            }
            Data::Directory { .. } | Data::Nothing => Ok(Box::new(Plain(io::empty()))),
        }
    }

    fn most_names(&self) -> u64 {
        // Names and inodes that compress best take more bytes than that.
        (self.used / 2).max(FEW_NAMES)
    }
}

/// A file's content, block by block.
struct Content<'a> {
    volume: &'a Squash,
    stored: Stored,
    /// Bytes of the file that are not in `piece` yet.
    left: u64,
    /// Where the next block is.
    at: u64,
    /// What is unpacked, and how much of it was handed out.
    piece: Vec<u8>,
    done: usize,
}

impl Content<'_> {
    fn next(&mut self) -> io::Result<()> {
        let len = self.left.min(self.volume.block as u64) as usize;
        self.done = 0;
        self.left -= len as u64;
        if len < self.volume.block && self.stored.fragment != NONE {
            let fragment = self.volume.fragment(self.stored.fragment)?;
            let from = self.stored.offset as usize;
            let part = from.checked_add(len).and_then(|end| fragment.get(from..end));
            self.piece = part.ok_or_else(|| bad("a fragment is shorter than it should be"))?.to_vec();
            return Ok(());
        }
        let size = u32::from_le_bytes(self.stored.sizes.array(self.volume)?);
        self.piece = self.volume.data(self.at, size, len)?;
        self.piece.truncate(len);
        self.at = self.at.saturating_add(u64::from(size & 0xFF_FFFF));
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done == self.piece.len() && self.left > 0 {
            self.next()?;
        }
        let n = buffer.len().min(self.piece.len() - self.done);
        buffer[..n].copy_from_slice(&self.piece[self.done..self.done + n]);
        self.done += n;
        Ok(n)
    }
}
