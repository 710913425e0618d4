//! Volumes made by mkfs.vfat and mtools.

use std::io::Read as _;
use std::sync::Arc;

use super::*;
use crate::exec::Cmd;
use crate::image::Random;
use crate::image::read::Source;
use crate::image::volume::{Kind, Volume};

/// A volume with files in it: small, large, deleted (so that free clusters lie between), long names.
fn made(width: &str, mib: u64, extra: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("fat");
    std::fs::File::create(&disk).unwrap().set_len(mib << 20).unwrap();
    Cmd::new("mkfs.vfat")
        .args(["-F", width, "-n", "BOOT", "-i", "1234abcd"])
        .args(extra)
        .arg(&disk)
        .check()
        .unwrap();
    let mtools = |program: &str, args: &[&str]| {
        Cmd::new(program).arg("-i").arg(&disk).args(args).cwd(dir.path()).check().unwrap();
    };
    for (name, len) in [("one.txt", 10), ("gone.bin", 50_000), ("Kernel image.img", 300_001), ("empty", 0)] {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        std::fs::write(dir.path().join(name), bytes).unwrap();
        mtools("mcopy", &[name, "::"]);
    }
    mtools("mmd", &["::sub", "::sub/deep"]);
    mtools("mcopy", &["one.txt", "::sub/deep/a rather long name of a file.dtbo"]);
    mtools("mdel", &["::gone.bin"]);
    std::fs::read(&disk).unwrap()
}

const KINDS: [(&str, u64, &[&str]); 4] =
    [("12", 4, &[]), ("16", 12, &["-s", "1"]), ("32", 34, &["-s", "1"]), ("32", 136, &["-s", "2"])];

fn volume(bytes: &[u8]) -> FatVolume {
    let source: Source = Arc::new(bytes.to_vec());
    FatVolume::open(source).unwrap().unwrap()
}

fn content(volume: &FatVolume, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    volume.open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_width_is_read() {
    for (width, mib, extra) in KINDS {
        let bytes = made(width, mib, extra);
        let volume = volume(&bytes);
        let fat = volume.fat();
        assert_eq!(fat.width.name(), format!("FAT{width}"));
        assert_eq!(fat.serial, "1234-ABCD");
        // mkfs.vfat rounds down to whole tracks.
        assert!(fat.size <= mib << 20 && fat.size > (mib << 20) - 65_536);
        assert_eq!(volume.label().unwrap(), "BOOT");
        let names: Vec<_> = volume.list("").unwrap().into_iter().map(|it| (it.name, it.size)).collect();
        let expected = [("Kernel image.img", 300_001), ("empty", 0), ("one.txt", 10), ("sub", 0)];
        assert_eq!(names, expected.map(|(name, size)| (name.to_string(), size)));
        let kernel = content(&volume, "KERNEL IMAGE.IMG");
        assert!(
            kernel.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8) && kernel.len() == 300_001
        );
        assert_eq!(content(&volume, "sub/deep/a rather long name of a file.dtbo").len(), 10);
        assert!(content(&volume, "empty").is_empty());
        assert_eq!(volume.entry("sub/deep").unwrap().unwrap().kind, Kind::Directory);
        assert_eq!(volume.entry("gone.bin").unwrap(), None);
        assert_eq!(volume.entry("one.txt/x").unwrap(), None);
    }
}

/// minfo's and fsck.fat's counts of clusters are the judge of the map.
#[test]
fn the_map_of_used_clusters_is_that_of_fsck() {
    for (width, mib, extra) in KINDS {
        let bytes = made(width, mib, extra);
        let fat = Fat::read(&bytes).unwrap().unwrap();
        let mut runs = Vec::new();
        fat.used(&bytes, &mut |run| runs.push(run)).unwrap();
        let used: u64 = runs.iter().map(|run| u64::from(run.end - run.start)).sum();
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("fat");
        std::fs::write(&disk, &bytes).unwrap();
        let said = Cmd::new("fsck.fat").arg("-n").arg(&disk).check().unwrap().text();
        let counts = format!("{used}/{} clusters", fat.clusters);
        assert!(said.contains(&counts), "no {counts:?} in {said}");
        assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{runs:?}");
        assert_eq!(fat.used_bytes(&bytes).unwrap().0, used * fat.cluster);
        // What lies in free clusters does not matter.
        let mut wiped = vec![0xA5; bytes.len()];
        let kept = runs.iter().map(|run| fat.run(run)).chain([fat.metadata()]);
        kept.for_each(|it| {
            wiped[it.start as usize..it.end as usize]
                .copy_from_slice(&bytes[it.start as usize..it.end as usize]);
        });
        std::fs::write(&disk, &wiped).unwrap();
        Cmd::new("fsck.fat").arg("-n").arg(&disk).check().unwrap();
        assert_eq!(content(&volume(&wiped), "Kernel image.img").len(), 300_001);
    }
}

#[test]
fn broken_chains_end() {
    let mut bytes = made("16", 20, &[]);
    let fat = Fat::read(&bytes).unwrap().unwrap();
    let entry = |number: u64| (fat.fat_start + number * 2) as usize;
    let first = {
        let mut runs = Vec::new();
        fat.used(&bytes, &mut |run| runs.push(run)).unwrap();
        runs[1].start
    };
    let said = |bytes: &[u8]| volume(bytes).open("Kernel image.img").err().unwrap().to_string();
    bytes[entry(u64::from(first) + 3)..][..2].copy_from_slice(&(first as u16).to_le_bytes());
    assert_eq!(
        said(&bytes),
        "cannot read `/Kernel image.img` in the image\n  caused by: its chain of clusters loops"
    );
    bytes[entry(u64::from(first) + 3)..][..2].copy_from_slice(&0xFFF0u16.to_le_bytes());
    assert_eq!(
        said(&bytes),
        "cannot read `/Kernel image.img` in the image\n  \
         caused by: its chain of clusters leads to 65520, which is no cluster"
    );
    bytes[entry(u64::from(first) + 3)..][..2].copy_from_slice(&0xFFFFu16.to_le_bytes());
    assert_eq!(
        said(&bytes),
        "cannot read `/Kernel image.img` in the image\n  \
         caused by: it has 300001 bytes, but its clusters hold 8192"
    );
}

#[test]
fn what_is_no_directory_is_told() {
    let volume = volume(&made("16", 20, &[]));
    assert_eq!(
        volume.list("Kernel image.img").unwrap_err().to_string(),
        "cannot read `/Kernel image.img` in the image\n  caused by: it is not a directory"
    );
    assert_eq!(
        volume.target("Kernel image.img").unwrap_err().to_string(),
        "cannot read `/Kernel image.img` in the image\n  caused by: FAT has no symbolic links"
    );
}

/// Reads all that a volume leads to, as far as it goes.
fn walk(volume: &FatVolume, path: &str, depth: u32) {
    for entry in volume.list(path).unwrap_or_default() {
        let path = crate::image::volume::join(path, &entry.name);
        if entry.kind == Kind::Directory && depth < 3 {
            walk(volume, &path, depth + 1);
        } else if let Ok(mut file) = volume.open(&path) {
            let _ = std::io::copy(&mut file, &mut std::io::sink());
        }
    }
}

#[test]
fn random_damage_never_panics() {
    for (width, mib, extra) in &KINDS[..3] {
        let good = made(width, *mib, extra);
        let fat = Fat::read(&good).unwrap().unwrap();
        let mut random = Random(7);
        let hot = [0, fat.fat_start, fat.root_start, fat.data_start];
        for _ in 0..if *width == "32" { 10 } else { 60 } {
            let mut bytes = good.clone();
            for _ in 0..6 {
                let at = hot[random.below(4) as usize] + random.below(600);
                bytes[at as usize] = random.below(256) as u8;
            }
            let source: Source = Arc::new(bytes);
            let Ok(Some(volume)) = FatVolume::open(source.clone()) else { continue };
            let _ = volume.fat().used(&source, &mut |_| ());
            walk(&volume, "", 0);
        }
    }
}
