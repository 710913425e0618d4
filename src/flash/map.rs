//! Which bytes of the image matter.

use std::ops::Range;

use crate::disk::Bmap;
use crate::error::{Error, Result};
use crate::units::ByteSize;

/// What has to be written, as far as it is known while the image passes by.
pub(super) enum Map<'a> {
    /// A block map tells, before anything is read.
    Bmap(&'a Bmap),
    /// Everything.
    Whole,
}

impl Map<'_> {
    /// The first byte at or behind `from` that may matter; `None` when nothing more does.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        match self {
            Map::Bmap(bmap) => {
                let index = bmap.find(from);
                (index < bmap.len()).then(|| bmap.range(index).start.max(from))
            }
            Map::Whole => Some(from),
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
            Map::Whole => vec![window],
        }
    }

    /// Bytes of the image, when the map tells.
    pub(super) fn image_size(&self) -> Option<u64> {
        match self {
            Map::Bmap(bmap) => Some(bmap.image_size()),
            Map::Whole => None,
        }
    }

    /// Bytes that will be written, when that is known from the start.
    pub(super) fn mapped(&self) -> Option<u64> {
        match self {
            Map::Bmap(bmap) => Some(bmap.mapped()),
            Map::Whole => None,
        }
    }

    /// Checks an image that ended after `size` bytes.
    pub(super) fn check_end(&self, name: &str, size: u64) -> Result<()> {
        match self.image_size() {
            Some(expected) if expected != size => {
                let error = Error::new(format!("`{name}` is not the image that its block map describes"))
                    .caused_by(format!("it has {size} bytes, the map is for {expected}"));
                Err(if size < expected {
                    error.hint(format!("it may be truncated: {} are missing", ByteSize(expected - size)))
                } else {
                    error
                })
            }
            _ => Ok(()),
        }
    }
}
