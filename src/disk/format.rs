//! Output formats: what is written beside the raw image, from it.
//!
//! To add one, implement [`Output`] in one more file and name it in [`Format`].

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::disk::compress::{Compression, compress};
use crate::disk::{ImageFacts, pieces, qcow2, sparse};
use crate::error::Result;
use crate::progress::Progress;

/// A format that an image can be written in, besides the raw one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Smallest, slowest
    Xz,
    /// Fast to pack and to unpack
    Zstd,
    /// Every tool takes it
    Gz,
    /// Android sparse image, as fastboot takes it
    Sparse,
    /// QEMU's own format
    Qcow2,
    /// One file for each partition
    Partitions,
}

/// A finished raw image.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What is in it.
    pub facts: &'a ImageFacts,
}

/// Writes an image in some format.
pub trait Output {
    /// Writes it beside the image, atomically, and returns what it wrote.
    fn write(&self, image: &Finished<'_>, progress: &dyn Progress) -> Result<Vec<PathBuf>>;

    /// The program that it starts, and what for.
    fn tool(&self) -> Option<(&'static str, &'static str)> {
        None
    }
}

impl Format {
    /// As options and the manifest have it.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Gz => "gz",
            Format::Sparse => "sparse",
            Format::Qcow2 => "qcow2",
            Format::Partitions => "partitions",
        }
    }

    /// What writes it.
    pub fn output(self) -> Box<dyn Output> {
        match self {
            Format::Xz => Box::new(Compressed(Compression::Xz)),
            Format::Zstd => Box::new(Compressed(Compression::Zstd)),
            Format::Gz => Box::new(Compressed(Compression::Gz)),
            Format::Sparse => Box::new(sparse::Sparse),
            Format::Qcow2 => Box::new(qcow2::Qcow2),
            Format::Partitions => Box::new(pieces::Partitions),
        }
    }
}

/// The whole image, compressed.
struct Compressed(Compression);

impl Output for Compressed {
    fn write(&self, image: &Finished<'_>, progress: &dyn Progress) -> Result<Vec<PathBuf>> {
        let threads: Option<NonZeroUsize> = None;
        compress(image.path, self.0, threads, progress).map(|path| vec![path])
    }
}

/// `out/rpi4/rpi4.img` and `simg`: `out/rpi4/rpi4.simg`.
pub(super) fn beside(image: &Path, extension: &str) -> PathBuf {
    image.with_extension(extension)
}
