//! `bimg generate`: completions and manual pages, made from the same definitions as `--help`.

use std::path::PathBuf;

use clap::{CommandFactory, Subcommand};

use crate::cli::Cli;
use crate::error::Result;
use crate::{fsx, ui};

/// Print a completion script or write the manual pages
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory
        dir: PathBuf,
    },
}

impl Generate {
    /// Generates.
    pub fn run(self) -> Result<()> {
        let mut command = Cli::command();
        match self {
            Generate::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command, "bimg", &mut script);
                ui::data(&String::from_utf8_lossy(&script))
            }
            Generate::Man { dir } => {
                let was_there = dir.exists();
                fsx::create_dir_all(&dir)?;
                let written = clap_mangen::generate_to(command, &dir);
                if written.is_err() && !was_there {
                    // All in it is ours. The failure above is the one to tell.
                    let _ = fsx::remove_dir_all(&dir);
                }
                written.map_err(|cause| fsx::io_error("write manual pages to", &dir, &cause))
            }
        }
    }
}
