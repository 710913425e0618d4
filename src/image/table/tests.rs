//! Tables made by sfdisk and sgdisk, and damaged ones.

use std::path::Path;

use super::*;
use crate::exec::Cmd;
use crate::image::Disk;

const MIB: u64 = 1 << 20;

/// A sparse disk with the table that an sfdisk script describes.
fn made(script: &str, size: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (disk, text) = (dir.path().join("disk"), dir.path().join("script"));
    std::fs::File::create(&disk).unwrap().set_len(size).unwrap();
    std::fs::write(&text, script).unwrap();
    let sh = "sfdisk -q --no-reread --no-tell-kernel \"$0\" < \"$1\"";
    Cmd::new("sh").args(["-c", sh]).arg(&disk).arg(&text).check().unwrap();
    (dir, disk)
}

fn read_table(disk: &Path) -> Table {
    read(&Disk::open(disk).unwrap()).unwrap()
}

/// Number, start and length in sectors, type, UUID, name, as `sfdisk --dump` prints them.
fn as_sfdisk(disk: &Path) -> Vec<String> {
    let dump = Cmd::new("sfdisk").arg("--dump").arg(disk).check().unwrap().text();
    let rows = dump.lines().filter_map(|line| line.strip_prefix(disk.to_str()?));
    rows.map(|row| row.split_whitespace().collect()).collect()
}

fn ours(table: &Table) -> Vec<String> {
    let row = |it: &Partition| {
        let place = format!("{}:start={},size={}", it.number, it.start.0 / SECTOR, it.size.0 / SECTOR);
        match it.kind {
            Type::Mbr(code) => {
                format!("{place},type={code:x}{}", if it.bootable { ",bootable" } else { "" })
            }
            Type::Gpt(guid) => {
                let name = if it.name.is_empty() { String::new() } else { format!(",name=\"{}\"", it.name) };
                let boot = if it.bootable { ",attrs=\"LegacyBIOSBootable\"" } else { "" };
                let ids = format!("type={guid},uuid={}", it.uuid).to_uppercase();
                format!("{place},{}{name}{boot}", ids.replace("TYPE", "type").replace("UUID", "uuid"))
            }
        }
    };
    table.partitions.iter().map(row).collect()
}

const MBR: &str = "label: dos\nlabel-id: 0x12345678\n\
    start=2048, size=8192, type=c, bootable\nstart=10240, size=2048, type=83\n\
    start=12288, size=40960, type=f\nstart=55296, size=2048, type=da\n\
    start=14336, size=2048, type=83\nstart=18432, size=4096, type=82\nstart=24576, size=1, type=83\n";

const GPT: &str = "label: gpt\n\
    start=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"boot\", attrs=LegacyBIOSBootable\n\
    start=10240, size=4096, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, name=\"data\"\n\
    start=14500, size=64, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n";

#[test]
fn an_mbr_with_logical_partitions_is_read_as_sfdisk_reads_it() {
    let (_dir, disk) = made(MBR, 32 * MIB);
    let table = read_table(&disk);
    assert_eq!(ours(&table), as_sfdisk(&disk));
    assert_eq!((table.kind, table.id.as_str()), (Kind::Mbr, "12345678"));
    assert_eq!(table.partitions.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(table.partitions[5].uuid, "12345678-06");
    assert_eq!(table.contents().count(), 6);
    assert_eq!(table.findings, []);
    assert_eq!(table.areas.iter().filter(|area| area.what == "EBR").count(), 3);
}

#[test]
fn a_gpt_is_read_as_sfdisk_reads_it() {
    let (_dir, disk) = made(GPT, 32 * MIB);
    let table = read_table(&disk);
    assert_eq!(ours(&table), as_sfdisk(&disk));
    assert_eq!(table.kind, Kind::Gpt);
    assert_eq!(table.findings, []);
    assert_eq!(table.partitions[1].kind.name(), "linux-root-arm64");
    let areas: Vec<_> = table.areas.iter().map(|area| (area.start, area.len, area.what)).collect();
    let last = 32 * MIB - SECTOR;
    assert_eq!(
        areas,
        [
            (0, 512, "MBR"),
            (512, 512, "GPT"),
            (1024, 16384, "GPT"),
            (last - 16384, 16384, "backup GPT"),
            (last, 512, "backup GPT")
        ]
    );
}

#[test]
fn a_hybrid_shows_both() {
    let (_dir, disk) = made(GPT, 32 * MIB);
    Cmd::new("sgdisk").args(["-h", "1:3"]).arg(&disk).check().unwrap();
    let table = read_table(&disk);
    assert_eq!((table.kind, table.partitions.len()), (Kind::Gpt, 3));
    let hybrid: Vec<_> = table.hybrid.iter().map(|it| it.start.0 / SECTOR).collect();
    assert_eq!(hybrid, [2048, 14500]);
    assert_eq!(table.findings, []);
}

/// What is said about a GPT after `damage`.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> (Table, Vec<String>) {
    let (_dir, disk) = made(GPT, 8 * MIB);
    let mut bytes = std::fs::read(&disk).unwrap();
    damage(&mut bytes);
    let table = read(&bytes).unwrap();
    let findings = table.findings.iter().map(ToString::to_string).collect();
    (table, findings)
}

#[test]
fn each_damage_of_a_gpt_has_its_words() {
    let last = (8 * MIB - SECTOR) as usize;
    let (table, said) = damaged(|bytes| bytes[600] ^= 1);
    assert_eq!(said, ["error: the GPT has a wrong checksum; the backup GPT at sector 16383 is good"]);
    assert_eq!(table.partitions.len(), 3);
    let (table, said) = damaged(|bytes| bytes[1024 + 60] ^= 1);
    assert_eq!(
        said,
        ["error: the GPT has entries with a wrong checksum; the backup GPT at sector 16383 is good"]
    );
    assert_eq!(table.partitions[0].name, "boot");
    let (_, said) = damaged(|bytes| bytes[last] = 0);
    assert_eq!(said, ["warning: the backup GPT at sector 16383 is missing"]);
    let (table, said) = damaged(|bytes| {
        bytes[512 + 30] ^= 1;
        bytes[last..].fill(0);
    });
    assert_eq!(said, ["error: the GPT has a wrong checksum, and the backup GPT at sector 16383 is missing"]);
    assert_eq!(table.partitions, []);
    let (table, said) = damaged(|bytes| bytes[..512].fill(0));
    assert_eq!(said, ["error: the protective MBR is missing: Linux and UEFI pass over the GPT"]);
    assert_eq!(table.partitions.len(), 3);
    let (_, said) = damaged(|bytes| bytes.truncate(8 * MIB as usize));
    assert_eq!(said, [""; 0]);
    let (_, said) = damaged(|bytes| bytes.truncate(6 * MIB as usize));
    assert_eq!(
        said,
        [
            "warning: the backup GPT at sector 16383 is missing",
            "error: partition 2 `data` ends at byte 7340032, but the image has 6291456",
            "error: partition 3 ends at byte 7456768, but the image has 6291456",
        ]
    );
    let (_, said) = damaged(|bytes| bytes.extend([0; 4096]));
    assert_eq!(said, ["warning: the backup GPT is at sector 16383, not at the end, 16391"]);
}

/// Gives the GPT at sector `at` the checksums of what it has.
fn seal(bytes: &mut [u8], at: usize) {
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let header = at * 512;
    let field = |bytes: &[u8], at: usize, len: usize| {
        bytes[header + at..header + at + len].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    let entries = field(bytes, 72, 8) * 512;
    let len = field(bytes, 80, 4) * field(bytes, 84, 4);
    if let Some(entries) = bytes.get(entries..entries + len) {
        let sum = crc(entries);
        bytes[header + 88..header + 92].copy_from_slice(&sum);
    }
    bytes[header + 16..header + 20].fill(0);
    let sum = crc(&bytes[header..header + 92]);
    bytes[header + 16..header + 20].copy_from_slice(&sum);
}

#[test]
fn a_gpt_whose_checksums_fit_may_still_be_nonsense() {
    let last = (8 * MIB / SECTOR - 1) as usize;
    let backup_entries = (last - 32) * 512;
    let good = "; the backup GPT at sector 16383 is good";
    // Field of the header, its value, what is said.
    for (field, value, expected) in [
        (12, 20, "the GPT gives its own size as 20"),
        (24, 5, "the GPT says that it is at sector 5"),
        (84, 64, "the GPT says that it has 128 entries of 64 bytes"),
        (72, 20_000, "the GPT has its entries past the end of the image"),
    ] {
        let (_, said) = damaged(|bytes| {
            bytes[512 + field..512 + field + 4].copy_from_slice(&u32::to_le_bytes(value));
            seal(bytes, 1);
        });
        assert_eq!(said, [format!("error: {expected}{good}")]);
    }
    let (_, said) = damaged(|bytes| {
        bytes[backup_entries + 56] = b'B';
        seal(bytes, last);
    });
    assert_eq!(said, ["error: the GPT and its backup differ"]);
    // In both: the first partition's start, the first usable sector.
    for (at, value, expected) in [
        (
            [1024 + 32, backup_entries + 32],
            0x4000,
            "partition 1 `boot` starts at sector 16384 and ends at sector 10239",
        ),
        (
            [512 + 40, last * 512 + 40],
            4096,
            "partition 1 `boot` lies outside the sectors 4096 to 16350 that the GPT has for partitions",
        ),
    ] {
        let (_, said) = damaged(|bytes| {
            for at in at {
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            }
            seal(bytes, 1);
            seal(bytes, last);
        });
        assert_eq!(said[0], format!("error: {expected}"));
    }
    let (table, said) = damaged(|bytes| {
        bytes.copy_within(512..1024, 4096);
        bytes[512..1024].fill(0);
        bytes[last * 512..].fill(0);
    });
    assert_eq!(said, ["error: the GPT is made for a drive with sectors of 4096 bytes"]);
    assert_eq!(table.partitions, []);
}

#[test]
fn overlaps_and_loops_are_told() {
    let (_dir, disk) = made(MBR, 32 * MIB);
    let good = std::fs::read(&disk).unwrap();
    let said =
        |bytes: &Vec<u8>| read(bytes).unwrap().findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut bytes = good.clone();
    bytes[446 + 12..446 + 16].copy_from_slice(&9000u32.to_le_bytes());
    assert_eq!(said(&bytes), ["error: partition 1 and partition 2 overlap"]);
    let mut bytes = good.clone();
    bytes[446 + 8..446 + 12].copy_from_slice(&0u32.to_le_bytes());
    assert_eq!(said(&bytes), ["error: partition 1 overlaps the MBR"]);
    // The second link leads back to the first.
    let mut bytes = good.clone();
    let first = 12288 * 512;
    let second =
        first + u32::from_le_bytes(bytes[first + 470..first + 474].try_into().unwrap()) as usize * 512;
    bytes[second + 470..second + 474].fill(0);
    assert_eq!(
        said(&bytes),
        ["error: the chain of logical partitions loops: the link at sector 12288 comes twice"]
    );
    let mut bytes = good.clone();
    bytes[second + 510] = 0;
    let sector = second / 512;
    assert_eq!(
        said(&bytes),
        [format!("error: the chain of logical partitions is broken: sector {sector} holds no link")]
    );
    // The first partition reaches over the second, which is short, and into the third one's first link.
    let mut bytes = good.clone();
    bytes[446 + 12..446 + 16].copy_from_slice(&13_000u32.to_le_bytes());
    assert_eq!(
        said(&bytes),
        [
            "error: partition 1 overlaps the EBR",
            "error: partition 1 and partition 2 overlap",
            "error: partition 1 and partition 5 overlap"
        ]
    );
    // The extended partition ends before the last logical one does.
    let mut bytes = good.clone();
    bytes[446 + 32 + 12..446 + 32 + 16].copy_from_slice(&12_288u32.to_le_bytes());
    assert_eq!(said(&bytes), ["warning: partition 7 reaches out of partition 3, the extended one"]);
    // Each link leads to the next sector, and none holds a partition.
    let mut bytes = good.clone();
    for link in 0..300u32 {
        let at = first + link as usize * 512;
        bytes[at + 446..at + 510].fill(0);
        bytes[at + 450] = 5;
        bytes[at + 454..at + 458].copy_from_slice(&(link + 1).to_le_bytes());
        bytes[at + 458] = 1;
        bytes[at + 510..at + 512].copy_from_slice(&[0x55, 0xAA]);
    }
    assert_eq!(said(&bytes), ["error: the chain of logical partitions has more than 256 links"]);
    let mut bytes = good;
    bytes[512..520].copy_from_slice(b"EFI PART");
    assert_eq!(
        said(&bytes),
        ["warning: a GPT is there as well, but no entry of type 0xee announces it: it is passed over"]
    );
}

#[test]
fn what_is_no_table_is_none() {
    for bytes in [vec![], vec![0; 511], vec![0; 4096], vec![0xFF; 4096], vec![0x55; 100_000]] {
        assert_eq!(read(&bytes).unwrap().kind, Kind::None);
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("fat");
    std::fs::File::create(&disk).unwrap().set_len(4 * MIB).unwrap();
    Cmd::new("mkfs.vfat").arg(&disk).check().unwrap();
    assert_eq!(read_table(&disk).kind, Kind::None);
}

#[test]
fn random_damage_never_panics() {
    for (script, hot) in [(MBR, 8 * MIB), (GPT, 2048)] {
        let (_dir, disk) = made(script, 32 * MIB);
        let mut bytes = std::fs::read(&disk).unwrap();
        let mut random = crate::image::Random(1);
        for _ in 0..500 {
            let mut undo = Vec::new();
            for _ in 0..8 {
                let near = [446, 512, 1024, 12288 * 512 + 446][random.below(4) as usize];
                let at = if random.below(2) == 0 { near + random.below(128) } else { random.below(hot) };
                undo.push((at as usize, bytes[at as usize]));
                bytes[at as usize] = random.below(256) as u8;
            }
            let table = read(&bytes).unwrap();
            assert!(table.partitions.len() <= 260, "{}", table.partitions.len());
            undo.into_iter().rev().for_each(|(at, byte)| bytes[at] = byte);
        }
    }
}
