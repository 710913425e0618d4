//! Reading back: every mapped block is compared with what was read from the image.
//!
//! What was written is gone from memory by then, so each piece left its BLAKE3 hash: fast, and no two pieces
//! share one by chance or by intent.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Cx;
use super::pass::{CHUNK, Chunk};
use crate::error::{Error, Result};
use crate::progress::Unit;
use crate::target::Buffer;

/// Threads that read and hash: the drive works while the others hash.
const READERS: usize = 2;

/// What of one window has to be on the drive.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its runs in [`Pieces::runs`].
    runs: Range<usize>,
    /// BLAKE3 of their bytes, one after the other.
    hash: [u8; 32],
}

/// Everything that has to be on the drive, ascending.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) list: Vec<Piece>,
    runs: Vec<Range<u64>>,
    /// True once all are known: from then on the image may not change.
    pub(super) complete: bool,
}

impl Pieces {
    /// Takes what of a chunk has to be on the drive; the head is compared in another way.
    pub(super) fn take(&mut self, cx: &Cx<'_>, chunk: &Chunk) -> Result<()> {
        let body = chunk.runs.iter().map(|run| run.start.max(cx.head_end())..run.end);
        let body: Vec<Range<u64>> = body.filter(|run| run.start < run.end).collect();
        let mut hasher = blake3::Hasher::new();
        for run in &body {
            hasher.update(chunk.bytes(run));
        }
        let hash = *hasher.finalize().as_bytes();
        if self.complete {
            let known = self.index(chunk.start).map(|index| self.list[index].hash);
            return match known {
                Some(known) if known != hash => {
                    Err(Error::new("the image changed while it was being written")
                        .hint("flash it again when nothing writes to it any more"))
                }
                _ => Ok(()),
            };
        }
        if !body.is_empty() {
            let first = self.runs.len();
            self.runs.extend(body);
            self.list.push(Piece { runs: first..self.runs.len(), hash });
        }
        Ok(())
    }

    /// The runs of a piece.
    pub(super) fn runs(&self, index: usize) -> &[Range<u64>] {
        &self.runs[self.list[index].runs.clone()]
    }

    /// The window that a piece lies in.
    pub(super) fn window(&self, index: usize) -> u64 {
        self.runs(index)[0].start / CHUNK * CHUNK
    }

    /// The piece in a window.
    fn index(&self, window: u64) -> Option<usize> {
        let index = self.list.partition_point(|piece| self.runs[piece.runs.start].start < window);
        (index < self.list.len() && self.window(index) == window).then_some(index)
    }
}

/// Reads everything back and gives the pieces that differ, ascending.
pub(super) fn differing(cx: &Cx<'_>, pieces: &Pieces) -> Result<Vec<usize>> {
    cx.drop_cache()?;
    let len = |index: usize| pieces.runs(index).iter().map(|run| run.end - run.start).sum::<u64>();
    let count = pieces.list.len();
    let total = (0..count).map(len).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let bad = Mutex::new(Vec::new());
    let read = || -> Result<()> {
        let mut buffer = Buffer::new(CHUNK as usize);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            cx.check_stop(pieces.window(index))?;
            if hash(cx, pieces.runs(index), &mut buffer)? != pieces.list[index].hash {
                bad.lock().unwrap_or_else(PoisonError::into_inner).push(index);
            }
            let done = done.fetch_add(len(index), Ordering::Relaxed) + len(index);
            cx.progress.count("verifying", done, Some(total), Unit::Bytes);
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let mut bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
    bad.sort_unstable();
    Ok(bad)
}

/// The hash of what the drive has in `runs`.
fn hash(cx: &Cx<'_>, runs: &[Range<u64>], buffer: &mut Buffer) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    for run in runs {
        let want = &mut buffer[..(run.end - run.start) as usize];
        let n = read_full(cx, want, run.start)?;
        hasher.update(&want[..n]);
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Fills `buffer` from the drive; fewer bytes mean that the drive ends there.
pub(super) fn read_full(cx: &Cx<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        match cx.target.read_at(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => cx.check_stop(at)?,
            Err(cause) => return Err(cx.drive_error("read", at, &cause)),
        }
    }
    Ok(done)
}
