//! `bimg flash`: an image onto a drive.
//!
//! What can be refused without touching anything is refused first; then the user is asked; then the image's
//! checksums and signature are looked at, the drive is unmounted, opened for us alone and examined again. Only then
//! is anything written.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ask::Ask;
use crate::error::{Error, Result};
use crate::flash::beside::{self, Beside, Trust};
use crate::flash::device::{self, Device, Host, Listed, Loss, Place, Rules, System};
use crate::flash::{self, FileTarget, Job, Report};
use crate::input::{Input, Origin};
use crate::progress::{Event, Progress};
use crate::signature::Signed;
use crate::units::ByteSize;
use crate::{fsx, interrupt};

/// What to write, where to, and what may be in the way.
#[derive(Debug, Clone)]
pub struct FlashOptions {
    /// A path, `-`, or a URL.
    pub image: String,
    /// A drive, or a file in place of one.
    pub device: Option<PathBuf>,
    /// What is allowed.
    pub rules: Rules,
    /// Do not ask.
    pub yes: bool,
    /// The public key that must have signed it.
    pub key: Option<PathBuf>,
    /// Read back.
    pub verify: bool,
    /// Write only what differs.
    pub minimize: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Flashed {
    /// The image, as it was named.
    image: String,
    /// The drive or file.
    device: String,
    #[serde(flatten)]
    report: Report,
    /// Seconds that writing and reading back took.
    seconds: f64,
    /// Who signed it, when that was checked.
    signed: Option<Signed>,
}

impl Flashed {
    /// One JSON object on one line.
    pub fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            event: &'static str,
            #[serde(flatten)]
            flashed: &'a Flashed,
        }
        serde_json::to_string(&Line { event: "flashed", flashed: self })
            .map(|text| text + "\n")
            .map_err(|cause| Error::new("cannot print the result").caused_by(cause))
    }

    /// How much was written, how fast, and whether it was read back.
    pub fn text(&self) -> String {
        let Report { size, mapped, written, verified, .. } = self.report;
        let mut out = format!("{}\n  {size}, {mapped} of data", self.device);
        // Writing to a String cannot fail.
        if written.0 < mapped.0 {
            let _ = write!(out, ", {written} of it written");
        }
        let how = if verified { "read back and equal" } else { "not read back" };
        let rate = ByteSize((mapped.0 as f64 / self.seconds.max(0.001)) as u64);
        let _ = writeln!(out, ", {how}\n  {:.1} s, {rate}/s", self.seconds);
        if let Some(Signed { id, comment, .. }) = &self.signed {
            let _ = writeln!(out, "  signed with the key {id}: {comment}");
        }
        out
    }
}

/// The drives of this machine.
pub fn drives(rules: &Rules) -> Result<Vec<Listed>> {
    Ok(Host::here().read()?.list(rules))
}

/// Writes an image.
pub fn flash(options: &FlashOptions, ask: &dyn Ask, progress: &dyn Progress) -> Result<Flashed> {
    flash_on(&Host::here(), options, ask, progress)
}

/// The same on a host that may be a test's.
fn flash_on(host: &Host, options: &FlashOptions, ask: &dyn Ask, progress: &dyn Progress) -> Result<Flashed> {
    if options.yes && options.device.is_none() {
        return Err(Error::usage("`--yes` takes a DEVICE")
            .hint("without anybody to ask, a drive has to be named: `bimg flash --yes IMAGE DEVICE`"));
    }
    let origin = Origin::new(&options.image);
    let system = host.read()?;
    let place = match &options.device {
        Some(path) => device::locate(host, &system, path)?,
        None => Place::Drive(Box::new(device::choose(&system, &options.rules, ask)?)),
    };
    let trust = Trust::new(options.key.as_deref())?;
    let size = size_of(&origin)?;
    let rules = Rules { image: size, ..options.rules };
    permit(&system, &place, &rules, options, ask)?;
    let beside = beside::look(&origin, &trust, progress)?;
    let work = Work { host, options, origin: &origin, beside: &beside, progress };
    let (report, seconds) = match &place {
        Place::Drive(drive) => work.drive(&system, drive, &rules)?,
        Place::File { path, size } => work.file(path, size.is_none())?,
    };
    let device = named(&place);
    Ok(Flashed { image: options.image.clone(), device, report, seconds, signed: beside.signed })
}

fn named(place: &Place) -> String {
    match place {
        Place::Drive(drive) => drive.path(),
        Place::File { path, .. } => path.display().to_string(),
    }
}

/// The image's size, where it is known without reading all of it. A file that cannot be read is told of before
/// anybody is asked anything.
fn size_of(origin: &Origin) -> Result<Option<ByteSize>> {
    let Origin::File(path) = origin else { return Ok(None) };
    // A pipe can be opened once.
    let is_pipe = path.exists() && !path.is_dir() && !origin.repeatable();
    if is_pipe { Ok(None) } else { Ok(Input::open(origin)?.size().map(ByteSize)) }
}

/// Refuses what may not be written to, and asks about the rest.
fn permit(
    system: &System,
    place: &Place,
    rules: &Rules,
    options: &FlashOptions,
    ask: &dyn Ask,
) -> Result<()> {
    let image = options.image.as_str();
    match place {
        Place::Drive(drive) => {
            let obstacles = system.obstacles(drive, rules);
            if !obstacles.is_empty() {
                return Err(device::refusal(drive, &obstacles));
            }
            if options.yes {
                return Ok(());
            }
            let target = Listed::new(system, drive, rules);
            let unmount = device::mounted(system, drive);
            device::confirm(&Loss { target: &target, unmount: &unmount, image, size: rules.image }, ask)
        }
        Place::File { path, size } => {
            if is_same(path, image) {
                return Err(Error::usage(format!("`{}` is the image itself", path.display())));
            }
            match size {
                Some(size) if size.0 > 0 && !options.yes => {
                    device::confirm_file(&path.display().to_string(), *size, image, ask)
                }
                _ => Ok(()),
            }
        }
    }
}

/// Whether two names lead to the same file.
fn is_same(path: &Path, image: &str) -> bool {
    match (path.metadata(), Path::new(image).metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

struct Work<'a> {
    host: &'a Host,
    options: &'a FlashOptions,
    origin: &'a Origin,
    beside: &'a Beside,
    progress: &'a dyn Progress,
}

impl Work<'_> {
    fn drive(&self, system: &System, drive: &Device, rules: &Rules) -> Result<(Report, f64)> {
        if rules.unmount {
            device::unmount(self.host, system, drive, self.progress)?;
        }
        let file = device::open_drive(self.host, drive, rules)?;
        let path = drive.path();
        let target = FileTarget::new(file).map_err(|cause| fsx::io_error("use", Path::new(&path), &cause))?;
        let done = self.write(&path, &target)?;
        // The kernel reads the new table only once nobody holds the drive.
        drop(target);
        device::finish(drive, self.progress);
        Ok(done)
    }

    fn file(&self, path: &Path, new: bool) -> Result<(Report, f64)> {
        let file = device::open_file(path)?;
        let target = FileTarget::new(file).map_err(|cause| fsx::io_error("use", path, &cause))?;
        let done = self.write(&path.display().to_string(), &target);
        // Made for this, and nothing got so far as to be written.
        if new && done.is_err() && path.metadata().is_ok_and(|meta| meta.len() == 0) {
            fsx::remove_file(path)?;
        }
        done
    }

    fn write(&self, name: &str, target: &FileTarget) -> Result<(Report, f64)> {
        interrupt::check()?;
        let job = Job {
            origin: self.origin,
            target: name,
            bmap: self.beside.bmap.as_ref(),
            sha256: self.beside.sha256,
            verify: self.options.verify,
            minimize: self.options.minimize,
        };
        let reason = format!("`{}` to `{name}`", self.options.image);
        self.progress.event(&Event::StageStarted { stage: "flash", reason: &reason });
        let start = Instant::now();
        let report = flash::write(&job, target, self.progress)?;
        let seconds = Duration::as_secs_f64(&start.elapsed());
        self.progress.event(&Event::StageFinished { stage: "flash", seconds, fresh: false });
        Ok((report, seconds))
    }
}
