//! Writing an image to a drive, fast, and never to the wrong one: which drive is [`device`]'s to say.
//!
//! 1. What has to be written is known from a block map, or from the image's own filesystems (`known`).
//! 2. The image is read once; decompressing, checking and writing run at the same time (`pass`).
//! 3. The first MiB was cleared before and is held back (`writer`).
//! 4. Everything is read back from the drive and compared; what differs is written again (`verify`).
//! 5. The first MiB is written and compared.
//!
//! Memory is bounded whatever the image: five chunks of 4 MiB, and what decompressing takes.

pub mod beside;
pub mod device;
mod journal;
mod known;
mod map;
mod partition;
mod pass;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use crate::digest::Digest;
use crate::disk::Bmap;
use crate::error::{Error, Result};
use crate::input::{Input, Origin};
use crate::progress::Progress;
use crate::units::ByteSize;
use crate::{fsx, interrupt};

use journal::Journal;
use map::Map;
use pass::{Passed, pass};
use verify::Pieces;
use writer::{HEAD, Writer};

pub use crate::target::{FileTarget, Target};

/// How often a block that differs is written again.
const ATTEMPTS: u32 = 3;

/// An image to write.
#[derive(Debug)]
pub struct Job<'a> {
    /// Where it is.
    pub origin: &'a Origin,
    /// What messages call the drive: `/dev/sdb`.
    pub target: &'a str,
    /// Its block map, when there is one.
    pub bmap: Option<&'a Bmap>,
    /// What the SHA-256 of the file at `origin` must be, as stored. The first MiB is not written before that is
    /// known to be so.
    pub sha256: Option<Digest>,
    /// Reads back and compares.
    pub verify: bool,
    /// Reads first and writes only what differs.
    pub minimize: bool,
    /// Writes one partition only, by number or name, of a card that holds the same layout.
    pub partition: Option<&'a str>,
    /// Goes on where an earlier run was interrupted, if the drive says that it was.
    pub resume: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Bytes of the image.
    pub size: ByteSize,
    /// Bytes of it that matter.
    pub mapped: ByteSize,
    /// Bytes that were written, cleared and rewritten ones included.
    pub written: ByteSize,
    /// Bytes of pieces that differed when they were read back, and were written again.
    pub rewritten: ByteSize,
    /// True when all that matters was read back and compared.
    pub verified: bool,
}

/// Writes the image.
pub fn write(job: &Job<'_>, target: &dyn Target, progress: &dyn Progress) -> Result<Report> {
    run(job, target, progress, &interrupt::requested)
}

/// The same, with another way to be interrupted.
fn run(
    job: &Job<'_>,
    target: &dyn Target,
    progress: &dyn Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Report> {
    let mut cx = Cx { job, target, progress, stop, region: 0..u64::MAX, resumable: false };
    if let Some(wanted) = job.partition {
        cx.region = partition::find(&cx, wanted)?;
    }
    let mut map = Map::new(job.bmap);
    let input = open(job)?;
    check_sizes(&cx, &input, &map)?;
    // Where only differences are written, a second run goes on by itself.
    let identity = input.identity().filter(|_| !job.minimize);
    cx.resumable = identity.is_some();
    let mut writer = Writer::new(&cx, job.minimize);
    let mut from = 0;
    if let Some(identity) = identity {
        let journal = Journal::new(&cx, identity);
        if job.resume {
            from = journal.read(&cx)?;
        }
        writer.keep(journal, from);
    }
    if job.resume {
        progress.note(&match from {
            0 => format!(
                "`{}` does not say that this image was begun: it is written from the start",
                job.target
            ),
            _ => format!("`{}` has the first {} already", job.target, ByteSize(from)),
        });
    }
    let done = fill(&cx, input, &mut map, &mut writer, from);
    if done.is_err() && (writer.written > 0 || from > 0) {
        // As far as the drive still listens.
        let _ = writer.leave();
        progress.warn(&format!("`{}` holds a part of the image and does not boot", job.target));
    }
    let (passed, rewritten) = done?;
    let mapped = ByteSize(writer.mapped);
    writer.finish_head(job.verify, ATTEMPTS)?;
    Ok(Report {
        size: ByteSize(passed.size),
        mapped,
        written: ByteSize(writer.written),
        rewritten: ByteSize(rewritten),
        verified: job.verify,
    })
}

/// Nothing that small is an image, and writing it would only take the head of what is there.
fn check_least(name: &str, size: u64) -> Result<()> {
    const SECTOR: u64 = 512;
    if size >= SECTOR {
        return Ok(());
    }
    Err(Error::usage(format!("`{name}` is no image of a disk"))
        .caused_by(format!("it has {size} bytes, and the smallest sector has {SECTOR}"))
        .hint("was its download cut off, or did the command before the pipe fail?"))
}

/// What can be known of sizes before anything is written.
fn check_sizes(cx: &Cx<'_>, input: &Input, map: &Map<'_>) -> Result<()> {
    if let (Some(size), Some(_)) = (input.size(), cx.job.bmap) {
        map.check_end(input.name(), size)?;
    }
    if let Some(size) = input.size() {
        check_least(input.name(), size)?;
    }
    if let Some(size) = map.image_size().or(input.size()) {
        if size > cx.target.size() {
            return Err(cx.too_small(input.name(), Some(size)));
        }
        cx.target.set_size(size).map_err(|cause| cx.drive_error("write to", size, &cause))?;
    }
    Ok(())
}

fn open(job: &Job<'_>) -> Result<Input> {
    let mut input =
        if job.sha256.is_some() { Input::open_hashed(job.origin)? } else { Input::open(job.origin)? };
    input.check_image()?;
    Ok(input)
}

/// Everything but the head: written from byte `from` on, and compared where that is asked for. Also gives how many bytes
/// were written again.
fn fill(
    cx: &Cx<'_>,
    input: Input,
    map: &mut Map<'_>,
    writer: &mut Writer<'_>,
    from: u64,
) -> Result<(Passed, u64)> {
    let mut pieces = Pieces::default();
    let passed = pass(cx, input, map, writer, &mut pieces, &|window| window >= from)?;
    pieces.complete = true;
    check_least(&cx.job.origin.to_string(), passed.size)?;
    if let (Some(found), Some(expected)) = (passed.sha256, cx.job.sha256)
        && found != expected
    {
        return Err(Error::new(format!("`{}` is not the file that was asked for", cx.job.origin))
            .caused_by(format!("its sha256 is {found}"))
            .caused_by(format!("expected         {expected}"))
            .hint("it was damaged on its way, or is from another release: fetch it again"));
    }
    cx.target.set_size(passed.size).map_err(|cause| cx.drive_error("write to", passed.size, &cause))?;
    writer.sync()?;
    let rewritten = if cx.job.verify { repair(cx, writer, &mut pieces)? } else { 0 };
    Ok((passed, rewritten))
}

/// Compares, and writes again what differs. Gives how many bytes that were.
fn repair(cx: &Cx<'_>, writer: &mut Writer<'_>, pieces: &mut Pieces) -> Result<u64> {
    let mut bad = verify::differing(cx, pieces)?;
    let before = writer.written;
    for _ in 0..ATTEMPTS {
        if bad.is_empty() {
            break;
        }
        let places: Vec<u64> = bad.iter().map(|index| pieces.runs(*index)[0].start).collect();
        if !cx.job.origin.repeatable() {
            return Err(cx.unreliable(&places, 0).better_hint(
                "an image from a pipe cannot be read again to repair that: flash it from a file",
            ));
        }
        let windows: BTreeSet<u64> = bad.iter().map(|index| pieces.window(*index)).collect();
        cx.progress.note(&match bad.len() {
            1 => "1 piece of 4 MiB differs and is written again".to_string(),
            n => format!("{n} pieces of 4 MiB differ and are written again"),
        });
        writer.repair();
        let mut map = Map::new(cx.job.bmap);
        pass(cx, open(cx.job)?, &mut map, writer, pieces, &|window| windows.contains(&window))?;
        writer.sync()?;
        // All of them: a drive that is smaller than it says has just lost others.
        bad = verify::differing(cx, pieces)?;
    }
    if bad.is_empty() {
        return Ok(writer.written - before);
    }
    Err(cx.unreliable(&writer.differed, ATTEMPTS))
}

/// What all parts need.
struct Cx<'a> {
    job: &'a Job<'a>,
    target: &'a dyn Target,
    progress: &'a dyn Progress,
    stop: &'a (dyn Fn() -> bool + Sync),
    /// Where on the drive, and in the image, is written.
    region: Range<u64>,
    /// True when a journal is kept.
    resumable: bool,
}

impl Cx<'_> {
    fn head_end(&self) -> u64 {
        self.region.end.min(self.region.start + HEAD)
    }

    /// Fails once a signal came; `at` is a byte of the image.
    fn check_stop(&self, at: u64) -> Result<()> {
        if (self.stop)() {
            let at = ByteSize(at >> 20 << 20);
            let error = Error::interrupted().context(format!("`{}` was left at {at}", self.job.target));
            return Err(if self.resumable { error.hint("`--resume` goes on from there") } else { error });
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.target.sync().map_err(|cause| self.drive_error("write to", 0, &cause))
    }

    fn drop_cache(&self) -> Result<()> {
        self.target.drop_cache().map_err(|cause| self.drive_error("read", 0, &cause))
    }

    fn drive_error(&self, verb: &str, at: u64, cause: &io::Error) -> Error {
        let name = self.job.target;
        let told = fsx::describe(cause);
        let gone = [rustix::io::Errno::NODEV, rustix::io::Errno::NXIO, rustix::io::Errno::NOMEDIUM];
        if gone.iter().any(|errno| cause.raw_os_error() == Some(errno.raw_os_error())) {
            return Error::new(format!("`{name}` is gone"))
                .caused_by(format!("cannot {verb} it at byte {at}: {told}"))
                .hint(if self.resumable {
                    "plug it in again; `--resume` goes on where it stopped"
                } else {
                    "plug it in again, and flash it again"
                });
        }
        let error = Error::new(format!("cannot {verb} `{name}`"));
        let error =
            if at > 0 { error.caused_by(format!("at byte {at}: {told}")) } else { error.caused_by(told) };
        if cause.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
            return error.hint("it was pulled out, its reader is loose, or it is worn out");
        }
        error
    }

    fn too_small(&self, image: &str, size: Option<u64>) -> Error {
        let (name, room) = (self.job.target, self.target.size());
        let room = format!("{} ({room} bytes)", ByteSize(room));
        Error::new(format!("`{image}` does not fit on `{name}`")).caused_by(match size {
            Some(size) => format!("the image has {} ({size} bytes), the drive {room}", ByteSize(size)),
            None => format!("it goes on behind the end of the drive, which has {room}"),
        })
    }

    /// The drive does not give back what was written to it.
    fn unreliable(&self, places: &[u64], attempts: u32) -> Error {
        let name = self.job.target;
        let mut error = Error::new(format!("`{name}` does not hold what was written to it"));
        if let Some(first) = places.first() {
            let more = match places.len() {
                1 => String::new(),
                2 => ", and at 1 other place".to_string(),
                n => format!(", and at {} other places", n - 1),
            };
            error = error.caused_by(format!("other bytes come back from byte {first} on{more}"));
        }
        if attempts > 0 {
            error = error.caused_by(format!("writing it again {attempts} times did not help"));
        }
        error.hint("the drive is worn out, or smaller than it says: do not use it")
    }
}
