//! Where a file's bytes are. Nothing is read until a writer asks.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::fsx;

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A range of a host file: a whole file, or an entry inside an uncompressed tar.
    Range {
        /// The host file.
        file: Arc<PathBuf>,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Several ranges of a host file with zeros between them: a sparse entry inside a tar.
    Sparse {
        /// The host file.
        file: Arc<PathBuf>,
        /// Where there is data, ascending and apart.
        extents: Arc<[Extent]>,
        /// Bytes, holes included.
        len: u64,
    },
}

/// A piece of data between two holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte in the content.
    pub at: u64,
    /// The same in the host file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Content {
    /// A whole host file, which must be readable; its bytes are read when a writer asks.
    pub fn whole(path: &Path) -> Result<Self> {
        let len = fsx::regular(path)?;
        File::open(path).map_err(|cause| fsx::io_error("read", path, &cause))?;
        Ok(Content::Range { file: Arc::new(path.to_owned()), offset: 0, len })
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Range { len, .. } | Content::Sparse { len, .. } => *len,
        }
    }

    /// True for no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens it for reading, positioned at its first byte and ending after its last.
    pub fn open(&self) -> Result<Box<dyn Read + '_>> {
        match self {
            Content::Bytes(bytes) => Ok(Box::new(&bytes[..])),
            Content::Range { file, offset, len } => {
                let mut handle: File = fsx::open(file)?;
                handle.seek(SeekFrom::Start(*offset)).map_err(|cause| fsx::io_error("read", file, &cause))?;
                Ok(Box::new(handle.take(*len)))
            }
            Content::Sparse { file, extents, len } => {
                Ok(Box::new(Unfolded { file: fsx::open(file)?, extents, at: 0, len: *len }))
            }
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Bytes(bytes.into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Bytes(text.as_bytes().into())
    }
}

/// From byte `at` of a sparse content on, `end` at most: where the next bytes are in the host file, none for a
/// hole, and how many are there. At least one, unless `at` is `end`.
pub fn next_run(extents: &[Extent], at: u64, end: u64) -> (Option<u64>, u64) {
    let next = extents.partition_point(|extent| extent.at + extent.len <= at);
    match extents.get(next) {
        Some(extent) if extent.at <= at => {
            let inside = at - extent.at;
            (Some(extent.offset + inside), (extent.len - inside).min(end - at))
        }
        Some(extent) => (None, extent.at.min(end) - at),
        None => (None, end - at),
    }
}

/// A sparse content as it reads.
struct Unfolded<'a> {
    file: File,
    extents: &'a [Extent],
    at: u64,
    len: u64,
}

impl Read for Unfolded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(buffer.len() as u64).min(self.len);
        let (place, n) = next_run(self.extents, self.at, end);
        let buffer = &mut buffer[..n as usize];
        let Some(offset) = place else {
            buffer.fill(0);
            self.at += n;
            return Ok(n as usize);
        };
        let n = self.file.read_at(buffer, offset)?;
        if n == 0 && !buffer.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}
