//! One function per command.
//!
//! ```text
//! Board + facts -> Plan            plan.rs gathers the facts, crate::plan decides
//! Plan -> stages -> artifacts      build.rs, in order: sources, kernel, rootfs, image
//! out/BOARD -> QEMU                emulate.rs
//! an image -> a drive              flash.rs
//! kernel -> a running board        deploy.rs
//! ```

mod assemble;
mod build;
mod deploy;
pub mod disk;
mod doctor;
mod emulate;
mod facts;
mod firmware;
mod flash;
mod image;
mod image_file;
mod import;
mod make;
mod manifest;
mod rootfs;
mod sources;
mod target;
mod update;

use clap::ValueEnum;

pub use assemble::assemble;
pub use build::{Built, build};
pub use deploy::{DeployOptions, deploy, deploy_module};
pub use doctor::doctor;
pub use emulate::{TestOptions, Tested, run, test};
pub use facts::plan;
pub use flash::{FlashOptions, Flashed, drives, flash};
pub use image::provisional_layout;
pub use image_file::{Compared, Keys, Listed, Place, cat, diff, extract, inspect, list, verify};
pub use import::{Target, import_buildroot, import_genimage};
pub use make::make;
pub use target::{Status, TargetOptions, rows_json, rows_text};
pub use update::update;

use crate::board::Board;
use crate::disk::Format;
use crate::error::{Error, Result};
use crate::rootfs::Provision;
use crate::source::Mode;
use crate::workdir::Workdir;

/// Everything that decides what is built and where.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The board.
    pub board: Board,
    /// Where things are kept.
    pub workdir: Workdir,
    /// `--set CONFIG_X=y`.
    pub sets: Vec<String>,
    /// Compile jobs.
    pub jobs: Option<usize>,
    /// Use ccache when it is there.
    pub ccache: bool,
    /// Host name, keys, password hash.
    pub provision: Provision,
    /// What to write besides the raw image; sorted, none twice.
    pub formats: Vec<Format>,
    /// `SOURCE_DATE_EPOCH`, where the user says so: dates everything that has no date of its own.
    pub epoch: Option<i64>,
    /// How sources may change.
    pub mode: Mode,
}

/// `SOURCE_DATE_EPOCH`, where the environment has it (<https://reproducible-builds.org/specs/source-date-epoch/>).
pub fn source_date_epoch() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Some(seconds.into())),
        Err(_) => Err(Error::usage(format!("`SOURCE_DATE_EPOCH` is `{}`", text.escape_debug()))
            .caused_by("it is not a number of seconds since 1970")
            .hint("unset it, or set it as `date +%s` prints it")),
    }
}

/// The stages, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Stage {
    /// Fetch and unpack sources
    Sources,
    /// Configure and compile the kernel, install its modules
    Kernel,
    /// Make the base of the root filesystem
    Rootfs,
    /// Assemble the image
    Image,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Stage; 4] = [Stage::Sources, Stage::Kernel, Stage::Rootfs, Stage::Image];

    /// As in events, logs and `--stage`.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Sources => "sources",
            Stage::Kernel => "kernel",
            Stage::Rootfs => "rootfs",
            Stage::Image => "image",
        }
    }
}
