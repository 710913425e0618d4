//! systemd-boot's entries: `loader/entries/*.conf`, as the Boot Loader Specification has them, and
//! which of them `loader/loader.conf` makes the default.

use super::{Chain, Entry, Finding, list, text};
use crate::image::volume::{Volume, normal};

/// The chain of a `loader` directory; `None` when it holds neither a configuration nor entries.
pub fn read(volume: &dyn Volume, mut chain: Chain) -> Option<Chain> {
    let dir = chain.file.clone();
    let conf = format!("{dir}/loader.conf");
    let mut default = None;
    let mut is_there = false;
    match text(volume, &conf) {
        Ok(Some(conf)) => {
            is_there = true;
            default = value_of(&conf, "default");
        }
        Ok(None) => {}
        Err(error) => chain.findings.push(Finding::error(error.one_line())),
    }
    let mut names: Vec<String> = list(volume, &format!("{dir}/entries"));
    names.retain(|name| name.strip_suffix(".conf").is_some());
    if names.is_empty() && !is_there && chain.findings.is_empty() {
        return None;
    }
    // `default` is a pattern such as `debian-*`; newer versions sort last and are tried first.
    names.reverse();
    if let Some(default) = &default {
        names.sort_by_key(|name| !matches_pattern(default, name));
    }
    for name in names {
        match text(volume, &format!("{dir}/entries/{name}")) {
            Ok(Some(text)) => chain.entries.push(entry(&text, &name)),
            Ok(None) => {}
            Err(error) => chain.findings.push(Finding::error(error.one_line())),
        }
    }
    chain.file = if is_there { conf } else { format!("{dir}/entries") };
    Some(chain)
}

fn value_of(text: &str, key: &str) -> Option<String> {
    let value = |line: &str| {
        let (name, value) = line.trim().split_once(char::is_whitespace)?;
        (name == key).then(|| value.trim().to_string())
    };
    text.lines().find_map(value)
}

/// A shell pattern with `*` at most at its end, with or without `.conf`.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, _)) => name.starts_with(start),
        None => name == pattern || name.strip_suffix(".conf") == Some(pattern),
    }
}

fn entry(text: &str, name: &str) -> Entry {
    let mut entry = Entry { title: name.to_string(), ..Entry::default() };
    let mut options = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once(char::is_whitespace) else { continue };
        let value = value.trim();
        match key {
            "title" => entry.title = value.to_string(),
            "linux" | "efi" | "uki" => entry.kernel = Some(normal(value)),
            "initrd" => entry.initrd.push(normal(value)),
            "devicetree" => entry.dtb = Some(normal(value)),
            "devicetree-overlay" => entry.overlays = value.split_whitespace().map(normal).collect(),
            "options" => options.push(value),
            _ => {}
        }
    }
    entry.cmdline = (!options.is_empty()).then(|| options.join(" "));
    entry
}
