//! What a kernel image or module says of itself.
//!
//! A kernel holds its banner, `Linux version 6.12.9 (…)`, as text; wrapped or self-extracting kernels
//! hold it inside a compressed payload, which is looked for by its magic number as the kernel's
//! `scripts/extract-vmlinux` does. Formats: Linux `Documentation/arch/*/boot*.rst`, U-Boot
//! `include/image.h`, Linux `drivers/firmware/efi/libstub/zboot-header.S`.

use std::io::{self, Read};

use memchr::memmem;
use serde::Serialize;

use super::read::{bytes, le16, le32, text};

/// Bytes of a kernel file that are read.
pub const MAX_FILE: u64 = 256 << 20;
/// Bytes that a payload may unpack to: three times the largest distribution kernel.
const MAX_UNPACKED: u64 = 192 << 20;
/// Payloads tried; magic numbers turn up by chance.
const MAX_TRIES: usize = 12;
/// Bytes of a module that are read, and that it may unpack to.
pub const MAX_MODULE: u64 = 64 << 20;
/// Longest banner or vermagic.
const MAX_TEXT: usize = 512;
const BANNER: &[u8] = b"Linux version ";

/// A kernel image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// `Image`, `zImage`, `bzImage`, `uImage`, `FIT`, `vmlinux`, `EFI`, or `gzip` for a packed one.
    pub format: &'static str,
    /// As `uname -m` has it, where the header tells.
    pub machine: Option<&'static str>,
    /// `uname -r`.
    pub release: Option<String>,
}

/// True for a U-Boot, which a Raspberry Pi's firmware starts as it starts a kernel: by its version string.
pub fn is_uboot(file: &[u8]) -> bool {
    memmem::find(file, b"U-Boot 20").is_some()
}

/// Looks into a kernel file; `None` when it is none.
pub fn identify(file: &[u8]) -> Option<Kernel> {
    let (format, machine) = format(file)?;
    let release = bzimage_release(file).or_else(|| banner(file)).or_else(|| packed_banner(file));
    Some(Kernel { format, machine, release })
}

/// What the header says.
fn format(file: &[u8]) -> Option<(&'static str, Option<&'static str>)> {
    let has = |at: usize, magic: &[u8]| file.get(at..).is_some_and(|rest| rest.starts_with(magic));
    Some(if has(0, &[0x27, 0x05, 0x19, 0x56]) {
        ("uImage", legacy_machine(file.get(29).copied().unwrap_or_default()))
    } else if has(0, &[0xD0, 0x0D, 0xFE, 0xED]) {
        ("FIT", None)
    } else if has(4, b"zimg") {
        ("EFI zboot", pe_machine(file))
    } else if has(56, b"ARM\x64") {
        ("Image", Some("aarch64"))
    } else if has(56, b"RSC\x05") {
        ("Image", Some("riscv64"))
    } else if has(0x202, b"HdrS") {
        let wide = le16(file, 0x236) & 1 != 0;
        ("bzImage", Some(if wide { "x86_64" } else { "i386" }))
    } else if has(0x24, &[0x18, 0x28, 0x6F, 0x01]) {
        ("zImage", Some("arm"))
    } else if has(0, b"\x7FELF") {
        ("vmlinux", elf_machine(le16(file, 18)))
    } else if has(0, b"MZ") {
        ("EFI", pe_machine(file))
    } else if has(0, &[0x1F, 0x8B]) {
        ("gzip", None)
    } else {
        return None;
    })
}

/// Of a uImage's `ih_arch`.
fn legacy_machine(code: u8) -> Option<&'static str> {
    match code {
        2 => Some("arm"),
        22 => Some("aarch64"),
        24 => Some("x86_64"),
        26 => Some("riscv64"),
        _ => None,
    }
}

/// Of an ELF's `e_machine`.
fn elf_machine(code: u16) -> Option<&'static str> {
    match code {
        40 => Some("arm"),
        183 => Some("aarch64"),
        62 => Some("x86_64"),
        243 => Some("riscv64"),
        _ => None,
    }
}

/// Of a PE header's `Machine`.
fn pe_machine(file: &[u8]) -> Option<&'static str> {
    let at = le32(file, 0x3C) as usize;
    if bytes::<4>(file, at) != *b"PE\0\0" {
        return None;
    }
    match le16(file, at.checked_add(4)?) {
        0x01C2 => Some("arm"),
        0xAA64 => Some("aarch64"),
        0x8664 => Some("x86_64"),
        0x5064 => Some("riscv64"),
        _ => None,
    }
}

/// The x86 header points at the release.
fn bzimage_release(file: &[u8]) -> Option<String> {
    if bytes::<4>(file, 0x202) != *b"HdrS" {
        return None;
    }
    let at = usize::from(le16(file, 0x20E)) + 0x200;
    let field = file.get(at..)?;
    first_word(&field[..field.len().min(MAX_TEXT)])
}

/// The word up to a space or NUL, if it looks like a release.
fn first_word(from: &[u8]) -> Option<String> {
    let end = from.iter().position(|byte| matches!(byte, 0 | b' ' | b'\n'))?;
    let word = text(&from[..end]);
    let is_release = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    (is_release && word.chars().all(|c| c.is_ascii_graphic())).then_some(word)
}

/// The release in the first banner of some bytes.
fn banner(from: &[u8]) -> Option<String> {
    memmem::find_iter(from, BANNER).find_map(|at| {
        let rest = &from[at + BANNER.len()..];
        first_word(&rest[..rest.len().min(MAX_TEXT)])
    })
}

/// The release in a compressed payload.
fn packed_banner(file: &[u8]) -> Option<String> {
    let magics: [(&[u8], Unpack); 4] = [
        (&[0x1F, 0x8B, 0x08], |from| Box::new(flate2::read::GzDecoder::new(from))),
        (b"\xFD7zXZ\0", |from| Box::new(liblzma::read::XzDecoder::new(from))),
        (&[0x28, 0xB5, 0x2F, 0xFD], |from| match zstd::Decoder::new(from) {
            Ok(decoder) => Box::new(decoder),
            Err(_) => Box::new(io::empty()),
        }),
        // LZMA alone: properties and an 8 MiB or other round dictionary, size unknown.
        (&[0x5D, 0, 0], |from| match liblzma::stream::Stream::new_lzma_decoder(128 << 20) {
            Ok(stream) => Box::new(liblzma::read::XzDecoder::new_stream(from, stream)),
            Err(_) => Box::new(io::empty()),
        }),
    ];
    magics.iter().find_map(|(magic, unpack)| {
        memmem::find_iter(file, magic).take(MAX_TRIES).find_map(|at| banner_in(unpack(&file[at..])))
    })
}

type Unpack = for<'a> fn(&'a [u8]) -> Box<dyn Read + 'a>;

/// The first banner that comes out of a decoder. What follows a payload makes decoders fail at its
/// end, so an error only ends the search.
fn banner_in(mut from: Box<dyn Read + '_>) -> Option<String> {
    let mut window = Vec::new();
    let mut piece = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let n = from.read(&mut piece).ok().filter(|n| *n > 0)?;
        window.extend_from_slice(&piece[..n]);
        // The last bytes stay for a banner that continues in the next piece.
        if let Some(release) = banner(&window) {
            return Some(release);
        }
        window.drain(..window.len().saturating_sub(MAX_TEXT));
        total += n as u64;
        if total > MAX_UNPACKED {
            return None;
        }
    }
}

/// True for the file name of a module, compressed or not.
pub fn is_module(path: &str) -> bool {
    [".ko", ".ko.gz", ".ko.xz", ".ko.zst"].iter().any(|end| path.ends_with(end))
}

/// The `vermagic` of a module, which may be compressed as its name says.
pub fn vermagic(name: &str, file: &[u8]) -> Option<String> {
    let unpacked = |from: Box<dyn Read + '_>| {
        let mut bytes = Vec::new();
        from.take(MAX_MODULE).read_to_end(&mut bytes).ok().map(|_| bytes)
    };
    let owned;
    let module: &[u8] = match name.rsplit('.').next() {
        Some("gz") => {
            owned = unpacked(Box::new(flate2::read::MultiGzDecoder::new(file)))?;
            &owned
        }
        Some("xz") => {
            owned = unpacked(Box::new(liblzma::read::XzDecoder::new(file)))?;
            &owned
        }
        Some("zst") => {
            owned = unpacked(Box::new(zstd::Decoder::new(file).ok()?))?;
            &owned
        }
        _ => file,
    };
    modinfo(module, "vermagic")
        .filter(|value| value.len() < MAX_TEXT)
        .map(text)
        .find(|text| text.starts_with(|c: char| c.is_ascii_digit()))
}

/// Values of a key in a module's `.modinfo`, which holds NUL-terminated `key=value` strings
/// (`include/linux/moduleparam.h`).
pub fn modinfo<'a>(module: &'a [u8], key: &str) -> impl Iterator<Item = &'a [u8]> {
    let finder = memmem::Finder::new(&[b"\0", key.as_bytes(), b"="].concat()).into_owned();
    let mut rest = module;
    std::iter::from_fn(move || {
        rest = &rest[finder.find(rest)? + finder.needle().len()..];
        // Cut off in the middle of a value: no value.
        Some(&rest[..memchr::memchr(0, rest)?])
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn arm64(banner: &str) -> Vec<u8> {
        let mut image = vec![0; 4096];
        image[56..60].copy_from_slice(b"ARM\x64");
        image.extend(b"Linux version %s (%s)\n\0");
        image.extend(banner.as_bytes());
        image.extend([0; 5000]);
        image
    }

    const TEXT: &str = "Linux version 6.12.9-v8+ (me@host) (gcc 12) #1 SMP\n\0";

    #[test]
    fn the_banner_is_found_in_every_wrapping() {
        let plain = arm64(TEXT);
        let release = |file: &[u8]| identify(file).unwrap().release;
        let expected = Some("6.12.9-v8+".to_string());
        assert_eq!(release(&plain), expected);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&plain).unwrap();
        let gz = gz.finish().unwrap();
        assert_eq!(
            identify(&gz).unwrap(),
            Kernel { format: "gzip", machine: None, release: expected.clone() }
        );
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&plain).unwrap();
        let mut zimage = vec![0; 100];
        zimage[0x24..0x28].copy_from_slice(&[0x18, 0x28, 0x6F, 0x01]);
        // A magic number that means nothing comes first.
        zimage.extend([0xFD, b'7', b'z', b'X', b'Z', 0, 1, 2, 3]);
        zimage.extend(xz.finish().unwrap());
        zimage.extend([7; 300]);
        assert_eq!(
            identify(&zimage).unwrap(),
            Kernel { format: "zImage", machine: Some("arm"), release: expected.clone() }
        );
        let mut uimage = vec![0x27, 0x05, 0x19, 0x56];
        uimage.resize(64, 0);
        uimage[29] = 22;
        uimage.extend(zstd::encode_all(plain.as_slice(), 3).unwrap());
        assert_eq!(
            identify(&uimage).unwrap(),
            Kernel { format: "uImage", machine: Some("aarch64"), release: expected }
        );
        assert_eq!(release(&arm64("no banner")), None);
        assert_eq!(identify(b"#!/bin/sh\n"), None);
        assert_eq!(identify(&[]), None);
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        let module = b"\x7FELF junk\0license=GPL\0vermagic=6.12.9 SMP mod_unload aarch64\0name=x\0".to_vec();
        let expected = Some("6.12.9 SMP mod_unload aarch64".to_string());
        assert_eq!(vermagic("x.ko", &module), expected);
        assert_eq!(vermagic("x.ko.zst", &zstd::encode_all(module.as_slice(), 3).unwrap()), expected);
        assert_eq!(vermagic("x.ko.xz", &module), None);
        assert_eq!(vermagic("x.ko", b"vermagic="), None);
    }
}
