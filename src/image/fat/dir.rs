//! Files and directories of a FAT, read through chains of clusters that may be broken in any way.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::ops::Range;
use std::rc::Rc;

use super::super::read::{ReadAt, Source, bytes, le16, le32, text};
use super::super::trail::{self, Trail};
use super::super::volume::{self, Contents, Entry, Kind, Plain, Volume};
use super::{Fat, Width};
use crate::error::{Error, Result};

/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// Bytes of a directory: drivers count its entries in 16 bits.
const MAX_DIRECTORY: u64 = 65_536 * ENTRY as u64;
/// The first byte of an entry that is erased, and what stands for it in a name that begins with it.
const ERASED: u8 = 0xE5;
const KANJI: u8 = 0x05;
const ATTR_READ_ONLY: u8 = 0x01;
const ATTR_LABEL: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_LONG_NAME: u8 = 0x0F;
/// Bytes of the table read at once while following a chain.
const WINDOW: u64 = 6144;

/// A FAT filesystem for reading.
pub struct FatVolume<S = Source> {
    fat: Fat,
    source: S,
    /// Directories read last, the latest first.
    recent: RefCell<VecDeque<(Option<u32>, Rc<Names>)>>,
    trail: RefCell<Trail>,
}

/// How many directories are kept: more than most paths have components.
const RECENT: usize = 16;

/// What is in a directory.
struct Names {
    found: Vec<Found>,
    /// By name in lower case; the first of those that are equal.
    by_lower: HashMap<String, usize>,
}

/// A file or directory as its directory has it.
#[derive(Debug, Clone)]
struct Found {
    entry: Entry,
    /// Its first cluster; `None` for the root.
    cluster: Option<u32>,
}

impl<S: ReadAt> FatVolume<S> {
    /// Of a partition that holds a FAT; `None` for any other.
    pub fn open(source: S) -> io::Result<Option<Self>> {
        Ok(Fat::read(&source)?.map(|fat| FatVolume {
            fat,
            source,
            recent: RefCell::default(),
            trail: RefCell::default(),
        }))
    }

    /// Its geometry.
    pub fn fat(&self) -> &Fat {
        &self.fat
    }

    /// The label in the root directory, which tools show, or else the boot sector's.
    pub fn label(&self) -> io::Result<String> {
        let root = self.directory(None)?;
        let label = slots(&root).find(|slot| {
            slot[11] & (ATTR_LABEL | ATTR_DIRECTORY) == ATTR_LABEL
                && slot[11] & ATTR_LONG_NAME != ATTR_LONG_NAME
        });
        Ok(label.map_or_else(|| self.fat.label.clone(), |slot| text(&slot[..11])))
    }

    /// The cluster that a file or directory starts with.
    pub fn first_cluster(&self, path: &str) -> Result<Option<u32>> {
        Ok(self.find(path)?.and_then(|found| found.cluster))
    }

    /// The clusters of a chain in runs. Ends with an error where the chain does not end well.
    pub fn chain(&self, first: u32) -> io::Result<Vec<Range<u32>>> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let end = self.fat.width.mask() & !7;
        let mut table = TableWindow { fat: &self.fat, source: &self.source, start: 0, bytes: Vec::new() };
        let mut runs: Vec<Range<u32>> = Vec::new();
        let (mut at, mut count) = (first, 0);
        loop {
            if self.fat.cluster(at).is_none() {
                return Err(bad(format!("its chain of clusters leads to {at}, which is no cluster")));
            }
            count += 1;
            if count > self.fat.clusters {
                return Err(bad("its chain of clusters loops".into()));
            }
            match runs.last_mut() {
                Some(run) if run.end == at => run.end += 1,
                _ => runs.push(at..at + 1),
            }
            at = table.entry(at)?;
            if at >= end {
                return Ok(runs);
            }
        }
    }

    /// A directory's bytes; the root's for `None`.
    fn directory(&self, cluster: Option<u32>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match cluster.or_else(|| (self.fat.width == Width::Fat32).then_some(self.fat.root_cluster)) {
            None => {
                bytes = vec![0; self.fat.root_len.min(MAX_DIRECTORY) as usize];
                self.source.read_exact_at(self.fat.root_start, &mut bytes)?;
            }
            Some(first) => {
                self.content(first, MAX_DIRECTORY)?.take(MAX_DIRECTORY).read_to_end(&mut bytes)?;
            }
        }
        Ok(bytes)
    }

    /// Reads up to `len` bytes of a chain.
    fn content(&self, first: u32, len: u64) -> io::Result<Content<'_, S>> {
        let runs = if len == 0 { Vec::new() } else { self.chain(first)? };
        let ranges = runs.iter().map(|run| self.fat.run(run)).rev().collect();
        Ok(Content { source: &self.source, ranges })
    }

    /// The names in a directory; the root's for `None`.
    fn names(&self, cluster: Option<u32>) -> io::Result<Rc<Names>> {
        let mut recent = self.recent.borrow_mut();
        if let Some(at) = recent.iter().position(|(known, _)| *known == cluster) {
            let hit = recent.remove(at);
            recent.extend(hit);
            recent.rotate_right(1);
            return Ok(recent[0].1.clone());
        }
        let names = Rc::new(self.read_names(cluster)?);
        recent.truncate(RECENT - 1);
        recent.push_front((cluster, names.clone()));
        Ok(names)
    }

    fn read_names(&self, cluster: Option<u32>) -> io::Result<Names> {
        let bytes = self.directory(cluster)?;
        let mut long = LongName::default();
        let mut names = Names { found: Vec::new(), by_lower: HashMap::new() };
        for slot in slots(&bytes) {
            if slot[11] & 0x3F == ATTR_LONG_NAME {
                long.add(slot);
            } else if slot[11] & ATTR_LABEL != 0 {
                long = LongName::default();
            } else {
                let name = std::mem::take(&mut long).finish(slot).unwrap_or_else(|| short_name(slot));
                if name != "." && name != ".." {
                    names.by_lower.entry(name.to_lowercase()).or_insert(names.found.len());
                    names.found.push(self.found(name, slot));
                }
            }
        }
        Ok(names)
    }

    fn found(&self, name: String, slot: &[u8]) -> Found {
        let is_dir = slot[11] & ATTR_DIRECTORY != 0;
        let high = if self.fat.width == Width::Fat32 { u32::from(le16(slot, 20)) << 16 } else { 0 };
        // FAT has no modes; those that Linux shows by default.
        let mode = if slot[11] & ATTR_READ_ONLY != 0 { 0o555 } else { 0o755 };
        Found {
            entry: Entry {
                name,
                kind: if is_dir { Kind::Directory } else { Kind::File },
                size: if is_dir { 0 } else { u64::from(le32(slot, 28)) },
                mode,
                owner: None,
                mtime: Some(dos_time(le16(slot, 24), le16(slot, 22))),
            },
            cluster: Some(u32::from(le16(slot, 26)) | high),
        }
    }

    /// Looks a path up, case ignored.
    fn find(&self, path: &str) -> Result<Option<Found>> {
        let root = Entry {
            name: String::new(),
            kind: Kind::Directory,
            size: 0,
            mode: 0o755,
            owner: None,
            mtime: None,
        };
        let mut trail = self.trail.borrow_mut();
        let start = trail.back(path);
        let mut known = start;
        let mut at = Found { entry: root, cluster: trail.last().map(|cluster| cluster as u32) };
        for (part, end) in trail::names(path, start) {
            if at.entry.kind != Kind::Directory {
                return Ok(None);
            }
            if let (true, Some(cluster)) = (known > start, at.cluster) {
                trail.check(cluster.into()).map_err(|cause| failed(path, &cause))?;
                trail.on(path, known, cluster.into());
            }
            let names = self.names(at.cluster).map_err(|cause| failed(path, &cause))?;
            match names.by_lower.get(&part.to_lowercase()) {
                Some(index) => at = names.found[*index].clone(),
                None => return Ok(None),
            }
            known = end;
        }
        Ok(Some(at))
    }
}

impl<S: ReadAt> Volume for FatVolume<S> {
    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let found = self.find(path)?.ok_or_else(|| volume::not_there(path))?;
        if found.entry.kind != Kind::Directory {
            return Err(volume::cannot_read(path).caused_by("it is not a directory"));
        }
        let names = self.names(found.cluster).map_err(|cause| failed(path, &cause))?;
        let mut entries: Vec<Entry> = names.found.iter().map(|found| found.entry.clone()).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>> {
        Ok(self.find(path)?.map(|found| found.entry))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Contents + '_>> {
        let found = self.find(path)?.ok_or_else(|| volume::not_there(path))?;
        let (Kind::File, Some(cluster)) = (found.entry.kind, found.cluster) else {
            return Err(volume::cannot_read(path).caused_by("it is not a file"));
        };
        let size = found.entry.size;
        let content = self.content(cluster, size).map_err(|cause| failed(path, &cause))?;
        let held: u64 = content.ranges.iter().map(|range| range.end - range.start).sum();
        if held < size {
            return Err(volume::cannot_read(path)
                .caused_by(format!("it has {size} bytes, but its clusters hold {held}")));
        }
        Ok(Box::new(Plain(content.take(size))))
    }

    fn most_names(&self) -> u64 {
        self.fat.size / ENTRY as u64
    }

    fn target(&self, path: &str) -> Result<String> {
        Err(volume::cannot_read(path).caused_by("FAT has no symbolic links"))
    }
}

fn failed(path: &str, cause: &io::Error) -> Error {
    volume::cannot_read(path).caused_by(crate::fsx::describe(cause))
}

/// The entries of a directory up to its end, deleted ones left out.
fn slots(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact(ENTRY).take_while(|slot| slot[0] != 0).filter(|slot| slot[0] != ERASED)
}

/// A piece of the allocation table, so that a chain does not cost a read for each cluster.
struct TableWindow<'a, S> {
    fat: &'a Fat,
    source: &'a S,
    start: u64,
    bytes: Vec<u8>,
}

impl<S: ReadAt> TableWindow<'_, S> {
    fn entry(&mut self, number: u32) -> io::Result<u32> {
        // 6144 bytes hold a whole number of entries of any width, and of pairs of 12 bits.
        let at = u64::from(number) * self.fat.width.bits() / 8;
        let start = at - at % WINDOW;
        if self.bytes.is_empty() || self.start != start {
            self.bytes = self.source.read_some_at(self.fat.fat_start + start, WINDOW as usize)?;
            self.start = start;
        }
        Ok(self.fat.width.entry(&self.bytes, u64::from(number) - start * 8 / self.fat.width.bits()))
    }
}

/// The bytes of a chain of clusters; the next range is the last.
struct Content<'a, S> {
    source: &'a S,
    ranges: Vec<Range<u64>>,
}

impl<S: ReadAt> Read for Content<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(range) = self.ranges.last_mut() else { return Ok(0) };
        let n = (range.end - range.start).min(buffer.len() as u64) as usize;
        self.source.read_exact_at(range.start, &mut buffer[..n])?;
        range.start += n as u64;
        if range.start == range.end {
            self.ranges.pop();
        }
        Ok(n)
    }
}

/// A long name, which comes in pieces, the last one first.
#[derive(Debug, Default)]
struct LongName {
    units: Vec<u16>,
    next: u8,
    sum: u8,
}

impl LongName {
    fn add(&mut self, slot: &[u8]) {
        let order = slot[0];
        if order & 0x40 != 0 {
            *self = LongName { units: Vec::new(), next: order & 0x3F, sum: slot[13] };
        }
        if self.next == 0 || order & 0x3F != self.next || slot[13] != self.sum || self.next > 20 {
            *self = LongName::default();
            return;
        }
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        let mut piece: Vec<u16> = places.map(|at| le16(slot, at)).collect();
        piece.extend(&self.units);
        self.units = piece;
        self.next -= 1;
        if self.next == 0 {
            // All pieces are there; the entry itself comes next.
            self.next = u8::MAX;
        }
    }

    /// The whole name, if it belongs to this entry.
    fn finish(self, slot: &[u8]) -> Option<String> {
        if self.next != u8::MAX || self.sum != checksum(&slot[..11]) {
            return None;
        }
        let units: Vec<u16> = self.units.into_iter().take_while(|unit| *unit != 0).collect();
        Some(String::from_utf16_lossy(&units)).filter(|name| !name.is_empty())
    }
}

/// What ties a long name to its entry.
fn checksum(name: &[u8]) -> u8 {
    name.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// What bytes from 0x80 on stand for in short names. Which code page it is no filesystem says; this is Linux's default
/// and that of the firmware of PCs.
const CP437: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô', 'ö',
    'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐',
    '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛',
    '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙',
    '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ',
    'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²',
    '■', '\u{A0}',
];

/// `README~1.TXT`; the lower-case flags are Windows NT's, which Linux honours as well.
fn short_name(slot: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| -> String {
        let char_of = |byte: &u8| match byte {
            0..0x80 if lower => char::from(byte.to_ascii_lowercase()),
            0..0x80 => char::from(*byte),
            0x80.. => CP437[usize::from(*byte - 0x80)],
        };
        let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
        bytes[..end].iter().map(char_of).collect()
    };
    let mut base: [u8; 8] = bytes(slot, 0);
    if base[0] == KANJI {
        base[0] = ERASED;
    }
    let base = part(&base, slot[12] & 0x08 != 0);
    let extension = part(&slot[8..11], slot[12] & 0x10 != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// Seconds since 1970 of a FAT date and time, taken as UTC.
fn dos_time(date: u16, time: u16) -> i64 {
    let (year, month, day) = (1980 + i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    // Days of the civil calendar, the year starting in March (Howard Hinnant, "chrono-compatible date algorithms").
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = i64::from(time >> 11) * 3600 + i64::from(time >> 5 & 63) * 60 + i64::from(time & 31) * 2;
    days * 86_400 + seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(dos_time(0x21, 0), 315_532_800);
        // 2024-02-29 12:34:56.
        assert_eq!(dos_time(0x585D, 0x645C), 1_709_210_096);
        dos_time(0xFFFF, 0xFFFF);
        dos_time(0, 0);
    }

    #[test]
    fn short_names_keep_their_case_flags() {
        let mut slot = [b' '; 32];
        slot[..11].copy_from_slice(b"CONFIG  TXT");
        slot[12] = 0x08;
        assert_eq!(short_name(&slot), "config.TXT");
    }

    #[test]
    fn short_names_of_other_letters_are_told_apart() {
        let mut slot = [b' '; 32];
        slot[12] = 0;
        slot[..11].copy_from_slice(b"\x05\x90\xFF     \x8E\x99\x80");
        assert_eq!(short_name(&slot), "σÉ\u{A0}.ÄÖÇ");
        let different: std::collections::BTreeSet<char> = CP437.into_iter().collect();
        assert_eq!(different.len(), 128);
    }
}
