//! `bimg make`: a goal of kbuild, with a board's kernel.

use super::sources::Shelf;
use super::{BuildOptions, Stage, facts};
use crate::error::Result;
use crate::kernel;
use crate::progress::Progress;

/// Runs the goals where a build compiles, fetching the source first where it is not here; returns what they
/// changed in the configuration, as the text of a fragment.
pub fn make(options: &BuildOptions, goals: &[String], progress: &dyn Progress) -> Result<String> {
    let _lock = options.workdir.lock(progress)?;
    let mut shelf = Shelf::open()?;
    let known = shelf.peek(&options.board, progress)?;
    facts::check_host(options, known.as_ref().ok(), &shelf, Stage::Kernel)?;
    let sources = match known {
        Ok(sources) => sources,
        Err(_) => shelf.fetch(&options.board, options.mode, progress)?,
    };
    let changes = kernel::make_goals(&facts::kernel_spec(options, &sources)?, goals, progress)?;
    Ok(changes.into_iter().map(|line| line + "\n").collect())
}
