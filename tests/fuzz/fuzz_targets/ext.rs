//! ext2, ext3, ext4: geometry, map, files. The superblock's magic is put in place: it costs nothing to guess.
#![no_main]

use std::sync::Arc;

use bimg::image::ext::{Ext, ExtVolume};
use bimg::image::read::Source;
use bimg::image::volume::{self, Volume};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if let Some(magic) = bytes.get_mut(1024 + 56..1024 + 58) {
        magic.copy_from_slice(&[0x53, 0xEF]);
    }
    // Whoever damages an image on purpose makes its checksums fit.
    if let Some(features) = bytes.get_mut(1024 + 0x65) {
        *features &= !0x04;
    }
    let source: Source = Arc::new(bytes);
    let Ok(Some(ext)) = Ext::read(&source) else { return };
    let _ = ext.used(&source, &mut |run| assert!(run.start < run.end && run.end <= ext.blocks));
    let Ok(Some(files)) = ExtVolume::open(&source) else { return };
    let _ = volume::walk(&files, "", &mut |path, _| {
        let _ = files.read(path, 1 << 16);
        let _ = files.target(path);
        let _ = volume::resolve(&files, path);
        Ok(())
    });
});
