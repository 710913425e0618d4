//! The size of what a Zstandard file holds, by the headers of its frames and blocks.
//!
//! Source: RFC 8878, section 3.1.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};

use zstd::zstd_safe::get_frame_content_size;

use crate::interrupt;

/// Bytes read at once: of a block only its header matters.
const READ: usize = 4096;
/// Magic number and descriptor of a frame.
const LEAST: usize = 5;

/// Plain bytes of all frames together; `None` when one does not say, or when the file does not hold together.
/// `total` are the file's.
pub(super) fn size(file: &File, total: u64) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(READ, file);
    match frames(&mut reader, total) {
        Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => Ok(None),
        size => size,
    }
}

fn frames(reader: &mut BufReader<&File>, total: u64) -> io::Result<Option<u64>> {
    reader.rewind()?;
    let mut sum = 0_u64;
    while !reader.fill_buf()?.is_empty() {
        match frame(reader)?.and_then(|size| sum.checked_add(size)) {
            Some(more) => sum = more,
            None => return Ok(None),
        }
    }
    // Behind the end of a file nothing stops who seeks.
    Ok((reader.stream_position()? == total).then_some(sum))
}

/// Plain bytes of the frame that begins here; the reader stands behind it then.
fn frame(reader: &mut BufReader<&File>) -> io::Result<Option<u64>> {
    let mut header = [0; LEAST + 13];
    reader.read_exact(&mut header[..LEAST])?;
    match header {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {}
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, low, ..] => {
            let mut high = [0; 3];
            reader.read_exact(&mut high)?;
            let len = u32::from_le_bytes([low, high[0], high[1], high[2]]);
            reader.seek_relative(i64::from(len))?;
            return Ok(Some(0));
        }
        _ => return Ok(None),
    }
    let descriptor = header[4];
    let single = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
    let end = LEAST + usize::from(1 - single) + dictionary + content;
    reader.read_exact(&mut header[LEAST..end])?;
    let size = get_frame_content_size(&header[..end]).ok().flatten();
    loop {
        let mut block = [0; 4];
        reader.read_exact(&mut block[..3])?;
        let block = u32::from_le_bytes(block);
        // Of the second kind is a byte that comes again and again.
        let len = if block >> 1 & 3 == 1 { 1 } else { block >> 3 };
        reader.seek_relative(i64::from(len))?;
        if block & 1 != 0 {
            break;
        }
        // Whoever reads on tells of it.
        if interrupt::requested() {
            return Ok(None);
        }
    }
    let checksum = descriptor >> 2 & 1;
    reader.seek_relative(4 * i64::from(checksum))?;
    Ok(size)
}
