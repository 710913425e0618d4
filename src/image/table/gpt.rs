//! The GUID partition table: the header behind the MBR, its copy at the end, and their entries.

use std::io;

use flate2::Crc;
use uuid::Uuid;

use super::super::Finding;
use super::super::read::{ReadAt, bytes, le16, le32, le64};
use super::mbr::{self, Record};
use super::{Area, Kind, Partition, SECTOR, Table, Type};
use crate::units::ByteSize;

const MAGIC: &[u8; 8] = b"EFI PART";
/// Bytes that every header has.
const HEADER: usize = 92;
/// Bytes of entries read at most; the usual 128 entries have 16 KiB.
const MAX_ENTRIES: u64 = 4 << 20;
/// Attribute bit 2, "legacy BIOS bootable": U-Boot's distro boot takes it for bootable.
const LEGACY_BOOT: u64 = 1 << 2;

/// A header whose own checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    at: u64,
    other: u64,
    guid: Uuid,
    usable: (u64, u64),
    entries: u64,
    count: u32,
    entry_len: u32,
    entries_crc: u32,
}

impl Header {
    /// Of the sector `at`; what is wrong as text.
    fn parse(sector: &[u8], at: u64) -> Result<Self, String> {
        if !sector.starts_with(MAGIC) {
            return Err("is missing".into());
        }
        let size = le32(sector, 12) as usize;
        let Some(covered) = sector.get(..size).filter(|_| size >= HEADER) else {
            return Err(format!("gives its own size as {size}"));
        };
        let mut copy = covered.to_vec();
        copy[16..20].fill(0);
        if crc32(&copy) != le32(sector, 16) {
            return Err("has a wrong checksum".into());
        }
        let header = Header {
            at: le64(sector, 24),
            other: le64(sector, 32),
            guid: Uuid::from_bytes_le(bytes(sector, 56)),
            usable: (le64(sector, 40), le64(sector, 48)),
            entries: le64(sector, 72),
            count: le32(sector, 80),
            entry_len: le32(sector, 84),
            entries_crc: le32(sector, 88),
        };
        if header.at != at {
            return Err(format!("says that it is at sector {}", header.at));
        }
        let len = u64::from(header.count) * u64::from(header.entry_len);
        if header.entry_len < 128
            || !header.entry_len.is_multiple_of(8)
            || header.entry_len > 4096
            || len > MAX_ENTRIES
        {
            return Err(format!("says that it has {} entries of {} bytes", header.count, header.entry_len));
        }
        Ok(header)
    }

    fn read<R: ReadAt + ?Sized>(disk: &R, at: u64) -> io::Result<Result<Self, String>> {
        let Some(offset) = at.checked_mul(SECTOR) else { return Ok(Err("is missing".into())) };
        Ok(Self::parse(&disk.read_some_at(offset, SECTOR as usize)?, at))
    }

    fn entries_len(&self) -> u64 {
        u64::from(self.count) * u64::from(self.entry_len)
    }

    /// The array of entries; what is wrong as text.
    fn read_entries<R: ReadAt + ?Sized>(&self, disk: &R) -> io::Result<Result<Vec<u8>, String>> {
        let offset = self.entries.saturating_mul(SECTOR);
        let array = disk.read_some_at(offset, self.entries_len() as usize)?;
        Ok(if (array.len() as u64) < self.entries_len() {
            Err("has its entries past the end of the image".into())
        } else if crc32(&array) != self.entries_crc {
            Err("has entries with a wrong checksum".into())
        } else {
            Ok(array)
        })
    }

    fn areas(&self, what: &'static str) -> [Area; 2] {
        let len = self.entries_len().next_multiple_of(SECTOR);
        [
            Area { start: self.at.saturating_mul(SECTOR), len: SECTOR, what },
            Area { start: self.entries.saturating_mul(SECTOR), len, what },
        ]
    }
}

/// One of the two tables, or why it cannot be used.
type Copy = Result<(Header, Vec<u8>), String>;

fn read_copy<R: ReadAt + ?Sized>(disk: &R, at: u64) -> io::Result<Copy> {
    let header = match Header::read(disk, at)? {
        Ok(header) => header,
        Err(why) => return Ok(Err(why)),
    };
    Ok(header.read_entries(disk)?.map(|entries| (header, entries)))
}

/// True when sector 1 starts like a GPT header.
pub fn has_header<R: ReadAt + ?Sized>(disk: &R) -> io::Result<bool> {
    Ok(disk.read_some_at(SECTOR, MAGIC.len())? == MAGIC)
}

/// The table of a disk; `records` are the entries of its MBR.
pub fn read<R: ReadAt + ?Sized>(disk: &R, records: &[Record]) -> io::Result<Table> {
    let mut table = Table::none();
    table.kind = Kind::Gpt;
    table.areas.push(Area { start: 0, len: SECTOR, what: "MBR" });
    let last = (disk.len() / SECTOR).saturating_sub(1);
    let primary = read_copy(disk, 1)?;
    // Where the backup is says the primary, when it can be believed; by the specification at the end.
    let place = primary.as_ref().map_or(last, |(header, _)| header.other);
    let backup = read_copy(disk, place)?;
    report(disk, &primary, &backup, place, last, &mut table.findings)?;

    let ((Ok((header, entries)), _) | (Err(_), Ok((header, entries)))) = (&primary, &backup) else {
        table.partial = true;
        return Ok(table);
    };
    table.id = header.guid.to_string();
    table.partitions = partitions(header, entries, &mut table.findings);
    for (copy, what) in [(&primary, "GPT"), (&backup, "backup GPT")] {
        if let Ok((header, _)) = copy {
            table.areas.extend(header.areas(what));
        }
    }
    table.areas.sort_by_key(|area| area.start);
    let signature = mbr::signature(&disk.read_some_at(0, SECTOR as usize)?);
    table.hybrid = records
        .iter()
        .filter(|record| record.code != mbr::PROTECTIVE)
        .map(|record| mbr::partition(record, record.slot + 1, 0, signature))
        .collect();
    Ok(table)
}

/// What is wrong with the two copies and how they go together.
fn report<R: ReadAt + ?Sized>(
    disk: &R,
    primary: &Copy,
    backup: &Copy,
    place: u64,
    last: u64,
    findings: &mut Vec<Finding>,
) -> io::Result<()> {
    match (primary, backup) {
        (Err(first), Err(second)) => {
            let large = disk.read_some_at(4096, MAGIC.len())? == MAGIC;
            findings.push(Finding::error(if large {
                "the GPT is made for a drive with sectors of 4096 bytes".to_string()
            } else {
                format!("the GPT {first}, and the backup GPT at sector {place} {second}")
            }));
        }
        (Err(why), Ok(_)) => {
            findings.push(Finding::error(format!("the GPT {why}; the backup GPT at sector {place} is good")));
        }
        (Ok(_), Err(why)) => {
            findings.push(Finding::warning(format!("the backup GPT at sector {place} {why}")));
        }
        (Ok((one, first)), Ok((two, second))) => {
            let same =
                first == second && one.guid == two.guid && one.usable == two.usable && two.other == one.at;
            if !same {
                findings.push(Finding::error("the GPT and its backup differ"));
            }
            if place < last {
                findings.push(Finding::warning(format!(
                    "the backup GPT is at sector {place}, not at the end, {last}"
                )));
            }
        }
    }
    Ok(())
}

/// The entries in use.
fn partitions(header: &Header, entries: &[u8], findings: &mut Vec<Finding>) -> Vec<Partition> {
    let mut found: Vec<Partition> = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(header.entry_len as usize)) {
        let kind = Uuid::from_bytes_le(bytes(entry, 0));
        if kind.is_nil() {
            continue;
        }
        let (first, last) = (le64(entry, 32), le64(entry, 40));
        let attributes = le64(entry, 48);
        let units: Vec<u16> =
            (56..128).step_by(2).map(|at| le16(entry, at)).take_while(|c| *c != 0).collect();
        let partition = Partition {
            number,
            start: ByteSize(first.saturating_mul(SECTOR)),
            size: ByteSize((last.saturating_add(1)).saturating_sub(first).saturating_mul(SECTOR)),
            kind: Type::Gpt(kind),
            name: String::from_utf16_lossy(&units),
            uuid: Uuid::from_bytes_le(bytes(entry, 16)).to_string(),
            bootable: attributes & LEGACY_BOOT != 0,
            attributes,
        };
        if first > last {
            findings.push(Finding::error(format!(
                "{} starts at sector {first} and ends at sector {last}",
                partition.describe()
            )));
        } else if first < header.usable.0 || last > header.usable.1 {
            findings.push(Finding::error(format!(
                "{} lies outside the sectors {} to {} that the GPT has for partitions",
                partition.describe(),
                header.usable.0,
                header.usable.1
            )));
        }
        found.push(partition);
    }
    found
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
