//! The DOS master boot record and its chain of logical partitions.

use std::collections::BTreeSet;
use std::io;

use super::super::Finding;
use super::super::read::{ReadAt, le32};
use super::{Area, Kind, Partition, SECTOR, Table, Type};
use crate::units::ByteSize;

/// Type of the entry that protects a GPT.
pub const PROTECTIVE: u8 = 0xEE;
/// Types that hold a chain of logical partitions: CHS, LBA, Linux.
pub const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// Logical partitions followed; Linux stops at 256 minors as well.
const MAX_LOGICAL: usize = 256;

/// An entry that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Position in its table, 0 to 3.
    pub slot: u32,
    /// Type.
    pub code: u8,
    /// Active flag.
    pub bootable: bool,
    /// First sector.
    pub start: u32,
    /// Sectors.
    pub len: u32,
}

/// The entries in use, those with a length, as Linux has it; `None` when the sector is no MBR: no signature, or an active flag that is none.
pub fn records(sector: &[u8]) -> Option<Vec<Record>> {
    if sector.get(510..512) != Some(&[0x55, 0xAA]) {
        return None;
    }
    let mut found = Vec::new();
    for (slot, entry) in sector[446..510].chunks_exact(16).enumerate() {
        if entry[0] & 0x7F != 0 {
            return None;
        }
        let record = Record {
            slot: slot as u32,
            code: entry[4],
            bootable: entry[0] == 0x80,
            start: le32(entry, 8),
            len: le32(entry, 12),
        };
        if record.len != 0 {
            found.push(record);
        }
    }
    Some(found)
}

/// The disk signature, which every `PARTUUID` starts with.
pub fn signature(sector: &[u8]) -> u32 {
    le32(sector, 440)
}

/// An entry whose start counts from sector `base`.
pub fn partition(record: &Record, number: u32, base: u64, signature: u32) -> Partition {
    Partition {
        number,
        start: ByteSize((base + u64::from(record.start)) * SECTOR),
        size: ByteSize(u64::from(record.len) * SECTOR),
        kind: Type::Mbr(record.code),
        name: String::new(),
        uuid: format!("{signature:08x}-{number:02x}"),
        bootable: record.bootable,
        attributes: 0,
    }
}

/// The table of a disk whose first sector is `sector`.
pub fn read<R: ReadAt + ?Sized>(disk: &R, sector: &[u8], records: &[Record]) -> io::Result<Table> {
    let signature = signature(sector);
    let mut table = Table::none();
    table.kind = Kind::Mbr;
    table.id = format!("{signature:08x}");
    table.areas.push(Area { start: 0, len: SECTOR, what: "MBR" });
    let mut logical = Vec::new();
    for record in records {
        table.partitions.push(partition(record, record.slot + 1, 0, signature));
        if EXTENDED.contains(&record.code) {
            logical.extend(chain(disk, record, &mut table)?);
        }
    }
    let active = records.iter().filter(|record| record.bootable).count();
    if active > 1 {
        table.findings.push(Finding::warning(format!("{active} partitions of the MBR are marked active")));
    }
    for (number, (record, base)) in (5..).zip(logical.into_iter().take(MAX_LOGICAL)) {
        table.partitions.push(partition(&record, number, base, signature));
    }
    table.areas.sort_by_key(|area| area.start);
    Ok(table)
}

/// The logical partitions of an extended one, with the sector that each start counts from.
///
/// Each link (EBR) has two entries: a partition, counted from the link itself, and the next link,
/// counted from the extended partition's start.
fn chain<R: ReadAt + ?Sized>(
    disk: &R,
    extended: &Record,
    table: &mut Table,
) -> io::Result<Vec<(Record, u64)>> {
    let base = u64::from(extended.start);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = base;
    loop {
        if !seen.insert(at) {
            table.findings.push(Finding::error(format!(
                "the chain of logical partitions loops: the link at sector {at} comes twice"
            )));
            return Ok(found);
        }
        if seen.len() > MAX_LOGICAL {
            table.findings.push(Finding::error(format!(
                "the chain of logical partitions has more than {MAX_LOGICAL} links"
            )));
            return Ok(found);
        }
        let sector = disk.read_some_at(at * SECTOR, SECTOR as usize)?;
        let Some(records) = records(&sector) else {
            table.partial = sector.len() < SECTOR as usize;
            table.findings.push(Finding::error(format!(
                "the chain of logical partitions is broken: sector {at} holds no link"
            )));
            return Ok(found);
        };
        table.areas.push(Area { start: at * SECTOR, len: SECTOR, what: "EBR" });
        let is_link = |record: &&Record| EXTENDED.contains(&record.code);
        // Linux takes the first two entries only; tools write no more.
        let own = records.iter().filter(|record| record.slot < 2);
        found.extend(own.filter(|record| !is_link(record)).map(|record| (*record, at)));
        match records.iter().find(is_link) {
            Some(next) => at = base + u64::from(next.start),
            None => return Ok(found),
        }
    }
}
