//! The records of a FAT volume: directory entries, boot sector, FSInfo.

use crate::filesystem::vfat::Width;
use crate::filesystem::vfat::geometry::{Geometry, SECTOR};
use crate::filesystem::vfat::names::Short;
use crate::tree::Timestamp;

/// Attribute of a directory.
pub const DIRECTORY: u8 = 0x10;
/// Attribute of a file.
pub const ARCHIVE: u8 = 0x20;
/// Attribute of the volume label.
pub const LABEL: u8 = 0x08;
/// Attribute of a long-name entry.
const LONG: u8 = 0x0F;
/// Sector of the backup boot sector on FAT32.
pub const BACKUP_SECTOR: u64 = 6;
/// UTF-16 units in a long-name entry.
const UNITS: usize = 13;

/// Appends a directory entry.
pub fn push(out: &mut Vec<u8>, short: &Short, attribute: u8, time: Timestamp, cluster: u32, len: u32) {
    let (date, clock, hundredths) = dos_time(time);
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(short);
    entry[11] = attribute;
    entry[13] = hundredths;
    entry[14..16].copy_from_slice(&clock.to_le_bytes());
    entry[16..18].copy_from_slice(&date.to_le_bytes());
    entry[18..20].copy_from_slice(&date.to_le_bytes());
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[22..24].copy_from_slice(&clock.to_le_bytes());
    entry[24..26].copy_from_slice(&date.to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..].copy_from_slice(&len.to_le_bytes());
    out.extend(entry);
}

/// Appends the entries of a long name, last part first, as they precede the short entry.
pub fn push_long(out: &mut Vec<u8>, name: &[u16], short: &Short) {
    let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let parts = name.len().div_ceil(UNITS);
    for (index, part) in name.chunks(UNITS).enumerate().rev() {
        // A name that ends inside an entry is closed by a zero and filled up with ones.
        let mut units = [0xFFFF; UNITS];
        units[..part.len()].copy_from_slice(part);
        if part.len() < UNITS {
            units[part.len()] = 0;
        }
        let mut entry = [0; 32];
        entry[0] = index as u8 + 1 + if index + 1 == parts { 0x40 } else { 0 };
        entry[11] = LONG;
        entry[13] = sum;
        let places = (1..11).chain(14..26).chain(28..32).step_by(2);
        for (place, unit) in places.zip(units) {
            entry[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        out.extend(entry);
    }
}

/// Date, time and hundredths as FAT stores them, in UTC, kept between 1980 and 2107.
fn dos_time(time: Timestamp) -> (u16, u16, u8) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_199;
    let inside = (FIRST..=LAST).contains(&time.secs);
    let secs = time.secs.clamp(FIRST, LAST);
    let nanos = if inside { time.nanos } else { 0 };
    let (year, month, day) = civil(secs.div_euclid(86_400));
    let clock = secs.rem_euclid(86_400);
    let date = ((year - 1980) << 9 | month << 5 | day) as u16;
    let time = (clock / 3600) << 11 | (clock / 60 % 60) << 5 | (clock % 60 / 2);
    (date, time as u16, (clock % 2 * 100) as u8 + (nanos / 10_000_000) as u8)
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant, "chrono-compatible low-level
/// date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The boot sector with the BIOS parameter block.
pub fn boot_sector(geometry: &Geometry, serial: u32, label: Option<&[u8; 11]>) -> [u8; SECTOR as usize] {
    let fat32 = geometry.width == Width::Fat32;
    let (heads, track) = geometry.heads_and_track();
    let mut sector = empty_boot_sector();
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    // Firmware checks for a jump; who boots it all the same gets `int 18h` (no boot device) and a stop.
    let code = if fat32 { 0x5A } else { 0x3E };
    put(0, &[0xEB, code - 2, 0x90]);
    put(code.into(), &[0xCD, 0x18, 0xFA, 0xF4, 0xEB, 0xFD]);
    put(3, b"MSWIN4.1");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[geometry.cluster as u8]);
    put(14, &(geometry.reserved as u16).to_le_bytes());
    put(16, &[2]);
    put(17, &((geometry.root * SECTOR / 32) as u16).to_le_bytes());
    if !fat32 && geometry.sectors <= 0xFFFF {
        put(19, &(geometry.sectors as u16).to_le_bytes());
    } else {
        put(32, &(geometry.sectors as u32).to_le_bytes());
    }
    put(21, &[0xF8]);
    put(24, &track.to_le_bytes());
    put(26, &heads.to_le_bytes());
    let extended = if fat32 {
        put(36, &(geometry.fat as u32).to_le_bytes());
        put(44, &2u32.to_le_bytes());
        put(48, &1u16.to_le_bytes());
        put(50, &(BACKUP_SECTOR as u16).to_le_bytes());
        64
    } else {
        put(22, &(geometry.fat as u16).to_le_bytes());
        36
    };
    put(extended, &[0x80, 0, 0x29]);
    put(extended + 3, &serial.to_le_bytes());
    put(extended + 7, label.unwrap_or(b"NO NAME    "));
    put(extended + 18, format!("{:<8}", geometry.width.name()).as_bytes());
    sector
}

/// A sector with nothing but its signature.
pub fn empty_boot_sector() -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector
}

/// The FSInfo sector: free clusters, and where to look for them.
pub fn fs_info(free: u32, next: u32) -> [u8; SECTOR as usize] {
    let mut sector = empty_boot_sector();
    sector[..4].copy_from_slice(b"RRaA");
    sector[484..488].copy_from_slice(b"rrAa");
    sector[488..492].copy_from_slice(&free.to_le_bytes());
    sector[492..496].copy_from_slice(&next.to_le_bytes());
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_stay_in_range() {
        let at = |secs| {
            let (date, time, hundredths) = dos_time(Timestamp { secs, nanos: 0 });
            (
                1980 + (date >> 9),
                date >> 5 & 0xF,
                date & 0x1F,
                time >> 11,
                time >> 5 & 0x3F,
                time & 0x1F,
                hundredths,
            )
        };
        // 2024-02-29 12:34:57 UTC
        assert_eq!(at(1_709_210_097), (2024, 2, 29, 12, 34, 28, 100));
        assert_eq!(at(0), (1980, 1, 1, 0, 0, 0, 0));
        assert_eq!(at(i64::MAX), (2107, 12, 31, 23, 59, 29, 100));
    }
}
