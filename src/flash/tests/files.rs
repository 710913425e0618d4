//! Files that stand for drives, through direct I/O where the filesystem takes it.

use std::fs::File;

use super::super::{FileTarget, Target, write};
use super::disk::Disk;
use super::{Bench, MIB, noise};
use crate::fsx;
use crate::progress::Silent;

fn target(path: &std::path::Path) -> FileTarget {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    FileTarget::new(file).unwrap()
}

/// Where direct I/O is taken, as on most disks; a directory in memory may not.
fn directories() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir().unwrap()]
}

#[test]
fn an_empty_file_becomes_the_image() {
    for dir in directories() {
        for size in [9 * MIB + 4096, 9 * MIB + 777, 777] {
            let image = noise(size, 30);
            let bench = Bench::new(&image);
            let out = dir.path().join("out");
            fsx::remove_file(&out).unwrap();
            write(&bench.job(), &target(&out), &Silent).unwrap();
            assert!(fsx::read(&out).unwrap() == image);
        }
    }
}

#[test]
fn what_no_map_names_reads_as_zeros_in_a_new_file() {
    let image = noise(9 * MIB + 777, 31);
    let ranges = [(1, 3), (600, 610), (2304, 2304)];
    let bench = Bench::new(&image).mapped(&image, &ranges);
    let out = bench.dir.path().join("out");
    write(&bench.job(), &target(&out), &Silent).unwrap();
    let mut expected = vec![0; image.len()];
    for (first, last) in ranges {
        let place = first as usize * 4096..((last as usize + 1) * 4096).min(image.len());
        expected[place.clone()].copy_from_slice(&image[place]);
    }
    assert!(fsx::read(&out).unwrap() == expected);
}

#[test]
fn a_file_that_holds_something_is_a_drive_of_its_size() {
    for dir in directories() {
        let image = noise(5 * MIB + 12_345, 32);
        let bench = Bench::new(&image);
        let card = dir.path().join("card");
        let before = vec![0x77; 8 * MIB + 4096];
        fsx::write_atomic(&card, &before).unwrap();
        write(&bench.job(), &target(&card), &Silent).unwrap();
        let after = fsx::read(&card).unwrap();
        assert!(after[..image.len()] == image && after[image.len()..] == before[image.len()..]);
        fsx::write_atomic(&card, &before[..5 * MIB]).unwrap();
        let error = write(&bench.job(), &target(&card), &Silent).unwrap_err().to_string();
        assert!(error.contains("does not fit on `/dev/sdx`"), "{error}");
        assert!(fsx::read(&card).unwrap() == before[..5 * MIB]);
    }
}

#[test]
fn an_image_whose_size_nobody_knows_is_stopped_at_the_end_of_the_drive() {
    let image = noise(6 * MIB, 33);
    let mut bench = Bench::new(&image);
    let packed = bench.dir.path().join("x.img.gz");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &image).unwrap();
    fsx::write_atomic(&packed, &gz.finish().unwrap()).unwrap();
    bench.origin = crate::input::Origin::File(packed);
    let card = bench.dir.path().join("card");
    fsx::write_atomic(&card, &vec![1; 5 * MIB]).unwrap();
    let error = write(&bench.job(), &target(&card), &Silent).unwrap_err().to_string();
    assert_eq!(
        super::redact(bench.dir.path(), &error),
        "`x.img.gz` does not fit on `/dev/sdx`\n  \
         caused by: it goes on behind the end of the drive, which has 5 MiB (5242880 bytes)"
    );
}

#[test]
fn unaligned_transfers_reach_the_file_too() {
    for dir in directories() {
        let card = dir.path().join("card");
        fsx::write_atomic(&card, &vec![0; 20_000]).unwrap();
        let target = target(&card);
        let bytes = noise(5000, 34);
        let mut done = 0;
        while done < bytes.len() {
            done += target.write_at(&bytes[done..], 4096 + done as u64).unwrap();
        }
        target.sync().unwrap();
        target.drop_cache().unwrap();
        let mut back = vec![0; 5000];
        let mut done = 0;
        while done < back.len() {
            done += target.read_at(&mut back[done..], 4096 + done as u64).unwrap();
        }
        assert!(back == bytes);
        assert_eq!(target.read_at(&mut back, 20_000).unwrap(), 0);
        assert_eq!(target.size(), 20_000);
    }
}

#[test]
fn what_holds_an_image_without_being_one_is_refused() {
    let fails = |bytes: &[u8], partition: Option<&str>| {
        let mut bench = Bench::new(bytes);
        bench.partition = partition.map(str::to_string);
        let disk = Disk::used(8 * MIB);
        let text = bench.fails(&disk);
        assert_eq!(disk.written(), 0);
        text
    };
    let mut image = noise(2 * MIB, 61);
    let told = |it: &str, tool: &str| {
        format!(
            "`x.img` is no image of a disk\n  caused by: {it}, not the bytes of a disk\n\n\
             hint: get the image itself with `{tool}`, and flash that"
        )
    };
    for (magic, what, tool) in [
        (&b"PK\x03\x04"[..], "a zip archive", "unzip"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x"),
        (b"\x04\x22\x4d\x18", "lz4 data", "lz4 -d"),
        (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", "lzma data", "xz --format=lzma -d"),
        (b"QFI\xfb", "a qcow2 image", "qemu-img convert -O raw"),
        (b"KDMV", "a VMDK image", "qemu-img convert -O raw"),
        (b"vhdxfile", "a VHDX image", "qemu-img convert -O raw"),
        (b"\x3a\xff\x26\xed", "an Android sparse image", "simg2img"),
    ] {
        image[..magic.len()].copy_from_slice(magic);
        assert_eq!(fails(&image, None), told(&format!("it is {what}"), tool));
        assert_eq!(fails(&image, Some("1")), told(&format!("it is {what}"), tool));
        let packed = zstd::bulk::compress(&image, 1).unwrap();
        assert_eq!(fails(&packed, None), told(&format!("unpacked it is {what}"), tool));
        let twice = zstd::bulk::compress(&packed, 1).unwrap();
        assert_eq!(fails(&twice, None), told("unpacked it is zstd data once more", "zstd -d"));
    }
}
