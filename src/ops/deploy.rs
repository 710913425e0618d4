//! `bimg deploy`: a build, and the boards that get it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use serde::Serialize;

use super::build::{Runner, compile};
use super::sources::Shelf;
use super::{BuildOptions, Stage, facts, image};
use crate::board::{Board, Content as Holds};
use crate::deploy::fleet::{self, Fate, Pace};
use crate::deploy::module::{self, Reloaded};
use crate::deploy::payload::{Parts, Reading};
use crate::deploy::remote::{Reach, Remote};
use crate::deploy::{self, Deployed, Held, Job, Outcome, Place, gate};
use crate::error::{Error, Result};
use crate::exec::Cmd;
use crate::kernel;
use crate::progress::{Event, Progress};
use crate::ssh::Options;
use crate::units::ByteSize;

/// How to deploy.
#[derive(Debug, Clone)]
pub struct DeployOptions {
    /// The boards.
    pub places: Vec<Place>,
    /// How to connect.
    pub ssh: Options,
    /// Which parts come from the build.
    pub parts: Parts,
    /// Checks besides the profile's.
    pub checks: Vec<String>,
    /// Bring it there, and leave it.
    pub no_reboot: bool,
    /// Tell what would be done.
    pub dry_run: bool,
    /// Take what the last build left.
    pub no_build: bool,
    /// How a fleet is worked through.
    pub pace: Pace,
}

/// What became of all boards.
pub struct Report<T> {
    fates: Vec<Fate<T>>,
}

/// What became of a board that all went well with.
pub trait Done: Serialize {
    /// What it is called in JSON, where that has a name.
    const EVENT: Option<&'static str>;

    /// As a person reads it, behind the board's name.
    fn sentence(&self) -> String;
}

impl<T: Done> Report<T> {
    /// One JSON object per board.
    pub fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Line<'a, T> {
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<&'static str>,
            /// Where it failed, or was not begun.
            #[serde(skip_serializing_if = "Option::is_none")]
            host: Option<String>,
            #[serde(flatten)]
            done: Option<&'a T>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            log: Option<&'a Path>,
            #[serde(skip_serializing_if = "Option::is_none")]
            hint: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<u8>,
        }
        let mut out = String::new();
        for fate in &self.fates {
            let done = fate.result.as_ref().and_then(|result| result.as_ref().ok());
            let error = fate.result.as_ref().and_then(|result| result.as_ref().err());
            let line = Line {
                event: match (done, error) {
                    (Some(_), _) => T::EVENT,
                    (None, Some(_)) => Some("failed"),
                    (None, None) => Some("not-begun"),
                },
                host: done.is_none().then(|| fate.place.host.to_string()),
                done,
                error: error.map(Error::one_line),
                log: error.and_then(Error::log_path),
                hint: error.and_then(Error::hint_text),
                status: error.map(|error| error.exit().code()),
            };
            out.push_str(&json(&line)?);
        }
        Ok(out)
    }

    /// A line per board that ended well, and in a fleet one for every other.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for fate in &self.fates {
            let host = &fate.place.host;
            let _ = match &fate.result {
                Some(Ok(it)) => writeln!(out, "{host}  {}", it.sentence()),
                Some(Err(_)) if self.fates.len() == 1 => Ok(()),
                Some(Err(error)) => {
                    let log = error.log_path().map(|log| format!("\n  log: {}", log.display()));
                    let hint = error.hint_text().map(|hint| format!("\n  hint: {hint}"));
                    let more: String = log.into_iter().chain(hint).collect();
                    writeln!(out, "{host}  failed: {}{more}", error.one_line())
                }
                None => writeln!(out, "{host}  not begun"),
            };
        }
        out
    }

    /// The failure, if there was one.
    pub fn failure(mut self) -> Result<()> {
        if self.fates.len() == 1 {
            return self
                .fates
                .pop()
                .and_then(|fate| fate.result)
                .map_or_else(|| Err(Error::interrupted()), |result| result.map(drop));
        }
        match fleet::failure(&self.fates) {
            Some(error) => Err(error),
            None if self.fates.iter().any(|fate| fate.result.is_none()) => Err(Error::interrupted()),
            None => Ok(()),
        }
    }
}

impl Done for Deployed {
    const EVENT: Option<&'static str> = Some("deployed");

    fn sentence(&self) -> String {
        sentence(self)
    }
}

fn sentence(it: &Deployed) -> String {
    let sent = match it.files {
        0 => "nothing to send".to_string(),
        n => format!("{n} files, {} ({} on the wire)", ByteSize(it.bytes), ByteSize(it.wire)),
    };
    let Deployed { id, release, seconds, .. } = it;
    match it.outcome {
        Outcome::Default => format!("runs {release} ({id}), the default now; {sent}, {seconds:.1} s"),
        Outcome::Unchanged => format!("runs {release} ({id}) already"),
        Outcome::Installed => format!(
            "has {release} ({id}); {sent}, {seconds:.1} s; not started: the same command without `--no-reboot` tries it"
        ),
        Outcome::Planned => format!(
            "would get {release} ({id}): {} files, {}; then a trial boot",
            it.files,
            ByteSize(it.bytes)
        ),
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|cause| Error::new("cannot print the result").caused_by(cause))
}

/// Builds what is stale, and deploys it.
pub fn deploy(
    build: &BuildOptions,
    options: &DeployOptions,
    progress: &dyn Progress,
) -> Result<Report<Deployed>> {
    let board = &build.board;
    deploy::with_slots(board, |_| Ok(()))?;
    let boot_partition = boot_partition(board)?;
    let lock = build.workdir.lock(progress)?;
    let mut shelf = Shelf::open()?;
    if options.no_build {
        check_built(build, &shelf, progress)?;
    }
    let run = Runner { options: build, progress };
    let Some(mut compiled) = compile(&run, &mut shelf, Stage::Kernel)? else {
        return Err(Error::new("the build left no kernel"));
    };
    // The kernel stays as it is; others may deploy it to other boards meanwhile.
    drop(lock);
    let kernel_lock = compiled.lock.take();
    let built = Reading::new(&compiled.kernel, kernel_lock, options.places.len() + 1);
    let firmware = BTreeMap::new();
    let mut checks = board.deploy.checks.clone();
    checks.extend(options.checks.iter().cloned());
    let job = Job {
        board,
        boot_partition,
        built: &built,
        input: image::boot_input(board, &compiled.kernel, facts::epoch(build, &compiled.sources), &firmware)?,
        parts: options.parts,
        ssh: options.ssh.clone(),
        checks,
        no_reboot: options.no_reboot,
        dry_run: options.dry_run,
        by: whoami(),
        now: now()?,
        logs: build.workdir.board_dir().join("log"),
    };
    let start = Instant::now();
    progress.event(&Event::StageStarted { stage: "deploy", reason: "" });
    let fates = std::thread::scope(|scope| {
        // Whoever needs it waits for it, and hears how it ended.
        scope.spawn(|| {
            let _need = built.need();
            built.get().is_ok()
        });
        fleet::run(&options.places, options.pace, progress, |place, progress| {
            deploy::deploy(place, &job, progress)
        })
    });
    if let Some(error) = built.failure() {
        return Err(error);
    }
    if fates.iter().all(|fate| matches!(fate.result, Some(Ok(_)))) {
        let seconds = start.elapsed().as_secs_f64();
        progress.event(&Event::StageFinished { stage: "deploy", seconds, fresh: false });
    }
    Ok(Report { fates })
}

/// `--no-build`: everything must be there, and up to date.
fn check_built(build: &BuildOptions, shelf: &Shelf, progress: &dyn Progress) -> Result<()> {
    let known = shelf.peek(&build.board, progress)?;
    let facts = facts::gather(build, known.as_ref().map_err(Vec::as_slice), None)?;
    let mut why = facts.sources.iter().chain(&facts.kernel);
    match why.next() {
        None => Ok(()),
        Some(first) => {
            Err(Error::new(format!("there is no build of board `{}` to deploy", build.board.name))
                .caused_by(first.clone())
                .hint("leave `--no-build` out, or run `bimg build --stage kernel` with the same arguments"))
        }
    }
}

/// Number of the partition that the boot loader reads, among those of its disk.
pub(super) fn boot_partition(board: &Board) -> Result<u32> {
    let wanted = board.disk.holding(Holds::Boot).ok_or_else(|| {
        Error::usage(format!("board `{}` has no boot partition of its own", board.name))
            .caused_by("a boot loader can only remember a trial on a FAT")
            .hint("give the profile a partition with `content = \"boot\"`")
    })?;
    let layout = image::provisional_layout(board)?;
    layout
        .partitions
        .iter()
        .find(|placed| placed.name == wanted.name)
        .map(|placed| placed.number)
        .ok_or_else(|| Error::new(format!("partition `{}` has no number", wanted.name)))
}

/// Who deploys, for whoever finds the board taken.
pub(super) fn whoami() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain = |text: String| text.chars().filter(char::is_ascii_graphic).collect::<String>();
    format!("{}@{}", plain(user.unwrap_or_else(|| "somebody".to_string())), plain(host))
}

/// The time of the host, UTC: boards without a clock do not know it.
fn now() -> Result<String> {
    Ok(Cmd::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).check()?.text().trim().to_string())
}

/// Builds one module and reloads it on the boards.
pub fn deploy_module(
    build: &BuildOptions,
    options: &DeployOptions,
    name: &str,
    progress: &dyn Progress,
) -> Result<Report<Reloaded>> {
    module::check_name(name)?;
    let board = &build.board;
    let boot_partition = boot_partition(board)?;
    let _lock = build.workdir.lock(progress)?;
    // The key exchange of a slow board takes as long as a small compile: both at once.
    let by = whoami();
    let connect = |place: &Place| -> Result<(Remote, Held, String)> {
        deploy::with_slots(board, |slots| {
            let remote = Reach { host: &place.host, ssh: &options.ssh, slots, boot_partition }.open()?;
            let held = deploy::lock(&remote, &by)?;
            let facts = remote.peek()?;
            gate::check_machine(board, &facts.machine)
                .map_err(|error| error.context(format!("{}: cannot reload the module", place.host)))?;
            Ok((remote, held, facts.release))
        })
    };
    std::thread::scope(|scope| {
        let connections: Vec<_> = options.places.iter().map(|place| scope.spawn(|| connect(place))).collect();
        let file = build_module(build, name, progress)?;
        // One that hangs keeps no other waiting.
        let reloads: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                let file = file.clone();
                scope.spawn(move || {
                    let (remote, _held, release) = joined(connection)?;
                    module::reload(&remote, &file, name, &release)
                })
            })
            .collect();
        let results = reloads.into_iter().map(|reload| Some(joined(reload)));
        let fates = options.places.iter().cloned().zip(results);
        Ok(Report { fates: fates.map(|(place, result)| Fate { place, result }).collect() })
    })
}

/// What a thread came to.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::new("the thread of a board died")))
}

fn build_module(build: &BuildOptions, name: &str, progress: &dyn Progress) -> Result<PathBuf> {
    let shelf = Shelf::open()?;
    let known = shelf.peek(&build.board, progress)?;
    let Ok(sources) = known else {
        return Err(Error::new(format!("there is no build of board `{}`", build.board.name))
            .caused_by("one module is built inside a whole kernel build")
            .hint("`bimg deploy` once, without `--module`"));
    };
    let spec = facts::kernel_spec(build, &sources)?;
    let to = build.workdir.board_dir().join("module");
    kernel::build_module(&spec, name, &to, progress)
}

impl Done for Reloaded {
    const EVENT: Option<&'static str> = None;

    /// And the kernel's words.
    fn sentence(&self) -> String {
        let with = if self.dependents.is_empty() {
            String::new()
        } else {
            format!(", with {}", self.dependents.join(", "))
        };
        let mut out = format!("{} reloaded{with} in {:.2} s; until the next boot", self.module, self.seconds);
        for line in &self.dmesg {
            let _ = write!(out, "\n  {line}");
        }
        out
    }
}
