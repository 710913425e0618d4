//! Maps made from the image's own filesystems, judged by the checkers of those who made them.

use std::path::Path;

use super::disk::Disk;
use super::{Bench, MIB, noise};
use crate::exec::Cmd;
use crate::fsx;
use crate::image::{ext::Ext, fat::Fat};

fn run(dir: &Path, words: &[&str]) {
    Cmd::new(words[0]).args(&words[1..]).cwd(dir).check().unwrap();
}

/// A volume of `mib` MiB made by `words`, on what was noise before: what is free is not zero.
pub fn volume(dir: &Path, mib: usize, words: &[&str]) -> Vec<u8> {
    let path = dir.join("volume");
    fsx::write_atomic(&path, &noise(mib * MIB, 40)).unwrap();
    fsx::create_dir_all(&dir.join("tree/sub")).unwrap();
    fsx::write_atomic(&dir.join("tree/sub/file"), &noise(3 * MIB + 17, 41)).unwrap();
    fsx::write_atomic(&dir.join("tree/small"), b"small").unwrap();
    run(dir, words);
    if words[0] == "mkfs.vfat" {
        run(dir, &["mcopy", "-s", "-i", "volume", "tree/sub", "tree/small", "::"]);
    }
    fsx::read(&path).unwrap()
}

/// Flashes `image` onto a used card; gives what the card holds, and how many bytes were written.
fn flashed(image: &[u8]) -> (Vec<u8>, usize) {
    let bench = Bench::new(image);
    let disk = Disk::used(image.len());
    let report = bench.flash(&disk).unwrap();
    assert_eq!(report.written.0 as usize, disk.written());
    // The first MiB was cleared as well.
    (disk.content(), report.mapped.0 as usize)
}

/// Every byte in use is the same, by a reading that has nothing to do with the stream's.
fn assert_used_is_equal(volume: &[u8], card: &[u8]) {
    let mut used = Vec::new();
    if let Some(fat) = Fat::read(volume).unwrap() {
        used.push(fat.metadata());
        fat.used(volume, &mut |run| used.push(fat.run(&run))).unwrap();
    } else {
        let ext = Ext::read(volume).unwrap().unwrap();
        ext.used(volume, &mut |run| used.push(run.start * ext.block..run.end * ext.block)).unwrap();
    }
    for range in used {
        let range = range.start as usize..range.end as usize;
        assert!(volume[range.clone()] == card[range.clone()], "{range:?}");
    }
}

fn fsck(dir: &Path, card: &[u8]) {
    fsx::write_atomic(&dir.join("card"), card).unwrap();
    if Fat::read(card).unwrap().is_some() {
        run(dir, &["fsck.fat", "-n", "card"]);
    } else {
        run(dir, &["e2fsck", "-fn", "card"]);
    }
}

const EXT: [&[&str]; 8] = [
    &["mke2fs", "-q", "-F", "-t", "ext4", "-d", "tree", "volume"],
    &["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-d", "tree", "volume"],
    &["mke2fs", "-q", "-F", "-t", "ext4", "-O", "bigalloc", "-C", "16384", "-d", "tree", "volume"],
    &[
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "1024",
        "-O",
        "meta_bg,^resize_inode",
        "-d",
        "tree",
        "volume",
    ],
    &["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^flex_bg,^64bit", "-d", "tree", "volume"],
    &[
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "1024",
        "-G",
        "4",
        "-O",
        "sparse_super2",
        "-d",
        "tree",
        "volume",
    ],
    &["mke2fs", "-q", "-F", "-t", "ext3", "-d", "tree", "volume"],
    &["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-d", "tree", "volume"],
];

#[test]
fn what_ext_calls_free_is_skipped_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for words in EXT {
        let volume = volume(dir.path(), 40, words);
        let (card, mapped) = flashed(&volume);
        assert_used_is_equal(&volume, &card);
        fsck(dir.path(), &card);
        let ext = Ext::read(&volume[..]).unwrap().unwrap();
        let used = ext.used_bytes() as usize;
        // Pauses below 64 KiB are written along, and the few bytes between block and alignment.
        assert!(mapped < used + used / 4 + MIB, "{words:?}: {mapped} of {used} used");
        assert!(mapped < 30 * MIB);
    }
}

#[test]
fn what_fat_calls_free_is_skipped_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let makers: [(usize, &[&str]); 4] = [
        (7, &["mkfs.vfat", "-F", "12", "-s", "8", "volume"]),
        (20, &["mkfs.vfat", "-F", "16", "-s", "2", "volume"]),
        (40, &["mkfs.vfat", "-F", "32", "-s", "1", "volume"]),
        (40, &["mkfs.vfat", "-F", "32", "-s", "1", "-f", "1", "-R", "65", "volume"]),
    ];
    for (mib, words) in makers {
        let volume = volume(dir.path(), mib, words);
        let (card, mapped) = flashed(&volume);
        assert_used_is_equal(&volume, &card);
        fsck(dir.path(), &card);
        let fat = Fat::read(&volume[..]).unwrap().unwrap();
        let used = (fat.data_start + fat.used_bytes(&volume[..]).unwrap().0) as usize;
        assert!(mapped < used + 128 * 1024, "{words:?}: {mapped} of {used} used");
    }
}

/// A disk with a table that sfdisk makes, and volumes at the MiB given.
pub fn disk(dir: &Path, mib: usize, script: &str, volumes: &[(usize, &[u8])]) -> Vec<u8> {
    let path = dir.join("disk");
    let mut image = noise(mib * MIB, 42);
    image[..MIB].fill(0);
    fsx::write_atomic(&path, &image).unwrap();
    fsx::write_atomic(&dir.join("script"), script.as_bytes()).unwrap();
    run(dir, &["sh", "-c", "sfdisk -q --no-reread --no-tell-kernel disk <script"]);
    let mut image = fsx::read(&path).unwrap();
    for (at, volume) in volumes {
        image[at * MIB..at * MIB + volume.len()].copy_from_slice(volume);
    }
    image
}

#[test]
fn partitions_are_looked_into_and_what_is_between_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let boot = volume(dir.path(), 20, &["mkfs.vfat", "-F", "16", "volume"]);
    let root = volume(dir.path(), 40, EXT[0]);
    for label in ["gpt", "dos"] {
        // A gap of 3 MiB before the first partition, 5 MiB between them, a third one with nothing known.
        let script = format!(
            "label: {label}\nstart=4MiB, size=20MiB\nstart=29MiB, size=40MiB\nstart=69MiB, size=2MiB\n"
        );
        let image = disk(dir.path(), 72, &script, &[(4, &boot), (29, &root)]);
        let (card, mapped) = flashed(&image);
        let part = |image: &[u8], from: usize, to: usize| image[from * MIB..to * MIB].to_vec();
        for (from, to) in [(0, 4), (24, 29), (69, 72)] {
            assert!(part(&card, from, to) == part(&image, from, to), "{label}: {from} to {to}");
        }
        assert_used_is_equal(&boot, &part(&card, 4, 24));
        assert_used_is_equal(&root, &part(&card, 29, 69));
        fsck(dir.path(), &part(&card, 29, 69));
        assert!(mapped < 30 * MIB, "{label}: {mapped}");
    }
}

#[test]
fn what_cannot_be_believed_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = volume(dir.path(), 24, EXT[7]);
    let whole = |image: &[u8], what: &str| {
        let (card, mapped) = flashed(image);
        assert!(card == image && mapped == image.len(), "{what}: {mapped}");
    };
    // Another partition inside: what one calls free may be the other's.
    let script = "label: dos\nstart=1MiB, size=24MiB\nstart=20MiB, size=1MiB\n";
    let mut image = disk(dir.path(), 26, "label: dos\nstart=1MiB, size=24MiB\n", &[(1, &root)]);
    assert!(flashed(&image).1 < 15 * MIB);
    fsx::write_atomic(&dir.path().join("script"), script.as_bytes()).unwrap();
    run(dir.path(), &["sh", "-c", "sfdisk -q -f --no-reread --no-tell-kernel disk <script || true"]);
    image[446 + 16 + 4] = 0x83;
    image[446 + 16 + 8..446 + 32].copy_from_slice(&[0, 0xA0, 0, 0, 0, 8, 0, 0]);
    whole(&image, "overlap");
    // Logical partitions: where the last one is, is told behind the first one.
    let mut script = "label: dos\nstart=1MiB, size=28MiB, type=5\nstart=2MiB, size=24MiB\n".to_string();
    assert!(flashed(&disk(dir.path(), 29, &script, &[(2, &root)])).1 < 20 * MIB);
    script += "start=27MiB, size=1MiB\n";
    whole(&disk(dir.path(), 29, &script, &[(2, &root)]), "logical");
    // A filesystem larger than its partition, one that was not unmounted, one whose journal was not replayed.
    let image = disk(dir.path(), 26, "label: dos\nstart=1MiB, size=20MiB\n", &[(1, &root)]);
    whole(&image, "too large");
    let mut dirty = root.clone();
    dirty[1024 + 0x3A] = 0;
    whole(&dirty, "dirty");
    let mut journal = root.clone();
    journal[1024 + 0x60] |= 4;
    whole(&journal, "journal");
    // A bitmap that does not agree with its descriptor: only that group.
    let ext = Ext::read(&root[..]).unwrap().unwrap();
    let descriptor = ext.descriptor_at(1) as usize;
    let group = ext.group(1, &root[descriptor..descriptor + 32]);
    let mut damaged = root.clone();
    damaged[(group.block_bitmap * ext.block) as usize + 900] ^= 1;
    let (card, mapped) = flashed(&damaged);
    let blocks = ext.group_blocks(1);
    let place = (blocks.start * ext.block) as usize..(blocks.end * ext.block) as usize;
    assert!(card[place.clone()] == damaged[place]);
    assert!(mapped > flashed(&root).1);
}

#[test]
fn a_truncated_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root =
        volume(dir.path(), 24, &["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-d", "tree", "volume"]);
    let image = disk(dir.path(), 26, "label: dos\nstart=1MiB, size=24MiB\n", &[(1, &root)]);
    let bench = Bench::new(&image[..10 * MIB]);
    let disk = Disk::used(26 * MIB);
    assert_eq!(
        bench.fails(&disk),
        "`x.img` is truncated\n  \
         caused by: it has 10485760 bytes, but the ext4 in partition 1 ends at 26214400\n\n\
         hint: 15 MiB are missing: fetch it again"
    );
    assert!(disk.content()[..MIB / 2].iter().all(|byte| *byte == 0));
}

#[test]
fn a_table_for_a_larger_drive_is_refused_before_the_first_write() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path(), 26, "label: gpt\nstart=1MiB, size=24MiB\n", &[]);
    let mut bench = Bench::new(&[]);
    let packed = bench.dir.path().join("x.img.gz");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &image).unwrap();
    fsx::write_atomic(&packed, &gz.finish().unwrap()).unwrap();
    bench.origin = crate::input::Origin::File(packed);
    let disk = Disk::used(20 * MIB);
    assert_eq!(
        bench.fails(&disk),
        "`x.img.gz` does not fit on `/dev/sdx`\n  \
         caused by: the image has 25 MiB (26214400 bytes), the drive 20 MiB (20971520 bytes)"
    );
    assert_eq!(disk.written(), 0);
}

#[test]
fn hostile_filesystems_only_cost_time() {
    let dir = tempfile::tempdir().unwrap();
    let fat = volume(dir.path(), 7, &["mkfs.vfat", "-F", "12", "volume"]);
    let root = volume(dir.path(), 24, EXT[7]);
    let mut random = noise(1 << 16, 43).into_iter();
    for (volume, metadata) in [(&fat[..], 100_000), (&root[..3 * MIB], 80_000)] {
        for _ in 0..12 {
            let mut image = volume.to_vec();
            for _ in 0..4 {
                let at: Vec<u8> = random.by_ref().take(4).collect();
                let at = u32::from_le_bytes([at[0], at[1], at[2], 0]) as usize % metadata;
                image[at] = random.next().unwrap();
            }
            let bench = Bench::new(&image);
            let disk = Disk::used(32 * MIB);
            // Well or not: no panic.
            let _ = bench.flash(&disk);
        }
    }
}
