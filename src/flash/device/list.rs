//! Drives as `bimg flash --list` and the questions show them.

use std::fmt::Write as _;

use serde::Serialize;

use super::rules::Rules;
use super::system::{Bus, Content, Device, Kind, System};
use crate::units::ByteSize;

/// A drive with what is on it and what is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its node: `/dev/sdb`.
    pub drive: String,
    /// Maker and model.
    pub model: Option<String>,
    /// Size in bytes.
    pub size: ByteSize,
    /// How it is attached.
    pub bus: Option<Bus>,
    /// What would be lost, the drive's own filesystem or its partitions.
    pub holds: Vec<Held>,
    /// Why it would be refused; empty: it may be written to.
    pub refused: Vec<String>,
}

/// Something on a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Node of the drive or the partition.
    pub device: String,
    /// Size in bytes.
    pub size: ByteSize,
    /// Filesystem, or member of what, where that is known.
    pub filesystem: Option<String>,
    /// The filesystem's label, or else the partition's name.
    pub label: Option<String>,
}

impl Listed {
    /// Looks at one drive.
    pub fn new(system: &System, drive: &Device, rules: &Rules) -> Self {
        let partitions = system.partitions(drive);
        let whole = drive.content.filesystem.is_some().then_some(drive);
        Listed {
            drive: drive.path(),
            model: drive.model.clone(),
            size: drive.size,
            bus: match drive.kind {
                Kind::Drive { bus, .. } => Some(bus),
                _ => None,
            },
            holds: whole.into_iter().chain(partitions).map(Held::new).collect(),
            refused: system.obstacles(drive, rules).iter().map(ToString::to_string).collect(),
        }
    }

    /// Model, size and bus: `SanDisk Ultra, 29.7 GiB, usb`.
    pub fn description(&self) -> String {
        let mut words: Vec<String> = self.model.iter().cloned().collect();
        words.push(self.size.to_string());
        words.extend(self.bus.map(|bus| bus.name().to_string()));
        words.join(", ")
    }
}

impl Held {
    fn new(device: &Device) -> Self {
        let Content { filesystem, label, name, .. } = device.content.clone();
        Held { device: device.path(), size: device.size, filesystem, label: label.or(name) }
    }

    /// `vfat boot`, `ext4`, or the size alone where nothing is known.
    fn brief(&self) -> String {
        match (&self.filesystem, &self.label) {
            (None, None) => self.size.to_string(),
            (filesystem, label) => {
                let words: Vec<&str> =
                    [label, filesystem].into_iter().flatten().map(String::as_str).collect();
                words.join(" ")
            }
        }
    }

    /// `/dev/sdb1  256 MiB  vfat  boot`, for the question what may be lost.
    pub fn line(&self) -> String {
        let filesystem = self.filesystem.as_deref().unwrap_or("unknown content");
        let label = self.label.as_ref().map_or(String::new(), |label| format!(" `{label}`"));
        format!("{}: {}, {filesystem}{label}", self.device, self.size)
    }
}

impl System {
    /// Every drive of hardware, those that may be written to first.
    pub fn list(&self, rules: &Rules) -> Vec<Listed> {
        let mut all: Vec<Listed> = self
            .devices
            .values()
            .filter(|device| device.is_hardware())
            .map(|drive| Listed::new(self, drive, rules))
            .collect();
        all.sort_by_key(|listed| !listed.refused.is_empty());
        all
    }
}

/// The table for people.
pub fn table(drives: &[Listed]) -> String {
    if drives.is_empty() {
        return "there is no drive\n".to_string();
    }
    let head = ["DRIVE", "SIZE", "BUS", "MODEL", "HOLDS"].map(str::to_string);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(drives.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [drive, size, bus, model] = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let line = format!(
            "{:<drive$}  {:>size$}  {:<bus$}  {:<model$}  {}",
            row[0], row[1], row[2], row[3], row[4]
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
        let listed = index.checked_sub(1).and_then(|index| drives.get(index));
        for why in listed.iter().flat_map(|listed| &listed.refused) {
            let _ = writeln!(text, "  refused: {why}");
        }
    }
    text
}

fn row(listed: &Listed) -> [String; 5] {
    let holds: Vec<String> = listed.holds.iter().map(Held::brief).collect();
    [
        listed.drive.clone(),
        if listed.size.0 == 0 { "-".to_string() } else { listed.size.to_string() },
        listed.bus.map_or("-", Bus::name).to_string(),
        listed.model.clone().unwrap_or_else(|| "-".to_string()),
        holds.join(", "),
    ]
}
