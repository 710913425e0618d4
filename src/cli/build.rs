//! `bimg build`.

use clap::Args;

use crate::cli::BuildArgs;
use crate::error::Result;
use crate::ops;
use crate::ops::Stage;
use crate::ui::{self, Ui};

/// Build a board's image
#[derive(Debug, Args)]
pub struct Build {
    #[command(flatten)]
    args: BuildArgs,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE", value_enum)]
    stage: Option<Stage>,
}

impl Build {
    /// Builds, then says where things are.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let options = self.args.options()?;
        let built = ops::build(&options, self.stage, ui)?;
        ui::data(&if ui.is_json() { built.json()? } else { built.text() })
    }
}
