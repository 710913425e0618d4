//! `bimg target`: a board that is asked about its kernels, or told which one to boot.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::deploy::{boot_partition, json, whoami};
use crate::board::Board;
use crate::deploy::manage::{self, Row};
use crate::deploy::remote::{Reach, Remote};
use crate::deploy::{self, Place, console, gate, trial};
use crate::error::{Error, Exit, Result};
use crate::progress::Progress;
use crate::ssh::Options;
use crate::units::ByteSize;

/// Lines of a console that are shown.
const CONSOLE_LINES: usize = 100;

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

/// A kernel that is gone.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    host: String,
    removed: String,
}

impl Removed {
    /// JSON on one line.
    pub fn json(&self) -> Result<String> {
        json(self)
    }

    /// A sentence.
    pub fn text(&self) -> String {
        format!("{} is removed\n", self.removed)
    }
}

/// A board after a rollback.
#[derive(Debug, Clone, Serialize)]
pub struct RolledBack {
    host: String,
    running: String,
    release: String,
}

impl RolledBack {
    /// JSON on one line.
    pub fn json(&self) -> Result<String> {
        json(self)
    }

    /// A sentence.
    pub fn text(&self) -> String {
        format!("{}  runs {} ({})\n", self.host, self.release, self.running)
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

    /// `bimg target remove`.
    pub fn remove(&self, wanted: &str) -> Result<Removed> {
        self.with(|Reach { slots, .. }, remote| {
            let _held = deploy::lock(&remote, &whoami())?;
            let facts = remote.look(slots, &[], false)?;
            let removed = manage::remove(&remote, &facts, slots, wanted)?;
            Ok(Removed { host: self.place.host.to_string(), removed })
        })
    }

    /// `bimg target rollback`.
    pub fn rollback(&self, progress: &dyn Progress) -> Result<RolledBack> {
        self.with(|reach, remote| {
            let slots = reach.slots;
            let held = deploy::lock(&remote, &whoami())?;
            let facts = remote.look(slots, &[], false)?;
            let (state, name) = manage::rollback(&facts, slots)?;
            trial::write_state(&remote, slots, &state)?;
            drop(held);
            // The same command again would go back further.
            let told = |error: Error| {
                error.better_hint(format!("{name} is the default now: `bimg target status` shows what runs"))
            };
            progress.note(&format!("{}: rebooting into {name}", self.place.host));
            trial::reboot(&remote, "reboot").map_err(told)?;
            drop(remote);
            let time = Duration::from_secs(self.board.deploy.timeout);
            let (_, back) =
                trial::wait(reach, &facts.boot_id, Instant::now(), time, progress).map_err(told)?;
            let running = back.running().unwrap_or("image").to_string();
            if running == name {
                return Ok(RolledBack { host: self.place.host.to_string(), running, release: back.release });
            }
            Err(Error::new(format!("{} runs {running}, and {name} was to be started", self.place.host))
                .hint("`bimg target status` shows what its boot loader is told"))
        })
    }

    /// `bimg target console-log`: what is known of the last failed trial.
    pub fn console_log(&self, progress: &dyn Progress) -> Result<String> {
        let kept = self.with(|Reach { slots, .. }, remote| {
            let facts = remote.look(slots, &[], false)?;
            let failed =
                facts.deployments.iter().filter(|(_, it)| it.log).max_by_key(|(_, it)| it.since.clone());
            let id = failed.map_or("", |(id, _)| id.as_str());
            remote.run("read the log", include_str!("../deploy/remote/log.sh"), &[id])
        });
        // Of a board that is gone the console may be all there is; of a console that is not kept, the board.
        let said = self.place.console.as_ref().map(|path| console::said(path, 0, CONSOLE_LINES));
        let (text, missing) = match (kept, said) {
            (Ok(kept), None) => (kept, None),
            (Ok(kept), Some(Ok(said))) => (kept + &said, None),
            (Ok(kept), Some(Err(error))) if !kept.trim().is_empty() => (kept, Some(error)),
            (Err(error), Some(Ok(said))) if error.exit() == Exit::Unreachable => (said, Some(error)),
            (Ok(_), Some(Err(error))) | (Err(error), _) => return Err(error),
        };
        if let Some(error) = missing {
            progress.warn(&error.one_line());
        }
        if text.trim().is_empty() {
            return Err(Error::new(format!("{} keeps no log of a failed boot", self.place.host))
                .caused_by("no trial of a deployment has failed there, and its kernel has no pstore")
                .hint("`console-log` in hosts.toml names a file that its serial console is written to"));
        }
        Ok(text)
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
