use super::*;

fn shown(text: &str) -> String {
    text.parse::<Host>()
        .map_or_else(|error| error.to_string(), |host| format!("{host} = ssh {}", host.typed()))
}

#[test]
fn hosts_as_people_type_them() {
    assert_eq!(shown("pi"), "pi = ssh pi");
    assert_eq!(shown("root@10.0.0.5"), "root@10.0.0.5 = ssh root@10.0.0.5");
    assert_eq!(shown("root@10.0.0.5:2222"), "root@10.0.0.5:2222 = ssh -p 2222 root@10.0.0.5");
    assert_eq!(shown("[::1]:22"), "[::1]:22 = ssh -p 22 ::1");
    assert_eq!(shown("fe80::1%eth0"), "fe80::1%eth0 = ssh fe80::1%eth0");
}

#[test]
fn what_is_no_host() {
    let hint = "\n\nhint: `[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration";
    for (text, why) in [
        ("", "the name is empty or holds what no host name does"),
        ("-oProxyCommand=reboot", "the name is empty or holds what no host name does"),
        ("a b", "the name is empty or holds what no host name does"),
        ("$(reboot)", "the name is empty or holds what no host name does"),
        ("pi:ssh", "`ssh` is not a port"),
        ("pi:0", "`0` is not a port"),
        ("[::1", "`[` has no `]`"),
        ("[::1]22", "only a port follows `]`"),
        ("-l@pi", "the user is empty or holds what no user name does"),
        ("@pi", "the user is empty or holds what no user name does"),
    ] {
        assert_eq!(shown(text), format!("`{text}` is not a host\n  caused by: {why}{hint}"));
    }
}

fn options() -> Options {
    Options { config: None, accept_new: false, timeout: Duration::from_secs(10) }
}

fn refusal(words: &str) -> String {
    explain::refusal(&"root@pi:2222".parse().unwrap(), &options(), words).to_string()
}

#[test]
fn an_unknown_key_is_named() {
    assert_eq!(
        refusal(
            "OpenSSH_9.2p1\ndebug1: Connecting to pi\ndebug1: Server host key: ssh-ed25519 SHA256:abc\n\
             No ED25519 host key is known for [pi]:2222 and you have requested strict checking.\nHost key verification failed.\n"
        ),
        "cannot connect to root@pi:2222\n  caused by: its host key is not known: ssh-ed25519 SHA256:abc\n\n\
         hint: compare the fingerprint with what the board says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); \
         then `--accept-new`, or `ssh -p 2222 root@pi`, remembers it"
    );
}

#[test]
fn a_changed_key_is_refused() {
    assert_eq!(
        refusal(
            "debug1: Server host key: ssh-ed25519 SHA256:abc\n@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
             Offending ED25519 key in /home/me/.ssh/known_hosts:3\nHost key verification failed.\n"
        ),
        "cannot connect to root@pi:2222\n  caused by: its host key has changed; now it is ssh-ed25519 SHA256:abc\n  \
         caused by: known is the ED25519 key in /home/me/.ssh/known_hosts:3\n\n\
         hint: somebody else may be answering; if the board was flashed anew, forget the old key: `ssh-keygen -f /home/me/.ssh/known_hosts -R '[pi]:2222'`"
    );
}

#[test]
fn other_refusals() {
    assert_eq!(
        refusal("root@pi: Permission denied (publickey,password).\n"),
        "cannot connect to root@pi:2222\n  caused by: it refuses the login; it takes: publickey,password\n\n\
         hint: bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `ssh -p 2222 root@pi`"
    );
    assert_eq!(
        refusal("debug1: x\nssh: connect to host pi port 2222: Connection refused\n"),
        "cannot connect to root@pi:2222\n  caused by: ssh: connect to host pi port 2222: Connection refused\n\n\
         hint: is the board on, and its SSH server running? `ssh -p 2222 root@pi` shows the same"
    );
    assert_eq!(
        refusal("ssh: Could not resolve hostname pi: Name or service not known\n"),
        "cannot connect to root@pi:2222\n  caused by: ssh: Could not resolve hostname pi: Name or service not known\n\n\
         hint: is the name right, and in DNS or your ssh configuration?"
    );
    assert_eq!(
        refusal("debug1: Connecting\n"),
        "cannot connect to root@pi:2222\n  caused by: it did not answer in time\n\n\
         hint: is the board on, and its SSH server running? `ssh -p 2222 root@pi` shows the same"
    );
}

#[test]
fn a_jump_host_that_is_in_the_way() {
    let ends = "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535\n";
    let jump = "OpenSSH_9.2p1\nOpenSSH_9.2p1\ndebug1: Server host key: ssh-ed25519 SHA256:jump\n";
    let logged_in =
        "Permission denied (to strangers).\nAuthenticated to jump ([10.0.0.1]:22) using \"publickey\".\n";
    assert_eq!(
        refusal(&format!("{jump}Host key verification failed.\n{ends}")),
        "cannot connect to root@pi:2222\n  caused by: its jump host or proxy does not get there\n  \
         caused by: its host key is not known: ssh-ed25519 SHA256:jump\n\n\
         hint: compare the fingerprint with what that host says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); \
         then `ssh -p 2222 root@pi` remembers it"
    );
    assert_eq!(
        refusal(&format!("{jump}me@jump: Permission denied (publickey).\n{ends}")),
        "cannot connect to root@pi:2222\n  caused by: its jump host or proxy does not get there\n  \
         caused by: it refuses the login; it takes: publickey\n\n\
         hint: bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `ssh -p 2222 root@pi`"
    );
    assert_eq!(
        refusal(&format!(
            "{jump}{logged_in}channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\n{ends}"
        )),
        "cannot connect to root@pi:2222\n  caused by: its jump host or proxy does not get there\n  \
         caused by: channel 0: open failed: connect failed: Connection refused\n\n\
         hint: is the board on, and its SSH server running? `ssh -p 2222 root@pi` shows the same"
    );
    // The board's own key, not that of the host before it.
    assert_eq!(
        refusal(&format!(
            "{jump}{logged_in}debug1: Server host key: ssh-ed25519 SHA256:board\nNo ED25519 host key is known for [pi]:2222 and \
             you have requested strict checking.\nHost key verification failed.\n"
        )),
        "cannot connect to root@pi:2222\n  caused by: its host key is not known: ssh-ed25519 SHA256:board\n\n\
         hint: compare the fingerprint with what the board says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); \
         then `--accept-new`, or `ssh -p 2222 root@pi`, remembers it"
    );
}

#[test]
fn why_a_login_is_refused() {
    let banner = "Permission denied (to strangers)\n";
    assert_eq!(
        refusal(&format!(
            "{banner}Load key \"/home/me/.ssh/id\": Permission denied\nroot@pi: Permission denied (publickey).\n"
        )),
        "cannot connect to root@pi:2222\n  caused by: it refuses the login; it takes: publickey\n\n\
         hint: bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `ssh -p 2222 root@pi`"
    );
    assert_eq!(
        refusal(&format!(
            "{banner}Received disconnect from 10.0.0.5 port 2222:2: Too many authentication failures\n\
             Disconnected from 10.0.0.5 port 2222\n"
        )),
        "cannot connect to root@pi:2222\n  caused by: it refuses the login after too many keys\n\n\
         hint: `IdentitiesOnly yes` and the right `IdentityFile` in your ssh configuration offer one key alone"
    );
    // Any other last word of the server.
    assert_eq!(
        refusal(
            "Received disconnect from 10.0.0.5 port 2222:11: Too late\nDisconnected from 10.0.0.5 port 2222\n"
        ),
        "cannot connect to root@pi:2222\n  caused by: Received disconnect from 10.0.0.5 port 2222:11: Too late\n\n\
         hint: is the board on, and its SSH server running? `ssh -p 2222 root@pi` shows the same"
    );
}

/// What a login shell prints that is told to run a script, and reads this.
fn said(shell: &str, command: &str, input: &str) -> String {
    let cmd = Cmd::new(shell).args(["-c", command]);
    let mut group = cmd.spawn(Stdio::piped(), Stdio::piped(), Stdio::null()).unwrap();
    group.stdin().unwrap().write_all(input.as_bytes()).unwrap();
    let mut said = String::new();
    group.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    group.wait().unwrap();
    said
}

#[test]
fn scripts_survive_the_login_shell() {
    // What follows is the script's own input; `\\n` and `!` are nobody's business.
    let text = "printf '%s ' \"$1\" '$HOME' '\\\\n!'\nread -r line; printf '%s\\n' \"$line\"; cat";
    let script = Script { text, args: &["it's;\n $(reboot)", "-e"], sudo: false };
    for shell in ["sh", "dash", "bash", "zsh", "fish", "tcsh", "csh"] {
        if crate::exec::which(shell).is_none() {
            continue;
        }
        let (command, text) = script.sent(true);
        let all = said(shell, &command, &(text + "a line\\n\nand more"));
        assert_eq!(all, "bimg begins\nit's;\n $(reboot) $HOME \\\\n! a line\\n\nand more", "{shell}");
        assert_eq!(own(all.as_bytes()), Some(&all.as_bytes()["bimg begins\n".len()..]));
        // Without input of its own it finds none.
        let (command, text) = script.sent(false);
        assert_eq!(said(shell, &command, &text), "bimg begins\nit's;\n $(reboot) $HOME \\\\n! \n", "{shell}");
    }
}

#[test]
fn half_a_script_is_not_begun_with() {
    let script = Script { text: "echo one\necho two\n", args: &[], sudo: false };
    for more in [false, true] {
        let (command, text) = script.sent(more);
        for len in 0..text.trim_end().len() {
            let all = said("sh", &command, &text[..len]);
            assert!(["", "bimg begins\n"].contains(&all.as_str()), "{all}");
        }
        assert!(said("sh", &command, &text).ends_with("one\ntwo\n"));
    }
}
