//! One file for each partition, for those who write partitions by themselves (fastboot, an updater).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::disk::format::{Finished, Output, beside};
use crate::disk::image::Range;
use crate::error::Result;
use crate::progress::Progress;
use crate::{fsx, interrupt};

/// See the module.
pub struct Partitions;

impl Output for Partitions {
    fn write(&self, image: &Finished<'_>, _: &dyn Progress) -> Result<Vec<PathBuf>> {
        let input = fsx::open(image.path)?;
        let mut written = Vec::new();
        let partitions = &image.facts.partitions;
        let names = partitions.iter().map(|partition| (partition.number, partition.name.as_str()));
        for (partition, name) in partitions.iter().zip(file_names(names)) {
            let target = beside(image.path, &format!("{name}.img"));
            let mut output = fsx::AtomicFile::create(&target)?;
            let (start, size) = (partition.start.0, partition.size.0);
            let result = copy(&input, output.file(), start, size, &image.facts.ranges);
            interrupt::check()?;
            result.map_err(|cause| fsx::io_error("write", &target, &cause))?;
            output.commit()?;
            written.push(target);
        }
        Ok(written)
    }
}

/// A partition's name may hold what a file's may not.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// The same for all partitions by number and name. A number is added where the name is taken, so no two are in one file.
fn file_names<'a>(partitions: impl Iterator<Item = (u32, &'a str)>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (number, name) in partitions {
        let mut name = file_name(name);
        while names.contains(&name) {
            name = format!("{name}-{number}");
        }
        names.push(name);
    }
    names
}

/// Copies what is mapped; the rest stays a hole.
fn copy(input: &File, output: &File, start: u64, size: u64, ranges: &[Range]) -> io::Result<()> {
    output.set_len(size)?;
    let mut buffer = vec![0; 1 << 20];
    for range in ranges {
        let mut at = range.start.max(start);
        let end = (range.start + range.len).min(start + size);
        while at < end {
            interrupt::check_io()?;
            let piece = &mut buffer[..(end - at).min(1 << 20) as usize];
            input.read_exact_at(piece, at)?;
            output.write_all_at(piece, at - start)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_partitions_share_a_file() {
        let names = ["boot", "a b", "a/b", "a_b-3", "ä", "ö"];
        let named = file_names((1..).zip(names));
        assert_eq!(named, ["boot", "a_b", "a_b-3", "a_b-3-4", "_", "_-6"]);
    }
}
