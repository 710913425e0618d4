//! A host directory as a layer.
//!
//! [`Ownership::Kept`] takes what is on disk: owners, modes, times, xattrs, hard links, devices.
//! [`Ownership::Overlay`] takes what git would keep: files, the executable bit, symbolic links. Whatever
//! umask or user checked the overlay out, the layer is the same. No symbolic link is followed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::tree::{Content, Inode, Kind, Meta, Timestamp, Tree, TreePath};
use crate::{fsx, interrupt};

/// Whose files they become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// As on disk.
    Kept,
    /// Owned by root, 0755 for directories and executables, 0644 for the rest, dated with the epoch.
    Overlay(Timestamp),
}

/// Lays everything below the host directory `root` over `tree`, at the directory `at`.
pub fn lay(tree: &mut Tree, at: &TreePath, root: &Path, ownership: Ownership) -> Result<()> {
    let mut lay_all = || {
        let meta = fs::symlink_metadata(root).map_err(|cause| fsx::io_error("read", root, &cause))?;
        if !meta.is_dir() {
            return Err(Error::new(format!("`{}` is not a directory", root.display())));
        }
        let mut walk = Walk { tree, ownership, links: HashMap::new() };
        if ownership == Ownership::Kept {
            walk.lay_inode(at.clone(), root, &meta, Kind::Directory)?;
        }
        walk.directory(at, root)
    };
    lay_all().context(|| format!("cannot use the layer `{}`", root.display()))
}

struct Walk<'a> {
    tree: &'a mut Tree,
    ownership: Ownership,
    /// First name of each inode that has several.
    links: HashMap<(u64, u64), TreePath>,
}

impl Walk<'_> {
    fn directory(&mut self, at: &TreePath, host: &Path) -> Result<()> {
        interrupt::check()?;
        let unreadable = |cause: std::io::Error| readable_hint(fsx::io_error("read", host, &cause), &cause);
        let mut names = fs::read_dir(host)
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<std::io::Result<Vec<_>>>()
            })
            .map_err(unreadable)?;
        names.sort();
        for name in names {
            let host = host.join(&name);
            let name = name.to_str().ok_or_else(|| {
                Error::new(format!("`{}` has a name that is not UTF-8", host.to_string_lossy()))
            })?;
            self.entry(at.join(name)?, &host)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: TreePath, host: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(host).map_err(|cause| fsx::io_error("read", host, &cause))?;
        if meta.is_dir() {
            self.lay_inode(path.clone(), host, &meta, Kind::Directory)?;
            return self.directory(&path, host);
        }
        if self.ownership == Ownership::Kept && meta.nlink() > 1 {
            if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
                return self.tree.link(path, first);
            }
            self.links.insert((meta.dev(), meta.ino()), path.clone());
        }
        let kind = self.kind(host, &meta)?;
        self.lay_inode(path, host, &meta, kind)
    }

    fn kind(&self, host: &Path, meta: &Metadata) -> Result<Kind> {
        let kind = meta.file_type();
        if kind.is_file() {
            // Opened now, so that a file we may not read shows before anything is written.
            File::open(host).map_err(|cause| readable_hint(fsx::io_error("read", host, &cause), &cause))?;
            return Ok(Kind::File(Content::Range {
                file: Arc::new(host.to_owned()),
                offset: 0,
                len: meta.len(),
            }));
        }
        if kind.is_symlink() {
            let target = fs::read_link(host).map_err(|cause| fsx::io_error("read", host, &cause))?;
            let target = target.to_str().ok_or_else(|| {
                Error::new(format!("`{}` points to a name that is not UTF-8", host.display()))
            })?;
            return Ok(Kind::Symlink(target.to_string()));
        }
        if self.ownership != Ownership::Kept {
            return Err(Error::new(format!(
                "`{}` is neither a file, a directory nor a symbolic link",
                host.display()
            ))
            .hint("an overlay holds what git can hold; take devices from a `tar` layer"));
        }
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        Ok(if kind.is_char_device() {
            Kind::CharDevice { major, minor }
        } else if kind.is_block_device() {
            Kind::BlockDevice { major, minor }
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            Kind::Socket
        })
    }

    fn lay_inode(&mut self, path: TreePath, host: &Path, meta: &Metadata, kind: Kind) -> Result<()> {
        let meta = match self.ownership {
            Ownership::Kept => Meta {
                mode: meta.mode() & 0o7777,
                uid: meta.uid(),
                gid: meta.gid(),
                mtime: Timestamp { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 },
                xattrs: xattrs(host)?,
            },
            Ownership::Overlay(epoch) => {
                let mode = match kind {
                    Kind::Symlink(_) => 0o777,
                    Kind::Directory => 0o755,
                    _ if meta.mode() & 0o100 != 0 => 0o755,
                    _ => 0o644,
                };
                if kind == Kind::Directory
                    && matches!(self.tree.get(&path), Some(Inode { kind: Kind::Directory, .. }))
                {
                    // git knows nothing of directories: one that is there keeps its mode (/root stays 0700).
                    return Ok(());
                }
                Meta::root(mode, epoch)
            }
        };
        self.tree.lay(path, Inode { meta, kind }).map(drop)
    }
}

fn readable_hint(error: Error, cause: &std::io::Error) -> Error {
    if cause.kind() == std::io::ErrorKind::PermissionDenied {
        error.hint("make it readable for you, or have root pack the directory into a tar and use that")
    } else {
        error
    }
}

/// Extended attributes of the entry itself; none where the filesystem has none.
fn xattrs(host: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    use rustix::io::Errno;
    let failed = |cause: Errno| fsx::io_error("read the extended attributes of", host, &cause.into());
    // Nearly no file has any: the large buffer is for those that do.
    match rustix::fs::llistxattr(host, &mut [0_u8; 64][..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Ok(_) | Err(Errno::RANGE) => {}
        Err(cause) => return Err(failed(cause)),
    }
    let mut names = vec![0_u8; 64 << 10];
    let len = rustix::fs::llistxattr(host, &mut names[..]).map_err(failed)?;
    let mut found = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        // A label of the host's security module would be wrong on the target.
        if name == "security.selinux" {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let len = rustix::fs::lgetxattr(host, name, &mut value[..]).map_err(failed)?;
        value.truncate(len);
        found.insert(name.to_string(), value);
    }
    Ok(found)
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
