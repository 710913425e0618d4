//! The Raspberry Pi's own firmware: `config.txt`, `cmdline.txt`, kernel, DTB, overlays and the
//! firmware's files, all in the first FAT of the card.
//!
//! Reference: <https://www.raspberrypi.com/documentation/computers/config_txt.html>, sections named
//! in the comments of the file we write, and "Boot folder contents" in
//! <https://www.raspberrypi.com/documentation/computers/configuration.html>.

use std::fmt::Write;

use super::{
    BootChain, BootFile, BootInput, BootSpec, ChainName, Files, INITRAMFS, check_cmdline, file_name, firmware,
};
use crate::arch::Arch;
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct RpiFirmware<'a> {
    /// What the profile says.
    pub spec: &'a BootSpec,
}

impl BootChain for RpiFirmware<'_> {
    fn name(&self) -> ChainName {
        ChainName::RpiFirmware
    }

    fn files(&self, input: &BootInput<'_>) -> Result<Vec<BootFile>> {
        check_cmdline(input)?;
        let kernel = self.kernel_name(input)?;
        let mut files = Files::default();
        files.put("config.txt", self.config(input, kernel).as_str())?;
        // One line; the firmware reads no further.
        files.put("cmdline.txt", format!("{}\n", input.cmdline).as_str())?;
        files.put(kernel, input.kernel.1.clone())?;
        for (name, content) in &input.dtbs {
            files.put(file_name(name), content.clone())?;
        }
        for (name, content) in &input.overlays {
            files.put(&format!("overlays/{}", file_name(name)), content.clone())?;
        }
        if let Some(content) = &input.initramfs {
            files.put(INITRAMFS, content.clone())?;
        }
        firmware::put(&mut files, &self.spec.firmware, input)?;
        check_firmware(input, &files)?;
        self.check_overlays(&files)?;
        Ok(files.finish())
    }
}

impl RpiFirmware<'_> {
    fn kernel_name(&self, input: &BootInput<'_>) -> Result<&str> {
        let (images, name): (&[&str], &str) = match input.arch {
            // The firmware unpacks gzip by itself.
            Arch::Arm64 => (&["Image", "Image.gz"], "kernel8.img"),
            Arch::Arm => (&["zImage", "Image"], "kernel7l.img"),
            Arch::Riscv | Arch::X86_64 => {
                return Err(Error::usage(format!(
                    "boot chain `rpi-firmware` cannot start a kernel for {}",
                    input.arch
                ))
                .hint("a Raspberry Pi is `arm` or `arm64`"));
            }
        };
        if !images.contains(&input.kernel.0.as_str()) {
            return Err(Error::usage(format!(
                "the Raspberry Pi's firmware cannot start a kernel called `{}`",
                input.kernel.0
            ))
            .hint(format!("on {} it starts `{}`", input.arch, images.join("` and `"))));
        }
        Ok(self.spec.kernel.as_deref().unwrap_or(name))
    }

    fn config(&self, input: &BootInput<'_>, kernel: &str) -> String {
        let mut text = String::from(
            "# Read by the Raspberry Pi's firmware before the kernel starts; made by bimg.\n\
             # https://www.raspberrypi.com/documentation/computers/config_txt.html\n",
        );
        let mut option = |comment: &str, line: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n# {comment}\n{line}\n");
        };
        option(
            "\"arm_64bit\": state in which the firmware starts the kernel.",
            &format!("arm_64bit={}", u8::from(input.arch == Arch::Arm64)),
        );
        option("\"kernel\": file to load.", &format!("kernel={kernel}"));
        if input.initramfs.is_some() {
            option(
                "\"initramfs\": file to load behind the kernel (no `=` here).",
                &format!("initramfs {INITRAMFS} followkernel"),
            );
        }
        match input.dtbs.as_slice() {
            [] => {}
            [(name, _)] => option(
                "\"device_tree\": DTB to load; the firmware's own choice goes by vendor kernel names.",
                &format!("device_tree={}", file_name(name)),
            ),
            _ => option(
                "\"upstream_kernel\": choose the DTB of the board by mainline names.",
                "upstream_kernel=1",
            ),
        }
        option(
            "\"enable_uart\": serial console on GPIO 14 and 15, with a core clock that keeps its baud rate.",
            "enable_uart=1",
        );
        if !self.spec.dtoverlays.is_empty() {
            let lines: Vec<String> =
                self.spec.dtoverlays.iter().map(|overlay| format!("dtoverlay={overlay}")).collect();
            option("\"dtoverlay\": applied to the DTB, from overlays/.", &lines.join("\n"));
        }
        if !self.spec.config.is_empty() {
            option("From the board's profile.", &self.spec.config.join("\n"));
        }
        text
    }

    fn check_overlays(&self, files: &Files) -> Result<()> {
        for overlay in &self.spec.dtoverlays {
            let name = overlay.split([',', ':']).next().unwrap_or_default();
            if !files.0.contains_key(&format!("overlays/{name}.dtbo").to_ascii_lowercase()) {
                return Err(Error::usage(format!(
                    "`boot.dtoverlays` names `{name}`, but the boot partition has no `overlays/{name}.dtbo`"
                ))
                .hint("add it to the profile's overlays, or to `boot.firmware` with `to = \"overlays/\"`"));
            }
        }
        Ok(())
    }
}

/// The firmware files without which this generation of boards stays dark. (The Pi 5 has them in its EEPROM.)
fn check_firmware(input: &BootInput<'_>, files: &Files) -> Result<()> {
    let has = |prefix: &str| input.dtbs.iter().any(|(name, _)| file_name(name).starts_with(prefix));
    let mut needed = Vec::new();
    if has("bcm2711") {
        needed.extend(["start4.elf", "fixup4.dat"]);
    }
    if ["bcm2708", "bcm2709", "bcm2710", "bcm2835", "bcm2836", "bcm2837"].iter().any(|soc| has(soc)) {
        needed.extend(["bootcode.bin", "start.elf", "fixup.dat"]);
    }
    match needed.into_iter().find(|name| !files.0.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::usage(format!("the boot partition lacks the firmware file `{name}`"))
            .caused_by("a board with this DTB does not start without it")
            .hint(format!(
                "add the path of `{name}` to `boot.firmware`; in package `raspi-firmware` it is `usr/lib/raspi-firmware/{name}`"
            ))),
    }
}
