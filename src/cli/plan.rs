//! `bimg plan`.

use clap::Args;

use crate::cli::BuildArgs;
use crate::error::Result;
use crate::ops;
use crate::ui::{self, Ui};

/// Show what a build would do, and why
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    args: BuildArgs,
}

impl Plan {
    /// Plans and prints; nothing is fetched, built or written.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let plan = ops::plan(&self.args.options()?, ui)?;
        ui::data(&if ui.is_json() { plan.json()? } else { plan.to_string() })
    }
}
