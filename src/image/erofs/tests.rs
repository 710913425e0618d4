//! Filesystems made by mkfs.erofs in every layout, and by us; broken ones.

use std::sync::Arc;

use super::*;
use crate::error::Error;
use crate::exec::Cmd;
use crate::image::Random;
use crate::image::volume::{self, Kind, Volume};

/// Text that packs well, but not into nothing.
fn text(lines: u32) -> Vec<u8> {
    let line = |at: u32| format!("line {at}: {:x}\n", at.wrapping_mul(2_654_435_761) >> (at % 29));
    (0..lines).map(line).collect::<String>().into_bytes()
}

fn made(dir: &std::path::Path, args: &[&str]) -> Vec<u8> {
    let (disk, tree) = (dir.join("erofs"), dir.join("tree"));
    if !tree.exists() {
        std::fs::create_dir_all(tree.join("lib/modules")).unwrap();
        for i in 0..400 {
            std::fs::write(tree.join(format!("lib/file{i}")), vec![i as u8; i * 301]).unwrap();
        }
        let noise: Vec<u8> =
            (0..100_000u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(tree.join("noise"), &noise).unwrap();
        std::fs::write(tree.join("text"), text(100_000)).unwrap();
        std::fs::write(tree.join("mixed"), [&text(9_000)[..], &noise[..70_000], &text(7_000)].concat())
            .unwrap();
        std::fs::write(tree.join("blocks"), vec![b'b'; 3 << 12]).unwrap();
        std::fs::write(tree.join("zeros"), vec![0; 3_000_000]).unwrap();
        std::os::unix::fs::symlink("/lib/file7", tree.join("link")).unwrap();
        std::os::unix::fs::symlink("l".repeat(4000), tree.join("long")).unwrap();
        std::fs::hard_link(tree.join("noise"), tree.join("again")).unwrap();
    }
    let _ = std::fs::remove_file(&disk);
    Cmd::new("mkfs.erofs")
        .args(["-U00000000-0000-0000-0000-000000000001", "-T1700000000"])
        .args(args)
        .arg(&disk)
        .arg(&tree)
        .check()
        .unwrap();
    std::fs::read(disk).unwrap()
}

fn open(bytes: Vec<u8>) -> Result<Option<ErofsVolume>> {
    ErofsVolume::open(Arc::new(bytes))
}

const KINDS: [&[&str]; 10] = [
    &[],
    &["-Eforce-inode-compact"],
    &["-Eforce-inode-extended"],
    &["-Enoinline_data"],
    &["--chunksize=4096"],
    &["--chunksize=65536", "-Eforce-chunk-indexes"],
    &["-zlz4"],
    &["-zlz4hc,9", "-C65536"],
    &["-zlz4hc", "-C1048576", "-Eforce-inode-extended"],
    &["-zlz4", "--max-extent-bytes=8192"],
];

#[test]
fn files_are_those_that_were_put_in() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        ["noise", "again", "text", "mixed", "blocks", "zeros", "lib/file0", "lib/file1", "lib/file399"];
    for args in KINDS {
        let volume = open(made(dir.path(), args)).unwrap().unwrap_or_else(|| panic!("{args:?}"));
        for path in files {
            let expected = std::fs::read(dir.path().join("tree").join(path)).unwrap();
            let read = volume.read(path, u64::MAX).unwrap_or_else(|error| panic!("{args:?} {path}: {error}"));
            assert!(read == expected, "{args:?} {path}");
            let entry = volume.entry(path).unwrap().unwrap();
            assert_eq!((entry.size, entry.mtime), (expected.len() as u64, Some(1_700_000_000)));
        }
        assert_eq!(volume.target("link").unwrap(), "/lib/file7");
        assert_eq!(volume.target("long").unwrap(), "l".repeat(4000));
        assert_eq!(volume.list("lib").unwrap().len(), 401, "{args:?}");
        assert_eq!(volume::resolve(&volume, "link").unwrap().unwrap().0, "lib/file7");
        assert!(volume.entry("lib/gone").unwrap().is_none());
        assert!(volume.entry("noise/gone").unwrap().is_none());
        let mut count = 0;
        volume::walk(&volume, "", &mut |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 410, "{args:?}");
    }
}

#[test]
fn what_bimg_writes_it_reads() {
    use crate::filesystem;
    let mut tree = crate::tree::Tree::new(crate::tree::Timestamp { secs: 77, nanos: 0 });
    tree.put_dir("a", 0o700).unwrap();
    tree.put_file("a/small", 0o640, "content").unwrap();
    tree.put_file("a/large", 0o644, text(3000)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    let spec = crate::disk::DiskSpec {
        partitions: vec![crate::disk::PartitionSpec {
            fill: crate::disk::Fill::filesystem(filesystem::Kind::Erofs, "ours", Some(tree)),
            ..crate::disk::PartitionSpec::new("root", crate::disk::PartitionType::parse("linux").unwrap())
        }],
        ..crate::disk::DiskSpec::new(crate::disk::Table::Gpt, crate::digest::Digest::of(b"seed"))
    };
    let layout = crate::disk::layout(&spec).unwrap();
    crate::disk::write(&spec, &layout, &file, || Ok(()), &crate::progress::Silent).unwrap();
    let image = crate::image::open::Image::open(&file).unwrap();
    let volume = image.volume(&image.parts[0]).unwrap().unwrap();
    assert_eq!(volume.read("a/small", u64::MAX).unwrap(), b"content");
    assert!(volume.read("a/large", u64::MAX).unwrap() == text(3000));
    let entry = volume.entry("a").unwrap().unwrap();
    assert_eq!(
        (entry.kind, entry.mode, entry.owner, entry.mtime),
        (Kind::Directory, 0o700, Some((0, 0)), Some(77))
    );
    let checks = crate::image::verify::verify(&image).unwrap();
    let found = (checks[1].what.as_str(), checks[1].verdict, checks[1].note.as_str());
    assert_eq!(found, ("partition 1 `root`, erofs", crate::image::verify::Verdict::Good, "read, fsck.erofs"));
}

#[track_caller]
fn told<T>(result: Result<T>, path: &str, why: &str) -> Error {
    let error = result.err().unwrap();
    assert_eq!(error.to_string(), format!("cannot read `/{path}` in the image\n  caused by: {why}"));
    error
}

#[test]
fn what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let of = |args: &[&str], path: &str, why: &str| {
        let volume = open(made(dir.path(), args)).unwrap().unwrap();
        assert_eq!(volume.list("lib").unwrap().len(), 401);
        assert!(told(volume.read(path, u64::MAX), path, why).is_unsupported());
    };
    of(&["-zlz4", "-Elegacy-compress"], "text", "its index has the older form, which bimg does not read");
    let tail = "its end lies among those of other files, which bimg does not read";
    of(&["-zlz4", "-Eztailpacking"], "text", tail);
    let other = dir.path().join("other");
    std::fs::write(&other, "").unwrap();
    let device = format!("--blobdev={}", other.display());
    of(&["--chunksize=4096", &device], "noise", "it lies on another device");
    let packed = made(dir.path(), &["-zlz4"]);
    let volume = open(packed.clone()).unwrap().unwrap();
    let (_, inode) = volume.find("text").unwrap().unwrap();
    let header = inode.data.end.next_multiple_of(8) as usize;
    for (algorithm, why) in [
        (1, "it is compressed with LZMA, which bimg does not unpack"),
        (2, "it is compressed with DEFLATE, which bimg does not unpack"),
        (3, "it is compressed with Zstandard, which bimg does not unpack"),
    ] {
        let mut bytes = packed.clone();
        bytes[header + 6] = algorithm;
        assert!(told(open(bytes).unwrap().unwrap().read("text", 1), "text", why).is_unsupported());
    }
    let refused = |at: usize, value: u8| {
        let mut bytes = packed.clone();
        bytes[1024 + at] = value;
        open(bytes).err().unwrap().to_string()
    };
    assert_eq!(
        refused(80, 0x81),
        "cannot read the filesystem\n  caused by: it has features that bimg does not know: 0x80"
    );
    assert_eq!(
        refused(90, 1),
        "cannot read the filesystem\n  caused by: its directories have blocks of their own size"
    );
    assert_eq!(refused(12, 40), "cannot read the filesystem\n  caused by: its blocks have 2^40 bytes");
    assert_eq!(
        open(packed[..packed.len() / 2].to_vec()).err().unwrap().to_string(),
        format!(
            "cannot read the filesystem\n  caused by: it has {} bytes by its own account, but there are only {}",
            packed.len(),
            packed.len() / 2
        )
    );
}

#[test]
fn what_is_broken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let whole = made(dir.path(), &["-zlz4", "-Eforce-inode-extended"]);
    let volume = open(whole.clone()).unwrap().unwrap();
    let inode = |path: &str| {
        let (number, inode) = volume.find(path).unwrap().unwrap();
        ((volume.inner.inodes + number * SLOT) as usize, inode)
    };
    let with = |at: usize, change: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + change.len()].copy_from_slice(change);
        open(bytes).unwrap().unwrap()
    };
    told(volume.list("text"), "text", "it is not a directory");
    told(volume.target("text"), "text", "it is not a symbolic link");
    told(volume.open("lib"), "lib", "it is not a file");
    told(volume.open("gone"), "gone", "it is not there");
    let (root, _) = inode("");
    told(with(root, &[0xFF, 0]).list(""), "", "it has an inode of an unknown layout");
    told(with(root + 4, &[0, 0]).list(""), "", "it has an inode of an unknown kind");
    told(with(root, &[7, 0]).list(""), "", "a directory or a link is compressed");
    told(with(root + 8, &[0xFF; 8]).list(""), "", "a directory is larger than it may be");
    told(with(1024 + 40, &[0xFF; 4]).list(""), "", "it points behind the end of the filesystem");
    let (lib, meta) = inode("lib");
    let block = (meta.data.word << 12) as usize;
    told(with(block + 8, &[13, 0]).list("lib"), "lib", "a directory has no sensible number of names");
    told(with(block + 12 + 8, &[0xFF, 0xFF]).list("lib"), "lib", "a directory is cut off");
    let far = le16(&whole, block + 8).to_le_bytes();
    told(with(block + 12 + 8, &far).list("lib"), "lib", "a name has no sensible length");
    let number = ((root as u64 - volume.inner.inodes) / SLOT).to_le_bytes();
    let (modules, _) = volume.find("lib/modules").unwrap().unwrap();
    // The last of the names lies behind the inode.
    let tail = meta.data.end as usize;
    let at = whole[tail..tail + 4096].windows(8).position(|it| it == modules.to_le_bytes()).unwrap();
    told(with(tail + at, &number).list("lib/modules"), "lib/modules", "its directories lead in circles");
    told(with(lib + 8, &[0, 0, 1]).list("lib"), "lib", "the end of a file crosses a block");
    let (link, _) = inode("long");
    told(with(link + 8, &[0, 0, 1]).target("long"), "long", "the target of the link is too long");
    let read =
        |at: usize, change: &[u8], why: &str| told(with(at, change).read("text", u64::MAX), "text", why);
    let (place, text) = inode("text");
    let header = text.data.end.next_multiple_of(8) as usize;
    read(header + 6, &[9], "it is compressed with something unknown");
    read(header + 7, &[7], "its index has entries that are too short");
    read(header + 8, &[0, 0x20], "its index does not begin with an extent");
    read(header + 8, &[1, 0x10], "an extent begins where none should");
    read(header + 8, &[0, 0], "an extent is longer than its block");
    read(place + 8, &(text.size - 1).to_le_bytes(), "an extent has no sensible length");
    let twice = "it is compressed in two ways, which bimg does not unpack";
    assert!(read(header + 8, &[0, 0x30], twice).is_unsupported());
    read(header + 12, &[0xFF; 4], "it points behind the end of the filesystem");
    let data = (le32(&whole, header + 12) as usize + 1) << 12;
    read(data, &[0xFF; 4096], "what is compressed is damaged");
}

#[test]
fn a_broken_index_of_large_extents_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let whole = made(dir.path(), &["-zlz4hc,9", "-C65536"]);
    let (_, inode) = open(whole.clone()).unwrap().unwrap().find("text").unwrap().unwrap();
    let index = inode.data.end.next_multiple_of(8) as usize + 8;
    // Somewhere an entry that counts no blocks lands behind a head.
    let told = (0..256).any(|bit| {
        let mut bytes = whole.clone();
        let at = index + bit / 8;
        let word = le32(&bytes, at) & !(0x3FFF << (bit % 8)) | 0x2800 << (bit % 8);
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        let read = open(bytes).unwrap().unwrap().read("text", u64::MAX);
        let error = read.err().map(|error| error.to_string()).unwrap_or_default();
        error.ends_with("caused by: an extent has no sensible number of blocks")
    });
    assert!(told);
}

#[test]
fn damage_ends_in_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&[][..], &["-zlz4"], &["-zlz4hc", "-C65536"], &["--chunksize=4096"]] {
        let whole = made(dir.path(), args);
        let mut random = Random(1);
        for _ in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(8) {
                // Superblock and inodes, where it hurts.
                let reach = [128, 4096, 100_000][random.below(3) as usize];
                let at = 1024 + random.below(reach) as usize;
                bytes[at] = random.below(256) as u8;
            }
            let Ok(Some(volume)) = open(bytes) else { continue };
            let _ = volume::walk(&volume, "", &mut |path, entry| {
                match entry.kind {
                    Kind::File => drop(volume.read(path, 1 << 20)),
                    Kind::Symlink => drop(volume.target(path)),
                    _ => {}
                }
                Ok(())
            });
        }
    }
}
