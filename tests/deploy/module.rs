//! `bimg deploy --module`: one module, reloaded.

use std::fs;

use crate::board::Board;
use crate::common::live::eventually;
use crate::lab::{Lab, assert_refused, assert_text};

#[test]
fn a_module_is_reloaded_with_those_that_use_it() {
    let lab = Lab::new();
    let board = lab.board();
    for name in ["led", "blink"] {
        std::fs::create_dir_all(board.path(&format!("sys/module/{name}/holders"))).unwrap();
        board.write(&format!("sys/module/{name}/initstate"), "live\n");
    }
    board.write("sys/module/led/holders/blink", "");
    lab.edit_module("now");
    let before = board.digests(&["boot", "lib/modules"]);
    assert_text(
        &lab.deploy(&["--module", "led"]).ok().stdout,
        "board  led reloaded, with blink in [TIME] s; until the next boot\n  \
         [    8.000000] blink: unloaded\n  \
         [    8.000000] led: unloaded\n  \
         [    9.000000] led: loaded\n  \
         [    9.500000] blink: probed\n",
    );
    let file = std::fs::read(board.path("var/loaded-led")).unwrap();
    assert!(memchr::memmem::find(&file, b"word=now\0").is_some());
    assert!(memchr::memmem::find(&file, b".debug_info").is_none());
    assert_eq!(board.digests(&["boot", "lib/modules"]), before);
    assert_eq!((board.boots(), board.state().0.as_str()), (1, "image"));
    let json = lab.deploy(&["--module", "led", "--json"]).ok().stdout;
    assert_text(
        json.lines().last().unwrap(),
        "{\"host\":\"board\",\"module\":\"led\",\"dependents\":[],\"dmesg\":[\"[    8.000000] led: unloaded\",\"[    9.000000] led: loaded\"],\"seconds\":[TIME]}",
    );
}

#[test]
fn refusals() {
    let lab = Lab::new();
    let board = lab.board();
    assert_refused(
        &lab.deploy(&["--module", "lef"]),
        2,
        "error: this kernel has no module `lef`\n\n\
         hint: nearest: `led`\n",
    );
    assert_refused(
        &lab.deploy(&["--module", "led;reboot"]),
        2,
        "error: `led;reboot` is not the name of a kernel module\n\n\
         hint: a name as `lsmod` prints it, without `.ko`\n",
    );
    board.write("var/insmod-fails", "");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be loaded: insmod: can't insert 'new/led.ko': unknown symbol in module\n",
    );
    // It was not loaded before, and is not now.
    assert!(!board.path("sys/module/led").exists());
    std::fs::create_dir_all(board.path("sys/module/led/holders")).unwrap();
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led is built into the running kernel\n",
    );
    board.write("sys/module/led/initstate", "live\n");
    board.write("var/busy-led", "");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be unloaded: rmmod: can't unload module 'led': Resource temporarily unavailable\n\n\
         hint: a process, a mount or another driver uses it, or it has no exit function\n",
    );
    board.write("proc/fake-r", "6.11.0\n");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: module `led` was built for Linux 6.12.0-fake\n  \
         caused by: board runs 6.11.0, which refuses it\n\n\
         hint: deploy the kernel of this build first\n",
    );
    board.write("proc/fake-r", "6.12.0-fake\n");
    board.write("proc/fake-m", "riscv64\n");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: the board runs on riscv64, and profile `acme` is for arm64\n\n\
         hint: is this the right host, and the right `--board`?\n",
    );
    board.write("proc/fake-m", "aarch64\n");
    // Who has taken it has yet to say so.
    fs::create_dir_all(board.path(&(board.run() + "/lock"))).unwrap();
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board is being deployed to already\n  \
         caused by: by somebody, since just now\n\n\
         hint: wait until that has ended; the lock goes with its connection\n",
    );
    fs::remove_dir(board.path(&(board.run() + "/lock"))).unwrap();
    lab.project.edit("linux/drivers/led.c", "return start();", "return stop();");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be unloaded: rmmod: can't unload module 'led': Resource temporarily unavailable\n\n\
         hint: a process, a mount or another driver uses it, or it has no exit function\n",
    );
}

impl Board {
    /// Has these modules loaded; each but the first uses the one before.
    fn loads(&self, modules: &[&str]) {
        for name in modules {
            fs::create_dir_all(self.path(&format!("sys/module/{name}/holders"))).unwrap();
            self.write(&format!("sys/module/{name}/initstate"), "live\n");
        }
        for pair in modules.windows(2) {
            self.write(&format!("sys/module/{}/holders/{}", pair[0], pair[1]), "");
        }
    }
}

#[test]
fn what_uses_it_comes_back_as_it_was() {
    let lab = Lab::new();
    let board = lab.board();
    board.loads(&["gpio", "led"]);
    lab.edit_module("now");
    lab.deploy(&["--module", "led"]).ok();
    let now = fs::read(board.path("var/loaded-led")).unwrap();
    fs::remove_file(board.path("var/loaded-led")).unwrap();
    board.loads(&["gpio", "led"]);
    // Not the one that the board boots with.
    lab.deploy(&["--module", "gpio"]).ok();
    assert!(fs::read(board.path("var/loaded-led")).unwrap() == now);
    // Nor when its successor does not load.
    board.program("insmod", "case $1 in new/*) exit 1 ;; esac\ncp \"$1\" /var/back");
    lab.edit_module("then");
    assert_eq!(lab.deploy(&["--module", "led"]).status, Some(1));
    assert!(fs::read(board.path("var/back")).unwrap() == now);
}

#[test]
fn it_gets_the_parameters_that_the_board_has_for_it() {
    let lab = Lab::new();
    let board = lab.board();
    board.dash();
    board.write(
        "etc/modprobe.d/acme.conf",
        "options ledger x=1\noptions\tled speed=9 name=\"a b\"\n# options led y=1\n",
    );
    board.write("proc/cmdline", "led.on=1 root=/dev/led.2 ledger.x=2\n");
    lab.deploy(&["--module", "led"]).ok();
    assert_text(&board.read("var/insmods"), "new/led.ko speed=9 name=\"a b\" on=1\n");
    // Where modprobe is not busybox's it knows.
    board.program("modprobe", "echo 'options led from=modprobe'");
    lab.deploy(&["--module", "led"]).ok();
    assert_text(
        &board.read("var/insmods"),
        "new/led.ko speed=9 name=\"a b\" on=1\nnew/led.ko from=modprobe\n",
    );
}

#[test]
fn modules_that_do_not_come_back() {
    let lab = Lab::new();
    let board = lab.board();
    // One is unloaded and loaded again before the reason is told.
    board.loads(&["led", "blink"]);
    board.write("var/busy-led", "");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be unloaded: rmmod: can't unload module 'led': Resource temporarily unavailable\n\n\
         hint: a process, a mount or another driver uses it, or it has no exit function\n",
    );
    fs::remove_file(board.path("var/busy-led")).unwrap();

    board.program("modprobe", "echo \"modprobe: cannot load $1\" >&2\nexit 1");
    board.loads(&["led", "blink"]);
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: blink cannot be loaded again: modprobe: cannot load blink\n  \
         caused by: [    9.000000] led: loaded\n\n\
         hint: no longer loaded: blink; a reboot loads what the board has\n",
    );
    fs::remove_file(board.path(&(board.run() + "/led.ko"))).unwrap();
    board.loads(&["led", "blink"]);
    board.write("var/insmod-fails", "");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be loaded: insmod: can't insert 'new/led.ko': unknown symbol in module\n  \
         caused by: [    8.000000] led: unloaded\n\n\
         hint: no longer loaded: led blink; a reboot loads what the board has\n",
    );
}

#[test]
fn one_that_crashes_is_left_alone() {
    let lab = Lab::new();
    let board = lab.board();
    board.loads(&["led", "blink"]);
    // As an oops in its init leaves it. Whoever loads it again waits for ever.
    board.program(
        "insmod",
        "mkdir -p /sys/module/led && echo coming >/sys/module/led/initstate\n\
         printf '[ 9.1] BUG: unable to handle page fault\\n[ 9.2] ---[ end trace ]---\\n' >>/dev/kmsg\nkill -9 $$",
    );
    board.program("modprobe", "echo \"$1\" >>/var/probed\n[ \"$1\" != -c ] || exit 1");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be loaded: Killed\n  \
         caused by: [ 9.1] BUG: unable to handle page fault\n\n\
         hint: it crashed, and the kernel cannot get rid of it: only a reboot helps\n",
    );
    assert_eq!(board.read("var/probed"), "-c\n");
}

#[test]
fn a_kernel_that_signs_its_modules_signs_this_one() {
    let lab = Lab::new();
    let board = lab.board();
    lab.project.edit(
        "linux/Kconfig",
        "choice\n",
        "config MODULE_SIG_ALL\n\tbool \"All\"\n\tdepends on MODULE_SIG\n\nconfig MODULE_SIG_HASH\n\tstring \"Hash\"\n\n\
         choice\n",
    );
    // As kbuild makes it.
    lab.project
        .write("linux/scripts/sign-file", "#!/bin/sh\nprintf '~signed %s %s' \"$1\" \"${2##*/}\" >>\"$4\"\n");
    lab.project.edit(
        "linux/Makefile",
        "\t@objcopy",
        "\t@mkdir -p $(objtree)/scripts && install $(srctree)/scripts/sign-file $(objtree)/scripts\n\t@objcopy",
    );
    let set = [
        "--set",
        "CONFIG_MODULE_SIG=y",
        "--set",
        "CONFIG_MODULE_SIG_ALL=y",
        "--set",
        "CONFIG_MODULE_SIG_HASH=\"sha512\"",
    ];
    lab.deploy(&[&set[..], &["--no-reboot"]].concat()).ok();
    lab.deploy(&[&set[..], &["--module", "led"]].concat()).ok();
    let file = fs::read(board.path("var/loaded-led")).unwrap();
    assert!(file.ends_with(b"~signed sha512 signing_key.pem"));
}

#[test]
fn a_source_that_has_another_release_since() {
    let lab = Lab::new();
    lab.project.edit("linux/Makefile", "KERNELRELEASE := 6.12.0-fake", "KERNELRELEASE := 6.12.0-next");
    // The first make notices; the second finds the build still.
    for _ in 0..2 {
        assert_refused(
            &lab.deploy(&["--module", "led"]),
            1,
            "error: module `led` was built for Linux 6.12.0-next\n  \
             caused by: board runs 6.12.0-fake, which refuses it\n\n\
             hint: deploy the kernel of this build first\n",
        );
    }
}

#[test]
fn what_the_kernel_says_repaints_no_terminal() {
    let lab = Lab::new();
    lab.board().program("insmod", "printf '[ 9.1] led: \\033[31mACME\\007\\n' >>/dev/kmsg");
    assert_text(
        &lab.deploy(&["--module", "led"]).ok().stdout,
        "board  led reloaded in [TIME] s; until the next boot\n  [ 9.1] led: ACME\n",
    );
}

#[test]
fn one_that_takes_the_board_along() {
    let lab = Lab::new();
    let board = lab.board();
    board.program("insmod", ": >/var/here\nuntil [ -e /var/go ]; do sleep 0.05; done");
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board", "--module", "led"]);
    eventually("an insmod", || board.path("var/here").exists());
    board.reset();
    let (status, stderr) = live.end();
    assert_eq!(status, Some(5));
    assert_text(
        &stderr[stderr.find("error: ").unwrap()..],
        "error: the connection to board broke\n\n\
         hint: `led` may have crashed the kernel, or be what the connection needs: a reset boots what the board booted before\n",
    );
}

#[test]
fn on_all_boards_at_once() {
    let lab = Lab::with(&["one", "two"]);
    for board in &lab.boards {
        board.program("insmod", ": >/var/here\nuntil [ -e /var/go ]; do sleep 0.05; done");
    }
    let live = lab.live(&["deploy", "--board", "acme", "--host", "one", "--host", "two", "--module", "led"]);
    eventually("both", || lab.boards.iter().all(|board| board.path("var/here").exists()));
    // Whoever comes next waits for it, also when this connection is gone.
    assert!(lab.boards.iter().all(|board| board.names(&(board.run() + "/writers")).len() == 1));
    lab.boards.iter().for_each(|board| board.write("var/go", ""));
    assert_eq!(live.end().0, Some(0));
}

#[test]
fn one_board_that_is_off_keeps_no_other_from_it() {
    let lab = Lab::new();
    lab.edit_module("now");
    let hosts = ["--host", "127.0.0.1:9", "--host", "board"];
    let args = [&["deploy", "--board", "acme", "--module", "led"], &hosts[..]].concat();
    let outcome = lab.run(&args);
    assert_text(
        &outcome.stdout,
        "127.0.0.1:9  failed: cannot connect to 127.0.0.1:9: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\n  \
         hint: is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config -p 9 127.0.0.1` shows the same\n\
         board  led reloaded in [TIME] s; until the next boot\n  \
         [    9.000000] led: loaded\n",
    );
    assert_refused(&outcome, 5, "error: 1 of 2 boards failed\n");
    let json = lab.run(&[&args[..], &["--json"]].concat()).stdout;
    let results = &json[json.find("{\"event\":\"failed\"").unwrap()..];
    assert_text(
        results,
        "{\"event\":\"failed\",\"host\":\"127.0.0.1:9\",\"error\":\"cannot connect to 127.0.0.1:9: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\",\"hint\":\"is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config -p 9 127.0.0.1` shows the same\",\"status\":5}\n\
         {\"host\":\"board\",\"module\":\"led\",\"dependents\":[],\"dmesg\":[\"[    8.000000] led: unloaded\",\"[    9.000000] led: loaded\"],\"seconds\":[TIME]}\n\
         {\"chain\":[\"1 of 2 boards failed\"],\"event\":\"error\",\"hint\":null,\"status\":5,\"text\":\"1 of 2 boards failed\"}\n",
    );
}
