//! The trial boot: armed, started, judged; then kept, or the board is back on what it ran before.
//!
//! ```text
//! arm -> reboot -> answers, another boot id
//!                  ├─ runs the new kernel, `uname -r` and checks hold -> good, default
//!                  ├─ runs the new kernel, a check fails              -> rebooted: the trial is used up
//!                  └─ runs the old kernel                             -> it took itself back
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::console;
use super::facts::Facts;
use super::remote::{Reach, Remote};
use crate::boot::{SlotId, SlotState, Slots};
use crate::error::{Error, Exit, Result};
use crate::exec::tail;
use crate::progress::{Progress, Unit};
use crate::ssh::Options;
use crate::{fsx, interrupt};

/// Time to shut down, and for the boot loader.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// Between two looks whether a board is back.
const PAUSE: Duration = Duration::from_millis(500);
/// The shortest time between checks that do not hold yet.
const AGAIN: Duration = Duration::from_secs(1);
/// The guard's last seconds are its own.
const MARGIN: Duration = Duration::from_secs(10);

/// How to reach and judge a board.
pub struct Trial<'a> {
    /// How to get to it.
    pub reach: Reach<'a>,
    /// Shell commands that must succeed.
    pub checks: &'a [String],
    /// Time for the trial boot, as the guard on the board has it.
    pub time: Duration,
    /// A file of the host's that the board's console is written to.
    pub console: Option<PathBuf>,
    /// Where the log of a failed trial goes.
    pub log: PathBuf,
    /// What listens.
    pub progress: &'a dyn Progress,
}

/// Writes what the boot loader is to start, and makes sure that it stays.
pub fn write_state(remote: &Remote, slots: &dyn Slots, state: &SlotState) -> Result<()> {
    for (path, sector) in slots.state(state) {
        remote.send("set what the boot loader starts", include_str!("remote/state.sh"), &[path], &sector)?;
    }
    Ok(())
}

/// Restarts the board. The connection breaks soon.
pub fn reboot(remote: &Remote, command: &str) -> Result<()> {
    // In the background, so that the answer still gets here; logind may end what a login leaves (`KillUserProcesses`).
    let text = format!("trap '' HUP TERM\nsync\n(sleep 1; {command}) >/dev/null 2>&1 </dev/null &\n");
    match remote.run("reboot the board", &text, &[]) {
        // A busy one is gone before it could answer.
        Err(error) if error.exit() == Exit::Unreachable => Ok(()),
        other => other.map(drop),
    }
}

/// Waits until the board answers from another boot than `old_boot`, for `time` from `start` on.
pub fn wait(
    reach: Reach<'_>,
    old_boot: &str,
    start: Instant,
    time: Duration,
    progress: &dyn Progress,
) -> Result<(Remote, Facts)> {
    let host = reach.host;
    let task = format!("{host}: waiting for the board");
    let total = time.as_secs();
    let impatient = Options { timeout: Duration::from_secs(5), ..reach.ssh.clone() };
    let reach = Reach { ssh: &impatient, ..reach };
    let mut last: Option<Error> = None;
    let mut same = false;
    while start.elapsed() < time {
        progress.count(&task, start.elapsed().as_secs().min(total - 1), Some(total), Unit::Items);
        match peek(reach) {
            Ok((remote, facts)) if facts.boot_id != old_boot => {
                progress.count(&task, total, Some(total), Unit::Items);
                return Ok((remote, facts));
            }
            Ok(_) => same = true,
            Err(error) if error.exit() == Exit::Interrupted => {
                return Err(Error::interrupted_in(format!("the boot of {host}")));
            }
            Err(error) => {
                same = false;
                last = Some(error);
            }
        }
        interrupt::check().map_err(|_| Error::interrupted_in(format!("the boot of {host}")))?;
        std::thread::sleep(PAUSE);
    }
    let seconds = time.as_secs();
    if same {
        return Err(Error::new(format!("{host} still runs as before after {seconds} s"))
            .caused_by("`reboot` had no effect there"));
    }
    let error = Error::new(format!("{host} is not back after {seconds} s")).with_exit(Exit::Unreachable);
    Err(match last {
        Some(cause) => error.caused_by(cause.chain().last().unwrap_or_default()),
        None => error,
    })
}

fn peek(reach: Reach<'_>) -> Result<(Remote, Facts)> {
    let remote = reach.open()?;
    let facts = remote.peek()?;
    Ok((remote, facts))
}

impl Trial<'_> {
    fn wait(&self, old_boot: &str, start: Instant, time: Duration) -> Result<(Remote, Facts)> {
        wait(self.reach, old_boot, start, time, self.progress)
    }

    /// Boots `id` once and judges it. `before`: the board as it was. Returns the board as it is then.
    pub fn run(&self, remote: Remote, id: &SlotId, release: &str, before: &Facts) -> Result<Remote> {
        let console = self.console_size();
        let default = before.slots(self.reach.slots).unwrap_or_default().default;
        let old = default.as_ref().map(SlotId::as_str);
        let old = if before.running() == old { old.unwrap_or("image") } else { "" };
        self.progress.note(&format!("{}: trial boot of {release} ({id})", self.reach.host));
        if before.deployments.get(id.as_str()).is_some_and(|it| it.log) {
            // Of an earlier trial.
            remote.run("remove a log", "rm -f \"$store/$1/log\"\n", &[id.as_str()])?;
        }
        write_state(
            &remote,
            self.reach.slots,
            &SlotState { default: default.clone(), trial: Some(id.clone()) },
        )?;
        let armed = "the trial is armed: the next boot of the board is going to be the new kernel's, once";
        reboot(&remote, self.reach.slots.reboot()).map_err(|error| error.hint(armed))?;
        drop(remote);
        let (start, time) = (Instant::now(), SHUTDOWN + self.time);
        match self.wait(&before.boot_id, start, time) {
            Ok((remote, facts)) if facts.running() == Some(id.to_string().as_str()) => {
                self.judge(remote, &facts, id, release, console, old)
            }
            Ok((remote, facts)) => {
                Err(self.rolled_back(&remote, id, &facts, "it did not get as far as SSH", console))
            }
            Err(error) if error.exit() == Exit::Unreachable => {
                self.progress
                    .note(&format!("{}: no answer; waiting for it to take itself back", self.reach.host));
                match self.wait(&before.boot_id, start, time * 2) {
                    Ok((remote, facts)) if facts.running() != Some(id.to_string().as_str()) => {
                        Err(self.rolled_back(&remote, id, &facts, "it was never reached by SSH", console))
                    }
                    Ok((remote, facts)) => self.judge(remote, &facts, id, release, console, old),
                    Err(error) => Err(self.lost(error, console)),
                }
            }
            Err(error) => Err(error.hint(armed)),
        }
    }

    /// Confirms the deployment that the board runs on trial, or sends it back. `before`: the default until now, if it ran.
    pub fn judge(
        &self,
        remote: Remote,
        facts: &Facts,
        id: &SlotId,
        release: &str,
        console: Option<u64>,
        before: &str,
    ) -> Result<Remote> {
        let verdict = if facts.release == release {
            self.check_all(&remote)
        } else {
            Err(Error::new(format!("`uname -r` says {}, and {release} was deployed", facts.release)))
        };
        let confirm = || {
            let args = [id.as_str(), facts.boot_id.as_str(), before];
            remote.run("confirm the new kernel", include_str!("remote/good.sh"), &args)
        };
        let confirmed = match verdict {
            Ok(()) => match confirm() {
                // Nobody knows how far that got.
                Err(error) if error.exit() == Exit::Unreachable => return Err(error),
                other => other.map(drop),
            },
            Err(error) => Err(error),
        };
        let why = match confirmed {
            Ok(()) => {
                let kept = SlotState { default: Some(id.clone()), trial: None };
                write_state(&remote, self.reach.slots, &kept)?;
                return Ok(remote);
            }
            Err(error) if error.exit() == Exit::Interrupted => return Err(error),
            Err(error) => error.one_line(),
        };
        self.progress.warn(&format!("{}: {why}; going back", self.reach.host));
        // The trial is used up: any boot is the old kernel's.
        if let Err(error) = reboot(&remote, "reboot") {
            self.progress.warn(&format!("{}: {}", self.reach.host, error.chain().next().unwrap_or_default()));
        }
        drop(remote);
        match self.wait(&facts.boot_id, Instant::now(), SHUTDOWN + self.time * 2) {
            Ok((remote, back)) => Err(self.rolled_back(&remote, id, &back, &why, console)),
            Err(error) => Err(self.lost(error, console)),
        }
    }

    /// Every check holds within the trial's time. One that cannot be found fails at once.
    fn check_all(&self, remote: &Remote) -> Result<()> {
        let deadline = Instant::now() + self.time.saturating_sub(MARGIN) / 2;
        for check in self.checks {
            loop {
                let output = remote.command(check)?;
                let status = output.status.code().unwrap_or(-1);
                if status == 0 {
                    self.progress.note(&format!("{}: `{check}` holds", self.reach.host));
                    break;
                }
                if status == 127 || Instant::now() >= deadline {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &output.text();
                    let error = Error::new(format!("check `{check}` fails with status {status}"));
                    let said = tail(said.trim(), 1);
                    return Err(if said.is_empty() { error } else { error.caused_by(said) });
                }
                interrupt::check()?;
                std::thread::sleep(AGAIN);
            }
        }
        Ok(())
    }

    fn console_size(&self) -> Option<u64> {
        std::fs::metadata(self.console.as_ref()?).ok().map(|meta| meta.len())
    }

    /// The board runs, and not what was deployed.
    fn rolled_back(
        &self,
        remote: &Remote,
        id: &SlotId,
        facts: &Facts,
        why: &str,
        console: Option<u64>,
    ) -> Error {
        let name = id.to_string();
        let mut text = remote
            .run("read the log of the trial", include_str!("remote/log.sh"), &[&name])
            .unwrap_or_else(|error| format!("{error}\n"));
        text.push_str(&self.console_text(console));
        let running =
            facts.running().map_or("the kernel of its image".to_string(), |id| format!("deployment {id}"));
        let mut error =
            Error::new(format!("{}: the new kernel {name} did not pass its trial", self.reach.host))
                .caused_by(why)
                .caused_by(format!("the board is back on Linux {}, {running}", facts.release))
                .with_exit(Exit::RolledBack);
        if let Some(line) = text.lines().rev().find(|line| line.contains("Kernel panic")) {
            error = error.caused_by(line.trim().to_string());
        }
        self.keep(error, &text)
    }

    /// Nobody answers any more.
    fn lost(&self, error: Error, console: Option<u64>) -> Error {
        let text = self.console_text(console);
        self.keep(error, &text).hint(
            "the board's default is the old kernel: a reset or a power cycle boots it; docs/deploy.md says which boards do that by themselves",
        )
    }

    fn keep(&self, error: Error, text: &str) -> Error {
        if text.trim().is_empty() {
            return error;
        }
        let kept = self
            .log
            .parent()
            .map_or(Ok(()), fsx::create_dir_all)
            .and_then(|()| fsx::write_atomic(&self.log, text.as_bytes()));
        if kept.is_ok() { error.log(fsx::from_here(&self.log)) } else { error }
    }

    /// What the board's console said since the trial was armed.
    fn console_text(&self, from: Option<u64>) -> String {
        let (Some(from), Some(path)) = (from, &self.console) else { return String::new() };
        console::said(path, from, usize::MAX).unwrap_or_default()
    }
}
