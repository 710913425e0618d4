//! `bimg make`.

use clap::Args;

use crate::cli::KernelBuildArgs;
use crate::error::Result;
use crate::ops;
use crate::ui::{self, Ui};

/// Run the kernel's make for a board
///
/// Any goal of kbuild, with the compiler, configuration and object directory of
/// the board's build: `menuconfig`, `savedefconfig`, `drivers/usb/core/hub.o`,
/// `headers_install INSTALL_HDR_PATH=/dir`, `V=1 Image`, `clean`, `mrproper`.
/// What changes the configuration is printed as a fragment; the next build
/// begins with the board's own again.
#[derive(Debug, Args)]
pub struct Make {
    #[command(flatten)]
    args: KernelBuildArgs,
    /// Goals and variables, after all options
    #[arg(value_name = "GOAL", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    goals: Vec<String>,
}

impl Make {
    /// Runs make on this terminal.
    pub fn run(self, ui: &Ui) -> Result<()> {
        ui::data(&ops::make(&self.args.options()?, &self.goals, ui)?)
    }
}
