//! Ctrl-C, SIGTERM and SIGHUP: a flag that every long loop looks at.
//!
//! The first signal sets the flag; work stops at the next [`check`], children are killed by
//! [`crate::exec`], partial files stay under their `.partial` names. A second one, more than a moment later
//! (`timeout` and process managers send one twice), kills the children and ends the process at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::error::{Error, Result};

/// Signals within this time are one.
const MOMENT: Duration = Duration::from_secs(1);

static FLAG: AtomicBool = AtomicBool::new(false);
/// Process groups that must not outlive this process.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// Nor these directories.
static DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Installs the handlers. Called once, by `main`.
pub fn install() -> Result<()> {
    let failed = |cause: std::io::Error| Error::new("cannot install the signal handlers").caused_by(cause);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let listen = move || {
        let mut first = None;
        for _ in signals.forever() {
            FLAG.store(true, Ordering::Relaxed);
            if first.get_or_insert_with(Instant::now).elapsed() > MOMENT {
                for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                    // Gone already is what we want.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                for dir in DIRS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                    let _ = std::fs::remove_dir_all(dir);
                }
                std::process::exit(130);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_string()).spawn(listen).map(drop).map_err(failed)
}

/// Notes a process group that ends with this process.
pub fn guard(group: Pid) {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner).push(group);
}

/// Forgets a process group that has ended: its number may soon be another's.
pub fn release(group: Pid) {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != group);
}

/// A temporary directory that goes even when the process ends at once.
pub struct Scratch(TempDir);

impl Scratch {
    /// Takes care of it.
    pub fn new(dir: TempDir) -> Scratch {
        DIRS.lock().unwrap_or_else(PoisonError::into_inner).push(dir.path().to_owned());
        Scratch(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        DIRS.lock().unwrap_or_else(PoisonError::into_inner).retain(|dir| dir != self.0.path());
    }
}

/// True once a signal came.
pub fn requested() -> bool {
    FLAG.load(Ordering::Relaxed)
}

/// The same as [`check`] inside a reader or writer. Not of the kind `Interrupted`, which would be retried; the caller
/// asks [`check`] for the error to tell.
pub fn check_io() -> std::io::Result<()> {
    if requested() { Err(std::io::Error::other("interrupted")) } else { Ok(()) }
}

/// Fails with the `interrupted` error once a signal came.
pub fn check() -> Result<()> {
    if requested() { Err(Error::interrupted()) } else { Ok(()) }
}
