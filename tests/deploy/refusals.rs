//! Bad input: each with its exact words, and a board on which nothing has changed.

use crate::common::live::eventually;
use crate::lab::{Lab, STATUS, assert_refused, assert_text, redact};
use crate::wire::Fault;

/// A lab whose build differs from what the board runs.
pub fn changed() -> Lab {
    let lab = Lab::new();
    lab.edit_kernel("changed");
    lab
}

/// The board is as it was.
#[track_caller]
pub fn assert_untouched(lab: &Lab) {
    let board = lab.board();
    assert_eq!(board.state(), ("image".to_string(), "none".to_string()));
    assert_eq!((board.running().as_str(), board.boots()), ("image", 1));
    assert_eq!(board.deployments(), [] as [&str; 0]);
    assert_eq!(board.names("lib/modules/.bimg"), [] as [&str; 0]);
}

#[test]
fn a_module_goes_to_all_boards_at_once() {
    let lab = changed();
    for pace in [["--canary", "1"], ["--parallel", "2"], ["--max-failures", "1"]] {
        let outcome = lab.deploy(&[&["--module", "led"], &pace[..]].concat());
        let told = format!("error: the argument '--module <NAME>' cannot be used with '{} <N>'\n", pace[0]);
        assert!(outcome.stderr.starts_with(&told), "{}", outcome.stderr);
        assert_eq!(outcome.status, Some(2));
    }
}

#[test]
fn hosts() {
    let lab = changed();
    let host = |host: &str| lab.run(&["deploy", "--board", "acme", "--host", host]);
    assert_refused(
        &host("no host"),
        2,
        "error: `no host` is not a host\n  \
         caused by: the name is empty or holds what no host name does\n\n\
         hint: `[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration\n",
    );
    assert_refused(
        &host("board:99999"),
        2,
        "error: `board:99999` is not a host\n  \
         caused by: `99999` is not a port\n\n\
         hint: `[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration\n",
    );
    assert_refused(
        &lab.run(&["deploy", "--board", "acme", "--host=-oProxyCommand=reboot"]),
        2,
        "error: `-oProxyCommand=reboot` is not a host\n  \
         caused by: the name is empty or holds what no host name does\n\n\
         hint: `[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration\n",
    );
    assert_refused(
        &lab.run(&["deploy", "--board", "acme"]),
        2,
        "error: the following required arguments were not provided:\n  \
         <--host <HOST>|--group <NAME>>\n\n\
         Usage: bimg deploy --board <NAME|FILE> --ssh-config <FILE> <--host <HOST>|--group <NAME>>\n\n\
         For more information, try '--help'.\n",
    );
    assert_refused(
        &lab.run(&["deploy", "--board", "acme", "--group", "rack"]),
        2,
        "error: there is no group `rack`\n  \
         caused by: there is no `hosts.toml` in this directory or the configuration directory\n\n\
         hint: `[group]` of `hosts.toml` holds lists of hosts by name\n",
    );
    lab.project.write("hosts.toml", "[host.bench]\naddress = \"ro ot@board\"\n");
    assert_refused(
        &host("bench"),
        2,
        "error: `address` of `bench` in `hosts.toml` cannot be used\n  \
         caused by: `ro ot@board` is not a host\n  \
         caused by: the user is empty or holds what no user name does\n \
         --> hosts.toml:2:11\n  |\n2 | address = \"ro ot@board\"\n  |           ^^^^^^^^^^^^^ here\n\n\
         hint: `[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration\n",
    );
    assert_refused(
        &host("name.invalid"),
        5,
        "error: deploy to name.invalid failed\n  \
         caused by: cannot connect to name.invalid\n  \
         caused by: ssh: Could not resolve hostname name.invalid: Name or service not known\n\n\
         hint: is the name right, and in DNS or your ssh configuration?\n",
    );
    // Nothing listens there.
    let port = crate::board::port();
    let outcome = host(&format!("127.0.0.1:{port}"));
    let plain = |text: &str| text.replace(&port.to_string(), "[PORT]");
    assert_eq!(outcome.status, Some(5));
    assert_text(
        &plain(&outcome.stderr),
        "sources: up to date\n\
         kernel: up to date\n\
         deploy: started\n\
         deploy: failed after [TIME] s\n\
         error: deploy to 127.0.0.1:[PORT] failed\n  \
         caused by: cannot connect to 127.0.0.1:[PORT]\n  \
         caused by: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused\n\n\
         hint: is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config -p [PORT] 127.0.0.1` shows the same\n",
    );
    assert_untouched(&lab);
}

#[test]
fn a_host_that_says_nothing() {
    let lab = changed();
    lab.board().wire().set(Fault::Stall(0));
    assert_refused(
        &lab.deploy(&["--connect-timeout", "1"]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: Connection to 127.0.0.1 port [PORT] timed out\n\n\
         hint: is the board on, and its SSH server running? `ssh -F [DIR]/ssh_config board` shows the same\n",
    );
}

#[test]
fn a_login_shell_that_says_nothing() {
    let lab = changed();
    lab.project.shell("printf '#!/bin/sh\\nexec sleep 1000\\n' >../board/enter");
    assert_refused(
        &lab.deploy(&["--connect-timeout", "1"]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: it takes the login, and its shell does not answer in time\n\n\
         hint: does `ssh -F [DIR]/ssh_config board id -u` print a number?\n",
    );
    assert_untouched(&lab);
}

#[test]
fn a_login_shell_that_ends() {
    let lab = changed();
    lab.project.shell("printf '#!/bin/sh\\necho This account is not available.\\nexit 1\\n' >../board/enter");
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: it takes the login, and its shell ends with status 1\n\n\
         hint: does `ssh -F [DIR]/ssh_config board id -u` print a number?\n",
    );
    assert_untouched(&lab);
}

#[test]
fn an_ssh_configuration_that_is_none() {
    let lab = changed();
    let path = lab.project.root().join("ssh_config");
    std::fs::write(&path, "Prot 22\n").unwrap();
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: [DIR]/ssh_config: line 1: Bad configuration option: prot\n",
    );
    std::fs::write(&path, "Port twenty\n").unwrap();
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: [DIR]/ssh_config line 1: Bad port 'twenty'\n",
    );
    std::fs::remove_file(&path).unwrap();
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: Can't open user config file [DIR]/ssh_config: No such file or directory\n",
    );
}

#[test]
fn keys() {
    let lab = changed();
    let own = lab.project.root().join("board");
    let known = std::fs::read_to_string(own.join("known_hosts")).unwrap();
    // An unknown one.
    std::fs::write(own.join("known_hosts"), "").unwrap();
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: its host key is not known: ssh-ed25519 [KEY]\n\n\
         hint: compare the fingerprint with what the board says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); then `--accept-new`, or `ssh -F [DIR]/ssh_config board`, remembers it\n",
    );
    assert!(std::fs::read(own.join("known_hosts")).unwrap().is_empty());
    lab.deploy(&["--dry-run", "--accept-new"]).ok();
    assert_eq!(std::fs::read_to_string(own.join("known_hosts")).unwrap(), known);
    // A changed one.
    let other = std::fs::read_to_string(own.join("user_key.pub")).unwrap();
    std::fs::write(own.join("known_hosts"), format!("{} {other}", known.split(' ').next().unwrap())).unwrap();
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: its host key has changed; now it is ssh-ed25519 [KEY]\n  \
         caused by: known is the ED25519 key in [DIR]/board/known_hosts:1\n\n\
         hint: somebody else may be answering; if the board was flashed anew, forget the old key: `ssh-keygen -f [DIR]/board/known_hosts -R '[127.0.0.1]:[PORT]'`\n",
    );
    assert_refused(
        &lab.deploy(&["--accept-new"]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: its host key has changed; now it is ssh-ed25519 [KEY]\n  \
         caused by: known is the ED25519 key in [DIR]/board/known_hosts:1\n\n\
         hint: somebody else may be answering; if the board was flashed anew, forget the old key: `ssh-keygen -f [DIR]/board/known_hosts -R '[127.0.0.1]:[PORT]'`\n",
    );
    // A user's key that the board does not take.
    std::fs::write(own.join("known_hosts"), known).unwrap();
    std::fs::write(own.join("authorized_keys"), "").unwrap();
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: it refuses the login; it takes: publickey\n\n\
         hint: bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `ssh -F [DIR]/ssh_config board`\n",
    );
    assert_untouched(&lab);
}

#[test]
fn boards() {
    let lab = changed();
    let board = lab.board();
    let with = |name: &str, text: &str| {
        let before = std::fs::read(board.path(name)).unwrap();
        board.write(name, text);
        let outcome = lab.deploy(&[]);
        std::fs::write(board.path(name), before).unwrap();
        assert_untouched(&lab);
        outcome
    };
    assert_refused(
        &with("proc/fake-m", "x86_64\n"),
        1,
        "error: deploy to board failed\n  \
         caused by: the board runs on x86_64, and profile `acme` is for arm64\n\n\
         hint: is this the right host, and the right `--board`?\n",
    );
    assert_refused(
        &with("proc/device-tree/compatible", "other,board\0"),
        1,
        "error: deploy to board failed\n  \
         caused by: the board is not one of profile `acme`\n  \
         caused by: it is `other,board` (Acme Board A)\n  \
         caused by: the build has device trees for `acme,board-a`\n\n\
         hint: is this the right host, and the right `--board`?\n",
    );
    assert_refused(
        &with("boot/boot.scr", "another script"),
        1,
        "error: deploy to board failed\n  \
         caused by: the board does not boot through `uboot-script` as bimg makes it\n  \
         caused by: `boot.scr` of /dev/mmcblk0p1 has no `# bimg slots 1`\n\n\
         hint: a kernel can be tried once, and taken back, on boards whose image this bimg built: flash one first\n",
    );
    assert_refused(
        &with("boot/bimg.env", "bootcount=1\n"),
        1,
        "error: deploy to board failed\n  \
         caused by: the board does not boot through `uboot-script` as bimg makes it\n  \
         caused by: `bimg.env` of /dev/mmcblk0p1 has no `# bimg state 1`\n\n\
         hint: a kernel can be tried once, and taken back, on boards whose image this bimg built: flash one first\n",
    );
    assert_refused(
        &with("proc/self/mountinfo", "22 1 179:2 / / rw,relatime - ext4 /dev/root rw\n"),
        1,
        "error: deploy to board failed\n  \
         caused by: the filesystem that the boot loader reads cannot be read\n  \
         caused by: no such partition beside the root filesystem, and none is mounted\n\n\
         hint: the board must run from a disk with the profile's partitions; `bimg flash` makes one\n",
    );
    assert_text(&lab.target(&["status"]).ok().stdout, STATUS);
}

#[test]
fn no_room() {
    let lab = changed();
    let board = lab.board();
    let full = |name: &str| {
        let path = board.path("var/free").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "100\n").unwrap();
        let outcome = lab.deploy(&[]);
        std::fs::remove_file(&path).unwrap();
        assert_untouched(&lab);
        outcome
    };
    assert_refused(
        &full("boot"),
        1,
        "error: deploy to board failed\n  \
         caused by: the boot partition of the board has no room for this kernel\n  \
         caused by: it takes 1.1 MiB, and 100 KiB are free\n\n\
         hint: `bimg target list` shows the kernels there, `bimg target remove` removes one\n",
    );
    assert_refused(
        &full("lib/modules"),
        1,
        "error: deploy to board failed\n  \
         caused by: the root filesystem of the board has no room for this kernel\n  \
         caused by: it takes 1.0 MiB, and 100 KiB are free\n\n\
         hint: `bimg target list` shows the kernels there, `bimg target remove` removes one\n",
    );
}

/// Has the board's boot partition stay read-only, and a deploy refused for that.
pub fn keep_boot_read_only(lab: &Lab) {
    let board = lab.board();
    board.write("proc/self/mountinfo", &board.read("proc/self/mountinfo").replace("/boot rw", "/boot ro"));
    board.write("var/mount-fails", "");
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board: cannot take the kernel\n  \
         caused by: /boot is mounted read-only and stays so: mount: permission denied\n\n\
         hint: `mount -o remount,rw /boot` on the board says more; a card may have a lock switch\n",
    );
}

#[test]
fn a_boot_partition_that_stays_read_only() {
    let lab = changed();
    let board = lab.board();
    keep_boot_read_only(&lab);
    assert_eq!(board.deployments(), [] as [&str; 0]);
    assert_eq!((board.state().0.as_str(), board.boots()), ("image", 1));
}

#[test]
fn a_root_filesystem_that_is_read_only() {
    let lab = changed();
    let board = lab.board();
    board.write("proc/self/mountinfo", &board.read("proc/self/mountinfo").replace("/ / rw", "/ / ro"));
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: the board's root filesystem is read-only\n  \
         caused by: /lib/modules cannot be written\n\n\
         hint: remount it: `mount -o remount,rw /`\n",
    );
    // Unless another one is mounted over it.
    let mounts = board.read("proc/self/mountinfo") + "31 22 179:3 / / rw - ext4 /dev/mmcblk0p3 rw\n";
    board.write("proc/self/mountinfo", &mounts);
    lab.deploy(&["--dry-run"]).ok();
}

#[test]
fn nobody_who_may() {
    let lab = changed();
    let board = lab.board();
    board.write("var/user", "");
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board is not root there\n  \
         caused by: kernels are installed as root, and `sudo -n` does not help\n  \
         caused by: /bin/sh: exec: line 0: sudo: not found\n\n\
         hint: log in as root@HOST, or allow this user `sudo` without a password\n",
    );
    board.program("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board is not root there\n  \
         caused by: kernels are installed as root, and `sudo -n` does not help\n  \
         caused by: sudo: a password is required\n\n\
         hint: log in as root@HOST, or allow this user `sudo` without a password\n",
    );
    assert_untouched(&lab);
}

#[test]
fn profiles() {
    let lab = changed();
    let edit = |from: &str, to: &str| lab.project.edit("boards/acme.toml", from, to);
    edit("uboot-script", "extlinux");
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: boot chain `extlinux` cannot boot a kernel once\n\n\
         hint: on boards with U-Boot use the chain `uboot-script`\n",
    );
    edit("extlinux", "uboot-script");
    edit("timeout = 20", "timeout = 2");
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: `deploy.timeout` is 2 s\n  \
         --> boards/acme.toml:39:1\n   \
         |\n\
         39 | [deploy]\n   \
         | ^^^^^^^^ here\n\n\
         hint: a trial boot takes from 20 s to an hour\n",
    );
    edit("timeout = 2", "timeout = 20\ncheck = \"x\"");
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: `boards/acme.toml` is not a valid profile\n  \
         caused by: unknown field `check`, expected one of `keep`, `timeout`, `checks`\n  \
         --> boards/acme.toml:41:1\n   \
         |\n\
         41 | check = \"x\"\n   \
         | ^^^^^ here\n\n\
         hint: did you mean `checks`?\n",
    );
    assert_untouched(&lab);
}

#[test]
fn builds() {
    let lab = changed();
    assert_refused(
        &lab.deploy(&["--no-build"]),
        1,
        "error: there is no build of board `acme` to deploy\n  \
         caused by: source init/main.c changed\n\n\
         hint: leave `--no-build` out, or run `bimg build --stage kernel` with the same arguments\n",
    );
    lab.project.write(
        "linux/drivers/led.c",
        &lab.project
            .read("linux/drivers/led.c")
            .replace("INFO(license", "INFO(vermagic, \"vermagic=6.11.0 SMP\");\nINFO(license"),
    );
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: `modules/kernel/drivers/led.ko` was built for Linux 6.11.0\n  \
         caused by: the kernel of this build is 6.12.0-fake, and would refuse it\n\n\
         hint: build the module anew against this kernel\n",
    );
    lab.project.shell("rm -r build out");
    assert_refused(
        &lab.deploy(&["--no-build"]),
        1,
        "error: there is no build of board `acme` to deploy\n  \
         caused by: no finished build\n\n\
         hint: leave `--no-build` out, or run `bimg build --stage kernel` with the same arguments\n",
    );
    assert_untouched(&lab);
}

#[test]
fn a_health_command_that_is_not_there() {
    let lab = changed();
    assert_refused(
        &lab.deploy(&["--check", "systemctl is-system-running"]),
        2,
        "error: deploy to board failed\n  \
         caused by: board has no command `systemctl`\n  \
         caused by: the check `systemctl is-system-running` would fail with any kernel\n\n\
         hint: checks are shell commands that run on the board: `--check`, `deploy.checks`\n",
    );
    assert_untouched(&lab);
}

#[test]
fn a_tar_that_says_why() {
    let lab = changed();
    // As GNU tar: the reason first, and then that there was one.
    lab.board().program(
        "tar",
        "cat >/dev/null\necho 'tar: files: Cannot open: Input/output error' >&2\n\
         echo 'tar: Exiting with failure status due to previous errors' >&2\nexit 2",
    );
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board: cannot take the modules\n  \
         caused by: what arrived cannot be unpacked below /lib/modules/.bimg/[ID].partial/sent\n  \
         caused by: tar: files: Cannot open: Input/output error\n",
    );
}

#[test]
fn two_at_once() {
    let lab = changed();
    let board = lab.board();
    board.write("var/hold", "");
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board", "--no-reboot"]);
    eventually("a transfer", || board.path("var/synced").exists());
    // The other has a build directory of its own, as another developer's.
    let outcome = lab.deploy(&["--build-dir", "other"]);
    assert_refused(
        &outcome,
        1,
        "error: deploy to board failed\n  \
         caused by: board is being deployed to already\n  \
         caused by: by tester@[HOST], since [DATE]\n\n\
         hint: wait until that has ended; the lock goes with its connection\n",
    );
    std::fs::remove_file(board.path("var/hold")).unwrap();
    assert_eq!(live.end().0, Some(0));
    lab.deploy(&["--build-dir", "other"]).ok();
}

#[test]
fn one_that_has_just_taken_the_lock() {
    let lab = changed();
    // It has yet to say who it is.
    std::fs::create_dir_all(lab.board().path(&(lab.board().run() + "/lock"))).unwrap();
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board is being deployed to already\n  \
         caused by: by somebody, since just now\n\n\
         hint: wait until that has ended; the lock goes with its connection\n",
    );
}

#[test]
fn a_board_that_reboots_midway() {
    let lab = changed();
    let board = lab.board();
    board.write("var/hold", "");
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board"]);
    eventually("a transfer", || board.path("var/synced").exists());
    board.reset();
    std::fs::remove_file(board.path("var/hold")).unwrap();
    let (status, stderr) = live.end();
    assert_eq!(status, Some(5));
    assert_text(
        &redact(&lab.project.redact(&stderr)),
        "sources: up to date\n\
         kernel: started: source init/main.c changed\n\
         kernel: done in [TIME] s\n\
         deploy: started\n\
         deploy: failed after [TIME] s\n\
         error: deploy to board failed\n  \
         caused by: the connection to board broke\n\n\
         hint: the board boots what it booted before, and keeps what arrived: the same command goes on from there\n",
    );
    assert_eq!((board.running().as_str(), board.state().0.as_str()), ("image", "image"));
    lab.deploy(&[]).ok();
}
