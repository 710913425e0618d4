//! Where everything lies: pure, from a [`DiskSpec`] to offsets.
//!
//! Fixed places come first (partition tables, blobs, partitions with an offset); the other partitions
//! then take the first free aligned place after their predecessor, in order. So the order of what has
//! an offset never changes the result.

use crate::disk::{BlobSpec, DiskSpec, Fill, PartitionSpec, Size, Table};
use crate::error::{Context, Error, Result};
use crate::filesystem::Request;
use crate::units::ByteSize;

/// Sizes of partitions and of the disk are multiples of this: the block of the block map.
pub(super) const BLOCK: u64 = 4096;
/// A disk that is sized by its content ends on such a boundary.
const ROUND: u64 = 1 << 20;
/// Protective MBR, header and 128 entries of a GPT.
const GPT_HEAD: u64 = 34 * 512;
/// What messages call it.
const GPT: &str = "the GPT";
/// The copy of header and entries at the end.
const GPT_TAIL: u64 = 33 * 512;
/// Sectors are counted with 32 bits in an MBR.
const MBR_LIMIT: u64 = 1 << 41;

/// A disk with everything in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Size of the disk.
    pub size: ByteSize,
    /// Partitions in table order.
    pub partitions: Vec<Placed>,
    /// True when some content does not exist yet, so that sizes will change.
    pub provisional: bool,
}

/// A partition in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Name.
    pub name: String,
    /// Number in the table, from 1.
    pub number: u32,
    /// First byte.
    pub start: ByteSize,
    /// Bytes.
    pub size: ByteSize,
}

impl Layout {
    /// The partition of that name.
    pub fn partition(&self, name: &str) -> Option<&Placed> {
        self.partitions.iter().find(|placed| placed.name == name)
    }
}

/// A range that is taken, and by what.
struct Area {
    /// `partition \`root\``, `the GPT`.
    what: String,
    start: u64,
    end: u64,
    origin: Option<String>,
    /// False for what has its place by the format.
    movable: bool,
}

/// No disk is that large: offsets and sizes below it can be added up and rounded without a thought.
const LIMIT: u64 = 1 << 56;

/// Lays a disk out.
pub fn layout(spec: &DiskSpec) -> Result<Layout> {
    check(spec)?;
    let sizes = spec.partitions.iter().map(|it| size_of(spec, it)).collect::<Result<Vec<u64>>>()?;
    let mut areas = vec![table_head(spec.table)];
    areas.extend(spec.blobs.iter().map(blob_area));
    for (partition, &size) in spec.partitions.iter().zip(&sizes) {
        if let Some(offset) = partition.offset {
            areas.push(partition_area(partition, offset.0, size));
        }
    }
    check_overlaps(&mut areas)?;
    let starts = place(spec, &sizes, &mut areas);
    let content_end = areas.iter().map(|area| area.end).max().unwrap_or(0);
    let tail = if spec.table == Table::Gpt { GPT_TAIL } else { 0 };
    let needed = content_end + tail;
    let size = spec.size.map_or(needed.next_multiple_of(ROUND), |size| size.0);
    if size < needed {
        return Err(disk_too_small(size, needed, &areas));
    }
    if spec.table == Table::Mbr && size > MBR_LIMIT {
        return Err(Error::usage(format!("an MBR cannot describe a disk of {}", ByteSize(size)))
            .caused_by("its limit is 2 TiB")
            .hint("declare `table = \"gpt\"`"));
    }
    let partitions = spec
        .partitions
        .iter()
        .zip(starts.into_iter().zip(sizes))
        .zip(1..)
        .map(|((partition, (start, size)), number)| Placed {
            name: partition.name.clone(),
            number,
            start: ByteSize(start),
            size: ByteSize(size),
        })
        .collect();
    Ok(Layout { size: ByteSize(size), partitions, provisional: is_provisional(spec) })
}

fn is_provisional(spec: &DiskSpec) -> bool {
    spec.blobs.iter().any(|blob| blob.content.is_none())
        || spec.partitions.iter().any(|it| {
            matches!(it.size, Size::Auto { .. }) && matches!(it.fill, Fill::Filesystem { tree: None, .. })
        })
}

/// What is wrong without knowing any size.
fn check(spec: &DiskSpec) -> Result<()> {
    if spec.align.0 == 0 || !spec.align.0.is_multiple_of(BLOCK) {
        return Err(Error::usage(format!("the alignment of {} is not a multiple of 4 KiB", spec.align)));
    }
    if let Some(size) = spec.size
        && !size.0.is_multiple_of(BLOCK)
    {
        return Err(Error::usage(format!("the disk size of {} bytes is not a multiple of 4 KiB", size.0)));
    }
    check_size("the alignment", spec.align)?;
    check_size("the size of the disk", spec.size.unwrap_or_default())?;
    let limit = if spec.table == Table::Mbr { 4 } else { 128 };
    if spec.partitions.len() > limit {
        return Err(Error::usage(format!(
            "the table holds {limit} partitions, {} are declared",
            spec.partitions.len()
        ))
        .hint(if limit == 4 { "declare `table = \"gpt\"`" } else { "merge some of them" }));
    }
    for (index, partition) in spec.partitions.iter().enumerate() {
        check_partition(spec, partition).map_err(|error| at(error, partition.origin.as_ref()))?;
        if spec.partitions[..index].iter().any(|other| other.name == partition.name) {
            let error = Error::usage(format!("two partitions are named `{}`", partition.name));
            return Err(
                at(error, partition.origin.as_ref()).hint("identifiers derive from names; give each its own")
            );
        }
    }
    for blob in &spec.blobs {
        check_size(&format!("the offset of blob `{}`", blob.name), blob.offset)
            .map_err(|error| at(error, blob.origin.as_ref()))?;
        if !blob.offset.0.is_multiple_of(512) {
            let error = Error::usage(format!(
                "the offset of blob `{}`, {} bytes, is not a multiple of 512",
                blob.name, blob.offset.0
            ));
            return Err(at(error, blob.origin.as_ref()));
        }
    }
    Ok(())
}

/// Refuses what would overflow further on.
fn check_size(what: &str, size: ByteSize) -> Result<()> {
    if size.0 < LIMIT {
        return Ok(());
    }
    Err(Error::usage(format!("{what} cannot be {size}")).caused_by("no disk is that large"))
}

fn check_partition(spec: &DiskSpec, partition: &PartitionSpec) -> Result<()> {
    let name = &partition.name;
    check_size(&format!("the offset of partition `{name}`"), partition.offset.unwrap_or_default())?;
    match partition.size {
        Size::Fixed(size) => check_size(&format!("the size of partition `{name}`"), size)?,
        Size::Auto { room } => check_size(&format!("the room in partition `{name}`"), room)?,
    }
    partition.kind.check(spec.table).context(|| format!("partition `{name}` cannot be declared"))?;
    spec.partition_guid(partition)?;
    if spec.table == Table::Mbr && partition.uuid.is_some() {
        return Err(Error::usage(format!("partition `{name}` cannot have a UUID of its own"))
            .caused_by("an MBR holds only a disk signature")
            .hint("leave out `uuid`, or declare `table = \"gpt\"`"));
    }
    if name.encode_utf16().count() > 36 {
        return Err(Error::usage(format!("the partition name `{name}` is longer than 36 characters")));
    }
    if let Some(offset) = partition.offset
        && !offset.0.is_multiple_of(BLOCK)
    {
        return Err(Error::usage(format!(
            "the offset of partition `{name}`, {} bytes, is not a multiple of 4 KiB",
            offset.0
        )));
    }
    match partition.size {
        Size::Fixed(size) if size.0 == 0 || !size.0.is_multiple_of(BLOCK) => Err(Error::usage(format!(
            "the size of partition `{name}`, {} bytes, is not a multiple of 4 KiB",
            size.0
        ))),
        Size::Auto { room: ByteSize(0) } if matches!(partition.fill, Fill::Empty) => {
            Err(Error::usage(format!("partition `{name}` has neither content nor size"))
                .hint("give it a `size`"))
        }
        _ => Ok(()),
    }
}

/// Names the place in the profile, when it is known.
fn at(error: Error, origin: Option<&String>) -> Error {
    match origin {
        Some(origin) => error.caused_by(format!("declared at {origin}")),
        None => error,
    }
}

/// Bytes of a partition; an error when its content does not fit.
fn size_of(spec: &DiskSpec, partition: &PartitionSpec) -> Result<u64> {
    let room = match partition.size {
        Size::Fixed(_) => ByteSize(0),
        Size::Auto { room } => room,
    };
    let (needed, what) = match &partition.fill {
        Fill::Filesystem { kind, label, tree: Some(tree) } => {
            let seed = spec.filesystem_seed(&partition.name);
            let request = Request { tree, label, seed };
            let needed = kind
                .format()
                .needed(&request, room)
                .context(|| format!("partition `{}` cannot be filled", partition.name))?;
            (needed.0, kind.name())
        }
        Fill::Raw(content) => (content.len() + room.0, "its content"),
        Fill::Filesystem { tree: None, .. } | Fill::Empty => (room.0, "it"),
    };
    match partition.size {
        Size::Fixed(size) if size.0 < needed => {
            let error = Error::new(format!("partition `{}` is too small for its content", partition.name))
                .caused_by(format!("{what} needs {}, the partition has {size}", ByteSize(needed)));
            Err(at(error, partition.origin.as_ref())
                .hint("raise its `size`, or leave `size` out and let the content decide"))
        }
        Size::Fixed(size) => Ok(size.0),
        Size::Auto { .. } => Ok(needed.next_multiple_of(ROUND).max(ROUND)),
    }
}

fn table_head(table: Table) -> Area {
    let (what, end) = match table {
        Table::Mbr => ("the MBR", 512),
        Table::Gpt => (GPT, GPT_HEAD),
    };
    Area { what: what.to_string(), start: 0, end, origin: None, movable: false }
}

fn blob_area(blob: &BlobSpec) -> Area {
    let len = blob.content.as_ref().map_or(0, crate::tree::Content::len);
    Area {
        what: format!("blob `{}`", blob.name),
        start: blob.offset.0,
        end: blob.offset.0 + len,
        origin: blob.origin.clone(),
        movable: true,
    }
}

fn partition_area(partition: &PartitionSpec, start: u64, size: u64) -> Area {
    Area {
        what: format!("partition `{}`", partition.name),
        start,
        end: start + size,
        origin: partition.origin.clone(),
        movable: true,
    }
}

/// Gives every partition without an offset its place and returns all starts in table order.
fn place(spec: &DiskSpec, sizes: &[u64], areas: &mut Vec<Area>) -> Vec<u64> {
    let align = spec.align.0;
    let mut cursor = align;
    let mut starts = Vec::with_capacity(sizes.len());
    for (partition, &size) in spec.partitions.iter().zip(sizes) {
        if let Some(offset) = partition.offset {
            starts.push(offset.0);
            continue;
        }
        // Every area in the way pushes the start behind it, so this ends.
        let mut start = cursor;
        while let Some(area) = areas.iter().find(|area| area.start < start + size && start < area.end) {
            start = area.end.next_multiple_of(align);
        }
        areas.push(partition_area(partition, start, size));
        cursor = (start + size).next_multiple_of(align);
        starts.push(start);
    }
    starts
}

fn check_overlaps(areas: &mut [Area]) -> Result<()> {
    areas.sort_by_key(|area| (area.start, area.end));
    for pair in areas.windows(2) {
        let [first, second] = pair else { continue };
        if second.start >= first.end {
            continue;
        }
        let mut error = Error::usage(format!("{} and {} overlap", first.what, second.what))
            .caused_by(describe(first))
            .caused_by(describe(second));
        for origin in [&first.origin, &second.origin].into_iter().flatten() {
            error = error.caused_by(format!("declared at {origin}"));
        }
        let (mover, after) = if second.movable { (second, first.end) } else { (first, second.end) };
        let mut hint =
            format!("{} can start at {} or later", mover.what, exact(after.next_multiple_of(BLOCK)));
        if first.what == GPT {
            hint.push_str("; with `table = \"mbr\"` everything from 512 on is free");
        }
        return Err(error.hint(hint));
    }
    Ok(())
}

fn describe(area: &Area) -> String {
    format!("{} starts at {} and has {}", area.what, exact(area.start), exact(area.end - area.start))
}

/// A size without rounding, as a profile takes it: `8K`, `4M`, `1234`.
fn exact(bytes: u64) -> String {
    match [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")]
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((unit, letter)) => format!("{}{letter}", bytes / unit),
        None => bytes.to_string(),
    }
}

fn disk_too_small(size: u64, needed: u64, areas: &[Area]) -> Error {
    let last = areas.iter().max_by_key(|area| area.end).map_or("nothing", |area| area.what.as_str());
    Error::usage("the disk is too small for what it holds")
        .caused_by(format!(
            "it needs {}, up to the end of {last}, and has {}",
            ByteSize(needed),
            ByteSize(size)
        ))
        .hint(format!(
            "raise the disk's `size` to {} or more, or leave it out",
            exact(needed.next_multiple_of(ROUND))
        ))
}
