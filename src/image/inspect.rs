//! Everything that can be said of an image without running it.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::chain::{self, Chain};
use super::ext::Ext;
use super::kernel::{self, Kernel};
use super::open::{Image, Part};
use super::probe::Content;
use super::read::ReadAt;
use super::table::{self, Partition};
use super::volume::{self, Kind, Volume};
use super::{Finding, Severity};
use crate::error::Result;
use crate::units::ByteSize;

/// Bytes of a gap in which data outside the partitions is looked for: boot loaders stand at its start.
const GAP: u64 = 16 << 20;
/// What is looked at at once.
const BLOCK: u64 = 4096;
/// Zeros between two pieces of data that still count as one.
const JOIN: u64 = 64 << 10;

/// A partition, or the whole of an image without a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartFacts {
    /// Number in the table; 0 for the whole image.
    pub number: u32,
    /// Name in a GPT, else empty.
    pub name: String,
    /// First byte.
    pub start: ByteSize,
    /// Bytes.
    pub size: ByteSize,
    /// MBR code or GUID.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The type by its name, or the same again.
    pub type_name: Option<String>,
    /// As the kernel's `root=PARTUUID=` takes it.
    pub partuuid: Option<String>,
    /// Active flag or legacy-boot attribute.
    pub bootable: bool,
    /// In the MBR of a hybrid table as well.
    pub hybrid: bool,
    /// What it holds; null for nothing that has a name.
    pub content: Option<Content>,
}

/// Data outside the partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raw {
    /// First byte.
    pub start: ByteSize,
    /// Bytes, whole blocks of 4 KiB.
    pub size: ByteSize,
}

/// A kernel that a boot chain names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelFacts {
    /// The partition it is on.
    pub partition: u32,
    /// Its path there.
    pub path: String,
    /// What it says of itself.
    #[serde(flatten)]
    pub kernel: Kernel,
}

/// The modules of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Modules {
    /// The partition they are on.
    pub partition: u32,
    /// `lib/modules/6.12.9`.
    pub path: String,
    /// The kernel they are for, as the directory's name has it.
    pub release: String,
    /// How many there are.
    pub count: usize,
    /// What the first of them asks of the kernel.
    pub vermagic: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Bytes of the image.
    pub size: ByteSize,
    /// Kind of table.
    pub table: table::Kind,
    /// Disk identifier or GUID; empty without a table.
    pub id: String,
    /// In the order of their numbers, without extended ones.
    pub partitions: Vec<PartFacts>,
    /// Data outside the partitions, near the start of each gap.
    pub raw: Vec<Raw>,
    /// What a boot loader would find.
    pub boot: Vec<Chain>,
    /// The kernels it would start.
    pub kernels: Vec<KernelFacts>,
    /// Modules, by kernel.
    pub modules: Vec<Modules>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// The filesystems of an image, open for reading, by the number of their partition.
pub struct Volumes(pub Vec<(u32, Box<dyn Volume>)>);

impl Volumes {
    /// Opens all that can be read; what cannot is a finding.
    pub fn open(image: &Image, findings: &mut Vec<Finding>) -> Self {
        let mut open = Vec::new();
        for part in &image.parts {
            match image.volume(part) {
                Ok(Some(volume)) => open.push((part.number, volume)),
                Ok(None) => {}
                Err(error) => findings.push(Finding::error(error.one_line())),
            }
        }
        Volumes(open)
    }

    /// Where a path leads that a configuration on `partition` names: there, or else on any other one.
    pub fn locate(&self, partition: u32, path: &str) -> Option<(u32, String, volume::Entry)> {
        let (own, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(number, _)| *number == partition);
        own.into_iter().chain(others).find_map(|(number, volume)| {
            // What cannot be read is told by the check of its filesystem.
            let (path, entry) = volume::resolve(volume.as_ref(), path).ok()??;
            Some((*number, path, entry))
        })
    }

    /// The filesystem of a partition.
    pub fn of(&self, partition: u32) -> Option<&dyn Volume> {
        self.0.iter().find(|(number, _)| *number == partition).map(|(_, volume)| volume.as_ref())
    }
}

/// Looks at everything.
pub fn inspect(image: &Image) -> Result<Inspection> {
    let mut findings = image.table.findings.clone();
    let volumes = Volumes::open(image, &mut findings);
    findings.extend(image.parts.iter().filter(|part| was_pulled(image, part)).map(|part| {
        Finding::warning(format!(
            "{} was not unmounted: what only its journal holds may be missing here",
            part.describe()
        ))
    }));
    let mut boot = Vec::new();
    for (number, volume) in &volumes.0 {
        let chains = chain::find(volume.as_ref(), *number);
        findings.extend(chains.iter().flat_map(|chain| chain.findings.clone()));
        boot.extend(chains);
    }
    let kernels = kernels(&volumes, &boot, &mut findings);
    let modules = modules(&volumes, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity == Severity::Error));
    Ok(Inspection {
        size: ByteSize(image.source.len()),
        table: image.table.kind,
        id: image.table.id.clone(),
        partitions: image.parts.iter().map(|part| part_facts(image, part)).collect(),
        raw: raw(image).map_err(|cause| {
            crate::error::Error::new("cannot read the image").caused_by(crate::fsx::describe(&cause))
        })?,
        boot,
        kernels,
        modules,
        findings,
    })
}

/// True for an ext filesystem whose journal waits to be written back.
fn was_pulled(image: &Image, part: &Part) -> bool {
    part.content.as_ref().is_some_and(|content| content.kind.starts_with("ext"))
        && matches!(Ext::read(&image.bytes(part)), Ok(Some(ext)) if ext.needs_recovery)
}

fn part_facts(image: &Image, part: &Part) -> PartFacts {
    let entry = part.entry.as_ref();
    let is_twin = |it: &Partition| it.start.0 == part.start && it.size.0 == part.len;
    PartFacts {
        number: part.number,
        name: entry.map(|entry| entry.name.clone()).unwrap_or_default(),
        start: ByteSize(part.start),
        size: ByteSize(part.len),
        kind: entry.map(|entry| entry.kind.code()),
        type_name: entry.map(|entry| entry.kind.name()),
        partuuid: entry.map(|entry| entry.uuid.clone()),
        bootable: entry.is_some_and(|entry| entry.bootable),
        hybrid: image.table.hybrid.iter().any(is_twin),
        content: part.content.clone(),
    }
}

/// What lies in the gaps between the table and the partitions.
fn raw(image: &Image) -> io::Result<Vec<Raw>> {
    if image.table.kind == table::Kind::None {
        return Ok(Vec::new());
    }
    let areas = image.table.areas.iter().map(|area| area.start..area.start.saturating_add(area.len));
    let parts = image.table.contents().map(Partition::range);
    let mut taken: Vec<_> = areas.chain(parts).collect();
    taken.sort_by_key(|range| range.start);
    let mut found: Vec<Raw> = Vec::new();
    let len = image.source.len();
    taken.push(len..len);
    let mut at = 0;
    for range in taken {
        let end = range.start.min(len);
        if at < end {
            data_in(image, at..end.min(at.saturating_add(GAP)), &mut found)?;
        }
        at = at.max(range.end);
    }
    Ok(found)
}

fn data_in(image: &Image, range: std::ops::Range<u64>, found: &mut Vec<Raw>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let len = (BLOCK - at % BLOCK).min(range.end - at);
        if image.source.read_some_at(at, len as usize)?.iter().any(|byte| *byte != 0) {
            match found.last_mut() {
                Some(last) if last.start.0 >= range.start && at - (last.start.0 + last.size.0) <= JOIN => {
                    last.size.0 = at + len - last.start.0;
                }
                _ => found.push(Raw { start: ByteSize(at), size: ByteSize(len) }),
            }
        }
        at += len;
    }
    Ok(())
}

/// The kernels that the chains name, each once.
fn kernels(volumes: &Volumes, boot: &[Chain], findings: &mut Vec<Finding>) -> Vec<KernelFacts> {
    let mut found = BTreeMap::new();
    for chain in boot {
        let named = chain.entries.iter().filter_map(|entry| entry.kernel.as_deref());
        let program = (chain.loader == chain::Loader::Uefi).then_some(chain.file.as_str());
        for path in named.chain(program) {
            let Some((partition, path, entry)) = volumes.locate(chain.partition, path) else { continue };
            if entry.kind != Kind::File || found.contains_key(&(partition, path.clone())) {
                continue;
            }
            let Some(volume) = volumes.of(partition) else { continue };
            match volume.read(&path, kernel::MAX_FILE) {
                Ok(bytes) => drop(found.insert((partition, path), kernel::identify(&bytes))),
                Err(error) => findings.push(Finding::error(error.one_line())),
            }
        }
    }
    let known = found.into_iter().filter_map(|((partition, path), kernel)| Some((partition, path, kernel?)));
    // A boot loader that the firmware starts is no kernel.
    let is_kernel = |kernel: &Kernel| kernel.format != "EFI" || kernel.release.is_some();
    known
        .filter(|(.., kernel)| is_kernel(kernel))
        .map(|(partition, path, kernel)| KernelFacts { partition, path, kernel })
        .collect()
}

/// The directories of modules, each once.
fn modules(volumes: &Volumes, findings: &mut Vec<Finding>) -> Vec<Modules> {
    let mut found = Vec::new();
    for (number, volume) in &volumes.0 {
        let volume = volume.as_ref();
        let base =
            ["lib/modules", "usr/lib/modules"].iter().find_map(|dir| match volume::resolve(volume, dir) {
                Ok(Some((path, entry))) if entry.kind == Kind::Directory => Some(path),
                _ => None,
            });
        let Some(base) = base else { continue };
        let releases = volume.list(&base).unwrap_or_else(|error| {
            findings.push(Finding::error(error.one_line()));
            Vec::new()
        });
        for release in releases.iter().filter(|entry| entry.kind == Kind::Directory) {
            let path = volume::join(&base, &release.name);
            match modules_in(volume, &path) {
                Ok(modules) => found.push(Modules {
                    partition: *number,
                    path,
                    release: release.name.clone(),
                    count: modules.len(),
                    vermagic: modules.first().and_then(|first| vermagic(volume, first)),
                }),
                Err(error) => findings.push(Finding::error(error.one_line())),
            }
        }
    }
    found
}

/// Paths of the modules below a directory, sorted.
pub fn modules_in(volume: &dyn Volume, dir: &str) -> Result<Vec<String>> {
    let mut modules = Vec::new();
    volume::walk(volume, dir, &mut |path, entry| {
        if entry.kind == Kind::File && kernel::is_module(path) {
            modules.push(path.to_string());
        }
        Ok(())
    })?;
    modules.sort();
    Ok(modules)
}

/// What a module asks of the kernel.
pub fn vermagic(volume: &dyn Volume, path: &str) -> Option<String> {
    kernel::vermagic(path, &volume.read(path, kernel::MAX_MODULE).ok()?)
}
