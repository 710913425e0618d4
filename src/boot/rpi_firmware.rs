//! The Raspberry Pi's own firmware: `config.txt`, `cmdline.txt`, kernel, DTB, overlays and the
//! firmware's files, all in the first FAT of the card.
//!
//! Reference: <https://www.raspberrypi.com/documentation/computers/config_txt.html>, sections named
//! in the comments of the file we write, and "Boot folder contents" in
//! <https://www.raspberrypi.com/documentation/computers/configuration.html>.
//!
//! A deployment is a directory that `os_prefix` names, in a file of one sector that config.txt includes: kernel, DTB
//! and command line are then looked for there, and where the firmware does not find both kernel and DTB it takes the
//! image's own. A trial is `tryboot`: a reboot with that argument makes the firmware read `tryboot.txt` in place of
//! config.txt, once. Only Raspberry Pi's own kernels hand on that argument; mainline's do not.

use std::fmt::Write;

use super::slots::{self, Once, SlotDirs, SlotId, SlotState, Slots};
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

/// State file that config.txt includes: which kernel is the default.
const DEFAULT: &str = "bimg-default.txt";
/// State file that tryboot.txt includes as well: which kernel is tried.
const TRIAL: &str = "bimg-trial.txt";
/// Command line of a trial, in the directory of the deployment. The image's own is for a trial whose directory the
/// firmware does not accept.
const TRIAL_CMDLINE: &str = "cmdline-trial.txt";
/// In config.txt: which state files it includes.
const MARK: &str = "# bimg slots 1";
/// In both state files.
const STATE_MARK: &str = "# bimg state 1: rewritten in place by `bimg deploy`";
/// First line of a state file that names no deployment.
const NONE: &str = "# the image's own kernel";
/// Seconds until a kernel that was tried has to feed the watchdog.
const WATCHDOG: u32 = 60;

impl BootChain for RpiFirmware<'_> {
    fn name(&self) -> ChainName {
        ChainName::RpiFirmware
    }

    fn files(&self, input: &BootInput<'_>) -> Result<Vec<BootFile>> {
        check_cmdline(input)?;
        let kernel = self.kernel_name(input)?;
        let mut files = Files::default();
        let config = self.config(input, kernel);
        files.put("config.txt", format!("{config}{}", include_default()).as_str())?;
        files.put("tryboot.txt", format!("{config}{}{}", include_default(), include_trial()).as_str())?;
        for (path, content) in self.state(&SlotState::default()) {
            files.put(path, content)?;
        }
        self.put_payload(&mut files, input, "", &input.cmdline)?;
        firmware::put(&mut files, &self.spec.firmware, input)?;
        check_firmware(input, &files)?;
        self.check_overlays(&files)?;
        Ok(files.finish())
    }

    fn slots(&self) -> Option<Box<dyn Slots + '_>> {
        Some(Box::new(RpiFirmware { spec: self.spec }))
    }
}

impl Slots for RpiFirmware<'_> {
    fn files(&self, input: &BootInput<'_>, dirs: &SlotDirs, trial_cmdline: &str) -> Result<Vec<BootFile>> {
        check_cmdline(input)?;
        check_cmdline(&BootInput { cmdline: trial_cmdline.to_string(), ..input.clone() })?;
        // `os_prefix` is one directory for all.
        let dir = dirs.dir();
        let mut files = Files::default();
        self.put_payload(&mut files, input, &dir, trial_cmdline)?;
        if !input.overlays.is_empty() {
            // This file is how the firmware knows that overlays are not shared with the image: then all are needed.
            files.put(&format!("{dir}overlays/README"), "Overlays of this kernel and of the firmware.\n")?;
            let mut shared = Files::default();
            firmware::put(&mut shared, &self.spec.firmware, input)?;
            for file in shared.finish() {
                if file.path.as_str().starts_with("overlays/") && file.path.name() != "README" {
                    files.put(&format!("{dir}{}", file.path.as_str()), file.content)?;
                }
            }
        }
        Ok(files.finish())
    }

    fn state(&self, state: &SlotState) -> Vec<(&'static str, Vec<u8>)> {
        let prefix = |id: &SlotId| format!("os_prefix={}", id.dir());
        let default = state.default.as_ref().map_or(NONE.to_string(), prefix);
        let trial = match &state.trial {
            None => slots::sector(&[NONE, STATE_MARK]),
            Some(id) => slots::sector(&[&prefix(id), STATE_MARK, &format!("cmdline={TRIAL_CMDLINE}")]),
        };
        vec![(DEFAULT, slots::sector(&[&default, STATE_MARK])), (TRIAL, trial)]
    }

    fn parse(&self, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<SlotState> {
        let slot = |path: &str| {
            let bytes = read(path)?;
            match slots::lines(&bytes)?.as_slice() {
                [NONE, STATE_MARK, ..] => Some(None),
                [prefix, STATE_MARK, ..] => {
                    let dir = prefix.strip_prefix("os_prefix=")?.strip_prefix(slots::DIR)?;
                    Some(Some(dir.strip_prefix('/')?.strip_suffix('/')?.parse().ok()?))
                }
                _ => None,
            }
        };
        Some(SlotState { default: slot(DEFAULT)?, trial: slot(TRIAL)? })
    }

    fn reboot(&self) -> &'static str {
        "reboot '0 tryboot'"
    }

    fn once(&self) -> Option<Once> {
        Some(Once {
            // The device by which Raspberry Pi's kernels, and no others, let user space talk to the firmware.
            test: "[ -e /dev/vcio ] && \
                   case $(readlink -f \"$(command -v reboot)\") in *busybox*) false ;; esac",
            why: "the firmware boots a kernel once when it is told `0 tryboot`, and only Raspberry Pi's kernels, with a \
                  `reboot` that is not busybox's, hand that on",
            hint: "board `rpi4-uboot` tries kernels without: build its image and flash it",
        })
    }

    fn evidence(&self) -> &'static [(&'static str, &'static str)] {
        &[("config.txt", MARK), ("tryboot.txt", MARK), (DEFAULT, STATE_MARK), (TRIAL, STATE_MARK)]
    }
}

/// The end of config.txt.
fn include_default() -> String {
    format!(
        "\n{MARK}\n# \"include\", \"os_prefix\": a kernel that `bimg deploy` brought, when it is the default.\n\
         [all]\ninclude {DEFAULT}\n"
    )
}

/// The end of tryboot.txt.
fn include_trial() -> String {
    format!(
        "\n# The kernel that is tried, under a watchdog; older firmware passes over it.\n\
         include {TRIAL}\nkernel_watchdog_timeout={WATCHDOG}\n"
    )
}

impl RpiFirmware<'_> {
    /// What the firmware calls operating system files, below `dir` (empty, or with a `/` at the end).
    fn put_payload(
        &self,
        files: &mut Files,
        input: &BootInput<'_>,
        dir: &str,
        trial_cmdline: &str,
    ) -> Result<()> {
        // One line; the firmware reads no further.
        files.put(&format!("{dir}cmdline.txt"), format!("{}\n", input.cmdline).as_str())?;
        files.put(&format!("{dir}{TRIAL_CMDLINE}"), format!("{trial_cmdline}\n").as_str())?;
        files.put(&format!("{dir}{}", self.kernel_name(input)?), input.kernel.1.clone())?;
        for (name, content) in &input.dtbs {
            files.put(&format!("{dir}{}", file_name(name)), content.clone())?;
        }
        for (name, content) in &input.overlays {
            files.put(&format!("{dir}overlays/{}", file_name(name)), content.clone())?;
        }
        if let Some(content) = &input.initramfs {
            files.put(&format!("{dir}{INITRAMFS}"), content.clone())?;
        }
        Ok(())
    }

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
pub(super) fn check_firmware(input: &BootInput<'_>, files: &Files) -> Result<()> {
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
