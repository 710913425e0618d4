//! The sources of a board: kernel and firmware, fetched or found in the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::board::Board;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::{self, Fetched, Lock, LockEntry, Mode, Pin, Request, Source, Store};

/// Name of the lock file, in the directory where bimg is run.
const LOCK_FILE: &str = "bimg.lock";

/// Everything fetched for a board.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The kernel tree, ready for `make -C`.
    pub kernel: Fetched,
    /// Firmware by the profile's name.
    pub firmware: BTreeMap<String, Fetched>,
}

/// What is at hand without fetching anything: every source, or why not, one reason per missing one.
pub type Known = std::result::Result<Sources, Vec<String>>;

/// Store and lock of a run.
#[derive(Debug)]
pub struct Shelf {
    store: Store,
    lock: Lock,
}

impl Shelf {
    /// Opens the user's store and `./bimg.lock`.
    pub fn open() -> Result<Self> {
        Ok(Shelf { store: Store::open_default()?, lock: Lock::load(Path::new(LOCK_FILE))? })
    }

    /// Fetches whatever is missing.
    pub fn fetch(&mut self, board: &Board, mode: Mode, progress: &dyn Progress) -> Result<Sources> {
        let mut all = BTreeMap::new();
        for (name, alternatives) in requests(board) {
            let request = Request { name: &name, alternatives, base: &board.base };
            let fetched = source::fetch(&request, &self.store, &mut self.lock, mode, progress)?;
            let fetched =
                if name == KERNEL { source::kernel_tree(&fetched, &self.store, progress)? } else { fetched };
            all.insert(name, fetched);
        }
        Ok(split(all))
    }

    /// What the lock pins and the store holds.
    pub fn peek(&self, board: &Board, progress: &dyn Progress) -> Result<Known> {
        let mut all = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, alternatives) in requests(board) {
            let request = Request { name: &name, alternatives, base: &board.base };
            let Some(fetched) = source::peek(&request, &self.store, &self.lock, progress)? else {
                let pinned =
                    alternatives.iter().any(|source| self.lock.get(&name, &source.asked()).is_some());
                let place = if pinned { "in the store" } else { "pinned" };
                missing.push(format!("`{name}` is not {place} yet"));
                continue;
            };
            let ready =
                if name == KERNEL { source::find_kernel_tree(&fetched, &self.store)? } else { Some(fetched) };
            let Some(fetched) = ready else {
                missing.push(format!("`{name}` is not unpacked yet"));
                continue;
            };
            all.insert(name, fetched);
        }
        Ok(if missing.is_empty() { Ok(split(all)) } else { Err(missing) })
    }

    /// What the lock pins for each source of a board, by name.
    pub fn pins(&self, board: &Board) -> Vec<(String, String)> {
        requests(board)
            .filter_map(|(name, alternatives)| {
                let asked: Vec<String> = alternatives.iter().map(Source::asked).collect();
                let pin = self.lock.find(&name, &asked)?.1.pin.to_string();
                Some((name, pin))
            })
            .collect()
    }

    /// Pins the packages of a Debian root filesystem by the digest of what they unpack to: a mirror has only
    /// their newest versions, so that is what can be checked.
    pub fn pin_rootfs(
        &mut self,
        board: &Board,
        now: Digest,
        mode: Mode,
        progress: &dyn Progress,
    ) -> Result<()> {
        let spec = &board.rootfs;
        let mut packages: Vec<&str> = spec.packages.iter().map(String::as_str).collect();
        packages.sort_unstable();
        let suite = spec.suite.as_deref().unwrap_or_default();
        let asked =
            format!("debian {suite} {} {}: {}", spec.components().join(","), board.arch, packages.join(" "));
        let pinned = self.lock.get(ROOTFS, &asked).and_then(|entry| entry.pin.sha256);
        if pinned == Some(now) {
            return Ok(());
        }
        if mode.is_locked() {
            return Err(Error::new(
                "`--locked`: the root filesystem's packages are not what `bimg.lock` pins",
            )
            .caused_by(match pinned {
                Some(_) => "the mirror has other versions of them now",
                None => "the lock has nothing for this list of packages",
            })
            .hint("run once without `--locked` to pin them, and keep the changed lock"));
        }
        if pinned.is_some() {
            progress.warn(
                "the root filesystem's packages are other versions than bimg.lock pinned; it pins these now",
            );
        }
        let entry = LockEntry {
            name: ROOTFS.to_string(),
            asked: asked.clone(),
            instead_of: Vec::new(),
            pin: Pin { sha256: Some(now), ..Pin::default() },
        };
        self.lock.put(&entry, &[asked])
    }

    /// The store's directory: where room for sources is needed.
    pub fn store_dir(&self) -> PathBuf {
        self.store.root().to_owned()
    }
}

/// The name of Debian packages in `bimg.lock`.
const ROOTFS: &str = "rootfs";
/// The kernel's name in `bimg.lock`.
const KERNEL: &str = "kernel";

/// Every source of a board by its name in the lock file.
pub fn requests(board: &Board) -> impl Iterator<Item = (String, &[Source])> {
    let firmware =
        board.firmware.iter().map(|(name, sources)| (format!("firmware.{name}"), sources.as_slice()));
    std::iter::once((KERNEL.to_string(), board.kernel.source.as_slice())).chain(firmware)
}

fn split(mut all: BTreeMap<String, Fetched>) -> Sources {
    let kernel = all.remove(KERNEL);
    let firmware = all
        .into_iter()
        .map(|(name, fetched)| (name.trim_start_matches("firmware.").to_string(), fetched))
        .collect();
    match kernel {
        Some(kernel) => Sources { kernel, firmware },
        None => unreachable!("`requests` starts with the kernel"),
    }
}
