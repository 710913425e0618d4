//! `manifest.json`: every input with its hash, every artifact, and the command that makes them again.
//!
//! No host path, no time of day, no secret: the same inputs give the same manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BuildOptions;
use super::sources::Sources;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::exec::quote;
use crate::fsx;
use crate::kernel::{self, KernelArtifacts, KernelSpec};
use crate::rootfs::Package;
use crate::source::LockEntry;

/// The manifest of an image.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of bimg.
    pub bimg: String,
    /// Board name.
    pub board: String,
    /// Target architecture as profiles write it.
    pub arch: String,
    /// The command that makes the same image from the same `bimg.lock`.
    pub command: String,
    /// SOURCE_DATE_EPOCH of the image.
    pub epoch: i64,
    /// Sources as the lock pins them.
    pub sources: Vec<LockEntry>,
    /// Every other input by label: a digest, or a short value.
    pub inputs: BTreeMap<String, String>,
    /// The kernel.
    pub kernel: ManifestKernel,
    /// Debian packages of the root filesystem.
    pub packages: Vec<Package>,
    /// The disk.
    pub disk: serde_json::Value,
    /// Files beside the manifest, by name.
    pub artifacts: BTreeMap<String, Artifact>,
}

/// The kernel's part.
#[derive(Debug, Serialize, Deserialize)]
pub struct ManifestKernel {
    /// `uname -r`.
    pub release: String,
    /// Compiler and linker.
    pub toolchain: String,
    /// The make command, with `$SOURCE` and `$BUILD` for the directories.
    pub command: String,
    /// By name, the modules as one.
    pub digests: BTreeMap<String, Digest>,
    /// Names of its loadable modules, sorted.
    pub modules: Vec<String>,
}

/// One file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Artifact {
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub sha256: Digest,
}

impl Manifest {
    /// Reads the manifest of a finished image of `board`, which is named as the user did.
    pub fn load(path: &Path, board: &str) -> Result<Self> {
        let Some(text) = fsx::read_optional(path)? else {
            return Err(Error::new(format!("board `{board}` has no image yet"))
                .caused_by(format!("`{}` is not there", super::build::relative(path)))
                .hint(format!("build it: `bimg build --board {}`", quote(board))));
        };
        serde_json::from_str(&text).map_err(|cause| {
            Error::new(format!("cannot read `{}`", path.display()))
                .caused_by(cause)
                .hint("it was not written by this version of bimg: build again")
        })
    }

    /// Inputs that differ from another manifest's, by label, in order.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let labels: BTreeSet<&String> = self.inputs.keys().chain(other.inputs.keys()).collect();
        let mut found = Vec::new();
        for label in labels {
            found.extend(match (self.inputs.get(label), other.inputs.get(label)) {
                (Some(a), Some(b)) if a == b => None,
                (Some(a), Some(b)) if a.len() < 64 && b.len() < 64 => {
                    Some(format!("{label}: `{a}` and `{b}`"))
                }
                (Some(_), Some(_)) => Some(format!("{label}: another SHA-256")),
                (Some(_), None) => Some(format!("{label}: in the first only")),
                (None, _) => Some(format!("{label}: in the second only")),
            });
        }
        if self.command != other.command {
            found.push(format!("command: `{}` and `{}`", self.command, other.command));
        }
        found
    }

    /// As it is written: indented, with a final newline.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|cause| Error::new("cannot write the manifest").caused_by(cause))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl ManifestKernel {
    /// From what the kernel stage left; host directories become `$SOURCE` and `$BUILD`.
    pub fn new(kernel: &KernelArtifacts, spec: &KernelSpec) -> Result<Self> {
        let command = kernel::make::goal_command(spec)
            .replace(&spec.dir.display().to_string(), "$BUILD")
            .replace(&spec.source.display().to_string(), "$SOURCE");
        let modules = fsx::read_optional(&kernel.modules_dir.join("modules.dep"))?.unwrap_or_default();
        let mut modules: Vec<String> =
            modules.lines().filter_map(|line| kernel::module_name(line.split_once(':')?.0)).collect();
        modules.sort();
        Ok(ManifestKernel {
            release: kernel.release.clone(),
            toolchain: kernel.toolchain.clone(),
            command,
            digests: kernel.digests.clone(),
            modules,
        })
    }
}

/// The `bimg build` that makes the same artifacts. Files and secrets are named by digest, not by place.
pub fn command(options: &BuildOptions) -> String {
    // A profile given by path is named from where it lies: no host path.
    let asked = match Path::new(&options.board.asked).file_name() {
        Some(file) if options.board.asked != options.board.name => format!("./{}", file.display()),
        _ => options.board.name.clone(),
    };
    let mut words = vec!["bimg".into(), "build".into(), "--locked".into(), "--board".into(), asked];
    if let Some(variant) = &options.board.kernel.variant {
        words.extend(["--kernel".to_string(), variant.clone()]);
    }
    for set in &options.sets {
        words.extend(["--set".to_string(), set.clone()]);
    }
    let provision = &options.provision;
    if let Some(hostname) = provision.hostname() {
        words.extend(["--hostname".to_string(), hostname.to_string()]);
    }
    if provision.has_key() {
        words.extend(["--ssh-key".to_string(), "FILE".to_string()]);
    }
    if provision.has_password() {
        words.extend(["--root-password-hash".to_string(), "HASH".to_string()]);
    }
    for format in &options.formats {
        words.extend(["--format".to_string(), format.name().to_string()]);
    }
    let command = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    match options.epoch {
        Some(epoch) => format!("SOURCE_DATE_EPOCH={epoch} {command}"),
        None => command,
    }
}

/// The lock entries of a board's sources.
pub fn locked(sources: &Sources) -> Vec<LockEntry> {
    std::iter::once(&sources.kernel)
        .chain(sources.firmware.values())
        .map(|fetched| fetched.locked.clone())
        .collect()
}
