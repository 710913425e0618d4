//! What is open is examined again.

use rustix::io::Errno;

use super::tree::Tree;
use crate::flash::device::open::{cannot_open, is_same};
use crate::flash::device::{Rules, open_drive, open_file};
use crate::units::ByteSize;

#[test]
fn a_file_in_place_of_a_node_is_not_taken_for_a_drive() {
    let tree = Tree::laptop();
    let drive = tree.device("sdb");
    let error = open_drive(&tree.host(), &drive, &Rules::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "will not write to `/dev/sdb`\n  \
         caused by: it has changed since it was examined: it is no block device\n\n\
         hint: run it again, and look twice at the drive it shows"
    );
}

#[test]
fn another_drive_or_medium_under_the_same_name_is_noticed() {
    let drive = Tree::laptop().device("sdb");
    assert!(is_same(&drive, &drive.clone()));
    for (file, value) in
        [("diskseq", "10"), ("size", "62333951"), ("dev", "8:80"), ("device/model", "Cruzer")]
    {
        let tree = Tree::laptop();
        tree.attribute("sdb", file, value);
        assert!(!is_same(&drive, &tree.device("sdb")), "{file}");
    }
    // What is on it, and what holds it, is asked of the rules.
    let tree = Tree::laptop();
    tree.udev("8:16", "E:ID_PART_TABLE_TYPE=gpt\n");
    assert!(is_same(&drive, &tree.device("sdb")));
}

#[test]
fn why_a_drive_cannot_be_opened() {
    let drive = Tree::laptop().device("sdb");
    let told = |errno| cannot_open(&drive, errno).to_string();
    assert_eq!(
        told(Errno::BUSY),
        "cannot open `/dev/sdb`\n  caused by: Device or resource busy\n\n\
         hint: something uses it; `lsblk /dev/sdb` and `fuser --verbose /dev/sdb` tell what"
    );
    assert_eq!(
        told(Errno::ACCESS),
        "cannot open `/dev/sdb`\n  caused by: Permission denied\n\n\
         hint: writing to a drive takes root, or a user whom the system lets (often: group `disk`)"
    );
    assert_eq!(
        told(Errno::ROFS),
        "cannot open `/dev/sdb`\n  caused by: Read-only file system\n\n\
         hint: SD cards and their adapters have a lock switch"
    );
    assert_eq!(told(Errno::NOMEDIUM), "cannot open `/dev/sdb`\n  caused by: No medium found");
}

#[test]
fn a_file_is_opened_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.img");
    open_file(&path).unwrap();
    assert_eq!(path.metadata().unwrap().len(), 0);
    std::fs::write(&path, "hello").unwrap();
    open_file(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    let missing = dir.path().join("no/card.img");
    assert_eq!(
        open_file(&missing).unwrap_err().to_string(),
        format!("cannot open `{}`\n  caused by: No such file or directory", missing.display())
    );
    assert_eq!(ByteSize(path.metadata().unwrap().len()), ByteSize(5));
}
