//! What differs between two images, from the table over filesystems and files to bytes, and why.
//!
//! Only what differs is looked at closer: partitions with equal bytes are done at once.

mod cause;
mod files;

use std::io;
use std::ops::Range;

use serde::Serialize;

use super::open::{Image, Part};
use super::read::{ReadAt, Source};
use super::table::Partition;
use crate::error::{Error, Result};
use crate::units::ByteSize;
use crate::{fsx, interrupt};

pub use cause::Identifiers;

/// Bytes compared at once.
const PIECE: u64 = 1 << 20;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `partition table`, `partition 1`, `1:/config.txt`.
    pub place: String,
    /// What: `1234 of 8192 bytes, the first at 17`.
    pub what: String,
    /// Why, as far as that can be seen.
    pub cause: Option<String>,
}

/// Collects differences.
#[derive(Debug, Default)]
pub struct Differences(pub Vec<Difference>);

impl Differences {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>, cause: Option<&str>) {
        let cause = cause.map(str::to_string);
        self.0.push(Difference { place: place.into(), what: what.into(), cause });
    }

    /// Two values of one property.
    fn values(&mut self, place: &str, name: &str, [a, b]: [&str; 2], cause: Option<&str>) {
        if a != b {
            let [a, b] = [a, b].map(|value| match value {
                "" => "none".to_string(),
                value => format!("`{}`", value.escape_debug()),
            });
            self.add(place, format!("{name}: {a} and {b}"), cause);
        }
    }
}

/// Everything that differs between two images; nothing when they are equal to the byte.
pub fn diff(a: &Image, b: &Image) -> Result<Vec<Difference>> {
    let mut found = Differences::default();
    let all = 0..a.source.len().max(b.source.len());
    if compare(&a.source, &b.source, all)?.is_none() {
        return Ok(found.0);
    }
    let ids = Identifiers::of(a, b);
    sizes(&mut found, "image", a.source.len(), b.source.len());
    table(a, b, &mut found);
    outside(a, b, &mut found)?;
    for part in &a.parts {
        match b.parts.iter().find(|other| other.number == part.number) {
            Some(other) => partition([a, b], [part, other], &ids, &mut found)?,
            None => found.add(part.describe(), "is in the first image only", None),
        }
    }
    for part in b.parts.iter().filter(|part| a.parts.iter().all(|other| other.number != part.number)) {
        found.add(part.describe(), "is in the second image only", None);
    }
    if found.0.is_empty() {
        // Whatever it is, it must not be passed over in silence.
        let bytes = compare(&a.source, &b.source, 0..a.source.len().max(b.source.len()))?;
        let what = bytes.map_or(String::new(), |bytes| bytes.to_string());
        found.add("image", what, None);
    }
    Ok(found.0)
}

fn sizes(found: &mut Differences, place: &str, a: u64, b: u64) {
    if a != b {
        found.add(place, format!("size: {} and {}", ByteSize(a), ByteSize(b)), None);
    }
}

fn table(a: &Image, b: &Image, found: &mut Differences) {
    const PLACE: &str = "partition table";
    let (one, two) = (&a.table, &b.table);
    found.values(PLACE, "kind", [one.kind.name(), two.kind.name()], None);
    found.values(PLACE, "disk", [&one.id, &two.id], Some(cause::IDENTIFIER));
    for (part, other) in pairs(&one.partitions, &two.partitions) {
        let place = part.describe();
        let mut number = |name: &str, a: u64, b: u64| {
            if a != b {
                found.add(&place, format!("{name}: {} and {}", ByteSize(a), ByteSize(b)), None);
            }
        };
        number("start", part.start.0, other.start.0);
        number("size", part.size.0, other.size.0);
        found.values(&place, "type", [&part.kind.name(), &other.kind.name()], None);
        found.values(&place, "name", [&part.name, &other.name], None);
        found.values(&place, "PARTUUID", [&part.uuid, &other.uuid], Some(cause::IDENTIFIER));
        let flags =
            |it: &Partition| format!("{:#x}{}", it.attributes, if it.bootable { ", bootable" } else { "" });
        found.values(&place, "flags", [&flags(part), &flags(other)], None);
    }
    for (table, other, which) in [(one, two, "first"), (two, one, "second")] {
        for finding in table.findings.iter().filter(|finding| !other.findings.contains(finding)) {
            found.add(PLACE, format!("in the {which} image only: {finding}"), None);
        }
    }
}

fn pairs<'a>(a: &'a [Partition], b: &'a [Partition]) -> impl Iterator<Item = (&'a Partition, &'a Partition)> {
    a.iter().filter_map(|part| Some((part, b.iter().find(|other| other.number == part.number)?)))
}

/// Bytes that belong neither to a partition nor to the table of the first image.
fn outside(a: &Image, b: &Image, found: &mut Differences) -> Result<()> {
    let areas = a.table.areas.iter().map(|area| area.start..area.start.saturating_add(area.len));
    let mut taken: Vec<Range<u64>> = areas.chain(a.parts.iter().map(range_of)).collect();
    let end = a.source.len().min(b.source.len());
    taken.push(end..end);
    taken.sort_by_key(|range| range.start);
    let mut at = 0;
    for range in taken {
        let gap = at..range.start.min(end);
        if gap.start < gap.end
            && let Some(bytes) = compare(&a.source, &b.source, gap)?
        {
            found.add("outside the partitions", bytes.to_string(), None);
        }
        at = at.max(range.end);
    }
    // Boot code and what else the first sector holds before its table.
    if !taken_by_part(a, 0)
        && let Some(bytes) = compare(&a.source, &b.source, 0..440.min(end))?
    {
        found.add("boot code in the first sector", bytes.to_string(), None);
    }
    Ok(())
}

fn range_of(part: &Part) -> Range<u64> {
    part.start..part.start.saturating_add(part.len)
}

fn taken_by_part(image: &Image, at: u64) -> bool {
    image.parts.iter().any(|part| range_of(part).contains(&at))
}

/// A partition that both have.
fn partition(
    images: [&Image; 2],
    parts: [&Part; 2],
    ids: &Identifiers,
    found: &mut Differences,
) -> Result<()> {
    let [a, b] = [0, 1].map(|i| images[i].bytes(parts[i]));
    let Some(bytes) = compare(&a, &b, 0..a.len().max(b.len()))? else { return Ok(()) };
    let place = parts[0].describe();
    let before = found.0.len();
    let empty = Vec::new();
    let facts = parts.map(|part| {
        part.content.as_ref().map_or(empty.clone(), |it| {
            vec![it.kind.clone(), it.label.clone(), it.uuid.clone(), it.size.unwrap_or_default().to_string()]
        })
    });
    for (index, name) in ["content", "label", "UUID", "filesystem size"].iter().enumerate() {
        let value = |side: usize| facts[side].get(index).map_or("", String::as_str);
        let cause = (*name == "UUID").then_some(cause::IDENTIFIER);
        found.values(&place, name, [value(0), value(1)], cause);
    }
    let cause = match (images[0].volume(parts[0]), images[1].volume(parts[1])) {
        (Ok(Some(a)), Ok(Some(b))) => {
            files::diff([a.as_ref(), b.as_ref()], parts[0], ids, found)?;
            Some("the files are equal: free space, journal or other metadata".to_string())
        }
        // What cannot be opened is compared by its bytes.
        (Err(error), _) => Some(format!("in the first image: {}", error.one_line())),
        (_, Err(error)) => Some(format!("in the second image: {}", error.one_line())),
        _ => None,
    };
    if found.0.len() == before {
        found.add(&place, bytes.to_string(), cause.as_deref());
    }
    Ok(())
}

/// How two runs of bytes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// How many differ.
    pub differ: u64,
    /// The first that does.
    pub first: u64,
    /// How many were compared.
    pub of: u64,
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes, the first at {}", self.differ, self.of, self.first)
    }
}

/// Compares a range of both; what only one has differs.
fn compare(a: &Source, b: &Source, range: Range<u64>) -> Result<Option<Bytes>> {
    let failed = |cause: io::Error| Error::new("cannot read the image").caused_by(fsx::describe(&cause));
    let mut bytes = Bytes { differ: 0, first: u64::MAX, of: range.end - range.start };
    let mut at = range.start;
    while at < range.end {
        interrupt::check()?;
        let len = PIECE.min(range.end - at);
        let one = a.read_some_at(at, len as usize).map_err(failed)?;
        let two = b.read_some_at(at, len as usize).map_err(failed)?;
        bytes.add(&one, &two, at);
        at += len;
    }
    Ok(bytes.any())
}

impl Bytes {
    /// Counts two pieces that start at `at`.
    fn add(&mut self, one: &[u8], two: &[u8], at: u64) {
        if one == two {
            return;
        }
        let common = one.len().min(two.len());
        let differ = one.iter().zip(two).enumerate().filter(|(_, (a, b))| a != b);
        let mut first = None;
        let count = differ.inspect(|(index, _)| first = first.or(Some(*index))).count();
        let rest = one.len().max(two.len()) - common;
        self.differ += (count + rest) as u64;
        self.first = self.first.min(at + first.unwrap_or(common) as u64);
    }

    /// Counts all from `at` on, which only one has.
    fn add_rest(&mut self, at: u64) {
        if at < self.of {
            self.differ += self.of - at;
            self.first = self.first.min(at);
        }
    }

    fn any(self) -> Option<Self> {
        (self.differ > 0).then_some(self)
    }
}

#[cfg(test)]
mod tests;
