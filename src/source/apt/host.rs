//! The host's apt configuration, read and never changed: where its distribution comes from, and what
//! signs it. deb822 `.sources` and one-line `.list` files (sources.list(5)).

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::exec::Cmd;
use crate::fsx;

/// What the host says about its distribution.
#[derive(Debug, Clone)]
pub struct Host {
    entries: Vec<Entry>,
    codename: Option<String>,
}

/// One repository as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Mirrors.
    pub uris: Vec<String>,
    /// Suites or codenames.
    pub suites: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// Options such as `Signed-By`, `Trusted`, `Check-Valid-Until`, under their deb822 names.
    pub options: Vec<(String, String)>,
}

impl Host {
    /// Reads `sources.list` and `sources.list.d` of an `/etc/apt`, and the codename from the `os-release`
    /// beside it.
    pub fn load(etc: &Path) -> Result<Self> {
        let mut entries = Vec::new();
        let mut paths = vec![etc.join("sources.list")];
        let parts = etc.join("sources.list.d");
        if parts.is_dir() {
            let failed = |cause: std::io::Error| fsx::io_error("read", &parts, &cause);
            let mut found: Vec<PathBuf> = parts
                .read_dir()
                .map_err(failed)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<std::io::Result<_>>()
                .map_err(failed)?;
            found.sort();
            paths.extend(found);
        }
        for path in paths {
            let Some(extension) = path.extension() else { continue };
            let deb822 = extension == "sources";
            if !deb822 && extension != "list" {
                continue;
            }
            let Some(text) = fsx::read_optional(&path)? else { continue };
            entries.extend(if deb822 { parse_deb822(&text) } else { parse_list(&text) });
        }
        let os_release = fsx::read_optional(&etc.with_file_name("os-release"))?.unwrap_or_default();
        Ok(Host { entries, codename: codename(&os_release) })
    }

    /// The repositories to look in for a package of `suite`, or of the host's own suites; with other
    /// components when asked for.
    pub fn entries_for(&self, suite: Option<&str>, component: Option<&str>) -> Result<Vec<Entry>> {
        let main = self.distribution()?;
        let Some(suite) = suite else {
            let own: Vec<Entry> = self
                .entries
                .iter()
                .filter(|entry| entry.keyring() == main.keyring() && is_distribution(entry))
                .map(|entry| entry.with_component(component))
                .collect();
            return Ok(own);
        };
        let with_suite =
            |entry: &Entry| Entry { suites: vec![suite.to_string()], ..entry.with_component(component) };
        let has = |entry: &&Entry| entry.suites.iter().any(|own| own == suite);
        let exact = || self.entries.iter().filter(|entry| is_distribution(entry)).filter(has);
        // A vendor's mirror may be called the same; the distribution's own key is the distribution's.
        let own: Vec<Entry> =
            exact().filter(|entry| entry.keyring() == main.keyring()).map(with_suite).collect();
        if !own.is_empty() {
            return Ok(own);
        }
        let others: Vec<Entry> = exact().map(with_suite).collect();
        if !others.is_empty() {
            return Ok(others);
        }
        let mut derived = if suite.ends_with("-security") { self.security(main) } else { main.clone() };
        derived.keyring_for_all_releases();
        Ok(vec![with_suite(&derived)])
    }

    /// The repository that the host itself was installed from.
    fn distribution(&self) -> Result<&Entry> {
        let own = |entry: &&Entry| {
            let codename = self.codename.as_deref();
            entry.suites.iter().any(|suite| {
                Some(suite.as_str()) == codename
                    || ["stable", "testing", "unstable", "sid"].contains(&suite.as_str())
            })
        };
        // A vendor's mirror may be called the same, and come first: what it is signed with tells.
        let mains = self.entries.iter().filter(|entry| is_distribution(entry));
        let rank = |entry: &&Entry| (entry.keyring().is_some() && !has_own_keyring(entry), !own(entry));
        mains.filter(|entry| own(entry) || !is_security(entry)).min_by_key(rank).ok_or_else(|| {
            Error::new("the host's apt configuration names no Debian or Ubuntu mirror").caused_by(
                "no `deb` entry has a component `main` and a URI like `.../debian` or `.../ubuntu`",
            )
        })
    }

    /// The repository of security updates: another URI than the main one's, on Debian.
    fn security(&self, main: &Entry) -> Entry {
        if let Some(entry) = self.entries.iter().find(|entry| is_security(entry)) {
            return entry.clone();
        }
        let uris = main.uris.iter().map(|uri| match uri.trim_end_matches('/').strip_suffix("/debian") {
            Some(mirror) => format!("{mirror}/debian-security"),
            None => uri.clone(),
        });
        Entry { uris: uris.collect(), ..main.clone() }
    }
}

impl Entry {
    fn keyring(&self) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == "Signed-By").map(|(_, value)| value.as_str())
    }

    fn with_component(&self, component: Option<&str>) -> Entry {
        let components = component.map_or_else(|| self.components.clone(), |name| vec![name.to_string()]);
        Entry { components, ..self.clone() }
    }

    /// A keyring of one release does not hold the keys of another; Debian's whole one, beside it, does.
    fn keyring_for_all_releases(&mut self) {
        for (key, value) in &mut self.options {
            if key == "Signed-By"
                && let Some((dir, _)) = value.rsplit_once("/debian-archive-")
            {
                let whole = format!("{dir}/debian-archive-keyring.gpg");
                if Path::new(&whole).exists() {
                    *value = whole;
                }
            }
        }
    }

    /// As a stanza of a `.sources` file.
    pub fn stanza(&self, arch: &str) -> String {
        let (uris, suites) = (self.uris.join(" "), self.suites.join(" "));
        let mut lines = vec![
            "Types: deb".to_string(),
            format!("URIs: {uris}"),
            format!("Suites: {suites}"),
            format!("Components: {}", self.components.join(" ")),
            format!("Architectures: {arch}"),
        ];
        lines.extend(self.options.iter().map(|(key, value)| format!("{key}: {value}")));
        lines.join("\n") + "\n"
    }
}

/// Other vendors' repositories also have a suite named after the release; a distribution's mirror, or a list of
/// them (apt-transport-mirror(1)), ends in its name and has the component `main`.
fn is_distribution(entry: &Entry) -> bool {
    let names = ["debian", "debian-security", "ubuntu", "ubuntu-ports", "raspbian"];
    let named = |uri: &String| {
        let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        // Debian's cloud images: `mirror+file:///etc/apt/mirrors/debian.list`.
        names.contains(&last.strip_suffix(".list").unwrap_or(last))
            || uri.contains("security.debian.org")
            || uri.contains("/archive/debian")
    };
    let named = || entry.uris.iter().any(named);
    entry.components.iter().any(|component| component == "main") && (has_own_keyring(entry) || named())
}

/// True when a distribution's own keyring is named.
fn has_own_keyring(entry: &Entry) -> bool {
    entry.keyring().is_some_and(|keyring| {
        keyring.contains("/debian-archive-") || keyring.contains("/ubuntu-archive-keyring")
    })
}

fn is_security(entry: &Entry) -> bool {
    is_distribution(entry)
        && entry.suites.iter().any(|suite| suite.ends_with("-security") || suite.ends_with("/updates"))
}

fn codename(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim().trim_matches('"').to_string())
}

/// Options of a repository that stay with it; `Architectures` and the like are ours to say.
const OPTIONS: [(&str, &str); 5] = [
    ("Signed-By", "signed-by"),
    ("Trusted", "trusted"),
    ("Check-Valid-Until", "check-valid-until"),
    ("Check-Date", "check-date"),
    ("Snapshot", "snapshot"),
];

fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    // A line that is only a comment does not end a stanza.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza {
            if line.starts_with([' ', '\t']) {
                // A key in the file itself spans lines; its form is kept.
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((key, value)) = line.split_once(':') {
                fields.push((key.trim().to_string(), value.trim().to_string()));
            }
        }
        let get = |name: &str| {
            fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let words = |name: &str| -> Vec<String> {
            get(name).unwrap_or_default().split_whitespace().map(str::to_string).collect()
        };
        let on = !get("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if !on || !words("Types").iter().any(|word| word == "deb") {
            continue;
        }
        let options = OPTIONS
            .iter()
            .filter_map(|(name, _)| Some(((*name).to_string(), get(name)?.to_string())))
            .collect();
        entries.push(Entry {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
            options,
        });
    }
    entries
}

fn parse_list(text: &str) -> Vec<Entry> {
    text.lines().filter_map(|line| parse_line(line.split('#').next().unwrap_or_default())).collect()
}

/// `deb [ option=value ... ] uri suite component ...`
fn parse_line(line: &str) -> Option<Entry> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.starts_with(char::is_whitespace).then_some(rest.trim_start())?;
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let options = options
        .split_whitespace()
        .filter_map(|option| {
            let (key, value) = option.split_once('=')?;
            let (name, _) = OPTIONS.iter().find(|(_, short)| *short == key)?;
            // Lists are separated by commas here and by spaces there.
            Some(((*name).to_string(), value.replace(',', " ")))
        })
        .collect();
    let mut words = rest.split_whitespace().map(str::to_string);
    let uri = words.next().filter(|uri| !uri.starts_with("cdrom:"))?;
    let suite = words.next()?;
    Some(Entry { uris: vec![uri], suites: vec![suite], components: words.collect(), options })
}

/// What a private root takes over from the host's `apt.conf`: how to reach the mirrors and how strict it
/// is about old ones. Hooks, pinning and everything else stay behind.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host's Debian architecture.
    pub architecture: String,
    /// Lines for an `apt.conf`.
    pub lines: Vec<String>,
}

impl Settings {
    /// Asks `apt-config` about the configuration in `etc`.
    pub fn load(etc: &Path) -> Result<Self> {
        let failed = |cause: std::io::Error| {
            Error::new("cannot write a temporary file").caused_by(fsx::describe(&cause))
        };
        let mut config = tempfile::Builder::new().prefix("bimg-apt-").tempfile().map_err(failed)?;
        writeln!(config, "Dir::Etc \"{}\";", quoted(etc)?).map_err(failed)?;
        let dump = Cmd::new("apt-config").env("APT_CONFIG", config.path()).arg("dump").check()?.text();
        Ok(Self::parse(&dump))
    }

    fn parse(dump: &str) -> Self {
        let mut settings = Settings { architecture: String::new(), lines: Vec::new() };
        for line in dump.lines() {
            let Some((key, value)) = line.split_once(' ') else { continue };
            let lower = key.to_ascii_lowercase();
            if key == "APT::Architecture" {
                settings.architecture = value.trim_matches(['"', ';']).to_string();
            }
            // Proxies, time limits, certificates, and the same for single hosts.
            let how = ["acquire::http::", "acquire::https::", "acquire::ftp::"];
            let single = [
                "acquire::forceipv4",
                "acquire::forceipv6",
                "acquire::check-valid-until",
                "acquire::check-date",
            ];
            let wanted = how.iter().any(|start| lower.starts_with(start)) || single.contains(&lower.as_str());
            if wanted && value != "\"\";" {
                settings.lines.push(line.to_string());
            }
        }
        settings
    }
}

/// A path for an `apt.conf` string, which knows no escapes.
pub(super) fn quoted(path: &Path) -> Result<&str> {
    path.to_str().filter(|text| !text.contains(['"', '\n', '\\'])).ok_or_else(|| {
        Error::new(format!("apt cannot work in `{}`", path.display()))
            .caused_by("the path holds a quote, a backslash or is not UTF-8")
            .hint("set `XDG_CACHE_HOME` to another directory")
    })
}
