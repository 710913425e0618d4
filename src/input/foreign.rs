//! Files that hold an image without being one: written to a card as they are, they leave nothing that boots.
//!
//! Sources: the specifications of each format; `file(1)` for `.lzma`, which has no magic number.

use super::{Format, Input};
use crate::error::{Error, Result};

/// Bytes that tell.
const FRONT: usize = 512;
/// Signature of a boot sector, at its end. What has it is a disk, whatever it begins with.
const BOOT: [u8; 2] = [0x55, 0xaa];

/// A format: where its magic number is, what it is, and what gets the image out of it.
type Row = (usize, &'static [u8], &'static str, &'static str);

const ROWS: &[Row] = &[
    (0, b"PK\x03\x04", "a zip archive", "unzip"),
    (0, b"PK\x05\x06", "an empty zip archive", "unzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "7z x"),
    (257, b"ustar\0", "a tar archive", "tar -xf"),
    (257, b"ustar  \0", "a tar archive", "tar -xf"),
    (0, &[0x04, 0x22, 0x4d, 0x18], "lz4 data", "lz4 -d"),
    (0, &[0x02, 0x21, 0x4c, 0x18], "lz4 data of the old kind", "lz4 -d"),
    (0, b"LZIP\x01", "lzip data", "lzip -d"),
    (0, b"\x89LZO\0\r\n\x1a\n", "lzop data", "lzop -d"),
    (0, b"QFI\xfb", "a qcow2 image", "qemu-img convert -O raw"),
    (0, b"KDMV", "a VMDK image", "qemu-img convert -O raw"),
    (0, b"# Disk DescriptorFile", "the description of a VMDK image", "qemu-img convert -O raw"),
    (0, b"vhdxfile", "a VHDX image", "qemu-img convert -O raw"),
    (0, b"conectix", "a VHD image", "qemu-img convert -O raw"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image", "qemu-img convert -O raw"),
    (0, &[0x3a, 0xff, 0x26, 0xed], "an Android sparse image", "simg2img"),
];

/// What the first bytes of an image say that it is instead, and what gets the image out of that.
fn tell(front: &[u8]) -> Option<(String, &'static str)> {
    if front.get(510..512) == Some(&BOOT) {
        return None;
    }
    let of = |row: &&Row| front.get(row.0..).is_some_and(|bytes| bytes.starts_with(row.1));
    if let Some((_, _, what, tool)) = ROWS.iter().find(of) {
        return Some(((*what).to_string(), tool));
    }
    let tool = match Format::detect(front) {
        Format::Raw if is_lzma(front) => return Some(("lzma data".into(), "xz --format=lzma -d")),
        Format::Raw => return None,
        // Packed twice.
        Format::Xz => "xz -d",
        Format::Zstd => "zstd -d",
        Format::Gz => "gzip -d",
        Format::Bz2 => "bzip2 -d",
    };
    Some((format!("{} data once more", Format::detect(front).name()), tool))
}

/// The usual properties, a dictionary of a multiple of 64 KiB, a size below 1 TiB or none, and the zero that the coder
/// begins with.
fn is_lzma(front: &[u8]) -> bool {
    matches!(
        front,
        [0x5d, 0, 0, _, 0..=8, 255, 255, 255, 255, 255, 255, 255, 255, 0, ..]
            | [0x5d, 0, 0, _, 0..=8, _, _, _, _, _, 0, 0, 0, 0, ..]
    ) && front[3..5] != [0, 0]
}

impl Input {
    /// Refuses what holds an image without being one, by its first bytes: as it is stored, or unpacked. Nothing is
    /// lost of a stream.
    pub fn check_image(&mut self) -> Result<()> {
        let Some((what, tool)) = tell(&self.peek(FRONT)?) else { return Ok(()) };
        let it = if self.format == Format::Raw { "it is" } else { "unpacked it is" };
        Err(Error::usage(format!("`{}` is no image of a disk", self.name))
            .caused_by(format!("{it} {what}, not the bytes of a disk"))
            .hint(format!("get the image itself with `{tool}`, and flash that")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_disk_is_not_taken_for_something_else() {
        let mut front = vec![0; FRONT];
        assert_eq!(tell(&front), None);
        assert_eq!(tell(b""), None);
        // No dictionary, and no coder.
        front[0] = 0x5d;
        assert_eq!(tell(&front), None);
        front[3] = 1;
        assert!(tell(&front).is_some());
        front[13] = 1;
        assert_eq!(tell(&front), None);
        for (at, magic, what, tool) in ROWS {
            let mut front = vec![0; FRONT];
            front[*at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(tell(&front), Some(((*what).to_string(), *tool)));
            // All of the magic number counts.
            front[at + magic.len() - 1] ^= 0x40;
            assert_eq!(tell(&front), None, "{what}");
            front[at + magic.len() - 1] ^= 0x40;
            front[510..].copy_from_slice(&BOOT);
            assert_eq!(tell(&front), None, "{what}");
        }
    }
}
