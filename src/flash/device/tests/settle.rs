//! Unmounting before, reading the table and ejecting after.

use std::sync::Mutex;

use super::tree::{CARD, SATA, Tree};
use crate::flash::device::settle::{attempt, closing, mount_points, unmount};
use crate::progress::{Event, Progress, Silent};

/// Remembers notes.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn event(&self, event: &Event<'_>) {
        if let Event::Note { text } = event {
            self.0.lock().unwrap().push((*text).to_string());
        }
    }
}

#[test]
fn what_does_not_work_at_the_end_is_a_note() {
    let notes = Notes::default();
    attempt(&["true"], "never told", &notes);
    attempt(&["no-such-tool", "/dev/sdb"], "pull it", &notes);
    attempt(&["sh", "-c", "echo first >&2; echo why >&2; exit 1"], "pull it", &notes);
    assert_eq!(
        *notes.0.lock().unwrap(),
        [
            "there is no `no-such-tool` here: pull it",
            "`sh -c echo first >&2; echo why >&2; exit 1` did not work (why): pull it"
        ]
    );
}

#[test]
fn what_cannot_be_unmounted() {
    let tree = Tree::laptop();
    tree.mount("8:17", "/no/such/place", "vfat", "/dev/sdb1");
    let system = tree.read();
    let error = unmount(&tree.host(), &system, &system.devices["sdb"], &Silent).unwrap_err().to_string();
    assert!(error.starts_with(
        "cannot unmount `/no/such/place`\n  caused by: `umount -- /no/such/place` exited with "
    ));
    assert!(
        error.ends_with("\n\nhint: close what uses it; `fuser --verbose --mount /no/such/place` tells what"),
        "{error}"
    );
}

#[test]
fn nothing_mounted_nothing_to_do() {
    let tree = Tree::laptop();
    let system = tree.read();
    assert_eq!(unmount(&tree.host(), &system, &system.devices["sdb"], &Silent).unwrap(), system);
}

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
