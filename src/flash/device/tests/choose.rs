//! Which drive, and whether it is meant.

use std::cell::RefCell;

use super::tree::{Tree, USB_2};
use crate::ask::{Ask, Nobody};
use crate::error::Result;
use crate::flash::device::{Listed, Loss, Rules, choose, confirm, confirm_file, mounted};
use crate::units::ByteSize;

/// Gives one answer, and remembers the question.
struct Says(&'static str, RefCell<String>);

impl Says {
    fn new(answer: &'static str) -> Self {
        Says(answer, RefCell::default())
    }
}

impl Ask for Says {
    fn ask(&self, question: &str) -> Result<Option<String>> {
        *self.1.borrow_mut() = question.to_string();
        Ok(Some(self.0.to_string()))
    }
}

#[test]
fn the_only_sensible_drive() {
    let tree = Tree::laptop();
    tree.drive("sdc", USB_2, "8:32", 7_814_037_168);
    assert_eq!(choose(&tree.read(), &Rules::default(), &Nobody).unwrap().name, "sdb");
}

#[test]
fn no_sensible_drive() {
    let tree = Tree::laptop();
    tree.mount("8:17", "/media/me/boot", "vfat", "/dev/sdb1");
    std::fs::remove_file(tree.at("sys/class/block/nvme0n1")).unwrap();
    assert_eq!(
        choose(&tree.read(), &Rules::default(), &Nobody).unwrap_err().to_string(),
        "there is no drive to write to\n  \
         caused by: `/dev/sdb` (SanDisk Ultra, 29.7 GiB, usb): `/dev/sdb1` is mounted on `/media/me/boot`\n\n\
         hint: plug in the card, or name a drive or a file: `bimg flash IMAGE DEVICE`"
    );
    assert_eq!(
        choose(&Tree::new().read(), &Rules::default(), &Nobody).unwrap_err().to_string(),
        "there is no drive to write to\n\n\
         hint: plug in the card, or name a drive or a file: `bimg flash IMAGE DEVICE`"
    );
}

#[test]
fn one_of_several() {
    let tree = Tree::laptop();
    tree.stick("sdc", "8:32");
    let system = tree.read();
    let says = Says::new("2");
    assert_eq!(choose(&system, &Rules::default(), &says).unwrap().name, "sdc");
    assert_eq!(
        *says.1.borrow(),
        "  1  /dev/sdb: SanDisk Ultra, 29.7 GiB, usb\n       \
         /dev/sdb1: 256 MiB, vfat `my boot`\n       \
         /dev/sdb2: 29.5 GiB, ext4 `rootfs`\n  \
         2  /dev/sdc: SanDisk Ultra, 29.7 GiB, usb\n       \
         /dev/sdc1: 256 MiB, vfat `my boot`\n       \
         /dev/sdc2: 29.5 GiB, ext4 `rootfs`\nwhich drive? [1-2]"
    );
    for answer in ["0", "3", "", "sdb"] {
        assert_eq!(
            choose(&system, &Rules::default(), &Says::new(answer)).unwrap_err().to_string(),
            format!("nothing was written\n  caused by: the answer `{answer}` is none of the numbers")
        );
    }
    assert_eq!(
        choose(&system, &Rules::default(), &Nobody).unwrap_err().to_string(),
        "which drive?\n  caused by: `/dev/sdb` (SanDisk Ultra, 29.7 GiB, usb) could be written to\n  \
         caused by: `/dev/sdc` (SanDisk Ultra, 29.7 GiB, usb) could be written to\n\n\
         hint: name one of them: `bimg flash IMAGE DEVICE`"
    );
}

#[test]
fn the_question_says_what_will_be_lost() {
    let tree = Tree::laptop();
    tree.mount("8:17", "/media/me/boot", "vfat", "/dev/sdb1");
    let system = tree.read();
    let drive = &system.devices["sdb"];
    let target = Listed::new(&system, drive, &Rules::default());
    let unmount = mounted(&system, drive);
    let loss =
        Loss { target: &target, unmount: &unmount, image: "rpi4.img", size: Some(ByteSize::mib(1500)) };
    let says = Says::new("sdb");
    confirm(&loss, &says).unwrap();
    assert_eq!(
        *says.1.borrow(),
        "/dev/sdb: SanDisk Ultra, 29.7 GiB, usb\n  will be lost:\n    \
         /dev/sdb1: 256 MiB, vfat `my boot`\n    /dev/sdb2: 29.5 GiB, ext4 `rootfs`\n  \
         will be unmounted: /media/me/boot\nto write `rpi4.img` (1.5 GiB) to it, type `sdb`:"
    );
    for answer in ["", "y", "yes", "sdc"] {
        assert_eq!(
            confirm(&loss, &Says::new(answer)).unwrap_err().to_string(),
            format!("nothing was written to `/dev/sdb`\n  caused by: the answer was `{answer}`, not `sdb`")
        );
    }
    assert_eq!(
        confirm(&loss, &Nobody).unwrap_err().to_string(),
        "will not write to `/dev/sdb` unasked\n  caused by: there is no terminal to ask on\n\n\
         hint: a script says `--yes`"
    );
}

#[test]
fn a_drive_of_which_nothing_is_known() {
    let tree = Tree::laptop();
    tree.drive("sdc", USB_2, "8:32", 4096);
    let system = tree.read();
    let target = Listed::new(&system, &system.devices["sdc"], &Rules::default());
    let says = Says::new("sdc");
    confirm(&Loss { target: &target, unmount: &[], image: "-", size: None }, &says).unwrap();
    assert_eq!(
        *says.1.borrow(),
        "/dev/sdc: 2 MiB, usb\n  everything on it will be lost\nto write `-` to it, type `sdc`:"
    );
}

#[test]
fn a_file_that_is_there() {
    let says = Says::new("yes");
    confirm_file("old.img", ByteSize::mib(4), "rpi4.img", &says).unwrap();
    assert_eq!(
        *says.1.borrow(),
        "old.img: a file of 4 MiB\n  will be overwritten\nto write `rpi4.img` to it, type `yes`:"
    );
    assert_eq!(
        confirm_file("old.img", ByteSize::mib(4), "rpi4.img", &Says::new("no")).unwrap_err().to_string(),
        "nothing was written to `old.img`\n  caused by: the answer was `no`, not `yes`"
    );
}
