//! SquashFS: superblock, metadata, directories, files. Magic and size are put in place: they cost nothing to guess.
#![no_main]

use std::sync::Arc;

use bimg::image::squashfs::SquashVolume;
use bimg::image::volume::{self, Volume};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 96 {
        return;
    }
    bytes[..4].copy_from_slice(b"hsqs");
    let len = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&len.to_le_bytes());
    let Ok(Some(files)) = SquashVolume::open(Arc::new(bytes)) else { return };
    let _ = volume::walk(&files, "", &mut |path, _| {
        let _ = files.read(path, 1);
        let _ = files.target(path);
        Ok(())
    });
    let _ = volume::resolve(&files, "etc/os-release");
});
