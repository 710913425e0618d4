//! `bimg deploy --module`: one module, reloaded.

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
         caused by: led cannot be loaded: insmod: can't insert '/run/bimg/led.ko': unknown symbol in module\n",
    );
    std::fs::remove_file(board.path("sys/module/led/initstate")).unwrap();
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
         caused by: led cannot be unloaded: rmmod: can't unload module 'led': Resource temporarily unavailable\n",
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
    lab.project.edit("linux/drivers/led.c", "return start();", "return stop();");
    assert_refused(
        &lab.deploy(&["--module", "led"]),
        1,
        "error: board: cannot reload the module\n  \
         caused by: led cannot be unloaded: rmmod: can't unload module 'led': Resource temporarily unavailable\n",
    );
}

#[test]
fn one_board_that_hangs_keeps_no_other_from_it() {
    let lab = Lab::with(&["slow", "quick"]);
    let [slow, quick] = lab.boards.as_slice() else { panic!("two boards") };
    slow.program("insmod", "while [ ! -e /var/go ]; do sleep 0.05; done");
    let live =
        lab.live(&["deploy", "--board", "acme", "--module", "led", "--host", "slow", "--host", "quick"]);
    eventually("a module", || quick.path("var/loaded-led").exists());
    slow.write("var/go", "");
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
