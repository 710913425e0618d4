//! Reading block maps of every version, from anybody.
//!
//! | version | range checksums | own checksum |
//! |---|---|---|
//! | 1.0 to 1.2 | none; `sha1` where it is there | none |
//! | 1.3 | `sha1` | `BmapFileSHA1` |
//! | 1.4, 2.0 | `chksum`, of the kind that `ChecksumType` names | `BmapFileChecksum` |
//!
//! Source: bmap-tools, `BmapCopy.py`; 1.4 is 2.0 under a number given by mistake. A map says where to write, so
//! nothing in it is believed: ranges ascend, lie apart and inside the image, and their number is limited.

use std::ops::Range;

use quick_xml::events::{BytesStart, Event};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Result};

/// The largest file that is read: 200,000 ranges with their checksums.
pub const MAX_FILE: usize = 32 << 20;
/// The most ranges that are taken.
const MAX_RANGES: usize = 1 << 20;
/// How deep elements nest: map, block map, range.
const MAX_DEPTH: usize = 8;
/// The longest text of a field: a SHA-512 and blanks around it.
const MAX_TEXT: usize = 1024;

/// A block map that holds together.
#[derive(Debug)]
pub struct Bmap {
    image_size: u64,
    ranges: Vec<Mapped>,
    kind: Option<Kind>,
    /// Checksums of the ranges, one after the other.
    sums: Vec<u8>,
}

/// A mapped range in bytes.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    start: u64,
    end: u64,
    /// Where its checksum begins.
    sum: Option<u32>,
}

/// The same in blocks, as the file has it: both ends included.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    first: u64,
    last: u64,
    sum: Option<u32>,
}

/// Kind of checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sha1,
    Sha256,
    Sha512,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Sha1, Kind::Sha256, Kind::Sha512];

    fn name(self) -> &'static str {
        match self {
            Kind::Sha1 => "sha1",
            Kind::Sha256 => "sha256",
            Kind::Sha512 => "sha512",
        }
    }

    /// Bytes.
    fn len(self) -> usize {
        match self {
            Kind::Sha1 => 20,
            Kind::Sha256 => 32,
            Kind::Sha512 => 64,
        }
    }
}

/// Hashes one range, or the map itself.
pub struct Summer(Hasher);

enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Summer {
    pub(super) fn new(kind: Kind) -> Self {
        Summer(match kind {
            Kind::Sha1 => Hasher::Sha1(Sha1::new()),
            Kind::Sha256 => Hasher::Sha256(Sha256::new()),
            Kind::Sha512 => Hasher::Sha512(Sha512::new()),
        })
    }

    /// Takes more of the range.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum as lower-case hex.
    pub fn finish(self) -> String {
        match self.0 {
            Hasher::Sha1(hasher) => hex(&hasher.finalize()),
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::Sha512(hasher) => hex(&hasher.finalize()),
        }
    }
}

impl Bmap {
    /// Reads a map and checks all of it; `name` is for messages.
    pub fn parse(name: &str, file: &[u8]) -> Result<Self> {
        let about = |error: Error| error.context(format!("cannot use the block map `{name}`"));
        if file.len() > MAX_FILE {
            return Err(about(Error::new("it is larger than 32 MiB")));
        }
        if file.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
            return Err(about(Error::new("it is wrapped into an OpenPGP signature"))
                .hint("`gpg --decrypt` checks the signature and gives the map"));
        }
        Raw::parse(file).and_then(|raw| raw.check(file)).map_err(about)
    }

    /// Bytes of the image.
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// How many ranges it has.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True when no block is mapped.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The bytes of range `index`; the ranges ascend and lie apart.
    pub fn range(&self, index: usize) -> Range<u64> {
        self.ranges[index].start..self.ranges[index].end
    }

    /// The first range that ends behind `offset`.
    pub fn find(&self, offset: u64) -> usize {
        self.ranges.partition_point(|range| range.end <= offset)
    }

    /// All mapped bytes.
    pub fn mapped(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// A hasher for range `index` and what it must give, when the map has a checksum for it.
    pub fn sum(&self, index: usize) -> Option<(Summer, String)> {
        let (kind, at) = (self.kind?, self.ranges[index].sum? as usize);
        Some((Summer::new(kind), hex(&self.sums[at..at + kind.len()])))
    }

    /// The name of its checksums: `sha256`.
    pub fn sum_name(&self) -> &'static str {
        self.kind.map_or("none", Kind::name)
    }
}

/// A map as the file has it.
#[derive(Default)]
struct Raw {
    version: (u32, u32),
    image_size: Option<String>,
    block_size: Option<String>,
    blocks: Option<String>,
    mapped: Option<String>,
    kind: Option<String>,
    own_sha1: Option<String>,
    own_sum: Option<String>,
    ranges: Vec<Blocks>,
    sums: Vec<u8>,
    /// Bytes of each checksum.
    sum_len: Option<usize>,
}

impl Raw {
    fn parse(file: &[u8]) -> Result<Self> {
        let not_xml = |cause: &dyn std::fmt::Display| {
            Error::new("it is not XML").caused_by(cause.to_string().trim_end_matches('.'))
        };
        let text = std::str::from_utf8(file).map_err(|_| not_xml(&"it is not UTF-8"))?;
        let mut reader = quick_xml::Reader::from_str(text);
        let mut raw = Raw::default();
        let mut path: Vec<String> = Vec::new();
        let mut field = String::new();
        let mut sum = None;
        let mut seen = false;
        loop {
            match reader.read_event().map_err(|cause| not_xml(&cause))? {
                Event::Start(tag) => {
                    match path.len() {
                        0 if seen => return Err(not_xml(&"it has two root elements")),
                        0 => raw.root(&tag)?,
                        2 if is_range(&path, tag.name().as_ref()) => sum = raw.sum(&tag)?,
                        MAX_DEPTH => return Err(Error::new("its elements nest too deep")),
                        _ => {}
                    }
                    seen = true;
                    path.push(tag.name().as_ref().to_string());
                    field.clear();
                }
                Event::Empty(tag) if path.is_empty() => raw.root(&tag)?,
                Event::Text(part) if path.len() > 1 && field.len() + part.len() <= MAX_TEXT => {
                    field.push_str(&part);
                }
                Event::End(_) => {
                    let Some(name) = path.pop() else {
                        return Err(not_xml(&"an element ends that never began"));
                    };
                    match path.len() {
                        1 => raw.field(&name, field.trim()),
                        2 if is_range(&path, &name) => raw.range(field.trim(), sum.take())?,
                        _ => {}
                    }
                    field.clear();
                }
                Event::Eof if !seen => return Err(Error::new("it has no `bmap` element")),
                Event::Eof if !path.is_empty() => {
                    return Err(not_xml(&"it ends in the middle of an element"));
                }
                Event::Eof => return Ok(raw),
                _ => {}
            }
        }
    }

    fn root(&mut self, tag: &BytesStart<'_>) -> Result<()> {
        if tag.name().as_ref() != "bmap" {
            return Err(Error::new("it has no `bmap` element"));
        }
        let text = attribute(tag, "version")?.ok_or_else(|| Error::new("it does not tell its version"))?;
        let version = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        self.version = match version {
            Some(version @ (1.., _)) => version,
            _ => return Err(Error::new(format!("`{text}` is no version of a block map"))),
        };
        if self.version.0 > 2 {
            return Err(Error::new(format!("its version is {text}, and 2.0 is the last one that is known")));
        }
        Ok(())
    }

    /// Since 1.4 checksums are of any kind.
    fn any_kind(&self) -> bool {
        self.version >= (1, 4)
    }

    fn field(&mut self, name: &str, text: &str) {
        let field = match name {
            "ImageSize" => &mut self.image_size,
            "BlockSize" => &mut self.block_size,
            "BlocksCount" => &mut self.blocks,
            "MappedBlocksCount" => &mut self.mapped,
            "ChecksumType" => &mut self.kind,
            "BmapFileSHA1" => &mut self.own_sha1,
            "BmapFileChecksum" => &mut self.own_sum,
            _ => return,
        };
        field.get_or_insert_with(|| text.to_string());
    }

    /// Takes the checksum of a range; tells where it begins.
    fn sum(&mut self, tag: &BytesStart<'_>) -> Result<Option<u32>> {
        let name = if self.any_kind() { "chksum" } else { "sha1" };
        let Some(text) = attribute(tag, name)? else { return Ok(None) };
        let at = self.sums.len();
        let bytes = unhex(&text).ok_or_else(|| Error::new(format!("`{text}` is not a checksum")))?;
        if *self.sum_len.get_or_insert(bytes.len()) != bytes.len() {
            return Err(Error::new("its checksums are not equally long"));
        }
        self.sums.extend(bytes);
        Ok(Some(at as u32))
    }

    fn range(&mut self, text: &str, sum: Option<u32>) -> Result<()> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let bad = || Error::new(format!("`{text}` is not a range of blocks"));
        let first: u64 = first.trim().parse().map_err(|_| bad())?;
        let last: u64 = last.trim().parse().map_err(|_| bad())?;
        if first > last {
            return Err(Error::new(format!("the range `{text}` ends before it begins")));
        }
        if self.ranges.last().is_some_and(|before| first <= before.last) {
            return Err(Error::new(format!("the range `{text}` does not lie behind the one before it")));
        }
        if self.ranges.len() == MAX_RANGES {
            return Err(Error::new(format!("it has more than {MAX_RANGES} ranges")));
        }
        self.ranges.push(Blocks { first, last, sum });
        Ok(())
    }

    fn check(self, file: &[u8]) -> Result<Bmap> {
        let image_size = number("ImageSize", self.image_size.as_deref())?;
        let block = number("BlockSize", self.block_size.as_deref())?;
        let blocks = number("BlocksCount", self.blocks.as_deref())?;
        let mapped = number("MappedBlocksCount", self.mapped.as_deref())?;
        if block == 0 || block % 512 != 0 || block > 1 << 30 {
            return Err(Error::new(format!("blocks of {block} bytes are not known on any disk")));
        }
        if blocks != image_size.div_ceil(block) {
            return Err(Error::new(format!(
                "an image of {image_size} bytes does not have {blocks} blocks of {block} bytes"
            )));
        }
        let kind = self.kind()?;
        if self.version >= (1, 3) {
            let kind = kind.unwrap_or(Kind::Sha1);
            let stored = if self.any_kind() { &self.own_sum } else { &self.own_sha1 };
            check_own(file, kind, stored.as_deref(), self.any_kind())?;
        }
        if let (Some(len), Some(kind)) = (self.sum_len, kind)
            && len != kind.len()
        {
            return Err(Error::new(format!("its checksums are not of the kind `{}`", kind.name())));
        }
        let mut counted = 0;
        for range in &self.ranges {
            if range.last >= blocks {
                let (first, last) = (range.first, range.last);
                return Err(Error::new(format!(
                    "the range `{first}-{last}` ends beyond the image, which has {blocks} blocks"
                )));
            }
            counted += range.last - range.first + 1;
        }
        if counted != mapped {
            return Err(Error::new(format!(
                "its ranges hold {counted} blocks, but `MappedBlocksCount` is {mapped}"
            )));
        }
        // No product overflows: every block lies below the image's size.
        let bytes = |range: Blocks| Mapped {
            start: range.first * block,
            end: (range.last * block).saturating_add(block).min(image_size),
            sum: range.sum,
        };
        let ranges = self.ranges.into_iter().map(bytes).collect();
        Ok(Bmap { image_size, ranges, kind, sums: self.sums })
    }

    fn kind(&self) -> Result<Option<Kind>> {
        if !self.any_kind() {
            return Ok(self.sum_len.map(|_| Kind::Sha1));
        }
        let name = self.kind.as_deref().ok_or_else(|| Error::new("`ChecksumType` is missing"))?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let known = || {
            Error::new(format!("its checksums are of the kind `{name}`"))
                .caused_by("`sha1`, `sha256` and `sha512` are known")
        };
        kind.map(Some).ok_or_else(known)
    }
}

/// The map's own checksum, computed with zeros in its place.
fn check_own(file: &[u8], kind: Kind, stored: Option<&str>, any_kind: bool) -> Result<()> {
    let field = if any_kind { "BmapFileChecksum" } else { "BmapFileSHA1" };
    let stored = stored.ok_or_else(|| Error::new(format!("`{field}` is missing")))?;
    let len = 2 * kind.len();
    let place = (stored.len() == len).then(|| find(file, stored.as_bytes())).flatten();
    let Some(at) = place else {
        return Err(Error::new(format!("`{field}` is `{stored}`, which is not a {}", kind.name())));
    };
    let mut summer = Summer::new(kind);
    summer.update(&file[..at]);
    summer.update(&[b'0'; 128][..len]);
    summer.update(&file[at + len..]);
    let found = summer.finish();
    if found == stored {
        return Ok(());
    }
    Err(Error::new("it was changed or damaged after it was made")
        .caused_by(format!("its {} is {found}", kind.name()))
        .caused_by(format!("it says it is {stored}")))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn is_range(path: &[String], name: &str) -> bool {
    path[1] == "BlockMap" && name == "Range"
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>> {
    for attribute in tag.attributes() {
        let attribute =
            attribute.map_err(|_| Error::new("it is not XML").caused_by("an attribute is malformed"))?;
        if attribute.key.as_ref() == name {
            return Ok(Some(attribute.value.chars().take(MAX_TEXT).collect()));
        }
    }
    Ok(None)
}

fn number(field: &str, text: Option<&str>) -> Result<u64> {
    let text = text.ok_or_else(|| Error::new(format!("`{field}` is missing")))?;
    text.parse().map_err(|_| Error::new(format!("`{field}` is `{text}`, which is not a number")))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
