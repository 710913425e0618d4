//! What the staging tree holds: hashes of all files, and what modules say they were built for.
//!
//! Kept beside the tree with what each file looked like, so that a deploy of one changed module reads one module.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::listing::fingerprint;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::kernel;
use crate::{fsx, interrupt};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Below the staging tree: `lib/modules/RELEASE/...`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub sha256: Digest,
    /// Of a module that has one.
    pub vermagic: Option<String>,
    /// What it looked like when it was read.
    print: u64,
}

/// All files of a staging tree, in the order of their paths.
pub fn staged(stage: &Path) -> Result<Vec<StagedFile>> {
    let mut paths = Vec::new();
    collect(stage, "", &mut paths)?;
    paths.sort();
    let known = kept(stage);
    let mut files = on_all_cores(&paths, |path| look(stage, path, known.get(path)))?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Does something with each; in which order is left to the threads.
pub(super) fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || -> Result<()> {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            interrupt::check()?;
            let result = work(item)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..std::thread::available_parallelism().map_or(2, usize::from))
            .map(|_| scope.spawn(worker))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(Error::new("a working thread died"))))
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps what was read, for the next who asks.
pub fn keep(stage: &Path, files: &[StagedFile]) -> Result<()> {
    let text = serde_json::to_vec(files)
        .map_err(|cause| Error::new("cannot keep the hashes of the staged modules").caused_by(cause))?;
    fsx::write_atomic(&kept_path(stage), &text)
}

/// Of the names and contents of all files.
pub fn digest(files: &[StagedFile]) -> Digest {
    Digest::of_fields(files.iter().flat_map(|file| [file.path.as_bytes(), &file.sha256.0[..]]))
}

fn kept_path(stage: &Path) -> PathBuf {
    stage.with_extension("json")
}

/// What was kept; one that cannot be read is none.
fn kept(stage: &Path) -> HashMap<String, StagedFile> {
    let text = std::fs::read(kept_path(stage)).unwrap_or_default();
    let files: Vec<StagedFile> = serde_json::from_slice(&text).unwrap_or_default();
    files.into_iter().map(|file| (file.path.clone(), file)).collect()
}

fn collect(dir: &Path, prefix: &str, into: &mut Vec<String>) -> Result<()> {
    for child in fsx::names(dir)? {
        let (path, name) = (dir.join(&child), format!("{prefix}{child}"));
        if path.is_dir() { collect(&path, &format!("{name}/"), into)? } else { into.push(name) }
    }
    Ok(())
}

fn look(stage: &Path, path: &str, known: Option<&StagedFile>) -> Result<StagedFile> {
    let full = stage.join(path);
    let failed = |cause: std::io::Error| fsx::io_error("read", &full, &cause);
    fsx::regular(&full)?;
    let mut file = fsx::open(&full)?;
    // Before it is read: what changes meanwhile looks different afterwards.
    let print = fingerprint(&rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?);
    if let Some(known) = known.filter(|known| known.print == print) {
        return Ok(known.clone());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let vermagic = kernel::is_module(path).then(|| kernel::vermagic(path, &bytes)).flatten();
    let (size, sha256) = (bytes.len() as u64, Digest::of(&bytes));
    Ok(StagedFile { path: path.to_string(), size, sha256, vermagic, print })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join("stage");
        std::fs::create_dir_all(stage.join("lib")).unwrap();
        std::fs::write(stage.join("lib/a.ko"), "a").unwrap();
        std::fs::write(stage.join("lib/b.ko"), "b").unwrap();
        let mut files = staged(&stage).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["lib/a.ko", "lib/b.ko"]);
        assert_eq!(files[1].sha256, Digest::of(b"b"));
        // Told apart from what is in the files, by a hash that is not theirs.
        for file in &mut files {
            file.sha256 = Digest::of(b"kept");
        }
        keep(&stage, &files).unwrap();
        assert_eq!(staged(&stage).unwrap(), files);
        std::fs::write(stage.join("lib/b.ko"), "c").unwrap();
        let again = staged(&stage).unwrap();
        assert_eq!((again[0].sha256, again[1].sha256), (files[0].sha256, Digest::of(b"c")));
        // What was kept and cannot be read counts for nothing.
        std::fs::write(dir.path().join("stage.json"), "{").unwrap();
        assert_eq!(staged(&stage).unwrap()[0].sha256, Digest::of(b"a"));
    }
}
