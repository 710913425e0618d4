//! The boot partition inside a finished image, read as a boot loader would: partition table, FAT, files.

use std::path::Path;

use crate::boot::config_txt::Files;
use crate::error::{Error, Result};
use crate::fsx;
use crate::image::chain::raspberry_pi::BootFiles;
use crate::image::fat::FatVolume;
use crate::image::read::Source;
use crate::image::{Image, Window};

/// The first FAT partition of an image.
pub struct Card {
    fat: FatVolume,
}

impl Card {
    /// Opens the image, read-only.
    pub fn open(path: &Path) -> Result<Self> {
        let image = Image::open(path)?;
        // As the firmware looks: in the MBR first, of a hybrid table too.
        let entries = image.table.hybrid.iter().chain(image.table.contents());
        for entry in entries {
            let source: Source =
                std::sync::Arc::new(Window::new(image.source.clone(), entry.start.0, entry.size.0));
            let fat = FatVolume::open(source)
                .map_err(|cause| fsx::io_error("read the boot partition of", path, &cause))?;
            if let Some(fat) = fat {
                return Ok(Card { fat });
            }
        }
        Err(Error::new(format!("`{}` holds no FAT partition", path.display()))
            .hint("a Raspberry Pi's firmware boots from the first FAT of the card"))
    }

    fn files(&self) -> BootFiles<'_> {
        // Kernels and initramfs files as well: whatever the image holds.
        BootFiles { volume: &self.fat, limit: u64::MAX }
    }
}

impl Files for Card {
    fn exists(&self, path: &str) -> bool {
        self.files().exists(path)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.files().read(path)
    }
}
