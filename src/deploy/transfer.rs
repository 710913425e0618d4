//! Brings a deployment's files to a board: only what it does not have, packed, several parts at once.
//!
//! ```text
//! Payload - Base - what an interrupted deploy left -> parts -> packed tars -> part.sh ... root.sh | boot.sh
//! ```
//!
//! Everything arrives below `ID.partial`. The board syncs, checks every hash, and renames. Part after part, so that one is
//! written to the card and read back while the next is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::facts::{self, Facts};
use super::pack::{Count, Half, pack};
use super::payload::{Entry, Payload, in_boot, kernel_name};
use super::remote::Remote;
use crate::boot::SlotId;
use crate::digest::Digest;
use crate::error::{Error, Exit, Result};
use crate::kernel::packed;
use crate::progress::Progress;

/// Bytes of a part, unpacked: enough that a session more for each costs nothing, and little enough that a board's
/// card and processor begin early.
const PART: u64 = 32 << 20;
/// Parts on their way at once: one that arrives, one that is written, one that is checked.
const AT_ONCE: usize = 3;
/// What the board cannot do when a half fails.
const MODULES: &str = "take the modules";
const KERNEL: &str = "take the kernel";

/// What is sent, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Paths to send.
    pub send: BTreeSet<String>,
    /// Paths that are linked or copied on the board.
    pub keep: BTreeSet<String>,
    /// Paths below `modules/` of the base that do not belong to this deployment, or differ.
    pub remove: BTreeSet<String>,
    /// Paths that an interrupted deploy brought.
    pub arrived: BTreeSet<String>,
    /// Those of `keep` on the root filesystem of which an interrupted deploy brought a half.
    pub halves: BTreeSet<String>,
    /// Bytes to send, unpacked.
    pub bytes: u64,
    /// The kernel that deployments share is in place.
    pub kernel_done: bool,
    /// Boot files are all in place under their final name.
    pub boot_done: bool,
    /// So are those of the root filesystem.
    pub root_done: bool,
}

impl Delta {
    /// Compares. `arrived`: hashes of what an interrupted deploy left.
    pub fn new(payload: &Payload, facts: &Facts, arrived: &BTreeMap<String, Digest>) -> Delta {
        let base = &facts.base.files;
        let whole = |dir: &str| {
            let mut files = payload.entries.iter().filter(|it| it.path.starts_with(dir));
            files.all(|it| arrived.get(&format!("whole/{}", it.path)) == Some(&it.sha256))
        };
        let running = running_kernel(facts);
        let shares = running.as_ref() == Some(&payload.kernel);
        let here = facts.deployments.contains_key(payload.id.as_str());
        // What runs was read by the boot loader, and is good. The second attempt looks whether it is still.
        let kernel_done = (shares && !here) || whole("kernel/");
        // What runs is not looked into: it cannot be replaced.
        let runs = facts.running() == Some(payload.id.as_str());
        let root_done = here && (runs || whole_root(payload, arrived));
        let boot_done = kernel_done && whole("boot/");
        let mut delta = Delta { kernel_done, boot_done, root_done, ..Delta::default() };
        let has_source = facts.base.id.is_none() || (running.is_some() && !shares);
        for entry in &payload.entries {
            let path = entry.path.as_str();
            // Whether it is in place, and whether it may be taken over.
            let (done, shared) = match path.split_once('/') {
                Some(("kernel", _)) => (kernel_done, has_source),
                Some(("boot", _)) => (boot_done, true),
                Some(("modules", _)) => (root_done, true),
                // Of the running deployment; what else is its own holds its name.
                _ => (root_done, path == "config"),
            };
            if done {
                delta.keep.insert(entry.path.clone());
            } else if arrived.get(path) == Some(&entry.sha256) {
                delta.arrived.insert(entry.path.clone());
            } else if base.get(path) == Some(&entry.sha256) && shared {
                // What is copied to the boot partition is written over it.
                if arrived.contains_key(path) && !in_boot(path) {
                    delta.halves.insert(entry.path.clone());
                }
                delta.keep.insert(entry.path.clone());
            } else {
                delta.bytes += entry.size;
                delta.send.insert(entry.path.clone());
            }
        }
        let kept = |path: &String| delta.keep.contains(path);
        delta.remove =
            base.keys().filter(|path| path.starts_with("modules/") && !kept(path)).cloned().collect();
        delta
    }
}

/// Whether a deployment has its half on the root filesystem as it was brought: no module was touched since.
fn whole_root(payload: &Payload, arrived: &BTreeMap<String, Digest>) -> bool {
    let is = |path: &str, hash: Digest| arrived.get(&format!("whole/{path}")) == Some(&hash);
    let mut own = payload.entries.iter().filter(|it| !it.path.contains('/'));
    is("files", Digest::of(payload.manifest().as_bytes())) && own.all(|it| is(&it.path, it.sha256))
}

/// The kernel of the running deployment, if the boot partition has it still.
fn running_kernel(facts: &Facts) -> Option<SlotId> {
    facts.base.id.as_ref()?;
    let kernel = kernel_name(facts.base.files.iter().map(|(path, hash)| (path.as_str(), *hash)));
    facts.kernels.contains(&kernel).then_some(kernel)
}

/// What a board has of the deployment, of an interrupted deploy of it, or of another one with the same kernel.
pub fn arrived(remote: &Remote, payload: &Payload, facts: &Facts) -> Result<BTreeMap<String, Digest>> {
    let kernel = &payload.kernel;
    let unseen = facts.kernels.contains(kernel) && running_kernel(facts).as_ref() != Some(kernel);
    if !unseen
        && !facts.deployments.contains_key(payload.id.as_str())
        && !facts.unused_kernels.contains(kernel.as_str())
        && !facts.leftovers.contains(payload.id.as_str())
    {
        return Ok(BTreeMap::new());
    }
    let words = [payload.id.as_str(), payload.kernel.as_str()];
    let text = remote.run("see what an interrupted deploy left", include_str!("remote/resume.sh"), &words)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .filter_map(|(hash, path)| Some((path.to_string(), facts::digest(hash)?)))
        .collect())
}

/// Sends.
pub struct Transfer<'a> {
    /// The board.
    pub remote: &'a Remote,
    /// What it gets.
    pub payload: &'a Payload,
    /// What of it is sent.
    pub delta: &'a Delta,
    /// What the board has.
    pub facts: &'a Facts,
    /// `info` of the deployment.
    pub info: String,
    /// What progress is called.
    pub task: String,
}

impl Transfer<'_> {
    /// Both halves at once; bytes that went over the wire.
    pub fn run(&self, progress: &dyn Progress) -> Result<u64> {
        let Transfer { delta, payload, facts, .. } = self;
        let count = Count::new(delta.bytes, &self.task, payload.epoch, facts.packing, progress);
        let boot = || if self.delta.boot_done { Ok(()) } else { self.boot(&count) };
        std::thread::scope(|scope| {
            let boot = scope.spawn(boot);
            let root = if self.delta.root_done { Ok(()) } else { self.root(&count) };
            let boot = boot.join().unwrap_or_else(|_| Err(Error::new("a sending thread died")));
            root.and(boot)
        })?;
        Ok(count.wire())
    }

    fn id(&self) -> String {
        self.payload.id.to_string()
    }

    /// Directory of the board whose modules, and the configuration beside it, are taken over.
    fn base(&self) -> String {
        if self.delta.keep.iter().all(|path| in_boot(path)) {
            return String::new();
        }
        match &self.facts.base.id {
            Some(id) => format!("/lib/modules/.bimg/{id}/modules"),
            None => format!("/lib/modules/{}", self.facts.release),
        }
    }

    fn root(&self, count: &Count<'_>) -> Result<()> {
        let in_root = |entry: &&Entry| !in_boot(&entry.path);
        let mut parts = parts(self.chosen(in_root));
        // One alone goes with the rest; of several none is left until all others are there.
        let last = if parts.len() == 1 { parts.remove(0) } else { Vec::new() };
        self.send_parts(&parts, count)?;
        let arrived = self.payload.entries.iter().filter(|it| self.delta.arrived.contains(&it.path));
        let manifest = self.payload.manifest();
        // What no part has checked yet.
        let sums = arrived.filter(in_root).chain(last.iter().copied()).map(Entry::sum).collect::<String>()
            + &format!("{}  files\n", Digest::of(manifest.as_bytes()));
        let made = [
            ("files", manifest),
            ("info", self.info.clone()),
            (".remove", lines(self.delta.remove.iter().map(String::as_str))),
            (".halves", lines(self.delta.halves.iter().map(String::as_str))),
            // Without it, the last one, the board takes nothing: a stream may end behind any file.
            (".sums", sums),
        ];
        let (id, base) = (self.id(), self.base());
        self.remote
            .feed(
                MODULES,
                include_str!("remote/root.sh"),
                &[&id, self.facts.packing.program(), &self.payload.release, &base],
                |stdin| pack(&last, &made, str::to_string, Half::Root, stdin, count),
            )
            .inspect_err(|error| forget_damaged(&last, error))
            .map(drop)
    }

    /// Sends parts of the root half, several at once; the first failure is the one that counts.
    fn send_parts(&self, parts: &[Vec<&Entry>], count: &Count<'_>) -> Result<()> {
        let (id, packer) = (self.id(), self.facts.packing.program());
        let todo = Mutex::new(parts.iter().enumerate());
        let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).next();
        let send = || -> Result<()> {
            while let Some((number, part)) = next() {
                let sums = format!(".sums.{number}");
                let made = [(sums.as_str(), part.iter().copied().map(Entry::sum).collect())];
                self.remote
                    .feed(MODULES, include_str!("remote/part.sh"), &[&id, packer, &sums], |stdin| {
                        pack(part, &made, str::to_string, Half::Root, stdin, count)
                    })
                    // Nothing more after a failure.
                    .inspect_err(|_| while next().is_some() {})
                    .inspect_err(|error| forget_damaged(part, error))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE.min(parts.len())).map(|_| scope.spawn(send)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(Error::new("a sending thread died"))))
                .fold(Ok(()), Result::and)
        })
    }

    fn boot(&self, count: &Count<'_>) -> Result<()> {
        // A kernel in place is not touched.
        let wanted = |path: &str| in_boot(path) && !(self.delta.kernel_done && path.starts_with("kernel/"));
        let sent: Vec<&Entry> = self.chosen(|entry| wanted(&entry.path)).collect();
        let all = self.payload.entries.iter().filter(|entry| wanted(&entry.path));
        let kept = self.delta.keep.iter().filter(|path| wanted(path));
        let (id, running) = (self.id(), running_kernel(self.facts));
        // From the boot filesystem's root, and from `bimg` on.
        let from = |path: &str| match (&self.facts.base.id, path.split_once('/')) {
            (Some(id), Some((dir, name))) => match &running {
                Some(kernel) if dir == "kernel" => kernel.kernel_dir() + name,
                _ => format!("bimg/{id}/{name}"),
            },
            (_, name) => name.map_or(path, |(_, name)| name).to_string(),
        };
        let to = |path: &str| match path.split_once('/') {
            Some(("kernel", name)) => format!("kernels/{}.partial/{name}", self.payload.kernel),
            Some((_, name)) => format!("{id}.partial/{name}"),
            None => path.to_string(),
        };
        let [sums, copy] = [".sums", ".copy"].map(|name| format!("{id}.partial/{name}"));
        let made = [
            (copy.as_str(), kept.map(|path| [from(path), to(path), String::new()].join("\n")).collect()),
            (sums.as_str(), all.map(|entry| entry.sum_at(&to(&entry.path))).collect()),
        ];
        let kernel = if self.delta.kernel_done { "" } else { self.payload.kernel.as_str() };
        self.remote
            .feed(
                KERNEL,
                include_str!("remote/boot.sh"),
                &[&id, self.facts.packing.program(), kernel],
                |stdin| pack(&sent, &made, to, Half::Boot, stdin, count),
            )
            .map(drop)
    }

    fn chosen<'b>(&'b self, half: impl Fn(&&Entry) -> bool + 'b) -> impl Iterator<Item = &'b Entry> {
        self.payload.entries.iter().filter(half).filter(|entry| self.delta.send.contains(&entry.path))
    }
}

/// What the board may have refused with reason is packed anew by the next deploy.
fn forget_damaged(part: &[&Entry], error: &Error) {
    if error.exit() == Exit::Failure {
        for entry in part {
            entry.packed.iter().for_each(|path| packed::forget_damaged(path, entry.size, &entry.sha256));
        }
    }
}

/// Cuts into parts of about [`PART`].
fn parts<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Vec<&'a Entry>> {
    let (mut parts, mut size) = (vec![Vec::new()], 0);
    for entry in entries {
        if size >= PART {
            parts.push(Vec::new());
            size = 0;
        }
        size += entry.size;
        parts.last_mut().into_iter().for_each(|part| part.push(entry));
    }
    parts
}

fn lines<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.flat_map(|word| [word, "\n"]).collect()
}
