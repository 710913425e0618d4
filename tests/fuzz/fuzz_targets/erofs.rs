//! EROFS: superblock, inodes, directories, files and their index. Magic and size are put in place: they cost nothing to
//! guess.
#![no_main]

use std::sync::Arc;

use bimg::image::erofs::ErofsVolume;
use bimg::image::volume::{self, Volume};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 1024 + 128 {
        return;
    }
    bytes[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
    let blocks = bytes.len() as u32 >> (bytes[1024 + 12] & 15);
    bytes[1024 + 36..1024 + 40].copy_from_slice(&blocks.to_le_bytes());
    let Ok(Some(files)) = ErofsVolume::open(Arc::new(bytes)) else { return };
    let _ = volume::walk(&files, "", &mut |path, _| {
        let _ = files.read(path, 1 << 16);
        let _ = files.target(path);
        Ok(())
    });
    let _ = volume::resolve(&files, "etc/os-release");
});
