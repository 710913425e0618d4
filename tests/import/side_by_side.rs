//! Configurations in the shapes that boards use, each made by genimage and by bimg.

use super::*;

#[test]
fn a_boot_loader_and_two_partitions() {
    let notes = same(
        "image boot.vfat {
            vfat {
                label = \"BOOT\"
                files = { \"spl.bin\",
                    \"env.bin\", }
                file dir/loader { image = \"u-boot.bin\" }
            }
            size = 8M
        }
        # What goes onto the card.
        image sdcard.img {
            hdimage {}
            partition u-boot {
                in-partition-table = \"no\"
                image = \"u-boot.bin\"
                offset = 8KB
                size = 1016K # 1MB - 8KB
            }
            partition boot { partition-type = 0xC bootable = \"true\" image = \"boot.vfat\" }
            partition rootfs { partition-type = 0x83 image = \"rootfs.ext4\" }
        }",
    );
    assert_eq!(notes, [""; 0]);
}

#[test]
fn what_follows_a_file_of_any_size() {
    same(
        "image sdcard.img {
            hdimage { align = 4K disk-signature = 0xfeedc0de }
            partition env { in-partition-table = no image = \"odd.bin\" offset = 17K }
            partition boot { partition-type = 0x0e image = \"boot.img\" }
            partition data { partition-type = 131 image = \"odd.bin\" align = 1M }
            partition last { partition-type = 0x82 size = 33K align = 8k }
        }",
    );
}

#[test]
fn gpt_with_types_and_identifiers() {
    let notes = same(
        "image sdcard.img {
            hdimage {
                partition-table-type = \"gpt\"
                disk-uuid = 3F2504E0-4F89-41D3-9A0C-0305E82C3301
                align = 1M
            }
            partition fsbl1 { image = \"spl.bin\" }
            partition fsbl2 { image = \"spl.bin\" partition-type-uuid = 21686148-6449-6E6F-744E-656564454649 }
            partition esp {
                partition-type-uuid = \"U\"
                image = \"boot.img\"
                bootable = yes
                partition-uuid = 0fc63daf-8483-4772-8e79-3d69d8477d01
            }
            partition root { image = \"odd.bin\" read-only = on no-automount = true hidden = true }
        }",
    );
    assert_eq!(notes, [""; 0]);
}

#[test]
fn gpt_elsewhere_without_backup_and_with_a_size() {
    same(
        "image sdcard.img {
            hdimage { gpt = true gpt-location = 1M }
            partition spl { in-partition-table = false image = \"u-boot.bin\" offset = 8K }
            partition a { image = \"env.bin\" }
            partition b { image = \"rootfs.ext4\" }
        }",
    );
    same(
        "image sdcard.img {
            hdimage { gpt = true gpt-no-backup = true fill = true }
            partition a { image = \"env.bin\" offset = 32K }
            partition b { image = \"odd.bin\" }
        }",
    );
    same(
        "image sdcard.img {
            hdimage { gpt = true align = 1M }
            size = 64M
            partition a { image = \"boot.img\" }
            partition b { image = \"odd.bin\" autoresize = true }
        }",
    );
}

#[test]
fn hybrid() {
    same(
        "image sdcard.img {
            hdimage { partition-table-type = \"hybrid\" gpt-location = 1M }
            partition boot0 { in-partition-table = \"no\" image = \"spl.bin\" offset = 8K }
            partition packages { in-partition-table = \"no\" image = \"u-boot.bin\" offset = 16400K }
            partition env { image = \"env.bin\" size = 128k }
            partition env-redund { image = \"env.bin\" size = 128k }
            partition boot { partition-type = 0xC bootable = \"true\" image = \"boot.img\" }
            partition rootfs { partition-type = 0x83 image = \"rootfs.ext4\" }
        }",
    );
}

#[test]
fn logical_partitions() {
    let parts = "partition a { partition-type = 0xC bootable = true image = \"boot.img\" }
        partition b { partition-type = 0x83 size = 2M }
        partition c { partition-type = 0x83 image = \"env.bin\" }
        partition d { partition-type = 0x83 image = \"odd.bin\" }
        partition e { partition-type = 0x82 image = \"spl.bin\" }";
    for header in ["", "align = 1M", "extended-partition = 2", "align = 64K extended-partition = 3"] {
        same(&format!("image sdcard.img {{ hdimage {{ {header} }} {parts} }}"));
    }
    same(&format!("image sdcard.img {{ hdimage {{ align = 1M }} size = 32M {parts} }}"));
}

#[test]
fn boot_code_beside_and_below_the_table() {
    same(
        "image sdcard.img {
            hdimage {}
            partition mbr { in-partition-table = no image = \"mbr.bin\" offset = 0 }
            partition core { in-partition-table = no image = \"spl.bin\" offset = 512 }
            partition root { partition-type = 0x83 image = \"rootfs.ext4\" offset = 1M }
        }",
    );
    same(
        "image sdcard.img {
            hdimage { gpt = on gpt-location = 64K }
            partition loader {
                in-partition-table = no
                image = \"bootcode.bin\"
                holes = { \"(440; 1K)\" }
            }
            partition root { image = \"rootfs.ext4\" offset = 1M }
        }",
    );
}

#[test]
fn a_disk_within_the_disk() {
    let config = "image uboot.img {
            hdimage { partition-table = \"no\" }
            partition spl { in-partition-table = \"no\" image = \"spl.bin\" offset = 0 size = 64K }
            partition full { in-partition-table = \"no\" image = \"u-boot.bin\" offset = 256K }
            size = 1M
        }
        image sdcard.img {
            hdimage {}
            partition uboot-env { in-partition-table = \"no\" image = \"odd.bin\" offset = 17K }
            partition boot { partition-type = 0xc bootable = \"true\" image = \"boot.img\" }
            partition uboot { partition-type = 0xa2 image = \"uboot.img\" }
            partition rootfs { partition-type = 0x83 image = \"rootfs.ext4\" size = 50M }
        }";
    assert_eq!(same(config), [""; 0]);
    same_image(config, Some("uboot.img"), "uboot.img");
}

#[test]
fn a_table_of_nothing_but_ranges() {
    same(
        "image sdcard.img {
            hdimage { partition-table-type = \"none\" }
            partition spl { image = \"spl.bin\" size = 8K }
            partition u-boot { image = \"u-boot.bin\" }
            size = 4M
        }",
    );
}

#[test]
fn includes_and_replaced_sections() {
    let case = Case::new();
    let flash = case.path("in/flash.cfg");
    fs::write(&flash, "flash nor { pebsize = 4K }\nconfig { dd = \"/bin/dd\" }\n").unwrap();
    let config = "include(\"FLASH\")
        image sdcard.img {
            hdimage { align = 17K align = 8K }
            partition a { partition-type = 0x83 image = \"env.bin\" }
            partition b { partition-type = 0x83 size = 1M }
            partition a { partition-type = 0x0b image = \"boot.img\" }
        }"
    .replace("FLASH", flash.to_str().unwrap());
    let theirs = case.genimage(&config, "sdcard.img").unwrap();
    let imported = case.import(&config, None).unwrap();
    compare(&case, &config, &theirs, &imported);
}

#[test]
fn a_boot_flag_of_a_logical_partition() {
    let case = Case::new();
    let config = "image sdcard.img {
            hdimage { extended-partition = 2 disk-signature = 0x12345678 }
            partition a { partition-type = 0x83 image = \"env.bin\" }
            partition b { partition-type = 0x83 image = \"env.bin\" bootable = true }
        }";
    let theirs = case.genimage(config, "sdcard.img").unwrap();
    let flagged = |path: &Path| dump(path, config).matches("bootable").count();
    assert_eq!(flagged(&theirs), 1);
    let imported = case.import(config, None).unwrap();
    let notes: Vec<&str> = imported.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        notes,
        [
            "`bootable` of `b` is left out: genimage marks no logical partition, but the extended one when the first in it \
          says so"
        ]
    );
}

#[test]
fn types_that_nobody_said() {
    let case = Case::new();
    let config = "image boot.fat { vfat { files = { \"env.bin\" } } size = 1M }
        image sdcard.img {
            hdimage {}
            partition a { image = \"env.bin\" }
            partition b { image = \"boot.fat\" }
        }";
    let imported = case.import(config, None).unwrap();
    let notes: Vec<&str> = imported.notes.iter().map(|note| note.text.as_str()).collect();
    let note = |name| {
        format!(
            "`{name}` has no `partition-type`: genimage gives it that of an empty entry, bimg that of its content"
        )
    };
    assert_eq!(notes, [note("a"), note("b")]);
    let typed = config
        .replace("partition a {", "partition a { partition-type = 0x83")
        .replace("partition b {", "partition b { partition-type = 0x0c");
    let theirs = case.genimage(&typed, "sdcard.img").unwrap();
    compare(&case, config, &theirs, &imported);
}

#[test]
fn assembled_by_the_command() {
    use crate::common::{Project, assert_fails};

    let config = "image sdcard.img {
        hdimage { disk-signature = 0x12345678 }
        partition u-boot { in-partition-table = no image = \"u-boot.bin\" offset = 8K }
        partition root { partition-type = 0x83 image = \"rootfs.ext4\" offset = 1M }
    }";
    let case = Case::new();
    let theirs = case.genimage(config, "sdcard.img").unwrap();
    let project = Project::new();
    project.write("genimage.cfg", config);
    project.run(&["import", "genimage", "genimage.cfg", "--into", "boards/card.toml"]).ok();
    let input = case.path("in").display().to_string();
    let assemble = ["assemble", "boards/card.toml", "--input", &input, "--output", "card.img"];
    let outcome = project.run(&assemble).ok();
    assert!(outcome.stderr.ends_with("wrote card.img, 1.7 MiB of 2.4 MiB\n"), "{}", outcome.stderr);
    assert_eq!(dump(&project.path("card.img"), config), dump(&theirs, config));
    assert!(project.path("card.img.bmap").exists());
    let first = fs::read(project.path("card.img")).unwrap();
    project.run(&assemble).ok();
    assert!(first == fs::read(project.path("card.img")).unwrap(), "the same files make the same image");
    assert_fails(
        &project.run(&["assemble", "acme", "--output", "acme.img"]),
        2,
        "error: cannot fill partition `boot`\n  caused by: only a build makes `content = \"boot\"`\n\n\
         hint: name what is there already: `file`, or `files` of a filesystem\n",
    );
    assert_fails(
        &project.run(&["assemble", "boards/card.toml", "--output", "none.img"]),
        1,
        "error: cannot read `./rootfs.ext4`\n  caused by: No such file or directory\n  \
         caused by: declared at boards/card.toml:14:8\n\n\
         hint: files are looked for where bimg is run, or in `--input DIR`\n",
    );
    assert!(!project.path("none.img").exists());
}

#[test]
fn filesystems_that_others_make() {
    let case = Case::new();
    let config = "image root.sq { cramfs { extraargs = \"-b 4096\" } }
        image data.fat { vfat { extraargs = \"-F 12\" file a { image = \"env.bin\" } } size = 1M }
        image sdcard.img {
            hdimage {}
            partition a { partition-type = 1 image = \"data.fat\" }
            partition b { partition-type = 0x83 image = \"root.sq\" size = 1M }
        }";
    let imported = case.import(config, None).unwrap();
    assert_eq!(imported.notes.len(), 1);
    assert_eq!(imported.notes[0].text, "`root.sq` is made by genimage (`cramfs`): make it first");
    fs::copy(case.path("in/env.bin"), case.path("in/root.sq")).unwrap();
    let (_, facts, _) = case.bimg(&imported.profile).unwrap();
    assert_eq!(facts.partitions[0].filesystem.as_deref(), Some("FAT12"));
}
