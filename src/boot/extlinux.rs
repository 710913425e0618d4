//! `extlinux/extlinux.conf`: what U-Boot's distro boot looks for first on a bootable partition.
//!
//! Format: U-Boot `doc/README.pxe`. A path that starts with `/` counts from the filesystem's root; distro
//! boot looks for the file there and in `/boot`.

use std::fmt::Write;

use super::{
    BootChain, BootFile, BootInput, BootSpec, ChainName, Files, INITRAMFS, check_cmdline, file_name, firmware,
};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct Extlinux<'a> {
    /// What the profile says.
    pub spec: &'a BootSpec,
}

impl BootChain for Extlinux<'_> {
    fn name(&self) -> ChainName {
        ChainName::Extlinux
    }

    fn files(&self, input: &BootInput<'_>) -> Result<Vec<BootFile>> {
        check_cmdline(input)?;
        let mut files = Files::default();
        files.put("extlinux/extlinux.conf", conf(input)?.as_str())?;
        files.put_uboot_payload(input, "")?;
        firmware::put(&mut files, &self.spec.firmware, input)?;
        Ok(files.finish())
    }
}

/// The text. Without a DTB of the image U-Boot hands on its own; with one it takes that one; with
/// several it chooses by its `fdtfile` variable.
fn conf(input: &BootInput<'_>) -> Result<String> {
    if input.cmdline.contains("${") {
        return Err(Error::usage("the kernel command line cannot be used")
            .caused_by("it holds `${`, which U-Boot would replace by a variable of its own"));
    }
    let root = if input.dir.is_empty() { String::new() } else { format!("/{}", input.dir) };
    let mut text = format!(
        "# Read by U-Boot (distro boot); made by bimg.\n\
         default linux\n\
         # Tenths of a second before the default boots.\n\
         timeout 10\n\
         \n\
         label linux\n\
         \x20   menu label Linux {}\n\
         \x20   kernel {root}/{}\n",
        input.release, input.kernel.0
    );
    let mut line = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {key} {value}");
    };
    if input.initramfs.is_some() {
        line("initrd", &format!("{root}/{INITRAMFS}"));
    }
    match input.dtbs.as_slice() {
        [] => {}
        [(name, _)] => line("fdt", &format!("{root}/dtbs/{name}")),
        _ => line("fdtdir", &format!("{root}/dtbs")),
    }
    if !input.overlays.is_empty() {
        let paths: Vec<String> =
            input.overlays.iter().map(|(name, _)| format!("{root}/overlays/{}", file_name(name))).collect();
        line("fdtoverlays", &paths.join(" "));
    }
    line("append", &input.cmdline);
    Ok(text)
}
