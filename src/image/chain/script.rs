//! `boot.scr`: what a U-Boot script loads and what it gives the kernel, as far as that can be read
//! off without running it: `setenv` with fixed values, `load` and the kernel command line.

use std::collections::BTreeMap;

use super::Entry;
use super::volume::normal;

/// What the script boots. A file whose name depends on the board's environment is left out.
pub fn entry(file: &str) -> Entry {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    // The directory that the script was found in.
    variables.insert("prefix".into(), "/".into());
    let mut entry = Entry { title: "boot.scr".into(), ..Entry::default() };
    // The header and the list of lengths before the text hold no line end.
    for statement in file.split(['\n', ';']).flat_map(|line| line.split("&&")) {
        let words = words(statement);
        let words: Vec<&str> = words.iter().map(String::as_str).skip_while(|word| is_keyword(word)).collect();
        match words.as_slice() {
            ["setenv" | "env", name, values @ ..] => {
                let (name, values) = if *name == "set" {
                    (values.first().copied().unwrap_or_default(), values.get(1..).unwrap_or_default())
                } else {
                    (*name, values)
                };
                let value = expand(&values.join(" "), &variables);
                variables.insert(name.to_string(), value);
            }
            ["load" | "fatload" | "ext4load" | "ext2load", _, _, address, path, ..] => {
                let path = expand(path, &variables);
                if !path.contains('$') {
                    put(&mut entry, &address.to_lowercase(), normal(&path));
                }
            }
            _ => {}
        }
    }
    entry.cmdline = variables.get("bootargs").cloned();
    entry
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "if" | "then" | "else" | "elif" | "do" | "while" | "until" | "for")
}

/// The address that a file is loaded to says what it is.
fn put(entry: &mut Entry, address: &str, path: String) {
    let extension = path.rsplit('.').next().unwrap_or_default();
    if extension == "dtbo" {
        entry.overlays.push(path);
    } else if address.contains("ramdisk") || address.contains("initrd") {
        entry.initrd.push(path);
    } else if address.contains("fdt") || extension == "dtb" {
        entry.dtb.get_or_insert(path);
    } else if address.contains("kernel") || address.contains("loadaddr") {
        entry.kernel.get_or_insert(path);
    }
}

/// The words of a statement, quotes removed.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut open, mut quote) = (String::new(), false, None);
    for c in statement.chars() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                open = true;
            }
            (Some(end), c) if c == end => quote = None,
            (None, c) if c.is_whitespace() => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

/// Puts known variables in place of `${name}`; unknown ones stay.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    /// A script that doubles a variable line by line must not fill the memory.
    const MAX: usize = 64 << 10;
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        match variables.get(name) {
            Some(value) if out.len() + value.len() < MAX => out.push_str(value),
            _ => out.extend(["${", name, "}"]),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
