//! Flashing onto memory disks of every honesty, and onto files.

mod disk;
mod faults;
mod files;
mod known;
mod maps;
mod parts;
mod resume;

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

/// Reproducible noise: no two blocks are equal, of one call or of two with different seeds.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = 1_u64;
    let mut block: Vec<u8> = (0..512)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 8).to_le_bytes()
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + block.len());
    for number in 0_u64.. {
        if bytes.len() >= len {
            break;
        }
        block[..16].copy_from_slice(&(u128::from(seed) << 64 | u128::from(number)).to_le_bytes());
        bytes.extend_from_slice(&block);
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
    partition: Option<String>,
    resume: bool,
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
            partition: None,
            resume: false,
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
            partition: self.partition.as_deref(),
            resume: self.resume,
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
