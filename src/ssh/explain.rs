//! What OpenSSH's words mean, and what to do about it.

use super::{Host, Options};
use crate::error::{Error, Exit};
use crate::exec::quote;

/// The error for a connection that did not come about. `words` is what `ssh -v` printed.
pub(super) fn refusal(host: &Host, options: &Options, words: &str) -> Error {
    let own: Vec<&str> = words.lines().map(str::trim).filter(|line| is_own(line)).collect();
    let says = |needle: &str| own.iter().find(|line| line.contains(needle)).copied();
    let error = error_of(host);
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED").is_some() {
        return changed_key(error, host, words, &own);
    }
    if let Some(line) = says("host key is known for").or(says("Host key verification failed")) {
        let error = error.caused_by(match key(words) {
            Some(key) => format!("its host key is not known: {key}"),
            None => line.trim_end_matches('.').to_string(),
        });
        return error.hint(format!(
            "compare the fingerprint with what the board says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); \
             then `--accept-new`, or `{}`, remembers it",
            login(host, options)
        ));
    }
    if let Some(line) = says("Permission denied") {
        // `user@host: Permission denied (publickey,password).`
        let ways = line.split_once('(').map_or("", |(_, ways)| ways.trim_end_matches(['.', ')']));
        return error
            .caused_by(format!("it refuses the login; it takes: {}", if ways.is_empty() { "nothing" } else { ways }))
            .hint(format!(
                "bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `{}`",
                login(host, options)
            ));
    }
    let cause = own.last().map_or("it did not answer in time", |line| line.trim_end_matches('.'));
    let error = error.caused_by(cause);
    if says("Could not resolve hostname").is_some() {
        return error.hint("is the name right, and in DNS or your ssh configuration?");
    }
    if let Some(line) = says("Bad configuration option") {
        return error_of(host).caused_by(line).into_usage();
    }
    if says("Can't open user config").is_some() {
        return error.into_usage();
    }
    error.hint(format!(
        "is the board on, and its SSH server running? `{}` shows the same",
        login(host, options)
    ))
}

/// The error for a login after which nothing comes.
pub(super) fn silent(host: &Host, options: &Options, greeting: &str) -> Error {
    error_of(host)
        .caused_by("it takes the login, and its shell does not answer in time")
        .hint(format!("does `{} {greeting}` print a number?", login(host, options)))
}

fn error_of(host: &Host) -> Error {
    Error::new(format!("cannot connect to {host}")).with_exit(Exit::Unreachable)
}

fn changed_key(error: Error, host: &Host, words: &str, own: &[&str]) -> Error {
    let mut error = error.caused_by(match key(words) {
        Some(key) => format!("its host key has changed; now it is {key}"),
        None => "its host key has changed".to_string(),
    });
    if let Some(line) = own.iter().find_map(|line| line.strip_prefix("Offending ")) {
        error = error.caused_by(format!("known is the {line}"));
    }
    // As the client calls it, which need not be what was typed (`HostName`, `HostKeyAlias`).
    let named = own.iter().find_map(|line| line.strip_prefix("Host key for ")?.split_once(" has changed"));
    let file = own.iter().find_map(|line| {
        line.strip_prefix("Offending ")?.split_once(" key in ")?.1.rsplit_once(':').map(|(file, _)| file)
    });
    error.hint(format!(
        "somebody else may be answering; if the board was flashed anew, forget the old key: `ssh-keygen {}-R {}`",
        file.map_or(String::new(), |file| format!("-f {} ", quote(file))),
        quote(&named.map_or_else(|| known_as(host), |(name, _)| name.to_string())),
    ))
}

/// A host as known_hosts has it.
fn known_as(host: &Host) -> String {
    match host.port {
        Some(port) if port != 22 => format!("[{}]:{port}", host.name),
        _ => host.name.clone(),
    }
}

/// The command by which a person would log in.
fn login(host: &Host, options: &Options) -> String {
    let config = options.config.as_ref().map_or(String::new(), |config| {
        format!("-F {} ", quote(&crate::fsx::from_here(config).display().to_string()))
    });
    format!("ssh {config}{}", host.typed())
}

/// `debug1: Server host key: ssh-ed25519 SHA256:...`
fn key(words: &str) -> Option<&str> {
    words.lines().find_map(|line| line.trim().strip_prefix("debug1: Server host key: "))
}

/// A line that is neither from `-v` nor decoration.
fn is_own(line: &str) -> bool {
    !line.is_empty()
        && !line.starts_with('@')
        && ![
            "debug1:",
            "OpenSSH_",
            "Authenticated to",
            "Transferred:",
            "Bytes per second",
            "Warning: Permanently",
        ]
        .iter()
        .any(|start| line.starts_with(start))
        || line.contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
}
