//! `bimg update`.

use clap::Args;

use crate::cli::BoardArgs;
use crate::error::Result;
use crate::ops;
use crate::ui::{self, Ui};

/// Move the sources pinned in bimg.lock to their newest
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    board: BoardArgs,
}

impl Update {
    /// Resolves again, fetches, and prints what moved.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let moved = ops::update(&self.board.load()?, ui)?;
        ui::data(&moved)
    }
}
