//! Filesystems made by mksquashfs with every compressor, and by us; broken ones.

use std::sync::Arc;

use super::*;
use crate::exec::Cmd;
use crate::image::Random;
use crate::image::volume::{self, Contents, Kind, Volume};

fn made(dir: &std::path::Path, args: &[&str]) -> Vec<u8> {
    let (disk, tree) = (dir.join("squash"), dir.join("tree"));
    if !tree.exists() {
        std::fs::create_dir_all(tree.join("lib/modules")).unwrap();
        for i in 0..400 {
            std::fs::write(tree.join(format!("lib/file{i}")), vec![i as u8; i * 301]).unwrap();
        }
        let noise: Vec<u8> =
            (0..200_000u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(tree.join("large"), &noise).unwrap();
        std::fs::write(tree.join("zeros"), vec![0; 300_000]).unwrap();
        std::os::unix::fs::symlink("/lib/file7", tree.join("link")).unwrap();
        std::fs::hard_link(tree.join("large"), tree.join("again")).unwrap();
    }
    let _ = std::fs::remove_file(&disk);
    let args = [&["-quiet", "-no-progress"], args].concat();
    Cmd::new("mksquashfs").arg(&tree).arg(&disk).args(args).check().unwrap();
    std::fs::read(disk).unwrap()
}

fn open(bytes: Vec<u8>) -> Result<Option<SquashVolume>> {
    SquashVolume::open(Arc::new(bytes))
}

const KINDS: [&[&str]; 8] = [
    &[],
    &["-comp", "xz", "-b", "1M", "-always-use-fragments"],
    &["-comp", "zstd", "-b", "4096", "-no-fragments"],
    &["-comp", "lzma"],
    &["-noI", "-noD", "-noF", "-noX"],
    &["-comp", "lz4"],
    &["-comp", "lz4", "-Xhc", "-b", "1M"],
    &["-p", "node b 660 7 100000 179 3", "-p", "lib m 700 1 2"],
];

#[test]
fn files_are_those_that_were_put_in() {
    let dir = tempfile::tempdir().unwrap();
    for args in KINDS {
        let volume = open(made(dir.path(), args)).unwrap().unwrap_or_else(|| panic!("{args:?}"));
        for path in ["large", "again", "zeros", "lib/file0", "lib/file1", "lib/file399"] {
            let expected = std::fs::read(dir.path().join("tree").join(path)).unwrap();
            assert!(volume.read(path, u64::MAX).unwrap() == expected, "{args:?} {path}");
            assert_eq!(volume.entry(path).unwrap().unwrap().size, expected.len() as u64);
        }
        assert_eq!(volume.target("link").unwrap(), "/lib/file7");
        let list = volume.list("lib").unwrap();
        assert_eq!(list.len(), 401, "{args:?}");
        let resolved = volume::resolve(&volume, "link").unwrap().unwrap();
        assert_eq!((resolved.0.as_str(), resolved.1.kind), ("lib/file7", Kind::File));
        assert!(volume.entry("lib/gone").unwrap().is_none());
        let mut count = 0;
        volume::walk(&volume, "", &mut |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert!(count >= 406, "{args:?}");
    }
    let volume = open(made(dir.path(), KINDS[7])).unwrap().unwrap();
    let node = volume.entry("node").unwrap().unwrap();
    assert_eq!((node.kind, node.mode, node.owner), (Kind::BlockDevice, 0o660, Some((7, 100_000))));
    let lib = volume.entry("lib").unwrap().unwrap();
    assert_eq!((lib.kind, lib.mode, lib.owner), (Kind::Directory, 0o700, Some((1, 2))));
}

#[test]
fn what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |bytes: Vec<u8>| open(bytes).err().unwrap().to_string();
    assert_eq!(
        refused(made(dir.path(), &["-comp", "lzo"])),
        "cannot read the filesystem\n  caused by: it is compressed with LZO, which bimg does not unpack"
    );
    let whole = made(dir.path(), &[]);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    assert_eq!(
        refused(with(28, &[3, 0, 1, 0])),
        "cannot read the filesystem\n  caused by: it is SquashFS 3.1, not 4"
    );
    assert_eq!(
        refused(with(12, &[0, 0, 0, 1])),
        "cannot read the filesystem\n  caused by: its blocks have 16777216 bytes"
    );
    let short = whole[..whole.len() / 2].to_vec();
    assert_eq!(
        refused(short.clone()),
        format!(
            "cannot read the filesystem\n  \
             caused by: it has {} bytes by its own account, but there are only {}",
            le64(&whole, 40),
            short.len()
        )
    );
    let volume = open(whole.clone()).unwrap().unwrap();
    let error = |result: Result<Box<dyn Contents + '_>>| result.err().unwrap().to_string();
    assert_eq!(error(volume.open("lib")), "cannot read `/lib` in the image\n  caused by: it is not a file");
    assert_eq!(error(volume.open("gone")), "cannot read `/gone` in the image\n  caused by: it is not there");
    let far = open(with(64, &[0xFF; 7])).unwrap().unwrap();
    assert_eq!(
        far.list("").unwrap_err().to_string(),
        "cannot read `/` in the image\n  caused by: it points behind the end of the filesystem"
    );
}

/// An image whose metadata is not compressed, to be broken at one place.
struct Broken {
    whole: Vec<u8>,
    /// First byte of the table of inodes, and of the directories.
    inodes: usize,
    directories: usize,
}

impl Broken {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("t");
        std::fs::create_dir_all(tree.join("dir/inner")).unwrap();
        std::fs::write(tree.join("dir/small"), "a fragment").unwrap();
        std::fs::write(tree.join("large"), vec![b'x'; 200_000]).unwrap();
        std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
        let disk = dir.path().join("squash");
        let mksquashfs = Cmd::new("mksquashfs").arg(&tree).arg(&disk);
        mksquashfs.args(["-quiet", "-no-progress", "-noI", "-noD", "-noF"]).check().unwrap();
        let whole = std::fs::read(disk).unwrap();
        let (inodes, directories) = (le64(&whole, 64) as usize, le64(&whole, 72) as usize);
        Broken { whole, inodes, directories }
    }

    /// The place of a byte of a name's inode; everything is in the first block of metadata.
    fn inode(&self, dir: &str, name: &str, field: usize) -> usize {
        let volume = open(self.whole.clone()).unwrap().unwrap();
        let inode = if name.is_empty() {
            volume.inner.root
        } else {
            volume.find(&volume::join(dir, name)).unwrap().unwrap().0
        };
        self.inodes + 2 + (inode & 0xFFFF) as usize + field
    }

    /// The place of a byte of the root's listing.
    fn listing(&self, field: usize) -> usize {
        let root = self.inode("", "", 0);
        self.directories + 2 + usize::from(le16(&self.whole, root + 26)) + field
    }

    fn with(&self, changes: &[(usize, &[u8])]) -> SquashVolume {
        let mut bytes = self.whole.clone();
        for (at, change) in changes {
            bytes[*at..at + <[u8]>::len(change)].copy_from_slice(change);
        }
        open(bytes).unwrap().unwrap()
    }
}

#[track_caller]
fn told<T>(result: Result<T>, path: &str, why: &str) {
    let error = result.err().unwrap().to_string();
    assert_eq!(error, format!("cannot read `/{path}` in the image\n  caused by: {why}"));
}

#[test]
fn broken_tables_are_told() {
    let broken = Broken::new();
    let root = |field: usize| broken.inode("", "", field);
    let whole = broken.with(&[]);
    told(whole.list("large"), "large", "it is not a directory");
    told(whole.target("large"), "large", "it is not a symbolic link");
    let list = |changes: &[(usize, &[u8])], why: &str| told(broken.with(changes).list(""), "", why);
    list(&[(root(0), &[99, 0])], "it has an inode of an unknown kind");
    list(&[(root(24), &[3 + 12 + 8, 0])], "a directory is cut off");
    list(&[(broken.listing(0), &[0, 1])], "a directory has more names than it may have");
    list(&[(broken.listing(12 + 6), &[0, 1])], "a name is longer than 256 bytes");
    list(&[(broken.inodes, &[0, 0x80])], "a block of metadata has no sensible size");
    list(&[(broken.inodes, &[8, 0, 0x78, 0x9C, 3, 0, 0, 0, 0, 1])], "a block of metadata is empty");
    list(&[(32, &[0xFF, 0xFF])], "it points behind a block");
    list(&[(32, &[0, 0, 1]), (64, &[0xFF; 8])], "it points nowhere");
    list(
        &[(48, &[0xF9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])],
        "it points behind the end of the filesystem",
    );
    let place = (whole.inner.root & 0xFFFF).to_le_bytes();
    let loops = broken.with(&[(broken.listing(12), &place[..2])]);
    told(loops.list("dir"), "dir", "its directories lead in circles");
    let long = broken.with(&[(broken.inode("", "link", 20), &[0, 0x20])]);
    told(long.target("link"), "link", "the target of the link is too long");
}

#[test]
fn broken_data_is_told() {
    let broken = Broken::new();
    let read = |place: usize, bytes: &[u8], path: &str, why: &str| {
        told(broken.with(&[(place, bytes)]).read(path, u64::MAX), path, why);
    };
    let sizes = broken.inode("", "large", 32);
    read(sizes, &[0, 0, 0x7F, 1], "large", "a block is larger than it may be");
    read(sizes, &[100, 0, 0, 1], "large", "a block is shorter than it should be");
    read(broken.inode("dir", "small", 24), &[0, 1], "dir/small", "a fragment is shorter than it should be");
    // More than there may be, packed well.
    let bomb = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![0; 100_000]).unwrap();
        let packed = encoder.finish().unwrap();
        [&(packed.len() as u16).to_le_bytes()[..], &packed].concat()
    };
    told(broken.with(&[(broken.inodes, &bomb)]).list(""), "", "a block is larger than it may be");
}

#[test]
fn damage_ends_in_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let whole = made(dir.path(), &[]);
    let plain = made(dir.path(), &["-noI"]);
    let mut random = Random(1);
    for round in 0..200 {
        let mut bytes = if round % 2 == 0 { whole.clone() } else { plain.clone() };
        let tables = le64(&bytes, 64) as usize;
        for _ in 0..=random.below(8) {
            // Superblock and tables, where it hurts.
            let at = match random.below(4) {
                0 => random.below(96) as usize,
                _ => tables + random.below((bytes.len() - tables) as u64) as usize,
            };
            bytes[at] = random.below(256) as u8;
        }
        let Ok(Some(volume)) = open(bytes) else { continue };
        let _ = volume::walk(&volume, "", &mut |path, entry| {
            match entry.kind {
                Kind::File => drop(volume.read(path, 1)),
                Kind::Symlink => drop(volume.target(path)),
                _ => {}
            }
            Ok(())
        });
    }
}
