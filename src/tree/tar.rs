//! A tar file as a layer, without unpacking it: entries become inodes whose content is a range of the
//! archive.
//!
//! Read are POSIX ustar and pax (xattrs as `SCHILY.xattr.*`, sub-second times, long names, large
//! numbers) and GNU tar (`L`/`K` long names, base-256 numbers), files with holes in every form that GNU tar
//! writes. The parser is our own because pax values are binary: a capability may well hold a newline. Compressed
//! archives go through [`uncompressed`] first.
//!
//! Format: POSIX.1-2017 `pax`, "pax Interchange Format"; GNU tar manual, "Basic Tar Format".

mod sparse;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::num::IntErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::input::Format;
use crate::tree::{Content, Inode, Kind, Meta, Timestamp, Tree, TreePath};
use crate::{fsx, input, interrupt};

use sparse::Map;

const BLOCK: u64 = 512;
/// Extended headers and long names larger than this are not credible.
const MAX_EXTENSION: u64 = 16 << 20;

const TRUNCATED: &str = "the file is truncated: fetch or make it again";

/// Lays the entries of an uncompressed tar over `tree`.
pub fn lay(tree: &mut Tree, path: &Path) -> Result<()> {
    let file = fsx::open(path)?;
    let size = file.metadata().map_err(|cause| fsx::io_error("read", path, &cause))?.len();
    let mut reader =
        Reader { file, size, path: Arc::new(path.to_owned()), at: 0, global: Extended::default() };
    let mut lay_all = || -> Result<()> {
        let mut count = 0_u32;
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            if count.is_multiple_of(1024) {
                interrupt::check()?;
            }
            entry.lay(tree)?;
        }
        Ok(())
    };
    lay_all().context(|| format!("cannot use the layer `{}`", path.display()))
}

/// Fails unless a file begins as a tar does, packed in a way that is read.
pub fn check(path: &Path) -> Result<()> {
    fsx::regular(path)?;
    let mut block = Vec::new();
    let (format, plain) = decompressed(path)?;
    plain.take(BLOCK).read_to_end(&mut block).map_err(|cause| undecoded(path, format, cause))?;
    let is_tar = <[u8; BLOCK as usize]>::try_from(block)
        .is_ok_and(|block| block.iter().all(|byte| *byte == 0) || Header(block).checksum_matches());
    if is_tar {
        return Ok(());
    }
    Err(Error::new(format!("`{}` is not a tar file", path.display()))
        .hint("bimg reads tar files as they are, or compressed with gzip, xz, zstd or bzip2"))
}

/// The archive at `path` without compression: itself, or `copy`, made unless it is there.
pub fn uncompressed(path: &Path, copy: &Path) -> Result<PathBuf> {
    let mut magic = [0; 6];
    let file = fsx::open(path)?;
    let n = file.read_at(&mut magic, 0).map_err(|cause| fsx::io_error("read", path, &cause))?;
    if Format::detect(&magic[..n]) == Format::Raw {
        return Ok(path.to_owned());
    }
    if copy.is_file() {
        return Ok(copy.to_owned());
    }
    let (format, mut plain) = decompressed(path)?;
    let mut output = fsx::AtomicFile::create(copy)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupt::check()?;
        let n = plain.read(&mut buffer).map_err(|cause| undecoded(path, format, cause))?;
        if n == 0 {
            break;
        }
        output.file().write_all(&buffer[..n]).map_err(|cause| fsx::io_error("write", copy, &cause))?;
    }
    output.commit()?;
    Ok(copy.to_owned())
}

fn decompressed(path: &Path) -> Result<(Format, Box<dyn Read + Send>)> {
    input::decompress(fsx::open(path)?).map_err(|cause| undecoded(path, Format::Raw, cause))
}

fn undecoded(path: &Path, format: Format, cause: std::io::Error) -> Error {
    let about = if format == Format::Raw { "read" } else { "decompress" };
    let about = format!("cannot {about} `{}`", path.display());
    match cause.downcast::<Error>() {
        Ok(error) => error.context(about),
        Err(cause) => {
            let why = format.damage(&cause).unwrap_or_else(|| fsx::describe(&cause));
            Error::new(about).caused_by(why)
        }
    }
}

/// One entry, all its headers read.
struct Entry {
    path: TreePath,
    what: What,
}

enum What {
    Inode(Inode),
    HardLink(TreePath),
}

impl Entry {
    fn lay(self, tree: &mut Tree) -> Result<()> {
        match self.what {
            What::Inode(inode) => tree.lay(self.path, inode).map(drop),
            What::HardLink(target) => tree.link(self.path, &target),
        }
    }
}

/// Records of pax headers, and GNU's long names in the same shape.
#[derive(Debug, Default, Clone)]
struct Extended(BTreeMap<String, Vec<u8>>);

impl Extended {
    fn text(&self, key: &str) -> Result<Option<&str>> {
        let utf8 = |bytes| {
            std::str::from_utf8(bytes).map_err(|_| Error::new(format!("a pax header `{key}` is not UTF-8")))
        };
        self.0.get(key).map(|bytes| utf8(bytes.as_slice())).transpose()
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Error::new(format!("a pax header has the {key} `{}`", text.escape_debug())))
        };
        self.text(key)?.map(parse).transpose()
    }

    /// Adds the records of one pax header: `LENGTH KEY=VALUE\n`, where LENGTH covers all of it.
    fn parse(&mut self, mut data: &[u8]) -> Result<()> {
        let bad = || Error::new("a pax header is malformed");
        while !data.is_empty() {
            let space = data.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length: usize = std::str::from_utf8(&data[..space])
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(bad)?;
            let record =
                data.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let key = std::str::from_utf8(&record[..equals]).map_err(|_| bad())?;
            let value = &record[equals + 1..];
            if let "GNU.sparse.offset" | "GNU.sparse.numbytes" = key {
                self.add_piece(key, value).ok_or_else(bad)?;
            } else if value.is_empty() && !key.starts_with("SCHILY.xattr.") {
                // POSIX: an empty value takes back what an earlier header said.
                self.0.remove(key);
            } else {
                self.0.insert(key.to_string(), value.to_vec());
            }
            data = &data[length..];
        }
        Ok(())
    }

    /// Several records of these two keys make one map, in the form that later versions of GNU tar give it.
    fn add_piece(&mut self, key: &str, value: &[u8]) -> Option<()> {
        let map = self.0.entry("GNU.sparse.map".to_string()).or_default();
        // Behind an offset stands a comma, behind a size none.
        match (key.ends_with("offset"), map.last() == Some(&b',')) {
            (true, false) => {
                if !map.is_empty() {
                    map.push(b',');
                }
                map.extend_from_slice(value);
                map.push(b',');
            }
            (false, true) => map.extend_from_slice(value),
            _ => return None,
        }
        Some(())
    }

    fn xattrs(&self) -> BTreeMap<String, Vec<u8>> {
        let attribute = |(key, value): (&String, &Vec<u8>)| {
            key.strip_prefix("SCHILY.xattr.").map(|name| (name.to_string(), value.clone()))
        };
        self.0.iter().filter_map(attribute).collect()
    }
}

struct Reader {
    file: File,
    size: u64,
    path: Arc<PathBuf>,
    at: u64,
    /// From `g` headers: valid until the next one.
    global: Extended,
}

impl Reader {
    fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut local: Option<Extended> = None;
        let mut long = Extended::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.0[156];
            match kind {
                b'x' | b'X' => {
                    let mut records = self.global.clone();
                    let data = self.extension(&header)?;
                    records.parse(&data)?;
                    local = Some(records);
                }
                b'g' => {
                    let data = self.extension(&header)?;
                    self.global.parse(&data)?;
                }
                b'L' | b'K' => {
                    let mut name = self.extension(&header)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    long.0.insert(if kind == b'L' { "path" } else { "linkpath" }.to_string(), name);
                }
                // A volume label carries nothing for us.
                b'V' => {
                    self.extension(&header)?;
                }
                _ => {
                    let mut records = local.unwrap_or_else(|| self.global.clone());
                    for (key, value) in long.0 {
                        records.0.entry(key).or_insert(value);
                    }
                    return self.entry(&header, &records).map(Some);
                }
            }
        }
    }

    /// The next header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.at == self.size {
            // Every writer closes an archive: one cut between two entries must not pass for a whole one.
            return Err(Error::new("it ends without the empty blocks that close a tar").hint(TRUNCATED));
        }
        let mut block = [0; BLOCK as usize];
        self.read(self.at, &mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header(block);
        if !header.checksum_matches() {
            let error = if self.at == 0 {
                Error::new("it is not a tar file")
            } else {
                Error::new(format!("the header at byte {} is damaged", self.at))
            };
            return Err(error);
        }
        self.at += BLOCK;
        Ok(Some(header))
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, at).map_err(|cause| {
            if cause.kind() == std::io::ErrorKind::UnexpectedEof {
                truncated()
            } else {
                fsx::io_error("read", &self.path, &cause)
            }
        })
    }

    /// The data of a header that describes another one.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let len = header.number(124, 12, "size")?;
        if len > MAX_EXTENSION {
            return Err(Error::new(format!(
                "the header at byte {} is not credible: {len} bytes of names",
                self.at
            )));
        }
        let mut data = vec![0; len as usize];
        self.read(self.at, &mut data)?;
        self.at += len.next_multiple_of(BLOCK);
        Ok(data)
    }

    fn entry(&mut self, header: &Header, records: &Extended) -> Result<Entry> {
        // For a file with holes, `path` may be one that tells others so.
        let name = match (records.text("GNU.sparse.name")?, records.text("path")?) {
            (Some(name), _) | (None, Some(name)) => name.to_string(),
            (None, None) => header.name()?,
        };
        let path = TreePath::new(&name)?;
        let at_entry = || format!("entry `{}`", name.escape_debug());
        let link_target = || -> Result<String> {
            match records.text("linkpath")? {
                Some(target) => Ok(target.to_string()),
                None => header.text(157, 100),
            }
        };
        // GNU tar leaves the size of a hard link's target in some headers; there is no data behind it.
        let len = match header.0[156] {
            b'1'..=b'6' => 0,
            _ => match records.number("size")? {
                Some(size) => size,
                None => header.number(124, 12, "size").context(at_entry)?,
            },
        };
        let map = Map::of(self, header, records).context(at_entry)?;
        let start = self.at;
        self.at = len
            .checked_next_multiple_of(BLOCK)
            .and_then(|padded| start.checked_add(padded))
            .filter(|_| start + len <= self.size)
            .ok_or_else(|| truncated().context(at_entry()))?
            .min(self.size);
        let device = || -> Result<(u32, u32)> {
            let part = |at, what| {
                u32::try_from(header.number(at, 8, what)?)
                    .map_err(|_| Error::new(format!("its {what} number is out of range")))
            };
            Ok((part(329, "major")?, part(337, "minor")?))
        };
        let kind = match header.0[156] {
            b'0' | 0 | b'7' if name.ends_with('/') => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File(match map {
                Some(map) => map.content(&self.path, start, len).context(at_entry)?,
                None => Content::Range { file: Arc::clone(&self.path), offset: start, len },
            }),
            b'1' => {
                let target = TreePath::new(&link_target()?).context(at_entry)?;
                return Ok(Entry { path, what: What::HardLink(target) });
            }
            b'2' => Kind::Symlink(link_target()?),
            b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor }).context(at_entry)?,
            b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor }).context(at_entry)?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(Error::new(format!(
                    "entry `{}` has the unknown type `{}`",
                    name.escape_debug(),
                    other.escape_ascii()
                )));
            }
        };
        let meta = header.meta(records).context(at_entry)?;
        Ok(Entry { path, what: What::Inode(Inode { meta, kind }) })
    }
}

fn truncated() -> Error {
    Error::new("it ends in the middle of an entry").hint(TRUNCATED)
}

/// A ustar or GNU header block.
struct Header([u8; BLOCK as usize]);

impl Header {
    fn checksum_matches(&self) -> bool {
        let Ok(stored) = self.number(148, 8, "checksum") else { return false };
        // As if its own field held blanks.
        let blanks = 8 * u64::from(b' ');
        let (before, behind) = (&self.0[..148], &self.0[156..]);
        let sum = |bytes: &[u8]| bytes.iter().copied().map(u64::from).sum::<u64>();
        // Some old writers summed signed bytes.
        let signed = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
        stored == sum(before) + blanks + sum(behind)
            || i64::try_from(stored) == Ok(signed(before) + blanks.cast_signed() + signed(behind))
    }

    fn field(&self, at: usize, len: usize) -> &[u8] {
        let field = &self.0[at..at + len];
        &field[..field.iter().position(|byte| *byte == 0).unwrap_or(len)]
    }

    fn text(&self, at: usize, len: usize) -> Result<String> {
        let field = self.field(at, len);
        String::from_utf8(field.to_vec())
            .map_err(|_| Error::new(format!("entry `{}` has a name that is not UTF-8", field.escape_ascii())))
    }

    fn name(&self) -> Result<String> {
        let name = self.text(0, 100)?;
        // GNU's header ("ustar  ") keeps other things where POSIX has the prefix.
        if &self.0[257..263] == b"ustar\0" && self.0[345] != 0 {
            return Ok(format!("{}/{name}", self.text(345, 155)?));
        }
        Ok(name)
    }

    /// Octal text, or base 256 when the first bit is set.
    fn number(&self, at: usize, len: usize, what: &str) -> Result<u64> {
        let bad = || Error::new(format!("its {what} is malformed"));
        let field = &self.0[at..at + len];
        if field[0] & 0x80 != 0 {
            // 0xff.. would be negative: no owner, size or device is; for times there is `time`.
            return field[1..]
                .iter()
                .try_fold(u64::from(field[0] & 0x7f), |value, byte| {
                    value.checked_mul(256).map(|value| value | u64::from(*byte))
                })
                .ok_or_else(bad);
        }
        let text = std::str::from_utf8(self.field(at, len)).map_err(|_| bad())?.trim();
        if text.is_empty() { Ok(0) } else { u64::from_str_radix(text, 8).map_err(|_| bad()) }
    }

    /// A time may lie before 1970, which GNU tar writes as a negative number to base 256. One that is out of all
    /// proportion is no reason to refuse an archive: filesystems hold less anyhow.
    fn time(&self) -> Result<i64> {
        let field = &self.0[136..148];
        if field[0] & 0x80 == 0 {
            return self.number(136, 12, "mtime").map(u64::cast_signed);
        }
        let first = if field[0] & 0x40 == 0 {
            i128::from(field[0] & 0x7f)
        } else {
            i128::from(field[0].cast_signed())
        };
        let secs = field[1..].iter().fold(first, |secs, byte| secs << 8 | i128::from(*byte));
        Ok(secs.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    fn meta(&self, records: &Extended) -> Result<Meta> {
        let owner = |key: &str, at| {
            let value = match records.number(key)? {
                Some(value) => value,
                None => self.number(at, 8, key)?,
            };
            u32::try_from(value).map_err(|_| Error::new(format!("its {key} {value} does not fit 32 bits")))
        };
        let mtime = match records.text("mtime")? {
            Some(text) => parse_time(text)
                .ok_or_else(|| Error::new(format!("a pax header has the mtime `{}`", text.escape_debug())))?,
            None => Timestamp { secs: self.time()?, nanos: 0 },
        };
        Ok(Meta {
            mode: (self.number(100, 8, "mode")? & 0o7777) as u32,
            uid: owner("uid", 108)?,
            gid: owner("gid", 116)?,
            mtime,
            xattrs: records.xattrs(),
        })
    }
}

/// `-1.25` is a quarter second before the second before 1970.
fn parse_time(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let secs: i64 = match whole.parse::<i64>() {
        Ok(secs) => secs,
        Err(cause) => match cause.kind() {
            IntErrorKind::PosOverflow => i64::MAX,
            IntErrorKind::NegOverflow => i64::MIN,
            _ => return None,
        },
    };
    let nanos: u32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some(Timestamp { secs: secs.saturating_sub(1), nanos: 1_000_000_000 - nanos });
    }
    Some(Timestamp { secs, nanos })
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
