//! `hosts.toml`: the boards of a lab, by name and in groups.
//!
//! ```toml
//! [host.bench]
//! address = "root@10.0.0.5"
//! console-log = "/var/log/conserver/bench.log"
//!
//! [group]
//! rack1 = ["bench", "root@10.0.0.6"]
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Place;
use crate::board::text::{At, parse_text};
use crate::error::{Error, Result, nearest};
use crate::fsx;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// Boards by name.
    #[serde(default)]
    host: BTreeMap<String, Entry>,
    /// Names and addresses, together.
    #[serde(default)]
    group: BTreeMap<String, Vec<At<String>>>,
    #[serde(skip)]
    shown: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    address: At<String>,
    console_log: Option<PathBuf>,
}

impl Hosts {
    /// `hosts.toml` of the working directory, else of the configuration directory, else nothing.
    pub fn user() -> Result<Hosts> {
        let configured = crate::data::config_dir().map(|dir| dir.join("hosts.toml"));
        for path in std::iter::once(PathBuf::from("hosts.toml")).chain(configured) {
            if let Some(text) = fsx::read_optional(&path)? {
                return Hosts::parse(&text, &path);
            }
        }
        Ok(Hosts::default())
    }

    fn parse(text: &str, path: &Path) -> Result<Hosts> {
        let shown = path.display().to_string();
        let mut hosts: Hosts = parse_text(&shown, "list of hosts", text).map_err(|error| {
            error
                .hint("`[host.NAME]` with `address` and perhaps `console-log`; `[group]` with lists of names")
        })?;
        hosts.shown = shown;
        Ok(hosts)
    }

    /// One board, by name or address.
    pub fn place(&self, word: &str) -> Result<Place> {
        match self.host.get(word) {
            Some(entry) => {
                let host = entry.address.parse().map_err(|error: Error| {
                    let what = format!("`address` of `{word}` in `{}` cannot be used", self.shown);
                    entry.address.place.wrap(error.context(what))
                })?;
                Ok(Place { host, console: entry.console_log.clone() })
            }
            None => Ok(Place { host: word.parse()?, console: None }),
        }
    }

    /// Everything that was asked for, in that order, none twice.
    pub fn places(&self, hosts: &[String], groups: &[String]) -> Result<Vec<Place>> {
        let mut found = hosts.iter().map(|word| self.place(word)).collect::<Result<Vec<_>>>()?;
        for group in groups {
            let members = self.group.get(group).ok_or_else(|| {
                let error = if self.shown.is_empty() {
                    Error::usage(format!("there is no group `{}`", group.escape_debug())).caused_by(
                        "there is no `hosts.toml` in this directory or the configuration directory",
                    )
                } else {
                    Error::usage(format!("`{}` has no group `{}`", self.shown, group.escape_debug()))
                };
                match nearest(group, self.group.keys().map(String::as_str)) {
                    Some(near) => error.hint(format!("nearest: `{near}`")),
                    None => error.hint("`[group]` of `hosts.toml` holds lists of hosts by name"),
                }
            })?;
            // A host of its own name it may have.
            let is_group = |word: &String| {
                word != group && self.group.contains_key(word) && !self.host.contains_key(word)
            };
            for At { value, place } in members {
                if is_group(value) {
                    let error = Error::usage(format!("`{value}` in group `{group}` is a group"))
                        .caused_by("a group holds hosts, by name or address")
                        .hint(format!("`--group` may be repeated: `--group {value}`"));
                    return Err(place.wrap(error));
                }
                let here = |error| if self.host.contains_key(value) { error } else { place.wrap(error) };
                found.push(self.place(value).map_err(here)?);
            }
        }
        let mut places: Vec<Place> = Vec::new();
        for place in found {
            if !places.iter().any(|known| known.host == place.host) {
                places.push(place);
            }
        }
        if places.is_empty() {
            let empty: Vec<String> = groups.iter().map(|group| format!("`{group}`")).collect();
            return Err(Error::usage("there is no board to deploy to")
                .caused_by(format!("group {} of `{}` is empty", empty.join(", "), self.shown))
                .hint("`[group]` of `hosts.toml` holds lists of hosts by name"));
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "[host.bench]\naddress = \"root@10.0.0.5\"\nconsole-log = \"/var/log/bench\"\n\n\
                       [group]\nrack = [\"bench\", \"root@10.0.0.6:2222\", \"bench\"]\n";

    #[test]
    fn names_groups_and_addresses() {
        let hosts = Hosts::parse(LAB, Path::new("hosts.toml")).unwrap();
        let places = hosts.places(&["root@10.0.0.6:2222".to_string()], &["rack".to_string()]).unwrap();
        let shown: Vec<String> = places.iter().map(|place| place.host.to_string()).collect();
        assert_eq!(shown, ["root@10.0.0.6:2222", "root@10.0.0.5"]);
        assert_eq!(places[1].console.as_deref(), Some(Path::new("/var/log/bench")));
    }

    #[test]
    fn mistakes_are_named() {
        let hosts = Hosts::parse(LAB, Path::new("hosts.toml")).unwrap();
        assert_eq!(
            hosts.places(&[], &["rak".to_string()]).unwrap_err().to_string(),
            "`hosts.toml` has no group `rak`\n\nhint: nearest: `rack`"
        );
        let nested = "[group]\nrack = [\"pi\"]\npi = [\"pi\"]\nall = [\"bench\", \"rack\"]\n";
        let nested = Hosts::parse(nested, Path::new("hosts.toml")).unwrap();
        assert_eq!(
            nested.places(&[], &["all".to_string()]).unwrap_err().to_string(),
            "`rack` in group `all` is a group\n  caused by: a group holds hosts, by name or address\n \
             --> hosts.toml:4:17\n  |\n4 | all = [\"bench\", \"rack\"]\n  |                 ^^^^^^ here\n\n\
             hint: `--group` may be repeated: `--group rack`"
        );
        assert_eq!(nested.places(&[], &["pi".to_string()]).unwrap().len(), 1);
        let odd = Hosts::parse("[group]\nrack = [\"a b\"]\n", Path::new("hosts.toml")).unwrap();
        assert_eq!(
            odd.places(&[], &["rack".to_string()]).unwrap_err().to_string(),
            "`a b` is not a host\n  caused by: the name is empty or holds what no host name does\n \
             --> hosts.toml:2:9\n  |\n2 | rack = [\"a b\"]\n  |         ^^^^^ here\n\n\
             hint: `[USER@]HOST[:PORT]`, with an IPv6 address as `[::1]:22`, or a `Host` of your ssh configuration"
        );
        assert_eq!(
            Hosts::parse("[host.a]\naddres = 1\n", Path::new("hosts.toml")).unwrap_err().to_string(),
            "`hosts.toml` is not a valid list of hosts\n  caused by: unknown field `addres`, expected `address` or `console-log`\n \
             --> hosts.toml:2:1\n  |\n2 | addres = 1\n  | ^^^^^^ here\n\nhint: did you mean `address`?"
        );
        assert_eq!(
            Hosts::parse("hosts = []\n", Path::new("hosts.toml")).unwrap_err().to_string(),
            "`hosts.toml` is not a valid list of hosts\n  caused by: unknown field `hosts`, expected `host` or `group`\n \
             --> hosts.toml:1:1\n  |\n1 | hosts = []\n  | ^^^^^ here\n\nhint: did you mean `host`?"
        );
        assert_eq!(
            Hosts::default().places(&[], &["rack".to_string()]).unwrap_err().to_string(),
            "there is no group `rack`\n  caused by: there is no `hosts.toml` in this directory or the configuration directory\n\n\
             hint: `[group]` of `hosts.toml` holds lists of hosts by name"
        );
    }
}
