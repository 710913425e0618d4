//! Which bytes of the image matter.

use std::ops::Range;

use super::known::Known;
use crate::disk::Bmap;
use crate::error::{Error, Result};
use crate::units::ByteSize;

/// What has to be written, as far as it is known while the image passes by.
pub(super) enum Map<'a> {
    /// A block map tells, before anything is read.
    Bmap(&'a Bmap),
    /// Everything but what the image's own filesystems call free.
    Known(Box<Known>),
}

impl<'a> Map<'a> {
    /// By a block map, or else by what passes.
    pub(super) fn new(bmap: Option<&'a Bmap>) -> Self {
        bmap.map_or_else(|| Map::Known(Box::default()), Map::Bmap)
    }

    /// The first byte at or behind `from` that may matter; `None` when nothing more does.
    pub(super) fn next(&mut self, from: u64) -> Option<u64> {
        match self {
            Map::Bmap(bmap) => {
                let index = bmap.find(from);
                (index < bmap.len()).then(|| bmap.range(index).start.max(from))
            }
            Map::Known(known) => Some(known.next(from)),
        }
    }

    /// What matters of `window`, ascending, by what has passed so far.
    pub(super) fn runs(&self, window: Range<u64>) -> Vec<Range<u64>> {
        match self {
            Map::Bmap(bmap) => (bmap.find(window.start)..bmap.len())
                .map(|index| bmap.range(index))
                .take_while(|range| range.start < window.end)
                .map(|range| range.start.max(window.start)..range.end.min(window.end))
                .collect(),
            Map::Known(known) => known.runs(window),
        }
    }

    /// Learns from bytes that pass.
    pub(super) fn feed(&mut self, offset: u64, bytes: &[u8]) {
        if let Map::Known(known) = self {
            known.feed(offset, bytes);
        }
    }

    /// Bytes of the image, when the map tells.
    pub(super) fn image_size(&self) -> Option<u64> {
        match self {
            Map::Bmap(bmap) => Some(bmap.image_size()),
            Map::Known(_) => None,
        }
    }

    /// Bytes that a drive must have, by what has passed so far.
    pub(super) fn least_size(&self) -> u64 {
        match self {
            Map::Bmap(bmap) => bmap.image_size(),
            Map::Known(known) => known.least_size(),
        }
    }

    /// Bytes that will be written, when that is known from the start.
    pub(super) fn mapped(&self) -> Option<u64> {
        match self {
            Map::Bmap(bmap) => Some(bmap.mapped()),
            Map::Known(_) => None,
        }
    }

    /// Checks an image that ended after `size` bytes.
    pub(super) fn check_end(&self, name: &str, size: u64) -> Result<()> {
        let expected = match self {
            Map::Known(known) => return known.check_end(name, size),
            Map::Bmap(bmap) => bmap.image_size(),
        };
        if expected == size {
            return Ok(());
        }
        let error = Error::new(format!("`{name}` is not the image that its block map describes"))
            .caused_by(format!("it has {size} bytes, the map is for {expected}"));
        Err(if size < expected {
            error.hint(format!("it may be truncated: {} are missing", ByteSize(expected - size)))
        } else {
            error.hint("the two are from different builds: fetch both again")
        })
    }
}
