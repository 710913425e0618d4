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
use crate::source::shown_url;
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
    /// Write one partition only.
    pub partition: Option<String>,
    /// Go on where an earlier run stopped.
    pub resume: bool,
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
    let trust = Trust::new(options.key.as_deref())?;
    let rules = Rules { image: size_of(&origin)?, ..options.rules };
    let system = host.read()?;
    let place = match &options.device {
        Some(path) => device::locate(host, &system, path)?,
        None => Place::Drive(Box::new(device::choose(&system, &rules, ask)?)),
    };
    permit(&system, &place, &rules, options, ask)?;
    let beside = beside::look(&origin, &trust, progress)?;
    let work = Work { host, options, origin: &origin, beside: &beside, progress };
    let (report, seconds) = match &place {
        Place::Drive(drive) => work.drive(&system, drive, &rules)?,
        Place::File { path, size } => work.file(path, size.is_none())?,
    };
    let device = named(&place);
    Ok(Flashed { image: shown_url(&options.image), device, report, seconds, signed: beside.signed })
}

fn named(place: &Place) -> String {
    match place {
        Place::Drive(drive) => drive.path(),
        Place::File { path, .. } => path.display().to_string(),
    }
}

/// The image's size, where it is known without reading all of it. A file that cannot be read, or is no image, is told
/// of before anybody is asked anything.
fn size_of(origin: &Origin) -> Result<Option<ByteSize>> {
    let Origin::File(path) = origin else { return Ok(None) };
    let name = path.to_string_lossy();
    if name.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
        return Err(Error::usage(format!("cannot fetch `{}`", shown_url(&name)))
            .caused_by("images come from files, standard input (`-`), `http://` and `https://`"));
    }
    // A pipe can be opened once.
    if origin.is_stream() {
        return Ok(None);
    }
    let mut input = Input::open(origin)?;
    input.check_image()?;
    Ok(input.size().map(ByteSize))
}

/// Refuses what may not be written to, and asks about the rest.
fn permit(
    system: &System,
    place: &Place,
    rules: &Rules,
    options: &FlashOptions,
    ask: &dyn Ask,
) -> Result<()> {
    let image = &shown_url(&options.image);
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
            if is_same(path, &options.image) {
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
            partition: self.options.partition.as_deref(),
            resume: self.options.resume,
        };
        let reason = format!("`{}` to `{name}`", shown_url(&self.options.image));
        self.progress.event(&Event::StageStarted { stage: "flash", reason: &reason });
        let start = Instant::now();
        let report = flash::write(&job, target, self.progress)?;
        let seconds = Duration::as_secs_f64(&start.elapsed());
        self.progress.event(&Event::StageFinished { stage: "flash", seconds, fresh: false });
        Ok((report, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Nobody;
    use crate::flash::device::tests::tree::Tree;
    use crate::progress::Silent;

    struct Answers(&'static str);

    impl Ask for Answers {
        fn ask(&self, _: &str) -> Result<Option<String>> {
            Ok(Some(self.0.to_string()))
        }
    }

    /// What comes of an image of 1 MiB on a laptop with a stick; the stick's node is looked at afterwards.
    #[track_caller]
    fn fails(tree: &Tree, ask: &dyn Ask, change: impl FnOnce(&mut FlashOptions)) -> String {
        tree.write("x.img", &"x".repeat(1 << 20));
        let mut options = FlashOptions {
            image: tree.at("x.img").display().to_string(),
            device: Some("/dev/sdb".into()),
            rules: Rules::default(),
            yes: false,
            key: None,
            verify: true,
            minimize: false,
            partition: None,
            resume: false,
        };
        change(&mut options);
        let error = flash_on(&tree.host(), &options, ask, &Silent).unwrap_err().to_string();
        for node in ["dev/sdb", "dev/nvme0n1"] {
            assert_eq!(std::fs::read(tree.at(node)).unwrap(), b"", "{node} was written to");
        }
        error.replace(tree.root().to_str().unwrap(), "")
    }

    #[test]
    fn a_refused_drive_is_refused_before_anybody_is_asked() {
        let tree = Tree::laptop();
        tree.mount("8:17", "/media/boot", "vfat", "/dev/sdb1");
        assert_eq!(
            fails(&tree, &Answers("sdb"), |_| {}),
            "will not write to `/dev/sdb`\n  caused by: `/dev/sdb1` is mounted on `/media/boot`\n\n\
             hint: if it is the drive you mean, add `--unmount`"
        );
    }

    #[test]
    fn yes_lifts_no_rule() {
        let tree = Tree::laptop();
        let error = fails(&tree, &Nobody, |options| {
            options.yes = true;
            options.device = Some("/dev/nvme0n1".into());
        });
        assert!(
            error.starts_with("will not write to `/dev/nvme0n1`\n  caused by: it holds the running system: ")
        );
    }

    #[test]
    fn nobody_to_ask_and_no_yes() {
        for device in [Some(PathBuf::from("/dev/sdb")), None] {
            let error = fails(&Tree::laptop(), &Nobody, |options| options.device = device);
            assert_eq!(
                error,
                "will not write to `/dev/sdb` unasked\n  caused by: there is no terminal to ask on\n\n\
                 hint: a script says `--yes`"
            );
        }
    }

    #[test]
    fn another_answer() {
        assert_eq!(
            fails(&Tree::laptop(), &Answers("yes"), |_| {}),
            "nothing was written to `/dev/sdb`\n  caused by: the answer was `yes`, not `sdb`"
        );
    }

    #[test]
    fn a_drive_smaller_than_the_image_is_no_choice() {
        let tree = Tree::laptop();
        tree.attribute("sdb", "size", "2047");
        let error = fails(&tree, &Answers("sdb"), |options| options.device = None);
        assert!(
            error.contains(
                "`/dev/sdb` (SanDisk Ultra, 1023.5 KiB, usb): it has 1023.5 KiB, and the image takes 1 MiB\n"
            ),
            "{error}"
        );
    }

    #[test]
    fn what_was_permitted_is_examined_again_once_open() {
        // The node of this tree is a file.
        let expected = "will not write to `/dev/sdb`\n  \
             caused by: it has changed since it was examined: it is no block device\n\n\
             hint: run it again, and look twice at the drive it shows";
        assert_eq!(fails(&Tree::laptop(), &Answers("sdb"), |_| {}), expected);
        assert_eq!(fails(&Tree::laptop(), &Nobody, |options| options.yes = true), expected);
    }
}
