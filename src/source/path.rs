//! A developer's own tree, used in place: builds go elsewhere with `O=`, nothing is copied or written.

use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{Cx, Kind, PathSource, Pin, Ready, git};
use crate::error::{Error, Result};
use crate::fsx;

impl Kind for PathSource {
    fn title(&self) -> String {
        format!("directory `{}`", self.path)
    }

    fn resolve(&self, _: &Cx<'_>) -> Result<Pin> {
        Ok(Pin::default())
    }

    fn find(&self, _: &Pin, cx: &Cx<'_>) -> Result<Option<Ready>> {
        let dir = cx.base.join(&self.path);
        let dir = dir.canonicalize().map_err(|cause| {
            fsx::io_error("use", &dir, &cause)
                .hint("the path starts where bimg was started, or at a profile that is given by path")
        })?;
        if !dir.is_dir() {
            return Err(Error::new(format!("`{}` is not a directory", dir.display())));
        }
        let identity = format!("path:{}", dir.display());
        Ok(Some(Ready { epoch: epoch(&dir)?, dir, identity }))
    }

    fn fetch(&self, _: &Pin, _: &Cx<'_>) -> Result<Ready> {
        // `find` has an answer or an error for every path.
        Err(Error::new(format!("`{}` cannot be fetched", self.path)))
    }
}

/// The date of a tree that we did not unpack: of its commit, else of its top Makefile, else its own.
fn epoch(dir: &Path) -> Result<i64> {
    if dir.join(".git").exists()
        && let Some(epoch) = git::head_epoch(dir)
    {
        return Ok(epoch);
    }
    let makefile = dir.join("Makefile");
    mtime(if makefile.exists() { &makefile } else { dir })
}

/// A file's modification time, seconds since 1970.
pub(super) fn mtime(path: &Path) -> Result<i64> {
    let time = path
        .metadata()
        .and_then(|meta| meta.modified())
        .map_err(|cause| fsx::io_error("read", path, &cause))?;
    Ok(time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64))
}
