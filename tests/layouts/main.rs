//! Layouts of the whole field: a profile and a genimage configuration that mean the same must give the
//! same partition table and the same bytes, whatever the kind of table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;
#[path = "../common/mod.rs"]
mod common;
mod own;

use std::fs;
use std::path::Path;

use bimg::exec::Cmd;
use case::{Case, dump};

/// Everything but the tables, which `sfdisk` compares and which hold identifiers.
fn same_bytes(genimage: &Path, bimg: &Path, tables: &[std::ops::Range<usize>]) {
    let (mut theirs, mut ours) = (fs::read(genimage).unwrap(), fs::read(bimg).unwrap());
    // genimage leaves out what comes after the last content.
    theirs.resize(theirs.len().max(ours.len()), 0);
    ours.resize(theirs.len(), 0);
    for table in tables {
        theirs[table.clone()].fill(0);
        ours[table.clone()].fill(0);
    }
    let first = theirs.iter().zip(&ours).position(|(a, b)| a != b);
    assert_eq!(first, None, "first byte that differs");
}

const MBR: std::ops::Range<usize> = 440..512;
const HEADER: std::ops::Range<usize> = 512..1024;
const ENTRIES: std::ops::Range<usize> = 1024..17408;

/// Both make the same of it; returns bimg's image.
#[track_caller]
fn equal(ids: bool, profile: &str, config: &str, tables: &[std::ops::Range<usize>]) -> Vec<u8> {
    let case = Case::new();
    let theirs = case.genimage(config);
    let (ours, facts) = case.bimg(profile);
    if !profile.contains("\"none\"") {
        assert_eq!(dump(&ours, ids), dump(&theirs, ids), "bimg, genimage");
        let verdict = Cmd::new("sfdisk").arg("--verify").arg(&ours).output().unwrap();
        assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
    }
    let mut tables = tables.to_vec();
    if profile.contains("table = \"gpt\"") || profile.contains("table = \"hybrid\"") {
        let size = facts.size.0 as usize;
        assert_eq!(size as u64, theirs.metadata().unwrap().len());
        tables.push(size - 33 * 512..size);
        let verdict = Cmd::new("sgdisk").arg("-v").arg(&ours).check().unwrap().text();
        // Sectors that nobody aligned are what these layouts are about.
        assert!(verdict.contains("No problems found"), "{verdict}");
    }
    same_bytes(&theirs, &ours, &tables);
    fs::read(&ours).unwrap()
}

#[test]
fn a_boot_loader_before_two_partitions() {
    equal(
        false,
        r#"
        [disk]
        table = "mbr"
        align = 512
        [[disk.partition]]
        name = "boot"
        type = "0x0c"
        bootable = true
        file = "boot.vfat"
        [[disk.partition]]
        name = "root"
        type = "linux"
        file = "odd.bin"
        [[disk.blob]]
        name = "u-boot"
        file = "u-boot.bin"
        offset = "8K"
        "#,
        "hdimage {}
        partition u-boot { in-partition-table = false image = \"u-boot.bin\" offset = 8K }
        partition boot { partition-type = 0xC bootable = true image = \"boot.vfat\" }
        partition root { partition-type = 0x83 image = \"odd.bin\" }",
        &[MBR],
    );
}

#[test]
fn signature_sectors_and_order() {
    equal(
        true,
        r#"
        [disk]
        table = "mbr"
        align = 512
        signature = 0xcafe1234
        [[disk.partition]]
        name = "late"
        type = "0xda"
        file = "env.bin"
        offset = "5M"
        [[disk.partition]]
        name = "early"
        type = "linux"
        file = "u-boot.bin"
        offset = 33792
        [[disk.partition]]
        name = "next"
        type = "0x0e"
        size = "17K"
        [[disk.blob]]
        name = "env"
        file = "env.bin"
        offset = 4097
        "#,
        "hdimage { disk-signature = 0xcafe1234 }
        partition late { partition-type = 0xda image = \"env.bin\" offset = 5M }
        partition env { in-partition-table = false image = \"env.bin\" offset = 4097 }
        partition early { partition-type = 0x83 image = \"u-boot.bin\" offset = 66s }
        partition next { partition-type = 0x0e size = 17K }",
        &[MBR],
    );
}

#[test]
fn boot_code_round_the_table() {
    let image = equal(
        true,
        r#"
        [disk]
        table = "mbr"
        align = 512
        signature = 0
        [[disk.partition]]
        name = "root"
        type = "linux"
        file = "rootfs.ext4"
        offset = "1M"
        [[disk.blob]]
        name = "boot"
        file = "bootcode.bin"
        offset = 0
        holes = [[440, 512]]
        "#,
        "hdimage {}
        partition boot { in-partition-table = false image = \"bootcode.bin\" offset = 0 }
        partition root { partition-type = 0x83 image = \"rootfs.ext4\" offset = 1M }
        }
        image bootcode.bin { file { holes = {\"(440; 512)\"} }",
        &[MBR],
    );
    assert_eq!(image[510..512], [0x55, 0xAA]);
}

#[test]
fn logical_partitions() {
    for align in ["512", "1M"] {
        let profile = r#"
        [disk]
        table = "mbr"
        align = "ALIGN"
        signature = 0x11223344
        [[disk.partition]]
        name = "a"
        type = "0x0c"
        file = "boot.vfat"
        [[disk.partition]]
        name = "b"
        type = "linux"
        file = "rootfs.ext4"
        [[disk.partition]]
        name = "c"
        type = "linux"
        size = "1M"
        [[disk.partition]]
        name = "d"
        type = "linux"
        file = "odd.bin"
        logical = true
        [[disk.partition]]
        name = "e"
        type = "swap"
        size = "2M"
        logical = true
        [[disk.partition]]
        name = "f"
        type = "linux"
        file = "env.bin"
        offset = "20M"
        logical = true
        "#;
        let config = "hdimage { align = ALIGN disk-signature = 0x11223344 }
        partition a { partition-type = 0xC image = \"boot.vfat\" }
        partition b { partition-type = 0x83 image = \"rootfs.ext4\" }
        partition c { partition-type = 0x83 size = 1M }
        partition d { partition-type = 0x83 image = \"odd.bin\" }
        partition e { partition-type = 0x82 size = 2M }
        partition f { partition-type = 0x83 image = \"env.bin\" offset = 20M }";
        let case = Case::new();
        let theirs = case.genimage(&config.replace("ALIGN", align));
        let (ours, facts) = case.bimg(&profile.replace("ALIGN", align));
        assert_eq!(dump(&ours, true), dump(&theirs, true));
        let verdict = Cmd::new("sfdisk").arg("--verify").arg(&ours).check().unwrap();
        assert!(verdict.text().contains("No errors detected"));
        assert_eq!(facts.partitions[4].partuuid.as_deref(), Some("11223344-06"));
        let gap = if align == "512" { 512 } else { 1 << 20 };
        let mut tables = vec![MBR];
        for part in facts.partitions.iter().filter(|part| part.number > 4) {
            let ebr = part.start.0 as usize - gap;
            tables.push(ebr..ebr + 512);
        }
        same_bytes(&theirs, &ours, &tables);
    }
}

#[test]
fn an_extended_partition_before_the_last_slot() {
    equal(
        true,
        r#"
        [disk]
        table = "mbr"
        align = "1M"
        size = "64M"
        signature = 0x11223344
        [[disk.partition]]
        name = "boot"
        type = "0x0c"
        bootable = true
        file = "boot.vfat"
        [[disk.partition]]
        name = "data"
        type = "linux"
        size = "4M"
        logical = true
        [[disk.partition]]
        name = "more"
        type = "linux"
        size = "4M"
        logical = true
        "#,
        "hdimage { align = 1M disk-signature = 0x11223344 extended-partition = 2 }
        size = 64M
        partition boot { partition-type = 0xC bootable = true image = \"boot.vfat\" }
        partition data { partition-type = 0x83 size = 4M }
        partition more { partition-type = 0x83 size = 4M }",
        &[
            MBR,
            4 << 20..(4 << 20) + 512,
            9 << 20..(9 << 20) + 512,
            3 << 20..(3 << 20) + 512,
            8 << 20..(8 << 20) + 512,
        ],
    );
}

#[test]
fn a_gpt_with_identifiers_and_attributes() {
    equal(
        true,
        r#"
        [disk]
        table = "gpt"
        align = 512
        uuid = "b1c0ffee-1234-4321-aaaa-0123456789ab"
        [[disk.partition]]
        name = "fsbl1"
        type = "linux"
        file = "spl.bin"
        uuid = "00000000-0000-4000-8000-000000000001"
        [[disk.partition]]
        name = "fip"
        type = "19d5df83-11b0-457b-be2c-7559c13142a5"
        file = "u-boot.bin"
        size = "2M"
        fill = 0
        uuid = "00000000-0000-4000-8000-000000000002"
        attributes = ["hidden", "no-automount"]
        [[disk.partition]]
        name = "rootfs"
        type = "linux"
        file = "rootfs.ext4"
        bootable = true
        uuid = "00000000-0000-4000-8000-000000000003"
        attributes = ["read-only"]
        "#,
        "hdimage { partition-table-type = gpt disk-uuid = b1c0ffee-1234-4321-aaaa-0123456789ab }
        partition fsbl1 { image = \"spl.bin\" partition-uuid = 00000000-0000-4000-8000-000000000001 }
        partition fip { image = \"u-boot.bin\" size = 2M hidden = true no-automount = true
            partition-type-uuid = 19d5df83-11b0-457b-be2c-7559c13142a5
            partition-uuid = 00000000-0000-4000-8000-000000000002 }
        partition rootfs { image = \"rootfs.ext4\" bootable = true read-only = true
            partition-uuid = 00000000-0000-4000-8000-000000000003 }",
        &[MBR, HEADER, ENTRIES],
    );
}

#[test]
fn entries_behind_a_boot_loader() {
    equal(
        false,
        r#"
        [disk]
        table = "gpt"
        align = 512
        gpt-location = "1M"
        [[disk.partition]]
        name = "boot"
        type = "esp"
        file = "boot.vfat"
        offset = "2M"
        [[disk.partition]]
        name = "root"
        type = "linux"
        file = "odd.bin"
        [[disk.blob]]
        name = "spl"
        file = "u-boot.bin"
        offset = "8K"
        "#,
        "hdimage { partition-table-type = gpt gpt-location = 1M }
        partition spl { in-partition-table = false image = \"u-boot.bin\" offset = 8K }
        partition boot { partition-type-uuid = U image = \"boot.vfat\" offset = 2M }
        partition root { image = \"odd.bin\" }",
        &[MBR, HEADER, 1 << 20..(1 << 20) + 16384],
    );
}

#[test]
fn no_copy_at_the_end() {
    let case = Case::new();
    let theirs = case.genimage(
        "hdimage { partition-table-type = gpt gpt-no-backup = true }
        partition root { image = \"rootfs.ext4\" }",
    );
    let (ours, _) = case.bimg(
        r#"
        [disk]
        table = "gpt"
        align = 512
        gpt-backup = false
        [[disk.partition]]
        name = "root"
        type = "linux"
        file = "rootfs.ext4"
        "#,
    );
    // sfdisk wants the copy; the headers must be the same but for identifiers and what depends on the size.
    same_bytes(
        &theirs,
        &ours,
        &[MBR, 16 + 512..20 + 512, 48 + 512..72 + 512, 88 + 512..92 + 512, 16 + 1024..32 + 1024],
    );
    let header = fs::read(&ours).unwrap()[512..1024].to_vec();
    assert_eq!(header[32..40], 1_u64.to_le_bytes());
}

#[test]
fn a_hybrid_table() {
    let image = equal(
        false,
        r#"
        [disk]
        table = "hybrid"
        align = 512
        signature = 0x1badcafe
        [[disk.partition]]
        name = "boot"
        type = "basic-data"
        mbr-type = "0x0c"
        bootable = true
        file = "boot.vfat"
        [[disk.partition]]
        name = "root"
        type = "linux"
        file = "rootfs.ext4"
        [[disk.partition]]
        name = "data"
        type = "linux"
        mbr-type = "linux"
        size = "1M"
        "#,
        "hdimage { partition-table-type = hybrid disk-signature = 0x1badcafe }
        partition boot { partition-type-uuid = F partition-type = 0xC bootable = true image = \"boot.vfat\" }
        partition root { partition-type-uuid = L image = \"rootfs.ext4\" }
        partition data { partition-type-uuid = L partition-type = 0x83 size = 1M }",
        // The MBR holds no random identifier: equal to the byte.
        &[HEADER, ENTRIES],
    );
    assert_eq!((image[450], image[466], image[482]), (0x0C, 0x83, 0xEE));
}

#[test]
fn no_table_at_all() {
    equal(
        false,
        r#"
        [disk]
        table = "none"
        [[disk.partition]]
        name = "root"
        file = "rootfs.ext4"
        offset = "1M"
        [[disk.blob]]
        name = "spl"
        file = "spl.bin"
        offset = 0
        [[disk.blob]]
        name = "env"
        size = "64K"
        fill = 0
        offset = "512K"
        "#,
        "hdimage { partition-table-type = none }
        partition spl { image = \"spl.bin\" offset = 0 }
        partition root { image = \"rootfs.ext4\" offset = 1M }",
        &[],
    );
}

#[test]
fn the_rest_of_the_disk() {
    for (table, word) in [("mbr", "partition-type = 0x83"), ("gpt", "partition-type-uuid = L")] {
        equal(
            false,
            &format!(
                r#"
                [disk]
                table = "{table}"
                align = "1M"
                size = "33M"
                [[disk.partition]]
                name = "boot"
                type = "fat"
                file = "boot.vfat"
                [[disk.partition]]
                name = "data"
                type = "linux"
                file = "rootfs.ext4"
                size = "rest"
                "#
            ),
            &format!(
                "hdimage {{ partition-table-type = {table} align = 1M }}
                size = 33M
                partition boot {{ {} image = \"boot.vfat\" }}
                partition data {{ {word} image = \"rootfs.ext4\" autoresize = true }}",
                word.replace("0x83", "0xC").replace("= L", "= F")
            ),
            &[MBR, HEADER, ENTRIES],
        );
    }
}

#[test]
fn blobs_inside_a_partition() {
    equal(
        false,
        r#"
        [disk]
        table = "mbr"
        align = 512
        [[disk.partition]]
        name = "uboot"
        type = "0xa2"
        [[disk.partition]]
        name = "root"
        type = "linux"
        file = "rootfs.ext4"
        [[disk.blob]]
        name = "spl"
        partition = "uboot"
        file = "spl.bin"
        offset = 0
        [[disk.blob]]
        name = "u-boot"
        partition = "uboot"
        file = "u-boot.bin"
        offset = "256K"
        "#,
        "hdimage {}
        partition uboot { partition-type = 0xa2 image = \"inner.img\" }
        partition root { partition-type = 0x83 image = \"rootfs.ext4\" }
        }
        image inner.img {
        hdimage { partition-table-type = none }
        partition spl { image = \"spl.bin\" offset = 0 }
        partition u-boot { image = \"u-boot.bin\" offset = 256K }",
        &[MBR],
    );
}
