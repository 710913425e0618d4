//! `boot.scr`: a script that U-Boot's distro boot runs from a bootable partition.
//!
//! Everything board-specific comes from U-Boot's own environment: where the script was found
//! (`devtype`, `devnum`, `distro_bootpart`, `prefix`) and where things are loaded (`scriptaddr`, `kernel_addr_r`,
//! `fdt_addr_r`, `ramdisk_addr_r`), see U-Boot `doc/develop/distro.rst`. A script's text is copied
//! before it runs, so that `scriptaddr` is free.
//!
//! The script chooses, by the state file `STATE`, among the trial, the default and the image's own kernel, in this
//! order; one that cannot be started comes back and the next is tried. A deployment brings a script of its
//! own for either way to boot it, `boot.scr` and `trial.scr`, with checksums as U-Boot scripts have them: they name what
//! it needs, and neither a kernel that came with a deployment nor one of the image's files ever changes.
//!
//! A trial is taken away before it is started: one byte of the sector makes its line a comment, the sector is
//! written where it is, and only what reads back as taken away lets the trial start. (2025.01 was seen to
//! stamp the time into the file's directory entry as well.) Stock U-Boots have `fatwrite`, but neither a boot counter nor
//! writable ext4; one that drives a watchdog starts it by itself (`CONFIG_WATCHDOG_AUTOSTART`).

use std::fmt::Write;

use super::slots::{self, SlotDirs, SlotId, SlotState, Slots};
use super::{
    BootChain, BootFile, BootInput, BootSpec, ChainName, Files, INITRAMFS, check_cmdline, file_name,
    firmware, rpi_firmware, uimage,
};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct UbootScript<'a> {
    /// What the profile says.
    pub spec: &'a BootSpec,
}

/// The state file: an environment text (U-Boot `env import -t`) of one sector.
const STATE: &str = "bimg.env";
/// In the image's script: which state file it reads.
const MARK: &str = "# bimg slots 1";
/// In the state file, behind what the script reads.
const STATE_MARK: &str = "# bimg state 1: rewritten in place by `bimg deploy`, the first byte by boot.scr";

impl BootChain for UbootScript<'_> {
    fn name(&self) -> ChainName {
        ChainName::UbootScript
    }

    fn files(&self, input: &BootInput<'_>) -> Result<Vec<BootFile>> {
        check_cmdline(input)?;
        let mut files = Files::default();
        let text = script(input, self.behind_firmware())?;
        let script = uimage::script(input.arch, "bimg boot script", input.epoch, &text)?;
        files.put("boot.scr", script)?;
        for (path, content) in self.state(&SlotState::default()) {
            files.put(path, content)?;
        }
        let mut payload = input.clone();
        if self.behind_firmware() {
            // The firmware picks the board's DTB, fills in what only it knows, and hands it to U-Boot.
            for (name, content) in std::mem::take(&mut payload.dtbs) {
                files.put(file_name(&name), content)?;
            }
            let lines = self.spec.config.join("\n");
            let note = "# Read by the Raspberry Pi's firmware, which starts U-Boot; made by bimg.";
            files.put("config.txt", format!("{note}\n{lines}\n").as_str())?;
        }
        files.put_uboot_payload(&payload, "")?;
        firmware::put(&mut files, &self.spec.firmware, input)?;
        if self.behind_firmware() {
            rpi_firmware::check_firmware(input, &files)?;
        }
        Ok(files.finish())
    }

    fn slots(&self) -> Option<Box<dyn Slots + '_>> {
        Some(Box::new(UbootScript { spec: self.spec }))
    }
}

impl UbootScript<'_> {
    /// True when a Raspberry Pi's firmware starts U-Boot, with a device tree.
    fn behind_firmware(&self) -> bool {
        !self.spec.config.is_empty()
    }
}

impl Slots for UbootScript<'_> {
    fn files(&self, input: &BootInput<'_>, dirs: &SlotDirs, trial_cmdline: &str) -> Result<Vec<BootFile>> {
        let (dir, kernel) = (dirs.dir(), dirs.kernel_dir());
        let mut files = Files::default();
        let trial = BootInput { cmdline: trial_cmdline.to_string(), ..input.clone() };
        for (name, input) in [("boot.scr", input), ("trial.scr", &trial)] {
            check_cmdline(input)?;
            let text =
                format!("# Run by the image's boot.scr; made by bimg.\n{}", start(input, &kernel, None)?);
            let script = uimage::script(input.arch, &format!("bimg {}", dirs.id), input.epoch, &text)?;
            files.put(&format!("{dir}{name}"), script)?;
        }
        files.put_uboot_payload(input, &kernel)?;
        Ok(files.finish())
    }

    fn state(&self, state: &SlotState) -> Vec<(&'static str, Vec<u8>)> {
        let trial = state.trial.as_ref().map_or("none", SlotId::as_str);
        let default = state.default.as_ref().map_or("image", SlotId::as_str);
        // Of two lines with one name `env import` takes the first: the last one counts when the first is a comment.
        let content = slots::sector(&[
            &format!("bimg_trial={trial}"),
            &format!("bimg_default={default}"),
            "bimg_trial=none",
            STATE_MARK,
        ]);
        vec![(STATE, content)]
    }

    fn parse(&self, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<SlotState> {
        let bytes = read(STATE)?;
        let lines = slots::lines(&bytes)?;
        let [first, default, "bimg_trial=none", STATE_MARK, ..] = lines.as_slice() else { return None };
        let trial = match first.strip_prefix("bimg_trial=") {
            Some("none") => None,
            Some(id) => Some(id.parse().ok()?),
            None if first.starts_with("#img_trial=") => None,
            None => return None,
        };
        let default = match default.strip_prefix("bimg_default=")? {
            "image" => None,
            id => Some(id.parse().ok()?),
        };
        Some(SlotState { default, trial })
    }

    fn reboot(&self) -> &'static str {
        "reboot"
    }

    fn evidence(&self) -> &'static [(&'static str, &'static str)] {
        &[("boot.scr", MARK), (STATE, "# bimg state 1")]
    }
}

/// Where the script was found.
const FROM: &str = "${devtype} ${devnum}:${distro_bootpart}";

/// The text of the image's script, without its header. `handed`: U-Boot was handed the device tree.
pub(super) fn script(input: &BootInput<'_>, handed: bool) -> Result<String> {
    // Numbers are hexadecimal for every command here: 200 is one sector. A comparison is of text.
    Ok(format!(
        "# Run by U-Boot (distro boot); made by bimg.\n\
         {MARK}\n\
         \n\
         # What to boot: a trial, once; else the default; else the image's own kernel.\n\
         setenv bimg_trial none\n\
         setenv bimg_default image\n\
         setenv bimg_read 'load {FROM} ${{scriptaddr}} ${{prefix}}{STATE} 200 && test \"${{filesize}}\" = 200'\n\
         setenv bimg_import 'env import -t ${{scriptaddr}} 200 bimg_trial bimg_default'\n\
         setenv bimg_source 'load {FROM} ${{scriptaddr}} ${{prefix}}{DIR}/${{bimg_id}} && source ${{scriptaddr}}'\n\
         if run bimg_read; then run bimg_import; fi\n\
         \n\
         # The trial is taken away before it starts, and it has to be seen gone on the disk.\n\
         if test \"${{bimg_trial}}\" != none; then\n\
         \x20 echo \"bimg: trial boot of ${{bimg_trial}}\"\n\
         \x20 setenv bimg_id ${{bimg_trial}}/trial.scr\n\
         \x20 mw.b ${{scriptaddr}} 23\n\
         \x20 if fatwrite {FROM} ${{scriptaddr}} ${{prefix}}{STATE} 200; then\n\
         \x20   mw.b ${{scriptaddr}} 0 200\n\
         \x20   if run bimg_read && run bimg_import && test \"${{bimg_trial}}\" = none; then run bimg_source; fi\n\
         \x20 fi\n\
         \x20 echo \"bimg: the trial does not start\"\n\
         fi\n\
         if test \"${{bimg_default}}\" != image; then\n\
         \x20 setenv bimg_id ${{bimg_default}}/boot.scr\n\
         \x20 run bimg_source\n\
         \x20 echo \"bimg: the default does not start\"\n\
         fi\n\
         \n\
         # The image's own kernel.\n\
         {}",
        start(input, "", handed.then_some("${fdt_addr}"))?,
        DIR = slots::DIR,
    ))
}

/// Loads and starts the kernel below `dir` of where the script was found, with a device tree that is in memory
/// already or else with its own. Only a failure gets to the end of it: a kernel that starts does not come back.
fn start(input: &BootInput<'_>, dir: &str, in_memory: Option<&'static str>) -> Result<String> {
    let load = format!("load {FROM}");
    let boot = boot_command(&input.kernel.0)?;
    let mut text = format!(
        "echo \"bimg: Linux {} from {FROM}\"\n\
         setenv bimg_kernel {}\n\
         setenv bootargs {}\n",
        input.release,
        quote(&format!("{dir}{}", input.kernel.0))?,
        quote(&input.cmdline)?,
    );
    let mut steps = vec![format!("{load} ${{kernel_addr_r}} ${{prefix}}${{bimg_kernel}}")];

    let fdt = match input.dtbs.as_slice() {
        _ if in_memory.is_some() => in_memory.unwrap_or_default(),
        [] => "${fdtcontroladdr}",
        [(name, _)] => {
            let _ = writeln!(text, "setenv bimg_fdt {}", quote(&format!("{dir}dtbs/{name}"))?);
            "${fdt_addr_r}"
        }
        _ => {
            // U-Boot knows which board it runs on.
            let _ = writeln!(text, "setenv bimg_fdt {dir}dtbs/${{fdtfile}}");
            "${fdt_addr_r}"
        }
    };
    if fdt == "${fdt_addr_r}" {
        steps.push(format!("{load} ${{fdt_addr_r}} ${{prefix}}${{bimg_fdt}}"));
    }
    if !input.overlays.is_empty() {
        // Room for what the overlays add.
        steps.push(format!("fdt addr {fdt}"));
        steps.push("fdt resize 0x10000".to_string());
    }
    for (name, _) in &input.overlays {
        let path = quote(&format!("{dir}overlays/{}", file_name(name)))?;
        steps.push(format!("{load} ${{scriptaddr}} ${{prefix}}{path}"));
        steps.push("fdt apply ${scriptaddr}".to_string());
    }
    // Last, so that `filesize` is its size when the kernel starts.
    let ramdisk = if input.initramfs.is_some() {
        let _ = writeln!(text, "setenv bimg_initramfs {dir}{INITRAMFS}");
        steps.push(format!("{load} ${{ramdisk_addr_r}} ${{prefix}}${{bimg_initramfs}}"));
        "${ramdisk_addr_r}:${filesize}"
    } else {
        "-"
    };
    let _ = write!(
        text,
        "if {}; then\n  {boot} ${{kernel_addr_r}} {ramdisk} {fdt}\nfi\n\
         echo \"bimg: cannot boot ${{prefix}}${{bimg_kernel}}\"\n",
        steps.join(" && ")
    );
    Ok(text)
}

/// U-Boot's command for a kind of kernel image.
fn boot_command(kernel: &str) -> Result<&'static str> {
    match kernel {
        "Image" | "Image.gz" => Ok("booti"),
        "zImage" => Ok("bootz"),
        "uImage" => Ok("bootm"),
        other => {
            Err(Error::usage(format!("boot chain `uboot-script` cannot start a kernel called `{other}`"))
                .hint("it starts `Image`, `Image.gz`, `zImage` and `uImage`"))
        }
    }
}

/// One word for U-Boot's hush shell, taken literally. Hush has no way to write a `'` inside quotes.
fn quote(word: &str) -> Result<String> {
    if word.contains('\'') {
        return Err(Error::usage(format!("a U-Boot script cannot hold `{word}`"))
            .caused_by("U-Boot's shell has no way to quote `'`")
            .hint("use `\"`, which the kernel understands too"));
    }
    Ok(format!("'{word}'"))
}
