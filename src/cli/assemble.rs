//! `bimg assemble`.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::ops;
use crate::progress::Progress;
use crate::ui::{self, Ui};

/// Make an image of a layout and files that are there already
#[derive(Debug, Args)]
pub struct Assemble {
    /// Board name or path to a profile
    #[arg(value_name = "NAME|FILE")]
    layout: String,
    /// Where the files are
    #[arg(long, value_name = "DIR", default_value = ".")]
    input: PathBuf,
    /// Image to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Assemble {
    /// Writes the image and its block map.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let facts = ops::assemble(&self.layout, &self.input, &self.output, ui)?;
        if ui.is_json() {
            return ui::data(&format!("{}\n", serde_json::json!(facts)));
        }
        ui.note(&format!("wrote {}, {} of {}", self.output.display(), facts.mapped, facts.size));
        Ok(())
    }
}
