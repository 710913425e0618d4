//! Unmounting before, reading the table and ejecting after.

use super::tree::{CARD, SATA, Tree};
use crate::flash::device::settle::{closing, mount_points};

#[test]
fn what_is_mounted_last_is_unmounted_first() {
    let tree = Tree::laptop();
    tree.mount("8:18", "/mnt", "ext4", "/dev/sdb2");
    tree.mount("8:17", "/mnt/boot", "vfat", "/dev/sdb1");
    let system = tree.read();
    let points: Vec<_> =
        mount_points(&system, &system.devices["sdb"]).iter().map(|p| p.to_str().unwrap()).collect();
    assert_eq!(points, ["/mnt/boot", "/mnt"]);
    tree.unmount("/mnt/boot");
    tree.unmount("/mnt");
    let system = tree.read();
    assert!(mount_points(&system, &system.devices["sdb"]).is_empty());
}

#[test]
fn what_is_run_at_the_end() {
    let tree = Tree::laptop();
    tree.drive("mmcblk0", CARD, "179:0", 100);
    tree.attribute("mmcblk0", "device/type", "SD");
    tree.drive("sda", SATA, "8:0", 100);
    tree.stacked("loop0", "7:0", 100, &[]);
    let commands =
        |name: &str| closing(&tree.device(name)).iter().map(|(words, _)| words.join(" ")).collect::<Vec<_>>();
    assert_eq!(commands("sdb"), ["blockdev --rereadpt /dev/sdb", "eject /dev/sdb"]);
    assert_eq!(commands("mmcblk0"), ["blockdev --rereadpt /dev/mmcblk0"]);
    assert_eq!(commands("sda"), ["blockdev --rereadpt /dev/sda"]);
    assert!(commands("loop0").is_empty());
}
