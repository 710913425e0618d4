//! What genimage does not have.

use std::fs;

use bimg::exec::Cmd;

use crate::case::{Case, dump};
use crate::common::{Project, assert_fails};

#[test]
fn holes_in_the_table_and_alignment_of_one() {
    let case = Case::new();
    let (image, facts) = case.bimg(
        r#"
        [disk]
        table = "gpt"
        [[disk.partition]]
        name = "fifth"
        number = 5
        size = "1M"
        [[disk.partition]]
        name = "first"
        size = "1M"
        align = "64K"
        [[disk.partition]]
        name = "third"
        number = 3
        size = "1M"
        "#,
    );
    let numbers: Vec<u32> = facts.partitions.iter().map(|part| part.number).collect();
    assert_eq!(numbers, [5, 1, 3]);
    let dump = dump(&image, false);
    for line in [
        "disk5 : start=        8192, size=        2048",
        "disk1 : start=       10240",
        "disk3 : start=       16384",
    ] {
        assert!(dump.contains(line), "{dump}");
    }
    let verdict = Cmd::new("sgdisk").arg("-v").arg(&image).check().unwrap().text();
    assert!(verdict.contains("No problems found"), "{verdict}");
}

#[test]
fn what_lies_behind_content_reads_as_told() {
    let case = Case::new();
    let (image, _) = case.bimg(
        r#"
        [disk]
        table = "mbr"
        [[disk.partition]]
        name = "env"
        type = "raw"
        file = "env.bin"
        size = "64K"
        fill = 0xff
        offset = "1M"
        [[disk.blob]]
        name = "erased"
        size = "128K"
        fill = 0xff
        offset = "512K"
        "#,
    );
    let bytes = fs::read(image).unwrap();
    assert!(bytes[512 << 10..640 << 10].iter().all(|byte| *byte == 0xFF));
    assert_eq!(bytes[1 << 20..(1 << 20) + 4096], fs::read(case.path("in/env.bin")).unwrap());
    assert!(bytes[(1 << 20) + 4096..(1 << 20) + 65536].iter().all(|byte| *byte == 0xFF));
}

#[test]
fn files_go_into_filesystems_of_every_kind() {
    let case = Case::new();
    fs::create_dir_all(case.path("in/efi/BOOT")).unwrap();
    fs::write(case.path("in/efi/BOOT/BOOTAA64.EFI"), "loader").unwrap();
    let (image, facts) = case.bimg(
        r#"
        [disk]
        table = "gpt"
        [[disk.partition]]
        name = "esp"
        filesystem = "vfat"
        files = { "EFI" = "efi", "spl.bin" = "spl.bin" }
        [[disk.partition]]
        name = "ero"
        type = "linux"
        filesystem = "erofs"
        files = { "EFI" = "efi", "rootfs" = "rootfs.ext4" }
        [[disk.partition]]
        name = "squash"
        type = "linux"
        filesystem = "squashfs"
        files = { "EFI" = "efi", "rootfs" = "rootfs.ext4" }
        [[disk.partition]]
        name = "two"
        filesystem = "ext2"
        size = "8M"
        files = { "EFI" = "efi" }
        [[disk.partition]]
        name = "three"
        filesystem = "ext3"
        room = "4M"
        files = { "EFI" = "efi" }
        "#,
    );
    let esp = format!("{}@@{}", image.display(), facts.partitions[0].start.0);
    let list = Cmd::new("mdir").args(["-b", "-/", "-i", &esp, "::"]).check().unwrap().text();
    assert_eq!(list, "::/EFI/\n::/spl.bin\n::/EFI/BOOT/\n::/EFI/BOOT/BOOTAA64.EFI\n");
    let kinds: Vec<&str> = facts.partitions.iter().filter_map(|part| part.filesystem.as_deref()).collect();
    assert_eq!(kinds, ["FAT16", "erofs", "squashfs", "ext2", "ext3"]);
    let bytes = fs::read(&image).unwrap();
    for part in &facts.partitions[1..] {
        let file = case.path(&part.name);
        fs::write(&file, &bytes[part.start.0 as usize..][..part.size.0 as usize]).unwrap();
        let to = case.path(&format!("{}.d", part.name));
        match part.filesystem.as_deref().unwrap() {
            "erofs" => Cmd::new("fsck.erofs").arg(format!("--extract={}", to.display())).arg(&file),
            "squashfs" => Cmd::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&to).arg(&file),
            _ => {
                Cmd::new("e2fsck").arg("-fn").arg(&file).check().unwrap();
                let cat = Cmd::new("debugfs").args(["-R", "cat /EFI/BOOT/BOOTAA64.EFI"]).arg(&file);
                assert_eq!(cat.check().unwrap().text(), "loader");
                continue;
            }
        }
        .check()
        .unwrap();
        assert_eq!(fs::read(to.join("EFI/BOOT/BOOTAA64.EFI")).unwrap(), b"loader");
        assert!(fs::read(to.join("rootfs")).unwrap() == fs::read(case.path("in/rootfs.ext4")).unwrap());
    }
}

#[test]
fn identifiers_follow_whatever_reaches_the_image() {
    let project = Project::new();
    project.shell("mkdir -p tree && echo x > tree/x && echo x > tree/b");
    project.write(
        "card.toml",
        "[disk]\ntable = \"gpt\"\n[[disk.partition]]\nname = \"root\"\ntype = \"linux\"\n\
         filesystem = \"ext4\"\nfiles = { \"t\" = \"tree\" }\n",
    );
    let image = |epoch: &str, change: &str| {
        project.shell(change);
        let args = ["assemble", "card.toml", "-o", "card.img"];
        project.outcome(project.bimg(&args).env("SOURCE_DATE_EPOCH", epoch)).ok();
        let id =
            |dump: &str| dump.lines().find_map(|line| line.strip_prefix("label-id: ").map(str::to_string));
        (fs::read(project.path("card.img")).unwrap(), id(&dump(&project.path("card.img"), true)).unwrap())
    };
    let first = image("5", "true");
    let again = image("5", "touch tree/x && chmod 600 tree/b");
    assert_eq!(first.1, again.1);
    assert!(first.0 == again.0);
    let others = [image("6", "true"), image("5", "chmod 755 tree/x"), image("5", "mv tree/x tree/y")];
    for other in others {
        assert!(first.0 != other.0);
        assert_ne!(first.1, other.1);
    }
    let outcome = project
        .outcome(project.bimg(&["assemble", "card.toml", "-o", "card.img"]).env("SOURCE_DATE_EPOCH", "abc"));
    assert_fails(
        &outcome,
        2,
        "error: `SOURCE_DATE_EPOCH` is `abc`\n  caused by: it is not a number of seconds since 1970\n\n\
         hint: unset it, or set it as `date +%s` prints it\n",
    );
}
