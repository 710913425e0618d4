//! An image taken apart: its table, what each partition holds, and the filesystems that can be read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::erofs::ErofsVolume;
use super::ext::ExtVolume;
use super::fat::FatVolume;
use super::probe::{self, Content};
use super::read::{Disk, ReadAt, Source, Window};
use super::squashfs::SquashVolume;
use super::table::{self, Partition, Table};
use super::volume::{self, Volume};
use crate::error::{Error, Result, nearest};
use crate::fsx;

/// An image for reading.
pub struct Image {
    /// Its bytes.
    pub source: Source,
    /// Its partition table.
    pub table: Table,
    /// What holds something: each partition, or the whole of an image without a table.
    pub parts: Vec<Part>,
}

/// A partition, or the whole image when it has no table.
#[derive(Debug, Clone)]
pub struct Part {
    /// Number in the table; 0 for the whole image.
    pub number: u32,
    /// Its entry in the table.
    pub entry: Option<Partition>,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What it holds, if that has a name.
    pub content: Option<Content>,
}

impl Part {
    /// Name in the table, else the filesystem's label.
    pub fn name(&self) -> &str {
        match (&self.entry, &self.content) {
            (Some(entry), _) if !entry.name.is_empty() => &entry.name,
            (_, Some(content)) => &content.label,
            _ => "",
        }
    }

    /// For messages: ``partition 2 `root` ``, `the image`.
    pub fn describe(&self) -> String {
        if self.number == 0 {
            return "the image".to_string();
        }
        match self.name() {
            "" => format!("partition {}", self.number),
            name => format!("partition {} `{}`", self.number, name.escape_debug()),
        }
    }
}

impl Image {
    /// Opens an image file or block device.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Arc::new(Disk::open(path)?)).map_err(|cause| fsx::io_error("read", path, &cause))
    }

    /// Takes apart what can be read at random.
    pub fn new(source: Source) -> io::Result<Self> {
        let table = table::read(&source)?;
        let mut parts = Vec::new();
        let placed = |it: &Partition| (it.number, Some(it.clone()), it.start.0, it.size.0);
        let mut ranges: Vec<_> = table.contents().map(placed).collect();
        if table.kind == table::Kind::None {
            ranges.push((0, None, 0, source.len()));
        }
        for (number, entry, start, len) in ranges {
            let window: Source = Arc::new(Window::new(source.clone(), start, len));
            parts.push(Part { number, entry, start, len, content: probe::probe(&window)? });
        }
        Ok(Image { source, table, parts })
    }

    /// The bytes of a part.
    pub fn bytes(&self, part: &Part) -> Source {
        Arc::new(Window::new(self.source.clone(), part.start, part.len))
    }

    /// The filesystem in a part, for reading; `None` when there is none that can be read.
    pub fn volume(&self, part: &Part) -> Result<Option<Box<dyn Volume>>> {
        let source = self.bytes(part);
        let in_part =
            |error: Error| error.context(format!("cannot open the filesystem of {}", part.describe()));
        let fat = FatVolume::open(source.clone())
            .map_err(|cause| in_part(volume::unreadable(fsx::describe(&cause))))?;
        if let Some(fat) = fat {
            return Ok(Some(Box::new(fat)));
        }
        if let Some(ext) = ExtVolume::open(&source).map_err(in_part)? {
            return Ok(Some(Box::new(ext)));
        }
        if let Some(erofs) = ErofsVolume::open(source.clone()).map_err(in_part)? {
            return Ok(Some(Box::new(erofs)));
        }
        let squash = SquashVolume::open(source).map_err(in_part)?;
        Ok(squash.map(|squash| Box::new(squash) as Box<dyn Volume>))
    }

    /// The part that a person names: by number, by name in the table, or by label.
    pub fn find(&self, name: &str) -> Result<&Part> {
        if name.is_empty() {
            let whole = self.parts.iter().find(|part| part.number == 0);
            return whole.ok_or_else(|| {
                Error::usage("no partition is named, and the image has a partition table").hint(self.names())
            });
        }
        let by_number = |part: &&Part| name.parse() == Ok(part.number);
        let by_name = |part: &&Part| part.entry.as_ref().is_some_and(|entry| entry.name == name);
        let by_label = |part: &&Part| part.content.as_ref().is_some_and(|content| content.label == name);
        let labelled: Vec<&Part> = self.parts.iter().filter(by_label).collect();
        if let Some(part) = self.parts.iter().find(by_number) {
            return Ok(part);
        }
        let named: Vec<&Part> = self.parts.iter().filter(by_name).collect();
        let (what, found) = if named.is_empty() { ("label", labelled) } else { ("name", named) };
        match found.as_slice() {
            [part] => Ok(part),
            [] => Err(self.unknown(name)),
            several => {
                let numbers: Vec<String> = several.iter().map(|part| part.number.to_string()).collect();
                Err(Error::usage(format!("several partitions have the {what} `{}`", name.escape_debug()))
                    .hint(format!("name it by its number: {}", numbers.join(", "))))
            }
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let error = Error::usage(format!("the image has no partition `{}`", name.escape_debug()));
        let names = || self.parts.iter().map(Part::name).filter(|name| !name.is_empty());
        if let Some(near) = nearest(name, names()) {
            return error.hint(format!("did you mean `{}`?", near.escape_debug()));
        }
        error.hint(self.names())
    }

    /// The partitions that there are, for a hint.
    fn names(&self) -> String {
        let named = |part: &Part| match part.name() {
            "" => part.number.to_string(),
            name => format!("{} (`{}`)", part.number, name.escape_debug()),
        };
        match self.parts.as_slice() {
            [] => "its partition table is empty".to_string(),
            [part] if part.number == 0 => {
                "it has no partition table: nothing stands before the colon, as in `:/etc`".to_string()
            }
            parts => format!("there are: {}", parts.iter().map(named).collect::<Vec<_>>().join(", ")),
        }
    }
}
