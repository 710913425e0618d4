//! FAT: geometry, map, directories, own check.
#![no_main]

use std::sync::Arc;

use bimg::image::fat::FatVolume;
use bimg::image::read::Source;
use bimg::image::{verify, volume};
use volume::Volume;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let source: Source = Arc::new(bytes.to_vec());
    let Ok(Some(fat)) = FatVolume::open(source.clone()) else { return };
    let _ = fat.fat().used(&source, &mut |run| assert!(run.start < run.end));
    let _ = fat.label();
    let _ = volume::walk(&fat, "", &mut |path, _| {
        let _ = fat.read(path, 1 << 16);
        Ok(())
    });
    let _ = verify::fat::check(&source);
});
