//! Archives inside a fetched tree: Debian ships a kernel's source as `usr/src/linux-source-*.tar.xz`.

use std::path::Path;

use super::store::StoredTree;
use super::unpack::{self, Links};
use super::{Fetched, Store, files, identity, path, resolve};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fsx;
use crate::progress::Progress;

/// Where Debian has the source of a kernel.
const KERNEL: &str = "usr/src/linux-source-*.tar.*";

/// The one archive that matches `pattern`, and the name of its tree in the store.
fn inner(fetched: &Fetched, pattern: &str) -> Result<(String, Digest)> {
    let mut found = files(&fetched.dir, pattern)?;
    if found.len() > 1 {
        return Err(Error::new(format!("`{pattern}` matches more than one archive"))
            .caused_by(found.join(", "))
            .hint("write the name of one"));
    }
    let inner = found.pop().unwrap_or_default();
    // The outer identity is a digest of verified bytes, so the inner one need not be read for one.
    let id = identity("inner", &[&fetched.identity, &inner]);
    Ok((inner, id))
}

fn unpacked(fetched: &Fetched, id: Digest, tree: StoredTree) -> Fetched {
    let Fetched { locked, editable, .. } = fetched.clone();
    Fetched { dir: tree.dir, identity: id.to_string(), epoch: tree.epoch, locked, editable }
}

/// Unpacks the one archive that matches `pattern` into the store, its single top directory stripped.
pub fn unpack_inner(
    fetched: &Fetched,
    pattern: &str,
    store: &Store,
    progress: &dyn Progress,
) -> Result<Fetched> {
    let (inner, id) = inner(fetched, pattern)?;
    let name = Path::new(&inner).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tree = store.tree(&id, &format!("`{name}`"), progress, &mut |into| {
        let archive = resolve(&fetched.dir, &inner)?;
        let size = archive.metadata().map_err(|cause| fsx::io_error("read", &archive, &cause))?.len();
        let file = fsx::open(&archive)?;
        let unpacked = unpack::unpack(file, size, into, Links::Inside, &name, progress)
            .map_err(|error| error.context(format!("cannot unpack `{name}`")))?;
        unpack::strip_top(into, &unpacked)?;
        source_epoch(into, unpacked.newest)
    })?;
    Ok(unpacked(fetched, id, tree))
}

/// The kernel tree in a fetched source: the tree itself, or the archive that a Debian source package holds.
pub fn kernel_tree(fetched: &Fetched, store: &Store, progress: &dyn Progress) -> Result<Fetched> {
    if holds_kernel(fetched)? {
        return Ok(fetched.clone());
    }
    let kernel = unpack_inner(fetched, KERNEL, store, progress)?;
    if is_kernel(&kernel.dir) { Ok(kernel) } else { Err(not_a_kernel(fetched, &kernel.dir)) }
}

/// The same, when it is at hand without any work.
pub fn find_kernel_tree(fetched: &Fetched, store: &Store) -> Result<Option<Fetched>> {
    if holds_kernel(fetched)? {
        return Ok(Some(fetched.clone()));
    }
    let (_, id) = inner(fetched, KERNEL)?;
    Ok(store.find_tree(&id)?.map(|tree| unpacked(fetched, id, tree)))
}

/// True for a kernel tree, false for a package that may hold one in an archive.
fn holds_kernel(fetched: &Fetched) -> Result<bool> {
    if is_kernel(&fetched.dir) {
        return Ok(true);
    }
    if fetched.editable || !fetched.dir.join("usr/src").is_dir() {
        return Err(not_a_kernel(fetched, &fetched.dir));
    }
    Ok(false)
}

fn is_kernel(dir: &Path) -> bool {
    dir.join("Makefile").is_file() && dir.join("Kconfig").is_file()
}

fn not_a_kernel(fetched: &Fetched, dir: &Path) -> Error {
    Error::new(format!("source `{}` holds no kernel", fetched.locked.name))
        .caused_by(format!("`{}` has no `Makefile` and `Kconfig`", dir.display()))
}

/// The date of an unpacked source: of its top Makefile, which every release touches, else of its newest file.
pub(super) fn source_epoch(dir: &Path, newest: i64) -> Result<i64> {
    let makefile = dir.join("Makefile");
    if makefile.is_file() { path::mtime(&makefile) } else { Ok(newest) }
}
