//! How far an image got, told by the drive itself.
//!
//! The first MiB is cleared and held back, so there is room in it until the end: a block at its middle says which image
//! is being written and up to where everything is on the drive. It goes with the drive to any other port or machine,
//! and is gone as soon as anything else is written there. No boot ROM looks at that place.

use super::Cx;
use super::verify::read_full;
use crate::digest::Digest;
use crate::error::Result;
use crate::target::Buffer;

/// Where it is within the head.
const PLACE: u64 = 512 << 10;
/// Bytes that it takes.
const LEN: usize = 4096;
const TITLE: &str = "bimg: an image is being written";

/// The journal of one image.
pub(super) struct Journal {
    image: Digest,
}

impl Journal {
    /// For the image with this identity; the block map and the place are part of what is being done.
    pub(super) fn new(cx: &Cx<'_>, identity: Digest) -> Self {
        let bmap = cx.job.bmap.map(|bmap| bmap.mapped().to_le_bytes());
        let start = cx.region.start.to_le_bytes();
        let map = bmap.as_ref().map_or(&[][..], |mapped| &mapped[..]);
        Journal { image: Digest::of_fields([&identity.0[..], map, &start]) }
    }

    fn text(&self, done: u64) -> String {
        let body = format!("{TITLE}\n{}\n{done}\n", self.image);
        let sum = Digest::of(body.as_bytes());
        format!("{body}{sum}\n")
    }

    /// Where it lies on the drive; `None` when there is no room.
    fn place(cx: &Cx<'_>) -> Option<u64> {
        let place = cx.region.start + PLACE;
        (place + LEN as u64 <= cx.head_end().min(cx.target.size())).then_some(place)
    }

    /// Up to where this image is on the drive: 0 when it does not say so.
    pub(super) fn read(&self, cx: &Cx<'_>) -> Result<u64> {
        let Some(place) = Self::place(cx) else { return Ok(0) };
        let mut block = Buffer::new(LEN);
        // Whoever wrote a table or a boot sector since has used the drive for something else.
        let n = read_full(cx, &mut block, cx.region.start)?;
        if block[..n].iter().any(|byte| *byte != 0) {
            return Ok(0);
        }
        let n = read_full(cx, &mut block, place)?;
        let text = String::from_utf8_lossy(&block[..n]);
        let done = text.lines().nth(2).and_then(|line| line.parse().ok()).unwrap_or(0);
        Ok(if text.starts_with(&self.text(done)) { done } else { 0 })
    }

    /// The block that says so; `None` when there is no room.
    pub(super) fn block(&self, cx: &Cx<'_>, done: u64) -> Option<(u64, Buffer)> {
        let mut block = Buffer::new(LEN);
        let text = self.text(done);
        block[..text.len()].copy_from_slice(text.as_bytes());
        Self::place(cx).map(|place| (place, block))
    }

    /// The block that takes it away.
    pub(super) fn cleared(cx: &Cx<'_>) -> Option<(u64, Buffer)> {
        Self::place(cx).map(|place| (place, Buffer::new(LEN)))
    }
}
