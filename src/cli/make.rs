//! `bimg make`.

use clap::Args;

use crate::cli::KernelBuildArgs;
use crate::error::Result;
use crate::ops;
use crate::ui::{self, Ui};

/// Run the kernel's make for a board
#[derive(Debug, Args)]
pub struct Make {
    /// Goals and variables, after all options
    #[arg(value_name = "GOAL", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    goals: Vec<String>,
    #[command(flatten)]
    args: KernelBuildArgs,
}

impl Make {
    /// Runs make on this terminal.
    pub fn run(self, ui: &Ui) -> Result<()> {
        ui::data(&ops::make(&self.args.options()?, &self.goals, ui)?)
    }
}
