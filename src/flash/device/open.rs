//! Opens what an image is written to. Between a look at a drive and its opening, somebody may pull it, put
//! in another, or mount it: an exclusive open keeps everybody out, and what is open is examined again.

use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::host::Host;
use super::rules::{Rules, refusal};
use super::system::{Device, Number};
use crate::error::{Error, Result};
use crate::fsx;

/// Opens a drive that no rule refused, for reading and writing, exclusively.
///
/// With `O_EXCL` the kernel refuses a drive of which any part is mounted, swapped to or held, by whatever
/// and in whatever namespace; and while it is open so, nobody can mount it (open(2), "O_EXCL").
pub fn open_drive(host: &Host, drive: &Device, rules: &Rules) -> Result<File> {
    let path = host.path(Path::new(&drive.path()));
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(&path, flags, Mode::empty())
        .map(File::from)
        .map_err(|cause| cannot_open(drive, cause))?;
    let changed = |what: &str| {
        Error::new(format!("will not write to `{}`", drive.path()))
            .caused_by(format!("it has changed since it was examined: {what}"))
            .hint("run it again, and look twice at the drive it shows")
    };
    let fail = |cause: std::io::Error| fsx::io_error("examine", &path, &cause);
    let meta = file.metadata().map_err(fail)?;
    if !meta.file_type().is_block_device() {
        return Err(changed("it is no block device"));
    }
    if Number::from_raw(meta.rdev()) != drive.number {
        return Err(changed("it is another device"));
    }
    let size = (&file).seek(SeekFrom::End(0)).map_err(fail)?;
    (&file).seek(SeekFrom::Start(0)).map_err(fail)?;
    let system = host.read()?;
    let again = system.devices.get(&drive.name).ok_or_else(|| changed("it is gone"))?;
    if size != drive.size.0 || !is_same(drive, again) {
        return Err(changed("another drive or another medium is there"));
    }
    // What was to be unmounted is unmounted by now.
    let obstacles = system.obstacles(again, &Rules { unmount: false, ..*rules });
    if obstacles.is_empty() { Ok(file) } else { Err(refusal(again, &obstacles)) }
}

/// Whether two looks saw the same drive with the same medium.
pub(super) fn is_same(before: &Device, now: &Device) -> bool {
    let identity = |device: &Device| {
        (device.number, device.size, device.sequence, device.kind.clone(), device.model.clone())
    };
    identity(before) == identity(now)
}

/// Why the kernel did not let us.
pub(super) fn cannot_open(drive: &Device, cause: Errno) -> Error {
    let path = drive.path();
    let error = Error::new(format!("cannot open `{path}`")).caused_by(fsx::describe(&cause.into()));
    match cause {
        Errno::BUSY => {
            error.hint(format!("something uses it; `lsblk {path}` and `fuser --verbose {path}` tell what"))
        }
        Errno::ACCESS | Errno::PERM => {
            error.hint("writing to a drive takes root, or a user whom the system lets (often: group `disk`)")
        }
        Errno::ROFS => error.hint("SD cards and their adapters have a lock switch"),
        _ => error,
    }
}

/// Opens a regular file that stands in for a drive; makes it when there is none.
pub fn open_file(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|cause| fsx::io_error("open", path, &cause))?;
    let meta = file.metadata().map_err(|cause| fsx::io_error("examine", path, &cause))?;
    if !meta.is_file() {
        return Err(Error::new(format!("will not write to `{}`", path.display()))
            .caused_by("it has changed since it was examined: it is no regular file"));
    }
    // Held until it is closed; a filesystem that knows no locks gets along without them.
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(Error::new(format!("will not write to `{}`", path.display()))
            .caused_by("another bimg is writing to it"));
    }
    Ok(file)
}
