//! `bimg test`: boots the image and asserts what a developer would look for.
//!
//! 1. the boot chain of the profile was used;
//! 2. someone can log in;
//! 3. `uname -r` is the release that was built;
//! 4. a module of the build loads;
//! 5. on a larger card, the root filesystem has grown;
//! 6. the board powers off.
//!
//! A guest that is beyond hope (kernel panic, U-Boot prompt, silence) ends the test at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::console::Console;
use super::guest::{Done, Guest};
use super::qemu::Serial;
use super::raspberry_pi::Direct;
use super::{Login, Machine, Start};
use crate::boot::ChainName;
use crate::error::{Error, Result};
use crate::fsx;
use crate::progress::Progress;
use crate::units::ByteSize;

/// One command inside the guest; an emulated board on a busy host is slow.
const COMMAND: Duration = Duration::from_secs(60);
/// From `poweroff` to the end of QEMU; a busy host and an SD card to sync take their time.
const POWER_OFF: Duration = Duration::from_secs(90);

/// What to assert.
#[derive(Debug, Clone)]
pub struct TestSpec<'a> {
    /// The image, and how to start it.
    pub start: Start<'a>,
    /// Boot chain of the profile.
    pub chain: ChainName,
    /// The release that was built.
    pub release: String,
    /// A module of the build that needs no hardware.
    pub module: Option<String>,
    /// How to get in.
    pub login: Login,
    /// Where the boot log goes.
    pub log: PathBuf,
    /// The longest boot, from power on to a login.
    pub boot_timeout: Duration,
    /// The longest silence at power on.
    pub silence: Duration,
}

/// One thing that was found true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assertion {
    /// What holds, for people: `uname -r is 6.12.48`.
    pub what: String,
    /// Seconds since power on.
    pub at: f64,
}

/// A test that passed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestReport {
    /// In the order of the boot.
    pub assertions: Vec<Assertion>,
    /// The boot log.
    pub log: PathBuf,
    /// The kernel's first line.
    pub banner: Option<String>,
    /// Seconds from power on to power off.
    pub seconds: f64,
}

/// Boots the image and asserts; each assertion is also noted as it comes true.
pub fn test(machine: &Machine, spec: &TestSpec<'_>, progress: &dyn Progress) -> Result<TestReport> {
    let ready = machine.ready(&spec.start, Serial::Pipe, progress)?;
    let _ = fsx::remove_file(&spec.start.work.join("known_hosts"));
    let started = Instant::now();
    let mut assertions = Vec::new();
    let mut holds = |what: String| {
        let at = started.elapsed().as_secs_f64();
        progress.note(&format!("{at:6.1} s  {what}"));
        assertions.push(Assertion { what, at });
    };
    let mut console = Console::start(&ready.command, &spec.log, spec.silence)?;

    boot_chain(&mut console, spec, ready.direct.as_ref(), &mut holds)?;
    let remaining = spec.boot_timeout.saturating_sub(started.elapsed());
    let guest = Guest::login(&spec.login, ready.ssh_port, &mut console, spec.start.work, remaining)?;
    holds(match &spec.login {
        Login::Ssh { key } => format!("SSH takes the key `{}`", name(key)),
        Login::Serial { user, .. } => format!("`{user}` logs in on the serial console"),
    });
    release(&mut console, &guest, spec, &mut holds)?;
    if let Some(module) = &spec.module {
        load_module(&mut console, &guest, module, &mut holds)?;
    }
    if let Some(size) = spec.start.card_size {
        growth(&mut console, &guest, size, &mut holds)?;
    }
    guest.power_off(&mut console)?;
    if console.wait_end(POWER_OFF)? {
        holds("the board powers off".to_string());
    } else {
        progress.warn("the guest does not power off: the emulator is stopped instead");
    }
    let banner = console.line_with("Linux version ");
    drop(console);
    fsx::remove_file(&spec.start.work.join("disk.qcow2"))?;
    Ok(TestReport { assertions, log: spec.log.clone(), banner, seconds: started.elapsed().as_secs_f64() })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What each boot loader prints when it takes the way that the profile wants.
pub(super) fn boot_chain(
    console: &mut Console,
    spec: &TestSpec<'_>,
    direct: Option<&Direct>,
    holds: &mut dyn FnMut(String),
) -> Result<()> {
    if let Some(direct) = direct {
        holds(format!("config.txt boots {}", direct.describe()));
        if spec.chain == ChainName::RpiFirmware {
            return Ok(());
        }
        if spec.chain != ChainName::UbootScript {
            return Err(Error::usage(format!(
                "boot chain `{}` cannot be tested on this machine",
                spec.chain
            ))
            .hint("QEMU boots what config.txt names there: the chain is `rpi-firmware`, or `uboot-script` behind it"));
        }
    }
    console.expect(&["U-Boot 2"], "U-Boot", spec.boot_timeout)?;
    let (needle, file) = match spec.chain {
        ChainName::Extlinux => ("Retrieving file: ", "extlinux.conf"),
        ChainName::UbootScript => ("bimg: Linux ", "boot.scr"),
        ChainName::RpiFirmware => {
            return Err(Error::usage(
                "boot chain `rpi-firmware` needs a Raspberry Pi machine in `[emulator]`",
            ));
        }
    };
    console.expect(&[needle], &format!("U-Boot to read {file}"), spec.boot_timeout)?;
    holds(format!("U-Boot reads {file}"));
    console.expect(&["Starting kernel"], "U-Boot to start the kernel", spec.boot_timeout)?;
    holds("U-Boot starts the kernel".to_string());
    Ok(())
}

fn checked(console: &Console, command: &str, done: Done) -> Result<String> {
    if done.status == 0 {
        return Ok(done.output);
    }
    Err(console
        .failure(format!("`{command}` failed in the guest with status {}", done.status))
        .caused_by(crate::exec::tail(&done.output, 5)))
}

fn release(
    console: &mut Console,
    guest: &Guest,
    spec: &TestSpec<'_>,
    holds: &mut dyn FnMut(String),
) -> Result<()> {
    let done = guest.run(console, "uname -r", COMMAND)?;
    let running = checked(console, "uname -r", done)?.trim().to_string();
    if running != spec.release {
        return Err(console
            .failure(format!("the board runs Linux {running}, and {} was built", spec.release))
            .hint("the boot loader found another kernel: see the log for where from"));
    }
    holds(format!("uname -r is {running}"));
    Ok(())
}

fn load_module(
    console: &mut Console,
    guest: &Guest,
    module: &str,
    holds: &mut dyn FnMut(String),
) -> Result<()> {
    // The name goes to a shell in the guest.
    if !crate::kernel::is_module_name(module) {
        return Err(Error::usage(format!("`{module}` is not the name of a kernel module")));
    }
    // /proc/modules has `_` where file names may have `-`.
    let listed = module.replace('-', "_");
    let command = format!("modprobe {module} 2>&1 && grep '^{listed} ' /proc/modules");
    let done = guest.run(console, &command, COMMAND)?;
    if done.status != 0 {
        return Err(console
            .failure(format!("module `{module}` does not load"))
            .caused_by(crate::exec::tail(&done.output, 5))
            .hint(
                "its directory is /lib/modules/`uname -r`; a wrong vermagic is named in the guest's dmesg",
            ));
    }
    holds(format!("module {module} loads"));
    Ok(())
}

/// Growth runs beside the boot: it is given some time.
fn growth(console: &mut Console, guest: &Guest, card: ByteSize, holds: &mut dyn FnMut(String)) -> Result<()> {
    let deadline = Instant::now() + COMMAND;
    loop {
        let done = guest.run(console, "df -k / | tail -n 1", COMMAND)?;
        let line = checked(console, "df", done)?;
        // The second column, or the first when a long device name has a line of its own.
        let kib = line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let size = ByteSize(kib << 10);
        if size.0 > card.0 / 10 * 8 {
            holds(format!("the root filesystem has grown to {size}"));
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(
                console.failure(format!("the root filesystem has not grown: {size} on a card of {card}"))
            );
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
