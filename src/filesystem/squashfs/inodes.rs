//! Inodes, and the directories that name them.

use super::attributes::Attributes;
use super::data::Stored;
use super::{Metadata, reference, seconds};
use crate::filesystem::numbered::Numbered;
use crate::tree::Kind;

/// Inodes and directories, and where the root's inode is.
pub struct Tables {
    pub inodes: Vec<u8>,
    pub directories: Vec<u8>,
    pub root: u64,
}

pub fn inodes(nodes: &[Numbered<'_>], stored: &[Stored], owners: &[u32], attributes: &Attributes) -> Tables {
    let (mut table, mut directories) = (Metadata::default(), Metadata::default());
    let mut places = vec![(0, 0); nodes.len()];
    let owner = |id: u32| (owners.binary_search(&id).unwrap_or_default() as u16).to_le_bytes();
    let is_directory = |index: &usize| nodes[*index].inode.kind == Kind::Directory;
    // A directory names its children by their place, and may hold another name of a file that is elsewhere.
    let files = (0..nodes.len()).filter(|index| !is_directory(index));
    let order: Vec<usize> = files.chain((0..nodes.len()).rev().filter(is_directory)).collect();
    for index in order {
        let node = &nodes[index];
        let mut bytes = Vec::new();
        bytes.extend((basic_type(&node.inode.kind) + 7).to_le_bytes());
        bytes.extend((node.inode.meta.mode as u16 & 0o7777).to_le_bytes());
        bytes.extend(owner(node.inode.meta.uid));
        bytes.extend(owner(node.inode.meta.gid));
        bytes.extend(seconds(node.inode.meta.mtime).to_le_bytes());
        bytes.extend(number(index).to_le_bytes());
        let attribute = attributes.of_node[index].to_le_bytes();
        match &node.inode.kind {
            Kind::Directory => {
                let (block, offset) = directories.place();
                let listing = listing(nodes, node, &places);
                directories.put(&listing);
                let parent = if index == 0 { number(nodes.len()) } else { number(node.parent) };
                // `.` and `..` count as three bytes.
                for field in [node.links, listing.len() as u32 + 3, block, parent] {
                    bytes.extend(field.to_le_bytes());
                }
                // No index of its names.
                bytes.extend([0; 2]);
                bytes.extend(offset.to_le_bytes());
                bytes.extend(attribute);
            }
            Kind::File(content) => {
                let stored = &stored[index];
                for field in [stored.start, content.len(), stored.sparse] {
                    bytes.extend(field.to_le_bytes());
                }
                for field in [node.links, stored.fragment, stored.offset] {
                    bytes.extend(field.to_le_bytes());
                }
                bytes.extend(attribute);
                bytes.extend(stored.sizes.iter().flat_map(|size| size.to_le_bytes()));
            }
            Kind::Symlink(target) => {
                bytes.extend(node.links.to_le_bytes());
                bytes.extend((target.len() as u32).to_le_bytes());
                bytes.extend(target.as_bytes());
                bytes.extend(attribute);
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                bytes.extend(node.links.to_le_bytes());
                bytes.extend((minor & 0xFF | major << 8 | (minor & !0xFF) << 12).to_le_bytes());
                bytes.extend(attribute);
            }
            Kind::Fifo | Kind::Socket => {
                bytes.extend(node.links.to_le_bytes());
                bytes.extend(attribute);
            }
        }
        places[index] = table.place();
        table.put(&bytes);
    }
    let root = reference(places[0]);
    Tables { inodes: table.end(), directories: directories.end(), root }
}

/// Inodes are counted from 1.
fn number(index: usize) -> u32 {
    index as u32 + 1
}

/// The names in a directory: runs of those whose inodes are in the same block.
fn listing(nodes: &[Numbered<'_>], node: &Numbered<'_>, places: &[(u32, u16)]) -> Vec<u8> {
    /// Names in a run.
    const RUN: usize = 256;
    let mut bytes = Vec::new();
    let mut rest = node.children.as_slice();
    while let Some((_, first)) = rest.first() {
        let block = places[*first].0;
        let away = |index: usize| i16::try_from(index as i64 - *first as i64).ok();
        let fits = |child: &&(&str, usize)| places[child.1].0 == block && away(child.1).is_some();
        let count = rest.iter().take(RUN).take_while(fits).count();
        let (run, behind) = rest.split_at(count);
        for field in [count as u32 - 1, block, number(*first)] {
            bytes.extend(field.to_le_bytes());
        }
        for (name, index) in run {
            bytes.extend(places[*index].1.to_le_bytes());
            bytes.extend(away(*index).unwrap_or_default().to_le_bytes());
            bytes.extend(basic_type(&nodes[*index].inode.kind).to_le_bytes());
            bytes.extend((name.len() as u16 - 1).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        rest = behind;
    }
    bytes
}

/// Number of a type in directories; inodes of the extended form add 7.
fn basic_type(kind: &Kind) -> u16 {
    match kind {
        Kind::Directory => 1,
        Kind::File(_) => 2,
        Kind::Symlink(_) => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::CharDevice { .. } => 5,
        Kind::Fifo => 6,
        Kind::Socket => 7,
    }
}
