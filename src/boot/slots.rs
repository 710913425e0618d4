//! Several kernels on one board: the image's own beside those that `bimg deploy` brought.
//!
//! A *deployment* is a kernel with its DTBs and command line in a directory of the boot partition,
//! `bimg/ID/`. Where the boot loader can read from any directory, what deployments may have in common, the kernel
//! and its DTBs, lies in `bimg/kernels/KERNEL/`, named by its content, and is there once. What is to be booted is
//! said by state files of one sector each, made by the image build and only ever overwritten in place: no cluster
//! is allocated and no directory grows, so that a power cut leaves either the old sector or the new one, and a
//! filesystem that is clean.
//!
//! ```text
//! armed:   state { default, trial: Some(ID) } -> reboot -> the boot loader takes the trial away, then boots it
//! good:    state { default: Some(ID), trial: None }
//! not:     the next reset boots the default
//! ```

use std::fmt;
use std::str::FromStr;

use super::{BootFile, BootInput};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Bytes of a state file: the smallest thing that a disk writes as a whole.
pub const STATE_LEN: usize = 512;
/// Directory of the deployments on the boot partition.
pub const DIR: &str = "bimg";

/// Name of a deployment: 12 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(String);

impl SlotId {
    /// Made from a hash of what it names.
    pub fn of(digest: &Digest) -> Self {
        SlotId(digest.to_string()[..12].to_string())
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its directory, from the boot partition's root, with a `/` at the end.
    pub fn dir(&self) -> String {
        format!("{DIR}/{}/", self.0)
    }

    /// The directory of what it names as a kernel that deployments share.
    pub fn kernel_dir(&self) -> String {
        format!("{DIR}/kernels/{}/", self.0)
    }
}

/// Where the files of a deployment lie on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotDirs {
    /// The deployment.
    pub id: SlotId,
    /// The name of its kernel with DTBs, overlays and initramfs, made from their content.
    pub kernel: SlotId,
}

impl SlotDirs {
    /// Directories with names that no deployment has.
    pub fn blank() -> Self {
        let none = || SlotId("0".repeat(12));
        SlotDirs { id: none(), kernel: none() }
    }

    /// Directory of what is its own, with a `/` at the end.
    pub fn dir(&self) -> String {
        self.id.dir()
    }

    /// Directory of what it may share with other deployments, with a `/` at the end.
    pub fn kernel_dir(&self) -> String {
        self.kernel.kernel_dir()
    }
}

impl FromStr for SlotId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(SlotId(text.to_string()));
        }
        Err(Error::usage(format!("`{}` is not the name of a deployment", text.escape_debug()))
            .hint("it has 12 lower-case hex digits"))
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the boot loader is to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotState {
    /// Booted unless a trial is armed; `None` is the image's own kernel.
    pub default: Option<SlotId>,
    /// Armed: booted once.
    pub trial: Option<SlotId>,
}

/// What the running system has to bring for a trial boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// A condition of a POSIX shell on the target.
    pub test: &'static str,
    /// Why it may not hold.
    pub why: &'static str,
    /// What helps.
    pub hint: &'static str,
}

/// A boot chain that tells kernels apart.
pub trait Slots {
    /// Boot files of a deployment, paths from the boot partition's root, all below [`SlotDirs::dir`] or
    /// [`SlotDirs::kernel_dir`]; sorted. `input.cmdline` is for boots as the default, `trial_cmdline` for the trial.
    fn files(&self, input: &BootInput<'_>, dirs: &SlotDirs, trial_cmdline: &str) -> Result<Vec<BootFile>>;

    /// State files that say `state`: path from the boot partition's root, and [`STATE_LEN`] bytes each. To be
    /// written in place and in this order; when power is lost between two of them, the default boots.
    fn state(&self, state: &SlotState) -> Vec<(&'static str, Vec<u8>)>;

    /// Reads what [`Slots::state`] wrote or the boot loader made of it; `None` when a file is missing or is none of
    /// ours. `read` gives the content of a path from the boot partition's root.
    fn parse(&self, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<SlotState>;

    /// The command that reboots a running target into the armed trial, as shell words.
    fn reboot(&self) -> &'static str;

    /// What the running system must be able to do for [`Slots::reboot`] to lead to the trial; `None` when any can.
    fn once(&self) -> Option<Once> {
        None
    }

    /// Files of the boot partition, and bytes in them, by which a target is known to boot through this chain as
    /// bimg makes it.
    fn evidence(&self) -> &'static [(&'static str, &'static str)];
}

/// Text of a state file: lines, then comments up to [`STATE_LEN`].
pub(super) fn sector(lines: &[&str]) -> Vec<u8> {
    let mut bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n'])).collect::<Vec<u8>>();
    debug_assert!(bytes.len() < STATE_LEN);
    // `#` begins a comment in every format used here, and no line is longer than what the Pi's firmware reads.
    while bytes.len() < STATE_LEN {
        let width = (STATE_LEN - bytes.len()).min(64);
        bytes.resize(bytes.len() + width - 1, b'#');
        bytes.push(b'\n');
    }
    bytes
}

/// The lines of a state file; `None` when it is none of ours.
pub(super) fn lines(bytes: &[u8]) -> Option<Vec<&str>> {
    if bytes.len() != STATE_LEN {
        return None;
    }
    Some(std::str::from_utf8(bytes).ok()?.lines().collect())
}
