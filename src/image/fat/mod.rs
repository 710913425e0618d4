//! FAT12, FAT16 and FAT32 as they are found: geometry, allocation table, directories.
//!
//! Source: Microsoft "FAT32 File System Specification" 1.03; Linux `fs/fat/inode.c` for what is
//! accepted. The type follows from the number of clusters and from nothing else.

mod dir;

use std::io;
use std::ops::Range;

use super::read::{ReadAt, le16, le32, text};
use crate::filesystem::Width;
use crate::units::ByteSize;

pub use dir::FatVolume;

/// Bytes of the allocation table read at once; entries of 12 bits never straddle two such pieces.
const PIECE: u64 = 3 << 16;
/// Clusters of a FAT32 at most: entries have 28 bits, and the last values mean other things.
const MAX_CLUSTERS: u64 = 0x0FFF_FFF5;

/// Where everything is in a FAT volume. Offsets and lengths in bytes from its first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fat {
    /// Bits of an entry.
    pub width: Width,
    /// Bytes of a sector.
    pub sector: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Clusters; the first has the number 2.
    pub clusters: u32,
    /// Copies of the allocation table.
    pub fats: u64,
    /// Start of the first allocation table.
    pub fat_start: u64,
    /// Length of one allocation table.
    pub fat_len: u64,
    /// Start of the fixed root directory (FAT12 and FAT16).
    pub root_start: u64,
    /// Length of the fixed root directory; 0 on FAT32.
    pub root_len: u64,
    /// First cluster of the root directory (FAT32).
    pub root_cluster: u32,
    /// Start of cluster 2.
    pub data_start: u64,
    /// Length of the volume.
    pub size: u64,
    /// FSInfo's sector (FAT32), 0 for none.
    pub info_sector: u16,
    /// Sector of the boot sector's copy (FAT32), 0 for none.
    pub backup_sector: u16,
    /// Media byte.
    pub media: u8,
    /// Volume serial number as blkid writes it: `1234-ABCD`.
    pub serial: String,
    /// Label of the boot sector; the one in the root directory counts where it is there.
    pub label: String,
}

impl Fat {
    /// From the first sector; `None` when it is not a FAT's.
    pub fn parse(boot: &[u8]) -> Option<Self> {
        // Without the jump it is some other boot sector, an MBR for one.
        if boot.get(510..512)? != [0x55, 0xAA] || !matches!(boot[0], 0xEB | 0xE9) {
            return None;
        }
        let sector = u64::from(le16(boot, 11));
        let per_cluster = u64::from(boot[13]);
        let reserved = u64::from(le16(boot, 14));
        let fats = u64::from(boot[16]);
        let media = boot[21];
        let is_sound = matches!(sector, 512 | 1024 | 2048 | 4096)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && (1..=4).contains(&fats)
            && (media == 0xF0 || media >= 0xF8);
        if !is_sound {
            return None;
        }
        let either = |short: u16, long: u32| if short == 0 { u64::from(long) } else { u64::from(short) };
        let sectors = either(le16(boot, 19), le32(boot, 32));
        let fat_sectors = either(le16(boot, 22), le32(boot, 36));
        let root_len = u64::from(le16(boot, 17)) * 32;
        let root_at = reserved + fats * fat_sectors;
        let data_at = root_at + root_len.div_ceil(sector);
        let clusters = sectors.checked_sub(data_at)? / per_cluster;
        let width = match clusters {
            0..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let wide = le16(boot, 22) == 0;
        // FAT32's boot sector has another form; a volume of one form and the other's size is none.
        let width = if wide { Width::Fat32 } else { width };
        if clusters == 0 || fat_sectors == 0 || (!wide && width == Width::Fat32) || (wide && root_len != 0) {
            return None;
        }
        let fat_len = fat_sectors * sector;
        // A table too short for the volume limits what can be used.
        let entries = (fat_len * 8 / width.bits()).saturating_sub(2);
        let extended = if wide { 66 } else { 38 };
        let (serial, label) = match boot[extended] {
            0x29 => (le32(boot, extended + 1), text(&boot[extended + 5..extended + 16])),
            0x28 => (le32(boot, extended + 1), String::new()),
            _ => (0, String::new()),
        };
        Some(Fat {
            width,
            sector,
            cluster: per_cluster * sector,
            clusters: clusters.min(entries).min(MAX_CLUSTERS) as u32,
            fats,
            fat_start: reserved * sector,
            fat_len,
            root_start: root_at * sector,
            root_len: root_len.next_multiple_of(sector),
            root_cluster: if wide { le32(boot, 44) } else { 0 },
            data_start: data_at * sector,
            size: sectors * sector,
            info_sector: if wide { le16(boot, 48) } else { 0 },
            backup_sector: if wide { le16(boot, 50) } else { 0 },
            media,
            serial: format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF),
            label: if label == "NO NAME" { String::new() } else { label },
        })
    }

    /// Of a volume; `None` when it is not a FAT.
    pub fn read<R: ReadAt + ?Sized>(volume: &R) -> io::Result<Option<Self>> {
        Ok(Self::parse(&volume.read_some_at(0, 512)?))
    }

    /// Everything before the first cluster, which is always in use.
    pub fn metadata(&self) -> Range<u64> {
        0..self.data_start
    }

    /// The bytes of a cluster; `None` for a number that is no cluster's.
    pub fn cluster(&self, number: u32) -> Option<Range<u64>> {
        let index = u64::from(number.checked_sub(2).filter(|index| *index < self.clusters)?);
        let start = self.data_start + index * self.cluster;
        Some(start..start + self.cluster)
    }

    /// The bytes of a run of clusters, as [`Fat::used`] gives it.
    pub fn run(&self, clusters: &Range<u32>) -> Range<u64> {
        let at = |number: u32| self.data_start + u64::from(number.saturating_sub(2)) * self.cluster;
        at(clusters.start)..at(clusters.end)
    }

    /// Bytes of one table that have entries in them.
    fn table_len(&self) -> u64 {
        ((u64::from(self.clusters) + 2) * self.width.bits()).div_ceil(8)
    }

    /// Calls `each` with all entries of one copy of the table, in pieces: number of the first, entries.
    pub fn entries<R: ReadAt + ?Sized>(
        &self,
        volume: &R,
        copy: u64,
        each: &mut dyn FnMut(u32, &[u32]),
    ) -> io::Result<()> {
        let start = self.fat_start + copy * self.fat_len;
        let (mut at, mut number, all) = (0, 0u64, u64::from(self.clusters) + 2);
        while number < all {
            let piece = (self.table_len() - at).min(PIECE);
            let mut bytes = vec![0; piece as usize];
            volume.read_exact_at(start + at, &mut bytes)?;
            let mut entries = decode(self.width, &bytes);
            entries.truncate((all - number) as usize);
            each(number as u32, &entries);
            number += entries.len() as u64;
            at += piece;
        }
        Ok(())
    }

    /// Calls `each` with every run of clusters in use, in ascending order. Clusters marked bad are not.
    pub fn used<R: ReadAt + ?Sized>(&self, volume: &R, each: &mut dyn FnMut(Range<u32>)) -> io::Result<()> {
        let bad = self.width.mask() & !8;
        let mut open: Option<Range<u32>> = None;
        self.entries(volume, 0, &mut |first, entries| {
            for (number, entry) in (first..).zip(entries) {
                if number < 2 || *entry == 0 || *entry == bad {
                    continue;
                }
                match &mut open {
                    Some(run) if run.end == number => run.end += 1,
                    _ => {
                        if let Some(run) = open.replace(number..number + 1) {
                            each(run);
                        }
                    }
                }
            }
        })?;
        if let Some(run) = open {
            each(run);
        }
        Ok(())
    }

    /// Bytes in clusters that are in use.
    pub fn used_bytes<R: ReadAt + ?Sized>(&self, volume: &R) -> io::Result<ByteSize> {
        let mut clusters = 0;
        self.used(volume, &mut |run| clusters += u64::from(run.end - run.start))?;
        Ok(ByteSize(clusters * self.cluster))
    }
}

/// The entries in a piece of an allocation table; it starts where an entry of even number does.
pub fn decode(width: Width, bytes: &[u8]) -> Vec<u32> {
    let count = bytes.len() as u64 * 8 / width.bits();
    (0..count).map(|index| width.entry(bytes, index)).collect()
}

#[cfg(test)]
mod tests;
