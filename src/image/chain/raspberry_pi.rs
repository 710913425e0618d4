//! The Raspberry Pi's firmware: what `config.txt` leads to on each model that the partition has a DTB for.

use super::{Chain, Entry, Finding};
use crate::boot::config_txt::{self, Choice, Files, Model};
use crate::error::Result;
use crate::image::volume::{self, Kind, Volume};

/// Bytes of a file that the firmware's choice depends on; kernels are not read for it.
const MAX: u64 = 1 << 20;

/// The files of a boot partition, as the firmware's rules ask for them.
pub struct BootFiles<'a> {
    /// The partition.
    pub volume: &'a dyn Volume,
    /// Bytes of a file that are read.
    pub limit: u64,
}

impl Files for BootFiles<'_> {
    fn exists(&self, path: &str) -> bool {
        matches!(self.volume.entry(&volume::normal(path)), Ok(Some(entry)) if entry.kind == Kind::File)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.volume.read(&volume::normal(path), self.limit)
    }
}

/// The chain of a partition; `None` when it is not a Raspberry Pi's.
pub fn read(volume: &dyn Volume, mut chain: Chain) -> Option<Chain> {
    let files = BootFiles { volume, limit: MAX };
    let is_pi = files.exists("config.txt")
        || Model::ALL
            .iter()
            .any(|model| model.firmware().iter().any(|any| any.iter().any(|name| files.exists(name))));
    if !is_pi {
        return None;
    }
    let mut models: Vec<Model> =
        Model::ALL.into_iter().filter(|model| model.dtbs().iter().any(|dtb| files.exists(dtb))).collect();
    if models.is_empty() {
        // A custom `device_tree=`, or none at all: say what the newest board would do.
        models.push(Model::Pi4B);
    }
    for model in models {
        let ways = [
            (model.name().to_string(), config_txt::choose(&files, model).map(Some)),
            (format!("{} (tryboot)", model.name()), config_txt::choose_trial(&files, model)),
        ];
        for (title, choice) in ways {
            match choice {
                Ok(None) => {}
                Ok(Some(choice)) => chain.entries.push(entry(title, model, choice)),
                Err(error) => {
                    chain.findings.push(Finding::error(format!("on a {title}, {}", error.one_line())));
                }
            }
        }
    }
    Some(chain)
}

fn entry(title: String, model: Model, choice: Choice) -> Entry {
    Entry {
        title,
        kernel: Some(volume::normal(&choice.kernel)),
        initrd: choice.initramfs.iter().map(|path| volume::normal(path)).collect(),
        dtb: choice.dtb.as_deref().map(volume::normal),
        overlays: choice.overlays.iter().map(|overlay| volume::normal(&overlay.path)).collect(),
        cmdline: Some(choice.cmdline),
        needs: model.firmware().iter().map(|any| any.iter().map(ToString::to_string).collect()).collect(),
    }
}
