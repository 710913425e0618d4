//! A disk in memory, which may lie.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Target;

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Takes and gives at most so many bytes at once.
    Short(usize),
    /// Refuses the byte at this offset with this errno.
    FailWrite(u64, i32),
    FailRead(u64, i32),
    FailSync(i32),
    /// Forgets the first so many writes that touch this offset.
    Drop(u64, u64),
    /// Flips a bit at this offset in the first so many writes that touch it.
    Flip(u64, u64),
    /// Has only so many bytes; what is beyond goes to the beginning.
    Wraps(u64),
}

pub struct Disk {
    size: u64,
    pub bytes: Mutex<Vec<u8>>,
    faults: Vec<Fault>,
    hits: AtomicU64,
    /// Offset and length of each write.
    pub writes: Mutex<Vec<(u64, usize)>>,
}

impl Disk {
    /// Filled with a pattern, as a used card.
    pub fn used(size: usize) -> Self {
        Disk {
            size: size as u64,
            bytes: Mutex::new(vec![0xA5; size]),
            faults: Vec::new(),
            hits: AtomicU64::new(0),
            writes: Mutex::default(),
        }
    }

    pub fn with(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    pub fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub fn written(&self) -> usize {
        self.writes.lock().unwrap().iter().map(|(_, len)| len).sum()
    }

    /// True for the first `times` calls.
    fn hit(&self, times: u64) -> bool {
        self.hits.fetch_add(1, Ordering::Relaxed) < times
    }

    /// Where `len` bytes at `offset` really lie: two parts when the disk wraps there.
    fn places(&self, offset: u64, len: usize) -> [std::ops::Range<usize>; 2] {
        let wraps = self.faults.iter().find_map(|fault| match fault {
            Fault::Wraps(size) => Some(*size),
            _ => None,
        });
        let size = wraps.unwrap_or(self.size).max(1);
        let start = (offset % size) as usize;
        let first = len.min(size as usize - start);
        [start..start + first, 0..len - first]
    }

    fn limit(&self, len: usize, offset: u64) -> usize {
        let short = self.faults.iter().find_map(|fault| match fault {
            Fault::Short(n) => Some(*n),
            _ => None,
        });
        len.min(short.unwrap_or(len)).min(self.size.saturating_sub(offset) as usize)
    }
}

impl Target for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.limit(buffer.len(), offset);
        for fault in &self.faults {
            match *fault {
                Fault::FailRead(at, errno) if (offset..offset + n as u64).contains(&at) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                _ => {}
            }
        }
        let bytes = self.bytes.lock().unwrap();
        let [first, second] = self.places(offset, n);
        let cut = first.len();
        buffer[..cut].copy_from_slice(&bytes[first]);
        buffer[cut..n].copy_from_slice(&bytes[second]);
        Ok(n)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let n = self.limit(data.len(), offset);
        let range = offset..offset + n as u64;
        let mut data = data[..n].to_vec();
        for fault in &self.faults {
            match *fault {
                Fault::FailWrite(at, errno) if range.contains(&at) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Fault::Drop(at, times) if range.contains(&at) && self.hit(times) => return Ok(n),
                Fault::Flip(at, times) if range.contains(&at) && self.hit(times) => {
                    data[(at - offset) as usize] ^= 0x10;
                }
                _ => {}
            }
        }
        self.writes.lock().unwrap().push((offset, n));
        let mut bytes = self.bytes.lock().unwrap();
        let [first, second] = self.places(offset, n);
        let cut = first.len();
        bytes[first].copy_from_slice(&data[..cut]);
        bytes[second].copy_from_slice(&data[cut..]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.iter().try_for_each(|fault| match fault {
            Fault::FailSync(errno) => Err(io::Error::from_raw_os_error(*errno)),
            _ => Ok(()),
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
