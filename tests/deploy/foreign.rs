//! Boards of others: what is mounted where, and what their user land has.

use crate::common::write_program;
use crate::lab::assert_refused;
use crate::refusals::{assert_untouched, changed};

#[test]
fn a_place_that_the_next_kernel_does_not_see() {
    let lab = changed();
    let board = lab.board();
    let whole = board.read("proc/self/mountinfo");
    let refused = |mounts: &str, why: &str| {
        board.write("proc/self/mountinfo", mounts);
        assert_refused(
            &lab.deploy(&[]),
            1,
            &format!(
                "error: deploy to board failed\n  \
                 caused by: the board has no place for a deployment\n  \
                 caused by: /lib/modules {why}\n\n\
                 hint: it must be on a root filesystem that the kernel mounts from a disk, and that can be written; \
                 any other board gets a new kernel by `bimg build` and `bimg flash`\n"
            ),
        );
        assert_untouched(&lab);
    };
    let root = |line: &str| whole.replace("179:2 / / rw,relatime shared:1 - ext4 /dev/root rw", line);
    refused(&root("0:2 / / rw - rootfs rootfs rw"), "is in memory, and does not last");
    refused(
        &root("0:24 / / rw shared:1 master:2 - tmpfs none rw,size=1024k"),
        "is in memory, and does not last",
    );
    refused(
        &root(
            "0:24 / / rw - overlay overlayroot rw,lowerdir=/rom,upperdir=/overlay/upper,workdir=/overlay/work",
        ),
        "is on an overlay, and the kernel starts from the filesystem below it",
    );
    refused(
        &root("179:2 / / ro,relatime - squashfs /dev/root ro"),
        "is on squashfs, which cannot be written",
    );
    refused(
        &(whole.clone() + "31 22 179:3 / /lib/modules rw,relatime - ext4 /dev/mmcblk0p3 rw\n"),
        "is on the ext4 at /lib/modules, which is not mounted yet when the kernel starts",
    );
    // A disk that the boot loader fills anew each time.
    std::fs::create_dir_all(board.path("sys/dev/block")).unwrap();
    std::fs::create_dir_all(board.path("sys/devices/virtual/block/ram0")).unwrap();
    std::os::unix::fs::symlink("../../devices/virtual/block/ram0", board.path("sys/dev/block/1:0")).unwrap();
    refused(&root("1:0 / / rw,relatime - ext4 /dev/root rw"), "is in memory, and does not last");
    // What is mounted below, as by a deployment itself, is no matter.
    let below = "31 22 179:2 /x /lib/modules/6.12.0-fake rw,relatime - ext4 /dev/root rw\n";
    board.write("proc/self/mountinfo", &(whole.clone() + below));
    lab.deploy(&["--dry-run"]).ok();
}

#[test]
fn a_root_filesystem_without_a_disk() {
    let lab = changed();
    let board = lab.board();
    // The boot partition is the one that is mounted, not any with its number.
    std::fs::create_dir_all(board.path("sys/dev/block")).unwrap();
    std::fs::create_dir_all(board.path("sys/devices/usb/sda/sda1")).unwrap();
    board.write("sys/devices/usb/sda/sda1/partition", "1\n");
    board.write("sys/devices/usb/sda/sda1/dev", "8:1\n");
    std::os::unix::fs::symlink("../../devices/usb/sda/sda1", board.path("sys/dev/block/8:1")).unwrap();
    let mounts = board.read("proc/self/mountinfo");
    let root = "0:24 / / rw,relatime - nfs4 10.0.0.1:/srv/acme rw,vers=4.2";
    let mounts = mounts.replace("179:2 / / rw,relatime shared:1 - ext4 /dev/root rw", root);
    board.write("proc/self/mountinfo", &mounts);
    lab.deploy(&["--dry-run"]).ok();
}

#[test]
fn a_root_filesystem_that_starts_read_only() {
    let lab = changed();
    let board = lab.board();
    // Somebody has remounted it for the deploy, and the trial starts with it as it always is.
    board.write("var/root-starts-ro", "");
    let outcome = lab.deploy(&[]).ok();
    assert_eq!(board.state().0, board.running());
    let mounts = board.read("var/mounts");
    assert!(mounts.contains("-o remount,rw /\n-o remount,ro /\n"), "{mounts}");
    assert!(!outcome.stderr.contains("stay"), "{}", outcome.stderr);
    // One that cannot be written at all keeps no trial.
    lab.edit_kernel("other");
    board.write("var/mount-fails", "");
    board.write("proc/self/mountinfo", &board.read("proc/self/mountinfo").replace(" ro", " rw"));
    assert_refused(
        &lab.deploy(&[]),
        4,
        "error: deploy to board failed\n  \
         caused by: board: the new kernel [ID] did not pass its trial\n  \
         caused by: board: cannot confirm the new kernel: / is mounted read-only and stays so: mount: permission denied\n  \
         caused by: the board is back on Linux 6.12.0-fake, deployment [ID]\n",
    );
}

#[test]
fn a_busybox_that_lacks_what_is_needed() {
    let lab = changed();
    let board = lab.board();
    // Busybox's own shell has them all.
    board.dash();
    for applet in ["od", "xargs"] {
        std::fs::remove_file(board.path("bin").join(applet)).unwrap();
    }
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: the board lacks what its side of a deploy is made of\n  \
         caused by: it has no `od`, `xargs`\n\n\
         hint: busybox has them where it is configured with them; `bimg build` and `bimg flash` need nothing there\n",
    );
    assert_untouched(&lab);
}

#[test]
fn a_login_without_the_programs_of_root() {
    let lab = changed();
    let board = lab.board();
    // As dropbear has it.
    let path = lab.project.root().join("board/enter");
    let enter = std::fs::read_to_string(&path).unwrap();
    let short = "chroot=$(command -v chroot); PATH=/usr/local/bin:/usr/bin:/bin; exec $chroot";
    std::fs::write(&path, enter.replace("exec chroot", short)).unwrap();
    std::fs::create_dir_all(board.path("sbin")).unwrap();
    write_program(&board.path("sbin/link-is-up"), b"#!/bin/sh\n");
    lab.deploy(&["--check", "link-is-up"]).ok();
    assert_eq!(board.state().0, board.running());
}

#[test]
fn a_merged_usr_and_a_strict_umask() {
    let lab = changed();
    let board = lab.board();
    lab.project.shell(
        "cd ../board && sed -i '2i umask 077' enter && cd root && mkdir usr/lib && mv lib/* usr/lib && rmdir lib &&
         ln -s usr/lib lib && mv lib/modules/6.12.0-fake lib/modules/real && ln -s real lib/modules/6.12.0-fake",
    );
    lab.deploy(&[]).ok();
    assert_eq!(board.state().0, board.running());
    lab.project.shell(
        "cd ../board/root && ! find boot/bimg lib/modules/.bimg/ -type d ! -perm 755 | grep . &&
         ! find boot/bimg lib/modules/.bimg/ -type f ! -perm -444 | grep .",
    );
}

#[test]
fn a_kernel_that_had_no_modules() {
    let lab = changed();
    let board = lab.board();
    std::fs::remove_dir_all(board.path("lib/modules")).unwrap();
    board.write("var/free/lib", "100\n");
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: the root filesystem of the board has no room for this kernel\n  \
         caused by: it takes 1.2 MiB, and 100 KiB are free\n\n\
         hint: `bimg target list` shows the kernels there, `bimg target remove` removes one\n",
    );
    assert!(!board.path("lib/modules").exists());
    std::fs::remove_file(board.path("var/free/lib")).unwrap();
    lab.deploy(&[]).ok();
    assert_eq!(board.state().0, board.running());
}
