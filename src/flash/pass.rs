//! One pass over the image: read, checked and written at the same time.
//!
//! ```text
//! this thread: Input --read mapped parts--> chunk (4 MiB, from a pool)
//!                                             |--Arc--> thread: checksums of the block map
//!                                             |--Arc--> thread: hashes, to compare with what is read back
//!                                             '--Arc--> thread: Writer
//! ```
//!
//! A chunk returns to the pool when all threads are done with it. That bounds memory, and holds the reader
//! back when one of them falls behind.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ScopedJoinHandle;

use super::Cx;
use super::map::Map;
use super::verify::Pieces;
use super::writer::Writer;
use crate::digest::Digest;
use crate::disk::Bmap;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::progress::Unit;
use crate::target::Buffer;

/// Bytes of a chunk, and its alignment on the drive: the erase block of most cards.
pub(super) const CHUNK: u64 = 4 << 20;
/// Chunks in flight.
const POOL: usize = 5;

/// A part of the image: mapped parts of one aligned window.
pub(super) struct Chunk {
    /// Where the window begins; a multiple of [`CHUNK`].
    pub(super) start: u64,
    /// What of it has to be on the drive, ascending.
    pub(super) runs: Vec<Range<u64>>,
    /// False when it is there already.
    pub(super) write: bool,
    buffer: Option<Buffer>,
    pool: Sender<Buffer>,
}

impl Chunk {
    /// The bytes of a range of the image inside the window.
    pub(super) fn bytes(&self, range: &Range<u64>) -> &[u8] {
        let place = (range.start - self.start) as usize..(range.end - self.start) as usize;
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[place])
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // The pool is gone once the pass is over.
            let _ = self.pool.send(buffer);
        }
    }
}

/// What a pass found.
pub(super) struct Passed {
    /// Bytes of the image.
    pub(super) size: u64,
    /// SHA-256 of the stored file, when it was asked for.
    pub(super) sha256: Option<Digest>,
}

/// Reads the whole image and hands what matters of `region` to the writer. `wanted` tells by a window's start whether
/// that has to be written.
pub(super) fn pass(
    cx: &Cx<'_>,
    mut input: Input,
    map: &mut Map<'_>,
    writer: &mut Writer<'_>,
    pieces: &mut Pieces,
    wanted: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Passed> {
    let (give_back, pool) = channel();
    for _ in 0..POOL {
        // The receiver lives as long as this function.
        let _ = give_back.send(Buffer::new(CHUNK as usize));
    }
    let bmap = match map {
        Map::Bmap(bmap) => Some(*bmap),
        Map::Known(_) => None,
    };
    std::thread::scope(|scope| {
        let mut outlets = Vec::new();
        if let Some(bmap) = bmap {
            let name = input.name().to_string();
            outlets.push(Outlet::start(scope, move |chunks| check_sums(&name, bmap, &chunks)));
        }
        if cx.job.verify {
            outlets.push(Outlet::start(scope, |chunks: Receiver<Arc<Chunk>>| {
                chunks.iter().try_for_each(|chunk| pieces.take(cx, &chunk))
            }));
        }
        outlets.push(Outlet::start(scope, |chunks: Receiver<Arc<Chunk>>| {
            chunks.iter().try_for_each(|chunk| writer.take(&chunk))
        }));
        let mut reader = Reader { cx, input: &mut input, map, pool, give_back, wanted, done: 0 };
        let read = reader.run(&outlets);
        // An outlet that failed is why the reader could not go on.
        outlets.into_iter().try_for_each(Outlet::finish)?;
        read
    })?;
    let name = input.name().to_string();
    let (size, sha256) = input.finish()?;
    map.check_end(&name, size)?;
    Ok(Passed { size, sha256 })
}

/// A thread that takes chunks.
struct Outlet<'scope> {
    sender: Sender<Arc<Chunk>>,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

impl<'scope> Outlet<'scope> {
    fn start<'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        run: impl FnOnce(Receiver<Arc<Chunk>>) -> Result<()> + Send + 'scope,
    ) -> Self {
        let (sender, receiver) = channel();
        Outlet { sender, thread: scope.spawn(move || run(receiver)) }
    }

    fn finish(self) -> Result<()> {
        drop(self.sender);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct Reader<'a, 'm> {
    cx: &'a Cx<'a>,
    input: &'a mut Input,
    map: &'a mut Map<'m>,
    pool: Receiver<Buffer>,
    give_back: Sender<Buffer>,
    wanted: &'a (dyn Fn(u64) -> bool + Sync),
    /// Bytes handed on so far.
    done: u64,
}

impl Reader<'_, '_> {
    /// Reads to the end of what is mapped. Ends early, and well, when an outlet does not listen any more.
    fn run(&mut self, outlets: &[Outlet<'_>]) -> Result<()> {
        while let Some(from) = self.map.next(self.input.position()) {
            self.cx.check_stop(self.input.position())?;
            // Only a block map's checksums need the rest.
            if from >= self.cx.region.end && matches!(self.map, Map::Known(_)) {
                return Ok(());
            }
            let start = from / CHUNK * CHUNK;
            // Every buffer comes back, whatever becomes of the thread that has it.
            let Ok(buffer) = self.pool.recv() else { return Ok(()) };
            let (chunk, ended) = self.fill(start..start.saturating_add(CHUNK), buffer)?;
            if self.map.least_size() > self.cx.target.size() {
                return Err(self.cx.too_small(self.input.name(), Some(self.map.least_size())));
            }
            if let Some(last) = chunk.runs.last()
                && last.end > self.cx.target.size()
            {
                return Err(self.cx.too_small(self.input.name(), None));
            }
            let mapped: u64 = chunk.runs.iter().map(|run| run.end - run.start).sum();
            let chunk = Arc::new(chunk);
            for outlet in outlets {
                if outlet.sender.send(Arc::clone(&chunk)).is_err() {
                    return Ok(());
                }
            }
            self.done += mapped;
            self.tell();
            if ended {
                break;
            }
        }
        Ok(())
    }

    /// Reads the mapped parts of a window. True when the image ended there.
    fn fill(&mut self, window: Range<u64>, mut buffer: Buffer) -> Result<(Chunk, bool)> {
        let mut ended = false;
        let from = self.input.position().max(window.start);
        for run in self.map.runs(from..window.end) {
            let gap = run.start - self.input.position();
            if self.input.skip(gap)? < gap {
                ended = true;
                break;
            }
            let place = (run.start - window.start) as usize..(run.end - window.start) as usize;
            let n = self.input.read(&mut buffer[place.clone()])?;
            self.map.feed(run.start, &buffer[place.start..place.start + n]);
            if n < place.len() {
                ended = true;
                break;
            }
        }
        let end = if ended { self.input.position() } else { window.end };
        let region = &self.cx.region;
        let mut runs = self.map.runs(from..end);
        runs.retain_mut(|run| {
            *run = run.start.max(region.start)..run.end.min(region.end);
            !run.is_empty()
        });
        let write = (self.wanted)(window.start);
        let chunk =
            Chunk { start: window.start, runs, write, buffer: Some(buffer), pool: self.give_back.clone() };
        if ended {
            self.map.check_end(self.input.name(), end)?;
        }
        Ok((chunk, ended))
    }

    fn tell(&self) {
        let (done, total) = match (self.map.mapped(), self.input.size()) {
            (Some(mapped), _) => (self.done, Some(mapped)),
            (None, Some(size)) => (self.input.position(), Some(size)),
            (None, None) => self.input.stored(),
        };
        self.cx.progress.count("writing", done, total, Unit::Bytes);
    }
}

/// Compares the ranges of the block map with its checksums.
fn check_sums(name: &str, bmap: &Bmap, chunks: &Receiver<Arc<Chunk>>) -> Result<()> {
    let mut index = 0;
    let mut sum = None;
    for chunk in chunks {
        let window = chunk.start..chunk.start + CHUNK;
        while index < bmap.len() && bmap.range(index).start < window.end {
            let range = bmap.range(index);
            if range.start >= window.start {
                sum = bmap.sum(index);
            }
            let part = range.start.max(window.start)..range.end.min(window.end);
            if let Some((summer, _)) = &mut sum {
                summer.update(chunk.bytes(&part));
            }
            if range.end > window.end {
                break;
            }
            index += 1;
            let Some((summer, expected)) = sum.take() else { continue };
            let found = summer.finish();
            if found != expected {
                let kind = bmap.sum_name();
                return Err(Error::new(format!("`{name}` is not the image that its block map describes"))
                    .caused_by(format!("bytes {} to {} have the {kind} {found}", range.start, range.end - 1))
                    .caused_by(format!("the map says {expected}"))
                    .hint("one of the two is damaged, or they are from different builds: fetch both again"));
            }
        }
    }
    Ok(())
}
