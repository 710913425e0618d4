//! Writing a disk: tables, blobs and partitions in the order of their places.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::digest::Digest;
use crate::disk::image::{Image, Medium, Range};
use crate::disk::{BlobSpec, DiskSpec, Fill, Layout, PartitionSpec, Placed, Table, bmap, table};
use crate::error::{Context, Error, Result};
use crate::filesystem::{Planned, Request, Sink};
use crate::fsx;
use crate::progress::Progress;
use crate::tree::Content;
use crate::units::ByteSize;

/// Bytes at the start of the disk that are cleared when nothing lies there, and likewise at the start of
/// an empty partition: an old table, boot loader or filesystem on a used card must not show through.
const CLEARED: u64 = 1 << 20;

/// A finished image, for the manifest.
#[derive(Debug, Clone, Serialize)]
pub struct ImageFacts {
    /// Bytes.
    pub size: ByteSize,
    /// Bytes that matter; the rest is free space.
    pub mapped: ByteSize,
    /// SHA-256 of the whole image.
    pub sha256: Digest,
    /// Disk GUID, or MBR signature.
    pub id: String,
    /// Partitions in table order.
    pub partitions: Vec<PartitionFacts>,
    /// Raw blobs in the order of their offsets.
    pub blobs: Vec<BlobFacts>,
    /// The mapped ranges and their digests.
    #[serde(skip)]
    pub(super) ranges: Vec<Range>,
}

/// A written partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionFacts {
    /// Name.
    pub name: String,
    /// Number in the table, from 1.
    pub number: u32,
    /// First byte.
    pub start: ByteSize,
    /// Bytes.
    pub size: ByteSize,
    /// Type as declared.
    #[serde(rename = "type")]
    pub kind: String,
    /// As in `root=PARTUUID=`.
    pub partuuid: String,
    /// Filesystem, when there is one: `FAT32`, `ext4`.
    pub filesystem: Option<String>,
    /// Its UUID as `blkid` shows it.
    pub filesystem_uuid: Option<String>,
    /// Its label as stored.
    pub label: Option<String>,
    /// Bytes that metadata and content take.
    pub used: ByteSize,
}

/// A written blob.
#[derive(Debug, Clone, Serialize)]
pub struct BlobFacts {
    /// Name.
    pub name: String,
    /// First byte.
    pub start: ByteSize,
    /// Bytes.
    pub size: ByteSize,
}

impl ImageFacts {
    /// The block map (version 2.0), as `bmaptool copy` takes it.
    pub fn bmap(&self) -> String {
        bmap::render(self.size.0, &self.ranges)
    }
}

/// Writes the image to `path`, atomically.
pub fn write(spec: &DiskSpec, layout: &Layout, path: &Path, progress: &dyn Progress) -> Result<ImageFacts> {
    let mut file = fsx::AtomicFile::create(path)?;
    let partial = file.partial_path().to_owned();
    let result = file
        .file()
        .set_len(layout.size.0)
        .and_then(|()| file.file().try_clone())
        .map_err(|cause| fsx::io_error("write", &partial, &cause))
        .and_then(|medium| write_to(spec, layout, Arc::new(medium), &partial, progress));
    let facts = result.context(|| format!("cannot write the image `{}`", path.display()))?;
    file.commit()?;
    Ok(facts)
}

/// Writes the image to a medium that reads as zeros; `path` is for messages.
pub(super) fn write_to(
    spec: &DiskSpec,
    layout: &Layout,
    medium: Arc<dyn Medium>,
    path: &Path,
    progress: &dyn Progress,
) -> Result<ImageFacts> {
    let table = table::render(spec, layout)?;
    let mut parts = parts(spec, layout, &table)?;
    parts.sort_by_key(|part| part.start);
    let content = parts.iter().map(Part::len).sum();
    let mut image = Image::new(medium, path, layout.size.0, content, progress);
    for part in &parts {
        part.write(&mut image).context(|| format!("cannot write {}", part.what))?;
    }
    let written = image.finish()?;
    let planned = |name: &str| {
        parts.iter().find_map(|part| match &part.body {
            Body::Filesystem(it, owner) if *owner == name => Some(it),
            _ => None,
        })
    };
    let partitions = spec
        .partitions
        .iter()
        .zip(&layout.partitions)
        .map(|(partition, placed)| {
            facts(spec, partition, placed, planned(&partition.name).map(AsRef::as_ref))
        })
        .collect::<Result<Vec<PartitionFacts>>>()?;
    let mut blobs: Vec<BlobFacts> = spec
        .blobs
        .iter()
        .filter_map(|blob| Some((blob, blob.content.as_ref()?)))
        .map(|(blob, content)| BlobFacts {
            name: blob.name.clone(),
            start: blob.offset,
            size: ByteSize(content.len()),
        })
        .collect();
    blobs.sort_by_key(|blob| blob.start);
    Ok(ImageFacts {
        size: layout.size,
        mapped: ByteSize(written.ranges.iter().map(|range| range.len).sum()),
        sha256: written.sha256,
        id: match spec.table {
            Table::Gpt => spec.disk_guid().to_string(),
            Table::Mbr => format!("{:08x}", spec.signature()),
        },
        partitions,
        blobs,
        ranges: written.ranges,
    })
}

fn facts(
    spec: &DiskSpec,
    partition: &PartitionSpec,
    placed: &Placed,
    planned: Option<&(dyn Planned + '_)>,
) -> Result<PartitionFacts> {
    let label = match &partition.fill {
        Fill::Filesystem { kind, label, .. } => {
            Some(kind.format().label(label)).filter(|label| !label.is_empty())
        }
        _ => None,
    };
    let used = match (&partition.fill, planned) {
        (_, Some(planned)) => planned.used(),
        (Fill::Raw(content), None) => ByteSize(content.len()),
        _ => ByteSize(0),
    };
    Ok(PartitionFacts {
        name: placed.name.clone(),
        number: placed.number,
        start: placed.start,
        size: placed.size,
        kind: partition.kind.text().to_string(),
        partuuid: spec.partuuid(&partition.name)?,
        filesystem: planned.map(|planned| planned.variant().to_string()),
        filesystem_uuid: spec.filesystem_uuid(&partition.name)?,
        label,
        used,
    })
}

/// Something to write, with its place.
struct Part<'a> {
    what: String,
    start: u64,
    body: Body<'a>,
}

enum Body<'a> {
    Bytes(&'a [u8]),
    Zeros(u64),
    Content(&'a Content),
    /// With the name of its partition.
    Filesystem(Box<dyn Planned + 'a>, &'a str),
}

impl Part<'_> {
    /// About how many bytes it will write.
    fn len(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Zeros(len) => *len,
            Body::Content(content) => content.len(),
            Body::Filesystem(planned, _) => planned.used().0,
        }
    }

    fn write(&self, image: &mut Image<'_>) -> Result<()> {
        let mut sink = image.partition(self.start);
        match &self.body {
            Body::Bytes(bytes) => sink.bytes(0, bytes),
            Body::Zeros(len) => sink.zeros(0, *len),
            Body::Content(content) => sink.content(0, content, 0, content.len()),
            Body::Filesystem(planned, _) => planned.write(&mut sink),
        }
    }
}

fn parts<'a>(spec: &'a DiskSpec, layout: &Layout, table: &'a table::Bytes) -> Result<Vec<Part<'a>>> {
    let bytes =
        |start, bytes: &'a [u8]| Part { what: "the partition table".into(), start, body: Body::Bytes(bytes) };
    let mut parts = vec![bytes(0, &table.head)];
    for blob in &spec.blobs {
        parts.push(blob_part(blob)?);
    }
    for (partition, placed) in spec.partitions.iter().zip(&layout.partitions) {
        parts.push(partition_part(spec, partition, placed)?);
    }
    let head = table.head.len() as u64;
    let first = parts[1..].iter().map(|part| part.start).min().unwrap_or(layout.size.0);
    let cleared = first.min(CLEARED).min(layout.size.0 - table.tail.len() as u64);
    if cleared > head {
        parts.push(Part {
            what: "the gap behind the partition table".into(),
            start: head,
            body: Body::Zeros(cleared - head),
        });
    }
    if !table.tail.is_empty() {
        parts.push(bytes(layout.size.0 - table.tail.len() as u64, &table.tail));
    }
    Ok(parts)
}

fn blob_part(blob: &BlobSpec) -> Result<Part<'_>> {
    let content = blob.content.as_ref().ok_or_else(|| no_content("blob", &blob.name))?;
    Ok(Part { what: format!("blob `{}`", blob.name), start: blob.offset.0, body: Body::Content(content) })
}

fn partition_part<'a>(spec: &DiskSpec, partition: &'a PartitionSpec, placed: &Placed) -> Result<Part<'a>> {
    let what = format!("partition `{}`", partition.name);
    let body = match &partition.fill {
        Fill::Raw(content) => Body::Content(content),
        Fill::Empty => Body::Zeros(placed.size.0.min(CLEARED)),
        Fill::Filesystem { tree: None, .. } => return Err(no_content("partition", &partition.name)),
        Fill::Filesystem { kind, label, tree: Some(tree) } => {
            let seed = spec.filesystem_seed(&partition.name);
            let planned = kind
                .format()
                .plan(&Request { tree, label, seed }, placed.size)
                .context(|| format!("cannot fill {what}"))?;
            Body::Filesystem(planned, &partition.name)
        }
    };
    Ok(Part { what, start: placed.start.0, body })
}

fn no_content(what: &str, name: &str) -> Error {
    Error::new(format!("{what} `{name}` has no content yet"))
}
