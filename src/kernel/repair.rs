//! After a build that was killed: objects that may be cut short.
//!
//! make removes the target of a rule that fails, but not when make itself is killed. kbuild writes the
//! command file `.x.o.cmd` after `x.o`; so an object newer than its command file was being written, and
//! make would take it for finished. Removing it costs one compilation.

use std::path::{Path, PathBuf};

use super::spec::KernelSpec;
use crate::error::Result;
use crate::fsx;

fn marker(spec: &KernelSpec) -> PathBuf {
    spec.dir.join("running")
}

/// Marks the object directory as being worked on, after repairing what a killed build left.
pub fn begin(spec: &KernelSpec) -> Result<()> {
    let marker = marker(spec);
    if marker.exists() {
        remove_unfinished(&spec.obj())?;
    }
    fsx::write_atomic(&marker, b"")
}

/// Takes the mark away, after a build that went well: any failure may have been a kill.
pub fn end(spec: &KernelSpec) -> Result<()> {
    fsx::remove_file(&marker(spec))
}

fn remove_unfinished(dir: &Path) -> Result<()> {
    for name in fsx::names(dir)? {
        let path = dir.join(&name);
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            remove_unfinished(&path)?;
            continue;
        }
        let Some(target) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".cmd")) else {
            continue;
        };
        let target = dir.join(target);
        let newer = match (target.symlink_metadata().and_then(|meta| meta.modified()), meta.modified()) {
            (Ok(target), Ok(cmd)) => target > cmd,
            _ => false,
        };
        if newer {
            fsx::remove_file(&target)?;
            fsx::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_objects_newer_than_their_command_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, seconds: u64| {
            let path = dir.path().join(name);
            fsx::create_dir_all(path.parent().unwrap()).unwrap();
            let file = std::fs::File::create(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        at("a/good.o", 10);
        at("a/.good.o.cmd", 11);
        at("a/cut.o", 20);
        at("a/.cut.o.cmd", 11);
        at("a/no-command.h", 30);
        remove_unfinished(dir.path()).unwrap();
        let left = fsx::names(&dir.path().join("a")).unwrap();
        assert_eq!(left, [".good.o.cmd", "good.o", "no-command.h"]);
    }
}
