//! What a source tree's files look like from outside: names and metadata, compact enough to keep and
//! quick enough to compare before every build.
//!
//! Reading the content of 92,000 files would take longer than the answer is worth; inode, size,
//! modification and change time tell every real change. Directories' own times, access times, version
//! control and editors' hidden files do not count.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::{fsx, interrupt};

/// First line of a kept listing; changes with the format.
const MAGIC: &[u8] = b"bimg listing 1\n";

/// All files of a tree with a fingerprint of their metadata, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    dirs: Vec<Directory>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Directory {
    /// Relative to the root, `""` for the root itself.
    path: Vec<u8>,
    /// Name and fingerprint, sorted by name.
    files: Vec<(Vec<u8>, u64)>,
}

impl Listing {
    /// Walks a tree on all cores.
    pub fn of(root: &Path) -> Result<Self> {
        let fd = open_dir(CWD, root).map_err(|errno| fsx::io_error("read", root, &errno.into()))?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let queue = Queue::new();
        let walk = || -> Result<Vec<Directory>> {
            let mut found = Vec::new();
            while let Some(path) = queue.next() {
                let read = read_dir(&fd, &path, &queue)
                    .map_err(|errno| fsx::io_error("read", &root.join(&path), &errno.into()));
                // Counted as done even when it failed: the other threads wait for that.
                queue.done();
                found.push(read?);
                interrupt::check()?;
            }
            Ok(found)
        };
        let results: Vec<Result<Vec<Directory>>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(walk)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(Error::new("a thread panicked"))))
                .collect()
        });
        let mut dirs = Vec::new();
        for result in results {
            dirs.extend(result?);
        }
        dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Listing { dirs })
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.dirs.iter().map(|dir| dir.files.len()).sum()
    }

    /// True for a tree without files.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of the files that `wanted` takes, by their directory (`""` for the root) and name.
    pub fn digest(&self, wanted: impl Fn(&[u8], &[u8]) -> bool) -> Digest {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        for dir in &self.dirs {
            for (name, print) in dir.files.iter().filter(|(name, _)| wanted(&dir.path, name)) {
                fields.extend([dir.path.clone(), name.clone(), print.to_le_bytes().to_vec()]);
            }
        }
        Digest::of_fields(fields.iter().map(Vec::as_slice))
    }

    /// The form to keep: per directory its path and its files, lengths before texts, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for dir in &self.dirs {
            bytes.extend((dir.path.len() as u32).to_le_bytes());
            bytes.extend(&dir.path);
            bytes.extend((dir.files.len() as u32).to_le_bytes());
            for (name, print) in &dir.files {
                // A name has 255 bytes at most (NAME_MAX).
                bytes.push(name.len() as u8);
                bytes.extend(name);
                bytes.extend(print.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads the kept form; `None` when it is damaged or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut dirs = Vec::new();
        while !rest.is_empty() {
            let len = take_u32(&mut rest)? as usize;
            let path = take(&mut rest, len)?.to_vec();
            let count = take_u32(&mut rest)?;
            let mut files = Vec::new();
            for _ in 0..count {
                let len = usize::from(*take(&mut rest, 1)?.first()?);
                let name = take(&mut rest, len)?.to_vec();
                let print = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
                files.push((name, print));
            }
            dirs.push(Directory { path, files });
        }
        Some(Listing { dirs })
    }

    /// What differs in `self`, the newer one: `drivers/x.c changed`, `a.h is new`, `b.c is gone`; sorted.
    pub fn changes_since(&self, old: &Listing) -> Vec<String> {
        let mut changes = Vec::new();
        merge(
            &old.dirs,
            &self.dirs,
            |dir| dir.path.as_slice(),
            |old, new| {
                let files = |dir: Option<&Directory>| dir.map(|dir| dir.files.clone()).unwrap_or_default();
                let Some(dir) = new.or(old) else { return };
                let (before, after) = (files(old), files(new));
                merge(
                    &before,
                    &after,
                    |file| file.0.as_slice(),
                    |before, after| {
                        let how = match (before, after) {
                            (Some(before), Some(after)) if before.1 == after.1 => return,
                            (Some(_), Some(_)) => "changed",
                            (None, _) => "is new",
                            (_, None) => "is gone",
                        };
                        let name = before.or(after).map(|file| file.0.as_slice()).unwrap_or_default();
                        let path = [dir.path.as_slice(), name].join(&b'/');
                        let path = String::from_utf8_lossy(&path);
                        changes.push(format!("{} {how}", path.trim_start_matches('/')));
                    },
                );
            },
        );
        changes
    }
}

/// Walks two sorted lists side by side.
fn merge<'a, T>(
    old: &'a [T],
    new: &'a [T],
    key: impl Fn(&T) -> &[u8],
    mut each: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let order = match (old.get(i), new.get(j)) {
            (Some(old), Some(new)) => key(old).cmp(key(new)),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        each(old.get(i).filter(|_| order.is_le()), new.get(j).filter(|_| order.is_ge()));
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Directories still to read, shared by the walking threads.
struct Queue {
    state: Mutex<(Vec<PathBuf>, usize)>,
    wake: Condvar,
}

impl Queue {
    fn new() -> Self {
        Queue { state: Mutex::new((vec![PathBuf::new()], 1)), wake: Condvar::new() }
    }

    /// The next directory; waits while others may still add some; `None` when all are done.
    fn next(&self) -> Option<PathBuf> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(path) = state.0.pop() {
                return Some(path);
            }
            if state.1 == 0 {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn add(&self, paths: Vec<PathBuf>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.1 += paths.len();
        state.0.extend(paths);
        drop(state);
        self.wake.notify_all();
    }

    fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.1 -= 1;
        if state.1 == 0 {
            drop(state);
            self.wake.notify_all();
        }
    }
}

fn open_dir<Fd: std::os::fd::AsFd>(at: Fd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn read_dir(root: &OwnedFd, path: &Path, queue: &Queue) -> rustix::io::Result<Directory> {
    use std::os::unix::ffi::OsStrExt;
    let fd = open_dir(root, if path.as_os_str().is_empty() { Path::new(".") } else { path })?;
    let mut files = Vec::new();
    let mut below = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !counts(name) {
            continue;
        }
        let mut kind = entry.file_type();
        let mut print = 0;
        if kind != FileType::Directory {
            let stat = statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            // Some filesystems do not tell the kind of an entry.
            kind = FileType::from_raw_mode(stat.st_mode);
            print = fingerprint(&stat);
        }
        if kind == FileType::Directory {
            below.push(path.join(std::ffi::OsStr::from_bytes(name)));
        } else {
            files.push((name.to_vec(), print));
        }
    }
    queue.add(below);
    files.sort_unstable();
    Ok(Directory { path: path.as_os_str().as_bytes().to_vec(), files })
}

/// Hidden names are version control, editors and tools; kbuild reads `.scmversion` alone of them.
fn counts(name: &[u8]) -> bool {
    (!name.starts_with(b".") || name == b".scmversion") && !name.ends_with(b"~")
}

/// What a file looks like from outside.
pub(super) fn fingerprint(stat: &rustix::fs::Stat) -> u64 {
    let fields = [
        u64::from(stat.st_mode),
        stat.st_ino,
        stat.st_size as u64,
        stat.st_mtime as u64,
        stat.st_mtime_nsec,
        stat.st_ctime as u64,
        stat.st_ctime_nsec,
    ];
    // FNV-1a by words, with a final mix: no adversary here, only accidents.
    let hash = fields.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, field| {
        (hash ^ field).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fsx::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn changes_are_named_and_the_kept_form_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["Makefile", "a/b/c.c", "a/b/d.c", "a.c", "z/old.c"] {
            write(&root.join(name), "x");
        }
        let before = Listing::of(root).unwrap();
        assert_eq!(before.len(), 5);
        assert_eq!(Listing::from_bytes(&before.to_bytes()).unwrap(), before);
        assert_eq!(Listing::of(root).unwrap(), before);

        write(&root.join("a/b/d.c"), "longer");
        write(&root.join("a/b/e.c"), "new");
        write(&root.join(".git/index"), "not looked at");
        write(&root.join("a/.c.c.swp"), "not looked at");
        std::fs::remove_dir_all(root.join("z")).unwrap();
        let after = Listing::of(root).unwrap();
        assert_eq!(after.changes_since(&before), ["a/b/d.c changed", "a/b/e.c is new", "z/old.c is gone"]);
    }

    #[test]
    fn a_damaged_listing_is_none() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a"), "x");
        let bytes = Listing::of(dir.path()).unwrap().to_bytes();
        assert_eq!(Listing::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Listing::from_bytes(b"bimg listing 0\n"), None);
    }

    #[test]
    fn an_unreadable_tree_is_an_error() {
        let error = Listing::of(Path::new("/no/such/tree")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/no/such/tree`\n  caused by: No such file or directory");
    }

    /// How long a whole kernel tree takes, where one is at hand (`BIMG_TEST_KERNEL`).
    #[test]
    fn a_kernel_tree_is_walked_in_a_moment() {
        let Some(source) = std::env::var_os("BIMG_TEST_KERNEL") else { return };
        let start = std::time::Instant::now();
        let listing = Listing::of(Path::new(&source)).unwrap();
        let walked = start.elapsed();
        let bytes = listing.to_bytes();
        assert_eq!(Listing::from_bytes(&bytes).unwrap().changes_since(&listing), [""; 0]);
        eprintln!(
            "{} files in {walked:?}, {} bytes kept, {:?} in all",
            listing.len(),
            bytes.len(),
            start.elapsed()
        );
    }
}
