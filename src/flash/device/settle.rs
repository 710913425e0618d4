//! Before and after: partitions unmounted, the new table read by the kernel, the drive ejected.

use std::path::Path;

use super::host::Host;
use super::system::{Bus, Device, Kind, System};
use crate::error::{Context, Error, Result};
use crate::exec::{self, Cmd};
use crate::progress::Progress;

/// Unmounts everything that is mounted from a drive, the last mounted first. Returns the system as it is then.
pub fn unmount(host: &Host, system: &System, drive: &Device, progress: &dyn Progress) -> Result<System> {
    let points = mount_points(system, drive);
    if points.is_empty() {
        return host.read();
    }
    for point in points {
        let shown = point.display();
        Cmd::new("umount")
            .arg("--")
            .arg(point)
            .check()
            .context(|| format!("cannot unmount `{shown}`"))
            .map_err(|error| {
                error.hint(format!("close what uses it; `fuser --verbose --mount {shown}` tells what"))
            })?;
        progress.note(&format!("unmounted `{shown}`"));
    }
    let system = host.read()?;
    match mount_points(&system, drive).first() {
        None => Ok(system),
        Some(point) => Err(Error::new(format!("cannot unmount `{}`", point.display()))
            .caused_by("`umount` went well, and it is mounted still")),
    }
}

/// Where a drive is mounted, the last first.
pub(super) fn mount_points<'a>(system: &'a System, drive: &Device) -> Vec<&'a Path> {
    let above = system.above(drive);
    let is_on = |name: &String| above.iter().any(|one| one.device.name == *name);
    let mounts = system.mounts.iter().filter(|mount| mount.on.iter().any(is_on));
    mounts.rev().map(|mount| mount.point.as_path()).collect()
}

/// Lets the kernel read the new partition table, then ejects. The image is written by now: what does
/// not work is told, and no failure.
pub fn finish(drive: &Device, progress: &dyn Progress) {
    for (command, otherwise) in closing(drive) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        attempt(&words, otherwise, progress);
    }
}

/// Runs a command; where that does not work, tells what holds otherwise.
pub(super) fn attempt(command: &[&str], otherwise: &str, progress: &dyn Progress) {
    let [program, args @ ..] = command else { return };
    if exec::which(program).is_none() {
        progress.note(&format!("there is no `{program}` here: {otherwise}"));
        return;
    }
    if let Err(error) = Cmd::new(program).args(args).check() {
        let why = error.chain().last().unwrap_or_default().lines().last().unwrap_or_default().to_string();
        progress.note(&format!("`{}` did not work ({why}): {otherwise}", command.join(" ")));
    }
}

/// The commands, and what holds where one does not work.
pub(super) fn closing(drive: &Device) -> Vec<(Vec<String>, &'static str)> {
    let path = drive.path();
    let command = |words: &[&str]| {
        words.iter().map(|word| (*word).to_string()).chain([path.clone()]).collect::<Vec<String>>()
    };
    let mut all = Vec::new();
    // Most loop devices know no partitions.
    if !matches!(drive.kind, Kind::Loop(_)) {
        all.push((
            command(&["blockdev", "--rereadpt"]),
            "the kernel sees the new partitions once the drive is plugged in again",
        ));
    }
    // A card in an MMC host or a fixed disk has nothing to eject.
    if matches!(drive.kind, Kind::Drive { bus: Bus::Usb | Bus::Sata | Bus::Other, removable: true }) {
        all.push((command(&["eject"]), "all is written, and the drive can be pulled"));
    }
    all
}
