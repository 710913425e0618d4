//! What a drive may not be if it is to be written to: every rule is asked, everything in the way is told.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::system::{Above, Bus, Device, Kind, System};
use crate::error::Error;
use crate::units::ByteSize;

/// What the user allows, and what the image needs.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `--allow-fixed`.
    pub allow_fixed: bool,
    /// `--unmount`: what is mounted will be unmounted.
    pub unmount: bool,
    /// `--max-size`.
    pub max_size: ByteSize,
    /// Size of the image, when it is known.
    pub image: Option<ByteSize>,
}

impl Rules {
    /// Larger drives are more likely somebody's archive than a board's card.
    pub const MAX_SIZE: ByteSize = ByteSize(512 << 30);
}

impl Default for Rules {
    fn default() -> Self {
        Rules { allow_fixed: false, unmount: false, max_size: Self::MAX_SIZE, image: None }
    }
}

/// A device that is used: a drive, a partition, or something stacked on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Its node.
    pub path: String,
    /// The node of the drive or partition at the bottom of its stack.
    pub base: Option<String>,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path)?;
        self.base.as_ref().map_or(Ok(()), |base| write!(f, " (on `{base}`)"))
    }
}

/// Something that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A part of the running system is mounted from it.
    RunningSystem {
        /// What is mounted.
        device: Used,
        /// Where.
        point: PathBuf,
    },
    /// Something else is mounted from it.
    Mounted {
        /// What is mounted.
        device: Used,
        /// Where.
        point: PathBuf,
    },
    /// It is swapped to.
    Swap {
        /// The swap device.
        device: Used,
    },
    /// Something is built on it.
    Held {
        /// Node of the drive or the partition.
        device: String,
        /// What, for people: "the LVM volume `vg-root`".
        by: String,
        /// The command that lets go of it.
        release: String,
    },
    /// Not made to be taken out.
    Fixed(Bus),
    /// Nothing can be written.
    ReadOnly,
    /// Nothing is in it.
    NoMedium,
    /// A CD or DVD drive.
    Optical,
    /// The image does not fit.
    TooSmall {
        /// What it has.
        size: ByteSize,
        /// What the image takes.
        image: ByteSize,
    },
    /// Larger than a board's card would be.
    TooLarge {
        /// What it has.
        size: ByteSize,
        /// What is allowed.
        max: ByteSize,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::RunningSystem { device, point } => {
                write!(f, "it holds the running system: {device} is mounted on `{}`", point.display())
            }
            Obstacle::Mounted { device, point } => {
                write!(f, "{device} is mounted on `{}`", point.display())
            }
            Obstacle::Swap { device } => write!(f, "{device} is in use as swap"),
            Obstacle::Held { device, by, .. } => write!(f, "`{device}` is held by {by}"),
            Obstacle::Fixed(Bus::Virtual) => write!(f, "it is no removable drive"),
            Obstacle::Fixed(bus) => write!(f, "it is a fixed disk ({})", bus.name()),
            Obstacle::ReadOnly => write!(f, "it is read-only"),
            Obstacle::NoMedium => write!(f, "there is no medium in it"),
            Obstacle::Optical => write!(f, "it is an optical drive"),
            Obstacle::TooSmall { size, image } => {
                write!(f, "it has {}, and the image takes {}", exact(*size, *image), exact(*image, *size))
            }
            Obstacle::TooLarge { size, max } => {
                write!(f, "it has {size}, more than `--max-size` allows ({max})")
            }
        }
    }
}

/// A size for people, with its bytes where two sizes would look the same.
fn exact(size: ByteSize, other: ByteSize) -> String {
    if size.to_string() == other.to_string() { format!("{} bytes", size.0) } else { size.to_string() }
}

impl Obstacle {
    /// The option that takes it out of the way, where a user may want that.
    fn option(&self) -> Option<String> {
        match self {
            Obstacle::Mounted { .. } => Some("--unmount".to_string()),
            Obstacle::Fixed(_) => Some("--allow-fixed".to_string()),
            Obstacle::TooLarge { size, .. } => Some(format!("--max-size {}G", size.0.div_ceil(1 << 30))),
            _ => None,
        }
    }

    /// What to do about it by hand.
    fn advice(&self) -> Option<String> {
        match self {
            Obstacle::Held { release, .. } => Some(format!("if nothing needs it any more: `{release}`")),
            Obstacle::Swap { device } => {
                Some(format!("if nothing needs it any more: `swapoff {}`", device.path))
            }
            Obstacle::ReadOnly => Some("SD cards and their adapters have a lock switch".to_string()),
            _ => None,
        }
    }
}

impl System {
    /// Everything that is in the way of writing to a drive. Nothing: it may be written to.
    pub fn obstacles(&self, drive: &Device, rules: &Rules) -> Vec<Obstacle> {
        let mut all = uses(self, drive);
        if rules.unmount {
            all.retain(|obstacle| !matches!(obstacle, Obstacle::Mounted { .. }));
        }
        match drive.kind {
            Kind::Drive { removable: true, .. } => {}
            Kind::Optical => all.push(Obstacle::Optical),
            Kind::Drive { bus, .. } if !rules.allow_fixed => all.push(Obstacle::Fixed(bus)),
            Kind::Loop(_) if !rules.allow_fixed => all.push(Obstacle::Fixed(Bus::Virtual)),
            _ => {}
        }
        if drive.size.0 == 0 {
            all.push(Obstacle::NoMedium);
            return all;
        }
        if drive.read_only {
            all.push(Obstacle::ReadOnly);
        }
        if let Some(image) = rules.image.filter(|image| drive.size < *image) {
            all.push(Obstacle::TooSmall { size: drive.size, image });
        }
        if drive.size > rules.max_size {
            all.push(Obstacle::TooLarge { size: drive.size, max: rules.max_size });
        }
        all
    }
}

/// What uses a drive: mounts, swap, holders. What keeps the system running comes first.
fn uses(system: &System, drive: &Device) -> Vec<Obstacle> {
    let (mut vital, mut mounted, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for Above { device, base } in system.above(drive) {
        let stacked = device.name != base.name;
        let used = Used { path: device.path(), base: stacked.then(|| base.path()) };
        for mount in system.mounts.iter().filter(|mount| mount.on.contains(&device.name)) {
            let (device, point) = (used.clone(), mount.point.clone());
            if is_vital(&point) {
                vital.push(Obstacle::RunningSystem { device, point });
            } else {
                mounted.push(Obstacle::Mounted { device, point });
            }
        }
        if system.swaps.contains(&device.name) {
            vital.push(Obstacle::Swap { device: used });
        }
        // What is further up holds what is below it, and so on down.
        if !stacked {
            held.extend(holds(system, device));
        }
    }
    vital.into_iter().chain(mounted).chain(held).collect()
}

/// Whether a mount point belongs to the system that runs, and not to a card that somebody put in.
fn is_vital(point: &Path) -> bool {
    const ALONE: [&str; 8] = ["/", "/home", "/root", "/opt", "/srv", "/tmp", "/var", "/var/tmp"];
    const WITH_ALL_BELOW: [&str; 8] =
        ["/usr", "/etc", "/boot", "/efi", "/nix", "/var/cache", "/var/lib", "/var/log"];
    ALONE.iter().any(|place| point == Path::new(place))
        || WITH_ALL_BELOW.iter().any(|place| point.starts_with(place))
}

/// What is built on a device.
fn holds(system: &System, device: &Device) -> Vec<Obstacle> {
    let held = |by: String, release: String| Obstacle::Held { device: device.path(), by, release };
    let mut all: Vec<Obstacle> = Vec::new();
    for name in &device.holders {
        let path = format!("/dev/{name}");
        all.push(match system.devices.get(name).map(|holder| &holder.kind) {
            Some(Kind::Mapped { name, uuid }) => mapped(&device.path(), name, uuid),
            Some(Kind::Raid) => held(format!("the RAID array `{name}`"), format!("mdadm --stop {path}")),
            _ => held(format!("`{name}`"), format!("lsblk {}", device.path())),
        });
    }
    let loops = system
        .devices
        .values()
        .filter(|other| matches!(&other.kind, Kind::Loop(Some(file)) if *file == Path::new(&device.path())));
    all.extend(loops.map(|other| {
        held(format!("the loop device `{}`", other.name), format!("losetup --detach {}", other.path()))
    }));
    if device.content.filesystem.as_deref() == Some("zfs_member") {
        // Without a label there is no telling of which pool.
        let of = device.content.label.as_ref().filter(|pool| system.pools.contains(*pool));
        let pool = if device.content.label.is_none() { system.pools.first() } else { of };
        all.extend(pool.map(|pool| held(format!("the ZFS pool `{pool}`"), format!("zpool export {pool}"))));
    }
    let families = system.btrfs.iter().filter(|members| members.len() > 1 && members.contains(&device.name));
    all.extend(families.map(|members| btrfs(system, device, members)));
    all
}

fn mapped(device: &str, name: &str, uuid: &str) -> Obstacle {
    let (by, release) = match uuid.split_once('-').map_or(uuid, |(maker, _)| maker) {
        "LVM" => ("LVM volume", format!("lvchange --activate n /dev/mapper/{name}")),
        "CRYPT" => ("dm-crypt volume", format!("cryptsetup close {name}")),
        "mpath" => ("multipath device", format!("multipath -f {name}")),
        _ => ("device-mapper volume", format!("dmsetup remove {name}")),
    };
    Obstacle::Held { device: device.to_string(), by: format!("the {by} `{name}`"), release }
}

fn btrfs(system: &System, device: &Device, members: &BTreeSet<String>) -> Obstacle {
    let others: Vec<String> =
        members.iter().filter(|name| **name != device.name).map(|name| format!("`/dev/{name}`")).collect();
    let mount = system.mounts.iter().find(|mount| mount.on.contains(&device.name));
    let point = mount.map_or(String::new(), |mount| format!(" {}", mount.point.display()));
    Obstacle::Held {
        device: device.path(),
        by: format!("a btrfs filesystem that spans {} as well", others.join(", ")),
        release: format!("umount{point}"),
    }
}

/// The refusal of a drive, with everything that is in the way.
pub fn refusal(drive: &Device, obstacles: &[Obstacle]) -> Error {
    let mut error = Error::new(format!("will not write to `{}`", drive.path()));
    for obstacle in obstacles {
        error = error.caused_by(obstacle);
    }
    let options: Option<BTreeSet<String>> = obstacles.iter().map(Obstacle::option).collect();
    if let Some(options) = options {
        let options: Vec<String> = options.into_iter().collect();
        return error.hint(format!("if it is the drive you mean, add `{}`", options.join(" ")));
    }
    match obstacles.iter().find_map(Obstacle::advice) {
        Some(advice) if !obstacles.iter().any(|one| matches!(one, Obstacle::RunningSystem { .. })) => {
            error.hint(advice)
        }
        _ => error.hint("`bimg flash --list` shows the drives that can be written to"),
    }
}
