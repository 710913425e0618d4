//! What an ssh configuration may ask for, and servers that are not as usual.

use crate::common::live::eventually;
use crate::lab::{Lab, assert_refused, assert_text};
use crate::refusals::keep_boot_read_only;

/// Adds a line to a board's `sshd_config`.
fn serve(lab: &Lab, name: &str, line: &str) {
    let path = lab.project.root().join(name).join("sshd_config");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{line}\n{before}")).unwrap();
}

#[test]
fn a_jump_host_is_as_strict_as_a_board_and_asks_as_little() {
    let lab = Lab::with(&["board", "jump"]);
    lab.prefer("Match originalhost board\n  ProxyJump jump\n");
    lab.deploy(&["--dry-run"]).ok();
    let connections = lab.boards[1].wire().connections();
    assert_eq!(connections, 1);
    let known = lab.project.root().join("jump/known_hosts");
    let key = std::fs::read_to_string(&known).unwrap();
    std::fs::write(&known, "").unwrap();
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: its jump host or proxy does not get there\n  \
         caused by: its host key is not known: ssh-ed25519 [KEY]\n\n\
         hint: compare the fingerprint with what that host says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); then `ssh -F [DIR]/ssh_config board` remembers it\n",
    );
    std::fs::write(&known, key).unwrap();
    // Behind it the board's own key is the one that matters.
    let known = lab.project.root().join("board/known_hosts");
    std::fs::write(&known, "").unwrap();
    lab.deploy(&["--dry-run", "--accept-new"]).ok();
    std::fs::write(lab.project.root().join("jump/authorized_keys"), "").unwrap();
    assert_refused(
        &lab.deploy(&[]),
        5,
        "error: deploy to board failed\n  \
         caused by: cannot connect to board\n  \
         caused by: its jump host or proxy does not get there\n  \
         caused by: it refuses the login; it takes: publickey\n\n\
         hint: bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `ssh -F [DIR]/ssh_config board`\n",
    );
}

#[test]
fn what_a_login_would_want() {
    let lab = Lab::new();
    lab.edit_kernel("changed");
    serve(&lab, "board", &format!("Banner {}", lab.project.root().join("banner").display()));
    std::fs::write(lab.project.root().join("banner"), "Welcome\nPermission denied (to strangers).\n")
        .unwrap();
    lab.prefer(
        "LogLevel DEBUG3\nRequestTTY force\nRemoteCommand reboot\nSendEnv *\nStrictHostKeyChecking no\n\
         ControlMaster auto\nControlPath /nowhere/%C\nControlPersist yes\nForwardAgent yes\n",
    );
    lab.deploy(&["--dry-run"]).ok();
    // What a script says stays readable.
    keep_boot_read_only(&lab);
    eventually("the end of all clients", || lab.clients().is_empty());
}

#[test]
fn one_session_at_a_time() {
    let lab = Lab::new();
    lab.edit_kernel("changed");
    serve(&lab, "board", "MaxSessions 1");
    assert_text(
        &lab.deploy(&[]).ok().stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; 5 files, [SIZE] ([SIZE] on the wire), [TIME] s\n",
    );
}

#[test]
fn more_keys_than_the_board_hears() {
    let lab = Lab::new();
    serve(&lab, "board", "MaxAuthTries 1");
    let key = lab.project.root().join("board/host_key");
    lab.prefer(&format!("Match originalhost board\n  IdentityFile {}\n", key.display()));
    assert_refused(
        &lab.target(&["status"]),
        5,
        "error: cannot connect to board\n  \
         caused by: it refuses the login after too many keys\n\n\
         hint: `IdentitiesOnly yes` and the right `IdentityFile` in your ssh configuration offer one key alone\n",
    );
}
