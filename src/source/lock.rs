//! `bimg.lock`: what each source was resolved to, so that everyone builds from the same bytes.
//!
//! TOML, sorted, one `[[source]]` per name and request; no mirror and no host name in it. Several boards
//! may share it: an entry is found by name and by what was asked for.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Request;
use crate::digest::Digest;
use crate::error::{Error, Result, nearest};
use crate::fsx;

const HEADER: &str = "\
# What each source was resolved to. Written by bimg; keep it with the board.
# `bimg update --board NAME` moves it on.
";

/// The exact thing that a source was resolved to. A path source has nothing here: it is what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// apt: the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// apt: the package's architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// apt, tarball: of the package or archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// git: the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pin { commit: Some(commit), .. } => write!(f, "commit {commit}"),
            Pin { version: Some(version), .. } => write!(f, "version {version}"),
            Pin { sha256: Some(sha256), .. } => write!(f, "sha256 {sha256}"),
            _ => f.write_str("as it is"),
        }
    }
}

/// One line of the lock's story: this name, asked for like that, is exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct LockEntry {
    /// `kernel`, `firmware`, ..
    pub name: String,
    /// What was asked for: [`super::Source::asked`].
    pub asked: String,
    /// Alternatives that come first and did not work. They may have pins all the same: other boards' own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<String>,
    /// What it is.
    #[serde(flatten)]
    pub pin: Pin,
}

/// The same as it is read: where one struct is flattened into another, unknown keys would go unnoticed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    asked: String,
    #[serde(default)]
    instead_of: Vec<String>,
    version: Option<String>,
    architecture: Option<String>,
    sha256: Option<Digest>,
    commit: Option<String>,
}

impl From<Written> for LockEntry {
    fn from(written: Written) -> Self {
        let Written { name, asked, instead_of, version, architecture, sha256, commit } = written;
        LockEntry { name, asked, instead_of, pin: Pin { version, architecture, sha256, commit } }
    }
}

/// The lock file.
#[derive(Debug, Clone)]
pub struct Lock {
    path: PathBuf,
    entries: Vec<LockEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    source: Vec<LockEntry>,
}

impl Lock {
    /// Reads a lock; one that is not there is empty.
    pub fn load(path: &Path) -> Result<Self> {
        let entries = match fsx::read_optional(path)? {
            None => Vec::new(),
            Some(text) => parse(&text).map_err(|error| {
                error
                    .context(format!("cannot read the lock `{}`", path.display()))
                    .hint("restore it from version control, or remove it and run `bimg update --board NAME`")
            })?,
        };
        Ok(Lock { path: path.to_owned(), entries })
    }

    /// The entry for this name and request.
    pub fn get(&self, name: &str, asked: &str) -> Option<&LockEntry> {
        self.entries.iter().find(|entry| entry.name == name && entry.asked == asked)
    }

    /// All entries, sorted.
    pub fn entries(&self) -> &[LockEntry] {
        &self.entries
    }

    /// The entry for a request's alternatives, and which of them it is: the first that is pinned, unless a later
    /// one was pinned in its place.
    pub fn find(&self, name: &str, alternatives: &[String]) -> Option<(usize, &LockEntry)> {
        let pinned = || {
            let entry = |(at, asked): (usize, &String)| self.get(name, asked).map(|entry| (at, entry));
            alternatives.iter().enumerate().filter_map(entry)
        };
        pinned().find(|(at, entry)| {
            !pinned().any(|(later, other)| later > *at && other.instead_of.contains(&entry.asked))
        })
    }

    /// Pins an entry, one of these alternatives, and writes the file at once: a run that is killed later still
    /// has told what it started with. What the other alternatives are pinned to may be another board's.
    pub fn put(&mut self, entry: &LockEntry, alternatives: &[String]) -> Result<()> {
        self.entries = Lock::load(&self.path)?.entries;
        if with(self.entries.clone(), entry, alternatives) == self.entries {
            return Ok(());
        }
        self.check_writable()?;
        // Another board may pin its own sources at this moment: from here on it waits.
        let mut file = fsx::AtomicFile::create(&self.path)?;
        self.entries = with(Lock::load(&self.path)?.entries, entry, alternatives);
        let text = render(&self.entries)?;
        file.file().write_all(text.as_bytes()).map_err(|cause| fsx::io_error("write", &self.path, &cause))?;
        file.commit()
    }

    /// Fails when nothing can be pinned: asked before something is fetched, and not only after.
    pub(super) fn check_writable(&self) -> Result<()> {
        let path =
            std::path::absolute(&self.path).map_err(|cause| fsx::io_error("find", &self.path, &cause))?;
        fsx::check_writable(path.parent().unwrap_or(Path::new("/"))).map_err(|error| {
            error
                .context(format!("cannot pin sources in `{}`", path.display()))
                .hint("this file says what an image was made from, and belongs where bimg is run: run it in a folder of your own")
        })
    }

    /// Why `--locked` cannot go on with this request.
    pub(super) fn refusal(&self, request: &Request<'_>) -> Error {
        let asked = request.asked();
        let first = asked.first().map_or("nothing", String::as_str);
        let pinned: Vec<&LockEntry> = self.entries.iter().filter(|old| old.name == request.name).collect();
        let error = Error::new(format!(
            "`--locked`: source `{}` is not what `{}` pins",
            request.name,
            self.path.display()
        ))
        .caused_by(format!("the profile asks for `{first}`"));
        // The likeliest predecessor is the one that reads most like it.
        let before = nearest(first, pinned.iter().map(|old| old.asked.as_str()))
            .or(pinned.first().map(|old| old.asked.as_str()));
        match before.and_then(|before| self.get(request.name, before)) {
            Some(old) => error.caused_by(format!("the lock has `{}`, {}", old.asked, old.pin)),
            None => error.caused_by("the lock has nothing under this name"),
        }
        .hint("run once without `--locked` to pin it, and keep the changed lock")
    }
}

/// All entries once `entry`, one of these alternatives, is among them.
fn with(mut entries: Vec<LockEntry>, entry: &LockEntry, alternatives: &[String]) -> Vec<LockEntry> {
    let mut entry = entry.clone();
    if let Some(at) = entries.iter().position(|old| (&old.name, &old.asked) == (&entry.name, &entry.asked)) {
        // Another board may have come to it from elsewhere.
        entry.instead_of.append(&mut entries.remove(at).instead_of);
    }
    let later = alternatives.iter().skip_while(|asked| **asked != entry.asked).skip(1);
    for later in later {
        // It works, so nothing stands in its place.
        let others = entries.iter_mut().filter(|old| old.name == entry.name && old.asked == *later);
        others.for_each(|old| old.instead_of.retain(|asked| *asked != entry.asked));
    }
    entry.instead_of.sort();
    entry.instead_of.dedup();
    entries.push(entry);
    entries.sort_by(|a, b| (&a.name, &a.asked).cmp(&(&b.name, &b.asked)));
    entries
}

fn parse(text: &str) -> Result<Vec<LockEntry>> {
    let file: File = toml::from_str(text).map_err(|cause| Error::new(cause.to_string().trim_end()))?;
    if file.version != 1 {
        return Err(Error::new(format!("it is of version {}, this bimg knows version 1", file.version)));
    }
    Ok(file.source)
}

fn render(entries: &[LockEntry]) -> Result<String> {
    let file = File { version: 1, source: entries.to_vec() };
    let text =
        toml::to_string(&file).map_err(|cause| Error::new("cannot write the lock").caused_by(cause))?;
    Ok(format!("{HEADER}{text}"))
}
