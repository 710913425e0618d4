//! Login shells and SSH servers of many kinds.

use crate::lab::Lab;

impl Lab {
    /// Shell lines that its server runs before each command.
    fn before_each(&self, text: &str) {
        let path = self.project.root().join("board/enter");
        let enter = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, enter.replacen("#!/bin/sh\n", &format!("#!/bin/sh\n{text}\n"), 1)).unwrap();
    }

    #[track_caller]
    fn assert_deploys(&self) {
        self.edit_module("first");
        self.deploy(&["--check", "echo \"it's $((6 * 7))!\" | grep -q 'it'\\''s 42!'"]).ok();
        assert_eq!(self.board().state().0, self.board().running());
    }
}

#[test]
fn one_that_is_not_a_posix_shell() {
    let lab = Lab::new();
    // csh ends a quoted word with its line and looks for `!` in it, fish takes `\\` for `\`, and dropbear
    // ends the connection at 9000 bytes.
    lab.before_each(
        "case $SSH_ORIGINAL_COMMAND in *'!'* | *\\\\* | *'\n'*) echo 'Unmatched.' >&2; exit 1 ;; esac\n\
         [ ${#SSH_ORIGINAL_COMMAND} -lt 1000 ] || exit 1",
    );
    lab.assert_deploys();
}

#[test]
fn one_that_says_something_first() {
    let lab = Lab::new();
    lab.before_each("printf 'W\\351lcome\\nto\\n\\nthis board'; echo 'stty: no terminal' >&2");
    lab.assert_deploys();
}

#[test]
fn a_server_that_takes_one_session() {
    let lab = Lab::new();
    let config = lab.project.root().join("board/sshd_config");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}MaxSessions 1\n")).unwrap();
    lab.assert_deploys();
}

#[test]
fn one_behind_another() {
    let lab = Lab::new();
    let path = lab.project.root().join("ssh_config");
    let text = std::fs::read_to_string(&path).unwrap();
    let jump = text.replacen("Host board\n", "Host board\n  ProxyJump gate\n", 1);
    // The one on the way is the same machine, under another name.
    let gate = text.replace("Host board\n", "Host gate\n").replace("originalhost board", "originalhost gate");
    std::fs::write(&path, jump + &gate).unwrap();
    lab.assert_deploys();
}

#[test]
fn a_login_whose_processes_end_with_it() {
    let lab = Lab::new();
    // As systemd-logind does it for a user who is not root.
    let path = lab.project.root().join("board/enter");
    let enter = std::fs::read_to_string(&path).unwrap();
    let enter = enter.replace("\nexec ", "\ntrap : TERM\n") + "status=$?\nkill -TERM 0\nexit $status\n";
    std::fs::write(&path, enter).unwrap();
    lab.assert_deploys();
}
