//! The rootfs stage: the base of the root filesystem and the program that grows it, shared by boards
//! with equal ones.

use std::path::PathBuf;

use super::Stage;
use crate::board::Board;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::exec;
use crate::fsx;
use crate::plan::stamp::{Inputs, Stamp};
use crate::progress::{Progress, Silent};
use crate::rootfs::{self, Base, BaseKind, grow};
use crate::workdir::{Lock, Workdir};

/// What the stage leaves.
#[derive(Debug)]
pub struct Prepared {
    /// The lowest layer.
    pub base: Base,
    /// The compiled growth program, where the profile wants it.
    pub grow: Option<PathBuf>,
    /// Keeps both as they are, for a build: another board may share them.
    _lock: Option<Lock>,
}

impl Prepared {
    /// Digest of what the packages of a Debian base unpack to; none for other bases, which are named by
    /// their content.
    pub fn packages(&self, board: &Board, workdir: &Workdir) -> Result<Option<Digest>> {
        match (board.rootfs.kind, &self.base) {
            (BaseKind::Debian, Base::Tar(path)) => {
                let suite = board.rootfs.suite.as_deref().unwrap_or_default();
                rootfs::unpacked_fingerprint(suite, path, &workdir.memo()).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The stage of one build.
pub struct RootfsStage<'a> {
    board: &'a Board,
    workdir: &'a Workdir,
    inputs: Inputs,
    dir: PathBuf,
}

impl<'a> RootfsStage<'a> {
    /// Fingerprints the base.
    pub fn new(board: &'a Board, workdir: &'a Workdir) -> Result<Self> {
        let memo = workdir.memo();
        let mut inputs = Inputs::default();
        for (label, digest) in rootfs::base_fingerprint(&board.rootfs, board.arch, &board.base, &memo)? {
            inputs.add(label, digest.to_string());
        }
        if board.rootfs.grow {
            inputs.add("growth program", grow::fingerprint().to_string());
            inputs.add("toolchain", &board.toolchain.name);
        }
        let dir = workdir.rootfs(&inputs.digest().short());
        Ok(RootfsStage { board, workdir, inputs, dir })
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn stamp(&self) -> Stamp {
        Stamp::at(self.dir.join("stamp.json"))
    }

    /// What this board's last base was made from: the shared directory is another one after every change.
    fn last(&self) -> Stamp {
        Stamp::at(self.workdir.stamp(Stage::Rootfs.name()))
    }

    /// Labelled inputs, for the image's fingerprint.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Why the stage has to run; nothing when it is up to date.
    pub fn reasons(&self) -> Result<Vec<String>> {
        let reasons = self.stamp().reasons(&self.inputs)?;
        if reasons.is_empty() || self.stamp().is_there() {
            return Ok(reasons);
        }
        let changes = self.last().reasons(&self.inputs)?;
        Ok(if changes.is_empty() { reasons } else { changes })
    }

    /// Removes the base, so that the next build takes the newest packages.
    pub fn forget(&self, progress: &dyn Progress) -> Result<()> {
        let _lock = Lock::take(&self.lock(), progress)?;
        self.stamp().clear()?;
        fsx::remove_file(&self.dir.join("base.tar"))
    }

    /// Without the network there has to be a base from an earlier build.
    pub fn check_offline(&self) -> Result<()> {
        if self.board.rootfs.kind != BaseKind::Debian || self.dir.join("base.tar").is_file() {
            return Ok(());
        }
        Err(Error::new("`--offline`: the root filesystem's packages are not here")
            .caused_by("no earlier build with this `--build-dir` has fetched them")
            .hint("run once without `--offline`"))
    }

    /// What an earlier run left, without a lock or a write: for plans, and only when up to date.
    pub fn left(&self) -> Result<Prepared> {
        Ok(Prepared { base: self.base(&Silent)?, grow: self.grow(), _lock: None })
    }

    fn base(&self, progress: &dyn Progress) -> Result<Base> {
        let board = self.board;
        let log = self.workdir.log(Stage::Rootfs.name());
        rootfs::prepare(&board.rootfs, board.arch, &board.base, &self.dir, &log, progress)
    }

    fn grow(&self) -> Option<PathBuf> {
        self.board.rootfs.grow.then(|| self.dir.join("grow"))
    }

    /// Puts base and growth program in place, or finds them there.
    pub fn run(&self, progress: &dyn Progress) -> Result<Prepared> {
        let board = self.board;
        let (lock, fresh) = self.held(progress)?;
        if !fresh {
            if self.stamp().is_there() {
                // Its inputs name the directory, so somebody has touched what it left.
                fsx::remove_file(&self.dir.join("base.tar"))?;
            }
            self.stamp().clear()?;
        }
        let base = self.base(progress)?;
        let grow = self.grow();
        let mut outputs: Vec<PathBuf> = match &base {
            Base::Tar(path) if path.starts_with(&self.dir) => vec![path.clone()],
            _ => Vec::new(),
        };
        if let Some(grow) = &grow {
            outputs.push(grow.clone());
            if !fresh {
                let compiler = board.toolchain.compilers().into_iter().map(|(program, _)| program);
                let installed = compiler.clone().find(|program| exec::which(program).is_some());
                let compiler = installed.or_else(|| compiler.clone().next()).unwrap_or_default();
                grow::compile(&compiler, board.arch, &self.dir)?;
            }
        }
        if !fresh {
            self.stamp().write(&self.inputs, &outputs)?;
        }
        if !self.last().reasons(&self.inputs)?.is_empty() {
            self.last().write(&self.inputs, &[])?;
        }
        Ok(Prepared { base, grow, _lock: Some(lock) })
    }

    /// The lock: shared while everything is up to date, which is true then, else for this process alone.
    fn held(&self, progress: &dyn Progress) -> Result<(Lock, bool)> {
        if self.dir.is_dir() {
            let lock = Lock::share(&self.lock(), progress)?;
            if self.reasons()?.is_empty() {
                return Ok((lock, true));
            }
        }
        let lock = Lock::take(&self.lock(), progress)?;
        let fresh = self.reasons()?.is_empty();
        Ok((lock, fresh))
    }
}
