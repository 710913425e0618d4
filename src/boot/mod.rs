//! Boot chains: which files make a board load its kernel; one file each behind [`BootChain`].
//!
//! ```text
//! [boot] of a profile -> BootSpec -> chain(..) -> files(BootInput) -> BootFile { path, content }
//! ```
//!
//! | chain | read by | files |
//! |---|---|---|
//! | `extlinux` | U-Boot's distro boot, barebox | `extlinux/extlinux.conf`, kernel, `dtbs/` |
//! | `uboot-script` | U-Boot's distro boot | `boot.scr`, `bimg.env`, kernel, `dtbs/` |
//! | `rpi-firmware` | the Raspberry Pi's own firmware | `config.txt`, `cmdline.txt`, kernel, DTB, `overlays/`, firmware |
//!
//! A chain is a pure function of its input, apart from listing the fetched firmware directory that
//! the input names. Paths are relative to the root of the partition that the boot loader reads.

pub mod config_txt;
pub mod extlinux;
pub mod firmware;
pub mod rpi_firmware;
pub mod slots;
mod spec;
pub mod uboot_script;
pub mod uimage;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use firmware::{Firmware, FirmwareFile};
pub use slots::{Once, SlotDirs, SlotId, SlotState, Slots};
pub use spec::{BootSpec, ChainName};

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::tree::{Content, TreePath};

/// What of a command line is for the kernel, and what is for init: all from the word `--` on
/// (Documentation/admin-guide/kernel-parameters.rst).
pub fn for_kernel(cmdline: &str) -> (&str, &str) {
    let is_word = |at: &usize| {
        let (before, behind) = (&cmdline[..*at], &cmdline[at + 2..]);
        let ends = |c: Option<char>| c.is_none_or(char::is_whitespace);
        ends(before.chars().next_back()) && ends(behind.chars().next())
    };
    let at = cmdline.match_indices("--").map(|(at, _)| at).find(is_word);
    let (own, rest) = cmdline.split_at(at.unwrap_or(cmdline.len()));
    (own.trim(), rest.trim())
}

/// What a boot chain is made from.
#[derive(Debug, Clone)]
pub struct BootInput<'a> {
    /// Architecture of the kernel.
    pub arch: Arch,
    /// The kernel: name of the kbuild target (`Image`, `zImage`, ..) and content.
    pub kernel: (String, Content),
    /// Device trees by kbuild name: `broadcom/bcm2711-rpi-4-b.dtb`.
    pub dtbs: Vec<(String, Content)>,
    /// Device tree overlays by kbuild name or file name: `overlays/disable-bt.dtbo`.
    pub overlays: Vec<(String, Content)>,
    /// Directory of the boot loader's filesystem that the files will lie in: empty, or `boot`.
    pub dir: &'static str,
    /// The whole kernel command line, `root=` included.
    pub cmdline: String,
    /// An initramfs.
    pub initramfs: Option<Content>,
    /// Kernel release (`uname -r`).
    pub release: String,
    /// Dates what carries a date: seconds since 1970.
    pub epoch: i64,
    /// The fetched firmware that [`BootSpec::firmware`] names files of, by the profile's names.
    pub firmware: &'a BTreeMap<String, Firmware>,
}

/// One file of the boot partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// Path from the partition's root.
    pub path: TreePath,
    /// Its bytes.
    pub content: Content,
}

/// A way to boot.
pub trait BootChain {
    /// As profiles name it.
    fn name(&self) -> ChainName;

    /// The files of the boot partition, sorted by path, none twice.
    fn files(&self, input: &BootInput<'_>) -> Result<Vec<BootFile>>;

    /// How it boots one of several kernels; `None` when it cannot take back one that fails.
    fn slots(&self) -> Option<Box<dyn Slots + '_>> {
        None
    }
}

/// The chain that a profile asks for.
pub fn chain(spec: &BootSpec) -> Result<Box<dyn BootChain + '_>> {
    spec.check()?;
    Ok(match spec.chain {
        ChainName::Extlinux => Box::new(extlinux::Extlinux { spec }),
        ChainName::UbootScript => Box::new(uboot_script::UbootScript { spec }),
        ChainName::RpiFirmware => Box::new(rpi_firmware::RpiFirmware { spec }),
    })
}

/// Collects files; two under one path are an error, as FAT would see it: case does not count.
#[derive(Default)]
struct Files(BTreeMap<String, BootFile>);

impl Files {
    fn put(&mut self, path: &str, content: impl Into<Content>) -> Result<()> {
        let path = TreePath::new(path)?;
        let key = path.as_str().to_ascii_lowercase();
        if let Some(old) = self.0.get(&key) {
            return Err(Error::usage(format!(
                "two files of the boot partition are called `{}`",
                path.as_str()
            ))
            .caused_by(format!("`{}` is there already, and FAT ignores case", old.path.as_str()))
            .hint("the profile's `boot.firmware` may not hold a file that the boot chain makes"));
        }
        self.0.insert(key, BootFile { path, content: content.into() });
        Ok(())
    }

    /// The kernel, its DTBs and the initramfs, under the names that U-Boot's chains use, below `dir`
    /// (empty, or with a `/` at the end).
    fn put_uboot_payload(&mut self, input: &BootInput<'_>, dir: &str) -> Result<()> {
        self.put(&format!("{dir}{}", input.kernel.0), input.kernel.1.clone())?;
        for (name, content) in &input.dtbs {
            self.put(&format!("{dir}dtbs/{name}"), content.clone())?;
        }
        for (name, content) in &input.overlays {
            self.put(&format!("{dir}overlays/{}", file_name(name)), content.clone())?;
        }
        if let Some(content) = &input.initramfs {
            self.put(&format!("{dir}{INITRAMFS}"), content.clone())?;
        }
        Ok(())
    }

    fn finish(self) -> Vec<BootFile> {
        let mut files: Vec<BootFile> = self.0.into_values().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

/// Name of the initramfs on a boot partition.
const INITRAMFS: &str = "initramfs.img";

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A kernel command line is one line of printable text, within what every kernel here takes
/// (COMMAND_LINE_SIZE: 2048 on arm64, 1024 on arm and riscv).
fn check_cmdline(input: &BootInput<'_>) -> Result<()> {
    let max = if input.arch == Arch::Arm64 || input.arch == Arch::X86_64 { 2048 } else { 1024 };
    let bad = |why: String| Error::usage("the kernel command line cannot be used").caused_by(why);
    if let Some(c) = input.cmdline.chars().find(|c| c.is_control()) {
        return Err(bad(format!("it holds the control character `{}`", c.escape_debug()))
            .hint("a command line is one line of text"));
    }
    if input.cmdline.len() >= max {
        return Err(bad(format!(
            "it is {} bytes long, and a kernel for {} keeps {}",
            input.cmdline.len(),
            input.arch,
            max - 1
        )));
    }
    Ok(())
}
