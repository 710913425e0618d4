//! The store: what was fetched, unpacked once, under `$XDG_CACHE_HOME/bimg`.
//!
//! ```text
//! downloads/SHA256            a package or archive, checked; SHA256.partial while it comes in
//! trees/ID/tree/              an unpacked tree, never written to again: its files are read-only
//! trees/ID/stamp.json         its date and the state of its directories, to notice damage
//! trees/ID.partial/           one being unpacked; discarded by the next run
//! git/ID.git                  a bare repository that commits are fetched into
//! apt/ID/                     a private apt root
//! locks/NAME                  one per entry: the second of two processes waits for the first
//! ```
//!
//! Everything can be removed at any time: the next run fetches it again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::http::Patience;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fsx;
use crate::progress::Progress;
use crate::workdir::Lock;

/// The store and the host facts that fetching needs.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    apt_etc: PathBuf,
    patience: Patience,
    /// What this run has refreshed already: package lists are read from the mirror once per run.
    refreshed: Mutex<BTreeSet<PathBuf>>,
}

/// An unpacked tree in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTree {
    /// The tree.
    pub dir: PathBuf,
    /// Its date, seconds since 1970.
    pub epoch: i64,
}

/// What a whole tree looked like when it was unpacked. Adding, removing or renaming a file changes the
/// time of its directory, so a stat of each directory (6,000 of a kernel's 92,000 entries) tells.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    epoch: i64,
    /// Path below the tree, seconds, nanoseconds.
    directories: Vec<(String, u64, u32)>,
}

impl Store {
    /// A store at `root`, which is made when something is put there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let root = match root.canonicalize() {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => std::path::absolute(&root),
            other => other,
        }
        .map_err(|cause| fsx::io_error("open", &root, &cause))?;
        Ok(Store {
            root,
            apt_etc: PathBuf::from("/etc/apt"),
            patience: Patience::default(),
            refreshed: Mutex::default(),
        })
    }

    /// The user's store: `$XDG_CACHE_HOME/bimg`, by default `~/.cache/bimg`.
    pub fn open_default() -> Result<Self> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        let cache = cache.ok_or_else(|| {
            Error::new("there is no place for downloads")
                .caused_by("neither `XDG_CACHE_HOME` nor `HOME` is set to an absolute path")
        })?;
        Self::open(cache.join("bimg"))
    }

    /// Takes mirrors and keyrings from another directory than `/etc/apt`.
    #[must_use]
    pub fn with_apt_etc(mut self, etc: impl Into<PathBuf>) -> Self {
        self.apt_etc = etc.into();
        self
    }

    /// Waits and retries differently.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The host's apt configuration.
    pub fn apt_etc(&self) -> &Path {
        &self.apt_etc
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Where the download with this digest is or will be.
    pub fn download(&self, sha256: &Digest) -> PathBuf {
        self.root.join("downloads").join(sha256.to_string())
    }

    /// The download with this digest when it is there and whole; one that was damaged since is removed.
    pub(super) fn find_download(
        &self,
        sha256: &Digest,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>> {
        let path = self.download(sha256);
        if !path.exists() {
            return Ok(None);
        }
        if Digest::of_file(&path)? == *sha256 {
            return Ok(Some(path));
        }
        progress.warn(&format!("{what} in the store was changed or damaged; it is fetched again"));
        fsx::remove_file(&path)?;
        Ok(None)
    }

    /// A place for a kind's own working files.
    pub(super) fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    /// True the first time that this run asks about `place`.
    pub(super) fn first_refresh(&self, place: &Path) -> bool {
        self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).insert(place.to_owned())
    }

    /// Waits for the entry `name` and holds it; says so once when another process has it.
    pub fn lock(&self, name: &str, what: &str, progress: &dyn Progress) -> Result<Lock> {
        Lock::take_for(&self.root.join("locks").join(name), &format!("fetching {what}"), progress)
    }

    /// The tree `id` when it is there, whole and unchanged.
    pub fn find_tree(&self, id: &Digest) -> Result<Option<StoredTree>> {
        let entry = self.entry(id);
        let Some(stamp) = fsx::read_optional(&entry.join("stamp.json"))? else { return Ok(None) };
        let dir = entry.join("tree");
        // A stamp that cannot be read is damage like any other.
        let Ok(stamp) = serde_json::from_str::<Stamp>(&stamp) else { return Ok(None) };
        let whole = stamp.directories.iter().all(|(path, secs, nanos)| {
            directory_time(&dir.join(path)).is_ok_and(|time| time == (*secs, *nanos))
        });
        Ok(whole.then_some(StoredTree { dir, epoch: stamp.epoch }))
    }

    /// The tree `id`, made by `fill` when it is not there. `fill` gets an empty directory and returns the
    /// date of what it put there; it runs at most once at a time on this machine.
    pub fn tree(
        &self,
        id: &Digest,
        what: &str,
        progress: &dyn Progress,
        fill: &mut dyn FnMut(&Path) -> Result<i64>,
    ) -> Result<StoredTree> {
        if let Some(tree) = self.find_tree(id)? {
            return Ok(tree);
        }
        let entry = self.entry(id);
        let _lock = self.lock(&format!("tree-{id}"), what, progress)?;
        if let Some(tree) = self.find_tree(id)? {
            return Ok(tree);
        }
        if entry.exists() {
            progress.warn(&format!("{what} in the store was changed or damaged; it is unpacked again"));
            fsx::remove_dir_all(&entry)?;
        }
        let partial = fsx::partial_name(&entry);
        fsx::remove_dir_all(&partial)?;
        let tree = partial.join("tree");
        fsx::create_dir_all(&tree)?;
        let epoch = match fill(&tree) {
            Ok(epoch) => epoch,
            Err(error) => {
                // Best effort: the next run discards what is left.
                let _ = fsx::remove_dir_all(&partial);
                return Err(error);
            }
        };
        let mut directories = Vec::new();
        settle(&tree, "", &mut directories)?;
        let stamp = serde_json::to_vec(&Stamp { epoch, directories })
            .map_err(|cause| Error::new("cannot describe an unpacked tree").caused_by(cause))?;
        fsx::write_atomic(&partial.join("stamp.json"), &stamp)?;
        fsx::rename(&partial, &entry)?;
        Ok(StoredTree { dir: entry.join("tree"), epoch })
    }

    /// Half of the digest is plenty for a name, and shows in every compiler command.
    fn entry(&self, id: &Digest) -> PathBuf {
        self.root.join("trees").join(&id.to_string()[..32])
    }
}

fn directory_time(path: &Path) -> std::io::Result<(u64, u32)> {
    let meta = path.symlink_metadata()?;
    let age = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Something else in a directory's place has no time that a stamp could hold.
    Ok(if meta.is_dir() { (age.as_secs(), age.subsec_nanos()) } else { (u64::MAX, 0) })
}

/// Notes the state of all directories and takes the right to write from all files: an edit in place, which no
/// directory tells of, would go into every later build. Directories keep it, so that a user can remove the store, and
/// an editor that puts a new file in the old one's place is noticed by the directory.
fn settle(root: &Path, path: &str, all: &mut Vec<(String, u64, u32)>) -> Result<()> {
    let dir = root.join(path);
    let failed = |cause: std::io::Error| fsx::io_error("read", &dir, &cause);
    let (secs, nanos) = directory_time(&dir).map_err(failed)?;
    all.push((path.to_string(), secs, nanos));
    for entry in dir.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            // A name that is not text cannot be in a stamp; its directory goes unwatched.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            settle(root, &below, all)?;
        } else if kind.is_file() {
            let mut permissions = entry.metadata().map_err(failed)?.permissions();
            permissions.set_readonly(true);
            let protect = std::fs::set_permissions(entry.path(), permissions);
            protect.map_err(|cause| fsx::io_error("protect", &entry.path(), &cause))?;
        }
    }
    Ok(())
}
