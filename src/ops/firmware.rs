//! Fetched firmware: what a board uses of it, looked at before the kernel is built and not after.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::sources::Sources;
use crate::board::{Board, Content as Holds, FileRef, Named};
use crate::boot::{self, BootInput, Firmware};
use crate::error::{Context, Result};
use crate::rootfs;
use crate::source::{self, Fetched};
use crate::tree::{Content, TreePath};

/// The firmware of a board as boot chains want it.
pub fn all(sources: &Sources) -> BTreeMap<String, Firmware> {
    let firmware =
        |fetched: &Fetched| Firmware { dir: fetched.dir.clone(), origin: fetched.locked.asked.clone() };
    sources.firmware.iter().map(|(name, fetched)| (name.clone(), firmware(fetched))).collect()
}

/// Fails when the boot files cannot be put together, or when the disk or the emulator names a file that the
/// firmware does not have.
pub fn check(board: &Board, sources: &Sources) -> Result<()> {
    let firmware = all(sources);
    let nothing = || Content::from("");
    let named = |list: &[Named]| list.iter().map(|it| (it.name.clone(), nothing())).collect();
    let input = BootInput {
        arch: board.arch,
        kernel: (board.kernel.targets[0].clone(), nothing()),
        dtbs: named(&board.kernel.dtbs),
        overlays: named(&board.kernel.overlays),
        dir: if board.disk.holding(Holds::Boot).is_some() { "" } else { "boot" },
        cmdline: board.kernel.cmdline.clone(),
        initramfs: None,
        release: String::new(),
        epoch: 0,
        firmware: &firmware,
    };
    boot::chain(&board.boot)?.files(&input)?;
    for (name, path) in single_files(board) {
        // Loading the profile has seen that there is one.
        let Some(found) = firmware.get(name) else { continue };
        source::resolve(&found.dir, path)
            .and_then(|host| Content::whole(&host).map(drop))
            .context(|| format!("firmware file `{path}` is not in {}", found.origin))?;
    }
    Ok(())
}

/// Firmware files and directories named one by one, outside `boot.firmware`: name of the firmware and path in it.
fn single_files(board: &Board) -> impl Iterator<Item = (&str, &str)> {
    let of_disk = board.disk.files().filter_map(|(_, file)| match file {
        FileRef::Firmware { source, path } => Some((source.as_str(), path.as_str())),
        FileRef::Host(_) => None,
    });
    let emulator = board.emulator.iter().flat_map(|emulator| {
        let firmware = &emulator.firmware;
        [&firmware.bios, &firmware.kernel].into_iter().flatten().filter_map(|file| file.split_once(':'))
    });
    of_disk.chain(emulator)
}

/// What a board uses of the firmware `name`, label by label. A fetched one never changes, so that its identity
/// says it all; of a directory of the user's every file that is used counts, and where it lies does not.
pub fn fingerprint(
    board: &Board,
    name: &str,
    fetched: &Fetched,
    memo: &Path,
) -> Result<Vec<(String, String)>> {
    if !fetched.editable {
        return Ok(vec![(format!("firmware {name}"), fetched.identity.clone())]);
    }
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for entry in &board.boot.firmware {
        match entry.from.split_once(':') {
            Some((of, pattern)) if of == name => paths.extend(source::files(&fetched.dir, pattern)?),
            _ => {}
        }
    }
    for (of, path) in single_files(board) {
        if of == name {
            paths.insert(TreePath::new(path)?.as_str().to_string());
        }
    }
    let digest = |path: String| {
        let host = source::resolve(&fetched.dir, &path)?;
        let digest = rootfs::host_fingerprint(&host, Some(memo))?;
        Ok((format!("firmware {name}:{path}"), digest.to_string()))
    };
    paths.into_iter().map(digest).collect()
}
