//! Partition tables as bytes: sectors for the start of the disk, its end, and extended partitions.
//!
//! Source: UEFI 2.10 chapter 5 (GPT, protective MBR), the DOS layout of MBR and EBR as Linux
//! `block/partitions/msdos.c` reads it. A hybrid MBR lists partitions first and the GPT last.

use flate2::Crc;

use crate::disk::area::{BOOT_CODE, GPT_ENTRIES};
use crate::disk::layout::SECTOR;
use crate::disk::{Attribute, DiskSpec, Layout, PartitionSpec, Placed, Table};
use crate::error::Result;

/// MBR types of what is no partition of its own.
const EXTENDED: u8 = 0x0F;
const PROTECTIVE: u8 = 0xEE;
/// Ends every MBR and EBR.
const SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// Bytes of a GPT entry.
const ENTRY: usize = 128;
/// Bytes of the GPT header that are in use.
const HEADER: usize = 92;

/// A piece of the table and its place on the disk.
#[derive(Debug)]
pub struct Piece {
    /// First byte on the disk.
    pub start: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Renders the table of a disk. The boot code's part of the first sector is left out.
pub fn render(spec: &DiskSpec, layout: &Layout) -> Result<Vec<Piece>> {
    if spec.table == Table::None {
        return Ok(Vec::new());
    }
    let mut pieces = vec![mbr(spec, layout)?];
    if spec.table.has_gpt() {
        pieces.extend(gpt(spec, layout)?);
    } else {
        pieces.extend(ebrs(spec, layout)?);
    }
    Ok(pieces)
}

/// First sector and sectors.
fn sectors(placed: &Placed) -> (u64, u64) {
    (placed.start.0 / SECTOR, placed.size.0 / SECTOR)
}

fn mbr(spec: &DiskSpec, layout: &Layout) -> Result<Piece> {
    let mut entries: [Option<Entry>; 4] = [None; 4];
    let all = || spec.partitions.iter().zip(&layout.partitions);
    match spec.table {
        Table::Mbr => {
            for (partition, placed) in all().filter(|(partition, _)| !partition.logical) {
                entries[placed.number as usize - 1] = Some(Entry::of(partition, placed)?);
            }
            if let Some(extended) = &layout.extended {
                let (start, len) = sectors(extended);
                entries[extended.number as usize - 1] = Some(Entry::new(EXTENDED, start, len));
            }
        }
        Table::Hybrid => {
            let in_mbr = all().filter_map(|(it, placed)| it.mbr_kind.as_ref().map(|kind| (it, kind, placed)));
            let mut free = entries.iter_mut();
            for ((partition, kind, placed), entry) in in_mbr.zip(&mut free) {
                let (start, len) = sectors(placed);
                *entry = Some(Entry { bootable: partition.bootable, ..Entry::new(kind.code()?, start, len) });
            }
            if let Some(entry) = free.next() {
                let end = (spec.gpt_location.0 + GPT_ENTRIES) / SECTOR;
                *entry = Some(Entry::new(PROTECTIVE, 1, end - 1));
            }
        }
        Table::Gpt | Table::None => {
            let len = (layout.size.0 / SECTOR - 1).min(u32::MAX.into());
            entries[0] = Some(Entry::new(PROTECTIVE, 1, len));
        }
    }
    let mut bytes = spec.signature().to_le_bytes().to_vec();
    bytes.extend([0; 2]);
    for entry in entries {
        bytes.extend(entry.map_or([0; 16], |entry| entry.bytes(0)));
    }
    bytes.extend(SIGNATURE);
    Ok(Piece { start: BOOT_CODE, bytes })
}

/// A chain through the extended partition: each logical partition has a sector of its own before it,
/// with its entry (counted from that sector) and that of the next (counted from the extended partition).
fn ebrs(spec: &DiskSpec, layout: &Layout) -> Result<Vec<Piece>> {
    let Some(extended) = &layout.extended else { return Ok(Vec::new()) };
    let align = spec.align.0 / SECTOR;
    let first = extended.start.0 / SECTOR;
    let logical: Vec<(&PartitionSpec, &Placed)> =
        spec.partitions.iter().zip(&layout.partitions).filter(|(it, _)| it.logical).collect();
    let mut pieces = Vec::new();
    for (index, (partition, placed)) in logical.iter().enumerate() {
        let (start, len) = sectors(placed);
        let own = Entry { start: align, ..Entry::of(partition, placed)? };
        let link = logical.get(index + 1).map(|(_, next)| {
            let (start, len) = sectors(next);
            Entry::new(EXTENDED, start - align - first, len + align)
        });
        debug_assert_eq!(u64::from(own.len), len);
        let mut bytes = vec![0; 446];
        bytes.extend(own.bytes(start - align));
        bytes.extend(link.map_or([0; 16], |link| link.bytes(first)));
        bytes.resize(510, 0);
        bytes.extend(SIGNATURE);
        pieces.push(Piece { start: (start - align) * SECTOR, bytes });
    }
    Ok(pieces)
}

/// An entry of an MBR or EBR.
#[derive(Debug, Clone, Copy)]
struct Entry {
    bootable: bool,
    code: u8,
    start: u64,
    len: u32,
}

impl Entry {
    fn new(code: u8, start: u64, len: u64) -> Self {
        Entry { bootable: false, code, start, len: len as u32 }
    }

    fn of(partition: &PartitionSpec, placed: &Placed) -> Result<Self> {
        let (start, len) = sectors(placed);
        Ok(Entry { bootable: partition.bootable, ..Entry::new(partition.kind.code()?, start, len) })
    }

    /// As it is stored; its start counts from the sector `base`, CHS from the start of the disk.
    fn bytes(self, base: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = if self.bootable { 0x80 } else { 0 };
        bytes[1..4].copy_from_slice(&chs(base + self.start));
        bytes[4] = self.code;
        bytes[5..8].copy_from_slice(&chs(base + self.start + u64::from(self.len) - 1));
        bytes[8..12].copy_from_slice(&(self.start as u32).to_le_bytes());
        bytes[12..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }
}

/// Head, sector with high cylinder bits, low cylinder bits, for 255 heads of 63 sectors; what lies
/// beyond the reach of CHS is 1023/254/63.
fn chs(sector: u64) -> [u8; 3] {
    let cylinder = sector / (255 * 63);
    if cylinder > 1023 {
        return [254, 0xFF, 0xFF];
    }
    let head = sector / 63 % 255;
    [head as u8, (sector % 63 + 1) as u8 | ((cylinder >> 8) as u8) << 6, cylinder as u8]
}

/// Header and entries, and their copies at the end of the disk.
fn gpt(spec: &DiskSpec, layout: &Layout) -> Result<Vec<Piece>> {
    let mut entries = vec![0; GPT_ENTRIES as usize];
    for (partition, placed) in spec.partitions.iter().zip(&layout.partitions) {
        let at = (placed.number as usize - 1) * ENTRY;
        entry(spec, partition, placed, &mut entries[at..at + ENTRY])?;
    }
    let last = layout.size.0 / SECTOR - 1;
    let location = spec.gpt_location.0 / SECTOR;
    let backup = if spec.gpt_backup { last } else { 1 };
    let primary = header(spec, layout, &entries, Place { own: 1, other: backup, entries: location });
    let mut pieces = vec![Piece { start: SECTOR, bytes: primary }];
    if spec.gpt_backup {
        let start = last - GPT_ENTRIES / SECTOR;
        let copy = header(spec, layout, &entries, Place { own: last, other: 1, entries: start });
        let bytes = [entries.as_slice(), &copy].concat();
        pieces.push(Piece { start: start * SECTOR, bytes });
    }
    pieces.push(Piece { start: spec.gpt_location.0, bytes: entries });
    Ok(pieces)
}

fn entry(spec: &DiskSpec, partition: &PartitionSpec, placed: &Placed, bytes: &mut [u8]) -> Result<()> {
    let (start, len) = sectors(placed);
    let mut attributes: u64 = partition.attributes.iter().fold(0, |bits, it| bits | it.bit());
    if partition.bootable {
        attributes |= Attribute::LegacyBoot.bit();
    }
    bytes[..16].copy_from_slice(&partition.kind.guid()?.to_bytes_le());
    bytes[16..32].copy_from_slice(&spec.partition_guid(partition)?.to_bytes_le());
    bytes[32..40].copy_from_slice(&start.to_le_bytes());
    bytes[40..48].copy_from_slice(&(start + len - 1).to_le_bytes());
    bytes[48..56].copy_from_slice(&attributes.to_le_bytes());
    for (unit, place) in partition.name.encode_utf16().zip(bytes[56..].chunks_exact_mut(2)) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
    Ok(())
}

/// Sectors of a header, of the other header, and of the entries that go with it.
#[derive(Clone, Copy)]
struct Place {
    own: u64,
    other: u64,
    entries: u64,
}

/// The header's sector. Usable is what lies from the first partition on: boot loaders before it are not
/// to be overwritten by a partition that somebody adds.
fn header(spec: &DiskSpec, layout: &Layout, entries: &[u8], place: Place) -> Vec<u8> {
    let behind = (spec.gpt_location.0 + GPT_ENTRIES) / SECTOR;
    let first = layout.partitions.iter().map(|placed| placed.start.0 / SECTOR).min().unwrap_or(behind);
    let last = layout.size.0 / SECTOR - 2 - GPT_ENTRIES / SECTOR;
    let mut bytes = b"EFI PART".to_vec();
    bytes.extend(0x0001_0000_u32.to_le_bytes());
    bytes.extend((HEADER as u32).to_le_bytes());
    // The header's own checksum, filled in below, and a reserved field.
    bytes.extend([0; 8]);
    for sector in [place.own, place.other, first, last] {
        bytes.extend(sector.to_le_bytes());
    }
    bytes.extend(spec.disk_guid().to_bytes_le());
    bytes.extend(place.entries.to_le_bytes());
    bytes.extend(((entries.len() / ENTRY) as u32).to_le_bytes());
    bytes.extend((ENTRY as u32).to_le_bytes());
    bytes.extend(crc(entries).to_le_bytes());
    let sum = crc(&bytes);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// CRC-32 as UEFI has it.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
