//! The disk of an imported board, and how a profile writes it.

use std::fmt::Write as _;
use std::ops::Range;

use super::quote;
use crate::units::ByteSize;

/// A disk as `[disk]` says it.
#[derive(Debug, Default)]
pub struct Layout {
    /// `mbr`, `gpt`, `hybrid`, `none`.
    pub table: &'static str,
    /// Alignment of partitions in bytes.
    pub align: u64,
    /// Size of the disk in bytes.
    pub size: Option<u64>,
    /// MBR disk signature.
    pub signature: Option<u32>,
    /// GPT disk GUID.
    pub uuid: Option<String>,
    /// Where the entries of a GPT lie, in bytes, if that is unusual.
    pub gpt_location: Option<u64>,
    /// The GPT has no copy at the end.
    pub no_backup: bool,
    /// Raw data.
    pub blobs: Vec<Blob>,
    /// Partitions in table order.
    pub partitions: Vec<Partition>,
}

/// `[[disk.blob]]`.
#[derive(Debug, Default)]
pub struct Blob {
    /// Name.
    pub name: String,
    /// File.
    pub file: String,
    /// First byte.
    pub offset: u64,
    /// The partition that the offset counts from.
    pub partition: Option<String>,
    /// Bytes set aside.
    pub size: Option<u64>,
    /// Ranges that hold nothing.
    pub holes: Vec<Range<u64>>,
}

/// `[[disk.partition]]`.
#[derive(Debug, Default)]
pub struct Partition {
    /// Name.
    pub name: String,
    /// Type as profiles write it; by default that of its content.
    pub kind: Option<String>,
    /// Type in a hybrid MBR.
    pub mbr_kind: Option<String>,
    /// Filesystem.
    pub filesystem: Option<&'static str>,
    /// Label.
    pub label: Option<String>,
    /// `boot` or `root`.
    pub content: Option<&'static str>,
    /// Path in the filesystem, and the file or directory to put there.
    pub files: Vec<(String, String)>,
    /// Raw content.
    pub file: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// Takes the rest of the disk.
    pub rest: bool,
    /// Free room in bytes.
    pub room: Option<u64>,
    /// First byte.
    pub offset: Option<u64>,
    /// The blob that it comes behind.
    pub after: Option<String>,
    /// The offset is not said but follows from what lies before.
    pub computed: bool,
    /// Alignment in bytes, if it is not the disk's.
    pub align: Option<u64>,
    /// In the extended partition.
    pub logical: bool,
    /// Boot flag.
    pub bootable: bool,
    /// GPT attributes.
    pub attributes: Vec<&'static str>,
    /// GUID.
    pub uuid: Option<String>,
}

/// Lines of a table.
struct Table<'a>(&'a mut String);

impl Table<'_> {
    fn raw(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.raw(key, &quote(value));
        }
    }

    fn bytes(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            let exact = ByteSize(value).exact();
            self.raw(key, &if exact.ends_with(|c: char| c.is_ascii_digit()) { exact } else { quote(&exact) });
        }
    }

    fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.raw(key, "true");
        }
    }
}

impl Layout {
    /// As a profile has it: `[disk]`, then what lies outside the partitions, then the partitions.
    pub fn toml(&self) -> String {
        let mut out = String::from("\n[disk]\n");
        let mut table = Table(&mut out);
        table.text("table", Some(self.table));
        table.bytes("size", self.size);
        table.bytes("align", Some(self.align));
        if let Some(signature) = self.signature {
            table.raw("signature", &if signature == 0 { "0".into() } else { format!("{signature:#010x}") });
        }
        table.text("uuid", self.uuid.as_deref());
        table.bytes("gpt-location", self.gpt_location);
        if self.no_backup {
            table.raw("gpt-backup", "false");
        }
        for blob in &self.blobs {
            blob.write(&mut out);
        }
        for partition in &self.partitions {
            partition.write(&mut out);
        }
        out
    }
}

impl Layout {
    /// Leaves out the offsets that follow from what lies before: sizes may change.
    pub fn forget_computed(&mut self) {
        for partition in self.partitions.iter_mut().filter(|it| it.computed) {
            partition.offset = None;
        }
    }
}

impl Blob {
    /// For a file that is not there yet.
    pub fn comment(&self) -> String {
        let mut table = String::new();
        self.write(&mut table);
        table.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("# {line}\n") }).collect()
    }

    fn write(&self, out: &mut String) {
        out.push_str("\n[[disk.blob]]\n");
        let mut table = Table(out);
        table.text("name", Some(&self.name));
        table.text("file", Some(&self.file));
        table.text("partition", self.partition.as_deref());
        table.bytes("offset", Some(self.offset));
        table.bytes("size", self.size);
        if !self.holes.is_empty() {
            let holes: Vec<String> =
                self.holes.iter().map(|hole| format!("[{}, {}]", hole.start, hole.end)).collect();
            table.raw("holes", &format!("[{}]", holes.join(", ")));
        }
    }
}

impl Partition {
    fn write(&self, out: &mut String) {
        out.push_str("\n[[disk.partition]]\n");
        let mut table = Table(out);
        table.text("name", Some(&self.name));
        table.text("type", self.kind.as_deref());
        table.text("mbr-type", self.mbr_kind.as_deref());
        table.text("filesystem", self.filesystem);
        table.text("label", self.label.as_deref());
        table.text("content", self.content);
        table.text("file", self.file.as_deref());
        table.bytes("offset", self.offset);
        table.text("after", self.after.as_deref());
        table.bytes("align", self.align);
        table.bytes("size", self.size);
        if self.rest {
            table.text("size", Some("rest"));
        }
        table.bytes("room", self.room);
        table.flag("logical", self.logical);
        table.flag("bootable", self.bootable);
        if !self.attributes.is_empty() {
            let names: Vec<String> = self.attributes.iter().map(|name| quote(name)).collect();
            table.raw("attributes", &format!("[{}]", names.join(", ")));
        }
        table.text("uuid", self.uuid.as_deref());
        if !self.files.is_empty() {
            out.push_str("[disk.partition.files]\n");
            for (path, file) in &self.files {
                let _ = writeln!(out, "{} = {}", quote(path), quote(file));
            }
        }
    }
}
