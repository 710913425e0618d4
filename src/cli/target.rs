//! `bimg target`.

use clap::{Args, Subcommand};

use super::deploy::SshArgs;
use crate::cli::BoardArgs;
use crate::deploy::hosts::Hosts;
use crate::error::Result;
use crate::ops::{self, TargetOptions};
use crate::ui::{self, Ui};

/// Ask a running board about its kernels, go back, remove one
#[derive(Debug, Subcommand)]
pub enum Target {
    /// Show what the board is, what it runs, and what its boot loader starts next
    Status(Which),
    /// List the kernels on the board
    List(Which),
    /// Boot the last kernel known to be good, and make it the default
    Rollback(Which),
    /// Remove a kernel from the board
    Remove {
        /// ID, the start of one, or a release that only one has
        #[arg(value_name = "RELEASE|ID")]
        deployment: String,
        #[command(flatten)]
        which: Which,
    },
    /// Print what is known of the last failed trial boot
    ConsoleLog(Which),
}

/// Which board.
#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    board: BoardArgs,
    /// [USER@]HOST[:PORT], or a name of hosts.toml
    #[arg(long, value_name = "HOST")]
    host: String,
    #[command(flatten)]
    ssh: SshArgs,
}

impl Which {
    fn options(&self) -> Result<TargetOptions> {
        let board = self.board.load()?;
        Ok(TargetOptions { place: Hosts::user()?.place(&self.host)?, ssh: self.ssh.options(), board })
    }
}

impl Target {
    /// Asks, and prints the answer.
    pub fn run(self, ui: &Ui) -> Result<()> {
        match self {
            Target::Status(which) => {
                let status = which.options()?.status()?;
                ui::said(&if ui.is_json() { status.json()? } else { status.text() })
            }
            Target::List(which) => {
                let rows = which.options()?.list()?;
                ui::said(&if ui.is_json() { ops::rows_json(&rows)? } else { ops::rows_text(&rows) })
            }
            Target::Rollback(which) => {
                let back = which.options()?.rollback(ui)?;
                ui::said(&if ui.is_json() { back.json()? } else { back.text() })
            }
            Target::Remove { deployment, which } => {
                let removed = which.options()?.remove(&deployment)?;
                ui::said(&if ui.is_json() { removed.json()? } else { removed.text() })
            }
            Target::ConsoleLog(which) => ui::said(&which.options()?.console_log(ui)?),
        }
    }
}
