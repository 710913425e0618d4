//! What a profile's `[boot]` table may say.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::firmware::FirmwareFile;
use crate::error::{Error, Result};

/// Which boot loader reads the boot partition, and how it is told what to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChainName {
    /// U-Boot's distro boot with `extlinux/extlinux.conf`.
    Extlinux,
    /// U-Boot's distro boot with `boot.scr`.
    UbootScript,
    /// The Raspberry Pi's firmware with `config.txt`.
    RpiFirmware,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChainName::Extlinux => "extlinux",
            ChainName::UbootScript => "uboot-script",
            ChainName::RpiFirmware => "rpi-firmware",
        })
    }
}

/// The `[boot]` table of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BootSpec {
    /// Which boot loader reads the boot partition, and how it is told what to boot.
    pub chain: ChainName,
    /// Files to copy from the fetched firmware to the boot partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<FirmwareFile>,
    /// `rpi-firmware`: lines to add to config.txt, after those of bimg. `uboot-script`: the lines of config.txt, for
    /// a U-Boot that the Raspberry Pi's firmware starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<String>,
    /// `rpi-firmware`: overlays to apply, as config.txt's `dtoverlay=` wants them:
    /// `disable-bt`, `i2c-rtc,ds3231`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dtoverlays: Vec<String>,
    /// `rpi-firmware`: name of the kernel file; `kernel8.img` (arm64) or `kernel7l.img` (arm) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

impl BootSpec {
    /// A chain with nothing else said.
    pub fn new(chain: ChainName) -> Self {
        BootSpec { chain, firmware: Vec::new(), config: Vec::new(), dtoverlays: Vec::new(), kernel: None }
    }

    /// Settings that do not fit the chain, and lines that are more than a line.
    pub fn check(&self) -> Result<()> {
        if self.chain != ChainName::RpiFirmware {
            let strange = [
                ("config", self.chain != ChainName::UbootScript && !self.config.is_empty()),
                ("dtoverlays", !self.dtoverlays.is_empty()),
                ("kernel", self.kernel.is_some()),
            ];
            if let Some((key, _)) = strange.iter().find(|(_, set)| *set) {
                return Err(Error::usage(format!("`boot.{key}` does not fit boot chain `{}`", self.chain))
                    .hint(format!("only `rpi-firmware` reads `boot.{key}`: remove it or change the chain")));
            }
        }
        for (key, lines) in [("config", &self.config), ("dtoverlays", &self.dtoverlays)] {
            for line in lines {
                // The firmware reads 98 characters of a line (documentation/computers/config_txt).
                if line.len() > 98 || line.chars().any(char::is_control) {
                    return Err(Error::usage(format!(
                        "`boot.{key}` holds `{}`, which is not a line of config.txt",
                        line.escape_debug()
                    ))
                    .hint("one line each, 98 characters at most: the firmware ignores the rest"));
                }
            }
        }
        Ok(())
    }
}
