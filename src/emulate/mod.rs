//! Boots the finished image in QEMU: interactively (`bimg run`) and as a test (`bimg test`).
//!
//! ```text
//! image ──> qcow2 overlay (throwaway) ─────────────┐
//! image ──> config.txt, kernel, DTB (Pi only) ─────┤
//! [emulator] of the profile ── firmware ───────────┴─> QEMU arguments ──> terminal | test
//! ```
//!
//! The image is only read. On `virt` a real U-Boot boots it; a Raspberry Pi's firmware does not run in
//! QEMU, so what it would do is done on the host ([`raspberry_pi`]).

pub mod card;
pub mod console;
mod credential;
pub mod guest;
pub mod qemu;
pub mod raspberry_pi;
mod spec;
pub mod test;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use credential::{Credential, GUEST};
pub use guest::Login;
pub use spec::{DiskBus, EmulatorFirmware, EmulatorSpec, MachineName};
pub use test::{Assertion, TestReport, TestSpec, test};

use self::qemu::{Invocation, Serial};
use self::raspberry_pi::Direct;
use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Progress;
use crate::units::ByteSize;

/// A board's emulator with everything it needs found.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The profile's table.
    pub spec: EmulatorSpec,
    /// Architecture of the board.
    pub arch: Arch,
    /// QEMU; found in PATH by its usual name when `None`.
    pub program: Option<PathBuf>,
    /// Directory that holds the firmware's files by the names of the spec, beside the image.
    pub firmware: Option<PathBuf>,
    /// How errors name the place where the firmware is.
    pub firmware_origin: String,
}

/// How to start a machine.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The finished image; only read.
    pub image: &'a Path,
    /// Directory for the throwaway disk and what is extracted from the image.
    pub work: &'a Path,
    /// A larger card, to see the root filesystem grow.
    pub card_size: Option<ByteSize>,
    /// Port for SSH on the loopback interface; a free one when `None`.
    pub ssh_port: Option<u16>,
    /// What the machine hands to the guest to let us in.
    pub credential: Option<&'a Credential>,
}

/// A machine that is ready to start.
struct Ready {
    command: Cmd,
    ssh_port: Option<u16>,
    direct: Option<Direct>,
}

impl Machine {
    fn ready(&self, start: &Start<'_>, serial: Serial, progress: &dyn Progress) -> Result<Ready> {
        self.spec.check(self.arch)?;
        let program = self.program.clone().unwrap_or_else(|| qemu::program(self.arch).into());
        qemu::check(&program, self.arch, self.spec.machine)?;
        fsx::create_dir_all(start.work)?;
        let disk = start.work.join("disk.qcow2");
        qemu::overlay(start.image, &disk, self.spec.disk, start.card_size)?;
        let direct = match self.spec.machine.raspberry_pi() {
            Some(model) => Some(raspberry_pi::prepare(start, model, &self.spec, progress)?),
            None => None,
        };
        let ssh_port = if self.spec.network { Some(qemu::ssh_port(start.ssh_port)?) } else { None };
        let args = qemu::args(&Invocation {
            spec: &self.spec,
            bios: self.firmware_file(self.spec.firmware.bios.as_deref())?,
            kernel: self.firmware_file(self.spec.firmware.kernel.as_deref())?,
            direct: direct.as_ref(),
            disk: &disk,
            ssh_port,
            serial,
        });
        let handed = start.credential.map(Credential::args).unwrap_or_default();
        Ok(Ready { command: Cmd::new(program).args(args).args(handed), ssh_port, direct })
    }

    /// `default` is QEMU's own; anything else is a file of the fetched firmware.
    fn firmware_file(&self, name: Option<&str>) -> Result<Option<PathBuf>> {
        let Some(name) = name else { return Ok(None) };
        if name == "default" {
            return Ok(Some(PathBuf::from(name)));
        }
        let Some(dir) = &self.firmware else {
            return Err(Error::usage(format!(
                "`emulator.firmware` names `{name}`, but the profile has no source for it"
            )));
        };
        let path = dir.join(crate::tree::TreePath::new(name)?.as_str());
        if path.is_file() {
            Ok(Some(path))
        } else {
            Err(Error::new(format!("emulator firmware `{name}` is not in {}", self.firmware_origin))
                .hint("check `emulator.firmware` of the profile, and the version of that package"))
        }
    }
}

/// Boots the image on the user's terminal; ends when the guest powers off or the user quits.
pub fn run(machine: &Machine, start: &Start<'_>, progress: &dyn Progress) -> Result<()> {
    let ready = machine.ready(start, Serial::Terminal, progress)?;
    if let Some(direct) = &ready.direct {
        progress.note(&format!("config.txt boots {}", direct.describe()));
    }
    if let Some(credential) = start.credential {
        let config = credential.ssh_config(start.work, ready.ssh_port)?;
        progress.note(&credential.describe(config.as_deref()));
    }
    progress.note("changes stay in a throwaway disk, also over a reboot; quit with Ctrl-A X");
    let status = ready.command.interactive()?;
    let removed = fsx::remove_file(&start.work.join("disk.qcow2"));
    if status.success() { removed } else { Err(ready.command.failed(status)) }
}
