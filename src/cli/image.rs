//! `bimg image`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::error::Result;
use crate::ops::{self, Listed, Place};
use crate::progress::Progress;
use crate::ui::{self, Ui};

/// Look into finished images, check, compare and sign them
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Show partitions, filesystems, boot chain and kernels
    Inspect(Inspect),
    /// List a directory in an image
    Ls(Ls),
    /// Print a file in an image
    Cat(Cat),
    /// Copy files out of an image
    Extract(Extract),
}

/// Show partitions, filesystems, boot chain and kernels
#[derive(Debug, Args)]
pub struct Inspect {
    /// Image, compressed or not
    image: PathBuf,
}

/// List a directory in an image
#[derive(Debug, Args)]
pub struct Ls {
    /// Image, compressed or not
    image: PathBuf,
    /// Partition by number, name or label, and a path in it
    #[arg(value_name = "PART:PATH")]
    place: Place,
}

/// Print a file in an image
#[derive(Debug, Args)]
pub struct Cat {
    /// Image, compressed or not
    image: PathBuf,
    /// Partition by number, name or label, and a path in it
    #[arg(value_name = "PART:PATH")]
    place: Place,
}

/// Copy files out of an image
///
/// Modes and symbolic links are kept, but for setuid and setgid; owners and devices are not.
#[derive(Debug, Args)]
pub struct Extract {
    /// Image, compressed or not
    image: PathBuf,
    /// Partition by number, name or label, and a path in it
    #[arg(value_name = "PART:PATH")]
    place: Place,
    /// Where to, must not exist yet [default: the name of what is copied, here]
    #[arg(value_name = "TO")]
    to: Option<PathBuf>,
}

impl Image {
    /// Does what was asked.
    pub fn run(self, ui: &Ui) -> Result<()> {
        match self {
            Image::Inspect(command) => command.run(ui),
            Image::Ls(command) => command.run(ui),
            Image::Cat(command) => command.run(),
            Image::Extract(command) => command.run(ui),
        }
    }
}

impl Inspect {
    fn run(self, ui: &Ui) -> Result<()> {
        let found = ops::inspect(&self.image)?;
        ui::data(&if ui.is_json() {
            format!("{}\n", json!(found))
        } else {
            ui::image::text(&self.image.display().to_string(), &found)
        })
    }
}

impl Ls {
    fn run(self, ui: &Ui) -> Result<()> {
        let mut out = String::new();
        for listed in ops::list(&self.image, &self.place)? {
            // Writing to a string cannot fail.
            let _ = if ui.is_json() {
                writeln!(out, "{}", row_json(&listed))
            } else {
                writeln!(out, "{}", ui::image::row(&listed.entry, listed.target.as_deref()))
            };
        }
        ui::data(&out)
    }
}

fn row_json(listed: &Listed) -> serde_json::Value {
    let entry = &listed.entry;
    json!({
        "name": entry.name, "kind": entry.kind, "size": entry.size, "mode": format!("{:04o}", entry.mode),
        "uid": entry.owner.map(|owner| owner.0), "gid": entry.owner.map(|owner| owner.1),
        "mtime": entry.mtime, "target": listed.target,
    })
}

impl Cat {
    fn run(self) -> Result<()> {
        ops::cat(&self.image, &self.place, &mut |content| ui::copy(content, &self.place.path))
    }
}

impl Extract {
    fn run(self, ui: &Ui) -> Result<()> {
        let (to, done) = ops::extract(&self.image, &self.place, self.to)?;
        for left_out in &done.left_out {
            ui.warn(&format!("{left_out}: left out"));
        }
        ui.note(&format!("{}: {} files, {}", to.display(), done.files, crate::units::ByteSize(done.bytes)));
        Ok(())
    }
}
