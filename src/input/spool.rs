//! An image for random access: a plain file as it is, anything else decompressed into a file without a name.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use super::{Format, Input, Origin, Stream};
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::units::ByteSize;
use crate::{fsx, interrupt};

/// Bytes that move at once; runs of zeros so long stay holes.
const CHUNK: usize = 64 << 10;
static ZEROS: [u8; CHUNK] = [0; CHUNK];
/// No image unpacks to more than this times its stored size unless almost all of it is zeros, and zeros take
/// no room here. So what counts is the room that its content takes.
const RATIO: u64 = 1000;
/// Any image may have this much content.
const FREE: u64 = 64 << 20;

/// An image with random access.
#[derive(Debug)]
pub struct Spooled {
    /// The plain image. It has no name on the disk when it was decompressed.
    pub file: File,
    /// Bytes.
    pub size: u64,
    /// How it was stored.
    pub format: Format,
}

/// Opens `origin` for random access. A decompressed copy goes to `directory`, sparse and without a name, so
/// nothing is left behind; it may not be larger than `limit`, holes included.
pub fn spool(origin: &Origin, directory: &Path, limit: ByteSize, progress: &dyn Progress) -> Result<Spooled> {
    let mut input = Input::open(origin)?;
    if let (Stream::File(file), Some(size)) = (&input.stream, input.size) {
        let file =
            file.try_clone().map_err(|cause| fsx::io_error("open", Path::new(input.name()), &cause))?;
        return Ok(Spooled { file, size, format: input.format });
    }
    let failed = |cause: std::io::Error| fsx::io_error("write a temporary file in", directory, &cause);
    fsx::create_dir_all(directory)?;
    let mut file = tempfile::tempfile_in(directory).map_err(failed)?;
    let mut chunk = vec![0; CHUNK];
    let mut content = 0;
    let (mut size, mut shown) = (0, 0);
    loop {
        interrupt::check()?;
        let n = input.read(&mut chunk)?;
        size += n as u64;
        let (stored, total) = input.stored();
        if size > limit.0 {
            return Err(too_large(&input, format!("it unpacks to more than {limit}")));
        }
        if chunk[..n] == ZEROS[..n] {
            file.seek_relative(n as i64).map_err(failed)?;
        } else {
            content += n as u64;
            if input.format != Format::Raw && content > FREE + stored * RATIO {
                let (stored, content) = (ByteSize(stored), ByteSize(content));
                return Err(too_large(&input, format!("{stored} of it unpack to {content}")));
            }
            file.write_all(&chunk[..n]).map_err(failed)?;
        }
        if stored > shown + total.unwrap_or(u64::MAX) / 256 {
            shown = stored;
            progress.count("unpacking", stored, total, Unit::Bytes);
        }
        if n < CHUNK {
            break;
        }
    }
    file.set_len(size).map_err(failed)?;
    Ok(Spooled { file, size, format: input.format })
}

fn too_large(input: &Input, why: String) -> Error {
    Error::new(format!("cannot unpack `{}`", input.name()))
        .caused_by(why)
        .hint("no image of a disk is like that; if this one is meant, unpack it by hand")
}
