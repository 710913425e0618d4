//! A tree as a filesystem keeps it: every inode once, its names counted, the names in each directory listed.

use std::collections::HashMap;

use crate::tree::{Inode, InodeId, Kind, Tree, TreePath};

/// An inode with its place in the tree.
pub struct Numbered<'a> {
    /// The first of its names.
    pub path: &'a TreePath,
    /// Metadata and kind.
    pub inode: &'a Inode,
    /// Names; those of a directory count its `.` and the `..` of the directories in it.
    pub links: u32,
    /// The directory that holds its first name; the root is in itself.
    pub parent: usize,
    /// What a directory holds, sorted by the bytes of the names.
    pub children: Vec<(&'a str, usize)>,
}

/// All inodes in the order of their first names: the root first, a directory before what is in it.
pub fn numbered(tree: &Tree) -> Vec<Numbered<'_>> {
    let mut all: Vec<Numbered<'_>> = Vec::new();
    let mut known: HashMap<InodeId, usize> = HashMap::new();
    let mut directories: HashMap<&str, usize> = HashMap::new();
    for (path, id, inode) in tree.iter() {
        // Above the root is the root.
        let parent = path.parent_str().and_then(|parent| directories.get(parent).copied()).unwrap_or(0);
        let at = *known.entry(id).or_insert_with(|| {
            all.push(Numbered { path, inode, links: 0, parent, children: Vec::new() });
            all.len() - 1
        });
        all[at].links += 1;
        if inode.kind == Kind::Directory {
            directories.insert(path.as_str(), at);
            all[at].links += 1;
            if at > 0 {
                all[parent].links += 1;
            }
        }
        if at > 0 {
            all[parent].children.push((path.name(), at));
        }
    }
    all
}
