//! The `compatible` of a flattened device tree's root (Devicetree Specification 0.4, chapter 5).

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const PROP: u32 = 3;
const NOP: u32 = 4;

/// Strings of the root's `compatible`, most specific first; none for what is not a device tree.
pub fn compatible(dtb: &[u8]) -> Vec<String> {
    root_property(dtb, b"compatible").map(strings).unwrap_or_default()
}

fn strings(value: &[u8]) -> Vec<String> {
    value
        .split(|byte| *byte == 0)
        .filter(|it| !it.is_empty())
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .collect()
}

fn root_property<'a>(dtb: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let word = |at: usize| Some(u32::from_be_bytes(dtb.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if word(0)? != MAGIC {
        return None;
    }
    let (tree, names) = (word(8)? as usize, word(12)? as usize);
    let mut at = tree;
    while word(at)? == NOP {
        at += 4;
    }
    if word(at)? != BEGIN_NODE {
        return None;
    }
    // The root's name is empty: one NUL, padded.
    at += 8;
    loop {
        match word(at)? {
            NOP => at += 4,
            PROP => {
                let (len, name) = (word(at + 4)? as usize, word(at + 8)? as usize);
                let name = dtb.get(names.checked_add(name)?..)?.split(|byte| *byte == 0).next()?;
                let start = at + 12;
                let value = dtb.get(start..start.checked_add(len)?)?;
                if name == wanted {
                    return Some(value);
                }
                at = start + len.checked_next_multiple_of(4)?;
            }
            // Properties come before child nodes.
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        tree.extend_from_slice(&9_u32.to_be_bytes());
        let names = b"compatible\0#size-cells\0";
        let mut dtb = Vec::new();
        for value in [MAGIC, (40 + tree.len() + names.len()) as u32, 40, (40 + tree.len()) as u32] {
            dtb.extend_from_slice(&value.to_be_bytes());
        }
        dtb.resize(40, 0);
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
