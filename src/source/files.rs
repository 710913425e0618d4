//! Files inside a fetched tree, by pattern: `usr/lib/raspi-firmware/start*.elf`.
//!
//! A package may hold symbolic links to anywhere; nothing outside its tree is ever reached through them.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result, nearest};
use crate::fsx;
use crate::tree::TreePath;

/// The paths below `dir` that match, sorted. `*` and `?` match inside one component, `**` any number of
/// components. No match is an error.
pub fn files(dir: &Path, pattern: &str) -> Result<Vec<String>> {
    let pattern = TreePath::new(pattern)?;
    let parts: Vec<&str> = pattern.as_str().split('/').collect();
    let mut found = Vec::new();
    walk(dir, "", &parts, &mut found)?;
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Err(no_match(dir, &pattern));
    }
    Ok(found)
}

/// The host path of `path` inside `dir`, links followed as if `dir` were the root directory.
pub fn resolve(dir: &Path, path: &str) -> Result<PathBuf> {
    // As many as Linux follows before it says ELOOP (path_resolution(7)).
    let mut links_left = 40;
    let mut todo: Vec<String> = TreePath::new(path)?.as_str().rsplit('/').map(str::to_string).collect();
    let mut at = PathBuf::new();
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            // As at a real root, `..` goes no higher.
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(&part),
        }
        let here = dir.join(&at);
        let meta = here.symlink_metadata().map_err(|cause| fsx::io_error("read", &here, &cause))?;
        if meta.is_symlink() {
            links_left -= 1;
            if links_left == 0 {
                return Err(Error::new(format!("cannot read `{}`", here.display()))
                    .caused_by("too many levels of symbolic links"));
            }
            let target = here.read_link().map_err(|cause| fsx::io_error("read", &here, &cause))?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::new();
            }
            todo.extend(target.components().rev().filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                Component::ParentDir => Some("..".to_string()),
                _ => None,
            }));
        }
    }
    Ok(dir.join(at))
}

fn walk(root: &Path, at: &str, parts: &[&str], found: &mut Vec<String>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if *part == "**" {
        walk(root, at, rest, found)?;
    }
    for (name, is_dir) in list(root, at)? {
        let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
        if *part == "**" {
            if is_dir {
                walk(root, &path, parts, found)?;
            }
        } else if matches(part, &name) {
            if rest.is_empty() && !is_dir {
                found.push(path);
            } else if is_dir {
                walk(root, &path, rest, found)?;
            }
        }
    }
    Ok(())
}

/// Names in a directory of the tree and whether each is a directory, links not followed to get there.
fn list(root: &Path, at: &str) -> Result<Vec<(String, bool)>> {
    let dir = root.join(at);
    let failed = |cause: std::io::Error| fsx::io_error("read", &dir, &cause);
    let mut names = Vec::new();
    for entry in dir.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_dir = entry.file_type().map_err(failed)?.is_dir();
        // A name that is not text matches no pattern.
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, is_dir));
        }
    }
    names.sort();
    Ok(names)
}

/// Shell matching of one component: `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            // Back to the last star, which takes one character more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn no_match(dir: &Path, pattern: &TreePath) -> Error {
    let error = Error::new(format!("no file matches `{}`", pattern.as_str()))
        .caused_by(format!("in `{}`", dir.display()));
    let parent = pattern.parent().unwrap_or_else(TreePath::root);
    let names = list(dir, parent.as_str()).unwrap_or_default();
    match nearest(pattern.name(), names.iter().map(|(name, _)| name.as_str())) {
        Some(name) => {
            let near = parent.join(name).map_or(name.to_string(), |path| path.as_str().to_string());
            error.hint(format!("nearest: `{near}`"))
        }
        None => error,
    }
}
