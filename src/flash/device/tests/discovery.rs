//! What is read, and how it is listed.

use std::collections::BTreeSet;
use std::path::Path;

use super::tree::{CARD, NVME, SATA, Tree, USB};
use crate::flash::device::{Bus, Content, Host, Kind, Rules, table};
use crate::units::ByteSize;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

#[test]
fn this_machine_can_be_read() {
    let system = Host::here().read().unwrap();
    assert!(system.mounts.iter().any(|mount| mount.point == Path::new("/")));
}

#[test]
fn a_stick() {
    let tree = Tree::laptop();
    let system = tree.read();
    let stick = &system.devices["sdb"];
    assert_eq!(stick.kind, Kind::Drive { bus: Bus::Usb, removable: true });
    assert_eq!(stick.size, ByteSize(31_914_983_424));
    assert_eq!(stick.model.as_deref(), Some("SanDisk Ultra"));
    assert_eq!(stick.sequence, Some(9));
    assert_eq!(stick.content, Content { table: Some("dos".into()), ..Content::default() });
    let names: Vec<&str> = system.partitions(stick).iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["sdb1", "sdb2"]);
    assert_eq!(system.devices["sdb1"].content.label.as_deref(), Some("my boot"));
}

#[test]
fn kinds_of_drives() {
    let tree = Tree::new();
    tree.drive("sda", SATA, "8:0", 100);
    tree.attribute("sda", "device/vendor", "ATA");
    tree.attribute("sda", "device/model", "WDC WD10EZEX");
    tree.drive("nvme0n1", NVME, "259:0", 100);
    tree.drive("mmcblk0", CARD, "179:0", 100);
    tree.attribute("mmcblk0", "device/type", "SD");
    tree.attribute("mmcblk0", "device/name", "SD32G");
    tree.drive("mmcblk1", &CARD.replace("mmc0", "mmc1"), "179:8", 100);
    tree.attribute("mmcblk1", "device/type", "MMC");
    tree.drive("vda", "pci0000:00/0000:00:02.0/virtio1", "254:0", 100);
    tree.attribute("vda", "device/vendor", "0x1af4");
    tree.drive("sr0", &SATA.replace("ata1", "ata2"), "11:0", 100);
    tree.attribute("sr0", "device/type", "5");
    tree.drive("sdc", USB, "8:32", 100);
    tree.stacked("zram0", "253:0", 100, &[]);
    tree.stacked("loop0", "7:0", 100, &[]);
    tree.attribute("loop0", "loop/backing_file", "/srv/x.img");
    tree.stacked("loop1", "7:1", 0, &[]);
    tree.stacked("md0", "9:0", 100, &["sda"]);
    tree.make("sys/devices/virtual/block/md0/md");
    let kind = |name: &str| tree.device(name).kind;
    assert_eq!(kind("sda"), Kind::Drive { bus: Bus::Sata, removable: false });
    assert_eq!(kind("nvme0n1"), Kind::Drive { bus: Bus::Nvme, removable: false });
    assert_eq!(kind("mmcblk0"), Kind::Drive { bus: Bus::Mmc, removable: true });
    assert_eq!(kind("mmcblk1"), Kind::Drive { bus: Bus::Mmc, removable: false });
    assert_eq!(kind("vda"), Kind::Drive { bus: Bus::Virtio, removable: false });
    assert_eq!(kind("sdc"), Kind::Drive { bus: Bus::Usb, removable: true });
    assert_eq!(kind("sr0"), Kind::Optical);
    assert_eq!(kind("zram0"), Kind::Drive { bus: Bus::Virtual, removable: false });
    assert_eq!(kind("loop0"), Kind::Loop(Some("/srv/x.img".into())));
    assert_eq!(kind("loop1"), Kind::Loop(None));
    assert_eq!(kind("md0"), Kind::Raid);
    assert_eq!(tree.device("sda").model.as_deref(), Some("WDC WD10EZEX"));
    assert_eq!(tree.device("mmcblk0").model.as_deref(), Some("SD32G"));
    assert_eq!(tree.device("vda").model, None);
}

#[test]
fn the_boot_areas_of_an_emmc_are_parts_of_it() {
    let tree = Tree::new();
    tree.drive("mmcblk0", CARD, "179:0", 100);
    tree.partition("mmcblk0", "mmcblk0boot0", "179:8", 8192);
    std::fs::remove_file(tree.at("sys/class/block/mmcblk0boot0/partition")).unwrap();
    assert_eq!(tree.device("mmcblk0boot0").kind, Kind::Partition { of: "mmcblk0".into() });
}

#[test]
fn mounts_by_number_by_source_and_with_blanks() {
    let tree = Tree::laptop();
    tree.mount("0:45", "/data", "btrfs", "/dev/sdb2");
    tree.mount("8:17", "/media/my\\040card", "vfat", "/dev/gone");
    tree.mount("0:46", "/b", "bcachefs", "/dev/sdb1:/dev/sdb2");
    let mounts = tree.read().mounts;
    let on = |point: &str| mounts.iter().find(|mount| mount.point == Path::new(point)).unwrap().on.clone();
    assert_eq!(on("/"), set(&["dm-1"]));
    assert_eq!(on("/data"), set(&["sdb2"]));
    assert_eq!(on("/media/my card"), set(&["sdb1"]));
    assert_eq!(on("/b"), set(&["sdb1", "sdb2"]));
    assert_eq!(on("/proc"), set(&[]));
}

#[test]
fn partitions_are_in_the_order_of_their_numbers() {
    let tree = Tree::laptop();
    tree.partition("sdb", "sdb10", "8:26", 100);
    let system = tree.read();
    let names: Vec<&str> =
        system.partitions(&system.devices["sdb"]).iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["sdb1", "sdb2", "sdb10"]);
}

#[test]
fn what_a_drive_says_of_itself_cannot_steer_the_terminal() {
    let tree = Tree::laptop();
    tree.attribute("sdb", "device/model", "Ultra\u{1b}[2J");
    tree.udev("8:17", "E:ID_FS_LABEL_ENC=a\\x1b[31mb\n");
    assert_eq!(tree.device("sdb").model.as_deref(), Some("SanDisk Ultra\u{fffd}[2J"));
    assert_eq!(tree.device("sdb1").content.label.as_deref(), Some("a\u{fffd}[31mb"));
}

#[test]
fn without_udev_the_drive_is_looked_at_itself() {
    let tree = Tree::laptop();
    std::fs::remove_dir_all(tree.at("run")).unwrap();
    let node = tree.at("dev/sdb2");
    std::fs::File::options().write(true).open(&node).unwrap().set_len(16 << 20).unwrap();
    let make = ["-q", "-t", "ext2", "-L", "old\u{7}", node.to_str().unwrap()];
    crate::exec::Cmd::new("mke2fs").args(make).check().unwrap();
    let content = tree.device("sdb2").content;
    assert_eq!(content.filesystem.as_deref(), Some("ext2"));
    assert_eq!(content.label.as_deref(), Some("old\u{fffd}"));
    assert_eq!(tree.device("sdb1").content, Content::default());
}

#[test]
fn a_device_that_vanishes_meanwhile_is_not_there() {
    let tree = Tree::laptop();
    std::fs::remove_file(tree.at("sys/class/block/sdb/size")).unwrap();
    std::fs::remove_dir_all(tree.at("sys/class/block/sdb1").canonicalize().unwrap()).unwrap();
    let system = tree.read();
    assert!(!system.devices.contains_key("sdb") && !system.devices.contains_key("sdb1"));
}

#[test]
fn no_sysfs() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        Host::at(dir.path()).read().unwrap_err().to_string().replace(dir.path().to_str().unwrap(), "");
    assert_eq!(
        error,
        "cannot find the drives of this machine\n  caused by: cannot read `/sys/class/block`\n  \
         caused by: No such file or directory"
    );
}

#[test]
fn a_mount_table_that_makes_no_sense_is_not_passed_over() {
    let tree = Tree::laptop();
    tree.write("proc/self/mountinfo", "hello\n");
    let error = tree.host().read().unwrap_err().to_string().replace(tree.root().to_str().unwrap(), "");
    assert_eq!(error, "cannot understand `/proc/self/mountinfo`\n  caused by: it says `hello`");
}

#[test]
fn the_table() {
    let tree = Tree::laptop();
    tree.drive("sda", SATA, "8:0", 7_814_037_168);
    tree.stacked("loop0", "7:0", 100, &[]);
    tree.drive("sdc", super::tree::USB_2, "8:32", 0);
    let list = tree.read().list(&Rules::default());
    assert_eq!(
        table(&list),
        "\
DRIVE              SIZE  BUS   MODEL                  HOLDS
/dev/sdb       29.7 GiB  usb   SanDisk Ultra          my boot vfat, rootfs ext4
/dev/nvme0n1  476.9 GiB  nvme  Samsung SSD 980 500GB  512 MiB, 476.4 GiB
  refused: it holds the running system: `/dev/nvme0n1p1` is mounted on `/boot/efi`
  refused: it holds the running system: `/dev/mapper/vg-root` (on `/dev/nvme0n1p2`) is mounted on `/`
  refused: `/dev/mapper/vg-swap` (on `/dev/nvme0n1p2`) is in use as swap
  refused: `/dev/nvme0n1p2` is held by the dm-crypt volume `luks-root`
  refused: it is a fixed disk (nvme)
/dev/sda        3.6 TiB  sata  -
  refused: it is a fixed disk (sata)
  refused: it has 3.6 TiB, more than `--max-size` allows (512 GiB)
/dev/sdc              -  usb   -
  refused: there is no medium in it
"
    );
    assert_eq!(table(&[]), "there is no drive\n");
}

#[test]
fn the_list_for_programs() {
    let tree = Tree::laptop();
    let list = tree.read().list(&Rules::default());
    assert_eq!(
        serde_json::to_string(&list[0]).unwrap(),
        r#"{"drive":"/dev/sdb","model":"SanDisk Ultra","size":31914983424,"bus":"usb","holds":[{"device":"/dev/sdb1","size":268435456,"filesystem":"vfat","label":"my boot"},{"device":"/dev/sdb2","size":31641600000,"filesystem":"ext4","label":"rootfs"}],"refused":[]}"#
    );
}
