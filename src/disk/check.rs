//! What is wrong with a disk without knowing any size, and the numbers of its partitions.

use std::collections::BTreeSet;

use crate::disk::layout::SECTOR;
use crate::disk::{BlobSpec, DiskSpec, Fill, PartitionSpec, Size, Table};
use crate::error::{Context, Error, Result, nearest};
use crate::units::ByteSize;

/// Partition numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    /// In the order of declaration.
    pub partitions: Vec<u32>,
    /// Of the extended partition, where there are logical ones.
    pub extended: Option<u32>,
}

/// Numbers that are given stay; the others take the lowest free ones in order. Logical partitions count
/// from 5, and the extended partition comes where the first of them is declared.
pub(super) fn numbers(spec: &DiskSpec) -> Result<Numbers> {
    let limit = match spec.table {
        Table::Mbr => 4,
        Table::Gpt | Table::Hybrid => 128,
        Table::None => u32::MAX,
    };
    let mut taken = BTreeSet::new();
    for partition in &spec.partitions {
        let Some(number) = partition.number else { continue };
        let bad = |why: String| {
            let name = &partition.name;
            let error = Error::usage(format!("partition `{name}` cannot have the number {number}"));
            at(error.caused_by(why), partition)
        };
        if partition.logical {
            return Err(bad("logical partitions count from 5 in the order of their declaration".into())
                .hint("leave `number` out"));
        }
        if number == 0 || number > limit {
            return Err(bad(format!("the table counts from 1 to {limit}")));
        }
        if !taken.insert(number) {
            return Err(bad("another partition has it".into()));
        }
    }
    let mut free = (1..).filter(|number| !taken.contains(number));
    let mut next = || free.next().filter(|number| *number <= limit).ok_or_else(|| too_many(spec, limit));
    let mut numbers = Numbers { partitions: Vec::new(), extended: None };
    let mut logical = 5..;
    for partition in &spec.partitions {
        if partition.logical && numbers.extended.is_none() {
            numbers.extended = Some(next()?);
        }
        let number = match partition.number {
            Some(number) => number,
            None if partition.logical => logical.next().unwrap_or(u32::MAX),
            None => next()?,
        };
        numbers.partitions.push(number);
    }
    Ok(numbers)
}

fn too_many(spec: &DiskSpec, limit: u32) -> Error {
    let logical = spec.partitions.iter().any(|it| it.logical);
    let primary = spec.partitions.iter().filter(|it| !it.logical).count();
    let extended = if logical { ", and the extended one" } else { "" };
    Error::usage(format!("the table holds {limit} partitions, {primary} are declared{extended}")).hint(
        match spec.table {
            Table::Mbr => "say `logical = true` in those that belong into an extended partition, or declare `table = \"gpt\"`",
            _ => "merge some of them",
        },
    )
}

/// Names the place in the profile, when it is known.
pub(super) fn at(error: Error, partition: &PartitionSpec) -> Error {
    declared(error, partition.origin.as_ref())
}

fn declared(error: Error, origin: Option<&String>) -> Error {
    match origin {
        Some(origin) => error.declared_at(origin),
        None => error,
    }
}

/// What is wrong without knowing any size.
pub(super) fn check(spec: &DiskSpec) -> Result<()> {
    check_align(spec.align, || "the alignment of the disk".into())?;
    if let Some(size) = spec.size {
        sectors(size.0, || "the size of the disk".into())?;
    }
    check_gpt(spec)?;
    if spec.partitions.len() > 128 {
        return Err(Error::usage(format!("no table holds {} partitions", spec.partitions.len()))
            .hint("merge some of them; 128 is the most"));
    }
    for (index, partition) in spec.partitions.iter().enumerate() {
        check_partition(spec, partition).map_err(|error| at(error, partition))?;
        if spec.partitions[..index].iter().any(|other| other.name == partition.name) {
            let error = Error::usage(format!("two partitions are named `{}`", partition.name));
            return Err(at(error, partition).hint("identifiers derive from names; give each its own"));
        }
    }
    let rest: Vec<&PartitionSpec> = spec.partitions.iter().filter(|it| it.size == Size::Rest).collect();
    if let [first, second, ..] = rest.as_slice() {
        let error = Error::usage(format!(
            "partition `{}` and partition `{}` both take the rest of the disk",
            first.name, second.name
        ));
        return Err(at(error, second).hint("give one of them a `size`"));
    }
    if let (Some(partition), None) = (rest.first(), spec.size) {
        let name = &partition.name;
        let error = Error::usage(format!("partition `{name}` takes the rest of a disk of unknown size"));
        return Err(at(error, partition).hint("say the `size` of the disk, or of the partition"));
    }
    for blob in &spec.blobs {
        check_blob(spec, blob).map_err(|error| declared(error, blob.origin.as_ref()))?;
    }
    let in_mbr = spec.partitions.iter().filter(|it| it.mbr_kind.is_some()).count();
    match (spec.table, in_mbr) {
        (Table::Hybrid, 0) => Err(Error::usage("a hybrid table lists no partition in its MBR")
            .hint("say `mbr-type` in up to three partitions, or declare `table = \"gpt\"`")),
        (Table::Hybrid, 4..) => Err(Error::usage(format!(
            "the MBR of a hybrid table holds three partitions, {in_mbr} have an `mbr-type`"
        ))
        .hint("the fourth entry is the GPT itself")),
        _ => numbers(spec).map(drop),
    }
}

fn check_blob(spec: &DiskSpec, blob: &BlobSpec) -> Result<()> {
    let name = &blob.name;
    within(blob.offset.0, || format!("the offset of blob `{name}`"))?;
    within(blob.len(), || format!("the size of blob `{name}`"))?;
    if let (Some(size), Some(content)) = (blob.size, &blob.content)
        && content.len() > size.0
    {
        return Err(Error::usage(format!("blob `{name}` is too large for its size"))
            .caused_by(format!("its file has {} bytes, `size` allows {}", content.len(), size.0))
            .hint("raise its `size`, or leave it out"));
    }
    if let Some((start, end)) = blob.holes.iter().find(|(start, end)| start >= end) {
        return Err(Error::usage(format!("blob `{name}` has an impossible hole"))
            .caused_by(format!("it starts at {} and ends at {}", start.0, end.0))
            .hint("a hole is the first byte that holds nothing, and the first that does again"));
    }
    let Some(owner) = &blob.partition else { return Ok(()) };
    let Some(partition) = spec.partitions.iter().find(|it| it.name == *owner) else {
        let error = Error::usage(format!("blob `{name}` lies in a partition `{owner}` that is not there"));
        return Err(match nearest(owner, spec.partitions.iter().map(|it| it.name.as_str())) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint("declare it under `[[disk.partition]]`"),
        });
    };
    if !matches!(partition.fill, Fill::Empty) {
        return Err(Error::usage(format!("blob `{name}` lies in partition `{owner}`, which has content"))
            .hint("leave out `file` or `filesystem` of the partition, or `partition` of the blob"));
    }
    Ok(())
}

fn check_gpt(spec: &DiskSpec) -> Result<()> {
    let location = spec.gpt_location;
    sectors(location.0, || "the `gpt-location`".into())?;
    if location < DiskSpec::GPT_LOCATION {
        return Err(Error::usage(format!("the `gpt-location` of {} is taken", location.0))
            .caused_by("MBR and GPT header have the first 1K")
            .hint("leave it out, or name a place behind what the board wants at the start"));
    }
    let moved = location != DiskSpec::GPT_LOCATION || !spec.gpt_backup || spec.uuid.is_some();
    if moved && !spec.table.has_gpt() {
        return Err(Error::usage("`gpt-location`, `gpt-backup` and `uuid` do not fit this disk")
            .caused_by(format!("it has {}", no_gpt(spec.table)))
            .hint("leave them out, or declare `table = \"gpt\"`"));
    }
    if spec.signature.is_some() && !matches!(spec.table, Table::Mbr | Table::Hybrid) {
        return Err(Error::usage("`signature` does not fit this disk")
            .caused_by(if spec.table == Table::Gpt { "the MBR of a GPT has none" } else { "it has no MBR" })
            .hint("leave it out; the disk's GUID is `uuid`"));
    }
    Ok(())
}

fn no_gpt(table: Table) -> &'static str {
    if table == Table::Mbr { "an MBR alone" } else { "no partition table" }
}

fn check_align(align: ByteSize, what: impl Fn() -> String) -> Result<()> {
    within(align.0, &what)?;
    if align.0 > 0 && align.0.is_multiple_of(SECTOR) && align.0 <= 1 << 30 {
        return Ok(());
    }
    Err(Error::usage(format!("{}, {} bytes, is impossible", what(), align.0))
        .hint("partitions start on sectors: a multiple of 512, better of 1M, and 1G at most"))
}

/// No disk is that large: offsets and sizes below it can be added up and rounded without a thought.
const LIMIT: u64 = 1 << 55;

/// Everything counts in sectors, and ends somewhere.
fn sectors(bytes: u64, what: impl Fn() -> String) -> Result<()> {
    within(bytes, &what)?;
    if bytes.is_multiple_of(SECTOR) {
        return Ok(());
    }
    Err(Error::usage(format!("{}, {bytes} bytes, is not a multiple of 512", what())))
}

fn within(bytes: u64, what: impl Fn() -> String) -> Result<()> {
    if bytes < LIMIT {
        return Ok(());
    }
    Err(Error::usage(format!("{} cannot be {}", what(), ByteSize(bytes))).caused_by("no disk is that large"))
}

fn check_partition(spec: &DiskSpec, partition: &PartitionSpec) -> Result<()> {
    let name = &partition.name;
    partition.kind.check(spec.table).context(|| format!("partition `{name}` cannot be declared"))?;
    if let Some(kind) = &partition.mbr_kind {
        if spec.table != Table::Hybrid {
            return Err(Error::usage(format!("partition `{name}` has an `mbr-type` and no hybrid table"))
                .hint("leave it out, or declare `table = \"hybrid\"`"));
        }
        kind.check(Table::Mbr).context(|| format!("partition `{name}` cannot be in the MBR"))?;
    }
    spec.partition_guid(partition)?;
    if !spec.table.has_gpt() && partition.uuid.is_some() {
        return Err(Error::usage(format!("partition `{name}` cannot have a UUID of its own"))
            .caused_by(if spec.table == Table::Mbr {
                "an MBR holds only a disk signature"
            } else {
                "the disk has no partition table"
            })
            .hint("leave out `uuid`, or declare `table = \"gpt\"`"));
    }
    if !spec.table.has_gpt() && !partition.attributes.is_empty() {
        return Err(Error::usage(format!("partition `{name}` cannot have attributes"))
            .caused_by("only a GPT holds them")
            .hint("leave out `attributes`, or declare `table = \"gpt\"`"));
    }
    if partition.logical && spec.table != Table::Mbr {
        return Err(Error::usage(format!("partition `{name}` cannot be logical"))
            .caused_by("only an MBR has logical partitions")
            .hint("leave out `logical`"));
    }
    if name.encode_utf16().count() > 36 {
        return Err(Error::usage(format!("the partition name `{name}` is longer than 36 characters")));
    }
    if let Some(offset) = partition.offset {
        sectors(offset.0, || format!("the offset of partition `{name}`"))?;
        if partition.logical && offset < spec.align {
            return Err(Error::usage(format!("logical partition `{name}` starts too early"))
                .caused_by("the alignment before it holds its part of the table"));
        }
    }
    if let Some(align) = partition.align {
        check_align(align, || format!("the alignment of partition `{name}`"))?;
    }
    if let Size::Auto { room } = partition.size {
        within(room.0, || format!("the room in partition `{name}`"))?;
    }
    match partition.size {
        Size::Fixed(ByteSize(0)) => Err(Error::usage(format!("partition `{name}` has a size of 0"))),
        Size::Fixed(size) => sectors(size.0, || format!("the size of partition `{name}`")),
        Size::Auto { room: ByteSize(0) }
            if matches!(partition.fill, Fill::Empty)
                && !spec.blobs.iter().any(|blob| blob.partition.as_ref() == Some(name)) =>
        {
            Err(Error::usage(format!("partition `{name}` has neither content nor size"))
                .hint("give it a `size`"))
        }
        Size::Auto { .. } | Size::Rest => Ok(()),
    }
}
