//! Puts chunks on the drive, the first MiB last.
//!
//! The head, the first MiB of what is written, holds the partition table, boot code, or the boot sector of a
//! partition. It is cleared before anything else changes and written when all the rest is there, so whatever
//! interrupts the work, nothing boots from half an image.

use std::ops::Range;

use super::Cx;
use super::journal::Journal;
use super::pass::{CHUNK, Chunk};
use super::verify::read_full;
use crate::error::Result;
use crate::target::Buffer;

/// Bytes that are held back.
pub(super) const HEAD: u64 = 1 << 20;
/// Bytes compared and written at once where only differences are written: the block of most filesystems.
const GRAIN: u64 = 4096;
/// Bytes after which the drive is asked to have everything: what a pulled plug can cost.
const SYNC: u64 = 64 << 20;
/// Places remembered for a message.
const REMEMBER: usize = 16;

/// The writing end.
pub(super) struct Writer<'a> {
    cx: &'a Cx<'a>,
    /// Reads first and writes only what differs.
    compare: bool,
    /// What was held back: offset and bytes.
    head: Vec<(u64, Vec<u8>)>,
    /// Bytes that have to be on the drive.
    pub(super) mapped: u64,
    /// True once the first pass is over.
    again: bool,
    cleared: bool,
    /// Says on the drive how far it is.
    journal: Option<Journal>,
    /// True while the drive has a journal.
    journaled: bool,
    /// Where the last chunk ends that was written.
    done: u64,
    /// Bytes handed to the drive.
    pub(super) written: u64,
    unsynced: u64,
    /// First bytes that differed, in the order they were met.
    pub(super) differed: Vec<u64>,
    scratch: Option<Buffer>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(cx: &'a Cx<'a>, compare: bool) -> Self {
        Writer {
            cx,
            compare,
            head: Vec::new(),
            mapped: 0,
            again: false,
            cleared: false,
            journal: None,
            journaled: false,
            done: 0,
            written: 0,
            unsynced: 0,
            differed: Vec::new(),
            scratch: None,
        }
    }

    /// Keeps a journal. With `done` bytes on the drive already it goes on from there.
    pub(super) fn keep(&mut self, journal: Journal, done: u64) {
        self.journal = Some(journal);
        self.done = done;
        self.journaled = done > 0;
        // Cleared when that was begun.
        self.cleared = done > 0;
    }

    /// From now on reads first: what differs is written again.
    pub(super) fn repair(&mut self) {
        self.compare = true;
        self.again = true;
        self.differed.clear();
    }

    pub(super) fn take(&mut self, chunk: &Chunk) -> Result<()> {
        let head_end = self.cx.head_end();
        let mut body = Vec::with_capacity(chunk.runs.len());
        for run in &chunk.runs {
            let cut = head_end.clamp(run.start, run.end);
            if cut > run.start && !self.again {
                self.head.push((run.start, chunk.bytes(&(run.start..cut)).to_vec()));
            }
            if cut < run.end {
                body.push(cut..run.end);
            }
        }
        if !self.again {
            self.mapped += chunk.runs.iter().map(|run| run.end - run.start).sum::<u64>();
        }
        if chunk.write {
            if !self.compare && !body.is_empty() {
                self.clear_head(HEAD)?;
            }
            for run in &body {
                self.put(run.start, chunk.bytes(run))?;
            }
            self.done = chunk.start + CHUNK;
            if self.unsynced >= SYNC {
                self.leave()?;
            }
        }
        Ok(())
    }

    /// Makes sure that everything so far is on the drive, and says so in the journal.
    pub(super) fn leave(&mut self) -> Result<()> {
        self.sync()?;
        if self.again || self.done == 0 {
            return Ok(());
        }
        let block = self.journal.as_ref().and_then(|journal| journal.block(self.cx, self.done));
        if let Some((place, block)) = block {
            self.write_all(place, &block)?;
            self.journaled = true;
        }
        Ok(())
    }

    /// Makes sure that nothing boots: clears the first `len` bytes of the region.
    fn clear_head(&mut self, len: u64) -> Result<()> {
        if std::mem::replace(&mut self.cleared, true) {
            return Ok(());
        }
        let region = &self.cx.region;
        let end = region.end.min(region.start + len).min(self.cx.target.size());
        let zeros = Buffer::new((end - region.start) as usize);
        self.write_all(region.start, &zeros)?;
        self.sync()
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if !self.compare {
            return self.write_all(offset, bytes);
        }
        let mut scratch = self.scratch.take().unwrap_or_else(|| Buffer::new(CHUNK as usize));
        let there = read_full(self.cx, &mut scratch[..bytes.len()], offset)?;
        for span in differences(offset, bytes, &scratch[..there]) {
            let first = first_difference(bytes, &scratch[..there], &span);
            if self.differed.len() < REMEMBER {
                self.differed.push(offset + first as u64);
            }
            // One block takes the table or the boot sector away, and costs no more than that.
            self.clear_head(GRAIN)?;
            self.write_all(offset + span.start as u64, &bytes[span])?;
        }
        self.scratch = Some(scratch);
        Ok(())
    }

    fn write_all(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            match self.cx.target.write_at(&bytes[done..], at) {
                Ok(0) => {
                    let cause = std::io::Error::new(std::io::ErrorKind::WriteZero, "it takes no more bytes");
                    return Err(self.cx.drive_error("write to", at, &cause));
                }
                Ok(n) => done += n,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => self.cx.check_stop(at)?,
                Err(cause) => return Err(self.cx.drive_error("write to", at, &cause)),
            }
        }
        self.written += done as u64;
        self.unsynced += done as u64;
        Ok(())
    }

    /// Waits until the drive has everything.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.unsynced = 0;
        self.cx.sync()
    }

    /// Writes what was held back; with `verify` until it can be read back, `attempts` times more at most.
    pub(super) fn finish_head(&mut self, verify: bool, attempts: u32) -> Result<()> {
        let head = std::mem::take(&mut self.head);
        // From here on every block may be the one that makes it boot.
        self.cleared = true;
        if self.journaled
            && let Some((place, zeros)) = Journal::cleared(self.cx)
        {
            self.write_all(place, &zeros)?;
        }
        for attempt in 0.. {
            self.differed.clear();
            for (offset, bytes) in &head {
                // Direct I/O takes aligned memory only.
                let mut buffer = Buffer::new(bytes.len());
                buffer.copy_from_slice(bytes);
                self.put(*offset, &buffer)?;
            }
            self.sync()?;
            // What differed and was written is what the attempt before had left wrong.
            if !verify || (attempt > 0 && self.differed.is_empty()) {
                return Ok(());
            }
            if attempt > attempts {
                return Err(self.cx.unreliable(&self.differed, attempts));
            }
            self.cx.drop_cache()?;
            self.compare = true;
        }
        Ok(())
    }
}

/// Spans of `bytes`, which belong at `offset`, whose blocks are not as they are `there`; ascending.
fn differences(offset: u64, bytes: &[u8], there: &[u8]) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let block_end = (offset + at as u64 + 1).next_multiple_of(GRAIN) - offset;
        let end = bytes.len().min(block_end as usize);
        if there.get(at..end) != Some(&bytes[at..end]) {
            match spans.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => spans.push(at..end),
            }
        }
        at = end;
    }
    spans
}

/// The first byte within `span` that is not as it is `there`.
fn first_difference(bytes: &[u8], there: &[u8], span: &Range<usize>) -> usize {
    span.clone().find(|&at| there.get(at) != Some(&bytes[at])).unwrap_or(span.start)
}
