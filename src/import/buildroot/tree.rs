//! The Buildroot tree that a defconfig belongs to, or a tree of boards beside it (`BR2_EXTERNAL`).

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fsx;

/// Files that a look through a directory passes at most.
const FILES: usize = 5000;
/// Directories within directories.
const DEPTH: usize = 8;

/// Directory above `configs/`.
#[derive(Debug)]
pub struct BuildrootTree {
    root: PathBuf,
}

impl BuildrootTree {
    /// Of a defconfig.
    pub fn of(defconfig: &Path) -> Self {
        let dir = defconfig.parent().unwrap_or(Path::new(""));
        let above = if dir.as_os_str().is_empty() { Path::new("..") } else { dir.parent().unwrap_or(dir) };
        // A defconfig kept beside the boards, or started in `configs/` itself.
        let root = [above, dir].into_iter().find(|root| root.join("board").is_dir()).unwrap_or(above);
        BuildrootTree { root: root.to_owned() }
    }

    /// Where a file or directory of the tree is. `None` when it is not there, or its name depends on make.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = self.root.join(plain(name)?);
        path.exists().then_some(path)
    }

    /// Text of a small file.
    pub fn read(&self, name: &str) -> Result<Option<String>> {
        match self.find(name).filter(|path| path.is_file()) {
            Some(path) => Ok(Some(String::from_utf8_lossy(&fsx::read_small(&path)?).into_owned())),
            None => Ok(None),
        }
    }

    /// Files below a directory, by their path from the root of the tree, sorted.
    pub fn below(&self, dir: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        if let Some(dir) = plain(dir) {
            self.walk(dir, 0, &mut found)?;
        }
        Ok(found)
    }

    fn walk(&self, dir: &str, depth: usize, found: &mut Vec<String>) -> Result<()> {
        let path = self.root.join(dir);
        if !path.is_dir() || depth > DEPTH {
            return Ok(());
        }
        for name in fsx::names(&path)? {
            let inner = format!("{}/{name}", dir.trim_end_matches('/'));
            let path = self.root.join(&inner);
            if path.is_dir() {
                self.walk(&inner, depth + 1, found)?;
            } else if path.is_file() && found.len() < FILES {
                found.push(inner);
            }
        }
        Ok(())
    }
}

/// A path of the tree without what make would put before it; `None` for other make expressions.
fn plain(name: &str) -> Option<&str> {
    let name = name.trim();
    let name = match name.strip_prefix("$(").and_then(|rest| rest.split_once(")/")) {
        Some((variable, path)) if variable == "TOPDIR" || variable == "CONFIG_DIR" => path,
        Some((variable, path)) if variable.starts_with("BR2_EXTERNAL") && variable.ends_with("_PATH") => path,
        _ => name,
    };
    let inside = !name.is_empty() && !name.contains('$') && !name.split('/').any(|part| part == "..");
    inside.then_some(name.trim_start_matches("./"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_make_lead_into_the_tree_and_not_out_of_it() {
        assert_eq!(plain("$(BR2_EXTERNAL_ACME_PATH)/board/x"), Some("board/x"));
        assert_eq!(plain("$(TOPDIR)/a"), Some("a"));
        assert_eq!(plain("./board/x"), Some("board/x"));
        for name in ["$(BINARIES_DIR)/x", "../x", "a/../../x", ""] {
            assert_eq!(plain(name), None, "{name}");
        }
    }
}
