//! Arguments that several commands share.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::board::{Board, Select};
use crate::cli::DirArgs;
use crate::data::DataDirs;
use crate::disk::Format;
use crate::error::Result;
use crate::kernel;
use crate::ops::{BuildOptions, source_date_epoch};
use crate::rootfs::Provision;
use crate::source::Mode;
use crate::workdir::Workdir;

/// Which board.
#[derive(Debug, Clone, Args)]
pub struct BoardArgs {
    /// Board name (`bimg boards list`) or path to a profile
    #[arg(short, long, value_name = "NAME|FILE")]
    pub board: String,
    /// Kernel variant of the profile, e.g. `lean`
    #[arg(long, value_name = "VARIANT")]
    pub kernel: Option<String>,
}

impl BoardArgs {
    /// Loads and validates the profile.
    pub fn load(&self) -> Result<Board> {
        Board::load(&Select { board: &self.board, variant: self.kernel.as_deref() }, &DataDirs::user())
    }
}

/// How sources may change.
#[derive(Debug, Clone, Copy, Args)]
pub struct SourceArgs {
    /// Fail when bimg.lock would change
    #[arg(long, help_heading = "Sources")]
    pub locked: bool,
    /// Use only what is in the store
    #[arg(long, help_heading = "Sources")]
    pub offline: bool,
}

impl SourceArgs {
    /// As the source layer wants it.
    pub fn mode(self) -> Mode {
        match (self.locked, self.offline) {
            (true, true) => Mode::LockedOffline,
            (true, false) => Mode::Locked,
            (false, true) => Mode::Offline,
            (false, false) => Mode::Normal,
        }
    }
}

/// Everything that decides how a kernel is built; shared by `make`, `build` and `plan`.
#[derive(Debug, Clone, Args)]
pub struct KernelBuildArgs {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    dirs: DirArgs,
    #[command(flatten)]
    sources: SourceArgs,
    /// Set a kernel option over the fragments; may be repeated
    #[arg(long, value_name = "CONFIG_X=y|m|n|VALUE", help_heading = "Kernel")]
    set: Vec<String>,
    /// Parallel compile jobs [default: by cores and free memory]
    #[arg(short, long, value_name = "N", help_heading = "Kernel", value_parser = clap::value_parser!(u32).range(1..=4096))]
    jobs: Option<u32>,
    /// Do not use ccache even when it is installed
    #[arg(long, help_heading = "Kernel")]
    no_ccache: bool,
}

impl KernelBuildArgs {
    /// Loads the profile and says where everything goes; with no word about a root filesystem or image.
    pub fn options(&self) -> Result<BuildOptions> {
        let board = self.board.load()?;
        // A slip of the pen should not wait for the source.
        kernel::config::requests(&[], &self.set)?;
        let workdir = Workdir::new(&self.dirs.build_dir, &self.dirs.out, &board.name)?;
        Ok(BuildOptions {
            board,
            workdir,
            sets: self.set.clone(),
            jobs: self.jobs.map(|jobs| jobs as usize),
            ccache: !self.no_ccache,
            provision: Provision::default(),
            formats: Vec::new(),
            epoch: source_date_epoch()?,
            mode: self.sources.mode(),
        })
    }
}

/// Everything that decides what is built; shared by `build` and `plan`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    kernel: KernelBuildArgs,
    /// Host name of the board
    #[arg(long, value_name = "NAME", help_heading = "Provisioning")]
    hostname: Option<String>,
    /// Public SSH key that may log in as root; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Provisioning")]
    ssh_key: Vec<PathBuf>,
    /// Root's password as a crypt(5) hash; without it nobody can log in by password
    #[arg(long, value_name = "HASH", help_heading = "Provisioning")]
    root_password_hash: Option<String>,
    /// Also write the image in another format; may be repeated
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Vec<Format>,
}

impl BuildArgs {
    /// Loads the profile and says where everything goes.
    pub fn options(&self) -> Result<BuildOptions> {
        Ok(BuildOptions {
            provision: Provision::from_args(
                self.hostname.as_deref(),
                &self.ssh_key,
                self.root_password_hash.as_deref(),
            )?,
            formats: self.format.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
            ..self.kernel.options()?
        })
    }
}
