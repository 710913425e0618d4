//! Random access to the bytes of an image, wherever they are, and numbers out of them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::fsx;

/// Bytes that can be read at any offset, by any number of readers.
pub trait ReadAt {
    /// Bytes there are.
    fn len(&self) -> u64;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset` on; an error of kind `UnexpectedEof` when there is not that much.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// What there is from `offset` on, up to `len` bytes: for headers that may be cut off.
    fn read_some_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let room = self.len().saturating_sub(offset).min(len as u64) as usize;
        let mut buffer = vec![0; room];
        if room > 0 {
            self.read_exact_at(offset, &mut buffer)?;
        }
        Ok(buffer)
    }
}

/// An image that several readers share.
pub type Source = Arc<dyn ReadAt + Send + Sync>;

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| past_the_end())?;
        let to = from.checked_add(buffer.len()).ok_or_else(past_the_end)?;
        buffer.copy_from_slice(self.get(from..to).ok_or_else(past_the_end)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buffer)
    }
}

/// An open image file or block device.
#[derive(Debug)]
pub struct Disk {
    file: File,
    len: u64,
}

impl Disk {
    /// Opens for reading.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(fsx::open(path)?).map_err(|cause| fsx::io_error("read", path, &cause))
    }

    /// Over an open file; its length is taken now.
    pub fn new(mut file: File) -> io::Result<Self> {
        // A block device has no length of its own, but an end.
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Disk { file, len })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A range of something larger, such as a partition. What reaches past the end of the whole is cut off.
#[derive(Debug, Clone)]
pub struct Window<R> {
    whole: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> Window<R> {
    /// `len` bytes from `start` on, or as many as there are.
    pub fn new(whole: R, start: u64, len: u64) -> Self {
        let len = whole.len().saturating_sub(start).min(len);
        Window { whole, start, len }
    }
}

impl<R: ReadAt> ReadAt for Window<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(past_the_end());
        }
        self.whole.read_exact_at(self.start + offset, buffer)
    }
}

/// Reads a [`ReadAt`] from one end to the other.
#[derive(Debug)]
pub struct Cursor<R> {
    inner: R,
    at: u64,
}

impl<R: ReadAt> Cursor<R> {
    /// From the first byte on.
    pub fn new(inner: R) -> Self {
        Cursor { inner, at: 0 }
    }
}

impl<R: ReadAt> Read for Cursor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.len().saturating_sub(self.at).min(buffer.len() as u64) as usize;
        self.inner.read_exact_at(self.at, &mut buffer[..n])?;
        self.at += n as u64;
        Ok(n)
    }
}

/// `N` bytes at `at`; zeros where the slice has ended.
pub fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    at.checked_add(N).and_then(|end| from.get(at..end)).and_then(|it| it.try_into().ok()).unwrap_or([0; N])
}

/// A little-endian number at `at`; 0 past the end.
pub fn le16(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(from, at))
}

/// A little-endian number at `at`; 0 past the end.
pub fn le32(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(from, at))
}

/// A little-endian number at `at`; 0 past the end.
pub fn le64(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(from, at))
}

/// Text in a field of fixed length: up to the first NUL, trailing spaces dropped.
pub fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_its_range_and_no_more() {
        let whole: Vec<u8> = (0..100).collect();
        let window = Window::new(&whole, 90, 20);
        assert_eq!(window.len(), 10);
        let mut two = [0; 2];
        window.read_exact_at(8, &mut two).unwrap();
        assert_eq!(two, [98, 99]);
        assert!(window.read_exact_at(9, &mut two).is_err());
        assert!(window.read_exact_at(u64::MAX, &mut two).is_err());
        assert_eq!(Window::new(&whole, 1000, 5).len(), 0);
        assert_eq!(whole.read_some_at(98, 512).unwrap(), [98, 99]);
    }

    #[test]
    fn fields_past_the_end_are_zero() {
        assert_eq!(le32(&[1, 0, 0], 0), 0);
        assert_eq!(le16(&[1, 2, 3], 1), 0x0302);
        assert_eq!(le64(&[], usize::MAX), 0);
        assert_eq!(text(b"boot  \0junk"), "boot");
    }
}
