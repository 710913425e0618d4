//! `bimg test`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{BoardArgs, DirArgs};
use crate::error::Result;
use crate::ops;
use crate::ui::{self, Ui};
use crate::units::ByteSize;
use crate::workdir::Workdir;

/// Boot the image in QEMU and check that it works
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    dirs: DirArgs,
    /// Private SSH key whose public half the image was built with [default: a throwaway key, handed to the guest by QEMU]
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// Size of the card the image is put on; the root must grow to fill it [default: the image's]
    #[arg(long, value_name = "SIZE")]
    card_size: Option<ByteSize>,
    /// Seconds that the boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

impl Test {
    /// Boots, checks, reports.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let board = self.board.load()?;
        let workdir = Workdir::new(&self.dirs.build_dir, &self.dirs.out, &board.name)?;
        let options =
            ops::TestOptions { ssh_key: self.ssh_key, card_size: self.card_size, timeout: self.timeout };
        let report = ops::test(&board, &workdir, &options, ui)?;
        ui::data(&if ui.is_json() { report.json()? } else { report.text() })
    }
}
