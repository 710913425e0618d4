//! Reads what the kernel and udev say about block devices.
//!
//! | file | says |
//! |---|---|
//! | `/sys/class/block/*` | every device: number, size, what holds it (kernel `Documentation/ABI/stable/sysfs-block`) |
//! | `/sys/fs/btrfs/*/devices` | the members of each mounted btrfs |
//! | `/proc/self/mountinfo`, `/proc/swaps` | what is mounted and swapped to (proc(5)) |
//! | `/proc/spl/kstat/zfs/*` | the ZFS pools that are imported |
//! | `/run/udev/data/b*` | filesystems and labels, as udev probed them; readable without root |
//! | `/dev/*` | the same, where there is no udev and we may read |

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::system::{Bus, Content, Device, Kind, Mount, Number, System};
use crate::error::{Error, Result};
use crate::fsx;
use crate::image::Disk;
use crate::image::probe::probe;
use crate::image::read::Source;
use crate::units::ByteSize;

/// The unit of `size` in sysfs, whatever the drive's own sectors are.
const SECTOR: u64 = 512;

/// Where `/sys`, `/proc`, `/run` and `/dev` are.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// This machine.
    pub fn here() -> Self {
        Host { root: PathBuf::from("/") }
    }

    /// A tree that looks like one.
    pub fn at(root: &Path) -> Self {
        Host { root: root.to_owned() }
    }

    /// An absolute path as seen from this root; a relative one as it is.
    pub fn path(&self, path: &Path) -> PathBuf {
        path.strip_prefix("/").map_or_else(|_| path.to_owned(), |below| self.root.join(below))
    }

    /// Reads everything.
    pub fn read(&self) -> Result<System> {
        let dir = self.path(Path::new("/sys/class/block"));
        let names =
            fsx::names(&dir).map_err(|error| error.context("cannot find the drives of this machine"))?;
        let mut system = System::default();
        for name in names {
            // A drive may be pulled while it is looked at; then it is not there.
            if let Some(device) = self.device(&dir.join(&name), name) {
                system.devices.insert(device.name.clone(), device);
            }
        }
        system.btrfs = self.btrfs();
        system.pools = self.names("/proc/spl/kstat/zfs").into_iter().collect();
        system.swaps = self.swaps(&system)?;
        system.mounts = self.mounts(&system)?;
        Ok(system)
    }

    /// Kernel name of the block device behind a path, through symbolic links.
    pub fn name_of(&self, path: &Path, system: &System) -> Option<String> {
        let real = self.path(path).canonicalize().ok()?;
        let meta = real.metadata().ok()?;
        if meta.file_type().is_block_device() {
            let number = Number::from_raw(meta.rdev());
            return system.devices.values().find(|device| device.number == number).map(|d| d.name.clone());
        }
        let root = self.root.canonicalize().ok()?;
        let below = real.strip_prefix(root.join("dev")).ok()?.to_str()?;
        system
            .devices
            .values()
            .find(|device| device.path().strip_prefix("/dev/") == Some(below) || device.name == below)
            .map(|device| device.name.clone())
    }

    fn device(&self, link: &Path, name: String) -> Option<Device> {
        let dir = link.canonicalize().ok()?;
        let text = |file: &str| attribute(&dir.join(file));
        let flag = |file: &str| text(file).as_deref() == Some("1");
        let number: Number = text("dev")?.parse().ok()?;
        let kind = kind(&dir, &name);
        let size = ByteSize(text("size")?.parse::<u64>().ok()?.checked_mul(SECTOR)?);
        let list = |of: &str| fsx::names(&dir.join(of)).unwrap_or_default();
        let mut device = Device {
            number,
            size,
            read_only: flag("ro"),
            model: model(&dir),
            sequence: text("diskseq").and_then(|text| text.parse().ok()),
            content: Content::default(),
            holders: list("holders"),
            slaves: list("slaves"),
            kind,
            name,
        };
        device.content = self.content(&device);
        Some(device)
    }

    /// What is on a device, as udev says; what can be seen of it where there is no udev.
    fn content(&self, device: &Device) -> Content {
        let data = self.path(Path::new("/run/udev/data"));
        if !data.is_dir() {
            return self.probe(device).unwrap_or_default();
        }
        let Ok(Some(text)) = fsx::read_optional(&data.join(format!("b{}", device.number))) else {
            return Content::default();
        };
        let values: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('=')).collect();
        let plain = |key: &str| values.get(key).map(|value| shown(value));
        let encoded = |key: &str| values.get(key).map(|value| shown(&unescape(value, "\\x", 16)));
        Content {
            // udev gives every partition its drive's table as well.
            table: plain("ID_PART_TABLE_TYPE").filter(|_| !values.contains_key("ID_PART_ENTRY_NUMBER")),
            filesystem: plain("ID_FS_TYPE"),
            label: encoded("ID_FS_LABEL_ENC").or_else(|| plain("ID_FS_LABEL")),
            name: encoded("ID_PART_ENTRY_NAME"),
        }
    }

    fn probe(&self, device: &Device) -> Option<Content> {
        let disk = Disk::open(&self.path(Path::new(&device.path()))).ok()?;
        let found = probe(&(Arc::new(disk) as Source)).ok()??;
        let label = Some(shown(&found.label)).filter(|label| !label.is_empty());
        Some(Content { filesystem: Some(found.kind), label, ..Content::default() })
    }

    fn btrfs(&self) -> Vec<BTreeSet<String>> {
        let members = |uuid: &String| {
            let names = self.names(&format!("/sys/fs/btrfs/{uuid}/devices"));
            Some(names.into_iter().collect::<BTreeSet<_>>()).filter(|names| !names.is_empty())
        };
        self.names("/sys/fs/btrfs").iter().filter_map(members).collect()
    }

    /// Names in a directory that need not be there.
    fn names(&self, dir: &str) -> Vec<String> {
        fsx::names(&self.path(Path::new(dir))).unwrap_or_default()
    }

    fn swaps(&self, system: &System) -> Result<BTreeSet<String>> {
        // A kernel without swap has no such file.
        let text = fsx::read_optional(&self.path(Path::new("/proc/swaps")))?.unwrap_or_default();
        let paths = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        Ok(paths.filter_map(|path| self.name_of(&octal(path), system)).collect())
    }

    fn mounts(&self, system: &System) -> Result<Vec<Mount>> {
        let path = self.path(Path::new("/proc/self/mountinfo"));
        let bytes = fsx::read(&path)?;
        let text = String::from_utf8_lossy(&bytes);
        let bad = |line: &str| {
            Error::new(format!("cannot understand `{}`", path.display()))
                .caused_by(format!("it says `{line}`"))
        };
        text.lines().map(|line| self.mount(line, system).ok_or_else(|| bad(line))).collect()
    }

    /// `ID PARENT MAJ:MIN ROOT POINT OPTIONS... - TYPE SOURCE SUPER-OPTIONS`.
    fn mount(&self, line: &str, system: &System) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let number: Number = left.next()?.parse().ok()?;
        let point = octal(left.nth(1)?);
        let source = right.split(' ').nth(1)?;
        let mut on: BTreeSet<String> = system
            .devices
            .values()
            .filter(|device| device.number == number)
            .map(|device| device.name.clone())
            .collect();
        // btrfs has a number of its own; bcachefs names several devices.
        let named = source.split(':').filter(|source| source.starts_with("/dev/"));
        on.extend(named.filter_map(|source| self.name_of(&octal(source), system)));
        for members in &system.btrfs {
            if !members.is_disjoint(&on) {
                on.extend(members.iter().cloned());
            }
        }
        Some(Mount { point, on })
    }
}

/// What a device is, from its directory.
fn kind(dir: &Path, name: &str) -> Kind {
    let text = |file: &str| attribute(&dir.join(file));
    // A partition lies in its drive's directory; so do the boot areas of an eMMC.
    if let Some(parent) = dir.parent().filter(|parent| parent.join("size").exists())
        && let Some(of) = parent.file_name().and_then(|name| name.to_str())
    {
        return Kind::Partition { of: of.to_string() };
    }
    if dir.join("dm").is_dir() {
        let name = text("dm/name").unwrap_or_else(|| name.to_string());
        return Kind::Mapped { name, uuid: text("dm/uuid").unwrap_or_default() };
    }
    if dir.join("md").is_dir() {
        return Kind::Raid;
    }
    if name.strip_prefix("loop").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
        return Kind::Loop(text("loop/backing_file").map(PathBuf::from));
    }
    // Peripheral device type 5 of SCSI: CD and DVD.
    if text("device/type").as_deref() == Some("5") {
        return Kind::Optical;
    }
    let bus = if dir.join("device").exists() { bus(dir) } else { Bus::Virtual };
    let card = bus == Bus::Mmc && text("device/type").as_deref() == Some("SD");
    // Many a USB bridge says `0` of a card reader; what hangs on USB can be taken off.
    Kind::Drive { bus, removable: card || bus == Bus::Usb || text("removable").as_deref() == Some("1") }
}

/// One line of text; none when there is no such attribute, or it is empty.
fn attribute(path: &Path) -> Option<String> {
    let bytes = fsx::read(path).ok()?;
    let text = shown(String::from_utf8_lossy(&bytes).trim());
    Some(text).filter(|text| !text.is_empty())
}

/// What a drive says of itself goes to a terminal: it must not steer it.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Maker and model. SCSI (and USB) have both, NVMe and SATA the model, cards a short name.
fn model(dir: &Path) -> Option<String> {
    let text = |file: &str| attribute(&dir.join("device").join(file));
    let vendor = text("vendor").filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
    match (vendor, text("model").or_else(|| text("name"))) {
        (Some(vendor), Some(model)) => Some(format!("{vendor} {model}")),
        (_, model) => model,
    }
}

/// The bus, from the device's place in the tree.
fn bus(dir: &Path) -> Bus {
    let numbered = |part: &str, prefix: &str| {
        part.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let parts: Vec<_> = dir.components().filter_map(|part| part.as_os_str().to_str()).collect();
    let any = |test: &dyn Fn(&str) -> bool| parts.iter().any(|part| test(part));
    if any(&|part| numbered(part, "usb")) {
        Bus::Usb
    } else if any(&|part| part == "mmc_host") {
        Bus::Mmc
    } else if any(&|part| part.starts_with("nvme")) {
        Bus::Nvme
    } else if any(&|part| numbered(part, "ata") || numbered(part, "ide")) {
        Bus::Sata
    } else if any(&|part| numbered(part, "virtio")) {
        Bus::Virtio
    } else {
        Bus::Other
    }
}

/// A path as `/proc` writes it: blanks and backslashes as `\040`.
fn octal(text: &str) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(unescape_bytes(text, "\\", 8)))
}

fn unescape(text: &str, mark: &str, radix: u32) -> String {
    String::from_utf8_lossy(&unescape_bytes(text, mark, radix)).into_owned()
}

/// Bytes written as `mark` and digits: three of radix 8, two of radix 16.
fn unescape_bytes(text: &str, mark: &str, radix: u32) -> Vec<u8> {
    let digits = if radix == 8 { 3 } else { 2 };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(mark) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let tail = &rest[at + mark.len()..];
        if let Some(byte) = tail.get(..digits).and_then(|code| u8::from_str_radix(code, radix).ok()) {
            bytes.push(byte);
            rest = &tail[digits..];
        } else {
            bytes.extend_from_slice(mark.as_bytes());
            rest = tail;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
