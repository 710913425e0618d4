//! What is free on an image, found while the image passes by.
//!
//! Partition table, allocation tables and block bitmaps stand before the blocks they speak of. They are picked
//! out of the stream as [`Want`]s; what they call free is skipped. Everything else is written: what lies
//! outside known filesystems, what was not understood, what does not hold together, what came too late. Holes of
//! the host's file mean nothing.

mod ext;
mod fat;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::image::ext::{Ext, SUPERBLOCK};
use crate::image::fat::Fat;
use crate::image::table::{self, Table};
use crate::units::ByteSize;

use ext::Groups;
use fat::Clusters;

/// Free space below this is written along: a pause costs as much on most cards. It also bounds memory.
const GRAIN: u64 = 64 << 10;
/// Free space starts and ends at multiples of this: direct I/O takes the rest.
const ALIGN: u64 = 4096;
/// Free ranges remembered ahead of the stream.
const MAX_FREE: usize = 1 << 18;
/// Bytes of a volume that tell what it is.
const PROBE: u64 = 2048;

/// Knowledge of an image so far.
#[derive(Default)]
pub(in crate::flash) struct Known {
    free: Free,
    wants: Wants,
    volumes: Vec<Volume>,
    /// What the partition table needs of a drive.
    least: u64,
}

/// A place that may hold a filesystem.
struct Volume {
    range: Range<u64>,
    what: String,
    /// Where its filesystem ends, once that is known, and its name.
    found: Option<(u64, &'static str)>,
    kind: Kind,
}

enum Kind {
    Unknown,
    Fat(Clusters),
    Ext(Groups),
}

/// Ranges that are free: start to end, apart from each other.
#[derive(Default)]
struct Free(BTreeMap<u64, u64>);

impl Free {
    /// Takes note of free space inside `volume`; more than fits into memory is not remembered.
    fn add(&mut self, volume: &Range<u64>, range: Range<u64>) {
        let start = range.start.max(volume.start).next_multiple_of(ALIGN);
        let end = range.end.min(volume.end) / ALIGN * ALIGN;
        if start.saturating_add(GRAIN) <= end && self.0.len() < MAX_FREE {
            self.0.insert(start, end);
        }
    }

    /// The free range around `offset`.
    fn around(&self, offset: u64) -> Option<Range<u64>> {
        let (start, end) = self.0.range(..=offset).next_back()?;
        (offset < *end).then_some(*start..*end)
    }

    /// Forgets what has passed.
    fn forget(&mut self, before: u64) {
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.get() <= before) {
            entry.remove();
        }
    }
}

/// A piece of metadata that is waited for.
struct Want {
    len: usize,
    /// What of it has passed.
    bytes: Vec<u8>,
    volume: usize,
    piece: Piece,
}

enum Piece {
    /// The first bytes of a volume.
    Probe,
    /// A part of an allocation table: number of the copy, offset within it.
    Fat(u64, u64),
    /// A block of group descriptors.
    Descriptors(u64),
    /// A block bitmap: its group, and how many blocks are free in it.
    Bitmap(u64, u64),
}

/// Wants by the byte that they start at.
#[derive(Default)]
struct Wants {
    by_place: BTreeMap<(u64, u64), Want>,
    count: u64,
}

impl Wants {
    fn add(&mut self, at: u64, len: u64, volume: usize, piece: Piece) {
        self.count += 1;
        let want = Want { len: len as usize, bytes: Vec::new(), volume, piece };
        self.by_place.insert((at, self.count), want);
    }
}

impl Known {
    /// The first byte at or behind `from` that is not known to be free.
    pub(in crate::flash) fn next(&mut self, from: u64) -> u64 {
        self.free.forget(from);
        let mut at = from;
        while let Some(free) = self.free.around(at) {
            at = free.end;
        }
        at
    }

    /// What of `window` is not known to be free, ascending.
    pub(in crate::flash) fn runs(&self, window: Range<u64>) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut at = window.start;
        while at < window.end {
            if let Some(free) = self.free.around(at) {
                at = free.end;
                continue;
            }
            let end = self.free.0.range(at..window.end).next().map_or(window.end, |(start, _)| *start);
            runs.push(at..end);
            at = end;
        }
        runs
    }

    /// Bytes that a drive needs for what the partition table names.
    pub(in crate::flash) fn least_size(&self) -> u64 {
        self.least
    }

    /// Takes what passes by. Free ranges never hold anything that is waited for, so what does not pass here in
    /// order was never learnt, and stays unknown.
    pub(in crate::flash) fn feed(&mut self, offset: u64, bytes: &[u8]) {
        if offset == 0 {
            self.table(bytes);
        }
        let end = offset + bytes.len() as u64;
        let mut from = (0, 0);
        while let Some((&key, want)) = self.wants.by_place.range_mut(from..(end, 0)).next() {
            from = (key.0, key.1 + 1);
            let at = key.0 + want.bytes.len() as u64;
            let missing = (want.len - want.bytes.len()) as u64;
            let part = at.max(offset)..(at + missing).min(end);
            if at < offset {
                // It began before this and did not pass: too late.
                self.wants.by_place.remove(&key);
                continue;
            }
            want.bytes
                .extend_from_slice(&bytes[(part.start - offset) as usize..(part.end - offset) as usize]);
            if want.bytes.len() == want.len
                && let Some(want) = self.wants.by_place.remove(&key)
            {
                self.take(&want);
            }
        }
    }

    /// Reads the partition table out of the first bytes of the image.
    fn table(&mut self, front: &[u8]) {
        // Reading memory does not fail.
        let Ok(table) = table::read(front) else { return };
        if table.kind == table::Kind::None {
            self.volume(0..u64::MAX, "it".to_string());
            return;
        }
        for partition in table.contents() {
            let range = partition.range();
            self.least = self.least.max(range.end);
            if stands_alone(&table, &range) {
                self.volume(range, partition.describe());
            }
        }
    }

    fn volume(&mut self, range: Range<u64>, what: String) {
        self.wants.add(range.start, PROBE, self.volumes.len(), Piece::Probe);
        self.volumes.push(Volume { range, what, found: None, kind: Kind::Unknown });
    }

    /// Learns from a piece that is whole.
    fn take(&mut self, want: &Want) {
        let index = want.volume;
        let volume = &mut self.volumes[index];
        let (free, wants) = (&mut self.free, &mut self.wants);
        match (&want.piece, &mut volume.kind) {
            (Piece::Probe, _) => volume.probe(&want.bytes, index, wants),
            (Piece::Fat(copy, at), Kind::Fat(clusters)) => {
                clusters.take(*copy, *at, &want.bytes, &volume.range, index, wants, free);
            }
            (Piece::Descriptors(block), Kind::Ext(groups)) => {
                groups.descriptors(*block, &want.bytes, &volume.range, index, wants, free);
            }
            (Piece::Bitmap(group, count), Kind::Ext(groups)) => {
                groups.bitmap(*group, *count, &want.bytes, &volume.range, free);
            }
            _ => {}
        }
    }

    /// Checks an image that ended after `size` bytes: nothing that is in use may be missing.
    pub(in crate::flash) fn check_end(&self, name: &str, size: u64) -> Result<()> {
        for volume in &self.volumes {
            let Some((end, filesystem)) = volume.found else { continue };
            let mut at = size;
            while let Some(free) = self.free.around(at) {
                at = free.end;
            }
            if at.saturating_add(GRAIN) < end {
                return Err(Error::new(format!("`{name}` is truncated"))
                    .caused_by(format!(
                        "it has {size} bytes, but the {filesystem} in {} ends at {end}",
                        volume.what
                    ))
                    .hint(format!("{} are missing: fetch it again", ByteSize(end - size))));
            }
        }
        Ok(())
    }
}

impl Volume {
    /// Tells what the volume holds. Two answers are none.
    fn probe(&mut self, bytes: &[u8], index: usize, wants: &mut Wants) {
        let at = SUPERBLOCK as usize;
        let len = self.range.end - self.range.start;
        match (Fat::parse(&bytes[..512]), Ext::parse(&bytes[at..])) {
            (Some(fat), None) => {
                let end = fat.data_start + u64::from(fat.clusters) * fat.cluster;
                if end <= len
                    && let Some(clusters) = Clusters::start(fat, &self.range, index, wants)
                {
                    self.found = Some((self.range.start + end, "FAT"));
                    self.kind = Kind::Fat(clusters);
                }
            }
            (None, Some(ext)) => {
                let (size, name) = (ext.size(), ext.name());
                if size <= len
                    && let Some(groups) = Groups::start(ext, &self.range, index, wants)
                {
                    self.found = Some((self.range.start + size, name));
                    self.kind = Kind::Ext(groups);
                }
            }
            _ => {}
        }
    }
}

/// True when nothing else that the table names lies in `range`: only then free means free. What a chain of logical
/// partitions names later on may be anywhere in the extended one.
fn stands_alone(table: &Table, range: &Range<u64>) -> bool {
    let meets = |other: &Range<u64>| other.start < range.end && range.start < other.end;
    let named = table.partitions.iter().filter(|other| table.partial || !other.is_extended());
    let twins = named.filter(|other| meets(&other.range())).count();
    let others = table.hybrid.iter().map(table::Partition::range);
    let areas = table.areas.iter().map(|area| area.start..area.start.saturating_add(area.len));
    range.start < range.end
        && twins == 1
        && others.filter(|other| other != range).chain(areas).all(|other| !meets(&other))
}
