//! Buildroot's boards (<https://buildroot.org>): `configs/x_defconfig` to a whole profile.
//!
//! From the defconfig come architecture, kernel and device trees; from the board's directory its genimage
//! layout and kernel command line. Root filesystem and packages are Debian's, not Buildroot's.

mod boot;
mod defconfig;
mod disk;
mod kernel;
mod tree;
mod uboot;

use std::fmt::Write as _;
use std::path::Path;

use super::{Imported, Layout, Notes, genimage, quote};
use crate::arch::Arch;
use crate::board::text::At;
use crate::error::{Context, Error, Result};
use crate::fsx;
use defconfig::Defconfig;
use disk::BoardDisk;
use tree::BuildrootTree;

/// Imports a board. `beside` is the name of the directory that files of the board are copied to, next to
/// the profile; without it the profile refers to them where they are.
pub fn import(path: &Path, beside: Option<&str>) -> Result<Imported> {
    let bytes = fsx::read_small(path).map_err(Error::into_usage)?;
    let config = Defconfig::parse(&path.display().to_string(), &String::from_utf8_lossy(&bytes))?;
    let tree = BuildrootTree::of(path);
    let mut notes = Notes::default();
    let mut files = Files { beside: beside.map(str::to_string), copied: Vec::new() };
    let arch = arch(&config)?;
    let kernel = kernel::read(&config, &tree, arch, &mut files, &mut notes)?;
    let dirs = board_dirs(&config);
    let boot = boot::read(&config, &tree, arch, &dirs, &mut notes)?;
    let uboot = uboot(&config, arch, &mut notes);
    let disk = board_disk(&config, &tree, &dirs, uboot.as_ref(), &mut notes)?;
    left(&config, arch, &mut notes);
    let firmware = uboot.filter(|_| disk.layout.uses("uboot:")).map(|uboot| uboot.firmware());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let board = name.trim_end_matches("_defconfig");
    let mut body = head(&kernel, board, arch);
    body.push_str(&boot::kernel_toml(&kernel, &boot.cmdline));
    body.push_str(&boot::toml(&boot, firmware.as_deref()));
    body.push_str(&disk.layout.toml());
    for blob in &disk.missing {
        body.push_str(&blob.comment());
    }
    body.push_str(&rootfs(&config, arch));
    let mut imported = Imported::new(&format!("`{board}`, from Buildroot's `{name}`."), &body, notes);
    imported.files = files.copied;
    Ok(imported)
}

/// Files that the profile needs.
#[derive(Debug)]
struct Files {
    beside: Option<String>,
    /// Path from the profile's directory, and content.
    copied: Vec<(String, Vec<u8>)>,
}

/// What became of a file.
enum Copied {
    /// The name to refer to it by.
    As(String),
    /// Nothing: it is not there.
    NotThere,
}

impl Files {
    fn copy(&mut self, tree: &BuildrootTree, name: &str) -> Result<Copied> {
        let Some(path) = tree.find(name).filter(|path| path.is_file()) else { return Ok(Copied::NotThere) };
        let Some(dir) = &self.beside else {
            let path = std::path::absolute(&path).map_err(|cause| fsx::io_error("find", &path, &cause))?;
            return Ok(Copied::As(path.display().to_string()));
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        // A configuration is told from the name of a defconfig by its ending.
        let file = if file.contains('.') { file.into_owned() } else { format!("{file}.config") };
        let target = format!("{dir}/{file}");
        let bytes = fsx::read_small(&path)?;
        match self.copied.iter().find(|(other, _)| *other == target) {
            Some((_, same)) if *same == bytes => Ok(Copied::As(target)),
            Some(_) => {
                let target = format!("{dir}/{}-{file}", self.copied.len());
                self.copied.push((target.clone(), bytes));
                Ok(Copied::As(target))
            }
            None => {
                self.copied.push((target.clone(), bytes));
                Ok(Copied::As(target))
            }
        }
    }
}

fn arch(config: &Defconfig) -> Result<Arch> {
    let found =
        [("aarch64", Arch::Arm64), ("arm", Arch::Arm), ("riscv", Arch::Riscv), ("x86_64", Arch::X86_64)];
    match found.iter().find(|(symbol, _)| config.has(symbol)) {
        Some((_, Arch::Riscv)) if config.has("RISCV_32") => Err(no_arch(config, "32-bit RISC-V")),
        Some((_, arch)) => Ok(*arch),
        None => {
            let others = [
                "aarch64_be",
                "arceb",
                "arcle",
                "armeb",
                "i386",
                "loongarch64",
                "m68k",
                "microblazeel",
                "microblazebe",
                "mips",
                "mips64",
                "mips64el",
                "mipsel",
                "or1k",
                "powerpc",
                "powerpc64",
                "powerpc64le",
                "s390x",
                "sh",
                "sparc",
                "sparc64",
                "xtensa",
            ];
            // Without any, Buildroot builds for 32-bit x86.
            let other = others.iter().find(|name| config.has(name)).unwrap_or(&"i386");
            Err(no_arch(config, &format!("`{other}`")))
        }
    }
}

fn no_arch(config: &Defconfig, what: &str) -> Error {
    Error::usage(format!("`{}` is for {what}", config.shown()))
        .caused_by("bimg builds for arm, arm64, riscv64 and x86_64")
}

/// The board's directories: those of its scripts and layouts below `board/`.
fn board_dirs(config: &Defconfig) -> Vec<String> {
    let symbols = [
        "ROOTFS_POST_SCRIPT_ARGS",
        "ROOTFS_POST_IMAGE_SCRIPT",
        "ROOTFS_POST_BUILD_SCRIPT",
        "LINUX_KERNEL_CUSTOM_CONFIG_FILE",
        "GLOBAL_PATCH_DIR",
        "ROOTFS_OVERLAY",
    ];
    let mut dirs: Vec<String> = Vec::new();
    for word in symbols.iter().flat_map(|symbol| config.words(symbol)) {
        let Some(start) = word.find("board/") else { continue };
        let Some((dir, _)) = word[start..].rsplit_once('/') else { continue };
        if dir != "board" && !dirs.iter().any(|other| other == dir) {
            dirs.push(dir.to_string());
        }
    }
    dirs
}

fn uboot(config: &Defconfig, arch: Arch, notes: &mut Notes) -> Option<uboot::Packaged> {
    let symbol = "TARGET_UBOOT_BOARD_DEFCONFIG";
    let board = config.text(symbol).or_else(|| config.text("TARGET_UBOOT_BOARDNAME"))?;
    let found = uboot::find(board, arch);
    if found.is_none() {
        notes.at(
            config.origin(symbol),
            format!(
                "Debian has no U-Boot for `{}`: build it and name its files in `[disk]`",
                board.escape_debug()
            ),
        );
    }
    found
}

fn board_disk(
    config: &Defconfig,
    tree: &BuildrootTree,
    dirs: &[String],
    uboot: Option<&uboot::Packaged>,
    notes: &mut Notes,
) -> Result<BoardDisk> {
    let Some((name, path)) = layout_file(config, tree, dirs)? else {
        notes.at(
            config.origin("ROOTFS_POST_SCRIPT_ARGS"),
            "the board has no genimage layout: the disk is a usual one, with a boot partition and the root",
        );
        let layout = disk::default_layout(config.has("PACKAGE_RPI_FIRMWARE"));
        return Ok(BoardDisk { layout, missing: Vec::new() });
    };
    let (_, layout) = genimage::layout(&path, genimage::Choice::Usual, notes)
        .context(|| format!("cannot import the layout `{}`", name.value))?;
    Ok(disk::fill(layout, config, uboot, notes))
}

/// The genimage configuration: `-c FILE` of the scripts' arguments, else the one beside a script.
fn layout_file(
    config: &Defconfig,
    tree: &BuildrootTree,
    dirs: &[String],
) -> Result<Option<(At<String>, std::path::PathBuf)>> {
    let at = |symbol: &str, name: &str| {
        config.text(symbol).map(|text| At { value: name.to_string(), place: text.place.clone() })
    };
    let words = config.words("ROOTFS_POST_SCRIPT_ARGS");
    for (index, word) in words.iter().enumerate() {
        let named = if *word == "-c" { words.get(index + 1).copied() } else { word.strip_prefix("-c") };
        let Some(named) = named.filter(|name| name.contains("cfg") || name.contains("config")) else {
            continue;
        };
        return match (tree.find(named), at("ROOTFS_POST_SCRIPT_ARGS", named)) {
            (Some(path), Some(name)) => Ok(Some((name, path))),
            (None, Some(name)) => Err(name
                .place
                .error(format!("the layout `{named}` is not there"), "named here")
                .hint("the defconfig belongs below `configs/` of a Buildroot tree")),
            _ => Ok(None),
        };
    }
    for dir in dirs {
        let board = dir.rsplit('/').next().unwrap_or(dir);
        let usual = [format!("genimage-{board}.cfg"), "genimage.cfg".into(), "genimage.cfg.in".into()];
        let others: Vec<String> = tree
            .below(dir)?
            .into_iter()
            .filter_map(|file| file.strip_prefix(&format!("{dir}/")).map(str::to_string))
            .filter(|file| file.starts_with("genimage") && !file.contains('/') && file.contains(".cfg"))
            .collect();
        let only = (others.len() == 1).then(|| others[0].clone());
        for file in usual.into_iter().chain(only) {
            let name = format!("{dir}/{file}");
            if let (Some(path), Some(name)) = (tree.find(&name), at("ROOTFS_POST_IMAGE_SCRIPT", &name)) {
                return Ok(Some((name, path)));
            }
        }
    }
    Ok(None)
}

/// What Buildroot would do and bimg does not.
fn left(config: &Defconfig, arch: Arch, notes: &mut Notes) {
    let scripts = ["ROOTFS_POST_BUILD_SCRIPT", "ROOTFS_POST_IMAGE_SCRIPT", "ROOTFS_POST_FAKEROOT_SCRIPT"];
    for symbol in scripts {
        for script in
            config.words(symbol).into_iter().filter(|script| *script != "support/scripts/genimage.sh")
        {
            notes.at(config.origin(symbol), format!("`{}` is not run", script.escape_debug()));
        }
    }
    for overlay in config.words("ROOTFS_OVERLAY") {
        notes.at(
            config.origin("ROOTFS_OVERLAY"),
            format!("`{}` is made for Buildroot's root filesystem: take over what you need with `rootfs.overlays`",
                overlay.escape_debug()),
        );
    }
    let packages: Vec<&str> = config
        .all("PACKAGE_")
        .filter(|name| !name.starts_with("HOST_") && !name.starts_with("RPI_FIRMWARE"))
        .collect();
    if !packages.is_empty() {
        notes.at(
            config.origin(&format!("PACKAGE_{}", packages[0])),
            format!(
                "Buildroot's packages are left out, Debian's go to `rootfs.packages`: {}",
                packages.join(", ")
            ),
        );
    }
    let cpu = config.all("").find(|name| {
        ["arm7", "arm9", "arm1136", "arm1176", "fa526", "strongarm", "xscale", "iwmmxt"]
            .iter()
            .any(|old| name.starts_with(old))
    });
    if let (Some(cpu), Arch::Arm) = (cpu, arch) {
        notes.at(
            config.origin(cpu),
            format!("Debian's armhf needs ARMv7, and `{cpu}` is older: give the board a root filesystem of its own"),
        );
    }
}

fn head(kernel: &kernel::Kernel, board: &str, arch: Arch) -> String {
    let mut extends = Vec::new();
    if kernel.source.is_none() {
        extends.push("common/linux-6.12.toml".to_string());
    }
    extends.push("common/debian.toml".to_string());
    format!(
        "\nextends = {}\ndescription = {}\narch = {}\n",
        list(&extends),
        quote(&format!("{board}, as in Buildroot")),
        quote(arch.name())
    )
}

/// Only where it is not the shared one.
fn rootfs(config: &Defconfig, arch: Arch) -> String {
    let host = config
        .text("TARGET_GENERIC_HOSTNAME")
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && name.len() <= 63);
    if host.is_none() && arch != Arch::Riscv {
        return String::new();
    }
    // Debian has riscv64 since trixie.
    let suite = if arch == Arch::Riscv { "trixie" } else { "bookworm" };
    let mut out = format!(
        "\n[rootfs]\nkind = \"debian\"\nsuite = \"{suite}\"\npackages = [\"busybox-static\", \"dropbear-bin\", \"kmod\"]\n\
         overlays = [\"common/rootfs\"]\n"
    );
    if let Some(host) = host {
        let _ = writeln!(out, "hostname = {}", quote(host));
    }
    out
}

/// A TOML list of strings.
fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(", "))
}

impl Layout {
    /// Whether a file of it comes from a firmware.
    fn uses(&self, firmware: &str) -> bool {
        let files = self.partitions.iter().filter_map(|it| it.file.as_deref());
        files.chain(self.blobs.iter().map(|blob| blob.file.as_str())).any(|file| file.starts_with(firmware))
    }
}
