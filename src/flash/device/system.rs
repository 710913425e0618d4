//! What the kernel says about block devices, as data: devices, what is built on them, what uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::units::ByteSize;

/// A device number, `MAJOR:MINOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Of the driver.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
}

impl Number {
    /// From `st_dev` or `st_rdev`.
    pub fn from_raw(raw: u64) -> Self {
        Number { major: rustix::fs::major(raw), minor: rustix::fs::minor(raw) }
    }
}

impl FromStr for Number {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.trim().split_once(':').ok_or(())?;
        Ok(Number { major: major.parse().map_err(drop)?, minor: minor.parse().map_err(drop)? })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// How a drive is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// USB, card readers included.
    Usb,
    /// A card or an eMMC in an MMC host.
    Mmc,
    /// NVMe.
    Nvme,
    /// SATA or IDE.
    Sata,
    /// A virtual machine's.
    Virtio,
    /// Any other hardware.
    Other,
    /// None: the kernel makes it up (loop, zram, nbd).
    Virtual,
}

impl Bus {
    /// As in the list.
    pub fn name(self) -> &'static str {
        match self {
            Bus::Usb => "usb",
            Bus::Mmc => "mmc",
            Bus::Nvme => "nvme",
            Bus::Sata => "sata",
            Bus::Virtio => "virtio",
            Bus::Other => "other",
            Bus::Virtual => "virtual",
        }
    }
}

/// What a block device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A whole drive.
    Drive {
        /// How it is attached.
        bus: Bus,
        /// It, or its medium, is made to be taken out.
        removable: bool,
    },
    /// A partition of the device of that name.
    Partition {
        /// Kernel name of the whole device.
        of: String,
    },
    /// Made by the device mapper.
    Mapped {
        /// Name below `/dev/mapper`.
        name: String,
        /// Begins with who made it: `LVM-`, `CRYPT-`, `mpath-`.
        uuid: String,
    },
    /// An md array.
    Raid,
    /// A CD or DVD drive.
    Optical,
    /// A loop device, and the file behind it when there is one.
    Loop(Option<PathBuf>),
}

/// What is known to be on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Partition table: `gpt`, `dos`.
    pub table: Option<String>,
    /// Filesystem, or member of what: `vfat`, `ext4`, `LVM2_member`.
    pub filesystem: Option<String>,
    /// The filesystem's label.
    pub label: Option<String>,
    /// The partition's name in a GPT.
    pub name: Option<String>,
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Kernel name: `sdb`, `mmcblk0p1`.
    pub name: String,
    /// Device number.
    pub number: Number,
    /// Size; 0 when no medium is in.
    pub size: ByteSize,
    /// Nothing can be written.
    pub read_only: bool,
    /// Maker and model.
    pub model: Option<String>,
    /// Counts media: another one means that what was in the drive is no longer.
    pub sequence: Option<u64>,
    /// What it is.
    pub kind: Kind,
    /// What is on it.
    pub content: Content,
    /// Kernel names of the devices built on it.
    pub holders: Vec<String>,
    /// Kernel names of the devices that it is built on.
    pub slaves: Vec<String>,
}

impl Device {
    /// Its node: `/dev/sdb`, `/dev/mapper/vg-root`.
    pub fn path(&self) -> String {
        match &self.kind {
            Kind::Mapped { name, .. } => format!("/dev/mapper/{name}"),
            // sysfs has no slashes in names.
            _ => format!("/dev/{}", self.name.replace('!', "/")),
        }
    }

    /// Whether it is a whole drive of hardware, as a list of drives wants it.
    pub fn is_hardware(&self) -> bool {
        matches!(self.kind, Kind::Drive { bus, .. } if bus != Bus::Virtual)
    }
}

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// Kernel names of the devices that it is on; several for a btrfs of several.
    pub on: BTreeSet<String>,
}

/// All block devices, and what uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// By kernel name.
    pub devices: BTreeMap<String, Device>,
    /// In the order in which they were mounted.
    pub mounts: Vec<Mount>,
    /// Kernel names of devices that are swapped to.
    pub swaps: BTreeSet<String>,
    /// Members of each mounted btrfs, by kernel name.
    pub btrfs: Vec<BTreeSet<String>>,
    /// ZFS pools that are imported.
    pub pools: BTreeSet<String>,
}

/// A device built on another, and on which.
#[derive(Debug, Clone, Copy)]
pub struct Above<'a> {
    /// The device: the drive itself, a partition, or something stacked.
    pub device: &'a Device,
    /// The drive or partition at the bottom of that stack.
    pub base: &'a Device,
}

impl System {
    /// Partitions of a drive, in order of their numbers.
    pub fn partitions(&self, drive: &Device) -> Vec<&Device> {
        let mut all: Vec<&Device> = self
            .devices
            .values()
            .filter(|device| matches!(&device.kind, Kind::Partition { of } if *of == drive.name))
            .collect();
        // `sdb10` comes after `sdb9`.
        all.sort_by_key(|device| (device.name.len(), &device.name));
        all
    }

    /// The drive, its partitions, and whatever is stacked on them.
    pub fn above<'a>(&'a self, drive: &'a Device) -> Vec<Above<'a>> {
        let mut all = vec![Above { device: drive, base: drive }];
        all.extend(self.partitions(drive).into_iter().map(|device| Above { device, base: device }));
        let mut next = 0;
        while next < all.len() {
            let Above { device, base } = all[next];
            let partitions = if next == 0 { Vec::new() } else { self.partitions(device) };
            let holders = device.holders.iter().filter_map(|name| self.devices.get(name));
            for device in holders.chain(partitions) {
                if all.iter().all(|known| known.device.name != device.name) {
                    all.push(Above { device, base });
                }
            }
            next += 1;
        }
        all
    }

    /// The whole drives under a device; more than one under a RAID.
    pub fn drives_under<'a>(&'a self, device: &'a Device) -> Vec<&'a Device> {
        let mut todo = vec![device];
        let mut seen = BTreeSet::new();
        let mut drives = Vec::new();
        while let Some(device) = todo.pop() {
            if !seen.insert(&device.name) {
                continue;
            }
            match &device.kind {
                Kind::Partition { of } => todo.extend(self.devices.get(of)),
                _ if device.slaves.is_empty() => drives.push(device),
                _ => todo.extend(device.slaves.iter().filter_map(|name| self.devices.get(name))),
            }
        }
        drives.sort_by_key(|drive| &drive.name);
        drives
    }
}
