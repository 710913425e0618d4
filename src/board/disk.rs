//! `[disk]` of a profile: what each word of it means, and what contradicts itself.
//!
//! What only shows once offsets are known (overlaps, a full table) is for [`crate::disk::layout`] to say.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::raw::{Content, Filesystem, PartitionSize, RawBlob, RawDisk, RawPartition};
use super::resolve::Context;
use super::text::{At, Place};
use super::{Blob, Disk, FileRef, Fill, Partition};
use crate::boot::{BootSpec, ChainName};
use crate::disk::{DiskSpec, PartitionType, Table};
use crate::error::{Error, Result, nearest};
use crate::source::Source;
use crate::tree::TreePath;
use crate::units::ByteSize;

type Firmware = BTreeMap<String, Vec<Source>>;

/// Validates the table.
pub fn resolve(raw: RawDisk, firmware: &Firmware, cx: &Context<'_>) -> Result<Disk> {
    let table = cx.need(raw.table, "disk.table")?.value;
    if let Some(align) = &raw.align {
        check_align(align)?;
    }
    let mut partitions: Vec<Partition> = Vec::new();
    let mut names = Vec::new();
    let declared = raw.partition.unwrap_or_default();
    check_uuids(&declared)?;
    for raw in declared {
        let place = raw.place.clone();
        names.push(raw.name.place.clone());
        let partition = partition(raw.value, table, firmware, cx)?;
        if partitions.iter().any(|other| other.name == partition.name) {
            return Err(place
                .error(format!("two partitions are called `{}`", partition.name), "the second one")
                .hint("give each partition a name of its own"));
        }
        partitions.push(partition);
    }
    let mut blobs: Vec<Blob> = Vec::new();
    for raw in raw.blob.unwrap_or_default() {
        let place = raw.name.place.clone();
        let blob = blob(raw.value, &partitions, firmware, cx)?;
        if blobs.iter().any(|other| other.name == blob.name) {
            return Err(place
                .error(format!("two blobs are called `{}`", blob.name), "the second one")
                .hint("give each blob a name of its own"));
        }
        blobs.push(blob);
    }
    for (partition, place) in partitions.iter().zip(&names) {
        check_after(partition, place, &blobs)?;
    }
    for (partition, place) in partitions.iter().zip(names) {
        let name = &partition.name;
        let sizeless = partition.size.is_none() && partition.fill == Fill::Empty;
        if sizeless && !blobs.iter().any(|blob| blob.partition.as_ref() == Some(name)) {
            return Err(place
                .error(format!("partition `{name}` is empty and has no size"), "this one")
                .hint("give it a `size`, a `filesystem` or a `file`"));
        }
    }
    if partitions.is_empty() && blobs.is_empty() {
        return Err(Error::usage(format!("`{}` does not say `disk.partition`", cx.shown)).hint(
            "add `[[disk.partition]]`, or `extends` a profile that has it; `bimg boards schema` describes it",
        ));
    }
    Ok(Disk {
        table,
        size: raw.size.map(|size| size.value),
        align: raw.align.map_or(DiskSpec::ALIGN, |align| align.value),
        uuid: raw.uuid.as_ref().map(|uuid| parse_uuid(uuid, "the disk")).transpose()?,
        signature: raw.signature.map(|signature| signature.value),
        gpt_location: raw.gpt_location.map_or(DiskSpec::GPT_LOCATION, |at| at.value),
        gpt_backup: raw.gpt_backup.is_none_or(|backup| backup.value),
        partitions,
        blobs,
    })
}

/// What tells partitions apart must not be the same for two of them.
fn check_uuids(partitions: &[At<RawPartition>]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for raw in partitions {
        let Some(uuid) = &raw.uuid else { continue };
        let name = &raw.name.value;
        let parsed = parse_uuid(uuid, &format!("partition `{}`", name.escape_debug()))?;
        if let Some(other) = seen.insert(parsed, name) {
            return Err(uuid
                .place
                .error(
                    format!(
                        "partition `{}` and partition `{}` have the same UUID",
                        other.escape_debug(),
                        name.escape_debug()
                    ),
                    "the second one",
                )
                .hint("give each a UUID of its own, or leave `uuid` out and one is derived"));
        }
    }
    Ok(())
}

fn parse_uuid(uuid: &At<String>, owner: &str) -> Result<Uuid> {
    let error = |what: String| uuid.place.error(what, "said here");
    match uuid.value.parse::<Uuid>() {
        Ok(parsed) if parsed.is_nil() => Err(error(format!("the UUID of {owner} is the nil one"))
            .hint("that one stands for none; leave `uuid` out and one is derived")),
        Ok(parsed) => Ok(parsed),
        Err(_) => Err(error(format!("`{}` is not a UUID", uuid.value.escape_debug()))
            .hint("a UUID looks like `0fc63daf-8483-4772-8e79-3d69d8477de4`")),
    }
}

/// A whole board needs a root filesystem, and its boot chain a place that its boot loader reads.
pub fn check_contents(disk: &Disk, boot: &At<BootSpec>, cx: &Context<'_>) -> Result<()> {
    if disk.holding(Content::Root).is_none() {
        return Err(Error::usage(format!("`{}` needs a partition with `content = \"root\"`", cx.shown))
            .hint("bimg puts the root filesystem into it"));
    }
    if disk.holding(Content::Boot).is_none() && boot.value.chain == ChainName::RpiFirmware {
        return Err(boot
            .place
            .error("boot chain `rpi-firmware` needs a partition with `content = \"boot\"`", "said here")
            .hint("the Raspberry Pi's firmware reads FAT alone: add one with `filesystem = \"vfat\"`"));
    }
    Ok(())
}

/// What a partition comes behind is a blob outside all partitions, and means nothing beside an offset.
fn check_after(partition: &Partition, place: &Place, blobs: &[Blob]) -> Result<()> {
    let Some(after) = &partition.after else { return Ok(()) };
    let name = &partition.name;
    if partition.offset.is_some() {
        return Err(place
            .error(format!("partition `{name}` has both an `offset` and `after`"), "this one")
            .hint("leave one of the two out"));
    }
    let outside = || blobs.iter().filter(|blob| blob.partition.is_none()).map(|blob| blob.name.as_str());
    if outside().any(|blob| blob == after) {
        return Ok(());
    }
    let error =
        place.error(format!("partition `{name}` comes after a blob `{after}` that is not there"), "this one");
    Err(match nearest(after, outside()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("name a `[[disk.blob]]` outside the partitions"),
    })
}

/// A name stands in messages, the one of a partition in the GPT as well.
fn check_name(name: &At<String>, what: &str) -> Result<()> {
    let error = |problem| name.place.error(problem, "this one");
    if name.is_empty() {
        return Err(error(format!("the name of a {what} is empty")).hint("name it by what it is for"));
    }
    if name.chars().any(char::is_control) {
        let shown = name.escape_debug();
        return Err(error(format!("the {what} name `{shown}` holds a control character"))
            .hint("a name is letters, digits and signs on one line"));
    }
    Ok(())
}

fn check_align(at: &At<ByteSize>) -> Result<()> {
    if at.value.0 > 0 && at.value.0.is_multiple_of(512) {
        return Ok(());
    }
    Err(at
        .place
        .error(format!("an alignment of {} is impossible", at.value), "said here")
        .hint("partitions start on sectors: a multiple of 512, better of 1M"))
}

fn partition(raw: RawPartition, table: Table, firmware: &Firmware, cx: &Context<'_>) -> Result<Partition> {
    let origin = raw.name.place.origin();
    check_name(&raw.name, "partition")?;
    let name = raw.name.value.clone();
    let kind = raw.kind.as_ref().map_or_else(|| default_type(&raw), |kind| kind.value.clone());
    let kind = PartitionType::parse(&kind)
        .and_then(|kind| kind.check(table).map(|()| kind))
        .map_err(|error| raw.kind.as_ref().unwrap_or(&raw.name).place.wrap(error))?;
    let mbr_kind = raw.mbr_type.as_ref().map(|kind| {
        PartitionType::parse(&kind.value)
            .and_then(|kind| kind.check(Table::Mbr).map(|()| kind))
            .map_err(|error| kind.place.wrap(error))
    });
    if let Some(align) = &raw.align {
        check_align(align)?;
    }
    let fill = fill(&raw, firmware, cx)?;
    check_size(&raw)?;
    Ok(Partition {
        kind,
        mbr_kind: mbr_kind.transpose()?,
        number: raw.number,
        logical: raw.logical,
        fill,
        fill_byte: raw.fill.map(|fill| fill.value),
        size: raw.size.map(|size| size.value),
        room: raw.room.map(|room| room.value),
        offset: raw.offset.map(|offset| offset.value),
        after: raw.after.map(|after| after.value),
        align: raw.align.map(|align| align.value),
        bootable: raw.bootable,
        attributes: raw.attributes,
        uuid: raw.uuid.map(|uuid| uuid.value),
        name,
        origin,
    })
}

fn fill(raw: &RawPartition, firmware: &Firmware, cx: &Context<'_>) -> Result<Fill> {
    let name = &raw.name.value;
    if let (Some(fill), Some(_)) = (&raw.fill, &raw.filesystem) {
        return Err(fill
            .place
            .error(format!("partition `{name}` has both a filesystem and a `fill`"), "said here")
            .hint("`fill` is for what lies behind a raw `file`; leave one of the two out"));
    }
    if let (Some(At { value: Filesystem::Squashfs, .. }), Some(label)) = (&raw.filesystem, &raw.label) {
        return Err(label
            .place
            .error(format!("partition `{name}` cannot have a label"), "said here")
            .hint("a squashfs has none; leave `label` out"));
    }
    if let Some(label) = raw.label.as_ref().filter(|label| label.contains('\0')) {
        return Err(label
            .place
            .error(format!("the label of partition `{name}` holds a NUL"), "said here")
            .hint("a filesystem's label ends at a NUL"));
    }
    if let (None, Some(label)) = (&raw.filesystem, &raw.label) {
        return Err(label
            .place
            .error(format!("partition `{name}` has a label but no filesystem"), "said here")
            .hint("leave `label` out, or add a `filesystem`"));
    }
    match (&raw.filesystem, &raw.content, &raw.file) {
        (Some(filesystem), content, None) => Ok(Fill::Filesystem {
            kind: filesystem.value,
            label: raw.label.as_ref().map_or_else(|| name.clone(), |label| label.value.clone()),
            content: content.as_ref().map(|content| content.value),
            files: (raw.files.iter())
                .map(|(path, file)| {
                    let inside = TreePath::new(path).map_err(|error| file.place.wrap(error))?;
                    Ok((inside, file_ref(file, firmware, cx)?))
                })
                .collect::<Result<_>>()?,
        }),
        (None, Some(content), _) => Err(content
            .place
            .error(format!("partition `{name}` has content but no filesystem"), "said here")
            .hint("add `filesystem = \"ext4\"` or `\"vfat\"`")),
        (Some(_), _, Some(file)) => Err(file
            .place
            .error(format!("partition `{name}` has both a filesystem and a raw file"), "said here")
            .hint("leave one of the two out; `files` puts files into a filesystem")),
        (None, None, file) => {
            if let Some(inside) = raw.files.values().next() {
                return Err(inside
                    .place
                    .error(format!("partition `{name}` has files but no filesystem"), "said here")
                    .hint("add `filesystem = \"ext4\"` or `\"vfat\"`; raw content is `file`"));
            }
            file.as_ref().map_or(Ok(Fill::Empty), |file| file_ref(file, firmware, cx).map(Fill::Raw))
        }
    }
}

fn check_size(raw: &RawPartition) -> Result<()> {
    let name = &raw.name.value;
    if let (Some(_), Some(room)) = (&raw.size, &raw.room) {
        return Err(room
            .place
            .error(format!("partition `{name}` has both a size and room"), "said here")
            .hint("`size` is the whole partition; `room` is added to what the content needs"));
    }
    if let Some(At { value: PartitionSize::Fixed(size), place }) = &raw.size
        && (size.0 == 0 || !size.0.is_multiple_of(512))
    {
        return Err(place
            .error(format!("partition `{name}` cannot have a size of {size}"), "said here")
            .hint("a size is a multiple of the sector size, 512 bytes"));
    }
    Ok(())
}

/// The usual type for a content, so that most profiles need not say it.
fn default_type(raw: &RawPartition) -> String {
    let fat = raw.filesystem.as_ref().is_some_and(|filesystem| filesystem.value.is_fat());
    if fat { "fat" } else { "linux" }.to_string()
}

fn blob(raw: RawBlob, partitions: &[Partition], firmware: &Firmware, cx: &Context<'_>) -> Result<Blob> {
    check_name(&raw.name, "blob")?;
    let name = raw.name.value.clone();
    if let Some(At { value: ByteSize(0), place }) = &raw.size {
        return Err(place
            .error(format!("blob `{name}` cannot have a size of 0"), "said here")
            .hint("leave `size` out, and it is that of the file"));
    }
    if raw.file.is_none() && (raw.size.is_none() || raw.fill.is_none()) {
        return Err(raw
            .name
            .place
            .error(format!("blob `{name}` has no content"), "this one")
            .hint("say its `file`; or its `size` and what it reads as: `fill = 0xff`"));
    }
    if let Some(owner) = &raw.partition
        && !partitions.iter().any(|partition| partition.name == owner.value)
    {
        let error = owner.place.error(format!("there is no partition `{}`", owner.value), "named here");
        return Err(match nearest(&owner.value, partitions.iter().map(|it| it.name.as_str())) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint("declare it under `[[disk.partition]]`"),
        });
    }
    Ok(Blob {
        origin: raw.name.place.origin(),
        file: raw.file.map(|file| file_ref(&file, firmware, cx)).transpose()?,
        partition: raw.partition.map(|owner| owner.value),
        offset: raw.offset.value,
        size: raw.size.map(|size| size.value),
        fill_byte: raw.fill.map(|fill| fill.value),
        holes: raw.holes,
        name,
    })
}

fn file_ref(file: &At<String>, firmware: &Firmware, cx: &Context<'_>) -> Result<FileRef> {
    let Some((source, path)) = file.value.split_once(':') else {
        return Ok(FileRef::Host(cx.host(&file.value)));
    };
    check_firmware(source, firmware, &file.place)?;
    Ok(FileRef::Firmware { source: source.to_string(), path: path.to_string() })
}

/// Fails unless the board has a firmware of that name.
pub fn check_firmware(source: &str, firmware: &Firmware, place: &Place) -> Result<()> {
    if firmware.contains_key(source) {
        return Ok(());
    }
    let error = place.error(format!("there is no firmware `{source}`"), "named here");
    Err(match nearest(source, firmware.keys().map(String::as_str)) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("name it under `[firmware]`, with its source"),
    })
}
