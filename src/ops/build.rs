//! `bimg build`: carries the plan out, stage after stage.
//!
//! The quick way first: with everything in the store and every stamp in place, a build is a look at
//! the stamps. Only when a stage has to run are the host's tools checked, all at once, before the
//! first write.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::facts::{self, Facts};
use super::rootfs::{Prepared, RootfsStage};
use super::sources::{Known, Shelf, Sources};
use super::{BuildOptions, Stage, firmware, image};
use crate::error::{Error, Exit, Result};
use crate::kernel::{self, KernelArtifacts};
use crate::progress::{Event, Progress};
use crate::units::ByteSize;
use crate::workdir::{Lock, Workdir};
use crate::{exec, fsx};

/// What a build left.
#[derive(Debug, Serialize)]
pub struct Built {
    /// Board name.
    pub board: String,
    /// Kernel variant.
    pub variant: Option<String>,
    /// Last stage carried out.
    pub stage: &'static str,
    /// Kernel release, once there is a kernel.
    pub release: Option<String>,
    /// The image, once there is one.
    pub image: Option<PathBuf>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Bytes of it that hold data.
    pub mapped: Option<u64>,
    /// Everything else beside it.
    pub artifacts: Vec<PathBuf>,
    /// True when QEMU can boot it.
    pub emulated: bool,
    /// How to name the board to other commands.
    #[serde(skip)]
    pub asked: String,
    /// Options that lead other commands to what was built.
    #[serde(skip)]
    pub places: String,
}

impl Built {
    /// One JSON object on one line.
    pub fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            event: &'static str,
            #[serde(flatten)]
            built: &'a Built,
        }
        serde_json::to_string(&Line { event: "built", built: self })
            .map(|text| text + "\n")
            .map_err(|cause| Error::new("cannot print the result").caused_by(cause))
    }

    /// Where the image is and what to do next.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let (Some(image), Some(size), Some(mapped)) = (&self.image, self.size, self.mapped) else {
            let release =
                self.release.as_deref().map_or(String::new(), |release| format!(", kernel {release}"));
            let _ = writeln!(out, "{}: built up to `{}`{release}", self.board, self.stage);
            return out;
        };
        let _ = writeln!(
            out,
            "{}\n  {}, {} of data, kernel {}",
            relative(image),
            ByteSize(size),
            ByteSize(mapped),
            self.release.as_deref().unwrap_or("unknown")
        );
        let variant = self.variant.as_deref().map_or(String::new(), |variant| format!(" --kernel {variant}"));
        let _ = writeln!(out, "\nnext:");
        if self.emulated {
            let _ = writeln!(out, "  bimg run --board {}{variant}{}", self.asked, self.places);
            let _ = writeln!(out, "  bimg test --board {}{variant}{}", self.asked, self.places);
        }
        let _ = writeln!(out, "  bimg flash {}", relative(image));
        out
    }
}

/// `--build-dir` and `--out`, where they are not what they are by themselves.
fn places(workdir: &Workdir) -> String {
    let places = [("--build-dir", workdir.build_dir(), "build"), ("--out", workdir.out(), "out")];
    let own = places.map(|(option, dir, usual)| match relative(dir) {
        dir if dir == usual => String::new(),
        dir => format!(" {option} {}", exec::quote(&dir)),
    });
    own.concat()
}

/// A path as seen from the working directory.
pub(super) fn relative(path: &std::path::Path) -> String {
    fsx::from_here(path).display().to_string()
}

/// Runs a stage: tells when it starts and why, how long it took; names stage and board in its failure.
pub(super) struct Runner<'a> {
    pub options: &'a BuildOptions,
    pub progress: &'a dyn Progress,
}

impl Runner<'_> {
    fn stage<T>(&self, stage: Stage, reasons: &[String], work: impl FnOnce() -> Result<T>) -> Result<T> {
        let name = stage.name();
        let reason = reasons.join(", ");
        if !reasons.is_empty() {
            self.progress.event(&Event::StageStarted { stage: name, reason: &reason });
        }
        let start = Instant::now();
        let value = work().map_err(|error| self.failed(stage, error))?;
        let seconds = start.elapsed().as_secs_f64();
        self.progress.event(&Event::StageFinished { stage: name, seconds, fresh: reasons.is_empty() });
        Ok(value)
    }
}

/// A compiled kernel; its locks keep it as it is.
pub(super) struct Compiled {
    pub sources: Sources,
    pub kernel: KernelArtifacts,
    facts: Facts,
    // Another board may share the kernel: nobody changes it until this image is written.
    pub lock: Option<Lock>,
}

/// The first two stages; `None` when only the first was asked for.
pub(super) fn compile(run: &Runner<'_>, shelf: &mut Shelf, until: Stage) -> Result<Option<Compiled>> {
    let Runner { options, progress } = *run;
    fsx::create_dir_all(&options.workdir.memo())?;
    let known = shelf.peek(&options.board, progress)?;
    let facts = facts::gather(options, known.as_ref().map_err(Vec::as_slice), Some(progress))?;
    let writes =
        until == Stage::Image && options.formats.iter().any(|format| format.output().tool().is_some());
    if facts.anything_to_do(until) || writes {
        facts::check_host(options, known.as_ref().ok(), shelf, until)?;
    }
    let sources = run.sources(shelf, known, &facts)?;
    if until == Stage::Sources {
        return Ok(None);
    }
    // Fetching may have changed what is known: look again.
    let mut facts =
        if facts.sources.is_empty() { facts } else { facts::gather(options, Ok(&sources), Some(progress))? };
    let (kernel, lock) = run.kernel(&sources, &mut facts)?;
    Ok(Some(Compiled { sources, kernel, facts, lock }))
}

/// Builds everything, or up to a stage.
pub fn build(options: &BuildOptions, until: Option<Stage>, progress: &dyn Progress) -> Result<Built> {
    let until = until.unwrap_or(Stage::Image);
    let _lock = options.workdir.lock(progress)?;
    let mut shelf = Shelf::open()?;
    let run = Runner { options, progress };
    let mut built = Built {
        board: options.board.name.clone(),
        variant: options.board.kernel.variant.clone(),
        stage: until.name(),
        release: None,
        image: None,
        size: None,
        mapped: None,
        artifacts: Vec::new(),
        emulated: options.board.emulator.is_some(),
        asked: exec::quote(&options.board.asked),
        places: places(&options.workdir),
    };
    let Some(compiled) = compile(&run, &mut shelf, until)? else { return Ok(built) };
    let Compiled { sources, kernel, facts, .. } = &compiled;
    built.release = Some(kernel.release.clone());
    if until == Stage::Kernel {
        return Ok(built);
    }
    let base = run.rootfs(&mut shelf, facts)?;
    if until == Stage::Rootfs {
        return Ok(built);
    }
    let image = run.image(sources, kernel, &base)?;
    built.image = Some(options.workdir.image());
    built.size = Some(image.size);
    built.mapped = Some(image.mapped);
    built.artifacts = image.files;
    Ok(built)
}

impl Runner<'_> {
    /// An interrupt has no causes worth telling.
    fn failed(&self, stage: Stage, error: Error) -> Error {
        let (stage, board) = (stage.name(), &self.options.board.name);
        if error.exit() == Exit::Interrupted {
            return Error::interrupted_in(format!("stage `{stage}` of board `{board}`"));
        }
        error.context(format!("stage `{stage}` failed for board `{board}`"))
    }

    fn sources(&self, shelf: &mut Shelf, known: Known, facts: &Facts) -> Result<Sources> {
        let board = &self.options.board;
        self.stage(Stage::Sources, &facts.sources, || {
            let sources = match known {
                Ok(sources) => sources,
                Err(_) => shelf.fetch(board, self.options.mode, self.progress)?,
            };
            firmware::check(board, &sources)?;
            Ok(sources)
        })
    }

    fn kernel(&self, sources: &Sources, facts: &mut Facts) -> Result<(KernelArtifacts, Option<Lock>)> {
        let spec = facts::kernel_spec(self.options, sources)?;
        self.stage(Stage::Kernel, &facts.kernel, || match &facts.kernel_artifacts {
            Some(artifacts) => Ok((artifacts.clone(), facts.kernel_lock.take())),
            None => kernel::build(&spec, self.progress).map(|(kernel, lock)| (kernel, Some(lock))),
        })
    }

    fn rootfs(&self, shelf: &mut Shelf, facts: &Facts) -> Result<Prepared> {
        let BuildOptions { board, workdir, mode, .. } = self.options;
        self.stage(Stage::Rootfs, &facts.rootfs, || {
            let stage = RootfsStage::new(board, workdir)?;
            if mode.is_offline() {
                stage.check_offline()?;
            }
            let prepared = stage.run(self.progress)?;
            if let Some(digest) = prepared.packages(board, workdir)? {
                shelf.pin_rootfs(board, digest, *mode, self.progress)?;
            }
            Ok(prepared)
        })
    }

    fn image(&self, sources: &Sources, kernel: &KernelArtifacts, base: &Prepared) -> Result<image::Written> {
        let job = image::Job::new(self.options, sources, kernel, base);
        let job = job.map_err(|error| self.failed(Stage::Image, error))?;
        let reasons = job.reasons()?;
        if !reasons.is_empty() {
            facts::check_room(self.options)?;
        }
        self.stage(Stage::Image, &reasons, || {
            if reasons.is_empty() { job.written() } else { job.write(self.progress) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_said_with_the_directories_that_were_chosen() {
        let at =
            |build: &str, out: &str| places(&Workdir::new(build.as_ref(), out.as_ref(), "acme").unwrap());
        assert_eq!(at("build", "./out"), "");
        assert_eq!(at("build", "an other"), " --out 'an other'");
        assert_eq!(at("/b", "/o"), " --build-dir /b --out /o");
    }
}
