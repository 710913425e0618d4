//! Boot chains found on an image: what a boot loader would read there, and what that leads to.
//!
//! | chain | found by | says |
//! |---|---|---|
//! | Raspberry Pi firmware | `config.txt` and its kernel | per model: kernel, DTB, overlays, command line |
//! | extlinux | `extlinux/extlinux.conf` | per label the same |
//! | U-Boot script | `boot.scr` | files that it loads, `bootargs` |
//! | systemd-boot | `loader/entries/*.conf` | per entry |
//! | GRUB | `grub.cfg` | per `menuentry` |
//! | UEFI | `EFI/BOOT/BOOT*.EFI` | the program the firmware starts |

mod entries;
mod extlinux;
mod grub;
pub mod raspberry_pi;
mod script;

use serde::Serialize;

use super::Finding;
use super::volume::{self, Kind, Volume};
use crate::error::Result;

/// Bytes of a configuration file that are read.
const MAX_TEXT: u64 = 1 << 20;

/// Who reads the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// The Raspberry Pi's own firmware.
    RaspberryPi,
    /// U-Boot or barebox, through extlinux.conf.
    Extlinux,
    /// U-Boot, through a script.
    UBootScript,
    /// systemd-boot and others that follow the Boot Loader Specification.
    SystemdBoot,
    /// GRUB 2.
    Grub,
    /// UEFI firmware.
    Uefi,
}

impl Loader {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Loader::RaspberryPi => "Raspberry Pi firmware",
            Loader::Extlinux => "extlinux",
            Loader::UBootScript => "U-Boot script",
            Loader::SystemdBoot => "systemd-boot",
            Loader::Grub => "GRUB",
            Loader::Uefi => "UEFI",
        }
    }
}

/// One configuration and what it offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Who reads it.
    pub loader: Loader,
    /// Number of the partition it is on; 0 for an image without a table.
    pub partition: u32,
    /// Its path there.
    pub file: String,
    /// What can be booted; the default first.
    pub entries: Vec<Entry>,
    /// What is wrong with it.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// One thing that can be booted. Paths are those of the configuration, relative to the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What the loader calls it.
    pub title: String,
    /// Kernel.
    pub kernel: Option<String>,
    /// Initramfs files.
    pub initrd: Vec<String>,
    /// Device tree.
    pub dtb: Option<String>,
    /// Device tree overlays.
    pub overlays: Vec<String>,
    /// Kernel command line.
    pub cmdline: Option<String>,
    /// Files that the loader itself needs, as alternatives of which one must be there.
    #[serde(skip)]
    pub needs: Vec<Vec<String>>,
}

impl Entry {
    /// Every file it names.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let kernel = self.kernel.iter().map(|path| ("kernel", path.as_str()));
        let initrd = self.initrd.iter().map(|path| ("initramfs", path.as_str()));
        let dtb = self.dtb.iter().map(|path| ("DTB", path.as_str()));
        kernel.chain(dtb).chain(self.overlays.iter().map(|path| ("overlay", path.as_str()))).chain(initrd)
    }
}

/// Every chain on one filesystem.
pub fn find(volume: &dyn Volume, partition: u32) -> Vec<Chain> {
    let chain = |loader, file: &str| Chain {
        loader,
        partition,
        file: file.to_string(),
        entries: Vec::new(),
        findings: Vec::new(),
    };
    let mut chains = Vec::new();
    chains.extend(raspberry_pi::read(volume, chain(Loader::RaspberryPi, "config.txt")));
    // With /boot on a partition of its own, and without one.
    for file in ["extlinux/extlinux.conf", "boot/extlinux/extlinux.conf", "extlinux.conf"] {
        read_text(volume, chain(Loader::Extlinux, file), &mut chains, |text, chain| {
            chain.entries = extlinux::entries(text, file);
        });
    }
    for file in ["boot.scr", "boot.scr.uimg", "boot/boot.scr", "boot/boot.scr.uimg"] {
        read_text(volume, chain(Loader::UBootScript, file), &mut chains, |text, chain| {
            chain.entries = vec![script::entry(text)];
        });
    }
    for dir in ["loader", "boot/loader", "EFI/loader"] {
        chains.extend(entries::read(volume, chain(Loader::SystemdBoot, dir)));
    }
    for file in grub_files(volume) {
        read_text(volume, chain(Loader::Grub, &file), &mut chains, |text, chain| {
            chain.entries = grub::entries(text);
        });
    }
    for name in list(volume, "EFI/BOOT") {
        if name.to_ascii_uppercase().starts_with("BOOT") && name.to_ascii_uppercase().ends_with(".EFI") {
            chains.push(chain(Loader::Uefi, &format!("EFI/BOOT/{name}")));
        }
    }
    chains
}

/// Where distributions put grub.cfg.
fn grub_files(volume: &dyn Volume) -> Vec<String> {
    let fixed = ["grub", "grub2", "boot/grub", "boot/grub2"].map(|dir| format!("{dir}/grub.cfg"));
    let vendors = list(volume, "EFI").into_iter().map(|vendor| format!("EFI/{vendor}/grub.cfg"));
    fixed.into_iter().chain(vendors).collect()
}

/// Names in a directory; none when it is not there. What cannot be read is the checker's business.
fn list(volume: &dyn Volume, dir: &str) -> Vec<String> {
    match volume::resolve(volume, dir) {
        Ok(Some((path, entry))) if entry.kind == Kind::Directory => {
            volume.list(&path).unwrap_or_default().into_iter().map(|entry| entry.name).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a configuration file; `None` when there is no such file.
fn text(volume: &dyn Volume, path: &str) -> Result<Option<String>> {
    match volume::resolve(volume, path)? {
        Some((path, entry)) if entry.kind == Kind::File => {
            Ok(Some(String::from_utf8_lossy(&volume.read(&path, MAX_TEXT)?).into_owned()))
        }
        _ => Ok(None),
    }
}

/// Adds a chain whose configuration is one file, when it is there.
fn read_text(
    volume: &dyn Volume,
    mut chain: Chain,
    chains: &mut Vec<Chain>,
    parse: impl FnOnce(&str, &mut Chain),
) {
    match text(volume, &chain.file) {
        Ok(None) => return,
        Ok(Some(text)) => parse(&text, &mut chain),
        Err(error) => chain.findings.push(Finding::error(error.one_line())),
    }
    chains.push(chain);
}

/// A path that counts from the root when it starts with `/`, else from `dir`.
fn under(dir: &str, path: &str) -> String {
    volume::normal(&if path.starts_with('/') { path.to_string() } else { format!("{dir}/{path}") })
}

#[cfg(test)]
mod tests;
