//! The filesystem's own checker, if it is installed: `e2fsck -fn`, `fsck.fat -n`, `fsck.erofs`. None of them writes.

use std::fs::File;
use std::io::{Seek, Write};

use super::super::read::{ReadAt, Source};
use super::Finding;
use crate::error::{Error, Result};
use crate::exec::{self, Cmd};
use crate::{fsx, interrupt};

/// Bytes copied at once; runs of zeros so long stay holes.
const PIECE: u64 = 1 << 20;
/// What a checker opens: the copy is its standard input.
const COPY: &str = "/proc/self/fd/0";
/// Lines of a checker's complaints that are passed on.
const SHOWN: usize = 5;

/// Who has looked at it.
pub enum Judged {
    /// This program, and what it says.
    By(&'static str, Vec<Finding>),
    /// This one would, but it is not there.
    Missing(&'static str),
    /// There is none for this kind.
    Nobody,
}

/// Has a filesystem checked.
pub fn check(kind: &str, source: &Source) -> Result<Judged> {
    let (program, args): (_, &[&str]) = match kind {
        "ext2" | "ext3" | "ext4" => ("e2fsck", &["-fn"]),
        "erofs" => ("fsck.erofs", &[]),
        _ if kind.starts_with("FAT") => ("fsck.fat", &["-n"]),
        _ => return Ok(Judged::Nobody),
    };
    if exec::which(program).is_none() {
        return Ok(Judged::Missing(program));
    }
    // Not all of them can be told where in a file a partition is.
    let output = Cmd::new(program).args(args).arg(COPY).output_with(copy(source)?.into())?;
    if output.status.success() {
        return Ok(Judged::By(program, Vec::new()));
    }
    let text = output.text() + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.replace(COPY, "it").trim().to_string())
        .filter(|line| !line.is_empty() && !is_chatter(line))
        .collect();
    let mut findings: Vec<Finding> =
        lines.iter().take(SHOWN).map(|line| Finding::error(format!("{program}: {line}"))).collect();
    match lines.len().saturating_sub(SHOWN) {
        0 => {}
        1 => findings.push(Finding::error(format!("{program}: and one more line"))),
        more => findings.push(Finding::error(format!("{program}: and {more} more lines"))),
    }
    if findings.is_empty() {
        findings.push(Finding::error(format!("{program} found something wrong")));
    }
    Ok(Judged::By(program, findings))
}

/// Lines that say what the checker is and does.
fn is_chatter(line: &str) -> bool {
    ["e2fsck ", "fsck.fat ", "Pass ", "Leaving filesystem unchanged", "it: "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// A sparse copy without a name, so that nothing is left of it however this ends.
fn copy(source: &Source) -> Result<File> {
    let failed = |cause: &std::io::Error| {
        let dir = std::env::temp_dir();
        Error::new(format!("cannot write a temporary copy of the partition to `{}`", dir.display()))
            .caused_by(fsx::describe(cause))
            .hint("`TMPDIR` says where it goes; it takes as much room as the partition's content")
    };
    let mut file = tempfile::tempfile().map_err(|cause| failed(&cause))?;
    let mut at = 0;
    while at < source.len() {
        interrupt::check()?;
        let piece = source
            .read_some_at(at, PIECE as usize)
            .map_err(|cause| Error::new("cannot read the partition").caused_by(fsx::describe(&cause)))?;
        let written = if piece.iter().all(|byte| *byte == 0) {
            file.seek_relative(piece.len() as i64)
        } else {
            file.write_all(&piece)
        };
        written.map_err(|cause| failed(&cause))?;
        at += piece.len() as u64;
    }
    file.set_len(source.len()).map_err(|cause| failed(&cause))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_copy_has_no_name() {
        let mut bytes = vec![0; 3 << 20];
        bytes[5] = 1;
        let mut copy = copy(&(Arc::new(bytes.clone()) as Source)).unwrap();
        assert_eq!(copy.metadata().unwrap().nlink(), 0);
        let mut back = Vec::new();
        copy.rewind().and_then(|()| copy.read_to_end(&mut back)).unwrap();
        assert!(back == bytes);
    }
}
