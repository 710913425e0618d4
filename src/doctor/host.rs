//! The distribution: who it is, and the one command that installs packages there.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::{exec, fsx};

/// Distributions with package names of their own, in the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and what derives from them.
    Debian,
    /// Fedora, RHEL and what derives from them.
    Fedora,
    /// Arch and what derives from it.
    Arch,
}

/// What matters of the host for installing packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// None for a distribution whose package names are not known.
    pub family: Option<Family>,
    /// `PRETTY_NAME`, for messages.
    pub name: String,
    /// Debian 12, whose own QEMU is too old for some boards.
    pub debian_12: bool,
    /// Running as root: no `sudo`.
    pub root: bool,
    /// apt has package lists; a fresh container has none.
    pub apt_lists: bool,
}

impl Host {
    /// This host.
    pub fn detect() -> Result<Self> {
        let text = match fsx::read_optional("/etc/os-release".as_ref())? {
            Some(text) => text,
            None => fsx::read_optional("/usr/lib/os-release".as_ref())?.unwrap_or_default(),
        };
        let apt_lists = std::fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        });
        Ok(Self::from_os_release(&text, rustix::process::geteuid().is_root(), apt_lists))
    }

    /// From the text of os-release(5).
    pub fn from_os_release(text: &str, root: bool, apt_lists: bool) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_string()
        };
        let family =
            format!("{} {}", value("ID"), value("ID_LIKE")).split_whitespace().find_map(|id| match id {
                "debian" | "ubuntu" => Some(Family::Debian),
                "fedora" | "rhel" => Some(Family::Fedora),
                "arch" => Some(Family::Arch),
                _ => None,
            });
        let name = Some(value("PRETTY_NAME")).filter(|name| !name.is_empty());
        Host {
            family,
            name: name.unwrap_or_else(|| "this distribution".to_string()),
            debian_12: value("VERSION_CODENAME") == "bookworm",
            root,
            apt_lists,
        }
    }

    /// The one command that installs `packages`, and from backports `backports`.
    pub fn install(&self, packages: &BTreeSet<String>, backports: &BTreeSet<String>) -> Option<String> {
        let sudo = if self.root { "" } else { "sudo " };
        let words = |names: &BTreeSet<String>| {
            names.iter().map(|name| exec::quote(name)).collect::<Vec<_>>().join(" ")
        };
        if packages.is_empty() && backports.is_empty() {
            return None;
        }
        Some(match self.family? {
            Family::Debian => {
                let mut commands = Vec::new();
                if !self.apt_lists {
                    commands.push(format!("{sudo}apt-get update"));
                }
                if !packages.is_empty() {
                    commands.push(format!("{sudo}apt-get install --yes {}", words(packages)));
                }
                if !backports.is_empty() {
                    let names = words(backports);
                    commands.push(format!("{sudo}apt-get install --yes -t bookworm-backports {names}"));
                }
                commands.join(" && ")
            }
            Family::Fedora => format!("{sudo}dnf install --assumeyes {}", words(packages)),
            Family::Arch => format!("{sudo}pacman -S --needed --noconfirm {}", words(packages)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_command_per_distribution() {
        let none = BTreeSet::new();
        let command = |os_release: &str| {
            Host::from_os_release(os_release, false, true).install(&names(&["make", "flex"]), &none)
        };
        assert_eq!(command("ID=ubuntu\nID_LIKE=debian").unwrap(), "sudo apt-get install --yes flex make");
        assert_eq!(
            command("ID=linuxmint\nID_LIKE=\"ubuntu debian\"").unwrap(),
            command("ID=debian").unwrap()
        );
        assert_eq!(command("ID=fedora").unwrap(), "sudo dnf install --assumeyes flex make");
        assert_eq!(
            command("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"").unwrap(),
            "sudo dnf install --assumeyes flex make"
        );
        assert_eq!(
            command("ID=manjaro\nID_LIKE=arch").unwrap(),
            "sudo pacman -S --needed --noconfirm flex make"
        );
        assert_eq!(command("ID=nixos\nPRETTY_NAME=\"NixOS 25.05\""), None);
        assert_eq!(command(""), None);
    }

    #[test]
    fn debian_as_root_without_lists_and_with_backports() {
        let host = Host::from_os_release("ID=debian\nVERSION_CODENAME=bookworm", true, false);
        assert!(host.debian_12);
        assert_eq!(
            host.install(&names(&["make"]), &names(&["qemu-system-arm"])).unwrap(),
            "apt-get update && apt-get install --yes make && \
             apt-get install --yes -t bookworm-backports qemu-system-arm"
        );
        assert_eq!(host.install(&BTreeSet::new(), &BTreeSet::new()), None);
    }
}
