//! The legacy U-Boot image: a 64-byte header before the payload, all fields big-endian.
//!
//! Layout: U-Boot `include/image.h`, `struct legacy_img_hdr`. Judge: `mkimage -l`. Only scripts are
//! made here: kbuild makes uImage kernels itself, and their load address belongs to the board.

use crate::arch::Arch;
use crate::error::{Error, Result};

/// `IH_MAGIC`.
const MAGIC: u32 = 0x2705_1956;
/// `IH_OS_LINUX`.
const OS_LINUX: u8 = 5;
/// `IH_TYPE_SCRIPT`.
const TYPE_SCRIPT: u8 = 6;
/// Bytes of `ih_name`.
const NAME_LEN: usize = 32;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;

/// A script for U-Boot's `source` command: header, a list with one length, the text. `name` is what
/// U-Boot prints (cut after 32 bytes), `epoch` the creation time in seconds since 1970.
pub fn script(arch: Arch, name: &str, epoch: i64, text: &str) -> Result<Vec<u8>> {
    let size = |len: usize| {
        u32::try_from(len)
            .map_err(|_| Error::new("a U-Boot script is too large").caused_by(format!("{len} bytes")))
    };
    let mut data = Vec::with_capacity(text.len() + 8);
    data.extend(size(text.len())?.to_be_bytes());
    data.extend(0u32.to_be_bytes());
    data.extend(text.as_bytes());

    let mut header = Vec::with_capacity(HEADER_LEN + data.len());
    let epoch = u32::try_from(epoch).unwrap_or(0);
    // Magic, the header's own checksum (below), time, size, load address, entry point, data checksum.
    for word in [MAGIC, 0, epoch, size(data.len())?, 0, 0, crc32(&data)] {
        header.extend(word.to_be_bytes());
    }
    // Operating system, architecture, type, compression (none).
    header.extend([OS_LINUX, arch_code(arch), TYPE_SCRIPT, 0]);
    header.extend(name.bytes().chain(std::iter::repeat(0)).take(NAME_LEN));
    let checksum = crc32(&header);
    header[4..8].copy_from_slice(&checksum.to_be_bytes());
    header.extend(data);
    Ok(header)
}

/// `IH_ARCH_*`.
const fn arch_code(arch: Arch) -> u8 {
    match arch {
        Arch::Arm => 2,
        Arch::Arm64 => 22,
        Arch::X86_64 => 24,
        Arch::Riscv => 26,
    }
}

/// CRC-32 as zlib computes it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
