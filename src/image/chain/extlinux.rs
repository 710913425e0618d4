//! `extlinux.conf`, as U-Boot's `boot/pxe_utils.c` reads it.

use super::{Entry, under};

/// The labels, the default first. A path without a leading `/` counts from the directory of `file`.
pub fn entries(text: &str, file: &str) -> Vec<Entry> {
    let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut default = None;
    let mut labels: Vec<(String, Entry)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim();
        let key = key.to_ascii_lowercase();
        match (key.as_str(), labels.last_mut()) {
            ("default", _) => default = Some(value.to_string()),
            ("label", _) => {
                labels.push((value.to_string(), Entry { title: value.to_string(), ..Entry::default() }));
            }
            ("menu", Some((_, entry))) => {
                if let Some(title) = value.strip_prefix("label ").or_else(|| value.strip_prefix("LABEL ")) {
                    entry.title = title.trim().to_string();
                }
            }
            ("kernel" | "linux" | "fit", Some((_, entry))) => {
                // `image.fit#configuration` names a part of the file.
                entry.kernel = Some(under(dir, value.split('#').next().unwrap_or(value)));
            }
            ("initrd", Some((_, entry))) => entry.initrd = vec![under(dir, value)],
            ("fdt" | "devicetree", Some((_, entry))) => entry.dtb = Some(under(dir, value)),
            ("fdtoverlays" | "devicetree-overlay", Some((_, entry))) => {
                entry.overlays = value.split_whitespace().map(|path| under(dir, path)).collect();
            }
            ("append", Some((_, entry))) => entry.cmdline = Some(value.to_string()),
            _ => {}
        }
    }
    if let Some(at) = default.and_then(|default| labels.iter().position(|(name, _)| *name == default)) {
        labels[..=at].rotate_right(1);
    }
    labels.into_iter().map(|(_, entry)| entry).collect()
}
