//! ext4, by the `mkext4` crate: metadata planned up front, everything written once in ascending order.
//!
//! `mkext4` emits all metadata in one ascending sweep and leaves the places of file contents to the
//! end. [`Merge`] puts the contents between the metadata as the sweep passes them, so that the image
//! is written, and hashed, in one pass.
//!
//! What it cannot express is refused with a clear error: names outside UTF-8 never reach a
//! [`Tree`], attributes outside the known namespaces or larger than a block, entries in `/lost+found`.
//!
//! Source of the layout: kernel Documentation/filesystems/ext4.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use mkext4::{FsBuilder, InodeCount, InodeHandle, Options, ROOT, SpecialKind};

use crate::error::{Context, Error, Result};
use crate::filesystem::{Format, Planned, Request, Sink, newest};
use crate::tree::{Content, InodeId, Kind, Meta, Timestamp, Tree, TreePath};
use crate::units::ByteSize;

/// The only block size that `mkext4` writes, and the one that every page size can mount.
const BLOCK: u64 = 4096;
/// Blocks in a group.
const GROUP: u64 = 32_768;
/// Inodes in a block.
const INODES_PER_BLOCK: u64 = 16;
/// Groups whose bitmaps and inode tables lie together.
const FLEX: u64 = 16;
/// One inode for this many bytes, as mke2fs has it: decides how many files a grown root can hold.
const BYTES_PER_INODE: u64 = 16_384;
/// Smallest size that `mkext4` is known to write well.
const LEAST: u64 = 16 << 20;
/// Blocks are counted with 32 bits.
const MAX_BLOCKS: u64 = u32::MAX as u64 - 1;
/// Blocks that a last group must have beyond its own metadata to be worth having, as for mke2fs.
const LEAST_IN_GROUP: u64 = 50;
/// Smallest journal in blocks.
const LEAST_JOURNAL: u64 = 1024;
/// Share of blocks only root may take: less than the 5 % of mke2fs, which waste 3 GB of a 64 GB card.
const RESERVED_PERCENT: u8 = 1;
/// Sizes are tried in steps of this.
const STEP: u64 = 1 << 20;

/// ext4.
#[derive(Debug, Clone, Copy)]
pub struct Ext4;

impl Format for Ext4 {
    fn needed(&self, request: &Request<'_>, room: ByteSize) -> Result<ByteSize> {
        let demand = Demand::of(request);
        let mut size = LEAST;
        loop {
            let shape = Shape::new(size, &demand, room.0);
            let needed = demand.blocks(room.0) + shape.overhead();
            if needed <= shape.blocks && demand.inodes <= shape.inodes() {
                return Ok(ByteSize(size));
            }
            if needed > MAX_BLOCKS {
                return Err(Error::new(format!("ext4 cannot hold {}", ByteSize(needed * BLOCK)))
                    .caused_by("its limit is 16 TiB"));
            }
            size = (needed * BLOCK).next_multiple_of(STEP).max(size + STEP);
        }
    }

    fn plan<'a>(&self, request: &Request<'a>, size: ByteSize) -> Result<Box<dyn Planned + 'a>> {
        let demand = Demand::of(request);
        // Free space beyond the content gets its share of inodes too.
        let mut shape = Shape::new(size.0, &demand, 0);
        let size = shape.blocks * BLOCK;
        // Just above a step of the journal's size, what fitted below the step would not fit any more.
        while shape.journal > LEAST_JOURNAL && demand.blocks(0) + shape.overhead() > shape.blocks {
            shape.journal /= 2;
        }
        let mut options = Options::new(size, uuid(&request.seed), epoch(newest(request.tree)));
        options.hash_seed = hash_seed(&request.seed);
        options.inodes = InodeCount::Exact(shape.inodes() as u32);
        options.label = Some(request.label.to_string()).filter(|label| !label.is_empty());
        options.reserved_percent = RESERVED_PERCENT;
        options.journal_blocks = Some(shape.journal as u32);
        if request.label.len() > 16 {
            return Err(Error::new(format!("`{}` cannot be an ext4 label", request.label))
                .caused_by("it is longer than 16 bytes"));
        }
        let used = demand.blocks(0) + shape.overhead();
        let used = ByteSize((used * BLOCK).min(size));
        Ok(Box::new(Plan { tree: request.tree, options, shape, used, sealed: None }))
    }

    fn uuid(&self, seed: &[u8; 32]) -> String {
        uuid::Uuid::from_bytes(uuid(seed)).to_string()
    }

    fn label(&self, label: &str) -> String {
        label.to_string()
    }
}

/// The filesystem's UUID: version 8, made from a hash (RFC 9562).
pub(super) fn uuid(seed: &[u8; 32]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&seed[..16]);
    uuid[6] = uuid[6] & 0x0F | 0x80;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

/// Seed of the directory hash.
pub(super) fn hash_seed(seed: &[u8; 32]) -> [u32; 4] {
    let word = |i: usize| u32::from_le_bytes([seed[i], seed[i + 1], seed[i + 2], seed[i + 3]]);
    [word(16), word(20), word(24), word(28)]
}

/// The superblock's times have 32 bits.
pub(super) fn epoch(time: Timestamp) -> i64 {
    time.secs.clamp(0, u32::MAX.into())
}

fn failed(cause: &mkext4::Error) -> Error {
    Error::new("cannot lay out the ext4 filesystem").caused_by(cause)
}

/// What a tree takes, whatever the size of the filesystem.
struct Demand {
    /// Blocks of files, directories, links and attributes.
    data: u64,
    inodes: u64,
}

impl Demand {
    fn of(request: &Request<'_>) -> Self {
        let mut seen = std::collections::HashSet::new();
        let mut names: HashMap<Option<&str>, u64> = HashMap::new();
        // Ten inodes are reserved, one is lost+found, whose four blocks are counted here too.
        let mut demand = Demand { data: 4, inodes: 11 };
        for (path, id, inode) in request.tree.iter() {
            *names.entry(path.parent_str()).or_default() +=
                (8 + path.name().len() as u64).next_multiple_of(4);
            if !seen.insert(id) {
                continue;
            }
            demand.inodes += 1;
            demand.data += u64::from(!inode.meta.xattrs.is_empty());
            demand.data += match &inode.kind {
                // Four extents of 128 MiB fit into the inode; larger files, and those that a backup
                // superblock cuts, take a block or more for their extents.
                Kind::File(content) => {
                    content.len().div_ceil(BLOCK) + content.len().div_ceil(256 << 20).saturating_sub(1)
                }
                Kind::Symlink(target) => u64::from(target.len() > 59),
                Kind::Directory => 1,
                _ => 0,
            };
        }
        for bytes in names.into_values().filter(|bytes| *bytes + 24 >= BLOCK) {
            // An indexed directory: leaves that may each lose one longest name, the root, inner nodes.
            let leaves = bytes.div_ceil(BLOCK - 12 - 264);
            demand.data += leaves + 1 + leaves.div_ceil(500);
        }
        demand
    }

    fn blocks(&self, room: u64) -> u64 {
        self.data + room.div_ceil(BLOCK)
    }
}

/// The fixed parts of a filesystem of some size, by the rules of `mkext4` and mke2fs.
#[derive(Debug, Clone, Copy)]
struct Shape {
    blocks: u64,
    groups: u64,
    inodes_per_group: u64,
    journal: u64,
}

impl Shape {
    /// For a partition of `size` bytes. A last group that has no room for its own metadata is left out.
    fn new(size: u64, demand: &Demand, room: u64) -> Self {
        let blocks = size / BLOCK;
        let shape = Self::of(blocks, demand, room);
        let rest = blocks % GROUP;
        if shape.groups > 1 && rest > 0 && rest < shape.last_group_metadata() + LEAST_IN_GROUP {
            return Self::of(blocks - rest, demand, room);
        }
        shape
    }

    fn of(blocks: u64, demand: &Demand, room: u64) -> Self {
        let groups = blocks.div_ceil(GROUP);
        let wanted = (blocks * BLOCK / BYTES_PER_INODE).max(demand.inodes + room / BYTES_PER_INODE + 64);
        let inodes_per_group = wanted.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK).min(GROUP);
        // Like mke2fs up to 16 GiB. A journal does not grow with the filesystem, and a card gains
        // nothing from more.
        let journal = match blocks {
            0..32_768 => LEAST_JOURNAL,
            32_768..262_144 => 4096,
            262_144..524_288 => 8192,
            _ => 16_384,
        };
        Shape { blocks, groups, inodes_per_group, journal }
    }

    fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups
    }

    /// Blocks that the last group must have: a backup of the superblock, and the bitmaps and the inode
    /// table when no earlier group of its flex group holds them.
    fn last_group_metadata(&self) -> u64 {
        let last = self.groups - 1;
        let backup = if has_backup(last) { 1 + self.descriptor_blocks() } else { 0 };
        let leader = if last.is_multiple_of(FLEX) { 2 + self.table_blocks() } else { 0 };
        backup + leader
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups * 32).div_ceil(BLOCK)
    }

    fn table_blocks(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Blocks that can never hold content, with a little more for inode tables that a backup
    /// superblock pushes further.
    fn overhead(&self) -> u64 {
        let backups = (1..self.groups).filter(|&group| has_backup(group)).count() as u64;
        let superblocks = (1 + backups) * (1 + self.descriptor_blocks());
        let slack =
            if self.table_blocks() * FLEX > GROUP { self.groups / FLEX * self.table_blocks() } else { 0 };
        superblocks + self.groups * (2 + self.table_blocks()) + self.journal + slack + 2
    }
}

/// True for groups with a copy of superblock and descriptors (sparse_super), the first one aside.
pub(super) fn has_backup(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut rest = group;
        while rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group == 1 || (group > 1 && [3, 5, 7].into_iter().any(power_of))
}

/// A file's content and its handle.
type File<'a> = (InodeHandle, &'a Content);

/// Declares the whole tree.
fn declare(mut builder: FsBuilder, tree: &Tree) -> Result<(FsBuilder, Vec<File<'_>>)> {
    let mut directories: HashMap<&str, InodeHandle> = HashMap::new();
    let mut handles: HashMap<InodeId, InodeHandle> = HashMap::new();
    let mut files = Vec::new();
    for (path, id, inode) in tree.iter() {
        let refused = |cause: mkext4::Error| {
            let cause = match cause {
                mkext4::Error::Invalid(why) | mkext4::Error::Unsupported(why) => why,
                other => other.to_string(),
            };
            Error::new(format!("ext4 cannot hold `{path}`")).caused_by(cause)
        };
        let meta = meta(&inode.meta);
        let Some(parent) = path.parent_str() else {
            builder.set_meta(ROOT, meta).map_err(refused)?;
            directories.insert(path.as_str(), ROOT);
            set_attributes(&mut builder, ROOT, &inode.meta).map_err(refused)?;
            continue;
        };
        if is_lost_and_found(path) {
            // `mkext4` makes it, for e2fsck to use; a tree taken from another ext4 has one as well.
            if path.as_str() == "lost+found" && inode.kind == Kind::Directory {
                continue;
            }
            return Err(Error::new(format!("ext4 cannot hold `{path}`"))
                .caused_by("/lost+found belongs to the filesystem checker")
                .hint("leave it out of the layer"));
        }
        let parent = *directories.get(parent).unwrap_or(&ROOT);
        let name = path.name();
        if let Some(handle) = handles.get(&id) {
            builder.hardlink(parent, name, *handle).map_err(refused)?;
            continue;
        }
        let special = |builder: &mut FsBuilder, kind| builder.mknod(parent, name, meta, kind);
        let handle = match &inode.kind {
            Kind::Directory => builder.mkdir(parent, name, meta),
            Kind::File(content) => builder.file(parent, name, meta, content.len()),
            Kind::Symlink(target) => builder.symlink(parent, name, target, meta),
            Kind::CharDevice { major, minor } => {
                special(&mut builder, SpecialKind::Char { major: *major, minor: *minor })
            }
            Kind::BlockDevice { major, minor } => {
                special(&mut builder, SpecialKind::Block { major: *major, minor: *minor })
            }
            Kind::Fifo => special(&mut builder, SpecialKind::Fifo),
            Kind::Socket => special(&mut builder, SpecialKind::Socket),
        }
        .map_err(refused)?;
        set_attributes(&mut builder, handle, &inode.meta).map_err(refused)?;
        match &inode.kind {
            Kind::Directory => drop(directories.insert(path.as_str(), handle)),
            Kind::File(content) => files.push((handle, content)),
            _ => {}
        }
        handles.insert(id, handle);
    }
    Ok((builder, files))
}

pub(super) fn is_lost_and_found(path: &TreePath) -> bool {
    path.as_str().split('/').next() == Some("lost+found")
}

fn set_attributes(builder: &mut FsBuilder, handle: InodeHandle, meta: &Meta) -> mkext4::Result<()> {
    // `mkext4` would find out when the path is known no more.
    let padded = |len: usize| len.next_multiple_of(4);
    let sizes = meta.xattrs.iter().map(|(name, value)| 16 + padded(name.len()) + padded(value.len()));
    if sizes.sum::<usize>() > BLOCK as usize {
        return Err(mkext4::Error::Invalid("its attributes are larger than a block of 4 KiB".to_string()));
    }
    meta.xattrs.iter().try_for_each(|(name, value)| {
        builder.set_xattr(handle, name, &stored_attribute(name, value).map_err(mkext4::Error::Invalid)?)
    })
}

/// An attribute's value as it is stored.
pub(super) fn stored_attribute<'v>(
    name: &str,
    value: &'v [u8],
) -> std::result::Result<Cow<'v, [u8]>, String> {
    if !name.starts_with("system.posix_acl_") {
        return Ok(Cow::Borrowed(value));
    }
    let stored = stored_acl(value).ok_or_else(|| format!("its attribute `{name}` is not an access list"))?;
    Ok(Cow::Owned(stored))
}

/// An access control list as ext4 stores it (kernel fs/ext4/acl.h), from what system calls and tar files
/// hand over (include/uapi/linux/posix_acl_xattr.h): another version, and no identity where none is meant.
fn stored_acl(value: &[u8]) -> Option<Vec<u8>> {
    const ACL_USER: u8 = 0x02;
    const ACL_GROUP: u8 = 0x08;
    let (entries, rest) = value.strip_prefix(&2u32.to_le_bytes())?.as_chunks::<8>();
    let mut stored = 1u32.to_le_bytes().to_vec();
    for entry in entries {
        let named = [ACL_USER, ACL_GROUP].contains(&entry[0]);
        stored.extend(&entry[..if named { 8 } else { 4 }]);
    }
    rest.is_empty().then_some(stored)
}

fn meta(meta: &Meta) -> mkext4::Meta {
    let Timestamp { secs, nanos } = held(meta.mtime);
    mkext4::Meta::new((meta.mode & 0o7777) as u16, meta.uid, meta.gid, (secs, nanos))
}

/// The nearest time that an inode can hold, between 1901 and 2446.
pub(super) fn held(time: Timestamp) -> Timestamp {
    const FIRST: i64 = -(1 << 31);
    const LAST: i64 = (1 << 34) - (1 << 31) - 1;
    if (FIRST..=LAST).contains(&time.secs) {
        return time;
    }
    Timestamp { secs: time.secs.clamp(FIRST, LAST), nanos: 0 }
}

/// A filesystem of some size.
struct Plan<'a> {
    tree: &'a Tree,
    options: Options,
    shape: Shape,
    used: ByteSize,
    sealed: Option<Sealed<'a>>,
}

/// A filesystem whose every byte has its place.
struct Sealed<'a> {
    layout: mkext4::Layout,
    /// In declaration order, which is the order of their blocks.
    files: Vec<File<'a>>,
}

impl<'a> Plan<'a> {
    fn seal(&mut self) -> Result<Sealed<'a>> {
        self.sealed.take().map_or_else(|| Sealed::new(self.options.clone(), self.tree), Ok)
    }
}

impl Planned for Plan<'_> {
    fn variant(&self) -> &'static str {
        "ext4"
    }

    fn used(&self) -> ByteSize {
        self.used
    }

    fn prepare(&mut self) -> Result<()> {
        self.sealed = Some(self.seal()?);
        Ok(())
    }

    fn write(&mut self, out: &mut dyn Sink) -> Result<()> {
        let shape = self.shape;
        // Not kept: the next filesystem's takes as much memory.
        let sealed = self.seal()?;
        let mut merge = Merge {
            out,
            pieces: sealed.pieces().peekable(),
            head: Vec::new(),
            keep: Vec::new(),
            shape,
            error: None,
        };
        let emitted = sealed.layout.writer(&mut merge).map(drop);
        if let Some(error) = merge.error.take() {
            return Err(error);
        }
        emitted.map_err(|cause| failed(&cause))?;
        merge.contents_below(u64::MAX)
    }
}

/// A run of a file's content: where it goes, and which part of the file it is.
struct Piece<'a> {
    offset: u64,
    content: &'a Content,
    from: u64,
    len: u64,
}

impl<'a> Sealed<'a> {
    fn new(options: Options, tree: &'a Tree) -> Result<Self> {
        let builder = FsBuilder::new(options).map_err(|cause| failed(&cause))?;
        let (builder, files) = declare(builder, tree)?;
        Ok(Sealed { layout: builder.seal().map_err(|cause| failed(&cause))?, files })
    }

    /// All file contents in the order of their blocks.
    fn pieces(&self) -> impl Iterator<Item = Piece<'a>> {
        self.files.iter().flat_map(|(handle, content)| {
            let mut from = 0;
            self.layout.extents(*handle).into_iter().map(move |(offset, len)| {
                let piece = Piece { offset, content, from, len };
                from += len;
                piece
            })
        })
    }
}

/// Merges the sweep of metadata with the file contents that lie between.
struct Merge<'a, 'b, I: Iterator<Item = Piece<'a>>> {
    out: &'b mut dyn Sink,
    pieces: std::iter::Peekable<I>,
    /// Superblock and group descriptors, until both are there.
    head: Vec<u8>,
    /// Ranges of journal and inode tables: their zeros matter.
    keep: Vec<(u64, u64)>,
    shape: Shape,
    /// `mkext4` passes only I/O errors on; ours wait here.
    error: Option<Error>,
}

impl<'a, I: Iterator<Item = Piece<'a>>> Merge<'a, '_, I> {
    fn contents_below(&mut self, limit: u64) -> Result<()> {
        while let Some(piece) = self.pieces.next_if(|piece| piece.offset < limit) {
            self.out
                .content(piece.offset, piece.content, piece.from, piece.len)
                .context(|| "cannot write a file into the ext4 filesystem")?;
            let end = piece.offset + piece.len;
            self.out.zeros(end, end.next_multiple_of(BLOCK) - end)?;
        }
        Ok(())
    }

    fn metadata(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let head = (1 + self.shape.descriptor_blocks()) * BLOCK;
        if offset < head {
            self.head.extend(bytes);
            if self.head.len() as u64 >= head {
                self.keep = zeroed_ranges(&self.head, self.shape);
            }
        }
        self.contents_below(offset)?;
        self.out.bytes(offset, bytes)
    }

    /// Zeros of free space are of no interest; those of the journal and of inode tables must not
    /// bring an old card's content back.
    fn zeros(&mut self, offset: u64, len: u64) -> Result<()> {
        for i in 0..self.keep.len() {
            let (start, end) = self.keep[i];
            let (from, to) = (offset.max(start), (offset + len).min(end));
            if from < to {
                self.contents_below(from)?;
                self.out.zeros(from, to - from)?;
            }
        }
        Ok(())
    }

    fn io(&mut self, result: Result<()>) -> io::Result<()> {
        result.map_err(|error| {
            self.error.get_or_insert(error);
            io::Error::other("see the first error")
        })
    }
}

impl<'a, I: Iterator<Item = Piece<'a>>> mkext4::RegionSink for Merge<'a, '_, I> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let result = self.metadata(offset, bytes);
        self.io(result)
    }

    fn zeros(&mut self, offset: u64, len: u64) -> io::Result<()> {
        // The padding at the end of a file is written with the file.
        let result = Merge::zeros(self, offset, len);
        self.io(result)
    }
}

/// Where journal and inode tables are, in ascending order, read from superblock and descriptors.
fn zeroed_ranges(head: &[u8], shape: Shape) -> Vec<(u64, u64)> {
    /// The journal inode's block map, kept in the superblock for e2fsck.
    const JOURNAL_MAP: usize = 1024 + 0x10C;
    let u16_at = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let u32_at =
        |at: usize| u64::from(u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let run = |start: u64, len: u64| (start * BLOCK, (start + len) * BLOCK);
    let tables = (0..shape.groups as usize)
        .map(|group| run(u32_at(BLOCK as usize + group * 32 + 8), shape.table_blocks()));
    let extents = u16_at(JOURNAL_MAP + 2) as usize;
    let journal = (1..=extents.min(4)).map(|i| {
        let at = JOURNAL_MAP + i * 12;
        run(u32_at(at + 8) | u16_at(at + 6) << 32, u16_at(at + 4))
    });
    let mut ranges: Vec<(u64, u64)> = tables.chain(journal).collect();
    ranges.sort_unstable();
    ranges
}
