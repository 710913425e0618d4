//! `grub.cfg`: its `menuentry` blocks, as far as they name files outright.

use super::Entry;
use super::volume::normal;

/// The entries in order. A path that depends on a variable is left out.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut open: Option<Entry> = None;
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &mut open) {
            (["menuentry", ..], _) => {
                entries.extend(open.take());
                open = Some(Entry { title: title(line), ..Entry::default() });
            }
            (["linux" | "linuxefi" | "linux16", path, args @ ..], entry) => {
                // A configuration without a menu boots what it says outside every entry.
                let entry =
                    entry.get_or_insert_with(|| Entry { title: "grub.cfg".into(), ..Entry::default() });
                entry.kernel = file(path);
                entry.cmdline = Some(args.join(" "));
            }
            (["initrd" | "initrdefi" | "initrd16", paths @ ..], Some(entry)) => {
                entry.initrd = paths.iter().filter_map(|path| file(path)).collect();
            }
            (["devicetree", path, ..], Some(entry)) => entry.dtb = file(path),
            _ => {}
        }
    }
    entries.extend(open);
    entries
}

/// The quoted word after `menuentry`.
fn title(line: &str) -> String {
    let quote = line.find(['\'', '"']);
    let title = quote.and_then(|at| {
        let rest = &line[at + 1..];
        rest.find(&line[at..=at]).map(|end| rest[..end].to_string())
    });
    title.unwrap_or_else(|| "menuentry".into())
}

/// A path; `(hd0,gpt1)/x` and `($root)/x` count from the root of some partition.
fn file(path: &str) -> Option<String> {
    let path = if path.starts_with('(') { path.split_once(')').map_or(path, |(_, rest)| rest) } else { path };
    (!path.contains('$')).then(|| normal(path))
}
