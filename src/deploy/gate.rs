//! The consistency gate: what would make a board fail, found before the first byte moves.

use std::io::Read;

use super::facts::Facts;
use super::payload::{Built, Module, Payload, in_boot};
use super::remote::Remote;
use super::transfer::Delta;
use crate::arch::Arch;
use crate::board::Board;
use crate::boot::{Once, Slots};
use crate::device_tree;
use crate::error::{Error, Result};
use crate::image::kernel;
use crate::tree::Content;
use crate::units::ByteSize;

/// Left free on both filesystems, for what else is written there.
const SLACK: ByteSize = ByteSize(1 << 20);
/// FAT's largest cluster on small partitions, lost for each file on average by half.
const CLUSTER: u64 = 4096;

/// The build against itself: every module belongs to this kernel.
pub fn check_build(built: &Built) -> Result<()> {
    let release = &built.kernel.release;
    for Module { entry, vermagic } in built.modules.iter().filter(|it| kernel::is_module(&it.entry.path)) {
        let Some(vermagic) = vermagic else {
            return Err(Error::new(format!("`{}` is not a kernel module: it has no vermagic", entry.path)));
        };
        let of = vermagic.split(' ').next().unwrap_or_default();
        if of != release {
            return Err(Error::new(format!("`{}` was built for Linux {of}", entry.path))
                .caused_by(format!("the kernel of this build is {release}, and would refuse it"))
                .hint("build the module anew against this kernel"));
        }
    }
    Ok(())
}

/// The board's processor (`uname -m`) against the profile's.
pub fn check_machine(board: &Board, machine: &str) -> Result<()> {
    let arch = match machine {
        "aarch64" => Some(Arch::Arm64),
        "riscv64" => Some(Arch::Riscv),
        "x86_64" => Some(Arch::X86_64),
        machine if machine.starts_with("arm") => Some(Arch::Arm),
        _ => None,
    };
    if arch == Some(board.arch) {
        return Ok(());
    }
    Err(Error::new(format!(
        "the board runs on {machine}, and profile `{}` is for {}",
        board.name, board.arch
    ))
    .hint("is this the right host, and the right `--board`?"))
}

/// The board against the profile.
pub fn check_board(
    board: &Board,
    dtbs: &[(String, Content)],
    slots: &dyn Slots,
    facts: &Facts,
) -> Result<()> {
    check_machine(board, &facts.machine)?;
    if !facts.lacks.is_empty() {
        return Err(Error::new("the board lacks what its side of a deploy is made of")
            .caused_by(format!("it has no `{}`", facts.lacks.join("`, `")))
            .hint("busybox has them where it is configured with them; `bimg build` and `bimg flash` need nothing there"));
    }
    check_compatible(board, dtbs, facts)?;
    if let Some(cause) = &facts.boot_error {
        return Err(Error::new("the filesystem that the boot loader reads cannot be read")
            .caused_by(cause)
            .hint("the board must run from a disk with the profile's partitions; `bimg flash` makes one"));
    }
    if let Some((path, needle)) = slots.evidence().iter().find(|(path, _)| !facts.evidence.contains(*path)) {
        let device = facts.boot_device.as_deref().unwrap_or("the boot partition");
        return Err(Error::new(format!("the board does not boot through `{}` as bimg makes it", board.boot.chain))
            .caused_by(format!("`{path}` of {device} has no `{needle}`"))
            .hint("a kernel can be tried once, and taken back, on boards whose image this bimg built: flash one first"));
    }
    check_modules(facts)
}

/// A deployment is started from `/lib/modules` by the kernel, when nothing but the root filesystem is mounted; so it
/// must lie on what the kernel itself mounts, and that must keep it. (No kernel that is deployed has an initramfs.)
fn check_modules(facts: &Facts) -> Result<()> {
    let (point, kind) = facts.modules_on.as_ref().map_or(("/", ""), |(point, kind)| (point, kind));
    let why = match kind {
        "tmpfs" | "ramfs" | "rootfs" | "ramdisk" => Some("is in memory, and does not last".to_string()),
        "overlay" | "overlayfs" | "aufs" => {
            Some(format!("is on an {kind}, and the kernel starts from the filesystem below it"))
        }
        "squashfs" | "erofs" | "cramfs" | "romfs" | "iso9660" => {
            Some(format!("is on {kind}, which cannot be written"))
        }
        _ if point != "/" => {
            Some(format!("is on the {kind} at {point}, which is not mounted yet when the kernel starts"))
        }
        _ => None,
    };
    if let Some(why) = why {
        return Err(Error::new("the board has no place for a deployment")
            .caused_by(format!("/lib/modules {why}"))
            .hint(
                "it must be on a root filesystem that the kernel mounts from a disk, and that can be written; \
                 any other board gets a new kernel by `bimg build` and `bimg flash`",
            ));
    }
    // What runs on trial is confirmed all the same: that opens it for a moment.
    if facts.root_read_only && facts.on_trial().is_none() {
        return Err(Error::new("the board's root filesystem is read-only")
            .caused_by("/lib/modules cannot be written")
            .hint("remount it: `mount -o remount,rw /`"));
    }
    Ok(())
}

/// A board that cannot tell its boot loader to boot something once would come back on its old kernel without a word.
pub fn check_once(remote: &Remote, slots: &dyn Slots) -> Result<()> {
    let Some(once) = slots.once() else { return Ok(()) };
    let text = format!("if {}; then echo yes; fi\n", once.test);
    let can = remote.run("see whether the board can boot a kernel once", &text, &[])?;
    if can.trim() == "yes" { Ok(()) } else { Err(cannot_boot_once(&once)) }
}

fn cannot_boot_once(once: &Once) -> Error {
    Error::new("the board cannot boot a kernel once").caused_by(once.why).hint(once.hint)
}

/// A device tree for another board does not boot on this one.
fn check_compatible(board: &Board, dtbs: &[(String, Content)], facts: &Facts) -> Result<()> {
    if dtbs.is_empty() || facts.compatible.is_empty() {
        return Ok(());
    }
    let mut ours = Vec::new();
    for (name, content) in dtbs {
        let mut bytes = Vec::new();
        content
            .open()?
            .read_to_end(&mut bytes)
            .map_err(|cause| Error::new(format!("cannot read `{name}`")).caused_by(cause))?;
        ours.extend(device_tree::compatible(&bytes).into_iter().next());
    }
    if ours.iter().any(|ours| facts.compatible.contains(ours)) {
        return Ok(());
    }
    Err(Error::new(format!("the board is not one of profile `{}`", board.name))
        .caused_by(format!(
            "it is `{}`{}",
            facts.compatible[0],
            facts.model.as_ref().map_or(String::new(), |model| format!(" ({model})"))
        ))
        .caused_by(format!("the build has device trees for `{}`", ours.join("`, `")))
        .hint("is this the right host, and the right `--board`?"))
}

/// Room for what is going to be sent.
pub fn check_room(payload: &Payload, delta: &Delta, facts: &Facts) -> Result<()> {
    // What the board has already is linked on the root filesystem, and copied on the boot partition.
    let copied = |path: &str| {
        let done = if path.starts_with("kernel/") { delta.kernel_done } else { delta.boot_done };
        in_boot(path) && !done && delta.keep.contains(path)
    };
    let sum = |boot: bool| {
        let here = payload.entries.iter().filter(|entry| in_boot(&entry.path) == boot);
        here.filter(|entry| delta.send.contains(&entry.path) || copied(&entry.path))
            .map(|entry| entry.size.next_multiple_of(CLUSTER))
            .sum::<u64>()
    };
    let rooms = [
        ("the boot partition", sum(true), facts.free_boot),
        // While it is put together it is linked, not copied.
        ("the root filesystem", sum(false), facts.free_root),
    ];
    for (what, needed, free) in rooms {
        let Some(free) = free else { continue };
        if needed + SLACK.0 > free.0 {
            return Err(Error::new(format!("{what} of the board has no room for this kernel"))
                .caused_by(format!("it takes {}, and {free} are free", ByteSize(needed + SLACK.0)))
                .hint("`bimg target list` shows the kernels there, `bimg target remove` removes one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{self, BootSpec, ChainName};

    #[test]
    fn a_firmware_that_is_told_nothing() {
        let spec = BootSpec::new(ChainName::RpiFirmware);
        let once = boot::chain(&spec).unwrap().slots().unwrap().once().unwrap();
        assert_eq!(
            cannot_boot_once(&once).to_string(),
            "the board cannot boot a kernel once\n  \
             caused by: the firmware boots a kernel once when it is told `0 tryboot`, and only Raspberry Pi's kernels, \
             with a `reboot` that is not busybox's, hand that on\n\n\
             hint: board `rpi4-uboot` tries kernels without: build its image and flash it"
        );
    }
}
