//! Many boards.

use crate::board::Fate;
use crate::lab::{Lab, assert_refused, assert_text, redact};

const DEPLOY: &[&str] = &["deploy", "--board", "acme"];

#[test]
fn one_of_three_is_off() {
    let lab = Lab::with(&["one", "two", "three"]);
    lab.project.write(
        "hosts.toml",
        "[host.first]\naddress = \"one\"\n[group]\nrack = [\"first\", \"two\", \"127.0.0.1:9\", \"three\"]\n",
    );
    lab.edit_kernel("fleet");
    let outcome = lab.run(&[DEPLOY, &["--group", "rack"]].concat());
    assert_text(
        &outcome.stdout,
        "one  runs 6.12.0-fake ([ID]), the default now; 5 files, [SIZE] ([SIZE] on the wire), [TIME] s\n\
         two  runs 6.12.0-fake ([ID]), the default now; 5 files, [SIZE] ([SIZE] on the wire), [TIME] s\n\
         127.0.0.1:9  failed: deploy to 127.0.0.1:9 failed: cannot connect to 127.0.0.1:9: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\n  \
         hint: is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config -p 9 127.0.0.1` shows the same\n\
         three  runs 6.12.0-fake ([ID]), the default now; 5 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
    assert_text(
        &sorted(&outcome.stderr),
        "deploy: failed after [TIME] s\n\
         deploy: started\n\
         error: 1 of 4 boards failed\n\
         kernel: done in [TIME] s\n\
         kernel: started: source init/main.c changed\n\
         one: trial boot of 6.12.0-fake ([ID])\n\
         sources: up to date\n\
         three: trial boot of 6.12.0-fake ([ID])\n\
         two: trial boot of 6.12.0-fake ([ID])\n\
         warning: 127.0.0.1:9: deploy to 127.0.0.1:9 failed",
    );
    assert_eq!(outcome.status, Some(5));
    for board in &lab.boards {
        assert_eq!(board.state().0, board.running(), "{}", board.name);
        assert_ne!(board.running(), "image");
    }
    let outcome = lab.run(&[DEPLOY, &["--group", "rack", "--json"]].concat());
    let results = &outcome.stdout[outcome.stdout.find("{\"event\":\"deployed\"").unwrap()..];
    assert_text(
        results,
        "{\"event\":\"deployed\",\"host\":\"one\",\"id\":\"[ID]\",\"release\":\"6.12.0-fake\",\"outcome\":\"unchanged\",\"files\":0,\"bytes\":[SIZE],\"wire\":[SIZE],\"seconds\":[TIME]}\n\
         {\"event\":\"deployed\",\"host\":\"two\",\"id\":\"[ID]\",\"release\":\"6.12.0-fake\",\"outcome\":\"unchanged\",\"files\":0,\"bytes\":[SIZE],\"wire\":[SIZE],\"seconds\":[TIME]}\n\
         {\"event\":\"failed\",\"host\":\"127.0.0.1:9\",\"error\":\"deploy to 127.0.0.1:9 failed: cannot connect to 127.0.0.1:9: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\",\"hint\":\"is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config -p 9 127.0.0.1` shows the same\",\"status\":5}\n\
         {\"event\":\"deployed\",\"host\":\"three\",\"id\":\"[ID]\",\"release\":\"6.12.0-fake\",\"outcome\":\"unchanged\",\"files\":0,\"bytes\":[SIZE],\"wire\":[SIZE],\"seconds\":[TIME]}\n\
         {\"chain\":[\"1 of 4 boards failed\"],\"event\":\"error\",\"hint\":null,\"status\":5,\"text\":\"1 of 4 boards failed\"}\n",
    );
}

#[test]
fn a_canary_and_a_limit() {
    let lab = Lab::with(&["one", "two"]);
    lab.edit_kernel("fleet");
    let hosts = ["--host", "127.0.0.1:9", "--host", "one", "--host", "two"];
    let outcome = lab.run(&[DEPLOY, &hosts, &["--canary", "1"]].concat());
    assert_text(
        &outcome.stdout,
        "127.0.0.1:9  failed: deploy to 127.0.0.1:9 failed: cannot connect to 127.0.0.1:9: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\n  \
         hint: is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config -p 9 127.0.0.1` shows the same\n\
         one  not begun\n\
         two  not begun\n",
    );
    assert_refused(
        &outcome,
        5,
        "error: 1 of 3 boards failed\n  \
         caused by: 2 were not begun\n",
    );
    let outcome = lab.run(&[DEPLOY, &hosts, &["--parallel", "1", "--max-failures", "1"]].concat());
    assert_refused(
        &outcome,
        5,
        "error: 1 of 3 boards failed\n  \
         caused by: 2 were not begun\n",
    );
    for board in &lab.boards {
        assert_eq!((board.boots(), board.running().as_str()), (1, "image"));
    }
    let hosts = ["--host", "one", "--host", "two"];
    lab.run(&[DEPLOY, &hosts, &["--canary", "1", "--no-reboot"]].concat()).ok();
}

#[test]
fn a_trial_that_one_does_not_pass() {
    let lab = Lab::with(&["one", "two"]);
    lab.edit_kernel("fleet");
    let two = &lab.boards[1];
    two.trials(Fate::Hangs);
    two.write("sys/fs/pstore/dmesg-ramoops-0", "[    1.2] Kernel panic - not syncing: why\n");
    let outcome = lab.run(&[DEPLOY, &["--host", "one", "--host", "two"]].concat());
    assert_text(
        &outcome.stdout,
        "one  runs 6.12.0-fake ([ID]), the default now; 5 files, [SIZE] ([SIZE] on the wire), [TIME] s\n\
         two  failed: deploy to two failed: two: the new kernel [ID] did not pass its trial: it did not get as far as SSH: \
         the board is back on Linux 6.12.0-fake, the kernel of its image: [    1.2] Kernel panic - not syncing: why\n  \
         log: build/acme/log/deploy-two.log\n",
    );
    assert_refused(&outcome, 4, "error: 1 of 2 boards failed\n");
}

#[test]
fn a_group_with_nobody_in_it() {
    let lab = Lab::with(&[]);
    lab.project.write("hosts.toml", "[group]\nrack = []\n");
    assert_refused(
        &lab.run(&[DEPLOY, &["--group", "rack"]].concat()),
        2,
        "error: there is no board to deploy to\n  \
         caused by: group `rack` of `hosts.toml` is empty\n\n\
         hint: `[group]` of `hosts.toml` holds lists of hosts by name\n",
    );
}

/// Lines of boards that work at once come in any order.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    redact(&lines.join("\n"))
}
