//! A new kernel on a running board, and the old one back by itself when it does not come up.
//!
//! ```text
//! Built + Facts (look) -> gate -> Payload (named by its content) -> Delta -> transfer -> trial -> default
//! ```
//!
//! 1. [`facts`]: one script tells all about the board. Nothing is written.
//! 2. [`gate`]: what would not boot is found before the first byte moves.
//! 3. [`payload`]: the kernel's files with their hashes; the `SlotId` follows from them.
//! 4. [`transfer`]: what the board lacks, under a side name, checked there, renamed.
//! 5. [`trial`]: booted once; kept only when it answers and every check holds.
//!
//! On the board, everything that a deployment has lies in directories of its own and is never changed:
//!
//! ```text
//! BOOT/bimg/ID/            command line, on the filesystem of the boot loader
//! BOOT/bimg/kernels/NAME/  kernel and device trees, shared by deployments (where the boot chain can; else in ID/ too)
//! /lib/modules/.bimg/ID/   modules/, init (binds them over /lib/modules/RELEASE), files, info, stamp, good, log
//! ```
//!
//! So the running kernel keeps its modules even when the new one has the same release.

pub mod console;
pub mod facts;
pub mod fleet;
pub mod gate;
pub mod hosts;
pub mod manage;
pub mod module;
pub mod pack;
pub mod payload;
pub mod remote;
pub mod spec;
pub mod target;
pub mod transfer;
pub mod trial;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::facts::Facts;
use self::payload::{Entry, Parts, Payload, Reading, Recipe};
use self::remote::{Reach, Remote};
use self::transfer::{Delta, Transfer};
use self::trial::Trial;
use crate::board::Board;
use crate::boot::{self, BootInput, SlotDirs, SlotId, SlotState, Slots};
use crate::error::{Error, Exit, Result};
use crate::progress::Progress;
use crate::ssh::{Host, Options, Staying};

/// What is deployed, and how; the same for every board of a fleet.
pub struct Job<'a> {
    /// The profile.
    pub board: &'a Board,
    /// Number of the partition that the boot loader reads, among those of its disk.
    pub boot_partition: u32,
    /// The build.
    pub built: &'a Reading<'a>,
    /// Input of the boot chain, with the profile's command line.
    pub input: BootInput<'a>,
    /// Which parts come from the build.
    pub parts: Parts,
    /// How to connect.
    pub ssh: Options,
    /// Health commands, run on the board.
    pub checks: Vec<String>,
    /// Bring it there, and leave it.
    pub no_reboot: bool,
    /// Tell what would be done.
    pub dry_run: bool,
    /// Who deploys: `user@host`.
    pub by: String,
    /// Now, UTC, as `info` has it.
    pub now: String,
    /// Directory for logs of failed trials.
    pub logs: PathBuf,
}

/// One board and what is known about it beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub host: Host,
    /// File that its console is written to.
    pub console: Option<PathBuf>,
}

/// What a deploy ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs, and is the default.
    Default,
    /// It was the default and running already.
    Unchanged,
    /// It is there, and was not started.
    Installed,
    /// Nothing was done: `--dry-run`.
    Planned,
}

/// A deploy that did not fail.
#[derive(Debug, Clone, Serialize)]
pub struct Deployed {
    /// Where.
    pub host: String,
    /// What.
    pub id: String,
    /// Its `uname -r`.
    pub release: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Files sent.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes sent for them, packed.
    pub wire: u64,
    /// Seconds for everything.
    pub seconds: f64,
}

/// The slots of a board's boot chain; the chains that have none cannot boot a kernel once.
pub fn with_slots<T>(board: &Board, work: impl FnOnce(&dyn Slots) -> Result<T>) -> Result<T> {
    let chain = boot::chain(&board.boot)?;
    let slots = chain.slots().ok_or_else(|| {
        Error::usage(format!("boot chain `{}` cannot boot a kernel once", board.boot.chain))
            .hint("on boards with U-Boot use the chain `uboot-script`")
    })?;
    work(&*slots)
}

/// A board's lock, held as long as this lives.
pub struct Held(#[expect(dead_code, reason = "keeps the script on the board waiting")] Staying);

/// Takes the board for this process alone.
pub fn lock(remote: &Remote, by: &str) -> Result<Held> {
    let (staying, line) = remote.stay(include_str!("remote/lock.sh"), &[by])?;
    if line == "taken" {
        return Ok(Held(staying));
    }
    let host = remote.session().host();
    // Who has taken it just now has yet to say so.
    let held = line.strip_prefix("held").map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
    match held.map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
        Some((since, by)) => Err(Error::new(format!("{host} is being deployed to already"))
            .caused_by(format!(
                "by {}, since {}",
                if by.is_empty() { "somebody" } else { by },
                if since.is_empty() { "just now" } else { since }
            ))
            .hint("wait until that has ended; the lock goes with its connection")),
        None => Err(Error::new(format!("{host}: cannot take the board's lock")).caused_by(line)),
    }
}

/// Deploys to one board.
pub fn deploy(place: &Place, job: &Job<'_>, progress: &dyn Progress) -> Result<Deployed> {
    with_slots(job.board, |slots| {
        let phase = Cell::new(CONNECTION);
        let reach = Reach { host: &place.host, ssh: &job.ssh, slots, boot_partition: job.boot_partition };
        let one = One { place, job, reach, start: Instant::now(), phase, progress };
        one.run().map_err(|error| one.told(error))
    })
}

/// What is being done, as a failure calls it.
const CONNECTION: &str = "the connection to";
const LOOK: &str = "the look at";
const TRANSFER: &str = "the transfer to";
const TRIAL: &str = "the trial boot of";

struct One<'a> {
    place: &'a Place,
    job: &'a Job<'a>,
    reach: Reach<'a>,
    start: Instant,
    phase: Cell<&'static str>,
    progress: &'a dyn Progress,
}

impl One<'_> {
    fn run(&self) -> Result<Deployed> {
        let need = self.job.built.need();
        let remote = self.reach.open()?;
        // Until the end: the board's own lock goes with the connection, which a reboot ends.
        let _held = if self.job.dry_run { None } else { Some(lock(&remote, &self.job.by)?) };
        self.phase.set(LOOK);
        let mut facts = remote.look(self.reach.slots, &self.images(), true)?;
        let dtbs = &self.job.input.dtbs;
        gate::check_board(self.job.board, dtbs, self.reach.slots, &facts)?;
        gate::check_once(&remote, self.reach.slots)?;
        self.check_parts(&facts)?;
        let recipe = Recipe {
            parts: self.job.parts,
            input: self.job.input.clone(),
            trial: self.job.board.deploy.timeout,
        };
        let payload = Payload::new(self.job.built.get()?, &recipe, self.reach.slots, &facts)?;
        let id = payload.id.to_string();
        let default = facts.slots(self.reach.slots).unwrap_or_default().default;
        if let Some(seconds) = facts.on_trial() {
            if facts.running() != Some(&id) {
                return Err(on_trial(&self.place.host, &facts, seconds));
            }
            if self.job.dry_run || self.job.no_reboot {
                let outcome = if self.job.dry_run { Outcome::Planned } else { Outcome::Installed };
                return Ok(self.deployed(&payload, outcome, &Delta::default(), 0));
            }
            self.progress.note(&format!("{}: {id} runs on trial: going on there", self.place.host));
            drop(need);
            self.phase.set(TRIAL);
            let old = default.as_ref().map_or("image", SlotId::as_str);
            self.trial().judge(remote, &facts, &payload.id, &payload.release, None, old)?;
            return Ok(self.deployed(&payload, Outcome::Default, &Delta::default(), 0));
        }
        self.check_commands(&remote)?;
        let is_default = default.as_ref() == Some(&payload.id);
        // Damaged, perhaps, but what the board starts from.
        let in_use =
            |id: &str| facts.running() == Some(id) || default.as_ref().is_some_and(|it| it.as_str() == id);
        if is_default && facts.running() == Some(&id) {
            self.warn_of_touched(&payload, &facts);
            return Ok(self.deployed(&payload, Outcome::Unchanged, &Delta::default(), 0));
        }
        let good_boot = facts.deployments.get(&id).and_then(|it| it.good_boot.as_ref());
        if facts.running() == Some(&id) && good_boot == Some(&facts.boot_id) && !self.job.dry_run {
            // Cut between the last two steps.
            let state = SlotState { default: Some(payload.id.clone()), trial: None };
            trial::write_state(&remote, self.reach.slots, &state)?;
            return Ok(self.deployed(&payload, Outcome::Default, &Delta::default(), 0));
        }
        // Beside a whole deployment it is what was not removed in time: no reason to remove both.
        let whole = |id: &str| facts.deployments.get(id).is_some_and(|it| !it.boot_missing);
        // Old ones are here as well when the last deploys failed, or started nothing.
        let old = self.old(&facts, &id);
        let stale: Vec<&str> = facts
            .leftovers
            .iter()
            .map(String::as_str)
            .filter(|left| *left != id && !in_use(left) && !whole(left))
            .chain(old.iter().map(String::as_str))
            .collect();
        let unused = facts.unused_kernels.iter().any(|kernel| kernel != payload.kernel.as_str());
        let left = unused || !stale.is_empty();
        if left && !self.job.dry_run {
            self.phase.set(TRANSFER);
            let what = "remove old deployments and what interrupted ones left";
            manage::clear(&remote, what, payload.kernel.as_str(), &stale)?;
            // There is more room now.
            facts = self.look_again(&remote, facts)?;
            gate::check_board(self.job.board, dtbs, self.reach.slots, &facts)?;
        }
        let mut wire = 0;
        let compare = |facts: &Facts| -> Result<Delta> {
            Ok(Delta::new(&payload, facts, &transfer::arrived(&remote, &payload, facts)?))
        };
        let mut delta = compare(&facts)?;
        if facts.deployments.contains_key(&id) && !delta.root_done && !self.job.dry_run {
            self.phase.set(TRANSFER);
            manage::clear(&remote, "remove what is damaged", payload.kernel.as_str(), &[&id])?;
            facts = self.look_again(&remote, facts)?;
            delta = compare(&facts)?;
        }
        let there = delta.boot_done && delta.root_done;
        if !there {
            if left && self.job.dry_run {
                self.progress.note(&format!(
                    "{}: old deployments, and what interrupted ones left, go before the room is checked",
                    self.place.host
                ));
            } else {
                gate::check_room(&payload, &delta, &facts)?;
            }
        }
        if self.job.dry_run {
            return Ok(self.deployed(&payload, Outcome::Planned, &delta, 0));
        }
        self.phase.set(TRANSFER);
        if !there {
            let transfer = Transfer {
                remote: &remote,
                payload: &payload,
                delta: &delta,
                facts: &facts,
                info: self.info(&payload, &facts),
                task: format!("{}: sending", self.place.host),
            };
            wire = transfer.run(self.progress)?;
        }
        if self.job.no_reboot {
            return Ok(self.deployed(&payload, Outcome::Installed, &delta, wire));
        }
        // A trial takes minutes: others may build meanwhile.
        drop(need);
        self.phase.set(TRIAL);
        let remote = self.trial().run(remote, &payload.id, &payload.release, &facts)?;
        self.prune(&remote, &id);
        Ok(self.deployed(&payload, Outcome::Default, &delta, wire))
    }

    /// Boot files of the image's kernel that may be taken over, with what they are called in a deployment.
    fn images(&self) -> Vec<(String, String)> {
        let dirs = SlotDirs::blank();
        let files = self.reach.slots.files(&self.job.input, &dirs, "").unwrap_or_default();
        let names = files.iter().filter_map(|file| payload::boot_path(file.path.as_str(), &dirs).ok());
        names.filter_map(|name| Some((name.split_once('/')?.1.to_string(), name))).collect()
    }

    /// After something was removed. The files of what runs are not read once more.
    fn look_again(&self, remote: &Remote, before: Facts) -> Result<Facts> {
        Ok(Facts { base: before.base, ..remote.look(self.reach.slots, &[], false)? })
    }

    /// A part alone fits only the kernel that runs.
    fn check_parts(&self, facts: &Facts) -> Result<()> {
        let release = self.job.built.release();
        if self.job.parts == Parts::ALL || facts.release == release {
            return Ok(());
        }
        Err(Error::new(format!("the board runs Linux {}, and the build is {release}", facts.release))
            .caused_by("a part of a kernel fits only the rest of it")
            .hint("deploy the whole kernel: without `--kernel-only`, `--modules-only`, `--dtb-only`"))
    }

    /// A health command that is not on the board fails any kernel.
    fn check_commands(&self, remote: &Remote) -> Result<()> {
        for check in &self.job.checks {
            let word = check.split_whitespace().next().unwrap_or_default();
            // Words with a meaning to the shell are its own affair.
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+".contains(c)) {
                continue;
            }
            let output = remote.command(&format!("command -v {word} >/dev/null"))?;
            if !output.status.success() {
                return Err(Error::usage(format!("{} has no command `{word}`", self.place.host))
                    .caused_by(format!("the check `{check}` would fail with any kernel"))
                    .hint("checks are shell commands that run on the board: `--check`, `deploy.checks`"));
            }
        }
        Ok(())
    }

    fn trial(&self) -> Trial<'_> {
        let name: String =
            self.place.host.to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        Trial {
            reach: self.reach,
            checks: &self.job.checks,
            time: Duration::from_secs(self.job.board.deploy.timeout),
            console: self.place.console.clone(),
            log: self.job.logs.join(format!("deploy-{name}.log")),
            progress: self.progress,
        }
    }

    fn info(&self, payload: &Payload, facts: &Facts) -> String {
        format!(
            "release={}\nboard={}\nsince={}\nby={}\nsize={}\nimage={}\n",
            payload.release,
            self.job.board.name,
            self.job.now,
            self.job.by,
            payload.size(),
            facts.image_release().unwrap_or_default()
        )
    }

    fn deployed(&self, payload: &Payload, outcome: Outcome, delta: &Delta, wire: u64) -> Deployed {
        Deployed {
            host: self.place.host.to_string(),
            id: payload.id.to_string(),
            release: payload.release.clone(),
            outcome,
            files: delta.send.len(),
            bytes: delta.bytes,
            wire,
            seconds: self.start.elapsed().as_secs_f64(),
        }
    }

    /// What runs cannot be replaced: somebody's own modules in it stay.
    fn warn_of_touched(&self, payload: &Payload, facts: &Facts) {
        let differs = |it: &Entry| facts.base.files.get(&it.path) != Some(&it.sha256);
        let modules = payload.entries.iter().filter_map(|it| Some((it.path.strip_prefix("modules/")?, it)));
        // Lists of modules are made anew by boards that run depmod when they start.
        let touched: Vec<&str> =
            modules.filter(|(path, it)| path.contains('/') && differs(it)).map(|(path, _)| path).collect();
        if let Some(first) = touched.first() {
            let more =
                if touched.len() == 1 { String::new() } else { format!(" and {} more", touched.len() - 1) };
            self.progress.warn(&format!(
                "{}: `{first}`{more} of the running deployment {} was changed on the board; \
                 `bimg target rollback` and another deploy bring back what was built",
                self.place.host, payload.id
            ));
        }
    }

    /// Deployments beyond those that stay, besides `id`; they are told of.
    fn old(&self, facts: &Facts, id: &str) -> Vec<String> {
        let mut old = manage::superfluous(facts, self.reach.slots, self.job.board.deploy.keep);
        old.retain(|old| old != id);
        if !old.is_empty() && !self.job.dry_run {
            self.progress.note(&format!("{}: removing old deployments: {}", self.place.host, old.join(", ")));
        }
        old
    }

    /// Old deployments go once the new one is the default. Failing at that fails nothing else.
    fn prune(&self, remote: &Remote, id: &str) {
        let prune = || -> Result<()> {
            let facts = remote.look(self.reach.slots, &[], false)?;
            let old = self.old(&facts, id);
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            if old.is_empty() { Ok(()) } else { manage::clear(remote, "remove old deployments", "", &old) }
        };
        if let Err(error) = prune() {
            self.progress.warn(&format!("old deployments stay: {}", error.one_line()));
        }
    }

    /// A failure, with what it means for the board.
    fn told(&self, error: Error) -> Error {
        let (host, phase) = (&self.place.host, self.phase.get());
        let goes_on = "the same command goes on from there";
        if error.exit() == Exit::Interrupted {
            let error = Error::interrupted_in(format!("{phase} {host}"));
            return if phase == TRIAL {
                error.better_hint(
                    "the board goes back to its old kernel by itself unless the same command confirms the new one in time",
                )
            } else {
                error
            };
        }
        let error = if error.exit() == Exit::Unreachable && phase == TRANSFER {
            error.hint(format!("the board boots what it booted before, and keeps what arrived: {goes_on}"))
        } else {
            error
        };
        error.context(format!("deploy to {host} failed"))
    }
}

/// The refusal while a trial goes on.
fn on_trial(host: &Host, facts: &Facts, seconds: u64) -> Error {
    let id = facts.running().unwrap_or_default();
    let left = seconds.saturating_sub(facts.uptime);
    let by = facts
        .deployments
        .get(id)
        .map_or(String::new(), |it| format!(", brought by {} at {}", it.by, it.since));
    Error::new(format!("{host} is on the trial boot of another kernel"))
        .caused_by(format!("{id}{by}"))
        .hint(format!("it goes back by itself in {left} s unless its deploy confirms it; `bimg target rollback` does so at once"))
}
