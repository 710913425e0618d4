//! What a block map maps is written, checked, and nothing else.

use super::disk::Disk;
use super::{Bench, MIB, noise};

const BLOCK: usize = 4096;

#[test]
fn only_mapped_blocks_are_written() {
    let image = noise(12 * MIB + 100, 20);
    // The last block is not whole; one range crosses a chunk, some are single blocks.
    let ranges = [(0, 9), (300, 300), (302, 700), (1000, 1100), (2048, 2048), (3072, 3072)];
    let bench = Bench::new(&image).mapped(&image, &ranges);
    let disk = Disk::used(16 * MIB);
    let report = bench.flash(&disk).unwrap();
    let mut expected = vec![0xA5; 16 * MIB];
    expected[..MIB].fill(0);
    for (first, last) in ranges {
        let place = first as usize * BLOCK..((last as usize + 1) * BLOCK).min(image.len());
        expected[place.clone()].copy_from_slice(&image[place]);
    }
    assert!(disk.content() == expected);
    let mapped = (10 + 1 + 399 + 101 + 1) * BLOCK + 100;
    assert_eq!((report.mapped.0 as usize, report.written.0 as usize), (mapped, mapped + MIB));
}

#[test]
fn an_image_in_several_frames_is_as_large_as_all_of_them() {
    let image = noise(6 * MIB, 24);
    let mut packed = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec();
    for part in image.chunks(5 * MIB) {
        packed.extend(zstd::bulk::compress(part, 1).unwrap());
    }
    for mapped in [false, true] {
        let bench = Bench::new(&packed);
        let bench = if mapped { bench.mapped(&image, &[(0, 1535)]) } else { bench };
        let disk = Disk::used(6 * MIB);
        assert_eq!(bench.flash(&disk).unwrap().size.0, image.len() as u64);
        assert!(disk.content() == image);
    }
    // The second frame does not fit.
    let disk = Disk::used(5 * MIB);
    assert_eq!(
        Bench::new(&packed).fails(&disk),
        "`x.img` does not fit on `/dev/sdx`\n  \
         caused by: the image has 6 MiB (6291456 bytes), the drive 5 MiB (5242880 bytes)"
    );
    assert_eq!(disk.written(), 0);
}

#[test]
fn a_map_for_other_bytes_is_refused_before_anything_boots() {
    let image = noise(6 * MIB, 21);
    let mut bench = Bench::new(&image).mapped(&image, &[(0, 9), (1200, 1300)]);
    let mut other = image.clone();
    other[1250 * BLOCK] ^= 1;
    crate::fsx::write_atomic(&bench.path(), &other).unwrap();
    let disk = Disk::used(8 * MIB);
    let text = bench.fails(&disk);
    let digest = |image: &[u8]| crate::digest::Digest::of(&image[1200 * BLOCK..1301 * BLOCK]);
    assert_eq!(
        text,
        format!(
            "`x.img` is not the image that its block map describes\n  \
             caused by: bytes 4915200 to 5328895 have the sha256 {}\n  caused by: the map says {}\n\n\
             hint: one of the two is damaged, or they are from different builds: fetch both again",
            digest(&other),
            digest(&image)
        )
    );
    assert!(disk.content()[..MIB / 2].iter().all(|byte| *byte == 0 || *byte == 0xA5));
    // A truncated image never reaches the disk.
    crate::fsx::write_atomic(&bench.path(), &image[..5 * MIB]).unwrap();
    let disk = Disk::used(8 * MIB);
    assert_eq!(
        bench.fails(&disk),
        "`x.img` is not the image that its block map describes\n  \
         caused by: it has 5242880 bytes, the map is for 6291456\n\n\
         hint: it may be truncated: 1 MiB are missing"
    );
    assert_eq!(disk.written(), 0);
    // One that comes compressed is found out when it ends.
    let packed = zstd::encode_all(&image[..5 * MIB], 1).unwrap();
    let path = bench.dir.path().join("x.img.zst");
    crate::fsx::write_atomic(&path, &packed).unwrap();
    bench.origin = crate::input::Origin::File(path);
    assert_eq!(
        bench.fails(&Disk::used(8 * MIB)),
        "`x.img.zst` is not the image that its block map describes\n  \
         caused by: it has 5242880 bytes, the map is for 6291456\n\n\
         hint: it may be truncated: 1 MiB are missing"
    );
    // Nor does one that goes on.
    bench.origin = crate::input::Origin::File(bench.path());
    crate::fsx::write_atomic(&bench.path(), &noise(7 * MIB, 21)).unwrap();
    assert_eq!(
        bench.fails(&Disk::used(8 * MIB)),
        "`x.img` is not the image that its block map describes\n  \
         caused by: it has 7340032 bytes, the map is for 6291456\n\n\
         hint: the two are from different builds: fetch both again"
    );
}

#[test]
fn a_range_over_many_chunks_has_one_checksum() {
    let image = noise(17 * MIB, 22);
    let bench = Bench::new(&image).mapped(&image, &[(100, 4200)]);
    let disk = Disk::used(17 * MIB);
    bench.flash(&disk).unwrap();
    let place = 100 * BLOCK..4201 * BLOCK;
    assert!(disk.content()[place.clone()] == image[place]);
}
