//! Entries with holes. There are four forms, none of them POSIX's (GNU tar manual, "Storing Sparse Files"):
//!
//! | form | where data is |
//! |---|---|
//! | GNU, type `S` | four pairs of offset and size in the header, 21 in each block behind it |
//! | pax 0.0 | records `GNU.sparse.offset` and `GNU.sparse.numbytes` in turn |
//! | pax 0.1 | a record `GNU.sparse.map` of numbers with commas between them |
//! | pax 1.0 | a number on each line before the data: how many pairs, and the pairs |
//!
//! [`Extended`] reads the second form as the third.

use std::path::PathBuf;
use std::sync::Arc;

use super::{BLOCK, Extended, Header, MAX_EXTENSION, Reader};
use crate::error::{Error, Result};
use crate::tree::{Content, Extent};

/// More pieces than this are not credible: 4 GiB with a hole in every 8 KiB have half as many.
const MAX_PIECES: usize = 1 << 20;
/// The largest file that ext4 holds.
const MAX_SIZE: u64 = 1 << 44;

/// Where an entry has data.
#[derive(Debug)]
pub(super) struct Map {
    /// Bytes of the file with its holes.
    size: u64,
    /// Offset in the file, and bytes.
    pieces: Vec<(u64, u64)>,
    /// Bytes of the map itself before the data.
    before: u64,
}

impl Map {
    /// The map of the entry whose header was just read; `None` for an entry without holes. What lies
    /// between header and data is passed over.
    pub fn of(reader: &mut Reader, header: &Header, records: &Extended) -> Result<Option<Map>> {
        let number = |key: &str| records.number(key)?.ok_or_else(|| bad(format!("lacks `{key}`")));
        if header.0[156] == b'S' {
            if &header.0[257..265] != b"ustar  \0" {
                return Err(foreign());
            }
            let mut pieces = Vec::new();
            header.pairs(386, 4, &mut pieces)?;
            let mut more = header.0[482] != 0;
            while more {
                let mut block = Header([0; BLOCK as usize]);
                reader.read(reader.at, &mut block.0)?;
                reader.at += BLOCK;
                block.pairs(0, 21, &mut pieces)?;
                more = block.0[504] != 0;
            }
            return Ok(Some(Map { size: header.number(483, 12, "size")?, pieces, before: 0 }));
        }
        if records.number("GNU.sparse.major")?.is_some() {
            if (number("GNU.sparse.major")?, number("GNU.sparse.minor")?) != (1, 0) {
                return Err(foreign());
            }
            let (pieces, before) = lines(reader)?;
            return Ok(Some(Map { size: number("GNU.sparse.realsize")?, pieces, before }));
        }
        let Some(text) = records.text("GNU.sparse.map")? else {
            // Of zero pieces, pax 0.0 has no map.
            let empty = records.number("GNU.sparse.numblocks")? == Some(0);
            return if empty {
                Ok(Some(Map { size: number("GNU.sparse.size")?, pieces: Vec::new(), before: 0 }))
            } else if records.0.keys().any(|key| key.starts_with("GNU.sparse.")) {
                Err(foreign())
            } else {
                Ok(None)
            };
        };
        let pieces = pairs_of(text.split(','))?;
        if number("GNU.sparse.numblocks")? != pieces.len() as u64 {
            return Err(bad("has another number of pieces than it says"));
        }
        Ok(Some(Map { size: number("GNU.sparse.size")?, pieces, before: 0 }))
    }

    /// The content whose stored bytes, the map among them, are `len` from `start` on.
    pub fn content(self, file: &Arc<PathBuf>, start: u64, len: u64) -> Result<Content> {
        if self.size > MAX_SIZE {
            return Err(bad(format!("is not credible: {} bytes", self.size)));
        }
        let stored = start + len;
        let mut offset = start.saturating_add(self.before);
        let mut at = 0;
        let mut extents = Vec::with_capacity(self.pieces.len());
        for (from, bytes) in self.pieces {
            let end = from.checked_add(bytes).filter(|end| from >= at && *end <= self.size);
            at = end.ok_or_else(|| bad("names pieces that overlap or lie behind the end"))?;
            if bytes > 0 {
                extents.push(Extent { at: from, offset, len: bytes });
            }
            offset = offset.saturating_add(bytes);
        }
        if offset > stored {
            return Err(bad("names more data than there is"));
        }
        Ok(Content::Sparse { file: Arc::clone(file), extents: extents.into(), len: self.size })
    }
}

impl Header {
    /// Pairs of 12 bytes each, up to an empty one.
    fn pairs(&self, at: usize, count: usize, into: &mut Vec<(u64, u64)>) -> Result<()> {
        for at in (0..count).map(|index| at + 24 * index).take_while(|at| self.0[at + 12] != 0) {
            into.push((self.number(at, 12, "map of holes")?, self.number(at + 12, 12, "map of holes")?));
        }
        if into.len() > MAX_PIECES { Err(bad("has too many pieces")) } else { Ok(()) }
    }
}

/// The map before the data: its pieces, and its bytes with the padding to a whole block.
fn lines(reader: &Reader) -> Result<(Vec<(u64, u64)>, u64)> {
    let mut text = Vec::new();
    let mut newlines = 0;
    let mut wanted: Option<usize> = None;
    while wanted.is_none_or(|wanted| newlines < wanted) {
        let mut block = [0; BLOCK as usize];
        reader.read(reader.at + text.len() as u64, &mut block)?;
        text.extend_from_slice(&block);
        newlines += memchr::memchr_iter(b'\n', &block).count();
        if wanted.is_none() {
            let count = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let count = std::str::from_utf8(count).ok().and_then(|count| count.parse::<usize>().ok());
            wanted = match count {
                Some(count) if count <= MAX_PIECES => Some(2 * count + 1),
                Some(_) => return Err(bad("has too many pieces")),
                None => return Err(malformed()),
            };
        }
        if text.len() as u64 > MAX_EXTENSION {
            return Err(malformed());
        }
    }
    let numbers = text.split(|byte| *byte == b'\n').take(wanted.unwrap_or(0)).skip(1);
    let pieces = pairs_of(numbers.map(|line| std::str::from_utf8(line).unwrap_or_default()))?;
    Ok((pieces, text.len() as u64))
}

fn pairs_of<'a>(mut numbers: impl Iterator<Item = &'a str>) -> Result<Vec<(u64, u64)>> {
    let parse = |text: &str| text.parse::<u64>().map_err(|_| malformed());
    let mut pairs = Vec::new();
    while let Some(offset) = numbers.next() {
        pairs.push((parse(offset)?, parse(numbers.next().ok_or_else(malformed)?)?));
    }
    Ok(pairs)
}

fn malformed() -> Error {
    bad("is malformed")
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::new(format!("its map of holes {why}"))
}

fn foreign() -> Error {
    Error::new("it is stored sparse in a form that GNU tar does not know")
        .hint("make the tar without `--sparse`; the image itself stays sparse")
}
