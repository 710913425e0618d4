//! From what the user named to where the image goes: a whole drive, or a regular file in place of one.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::host::Host;
use super::system::{Device, Kind, System};
use crate::error::{Error, Result};
use crate::fsx;
use crate::units::ByteSize;

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A whole drive, which may still be refused.
    Drive(Box<Device>),
    /// A regular file, and its size when it is there.
    File {
        /// Where.
        path: PathBuf,
        /// None: it is to be made.
        size: Option<ByteSize>,
    },
}

const LIST: &str = "`bimg flash --list` shows the drives that can be written to";

/// Finds what a path names. Symbolic links (`/dev/disk/by-id/...`) are followed.
pub fn locate(host: &Host, system: &System, path: &Path) -> Result<Place> {
    if let Some(device) = host.name_of(path, system).and_then(|name| system.devices.get(&name)) {
        return drive(system, device, path);
    }
    let refuse = |why: &str| {
        Err(Error::usage(format!("cannot write an image to `{}`", path.display())).caused_by(why).hint(LIST))
    };
    let real = host.path(path);
    // In `/dev` a file would only eat memory, and look like a drive to the next one who comes along.
    let full = absolute(path);
    let system_dir =
        ["/dev", "/proc", "/sys"].iter().any(|dir| full.starts_with(dir)) && !full.starts_with("/dev/shm");
    match real.metadata() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            if system_dir {
                return refuse("there is no such drive");
            }
            Ok(Place::File { path: real, size: None })
        }
        Err(cause) => Err(fsx::io_error("use", path, &cause)),
        Ok(meta) if meta.is_dir() => refuse("it is a directory, neither a drive nor a file"),
        Ok(meta) if meta.file_type().is_fifo() => refuse("it is a pipe, neither a drive nor a file"),
        Ok(meta) if meta.file_type().is_socket() => refuse("it is a socket, neither a drive nor a file"),
        Ok(meta) if meta.file_type().is_char_device() => {
            refuse("it is a character device, neither a drive nor a file")
        }
        Ok(meta) if meta.file_type().is_block_device() => refuse("the kernel has no such drive any more"),
        Ok(_) if system_dir => refuse("it is a plain file that somebody left there, not a drive"),
        Ok(meta) => {
            for device in system.devices.values() {
                if matches!(&device.kind, Kind::Loop(Some(file)) if same_file(&host.path(file), &real)) {
                    return Err(Error::new(format!("will not write to `{}`", path.display()))
                        .caused_by(format!("it is held by the loop device `{}`", device.name))
                        .hint(format!(
                            "if nothing needs it any more: `losetup --detach {}`",
                            device.path()
                        )));
                }
            }
            Ok(Place::File { path: real, size: Some(ByteSize(meta.len())) })
        }
    }
}

/// A whole drive, or why it is none.
fn drive(system: &System, device: &Device, named: &Path) -> Result<Place> {
    let under: Vec<String> =
        system.drives_under(device).iter().map(|drive| format!("`{}`", drive.path())).collect();
    let under = under.join(", ");
    let refuse = |what: &str| Error::usage(format!("`{}` is {what}, not a whole drive", named.display()));
    match &device.kind {
        Kind::Drive { .. } | Kind::Loop(_) | Kind::Optical => Ok(Place::Drive(Box::new(device.clone()))),
        Kind::Partition { .. } => Err(refuse("a partition")
            .hint(format!("an image has a partition table of its own: name the whole drive, {under}"))),
        Kind::Mapped { .. } => {
            Err(refuse("a device-mapper volume").caused_by(format!("it lies on {under}")).hint(LIST))
        }
        Kind::Raid => Err(refuse("a RAID array").caused_by(format!("it lies on {under}")).hint(LIST)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    // Of an empty path the system has its own words, later.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
