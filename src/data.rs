//! Boards, toolchains and what they refer to: found in the user's directories or in the binary.
//!
//! A name such as `boards/common/lean.config` is looked up in the working directory, then in
//! `$XDG_CONFIG_HOME/bimg`, then among the files compiled in. The first one wins, so a user
//! overrides a shared part by a file of the same name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::tree::TreePath;
use crate::{fsx, interrupt};

/// A file compiled into the binary.
#[derive(Debug)]
pub struct BuiltinFile {
    /// Path from the top of the repository, e.g. `boards/rpi4.toml`.
    pub name: &'static str,
    /// `0o755` for programs, `0o644` for the rest.
    pub mode: u32,
    /// Content.
    pub bytes: &'static [u8],
}

/// Every file below `boards/` and `toolchains/`, sorted by name.
pub static BUILTIN: &[BuiltinFile] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// A file found by name.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// As a person should see it: a path, or `NAME (built in)`.
    pub shown: String,
    /// The name it was found by, from the top: `boards/common/lean.config`. No host path in it.
    pub name: String,
    /// `0o755` or `0o644`.
    pub mode: u32,
    /// Content.
    pub bytes: Cow<'static, [u8]>,
}

impl DataFile {
    /// The content as text.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.bytes)
            .map_err(|cause| Error::usage(format!("`{}` is not UTF-8 text", self.shown)).caused_by(cause))
    }
}

/// bimg's part of the user's configuration directory: `$XDG_CONFIG_HOME/bimg`, or `~/.config/bimg`.
pub fn config_dir() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    config.map(|dir| dir.join("bimg"))
}

/// Where data files are looked for.
#[derive(Debug, Clone)]
pub struct DataDirs {
    dirs: Vec<PathBuf>,
}

impl DataDirs {
    /// The user's: the working directory, then the configuration directory.
    pub fn user() -> Self {
        DataDirs { dirs: std::iter::once(PathBuf::new()).chain(config_dir()).collect() }
    }

    /// Only what is compiled in.
    pub fn builtin() -> Self {
        DataDirs { dirs: Vec::new() }
    }

    /// Finds a file by its name from the top.
    pub fn find(&self, name: &str) -> Result<Option<DataFile>> {
        let name = TreePath::new(name)?;
        for dir in &self.dirs {
            let path = dir.join(name.as_str());
            if path.is_file() {
                return read_host(&path, name.as_str()).map(Some);
            }
        }
        Ok(BUILTIN.iter().find(|file| file.name == name.as_str()).map(BuiltinFile::open))
    }

    /// Where the user's file of that name is; `None` for one that is not there or is compiled in.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let name = TreePath::new(name).ok()?;
        self.dirs.iter().map(|dir| dir.join(name.as_str())).find(|path| path.is_file())
    }

    /// All files below a directory, by their path from that directory; user files hide built-in ones.
    pub fn below(&self, dir: &str) -> Result<BTreeMap<String, DataFile>> {
        let dir = TreePath::new(dir)?;
        let mut found = BTreeMap::new();
        for file in BUILTIN {
            if let Some(rest) = file.name.strip_prefix(dir.as_str()).and_then(|rest| rest.strip_prefix('/')) {
                found.insert(rest.to_string(), file.open());
            }
        }
        for base in self.dirs.iter().rev() {
            let base = base.join(dir.as_str());
            if base.is_dir() {
                walk(&base, dir.as_str(), "", &mut found)?;
            }
        }
        Ok(found)
    }

    /// Names of the TOML files directly in a directory, without their ending, sorted.
    pub fn names(&self, dir: &str) -> Result<Vec<String>> {
        let dir = TreePath::new(dir)?;
        let stem = |name: &str| name.strip_suffix(".toml").map(str::to_string);
        let of_dir = |name: &&str| name.rsplit_once('/').is_some_and(|(above, _)| above == dir.as_str());
        let builtin = BUILTIN.iter().map(|file| file.name).filter(of_dir);
        // Without their ending, with which `rpi4-uboot` would come before `rpi4`.
        let mut names: BTreeSet<String> = builtin.filter_map(|name| stem(name.rsplit('/').next()?)).collect();
        for base in self.dirs.iter().map(|base| base.join(dir.as_str())).filter(|base| base.is_dir()) {
            for entry in list(&base)? {
                let Ok(name) = entry.file_name().into_string() else { continue };
                names.extend(stem(&name).filter(|_| entry.path().is_file()));
            }
        }
        Ok(names.into_iter().collect())
    }
}

impl BuiltinFile {
    fn open(&'static self) -> DataFile {
        DataFile {
            shown: format!("{} (built in)", self.name),
            name: self.name.to_string(),
            mode: self.mode,
            bytes: Cow::Borrowed(self.bytes),
        }
    }
}

/// Reads a host file as a data file under the name given.
pub fn read_host(path: &Path, name: &str) -> Result<DataFile> {
    data_file(path, name, fsx::read_small(path)?)
}

fn data_file(path: &Path, name: &str, bytes: Vec<u8>) -> Result<DataFile> {
    let meta = path.metadata().map_err(|cause| fsx::io_error("read", path, &cause))?;
    let mode = if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    Ok(DataFile { shown: path.display().to_string(), name: name.to_string(), mode, bytes: Cow::Owned(bytes) })
}

fn list(dir: &Path) -> Result<Vec<DirEntry>> {
    interrupt::check()?;
    std::fs::read_dir(dir).and_then(Iterator::collect).map_err(|cause| fsx::io_error("read", dir, &cause))
}

fn walk(base: &Path, top: &str, below: &str, found: &mut BTreeMap<String, DataFile>) -> Result<()> {
    for entry in list(&base.join(below))? {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let relative = if below.is_empty() { name } else { format!("{below}/{name}") };
        let path = entry.path();
        if path.is_dir() {
            if path.is_symlink() {
                // It may lead back here, and so on without end.
                return Err(Error::usage(format!("cannot use `{}`", path.display()))
                    .caused_by("it is a link to a directory"));
            }
            walk(base, top, &relative, found)?;
        } else if path.is_file() {
            // An overlay may hold files of any size.
            let file = data_file(&path, &format!("{top}/{relative}"), fsx::read(&path)?)?;
            found.insert(relative, file);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_file_hides_the_built_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let builtin = DataDirs::builtin();
        let name = builtin.names("boards").unwrap().remove(0);
        std::fs::create_dir(dir.path().join("boards")).unwrap();
        std::fs::write(dir.path().join(format!("boards/{name}.toml")), "mine").unwrap();
        let dirs = DataDirs { dirs: vec![dir.path().to_owned()] };
        assert_eq!(dirs.find(&format!("boards/{name}.toml")).unwrap().unwrap().text().unwrap(), "mine");
        assert_eq!(dirs.below("boards").unwrap()[&format!("{name}.toml")].text().unwrap(), "mine");
        assert_eq!(dirs.names("boards").unwrap(), builtin.names("boards").unwrap());
    }

    #[test]
    fn names_are_listed_without_a_look_at_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let boards = dir.path().join("boards");
        std::fs::create_dir(&boards).unwrap();
        for link in ["one", "two", "three.toml"] {
            std::os::unix::fs::symlink(".", boards.join(link)).unwrap();
        }
        // Reading this would take all memory.
        std::fs::File::create(boards.join("card.img")).unwrap().set_len(1 << 43).unwrap();
        std::fs::write(boards.join("zz-mine.toml"), "").unwrap();
        let dirs = DataDirs { dirs: vec![dir.path().to_owned()] };
        let mut names = DataDirs::builtin().names("boards").unwrap();
        names.push("zz-mine".to_string());
        assert_eq!(dirs.names("boards").unwrap(), names);
        // An overlay of that name, on the other hand, is to be read.
        std::fs::remove_file(boards.join("card.img")).unwrap();
        let error = dirs.below("boards").unwrap_err().to_string();
        assert!(error.ends_with("`\n  caused by: it is a link to a directory"), "{error}");
    }

    #[test]
    fn names_do_not_escape() {
        assert!(DataDirs::user().find("../x").is_err());
    }
}
