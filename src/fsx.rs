//! Files, with the path in every error, and the one way to put a file in place.
//!
//! Nothing half-written ever carries a final name: [`AtomicFile`] writes `NAME.partial` beside the
//! target, syncs it and renames it.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};

use crate::error::{Error, Result};
use crate::interrupt;

/// An error about `path`: `cannot read \`path\``, caused by what the system said.
pub fn io_error(verb: &str, path: &Path, cause: &std::io::Error) -> Error {
    let mut error = Error::new(format!("cannot {verb} `{}`", path.display())).caused_by(describe(cause));
    if cause.kind() == std::io::ErrorKind::StorageFull {
        error = error.hint(
            "free some room on that disk, or use another one; for a build: `--build-dir`, `--out`, `XDG_CACHE_HOME`",
        );
    }
    error
}

/// The system's words without Rust's `(os error N)`.
pub fn describe(cause: &std::io::Error) -> String {
    let text = cause.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// A path as the user would type it: from the working directory when it is below that.
pub fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|cause| io_error("read", path, &cause))
}

/// The largest file that a person writes by hand: a profile, a fragment, a key.
const SMALL: u64 = 4 << 20;

/// Reads a whole file that a person named and wrote: a pipe or a device would hang, a huge one is a mistake.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    if regular(path)? > SMALL {
        let why = "it is larger than 4 MiB, and nobody wrote that by hand";
        return Err(Error::usage(format!("cannot read `{}`", path.display())).caused_by(why));
    }
    read(path)
}

/// Size of a file. A pipe would hang whoever opens it, and a device need not end.
pub fn regular(path: &Path) -> Result<u64> {
    let meta = path.metadata().map_err(|cause| io_error("read", path, &cause))?;
    // Of a directory the system itself says what is wrong.
    if meta.is_file() || meta.is_dir() {
        return Ok(meta.len());
    }
    Err(Error::usage(format!("cannot read `{}`", path.display())).caused_by("it is not a regular file"))
}

/// Reads a whole UTF-8 file.
pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|cause| io_error("read", path, &cause))
}

/// Reads a whole UTF-8 file, `None` when there is none.
pub fn read_optional(path: &Path) -> Result<Option<String>> {
    if path.exists() {
        regular(path)?;
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("read", path, &cause)),
    }
}

/// Opens for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|cause| io_error("open", path, &cause))
}

/// Names in a directory, sorted. A name that is not UTF-8 is an error.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = |cause: std::io::Error| io_error("read", dir, &cause);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.push(name.into_string().map_err(|name| {
            Error::new(format!("`{}` holds the name `{}`, which is not UTF-8", dir.display(), name.display()))
        })?);
    }
    names.sort();
    Ok(names)
}

/// Fails when nothing can be written to a directory or, where it is not there yet, when it cannot be made.
pub fn check_writable(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir).map_err(|cause| io_error("find", dir, &cause))?;
    let nearest = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let may = if nearest.is_dir() {
        rustix::fs::accessat(CWD, nearest, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    } else {
        Err(rustix::io::Errno::NOTDIR)
    };
    may.map_err(|cause| io_error("write to", nearest, &cause.into()))
}

/// Makes a directory and its parents.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|cause| io_error("create", path, &cause))
}

/// Removes a directory tree; fine when there is none.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, &cause)),
        _ => Ok(()),
    }
}

/// Removes a file; fine when there is none.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, &cause)),
        _ => Ok(()),
    }
}

/// Renames within one filesystem and syncs the directory.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|cause| io_error("rename to", to, &cause))?;
    sync_parent(to)
}

/// Puts `bytes` under `path`, atomically.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.file().write_all(bytes).map_err(|cause| io_error("write", path, &cause))?;
    file.commit()
}

/// The side name under which a file is written before it is whole.
pub fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// A file being written beside its target. Dropped uncommitted, it removes what it wrote.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    done: bool,
}

impl AtomicFile {
    /// Opens `NAME.partial`, making the directory when needed and truncating what an earlier run left.
    /// While another process writes the same file, waits for it.
    pub fn create(target: &Path) -> Result<Self> {
        replaceable(target)?;
        if let Some(parent) = target.parent() {
            create_dir_all(parent)?;
        }
        let partial = partial_name(target);
        let failed = |cause: std::io::Error| io_error("create", &partial, &cause);
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&partial)
                .map_err(failed)?;
            // A filesystem that knows no locks gets along without them.
            while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                interrupt::check()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            // Whoever held it has given it its final name by now, or removed it: then it is not ours.
            let is_ours = partial.metadata().is_ok_and(|named| {
                file.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (named.dev(), named.ino()))
            });
            if is_ours {
                file.set_len(0).map_err(failed)?;
                return Ok(AtomicFile { file, partial, target: target.to_owned(), done: false });
            }
        }
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where the bytes are for now.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Syncs and renames to the final name.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(|cause| io_error("sync", &self.partial, &cause))?;
        rename(&self.partial, &self.target)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.done {
            // Best effort: a leftover partial is harmless, the next run truncates it.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// A rename would put a file in the place of a device (`/dev/null`, as root) or a pipe.
fn replaceable(target: &Path) -> Result<()> {
    let why = match target.metadata() {
        Ok(meta) if meta.is_dir() => "it is a directory",
        Ok(meta) if !meta.is_file() => "it is a device, a pipe or a socket, and not a file",
        _ => return Ok(()),
    };
    Err(Error::usage(format!("cannot write `{}`", target.display())).caused_by(why))
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|cause| io_error("sync", parent, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| write_atomic(path, b"x").unwrap_err().to_string();
        assert_eq!(
            refused(dir.path()),
            format!("cannot write `{}`\n  caused by: it is a directory", dir.path().display())
        );
        // Also where a link leads to it; as root the rename would succeed.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            assert_eq!(
                refused(path),
                format!(
                    "cannot write `{}`\n  caused by: it is a device, a pipe or a socket, and not a file",
                    path.display()
                )
            );
        }
        assert!(link.is_symlink() && !Path::new("/dev/null").metadata().unwrap().is_file());
    }

    #[test]
    fn writers_of_one_file_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let text = |n: usize| format!("{n} ").repeat(5000 + n);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write_atomic(path, text(n).as_bytes()).unwrap()));
            }
        });
        let left = fs::read_to_string(&path).unwrap();
        assert!((0..8).any(|n| left == text(n)), "{} bytes of several writers", left.len());
        assert_eq!(names(dir.path()).unwrap(), ["file"]);
    }
}
