//! `bimg deploy` and `bimg target`: a build, and the boards that get it or are asked about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::build::{Runner, compile};
use super::sources::Shelf;
use super::{BuildOptions, Stage, facts, image};
use crate::board::{Board, Content as Holds};
use crate::deploy::fleet::{self, Fate, Pace};
use crate::deploy::manage::{self, Row};
use crate::deploy::module::{self, Reloaded};
use crate::deploy::payload::{Parts, Reading};
use crate::deploy::remote::{Reach, Remote};
use crate::deploy::trial;
use crate::deploy::{self, Deployed, Job, Outcome, Place, gate};
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
                    writeln!(out, "{host}  failed: {}", error.one_line())
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

fn json(value: &impl Serialize) -> Result<String> {
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
fn boot_partition(board: &Board) -> Result<u32> {
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
fn whoami() -> String {
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
    let connect = |place: &Place| -> Result<(Remote, String)> {
        deploy::with_slots(board, |slots| {
            let remote = Reach { host: &place.host, ssh: &options.ssh, slots, boot_partition }.open()?;
            let release = remote.run("ask what it runs", "uname -r\n", &[])?.trim().to_string();
            Ok((remote, release))
        })
    };
    std::thread::scope(|scope| {
        let connections: Vec<_> = options.places.iter().map(|place| scope.spawn(|| connect(place))).collect();
        let file = build_module(build, name, progress);
        let connections = connections
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|_| Err(Error::new("a connecting thread died"))));
        let file = file?;
        let reload = |(remote, release): (Remote, String)| module::reload(&remote, &file, name, &release);
        let results = connections.map(|connection| Some(connection.and_then(reload)));
        let fates = options.places.iter().cloned().zip(results);
        Ok(Report { fates: fates.map(|(place, result)| Fate { place, result }).collect() })
    })
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

/// A board to be asked or told something.
pub struct TargetOptions {
    /// The profile.
    pub board: Board,
    /// Where it is.
    pub place: Place,
    /// How to connect.
    pub ssh: Options,
}

/// What a board is and runs.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    host: String,
    model: Option<String>,
    machine: String,
    release: String,
    version: String,
    running: String,
    default: String,
    trial: Option<String>,
    on_trial: bool,
    boot_chain: String,
    boot_filesystem: Option<String>,
    free_boot: Option<u64>,
    free_root: Option<u64>,
    uptime: u64,
    leftovers: Vec<String>,
    /// What keeps it from being deployed to.
    problem: Option<String>,
}

impl Status {
    /// JSON on one line.
    pub fn json(&self) -> Result<String> {
        json(self)
    }

    /// A line per fact.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "{key:<10} {value}");
        };
        let free = |size: Option<u64>| size.map_or("unknown".to_string(), |size| ByteSize(size).to_string());
        line("host", &self.host);
        line("board", self.model.as_deref().unwrap_or("(no device tree)"));
        line("machine", &self.machine);
        line("kernel", &format!("{} {}", self.release, self.version));
        line("running", &format!("{}{}", self.running, if self.on_trial { ", on trial" } else { "" }));
        line("default", &self.default);
        if let Some(trial) = &self.trial {
            line("next boot", &format!("{trial}, once"));
        }
        line(
            "boot",
            &format!(
                "{} on {}",
                self.boot_chain,
                self.boot_filesystem.as_deref().unwrap_or("no filesystem that was found")
            ),
        );
        line(
            "free",
            &format!("{} for boot files, {} for modules", free(self.free_boot), free(self.free_root)),
        );
        line("up", &format!("{} s", self.uptime));
        if !self.leftovers.is_empty() {
            line(
                "left",
                &format!(
                    "{} of interrupted deploys; the next deploy goes on or removes them",
                    self.leftovers.join(", ")
                ),
            );
        }
        if let Some(problem) = &self.problem {
            line("problem", problem);
        }
        out
    }
}

impl TargetOptions {
    fn with<T>(&self, work: impl FnOnce(Reach<'_>, Remote) -> Result<T>) -> Result<T> {
        deploy::with_slots(&self.board, |slots| {
            let boot_partition = boot_partition(&self.board)?;
            let reach = Reach { host: &self.place.host, ssh: &self.ssh, slots, boot_partition };
            work(reach, reach.open()?)
        })
    }

    /// `bimg target status`.
    pub fn status(&self) -> Result<Status> {
        self.with(|Reach { slots, .. }, remote| {
            let facts = remote.look(slots, &[], false)?;
            let state = facts.slots(slots).unwrap_or_default();
            let name = |id: Option<String>| id.unwrap_or_else(|| "image".to_string());
            let problem = gate::check_board(&self.board, &[], slots, &facts).err();
            Ok(Status {
                host: self.place.host.to_string(),
                model: facts.model.clone(),
                machine: facts.machine.clone(),
                release: facts.release.clone(),
                version: facts.version.clone(),
                running: name(facts.running().map(str::to_string)),
                default: name(state.default.map(|id| id.to_string())),
                trial: state.trial.map(|id| id.to_string()),
                on_trial: facts.on_trial().is_some(),
                boot_chain: self.board.boot.chain.to_string(),
                boot_filesystem: facts.boot_device.clone(),
                free_boot: facts.free_boot.map(|size| size.0),
                free_root: facts.free_root.map(|size| size.0),
                uptime: facts.uptime,
                leftovers: facts.leftovers.iter().cloned().collect(),
                problem: problem.map(|error| error.one_line()),
            })
        })
    }

    /// `bimg target list`.
    pub fn list(&self) -> Result<Vec<Row>> {
        self.with(|Reach { slots, .. }, remote| Ok(manage::rows(&remote.look(slots, &[], false)?, slots)))
    }

    /// `bimg target remove`: the ID.
    pub fn remove(&self, wanted: &str) -> Result<String> {
        self.with(|Reach { slots, .. }, remote| {
            let _held = deploy::lock(&remote, &whoami())?;
            let facts = remote.look(slots, &[], false)?;
            manage::remove(&remote, &facts, slots, wanted)
        })
    }

    /// `bimg target rollback`: what runs then.
    pub fn rollback(&self, progress: &dyn Progress) -> Result<String> {
        self.with(|reach, remote| {
            let slots = reach.slots;
            let held = deploy::lock(&remote, &whoami())?;
            let facts = remote.look(slots, &[], false)?;
            let (state, name) = manage::rollback(&facts, slots)?;
            trial::write_state(&remote, slots, &state)?;
            drop(held);
            progress.note(&format!("{}: rebooting into {name}", self.place.host));
            trial::reboot(&remote, "reboot")?;
            drop(remote);
            let time = Duration::from_secs(self.board.deploy.timeout);
            let (_, back) = trial::wait(reach, &facts.boot_id, Instant::now(), time, progress)?;
            let running = back.running().unwrap_or("image");
            if running == name {
                return Ok(format!("{}  runs {} ({name})", self.place.host, back.release));
            }
            Err(Error::new(format!("{} runs {running}, and {name} was to be started", self.place.host))
                .hint("`bimg target status` shows what its boot loader is told"))
        })
    }

    /// `bimg target console-log`: what is known of the last failed trial.
    pub fn console_log(&self) -> Result<String> {
        self.with(|Reach { slots, .. }, remote| {
            let facts = remote.look(slots, &[], false)?;
            let failed =
                facts.deployments.iter().filter(|(_, it)| it.log).max_by_key(|(_, it)| it.since.clone());
            let id = failed.map_or("", |(id, _)| id.as_str());
            let mut text = remote.run("read the log", include_str!("../deploy/remote/log.sh"), &[id])?;
            if let Some(path) = &self.place.console {
                let bytes = crate::fsx::read(path)?;
                let said = String::from_utf8_lossy(&bytes);
                let _ = write!(
                    text,
                    "from the console, {}:\n{}\n",
                    path.display(),
                    crate::exec::tail(&said, 100)
                );
            }
            if text.trim().is_empty() {
                return Err(Error::new(format!("{} keeps no log of a failed boot", self.place.host))
                    .caused_by("no trial of a deployment has failed there, and its kernel has no pstore")
                    .hint("`console-log` in hosts.toml names a file that its serial console is written to"));
            }
            Ok(text)
        })
    }
}

/// The kernels of a board, as a table.
pub fn rows_text(rows: &[Row]) -> String {
    let mut out = format!("{:<12}  {:<24} {:<20} {:>9}  state\n", "id", "release", "since", "size");
    for row in rows {
        let flags = [
            (row.running, "running"),
            (row.default, "default"),
            (row.trial, "trial"),
            (row.failed, "failed"),
            (!row.good && !row.failed && !row.trial, "never tried"),
        ];
        let mut state: Vec<&str> = flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        if state.is_empty() {
            state.push("good");
        }
        let _ = writeln!(
            out,
            "{:<12}  {:<24} {:<20} {:>9}  {}",
            row.id,
            row.release.as_deref().unwrap_or("-"),
            row.since.as_deref().unwrap_or("-"),
            row.size.map_or("-".to_string(), |size| ByteSize(size).to_string()),
            state.join(", ")
        );
    }
    out
}

/// JSON lines.
pub fn rows_json(rows: &[Row]) -> Result<String> {
    rows.iter().map(json).collect()
}
