//! From the disk of a profile to what is laid out and written: every file in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::board::{self, Content as Holds, Disk, FileRef, PartitionSize};
use crate::boot::Firmware;
use crate::digest::Digest;
use crate::disk::{BlobSpec, DiskSpec, Fill, PartitionSpec, Size};
use crate::error::{Context, Result};
use crate::source;
use crate::tree::directory::{self, Ownership};
use crate::tree::{Content, Timestamp, Tree, TreePath};

/// What the disk of a profile refers to.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What identifiers derive from.
    pub seed: Digest,
    /// Fetched firmware by name; what is not there makes the layout provisional.
    pub firmware: &'a BTreeMap<String, Firmware>,
    /// Dates the files that a partition gets besides its content.
    pub epoch: Timestamp,
}

impl Inputs<'_> {
    /// Where a file is; `None` while its firmware is not there.
    fn find(&self, file: &FileRef) -> Result<Option<PathBuf>> {
        match file {
            FileRef::Host(path) => Ok(Some(path.clone())),
            FileRef::Firmware { source, path } => {
                self.firmware.get(source).map(|found| source::resolve(&found.dir, path)).transpose()
            }
        }
    }

    fn content(&self, file: &FileRef) -> Result<Option<Content>> {
        self.find(file)?.map(|path| Content::whole(&path)).transpose()
    }
}

/// The disk as the profile describes it; `tree` hands over the content of its filesystems.
pub fn spec(
    disk: &Disk,
    inputs: &Inputs<'_>,
    tree: &mut dyn FnMut(Holds) -> Result<Option<Tree>>,
) -> Result<DiskSpec> {
    let mut partitions = Vec::new();
    for partition in &disk.partitions {
        partitions.push(PartitionSpec {
            mbr_kind: partition.mbr_kind.clone(),
            number: partition.number,
            logical: partition.logical,
            bootable: partition.bootable,
            attributes: partition.attributes.clone(),
            offset: partition.offset,
            after: partition.after.clone(),
            align: partition.align,
            size: match partition.size {
                Some(PartitionSize::Fixed(size)) => Size::Fixed(size),
                Some(PartitionSize::Rest) => Size::Rest,
                None => Size::Auto { room: partition.room.unwrap_or_default() },
            },
            uuid: partition.uuid.clone(),
            fill: fill(partition, inputs, tree)
                .context(|| format!("cannot fill partition `{}`", partition.name))?,
            fill_byte: partition.fill_byte,
            origin: Some(partition.origin.clone()),
            ..PartitionSpec::new(&partition.name, partition.kind.clone())
        });
    }
    let mut blobs = Vec::new();
    for blob in &disk.blobs {
        blobs.push(BlobSpec {
            partition: blob.partition.clone(),
            content: match &blob.file {
                Some(file) => inputs.content(file)?,
                None => Some(Content::from(Vec::new())),
            },
            size: blob.size,
            fill_byte: blob.fill_byte,
            holes: blob.holes.clone(),
            origin: Some(blob.origin.clone()),
            ..BlobSpec::new(&blob.name, blob.offset)
        });
    }
    Ok(DiskSpec {
        size: disk.size,
        align: disk.align,
        uuid: disk.uuid,
        signature: disk.signature,
        gpt_location: disk.gpt_location,
        gpt_backup: disk.gpt_backup,
        partitions,
        blobs,
        ..DiskSpec::new(disk.table, inputs.seed)
    })
}

fn fill(
    partition: &board::Partition,
    inputs: &Inputs<'_>,
    tree: &mut dyn FnMut(Holds) -> Result<Option<Tree>>,
) -> Result<Fill> {
    match &partition.fill {
        board::Fill::Empty => Ok(Fill::Empty),
        board::Fill::Raw(file) => Ok(inputs.content(file)?.map_or(Fill::Pending, Fill::Raw)),
        board::Fill::Filesystem { kind, label, content, files } => {
            let mut tree = match content {
                Some(holds) => tree(*holds)?,
                None => Some(Tree::new(inputs.epoch)),
            };
            for (path, file) in files {
                match (inputs.find(file)?, &mut tree) {
                    (Some(host), Some(tree)) => lay(tree, path, &host, inputs.epoch)?,
                    // Without all of its content its size is not known.
                    _ => tree = None,
                }
            }
            Ok(Fill::filesystem(kind.writer(), label, tree))
        }
    }
}

/// Puts a host file, or everything below a host directory, into a tree.
fn lay(tree: &mut Tree, path: &TreePath, host: &Path, epoch: Timestamp) -> Result<()> {
    if host.is_dir() {
        return directory::lay(tree, path, host, Ownership::Overlay(epoch));
    }
    tree.put_file(path.as_str(), 0o644, Content::whole(host)?)
}
