//! What is written to: a drive, a file that stands for one, or a memory disk in tests.
//!
//! Direct I/O (`O_DIRECT`, open(2)) goes past the page cache: writes reach the drive at its own pace, and what is read
//! back comes from the drive. Where it is refused, writes are synced often and the cache is dropped before reading.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl, ioctl_blksszget};

/// Where an image goes.
pub trait Target: Send + Sync {
    /// Bytes it holds; `u64::MAX` for a file that grows.
    fn size(&self) -> u64;

    /// Reads some bytes at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Waits until everything written is on the drive.
    fn sync(&self) -> io::Result<()>;

    /// Forgets what was cached: the next reads come from the drive.
    fn drop_cache(&self) -> io::Result<()>;

    /// Makes a file that grows as large as the image.
    fn set_size(&self, size: u64) -> io::Result<()>;
}

/// Writes all of `bytes` at `offset`.
pub fn write_all_at(target: &dyn Target, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match target.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// Alignment of direct I/O on regular files: what every filesystem takes.
const FILE_ALIGN: u64 = 4096;

/// A drive or a regular file.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    size: u64,
    grows: bool,
    align: u64,
    direct: AtomicBool,
    /// `O_DIRECT` belongs to the open file: it is not switched while another thread reads or writes.
    switch: RwLock<()>,
}

impl FileTarget {
    /// Takes a drive or a file that is open for reading and writing. A regular file that holds something is like a
    /// drive of its size; an empty one grows.
    pub fn new(mut file: File) -> io::Result<Self> {
        let is_drive = file.metadata()?.file_type().is_block_device();
        let end = file.seek(SeekFrom::End(0))?;
        let grows = !is_drive && end == 0;
        let align = if is_drive { u64::from(ioctl_blksszget(&file)?) } else { FILE_ALIGN };
        let target = FileTarget {
            size: if grows { u64::MAX } else { end },
            grows,
            align,
            direct: AtomicBool::new(false),
            switch: RwLock::new(()),
            file,
        };
        // Not every filesystem takes it.
        let direct = target.set_direct(true).is_ok();
        target.direct.store(direct, Ordering::Relaxed);
        Ok(target)
    }

    fn set_direct(&self, on: bool) -> io::Result<()> {
        let mut flags = fcntl_getfl(&self.file)?;
        flags.set(OFlags::DIRECT, on);
        Ok(fcntl_setfl(&self.file, flags)?)
    }

    /// How many bytes of a transfer can be direct; 0 when it has to go through the page cache.
    fn direct_part(&self, address: usize, len: usize, offset: u64) -> usize {
        let fits = |n: u64| n.is_multiple_of(self.align);
        if !self.direct.load(Ordering::Relaxed) || !fits(address as u64) || !fits(offset) {
            return 0;
        }
        len - len % self.align as usize
    }

    /// Runs a transfer through the page cache.
    fn cached<T>(&self, transfer: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.direct.load(Ordering::Relaxed) {
            return transfer();
        }
        let _guard = self.switch.write().unwrap_or_else(PoisonError::into_inner);
        self.set_direct(false)?;
        let result = transfer();
        self.set_direct(true)?;
        result
    }

    /// Runs a direct transfer; one that is refused for its alignment ends direct I/O for good.
    fn direct(&self, mut transfer: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        let result = {
            let _guard = self.switch.read().unwrap_or_else(PoisonError::into_inner);
            transfer()
        };
        match result {
            Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => {
                let _guard = self.switch.write().unwrap_or_else(PoisonError::into_inner);
                self.set_direct(false)?;
                self.direct.store(false, Ordering::Relaxed);
                transfer()
            }
            result => result,
        }
    }
}

impl Target for FileTarget {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.direct_part(buffer.as_ptr().addr(), buffer.len(), offset);
        if n == 0 {
            return self.cached(|| self.file.read_at(buffer, offset));
        }
        self.direct(|| self.file.read_at(&mut buffer[..n], offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let n = self.direct_part(bytes.as_ptr().addr(), bytes.len(), offset);
        if n == 0 {
            return self.cached(|| self.file.write_at(bytes, offset));
        }
        self.direct(|| self.file.write_at(&bytes[..n], offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        if self.grows { self.file.set_len(size) } else { Ok(()) }
    }
}

/// Memory that direct I/O takes: aligned to a page.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

/// What every drive's alignment divides.
const PAGE: usize = 4096;

impl Buffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Buffer { bytes, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}
