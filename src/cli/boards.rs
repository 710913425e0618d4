//! `bimg boards`.

use std::fmt::Write as _;

use clap::Subcommand;

use crate::board::{self, Board, Disk, Select};
use crate::data::DataDirs;
use crate::error::{Error, Result};
use crate::ops;
use crate::progress::Progress;
use crate::ui::{self, Ui};

/// List, show and check board profiles
#[derive(Debug, Subcommand)]
pub enum Boards {
    /// Print every board with its architecture and description
    List,
    /// Print a profile and the profiles it extends
    Show {
        /// Board name or path to a profile
        board: String,
    },
    /// Check profiles, all of them by default
    Check {
        /// Board names or paths to profiles
        boards: Vec<String>,
    },
    /// Print the JSON Schema of profiles, for editors
    Schema,
}

impl Boards {
    /// Prints what was asked for.
    pub fn run(self, ui: &Ui) -> Result<()> {
        let dirs = DataDirs::user();
        let load = |board: &str| Board::load(&Select { board, variant: None }, &dirs);
        match self {
            Boards::List => {
                let mut out = String::new();
                for name in all(&dirs)? {
                    let board = match load(&name) {
                        Ok(board) => board,
                        // One profile at fault must not hide the others.
                        Err(error) => {
                            ui.warn(&format!(
                                "`{name}` cannot be used: {}",
                                error.chain().next().unwrap_or_default()
                            ));
                            continue;
                        }
                    };
                    if ui.is_json() {
                        let row = serde_json::json!({
                            "board": name, "arch": board.arch, "description": board.description, "profile": board.shown,
                        });
                        let _ = writeln!(out, "{row}");
                    } else {
                        let _ = writeln!(out, "{name:<16} {:<8} {}", board.arch.name(), board.description);
                    }
                }
                ui::data(&out)
            }
            Boards::Show { board } => {
                let mut out = String::new();
                for file in &load(&board)?.files {
                    let _ = writeln!(out, "# --- {}\n{}", file.shown, file.text()?.trim_end());
                }
                ui::data(&out)
            }
            Boards::Check { boards } => {
                let boards = if boards.is_empty() { all(&dirs)? } else { boards };
                let mut bad = 0;
                for name in &boards {
                    match load(name).and_then(|board| ops::provisional_layout(&board)) {
                        Ok(_) => ui.note(&format!("{name}: ok")),
                        Err(error) => {
                            bad += 1;
                            ui.fail(&error);
                        }
                    }
                }
                match bad {
                    0 => Ok(()),
                    n => Err(Error::usage(format!("{n} of {} profiles cannot be used", boards.len()))),
                }
            }
            Boards::Schema => {
                let schema = serde_json::to_string_pretty(&board::schema())
                    .map_err(|cause| Error::new("cannot print the schema").caused_by(cause))?;
                ui::data(&format!("{schema}\n"))
            }
        }
    }
}

/// Every profile that means to be a board.
fn all(dirs: &DataDirs) -> Result<Vec<String>> {
    let mut names = board::names(dirs)?;
    names.retain(|name| !Disk::is_layout(name, dirs));
    Ok(names)
}
