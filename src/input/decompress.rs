//! Decompression by magic, to the very end: every stream, member, frame and block is checked.
//!
//! Sources: RFC 1952 (gzip), RFC 8878 (Zstandard), the .xz file format 1.2.1, bzip2's manual.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::thread::JoinHandle;

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

use crate::error::Error;
use crate::exec::{Cmd, Group};

/// Bytes read of the compressed file at once.
const BUFFER: usize = 256 << 10;
/// Threads of the xz decoder keep whole blocks: above this it gives up threads, not correctness.
const XZ_THREADING: u64 = 56 << 20;
/// The largest dictionary or window that is taken, with what decoding needs besides. It is `zstd`'s
/// default too; what no preset makes can only be there to take the memory.
const MEMORY: u64 = (128 << 20) + (2 << 20);

/// Told of bytes that are no other stream.
const TRAILING: &str = "something else follows";

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not at all.
    Raw,
    /// xz, any number of streams and blocks.
    Xz,
    /// Zstandard, any number of frames.
    Zstd,
    /// gzip, any number of members.
    Gz,
    /// bzip2, any number of streams.
    Bz2,
}

impl Format {
    /// By the first bytes; six are enough.
    pub fn detect(magic: &[u8]) -> Self {
        match magic {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            // The second form is a skippable frame: pzstd begins with one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
            [0x1f, 0x8b, 8, ..] => Format::Gz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bz2,
            _ => Format::Raw,
        }
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Gz => "gzip",
            Format::Bz2 => "bzip2",
        }
    }

    /// What went wrong while decoding, in words that help; `None` when the bytes could not even be read.
    pub fn damage(self, cause: &io::Error) -> Option<String> {
        let name = self.name();
        let text = cause.to_string();
        match self {
            _ if cause.raw_os_error().is_some() => None,
            Format::Raw => None,
            _ if cause.kind() == ErrorKind::UnexpectedEof => {
                Some(format!("the {name} data ends too early: it is truncated"))
            }
            Format::Xz if text.contains("memory limit") => Some(too_large(name, "dictionary")),
            Format::Zstd if text.contains("too much memory") => Some(too_large(name, "window")),
            Format::Xz if text == TRAILING => Some(format!("behind the {name} data is something else")),
            _ => Some(format!("the {name} data is corrupt")),
        }
    }
}

fn too_large(name: &str, what: &str) -> String {
    format!("the {name} data asks for a {what} of more than 128 MiB")
}

/// The format of what `reader` holds, and its plain bytes.
pub fn decompress(reader: impl Read + Send + 'static) -> io::Result<(Format, Box<dyn Read + Send>)> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let format = Format::detect(reader.fill_buf()?);
    let plain: Box<dyn Read + Send> = match format {
        Format::Raw => Box::new(reader),
        Format::Xz => Box::new(Members(Some(xz(reader)?))),
        Format::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
        Format::Gz => Box::new(Members(Some(GzDecoder::new(reader)))),
        Format::Bz2 => Box::new(Bzip2::start(reader)?),
    };
    Ok((format, plain))
}

/// Decoders that end with their member or stream, one after the other to the end of the file.
struct Members<D>(Option<D>);

/// A decoder of one of them.
trait Member: Read + Sized {
    /// The decoder of the next one, if there is one.
    fn next(self) -> io::Result<Option<Self>>;
}

impl<D: Member> Read for Members<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.0 {
            let n = decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.0 = self.0.take().map(Member::next).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// As `gzip` does it, zeros and whatever else follows the last member are passed over: OpenWrt appends metadata and a
/// signature.
impl<R: BufRead> Member for GzDecoder<R> {
    fn next(self) -> io::Result<Option<Self>> {
        let mut reader = self.into_inner();
        match reader.fill_buf()?.first() {
            // A member, or a damaged one.
            Some(0x1f) => return Ok(Some(GzDecoder::new(reader))),
            // To the end: the file may have a digest.
            Some(_) => drop(io::copy(&mut reader, &mut io::sink())?),
            None => {}
        }
        Ok(None)
    }
}

/// The threaded decoder of liblzma ends with the first stream.
impl<R: BufRead> Member for XzDecoder<R> {
    fn next(self) -> io::Result<Option<Self>> {
        let mut reader = self.into_inner();
        if !skip_padding(&mut reader)? {
            return Ok(None);
        }
        match reader.fill_buf()?.first() {
            Some(0xfd) => xz(reader).map(Some),
            _ => Err(io::Error::new(ErrorKind::InvalidData, TRAILING)),
        }
    }
}

fn xz<R: BufRead>(reader: R) -> io::Result<XzDecoder<R>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let stream = MtStreamBuilder::new()
        .threads(threads)
        .memlimit_threading(XZ_THREADING)
        .memlimit_stop(MEMORY)
        .decoder()?;
    Ok(XzDecoder::new_stream(reader, stream))
}

/// Skips stream padding: zeros, a multiple of four of them. True when another stream follows.
fn skip_padding(reader: &mut impl BufRead) -> io::Result<bool> {
    let mut zeros = 0;
    loop {
        let bytes = reader.fill_buf()?;
        let n = bytes.iter().take_while(|byte| **byte == 0).count();
        let (ended, more) = (bytes.is_empty(), n < bytes.len());
        reader.consume(n);
        zeros += n;
        if (ended || more) && zeros % 4 != 0 {
            return Err(io::Error::new(ErrorKind::InvalidData, "odd stream padding"));
        }
        if ended || more {
            return Ok(more);
        }
    }
}

/// The system's `bzip2`: too rare for a library of its own.
struct Bzip2 {
    group: Group,
    stdout: ChildStdout,
    stderr: ChildStderr,
    feeder: Option<JoinHandle<io::Result<()>>>,
}

impl Bzip2 {
    fn start(mut reader: impl Read + Send + 'static) -> io::Result<Self> {
        let mut group = Cmd::new("bzip2")
            .arg("-dc")
            .spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())
            .map_err(told)?;
        let pipes = (group.stdin(), group.child.stdout.take(), group.child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("`bzip2` has no pipes"));
        };
        let feed = move || match io::copy(&mut reader, &mut stdin) {
            // It has seen enough; its status tells whether that was the end.
            Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.map(drop),
        };
        Ok(Bzip2 { group, stdout, stderr, feeder: Some(std::thread::spawn(feed)) })
    }

    /// What the process says once it has closed its output.
    fn finish(&mut self) -> io::Result<()> {
        let Some(feeder) = self.feeder.take() else { return Ok(()) };
        match feeder.join() {
            Ok(fed) => fed?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        match self.group.wait().map_err(told)?.success() {
            // It passes over a stream whose first bytes are damaged, with a word and a good status.
            true if !said.contains("trailing garbage") => Ok(()),
            false if said.contains("ends unexpectedly") => Err(ErrorKind::UnexpectedEof.into()),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "corrupt bzip2 data")),
        }
    }
}

impl Read for Bzip2 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stdout.read(buffer)?;
        if n == 0 && !buffer.is_empty() {
            self.finish()?;
        }
        Ok(n)
    }
}

/// An error of ours on its way through a `Read`; [`super::Input`] takes it out again.
fn told(error: Error) -> io::Error {
    io::Error::other(error)
}
