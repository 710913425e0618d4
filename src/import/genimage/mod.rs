//! genimage's configurations (<https://github.com/pengutronix/genimage>): `FILE.cfg` to `[disk]`.
//!
//! The layout that comes out and genimage, given the same files, make the same partition table.

mod config;
mod lexer;
mod map;
mod parser;
mod place;
mod schema;

use std::path::Path;

use super::{Imported, Layout, Notes};
use crate::board::text::Text;
use crate::error::Result;
use crate::fsx;

/// Imports one disk of a configuration; `image` names it where there are several.
pub fn import(path: &Path, image: Option<&str>) -> Result<Imported> {
    let mut notes = Notes::default();
    let choice = image.map_or(Choice::Only, Choice::Named);
    let (name, layout) = layout(path, choice, &mut notes)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Imported::new(&format!("Disk layout of `{name}`, from genimage's `{file}`."), &layout.toml(), notes))
}

/// Which disk of a configuration to take.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// The one that there is.
    Only,
    /// The one of that name.
    Named(&'a str),
    /// The one for an SD card or a disk, by its usual name.
    Usual,
}

/// The disk's file name and layout.
pub fn layout(path: &Path, choice: Choice<'_>, notes: &mut Notes) -> Result<(String, Layout)> {
    let shown = path.display().to_string();
    let bytes = fsx::read_small(path).map_err(crate::error::Error::into_usage)?;
    let text = String::from_utf8_lossy(&bytes);
    let dir = path.parent().unwrap_or(Path::new(""));
    let environment = |name: &str| std::env::var(name).ok();
    read(&shown, &text, choice, &|name| parser::load_beside(dir, name), &environment, notes)
}

/// Without touching files or the environment.
fn read(
    shown: &str,
    text: &str,
    choice: Choice<'_>,
    load: parser::Loader<'_>,
    environment: lexer::Environment<'_>,
    notes: &mut Notes,
) -> Result<(String, Layout)> {
    let top = parser::parse(&Text::new(shown, text), load, environment)?;
    let config = config::Config::new(&top)?;
    let disk = config.disk(shown, choice)?;
    let placed = place::place(&config, disk, notes)?;
    Ok((disk.title.value.clone(), map::layout(&config, &placed, notes)?))
}
