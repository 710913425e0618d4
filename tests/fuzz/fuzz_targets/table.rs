//! Partition tables.
#![no_main]

use bimg::image::table;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let table = table::read(bytes).expect("bytes in memory can be read");
    assert!(table.partitions.len() <= 40_000);
});
