//! Partition tables as they are found: MBR with logical partitions, GPT with its copy, both at once.
//!
//! Sources: UEFI specification 2.10, chapter 5; Linux `block/partitions/msdos.c` and `efi.c` for what
//! counts as a table and how partitions are numbered. Sectors have 512 bytes.

mod gpt;
mod mbr;

use std::io;
use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;

use super::read::ReadAt;
use super::{Finding, fat};
use crate::disk::PartitionType;
use crate::units::ByteSize;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// What kind of table was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// None: the image is one filesystem, or something else altogether.
    None,
    /// DOS master boot record.
    Mbr,
    /// GUID partition table.
    Gpt,
}

impl Kind {
    /// For people: `GPT`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "no partition table",
            Kind::Mbr => "MBR",
            Kind::Gpt => "GPT",
        }
    }
}

/// Type of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Code in an MBR entry.
    Mbr(u8),
    /// GUID in a GPT entry.
    Gpt(Uuid),
}

impl Type {
    /// The code or GUID: `0x0c`, `0fc63daf-8483-4772-8e79-3d69d8477de4`.
    pub fn code(self) -> String {
        match self {
            Type::Mbr(code) => format!("0x{code:02x}"),
            Type::Gpt(guid) => guid.to_string(),
        }
    }

    /// The name that profiles use for it, or else the code.
    pub fn name(self) -> String {
        let name = match self {
            Type::Mbr(mbr::PROTECTIVE) => Some("gpt-protective"),
            Type::Mbr(code) if mbr::EXTENDED.contains(&code) => Some("extended"),
            Type::Mbr(code) => PartitionType::name_of_code(code),
            Type::Gpt(guid) => PartitionType::name_of_guid(&guid),
        };
        name.map_or_else(|| self.code(), str::to_string)
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// As the kernel numbers it: from 1, logical ones from 5.
    pub number: u32,
    /// First byte.
    pub start: ByteSize,
    /// Length in bytes.
    pub size: ByteSize,
    /// Type.
    pub kind: Type,
    /// Name in a GPT; empty in an MBR.
    pub name: String,
    /// `PARTUUID` as the kernel and blkid write it.
    pub uuid: String,
    /// Active flag (MBR) or legacy-boot attribute (GPT).
    pub bootable: bool,
    /// Attribute bits of a GPT entry.
    pub attributes: u64,
}

impl Partition {
    /// The bytes it covers, for messages and pictures; saturates where the table is nonsense.
    pub fn range(&self) -> Range<u64> {
        self.start.0..self.start.0.saturating_add(self.size.0)
    }

    /// True for the MBR entry that only holds logical partitions.
    pub fn is_extended(&self) -> bool {
        matches!(self.kind, Type::Mbr(code) if mbr::EXTENDED.contains(&code))
    }

    /// For messages: ``partition 2 `root` ``.
    pub fn describe(&self) -> String {
        if self.name.is_empty() {
            format!("partition {}", self.number)
        } else {
            format!("partition {} `{}`", self.number, self.name.escape_debug())
        }
    }
}

/// A range of the disk that the table itself takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// `MBR`, `GPT`, `backup GPT`, `EBR`.
    pub what: &'static str,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Kind.
    pub kind: Kind,
    /// Disk identifier: 8 hex digits of an MBR, or the GUID of a GPT; empty without a table.
    pub id: String,
    /// Partitions in the order of their numbers; an extended partition is among them.
    pub partitions: Vec<Partition>,
    /// With a GPT, what its MBR names besides: a hybrid MBR, which a Raspberry Pi's boot ROM reads.
    pub hybrid: Vec<Partition>,
    /// What the table itself takes, in ascending order.
    pub areas: Vec<Area>,
    /// True when it may name more partitions than are here: a part of its chain lies past the end, or no copy of a
    /// GPT can be used.
    pub partial: bool,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl Table {
    fn none() -> Self {
        Table {
            kind: Kind::None,
            id: String::new(),
            partitions: Vec::new(),
            hybrid: Vec::new(),
            areas: Vec::new(),
            partial: false,
            findings: Vec::new(),
        }
    }

    /// Partitions that hold something: all but extended ones.
    pub fn contents(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(|partition| !partition.is_extended())
    }

    /// Overlaps, and what lies outside the disk.
    fn check(&mut self, len: u64) {
        let mut found = Vec::new();
        let all: Vec<&Partition> = self.contents().collect();
        for partition in &all {
            let range = partition.range();
            if range.end > len {
                found.push(Finding::error(format!(
                    "{} ends at byte {}, but the image has {len}",
                    partition.describe(),
                    range.end
                )));
            }
            let area = self
                .areas
                .iter()
                .find(|area| range.start < area.start.saturating_add(area.len) && area.start < range.end);
            if let Some(area) = area {
                found.push(Finding::error(format!("{} overlaps the {}", partition.describe(), area.what)));
            }
        }
        let extended = self.partitions.iter().find(|partition| partition.is_extended());
        if let (Kind::Mbr, Some(extended)) = (self.kind, extended) {
            let within =
                |it: &Range<u64>| extended.range().start <= it.start && it.end <= extended.range().end;
            for logical in all.iter().filter(|it| it.number > 4 && !within(&it.range())) {
                let (what, whole) = (logical.describe(), extended.describe());
                found.push(Finding::warning(format!("{what} reaches out of {whole}, the extended one")));
            }
        }
        let mut sorted: Vec<&Partition> = all.into_iter().filter(|partition| partition.size.0 > 0).collect();
        sorted.sort_by_key(|partition| (partition.start, partition.number));
        // A large one may reach over several.
        let mut furthest: Option<&Partition> = None;
        for partition in sorted {
            if let Some(before) = furthest.filter(|before| before.range().end > partition.start.0) {
                let (one, two) = (before.describe(), partition.describe());
                found.push(Finding::error(format!("{one} and {two} overlap")));
            }
            if furthest.is_none_or(|before| before.range().end < partition.range().end) {
                furthest = Some(partition);
            }
        }
        self.findings.extend(found);
    }
}

/// Reads the partition table of a whole disk. Only reading can fail: whatever is there is described.
pub fn read<R: ReadAt + ?Sized>(disk: &R) -> io::Result<Table> {
    let sector = disk.read_some_at(0, SECTOR as usize)?;
    let Some(records) = mbr::records(&sector) else { return without_mbr(disk) };
    let is_protective = records.iter().any(|record| record.code == mbr::PROTECTIVE);
    let mut table = if is_protective {
        gpt::read(disk, &records)?
    } else if records.is_empty() {
        // A lone filesystem's boot sector carries the same signature.
        match without_mbr(disk)? {
            table if table.kind == Kind::Gpt => table,
            table if fat::Fat::parse(&sector).is_some() => table,
            _ => mbr::read(disk, &sector, &records)?,
        }
    } else {
        let mut table = mbr::read(disk, &sector, &records)?;
        if gpt::has_header(disk)? {
            table.findings.push(Finding::warning(
                "a GPT is there as well, but no entry of type 0xee announces it: it is passed over",
            ));
        }
        table
    };
    table.check(disk.len());
    Ok(table)
}

/// A GPT without its protective MBR is damage; anything else is no table.
fn without_mbr<R: ReadAt + ?Sized>(disk: &R) -> io::Result<Table> {
    if !gpt::has_header(disk)? {
        return Ok(Table::none());
    }
    let mut table = gpt::read(disk, &[])?;
    table
        .findings
        .insert(0, Finding::error("the protective MBR is missing: Linux and UEFI pass over the GPT"));
    Ok(table)
}

#[cfg(test)]
mod tests;
