//! Partition tables as bytes: the sectors at the start of the disk, and at its end.

use std::io::{self, Read, Seek, SeekFrom, Write};

use gpt::mbr::{PartRecord, ProtectiveMBR};
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};

use crate::disk::{DiskSpec, Layout, Placed, Table};
use crate::error::{Error, Result};

const SECTOR: u64 = 512;
/// GPT attribute bit 2, "legacy BIOS bootable": U-Boot's distro boot takes it for bootable.
const LEGACY_BOOT: u64 = 1 << 2;

/// The bytes of a partition table.
#[derive(Debug)]
pub struct Bytes {
    /// From the first byte of the disk on.
    pub head: Vec<u8>,
    /// Up to the last byte of the disk.
    pub tail: Vec<u8>,
}

/// Renders the table of a disk.
pub fn render(spec: &DiskSpec, layout: &Layout) -> Result<Bytes> {
    match spec.table {
        Table::Mbr => Ok(Bytes { head: mbr(spec, layout)?, tail: Vec::new() }),
        Table::Gpt => gpt(spec, layout),
    }
}

fn sectors(placed: &Placed) -> (u64, u64) {
    (placed.start.0 / SECTOR, placed.size.0 / SECTOR)
}

fn mbr(spec: &DiskSpec, layout: &Layout) -> Result<Vec<u8>> {
    let mut table = ProtectiveMBR::new();
    table.set_disk_signature(spec.signature().to_le_bytes());
    table.set_partition(0, PartRecord::zero());
    for (index, (partition, placed)) in spec.partitions.iter().zip(&layout.partitions).enumerate() {
        let (start, len) = sectors(placed);
        let (start_head, start_sector, start_track) = chs(start);
        let (end_head, end_sector, end_track) = chs(start + len - 1);
        let record = PartRecord {
            boot_indicator: if partition.bootable { 0x80 } else { 0 },
            start_head,
            start_sector,
            start_track,
            os_type: partition.kind.code()?,
            end_head,
            end_sector,
            end_track,
            lb_start: start as u32,
            lb_size: len as u32,
        };
        table.set_partition(index, record);
    }
    Ok(table.to_bytes().to_vec())
}

/// Head, sector with high cylinder bits, low cylinder bits, for 255 heads of 63 sectors; what lies
/// beyond the reach of CHS is 1023/254/63.
fn chs(sector: u64) -> (u8, u8, u8) {
    let cylinder = sector / (255 * 63);
    if cylinder > 1023 {
        return (254, 0xFF, 0xFF);
    }
    let head = sector / 63 % 255;
    (head as u8, (sector % 63 + 1) as u8 | ((cylinder >> 8) as u8) << 6, cylinder as u8)
}

fn gpt(spec: &DiskSpec, layout: &Layout) -> Result<Bytes> {
    let failed = |cause: &dyn std::fmt::Display| Error::new("cannot make the GPT").caused_by(cause);
    let mut ends = Ends::new(layout.size.0);
    let mbr = ProtectiveMBR::with_lb_size(u32::try_from(layout.size.0 / SECTOR - 1).unwrap_or(u32::MAX));
    ends.head[..SECTOR as usize].copy_from_slice(&mbr.to_bytes());
    let mut disk = gpt::GptConfig::new()
        .writable(true)
        .create_from_device(ends, Some(spec.disk_guid()))
        .map_err(|cause| failed(&cause))?;
    let mut partitions = std::collections::BTreeMap::new();
    for (partition, placed) in spec.partitions.iter().zip(&layout.partitions) {
        let (start, len) = sectors(placed);
        let entry = Partition {
            part_type_guid: Type { guid: partition.kind.guid()?, os: OperatingSystem::None },
            part_guid: spec.partition_guid(partition)?,
            first_lba: start,
            last_lba: start + len - 1,
            flags: if partition.bootable { LEGACY_BOOT } else { 0 },
            name: partition.name.clone(),
        };
        partitions.insert(placed.number, entry);
    }
    disk.update_partitions(partitions).map_err(|cause| failed(&cause))?;
    let ends = disk.write().map_err(|cause| failed(&cause))?;
    Ok(Bytes { head: ends.head, tail: ends.tail })
}

/// A disk of which only the two ends exist: all that the `gpt` crate touches.
#[derive(Debug)]
struct Ends {
    size: u64,
    position: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    fn new(size: u64) -> Self {
        Ends { size, position: 0, head: vec![0; 34 * SECTOR as usize], tail: vec![0; 33 * SECTOR as usize] }
    }

    /// The bytes from the position on, up to the end of that end.
    fn here(&mut self) -> io::Result<&mut [u8]> {
        let tail_start = self.size - self.tail.len() as u64;
        let (end, start) =
            if self.position >= tail_start { (&mut self.tail, tail_start) } else { (&mut self.head, 0) };
        end.get_mut((self.position - start) as usize..)
            .ok_or_else(|| io::Error::other("the partition table does not reach there"))
    }
}

impl Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (&*self.here()?).read(buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Write for Ends {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.here()?.write(buffer)?;
        self.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(offset) => offset,
            SeekFrom::End(offset) => self.size.saturating_add_signed(offset),
            SeekFrom::Current(offset) => self.position.saturating_add_signed(offset),
        };
        Ok(self.position)
    }
}
