//! An image to read: a file, standard input or a URL, plain or compressed, as one stream of plain bytes.
//!
//! ```text
//! Origin --open--> bytes --(SHA-256)--> decompress (by magic) --> Input: read, skip, to the very end
//! ```
//!
//! An image that ends too early or does not decode is an error that says so, whatever its compression.
//! What needs random access has the image spooled first, see [`spool`].

mod decompress;
mod foreign;
mod frames;
mod origin;
mod patient;
mod spool;

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::{HttpStream, Patience};
use crate::{fsx, interrupt};
use patient::Patient;

pub use decompress::{Format, decompress};
pub use origin::Origin;
pub use spool::{Spooled, spool};

/// Bytes thrown away at once when a stream skips.
const SKIP: usize = 256 << 10;

/// An open image.
pub struct Input {
    name: String,
    format: Format,
    stream: Stream,
    /// Plain bytes read or skipped so far.
    position: u64,
    size: Option<u64>,
    identity: Option<Digest>,
    stored: Stored,
}

enum Stream {
    /// Uncompressed: skipping costs nothing.
    File(File),
    Plain(Box<dyn Read + Send>),
}

/// A named pipe, opened by who reads it: that waits until somebody writes to it.
struct Fifo {
    path: PathBuf,
    file: Option<File>,
}

impl Fifo {
    fn new(path: &Path) -> Self {
        Fifo { path: path.to_owned(), file: None }
    }
}

impl Read for Fifo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.read(buffer),
            None => self.file.insert(File::open(&self.path)?).read(buffer),
        }
    }
}

/// The image as it is stored: how much of it there is, was read, and its digest.
#[derive(Clone, Default)]
struct Stored {
    read: Arc<AtomicU64>,
    total: Option<u64>,
    hasher: Option<Arc<Mutex<Sha256>>>,
}

impl Input {
    /// Opens an image.
    pub fn open(origin: &Origin) -> Result<Self> {
        Self::open_stored(origin, Stored::default())
    }

    /// The same; [`Input::finish`] will tell the SHA-256 of the file as it is stored, so all of it is read.
    pub fn open_hashed(origin: &Origin) -> Result<Self> {
        let hasher = Some(Arc::new(Mutex::new(Sha256::new())));
        Self::open_stored(origin, Stored { hasher, ..Stored::default() })
    }

    fn open_stored(origin: &Origin, stored: Stored) -> Result<Self> {
        let name = origin.to_string();
        match origin {
            Origin::File(path) => {
                if path.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
                    return Self::from_reader(name, Patient::new(Fifo::new(path)), stored);
                }
                let file = fsx::open(path)?;
                let failed = |cause: io::Error| fsx::io_error("read", path, &cause);
                let meta = file.metadata().map_err(failed)?;
                let kind = meta.file_type();
                if kind.is_dir() {
                    return Err(Error::usage(format!("cannot read `{name}`")).caused_by("it is a directory"));
                }
                if kind.is_char_device() {
                    return Self::from_reader(name, Patient::new(file), stored);
                }
                let identity = identity(&file, &meta).map_err(failed)?;
                let input = Self::from_file(name, file, stored).map_err(failed)?;
                input.map(|input| Input { identity: Some(identity), ..input })
            }
            Origin::Stdin => Self::from_reader(name, Patient::new(io::stdin()), stored),
            Origin::Url(url) => {
                let stream = HttpStream::open(url, &Patience::default())?;
                let stored = Stored { total: stream.total(), ..stored };
                let identity = stream.identity();
                Ok(Input { identity, ..Self::from_reader(name, stream, stored)? })
            }
        }
    }

    fn from_file(name: String, mut file: File, stored: Stored) -> io::Result<Result<Self>> {
        let total = file.seek(SeekFrom::End(0))?;
        let mut magic = [0; 6];
        let n = read_at(&file, &mut magic, 0)?;
        let format = Format::detect(&magic[..n]);
        let stored = Stored { total: Some(total), ..stored };
        if format == Format::Raw && stored.hasher.is_none() {
            let (stream, size) = (Stream::File(file), Some(total));
            return Ok(Ok(Input { name, format, stream, position: 0, size, identity: None, stored }));
        }
        let size = match format {
            Format::Raw => Some(total),
            Format::Zstd => frames::size(&file, total)?,
            _ => None,
        };
        file.rewind()?;
        Ok(Self::from_reader(name, file, stored).map(|input| Input { size, ..input }))
    }

    /// An image from anything; `name` is for messages.
    fn from_reader(name: String, reader: impl Read + Send + 'static, stored: Stored) -> Result<Self> {
        let counted = Counted { inner: reader, stored: stored.clone() };
        match decompress(counted) {
            Ok((format, plain)) => Ok(Input {
                name,
                format,
                stream: Stream::Plain(plain),
                position: 0,
                size: None,
                identity: None,
                stored,
            }),
            Err(cause) => Err(error(&name, Format::Raw, 0, cause)),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is packed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Plain bytes of the image, as far as that is known before it was read: of a file that is not compressed,
    /// of a Zstandard file all of whose frames say so. It is a promise to be checked, no more.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Equal when it is, as far as can be told without reading it all, the same image again: by size, time and first
    /// bytes of a file, by what a server says about it. Of a pipe nothing can be told.
    pub fn identity(&self) -> Option<Digest> {
        self.identity
    }

    /// The file, where that is the image as it is and can be read anywhere.
    pub fn file(&self) -> Option<&File> {
        match &self.stream {
            Stream::File(file) => Some(file),
            Stream::Plain(_) => None,
        }
    }

    /// Plain bytes read or skipped so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the stored file read so far, and all of them where that is known: for progress.
    pub fn stored(&self) -> (u64, Option<u64>) {
        match self.stream {
            Stream::File(_) => (self.position, self.size),
            Stream::Plain(_) => (self.stored.read.load(Ordering::Relaxed), self.stored.total),
        }
    }

    /// Fills `buffer`; fewer bytes mean that the image has ended.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let n = match &mut self.stream {
                Stream::File(file) => file.read_at(rest, self.position),
                Stream::Plain(plain) => plain.read(rest),
            };
            match n {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    self.position += n as u64;
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => interrupt::check()?,
                Err(cause) => return Err(error(&self.name, self.format, self.position, cause)),
            }
        }
        Ok(filled)
    }

    /// What the next `len` bytes are, fewer at the end of the image; they are still to be read.
    fn peek(&mut self, len: usize) -> Result<Vec<u8>> {
        let at = self.position;
        let mut bytes = vec![0; len];
        let n = self.read(&mut bytes)?;
        bytes.truncate(n);
        self.position = at;
        if let Stream::Plain(plain) = &mut self.stream {
            let rest = std::mem::replace(plain, Box::new(io::empty()));
            *plain = Box::new(io::Cursor::new(bytes.clone()).chain(rest));
        }
        Ok(bytes)
    }

    /// Moves on by `len` bytes; fewer mean that the image has ended.
    pub fn skip(&mut self, len: u64) -> Result<u64> {
        if let (Stream::File(_), Some(size)) = (&self.stream, self.size) {
            let skipped = len.min(size.saturating_sub(self.position));
            self.position += skipped;
            return Ok(skipped);
        }
        let mut waste = vec![0; (len.min(SKIP as u64)) as usize];
        let mut skipped = 0;
        while skipped < len {
            interrupt::check()?;
            let want = waste.len().min((len - skipped) as usize);
            let n = self.read(&mut waste[..want])?;
            skipped += n as u64;
            if n < want {
                break;
            }
        }
        Ok(skipped)
    }

    /// Reads to the very end, where compressed files keep their last checks. Gives the size of the image, and the
    /// digest of the stored file when that was asked for.
    pub fn finish(mut self) -> Result<(u64, Option<Digest>)> {
        self.skip(u64::MAX)?;
        let digest = self.stored.hasher.map(|hasher| {
            let hasher = hasher.lock().unwrap_or_else(PoisonError::into_inner);
            Digest(hasher.clone().finalize().into())
        });
        Ok((self.position, digest))
    }
}

/// What went wrong, in words for a person.
fn error(name: &str, format: Format, position: u64, cause: io::Error) -> Error {
    let about = format!("cannot read `{name}`");
    let cause = match cause.downcast::<Error>() {
        Ok(error) => return error.context(about),
        Err(cause) => cause,
    };
    let Some(why) = format.damage(&cause) else {
        return Error::new(about).caused_by(fsx::describe(&cause));
    };
    let mut error = Error::new(about).caused_by(why);
    if position > 0 {
        error = error.caused_by(format!("the first {position} bytes of the image were read well"));
    }
    error.hint("fetch it again, and compare its SHA-256 with the one that its maker gives")
}

/// What a file is, as far as a glance tells.
fn identity(file: &File, meta: &Metadata) -> io::Result<Digest> {
    let mut first = vec![0; SKIP];
    let n = read_at(file, &mut first, 0)?;
    let fields = [meta.len(), meta.mtime() as u64, meta.mtime_nsec() as u64].map(u64::to_le_bytes);
    Ok(Digest::of_fields(fields.iter().map(<[u8; 8]>::as_slice).chain([&first[..n]])))
}

/// Like `FileExt::read_at`, but fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}

/// Counts, and hashes where asked, what is read of the stored file.
struct Counted<R> {
    inner: R,
    stored: Stored,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.stored.read.fetch_add(n as u64, Ordering::Relaxed);
        if let Some(hasher) = &self.stored.hasher {
            hasher.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..n]);
        }
        Ok(n)
    }
}
