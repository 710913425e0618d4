//! The legacy U-Boot image header (include/image.h of U-Boot): 64 bytes, big-endian, before the kernel.
//!
//! Written here rather than by kbuild's `uImage` target: that one exists for 32-bit Arm only, needs
//! mkimage and puts the wall clock into the header.

use crate::arch::Arch;
use crate::error::{Error, Result};

/// The kbuild goal that goes below the header.
pub fn payload(arch: Arch) -> &'static str {
    if arch == Arch::Arm { "zImage" } else { "Image" }
}

/// Header and kernel. `load` is both load and entry address.
pub fn wrap(arch: Arch, release: &str, load: u32, epoch: i64, kernel: &[u8]) -> Result<Vec<u8>> {
    const MAGIC: u32 = 0x2705_1956;
    const OS_LINUX: u8 = 5;
    const TYPE_KERNEL: u8 = 2;
    const COMP_NONE: u8 = 0;
    let too_big = || Error::new("the kernel does not fit a `uImage`: it is larger than 4 GiB");
    let size = u32::try_from(kernel.len()).map_err(|_| too_big())?;
    let time = u32::try_from(epoch.max(0)).unwrap_or(u32::MAX);
    let arch = match arch {
        Arch::Arm => 2,
        Arch::Arm64 => 22,
        Arch::X86_64 => 24,
        Arch::Riscv => 26,
    };
    let mut header = Vec::with_capacity(64 + kernel.len());
    for word in [MAGIC, 0, time, size, load, load, crc32(kernel)] {
        header.extend(word.to_be_bytes());
    }
    header.extend([OS_LINUX, arch, TYPE_KERNEL, COMP_NONE]);
    let mut name = format!("Linux-{release}").into_bytes();
    name.resize(32, 0);
    header.extend(name);
    // The header's own checksum is taken with its field zero.
    let checksum = crc32(&header);
    header[4..8].copy_from_slice(&checksum.to_be_bytes());
    header.extend(kernel);
    Ok(header)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn mkimage_accepts_the_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uImage");
        let kernel = vec![7; 5000];
        std::fs::write(&path, wrap(Arch::Arm, "6.12.1", 0x8000, 1_762_797_900, &kernel).unwrap()).unwrap();
        let listed = Cmd::new("mkimage").arg("-l").arg(&path).check().unwrap().text();
        assert_eq!(
            listed,
            "Image Name:   Linux-6.12.1\n\
             Created:      Mon Nov 10 18:05:00 2025\n\
             Image Type:   ARM Linux Kernel Image (uncompressed)\n\
             Data Size:    5000 Bytes = 4.88 KiB = 0.00 MiB\n\
             Load Address: 00008000\n\
             Entry Point:  00008000\n"
        );
    }
}
