//! `bimg doctor`: what a build, a run and a test of a board need from this host.

use std::path::Path;

use super::facts::Scope;
use super::sources::Shelf;
use super::{Stage, facts};
use crate::board::Board;
use crate::doctor::{self, Report};
use crate::error::Result;
use crate::progress::Progress;
use crate::workdir::Workdir;

/// The report for a board, or for everything that bimg knows.
pub fn doctor(board: Option<&Board>, build: &Path, out: &Path, progress: &dyn Progress) -> Result<Report> {
    let Some(board) = board else {
        let needs = doctor::general_needs();
        return doctor::check(&doctor::Request { needs: &needs, ..doctor::Request::default() });
    };
    let workdir = Workdir::new(build, out, &board.name)?;
    let shelf = Shelf::open()?;
    let known = shelf.peek(board, progress)?;
    let scope = Scope { board, workdir: &workdir, ccache: true, has_objects: false, formats: &[] };
    facts::examine(&scope, known.as_ref().ok(), &shelf, Stage::Image, true)
}
