//! Filesystems made by mke2fs with every feature that moves things; dumpe2fs is the judge of the map.

use std::sync::Arc;

use super::*;
use crate::error::Error;
use crate::exec::Cmd;
use crate::image::Random;
use crate::image::read::Source;
use crate::image::volume::{self, Entry, Kind, Volume};

fn made(dir: &std::path::Path, args: &[&str], size: &str) -> std::path::PathBuf {
    let (disk, tree) = (dir.join("ext"), dir.join("tree"));
    if !tree.exists() {
        std::fs::create_dir_all(tree.join("lib/modules")).unwrap();
        for i in 0..40 {
            std::fs::write(tree.join(format!("lib/file{i}")), vec![i as u8; i * 3001]).unwrap();
        }
        std::fs::write(tree.join("tiny"), "40 bytes that an inode may hold in itself").unwrap();
        std::fs::write(tree.join("short"), vec![b's'; 110]).unwrap();
        // Holes where blocks of blocks would be, of every level.
        for (name, places) in [("hole", &[][..]), ("holes", &[700_000, 3_000_000]), ("far", &[70 << 20])] {
            let file = std::fs::File::create(tree.join(name)).unwrap();
            file.set_len(places.last().map_or(65_536, |last| last + 5000)).unwrap();
            for place in places {
                std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4000], *place).unwrap();
            }
        }
        std::os::unix::fs::symlink("/lib/file7", tree.join("link")).unwrap();
        std::os::unix::fs::symlink("z".repeat(300), tree.join("long")).unwrap();
        std::os::unix::fs::symlink("lib", tree.join("dir")).unwrap();
        std::os::unix::fs::symlink("loop", tree.join("loop")).unwrap();
    }
    let _ = std::fs::remove_file(&disk);
    let mke2fs = Cmd::new("mke2fs").args(["-q", "-F", "-L", "root", "-d"]).arg(&tree).args(args);
    mke2fs.arg(&disk).arg(size).check().unwrap();
    disk
}

const KINDS: [(&[&str], &str); 12] = [
    (&["-t", "ext4"], "24M"),
    (&["-t", "ext2", "-b", "1024"], "20M"),
    (&["-t", "ext3", "-b", "1024"], "40M"),
    (&["-t", "ext4", "-O", "64bit,^flex_bg", "-b", "1024"], "48M"),
    (&["-t", "ext4", "-O", "^64bit,^metadata_csum,uninit_bg", "-b", "2048", "-g", "4096"], "64M"),
    (&["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "256"], "48M"),
    (&["-t", "ext4", "-O", "^sparse_super,^resize_inode", "-b", "1024"], "48M"),
    (&["-t", "ext4", "-O", "sparse_super2", "-b", "1024"], "64M"),
    (&["-t", "ext4", "-O", "bigalloc", "-C", "65536"], "64M"),
    (&["-t", "ext4", "-b", "4096", "-g", "2048", "-G", "4"], "64M"),
    (&["-t", "ext4", "-b", "1024", "-m", "0", "-N", "64"], "8M"),
    (&["-t", "ext4", "-I", "128"], "24M"),
];

/// Ranges of free blocks as dumpe2fs lists them by group.
fn free_by_dumpe2fs(disk: &std::path::Path, ratio: u64) -> Vec<Range<usize>> {
    let dump = Cmd::new("dumpe2fs").arg(disk).check().unwrap().text();
    let lists = dump.lines().filter_map(|line| line.strip_prefix("  Free blocks: "));
    let ranges = lists.flat_map(|list| list.split(", ")).map(str::trim).filter(|range| !range.is_empty());
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        // It names the last cluster by its first block.
        first.parse().unwrap()..(last.parse::<u64>().unwrap() | (ratio - 1)) as usize + 1
    };
    ranges.map(range).collect()
}

#[test]
fn the_map_of_used_blocks_is_that_of_dumpe2fs() {
    let dir = tempfile::tempdir().unwrap();
    for (args, size) in KINDS {
        let disk = made(dir.path(), args, size);
        let bytes = std::fs::read(&disk).unwrap();
        let ext = Ext::read(&bytes).unwrap().unwrap_or_else(|| panic!("{args:?}"));
        assert_eq!((ext.label.as_str(), ext.size()), ("root", bytes.len() as u64), "{args:?}");
        let mut used = vec![false; ext.blocks as usize];
        let mut last = 0;
        ext.used(&bytes, &mut |run| {
            assert!(run.start >= last && run.end > run.start, "{args:?} {run:?}");
            last = run.end;
            used[run.start as usize..run.end as usize].fill(true);
        })
        .unwrap();
        let mut expected = vec![true; ext.blocks as usize];
        for range in free_by_dumpe2fs(&disk, ext.ratio) {
            expected[range].fill(false);
        }
        let wrong: Vec<usize> = (0..used.len()).filter(|block| used[*block] != expected[*block]).collect();
        assert!(wrong.is_empty(), "{args:?}: {wrong:?}");
        let taken = used.iter().filter(|used| **used).count() as u64;
        // The superblock counts the same.
        assert_eq!(ext.used_bytes(), taken * ext.block, "{args:?}");
        let version = if args[1] == "ext4" { "ext4" } else { args[1] };
        assert_eq!(ext.name(), version);
    }
}

/// What lies in blocks that are not used does not matter.
#[test]
fn nothing_is_missed_when_free_blocks_hold_rubbish() {
    let dir = tempfile::tempdir().unwrap();
    for (args, size) in KINDS {
        let disk = made(dir.path(), args, size);
        let bytes = std::fs::read(&disk).unwrap();
        let ext = Ext::read(&bytes).unwrap().unwrap();
        let mut wiped = vec![0xA5; bytes.len()];
        ext.used(&bytes, &mut |run| {
            let range = (run.start * ext.block) as usize..(run.end * ext.block) as usize;
            wiped[range.clone()].copy_from_slice(&bytes[range]);
        })
        .unwrap();
        std::fs::write(&disk, &wiped).unwrap();
        let fsck = Cmd::new("e2fsck").arg("-fn").arg(&disk).output().unwrap();
        assert!(fsck.status.success(), "{args:?}: {}", fsck.text());
    }
}

#[test]
fn files_are_read_whatever_the_features() {
    let dir = tempfile::tempdir().unwrap();
    for (args, size) in KINDS.into_iter().chain([
        (&["-t", "ext4", "-O", "meta_bg,^resize_inode,metadata_csum", "-b", "1024"][..], "64M"),
        (&["-t", "ext4", "-O", "mmp,ea_inode,large_dir"][..], "64M"),
        (&["-t", "ext4", "-O", "inline_data"][..], "24M"),
        (&["-t", "ext4", "-O", "inline_data", "-I", "512", "-b", "1024"][..], "24M"),
        (&["-t", "ext4", "-O", "casefold,encrypt"][..], "24M"),
        (&["-t", "ext4", "-O", "^extents,^64bit", "-b", "2048"][..], "24M"),
        (&["-t", "ext2", "-O", "^filetype"][..], "24M"),
        (&["-t", "ext2", "-b", "4096"][..], "24M"),
    ]) {
        let source: Source = Arc::new(std::fs::read(made(dir.path(), args, size)).unwrap());
        let ext = ExtVolume::open(&source).unwrap_or_else(|error| panic!("{args:?}: {error}")).unwrap();
        for i in 0..40 {
            let read = ext.read(&format!("lib/file{i}"), u64::MAX).unwrap();
            assert!(read == vec![i as u8; i * 3001], "{args:?} {i}");
        }
        assert_eq!(ext.list("lib").unwrap().len(), 41, "{args:?}");
        for path in ["tiny", "short", "hole", "holes", "far"] {
            // mke2fs cuts holes off some files; debugfs shows too much or too little of what an inode holds.
            let (disk, dump) = (dir.path().join("ext"), dir.path().join("dump"));
            let command = format!("dump /{path} {}", dump.display());
            Cmd::new("debugfs").args(["-R", &command]).arg(disk).check().unwrap();
            let mut expected = std::fs::read(dump).unwrap();
            expected.resize(ext.entry(path).unwrap().unwrap().size as usize, 0);
            let read = ext.read(path, u64::MAX).unwrap_or_else(|error| panic!("{args:?} {path}: {error}"));
            assert!(read == expected, "{args:?} {path}");
        }
        assert_eq!(ext.target("link").unwrap(), "/lib/file7", "{args:?}");
        assert_eq!(ext.target("long").unwrap(), "z".repeat(300), "{args:?}");
        let mut count = 0;
        volume::walk(&ext, "", &mut |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 40 + 11 + 1, "{args:?}");
    }
}

#[test]
fn a_directory_with_an_index_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let many = dir.path().join("tree/many");
    std::fs::create_dir_all(&many).unwrap();
    for at in 0..3000 {
        std::fs::write(many.join(format!("a-name-that-takes-some-room-{at}")), at.to_string()).unwrap();
    }
    let disk = made(dir.path(), &["-t", "ext4", "-b", "1024", "-N", "4096"], "24M");
    let _ = Cmd::new("e2fsck").args(["-fyD"]).arg(&disk).output().unwrap();
    let ext = ExtVolume::open(&(Arc::new(std::fs::read(disk).unwrap()) as Source)).unwrap().unwrap();
    assert_eq!(ext.list("many").unwrap().len(), 3000);
    for at in 0..3000 {
        let path = format!("many/a-name-that-takes-some-room-{at}");
        assert_eq!(ext.read(&path, 9).unwrap(), at.to_string().into_bytes());
    }
}

#[test]
fn a_card_that_was_pulled_is_read_without_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let disk = made(dir.path(), KINDS[0].0, KINDS[0].1);
    Cmd::new("debugfs").args(["-w", "-R", "feature needs_recovery"]).arg(&disk).check().unwrap();
    let source: Source = Arc::new(std::fs::read(disk).unwrap());
    assert!(Ext::read(&source).unwrap().unwrap().needs_recovery);
    let ext = ExtVolume::open(&source).unwrap().unwrap();
    assert_eq!(ext.read("lib/file7", u64::MAX).unwrap(), vec![7; 21007]);
}

#[test]
fn what_is_no_directory_or_too_deep_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let disk = made(dir.path(), KINDS[0].0, KINDS[0].1);
    Cmd::new("debugfs").args(["-w", "-R", "set_inode_field /link size 5000"]).arg(&disk).check().unwrap();
    let ext = ExtVolume::open(&(Arc::new(std::fs::read(disk).unwrap()) as Source)).unwrap().unwrap();
    assert_eq!(
        ext.list("lib/file7").unwrap_err().to_string(),
        "cannot read `/lib/file7` in the image\n  caused by: it is not a directory"
    );
    assert_eq!(
        ext.target("link").unwrap_err().to_string(),
        "cannot read `/link` in the image\n  caused by: the target of the link is too long"
    );
    std::fs::create_dir_all(dir.path().join("tree").join("d/".repeat(80))).unwrap();
    let disk = made(dir.path(), KINDS[0].0, KINDS[0].1);
    let ext = ExtVolume::open(&(Arc::new(std::fs::read(disk).unwrap()) as Source)).unwrap().unwrap();
    let mut deepest = 0;
    let mut each = |path: &str, _: &Entry| {
        deepest = deepest.max(path.split('/').count());
        Ok(())
    };
    volume::walk(&ext, "", &mut each).unwrap();
    assert_eq!(deepest, 80);
}

#[test]
fn what_only_64bit_gives_a_meaning_has_none_without() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(made(dir.path(), KINDS[1].0, KINDS[1].1)).unwrap();
    bytes[1024 + 0x150..][..4].fill(0xFF);
    let source: Source = Arc::new(bytes);
    let ext = ExtVolume::open(&source).unwrap().unwrap();
    assert_eq!(ext.read("lib/file7", u64::MAX).unwrap(), vec![7; 21007]);
}

#[test]
fn what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |bytes: Vec<u8>| ExtVolume::open(&(Arc::new(bytes) as Source)).err().unwrap().to_string();
    let mut unknown = std::fs::read(made(dir.path(), KINDS[1].0, KINDS[1].1)).unwrap();
    unknown[1024 + 0x63] = 0x10;
    assert_eq!(
        refused(unknown),
        "cannot read the filesystem\n  caused by: it has features that bimg does not know: 0x10000000"
    );
    let mut damaged = std::fs::read(made(dir.path(), KINDS[5].0, KINDS[5].1)).unwrap();
    damaged[1024 + 0x3FC] ^= 1;
    assert_eq!(
        refused(damaged),
        "cannot read the filesystem\n  caused by: its superblock has a wrong checksum"
    );
    let whole = std::fs::read(made(dir.path(), KINDS[0].0, KINDS[0].1)).unwrap();
    assert_eq!(
        refused(whole[..1 << 20].to_vec()),
        "cannot read the filesystem\n  \
         caused by: it has 25165824 bytes by its own account, but there are only 1048576"
    );
}

#[test]
fn what_is_broken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // Changes an image and reads from it.
    let told = |args: &[&str], change: &str, path: &str, why: &str| {
        let disk = made(dir.path(), args, "24M");
        Cmd::new("debugfs").args(["-w", "-R", change]).arg(&disk).check().unwrap();
        let ext = ExtVolume::open(&(Arc::new(std::fs::read(disk).unwrap()) as Source)).unwrap().unwrap();
        let error = match path.strip_suffix('/') {
            Some(path) => ext.list(path).err().unwrap(),
            None => ext.read(path, u64::MAX).err().unwrap_or_else(|| panic!("{change}")),
        };
        let path = path.trim_end_matches('/');
        assert_eq!(
            error.to_string(),
            format!("cannot read `/{path}` in the image\n  caused by: {why}"),
            "{change}"
        );
        error.is_unsupported()
    };
    let (blocks, extents) = (["-t", "ext2", "-b", "1024"], ["-t", "ext4", "-O", "^metadata_csum"]);
    let file = "lib/file39";
    let of = |args: &[&str], change: &str, why: &str| {
        told(args, &format!("set_inode_field /lib/file39 {change}"), file, why)
    };
    let far = "it points behind the end of the filesystem";
    of(&blocks, "mode 0", "it has an inode of an unknown kind");
    of(&blocks, "block[3] 0xFFFFFF", far);
    of(&blocks, "block[IND] 0xFFFFFF", far);
    of(&extents, "block[0] 0x1F30B", "a tree of extents is damaged");
    of(&extents, "block[1] 0x70004", "a tree of extents is too deep");
    of(&extents, "block[5] 0xFFFFFF", far);
    assert!(of(&extents, "flags 0x80800", "it is encrypted"));
    assert!(of(&blocks, "flags 0x4", "it is compressed as ext2 once did"));
    told(&blocks, "set_inode_field /lib size 0x7FFFFFFF", "lib/", "a directory is larger than it may be");
    assert!(told(&extents, "set_inode_field /lib flags 0x80800", "lib/", "it is encrypted"));
    let source: Source = Arc::new(std::fs::read(made(dir.path(), &blocks, "24M")).unwrap());
    let ext = Ext::read(&source).unwrap().unwrap();
    let find = |block| map::Map::new(&[0; 60], false).find(&source, &ext, block);
    let none = [&[0x0A, 0xF3, 0, 0, 4][..], &[0; 55]].concat();
    let extent = |block| map::Map::new(&none, true).find(&source, &ext, block);
    assert_eq!(extent((1 << 32) - 7).unwrap(), (None, 7));
    assert_eq!(extent(1 << 32).unwrap_err().to_string(), "a file is longer than its map");
    assert_eq!(find(12 + 256 + 65_536 - 5).unwrap(), (None, 5));
    assert_eq!(find(1 << 40).unwrap_err().to_string(), "a file is longer than its map");
    // A directory below itself, entries that do not fit, a changed inode.
    let broken = |args: &[&str], change: &dyn Fn(&mut [u8], usize)| {
        let disk = made(dir.path(), args, "24M");
        let blocks = Cmd::new("debugfs").args(["-R", "blocks /lib"]).arg(&disk).check().unwrap().text();
        let mut bytes = std::fs::read(disk).unwrap();
        let block = blocks.split_whitespace().next().unwrap().parse::<usize>().unwrap();
        change(&mut bytes, block * 1024);
        ExtVolume::open(&(Arc::new(bytes) as Source)).unwrap().unwrap()
    };
    let why = |error: Error| error.chain().last().unwrap().to_string();
    let short = broken(&blocks, &|bytes, block| bytes[block + 4] = 4);
    assert_eq!(why(short.list("lib").unwrap_err()), "a directory is cut off");
    let long = broken(&blocks, &|bytes, block| bytes[block + 6] = 200);
    assert_eq!(why(long.list("lib").unwrap_err()), "a name is longer than its place");
    let names = |inode: u32| {
        broken(&blocks, &|bytes, block| {
            let at = bytes[block..block + 1024].windows(7).position(|it| it == b"modules").unwrap();
            bytes[block + at - 8..][..4].copy_from_slice(&inode.to_le_bytes());
        })
    };
    assert_eq!(why(names(99_999).list("lib").unwrap_err()), "it has no inode of such a number");
    let circle = names(2);
    assert_eq!(why(circle.list("lib/modules").unwrap_err()), "its directories lead in circles");
    let disk = made(dir.path(), &blocks, "24M");
    Cmd::new("debugfs").args(["-w", "-R", "set_inode_field <2> mode 0100644"]).arg(&disk).check().unwrap();
    let opened = ExtVolume::open(&(Arc::new(std::fs::read(disk).unwrap()) as Source));
    assert_eq!(
        opened.err().unwrap().to_string(),
        "cannot read the filesystem\n  caused by: its root is no directory"
    );
    let sums = ["-t", "ext4", "-b", "1024", "-O", "metadata_csum"];
    for args in [&sums[..], &[&sums[..], &["-I", "128"]].concat()] {
        let disk = made(dir.path(), args, "24M");
        let place = Cmd::new("debugfs").args(["-R", "imap /lib"]).arg(&disk).check().unwrap().text();
        // located at block 262, offset 0x0b00
        let (block, offset) =
            place.split_once("located at block ").unwrap().1.split_once(", offset 0x").unwrap();
        let at = block.parse::<usize>().unwrap() * 1024 + usize::from_str_radix(offset.trim(), 16).unwrap();
        let mut bytes = std::fs::read(disk).unwrap();
        bytes[at + 2] ^= 1;
        let ext = ExtVolume::open(&(Arc::new(bytes) as Source)).unwrap().unwrap();
        assert_eq!(why(ext.list("lib").unwrap_err()), "an inode has a wrong checksum");
    }
}

#[test]
fn files_links_and_loops() {
    let dir = tempfile::tempdir().unwrap();
    let source: Source = Arc::new(std::fs::read(made(dir.path(), KINDS[0].0, "24M")).unwrap());
    let ext = ExtVolume::open(&source).unwrap().unwrap();
    assert_eq!(ext.read("lib/file7", u64::MAX).unwrap(), vec![7; 21007]);
    assert_eq!(ext.read("lib/file7", 5).unwrap(), [7; 5]);
    assert_eq!(ext.list("lib").unwrap().len(), 41);
    assert_eq!(ext.target("link").unwrap(), "/lib/file7");
    let (path, entry) = volume::resolve(&ext, "dir/../dir/file3").unwrap().unwrap();
    assert_eq!((path.as_str(), entry.size), ("lib/file3", 9003));
    assert_eq!(volume::resolve(&ext, "link").unwrap().unwrap().0, "lib/file7");
    assert_eq!(volume::resolve(&ext, "link/x").unwrap(), None);
    assert_eq!(volume::resolve(&ext, "").unwrap().unwrap().1.kind, Kind::Directory);
    // A link on the way is the caller's to follow.
    assert_eq!(ext.entry("dir/file3").unwrap(), None);
    assert_eq!(
        volume::resolve(&ext, "loop").unwrap_err().to_string(),
        "cannot read `/loop` in the image\n  caused by: too many symbolic links follow each other"
    );
    assert_eq!(
        ext.open("lib").err().unwrap().to_string(),
        "cannot read `/lib` in the image\n  caused by: it is not a file"
    );
    assert_eq!(
        ext.list("gone").err().unwrap().to_string(),
        "cannot read `/gone` in the image\n  caused by: it is not there"
    );
}

#[test]
fn random_damage_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    for (args, size) in [KINDS[1], KINDS[5], KINDS[10]] {
        let good = std::fs::read(made(dir.path(), args, size)).unwrap();
        let mut random = Random(3);
        for _ in 0..60 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                let reach = [0x180, 0x2000][random.below(2) as usize];
                let at = 1024 + random.below(reach);
                bytes[at as usize] = random.below(256) as u8;
            }
            let Some(ext) = Ext::read(&bytes).unwrap() else { continue };
            let mut total = 0;
            let _ = ext.used(&bytes, &mut |run| total += run.end - run.start);
            assert!(total <= ext.blocks);
        }
    }
}
