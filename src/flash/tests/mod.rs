//! Flashing onto memory disks of every honesty, and onto files.

mod disk;
mod faults;
mod files;
mod maps;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Job, Report, run};
use crate::digest::Digest;
use crate::disk::Bmap;
use crate::error::Result;
use crate::input::Origin;
use crate::progress::{Event, Progress};
use disk::Disk;

const MIB: usize = 1 << 20;

/// Reproducible noise: no two blocks are equal.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Hears warnings and notes.
#[derive(Default)]
struct Ears(Mutex<Vec<String>>);

impl Progress for Ears {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Warning { text } => self.0.lock().unwrap().push(format!("warning: {text}")),
            Event::Note { text } => self.0.lock().unwrap().push((*text).to_string()),
            _ => {}
        }
    }
}

/// A directory with an image in it.
struct Bench {
    dir: tempfile::TempDir,
    origin: Origin,
    bmap: Option<Bmap>,
    sha256: Option<Digest>,
    verify: bool,
    minimize: bool,
    ears: Ears,
}

impl Bench {
    fn new(image: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.img");
        crate::fsx::write_atomic(&path, image).unwrap();
        Bench {
            dir,
            origin: Origin::File(path),
            bmap: None,
            sha256: None,
            verify: true,
            minimize: false,
            ears: Ears::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("x.img")
    }

    /// With a block map of these block ranges.
    fn mapped(mut self, image: &[u8], ranges: &[(u64, u64)]) -> Self {
        let text = bmap(image, ranges);
        self.bmap = Some(Bmap::parse("x.bmap", text.as_bytes()).unwrap());
        self
    }

    fn job(&self) -> Job<'_> {
        Job {
            origin: &self.origin,
            target: "/dev/sdx",
            bmap: self.bmap.as_ref(),
            sha256: self.sha256,
            verify: self.verify,
            minimize: self.minimize,
        }
    }

    fn flash(&self, disk: &Disk) -> Result<Report> {
        run(&self.job(), disk, &self.ears, &|| false)
    }

    /// The error, without the name of the directory.
    fn fails(&self, disk: &Disk) -> String {
        redact(self.dir.path(), &self.flash(disk).unwrap_err().to_string())
    }

    fn heard(&self) -> Vec<String> {
        self.ears.0.lock().unwrap().clone()
    }
}

fn redact(dir: &Path, text: &str) -> String {
    text.replace(&format!("{}/", dir.display()), "")
}

/// A map of these ranges of 4 KiB blocks, the last block included.
fn bmap(image: &[u8], ranges: &[(u64, u64)]) -> String {
    use crate::disk::bmap_text;
    bmap_text(
        image.len() as u64,
        ranges.iter().map(|&(first, last)| {
            let place = first as usize * 4096..((last as usize + 1) * 4096).min(image.len());
            (first, last, Digest::of(&image[place]))
        }),
    )
}
