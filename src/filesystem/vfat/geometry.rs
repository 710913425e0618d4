//! Sizes and places in a FAT volume, as mkfs.vfat chooses them.
//!
//! Source: Microsoft "FAT32 File System Specification" 1.03 (the FAT type follows from the cluster
//! count and from nothing else), dosfstools `mkfs.fat.c` for cluster sizes and CHS values.

/// Bytes in a sector; the only size that every boot ROM reads.
pub const SECTOR: u64 = 512;
/// Entries in the fixed root directory of FAT12 and FAT16.
const ROOT_ENTRIES: u64 = 512;
/// Drivers disagree on the exact limits between the types by a few clusters; stay clear of them.
const MARGIN: u64 = 16;

/// Bits in a FAT entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 12 bits, below 4,085 clusters.
    Fat12,
    /// 16 bits, below 65,525 clusters.
    Fat16,
    /// 32 bits, from 65,525 clusters on.
    Fat32,
}

impl Width {
    /// `FAT32`.
    pub fn name(self) -> &'static str {
        match self {
            Width::Fat12 => "FAT12",
            Width::Fat16 => "FAT16",
            Width::Fat32 => "FAT32",
        }
    }

    /// Bits of an entry as it is stored.
    pub fn bits(self) -> u64 {
        match self {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        }
    }

    /// The bits of an entry that mean something: FAT32 leaves its upper four alone.
    pub fn mask(self) -> u32 {
        match self {
            Width::Fat12 => 0xFFF,
            Width::Fat16 => 0xFFFF,
            Width::Fat32 => 0x0FFF_FFFF,
        }
    }

    /// The entry `index` of a table that starts with `table`; 0 past its end.
    pub fn entry(self, table: &[u8], index: u64) -> u32 {
        let byte = |at: u64| u32::from(table.get(at as usize).copied().unwrap_or(0));
        let at = index * self.bits() / 8;
        let pair = byte(at) | byte(at + 1) << 8;
        match self {
            Width::Fat12 if index % 2 == 1 => pair >> 4,
            Width::Fat12 => pair & 0xFFF,
            Width::Fat16 => pair,
            Width::Fat32 => (pair | byte(at + 2) << 16 | byte(at + 3) << 24) & self.mask(),
        }
    }

    /// Cluster counts that every driver takes for this type.
    fn clusters(self) -> std::ops::Range<u64> {
        match self {
            Width::Fat12 => 1..4085 - MARGIN,
            Width::Fat16 => 4085 + MARGIN..65525 - MARGIN,
            Width::Fat32 => 65525 + MARGIN..0x0FFF_FFF5,
        }
    }

    /// Sectors per cluster to try, best first.
    fn cluster_sizes(self, sectors: u64) -> &'static [u64] {
        const GIB: u64 = 1 << 21;
        match self {
            Width::Fat32 if sectors <= 520 << 10 => &[1],
            Width::Fat32 if sectors <= 8 * GIB => &[8, 4, 2, 1],
            Width::Fat32 if sectors <= 16 * GIB => &[16],
            Width::Fat32 if sectors <= 32 * GIB => &[32],
            Width::Fat32 => &[64, 128],
            Width::Fat16 => &[4, 8, 16, 32, 64, 2, 1],
            Width::Fat12 => &[4, 8, 16, 32, 64, 128],
        }
    }
}

/// A FAT volume's places, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// FAT type.
    pub width: Width,
    /// Sectors of the volume.
    pub sectors: u64,
    /// Sectors before the first FAT.
    pub reserved: u64,
    /// Sectors of one FAT; there are two.
    pub fat: u64,
    /// Sectors of the fixed root directory; 0 on FAT32.
    pub root: u64,
    /// Sectors per cluster.
    pub cluster: u64,
    /// Clusters.
    pub clusters: u64,
}

impl Geometry {
    /// For a volume of `sectors`, of the type asked for or the best one; `None` when it cannot be.
    pub fn new(sectors: u64, width: Option<Width>) -> Option<Self> {
        if sectors > u64::from(u32::MAX) {
            return None;
        }
        match width {
            Some(width) => width
                .cluster_sizes(sectors)
                .iter()
                .filter_map(|&cluster| Self::with_cluster(sectors, width, cluster))
                .find(|it| width.clusters().contains(&it.clusters)),
            None => [Width::Fat32, Width::Fat16, Width::Fat12]
                .into_iter()
                .find_map(|width| Self::new(sectors, Some(width))),
        }
    }

    /// About the most sectors that a volume of this type can have.
    pub fn largest(width: Option<Width>) -> u64 {
        match width {
            Some(width @ (Width::Fat12 | Width::Fat16)) => {
                let cluster = width.cluster_sizes(0).iter().max().unwrap_or(&1);
                width.clusters().end * cluster
            }
            Some(Width::Fat32) | None => u32::MAX.into(),
        }
    }

    fn with_cluster(sectors: u64, width: Width, cluster: u64) -> Option<Self> {
        let (least, root) = match width {
            Width::Fat32 => (32, 0),
            _ => (1, ROOT_ENTRIES * 32 / SECTOR),
        };
        // Each cluster costs its sectors and an entry in both FATs; two entries are reserved.
        let space = sectors.checked_sub(least + root)?;
        let fat = ((space + 2 * cluster) * width.bits()).div_ceil(cluster * SECTOR * 8 + 2 * width.bits());
        // Clusters start on a 4 KiB boundary, or their own when that is larger: flash pages stay whole.
        let reserved = (least + root + 2 * fat).next_multiple_of(cluster.max(8)) - root - 2 * fat;
        let clusters = sectors.checked_sub(reserved + root + 2 * fat)? / cluster;
        Some(Geometry { width, sectors, reserved, fat, root, cluster, clusters })
    }

    /// Bytes in a cluster.
    pub fn cluster_bytes(&self) -> u64 {
        self.cluster * SECTOR
    }

    /// First byte of the fixed root directory.
    pub fn root_start(&self) -> u64 {
        (self.reserved + 2 * self.fat) * SECTOR
    }

    /// First byte of cluster `n` (the first cluster is 2).
    pub fn cluster_start(&self, n: u64) -> u64 {
        self.root_start() + self.root * SECTOR + (n - 2) * self.cluster_bytes()
    }

    /// Heads and sectors per track that a BIOS would make up (LBA-assisted translation).
    pub fn heads_and_track(&self) -> (u16, u16) {
        match self.sectors >> 11 {
            0..=16 => (2, 32),
            17..=32 => (4, 32),
            33..=128 => (8, 32),
            129..=256 => (16, 32),
            257..=504 => (16, 63),
            505..=1008 => (32, 63),
            1009..=2016 => (64, 63),
            2017..=4032 => (128, 63),
            _ => (255, 63),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_an_entry_for_every_cluster() {
        for sectors in (100..3000).chain((1..4000).map(|n| n * 977)).chain((1..300).map(|n| n << 18)) {
            for width in [None, Some(Width::Fat12), Some(Width::Fat16), Some(Width::Fat32)] {
                let Some(it) = Geometry::new(sectors, width) else { continue };
                assert!((it.clusters + 2) * it.width.bits() <= it.fat * SECTOR * 8, "{it:?}");
                assert!(it.cluster_start(it.clusters + 2) <= sectors * SECTOR, "{it:?}");
                assert!(width.is_none_or(|width| it.width == width));
            }
        }
    }

    #[test]
    fn types_follow_the_size() {
        let at = |mib: u64| Geometry::new(mib << 11, None).map(|it| (it.width, it.cluster));
        assert_eq!(at(1), Some((Width::Fat12, 4)));
        assert_eq!(at(16), Some((Width::Fat16, 4)));
        assert_eq!(at(32), Some((Width::Fat16, 4)));
        assert_eq!(at(34), Some((Width::Fat32, 1)));
        assert_eq!(at(256), Some((Width::Fat32, 1)));
        assert_eq!(at(512), Some((Width::Fat32, 8)));
        assert_eq!(Geometry::new(16 << 11, Some(Width::Fat32)), None);
    }
}
