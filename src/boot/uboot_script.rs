//! `boot.scr`: a script that U-Boot's distro boot runs from a bootable partition.
//!
//! Everything board-specific comes from U-Boot's own environment: where the script was found
//! (`devtype`, `devnum`, `distro_bootpart`, `prefix`) and where things are loaded (`kernel_addr_r`,
//! `fdt_addr_r`, `ramdisk_addr_r`), see U-Boot `doc/develop/distro.rst`. The script works in four
//! steps: say what it is, choose what to boot, load, start. What keeps a choice between two kernels
//! (a trial boot) belongs into the second step alone: the others only read `bimg_kernel`, `bimg_fdt`,
//! `bimg_initramfs` and `bootargs`.

use std::fmt::Write;

use super::{
    BootChain, BootFile, BootInput, BootSpec, ChainName, Files, INITRAMFS, check_cmdline, file_name,
    firmware, uimage,
};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct UbootScript<'a> {
    /// What the profile says.
    pub spec: &'a BootSpec,
}

impl BootChain for UbootScript<'_> {
    fn name(&self) -> ChainName {
        ChainName::UbootScript
    }

    fn files(&self, input: &BootInput<'_>) -> Result<Vec<BootFile>> {
        check_cmdline(input)?;
        let mut files = Files::default();
        let script = uimage::script(input.arch, "bimg boot script", input.epoch, &script(input)?)?;
        files.put("boot.scr", script)?;
        files.put_uboot_payload(input)?;
        firmware::put(&mut files, &self.spec.firmware, input)?;
        Ok(files.finish())
    }
}

/// Loads a file from where the script was found.
const LOAD: &str = "load ${devtype} ${devnum}:${distro_bootpart}";

/// The text of the script, without its header.
pub(super) fn script(input: &BootInput<'_>) -> Result<String> {
    let boot = boot_command(&input.kernel.0)?;
    let mut text = format!(
        "# Run by U-Boot (distro boot); made by bimg.\n\
         echo \"bimg: Linux {} from ${{devtype}} ${{devnum}}:${{distro_bootpart}}\"\n\
         \n\
         # What to boot.\n\
         setenv bimg_kernel {}\n\
         setenv bootargs {}\n",
        input.release,
        quote(&input.kernel.0)?,
        quote(&input.cmdline)?,
    );
    let mut steps = vec![format!("{LOAD} ${{kernel_addr_r}} ${{prefix}}${{bimg_kernel}}")];

    let fdt = match input.dtbs.as_slice() {
        [] => "${fdtcontroladdr}",
        [(name, _)] => {
            let _ = writeln!(text, "setenv bimg_fdt {}", quote(&format!("dtbs/{name}"))?);
            "${fdt_addr_r}"
        }
        _ => {
            // U-Boot knows which board it runs on.
            text.push_str("setenv bimg_fdt dtbs/${fdtfile}\n");
            "${fdt_addr_r}"
        }
    };
    if !input.dtbs.is_empty() {
        steps.push(format!("{LOAD} ${{fdt_addr_r}} ${{prefix}}${{bimg_fdt}}"));
    }
    if !input.overlays.is_empty() {
        // Room for what the overlays add.
        steps.push(format!("fdt addr {fdt}"));
        steps.push("fdt resize 0x10000".to_string());
    }
    for (name, _) in &input.overlays {
        let path = quote(&format!("overlays/{}", file_name(name)))?;
        steps.push(format!("{LOAD} ${{scriptaddr}} ${{prefix}}{path}"));
        steps.push("fdt apply ${scriptaddr}".to_string());
    }
    // Last, so that `filesize` is its size when the kernel starts.
    let ramdisk = if input.initramfs.is_some() {
        let _ = writeln!(text, "setenv bimg_initramfs {INITRAMFS}");
        steps.push(format!("{LOAD} ${{ramdisk_addr_r}} ${{prefix}}${{bimg_initramfs}}"));
        "${ramdisk_addr_r}:${filesize}"
    } else {
        "-"
    };
    // Only a failure gets to the last line: a kernel that starts does not come back.
    let _ = write!(
        text,
        "\n# Load and start it.\n{}; then\n  {boot} ${{kernel_addr_r}} {ramdisk} {fdt}\nfi\n\
         echo \"bimg: cannot boot ${{prefix}}${{bimg_kernel}}\"\n",
        steps
            .iter()
            .enumerate()
            .map(|(i, step)| format!("{}{step}", if i == 0 { "if " } else { "&& " }))
            .collect::<Vec<_>>()
            .join(" ")
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
