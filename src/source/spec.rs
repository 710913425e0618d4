//! What a profile may write as a source: a table whose one key `apt`, `tarball`, `git` or `path` says
//! the kind.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Kind;
use crate::digest::Digest;

/// One place that an input can come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Source {
    /// A Debian package, through the host's own mirror.
    Apt(AptSource),
    /// A tar archive at a URL.
    Tarball(TarballSource),
    /// A revision of a git repository.
    Git(GitSource),
    /// A directory of the user's, used in place.
    Path(PathSource),
}

/// A Debian package by name: `{ apt = "linux-source-6.12", suite = "bookworm-security" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AptSource {
    /// The package's name.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9+.-]+$"))]
    pub apt: String,
    /// The suite, e.g. `bookworm-security`; the host's own suites by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The component, e.g. `non-free-firmware`; those that the host uses by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The Debian architecture, e.g. `arm64`; the host's by default, which also has all of `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// An exact version; the newest by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A tar archive: `{ tarball = "https://...", sha256 = "..." }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TarballSource {
    /// Where it is: http or https; gzip, xz, zstd, bzip2 or plain tar.
    pub tarball: String,
    /// The SHA-256 of the archive.
    #[schemars(with = "String", regex(pattern = r"^[0-9a-fA-F]{64}$"))]
    pub sha256: Digest,
    /// More places that hold the same file, tried in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub mirrors: Vec<String>,
}

/// A git revision: `{ git = "https://...", rev = "v6.12" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GitSource {
    /// The repository: a URL, or a local path, which starts as that of [`PathSource`] does.
    pub git: String,
    /// A tag, a branch, or a full commit id.
    pub rev: String,
}

/// The user's own tree: `{ path = "../linux" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PathSource {
    /// The directory. A relative one starts where bimg was started, or at a profile that is given by path.
    pub path: String,
}

/// All keys at once: an untagged enum could only say "no variant matched".
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    apt: Option<String>,
    suite: Option<String>,
    component: Option<String>,
    arch: Option<String>,
    version: Option<String>,
    tarball: Option<String>,
    sha256: Option<Digest>,
    mirrors: Option<Vec<String>>,
    git: Option<String>,
    rev: Option<String>,
    path: Option<String>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?.check().map_err(D::Error::custom)
    }
}

impl Raw {
    fn check(self) -> Result<Source, String> {
        self.one_kind()?;
        if let Some(apt) = self.apt {
            let word = |what: &str, word: &str| -> Result<(), String> {
                let fits = word.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && word.chars().all(|c| c.is_ascii_alphanumeric() || "+.-~:_/".contains(c));
                if fits { Ok(()) } else { Err(format!("`{}` is not a Debian {what}", word.escape_debug())) }
            };
            word("package name", &apt)?;
            for (what, value) in [
                ("suite", &self.suite),
                ("component", &self.component),
                ("architecture", &self.arch),
                ("version", &self.version),
            ] {
                value.as_deref().map_or(Ok(()), |value| word(what, value))?;
            }
            // `all` packages are in the index of every architecture and have none of their own.
            let arch = self.arch.filter(|arch| arch != "all");
            let (suite, component, version) = (self.suite, self.component, self.version);
            return Ok(Source::Apt(AptSource { apt, suite, component, arch, version }));
        }
        if let Some(tarball) = self.tarball {
            let sha256 = self.sha256.ok_or("`tarball` needs `sha256`, the SHA-256 of the archive")?;
            let mirrors = self.mirrors.unwrap_or_default();
            for url in std::iter::once(&tarball).chain(&mirrors) {
                if !url.starts_with("https://") && !url.starts_with("http://") {
                    return Err(format!("`{}` is not an http or https URL", shown_url(url)));
                }
            }
            return Ok(Source::Tarball(TarballSource { tarball, sha256, mirrors }));
        }
        if let Some(git) = self.git {
            let rev = self.rev.ok_or("`git` needs `rev`: a tag, a branch or a full commit id")?;
            // Nothing that a profile says may turn into an option or a transport that runs programs.
            if git.is_empty() || git.starts_with('-') || git.contains("::") {
                return Err(format!("`{}` is not a repository URL or path", shown_url(&git)));
            }
            if rev.is_empty()
                || rev.starts_with('-')
                || rev.contains([' ', ':', '\\', '^', '~', '?', '*', '['])
            {
                return Err(format!("`{rev}` is not a tag, branch or commit id"));
            }
            return Ok(Source::Git(GitSource { git, rev }));
        }
        match self.path {
            Some(path) if !path.is_empty() => Ok(Source::Path(PathSource { path })),
            _ => Err("`path` is empty".to_string()),
        }
    }

    /// Exactly one of the kinds, and only the keys that go with it.
    fn one_kind(&self) -> Result<(), String> {
        let kinds: Vec<&str> = [
            ("apt", self.apt.is_some()),
            ("tarball", self.tarball.is_some()),
            ("git", self.git.is_some()),
            ("path", self.path.is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, there)| there.then_some(kind))
        .collect();
        let kind = match kinds[..] {
            [kind] => kind,
            [] => return Err("a source needs one of `apt`, `tarball`, `git`, `path`".to_string()),
            [one, two, ..] => {
                return Err(format!("a source has either `{one}` or `{two}`; list two alternatives instead"));
            }
        };
        let extras = [
            ("suite", "apt", self.suite.is_some()),
            ("component", "apt", self.component.is_some()),
            ("arch", "apt", self.arch.is_some()),
            ("version", "apt", self.version.is_some()),
            ("sha256", "tarball", self.sha256.is_some()),
            ("mirrors", "tarball", self.mirrors.is_some()),
            ("rev", "git", self.rev.is_some()),
        ];
        match extras.iter().find(|(_, owner, there)| *there && *owner != kind) {
            Some((key, owner, _)) => Err(format!("`{key}` goes with `{owner}`, not with `{kind}`")),
            None => Ok(()),
        }
    }
}

impl Source {
    /// What was asked for, on one line: the key in `bimg.lock`.
    pub fn asked(&self) -> String {
        match self {
            Source::Apt(source) => {
                let mut asked = vec![format!("apt {}", source.apt)];
                for (key, value) in [
                    ("suite", &source.suite),
                    ("component", &source.component),
                    ("arch", &source.arch),
                    ("version", &source.version),
                ] {
                    if let Some(value) = value {
                        asked.push(format!("{key}={value}"));
                    }
                }
                asked.join(" ")
            }
            // The digest is the whole truth: another place with the same file is the same request.
            Source::Tarball(source) => format!("tarball {}", source.sha256),
            Source::Git(source) => format!("git {} rev={}", shown_url(&source.git), source.rev),
            Source::Path(source) => format!("path {}", source.path),
        }
    }

    /// The host program that fetching it takes.
    pub fn tool(&self) -> Option<&'static str> {
        match self {
            Source::Apt(_) => Some("apt-get"),
            Source::Git(_) => Some("git"),
            Source::Tarball(_) | Source::Path(_) => None,
        }
    }

    pub(super) fn kind(&self) -> &dyn Kind {
        match self {
            Source::Apt(source) => source,
            Source::Tarball(source) => source,
            Source::Git(source) => source,
            Source::Path(source) => source,
        }
    }
}

/// A URL without the password that it may hold, which belongs into no message, lock or manifest. With http the
/// name goes too, for it is often a token; elsewhere it says whose repository is meant.
pub(crate) fn shown_url(url: &str) -> String {
    let without = || {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) = host.rsplit_once('@')?;
        let user = match user.split(':').next() {
            Some(name) if !name.is_empty() && !scheme.to_ascii_lowercase().starts_with("http") => {
                format!("{name}@")
            }
            _ => String::new(),
        };
        Some(format!("{scheme}://{user}{host}{path}"))
    };
    without().unwrap_or_else(|| url.to_string())
}
