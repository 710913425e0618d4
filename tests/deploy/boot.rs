//! Trial boots that fail, each in its way: the board runs the old kernel, and bimg says so.

use crate::board::Fate;
use crate::common::live::eventually;
use crate::lab::{Lab, assert_refused, assert_text};

/// A lab whose build differs from what the board runs.
fn changed() -> Lab {
    let lab = Lab::new();
    lab.edit_kernel("changed");
    lab
}

/// The image's kernel runs, and nothing else is going to.
#[track_caller]
fn assert_back(lab: &Lab, boots: usize) {
    let board = lab.board();
    assert_eq!(board.state(), ("image".to_string(), "none".to_string()));
    assert_eq!((board.running().as_str(), board.boots()), ("image", boots));
}

#[test]
fn it_hangs() {
    let lab = changed();
    lab.board().trials(Fate::Hangs);
    assert_refused(
        &lab.deploy(&[]),
        4,
        "error: deploy to board failed\n  \
         caused by: board: the new kernel [ID] did not pass its trial\n  \
         caused by: it did not get as far as SSH\n  \
         caused by: the board is back on Linux 6.12.0-fake, the kernel of its image\n",
    );
    assert_back(&lab, 2);
    // What failed may be tried again.
    lab.board().trials(Fate::Good);
    assert_text(
        &lab.deploy(&[]).ok().stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; nothing to send, [TIME] s\n",
    );
}

#[test]
fn its_release_is_another() {
    let lab = changed();
    lab.board().trials(Fate::Release("6.12.0-other"));
    assert_refused(
        &lab.deploy(&[]),
        4,
        "error: deploy to board failed\n  \
         caused by: board: the new kernel [ID] did not pass its trial\n  \
         caused by: `uname -r` says 6.12.0-other, and 6.12.0-fake was deployed\n  \
         caused by: the board is back on Linux 6.12.0-fake, the kernel of its image\n",
    );
    assert_back(&lab, 3);
}

#[test]
fn a_check_fails() {
    let lab = changed();
    let outcome = lab.deploy(&["--check", "grep -q never /proc/cmdline"]);
    assert_refused(
        &outcome,
        4,
        "error: deploy to board failed\n  \
         caused by: board: the new kernel [ID] did not pass its trial\n  \
         caused by: check `grep -q never /proc/cmdline` fails with status 1\n  \
         caused by: the board is back on Linux 6.12.0-fake, the kernel of its image\n",
    );
    assert_back(&lab, 3);
}

#[test]
fn a_check_fails_until_it_holds() {
    let lab = changed();
    // What a service needs after the boot.
    lab.project.edit(
        "boards/acme.toml",
        "timeout = 20",
        "timeout = 20\nchecks = [\"[ -e /var/second ] || { touch /var/second; false; }\"]",
    );
    assert_text(
        &lab.deploy(&[]).ok().stderr,
        "sources: up to date\n\
         kernel: started: source init/main.c changed\n\
         kernel: done in [TIME] s\n\
         deploy: started\n\
         board: trial boot of 6.12.0-fake ([ID])\n\
         board: `[ -e /var/second ] || { touch /var/second; false; }` holds\n\
         deploy: done in [TIME] s\n",
    );
    assert_eq!(lab.board().state().0, lab.board().running());
}

#[test]
fn its_log_is_kept() {
    let lab = changed();
    let board = lab.board();
    board.trials(Fate::Hangs);
    std::fs::create_dir_all(board.path("sys/fs/pstore")).unwrap();
    board.write(
        "sys/fs/pstore/dmesg-ramoops-0",
        "<6>[    1.1] led: hello\n<0>[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n",
    );
    assert_refused(
        &lab.deploy(&[]),
        4,
        "error: deploy to board failed\n  \
         caused by: board: the new kernel [ID] did not pass its trial\n  \
         caused by: it did not get as far as SSH\n  \
         caused by: the board is back on Linux 6.12.0-fake, the kernel of its image\n  \
         caused by: <0>[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n  \
         log: build/acme/log/deploy-board.log\n",
    );
    assert_text(
        &lab.project.read("build/acme/log/deploy-board.log"),
        "from pstore, /sys/fs/pstore/dmesg-ramoops-0:\n\
         <6>[    1.1] led: hello\n\
         <0>[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n",
    );
    assert_text(
        &lab.target(&["console-log"]).ok().stdout,
        "from pstore, /sys/fs/pstore/dmesg-ramoops-0:\n\
         <6>[    1.1] led: hello\n\
         <0>[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n",
    );
}

#[test]
fn what_is_left_of_a_board_that_is_gone() {
    let lab = Lab::new();
    let board = lab.board();
    lab.project.write("hosts.toml", "[host.bench]\naddress = \"board\"\nconsole-log = \"console.log\"\n");
    let log = |host: &str| lab.run(&["target", "console-log", "--board", "acme", "--host", host]);
    assert_refused(
        &log("bench"),
        1,
        "error: cannot read `console.log`\n  \
         caused by: No such file or directory\n",
    );
    std::fs::create_dir_all(board.path("sys/fs/pstore")).unwrap();
    board.write("sys/fs/pstore/dmesg-ramoops-0", "\u{1b}]0;title\u{7}red \u{1b}[31mpanic\r\n");
    let outcome = log("bench").ok();
    assert_text(&outcome.stdout, "from pstore, /sys/fs/pstore/dmesg-ramoops-0:\n]0;titlered panic\n");
    assert_text(&outcome.stderr, "warning: cannot read `console.log`: No such file or directory\n");
    // Nothing but its console can tell any more.
    std::fs::write(lab.project.path("console.log"), b"\xff\x1b[2Jhangs\r\n").unwrap();
    lab.project
        .write("hosts.toml", "[host.bench]\naddress = \"127.0.0.1:9\"\nconsole-log = \"console.log\"\n");
    let outcome = log("bench").ok();
    assert_text(&outcome.stdout, "from the console, console.log:\n\u{fffd}hangs\n");
    assert_text(
        &outcome.stderr,
        "warning: cannot connect to 127.0.0.1:9: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\n",
    );
}

#[test]
fn its_console_is_kept() {
    let lab = changed();
    let board = lab.board();
    board.trials(Fate::Hangs);
    lab.project.write("hosts.toml", "[host.bench]\naddress = \"board\"\nconsole-log = \"console.log\"\n");
    lab.project.write("console.log", "before\n");
    // The console speaks before the board is back.
    board.program("reboot", "until [ -e /var/said ]; do sleep 0.05; done\necho \"$*\" >>/var/reboot");
    let mut live = lab.live(&["deploy", "--board", "acme", "--host", "bench"]);
    live.wait_for("board: trial boot of");
    lab.project.write("console.log", "before\n[    0.5] Kernel panic - not syncing: no init\n");
    board.write("var/said", "");
    let (status, stderr) = live.end();
    assert_eq!(status, Some(4));
    assert_text(
        &crate::lab::redact(&stderr),
        "sources: up to date\n\
         kernel: started: source init/main.c changed\n\
         kernel: done in [TIME] s\n\
         deploy: started\n\
         board: trial boot of 6.12.0-fake ([ID])\n\
         deploy: failed after [TIME] s\n\
         error: deploy to board failed\n  \
         caused by: board: the new kernel [ID] did not pass its trial\n  \
         caused by: it did not get as far as SSH\n  \
         caused by: the board is back on Linux 6.12.0-fake, the kernel of its image\n  \
         caused by: [    0.5] Kernel panic - not syncing: no init\n  \
         log: build/acme/log/deploy-board.log\n",
    );
}

#[test]
fn reboot_has_no_effect() {
    let lab = changed();
    lab.board().trials(Fate::Stays);
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board still runs as before after 80 s\n  \
         caused by: `reboot` had no effect there\n\n\
         hint: the trial is armed: the next boot of the board is going to be the new kernel's, once\n",
    );
}

#[test]
fn it_never_comes_back() {
    let lab = changed();
    lab.board().trials(Fate::Gone);
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: board is not back after 160 s\n  \
         caused by: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\n\n\
         hint: the board's default is the old kernel: a reset or a power cycle boots it; docs/deploy.md says which boards do that by themselves\n",
    );
    assert_eq!(lab.board().state(), ("image".to_string(), "none".to_string()));
}

#[test]
fn a_check_may_end_with_any_status() {
    let lab = changed();
    // As OpenSSH's client ends when a connection breaks.
    let check = "[ -e /var/second ] || { : >/var/second; exit 255; }";
    lab.deploy(&["--check", check]).ok();
    assert_eq!(lab.board().state().0, lab.board().running());
    lab.edit_kernel("other");
    let outcome = lab.deploy(&["--check", "kill -9 $$"]);
    assert!(outcome.stderr.contains("caused by: check `kill -9 $$` fails with status 137"), "{outcome:?}");
    assert_eq!(outcome.status, Some(4));
}

#[test]
fn it_dies_while_it_is_checked() {
    let lab = changed();
    let board = lab.board();
    let live = lab.live(&[
        "deploy",
        "--board",
        "acme",
        "--host",
        "board",
        "--check",
        "touch /var/checked; sleep 100",
    ]);
    eventually("a check", || board.path("var/checked").exists());
    board.reset();
    let (status, stderr) = live.end();
    assert_eq!(status, Some(4), "{stderr}");
    assert_back(&lab, 3);
}

#[test]
fn the_log_of_an_earlier_trial_is_none_of_this_one() {
    let lab = changed();
    let board = lab.board();
    lab.deploy(&["--no-reboot"]).ok();
    let [id] = board.deployments().try_into().unwrap();
    board.write(&format!("lib/modules/.bimg/{id}/log"), "words of another boot\n");
    board.trials(Fate::Hangs);
    let outcome = lab.deploy(&[]);
    assert_eq!(outcome.status, Some(4), "{outcome:?}");
    let log = lab.project.path("build/acme/log/deploy-board.log");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert!(!log.contains("another boot"), "{log}");
}

#[test]
fn what_is_said_to_init_comes_last() {
    let lab = Lab::new();
    let board = lab.board();
    lab.project.edit("boards/acme.toml", "console=ttyAMA0", "console=ttyAMA0 -- single");
    lab.deploy(&[]).ok();
    // The kernel hands on whatever is behind `--`: `init=` and `panic=` as well.
    let cmdline = board.read("proc/cmdline");
    let id = board.running();
    assert!(
        cmdline.ends_with(&format!(
            " init=/lib/modules/.bimg/{id}/init bimg_deploy={id} bimg_trial=20 panic=10 -- single\n"
        )),
        "{cmdline}"
    );
}

#[test]
fn the_real_init_stays_what_it_was() {
    let lab = Lab::new();
    let board = lab.board();
    let init = || board.read(&format!("lib/modules/.bimg/{}/init", board.running()));
    board.write("proc/cmdline", &format!("{} init=/sbin/own\n", board.read("proc/cmdline").trim()));
    lab.deploy_edited("first");
    assert!(init().contains("\ninit=/sbin/own\n"), "{}", init());
    // And so is it the same deployment.
    assert_text(&lab.deploy(&[]).ok().stdout, "board  runs 6.12.0-fake ([ID]) already\n");
    lab.deploy_edited("second");
    assert!(init().contains("\ninit=/sbin/own\n"), "{}", init());
}
