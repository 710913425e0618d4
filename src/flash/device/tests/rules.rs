//! Every rule, and the exact words of its refusal.

use super::tree::{CARD, SATA, Tree, USB_2};
use crate::flash::device::{Rules, refusal};
use crate::units::ByteSize;

/// The words with which a drive is refused; empty when it is not.
#[track_caller]
fn refused_with(tree: &Tree, name: &str, rules: &Rules) -> String {
    let system = tree.read();
    let drive = &system.devices[name];
    let obstacles = system.obstacles(drive, rules);
    if obstacles.is_empty() { String::new() } else { refusal(drive, &obstacles).to_string() }
}

#[track_caller]
fn refused(tree: &Tree, name: &str) -> String {
    refused_with(tree, name, &Rules::default())
}

const LIST: &str = "\n\nhint: `bimg flash --list` shows the drives that can be written to";
const UNMOUNT: Rules = Rules { unmount: true, allow_fixed: false, max_size: Rules::MAX_SIZE, image: None };
const FIXED: Rules = Rules { unmount: false, allow_fixed: true, max_size: Rules::MAX_SIZE, image: None };

#[test]
fn a_stick_that_nothing_uses_may_be_written_to() {
    assert_eq!(refused(&Tree::laptop(), "sdb"), "");
}

#[test]
fn the_running_system_through_its_whole_stack() {
    let expected = format!(
        "will not write to `/dev/nvme0n1`\n  \
         caused by: it holds the running system: `/dev/nvme0n1p1` is mounted on `/boot/efi`\n  \
         caused by: it holds the running system: `/dev/mapper/vg-root` (on `/dev/nvme0n1p2`) is mounted on `/`\n  \
         caused by: `/dev/mapper/vg-swap` (on `/dev/nvme0n1p2`) is in use as swap\n  \
         caused by: `/dev/nvme0n1p2` is held by the dm-crypt volume `luks-root`{LIST}"
    );
    // No option opens that way.
    let all = Rules { unmount: true, allow_fixed: true, max_size: ByteSize(u64::MAX), image: None };
    assert_eq!(refused_with(&Tree::laptop(), "nvme0n1", &all), expected);
}

#[test]
fn every_place_of_a_system_is_vital_however_small_its_disk() {
    for point in [
        "/",
        "/boot",
        "/boot/efi",
        "/boot/firmware",
        "/efi",
        "/usr",
        "/var",
        "/var/log",
        "/home",
        "/nix/store",
    ] {
        let tree = Tree::new();
        tree.stick("sdb", "8:16");
        tree.mount("8:18", point, "ext4", "/dev/sdb2");
        assert_eq!(
            refused_with(&tree, "sdb", &UNMOUNT),
            format!(
                "will not write to `/dev/sdb`\n  \
                 caused by: it holds the running system: `/dev/sdb2` is mounted on `{point}`{LIST}"
            )
        );
    }
}

#[test]
fn a_system_that_runs_from_a_card() {
    let tree = Tree::new();
    tree.drive("mmcblk0", CARD, "179:0", 62_333_952);
    tree.attribute("mmcblk0", "device/type", "SD");
    tree.partition("mmcblk0", "mmcblk0p1", "179:1", 524_288);
    tree.partition("mmcblk0", "mmcblk0p2", "179:2", 524_288);
    // What mountinfo says when the kernel was given `root=` and there was no initramfs.
    tree.mount("179:2", "/", "ext4", "/dev/root");
    assert_eq!(
        refused_with(&tree, "mmcblk0", &FIXED),
        format!(
            "will not write to `/dev/mmcblk0`\n  \
             caused by: it holds the running system: `/dev/mmcblk0p2` is mounted on `/`{LIST}"
        )
    );
}

#[test]
fn a_mount_of_ones_own_below_a_directory_of_the_system_is_not_vital() {
    for point in ["/home/me/card", "/var/tmp/card", "/run/media/me/card", "/mnt", "/opt/card"] {
        let tree = Tree::laptop();
        tree.mount("8:18", point, "ext4", "/dev/sdb2");
        assert_eq!(refused_with(&tree, "sdb", &UNMOUNT), "", "{point}");
    }
}

#[test]
fn swap() {
    let tree = Tree::laptop();
    tree.swap("/dev/sdb2");
    assert_eq!(
        refused_with(&tree, "sdb", &UNMOUNT),
        "will not write to `/dev/sdb`\n  caused by: `/dev/sdb2` is in use as swap\n\n\
         hint: if nothing needs it any more: `swapoff /dev/sdb2`"
    );
}

#[test]
fn mounted_partitions_unless_they_are_to_be_unmounted() {
    let tree = Tree::laptop();
    tree.mount("8:17", "/media/me/my\\040boot", "vfat", "/dev/sdb1");
    tree.mount("8:18", "/media/me/rootfs", "ext4", "/dev/sdb2");
    assert_eq!(
        refused(&tree, "sdb"),
        "will not write to `/dev/sdb`\n  caused by: `/dev/sdb1` is mounted on `/media/me/my boot`\n  \
         caused by: `/dev/sdb2` is mounted on `/media/me/rootfs`\n\n\
         hint: if it is the drive you mean, add `--unmount`"
    );
    assert_eq!(refused_with(&tree, "sdb", &UNMOUNT), "");
}

#[test]
fn a_drive_without_partitions_that_is_mounted() {
    let tree = Tree::laptop();
    tree.drive("sdc", USB_2, "8:32", 1000);
    tree.mount("8:32", "/mnt", "vfat", "/dev/sdc");
    assert_eq!(
        refused(&tree, "sdc"),
        "will not write to `/dev/sdc`\n  caused by: `/dev/sdc` is mounted on `/mnt`\n\n\
         hint: if it is the drive you mean, add `--unmount`"
    );
}

#[test]
fn holders_of_every_kind() {
    let cases = [
        ("LVM-x", "the LVM volume `vg-data`", "lvchange --activate n /dev/mapper/vg-data"),
        ("CRYPT-LUKS2-x", "the dm-crypt volume `vg-data`", "cryptsetup close vg-data"),
        ("mpath-x", "the multipath device `vg-data`", "multipath -f vg-data"),
        ("", "the device-mapper volume `vg-data`", "dmsetup remove vg-data"),
    ];
    for (uuid, by, release) in cases {
        let tree = Tree::laptop();
        tree.stacked("dm-7", "254:7", 100, &["sdb2"]);
        tree.mapped("dm-7", "vg-data", uuid);
        assert_eq!(
            refused_with(&tree, "sdb", &UNMOUNT),
            format!(
                "will not write to `/dev/sdb`\n  caused by: `/dev/sdb2` is held by {by}\n\n\
                 hint: if nothing needs it any more: `{release}`"
            )
        );
    }
}

#[test]
fn raid_and_what_is_on_it() {
    let tree = Tree::laptop();
    tree.drive("sda", SATA, "8:0", 1000);
    tree.stacked("md0", "9:0", 1000, &["sdb", "sda"]);
    tree.make("sys/devices/virtual/block/md0/md");
    tree.partition("md0", "md0p1", "259:9", 100);
    tree.mount("259:9", "/srv/data", "xfs", "/dev/md0p1");
    assert_eq!(
        refused_with(&tree, "sdb", &Rules::default()),
        "will not write to `/dev/sdb`\n  caused by: `/dev/md0p1` (on `/dev/sdb`) is mounted on `/srv/data`\n  \
         caused by: `/dev/sdb` is held by the RAID array `md0`\n\n\
         hint: if nothing needs it any more: `mdadm --stop /dev/md0`"
    );
}

#[test]
fn a_holder_of_no_known_kind() {
    let tree = Tree::laptop();
    tree.stacked("bcache0", "252:0", 1000, &["sdb1"]);
    assert_eq!(
        refused(&tree, "sdb"),
        "will not write to `/dev/sdb`\n  caused by: `/dev/sdb1` is held by `bcache0`\n\n\
         hint: if nothing needs it any more: `lsblk /dev/sdb1`"
    );
}

#[test]
fn a_loop_device_on_a_drive() {
    let tree = Tree::laptop();
    tree.stacked("loop3", "7:3", 1000, &[]);
    tree.attribute("loop3", "loop/backing_file", "/dev/sdb");
    assert_eq!(
        refused(&tree, "sdb"),
        "will not write to `/dev/sdb`\n  caused by: `/dev/sdb` is held by the loop device `loop3`\n\n\
         hint: if nothing needs it any more: `losetup --detach /dev/loop3`"
    );
}

#[test]
fn zfs_while_its_pool_is_imported() {
    let tree = Tree::laptop();
    tree.udev("8:18", "E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=tank\n");
    assert_eq!(refused(&tree, "sdb"), "", "the pool of an old disk is content like any other");
    tree.make("proc/spl/kstat/zfs/rpool");
    assert_eq!(refused(&tree, "sdb"), "");
    tree.make("proc/spl/kstat/zfs/tank");
    let expected = "will not write to `/dev/sdb`\n  caused by: `/dev/sdb2` is held by the ZFS pool `tank`\n\n\
                    hint: if nothing needs it any more: `zpool export tank`";
    assert_eq!(refused(&tree, "sdb"), expected);
    // Without a name it may be any pool's.
    std::fs::remove_dir(tree.at("proc/spl/kstat/zfs/rpool")).unwrap();
    tree.udev("8:18", "E:ID_FS_TYPE=zfs_member\n");
    assert_eq!(refused(&tree, "sdb"), expected);
}

#[test]
fn btrfs_of_several_drives() {
    let tree = Tree::laptop();
    tree.stick("sdc", "8:32");
    tree.write("sys/fs/btrfs/1111-2222/devices/sdb2", "");
    tree.write("sys/fs/btrfs/1111-2222/devices/sdc2", "");
    tree.write("sys/fs/btrfs/features/raid1c34", "");
    tree.mount("0:45", "/srv/data", "btrfs", "/dev/sdb2");
    // Only one of them is in the mount table.
    assert_eq!(
        refused(&tree, "sdc"),
        "will not write to `/dev/sdc`\n  caused by: `/dev/sdc2` is mounted on `/srv/data`\n  \
         caused by: `/dev/sdc2` is held by a btrfs filesystem that spans `/dev/sdb2` as well\n\n\
         hint: if nothing needs it any more: `umount /srv/data`"
    );
    let tree = Tree::laptop();
    tree.write("sys/fs/btrfs/1111-2222/devices/sdb2", "");
    tree.mount("0:45", "/srv/data", "btrfs", "/dev/sdb2");
    assert_eq!(refused_with(&tree, "sdb", &UNMOUNT), "", "a btrfs of one drive is a mount like any other");
}

#[test]
fn fixed_disks() {
    let tree = Tree::laptop();
    tree.drive("sda", SATA, "8:0", 1_000_000);
    assert_eq!(
        refused(&tree, "sda"),
        "will not write to `/dev/sda`\n  caused by: it is a fixed disk (sata)\n\n\
         hint: if it is the drive you mean, add `--allow-fixed`"
    );
    assert_eq!(refused_with(&tree, "sda", &FIXED), "");
    tree.stacked("loop0", "7:0", 1000, &[]);
    tree.stacked("zram0", "253:0", 1000, &[]);
    for name in ["loop0", "zram0"] {
        assert_eq!(
            refused(&tree, name),
            format!(
                "will not write to `/dev/{name}`\n  caused by: it is no removable drive\n\n\
                 hint: if it is the drive you mean, add `--allow-fixed`"
            )
        );
        assert_eq!(refused_with(&tree, name, &FIXED), "");
    }
}

#[test]
fn read_only() {
    let tree = Tree::laptop();
    tree.attribute("sdb", "ro", "1");
    assert_eq!(
        refused_with(&tree, "sdb", &FIXED),
        "will not write to `/dev/sdb`\n  caused by: it is read-only\n\n\
         hint: SD cards and their adapters have a lock switch"
    );
}

#[test]
fn an_empty_card_reader() {
    let tree = Tree::laptop();
    tree.attribute("sdb", "size", "0");
    assert_eq!(
        refused(&tree, "sdb"),
        format!("will not write to `/dev/sdb`\n  caused by: there is no medium in it{LIST}")
    );
}

#[test]
fn an_optical_drive() {
    let tree = Tree::laptop();
    tree.drive("sr0", SATA, "11:0", 1000);
    tree.attribute("sr0", "device/type", "5");
    assert_eq!(
        refused_with(&tree, "sr0", &FIXED),
        format!("will not write to `/dev/sr0`\n  caused by: it is an optical drive{LIST}")
    );
}

#[test]
fn smaller_than_the_image() {
    let tree = Tree::laptop();
    let rules = |image: u64| Rules { image: Some(ByteSize(image)), ..Rules::default() };
    assert_eq!(
        refused_with(&tree, "sdb", &rules(32 << 30)),
        format!(
            "will not write to `/dev/sdb`\n  caused by: it has 29.7 GiB, and the image takes 32 GiB{LIST}"
        )
    );
    assert_eq!(
        refused_with(&tree, "sdb", &rules(31_914_983_425)),
        format!(
            "will not write to `/dev/sdb`\n  \
             caused by: it has 31914983424 bytes, and the image takes 31914983425 bytes{LIST}"
        )
    );
    assert_eq!(refused_with(&tree, "sdb", &rules(31_914_983_424)), "");
}

#[test]
fn larger_than_cards_are() {
    let tree = Tree::laptop();
    tree.drive("sdc", USB_2, "8:32", 7_814_037_168);
    assert_eq!(
        refused(&tree, "sdc"),
        "will not write to `/dev/sdc`\n  caused by: it has 3.6 TiB, more than `--max-size` allows (512 GiB)\n\n\
         hint: if it is the drive you mean, add `--max-size 3727G`"
    );
    let rules = Rules { max_size: "3727G".parse().unwrap(), ..Rules::default() };
    assert_eq!(refused_with(&tree, "sdc", &rules), "");
}

#[test]
fn everything_is_told_at_once_with_the_options_for_all_of_it() {
    let tree = Tree::new();
    tree.drive("sda", SATA, "8:0", 7_814_037_168);
    tree.partition("sda", "sda1", "8:1", 1000);
    tree.mount("8:1", "/mnt", "ext4", "/dev/sda1");
    assert_eq!(
        refused(&tree, "sda"),
        "will not write to `/dev/sda`\n  caused by: `/dev/sda1` is mounted on `/mnt`\n  \
         caused by: it is a fixed disk (sata)\n  \
         caused by: it has 3.6 TiB, more than `--max-size` allows (512 GiB)\n\n\
         hint: if it is the drive you mean, add `--allow-fixed --max-size 3727G --unmount`"
    );
}
