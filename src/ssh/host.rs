//! How a board is named: `[user@]host[:port]`, or a `Host` of ssh_config(5).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A host to connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    pub(super) user: Option<String>,
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

impl Host {
    /// The words of an `ssh` command line, the destination last.
    pub(super) fn args(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(port) = self.port {
            words.extend(["-p".to_string(), port.to_string()]);
        }
        words.push("--".to_string());
        words.push(match &self.user {
            Some(user) => format!("{user}@{}", self.name),
            None => self.name.clone(),
        });
        words
    }

    /// The same as one would type it after `ssh`.
    pub fn typed(&self) -> String {
        self.args().into_iter().filter(|word| word != "--").collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Host> {
        let bad = |why: &str| {
            Error::usage(format!("`{}` is not a host", text.escape_debug()))
                .caused_by(why)
                .hint("`[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration")
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_string()), rest),
            None => (None, text),
        };
        let (name, port) = if let Some(inside) = rest.strip_prefix('[') {
            let (name, behind) = inside.split_once(']').ok_or_else(|| bad("`[` has no `]`"))?;
            match behind {
                "" => (name, None),
                _ => (name, Some(behind.strip_prefix(':').ok_or_else(|| bad("only a port follows `]`"))?)),
            }
        } else {
            match rest.split_once(':') {
                // More than one colon: an IPv6 address as it is.
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (rest, None),
            }
        };
        let port = port
            .map(|port| port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(port))
            .transpose()
            .map_err(|port| bad(&format!("`{}` is not a port", port.escape_debug())))?;
        // Words of a command line, and file names of lists: no option, no blank, nothing a shell would read.
        let plain = |word: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && word.chars().all(|c| c.is_alphanumeric() || "._-:%+".contains(c))
        };
        if !plain(name) {
            return Err(bad("the name is empty or holds what no host name does"));
        }
        if user.as_deref().is_some_and(|user| !plain(user)) {
            return Err(bad("the user is empty or holds what no user name does"));
        }
        Ok(Host { user, name: name.to_string(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.name.contains(':') => write!(f, "[{}]:{port}", self.name),
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
