//! A FAT's own consistency: equal copies of the table, no cluster in two chains, none lost.

use std::io;

use super::super::fat::{Fat, FatVolume};
use super::super::read::{ReadAt, Source};
use super::super::volume::{self, Kind};
use super::Finding;

/// Bytes compared at once.
const PIECE: u64 = 1 << 20;

/// What is wrong; reading errors included.
pub fn check(source: &Source) -> Vec<Finding> {
    let volume = match FatVolume::open(source.clone()) {
        Ok(Some(volume)) => volume,
        Ok(None) => return Vec::new(),
        Err(cause) => return vec![Finding::error(crate::fsx::describe(&cause))],
    };
    let mut findings = Vec::new();
    let result =
        copies(source, volume.fat(), &mut findings).and_then(|()| chains(source, &volume, &mut findings));
    findings.extend(result.err().map(|cause| Finding::error(crate::fsx::describe(&cause))));
    findings
}

fn copies(source: &Source, fat: &Fat, findings: &mut Vec<Finding>) -> io::Result<()> {
    for copy in 1..fat.fats {
        let mut at = 0;
        while at < fat.fat_len {
            let len = PIECE.min(fat.fat_len - at) as usize;
            let first = source.read_some_at(fat.fat_start + at, len)?;
            if first != source.read_some_at(fat.fat_start + copy * fat.fat_len + at, len)? {
                findings.push(Finding::error("the copies of the allocation table differ"));
                return Ok(());
            }
            at += PIECE;
        }
    }
    Ok(())
}

/// Marks the clusters of every chain that a directory leads to.
fn chains(source: &Source, volume: &FatVolume, findings: &mut Vec<Finding>) -> io::Result<()> {
    let fat = volume.fat();
    let mut seen = vec![0u64; (u64::from(fat.clusters) + 2).div_ceil(64) as usize];
    let mut mark = |first: u32, what: &str, findings: &mut Vec<Finding>| {
        // A chain that cannot be followed was told when the file was read.
        for number in volume.chain(first).unwrap_or_default().into_iter().flatten() {
            let (word, bit) = (number as usize / 64, 1u64 << (number % 64));
            if seen[word] & bit != 0 {
                findings.push(Finding::error(format!("`/{what}` shares cluster {number} with another")));
                return;
            }
            seen[word] |= bit;
        }
    };
    if fat.root_len == 0 {
        mark(fat.root_cluster, "", findings);
    }
    let walked = volume::walk(volume, "", &mut |path, entry| {
        let first = volume.first_cluster(path)?;
        if let Some(first) = first.filter(|_| entry.size > 0 || entry.kind == Kind::Directory) {
            mark(first, path, findings);
        }
        Ok(())
    });
    if walked.is_err() {
        // Told by the reading of all directories.
        return Ok(());
    }
    let mut lost = 0u64;
    fat.used(source, &mut |run| {
        lost += run.filter(|number| seen[*number as usize / 64] >> (number % 64) & 1 == 0).count() as u64;
    })?;
    match lost {
        0 => {}
        1 => findings.push(Finding::warning("1 cluster is in use, but no file has it")),
        _ => findings.push(Finding::warning(format!("{lost} clusters are in use, but no file has them"))),
    }
    Ok(())
}
