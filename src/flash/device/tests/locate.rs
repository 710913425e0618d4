//! From what is named to where the image goes.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::tree::{SATA, Tree};
use crate::flash::device::{Place, locate};
use crate::units::ByteSize;

fn place(tree: &Tree, path: &str) -> Result<Place, String> {
    let root = tree.root().to_str().unwrap().to_string();
    locate(&tree.host(), &tree.read(), Path::new(path)).map_err(|error| error.to_string().replace(&root, ""))
}

#[track_caller]
fn refused(tree: &Tree, path: &str, why: &str) {
    assert_eq!(
        place(tree, path).unwrap_err(),
        format!(
            "cannot write an image to `{path}`\n  caused by: {why}\n\n\
             hint: `bimg flash --list` shows the drives that can be written to"
        )
    );
}

#[test]
fn a_drive_by_name_and_through_links() {
    let tree = Tree::laptop();
    tree.make("dev/disk/by-id");
    symlink("../../sdb", tree.at("dev/disk/by-id/usb-SanDisk_Ultra-0:0")).unwrap();
    symlink("disk/by-id/usb-SanDisk_Ultra-0:0", tree.at("dev/card")).unwrap();
    for path in ["/dev/sdb", "/dev/disk/by-id/usb-SanDisk_Ultra-0:0", "/dev/card"] {
        assert_eq!(place(&tree, path), Ok(Place::Drive(Box::new(tree.device("sdb")))));
    }
}

#[test]
fn a_partition_leads_to_its_drive() {
    let tree = Tree::laptop();
    tree.make("dev/disk/by-label");
    symlink("../../sdb1", tree.at("dev/disk/by-label/boot")).unwrap();
    for path in ["/dev/sdb1", "/dev/disk/by-label/boot"] {
        assert_eq!(
            place(&tree, path).unwrap_err(),
            format!(
                "`{path}` is a partition, not a whole drive\n\n\
                 hint: an image has a partition table of its own: name the whole drive, `/dev/sdb`"
            )
        );
    }
}

#[test]
fn stacked_devices_are_no_drives() {
    let tree = Tree::laptop();
    tree.drive("sda", SATA, "8:0", 1000);
    tree.stacked("md0", "9:0", 1000, &["sdb2", "sda"]);
    tree.make("sys/devices/virtual/block/md0/md");
    let list = "hint: `bimg flash --list` shows the drives that can be written to";
    for path in ["/dev/mapper/vg-root", "/dev/dm-1"] {
        assert_eq!(
            place(&tree, path).unwrap_err(),
            format!(
                "`{path}` is a device-mapper volume, not a whole drive\n  \
                 caused by: it lies on `/dev/nvme0n1`\n\n{list}"
            )
        );
    }
    assert_eq!(
        place(&tree, "/dev/md0").unwrap_err(),
        format!(
            "`/dev/md0` is a RAID array, not a whole drive\n  caused by: it lies on `/dev/sda`, `/dev/sdb`\n\n{list}"
        )
    );
}

#[test]
fn what_is_neither_a_drive_nor_a_file() {
    let tree = Tree::laptop();
    tree.make("srv/dir");
    refused(&tree, "/srv/dir", "it is a directory, neither a drive nor a file");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.at("srv/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    refused(&tree, "/srv/fifo", "it is a pipe, neither a drive nor a file");
    let _listener = std::os::unix::net::UnixListener::bind(tree.at("srv/socket")).unwrap();
    refused(&tree, "/srv/socket", "it is a socket, neither a drive nor a file");
    symlink("/dev/null", tree.at("dev/null")).unwrap();
    refused(&tree, "/dev/null", "it is a character device, neither a drive nor a file");
    refused(&tree, "/dev/sdx", "there is no such drive");
    tree.write("dev/sdy", "x");
    refused(&tree, "/dev/sdy", "it is a plain file that somebody left there, not a drive");
    assert_eq!(
        place(&tree, "/srv/fifo/x").unwrap_err(),
        "cannot use `/srv/fifo/x`\n  caused by: Not a directory"
    );
}

#[test]
fn files() {
    let tree = Tree::laptop();
    tree.write("srv/card.img", "hello");
    let file =
        |path: &str, size: Option<u64>| Ok(Place::File { path: tree.at(path), size: size.map(ByteSize) });
    assert_eq!(place(&tree, "/srv/card.img"), file("srv/card.img", Some(5)));
    assert_eq!(place(&tree, "/srv/new.img"), file("srv/new.img", None));
    assert_eq!(place(&tree, "/dev/shm/new.img"), file("dev/shm/new.img", None));
    assert_eq!(
        place(&tree, "relative/card.img"),
        Ok(Place::File { path: "relative/card.img".into(), size: None })
    );
}

#[test]
fn a_file_behind_a_loop_device() {
    let tree = Tree::laptop();
    tree.write("srv/card.img", "hello");
    tree.stacked("loop0", "7:0", 1000, &[]);
    tree.attribute("loop0", "loop/backing_file", "/srv/card.img");
    symlink("card.img", tree.at("srv/link.img")).unwrap();
    for path in ["/srv/card.img", "/srv/link.img"] {
        assert_eq!(
            place(&tree, path).unwrap_err(),
            format!(
                "will not write to `{path}`\n  caused by: it is held by the loop device `loop0`\n\n\
                 hint: if nothing needs it any more: `losetup --detach /dev/loop0`"
            )
        );
    }
}
