//! `bimg generate`: completions and manual pages, made from the same definitions as `--help`.

use std::path::PathBuf;

use clap::{CommandFactory, Subcommand};

use crate::cli::Cli;
use crate::error::{Error, Result};
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
                fsx::create_dir_all(&dir)?;
                clap_mangen::generate_to(command, &dir).map_err(|cause| {
                    Error::new(format!("cannot write manual pages to `{}`", dir.display())).caused_by(cause)
                })
            }
        }
    }
}
