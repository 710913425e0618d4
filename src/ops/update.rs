//! `bimg update`: the newest of every source of a board, pinned.

use std::fmt::Write as _;

use super::rootfs::RootfsStage;
use super::sources::Shelf;
use crate::board::Board;
use crate::error::Result;
use crate::progress::Progress;
use crate::rootfs::BaseKind;
use crate::source::Mode;
use crate::workdir::Workdir;

/// Resolves every source anew, fetches it, pins it; returns a line per source that says what moved.
pub fn update(board: &Board, workdir: &Workdir, progress: &dyn Progress) -> Result<String> {
    let mut shelf = Shelf::open()?;
    let before = shelf.pins(board);
    shelf.fetch(board, Mode::Update, progress)?;
    if board.rootfs.kind == BaseKind::Debian {
        RootfsStage::new(board, workdir)?.forget(progress)?;
        progress.note("the next build takes the newest packages of the root filesystem");
    }
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
