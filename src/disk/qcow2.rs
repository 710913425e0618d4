//! `qcow2`, written by QEMU's own tool.

use std::path::PathBuf;

use crate::disk::format::{Finished, Output, beside};
use crate::error::{Context, Result};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Progress;

/// See the module.
pub struct Qcow2;

impl Output for Qcow2 {
    fn write(&self, image: &Finished<'_>, progress: &dyn Progress) -> Result<Vec<PathBuf>> {
        let target = beside(image.path, "qcow2");
        let output = fsx::AtomicFile::create(&target)?;
        progress.note("writing the image for QEMU");
        // One request at a time: clusters lie in the order of the image, so equal images give equal files.
        Cmd::new("qemu-img")
            .args(["convert", "-q", "-f", "raw", "-O", "qcow2", "-m", "1"])
            .args([image.path, output.partial_path()])
            .check()
            .context(|| format!("cannot write `{}`", target.display()))?;
        output.commit()?;
        Ok(vec![target])
    }

    fn tool(&self) -> Option<(&'static str, &'static str)> {
        Some(("qemu-img", "writes the image for QEMU"))
    }
}
