//! Where everything lies: pure, from a [`DiskSpec`] to offsets.
//!
//! Fixed places come first (partition tables, blobs, partitions with an offset); the other partitions
//! then take the first free aligned place behind all that are declared before them; the one that takes
//! the rest comes last. So the order of what has an offset never changes the result.

use crate::disk::area::{self, Area, GPT_ENTRIES, GPT_TAIL, Owner};
pub(super) use crate::disk::check::numbers;
use crate::disk::check::{at, check};
use crate::disk::{BlobSpec, DiskSpec, Fill, PartitionSpec, Size, Table};
use crate::error::{Context, Error, Result};
use crate::filesystem::Request;
use crate::units::ByteSize;

/// What partition tables count in.
pub(super) const SECTOR: u64 = 512;
/// The block of the block map.
pub(super) const BLOCK: u64 = 4096;
/// A disk that is sized by its content ends on such a boundary, or on an alignment that is smaller.
const ROUND: u64 = 1 << 20;
/// Sectors are counted with 32 bits in an MBR.
const MBR_LIMIT: u64 = 1 << 41;

/// A disk with everything in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Size of the disk.
    pub size: ByteSize,
    /// Partitions in the order of declaration.
    pub partitions: Vec<Placed>,
    /// The extended partition, where there are logical ones.
    pub extended: Option<Placed>,
    /// First bytes of the blobs in the order of declaration, from the start of the disk.
    pub blobs: Vec<ByteSize>,
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

impl Placed {
    fn end(&self) -> u64 {
        self.start.0 + self.size.0
    }
}

impl Layout {
    /// The partition of that name.
    pub fn partition(&self, name: &str) -> Option<&Placed> {
        self.partitions.iter().find(|placed| placed.name == name)
    }
}

/// First byte behind the entries of a GPT; 0 without one.
pub(super) fn gpt_entries_end(spec: &DiskSpec) -> u64 {
    if spec.table.has_gpt() { spec.gpt_location.0 + GPT_ENTRIES } else { 0 }
}

/// Bytes of the GPT's copy at the end, which stay free when it has none: a tool may add it.
fn tail(spec: &DiskSpec) -> u64 {
    if spec.table.has_gpt() { GPT_TAIL } else { 0 }
}

fn align_of(spec: &DiskSpec, partition: &PartitionSpec) -> u64 {
    partition.align.unwrap_or(spec.align).0
}

/// Lays a disk out.
pub fn layout(spec: &DiskSpec) -> Result<Layout> {
    check(spec)?;
    let sizes = spec.partitions.iter().map(|it| size_of(spec, it)).collect::<Result<Vec<u64>>>()?;
    let mut areas = area::table(spec);
    areas.extend(spec.blobs.iter().filter(|blob| blob.partition.is_none()).flat_map(area::blob));
    for (partition, &size) in spec.partitions.iter().zip(&sizes) {
        if let (Some(offset), true) = (partition.offset, partition.size != Size::Rest) {
            take(spec, partition, offset.0, size, &mut areas);
        }
    }
    area::check_overlaps(&mut areas)?;
    let placed = place(spec, sizes, &mut areas)?;
    area::check_behind_entries(spec, &areas)?;
    let content_end = areas.iter().map(|area| area.end).max().unwrap_or(0);
    let needed = content_end + tail(spec);
    let round = ROUND.min(spec.align.0).max(BLOCK);
    let size = spec.size.map_or(needed.next_multiple_of(round), |size| size.0);
    if size < needed {
        return Err(disk_too_small(size, needed, &areas));
    }
    if matches!(spec.table, Table::Mbr | Table::Hybrid) && size > MBR_LIMIT {
        return Err(Error::usage(format!("an MBR cannot describe a disk of {}", ByteSize(size)))
            .caused_by("its limit is 2 TiB")
            .hint("declare `table = \"gpt\"`"));
    }
    let numbers = numbers(spec)?;
    let partitions: Vec<Placed> = (spec.partitions.iter().zip(placed))
        .zip(numbers.partitions)
        .map(|((partition, (start, size)), number)| Placed {
            name: partition.name.clone(),
            number,
            start: ByteSize(start),
            size: ByteSize(size),
        })
        .collect();
    let extended = numbers.extended.map(|number| extended(spec, &partitions, number)).transpose()?;
    let blobs = blobs(spec, &partitions)?;
    Ok(Layout { size: ByteSize(size), partitions, extended, blobs, provisional: is_provisional(spec) })
}

/// Blobs that lie in a partition of a spec.
fn inside<'a>(spec: &'a DiskSpec, partition: &'a str) -> impl Iterator<Item = &'a BlobSpec> {
    spec.blobs.iter().filter(move |blob| blob.partition.as_deref() == Some(partition))
}

/// Where the blobs lie; an error when those in a partition are in each other's way or stick out.
fn blobs(spec: &DiskSpec, partitions: &[Placed]) -> Result<Vec<ByteSize>> {
    for placed in partitions {
        let mut areas: Vec<Area> = inside(spec, &placed.name).flat_map(area::blob).collect();
        area::check_overlaps(&mut areas).context(|| format!("in partition `{}`", placed.name))?;
        if let Some(out) = areas.iter().find(|area| area.end > placed.size.0) {
            return Err(Error::usage(format!("partition `{}` is too small for {}", placed.name, out.what))
                .caused_by(format!(
                    "it ends at {}, the partition at {}",
                    ByteSize(out.end).exact(),
                    placed.size.exact()
                ))
                .hint("raise the partition's `size`, or leave it out"));
        }
    }
    let start = |blob: &BlobSpec| {
        let partition = partitions.iter().find(|placed| blob.partition.as_ref() == Some(&placed.name));
        ByteSize(blob.offset.0 + partition.map_or(0, |placed| placed.start.0))
    };
    Ok(spec.blobs.iter().map(start).collect())
}

fn is_provisional(spec: &DiskSpec) -> bool {
    spec.blobs.iter().any(|blob| blob.content.is_none() && blob.size.is_none())
        || spec.partitions.iter().any(|it| {
            matches!(it.size, Size::Auto { .. })
                && matches!(it.fill, Fill::Pending | Fill::Filesystem { tree: None, .. })
        })
}

/// Bytes of a partition, the least of them for one that takes the rest; an error when its content does
/// not fit.
fn size_of(spec: &DiskSpec, partition: &PartitionSpec) -> Result<u64> {
    let room = match partition.size {
        Size::Auto { room } => room,
        Size::Fixed(_) | Size::Rest => ByteSize(0),
    };
    let (needed, what) = match &partition.fill {
        Fill::Filesystem { kind, label, tree: Some(tree), scratch } => {
            let seed = spec.filesystem_seed(&partition.name);
            let request = Request { tree, label, seed, scratch };
            let needed = kind
                .format()
                .needed(&request, room)
                .context(|| format!("partition `{}` cannot be filled", partition.name))?;
            (needed.0, kind.name())
        }
        Fill::Raw(content) => (content.len() + room.0, "its content"),
        Fill::Pending | Fill::Filesystem { tree: None, .. } => (room.0, "it"),
        Fill::Empty => {
            let end = inside(spec, &partition.name).map(|blob| blob.offset.0 + blob.len()).max();
            (end.unwrap_or(0) + room.0, "what lies in it")
        }
    };
    let align = align_of(spec, partition);
    match partition.size {
        Size::Fixed(size) if size.0 < needed => {
            let error = Error::new(format!("partition `{}` is too small for its content", partition.name))
                .caused_by(format!("{what} needs {}, the partition has {size}", ByteSize(needed)));
            Err(at(error, partition).hint("raise its `size`, or leave `size` out and let the content decide"))
        }
        Size::Fixed(size) => Ok(size.0),
        Size::Auto { .. } | Size::Rest => Ok(needed.next_multiple_of(align).max(align)),
    }
}

/// Marks a place as taken, with the part of the table that lies before a logical partition.
fn take(spec: &DiskSpec, partition: &PartitionSpec, start: u64, size: u64, areas: &mut Vec<Area>) {
    if partition.logical {
        areas.push(Area::ebr(partition, start, spec.align.0));
    }
    areas.push(Area::partition(partition, start, size));
}

/// Gives every partition its place: start and size in the order of declaration.
fn place(spec: &DiskSpec, mut sizes: Vec<u64>, areas: &mut Vec<Area>) -> Result<Vec<(u64, u64)>> {
    let first = match spec.table {
        Table::None => 0,
        _ => spec.align.0.max(gpt_entries_end(spec)),
    };
    let mut cursor = first;
    let mut starts = vec![0; sizes.len()];
    for (index, partition) in spec.partitions.iter().enumerate() {
        starts[index] = match partition.offset {
            Some(offset) => {
                if partition.size != Size::Rest {
                    cursor = cursor.max(offset.0 + sizes[index]);
                }
                offset.0
            }
            None if partition.size == Size::Rest => continue,
            None => {
                let behind = partition.after.as_ref().and_then(|name| {
                    spec.blobs.iter().find(|blob| blob.name == *name && blob.partition.is_none())
                });
                let behind = behind.map_or(0, |blob| blob.offset.0 + blob.len());
                let start = free_place(spec, partition, cursor.max(behind), sizes[index], areas);
                take(spec, partition, start, sizes[index], areas);
                cursor = start + sizes[index];
                start
            }
        };
    }
    let rest = spec.partitions.iter().position(|partition| partition.size == Size::Rest);
    if let (Some(index), Some(size)) = (rest, spec.size) {
        let partition = &spec.partitions[index];
        let behind = areas.iter().map(|area| area.end).max().unwrap_or(0).max(first);
        let start = partition
            .offset
            .map_or_else(|| free_place(spec, partition, behind, sizes[index], areas), |offset| offset.0);
        sizes[index] = rest_of(spec, partition, (start, sizes[index]), size.0, areas)?;
        starts[index] = start;
        take(spec, partition, start, sizes[index], areas);
        area::check_overlaps(areas)?;
    }
    Ok(starts.into_iter().zip(sizes).collect())
}

/// The first aligned place from `cursor` on where the partition is in nobody's way.
fn free_place(spec: &DiskSpec, partition: &PartitionSpec, cursor: u64, size: u64, areas: &[Area]) -> u64 {
    let align = align_of(spec, partition);
    let before = if partition.logical { spec.align.0 } else { 0 };
    // Every area in the way pushes the start behind it, so this ends.
    let mut start = (cursor + before).next_multiple_of(align);
    while let Some(area) = areas.iter().find(|it| it.start < start + size && start - before < it.end) {
        start = (area.end + before).next_multiple_of(align);
    }
    start
}

/// How much there is from `start` to what comes next or the end of the disk, in whole alignments.
fn rest_of(
    spec: &DiskSpec,
    partition: &PartitionSpec,
    (start, least): (u64, u64),
    size: u64,
    areas: &[Area],
) -> Result<u64> {
    let next = areas.iter().map(|area| area.start).filter(|next| *next >= start).min();
    let end = next.unwrap_or(u64::MAX).min(size.saturating_sub(tail(spec)));
    let align = align_of(spec, partition);
    let rest = end.saturating_sub(start) / align * align;
    if rest >= least {
        return Ok(rest);
    }
    let error =
        Error::usage(format!("too little is left for partition `{}`", partition.name)).caused_by(format!(
            "from {} on there are {}, and it needs {}",
            ByteSize(start).exact(),
            ByteSize(rest),
            ByteSize(least)
        ));
    Err(at(error, partition).hint("raise the disk's `size`"))
}

/// The extended partition: from the first logical one's part of the table to the end of the last.
fn extended(spec: &DiskSpec, partitions: &[Placed], number: u32) -> Result<Placed> {
    let all = || spec.partitions.iter().zip(partitions);
    let logical: Vec<&Placed> = all().filter(|(it, _)| it.logical).map(|(_, placed)| placed).collect();
    for pair in logical.windows(2) {
        if let [first, second] = pair
            && second.start < first.start
        {
            return Err(Error::usage(format!(
                "logical partition `{}` is declared after `{}`, but starts before it",
                second.name, first.name
            ))
            .hint("declare logical partitions in the order of their places"));
        }
    }
    let start = logical.first().map_or(0, |placed| placed.start.0) - spec.align.0;
    let mut end = logical.last().map_or(0, |placed| placed.end());
    // On a disk of known size there is room for more of them.
    if let Some(size) = spec.size
        && partitions.iter().all(|placed| placed.end() <= end)
    {
        end = size.0;
    }
    if let Some((_, inside)) =
        all().find(|(it, placed)| !it.logical && placed.start.0 < end && placed.end() > start)
    {
        return Err(Error::usage(format!("partition `{}` lies inside the extended partition", inside.name))
            .caused_by(format!(
                "that one reaches from {} to {}",
                ByteSize(start).exact(),
                ByteSize(end).exact()
            ))
            .hint("say `logical = true` in it, or move it out from between the logical partitions"));
    }
    Ok(Placed { name: "extended".to_string(), number, start: ByteSize(start), size: ByteSize(end - start) })
}

fn disk_too_small(size: u64, needed: u64, areas: &[Area]) -> Error {
    let last = areas.iter().filter(|area| area.owner != Owner::Table).max_by_key(|area| area.end);
    let last = last.map_or("the partition table", |area| area.what.as_str());
    Error::usage("the disk is too small for what it holds")
        .caused_by(format!(
            "it needs {}, up to the end of {last}, and has {}",
            ByteSize(needed),
            ByteSize(size)
        ))
        .hint(format!(
            "raise the disk's `size` to {} or more, or leave it out",
            ByteSize(needed.next_multiple_of(ROUND)).exact()
        ))
}
