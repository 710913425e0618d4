//! Overlays by name: a directory beside the profile, or one that belongs to bimg (`common/rootfs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::{DataDirs, DataFile};
use crate::error::{Context, Error, Result};
use crate::tree::directory::{self, Ownership};
use crate::tree::{Content, Timestamp, Tree, TreePath};

/// A found overlay.
#[derive(Debug, Clone)]
pub enum Overlay {
    /// A host directory.
    Host(PathBuf),
    /// Files of `boards/NAME`, compiled in or the user's own.
    Data {
        /// As the profile names it.
        name: String,
        /// By path.
        files: BTreeMap<String, DataFile>,
    },
}

/// Finds an overlay: from the profile's directory, then below `boards/` of the user and of bimg.
pub fn find(name: &str, profile: &Path, dirs: &DataDirs) -> Result<Overlay> {
    let host = profile.join(name);
    if host.is_dir() {
        return Ok(Overlay::Host(host));
    }
    let files =
        if Path::new(name).is_absolute() { BTreeMap::new() } else { dirs.below(&format!("boards/{name}"))? };
    if files.is_empty() {
        return Err(Error::usage(format!("the overlay `{}` is not there", name.escape_debug()))
            .hint(format!("an overlay is a directory: `{}`, or `boards/{name}`", host.display())));
    }
    Ok(Overlay::Data { name: name.to_string(), files })
}

impl Overlay {
    /// Lays it over a tree: root's, 0755 or 0644, dated with the epoch.
    pub fn lay(&self, tree: &mut Tree, epoch: Timestamp) -> Result<()> {
        match self {
            Overlay::Host(path) => directory::lay(tree, &TreePath::root(), path, Ownership::Overlay(epoch)),
            Overlay::Data { name, files } => files
                .iter()
                .try_for_each(|(path, file)| {
                    tree.put_file(path, file.mode, Content::from(file.bytes.to_vec()))
                })
                .context(|| format!("cannot use the layer `{name}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_overlay_is_named() {
        let error = find("overlys", Path::new("/boards"), &DataDirs::builtin()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the overlay `overlys` is not there\n\n\
             hint: an overlay is a directory: `/boards/overlys`, or `boards/overlys`"
        );
        assert!(find("../etc", Path::new("/nowhere"), &DataDirs::builtin()).is_err());
    }

    #[test]
    fn the_default_userspace_is_built_in() {
        let overlay = find("common/rootfs", Path::new("/nowhere"), &DataDirs::builtin()).unwrap();
        let mut tree = Tree::new(Timestamp::default());
        overlay.lay(&mut tree, Timestamp::default()).unwrap();
        let mode = |path: &str| tree.get(&TreePath::new(path).unwrap()).unwrap().meta.mode;
        assert_eq!((mode("etc/inittab"), mode("usr/lib/bimg/boot")), (0o644, 0o755));
    }

    #[test]
    fn every_script_of_the_default_userspace_is_posix_shell() {
        let overlay = find("common/rootfs", Path::new("/nowhere"), &DataDirs::builtin()).unwrap();
        let Overlay::Data { files, .. } = overlay else { panic!() };
        let shells: &[&[&str]] = &[&["sh"], &["busybox", "sh"]];
        for file in files.values().filter(|file| file.mode == 0o755) {
            assert!(file.bytes.starts_with(b"#!/bin/sh\n# "), "{}", file.name);
            let script = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(script.path(), &file.bytes).unwrap();
            for shell in shells.iter().filter(|shell| crate::exec::which(shell[0]).is_some()) {
                let cmd = crate::exec::Cmd::new(shell[0]).args(&shell[1..]).arg("-n").arg(script.path());
                cmd.check().unwrap_or_else(|error| panic!("{}: {error}", file.name));
            }
        }
    }
}
