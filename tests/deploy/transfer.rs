//! What is sent, what is not, and that nothing which is there is ever changed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use crate::board::Board;
use crate::lab::{Lab, STATUS, assert_refused, assert_text};

/// Deployments of a board.
fn deployments(board: &Board) -> Vec<String> {
    let (boot, root) = (board.deployments(), board.names("lib/modules/.bimg"));
    assert_eq!(boot, root, "a deployment has both halves");
    boot
}

/// Every line of `before` is there still.
#[track_caller]
fn assert_kept(before: &str, after: &str) {
    let after: BTreeSet<&str> = after.lines().collect();
    for line in before.lines().filter(|line| !line.ends_with("bimg.env") && !line.ends_with("/good")) {
        assert!(after.contains(line), "{line} has changed");
    }
}

#[test]
fn a_kernel_becomes_the_default_and_the_old_one_stays_as_it_was() {
    let lab = Lab::new();
    let board = lab.board();
    let image = board.digests(&["boot", "lib/modules"]);

    lab.edit_kernel("first");
    lab.edit_module("first");
    let outcome = lab.deploy(&[]).ok();
    assert_text(
        &outcome.stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; 6 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
    assert_text(
        &outcome.stderr,
        "sources: up to date\n\
         kernel: started: source drivers/led.c changed, source init/main.c changed\n\
         kernel: done in [TIME] s\n\
         deploy: started\n\
         board: trial boot of 6.12.0-fake ([ID])\n\
         deploy: done in [TIME] s\n",
    );
    let [first] = deployments(board).try_into().unwrap();
    assert_eq!((board.running(), board.state()), (first.clone(), (first.clone(), "none".to_string())));
    assert_eq!(board.reboots(), [""]);
    let both = board.digests(&["boot", "lib/modules"]);
    assert_kept(&image, &both);

    // Nothing to do.
    let sent = board.wire().sent();
    let outcome = lab.deploy(&[]).ok();
    assert_text(&outcome.stdout, "board  runs 6.12.0-fake ([ID]) already\n");
    assert!(board.wire().sent() - sent < 60_000, "{}", board.wire().sent() - sent);
    assert_eq!((board.boots(), board.digests(&["boot", "lib/modules"])), (2, both.clone()));

    // One module, and the same release.
    let sent = board.wire().sent();
    lab.edit_module("second");
    let outcome = lab.deploy(&[]).ok();
    assert_text(
        &outcome.stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; 4 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
    assert!(board.wire().sent() - sent < 100_000, "{}", board.wire().sent() - sent);
    let second = deployments(board).into_iter().find(|id| *id != first).unwrap();
    assert_eq!((board.running(), board.state()), (second.clone(), (second, "none".to_string())));
    assert_kept(&both, &board.digests(&["boot", "lib/modules"]));
}

#[test]
fn modules_go_as_the_build_packed_them() {
    let lab = Lab::new();
    let board = lab.board();
    board.take("zstd", "usr/bin");
    lab.edit_kernel("first");
    let id = lab.deploy_edited("first");
    let there = board.digests(&[&format!("lib/modules/.bimg/{id}/modules")]);
    let module = lab.project.shell("sha256sum build/kernel/*/stage/lib/modules/*/kernel/drivers/led.ko");
    assert!(there.contains(&module[..64]), "{there}");

    // One that holds other bytes than it should is found out by the board.
    lab.edit_module("second");
    lab.project.build(&["--stage", "kernel"]);
    let frame = lab.project.shell(
        "module=$(echo build/kernel/*/stage/lib/modules/*/kernel/drivers/led.ko) &&
         frame=$(echo build/kernel/*/packed)/$(sha256sum $module | cut -d ' ' -f 1) && ls $frame &&
         zstd -qdc $frame | tr s t >other && zstd -qf other -o $frame",
    );
    assert_refused(
        &lab.deploy(&["--no-build"]),
        1,
        "error: deploy to board failed\n  \
         caused by: board: cannot take the modules\n  \
         caused by: what arrived is not what was sent: modules/kernel/drivers/led.ko: FAILED \
         sha256sum: WARNING: 1 of 3 computed checksums did NOT match\n",
    );
    // And is not used again: without one, a module is packed on the way.
    assert!(!lab.project.path(frame.trim()).exists());
    lab.deploy(&["--no-build"]).ok();
    assert_ne!(board.running(), id);
    // The next build packs it.
    lab.edit_module("first");
    lab.project.build(&["--stage", "kernel"]);
    lab.edit_module("second");
    lab.project.build(&["--stage", "kernel"]);
    assert!(lab.project.path(frame.trim()).exists());
}

#[test]
fn half_a_module_never_takes_the_place_of_the_bases() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("first");
    lab.deploy_edited("first");
    // The same module in another deployment, which was cut in the middle of it, on another base.
    lab.edit_kernel("second");
    lab.deploy(&["--no-reboot"]).ok();
    let id = board.other();
    let modules = format!("lib/modules/.bimg/{id}/modules");
    let whole = board.digests(&[&modules]);
    let partial = board.path(&format!("lib/modules/.bimg/{id}.partial"));
    std::fs::create_dir_all(partial.join("sent/modules/kernel/drivers")).unwrap();
    std::fs::write(partial.join("sent/modules/kernel/drivers/led.ko"), "half").unwrap();
    std::fs::remove_dir_all(board.path(&format!("lib/modules/.bimg/{id}"))).unwrap();
    lab.deploy(&["--no-reboot"]).ok();
    assert_eq!(board.digests(&[&modules]), whole);
}

#[test]
fn what_was_not_removed_in_time_costs_no_deployment() {
    let lab = Lab::new();
    let board = lab.board();
    let first = lab.deploy_edited("first");
    // The power went after the rename.
    let left = format!("lib/modules/.bimg/{first}.partial/sent");
    std::fs::create_dir_all(board.path(&left)).unwrap();
    board.write(&format!("{left}/file"), "link");
    lab.deploy_edited("second");
    lab.deploy_edited("third");
    assert!(board.deployments().contains(&first));
    assert!(board.path(&format!("lib/modules/.bimg/{first}/modules")).exists());
}

#[test]
fn a_modified_module_of_the_base_is_not_taken_over() {
    let lab = Lab::new();
    let board = lab.board();
    let first = lab.deploy_edited("first");
    // Somebody was there with an editor.
    let path = format!("lib/modules/.bimg/{first}/modules/kernel/drivers/gpio.ko");
    std::fs::remove_file(board.path(&path)).unwrap();
    board.write(&path, "damaged");
    lab.deploy_edited("second");
    let good = lab.project.shell("sha256sum build/kernel/*/stage/lib/modules/*/kernel/drivers/gpio.ko");
    let there =
        board.digests(&[&format!("lib/modules/.bimg/{}/modules/kernel/drivers/gpio.ko", board.running())]);
    assert_eq!(there[..64], good[..64]);
}

#[test]
fn brought_there_and_left() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("later");
    let outcome = lab.deploy(&["--no-reboot"]).ok();
    assert_text(
        &outcome.stdout,
        "board  has 6.12.0-fake ([ID]); 5 files, [SIZE] ([SIZE] on the wire), [TIME] s; not started: the same command without `--no-reboot` tries it\n",
    );
    let [id] = deployments(board).try_into().unwrap();
    assert_eq!(board.state(), ("image".to_string(), "none".to_string()));
    assert_eq!((board.boots(), board.running()), (1, "image".to_string()));
    // What is there is not sent again.
    let outcome = lab.deploy(&[]).ok();
    assert_text(
        &outcome.stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; nothing to send, [TIME] s\n",
    );
    assert_eq!((board.running(), board.state().0), (id.clone(), id));
}

#[test]
fn a_dry_run_writes_nothing() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("planned");
    let before = board.digests(&["boot", "lib/modules", "var"]);
    let outcome = lab.deploy(&["--dry-run"]).ok();
    assert_text(&outcome.stdout, "board  would get 6.12.0-fake ([ID]): 5 files, [SIZE]; then a trial boot\n");
    assert_eq!(board.digests(&["boot", "lib/modules", "var"]), before);
    assert_eq!(board.deployments(), [] as [&str; 0]);
    assert!(!board.path("lib/modules/.bimg").exists());
}

#[test]
fn one_part_alone() {
    let lab = Lab::new();
    let board = lab.board();
    let of = |board: &Board, path: &str| board.digests(&[path])[..64].to_string();
    let image = of(board, "boot/Image");
    let module = of(board, "lib/modules/6.12.0-fake/kernel/drivers/led.ko");
    let dtb = of(board, "boot/dtbs/acme/board-a.dtb");
    let parts = |board: &Board| {
        let (boot, root) = (board.kernel(&board.running()), format!("lib/modules/.bimg/{}", board.running()));
        (
            of(board, &format!("{boot}/Image")),
            of(board, &format!("{root}/modules/kernel/drivers/led.ko")),
            of(board, &format!("{boot}/dtbs/acme/board-a.dtb")),
        )
    };
    lab.edit_kernel("new");
    lab.edit_module("new");
    lab.project.edit(
        "linux/arch/arm64/boot/dts/acme/board-a.dts",
        "compatible",
        "model = \"new\"; compatible",
    );

    assert_text(
        &lab.deploy(&["--modules-only"]).ok().stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; 5 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
    let (kernel, led, tree) = parts(board);
    assert_eq!((&kernel, &tree), (&image, &dtb));
    assert_ne!(led, module);

    assert_text(
        &lab.deploy(&["--kernel-only"]).ok().stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; 4 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
    let (kernel, same, tree) = parts(board);
    assert_eq!((&same, &tree), (&led, &dtb));
    assert_ne!(kernel, image);

    assert_text(
        &lab.deploy(&["--dtb-only"]).ok().stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; 4 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
    let (third, same, tree) = parts(board);
    assert_eq!((third, same), (kernel, led));
    assert_ne!(tree, dtb);

    lab.project.write("boards/acme.config", "CONFIG_LED=m\nCONFIG_LOCALVERSION=\"-two\"\n");
    assert_refused(
        &lab.deploy(&["--modules-only"]),
        1,
        "error: deploy to board failed\n  \
             caused by: the board runs Linux 6.12.0-fake, and the build is 6.12.0-fake-two\n  \
             caused by: a part of a kernel fits only the rest of it\n\n\
             hint: deploy the whole kernel: without `--kernel-only`, `--modules-only`, `--dtb-only`\n",
    );
}

#[test]
fn a_configuration_that_is_the_same_is_not_sent() {
    let lab = Lab::new();
    let board = lab.board();
    let config = |id: &str| std::fs::metadata(board.path(&format!("lib/modules/.bimg/{id}/config"))).unwrap();
    let one = lab.deploy_edited("one");
    let two = lab.deploy_edited("two");
    assert_eq!(config(&one).ino(), config(&two).ino());
    lab.deploy(&["--set", "CONFIG_FAST=y"]).ok();
    assert_ne!(config(&two).ino(), config(&board.running()).ino());
}

#[test]
fn what_interrupted_deploys_left_is_removed() {
    let lab = Lab::new();
    let board = lab.board();
    for left in [
        "boot/bimg/00000000aaaa.partial",
        "boot/bimg/00000000bbbb",
        "boot/bimg/kernels/00000000dddd",
        "lib/modules/.bimg/00000000cccc.partial/sent",
    ] {
        std::fs::create_dir_all(board.path(left)).unwrap();
        board.write(&format!("{left}/file"), "half");
    }
    assert_text(
        &lab.target(&["status"]).ok().stdout,
        &format!(
            "{STATUS}left       [ID], [ID], [ID] of interrupted deploys; the next deploy goes on or removes them\n"
        ),
    );
    lab.edit_module("first");
    // There is room once they are gone.
    for (at, left) in [
        ("boot", "boot/bimg/kernels/00000000dddd"),
        ("lib/modules", "lib/modules/.bimg/00000000cccc.partial"),
    ] {
        board.write(&format!("var/free/{at}.while"), &format!("/{left}"));
    }
    lab.deploy(&[]).ok();
    assert_eq!(deployments(board), [board.running()]);
    assert_eq!(board.names("boot/bimg/kernels").len(), 1);
}

#[test]
fn what_is_removed_has_the_modules_read_once_still() {
    let lab = Lab::new();
    let board = lab.board();
    board.dash();
    board.program("xargs", "echo \"$*\" >>/var/xargs\nexec busybox xargs \"$@\"");
    board.write("boot/bimg/00000000bbbb/file", "half");
    lab.edit_module("first");
    lab.deploy(&["--no-reboot"]).ok();
    assert!(!board.path("boot/bimg/00000000bbbb").exists());
    assert_eq!(board.read("var/xargs").matches("sha256sum").count(), 1);
}

#[test]
fn who_comes_next_finds_the_board_free() {
    let lab = Lab::new();
    lab.edit_module("first");
    for _ in 0..5 {
        lab.deploy(&["--no-reboot"]).ok();
        assert!(!lab.board().path(&(lab.board().run() + "/lock")).exists());
    }
}

#[test]
fn a_kernel_that_nothing_names_is_removed() {
    let lab = Lab::new();
    let board = lab.board();
    board.write("boot/bimg/kernels/00000000dddd/Image", "whole");
    lab.deploy_edited("first");
    assert!(!board.path("boot/bimg/kernels/00000000dddd").exists());
}

#[test]
fn what_arrived_needs_no_room_again() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_module("first");
    lab.deploy(&["--no-reboot"]).ok();
    // As it was just before the half on the root filesystem got its name.
    let [id] = board.deployments().try_into().unwrap();
    let own = board.path(&format!("lib/modules/.bimg/{id}"));
    let partial = board.path(&format!("lib/modules/.bimg/{id}.partial"));
    std::fs::create_dir(&partial).unwrap();
    std::fs::rename(&own, partial.join("sent")).unwrap();
    // In KiB: what is kept free anyway.
    board.write("var/free/lib/modules", "1024\n");
    lab.deploy(&["--no-reboot"]).ok();
    assert_eq!(board.deployments(), [id]);
}

#[test]
fn with_sudo() {
    let lab = Lab::new();
    let board = lab.board();
    board.write("var/user", "");
    board.program("sudo", "[ \"$1\" = -n ] && shift && FAKE_ROOT=1 exec \"$@\"");
    lab.deploy_edited("first");
    assert_eq!(board.state().0, board.running());
}

#[test]
fn a_boot_partition_that_is_mounted_read_only() {
    let lab = Lab::new();
    let board = lab.board();
    board.write("proc/self/mountinfo", &board.read("proc/self/mountinfo").replace("/boot rw", "/boot ro"));
    lab.edit_module("first");
    lab.deploy(&["--no-reboot"]).ok();
    assert_eq!(board.read("var/mounts"), "-o remount,rw /boot\n-o remount,ro /boot\n");
}

#[test]
fn a_shell_that_is_dash() {
    let lab = Lab::new();
    let board = lab.board();
    if !std::path::Path::new("/bin/dash").exists() {
        return;
    }
    board.dash();
    // Its `echo` makes two lines of this.
    let cmdline = board.read("proc/cmdline");
    board.write("proc/cmdline", &format!("{} dyndbg=format\\nfoo\n", cmdline.trim()));
    lab.deploy_edited("first");
    assert_eq!(board.state().0, board.running());
}

#[test]
fn a_boot_partition_that_belongs_to_somebody() {
    let lab = Lab::new();
    // GNU tar as root on a FAT mounted with `uid=`: nobody can change owners there.
    lab.board().program(
        "tar",
        "case \" $* \" in *' -C /boot'*) case \" $* \" in *' -o '*) ;; *)\n\
         cat >/dev/null; echo 'tar: Cannot change ownership to uid 0, gid 0: Operation not permitted' >&2; exit 2 ;;\n\
         esac ;; esac\nexec busybox tar \"$@\"",
    );
    lab.edit_kernel("first");
    lab.deploy(&[]).ok();
}
