//! `bimg assemble`: an image from a layout and files that are there already, without a kernel or
//! root filesystem of bimg's.

use std::collections::BTreeMap;
use std::path::Path;

use super::disk::{Inputs, spec};
use super::source_date_epoch;
use crate::board::{Disk, FileRef};
use crate::data::{DataDirs, DataFile};
use crate::digest::Digest;
use crate::disk::{self, ImageFacts};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::tree::Timestamp;
use crate::{fsx, rootfs};

/// Lays out the disk of `profile` with files from `inputs` and writes it to `output`, its block map beside
/// it.
pub fn assemble(profile: &str, inputs: &Path, output: &Path, progress: &dyn Progress) -> Result<ImageFacts> {
    let (disk, files) = Disk::load_with(profile, inputs, &DataDirs::user())?;
    let epoch = Timestamp { secs: source_date_epoch()?.unwrap_or_default(), nanos: 0 };
    let firmware = BTreeMap::new();
    let found = Inputs { seed: seed(&disk, &files, epoch)?, firmware: &firmware, epoch };
    let spec = spec(&disk, &found, &mut |holds| {
        Err(Error::usage(format!("only a build makes `content = \"{}\"`", holds.name()))
            .hint("name what is there already: `file`, or `files` of a filesystem"))
    })?;
    let layout = disk::layout(&spec)?;
    let mut map = output.as_os_str().to_owned();
    map.push(".bmap");
    let map = Path::new(&map);
    let facts = disk::write(&spec, &layout, output, || fsx::remove_file(map), progress)?;
    fsx::write_atomic(map, facts.bmap().as_bytes())?;
    Ok(facts)
}

/// What identifiers derive from: what the profile says, the date, and what its files give to the image.
fn seed(disk: &Disk, profile: &[DataFile], epoch: Timestamp) -> Result<Digest> {
    let mut fields: Vec<String> = profile.iter().map(|file| Digest::of(&file.bytes).to_string()).collect();
    fields.push(epoch.secs.to_string());
    for (origin, file) in disk.files() {
        match file {
            FileRef::Host(path) => {
                let digest = rootfs::host_fingerprint(path, None).map_err(|error| {
                    let error = error.declared_at(origin);
                    if path.exists() {
                        return error;
                    }
                    error.hint("files are looked for where bimg is run, or in `--input DIR`")
                })?;
                fields.push(digest.to_string());
            }
            FileRef::Firmware { .. } => {
                return Err(Error::usage(format!("`{file}` is in a package, which only a build fetches"))
                    .hint("copy it to the input directory and name it there"));
            }
        }
    }
    Ok(Digest::of_fields(fields.iter().map(String::as_bytes)))
}
