//! Ctrl-C in each phase.

use std::path::Path;

use rustix::process::Signal;

use crate::board::Fate;
use crate::common::live::{Live, eventually};
use crate::lab::{Lab, Random, assert_text, redact};
use crate::wire::Fault;

const DEPLOY: &[&str] = &["deploy", "--board", "acme", "--host", "board"];

#[track_caller]
fn interrupt(lab: &Lab, live: Live, expected: &str) {
    live.signal(Signal::INT);
    let (status, stderr) = live.end();
    let stderr = redact(&lab.project.redact(&stderr));
    let at = stderr.find("error: ").unwrap_or_else(|| panic!("{stderr}"));
    assert_text(&stderr[at..], expected);
    assert_eq!(status, Some(130));
}

fn changed() -> Lab {
    let lab = Lab::new();
    lab.edit_kernel("changed");
    lab
}

#[test]
fn while_it_connects() {
    let lab = changed();
    lab.board().wire().set(Fault::Stall(0));
    let live = lab.live(DEPLOY);
    eventually("a connection", || lab.board().wire().connections() > 0);
    interrupt(
        &lab,
        live,
        "error: interrupted in the connection to board\n\n\
         hint: the same command goes on from there\n",
    );
}

#[test]
fn while_it_sends() {
    let lab = changed();
    let board = lab.board();
    board.write("var/hold", "");
    let live = lab.live(DEPLOY);
    eventually("a transfer", || board.path("var/synced").exists());
    interrupt(
        &lab,
        live,
        "error: interrupted in the transfer to board\n\n\
         hint: the same command goes on from there\n",
    );
    std::fs::remove_file(board.path("var/hold")).unwrap();
    assert_eq!((board.running().as_str(), board.state().0.as_str()), ("image", "image"));
    // The lock went with the connection.
    eventually("the end of what ran there", || !board.path(&(board.run() + "/lock")).exists());
    lab.deploy(&[]).ok();
}

#[test]
fn while_a_board_takes_nothing() {
    let lab = changed();
    let board = lab.board();
    // More than the pipes and windows on the way hold.
    let mut random = Random(7);
    let noise: Vec<u8> = (0..1 << 20).flat_map(|_| random.next().to_le_bytes()).collect();
    std::fs::write(lab.project.path("noise"), noise).unwrap();
    let noise = format!(
        "__asm__(\".section .rodata\\n.incbin \\\"{}\\\"\\n.previous\");\n",
        lab.project.path("noise").display()
    );
    lab.project.write("linux/drivers/gpio.c", &(lab.project.read("linux/drivers/gpio.c") + &noise));
    board.program("tar", "touch /var/begun; sleep 1000");
    let live = lab.live(DEPLOY);
    eventually("a transfer", || board.path("var/begun").exists());
    let mut sent = 0;
    eventually("a standstill", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::mem::replace(&mut sent, board.wire().sent()) == sent
    });
    interrupt(
        &lab,
        live,
        "error: interrupted in the transfer to board\n\n\
         hint: the same command goes on from there\n",
    );
}

#[test]
fn while_nothing_moves() {
    let lab = changed();
    let board = lab.board();
    board.wire().set(Fault::Stall(60_000));
    let live = lab.live(DEPLOY);
    eventually("a stall", || board.wire().struck());
    interrupt(
        &lab,
        live,
        "error: interrupted in the transfer to board\n\n\
         hint: the same command goes on from there\n",
    );
    board.wire().set(Fault::None);
    lab.deploy(&[]).ok();
}

#[test]
fn while_it_waits_for_the_boot() {
    let lab = changed();
    lab.board().trials(Fate::Gone);
    let mut live = lab.live(DEPLOY);
    live.wait_for("board: trial boot of");
    eventually("a reboot", || lab.board().reboots().len() == 1);
    // Others may build meanwhile.
    lab.edit_kernel("other");
    lab.project.build(&["--stage", "kernel"]);
    interrupt(
        &lab,
        live,
        "error: interrupted in the trial boot of board\n\n\
         hint: the board goes back to its old kernel by itself unless the same command confirms the new one in time\n",
    );
}

#[test]
fn while_a_kernel_that_was_there_waits_for_the_boot() {
    let lab = changed();
    lab.project.build(&["--stage", "kernel"]);
    lab.board().trials(Fate::Gone);
    let mut live = lab.live(&[DEPLOY, &["--no-build"]].concat());
    live.wait_for("board: trial boot of");
    eventually("a reboot", || lab.board().reboots().len() == 1);
    lab.edit_kernel("other");
    lab.project.build(&["--stage", "kernel"]);
    live.signal(Signal::INT);
    assert_eq!(live.end().0, Some(130));
}

#[test]
fn while_a_rollback_waits_for_the_boot() {
    let lab = changed();
    let board = lab.board();
    lab.deploy(&[]).ok();
    board.program("reboot", "touch /var/rebooting\nsleep 1000");
    let live = lab.live(&["target", "rollback", "--board", "acme", "--host", "board"]);
    eventually("a reboot", || board.path("var/rebooting").exists());
    // The same command again would go back further.
    interrupt(
        &lab,
        live,
        "error: interrupted in the boot of board\n\n\
         hint: image is the default now: `bimg target status` shows what runs\n",
    );
    assert_eq!(board.state().0, "image");
}

#[test]
fn while_a_fleet_sends() {
    let names = ["one", "two", "three"];
    let lab = Lab::with(&names);
    lab.edit_kernel("changed");
    lab.boards.iter().for_each(|board| board.write("var/hold", ""));
    let hosts = names.map(|name| ["--host", name]).concat();
    let live = lab.live(&[&["deploy", "--board", "acme", "--parallel", "2"], &hosts[..]].concat());
    let held = |lab: &Lab| lab.boards.iter().filter(|board| board.path("var/synced").exists()).count();
    eventually("two transfers", || held(&lab) == 2);
    let clients = lab.clients();
    assert!(clients.len() > 2, "{clients:?}");
    interrupt(
        &lab,
        live,
        "error: interrupted in the deploy to 3 boards\n  \
         caused by: 1 were not begun\n\n\
         hint: the same command goes on from there; a board on trial goes back by itself unless that confirms it in time\n",
    );
    assert_nothing_left(&lab, &clients);
    for board in &lab.boards {
        std::fs::remove_file(board.path("var/hold")).unwrap();
        assert_eq!((board.boots(), board.state().0.as_str()), (1, "image"));
        eventually("the end of what ran there", || !board.path(&(board.run() + "/lock")).exists());
    }
}

#[test]
fn twice_while_clients_take_their_time() {
    let lab = changed();
    let client = "trap '' TERM\nPATH=${PATH#*:}\nssh \"$@\"\n[ ! -e \"${0%/*}/LINGER\" ] || sleep 5\n";
    lab.project.tool("ssh", &format!("#!/bin/sh\n{client}"));
    lab.board().write("var/hold", "");
    let live = lab.live(DEPLOY);
    eventually("a transfer", || lab.board().path("var/synced").exists());
    let clients = lab.clients();
    assert!(clients.len() > 2, "{clients:?}");
    lab.project.tool("LINGER", "");
    live.signal(Signal::INT);
    // A second one within a moment is taken for the same.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    live.signal(Signal::INT);
    assert_eq!(live.end().0, Some(130));
    std::fs::remove_file(lab.board().path("var/hold")).unwrap();
    assert_nothing_left(&lab, &clients);
}

/// No client, and no directory of one.
#[track_caller]
fn assert_nothing_left(lab: &Lab, clients: &[String]) {
    eventually("the end of all clients", || lab.clients().is_empty());
    let mut sockets =
        clients.iter().flat_map(|it| it.split(' ')).filter_map(|it| it.strip_prefix("ControlPath="));
    assert!(sockets.all(|socket| !Path::new(socket).parent().unwrap().exists()), "{clients:?}");
}

#[test]
fn while_it_checks() {
    let lab = changed();
    let board = lab.board();
    let live = lab.live(&[DEPLOY, &["--check", "touch /var/checked; sleep 100"]].concat());
    eventually("a check", || board.path("var/checked").exists());
    interrupt(
        &lab,
        live,
        "error: interrupted in the trial boot of board\n\n\
         hint: the board goes back to its old kernel by itself unless the same command confirms the new one in time\n",
    );
    // The trial goes on, and the next reset is the old kernel's.
    assert_eq!(board.state(), ("image".to_string(), "none".to_string()));
    assert_ne!(board.running(), "image");
    lab.deploy(&[]).ok();
    assert_eq!(board.state().0, board.running());
}
