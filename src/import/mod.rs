//! Boards and layouts of others, brought along: genimage's configurations and Buildroot's boards.
//!
//! ```text
//! FILE.cfg     -> genimage::parser -> sections -> genimage::place -> Layout -> [disk]
//! x_defconfig  -> buildroot::defconfig -> kernel, firmware, boot chain, Layout -> a profile
//! ```
//!
//! What cannot be carried becomes a note with the place that it comes from; nothing is lost in silence.

mod layout;

pub mod buildroot;
pub mod genimage;

use std::fmt::Write as _;

use serde::Serialize;

use crate::board::text::Place;

pub use layout::{Blob, Layout, Partition};

/// A profile, or a part of one, and what could not be carried into it.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// TOML.
    pub profile: String,
    /// In the order of the file.
    pub notes: Vec<Note>,
    /// Files to put beside the profile: path from its directory, and content.
    #[serde(skip)]
    pub files: Vec<(String, Vec<u8>)>,
}

impl Imported {
    /// Puts `title` and the notes above a profile, as comments.
    fn new(title: &str, body: &str, notes: Notes) -> Self {
        let mut profile = format!("# {}\n", one_line(title));
        if !notes.0.is_empty() {
            profile.push_str("#\n# To look after by hand:\n");
        }
        for note in &notes.0 {
            let _ = writeln!(profile, "# - {}", one_line(&note.text));
        }
        profile.push_str(body);
        Imported { profile, notes: notes.0, files: Vec::new() }
    }
}

/// Something that a person has to look after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// File and line: `genimage.cfg:12`.
    pub origin: String,
    /// What, without a full stop.
    pub text: String,
}

/// Notes in the making.
#[derive(Debug, Default)]
pub struct Notes(Vec<Note>);

impl Notes {
    /// Adds a note about a place; the same one is said once.
    pub fn add(&mut self, place: &Place, text: impl Into<String>) {
        self.at(place.origin_line(), text);
    }

    /// Adds a note about a file and line.
    pub fn at(&mut self, origin: String, text: impl Into<String>) {
        let note = Note { origin, text: text.into() };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }
}

/// Text of others in a comment or message: no control character, no second line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// A TOML string.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_as_they_were() {
        for text in ["plain", "a\"b\\c", "two\nlines\t\u{7f}\u{1}", "ä\u{9f}", ""] {
            let table: toml::Table = format!("{0} = {0}", quote(text)).parse().unwrap();
            assert_eq!(table[text].as_str().unwrap(), text);
        }
    }

    #[test]
    fn a_note_cannot_leave_its_comment() {
        let mut notes = Notes::default();
        notes.at("x.cfg:1".into(), "evil\n[kernel]");
        let imported = Imported::new("x\ny", "\n[disk]\n", notes);
        assert_eq!(imported.profile, "# x\\ny\n#\n# To look after by hand:\n# - evil\\n[kernel]\n\n[disk]\n");
    }
}
