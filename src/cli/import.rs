//! `bimg import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::import::Imported;
use crate::ops;
use crate::progress::Progress;
use crate::ui::{self, Ui};

/// Bring a board or a disk layout along from genimage or Buildroot
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Make the disk layout of a genimage configuration
    Genimage {
        /// The configuration, usually genimage.cfg
        file: PathBuf,
        /// Disk image to take, where the file describes several
        #[arg(long, value_name = "NAME")]
        image: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make a board's profile of a Buildroot defconfig
    Buildroot {
        /// The defconfig, in `configs/` of its Buildroot tree
        defconfig: PathBuf,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Where the result goes.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Write the profile to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "into")]
    force: bool,
}

impl TargetArgs {
    fn target(self) -> ops::Target {
        ops::Target { into: self.into, force: self.force }
    }
}

impl Import {
    /// Imports; notes go to stderr.
    pub fn run(self, ui: &Ui) -> Result<()> {
        match self {
            Import::Genimage { file, image, target } => {
                let target = target.target();
                let imported = ops::import_genimage(&file, image.as_deref(), &target)?;
                show(ui, &imported, &target)
            }
            Import::Buildroot { defconfig, target } => {
                let target = target.target();
                let imported = ops::import_buildroot(&defconfig, &target)?;
                show(ui, &imported, &target)
            }
        }
    }
}

fn show(ui: &Ui, imported: &Imported, target: &ops::Target) -> Result<()> {
    if ui.is_json() {
        return ui::data(&format!("{}\n", serde_json::json!(imported)));
    }
    for note in &imported.notes {
        ui.note(&format!("note: {}: {}", note.origin, note.text));
    }
    match &target.into {
        Some(path) => {
            ui.note(&format!("wrote {}", path.display()));
            Ok(())
        }
        None => ui::data(&imported.profile),
    }
}
