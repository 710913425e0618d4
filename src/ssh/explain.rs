//! What OpenSSH's words mean, and what to do about it.

use super::{Host, Options};
use crate::error::{Error, Exit};
use crate::exec::quote;

/// The error for a connection that did not come about. `words` is what `ssh -v` printed.
pub(super) fn refusal(host: &Host, options: &Options, words: &str) -> Error {
    // What a jump host said that let us in is not about the failure.
    let since = words.rsplit_once("\nAuthenticated to ").and_then(|(_, rest)| rest.split_once('\n'));
    let words = since.map_or(words, |(_, rest)| rest);
    let mut own: Vec<&str> = words.lines().map(str::trim).filter(|line| is_own(line)).collect();
    let mut error = error_of(host);
    // The client has no address where a jump host or a proxy stands between.
    let proxied = own.iter().any(|line| line.starts_with("Connection ") && line.contains(" UNKNOWN port "));
    if proxied {
        error = error.caused_by("its jump host or proxy does not get there");
        // What the jump host's own client said comes before, and is why.
        let end = own.iter().position(|line| line.starts_with("kex_exchange_identification: "));
        own.truncate(end.filter(|end| *end > 0).unwrap_or(own.len()));
    }
    let says = |needle: &str| own.iter().find(|line| line.contains(needle)).copied();
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED").is_some() {
        return changed_key(error, host, words, &own);
    }
    if let Some(line) = says("host key is known for").or(says("Host key verification failed")) {
        let error = error.caused_by(match key(words) {
            Some(key) => format!("its host key is not known: {key}"),
            None => line.trim_end_matches('.').to_string(),
        });
        // The option is for the board alone.
        let (who, option) = if proxied { ("that host", "") } else { ("the board", "`--accept-new`, or ") };
        let login = login(host, options) + if proxied { "`" } else { "`," };
        return error.hint(format!(
            "compare the fingerprint with what {who} says (`ssh-keygen -lf` or `dropbearkey -y -f` of its host key); \
             then {option}`{login} remembers it"
        ));
    }
    // A key file that cannot be read has another bracket; a banner may say anything.
    if let Some(line) = own.iter().rfind(|line| line.contains(": Permission denied (")) {
        // `user@host: Permission denied (publickey,password).`
        let ways = line.rsplit_once('(').map_or("", |(_, ways)| ways.trim_end_matches(['.', ')']));
        return error
            .caused_by(format!("it refuses the login; it takes: {}", if ways.is_empty() { "nothing" } else { ways }))
            .hint(format!(
                "bimg types no password: have your key there (`ssh-copy-id`), unlocked in an agent (`ssh-add`), and try `{}`",
                login(host, options)
            ));
    }
    if says("Too many authentication failures").is_some() {
        return error.caused_by("it refuses the login after too many keys").hint(
            "`IdentitiesOnly yes` and the right `IdentityFile` in your ssh configuration offer one key alone",
        );
    }
    // `config: terminating, 1 bad configuration options`: what comes before says which.
    if let Some(end) = own.iter().position(|line| line.contains(": terminating, ")) {
        return error_of(host).caused_by(own[end.saturating_sub(1)].trim_end_matches('.')).into_usage();
    }
    let cause = own.last().map_or("it did not answer in time", |line| line.trim_end_matches('.'));
    let error = error.caused_by(cause);
    if says("Could not resolve hostname").is_some() {
        return error.hint("is the name right, and in DNS or your ssh configuration?");
    }
    if says("Can't open user config").or(says("Bad owner or permissions on")).is_some() {
        return error.into_usage();
    }
    error.hint(format!(
        "is the board on, and its SSH server running? `{}` shows the same",
        login(host, options)
    ))
}

/// The error for a login after which nothing comes; `how` the shell fails.
pub(super) fn silent(host: &Host, options: &Options, greeting: &str, how: &str) -> Error {
    error_of(host)
        .caused_by(format!("it takes the login, and its shell {how}"))
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
            "Disconnected from",
            "stdio forwarding failed",
            "Transferred:",
            "Bytes per second",
            "Warning: Permanently",
        ]
        .iter()
        .any(|start| line.starts_with(start))
        || line.contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
}
