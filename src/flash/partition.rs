//! Rewriting one partition of a card that was flashed before.

use std::io;
use std::ops::Range;

use super::Cx;
use crate::error::{Error, Result};
use crate::fsx;
use crate::image::table::{self, Kind, Partition, Table};
use crate::image::{Disk, ReadAt, Window, ext::Ext, fat::FatVolume};
use crate::input::Input;
use crate::target::{Buffer, Target};

/// Bytes of an image that is packed or comes from afar in which its table is looked for.
const FRONT: usize = 4 << 20;

/// Where the partition `wanted`, a number or a name, lies: on the drive and in the image alike, or it is refused.
pub(super) fn find(cx: &Cx<'_>, wanted: &str) -> Result<Range<u64>> {
    if !cx.job.origin.repeatable() {
        return Err(Error::usage("`--partition` takes an image that can be read twice")
            .hint("give it as a file, not through a pipe"));
    }
    let image = of_image(cx)?;
    let failed = |cause: io::Error| cx.drive_error("read", 0, &cause);
    let drive = table::read(&OnDrive(cx.target)).map_err(|cause| match cause.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::usage(format!("`{}` has no partition to write", cx.job.target))
                .caused_by("it is empty")
                .hint("flash the whole image first, without `--partition`")
        }
        _ => failed(cause),
    })?;
    compare(cx, &image, &drive)?;
    let number = match wanted.parse() {
        Ok(number) => number,
        Err(_) => by_name(cx, wanted, &drive)?,
    };
    let of =
        |table: &Table| table.contents().find(|partition| partition.number == number).map(Partition::range);
    match (of(&image), of(&drive)) {
        (Some(range), Some(_)) => Ok(range),
        _ => Err(unknown(cx, wanted, &drive)),
    }
}

/// The image's table, all of it or none.
fn of_image(cx: &Cx<'_>) -> Result<Table> {
    let mut input = Input::open(cx.job.origin)?;
    input.check_image()?;
    let about = || Error::new(format!("cannot tell the partitions of `{}`", cx.job.origin));
    let (table, why, hint) = if let Some(file) = input.file() {
        let table = file.try_clone().and_then(Disk::new).and_then(|disk| table::read(&disk));
        let why = "its partition table is damaged, or reaches past its end";
        (table, why, "is it cut off? `bimg image verify` tells more")
    } else {
        let mut front = vec![0; FRONT];
        let n = input.read(&mut front)?;
        let why = "its partition table reaches past its first 4 MiB, or is damaged";
        (table::read(&front[..n]), why, "give it as a plain file: there the table is read wherever it lies")
    };
    let table = table.map_err(|cause| about().caused_by(fsx::describe(&cause)))?;
    if table.partial { Err(about().caused_by(why).hint(hint)) } else { Ok(table) }
}

/// Every partition of the image must be on the drive, at the same place; one that grew there is fine.
fn compare(cx: &Cx<'_>, image: &Table, drive: &Table) -> Result<()> {
    let about = || Error::new(format!("`{}` is not laid out like `{}`", cx.job.target, cx.job.origin));
    let whole = "flash the whole image, without `--partition`";
    if image.kind == Kind::None || image.kind != drive.kind {
        let (has, wants) = (drive.kind.name(), image.kind.name());
        return Err(about().caused_by(format!("the drive has {has}, the image has {wants}")).hint(whole));
    }
    for partition in image.contents() {
        let (range, what) = (partition.range(), partition.describe());
        let Some(there) = drive.contents().find(|there| there.number == partition.number) else {
            return Err(about().caused_by(format!("the drive has no {what}")).hint(whole));
        };
        let there = there.range();
        if there.start != range.start || there.end < range.end {
            return Err(about()
                .caused_by(format!(
                    "{what} takes the bytes {} to {} of the image, and {} to {} of the drive",
                    range.start, range.end, there.start, there.end
                ))
                .hint(whole));
        }
    }
    Ok(())
}

/// By the name in a GPT, or else by the label of the filesystem that is there now.
fn by_name(cx: &Cx<'_>, wanted: &str, drive: &Table) -> Result<u32> {
    let is_wanted = |name: &str| name.eq_ignore_ascii_case(wanted);
    let mut found: Vec<u32> = drive.contents().filter(|it| is_wanted(&it.name)).map(|it| it.number).collect();
    if found.is_empty() {
        let labelled = |it: &&Partition| label(cx.target, it).is_some_and(|label| is_wanted(&label));
        found = drive.contents().filter(labelled).map(|it| it.number).collect();
    }
    match found[..] {
        [number] => Ok(number),
        [] => Err(unknown(cx, wanted, drive)),
        _ => Err(Error::usage(format!(
            "`{}` has {} partitions `{}`",
            cx.job.target,
            found.len(),
            wanted.escape_debug()
        ))
        .hint("give the number instead")),
    }
}

fn unknown(cx: &Cx<'_>, wanted: &str, drive: &Table) -> Error {
    let target = cx.target;
    let all: Vec<String> = drive
        .contents()
        .map(|it| match Some(it.name.clone()).filter(|name| !name.is_empty()).or_else(|| label(target, it)) {
            Some(name) => format!("{} `{}`", it.number, name.escape_debug()),
            None => it.number.to_string(),
        })
        .collect();
    Error::usage(format!("`{}` has no partition `{}`", cx.job.target, wanted.escape_debug())).hint(
        if all.is_empty() {
            "its partition table is empty".into()
        } else {
            format!("it has {}", all.join(", "))
        },
    )
}

/// The label of the filesystem in a partition, as `bimg image inspect` shows it.
fn label(target: &dyn Target, partition: &Partition) -> Option<String> {
    let volume = Window::new(OnDrive(target), partition.start.0, partition.size.0);
    let label = match FatVolume::open(&volume).ok()? {
        Some(fat) => fat.label().unwrap_or_else(|_| fat.fat().label.clone()),
        None => Ext::read(&volume).ok()??.label,
    };
    Some(label).filter(|label| !label.is_empty())
}

/// A drive as the table's reader wants it.
struct OnDrive<'a>(&'a dyn Target);

impl ReadAt for OnDrive<'_> {
    fn len(&self) -> u64 {
        self.0.size()
    }

    fn read_exact_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut buffer = Buffer::new(bytes.len());
        let mut done = 0;
        while done < bytes.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        bytes.copy_from_slice(&buffer);
        Ok(())
    }
}
