//! `bimg import`: a layout or a board of others, as a profile.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fsx;
use crate::import::{Imported, buildroot, genimage};

/// Where an imported profile goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file; nothing is written without one.
    pub into: Option<PathBuf>,
    /// Replace a file that is there.
    pub force: bool,
}

impl Target {
    /// Before any work: a file that somebody wrote stays.
    fn check(&self) -> Result<()> {
        match &self.into {
            Some(path) if !self.force && path.symlink_metadata().is_ok() => Err(taken(path)),
            _ => Ok(()),
        }
    }

    /// The profile last: what it names is there then.
    fn write(&self, imported: Imported) -> Result<Imported> {
        let Some(path) = &self.into else { return Ok(imported) };
        let dir = path.parent().unwrap_or(Path::new(""));
        // All of them before the first is written: a second try must not meet what the first one left.
        let there = |name: &String| dir.join(name).symlink_metadata().is_ok();
        if let Some((name, _)) = imported.files.iter().find(|(name, _)| !self.force && there(name)) {
            return Err(taken(&dir.join(name)));
        }
        for (name, bytes) in &imported.files {
            fsx::write_atomic(&dir.join(name), bytes)?;
        }
        fsx::write_atomic(path, imported.profile.as_bytes())?;
        Ok(imported)
    }
}

fn taken(path: &Path) -> Error {
    Error::usage(format!("`{}` is there already", path.display()))
        .hint("choose another name, or replace it with `--force`")
}

/// The layout of a disk that a genimage configuration describes; `image` names it where there are several.
pub fn import_genimage(config: &Path, image: Option<&str>, target: &Target) -> Result<Imported> {
    target.check()?;
    let imported = genimage::import(config, image)
        .map_err(|error| error.context(format!("cannot import `{}`", config.display())))?;
    target.write(imported)
}

/// A board of Buildroot's, from its defconfig.
pub fn import_buildroot(defconfig: &Path, target: &Target) -> Result<Imported> {
    target.check()?;
    let stem = target.into.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str());
    let imported = buildroot::import(defconfig, stem)
        .map_err(|error| error.context(format!("cannot import `{}`", defconfig.display())))?;
    target.write(imported)
}
