//! Copies files out of an image, without ever leaving the directory they go to.
//!
//! 1. everything goes to a fresh directory beside the target, which gets its final name when it is whole;
//! 2. directories and files first, each of them new, symbolic links last: nothing is written through a link;
//! 3. modes at the end, so that a read-only directory can be filled.
//!
//! Owners are not kept, that takes root. Neither are setuid and setgid: a program of the image must not get
//! the rights of whoever extracts it. Devices, pipes and sockets are left out.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::volume::{self, Entry, Kind, Volume};
use crate::error::{Error, Result};
use crate::{fsx, interrupt};

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// What was copied.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that were left out, with what they are.
    pub left_out: Vec<String>,
}

/// What is done once all files are there.
#[derive(Default)]
struct Later {
    links: Vec<(PathBuf, String)>,
    modes: Vec<(PathBuf, u32)>,
}

/// Copies a file, or a directory with all below it, to `target`, which must not exist yet.
pub fn extract(volume: &dyn Volume, path: &str, target: &Path) -> Result<Extracted> {
    let Some((path, entry)) = volume::resolve(volume, path)? else { return Err(volume::not_there(path)) };
    if target.symlink_metadata().is_ok() {
        return Err(Error::usage(format!("`{}` is there already", target.display()))
            .hint("name a place that does not exist yet: nothing is overwritten"));
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |cause: std::io::Error| fsx::io_error("write in", parent, &cause);
    let work = tempfile::Builder::new().prefix(".bimg-extract-").tempdir_in(parent).map_err(failed)?;
    let root = work.path().join("out");
    let mut done = Extracted::default();
    let mut later = Later::default();
    put(volume, &path, &entry, &root, &mut done, &mut later)?;
    if entry.kind == Kind::Directory {
        volume::walk(volume, &path, &mut |at, entry| {
            let below = at.strip_prefix(&path).unwrap_or(at).trim_start_matches('/');
            put(volume, at, entry, &root.join(os(below)), &mut done, &mut later)
        })?;
    }
    later.finish()?;
    renameat_with(CWD, &root, CWD, target, RenameFlags::NOREPLACE)
        .map_err(|cause| fsx::io_error("rename to", target, &cause.into()))?;
    Ok(done)
}

/// Makes one entry; the directory above it is there already, and is one of ours.
fn put(
    volume: &dyn Volume,
    path: &str,
    entry: &Entry,
    to: &Path,
    done: &mut Extracted,
    later: &mut Later,
) -> Result<()> {
    let failed = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => {
            volume::cannot_read(path).caused_by("its directory holds that name twice")
        }
        _ => fsx::io_error("write", to, &cause),
    };
    match entry.kind {
        Kind::Directory => {
            fs::create_dir(to).map_err(failed)?;
            later.modes.push((to.to_owned(), entry.mode));
        }
        Kind::File => {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
            let bytes = copy(volume, path, &mut file, to)?;
            later.modes.push((to.to_owned(), entry.mode));
            done.files += 1;
            done.bytes += bytes;
        }
        Kind::Symlink => later.links.push((to.to_owned(), volume.target(path)?)),
        other => done.left_out.push(format!("`/{}` is {}", path.escape_debug(), other.article())),
    }
    Ok(())
}

/// As the host has it: Linux does not care for UTF-8.
fn os(name: &str) -> OsString {
    OsString::from_vec(volume::raw(name))
}

/// Copies a file's bytes; runs of zeros become holes.
fn copy(volume: &dyn Volume, path: &str, file: &mut fs::File, to: &Path) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    let failed = |cause: std::io::Error| fsx::io_error("write", to, &cause);
    let mut from = volume.open(path)?;
    let mut piece = vec![0; PIECE];
    let mut len = 0;
    loop {
        interrupt::check()?;
        let unread = |cause: std::io::Error| volume::failed(path, &cause);
        let hole = from.zeros().map_err(unread)?;
        if hole > 0 {
            from.skip(hole);
            len += hole;
            file.seek(SeekFrom::Start(len)).map_err(failed)?;
            continue;
        }
        let n = fill(&mut from, &mut piece).map_err(unread)?;
        if piece[..n].iter().all(|byte| *byte == 0) {
            file.seek_relative(n as i64).map_err(failed)?;
        } else {
            file.write_all(&piece[..n]).map_err(failed)?;
        }
        len += n as u64;
        if n < piece.len() {
            file.set_len(len).map_err(failed)?;
            return Ok(len);
        }
    }
}

/// Reads until the buffer is full or the source has ended.
pub fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(done)
}

impl Later {
    fn finish(self) -> Result<()> {
        for (link, target) in &self.links {
            symlink(os(target), link).map_err(|cause| fsx::io_error("write", link, &cause))?;
        }
        for (path, mode) in self.modes.iter().rev() {
            fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
                .map_err(|cause| fsx::io_error("set the mode of", path, &cause))?;
        }
        Ok(())
    }
}
