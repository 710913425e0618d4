//! Target architectures, and what everybody else calls them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A target architecture, as profiles write it: `arm`, `arm64`, `riscv64`, `x86_64`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Arch {
    /// 32-bit Arm (armhf).
    #[serde(rename = "arm")]
    Arm,
    /// 64-bit Arm (AArch64).
    #[serde(rename = "arm64")]
    Arm64,
    /// 64-bit RISC-V.
    #[serde(rename = "riscv64")]
    Riscv,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Arch {
    /// As profiles write it.
    pub const fn name(self) -> &'static str {
        match self {
            Arch::Arm => "arm",
            Arch::Arm64 => "arm64",
            Arch::Riscv => "riscv64",
            Arch::X86_64 => "x86_64",
        }
    }

    /// As kbuild's `ARCH=` wants it.
    pub const fn kbuild(self) -> &'static str {
        match self {
            Arch::Arm => "arm",
            Arch::Arm64 => "arm64",
            Arch::Riscv => "riscv",
            Arch::X86_64 => "x86",
        }
    }

    /// As dpkg and mmdebstrap want it.
    pub const fn debian(self) -> &'static str {
        match self {
            Arch::Arm => "armhf",
            Arch::Arm64 => "arm64",
            Arch::Riscv => "riscv64",
            Arch::X86_64 => "amd64",
        }
    }

    /// As in `qemu-system-ARCH`.
    pub const fn qemu(self) -> &'static str {
        match self {
            Arch::Arm => "arm",
            Arch::Arm64 => "aarch64",
            Arch::Riscv => "riscv64",
            Arch::X86_64 => "x86_64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
