//! A FAT with each kind of damage.

use std::sync::Arc;

use super::*;
use crate::exec::Cmd;
use crate::image::read::Source;

fn made() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("fat");
    std::fs::File::create(&disk).unwrap().set_len(12 << 20).unwrap();
    Cmd::new("mkfs.vfat").args(["-F", "16", "-s", "1"]).arg(&disk).check().unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), [7; 3000]).unwrap();
        let copy = Cmd::new("mcopy").arg("-i").arg(&disk).args([name, "::"]).cwd(dir.path());
        copy.check().unwrap();
    }
    std::fs::read(&disk).unwrap()
}

/// What is said after entries of both tables are changed.
fn said(entries: &[(u64, u16)], both: bool) -> Vec<String> {
    let mut bytes = made();
    let fat = crate::image::fat::Fat::read(&bytes).unwrap().unwrap();
    for (number, value) in entries {
        for copy in 0..=u64::from(both) {
            let at = (fat.fat_start + copy * fat.fat_len + number * 2) as usize;
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    let source: Source = Arc::new(bytes);
    fat::check(&source).iter().map(ToString::to_string).collect()
}

#[test]
fn each_damage_of_a_fat_has_its_words() {
    assert!(said(&[], true).is_empty());
    assert_eq!(said(&[(100, 0xFFFF)], false)[0], "error: the copies of the allocation table differ");
    assert_eq!(
        said(&[(100, 0xFFFF), (200, 201), (201, 0xFFFF)], true),
        ["warning: 3 clusters are in use, but no file has them"]
    );
    // The second file's chain runs into the first one's.
    assert_eq!(said(&[(8, 5)], true)[0], "error: `/b` shares cluster 5 with another");
}

#[test]
fn a_chain_that_leads_nowhere_is_found_by_reading() {
    let mut bytes = made();
    let fat = crate::image::fat::Fat::read(&bytes).unwrap().unwrap();
    let at = (fat.fat_start + 2 * 2) as usize;
    bytes[at..at + 2].copy_from_slice(&0u16.to_le_bytes());
    let volume = crate::image::fat::FatVolume::open(Arc::new(bytes)).unwrap().unwrap();
    let said: Vec<String> = read_all(&volume, u64::MAX).unwrap().0.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["error: cannot read `/a` in the image: its chain of clusters leads to 0, which is no cluster"]
    );
}

#[test]
fn what_bimg_does_not_read_is_not_bad() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("ext");
    let check = |make: Cmd| {
        make.check().unwrap();
        let image = Image::open(&disk).unwrap();
        let checks = verify(&image).unwrap();
        std::fs::remove_file(&disk).unwrap();
        (checks[1].what.clone(), checks[1].verdict, checks[1].note.clone(), checks[1].findings.len())
    };
    let features = ["-q", "-F", "-t", "ext4", "-O", "inline_data,casefold,large_dir"];
    let ext = check(Cmd::new("mke2fs").args(features).arg(&disk).arg("8M"));
    let good = |kind: &str, note: &str| (format!("the image, {kind}"), Verdict::Good, note.to_string(), 0);
    assert_eq!(ext, good("ext4", "read, e2fsck"));
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "0123456789\n".repeat(5000)).unwrap();
    let erofs = check(Cmd::new("mkfs.erofs").args(["-zlz4", "-Elegacy-compress"]).arg(&disk).arg(&tree));
    assert_eq!(erofs, good("erofs", "read, fsck.erofs"));
}

#[test]
fn data_that_does_not_unpack_is_found_behind_the_first_block() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, tree) = (dir.path().join("squash"), dir.path().join("tree"));
    std::fs::create_dir(&tree).unwrap();
    let numbers: Vec<String> = (0..200_000).map(|at| at.to_string()).collect();
    std::fs::write(tree.join("file"), numbers.join("\n")).unwrap();
    let make = Cmd::new("mksquashfs").arg(&tree).arg(&disk).args(["-quiet", "-no-progress", "-b", "128K"]);
    make.check().unwrap();
    let check = || verify(&Image::open(&disk).unwrap()).unwrap()[1].clone();
    assert_eq!((check().verdict, check().note.as_str()), (Verdict::Good, "read"));
    let mut bytes = std::fs::read(&disk).unwrap();
    // Data lies between the superblock and the table of inodes.
    let inodes = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize;
    bytes[96 + (inodes - 96) / 4 * 3..][..64].fill(0xFF);
    std::fs::write(&disk, bytes).unwrap();
    let found: Vec<String> = check().findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["error: cannot read `/file` in the image: a block is larger than it may be"]);
    // A file without end takes nothing from those behind it.
    std::fs::File::create(tree.join("endless")).unwrap().set_len(1 << 30).unwrap();
    std::fs::remove_file(&disk).unwrap();
    let make = Cmd::new("mksquashfs").arg(&tree).arg(&disk).args(["-quiet", "-no-progress"]);
    make.check().unwrap();
    assert_eq!(check().note, "read but for what is many times larger than its partition");
    let mut bytes = std::fs::read(&disk).unwrap();
    let inodes = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize;
    bytes[96 + (inodes - 96) / 4 * 3..][..64].fill(0xFF);
    std::fs::write(&disk, bytes).unwrap();
    assert_eq!(check().verdict, Verdict::Bad);
}
