//! What a board says about itself: the lines that `remote/look.sh` prints, parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;

use super::pack::Packing;
use crate::boot::{SlotId, SlotState, Slots};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::units::ByteSize;

/// A board as it is before anything is touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -m`.
    pub machine: String,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// Random for each boot (`Documentation/admin-guide/sysctl/kernel.rst`, "random").
    pub boot_id: String,
    /// Seconds since boot.
    pub uptime: u64,
    /// Words of the kernel command line.
    pub cmdline: Vec<String>,
    /// The device tree's `compatible`, most specific first; empty without a device tree.
    pub compatible: Vec<String>,
    /// The device tree's `model`.
    pub model: Option<String>,
    /// Programs that are needed, and are not there.
    pub lacks: Vec<String>,
    /// Free bytes of the root filesystem.
    pub free_root: Option<ByteSize>,
    /// What holds `/lib/modules`: mount point and type of a filesystem; the type is `ramdisk` for any on a RAM disk.
    pub modules_on: Option<(String, String)>,
    /// The root filesystem cannot be written.
    pub root_read_only: bool,
    /// Where the boot loader's filesystem is: device, and mount point if mounted.
    pub boot_device: Option<String>,
    /// Why it cannot be read.
    pub boot_error: Option<String>,
    /// Free bytes of it.
    pub free_boot: Option<ByteSize>,
    /// Files of it that show the boot chain.
    pub evidence: BTreeSet<String>,
    /// The boot loader's state files.
    pub state: BTreeMap<String, Vec<u8>>,
    /// Deployments by ID.
    pub deployments: BTreeMap<String, Deployment>,
    /// The place of the image's own kernel among those that were confirmed, if a rollback led to it.
    pub image_good: Option<u64>,
    /// Kernels on the boot partition that deployments share.
    pub kernels: BTreeSet<SlotId>,
    /// Those that no deployment names, whole or not.
    pub unused_kernels: BTreeSet<String>,
    /// What interrupted deploys and removals left: IDs.
    pub leftovers: BTreeSet<String>,
    /// How it can be sent files.
    pub packing: Packing,
    /// What a new deployment may take over.
    pub base: Base,
}

/// A kernel that bimg put there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// `uname -r` of it.
    pub release: String,
    /// Board it was built for.
    pub board: String,
    /// When it arrived, UTC.
    pub since: String,
    /// Who brought it.
    pub by: String,
    /// Bytes.
    pub size: u64,
    /// `uname -r` of the image's own kernel there.
    pub image: String,
    /// Its place among those that were confirmed; the largest is the latest.
    pub good: Option<u64>,
    /// Boot in which it was confirmed.
    #[serde(skip)]
    pub good_boot: Option<String>,
    /// A failed trial left its kernel log.
    pub log: bool,
    /// Its boot files are gone.
    pub boot_missing: bool,
}

/// Files that are on the board already, by the paths of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The deployment, or the kernel that came with the image.
    pub id: Option<String>,
    /// Hashes.
    pub files: BTreeMap<String, Digest>,
}

impl Facts {
    /// The deployment that runs; `None` for the kernel that came with the image.
    pub fn running(&self) -> Option<&str> {
        self.word("bimg_deploy")
    }

    /// `uname -r` of the kernel that came with the image, if that was ever seen to run.
    pub fn image_release(&self) -> Option<&str> {
        if self.running().is_none() {
            return Some(&self.release);
        }
        let known = self.deployments.values().filter(|it| !it.image.is_empty());
        known.max_by_key(|it| &it.since).map(|it| it.image.as_str())
    }

    /// Seconds that the trial has which is going on: it runs, and nobody has confirmed it.
    pub fn on_trial(&self) -> Option<u64> {
        let seconds = self.word("bimg_trial")?.parse().ok()?;
        let known = self.running().and_then(|id| self.deployments.get(id));
        let confirmed = known.is_some_and(|it| it.good_boot.as_deref() == Some(&self.boot_id));
        (!confirmed).then_some(seconds)
    }

    /// A `name=value` of the command line.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.cmdline.iter().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// What the boot loader is going to start.
    pub fn slots(&self, slots: &dyn Slots) -> Option<SlotState> {
        slots.parse(&|path| self.state.get(path).cloned())
    }

    /// Parses what the script printed.
    pub fn parse(text: &str) -> Result<Facts> {
        let mut facts = Facts::default();
        let mut current: Option<String> = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            facts.line(key, value, &mut current).ok_or_else(|| {
                Error::new("the board answers in words that are not understood")
                    .caused_by(format!("`{}`", line.chars().take(120).collect::<String>().escape_debug()))
            })?;
        }
        if facts.boot_id.is_empty() || facts.machine.is_empty() {
            return Err(Error::new("the board says nothing about itself")
                .hint("its shell must be a POSIX shell; `/proc` must be mounted"));
        }
        Ok(facts)
    }

    fn line(&mut self, key: &str, value: &str, current: &mut Option<String>) -> Option<()> {
        let words = || value.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let kib = || value.parse::<u64>().ok().map(|kib| ByteSize(kib << 10));
        let text = || value.trim().to_string();
        match key {
            "machine" => self.machine = text(),
            "release" => self.release = text(),
            "version" => self.version = text(),
            "boot-id" => self.boot_id = text(),
            "uptime" => self.uptime = value.parse().unwrap_or(0),
            "cmdline" => self.cmdline = words(),
            "compatible" => self.compatible = words(),
            "model" => self.model = Some(text()),
            "lacks" => self.lacks.push(text()),
            "free-root" => self.free_root = kib(),
            "zstd" => self.packing = Packing::Zstd,
            "modules-on" => {
                let (point, kind) = value.split_once(' ')?;
                self.modules_on = Some((point.to_string(), kind.to_string()));
            }
            "root-ro" => self.root_read_only = true,
            "boot-device" => self.boot_device = Some(text()),
            "boot-error" => self.boot_error = Some(text()),
            "free-boot" => self.free_boot = kib(),
            "evidence" => drop(self.evidence.insert(text())),
            "state" => {
                let (path, hex) = value.split_once(' ')?;
                self.state.insert(path.to_string(), unhex(hex)?);
            }
            "deployment" => {
                SlotId::from_str(value).ok()?;
                self.deployments.insert(text(), Deployment::default());
                *current = Some(text());
            }
            "partial" | "boot-only" => {
                let id = value.trim_end_matches(".partial");
                // Anything else there is somebody else's.
                if SlotId::from_str(id).is_ok() {
                    self.leftovers.insert(id.to_string());
                }
            }
            "info" | "good" | "log" | "boot-missing" => {
                self.deployments.get_mut(current.as_ref()?)?.line(key, value);
            }
            "image-good" => self.image_good = value.parse().ok(),
            "base" => self.base.id = Some(text()),
            "kernel" => {
                // One that has not arrived whole has another name.
                self.kernels.extend(SlotId::from_str(value));
            }
            "kernel-unused" => {
                self.unused_kernels.insert(value.trim_end_matches(".partial").to_string());
            }
            "base-file" => {
                let (hash, path) = value.split_once("  ")?;
                self.base.files.insert(path.to_string(), digest(hash)?);
            }
            _ => return None,
        }
        Some(())
    }
}

impl Deployment {
    /// Notes that a power cut or somebody's hand made unreadable say nothing.
    fn line(&mut self, key: &str, value: &str) {
        match key {
            "good" => {
                let words = value.trim().split_once(' ');
                if let Some((boot, Ok(count))) = words.map(|(boot, count)| (boot, count.parse())) {
                    (self.good_boot, self.good) = (Some(boot.to_string()), Some(count));
                }
            }
            "log" => self.log = true,
            "boot-missing" => self.boot_missing = true,
            _ => {
                let (name, value) = value.split_once('=').unwrap_or_default();
                let value = value.to_string();
                match name {
                    "release" => self.release = value,
                    "board" => self.board = value,
                    "since" => self.since = value,
                    "by" => self.by = value,
                    "image" => self.image = value,
                    "size" => self.size = value.parse().unwrap_or(0),
                    // A newer bimg may say more.
                    _ => {}
                }
            }
        }
    }
}

/// A digest as `sha256sum` prints it.
pub(super) fn digest(hex: &str) -> Option<Digest> {
    unhex(hex)?.try_into().ok().map(Digest)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |c: u8| char::from(c).to_digit(16).map(|value| value as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}
