//! QEMU: its argument vector, its version, the throwaway disk.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use super::raspberry_pi::Direct;
use super::spec::{DiskBus, EmulatorSpec, MachineName};
use crate::arch::Arch;
use crate::doctor::{Need, Version};
use crate::error::{Error, Result, nearest};
use crate::exec::{self, Cmd};
use crate::fsx;
use crate::units::ByteSize;

/// Where the serial console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serial {
    /// The terminal, together with QEMU's monitor: Ctrl-A X quits, Ctrl-A H helps.
    Terminal,
    /// QEMU's stdin and stdout, for a program.
    Pipe,
}

/// Everything that an argument vector is made from.
#[derive(Debug, Clone)]
pub struct Invocation<'a> {
    /// The profile's table.
    pub spec: &'a EmulatorSpec,
    /// Host path of `-bios` (`default` for QEMU's own).
    pub bios: Option<PathBuf>,
    /// Host path of the firmware in the kernel slot.
    pub kernel: Option<PathBuf>,
    /// What a Raspberry Pi boots without its firmware.
    pub direct: Option<&'a Direct>,
    /// The throwaway disk (qcow2).
    pub disk: &'a Path,
    /// Loopback port forwarded to the guest's SSH.
    pub ssh_port: Option<u16>,
    /// Where the console goes.
    pub serial: Serial,
}

/// Name of the program.
pub fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.qemu())
}

/// The arguments, without the program.
pub fn args(inv: &Invocation<'_>) -> Vec<OsString> {
    let spec = inv.spec;
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    // No default network card either: its boot ROM is in a package of its own.
    add(&["-machine", spec.machine.name(), "-nodefaults", "-display", "none"]);
    if let Some(cpu) = &spec.cpu {
        add(&["-cpu", cpu]);
    }
    if let Some(cpus) = spec.cpus {
        add(&["-smp", &cpus.to_string()]);
    }
    if let Some(memory) = spec.memory {
        add(&["-m", &format!("{}M", memory.0 >> 20)]);
    }
    let pi = spec.machine.raspberry_pi().is_some();
    match inv.serial {
        Serial::Terminal => {
            add(&["-chardev", "stdio,id=console,mux=on,signal=off", "-mon", "chardev=console"]);
        }
        // A test has seen enough of a guest that reboots.
        Serial::Pipe => add(&["-no-reboot", "-chardev", "stdio,id=console,signal=off"]),
    }
    if pi && spec.console.starts_with("ttyS") {
        // The first port of a Raspberry Pi is the PL011.
        add(&["-serial", "null"]);
    }
    add(&["-serial", "chardev:console"]);
    let disk = escape(&inv.disk.display().to_string());
    match spec.disk {
        DiskBus::Virtio => add(&[
            "-drive",
            &format!("if=none,id=disk,format=qcow2,file={disk}"),
            "-device",
            "virtio-blk-device,drive=disk",
        ]),
        DiskBus::Sd => add(&["-drive", &format!("if=sd,format=qcow2,file={disk}")]),
    }
    if let Some(port) = inv.ssh_port {
        let card = if pi { "usb-net" } else { "virtio-net-device" };
        add(&[
            "-netdev",
            &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"),
            "-device",
            &format!("{card},netdev=net"),
        ]);
    }
    if spec.machine == MachineName::Virt {
        // Keys are generated on first boot: without this the guest waits for entropy.
        add(&["-device", "virtio-rng-device"]);
        // It resets a guest that hangs, as those of real boards do.
        add(&["-device", "i6300esb"]);
    }
    for (slot, file) in [("-bios", &inv.bios), ("-kernel", &inv.kernel)] {
        if let Some(file) = file {
            args.extend([OsString::from(slot), file.into()]);
        }
    }
    if let Some(direct) = inv.direct {
        args.extend(["-kernel".into(), direct.kernel.clone().into()]);
        if let Some(dtb) = &direct.dtb {
            args.extend(["-dtb".into(), dtb.into()]);
        }
        if let Some(initrd) = &direct.initrd {
            args.extend(["-initrd".into(), initrd.into()]);
        }
        args.extend(["-append".into(), direct.cmdline.clone().into()]);
    }
    args
}

/// A comma inside an option's value is doubled.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// Fails unless the program is there and has the machine.
pub fn check(program: &Path, arch: Arch, machine: MachineName) -> Result<()> {
    let output = Cmd::new(program).args(["-machine", "help"]).check().map_err(|error| {
        error.context("the emulator cannot be used").hint(format!(
            "install QEMU for {arch}: package `{}`",
            match arch {
                Arch::Arm | Arch::Arm64 => "qemu-system-arm",
                Arch::Riscv => "qemu-system-misc",
                Arch::X86_64 => "qemu-system-x86",
            }
        ))
    })?;
    let text = output.text();
    let machines: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    if machines.contains(&machine.name()) {
        return Ok(());
    }
    let version = Cmd::new(program).arg("--version").output()?.text();
    let version = version.lines().next().unwrap_or_default().to_string();
    let error = Error::new(format!("this QEMU has no machine `{}`", machine.name())).caused_by(version);
    Err(if machine == MachineName::Raspi4b {
        error.hint(
            "QEMU 9.0 is the first with `raspi4b`: on Debian 12 install `qemu-system-arm` from bookworm-backports",
        )
    } else if let Some(near) = nearest(machine.name(), machines) {
        error.hint(format!("nearest: `{near}`"))
    } else {
        error
    })
}

/// The program, for the doctor.
pub fn need(arch: Arch, machine: MachineName) -> Need {
    let need = Need::new(program(arch), "boots the image");
    // The first version with this machine.
    if machine == MachineName::Raspi4b { need.at_least(Version::new(&[9, 0])) } else { need }
}

/// A free loopback port, or the one asked for.
pub fn ssh_port(asked: Option<u16>) -> Result<u16> {
    let wanted = asked.unwrap_or(0);
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|listener| listener.local_addr()).map_or_else(
        |cause| {
            Err(Error::new(format!("port {wanted} cannot be used for SSH"))
                .caused_by(fsx::describe(&cause))
                .hint("leave the port out, and a free one is taken"))
        },
        |address| Ok(address.port()),
    )
}

/// Makes the qcow2 overlay at `overlay`; the image below is only read. `card` asks for a larger disk.
pub fn overlay(image: &Path, overlay: &Path, bus: DiskBus, card: Option<ByteSize>) -> Result<ByteSize> {
    let size = std::fs::metadata(image).map_err(|cause| fsx::io_error("read", image, &cause))?.len();
    let size = disk_size(ByteSize(size), bus, card)?;
    if let Some(parent) = overlay.parent() {
        fsx::create_dir_all(parent)?;
    }
    fsx::remove_file(overlay)?;
    // A backing file's name counts from the overlay's directory.
    let base = std::path::absolute(image).map_err(|cause| fsx::io_error("find", image, &cause))?;
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(base)
        .arg(overlay)
        .arg(size.0.to_string())
        .check()
        .map_err(|error| {
            let error = error.context("cannot make a throwaway disk");
            if exec::which("qemu-img").is_some() { error } else { error.hint("install package `qemu-utils`") }
        })?;
    Ok(size)
}

/// The size of the emulated disk.
pub fn disk_size(image: ByteSize, bus: DiskBus, card: Option<ByteSize>) -> Result<ByteSize> {
    let size = card.unwrap_or(image);
    if size < image {
        return Err(Error::usage(format!("a card of {size} is smaller than the image, which has {image}")));
    }
    let (fitting, most) = match bus {
        // An image format ends where a signed number does.
        DiskBus::Virtio => (size.0.checked_next_multiple_of(512), i64::MAX as u64),
        DiskBus::Sd => (size.0.checked_next_power_of_two(), 2 << 40),
    };
    fitting.filter(|size| *size <= most).map(ByteSize).ok_or_else(|| {
        let error = Error::usage(format!("QEMU emulates no card of {size}"));
        if bus == DiskBus::Sd { error.hint("an SD card has 2 TiB at most") } else { error }
    })
}
