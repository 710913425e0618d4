//! Ranges of the disk that are taken, and the words for two that overlap.

use std::fmt::Write;

use crate::disk::layout::{SECTOR, gpt_entries_end};
use crate::disk::{BlobSpec, DiskSpec, PartitionSpec, Table};
use crate::error::{Error, Result};
use crate::units::ByteSize;

/// Bytes of a GPT's 128 entries.
pub(super) const GPT_ENTRIES: u64 = 128 * 128;
/// The copy of header and entries at the end.
pub(super) const GPT_TAIL: u64 = GPT_ENTRIES + SECTOR;
/// Boot code in the first sector; the table's own bytes follow.
pub(super) const BOOT_CODE: u64 = 440;

/// What messages call header and entries together.
const GPT: &str = "the GPT";

/// Who has a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The format of the table.
    Table,
    Blob,
    Partition,
}

/// A range that is taken.
#[derive(Debug)]
pub(super) struct Area {
    /// ``partition `root` ``, `the MBR`.
    pub what: String,
    pub owner: Owner,
    pub start: u64,
    pub end: u64,
    /// Where the whole of it starts, of which this may be a part between two holes.
    base: u64,
    /// Bytes of the whole.
    len: u64,
    origin: Option<String>,
}

impl Area {
    fn table(what: &str, start: u64, len: u64) -> Self {
        let what = what.to_string();
        Area { what, owner: Owner::Table, start, end: start + len, base: start, len, origin: None }
    }

    pub(super) fn partition(partition: &PartitionSpec, start: u64, size: u64) -> Self {
        Area {
            what: format!("partition `{}`", partition.name),
            owner: Owner::Partition,
            start,
            end: start + size,
            base: start,
            len: size,
            origin: partition.origin.clone(),
        }
    }

    /// What lies before a logical partition: the alignment that holds its part of the table.
    pub(super) fn ebr(partition: &PartitionSpec, start: u64, align: u64) -> Self {
        let what = format!("the EBR of partition `{}`", partition.name);
        Area { what, origin: partition.origin.clone(), ..Self::partition(partition, start - align, align) }
    }

    fn describe(&self) -> String {
        format!(
            "{} starts at {} and has {}",
            self.what,
            ByteSize(self.base).exact(),
            ByteSize(self.len).exact()
        )
    }
}

/// What the table itself takes at the start of the disk.
pub(super) fn table(spec: &DiskSpec) -> Vec<Area> {
    let mut areas = Vec::new();
    if spec.table != Table::None {
        areas.push(Area::table("the MBR", BOOT_CODE, SECTOR - BOOT_CODE));
    }
    if spec.table.has_gpt() {
        if spec.gpt_location == DiskSpec::GPT_LOCATION {
            areas.push(Area::table(GPT, SECTOR, SECTOR + GPT_ENTRIES));
        } else {
            areas.push(Area::table("the GPT's header", SECTOR, SECTOR));
            areas.push(Area::table("the GPT's entries", spec.gpt_location.0, GPT_ENTRIES));
        }
    }
    areas
}

/// What a blob takes, between its holes; where a partition holds it, from that one's start.
pub(super) fn blob(blob: &BlobSpec) -> impl Iterator<Item = Area> {
    let (base, len) = (blob.offset.0, blob.len());
    blob.segments().into_iter().map(move |(from, to)| Area {
        what: format!("blob `{}`", blob.name),
        owner: Owner::Blob,
        start: base + from,
        end: base + to,
        base,
        len,
        origin: blob.origin.clone(),
    })
}

/// Sorts the areas; two that overlap are an error that says where each could go.
pub(super) fn check_overlaps(areas: &mut [Area]) -> Result<()> {
    areas.sort_by_key(|area| (area.start, area.end));
    for pair in areas.windows(2) {
        if let [first, second] = pair
            && second.start < first.end
        {
            return Err(overlap(first, second, areas));
        }
    }
    Ok(())
}

fn overlap(first: &Area, second: &Area, all: &[Area]) -> Error {
    let mut error = Error::usage(format!("{} and {} overlap", first.what, second.what))
        .caused_by(first.describe())
        .caused_by(second.describe());
    for origin in [&first.origin, &second.origin].into_iter().flatten() {
        error = error.declared_at(origin);
    }
    // The table stays where it is; of two others the later one moves.
    let (mover, other) = if second.owner == Owner::Table { (first, second) } else { (second, first) };
    let mut hint = format!(
        "{} can start at {} or later",
        mover.what,
        ByteSize(free_from(mover, other.end, all)).exact()
    );
    if other.owner == Owner::Table && mover.owner == Owner::Blob {
        // Writing to a string cannot fail.
        let _ = if other.what == GPT && mover.start >= 2 * SECTOR {
            let location = ByteSize(mover.end.next_multiple_of(SECTOR).max(other.end)).exact();
            write!(
                hint,
                ", or the GPT's entries can: `gpt-location = \"{location}\"`; \
                 with `table = \"mbr\"` everything from 512 on is free"
            )
        } else {
            let (from, to) =
                (first.start.max(second.start) - mover.base, first.end.min(second.end) - mover.base);
            write!(hint, "; if its file holds nothing there, say `holes = [[{from}, {to}]]`")
        };
    }
    error.hint(hint)
}

/// Where the whole of it could start from `from` on and be in the way of nothing that has its place.
fn free_from(mover: &Area, from: u64, all: &[Area]) -> u64 {
    let is_partition = mover.owner == Owner::Partition;
    // A partition lies behind the whole table, and best on 4 KiB.
    let table = all.iter().filter(|area| is_partition && area.owner == Owner::Table);
    let align = if is_partition { 4096 } else { 1 };
    let mut start = table.map(|area| area.end).fold(from, u64::max).next_multiple_of(align);
    // A partition and its EBR move together.
    let others =
        || all.iter().filter(|it| !it.what.ends_with(&mover.what) && !mover.what.ends_with(&it.what));
    while let Some(area) = others().find(|it| it.start < start + mover.len && start < it.end) {
        start = area.end.next_multiple_of(align);
    }
    start
}

/// A partition of a GPT lies behind the entries, which need not be at the start.
pub(super) fn check_behind_entries(spec: &DiskSpec, areas: &[Area]) -> Result<()> {
    let end = gpt_entries_end(spec);
    let before = areas.iter().find(|area| area.owner == Owner::Partition && area.start < end);
    let Some(area) = before.filter(|_| spec.table.has_gpt()) else { return Ok(()) };
    let mut error = Error::usage(format!("{} lies before the GPT's entries", area.what))
        .caused_by(area.describe())
        .caused_by(format!("the GPT's entries start at {} and have 16K", spec.gpt_location.exact()));
    if let Some(origin) = &area.origin {
        error = error.declared_at(origin);
    }
    Err(error.hint(format!(
        "it can start at {} or later; what lies before the entries is a `[[disk.blob]]`, outside the table",
        ByteSize(end).exact()
    )))
}
