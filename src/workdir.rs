//! The layout of everything bimg keeps, and the lock that one build holds.
//!
//! ```text
//! build/                      --build-dir; safe to delete
//!   kernel/ARCH-KEY/          one kernel build, shared by boards with equal inputs
//!     obj/ stage/ stamp.json
//!   rootfs/KEY/base.tar       one Debian base, shared likewise
//!   memo/                     digests of large host files, remembered by their times
//!   BOARD/
//!     lock                    held by the running build
//!     log/STAGE.log           whole output of each stage
//!     stamp/STAGE.json        what the stage was made from, for this board the last time
//!     test/ run/              throwaway disks and keys of `bimg test` and `bimg run`, a lock for each
//! out/BOARD/                  --out; the artifacts
//!   BOARD.img BOARD.img.bmap SHA256SUMS manifest.json ...
//! ```
//!
//! Sources live elsewhere, in the store under `$XDG_CACHE_HOME/bimg` ([`crate::source`]).

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::progress::Progress;
use crate::{fsx, interrupt};

/// Paths of one board's build.
#[derive(Debug, Clone)]
pub struct Workdir {
    build: PathBuf,
    out: PathBuf,
    board: String,
}

impl Workdir {
    /// Made absolute, so that tools may run anywhere.
    pub fn new(build: &Path, out: &Path, board: &str) -> Result<Self> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|cause| fsx::io_error("find", path, &cause));
        Ok(Workdir { build: absolute(build)?, out: absolute(out)?, board: board.to_string() })
    }

    /// The build directory itself.
    pub fn build_dir(&self) -> &Path {
        &self.build
    }

    /// The shared kernel build named by `key`.
    pub fn kernel(&self, key: &str) -> PathBuf {
        self.build.join("kernel").join(key)
    }

    /// Digests of large host files, remembered by their times.
    pub fn memo(&self) -> PathBuf {
        self.build.join("memo")
    }

    /// The shared root filesystem base named by `key`.
    pub fn rootfs(&self, key: &str) -> PathBuf {
        self.build.join("rootfs").join(key)
    }

    /// This board's own directory.
    pub fn board_dir(&self) -> PathBuf {
        self.build.join(&self.board)
    }

    /// A stage's log.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.board_dir().join("log").join(format!("{stage}.log"))
    }

    /// A stage's stamp.
    pub fn stamp(&self, stage: &str) -> PathBuf {
        self.board_dir().join("stamp").join(format!("{stage}.json"))
    }

    /// Where the artifacts go.
    pub fn out_dir(&self) -> PathBuf {
        self.out.join(&self.board)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.out_dir().join(format!("{}.img", self.board))
    }

    /// Takes the board's lock; waits for a running build and says who it is.
    pub fn lock(&self, progress: &dyn Progress) -> Result<Lock> {
        Lock::take(&self.board_dir().join("lock"), progress)
    }
}

/// An exclusive lock on a file, released when dropped or when the process dies.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open: closing it unlocks")] File);

impl Lock {
    /// Takes the lock at `path`. While another process holds it, says so once and waits.
    pub fn take(path: &Path, progress: &dyn Progress) -> Result<Lock> {
        if let Some(parent) = path.parent() {
            fsx::create_dir_all(parent)?;
        }
        let error = |cause: std::io::Error| fsx::io_error("lock", path, &cause);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(error)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::WouldBlock) if !told => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder).map_err(error)?;
                    progress.note(&format!(
                        "waiting for {} (lock `{}`)",
                        holder.trim(),
                        fsx::from_here(path).display()
                    ));
                    told = true;
                }
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(cause)) => return Err(error(cause)),
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(error)?;
        writeln!(file, "bimg, process {}", std::process::id()).map_err(error)?;
        Ok(Lock(file))
    }
}
