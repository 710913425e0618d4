//! `bimg doctor`.

use clap::Args;

use crate::board::{Board, Select};
use crate::cli::DirArgs;
use crate::data::DataDirs;
use crate::error::{Error, Result};
use crate::ops;
use crate::ui::{self, Ui};
use crate::workdir::Workdir;

/// Check that this host can build, run and test a board
#[derive(Debug, Args)]
pub struct Doctor {
    /// Board to check for; without it, every tool that bimg knows
    #[arg(short, long, value_name = "NAME|FILE")]
    board: Option<String>,
    /// Kernel variant of the profile
    #[arg(long, value_name = "VARIANT", requires = "board")]
    kernel: Option<String>,
    #[command(flatten)]
    dirs: DirArgs,
}

impl Doctor {
    /// Prints the report; fails when something needed is missing.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let variant = self.kernel.as_deref();
        let board = match &self.board {
            Some(board) => Some(Board::load(&Select { board, variant }, &DataDirs::user())?),
            None => None,
        };
        let report = ops::doctor(board.as_ref(), &self.dirs.build_dir, &self.dirs.out, ui)?;
        if ui.is_json() {
            let json = serde_json::to_string(&report)
                .map_err(|cause| Error::new("cannot print the report").caused_by(cause))?;
            ui::data(&format!("{json}\n"))?;
        } else {
            ui::data(&report.table())?;
        }
        if !report.is_ready() {
            return Err(Error::new("this machine is not ready"));
        }
        // Its room alone says nothing of a directory that a build cannot use.
        let Some(board) = board else { return Ok(()) };
        let workdir = Workdir::new(&self.dirs.build_dir, &self.dirs.out, &board.name)?;
        workdir.check_build()?;
        workdir.check_out()
    }
}
