//! One partition of a card that was flashed before.

use super::disk::Disk;
use super::known::{disk, volume};
use super::{Bench, MIB};

const FAT: &[&str] = &["mkfs.vfat", "-F", "16", "-n", "BOOT", "volume"];
const ROOT: &[&str] = &["mke2fs", "-q", "-F", "-t", "ext4", "-L", "rootfs", "-d", "tree", "volume"];

struct Card {
    bench: Bench,
    image: Vec<u8>,
    disk: Disk,
    dir: tempfile::TempDir,
}

const DOS: &str = "label: dos\nstart=4MiB, size=20MiB, type=c\nstart=24MiB, size=24MiB, type=83\n";
const GPT: &str = "label: gpt\nstart=4MiB, size=20MiB, name=boot\nstart=24MiB, size=24MiB, name=root\n";

/// A card with the image on it, whose both volumes have changed since.
fn card(script: &str) -> Card {
    let dir = tempfile::tempdir().unwrap();
    let boot = volume(dir.path(), 20, FAT);
    let root = volume(dir.path(), 24, ROOT);
    let image = disk(dir.path(), 50, script, &[(4, &boot), (24, &root)]);
    let bench = Bench::new(&image);
    let disk = Disk::used(64 * MIB);
    bench.flash(&disk).unwrap();
    let mut bytes = disk.bytes.lock().unwrap();
    bytes[4 * MIB + 70_000] ^= 1;
    bytes[24 * MIB + 70_000] ^= 1;
    drop(bytes);
    disk.writes.lock().unwrap().clear();
    Card { bench, image, disk, dir }
}

#[test]
fn a_partition_is_rewritten_and_nothing_else() {
    for (script, names) in [(DOS, ["1", "boot"]), (GPT, ["1", "boot"])] {
        for name in names {
            let mut card = card(script);
            let before = card.disk.content();
            card.bench.partition = Some(name.into());
            let report = card.bench.flash(&card.disk).unwrap();
            let after = card.disk.content();
            assert!(
                after[..4 * MIB] == before[..4 * MIB] && after[24 * MIB..] == before[24 * MIB..],
                "{name}"
            );
            assert_eq!(after[4 * MIB + 70_000], card.image[4 * MIB + 70_000]);
            assert!(report.verified && report.written.0 < 21 * MIB as u64);
            // Its own first MiB goes first and comes last.
            let writes = card.disk.writes.lock().unwrap();
            assert_eq!((writes[0], writes.last().unwrap().0), ((4 * MIB as u64, MIB), 4 * MIB as u64));
        }
    }
}

#[test]
fn a_table_that_reaches_further_than_its_first_blocks_is_read_whole() {
    let logical = "label: dos\nstart=1MiB, size=2MiB\nstart=3MiB, size=47MiB, type=5\n\
                   start=4MiB, size=20MiB, type=c\nstart=25MiB, size=24MiB, type=83\n";
    let dir = tempfile::tempdir().unwrap();
    let moved = disk(dir.path(), 50, "label: gpt\n", &[]);
    let path = dir.path().join("disk");
    crate::fsx::write_atomic(&path, &moved).unwrap();
    crate::exec::Cmd::new("sgdisk")
        .args(["-j", "16384", "-n", "1:20480:40000", "-c", "1:root"])
        .arg(&path)
        .check()
        .unwrap();
    let moved = crate::fsx::read(&path).unwrap();
    for (image, wanted, at) in [(disk(dir.path(), 50, logical, &[]), "6", 25), (moved, "root", 10)] {
        let mut bench = Bench::new(&image);
        let card = Disk::used(50 * MIB);
        bench.flash(&card).unwrap();
        card.bytes.lock().unwrap()[at * MIB + 70_000] ^= 1;
        card.writes.lock().unwrap().clear();
        bench.partition = Some(wanted.into());
        bench.flash(&card).unwrap();
        assert!(card.content() == image);
        card.writes.lock().unwrap().clear();
        // Of a packed one only so much is looked at.
        crate::fsx::write_atomic(&bench.path(), &zstd::bulk::compress(&image, 1).unwrap()).unwrap();
        assert_eq!(
            bench.fails(&card),
            "cannot tell the partitions of `x.img`\n  \
             caused by: its partition table reaches past its first 4 MiB, or is damaged\n\n\
             hint: give it as a plain file: there the table is read wherever it lies"
        );
        crate::fsx::write_atomic(&bench.path(), &image[..6 * MIB]).unwrap();
        assert_eq!(
            bench.fails(&card),
            "cannot tell the partitions of `x.img`\n  \
             caused by: its partition table is damaged, or reaches past its end\n\n\
             hint: is it cut off? `bimg image verify` tells more"
        );
        assert_eq!(card.written(), 0);
    }
}

#[test]
fn a_label_is_the_one_that_tools_show() {
    let mut card = card(DOS);
    // Of the boot sector, which `fatlabel` of old left alone.
    card.disk.bytes.lock().unwrap()[4 * MIB + 43..4 * MIB + 54].copy_from_slice(b"OTHER      ");
    card.bench.partition = Some("other".into());
    assert_eq!(
        card.bench.fails(&card.disk),
        "`/dev/sdx` has no partition `other`\n\nhint: it has 1 `BOOT`, 2 `rootfs`"
    );
    card.bench.partition = Some("boot".into());
    card.bench.flash(&card.disk).unwrap();
    assert_eq!(card.disk.content()[4 * MIB + 70_000], card.image[4 * MIB + 70_000]);
}

#[test]
fn one_that_grew_on_its_first_boot_is_fine() {
    let mut card = card(DOS);
    // 24 MiB to 40 MiB, as a root grows.
    card.disk.bytes.lock().unwrap()[446 + 16 + 12..446 + 32].copy_from_slice(&(40 * 2048_u32).to_le_bytes());
    card.bench.partition = Some("rootfs".into());
    card.bench.flash(&card.disk).unwrap();
    assert_eq!(card.disk.content()[24 * MIB + 70_000], card.image[24 * MIB + 70_000]);
}

#[test]
fn another_layout_is_refused() {
    let hint = "\n\nhint: flash the whole image, without `--partition`";
    let card = || {
        let mut card = card(DOS);
        card.bench.partition = Some("2".into());
        card
    };
    let it = card();
    it.disk.bytes.lock().unwrap()[446 + 16 + 8] ^= 2;
    assert_eq!(
        it.bench.fails(&it.disk),
        format!(
            "`/dev/sdx` is not laid out like `x.img`\n  caused by: partition 2 takes the bytes 25165824 to \
             50331648 of the image, and 25166848 to 50332672 of the drive{hint}"
        )
    );
    let it = card();
    it.disk.bytes.lock().unwrap()[446 + 16..446 + 32].fill(0);
    assert_eq!(
        it.bench.fails(&it.disk),
        format!("`/dev/sdx` is not laid out like `x.img`\n  caused by: the drive has no partition 2{hint}")
    );
    let it = card();
    it.disk.bytes.lock().unwrap()[..512].fill(0);
    assert_eq!(
        it.bench.fails(&it.disk),
        format!(
            "`/dev/sdx` is not laid out like `x.img`\n  \
             caused by: the drive has no partition table, the image has MBR{hint}"
        )
    );
    assert_eq!(it.disk.written(), 0);
    let mut it = card();
    it.bench.partition = Some("home".into());
    assert_eq!(
        it.bench.fails(&it.disk),
        "`/dev/sdx` has no partition `home`\n\nhint: it has 1 `BOOT`, 2 `rootfs`"
    );
    it.bench.partition = Some("3".into());
    assert_eq!(
        it.bench.fails(&it.disk),
        "`/dev/sdx` has no partition `3`\n\nhint: it has 1 `BOOT`, 2 `rootfs`"
    );
    it.bench.origin = crate::input::Origin::Stdin;
    assert_eq!(
        it.bench.fails(&it.disk),
        "`--partition` takes an image that can be read twice\n\nhint: give it as a file, not through a pipe"
    );
    drop(it.dir);
}

#[test]
fn names_that_are_not_enough() {
    for (script, wanted, expected) in [
        (
            "label: gpt\nstart=4MiB, size=20MiB, name=slot\nstart=24MiB, size=24MiB, name=Slot\n",
            "slot",
            "`/dev/sdx` has 2 partitions `slot`\n\nhint: give the number instead",
        ),
        ("label: gpt\n", "slot", "`/dev/sdx` has no partition `slot`\n\nhint: its partition table is empty"),
        (
            "label: gpt\nstart=4MiB, size=20MiB\n",
            "slot",
            "`/dev/sdx` has no partition `slot`\n\nhint: it has 1",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(&disk(dir.path(), 50, script, &[]));
        let card = Disk::used(50 * MIB);
        bench.flash(&card).unwrap();
        card.writes.lock().unwrap().clear();
        bench.partition = Some(wanted.into());
        assert_eq!(bench.fails(&card), expected);
        assert_eq!(card.written(), 0);
    }
}
