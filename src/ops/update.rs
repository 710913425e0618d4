//! `bimg update`: the newest of every source of a board, pinned.

use std::fmt::Write as _;

use super::sources::Shelf;
use crate::board::Board;
use crate::error::Result;
use crate::progress::Progress;
use crate::source::Mode;

/// Resolves every source anew, fetches it, pins it; returns a line per source that says what moved.
pub fn update(board: &Board, progress: &dyn Progress) -> Result<String> {
    let mut shelf = Shelf::open()?;
    let before = shelf.pins(board);
    shelf.fetch(board, Mode::Update, progress)?;
    let mut out = String::new();
    for (name, now) in shelf.pins(board) {
        let was = before.iter().find(|(old, _)| *old == name).map(|(_, pin)| pin);
        let line = match was {
            Some(was) if *was == now => format!("{name}: {now} (unchanged)"),
            Some(was) => format!("{name}: {was} -> {now}"),
            None => format!("{name}: {now} (new)"),
        };
        let _ = writeln!(out, "{line}");
    }
    Ok(out)
}
