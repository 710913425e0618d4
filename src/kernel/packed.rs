//! Staged files as they go to a board: packed once, when they are built, and not anew for every board.
//!
//! `packed/SHA256` beside the staging tree is one Zstandard frame (RFC 8878, section 3) of a file's content and of the zeros
//! behind it, up to a whole block of tar. Frames may follow each other, so a deploy strings them together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::staged::{StagedFile, on_all_cores};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fsx;

/// A block of tar.
const BLOCK: u64 = 512;
/// What single files need to become as small as large blocks do at level 1.
const LEVEL: i32 = 6;

/// Where the frame of a staged file with this hash is, if there is one.
pub fn path(stage: &Path, sha256: &Digest) -> PathBuf {
    dir(stage).join(sha256.to_string())
}

fn dir(stage: &Path) -> PathBuf {
    stage.with_file_name("packed")
}

/// Packs the files that are not packed yet, and removes what is of none of them.
pub fn keep(stage: &Path, files: &[StagedFile]) -> Result<()> {
    let dir = dir(stage);
    fsx::create_dir_all(&dir)?;
    // Equal files are one.
    let wanted: BTreeMap<String, &StagedFile> =
        files.iter().map(|file| (file.sha256.to_string(), file)).collect();
    for name in fsx::names(&dir)?.iter().filter(|name| !wanted.contains_key(*name)) {
        fsx::remove_file(&dir.join(name))?;
    }
    let wanted: Vec<&StagedFile> = wanted.into_values().collect();
    on_all_cores(&wanted, |file| pack(stage, file)).map(drop)
}

/// Removes all frames.
pub fn remove(stage: &Path) -> Result<()> {
    fsx::remove_dir_all(&dir(stage))
}

fn pack(stage: &Path, file: &StagedFile) -> Result<()> {
    let (from, to) = (stage.join(&file.path), path(stage, &file.sha256));
    if frame(&to, file.size, &mut Vec::new()) {
        return Ok(());
    }
    let mut bytes = fsx::read(&from)?;
    if bytes.len() as u64 != file.size {
        return Err(Error::new(format!("`{}` has changed while it was packed", from.display())));
    }
    bytes.resize(file.size.next_multiple_of(BLOCK) as usize, 0);
    let partial = to.with_extension("partial");
    let packed = packer(LEVEL).and_then(|mut packer| packer.compress(&bytes));
    // Not synced: what a power cut spoils is seen by its shape, or refused by the board and then forgotten.
    packed
        .and_then(|frame| fs::write(&partial, frame))
        .and_then(|()| fs::rename(&partial, &to))
        .map_err(|cause| fsx::io_error("write", &to, &cause))
}

/// Removes the frame at `path` if it does not hold a file of `size` bytes with this hash.
pub fn forget_damaged(path: &Path, size: u64, sha256: &Digest) {
    let mut bytes = Vec::new();
    let unpacked = frame(path, size, &mut bytes).then(|| zstd::decode_all(&bytes[..]));
    let whole = unpacked.and_then(|unpacked| Some(Digest::of(unpacked.ok()?.get(..size as usize)?)));
    if whole != Some(*sha256) {
        // Whether it could be removed shows the next time.
        let _ = fs::remove_file(path);
    }
}

/// What makes a frame at a level, with a checksum of its content.
pub fn packer(level: i32) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut packer = zstd::bulk::Compressor::new(level)?;
    packer.include_checksum(true)?;
    Ok(packer)
}

/// Reads the frame at `path`; false where there is none, or it is not a whole one of a file of `size` bytes.
pub fn frame(path: &Path, size: u64, frame: &mut Vec<u8>) -> bool {
    frame.clear();
    if File::open(path).and_then(|mut file| file.read_to_end(frame)).is_err() {
        return false;
    }
    let unpacked = get_frame_content_size(frame).ok().flatten();
    find_frame_compressed_size(frame) == Ok(frame.len()) && unpacked == Some(size.next_multiple_of(BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::staged::staged;

    #[test]
    fn each_content_is_packed_once() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join("stage");
        fsx::create_dir_all(&stage).unwrap();
        let put = |name: &str, text: &str| fs::write(stage.join(name), text).unwrap();
        let frames = || fsx::names(&dir.path().join("packed")).unwrap();
        let unpacked = |sha256: &Digest, size: u64| {
            let mut bytes = Vec::new();
            let whole = frame(&path(&stage, sha256), size, &mut bytes);
            whole.then(|| zstd::decode_all(&bytes[..]).unwrap())
        };
        put("a.ko", &"a".repeat(700));
        put("same.ko", &"a".repeat(700));
        put("b.ko", "b");
        let files = staged(&stage).unwrap();
        keep(&stage, &files).unwrap();
        assert_eq!(frames().len(), 2);
        let [a, b] = [&files[0], &files[1]].map(|file| file.sha256);
        let mut padded = vec![b'a'; 700];
        padded.resize(1024, 0);
        assert_eq!(unpacked(&a, 700), Some(padded));
        assert_eq!(unpacked(&b, 1).map(|bytes| bytes.len()), Some(512));

        // Of another length, cut, or nothing at all: it is not used.
        assert_eq!(unpacked(&a, 1025), None);
        let whole = fs::read(path(&stage, &a)).unwrap();
        fs::write(path(&stage, &a), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(unpacked(&a, 700), None);
        fs::write(path(&stage, &a), vec![0; whole.len()]).unwrap();
        assert_eq!(unpacked(&a, 700), None);
        assert_eq!(unpacked(&Digest::of(b"none"), 700), None);
        keep(&stage, &files).unwrap();
        assert!(unpacked(&a, 700).is_some());
        forget_damaged(&path(&stage, &b), 1, &b);
        assert!(unpacked(&b, 1).is_some());
        // Whole, and of another content.
        fs::copy(path(&stage, &a), path(&stage, &b)).unwrap();
        forget_damaged(&path(&stage, &b), 700, &b);
        assert!(!path(&stage, &b).exists());

        // What no file has any more goes, what another has stays.
        put("a.ko", "c");
        put("b.ko", "c");
        let files = staged(&stage).unwrap();
        keep(&stage, &files).unwrap();
        assert_eq!(frames().len(), 2);
        assert_eq!(unpacked(&b, 1), None);
        assert!(unpacked(&Digest::of(b"c"), 1).is_some());
    }
}
