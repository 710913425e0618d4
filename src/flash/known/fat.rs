//! Free clusters of a FAT, from its allocation tables as they pass.

use std::ops::Range;

use super::{Free, Piece, Wants};
use crate::image::fat::{Fat, decode};

/// Bytes of a table taken at once; entries of 12 bits never straddle two such pieces.
const PIECE: u64 = 48 << 10;
/// Clusters of the largest FAT that is looked into: 8 MiB of bits.
const MAX_CLUSTERS: u32 = 64 << 20;

/// What is known of the clusters.
pub(super) struct Clusters {
    fat: Fat,
    /// A bit for each cluster that some copy of the table has in use.
    used: Vec<u64>,
}

impl Clusters {
    pub(super) fn start(fat: Fat, volume: &Range<u64>, index: usize, wants: &mut Wants) -> Option<Self> {
        if fat.clusters > MAX_CLUSTERS {
            return None;
        }
        let used = vec![0; fat.clusters.div_ceil(64) as usize];
        let clusters = Clusters { fat, used };
        clusters.want(0, 0, volume, index, wants);
        Some(clusters)
    }

    /// Bytes of a table that have entries in them.
    fn table_len(&self) -> u64 {
        ((u64::from(self.fat.clusters) + 2) * self.fat.width.bits()).div_ceil(8)
    }

    fn want(&self, copy: u64, at: u64, volume: &Range<u64>, index: usize, wants: &mut Wants) {
        let place = volume.start + self.fat.fat_start + copy * self.fat.fat_len + at;
        wants.add(place, (self.table_len() - at).min(PIECE), index, Piece::Fat(copy, at));
    }

    /// A part of a table: clusters count as free when all copies say so.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a volume shares with the others is lent for the call"
    )]
    pub(super) fn take(
        &mut self,
        copy: u64,
        at: u64,
        bytes: &[u8],
        volume: &Range<u64>,
        index: usize,
        wants: &mut Wants,
        free: &mut Free,
    ) {
        let first = at * 8 / self.fat.width.bits();
        for (number, entry) in (first..).zip(decode(self.fat.width, bytes)) {
            // Entries 0 and 1 belong to no cluster.
            if entry != 0
                && let Some(cluster) = number.checked_sub(2)
                && let Some(word) = self.used.get_mut(cluster as usize / 64)
            {
                *word |= 1 << (cluster % 64);
            }
        }
        let next = at + PIECE;
        if next < self.table_len() {
            self.want(copy, next, volume, index, wants);
        } else if copy + 1 < self.fat.fats {
            self.want(copy + 1, 0, volume, index, wants);
        } else {
            self.tell(volume, free);
        }
    }

    fn tell(&mut self, volume: &Range<u64>, free: &mut Free) {
        let used = std::mem::take(&mut self.used);
        let place = |cluster: u64| volume.start + self.fat.data_start + cluster * self.fat.cluster;
        let mut start = None;
        for cluster in 0..u64::from(self.fat.clusters) {
            let is_used = used[cluster as usize / 64] >> (cluster % 64) & 1 != 0;
            match (is_used, start) {
                (false, None) => start = Some(cluster),
                (true, Some(first)) => {
                    free.add(volume, place(first)..place(cluster));
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(first) = start {
            free.add(volume, place(first)..place(u64::from(self.fat.clusters)));
        }
    }
}
