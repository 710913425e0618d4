//! The `[rootfs]` table of a profile.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::provision::Provision;
use crate::error::{Error, Result};

/// What the root filesystem is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseKind {
    /// Debian packages, unpacked for the target without running any of their code.
    Debian,
    /// A tar file, plain or compressed with gzip, xz, zstd or bzip2.
    Tar,
    /// A directory of the host, with owners, modes and times as they are there.
    Directory,
}

/// The root filesystem of a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RootfsSpec {
    /// What the lowest layer is.
    pub kind: BaseKind,
    /// `debian`: release to take packages from, e.g. `bookworm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// `debian`: components of the archive; `main` when not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// `debian`: packages; what they depend on comes along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// `tar`, `directory`: where it is, from the profile's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Directories laid over the base, in order: files become root's, 0755 or 0644.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<String>,
    /// Host name; the board's name when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Files with public SSH keys that may log in as root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<PathBuf>,
    /// Root's password as a crypt(5) hash; without it root has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_password_hash: Option<String>,
    /// Whether root fills its card on the first boot.
    #[serde(default = "yes")]
    pub grow: bool,
}

fn yes() -> bool {
    true
}

impl RootfsSpec {
    /// Checks what the types alone do not say: which keys belong to which kind, and every value.
    pub fn validate(&self) -> Result<()> {
        let kind = match self.kind {
            BaseKind::Debian => "debian",
            BaseKind::Tar => "tar",
            BaseKind::Directory => "directory",
        };
        let missing = |key: &str, example: &str| {
            Err(Error::usage(format!("a rootfs of kind `{kind}` needs `{key}`"))
                .hint(format!("for example `{key} = {example}`")))
        };
        let foreign =
            |key: &str| Err(Error::usage(format!("`rootfs.{key}` means nothing for the kind `{kind}`")));
        if self.kind == BaseKind::Debian {
            if self.path.is_some() {
                return foreign("path");
            }
            if self.suite.is_none() {
                return missing("suite", "\"bookworm\"");
            }
            if self.packages.is_empty() {
                return missing("packages", "[\"busybox-static\", \"dropbear-bin\", \"kmod\"]");
            }
        } else {
            if self.suite.is_some() {
                return foreign("suite");
            }
            if !self.packages.is_empty() {
                return foreign("packages");
            }
            if !self.components.is_empty() {
                return foreign("components");
            }
            if self.path.is_none() {
                return missing(
                    "path",
                    if self.kind == BaseKind::Tar { "\"rootfs.tar.xz\"" } else { "\"rootfs\"" },
                );
            }
        }
        if let Some(suite) = &self.suite {
            check_word("suite", suite, "bookworm")?;
        }
        for component in &self.components {
            check_word("component", component, "non-free-firmware")?;
        }
        self.packages.iter().try_for_each(|package| check_word("package", package, "busybox-static"))
    }

    /// Host name, keys and password hash that the profile names; relative paths start at `base`.
    pub fn provision(&self, base: &Path) -> Result<Provision> {
        let keys: Vec<PathBuf> = self.ssh_keys.iter().map(|key| base.join(key)).collect();
        Provision::from_args(self.hostname.as_deref(), &keys, self.root_password_hash.as_deref())
    }

    /// The components to read: `main` by default.
    pub fn components(&self) -> Vec<&str> {
        if self.components.is_empty() {
            return vec!["main"];
        }
        self.components.iter().map(String::as_str).collect()
    }
}

/// Names of packages, suites and components: Debian Policy 5.6.1. Anything else would be an option or a
/// pattern to apt.
fn check_word(what: &str, word: &str, example: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && word.chars().all(plain) {
        return Ok(());
    }
    Err(Error::usage(format!("`{}` is not the name of a {what}", word.escape_debug()))
        .hint(format!("a name like `{example}`: lower-case letters, digits, `+`, `-`, `.`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let spec: RootfsSpec = toml::from_str(text).unwrap();
        spec.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_default_table_is_read() {
        let spec: RootfsSpec = toml::from_str(
            "kind = \"debian\"\nsuite = \"trixie\"\npackages = [\"kmod\"]\noverlays = [\"common/rootfs\"]",
        )
        .unwrap();
        spec.validate().unwrap();
        assert!(spec.grow);
        assert_eq!(spec.components(), ["main"]);
    }

    #[test]
    fn keys_belong_to_their_kind() {
        assert_eq!(
            refusal("kind = \"debian\"\npackages = [\"kmod\"]"),
            "a rootfs of kind `debian` needs `suite`\n\nhint: for example `suite = \"bookworm\"`"
        );
        assert_eq!(
            refusal("kind = \"tar\"\npath = \"x.tar\"\nsuite = \"sid\""),
            "`rootfs.suite` means nothing for the kind `tar`"
        );
        assert_eq!(
            refusal("kind = \"directory\""),
            "a rootfs of kind `directory` needs `path`\n\nhint: for example `path = \"rootfs\"`"
        );
    }

    #[test]
    fn names_are_names_and_nothing_else() {
        for package in ["?essential", "-o Dpkg::x", "$(reboot)", "a b", "", "A"] {
            let spec = RootfsSpec {
                packages: vec![package.to_string()],
                ..toml::from_str("kind = \"debian\"\nsuite = \"bookworm\"\npackages = [\"x\"]").unwrap()
            };
            assert!(spec.validate().is_err(), "{package}");
        }
        assert_eq!(
            refusal("kind = \"debian\"\nsuite = \"bookworm\"\npackages = [\"$(reboot)\"]"),
            "`$(reboot)` is not the name of a package\n\n\
             hint: a name like `busybox-static`: lower-case letters, digits, `+`, `-`, `.`"
        );
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<RootfsSpec>("kind = \"tar\"\npaht = \"x\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `paht`"), "{error}");
    }
}
