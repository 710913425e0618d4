//! The layout of everything bimg keeps, and the lock that one build holds.
//!
//! ```text
//! build/                      --build-dir; safe to delete
//!   kernel/ARCH-KEY/          one kernel build, shared by boards with equal inputs
//!     obj/ stage/ stage.json packed/ stamp.json
//!   rootfs/KEY/base.tar       one Debian base, shared likewise
//!   memo/                     digests of large host files, remembered by their times
//!   BOARD/
//!     lock                    held by the running build
//!     log/STAGE.log           whole output of each stage
//!     stamp/STAGE.json        what the stage was made from, for this board the last time
//!     stamp/image-OUT.json    the same for the image, for each `--out` that it was made in
//!     test/ run/              throwaway disks and keys of `bimg test` and `bimg run`, a lock for each
//! out/BOARD/                  --out; the artifacts
//!   BOARD.img BOARD.img.bmap SHA256SUMS manifest.json ...
//! ```
//!
//! Sources live elsewhere, in the store under `$XDG_CACHE_HOME/bimg` ([`crate::source`]).

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;
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

    /// The directory of all boards' artifacts.
    pub fn out(&self) -> &Path {
        &self.out
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

    /// The image's stamp. An image in one output directory says nothing about what is in another.
    pub fn image_stamp(&self) -> PathBuf {
        let out = Digest::of(self.out_dir().as_os_str().as_bytes());
        self.stamp(&format!("image-{}", out.short()))
    }

    /// Where the artifacts go.
    pub fn out_dir(&self) -> PathBuf {
        self.out.join(&self.board)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.out_dir().join(format!("{}.img", self.board))
    }

    /// Its block map.
    pub fn bmap(&self) -> PathBuf {
        self.out_dir().join(format!("{}.img.bmap", self.board))
    }

    /// Fails when no image can be put into the output directory: better told before hours of compiling than after.
    pub fn check_out(&self) -> Result<()> {
        check(&self.out_dir(), "output", "choose another one with `--out`")
    }

    /// Fails when nothing can be built in the build directory.
    pub fn check_build(&self) -> Result<()> {
        let remedy = "choose another one with `--build-dir`, or run bimg in a folder of your own";
        check(&self.board_dir(), "build", remedy)
    }

    /// Takes the board's lock; waits for a running build and says who it is.
    pub fn lock(&self, progress: &dyn Progress) -> Result<Lock> {
        self.check_build()?;
        Lock::take(&self.board_dir().join("lock"), progress)
    }
}

fn check(dir: &Path, what: &str, remedy: &str) -> Result<()> {
    fsx::check_writable(dir).map_err(|error| {
        error.context(format!("cannot use the {what} directory `{}`", dir.display())).hint(remedy)
    })
}

/// How often one that waits for a lock looks.
const POLL: Duration = Duration::from_millis(100);
/// Looks after which a lock that names nobody alive is told of all the same.
const PATIENCE: u32 = 5;

/// A lock on a file, released when it is dropped and all that was started under it has ended: what a killed run
/// left behind may still write where the next one would.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    waited: bool,
}

impl Lock {
    /// Takes the lock at `path` for this process alone. While another one holds it, says so once and waits.
    pub fn take(path: &Path, progress: &dyn Progress) -> Result<Lock> {
        Self::take_for(path, &format!("lock `{}`", fsx::from_here(path).display()), progress)
    }

    /// The same where the file's name would tell a person nothing: `what` says what is done under the lock.
    pub fn take_for(path: &Path, what: &str, progress: &dyn Progress) -> Result<Lock> {
        if let Some(parent) = path.parent() {
            fsx::create_dir_all(parent)?;
        }
        Self::open(path, what, progress, File::try_lock)
    }

    /// Takes the lock together with others that only read what it guards; its directory must be there.
    pub fn share(path: &Path, progress: &dyn Progress) -> Result<Lock> {
        let what = format!("lock `{}`", fsx::from_here(path).display());
        Self::open(path, &what, progress, File::try_lock_shared)
    }

    fn open(
        path: &Path,
        what: &str,
        progress: &dyn Progress,
        try_lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Lock> {
        let error = |cause: std::io::Error| fsx::io_error("lock", path, &cause);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(error)?;
        let mut file = inheritable(&file).map_err(error)?;
        let (mut waited, mut told) = (0, false);
        loop {
            match try_lock(&file) {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => waited += 1,
                Err(TryLockError::Error(cause)) => return Err(error(cause)),
            }
            if !told {
                let holders = holders(&mut file).map_err(error)?;
                // Whoever has just got it may not have written its name yet.
                told = others(&holders).any(is_alive) || waited > PATIENCE;
                if told {
                    progress.note(&format!("waiting for {} ({what})", who(&holders)));
                }
            }
            interrupt::check()?;
            std::thread::sleep(POLL);
        }
        // Those that share it stay in the list.
        let mut holders = holders(&mut file).map_err(error)?;
        holders.retain(|id| *id != std::process::id() && is_alive(*id));
        holders.push(std::process::id());
        let list: Vec<String> = holders.iter().map(|id| format!("{id}\n")).collect();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(list.concat().as_bytes()))
            .map_err(error)?;
        Ok(Lock { _file: file, waited: waited > 0 })
    }

    /// True when somebody else had it at first.
    pub fn waited(&self) -> bool {
        self.waited
    }
}

/// The same open file for children to inherit, under a number that is out of their way: the shell scripts that apt
/// runs for mmdebstrap know descriptors of one digit only.
fn inheritable(file: &File) -> std::io::Result<File> {
    let file = rustix::io::fcntl_dupfd_cloexec(file, 100)?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
    Ok(file.into())
}

/// The process ids in a lock file.
fn holders(file: &mut File) -> std::io::Result<Vec<u32>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Those of them that are not this process.
fn others(holders: &[u32]) -> impl DoubleEndedIterator<Item = u32> {
    holders.iter().copied().filter(|id| *id != std::process::id())
}

fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Whoever has a lock, in words.
fn who(holders: &[u32]) -> String {
    match (others(holders).find(|id| is_alive(*id)), others(holders).next_back()) {
        (Some(id), _) => format!("bimg, process {id}"),
        (None, Some(id)) => format!("what bimg, process {id}, left running when it was killed"),
        (None, None) => "another bimg".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;
    use crate::progress::{Event, Silent};
    use std::cell::Cell;
    use std::os::fd::AsRawFd;
    use std::process::Stdio;
    use std::sync::Mutex;

    #[test]
    fn readers_share_and_a_writer_waits_for_their_children_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let one = Lock::share(&path, &Silent).unwrap();
        let two = Lock::share(&path, &Silent).unwrap();
        assert!(!one.waited() && !two.waited());
        drop((one, two));
        let lock = Lock::take(&path, &Silent).unwrap();
        let child = Cmd::new("sleep").arg("60").spawn(Stdio::null(), Stdio::null(), Stdio::null()).unwrap();
        drop(lock);
        let free = || File::open(&path).unwrap().try_lock().is_ok();
        assert!(!free());
        drop(child);
        // Children of other tests may have inherited it as well.
        while !free() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_children_inherit_has_more_than_one_digit() {
        let file = inheritable(&File::open("/dev/null").unwrap()).unwrap();
        assert!(file.as_raw_fd() >= 100);
    }

    #[test]
    fn a_holder_that_has_not_written_its_name_yet_is_named_too() {
        struct Heard(Mutex<Vec<String>>);
        impl Progress for Heard {
            fn event(&self, event: &Event<'_>) {
                let Event::Note { text } = event else { return };
                self.0.lock().unwrap().push((*text).to_string());
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        // As the run before left it.
        fsx::write_atomic(&path, b"4194305\n").unwrap();
        let holder = File::options().read(true).write(true).open(&path).unwrap();
        holder.lock().unwrap();
        let heard = Heard(Mutex::default());
        let looks = Cell::new(0);
        let lock = Lock::open(&path, "fetching `x`", &heard, |file| {
            looks.set(looks.get() + 1);
            if looks.get() == 3 {
                holder.set_len(0).unwrap();
                (&holder).write_all(b"1\n").unwrap();
            }
            if !heard.0.lock().unwrap().is_empty() {
                holder.unlock().unwrap();
            }
            file.try_lock()
        });
        assert!(lock.unwrap().waited());
        assert_eq!(*heard.0.lock().unwrap(), ["waiting for bimg, process 1 (fetching `x`)"]);
    }

    #[test]
    fn a_holder_is_named() {
        let (own, gone) = (std::process::id(), 4_194_305);
        assert_eq!(who(&[gone, 1, own]), "bimg, process 1");
        assert_eq!(who(&[own]), "another bimg");
        assert_eq!(who(&[gone, own]), "what bimg, process 4194305, left running when it was killed");
    }
}
