//! Whether a device tree blob is one: its header, and the structure of its nodes.
//!
//! Source: Devicetree Specification 0.4, chapter 5.

use super::super::read::bytes;

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
    walk(nodes, strings).ok_or_else(|| "its nodes are damaged".into())
}

/// Follows the tokens; `None` where they make no sense.
fn walk(nodes: &[u8], strings: &[u8]) -> Option<()> {
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
                name.iter().position(|byte| *byte == 0)?;
                let value = at + 8;
                nodes.get(value..value.checked_add(len)?)?;
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
}
