//! Extended attributes: each set once.

use std::collections::HashMap;

use super::{METADATA, Metadata, NONE, Out, append, reference};
use crate::error::{Error, Result};
use crate::filesystem::numbered::Numbered;
use crate::tree::Meta;

/// All sets.
pub struct Attributes {
    /// The set of each node, or [`NONE`].
    pub of_node: Vec<u32>,
    /// Names and values.
    pairs: Vec<u8>,
    /// Where each set is, how many it has, and of what length.
    sets: Vec<u8>,
}

impl Attributes {
    pub fn of(nodes: &[Numbered<'_>]) -> Result<Self> {
        let mut pairs = Metadata::default();
        let mut sets = Vec::new();
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut of_node = Vec::with_capacity(nodes.len());
        for node in nodes {
            let meta = &node.inode.meta;
            if meta.xattrs.is_empty() {
                of_node.push(NONE);
                continue;
            }
            let bytes = pairs_of(meta)
                .map_err(|why| Error::new(format!("squashfs cannot hold `{}`", node.path)).caused_by(why))?;
            let next = known.len() as u32;
            of_node.push(*known.entry(bytes).or_insert_with_key(|bytes| {
                let names: usize = meta.xattrs.keys().map(|name| name.len() + 1).sum();
                sets.extend(reference(pairs.place()).to_le_bytes());
                sets.extend((meta.xattrs.len() as u32).to_le_bytes());
                sets.extend((names as u32).to_le_bytes());
                pairs.put(bytes);
                next
            }));
        }
        Ok(Attributes { of_node, pairs: pairs.end(), sets })
    }

    /// Writes them; the place of their table, or what stands for none.
    pub fn write(&self, out: &mut Out) -> Result<u64> {
        if self.sets.is_empty() {
            return Ok(u64::MAX);
        }
        let start = out.at;
        out.put(&self.pairs)?;
        let mut table = Vec::new();
        for piece in self.sets.chunks(METADATA) {
            table.extend(out.at.to_le_bytes());
            let mut block = Vec::new();
            append(&mut block, piece);
            out.put(&block)?;
        }
        let place = out.at;
        out.put(&start.to_le_bytes())?;
        out.put(&(self.sets.len() as u64 / 16).to_le_bytes())?;
        out.put(&table)?;
        Ok(place)
    }
}

fn pairs_of(meta: &Meta) -> std::result::Result<Vec<u8>, String> {
    const PREFIXES: [(&str, u16); 3] = [("user.", 0), ("trusted.", 1), ("security.", 2)];
    let mut bytes = Vec::new();
    for (name, value) in &meta.xattrs {
        let prefix = PREFIXES.iter().find_map(|(prefix, kind)| Some((name.strip_prefix(prefix)?, *kind)));
        let Some((rest, kind)) = prefix else {
            return Err(format!("it has no place for the extended attribute `{name}`"));
        };
        let Ok(len) = u16::try_from(rest.len()) else {
            return Err(format!("the extended attribute `{name}` is too long"));
        };
        bytes.extend(kind.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(rest.as_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value);
    }
    Ok(bytes)
}
