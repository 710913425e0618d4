//! `bimg run`.

use clap::Args;

use crate::cli::{BoardArgs, DirArgs};
use crate::error::Result;
use crate::ops;
use crate::ui::Ui;
use crate::units::ByteSize;
use crate::workdir::Workdir;

/// Boot the image in QEMU on this terminal
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    dirs: DirArgs,
    /// Size of the card the image is put on [default: the image's]
    #[arg(long, value_name = "SIZE")]
    card_size: Option<ByteSize>,
}

impl Run {
    /// Boots until the user quits.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let board = self.board.load()?;
        let workdir = Workdir::new(&self.dirs.build_dir, &self.dirs.out, &board.name)?;
        ops::run(&board, &workdir, self.card_size, ui)
    }
}
