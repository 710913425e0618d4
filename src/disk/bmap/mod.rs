//! The block map, version 2.0: which blocks of the image matter, and their digests.
//!
//! Source: bmap-tools, `BmapCreate.py` and `BmapCopy.py`. The file holds its own SHA-256, computed
//! with zeros in its place.

mod read;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::digest::Digest;
use crate::disk::image::Range;
use crate::disk::layout::BLOCK;

pub use read::{Bmap, MAX_FILE as MAX_BMAP, Summer};

/// Renders the map of an image of `size` bytes.
pub fn render(size: u64, ranges: &[Range]) -> String {
    let placeholder = "0".repeat(64);
    let mapped: u64 = ranges.iter().map(|range| range.len.div_ceil(BLOCK)).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" ?>\n\
         <!-- Blocks of the image that hold something. Everything else is free space. -->\n\
         <bmap version=\"2.0\">\n    \
             <ImageSize> {size} </ImageSize>\n    \
             <BlockSize> {BLOCK} </BlockSize>\n    \
             <BlocksCount> {} </BlocksCount>\n    \
             <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    \
             <BmapFileChecksum> {placeholder} </BmapFileChecksum>\n    \
             <BlockMap>\n",
        size.div_ceil(BLOCK)
    );
    for range in ranges {
        let first = range.start / BLOCK;
        let last = first + range.len.div_ceil(BLOCK) - 1;
        let span = if first == last { first.to_string() } else { format!("{first}-{last}") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "        <Range chksum=\"{}\"> {span} </Range>", range.sha256);
    }
    text.push_str("    </BlockMap>\n</bmap>\n");
    let digest = Digest::of(text.as_bytes()).to_string();
    text.replacen(&placeholder, &digest, 1)
}
