//! How a Buildroot board boots: the kernel command line, and who reads it.

use std::fmt::Write as _;

use super::defconfig::Defconfig;
use super::list;
use super::tree::BuildrootTree;
use crate::arch::Arch;
use crate::error::Result;
use crate::import::{Notes, quote};

/// `[boot]`, its firmware, and the command line.
#[derive(Debug, Default)]
pub struct Boot {
    /// `extlinux`, `uboot-script`, `rpi-firmware`.
    pub chain: &'static str,
    /// The value of `boot.firmware`.
    pub files: Option<String>,
    /// A line of `[firmware]`.
    pub firmware: Option<String>,
    /// Command line without `root=`.
    pub cmdline: String,
}

/// Reads what the board's files and defconfig say.
pub fn read(
    config: &Defconfig,
    tree: &BuildrootTree,
    arch: Arch,
    dirs: &[String],
    notes: &mut Notes,
) -> Result<Boot> {
    let files = board_files(config, tree, dirs)?;
    let cmdline = cmdline(config, tree, &files, notes)?;
    let mut boot = Boot { chain: chain(config, &files, notes), cmdline, ..Boot::default() };
    if config.has("PACKAGE_RPI_FIRMWARE") && matches!(arch, Arch::Arm | Arch::Arm64) {
        raspberry_pi(config, &files, &mut boot, notes);
    }
    Ok(boot)
}

/// Files of the board: its overlays first, then its directories.
fn board_files(config: &Defconfig, tree: &BuildrootTree, dirs: &[String]) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let overlays = config.words("ROOTFS_OVERLAY");
    for dir in overlays.into_iter().chain(dirs.iter().map(String::as_str)) {
        for file in tree.below(dir)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn chain(config: &Defconfig, files: &[String], notes: &mut Notes) -> &'static str {
    let has_extlinux = files.iter().any(|file| file.ends_with("extlinux.conf"));
    if config.has("TARGET_UBOOT") {
        let has_script = config.has("PACKAGE_HOST_UBOOT_TOOLS_BOOT_SCRIPT")
            || files.iter().any(|file| file.ends_with("/boot.cmd"));
        return if has_script && !has_extlinux { "uboot-script" } else { "extlinux" };
    }
    let others = [
        ("TARGET_GRUB2", "GRUB"),
        ("TARGET_SYSLINUX", "syslinux"),
        ("PACKAGE_SYSTEMD_BOOT", "systemd-boot"),
        ("TARGET_BAREBOX", "barebox"),
        ("TARGET_EDK2", "EDK II"),
    ];
    let other = others.iter().find(|(symbol, _)| config.has(symbol));
    if let Some((symbol, name)) = other {
        notes.at(
            config.origin(symbol),
            format!("the board boots through {name}, which bimg does not set up: the boot partition is for U-Boot (`extlinux`)"),
        );
    } else if !config.has("PACKAGE_RPI_FIRMWARE") && !has_extlinux {
        notes.at(
            config.origin("TARGET_UBOOT"),
            "the board names no boot loader that bimg knows: the boot partition is for U-Boot (`extlinux`)",
        );
    }
    "extlinux"
}

/// The VideoCore firmware reads the FAT itself; its files are in Debian's `raspi-firmware`.
fn raspberry_pi(config: &Defconfig, files: &[String], boot: &mut Boot, notes: &mut Notes) {
    boot.chain = "rpi-firmware";
    let names: &[&str] = if config.has("PACKAGE_RPI_FIRMWARE_VARIANT_PI5") {
        &[]
    } else if config.has("PACKAGE_RPI_FIRMWARE_VARIANT_PI4") {
        &["start4.elf", "fixup4.dat"]
    } else {
        &["bootcode.bin", "start.elf", "fixup.dat"]
    };
    let dir = "rpi:usr/lib/raspi-firmware";
    let mut all: Vec<String> = names.iter().map(|name| quote(&format!("{dir}/{name}"))).collect();
    all.push(format!("{{ from = {}, to = \"overlays/\" }}", quote(&format!("{dir}/overlays/*"))));
    boot.files = Some(format!("[\n    {},\n]", all.join(",\n    ")));
    boot.firmware = Some(
        "rpi = { apt = \"raspi-firmware\", suite = \"trixie\", component = \"non-free-firmware\" }".into(),
    );
    let own = config.text("PACKAGE_RPI_FIRMWARE_CONFIG_FILE").map(|file| file.value.clone());
    if let Some(file) = own.or_else(|| files.iter().find(|file| file.ends_with("/config.txt")).cloned()) {
        notes.at(
            config.origin("PACKAGE_RPI_FIRMWARE_CONFIG_FILE"),
            format!("bimg writes config.txt: what `{file}` says besides goes to `boot.config`"),
        );
    }
}

/// From the first file that has one; else the console that the board logs in on.
fn cmdline(config: &Defconfig, tree: &BuildrootTree, files: &[String], notes: &mut Notes) -> Result<String> {
    let said = ["PACKAGE_RPI_FIRMWARE_CMDLINE_FILE", "PACKAGE_HOST_UBOOT_TOOLS_BOOT_SCRIPT_SOURCE"];
    let said = said.iter().filter_map(|symbol| config.text(symbol)).map(|text| text.value.clone());
    let candidates: Vec<String> = said.chain(files.iter().cloned()).collect();
    for find in [extlinux, plain_file, script, grub] {
        for file in &candidates {
            let name = file.rsplit('/').next().unwrap_or(file);
            if !is_candidate(name) {
                continue;
            }
            if let Some(line) = tree.read(file)?.and_then(|text| find(name, &text)) {
                return Ok(without_root(&line));
            }
        }
    }
    let port = config.text("TARGET_GENERIC_GETTY_PORT").filter(|port| port.starts_with("tty"));
    let Some(port) = port else {
        notes.at(
            config.origin("TARGET_GENERIC_GETTY_PORT"),
            "no kernel command line is found: say the board's `console=` in `kernel.cmdline`",
        );
        return Ok(String::new());
    };
    let speed = config.all("TARGET_GENERIC_GETTY_BAUDRATE_").find(|speed| speed.parse::<u32>().is_ok());
    let serial = !port.starts_with("tty1") || port.len() > 4;
    Ok(match speed {
        Some(speed) => format!("console={},{speed}", port.as_str()),
        None if serial => format!("console={},115200", port.as_str()),
        None => format!("console={}", port.as_str()),
    })
}

/// Text files that can hold a command line, by their names.
fn is_candidate(name: &str) -> bool {
    let endings = [".conf", ".txt", ".cmd", ".cfg", ".script", ".in", ".scr", ".env"];
    endings.iter().any(|ending| name.ends_with(ending))
}

/// `append` of an extlinux.conf.
fn extlinux(name: &str, text: &str) -> Option<String> {
    if !name.starts_with("extlinux") && !name.starts_with("syslinux") {
        return None;
    }
    text.lines().find_map(|line| {
        let (key, rest) = line.trim().split_once(char::is_whitespace)?;
        key.eq_ignore_ascii_case("append").then(|| rest.trim().to_string())
    })
}

/// cmdline.txt of the Raspberry Pi is nothing else.
fn plain_file(name: &str, text: &str) -> Option<String> {
    let line = text.lines().next()?.trim();
    (name.starts_with("cmdline") && !line.is_empty()).then(|| line.to_string())
}

/// `setenv bootargs ...` of a U-Boot script, `bootargs=...` of an environment.
fn script(name: &str, text: &str) -> Option<String> {
    if name.starts_with("readme") {
        return None;
    }
    text.lines().find_map(|line| {
        let line = line.trim();
        let rest = ["setenv bootargs ", "env set bootargs ", "bootargs=", "uenvcmd=setenv bootargs "]
            .iter()
            .find_map(|start| line.strip_prefix(start))?;
        let rest = rest.split(';').next().unwrap_or(rest);
        Some(rest.trim().trim_matches(['"', '\'']).to_string())
    })
}

/// `linux /Image ...` of a grub.cfg.
fn grub(name: &str, text: &str) -> Option<String> {
    if !name.starts_with("grub") {
        return None;
    }
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let loads = words.next().is_some_and(|word| word == "linux" || word == "linux16");
        words.next().filter(|_| loads)?;
        Some(words.collect::<Vec<_>>().join(" "))
    })
}

/// bimg says itself where the root is; variables and placeholders mean nothing here.
fn without_root(line: &str) -> String {
    let ours = ["root=", "rootwait", "rootfstype=", "rootflags=", "initrd="];
    let words: Vec<&str> = line
        .split_ascii_whitespace()
        .map(|word| word.trim_matches(['"', '\'']))
        .filter(|word| !word.is_empty() && !ours.iter().any(|start| word.starts_with(start)))
        .filter(|word| !word.contains(['$', '%', '@', '#']) && !word.chars().any(char::is_control))
        .collect();
    words.join(" ")
}

/// `[firmware]` and `[boot]` of a profile.
pub fn toml(boot: &Boot, uboot: Option<&str>) -> String {
    let mut out = String::new();
    let lines: Vec<&str> = boot.firmware.as_deref().into_iter().chain(uboot).collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "\n[firmware]\n{}", lines.join("\n"));
    }
    let _ = writeln!(out, "\n[boot]\nchain = {}", quote(boot.chain));
    if let Some(files) = &boot.files {
        let _ = writeln!(out, "firmware = {files}");
    }
    out
}

/// `[kernel]` of a profile.
pub fn kernel_toml(kernel: &super::kernel::Kernel, cmdline: &str) -> String {
    let mut out = String::from("\n[kernel]\n");
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "{key} = {value}");
    };
    if let Some(source) = &kernel.source {
        line("source", source);
    }
    line("defconfig", &quote(&kernel.defconfig));
    if let Some(fragments) = &kernel.fragments {
        line("fragments", fragments);
    }
    line("targets", &list(&[kernel.target.to_string()]));
    if !kernel.dtbs.is_empty() {
        line("dtbs", &list(&kernel.dtbs));
    }
    line("cmdline", &quote(cmdline));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_of_every_loader() {
        let text = "label x\n  kernel /Image\n  append console=ttyS0,115200 root=/dev/mmcblk0p2 rw rootwait ${extra}\n";
        let line = extlinux("extlinux.conf", text).unwrap();
        assert_eq!(without_root(&line), "console=ttyS0,115200 rw");
        let text = "# x\nsetenv bootargs \"console=ttyAMA0 root=PARTUUID=%UUID% quiet\"; booti\n";
        assert_eq!(without_root(&script("boot.cmd", text).unwrap()), "console=ttyAMA0 quiet");
        let text = "menuentry x {\n\tlinux /Image root=/dev/sda2 console=ttyS1\n}\n";
        assert_eq!(without_root(&grub("grub.cfg", text).unwrap()), "console=ttyS1");
        assert_eq!(plain_file("cmdline.txt", "a b\n").unwrap(), "a b");
        assert!(plain_file("config.txt", "a").is_none() && script("readme.txt", "bootargs=x").is_none());
    }
}
