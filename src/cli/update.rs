//! `bimg update`.

use clap::Args;

use crate::cli::{BoardArgs, DirArgs};
use crate::error::Result;
use crate::ops;
use crate::ui::{self, Ui};
use crate::workdir::Workdir;

/// Move the sources pinned in bimg.lock to their newest
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    dirs: DirArgs,
}

impl Update {
    /// Resolves again, fetches, and prints what moved.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let board = self.board.load()?;
        let workdir = Workdir::new(&self.dirs.build_dir, &self.dirs.out, &board.name)?;
        let moved = ops::update(&board, &workdir, ui)?;
        ui::data(&moved)
    }
}
