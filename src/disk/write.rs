//! Writing a disk: tables, blobs and partitions in the order of their places.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use serde::Serialize;

use crate::digest::Digest;
use crate::disk::image::{Image, Range, Written};
use crate::disk::layout::SECTOR;
use crate::disk::{BlobSpec, DiskSpec, Fill, Layout, PartitionSpec, Placed, Table, bmap, table};
use crate::error::{Context, Error, Result};
use crate::filesystem::{Planned, Request, Sink};
use crate::fsx;
use crate::progress::Progress;
use crate::target::{FileTarget, Target};
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
    /// Disk GUID, or MBR signature; empty without a partition table.
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
    /// As in `root=PARTUUID=`; none without a partition table.
    pub partuuid: Option<String>,
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

/// Writes the image to `path`, atomically. `replacing` runs once it is whole, just before it takes the place of an
/// earlier one: what describes that one goes then, and not when this one fails.
pub fn write(
    spec: &DiskSpec,
    layout: &Layout,
    path: &Path,
    replacing: impl FnOnce() -> Result<()>,
    progress: &dyn Progress,
) -> Result<ImageFacts> {
    let mut file = fsx::AtomicFile::create(path)?;
    let partial = file.partial_path().to_owned();
    let result = file
        .file()
        .set_len(layout.size.0)
        .and_then(|()| FileTarget::new(file.file().try_clone()?))
        .map_err(|cause| fsx::io_error("write", &partial, &cause))
        .and_then(|target| write_to(spec, layout, Arc::new(target), &partial, progress));
    let facts = result.context(|| format!("cannot write the image `{}`", path.display()))?;
    replacing()?;
    file.commit()?;
    Ok(facts)
}

/// Writes the image to a target that reads as zeros; `path` is for messages.
pub(super) fn write_to(
    spec: &DiskSpec,
    layout: &Layout,
    target: Arc<dyn Target>,
    path: &Path,
    progress: &dyn Progress,
) -> Result<ImageFacts> {
    let table = table::render(spec, layout)?;
    let mut parts = parts(spec, layout, &table)?;
    let content = parts.iter().map(Part::len).sum();
    let image = Image::new(target, path, layout.size.0, content, progress);
    let written = write_parts(&mut parts, image)?;
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
        .zip(&layout.blobs)
        .map(|(blob, start)| BlobFacts { name: blob.name.clone(), start: *start, size: ByteSize(blob.len()) })
        .collect();
    blobs.sort_by_key(|blob| blob.start);
    Ok(ImageFacts {
        size: layout.size,
        mapped: ByteSize(written.ranges.iter().map(|range| range.len).sum()),
        sha256: written.sha256,
        id: match spec.table {
            Table::Gpt | Table::Hybrid => spec.disk_guid().to_string(),
            Table::Mbr => format!("{:08x}", spec.signature()),
            Table::None => String::new(),
        },
        partitions,
        blobs,
        ranges: written.ranges,
    })
}

/// Writes each part while a thread prepares the next one.
fn write_parts(parts: &mut [Part<'_>], mut image: Image<'_>) -> Result<Written> {
    thread::scope(|scope| {
        let (ready, prepared) = sync_channel(1);
        scope.spawn(move || parts.iter_mut().all(|part| ready.send(part.prepare()).is_ok()));
        for part in prepared {
            if let Err(error) = part.and_then(|part| part.write(&mut image)) {
                // A disk that is full says so some chunks later: it is no fault of this part.
                image.end_writer()?;
                return Err(error);
            }
        }
        image.finish()
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
        partuuid: (spec.table != Table::None).then(|| spec.partuuid(&partition.name)).transpose()?,
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
    /// So many bytes of this value.
    Fill(u8, u64),
    /// From a byte of it on, so many.
    Content(&'a Content, u64, u64),
    /// With the name of its partition.
    Filesystem(Box<dyn Planned + 'a>, &'a str),
}

impl Part<'_> {
    /// About how many bytes it will write.
    fn len(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Fill(_, len) | Body::Content(_, _, len) => *len,
            Body::Filesystem(planned, _) => planned.used().0,
        }
    }

    /// Makes it ready to be written.
    fn prepare(&mut self) -> Result<&mut Self> {
        if let Body::Filesystem(planned, _) = &mut self.body {
            planned.prepare().map_err(|error| error.in_part(format!("cannot fill {}", self.what)))?;
        }
        Ok(self)
    }

    fn write(&mut self, image: &mut Image<'_>) -> Result<()> {
        let what = &self.what;
        let written = self.body.write(&mut image.partition(self.start));
        written.map_err(|error| error.in_part(format!("cannot write {what}")))
    }
}

impl Body<'_> {
    fn write(&mut self, sink: &mut impl Sink) -> Result<()> {
        match self {
            Body::Bytes(bytes) => sink.bytes(0, bytes),
            Body::Fill(0, len) => sink.zeros(0, *len),
            Body::Fill(byte, len) => {
                let chunk = vec![*byte; 1 << 16];
                let mut done = 0;
                while done < *len {
                    let n = (*len - done).min(chunk.len() as u64);
                    sink.bytes(done, &chunk[..n as usize])?;
                    done += n;
                }
                Ok(())
            }
            Body::Content(content, from, len) => sink.content(0, content, *from, *len),
            Body::Filesystem(planned, _) => planned.write(sink),
        }
    }
}

/// Everything that is written, in the order of its place.
fn parts<'a>(spec: &'a DiskSpec, layout: &Layout, table: &'a [table::Piece]) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    for piece in table {
        parts.push(Part {
            what: "the partition table".into(),
            start: piece.start,
            body: Body::Bytes(&piece.bytes),
        });
    }
    let in_table = parts.len();
    for (partition, placed) in spec.partitions.iter().zip(&layout.partitions) {
        partition_parts(spec, partition, placed, &mut parts)?;
    }
    for (blob, start) in spec.blobs.iter().zip(&layout.blobs) {
        blob_parts(blob, start.0, &blob.segments(), &mut parts)?;
    }
    // What others leave of a blob's holes is written as well.
    let mut taken = taken(spec, layout, table);
    for (blob, start) in spec.blobs.iter().zip(&layout.blobs).filter(|(blob, _)| !blob.holes.is_empty()) {
        taken.sort_unstable();
        let left = left_of_holes(blob, start.0, &taken);
        blob_parts(blob, start.0, &left, &mut parts)?;
        taken.extend(left.into_iter().map(|(from, to)| (start.0 + from, start.0 + to)));
    }
    let first = parts[in_table..].iter().map(|part| part.start).filter(|start| *start >= SECTOR).min();
    let end = first.unwrap_or(layout.size.0).min(CLEARED).min(layout.size.0);
    parts.sort_by_key(|part| part.start);
    let mut at = 0;
    let mut gaps = Vec::new();
    for (start, len) in parts.iter().map(|part| (part.start, part.len())).chain([(end, 0)]) {
        if at < start.min(end) {
            let body = Body::Fill(0, start.min(end) - at);
            gaps.push(Part { what: "the gap behind the partition table".into(), start: at, body });
        }
        at = at.max(start + len);
    }
    parts.extend(gaps);
    parts.sort_by_key(|part| part.start);
    Ok(parts)
}

/// What is taken by table, partitions and blobs, their holes left out.
fn taken(spec: &DiskSpec, layout: &Layout, table: &[table::Piece]) -> Vec<(u64, u64)> {
    let pieces = table.iter().map(|piece| (piece.start, piece.start + piece.bytes.len() as u64));
    let partitions = layout.partitions.iter().zip(&spec.partitions);
    // A blob inside a partition has that one's place.
    let partitions = partitions
        .filter(|(placed, _)| !spec.blobs.iter().any(|blob| blob.partition.as_ref() == Some(&placed.name)))
        .map(|(placed, _)| (placed.start.0, placed.start.0 + placed.size.0));
    let blobs = spec.blobs.iter().zip(&layout.blobs).flat_map(|(blob, start)| {
        blob.segments().into_iter().map(move |(from, to)| (start.0 + from, start.0 + to))
    });
    pieces.chain(partitions).chain(blobs).collect()
}

/// The parts of a blob's holes where nothing else lies: ascending ranges of the blob.
fn left_of_holes(blob: &BlobSpec, base: u64, taken: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut left, mut from, len) = (Vec::new(), 0, blob.len());
    for (start, end) in taken {
        let (start, end) = (start.saturating_sub(base).min(len), end.saturating_sub(base).min(len));
        if from < start {
            left.push((from, start));
        }
        from = from.max(end);
    }
    if from < len {
        left.push((from, len));
    }
    left
}

fn blob_parts<'a>(
    blob: &'a BlobSpec,
    start: u64,
    segments: &[(u64, u64)],
    parts: &mut Vec<Part<'a>>,
) -> Result<()> {
    let content = blob.content.as_ref();
    if content.is_none() && blob.fill_byte.is_none() {
        return Err(no_content("blob", &blob.name));
    }
    let len = content.map_or(0, Content::len);
    for &(from, to) in segments {
        let mut part = |from: u64, body| {
            parts.push(Part { what: format!("blob `{}`", blob.name), start: start + from, body });
        };
        if let Some(content) = content
            && from < len
        {
            part(from, Body::Content(content, from, to.min(len) - from));
        }
        let behind = from.max(len);
        if let Some(byte) = blob.fill_byte
            && behind < to
        {
            part(behind, Body::Fill(byte, to - behind));
        }
    }
    Ok(())
}

fn partition_parts<'a>(
    spec: &DiskSpec,
    partition: &'a PartitionSpec,
    placed: &Placed,
    parts: &mut Vec<Part<'a>>,
) -> Result<()> {
    let what = format!("partition `{}`", partition.name);
    let mut part = |offset: u64, body| {
        parts.push(Part { what: what.clone(), start: placed.start.0 + offset, body });
    };
    match &partition.fill {
        Fill::Raw(content) => {
            part(0, Body::Content(content, 0, content.len()));
            if let Some(byte) = partition.fill_byte {
                part(content.len(), Body::Fill(byte, placed.size.0 - content.len()));
            }
        }
        // What lies in it says what is written.
        Fill::Empty if spec.blobs.iter().any(|blob| blob.partition.as_ref() == Some(&partition.name)) => {}
        Fill::Empty => part(
            0,
            match partition.fill_byte {
                Some(byte) => Body::Fill(byte, placed.size.0),
                None => Body::Fill(0, placed.size.0.min(CLEARED)),
            },
        ),
        Fill::Pending | Fill::Filesystem { tree: None, .. } => {
            return Err(no_content("partition", &partition.name));
        }
        Fill::Filesystem { kind, label, tree: Some(tree), scratch } => {
            let seed = spec.filesystem_seed(&partition.name);
            let planned = kind
                .format()
                .plan(&Request { tree, label, seed, scratch }, placed.size)
                .map_err(|error| error.in_part(format!("cannot fill {what}")))?;
            part(0, Body::Filesystem(planned, &partition.name));
        }
    }
    Ok(())
}

fn no_content(what: &str, name: &str) -> Error {
    Error::new(format!("{what} `{name}` has no content yet"))
}
