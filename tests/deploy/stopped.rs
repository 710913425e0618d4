//! Ctrl-C in each phase.

use rustix::process::Signal;

use crate::board::Fate;
use crate::common::live::{Live, eventually};
use crate::lab::{Lab, assert_text, redact};
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
    eventually("the end of what ran there", || !board.path("run/bimg/lock").exists());
    lab.deploy(&[]).ok();
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
