//! Where genimage puts things: `hdimage_setup` of its `image-hd.c`, as far as the configuration alone
//! decides it.
//!
//! Each range goes behind the furthest end of all that are declared before it, rounded up to its
//! alignment, unless its offset is said. Once the size of an input file matters, the rest of the places
//! stays open: bimg's layout, which has the files, decides them by the same rule.

use std::ops::Range;

use super::config::{Config, Image, Part, holes};
use super::parser::Amount;
use crate::board::text::At;
use crate::disk::PartitionType;
use crate::disk::Table as DiskTable;
use crate::error::Result;
use crate::import::Notes;
use crate::units::ByteSize;

/// Header and entries of a GPT, and its copy at the end.
const GPT_TAIL: u64 = 33 * 512;
/// The entries alone.
const GPT_ENTRIES: u64 = 32 * 512;
/// Where the entries lie unless told otherwise.
pub const GPT_LOCATION: u64 = 1024;
/// Disks within disks.
const DEPTH: usize = 8;
/// Ranges of a disk and of the disks within it; a table holds 128.
const MOST: usize = 512;

/// Kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// None: ranges only.
    None,
    /// MBR.
    Mbr,
    /// GPT.
    Gpt,
    /// Both.
    Hybrid,
}

impl Table {
    /// As profiles name it.
    pub const fn name(self) -> &'static str {
        match self {
            Table::None => "none",
            Table::Mbr => "mbr",
            Table::Gpt => "gpt",
            Table::Hybrid => "hybrid",
        }
    }

    /// True with a GPT.
    pub const fn has_gpt(self) -> bool {
        matches!(self, Table::Gpt | Table::Hybrid)
    }
}

/// A disk, laid out as far as that is known.
#[derive(Debug)]
pub struct Disk<'a> {
    /// Kind of table.
    pub table: Table,
    /// Alignment of partitions.
    pub align: u64,
    /// Whole size, if it is said.
    pub size: Option<u64>,
    /// Disk signature; `None` for a random one.
    pub signature: Option<u32>,
    /// Disk GUID, if it is said.
    pub uuid: Option<String>,
    /// Where the entries of a GPT lie.
    pub gpt_location: u64,
    /// Whether it has its copy at the end.
    pub gpt_backup: bool,
    /// In the order of the file.
    pub entries: Vec<Entry<'a>>,
    /// End of everything, if that is known.
    pub end: Option<u64>,
}

/// A partition or a range outside the table, in its place.
#[derive(Debug)]
pub struct Entry<'a> {
    /// What the configuration says.
    pub part: Part<'a>,
    /// Alignment.
    pub align: u64,
    /// Inside the extended partition.
    pub logical: bool,
    /// First byte, if the configuration decides it.
    pub offset: Option<u64>,
    /// Bytes, if the configuration decides them.
    pub size: Option<u64>,
    /// What fills it.
    pub source: Source<'a>,
}

/// What fills a range.
#[derive(Debug)]
pub enum Source<'a> {
    /// Nothing.
    Nothing,
    /// A file of the input directory.
    File {
        /// Its name there.
        name: &'a str,
        /// Ranges of it that hold nothing.
        holes: Vec<Range<u64>>,
    },
    /// A filesystem that genimage makes.
    Filesystem(&'a Image<'a>),
    /// Another disk image without a table: its ranges.
    Ranges(Box<Disk<'a>>),
}

/// Lays out a disk image.
pub fn place<'a>(config: &'a Config<'a>, image: &'a Image<'a>, notes: &mut Notes) -> Result<Disk<'a>> {
    let mut placer = Placer { config, notes, depth: 0, count: 0 };
    placer.commands(image);
    placer.disk(image)
}

struct Placer<'a, 'n> {
    config: &'a Config<'a>,
    notes: &'n mut Notes,
    depth: usize,
    /// Ranges so far.
    count: usize,
}

impl<'a> Placer<'a, '_> {
    fn disk(&mut self, image: &'a Image<'a>) -> Result<Disk<'a>> {
        if self.depth >= DEPTH {
            return Err(image
                .title
                .place
                .error(format!("image `{}` lies within itself", image.title.escape_debug()), "this one")
                .hint("name another `image` in one of the partitions"));
        }
        let mut disk = self.header(image)?;
        let parts = image.section.sections("partition").map(Part::new).collect::<Result<Vec<_>>>()?;
        self.count += parts.len();
        if self.count > MOST {
            return Err(image
                .title
                .place
                .error(format!("there are more than {MOST} partitions"), "with this disk")
                .hint("a partition table holds 128"));
        }
        self.check_types(&mut disk, &parts);
        let mut logical = Logical::new(image, &disk, &parts, self.notes)?;
        let mut taken = Taken::behind(match disk.table {
            Table::None => 0,
            Table::Mbr => 512,
            Table::Gpt | Table::Hybrid => disk.gpt_location + GPT_ENTRIES,
        });
        let mut rest = None;
        for mut part in parts {
            part.listed &= disk.table != Table::None;
            let align = part.align.as_ref().map_or_else(|| default_align(&disk, &part), |at| at.value);
            let logical = part.listed && logical.next(&part)?;
            let now = taken.end().map(|now| if logical { now + disk.align } else { now });
            let offset = match (&part.offset, part.listed || disk.table == Table::None) {
                (Some(at), _) => Some(at.value),
                (None, true) => now.map(|now| round_up(now, align)),
                (None, false) => Some(0),
            };
            check_offset(&part, align)?;
            let (source, bytes) = self.source(&part)?;
            if part.rest {
                check_rest(image, &part, rest.replace(part.name))?;
            }
            let size = size_of(&disk, &part, align, offset, bytes)?;
            if size == Some(0) || (size.is_none() && matches!(source, Source::Nothing) && !part.rest) {
                return Err(part
                    .place()
                    .error(
                        format!("partition `{}` has neither size nor content", part.name.escape_debug()),
                        "this one",
                    )
                    .hint("give it a `size` or an `image`"));
            }
            taken.add(offset, size, &source);
            disk.entries.push(Entry { part, align, logical, offset, size, source });
        }
        disk.end = disk.size.or(taken.end());
        Ok(disk)
    }

    /// The options of the `hdimage` section.
    fn header(&mut self, image: &Image<'a>) -> Result<Disk<'a>> {
        let body = image.body;
        let table = table_of(image)?;
        let align = match body.size("align")?.filter(|at| at.value != 0) {
            Some(at) if table != Table::None && (!at.value.is_multiple_of(512) || at.value > 1 << 30) => {
                return Err(at
                    .place
                    .error(format!("an alignment of {} bytes is impossible", at.value), "said here")
                    .hint("partitions start on sectors: a multiple of 512, and 1G at most"));
            }
            Some(at) => at.value,
            None if table == Table::None => 1,
            None => 512,
        };
        let gpt_location = match body.size("gpt-location")?.filter(|at| at.value != 0) {
            Some(at) if !at.value.is_multiple_of(512) => {
                return Err(at
                    .place
                    .error(format!("the GPT cannot lie at {} bytes", at.value), "said here")
                    .hint("its entries start on a sector: a multiple of 512"));
            }
            at => at.map_or(GPT_LOCATION, |at| at.value),
        };
        Ok(Disk {
            table,
            align,
            size: image.bytes(),
            signature: self.signature(image, table)?,
            uuid: self.disk_uuid(image, table)?,
            gpt_location,
            gpt_backup: !body.flag("gpt-no-backup")?.unwrap_or(false),
            entries: Vec::new(),
            end: None,
        })
    }

    /// 0 when it is not said, as genimage has it.
    fn signature(&mut self, image: &Image<'a>, table: Table) -> Result<Option<u32>> {
        let Some(word) = image.body.text("disk-signature") else { return Ok(Some(0)) };
        if word.as_str() == "random" {
            return Ok(None);
        }
        if word.is_empty() {
            return Ok(Some(0));
        }
        if !matches!(table, Table::Mbr | Table::Hybrid) {
            self.notes.add(&word.place, "`disk-signature` is left out: the disk has no MBR of its own");
            return Ok(Some(0));
        }
        if is_placeholder(word) {
            self.notes.add(
                &word.place,
                "`disk-signature` is a placeholder, so it is left out: `signature` of the disk",
            );
            return Ok(None);
        }
        let number = image.body.number("disk-signature", 0..=u64::from(u32::MAX))?;
        Ok(number.map(|at| at.value as u32))
    }

    fn disk_uuid(&mut self, image: &Image<'a>, table: Table) -> Result<Option<String>> {
        let Some(word) = image.body.text("disk-uuid") else { return Ok(None) };
        if !table.has_gpt() {
            self.notes.add(&word.place, "`disk-uuid` is left out: the disk has no GPT");
            return Ok(None);
        }
        self.uuid(word, "disk-uuid")
    }

    /// A UUID, unless it is a placeholder that a script fills in.
    pub fn uuid(&mut self, word: &At<String>, option: &str) -> Result<Option<String>> {
        uuid(word, option, self.notes)
    }

    /// Types that do not fit the table: genimage before 14 made a hybrid table of a GPT with MBR types,
    /// later ones refuse them.
    fn check_types(&mut self, disk: &mut Disk<'a>, parts: &[Part<'a>]) {
        let listed = || parts.iter().filter(|part| part.listed);
        let typed = listed().filter(|part| part.mbr_type != 0).count();
        if disk.table == Table::Gpt && typed > 0 {
            let Some(first) = listed().find(|part| part.mbr_type != 0) else { return };
            if typed <= 3 {
                disk.table = Table::Hybrid;
                self.notes.add(
                    first.place(),
                    "a GPT with `partition-type` became a hybrid table, as in genimage before version 14",
                );
            } else {
                self.notes.add(first.place(), "`partition-type` is left out: a GPT has none");
            }
        }
        if !disk.table.has_gpt() {
            for part in listed() {
                for (option, word) in [("partition-type-uuid", part.gpt_type), ("partition-uuid", part.uuid)]
                {
                    if let Some(word) = word {
                        self.notes.add(&word.place, format!("`{option}` is left out: the disk has no GPT"));
                    }
                }
            }
        }
    }

    /// What fills a range, and how many bytes that has, if the configuration says so.
    fn source(&mut self, part: &Part<'a>) -> Result<(Source<'a>, Option<u64>)> {
        let Some(name) = part.image else { return Ok((Source::Nothing, None)) };
        let plain = |holes| Source::File { name: name.as_str(), holes };
        let Some(image) = self.config.image(name) else { return Ok((plain(part.holes.clone()), None)) };
        self.commands(image);
        match image.kind {
            "file" => {
                let own = holes(image.body)?;
                let name = image.body.text("name").unwrap_or(name).as_str();
                let holes = if own.is_empty() { part.holes.clone() } else { own };
                Ok((Source::File { name, holes }, image.bytes()))
            }
            "hdimage" => {
                self.depth += 1;
                let disk = self.disk(image)?;
                self.depth -= 1;
                let end = disk.end;
                if disk.table == Table::None && disk.entries.iter().all(|entry| entry.offset.is_some()) {
                    return Ok((Source::Ranges(Box::new(disk)), end));
                }
                self.notes.add(
                    part.place(),
                    format!(
                        "`{0}` is a disk within the disk: make it first (`--image {0}`)",
                        name.escape_debug()
                    ),
                );
                Ok((plain(Vec::new()), end))
            }
            "vfat" | "ext2" | "ext3" | "ext4" | "erofs" | "squashfs" if part.listed => {
                Ok((Source::Filesystem(image), image.bytes()))
            }
            kind => {
                self.notes.add(
                    part.place(),
                    format!("`{}` is made by genimage (`{kind}`): make it first", name.escape_debug()),
                );
                Ok((plain(part.holes.clone()), image.bytes()))
            }
        }
    }

    fn commands(&mut self, image: &Image<'a>) {
        for option in ["exec-pre", "exec-post"] {
            if let Some(word) = image.section.text(option) {
                self.notes.add(
                    &word.place,
                    format!(
                        "`{option}` of `{}` is left out: bimg runs no commands of a layout",
                        image.title.escape_debug()
                    ),
                );
            }
        }
    }
}

/// What is declared so far.
struct Taken {
    /// Furthest end that is known.
    end: u64,
    /// Furthest start of what has a known end.
    start: u64,
    /// Starts of files of unknown size.
    open: Vec<u64>,
    /// Something is wholly unknown.
    blind: bool,
}

impl Taken {
    fn behind(end: u64) -> Self {
        Taken { end, start: 0, open: Vec::new(), blind: false }
    }

    fn add(&mut self, offset: Option<u64>, size: Option<u64>, source: &Source<'_>) {
        match (offset, size) {
            (Some(offset), Some(size)) => {
                self.end = self.end.max(offset + size);
                self.start = self.start.max(offset);
            }
            (Some(offset), None) if !matches!(source, Source::File { holes, .. } if !holes.is_empty()) => {
                self.open.push(offset);
            }
            _ => self.blind = true,
        }
    }

    /// The furthest end. A file of unknown size ends before what starts behind it, or the two overlap.
    fn end(&self) -> Option<u64> {
        let known = !self.blind && self.open.iter().all(|open| *open < self.start);
        known.then_some(self.end)
    }
}

/// Later options win, as in genimage: `partition-table-type`, `partition-table`, `gpt`.
fn table_of(image: &Image<'_>) -> Result<Table> {
    let mut table = match image.body.text("partition-table-type") {
        None => Table::Mbr,
        Some(word) => match word.as_str() {
            "none" => Table::None,
            "mbr" | "dos" => Table::Mbr,
            "gpt" => Table::Gpt,
            "hybrid" => Table::Hybrid,
            other => {
                return Err(word
                    .place
                    .error(format!("`{}` is no kind of partition table", other.escape_debug()), "here")
                    .hint("genimage knows `none`, `mbr`, `gpt` and `hybrid`"));
            }
        },
    };
    if let Some(there) = image.body.flag("partition-table")? {
        table = if there { Table::Mbr } else { Table::None };
    }
    if let Some(gpt) = image.body.flag("gpt")? {
        table = if gpt { Table::Gpt } else { Table::Mbr };
    }
    Ok(table)
}

/// Which partitions are logical.
struct Logical {
    /// Number of the table entry that becomes the extended partition; 0 for none.
    index: u64,
    count: u64,
    ended: bool,
}

impl Logical {
    fn new(image: &Image<'_>, disk: &Disk<'_>, parts: &[Part<'_>], notes: &mut Notes) -> Result<Self> {
        let said = image.body.number("extended-partition", 0..=4)?;
        let listed = parts.iter().filter(|part| part.listed).count();
        let index = match said.as_ref().map_or(0, |at| at.value) {
            0 if disk.table == Table::Mbr && listed > 4 => 4,
            index => index,
        };
        if let (Some(at), true) = (&said, index > 0 && disk.table != Table::Mbr) {
            notes.add(&at.place, "`extended-partition` is left out: only an MBR has one");
            return Ok(Logical { index: 0, count: 0, ended: false });
        }
        Ok(Logical { index, count: 0, ended: false })
    }

    /// For each partition of the table in order.
    fn next(&mut self, part: &Part<'_>) -> Result<bool> {
        self.count += 1;
        let inside = self.index > 0 && self.count >= self.index;
        self.ended |= part.primary;
        if inside && self.ended && !part.primary {
            return Err(part
                .place()
                .error(
                    format!("partition `{}` would be logical behind a primary one", part.name.escape_debug()),
                    "this one",
                )
                .hint("say `forced-primary = true` in it too"));
        }
        Ok(inside && !self.ended)
    }
}

fn default_align(disk: &Disk<'_>, part: &Part<'_>) -> u64 {
    if part.listed || disk.table == Table::None { disk.align } else { 1 }
}

/// Not used with an `align` of 0.
fn round_up(bytes: u64, align: u64) -> u64 {
    bytes.div_ceil(align) * align
}

fn check_offset(part: &Part<'_>, align: u64) -> Result<()> {
    match &part.offset {
        Some(at) if !at.value.is_multiple_of(align) => Err(at
            .place
            .error(
                format!(
                    "the offset of `{}`, {} bytes, is not a multiple of its alignment, {}",
                    part.name.escape_debug(),
                    at.value,
                    ByteSize(align).exact()
                ),
                "said here",
            )
            .hint("change one of the two")),
        _ => Ok(()),
    }
}

fn check_rest(image: &Image<'_>, part: &Part<'_>, other: Option<&At<String>>) -> Result<()> {
    if let Some(other) = other {
        return Err(part
            .place()
            .error("two partitions take the rest of the disk", "the second one")
            .hint(format!("leave out `autoresize` here or in `{}`", other.escape_debug())));
    }
    if image.bytes().is_none() {
        return Err(part
            .place()
            .error(
                format!("partition `{}` takes the rest of a disk of unknown size", part.name.escape_debug()),
                "this one",
            )
            .hint(format!("say the `size` of `{}`", image.title.escape_debug())));
    }
    Ok(())
}

/// Bytes of a range, if they are known.
fn size_of(
    disk: &Disk<'_>,
    part: &Part<'_>,
    align: u64,
    offset: Option<u64>,
    content: Option<u64>,
) -> Result<Option<u64>> {
    if part.rest {
        let tail = if disk.table.has_gpt() { GPT_TAIL } else { 0 };
        let (Some(offset), Some(whole)) = (offset, disk.size) else { return Ok(None) };
        let rest = whole.saturating_sub(tail).saturating_sub(offset) / align * align;
        let least = part.size.unwrap_or(1).max(content.unwrap_or(0));
        if rest >= least {
            return Ok(Some(rest));
        }
        return Err(part
            .place()
            .error(format!("too little is left for partition `{}`", part.name.escape_debug()), "this one")
            .caused_by(format!("{} are left, and it needs {}", ByteSize(rest), ByteSize(least)))
            .hint("raise the `size` of the image"));
    }
    if let (Some(size), true) = (part.size, part.listed)
        && !size.is_multiple_of(512)
    {
        return Err(part
            .place()
            .error(
                format!("the size of `{}`, {size} bytes, is not a multiple of 512", part.name.escape_debug()),
                "this one",
            )
            .hint("partitions are counted in sectors"));
    }
    if let (Some(size), Some(content)) = (part.size, content)
        && content > size
    {
        return Err(part
            .place()
            .error(format!("partition `{}` is too small for its image", part.name.escape_debug()), "this one")
            .caused_by(format!("the image has {}, the partition {}", ByteSize(content), ByteSize(size)))
            .hint("raise the partition's `size`, or leave it out"));
    }
    Ok(part.size.or_else(|| content.map(|bytes| if part.listed { round_up(bytes, align) } else { bytes })))
}

/// A UUID as genimage takes it, unless it is a placeholder that a script fills in.
pub fn uuid(word: &At<String>, option: &str, notes: &mut Notes) -> Result<Option<String>> {
    let is_one = word.len() == 36
        && word.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if is_one {
        return Ok(Some(word.to_ascii_lowercase()));
    }
    if is_placeholder(word) {
        notes.add(
            &word.place,
            format!("`{option}` is the placeholder `{}`, so it is left out", word.escape_debug()),
        );
        return Ok(None);
    }
    Err(word
        .place
        .error(format!("`{option}` is not a UUID"), "here")
        .hint("a UUID looks like `0fc63daf-8483-4772-8e79-3d69d8477de4`"))
}

/// `%PARTUUID%`, `@UUID@`, `#UUID#`: what a board's script replaces before genimage runs.
fn is_placeholder(text: &str) -> bool {
    ['%', '@', '#', '$', '<'].iter().any(|sign| text.contains(*sign))
}

/// The GPT type of a partition, as profiles write it.
pub fn gpt_type(part: &Part<'_>) -> Result<String> {
    let Some(word) = part.gpt_type else { return Ok("linux".to_string()) };
    let text = match word.as_str() {
        "L" | "l" => "linux",
        "S" | "s" => "swap",
        "H" | "h" => "linux-home",
        "U" | "u" => "esp",
        "F" | "f" => "basic-data",
        "R" | "r" => "raid",
        "V" | "v" => "lvm",
        "B" | "b" => "4778ed65-bf42-45fa-9c5b-287a1dc4aab1",
        other => other,
    };
    PartitionType::parse(text)
        .and_then(|kind| kind.check(DiskTable::Gpt))
        .map_err(|error| word.place.wrap(error))?;
    Ok(text.to_ascii_lowercase())
}

/// True when a filesystem's size depends on its content.
pub fn by_content(image: &Image<'_>) -> bool {
    matches!(image.size.as_ref().map(|at| at.value), Some(Amount::Percent(_)) | None)
}
