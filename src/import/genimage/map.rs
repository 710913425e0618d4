//! From genimage's disk to a layout of bimg's.

use super::config::{Config, Image, Part};
use super::place::{self, Disk, Entry, GPT_LOCATION, Source, Table};
use crate::disk::PartitionType;
use crate::error::Result;
use crate::import::{Blob, Layout, Notes, Partition};

/// Characters of a partition's name in a GPT.
const NAME: usize = 36;

/// The disk as a profile says it.
pub fn layout(config: &Config<'_>, disk: &Disk<'_>, notes: &mut Notes) -> Result<Layout> {
    // A GPT disk without a size ends on a multiple of 4 KiB, whatever its alignment.
    let align = if disk.table.has_gpt() && disk.size.is_none() && disk.align > 4096 {
        512
    } else {
        disk.align.max(512)
    };
    let mut mapper = Mapper { config, disk, align, notes, layout: Layout::default(), behind: 0 };
    mapper.layout.table = disk.table.name();
    mapper.layout.align = align;
    mapper.layout.size = disk.size;
    if matches!(disk.table, Table::Mbr | Table::Hybrid) {
        // In a hybrid MBR bimg has no signature of its own.
        mapper.layout.signature = disk.signature.filter(|value| *value != 0 || disk.table == Table::Mbr);
    }
    mapper.layout.uuid.clone_from(&disk.uuid);
    mapper.layout.gpt_location =
        Some(disk.gpt_location).filter(|at| disk.table.has_gpt() && *at != GPT_LOCATION);
    mapper.layout.no_backup = disk.table.has_gpt() && !disk.gpt_backup;
    for entry in &disk.entries {
        if entry.part.listed { mapper.partition(entry)? } else { mapper.range(entry)? }
    }
    Ok(mapper.layout)
}

struct Mapper<'a, 'n> {
    config: &'a Config<'a>,
    disk: &'a Disk<'a>,
    /// Of the layout.
    align: u64,
    notes: &'n mut Notes,
    layout: Layout,
    /// How many blobs the last automatic partition is behind.
    behind: usize,
}

impl Mapper<'_, '_> {
    /// An entry of the table.
    fn partition(&mut self, entry: &Entry<'_>) -> Result<()> {
        let part = &entry.part;
        let mut out = Partition {
            name: self.name(part),
            size: entry.size,
            rest: entry.size.is_none() && part.rest,
            offset: entry.offset,
            computed: part.offset.is_none(),
            logical: entry.logical,
            // genimage has no boot flag in an extended partition.
            bootable: part.bootable && !entry.logical,
            ..Partition::default()
        };
        if part.bootable && entry.logical {
            self.notes.add(
                part.place(),
                format!(
                    "`bootable` of `{}` is left out: genimage marks no logical partition, but the extended one when the \
                     first in it says so",
                    out.name.escape_debug()
                ),
            );
        }
        if entry.offset.is_none() {
            out.after = self.behind(entry.size);
            self.behind = self.layout.blobs.len();
        }
        let open = entry.offset.is_none() || (entry.size.is_none() && !part.rest);
        out.align = Some(entry.align).filter(|align| open && *align != self.align);
        if self.disk.table.has_gpt() {
            out.kind = Some(place::gpt_type(part)?);
            out.attributes = part.attributes()?;
            out.uuid = match part.uuid {
                Some(word) => place::uuid(word, "partition-uuid", self.notes)?,
                None => None,
            };
            if self.disk.table == Table::Hybrid {
                out.mbr_kind = mbr_type(part)?;
            }
        } else {
            out.kind = mbr_type(part)?;
            if out.kind.is_none() {
                self.notes.add(
                    part.place(),
                    format!(
                        "`{}` has no `partition-type`: genimage gives it that of an empty entry, \
                         bimg that of its content",
                        out.name.escape_debug()
                    ),
                );
            }
        }
        match &entry.source {
            Source::Nothing => {}
            Source::File { name, holes } => {
                out.file = Some(self.file(part, name));
                if !holes.is_empty() {
                    self.notes.add(
                        part.place(),
                        format!(
                            "the holes of `{}` are left out: nothing may lie in a partition with content",
                            out.name.escape_debug()
                        ),
                    );
                }
            }
            Source::Filesystem(image) => self.filesystem(image, &mut out)?,
            Source::Ranges(disk) => {
                let blobs = self.ranges(disk, &out.name);
                let partition = Some(out.name.clone());
                self.layout
                    .blobs
                    .extend(blobs.into_iter().map(|blob| Blob { partition: partition.clone(), ..blob }));
            }
        }
        self.layout.partitions.push(out);
        Ok(())
    }

    /// The furthest blob so far, when a partition without an offset could slip in before it: genimage puts
    /// everything behind what is declared before.
    fn behind(&self, size: Option<u64>) -> Option<String> {
        let blob =
            self.layout.blobs.iter().filter(|blob| blob.partition.is_none()).max_by_key(|it| it.offset)?;
        // What follows an automatic partition is behind the same blobs as that one.
        if self.layout.blobs.len() == self.behind {
            return None;
        }
        let before = self.layout.partitions.last();
        let free = before.and_then(|before| Some(before.offset? + before.size?)).unwrap_or(0);
        let fits = size.is_none_or(|size| free + size <= blob.offset);
        fits.then(|| blob.name.clone())
    }

    /// What lies outside the table.
    fn range(&mut self, entry: &Entry<'_>) -> Result<()> {
        let part = &entry.part;
        let Some(offset) = entry.offset else {
            return Err(part
                .place()
                .error(format!("where `{}` lies depends on files", part.name.escape_debug()), "this one")
                .hint("give it an `offset`, or those before it a `size`"));
        };
        match &entry.source {
            // In a disk without a table it only keeps room free.
            Source::Nothing if self.disk.table == Table::None => Ok(()),
            Source::Nothing => Err(part
                .place()
                .error(
                    format!(
                        "`{}` is outside the partition table and has no content",
                        part.name.escape_debug()
                    ),
                    "this one",
                )
                .hint("give it an `image`, or leave out `in-partition-table`")),
            Source::Ranges(disk) => {
                let name = self.name(part);
                let blobs = self.ranges(disk, &name);
                self.layout
                    .blobs
                    .extend(blobs.into_iter().map(|blob| Blob { offset: blob.offset + offset, ..blob }));
                Ok(())
            }
            Source::File { name, holes } => {
                let blob = Blob {
                    name: self.name(part),
                    file: self.file(part, name),
                    offset,
                    size: entry.size,
                    holes: holes.clone(),
                    partition: None,
                };
                self.layout.blobs.push(blob);
                Ok(())
            }
            Source::Filesystem(_) => Ok(()),
        }
    }

    /// The ranges of a disk image without a table, counted from its start.
    fn ranges(&mut self, disk: &Disk<'_>, name: &str) -> Vec<Blob> {
        let mut blobs = Vec::new();
        for entry in &disk.entries {
            let Some(offset) = entry.offset else { continue };
            let name = format!("{name}-{}", entry.part.name.as_str());
            match &entry.source {
                Source::Nothing | Source::Filesystem(_) => {}
                Source::Ranges(disk) => {
                    let inner = self.ranges(disk, &name);
                    blobs.extend(inner.into_iter().map(|blob| Blob { offset: blob.offset + offset, ..blob }));
                }
                Source::File { name: file, holes } => blobs.push(Blob {
                    name,
                    file: self.file(&entry.part, file),
                    offset,
                    size: entry.size,
                    holes: holes.clone(),
                    partition: None,
                }),
            }
        }
        blobs
    }

    fn name(&mut self, part: &Part<'_>) -> String {
        let name = part.name.as_str();
        if name.encode_utf16().count() <= NAME {
            return name.to_string();
        }
        let mut units = 0;
        let short: String = name
            .chars()
            .take_while(|c| {
                units += c.len_utf16();
                units <= NAME
            })
            .collect();
        self.notes.add(
            part.place(),
            format!(
                "the name `{}` is cut to `{}`: a partition's name has {NAME} characters at most",
                name.escape_debug(),
                short.escape_debug()
            ),
        );
        short
    }

    /// A file's name as a profile takes it.
    fn file(&mut self, part: &Part<'_>, name: &str) -> String {
        if name.contains(':') {
            self.notes.add(
                part.place(),
                format!(
                    "`{}` holds a `:`, which in a profile stands behind the name of a firmware: rename it",
                    name.escape_debug()
                ),
            );
        }
        name.to_string()
    }

    fn filesystem(&mut self, image: &Image<'_>, out: &mut Partition) -> Result<()> {
        match image.kind {
            "vfat" => self.vfat(image, out),
            "erofs" => out.filesystem = Some("erofs"),
            "squashfs" => self.squashfs(image, out),
            "ext2" => self.ext(image, "ext2", out),
            "ext3" => self.ext(image, "ext3", out),
            _ => self.ext(image, "ext4", out),
        }
        if place::by_content(image) && out.size.is_none() {
            self.notes.add(
                &image.title.place,
                format!(
                    "`{}` is as large as its content needs: bimg counts otherwise than genimage",
                    image.title.escape_debug()
                ),
            );
        }
        if out.files.is_empty() && image.section.flag("empty")? != Some(true) {
            self.content(image, out);
        }
        Ok(())
    }

    fn vfat(&mut self, image: &Image<'_>, out: &mut Partition) {
        out.filesystem = Some("vfat");
        out.label =
            image.body.text("label").map(|label| label.value.clone()).filter(|label| !label.is_empty());
        if let Some(arguments) = image.body.text("extraargs") {
            let strange = vfat_arguments(arguments, out);
            if !strange.is_empty() {
                self.notes.add(
                    &arguments.place,
                    format!(
                        "`{}` in `extraargs` of `{}` is left out",
                        strange.join(" ").escape_debug(),
                        image.title.escape_debug()
                    ),
                );
            }
        }
        for file in image.body.sections("file") {
            let (Some(path), Some(source)) = (&file.title, file.text("image")) else { continue };
            self.made(source);
            out.files.push((path.value.trim_matches('/').to_string(), source.value.clone()));
        }
        for source in image.body.list("files") {
            self.made(source);
            let path = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            out.files.push((path.to_string(), source.value.clone()));
        }
        // As mcopy does, the last one of a name wins.
        let mut seen = std::collections::BTreeSet::new();
        let mut index = out.files.len();
        while index > 0 {
            index -= 1;
            if !seen.insert(out.files[index].0.clone()) {
                out.files.remove(index);
            }
        }
    }

    /// A file that genimage itself makes.
    fn made(&mut self, source: &super::parser::Word) {
        if let Some(image) = self.config.image(source).filter(|image| image.kind != "file") {
            self.notes.add(
                &source.place,
                format!("`{}` is made by genimage (`{}`): make it first", source.escape_debug(), image.kind),
            );
        }
    }

    fn squashfs(&mut self, image: &Image<'_>, out: &mut Partition) {
        out.filesystem = Some("squashfs");
        for option in ["compression", "block-size", "extraargs"] {
            if let Some(word) = image.body.text(option).filter(|word| !word.is_empty()) {
                self.notes.add(
                    &word.place,
                    format!(
                        "`{option} = {}` of `{}` is left out: bimg compresses with zlib, in blocks of 128 KiB",
                        word.escape_debug(),
                        image.title.escape_debug()
                    ),
                );
            }
        }
    }

    fn ext(&mut self, image: &Image<'_>, kind: &'static str, out: &mut Partition) {
        out.filesystem = Some(kind);
        out.label =
            image.body.text("label").map(|label| label.value.clone()).filter(|label| !label.is_empty());
        for option in ["features", "extraargs", "usage-type", "mke2fs-conf", "mke2fs_conf", "fs-timestamp"] {
            if let Some(word) = image.body.text(option).filter(|word| !word.is_empty()) {
                self.notes.add(
                    &word.place,
                    format!(
                        "`{option} = {}` of `{}` is left out: bimg has features of its own",
                        word.escape_debug(),
                        image.title.escape_debug()
                    ),
                );
            }
        }
    }

    /// What genimage takes from the root tree.
    fn content(&mut self, image: &Image<'_>, out: &mut Partition) {
        if let Some(path) = image.section.text("srcpath") {
            out.files.push((".".to_string(), path.value.clone()));
            return;
        }
        let mount = image.section.text("mountpoint");
        let point = mount.map_or("", |point| point.as_str()).trim_matches('/');
        let taken = |content: &str| self.layout.partitions.iter().any(|it| it.content == Some(content));
        match point {
            "" => out.content = Some("root"),
            "boot" | "boot/efi" | "boot/firmware" | "efi" if image.kind == "vfat" && !taken("boot") => {
                out.content = Some("boot");
            }
            _ => {
                let place = mount.map_or(&image.title.place, |point| &point.place);
                self.notes.add(
                    place,
                    format!(
                        "`{}` holds `/{}` of the root tree: it stays empty, and the files stay in the root",
                        image.title.escape_debug(),
                        point.escape_debug()
                    ),
                );
            }
        }
    }
}

/// The MBR type of a partition, as profiles write it, if it has one.
fn mbr_type(part: &Part<'_>) -> Result<Option<String>> {
    if part.mbr_type == 0 {
        return Ok(None);
    }
    let text = format!("{:#04x}", part.mbr_type);
    PartitionType::parse(&text).map_err(|error| part.place().wrap(error))?;
    Ok(Some(text))
}

/// Takes what bimg can say from the arguments of mkfs.fat, and returns the rest.
fn vfat_arguments<'a>(arguments: &'a str, out: &mut Partition) -> Vec<&'a str> {
    let mut strange = Vec::new();
    let mut words = arguments.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let mut value = |short: &str| match word.strip_prefix(short) {
            Some("") => words.next(),
            rest => rest,
        };
        match (value("-F"), value("-n")) {
            (Some("12"), _) => out.filesystem = Some("fat12"),
            (Some("16"), _) => out.filesystem = Some("fat16"),
            (Some("32"), _) => out.filesystem = Some("fat32"),
            (None, Some(label)) => {
                out.label.get_or_insert_with(|| label.trim_matches(['"', '\'']).to_string());
            }
            _ => strange.push(word),
        }
    }
    strange
}
