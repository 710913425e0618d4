//! What a board's serial console said, as a file of the host's has it.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::Result;
use crate::exec::tail;
use crate::fsx;

/// What is read of it: the end. It may have been written to for years.
const MOST: u64 = 1 << 20;

/// The last `lines` lines since it was `from` bytes long.
pub fn said(path: &Path, from: u64, lines: usize) -> Result<String> {
    let len = fsx::regular(path)?;
    // One that was rotated begins anew.
    let from = if from > len { 0 } else { from };
    let start = from.max(len.saturating_sub(MOST));
    let mut file = fsx::open(path)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.take(MOST).read_to_end(&mut bytes))
        .map_err(|cause| fsx::io_error("read", path, &cause))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(format!("from the console, {}:\n{}\n", path.display(), tail(&text, lines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let text = |from, lines| {
            let said = said(&path, from, lines).unwrap();
            said.split_once('\n').unwrap().1.to_string()
        };
        fsx::write_atomic(&path, b"one\ntwo\n\xff three\n").unwrap();
        assert_eq!(text(0, usize::MAX), "one\ntwo\n\u{fffd} three\n");
        assert_eq!(text(4, usize::MAX), "two\n\u{fffd} three\n");
        assert_eq!(text(0, 1), "\u{fffd} three\n");
        // Rotated meanwhile.
        assert_eq!(text(1000, usize::MAX), "one\ntwo\n\u{fffd} three\n");
        // More than any memory holds.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(text(0, usize::MAX).len() as u64, MOST + 1);
    }

    #[test]
    fn what_is_no_file() {
        let told = |path: &str| said(Path::new(path), 0, 1).unwrap_err().to_string();
        assert_eq!(told("/dev/tty"), "cannot read `/dev/tty`\n  caused by: it is not a regular file");
        assert_eq!(told("/dev/shm"), "cannot read `/dev/shm`\n  caused by: Is a directory");
        assert_eq!(told("/gone"), "cannot read `/gone`\n  caused by: No such file or directory");
    }
}
