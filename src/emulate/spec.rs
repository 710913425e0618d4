//! What a profile's `[emulator]` table may say.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::boot::config_txt::Model;
use crate::error::{Error, Result};
use crate::units::ByteSize;

/// A QEMU machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineName {
    /// QEMU's own board, for `arm`, `arm64` and `riscv64`.
    Virt,
    /// Raspberry Pi 3 Model B: SD card, USB network.
    Raspi3b,
    /// Raspberry Pi 4 Model B: SD card, no network; QEMU 9.0 or later.
    Raspi4b,
}

impl MachineName {
    /// As QEMU and profiles name it.
    pub const fn name(self) -> &'static str {
        match self {
            MachineName::Virt => "virt",
            MachineName::Raspi3b => "raspi3b",
            MachineName::Raspi4b => "raspi4b",
        }
    }

    /// `earlycon=` for its first serial port, when QEMU starts the kernel without boot firmware that talks.
    pub const fn earlycon(self) -> Option<&'static str> {
        match self {
            MachineName::Virt => None,
            MachineName::Raspi3b => Some("pl011,mmio32,0x3f201000"),
            MachineName::Raspi4b => Some("pl011,mmio32,0xfe201000"),
        }
    }

    /// The Raspberry Pi that it is, whose firmware QEMU does not run.
    pub const fn raspberry_pi(self) -> Option<Model> {
        match self {
            MachineName::Virt => None,
            MachineName::Raspi3b => Some(Model::Pi3B),
            MachineName::Raspi4b => Some(Model::Pi4B),
        }
    }
}

/// How the image is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBus {
    /// A virtio block device.
    Virtio,
    /// An SD card; its size is rounded up to a power of two, as QEMU wants it.
    Sd,
}

/// Boot firmware for machines that have none of their own.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmulatorFirmware {
    /// What the machine starts from (`-bios`): a file of the board's firmware, such as
    /// `uboot:usr/lib/u-boot/qemu_arm64/u-boot.bin`, or `default` for QEMU's own (OpenSBI on RISC-V).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios: Option<String>,
    /// What the first firmware starts (`-kernel`): U-Boot behind OpenSBI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// The `[emulator]` table of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EmulatorSpec {
    /// QEMU machine.
    pub machine: MachineName,
    /// CPU model; the machine's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// CPUs; the machine's own number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory; the machine's own amount when absent (a Raspberry Pi takes no other).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// The kernel console to watch. On a Raspberry Pi `ttyS*` is the second serial port.
    pub console: String,
    /// How the image is attached.
    pub disk: DiskBus,
    /// A network card behind user networking, with SSH forwarded.
    pub network: bool,
    /// Boot firmware, for machines that have none of their own.
    #[serde(default)]
    pub firmware: EmulatorFirmware,
    /// DTB properties that QEMU cannot serve, by node, removed from the DTB that a Raspberry Pi boots with:
    /// `{ "/emmc2bus/mmc@7e340000" = ["vmmc-supply", "vqmmc-supply"] }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dtb_remove: BTreeMap<String, Vec<String>>,
    /// DTB nodes of devices that QEMU does not have, switched off likewise: `["/soc/clock@7ef00000"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dtb_disable: Vec<String>,
}

impl EmulatorSpec {
    /// What cannot work together.
    pub fn check(&self, arch: Arch) -> Result<()> {
        let name = self.machine.name();
        let bad = |why: String| {
            Err(Error::usage(format!("emulator machine `{name}` cannot be used")).caused_by(why))
        };
        match (self.machine, arch) {
            (MachineName::Virt, Arch::X86_64) => {
                return bad("x86_64 has no machine of that name".to_string());
            }
            (MachineName::Raspi3b | MachineName::Raspi4b, Arch::Arm | Arch::Riscv | Arch::X86_64) => {
                return bad(format!("it starts 64-bit Arm kernels, and this board is `{arch}`"));
            }
            _ => {}
        }
        if self.machine.raspberry_pi().is_some() {
            if self.disk != DiskBus::Sd {
                return bad("it boots from an SD card".to_string())
                    .map_err(|e| e.hint("set `disk = \"sd\"`"));
            }
            if self.firmware != EmulatorFirmware::default() {
                return bad("it takes no firmware: what config.txt names is booted directly".to_string());
            }
            if self.network && self.machine == MachineName::Raspi4b {
                return bad("QEMU gives it no network".to_string())
                    .map_err(|e| e.hint("set `network = false`"));
            }
        } else {
            if self.disk != DiskBus::Virtio {
                return bad("it has no SD card".to_string()).map_err(|e| e.hint("set `disk = \"virtio\"`"));
            }
            if self.firmware == EmulatorFirmware::default() {
                return bad("it needs firmware that boots the image".to_string())
                    .map_err(|e| e.hint("name a U-Boot build: `firmware = { bios = \"uboot:usr/lib/u-boot/qemu_arm64/u-boot.bin\" }`"));
            }
            if !self.dtb_remove.is_empty() || !self.dtb_disable.is_empty() {
                return bad("`dtb-remove` and `dtb-disable` fit only the Raspberry Pi machines".to_string());
            }
        }
        Ok(())
    }
}
