//! The boot partition inside a finished image, read as a boot loader would: partition table, FAT, files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::boot::config_txt;
use crate::error::{Error, Result};
use crate::fsx;

/// MBR types that hold a FAT (12, 16, 32, with and without LBA) or an EFI system partition.
const FAT_TYPES: [u8; 6] = [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e];
/// MBR type of the entry that protects a GPT.
const PROTECTIVE: u8 = 0xee;
const SECTOR: u64 = 512;

/// The first FAT partition of an image.
pub struct Card {
    fat: fatfs::FileSystem<Window>,
}

impl Card {
    /// Opens the image, read-only.
    pub fn open(image: &Path) -> Result<Self> {
        let mut file = fsx::open(image)?;
        let read_error = |cause: io::Error| fsx::io_error("read", image, &cause);
        let partitions = partitions(&mut file).map_err(read_error)?;
        for (start, len) in partitions {
            let mut window = Window { file: file.try_clone().map_err(read_error)?, start, len, at: 0 };
            if is_fat(&mut window).map_err(read_error)? {
                let options = fatfs::FsOptions::new().update_accessed_date(false);
                return fatfs::FileSystem::new(window, options)
                    .map(|fat| Card { fat })
                    .map_err(|cause| fsx::io_error("read the boot partition of", image, &cause));
            }
        }
        Err(Error::new(format!("`{}` holds no FAT partition", image.display()))
            .hint("a Raspberry Pi's firmware boots from the first FAT of the card"))
    }
}

impl config_txt::Files for Card {
    fn exists(&self, path: &str) -> bool {
        self.fat.root_dir().open_file(path).is_ok()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.fat
            .root_dir()
            .open_file(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|cause| fsx::io_error("read from the boot partition", Path::new(path), &cause))?;
        Ok(bytes)
    }
}

/// Start and length in bytes of what may hold a FAT, in table order; MBR entries first, as the firmware looks.
fn partitions(file: &mut File) -> io::Result<Vec<(u64, u64)>> {
    let mut mbr = [0; SECTOR as usize];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut mbr)?;
    let mut found = Vec::new();
    let mut gpt = false;
    for entry in mbr[446..510].chunks_exact(16) {
        gpt |= entry[4] == PROTECTIVE;
        if FAT_TYPES.contains(&entry[4]) || entry[4] == 0xef {
            found.push((u64::from(le32(&entry[8..])) * SECTOR, u64::from(le32(&entry[12..])) * SECTOR));
        }
    }
    if gpt {
        found.extend(gpt_partitions(file)?);
    }
    Ok(found)
}

/// Partitions of a GPT, whatever their type (UEFI specification, 5.3).
fn gpt_partitions(file: &mut File) -> io::Result<Vec<(u64, u64)>> {
    let mut header = [0; SECTOR as usize];
    file.seek(SeekFrom::Start(SECTOR))?;
    file.read_exact(&mut header)?;
    if &header[..8] != b"EFI PART" {
        return Ok(Vec::new());
    }
    let (count, size) = (le32(&header[80..]).min(1024), le32(&header[84..]).clamp(128, 4096));
    file.seek(SeekFrom::Start(le64(&header[72..]).saturating_mul(SECTOR)))?;
    let mut entry = vec![0; size as usize];
    let mut found = Vec::new();
    for _ in 0..count {
        file.read_exact(&mut entry)?;
        let (first, last) = (le64(&entry[32..]), le64(&entry[40..]));
        if entry[..16] != [0; 16] && first <= last {
            found.push((first.saturating_mul(SECTOR), (last - first + 1).saturating_mul(SECTOR)));
        }
    }
    Ok(found)
}

/// True for the boot sector of a FAT: its signature and the name that every formatter puts there.
fn is_fat(window: &mut Window) -> io::Result<bool> {
    let mut sector = [0; SECTOR as usize];
    match window.read_exact(&mut sector) {
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    window.seek(SeekFrom::Start(0))?;
    Ok(sector[510..] == [0x55, 0xaa] && (&sector[54..57] == b"FAT" || &sector[82..85] == b"FAT"))
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn le64(bytes: &[u8]) -> u64 {
    u64::from(le32(bytes)) | u64::from(le32(&bytes[4..])) << 32
}

/// A range of a file that cannot be written.
struct Window {
    file: File,
    start: u64,
    len: u64,
    at: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.len.saturating_sub(self.at).min(buffer.len() as u64) as usize;
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let n = self.file.read(&mut buffer[..room])?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
