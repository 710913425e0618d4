//! What the sections say: images, and the partitions of a disk.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Choice;
use super::parser::{Amount, Section, Word};
use super::schema;
use crate::board::text::{At, Place};
use crate::error::{Error, Result, nearest};

/// An image: a file that genimage makes, or takes as it is.
#[derive(Debug)]
pub struct Image<'a> {
    /// File name: the section's title.
    pub title: &'a Word,
    /// `hdimage`, `vfat`, `file`, ...
    pub kind: &'static str,
    /// The section of that kind.
    pub body: &'a Section,
    /// The image's own section.
    pub section: &'a Section,
    /// Size, if it is said.
    pub size: Option<At<Amount>>,
}

impl<'a> Image<'a> {
    fn new(section: &'a Section) -> Result<Self> {
        let Some(title) = &section.title else {
            return Err(section.place.error("an image has no name", "this one"));
        };
        let mut kinds = section
            .all()
            .iter()
            .filter_map(|body| schema::kinds().find(|kind| *kind == body.name).map(|kind| (kind, body)));
        let Some((kind, body)) = kinds.next() else {
            return Err(title
                .place
                .error(format!("image `{}` is of no kind", title.escape_debug()), "this one")
                .hint("say what it is: `hdimage {}`, `vfat {}`, `ext4 {}`, `file {}`, ..."));
        };
        if let Some((other, body)) = kinds.next() {
            return Err(body
                .place
                .error(format!("image `{}` is of two kinds", title.escape_debug()), "the second one")
                .hint(format!("leave out `{kind}` or `{other}`")));
        }
        Ok(Image { title, kind, body, section, size: section.amount("size")? })
    }

    /// Size in bytes, if it is said; a percentage counts as not said.
    pub fn bytes(&self) -> Option<u64> {
        match self.size.as_ref()?.value {
            Amount::Bytes(0) | Amount::Percent(_) => None,
            Amount::Bytes(bytes) => Some(bytes),
        }
    }
}

/// What boards call the image of a whole disk.
const USUAL: [&str; 5] = ["sdcard.img", "disk.img", "sdcard-emmc.img", "emmc.img", "usb.img"];

/// All images of a configuration.
#[derive(Debug)]
pub struct Config<'a> {
    /// In the order of the file.
    pub images: Vec<Image<'a>>,
}

impl<'a> Config<'a> {
    /// Reads the sections.
    pub fn new(top: &'a Section) -> Result<Self> {
        Ok(Config { images: top.sections("image").map(Image::new).collect::<Result<_>>()? })
    }

    /// The image of that file name.
    pub fn image(&self, title: &str) -> Option<&Image<'a>> {
        self.images.iter().find(|image| image.title.as_str() == title)
    }

    /// The disk to import: the one named, or the only one that is not a part of another.
    pub fn disk(&self, shown: &str, choice: Choice<'_>) -> Result<&Image<'a>> {
        let disks: Vec<&Image<'a>> = self.images.iter().filter(|image| image.kind == "hdimage").collect();
        let names = |disks: &[&Image<'_>]| {
            let names: Vec<String> =
                disks.iter().map(|image| format!("`{}`", image.title.escape_debug())).collect();
            names.join(", ")
        };
        if let Choice::Named(wanted) = choice {
            if let Some(disk) = disks.iter().find(|image| image.title.as_str() == wanted) {
                return Ok(disk);
            }
            let error = Error::usage(format!("`{shown}` has no disk image `{}`", wanted.escape_debug()));
            return Err(match nearest(wanted, disks.iter().map(|image| image.title.as_str())) {
                Some(name) => error.hint(format!("did you mean `{name}`?")),
                None => error.hint(format!("its disk images: {}", or_none(&names(&disks)))),
            });
        }
        let inner: BTreeSet<&str> = disks
            .iter()
            .flat_map(|image| image.section.sections("partition"))
            .filter_map(|part| part.text("image").map(|image| image.as_str()))
            .collect();
        let outer: Vec<&Image<'a>> =
            disks.iter().copied().filter(|image| !inner.contains(image.title.as_str())).collect();
        let usual = |name: &&str| outer.iter().find(|image| image.title.as_str() == *name);
        if let (Choice::Usual, Some(name)) = (choice, USUAL.iter().find(|name| usual(name).is_some()))
            && let Some(disk) = usual(name)
        {
            return Ok(disk);
        }
        match outer.as_slice() {
            [disk] => Ok(disk),
            [] if !disks.is_empty() => {
                Err(Error::usage(format!("the disks of `{shown}` lie within each other"))
                    .caused_by(names(&disks))
                    .hint("name another `image` in one of their partitions"))
            }
            [] => Err(Error::usage(format!("`{shown}` describes no disk"))
                .caused_by(format!("none of its images is an `hdimage`: {}", or_none(&self.kinds())))
                .hint("bimg builds disks; flash and UBI images stay with genimage")),
            several => Err(Error::usage(format!("`{shown}` describes {} disks", several.len()))
                .caused_by(names(several))
                .hint(format!("choose one: `--image {}`", several[0].title.escape_debug()))),
        }
    }

    fn kinds(&self) -> String {
        let all: Vec<String> = self
            .images
            .iter()
            .map(|image| format!("`{}` is `{}`", image.title.escape_debug(), image.kind))
            .collect();
        all.join(", ")
    }
}

fn or_none(list: &str) -> &str {
    if list.is_empty() { "it has none" } else { list }
}

/// A partition, or a range outside the table.
#[derive(Debug)]
pub struct Part<'a> {
    /// Name: the section's title.
    pub name: &'a Word,
    /// Where it is said.
    pub section: &'a Section,
    /// First byte; `None` when not said, and for 0 in the table, which means the same.
    pub offset: Option<At<u64>>,
    /// Bytes.
    pub size: Option<u64>,
    /// Alignment.
    pub align: Option<At<u64>>,
    /// MBR type; 0 when not said.
    pub mbr_type: u8,
    /// GPT type as written.
    pub gpt_type: Option<&'a Word>,
    /// GUID as written.
    pub uuid: Option<&'a Word>,
    /// What fills it.
    pub image: Option<&'a Word>,
    /// Takes the rest of the disk.
    pub rest: bool,
    /// Boot flag.
    pub bootable: bool,
    /// Primary although an extended partition came before.
    pub primary: bool,
    /// In the table.
    pub listed: bool,
    /// Ranges of the image that hold nothing.
    pub holes: Vec<Range<u64>>,
}

impl<'a> Part<'a> {
    /// Reads a `partition` section.
    pub fn new(section: &'a Section) -> Result<Self> {
        let Some(name) = &section.title else {
            return Err(section.place.error("a partition has no name", "this one"));
        };
        let flag = |name: &str, default: bool| Ok::<bool, Error>(section.flag(name)?.unwrap_or(default));
        let listed = flag("in-partition-table", true)?;
        let not_zero = |at: &At<u64>| at.value != 0;
        Ok(Part {
            name,
            section,
            offset: section.size("offset")?.filter(|at| !listed || not_zero(at)),
            size: section.size("size")?.filter(not_zero).map(|at| at.value),
            align: section.size("align")?.filter(not_zero),
            mbr_type: section.number("partition-type", 0..=0xFF)?.map_or(0, |at| at.value as u8),
            gpt_type: section.text("partition-type-uuid"),
            uuid: section.text("partition-uuid"),
            image: section.text("image"),
            rest: flag("autoresize", false)?,
            bootable: flag("bootable", false)?,
            primary: flag("forced-primary", false)?,
            listed,
            holes: holes(section)?,
        })
    }

    /// For messages about it.
    pub fn place(&self) -> &Place {
        &self.name.place
    }

    /// GPT attributes besides the boot flag, as profiles name them.
    pub fn attributes(&self) -> Result<Vec<&'static str>> {
        let mut all = Vec::new();
        for name in ["read-only", "hidden", "no-automount"] {
            if self.section.flag(name)? == Some(true) {
                all.push(name);
            }
        }
        Ok(all)
    }
}

/// `holes = {"(440; 1K)"}`: first byte and end of ranges that others may use.
pub fn holes(section: &Section) -> Result<Vec<Range<u64>>> {
    let read = |word: &Word| -> Option<Range<u64>> {
        let inside = word.trim().strip_prefix('(')?.strip_suffix(')')?;
        let (start, end) = inside.split_once(';')?;
        let size = |text: &str| match Amount::parse(text.trim()) {
            Some(Amount::Bytes(bytes)) if !text.trim().is_empty() => Some(bytes),
            _ => None,
        };
        let hole = size(start)?..size(end)?;
        (hole.start < hole.end).then_some(hole)
    };
    section
        .list("holes")
        .iter()
        .map(|word| {
            read(word).ok_or_else(|| {
                word.place
                    .error("a hole is not one", "here")
                    .hint("write its first byte and its end: `\"(440; 1K)\"`")
            })
        })
        .collect()
}
