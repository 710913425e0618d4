//! What makes an image somebody's own: host name, SSH keys, root's password.
//!
//! Everything is checked when it is given, long before an image is written. There is no default
//! password: without a hash root has none, and only a key opens the board.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fsx;
use crate::tree::{Inode, Kind, Tree, TreePath};

/// Checked provisioning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provision {
    hostname: Option<String>,
    /// Lines of an `authorized_keys` file.
    ssh_keys: Vec<String>,
    root_password_hash: Option<String>,
}

impl Provision {
    /// From flags: a host name, files with public keys, a crypt(5) hash.
    pub fn from_args(
        hostname: Option<&str>,
        ssh_keys: &[PathBuf],
        password_hash: Option<&str>,
    ) -> Result<Self> {
        if let Some(name) = hostname {
            check_hostname(name)?;
        }
        if let Some(hash) = password_hash {
            check_hash(hash)?;
        }
        let mut lines = Vec::new();
        for path in ssh_keys {
            lines.extend(read_keys(path)?);
        }
        Ok(Provision {
            hostname: hostname.map(str::to_string),
            ssh_keys: lines,
            root_password_hash: password_hash.map(str::to_string),
        })
    }

    /// These values, and those of `base` where there is none; keys are added up.
    #[must_use]
    pub fn over(self, base: Provision) -> Provision {
        let mut ssh_keys = base.ssh_keys;
        ssh_keys.extend(self.ssh_keys.into_iter().filter(|key| !ssh_keys.contains(key)).collect::<Vec<_>>());
        Provision {
            hostname: self.hostname.or(base.hostname),
            ssh_keys,
            root_password_hash: self.root_password_hash.or(base.root_password_hash),
        }
    }

    /// The host name that was asked for.
    pub fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// True when somebody can log in over SSH.
    pub fn has_key(&self) -> bool {
        !self.ssh_keys.is_empty()
    }

    /// True when root can log in on a console.
    pub fn has_password(&self) -> bool {
        self.root_password_hash.is_some()
    }

    /// What it contributes to fingerprints: never the values themselves.
    pub fn fingerprint(&self) -> Vec<(String, Digest)> {
        let part = |label: &str, fields: &[&str]| {
            let digest = Digest::of_fields(fields.iter().map(|field| field.as_bytes()));
            (label.to_string(), digest)
        };
        let keys: Vec<&str> = self.ssh_keys.iter().map(String::as_str).collect();
        let optional = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>().concat();
        vec![
            part("host name", &[&optional(&self.hostname)]),
            part("SSH keys", &keys),
            part("password hash", &[&optional(&self.root_password_hash)]),
        ]
    }

    /// Writes it into a root filesystem. `default_hostname` names a board that nobody named.
    pub fn apply(&self, tree: &mut Tree, default_hostname: &str) -> Result<()> {
        let hostname = self.hostname.as_deref().unwrap_or(default_hostname);
        check_hostname(hostname)?;
        tree.put_file("etc/hostname", 0o644, format!("{hostname}\n").as_str())?;
        let hosts = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n::1\tlocalhost\n");
        tree.put_file("etc/hosts", 0o644, hosts.as_str())?;
        if !self.ssh_keys.is_empty() {
            ensure_dir(tree, "root", 0o700)?;
            ensure_dir(tree, "root/.ssh", 0o700)?;
            tree.put_file("root/.ssh/authorized_keys", 0o600, (self.ssh_keys.join("\n") + "\n").as_str())?;
        }
        if let Some(hash) = &self.root_password_hash {
            set_password(tree, hash)?;
        } else if text_of(tree, "etc/shadow")?.is_none() && text_of(tree, "etc/passwd")?.is_some() {
            tree.put_file("etc/shadow", 0o600, shadow_line("*").as_str())?;
        }
        Ok(())
    }
}

/// Keeps a directory that is there, with its mode.
fn ensure_dir(tree: &mut Tree, path: &str, mode: u32) -> Result<()> {
    match tree.get(&TreePath::new(path)?) {
        Some(Inode { kind: Kind::Directory, .. }) => Ok(()),
        _ => tree.put_dir(path, mode),
    }
}

fn shadow_line(hash: &str) -> String {
    // No date of the last change: the password does not age.
    format!("root:{hash}::0:99999:7:::\n")
}

fn set_password(tree: &mut Tree, hash: &str) -> Result<()> {
    let path = TreePath::new("etc/shadow")?;
    let Some(text) = text_of(tree, "etc/shadow")? else {
        return tree.put_file("etc/shadow", 0o600, shadow_line(hash).as_str());
    };
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with("root:")).map(str::to_string).collect();
    lines.insert(0, shadow_line(hash).trim_end().to_string());
    // The owner and mode of the distribution stay (root:shadow 0640 on Debian).
    if let Some(inode) = tree.get_mut(&path) {
        inode.kind = Kind::File((lines.join("\n") + "\n").as_str().into());
    }
    Ok(())
}

/// The text of a file in the tree, `None` when there is none.
pub(super) fn text_of(tree: &Tree, path: &str) -> Result<Option<String>> {
    let Some(Inode { kind: Kind::File(content), .. }) = tree.get(&TreePath::new(path)?) else {
        return Ok(None);
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut content.open()?, &mut text).map_err(|cause| {
        Error::new(format!("cannot read `/{path}` of the root filesystem")).caused_by(cause)
    })?;
    Ok(Some(text))
}

/// The host name of a board that nobody named. RFC 1123 knows no underscore, no empty label, and no hyphen
/// at an end of one, all of which a board's name may have.
pub fn hostname_of(board: &str) -> String {
    let name = board.replace('_', "-");
    let labels = name.split('.').map(|label| label.trim_matches('-')).filter(|label| !label.is_empty());
    // What is cut may end with a hyphen again.
    labels.map(|label| label[..label.len().min(63)].trim_end_matches('-')).collect::<Vec<_>>().join(".")
}

/// RFC 1123: labels of letters, digits and hyphens; Linux takes 64 characters.
fn check_hostname(name: &str) -> Result<()> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 64 && name.split('.').all(label) {
        return Ok(());
    }
    Err(Error::usage(format!("`{}` is not a host name", name.escape_debug()))
        .hint("letters, digits and `-`, 64 characters at most, for example `board-7`"))
}

/// The crypt(5) formats that every login understands, busybox's too: SHA-256 and SHA-512.
fn check_hash(hash: &str) -> Result<()> {
    let field = |text: &str, least: usize| {
        text.len() >= least && text.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c))
    };
    let parts: Vec<&str> = hash.split('$').collect();
    let good = match parts.as_slice() {
        ["", "5", salt, digest] => field(salt, 1) && field(digest, 43),
        ["", "6", salt, digest] => field(salt, 1) && field(digest, 86),
        ["", "5" | "6", rounds, salt, digest] => {
            rounds.strip_prefix("rounds=").is_some_and(|n| n.parse::<u32>().is_ok())
                && field(salt, 1)
                && field(digest, 43)
        }
        _ => false,
    };
    if good {
        return Ok(());
    }
    // The text itself is not shown: it may well be a password.
    Err(Error::usage("what was given for root's password is not a crypt(5) hash of SHA-256 or SHA-512")
        .hint("make one with `openssl passwd -6`, and quote it: it holds `$`"))
}

fn read_keys(path: &Path) -> Result<Vec<String>> {
    let about = || format!("cannot use the SSH key `{}`", path.display());
    let text = match std::str::from_utf8(&fsx::read_small(path).context(about)?) {
        Ok(text) => text.to_string(),
        Err(_) => return Err(Error::usage(about()).caused_by("it is not text")),
    };
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File") {
        let public = format!("{}.pub", path.display());
        return Err(Error::usage(about())
            .caused_by("it is a private key, which must never leave your machine")
            .hint(if Path::new(&public).exists() {
                format!("give the public one: `{public}`")
            } else {
                format!("make the public one with `ssh-keygen -y -f {}`", path.display())
            }));
    }
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    if lines.is_empty() {
        return Err(Error::usage(about()).caused_by("it holds no key"));
    }
    lines
        .into_iter()
        .map(|line| check_key(line).map(|()| line.to_string()))
        .collect::<Result<_>>()
        .context(about)
}

/// What both dropbear (`sk-` since 2022.83) and OpenSSH take.
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A line of `authorized_keys` without options: the type, its base64 that names the same type, a comment.
fn check_key(line: &str) -> Result<()> {
    let bad = |why: String| {
        Error::usage(why).hint("a public key is one line like `ssh-ed25519 AAAAC3Nz... you@host`")
    };
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    if !KEY_TYPES.contains(&kind) {
        return Err(bad(format!(
            "`{}` is not a type of key",
            kind.chars().take(40).collect::<String>().escape_debug()
        )));
    }
    let blob =
        words.next().and_then(decode_base64).ok_or_else(|| bad("its base64 is damaged".to_string()))?;
    // RFC 4253 6.6: the blob begins with the type as a string.
    let named =
        blob.get(..4).and_then(|len| blob.get(4..4 + u32::from_be_bytes(len.try_into().ok()?) as usize));
    if named != Some(kind.as_bytes()) || blob.len() < kind.len() + 4 + 32 {
        return Err(bad(format!("it is not a whole key of type `{kind}`")));
    }
    Ok(())
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut value, mut bits) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        value = (value << 6 | u32::from(digit(byte)?)) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((value >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "provision_tests.rs"]
mod tests;
