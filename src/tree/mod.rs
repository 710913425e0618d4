//! Everything that ends up on a disk is one [`Tree`]: paths, metadata and references to content.
//!
//! Layers are laid over each other (a base tar, staged kernel modules, overlays, provisioning); a
//! filesystem writer consumes the result. Names are held apart from inodes, as in a filesystem, so
//! that hard links survive. Iteration is sorted by path: nothing here depends on directory order.

mod content;
pub mod directory;
pub mod tar;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

pub use self::content::{Content, Extent, next_run};
use crate::error::{Error, Result};

/// The longest path that a system call takes, with `/` before and NUL behind it.
const PATH_MAX: usize = 4094;

/// A path inside a tree: relative, `/`-separated, no empty, `.` or `..` component. The root is `""`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

impl TreePath {
    /// The root directory.
    pub fn root() -> Self {
        TreePath(String::new())
    }

    /// Checks and normalises: leading `./`, a trailing `/` and doubled `/` are dropped; an absolute
    /// path, `..`, NUL or a name over 255 bytes is an error.
    pub fn new(path: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("path `{}` {why}", path.escape_debug()));
        if path.starts_with('/') {
            return Err(bad("is absolute").hint("paths in a layer are relative to its root"));
        }
        if path.contains('\0') {
            return Err(bad("holds a NUL byte"));
        }
        if path.len() > PATH_MAX {
            let start: String = path.chars().take(60).collect();
            return Err(Error::new(format!(
                "path `{}…` is longer than {PATH_MAX} bytes",
                start.escape_debug()
            )));
        }
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    return Err(bad("leaves its root with `..`").hint("paths in a layer may not hold `..`"));
                }
                name if name.len() > 255 => return Err(bad("has a name longer than 255 bytes")),
                name => parts.push(name),
            }
        }
        Ok(TreePath(parts.join("/")))
    }

    /// As text; `""` for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component; `""` for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<TreePath> {
        self.parent_str().map(|parent| TreePath(parent.to_string()))
    }

    /// The same, as text.
    pub fn parent_str(&self) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.0.rsplit_once('/').map_or("", |(parent, _)| parent))
    }

    /// A path below this one.
    pub fn join(&self, path: &str) -> Result<TreePath> {
        TreePath::new(&format!("{}/{path}", if self.0.is_empty() { "." } else { &self.0 }))
    }

    /// True for everything below this directory, itself excluded.
    pub fn is_above(&self, other: &TreePath) -> bool {
        match other.0.strip_prefix(&self.0) {
            Some(rest) => !rest.is_empty() && (self.0.is_empty() || rest.starts_with('/')),
            None => false,
        }
    }
}

impl Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// A point in time, UTC.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub secs: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// Owner, permissions, time, extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Owned by root, no attributes.
    pub fn root(mode: u32, mtime: Timestamp) -> Self {
        Meta { mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target, kept as it is.
    Symlink(String),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// One inode: metadata and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Metadata.
    pub meta: Meta,
    /// Kind and content.
    pub kind: Kind,
}

/// Index of an inode in its tree; two paths with the same index are hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(usize);

/// A whole directory tree.
#[derive(Debug, Clone)]
pub struct Tree {
    inodes: Vec<Inode>,
    names: BTreeMap<TreePath, InodeId>,
    /// What parents that no layer names are made with.
    default_dir: Meta,
}

impl Tree {
    /// A tree with a root directory (0755, root) dated `epoch`, which also dates implied parents.
    pub fn new(epoch: Timestamp) -> Self {
        let default_dir = Meta::root(0o755, epoch);
        let root = Inode { meta: default_dir.clone(), kind: Kind::Directory };
        Tree { inodes: vec![root], names: BTreeMap::from([(TreePath::root(), InodeId(0))]), default_dir }
    }

    /// Puts an entry in place. A directory over a directory changes its metadata and keeps its
    /// children; anything else replaces what was there, children included. Missing parents are made;
    /// a parent that is not a directory is an error (nothing is written through a symlink).
    pub fn insert(&mut self, path: TreePath, inode: Inode) -> Result<InodeId> {
        if path == TreePath::root() && inode.kind != Kind::Directory {
            return Err(Error::new("the root of a tree can only be a directory"));
        }
        self.ensure_parents(&path)?;
        if let Some(id) = self.names.get(&path).copied() {
            if inode.kind == Kind::Directory && self.inodes[id.0].kind == Kind::Directory {
                self.inodes[id.0].meta = inode.meta;
                return Ok(id);
            }
            self.remove(&path);
        }
        let id = InodeId(self.inodes.len());
        self.inodes.push(inode);
        self.names.insert(path, id);
        Ok(id)
    }

    /// [`Tree::insert`] for an entry of a layer: a directory over a symbolic link is an error, because
    /// it would cut off everything behind the link (`lib` over `lib -> usr/lib`).
    pub fn lay(&mut self, path: TreePath, inode: Inode) -> Result<InodeId> {
        if inode.kind == Kind::Directory
            && let Some(Inode { kind: Kind::Symlink(target), .. }) = self.get(&path)
        {
            return Err(Error::new(format!(
                "`{path}` is a directory, but a symbolic link to `{target}` below"
            ))
            .hint("a layer cannot write through a symbolic link; give the real path"));
        }
        self.insert(path, inode)
    }

    /// Makes `path` another name of what `target` names; not for directories.
    pub fn link(&mut self, path: TreePath, target: &TreePath) -> Result<()> {
        let id = *self.names.get(target).ok_or_else(|| {
            Error::new(format!("hard link `{path}` points to `{target}`, which is not there"))
        })?;
        if self.inodes[id.0].kind == Kind::Directory {
            return Err(Error::new(format!("hard link `{path}` points to the directory `{target}`")));
        }
        if path == *target {
            return Ok(());
        }
        self.ensure_parents(&path)?;
        self.remove(&path);
        self.names.insert(path, id);
        Ok(())
    }

    /// Removes an entry and everything below it; the root stays, emptied.
    pub fn remove(&mut self, path: &TreePath) {
        let below: Vec<TreePath> = self.below(path).map(|(path, _, _)| path.clone()).collect();
        for path in below {
            self.names.remove(&path);
        }
        if *path != TreePath::root() {
            self.names.remove(path);
        }
    }

    /// The inode at `path`.
    pub fn get(&self, path: &TreePath) -> Option<&Inode> {
        self.names.get(path).map(|id| &self.inodes[id.0])
    }

    /// The inode at `path`, to change.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Inode> {
        self.names.get(path).map(|id| &mut self.inodes[id.0])
    }

    /// Every name in path order (a directory comes before its children), the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, InodeId, &Inode)> {
        self.names.iter().map(|(path, id)| (path, *id, &self.inodes[id.0]))
    }

    /// Everything below a directory, itself excluded.
    pub fn below<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, InodeId, &'a Inode)> {
        // `a.b` sorts between `a` and `a/b`, so the range is filtered rather than cut at the first stranger.
        let prefix = if path.0.is_empty() { String::new() } else { format!("{}/", path.0) };
        let end = if path.0.is_empty() { None } else { Some(format!("{}0", path.0)) };
        self.names
            .range(TreePath(prefix)..)
            .take_while(move |(name, _)| end.as_ref().is_none_or(|end| name.0 < *end))
            .filter(|(name, _)| path.is_above(name))
            .map(|(name, id)| (name, *id, &self.inodes[id.0]))
    }

    /// Number of names, the root included.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.names.len() == 1
    }

    /// Puts a regular file, owned by root and dated like the tree.
    pub fn put_file(&mut self, path: &str, mode: u32, content: impl Into<Content>) -> Result<()> {
        let meta = Meta { mode, ..self.default_dir.clone() };
        self.insert(TreePath::new(path)?, Inode { meta, kind: Kind::File(content.into()) }).map(drop)
    }

    /// Puts a symbolic link, owned by root and dated like the tree.
    pub fn put_symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let meta = Meta { mode: 0o777, ..self.default_dir.clone() };
        self.insert(TreePath::new(path)?, Inode { meta, kind: Kind::Symlink(target.to_string()) }).map(drop)
    }

    /// Puts a directory, owned by root and dated like the tree.
    pub fn put_dir(&mut self, path: &str, mode: u32) -> Result<()> {
        let meta = Meta { mode, ..self.default_dir.clone() };
        self.insert(TreePath::new(path)?, Inode { meta, kind: Kind::Directory }).map(drop)
    }

    fn ensure_parents(&mut self, path: &TreePath) -> Result<()> {
        let Some(parent) = path.parent_str() else { return Ok(()) };
        match self.names.get(parent).map(|id| &self.inodes[id.0].kind) {
            Some(Kind::Directory) => Ok(()),
            Some(_) => Err(Error::new(format!("`{path}` lies below `/{parent}`, which is not a directory"))
                .hint("a layer cannot write through a symbolic link; give the real path")),
            None => {
                let parent = TreePath(parent.to_string());
                self.ensure_parents(&parent)?;
                let inode = Inode { meta: self.default_dir.clone(), kind: Kind::Directory };
                self.insert(parent, inode).map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(Timestamp::default())
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.iter().map(|(path, _, _)| path.as_str()).collect()
    }

    #[test]
    fn refuses_paths_that_escape() {
        for path in ["/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"] {
            assert!(TreePath::new(path).is_err(), "{path:?}");
        }
        assert_eq!(TreePath::new("./a//b/").unwrap().as_str(), "a/b");
        let endless = TreePath::new(&"d/".repeat(5_000_000)).unwrap_err().to_string();
        assert_eq!(endless, format!("path `{}…` is longer than 4094 bytes", "d/".repeat(30)));
    }

    #[test]
    fn removal_spares_neighbours_that_sort_between() {
        let mut tree = tree();
        for path in ["a/b", "a.b", "a-", "a0", "a/c/d"] {
            tree.put_file(path, 0o644, "x").unwrap();
        }
        tree.remove(&TreePath::new("a").unwrap());
        assert_eq!(paths(&tree), ["", "a-", "a.b", "a0"]);
    }

    #[test]
    fn a_file_replaces_a_directory_and_a_directory_merges() {
        let mut tree = tree();
        tree.put_file("d/x", 0o644, "x").unwrap();
        tree.put_dir("d", 0o700).unwrap();
        assert_eq!(paths(&tree), ["", "d", "d/x"]);
        tree.put_file("d", 0o644, "y").unwrap();
        assert_eq!(paths(&tree), ["", "d"]);
    }

    #[test]
    fn nothing_is_written_through_a_symlink() {
        let mut tree = tree();
        tree.put_symlink("etc", "/host/etc").unwrap();
        assert!(tree.put_file("etc/passwd", 0o644, "x").is_err());
    }

    #[test]
    fn hard_links_share_an_inode_and_survive_replacement() {
        let mut tree = tree();
        tree.put_file("a", 0o644, "x").unwrap();
        tree.link(TreePath::new("b").unwrap(), &TreePath::new("a").unwrap()).unwrap();
        tree.put_file("a", 0o644, "new").unwrap();
        let Kind::File(content) = &tree.get(&TreePath::new("b").unwrap()).unwrap().kind else { panic!() };
        assert_eq!(*content, Content::from("x"));
    }
}
