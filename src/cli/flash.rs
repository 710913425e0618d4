//! `bimg flash`.

use std::path::PathBuf;

use clap::Args;

use crate::ask::Ask;
use crate::error::{Error, Result};
use crate::flash::device::{Rules, table};
use crate::ops;
use crate::ops::FlashOptions;
use crate::ui::ask::Person;
use crate::ui::{self, Ui};
use crate::units::ByteSize;

/// Write an image to a drive, and read it back
#[derive(Debug, Args)]
pub struct Flash {
    /// A file, `-` for standard input, or a URL; raw, xz, zstd, gzip or bzip2
    #[arg(required_unless_present = "list")]
    image: Option<String>,
    /// Whole drive, or a file in place of one [default: the only removable drive, or a choice]
    device: Option<PathBuf>,
    /// Print the drives, what is on them, and why one is refused
    #[arg(long, conflicts_with_all = ["image", "yes", "unmount", "key", "no_verify", "minimize_writes", "partition", "resume"])]
    list: bool,
    /// Write without asking; DEVICE has to be named
    #[arg(short, long)]
    yes: bool,
    /// Unmount what is mounted from the drive
    #[arg(long, help_heading = "Safety")]
    unmount: bool,
    /// Take a disk that is not removable
    #[arg(long, help_heading = "Safety")]
    allow_fixed: bool,
    /// Refuse larger drives
    #[arg(long, value_name = "SIZE", default_value = "512G", help_heading = "Safety")]
    max_size: ByteSize,
    /// Public minisign key that must have signed the image or its SHA256SUMS
    #[arg(long, value_name = "FILE", help_heading = "Safety")]
    key: Option<PathBuf>,
    /// Do not read back what was written
    #[arg(long, help_heading = "Writing")]
    no_verify: bool,
    /// Read first, and write only what differs
    #[arg(long, help_heading = "Writing")]
    minimize_writes: bool,
    /// Write one partition only, by number or name, of a card that was flashed with the same layout
    #[arg(long, value_name = "PARTITION", help_heading = "Writing")]
    partition: Option<String>,
    /// Go on where an interrupted run stopped
    #[arg(long, help_heading = "Writing", conflicts_with = "minimize_writes")]
    resume: bool,
}

impl Flash {
    /// Writes, or lists.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let rules = Rules {
            allow_fixed: self.allow_fixed,
            unmount: self.unmount,
            max_size: self.max_size,
            image: None,
        };
        let Some(image) = self.image else { return list(&rules, ui) };
        let options = FlashOptions {
            image,
            device: self.device,
            rules,
            yes: self.yes,
            key: self.key,
            verify: !self.no_verify,
            minimize: self.minimize_writes,
            partition: self.partition,
            resume: self.resume,
        };
        let flashed = ops::flash(&options, &Person as &dyn Ask, ui)?;
        ui::data(&if ui.is_json() { flashed.json()? } else { flashed.text() })
    }
}

/// The drives, as a table or as JSON lines.
fn list(rules: &Rules, ui: &Ui) -> Result<()> {
    let drives = ops::drives(rules)?;
    if !ui.is_json() {
        return ui::data(&table(&drives));
    }
    let mut text = String::new();
    for drive in &drives {
        let line = serde_json::to_string(drive)
            .map_err(|cause| Error::new("cannot print the drives").caused_by(cause))?;
        text.extend([line.as_str(), "\n"]);
    }
    ui::data(&text)
}
