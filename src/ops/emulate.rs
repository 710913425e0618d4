//! `bimg run` and `bimg test`: the finished image in QEMU.
//!
//! Both work from `out/BOARD` alone. Nobody needs a password in the image for that: a throwaway
//! credential is handed to the guest by its (emulated) hardware, see [`crate::emulate::Credential`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::manifest::Manifest;
use crate::board::Board;
use crate::boot;
use crate::emulate::{self, Credential, Login, Machine, Start, TestReport, TestSpec};
use crate::error::{Error, Result};
use crate::exec::quote;
use crate::fsx;
use crate::progress::Progress;
use crate::units::ByteSize;
use crate::workdir::{Lock, Workdir};

/// A kernel that is silent for this long has not started.
const SILENCE: Duration = Duration::from_secs(60);
/// Modules of usual configurations that need no hardware, in order of preference.
const HARMLESS_MODULES: [&str; 7] = ["dummy", "loop", "brd", "tun", "veth", "overlay", "fuse"];

/// How `bimg test` tests.
#[derive(Debug, Clone)]
pub struct TestOptions {
    /// Private key whose public half the image holds.
    pub ssh_key: Option<PathBuf>,
    /// Card size.
    pub card_size: Option<ByteSize>,
    /// Seconds for the boot.
    pub timeout: u64,
}

/// What a test found.
#[derive(Debug, Serialize)]
pub struct Tested {
    board: String,
    release: String,
    #[serde(flatten)]
    report: TestReport,
}

impl Tested {
    /// One JSON object on one line.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map(|text| text + "\n")
            .map_err(|cause| Error::new("cannot print the report").caused_by(cause))
    }

    /// The kernel's first line, the release, the verdict.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if let Some(banner) = &self.report.banner {
            let _ = writeln!(out, "{banner}");
        }
        let _ = writeln!(out, "release {}", self.release);
        let _ = writeln!(
            out,
            "{}: {} checks passed in {:.1} s (log {})",
            self.board,
            self.report.assertions.len(),
            self.report.seconds,
            super::build::relative(&self.report.log)
        );
        out
    }
}

/// The board's machine, its firmware taken from beside the image.
fn machine(board: &Board, workdir: &Workdir) -> Result<Machine> {
    let Some(mut spec) = board.emulator.clone() else {
        return Err(Error::usage(format!("board `{}` has no emulator", board.name))
            .hint("QEMU has no such machine; `[emulator]` in the profile names one where it has"));
    };
    for file in [&mut spec.firmware.bios, &mut spec.firmware.kernel].into_iter().flatten() {
        if let Some((_, path)) = file.split_once(':') {
            *file = path.rsplit('/').next().unwrap_or(path).to_string();
        }
    }
    Ok(Machine {
        spec,
        arch: board.arch,
        program: None,
        firmware: Some(workdir.out_dir()),
        firmware_origin: format!("`{}`", super::build::relative(&workdir.out_dir())),
    })
}

/// Boots on the user's terminal.
pub fn run(
    board: &Board,
    workdir: &Workdir,
    card_size: Option<ByteSize>,
    progress: &dyn Progress,
) -> Result<()> {
    let machine = machine(board, workdir)?;
    Manifest::load(&workdir.out_dir().join("manifest.json"), &board.asked)?;
    let work = workdir.board_dir().join("run");
    let _lock = Lock::take(&work.join("lock"), progress)?;
    let credential = Credential::throwaway(&machine.spec, &work)?;
    let image = workdir.image();
    let start = start(&image, &work, card_size, Some(&credential));
    if machine.spec.network && boot::chain(&board.boot)?.slots().is_some() {
        progress.note(&format!(
            "a new kernel on it: bimg deploy --board {} --accept-new --host {} --ssh-config {}",
            quote(&board.asked),
            emulate::GUEST,
            quote(&super::build::relative(&work.join("ssh_config")))
        ));
    }
    emulate::run(&machine, &start, progress)
}

fn start<'a>(
    image: &'a Path,
    work: &'a Path,
    card_size: Option<ByteSize>,
    credential: Option<&'a Credential>,
) -> Start<'a> {
    Start { image, work, card_size, ssh_port: None, credential }
}

/// A module of the build that loads anywhere.
fn harmless_module(modules: &[String]) -> Option<String> {
    HARMLESS_MODULES
        .iter()
        .find(|name| modules.iter().any(|built| built == *name))
        .map(|name| (*name).to_string())
}

/// Boots and checks.
pub fn test(
    board: &Board,
    workdir: &Workdir,
    options: &TestOptions,
    progress: &dyn Progress,
) -> Result<Tested> {
    if let Some(key) = &options.ssh_key {
        fsx::read_small(key).map_err(|error| error.context("cannot use the SSH key"))?;
    }
    let machine = machine(board, workdir)?;
    let manifest = Manifest::load(&workdir.out_dir().join("manifest.json"), &board.asked)?;
    let work = workdir.board_dir().join("test");
    let _lock = Lock::take(&work.join("lock"), progress)?;
    let throwaway = match &options.ssh_key {
        Some(_) => None,
        None => Some(Credential::throwaway(&machine.spec, &work)?),
    };
    let login = match (&options.ssh_key, &throwaway) {
        (Some(key), _) => Login::Ssh { key: key.clone() },
        (None, Some(credential)) => credential.login(),
        (None, None) => unreachable!("a throwaway credential stands in for a key"),
    };
    let image = workdir.image();
    let module = harmless_module(&manifest.kernel.modules);
    if module.is_none() && !manifest.kernel.modules.is_empty() {
        progress.warn(&format!(
            "no module is tried: none of the build's is among those that load anywhere ({})",
            HARMLESS_MODULES.join(", ")
        ));
    }
    let spec = TestSpec {
        start: start(&image, &work, options.card_size, throwaway.as_ref()),
        chain: board.boot.chain,
        release: manifest.kernel.release.clone(),
        module,
        login,
        log: workdir.out_dir().join("boot.log"),
        boot_timeout: Duration::from_secs(options.timeout),
        silence: SILENCE,
    };
    let report = emulate::test(&machine, &spec, progress)?;
    Ok(Tested { board: board.name.clone(), release: manifest.kernel.release, report })
}
