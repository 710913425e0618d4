//! What a Raspberry Pi's firmware would do, done on the host: QEMU does not run that firmware.
//!
//! 1. read `config.txt` in the image by the firmware's rules ([`config_txt`]);
//! 2. copy out the kernel, the DTB and the initramfs that it names;
//! 3. apply the overlays it names (`fdtoverlay`);
//! 4. remove from the DTB what QEMU has no device for (`fdtput`).
//!
//! The root filesystem stays where it is: on the SD card, which is the image.

use std::path::{Path, PathBuf};

use super::card::Card;
use super::spec::EmulatorSpec;
use super::{Credential, Start};
use crate::boot::config_txt::{self, Choice, Files as _, Model};
use crate::error::{Error, Result};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Progress;

/// The first serial port of every Raspberry Pi so far, in the vendor's and in mainline's device trees.
const PL011: &str = "/soc/serial@7e201000";

/// What QEMU is given in place of the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// Kernel.
    pub kernel: PathBuf,
    /// Device tree, adapted.
    pub dtb: Option<PathBuf>,
    /// Initramfs.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub cmdline: String,
    /// What config.txt led to.
    pub choice: Choice,
}

impl Direct {
    /// For people: `kernel8.img with bcm2711-rpi-4-b.dtb`.
    pub fn describe(&self) -> String {
        let dtb = self.choice.dtb.as_deref().unwrap_or("no DTB");
        let overlays = self.choice.overlays.iter().map(|overlay| overlay.path.as_str());
        let parts: Vec<&str> = std::iter::once(dtb).chain(overlays).collect();
        format!("{} with {}", self.choice.kernel, parts.join(" and "))
    }
}

/// Prepares the files in `dir`.
pub fn prepare(
    start: &Start<'_>,
    model: Model,
    spec: &EmulatorSpec,
    progress: &dyn Progress,
) -> Result<Direct> {
    let dir = start.work;
    let card = Card::open(start.image)?;
    let choice = config_txt::choose(&card, model)?;
    if !choice.wide {
        return Err(Error::new(format!("config.txt starts `{}` in 32-bit state", choice.kernel))
            .hint("the emulated Raspberry Pis start 64-bit kernels: set `arm_64bit=1`"));
    }
    let put = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = dir.join(name);
        fsx::write_atomic(&path, bytes)?;
        Ok(path)
    };
    let kernel = put("kernel", &card.read(&choice.kernel)?)?;
    let dtb = match &choice.dtb {
        None => None,
        Some(path) => {
            let base = put("board.dtb", &card.read(path)?)?;
            let dtb = adapt(&base, &card, &choice, spec, dir, progress)?;
            if let Some((property, text)) = start.credential.and_then(Credential::chosen) {
                set(&dtb, "/chosen", property, text)?;
            }
            if spec.console.starts_with("ttyAMA") {
                // Where U-Boot talks, and a kernel without `console=`.
                set(&dtb, "/chosen", "stdout-path", "serial0:115200n8")?;
                set(&dtb, "/aliases", "serial0", PL011)?;
            }
            Some(dtb)
        }
    };
    let mut initramfs = Vec::new();
    for path in &choice.initramfs {
        initramfs.extend(card.read(path)?);
    }
    let initrd = if initramfs.is_empty() { None } else { Some(put("initramfs", &initramfs)?) };
    Ok(Direct { kernel, dtb, initrd, cmdline: cmdline(&choice.cmdline, spec), choice })
}

/// The firmware replaces `serial0` by the name of the board's serial port. A console on another port is moved
/// to the one that the profile watches: QEMU's mini UART, which mainline kernels use on a real Pi 4, keeps
/// its interrupt raised once somebody opens it. An early console is added: a kernel that dies before its driver of that port would leave no word, and here no U-Boot spoke before it.
fn cmdline(text: &str, spec: &EmulatorSpec) -> String {
    let mut words: Vec<String> = text
        .split_whitespace()
        .map(|word| {
            let port = word.strip_prefix("console=").map(|port| port.split_once(',').unwrap_or((port, "")));
            match port {
                Some((name, options))
                    if ["serial0", "ttyS", "ttyAMA"].iter().any(|serial| name.starts_with(serial)) =>
                {
                    let comma = if options.is_empty() { "" } else { "," };
                    format!("console={}{comma}{options}", spec.console)
                }
                _ => word.to_string(),
            }
        })
        .collect();
    if let Some(port) = spec.machine.earlycon()
        && spec.console.starts_with("ttyAMA")
    {
        words.push(format!("earlycon={port}"));
    }
    words.join(" ")
}

/// Sets a property of text, making its node when it is not there.
fn set(dtb: &Path, node: &str, property: &str, text: &str) -> Result<()> {
    Cmd::new("fdtput").args(["-p", "-t", "s"]).arg(dtb).args([node, property, text]).check().map(drop)
}

fn adapt(
    base: &Path,
    card: &Card,
    choice: &Choice,
    spec: &EmulatorSpec,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let mut overlays = Vec::new();
    for (i, overlay) in choice.overlays.iter().enumerate() {
        let path = dir.join(format!("overlay-{i}.dtbo"));
        fsx::write_atomic(&path, &card.read(&overlay.path)?)?;
        overlays.push(path);
        if !overlay.params.is_empty() {
            progress.warn(&format!(
                "the emulator applies `{}` without its parameters ({})",
                overlay.path,
                overlay.params.join(",")
            ));
        }
    }
    if !choice.dtparams.is_empty() {
        progress.warn(&format!("the emulator leaves out `dtparam={}`", choice.dtparams.join(",")));
    }
    let dtb = dir.join("emulated.dtb");
    if overlays.is_empty() {
        fsx::write_atomic(&dtb, &fsx::read(base)?)?;
    } else {
        Cmd::new("fdtoverlay").arg("-i").arg(base).arg("-o").arg(&dtb).args(&overlays).check().map_err(|error| {
            let names: Vec<&str> = choice.overlays.iter().map(|overlay| overlay.path.as_str()).collect();
            error
                .context(format!("`{}` does not apply to the DTB", names.join("`, `")))
                .hint("the DTB needs its symbols (DTC_FLAGS=-@), and fdtoverlay (device-tree-compiler) must be there")
        })?;
    }
    let properties = |node: &str, key: &str| {
        Cmd::new("fdtget").arg("-p").arg(&dtb).arg(node).check().map_err(|error| {
            error
                .context(format!("the DTB cannot be adapted at `{node}`, which `emulator.{key}` names"))
                .hint("the node must exist, and fdtget (package `device-tree-compiler`) must be there")
        })
    };
    for node in &spec.dtb_disable {
        properties(node, "dtb-disable")?;
        set(&dtb, node, "status", "disabled")?;
    }
    for (node, unwanted) in &spec.dtb_remove {
        let present = properties(node, "dtb-remove")?;
        for property in present.text().lines().filter(|name| unwanted.iter().any(|p| p == name)) {
            Cmd::new("fdtput").arg("-d").arg(&dtb).args([node, property]).check()?;
        }
    }
    Ok(dtb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial0_is_replaced_and_the_first_port_speaks_early() {
        let spec = |console: &str| -> EmulatorSpec {
            toml::from_str(&format!(
                "machine = 'raspi4b'\ndisk = 'sd'\nnetwork = false\nconsole = '{console}'\n"
            ))
            .unwrap()
        };
        assert_eq!(
            super::cmdline("console=serial0,115200  root=x ", &spec("ttyAMA0")),
            "console=ttyAMA0,115200 root=x earlycon=pl011,mmio32,0xfe201000"
        );
        assert_eq!(super::cmdline("console=ttyS1", &spec("ttyS1")), "console=ttyS1");
        assert_eq!(
            super::cmdline("console=tty1 console=ttyS1,115200", &spec("ttyAMA0")),
            "console=tty1 console=ttyAMA0,115200 earlycon=pl011,mmio32,0xfe201000"
        );
    }
}
