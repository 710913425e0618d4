//! Where inputs come from: apt packages, tarballs, git, a developer's own tree.
//!
//! ```text
//! [Source, Source, ..]   alternatives of one input, as a profile lists them
//!   -> pin               what was asked for becomes one exact version, commit or digest (`bimg.lock`)
//!   -> store             the pinned bytes, unpacked once under $XDG_CACHE_HOME/bimg, shared by all builds
//!   -> Fetched           a readable directory, its identity for fingerprints, its date
//! ```
//!
//! One file per kind behind the `Kind` trait. A pin in the lock decides alone: another alternative or
//! another version is only looked for when there is no pin, or on `bimg update`.

pub mod apt;
mod deb;
mod files;
mod git;
mod http;
mod inner;
mod lock;
mod path;
mod spec;
mod store;
mod tarball;
mod unpack;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, Exit, Result};
use crate::progress::Progress;

pub use files::{files, resolve};
pub use http::{Patience, Stream as HttpStream, fetch as http_fetch};
pub use inner::{find_kernel_tree, kernel_tree, unpack_inner};
pub use lock::{Lock, LockEntry, Pin};
pub(crate) use spec::shown_url;
pub use spec::{AptSource, GitSource, PathSource, Source, TarballSource};
pub use store::Store;

/// How far a fetch may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Pinned when the lock has it, else resolved and pinned.
    Normal,
    /// `--locked`: a source that the lock does not pin is an error.
    Locked,
    /// `--offline`: only what the store holds.
    Offline,
    /// Both: only what the lock pins and the store holds.
    LockedOffline,
    /// `bimg update`: resolved anew whatever the lock says.
    Update,
}

impl Mode {
    /// True when the lock must not change.
    pub fn is_locked(self) -> bool {
        matches!(self, Mode::Locked | Mode::LockedOffline)
    }

    /// True when the network must not be used.
    pub fn is_offline(self) -> bool {
        matches!(self, Mode::Offline | Mode::LockedOffline)
    }
}

/// One input to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its name in `bimg.lock` and in messages: `kernel`, `firmware`.
    pub name: &'a str,
    /// Tried in order; the first that works is pinned.
    pub alternatives: &'a [Source],
    /// Where relative paths start: the directory of the profile.
    pub base: &'a Path,
}

/// A fetched input.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The unpacked tree, shared and never to be written to; or the user's own directory.
    pub dir: PathBuf,
    /// Equal for equal content: for fingerprints. A path source has only its place here.
    pub identity: String,
    /// The newest sensible date of the source, seconds since 1970: for `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
    /// What the lock says about it.
    pub locked: LockEntry,
    /// The user's own tree, which may change at any time.
    pub editable: bool,
}

/// What a kind needs to do its work.
struct Cx<'a> {
    store: &'a Store,
    mode: Mode,
    base: &'a Path,
    progress: &'a dyn Progress,
}

/// A source in place, ready to read.
struct Ready {
    dir: PathBuf,
    identity: String,
    epoch: i64,
}

/// One kind of source.
trait Kind {
    /// For messages: ``apt package `x` of `bookworm` ``.
    fn title(&self) -> String;
    /// Turns what was asked for into one exact pin; may use the network unless offline.
    fn resolve(&self, cx: &Cx<'_>) -> Result<Pin>;
    /// What the pin names, when it is at hand without any work.
    fn find(&self, pin: &Pin, cx: &Cx<'_>) -> Result<Option<Ready>>;
    /// Fetches what the pin names and puts it in the store.
    fn fetch(&self, pin: &Pin, cx: &Cx<'_>) -> Result<Ready>;
}

/// Fetches the first alternative that works, or exactly what the lock pins, and pins it.
pub fn fetch(
    request: &Request<'_>,
    store: &Store,
    lock: &mut Lock,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Fetched> {
    let cx = Cx { store, mode, base: request.base, progress };
    let about = || format!("cannot fetch source `{}`", request.name);
    let pinned = if mode == Mode::Update { None } else { pinned(request, lock) };
    if let Some((source, entry)) = pinned {
        let ready = obtain(source, &entry.pin, &cx).map_err(|error| error.context(about()))?;
        return Ok(fetched(source, ready, entry));
    }
    if mode.is_locked() {
        return Err(lock.refusal(request));
    }
    lock.check_writable()?;
    let mut failures = Vec::new();
    for (at, source) in request.alternatives.iter().enumerate() {
        match source.kind().resolve(&cx).and_then(|pin| Ok((obtain(source, &pin, &cx)?, pin))) {
            Ok((ready, pin)) => {
                let asked = request.asked();
                let instead_of = asked[..at].to_vec();
                let entry =
                    LockEntry { name: request.name.to_string(), asked: source.asked(), instead_of, pin };
                lock.put(&entry, &asked)?;
                return Ok(fetched(source, ready, entry));
            }
            Err(error) if error.exit() == Exit::Interrupted => return Err(error),
            Err(error) => failures.push((source, error)),
        }
    }
    Err(all_failed(request, failures))
}

/// What is pinned and in the store already, without fetching or pinning anything: for plans.
pub fn peek(
    request: &Request<'_>,
    store: &Store,
    lock: &Lock,
    progress: &dyn Progress,
) -> Result<Option<Fetched>> {
    let cx = Cx { store, mode: Mode::Offline, base: request.base, progress };
    let Some((source, entry)) = pinned(request, lock) else { return Ok(None) };
    let ready = source.kind().find(&entry.pin, &cx)?;
    Ok(ready.map(|ready| fetched(source, ready, entry)))
}

impl Request<'_> {
    /// The lock keys of all alternatives.
    fn asked(&self) -> Vec<String> {
        self.alternatives.iter().map(Source::asked).collect()
    }
}

fn pinned<'a>(request: &Request<'a>, lock: &Lock) -> Option<(&'a Source, LockEntry)> {
    let (at, entry) = lock.find(request.name, &request.asked())?;
    Some((request.alternatives.get(at)?, entry.clone()))
}

fn obtain(source: &Source, pin: &Pin, cx: &Cx<'_>) -> Result<Ready> {
    let kind = source.kind();
    match kind.find(pin, cx)? {
        Some(ready) => Ok(ready),
        None => kind.fetch(pin, cx),
    }
}

fn fetched(source: &Source, ready: Ready, locked: LockEntry) -> Fetched {
    let Ready { dir, identity, epoch } = ready;
    Fetched { dir, identity, epoch, locked, editable: matches!(source, Source::Path(_)) }
}

/// One failure keeps its own story; several are listed, each with why.
fn all_failed(request: &Request<'_>, mut failures: Vec<(&Source, Error)>) -> Error {
    let about = format!("cannot fetch source `{}`", request.name);
    if failures.len() == 1
        && let Some((_, error)) = failures.pop()
    {
        return error.context(about);
    }
    if failures.is_empty() {
        return Error::usage(about).caused_by("the profile lists no alternative for it");
    }
    let mut all = Error::new(about).caused_by("none of its alternatives works");
    for (source, error) in &failures {
        let why: Vec<&str> = error.chain().collect();
        all = all.caused_by(format!("{}: {}", source.kind().title(), why.join(": ")));
    }
    match failures.iter().find_map(|(_, error)| error.hint_text()) {
        Some(hint) => all.hint(hint),
        None => all,
    }
}

/// What `--offline` says when the store has nothing to offer.
fn missing_offline(what: &str) -> Error {
    Error::new(format!("{what} is not in the store"))
        .caused_by("`--offline` uses only what was fetched before")
        .hint("run once without `--offline`")
}

/// A fingerprint of content that came about in a named way.
fn identity(kind: &str, fields: &[&str]) -> Digest {
    Digest::of_fields(std::iter::once(kind).chain(fields.iter().copied()).map(str::as_bytes))
}
