use super::*;
use crate::tree::Timestamp;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIJRjCMAC09/Pao4LIlAX6w1Dupw6ZQZwipsRPHLGnU6 you@host";
const HASH: &str =
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";

fn key_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("id");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn key_refusal(text: &str) -> String {
    let (dir, path) = key_file(text);
    let error = Provision::from_args(None, &[path], None).unwrap_err().to_string();
    error.replace(&dir.path().display().to_string(), "~/.ssh")
}

#[test]
fn a_private_key_is_refused() {
    assert_eq!(
        key_refusal("-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n"),
        "cannot use the SSH key `~/.ssh/id`\n  \
         caused by: it is a private key, which must never leave your machine\n\n\
         hint: make the public one with `ssh-keygen -y -f ~/.ssh/id`"
    );
    let (dir, path) = key_file("-----BEGIN RSA PRIVATE KEY-----\n");
    std::fs::write(dir.path().join("id.pub"), KEY).unwrap();
    let error = Provision::from_args(None, &[path], None).unwrap_err();
    assert!(error.hint_text().unwrap().starts_with("give the public one: `"));
}

#[test]
fn what_is_no_key_is_refused() {
    let hint = "\n\nhint: a public key is one line like `ssh-ed25519 AAAAC3Nz... you@host`";
    let cases = [
        ("hello world", "`hello` is not a type of key"),
        ("ssh-ed25519 AAAA!", "its base64 is damaged"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "it is not a whole key of type `ssh-ed25519`"),
        (&KEY.replacen("ssh-ed25519", "ssh-rsa", 1), "it is not a whole key of type `ssh-rsa`"),
    ];
    for (text, why) in cases {
        assert_eq!(
            key_refusal(text),
            format!("cannot use the SSH key `~/.ssh/id`\n  caused by: {why}{hint}")
        );
    }
    assert_eq!(key_refusal("# none\n"), "cannot use the SSH key `~/.ssh/id`\n  caused by: it holds no key");
}

/// Keys that live in a token, as `ssh-keygen -t ed25519-sk` and `-t ecdsa-sk` write them.
const TOKENS: [&str; 2] = [
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIIJRjCMAC09/Pao4LIlAX6w1Dupw6ZQZwipsRPHLGnU6AAAABHNzaDo= you@token",
    "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfUAAAAEc3NoOg== you@token",
];

#[test]
fn keys_of_tokens_are_taken() {
    for key in TOKENS {
        let (_dir, path) = key_file(key);
        assert_eq!(Provision::from_args(None, &[path], None).unwrap().ssh_keys, [key]);
    }
}

#[test]
fn a_missing_key_is_named() {
    let error = Provision::from_args(None, &[PathBuf::from("no/such.pub")], None).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot use the SSH key `no/such.pub`\n  caused by: cannot read `no/such.pub`\n  \
         caused by: No such file or directory"
    );
}

#[test]
fn a_password_is_no_hash_and_is_not_repeated() {
    for given in ["secret", "$1$ab$cd", "$6$ab$short", "$6$a:b$x", "$y$j9T$abc$def", ""] {
        let error = Provision::from_args(None, &[], Some(given)).unwrap_err().to_string();
        assert_eq!(
            error,
            "what was given for root's password is not a crypt(5) hash of SHA-256 or SHA-512\n\n\
             hint: make one with `openssl passwd -6`, and quote it: it holds `$`"
        );
    }
    Provision::from_args(None, &[], Some(HASH)).unwrap();
}

#[test]
fn host_names_are_host_names() {
    for name in ["a b", "-x", "x-", "", "a..b", "$(reboot)", &"x".repeat(65), "naïve"] {
        assert!(Provision::from_args(Some(name), &[], None).is_err(), "{name}");
    }
    for name in ["board-7", "pi.lab.example", "X"] {
        Provision::from_args(Some(name), &[], None).unwrap();
    }
    assert_eq!(
        Provision::from_args(Some("a b"), &[], None).unwrap_err().to_string(),
        "`a b` is not a host name\n\nhint: letters, digits and `-`, 64 characters at most, for example `board-7`"
    );
}

#[test]
fn every_board_has_a_host_name() {
    let long = "b".repeat(64);
    let cut = format!("{}-a", "a".repeat(62));
    for (board, host) in [
        ("rpi4", "rpi4"),
        ("my_board_", "my-board"),
        ("a..b._.", "a.b"),
        (&long, &long[..63]),
        (&cut, &cut[..62]),
    ] {
        assert_eq!(hostname_of(board), host);
        Provision::default().apply(&mut Tree::new(Timestamp::default()), &hostname_of(board)).unwrap();
    }
}

fn applied(provision: &Provision, base: &[(&str, u32, &str)]) -> Tree {
    let mut tree = Tree::new(Timestamp::default());
    for (path, mode, text) in base {
        tree.put_file(path, *mode, *text).unwrap();
    }
    provision.apply(&mut tree, "qemu-arm64").unwrap();
    tree
}

fn mode(tree: &Tree, path: &str) -> u32 {
    tree.get(&TreePath::new(path).unwrap()).unwrap().meta.mode
}

#[test]
fn without_a_hash_root_has_no_password() {
    let tree = applied(&Provision::default(), &[("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")]);
    assert_eq!(text_of(&tree, "etc/shadow").unwrap().unwrap(), "root:*::0:99999:7:::\n");
    assert_eq!(text_of(&tree, "etc/hostname").unwrap().unwrap(), "qemu-arm64\n");
    assert_eq!(mode(&tree, "etc/shadow"), 0o600);
    assert!(tree.get(&TreePath::new("root/.ssh").unwrap()).is_none());
}

#[test]
fn keys_and_hash_are_written_where_they_belong() {
    let (_dir, path) = key_file(&format!("# mine\n{KEY}\n"));
    let provision = Provision::from_args(Some("b7"), &[path], Some(HASH)).unwrap();
    let tree = applied(&provision, &[("etc/shadow", 0o640, "daemon:*:1::::::\nroot:old:1::::::\n")]);
    assert_eq!(text_of(&tree, "root/.ssh/authorized_keys").unwrap().unwrap(), format!("{KEY}\n"));
    assert_eq!((mode(&tree, "root"), mode(&tree, "root/.ssh")), (0o700, 0o700));
    assert_eq!((mode(&tree, "root/.ssh/authorized_keys"), mode(&tree, "etc/shadow")), (0o600, 0o640));
    assert_eq!(
        text_of(&tree, "etc/shadow").unwrap().unwrap(),
        format!("root:{HASH}::0:99999:7:::\ndaemon:*:1::::::\n")
    );
    assert!(text_of(&tree, "etc/hosts").unwrap().unwrap().contains("127.0.1.1\tb7\n"));
}

#[test]
fn flags_win_over_the_profile_and_keys_add_up() {
    let (_dir, path) = key_file(KEY);
    let profile = Provision::from_args(Some("profile"), std::slice::from_ref(&path), Some(HASH)).unwrap();
    let flags = Provision::from_args(Some("flag"), &[path], None).unwrap();
    let both = flags.over(profile);
    assert_eq!((both.hostname.as_deref(), both.ssh_keys.len()), (Some("flag"), 1));
    assert!(both.has_password() && both.has_key());
}
