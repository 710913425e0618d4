//! Flattened device trees: whether a blob is one, and what its root is compatible with.
//!
//! Source: Devicetree Specification 0.4, chapter 5.

use crate::image::read::bytes;

const MAGIC: u32 = 0xD00D_FEED;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

fn be32(from: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes(from, at))
}

/// What is wrong with a blob.
pub fn check(dtb: &[u8]) -> Result<(), String> {
    let (nodes, strings) = parts(dtb)?;
    walk(nodes, strings, &mut |_, _, _| {}).ok_or_else(|| "its nodes are damaged".into())
}

/// Strings of the root's `compatible`, most specific first; none for what is not a device tree.
pub fn compatible(dtb: &[u8]) -> Vec<String> {
    let Ok((nodes, strings)) = parts(dtb) else { return Vec::new() };
    let mut found = Vec::new();
    // What comes behind the root's properties need not be sound.
    let _ = walk(nodes, strings, &mut |depth, name, value| {
        if depth == 1 && name == b"compatible" && found.is_empty() {
            let words = value.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            found.extend(words.map(|word| String::from_utf8_lossy(word).into_owned()));
        }
    });
    found
}

/// Nodes and strings, as the header says where they are.
fn parts(dtb: &[u8]) -> Result<(&[u8], &[u8]), String> {
    if be32(dtb, 0) != MAGIC || dtb.len() < 40 {
        return Err("it does not start as a device tree".into());
    }
    let [total, structs, strings, _, version, last] = [4, 8, 12, 16, 20, 24].map(|at| be32(dtb, at) as usize);
    let (strings_len, structs_len) = (be32(dtb, 32) as usize, be32(dtb, 36) as usize);
    if total > dtb.len() {
        return Err(format!("it has {total} bytes by its own account, the file {}", dtb.len()));
    }
    if version < 17 || last > 17 {
        return Err(format!("its version is {version}"));
    }
    let part = |start: usize, len: usize| dtb[..total].get(start..start.checked_add(len)?);
    let Some(strings) = part(strings, strings_len) else { return Err("its strings lie outside it".into()) };
    let Some(nodes) = part(structs, structs_len) else { return Err("its nodes lie outside it".into()) };
    Ok((nodes, strings))
}

/// Follows the tokens and shows each property with the depth of its node, the root's being 1; `None` where they
/// make no sense.
fn walk<'a>(
    nodes: &'a [u8],
    strings: &'a [u8],
    property: &mut dyn FnMut(usize, &'a [u8], &'a [u8]),
) -> Option<()> {
    let (mut at, mut depth, mut roots) = (0usize, 0usize, 0usize);
    loop {
        let token = be32(nodes.get(at..at.checked_add(4)?)?, 0);
        at += 4;
        match token {
            BEGIN_NODE => {
                let len = nodes.get(at..)?.iter().position(|byte| *byte == 0)?;
                at = (at + len + 1).next_multiple_of(4);
                roots += usize::from(depth == 0);
                depth += 1;
            }
            END_NODE => depth = depth.checked_sub(1)?,
            PROP if depth > 0 => {
                let len = be32(nodes.get(at..at + 8)?, 0) as usize;
                let name = strings.get(be32(nodes, at + 4) as usize..)?;
                let name = &name[..name.iter().position(|byte| *byte == 0)?];
                let value = at + 8;
                property(depth, name, nodes.get(value..value.checked_add(len)?)?);
                at = (value + len).next_multiple_of(4);
            }
            NOP => {}
            END if depth == 0 && roots == 1 => return Some(()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn dtc_makes_good_ones_and_damage_shows() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("a.dts");
        std::fs::write(&source, "/dts-v1/; / { model = \"x\"; a { b = <1 2>; c; d {}; }; };").unwrap();
        let dtb = Cmd::new("dtc").args(["-I", "dts", "-O", "dtb"]).arg(&source).check().unwrap().stdout;
        check(&dtb).unwrap();
        for at in 0..dtb.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut bad = dtb.clone();
                bad[at] = value;
                // Any verdict will do, a panic will not.
                let _ = check(&bad);
            }
            assert!(check(&dtb[..at]).is_err(), "{at}");
        }
        assert_eq!(check(b"hello").unwrap_err(), "it does not start as a device tree");
    }

    fn blob() -> Vec<u8> {
        let mut tree = Vec::new();
        let mut word = |value: u32| tree.extend_from_slice(&value.to_be_bytes());
        word(BEGIN_NODE);
        word(0);
        word(PROP);
        word(4);
        word(11);
        word(2);
        word(PROP);
        word(8);
        word(0);
        tree.extend_from_slice(b"a,b\0c,d\0");
        tree.extend_from_slice(&END.to_be_bytes());
        let names = b"compatible\0#size-cells\0";
        let (tree_len, names_len) = (tree.len() as u32, names.len() as u32);
        let total = 40 + tree_len + names_len;
        let mut dtb = Vec::new();
        for value in [MAGIC, total, 40, 40 + tree_len, 0, 17, 16, 0, names_len, tree_len] {
            dtb.extend_from_slice(&value.to_be_bytes());
        }
        dtb.extend(tree);
        dtb.extend_from_slice(names);
        dtb
    }

    #[test]
    fn the_root_is_read() {
        assert_eq!(compatible(&blob()), ["a,b", "c,d"]);
    }

    #[test]
    fn damage_is_nothing() {
        let whole = blob();
        for end in 0..whole.len() {
            compatible(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            compatible(&broken);
        }
        assert!(compatible(b"text").is_empty());
    }
}
