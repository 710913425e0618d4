//! Two filesystems, file by file.

use std::collections::BTreeMap;

use super::super::extract::fill;
use super::super::open::Part;
use super::super::volume::{self, Entry, Kind, Volume};
use super::cause::{self, Identifiers};
use super::{Bytes, Differences};
use crate::error::{Error, Result};
use crate::interrupt;

/// Bytes compared at once.
const PIECE: usize = 256 << 10;
/// Bytes of a file that are looked at for the cause.
const MAX_CAUSE: u64 = 64 << 20;

/// Adds what differs between two filesystems.
pub fn diff(
    volumes: [&dyn Volume; 2],
    part: &Part,
    ids: &Identifiers,
    found: &mut Differences,
) -> Result<()> {
    let prefix = if part.number == 0 { String::new() } else { format!("{}:", part.number) };
    let place = |path: &str| format!("{prefix}/{}", path.escape_debug());
    let [a, b] = match (tree(volumes[0]), tree(volumes[1])) {
        (Ok(a), Ok(b)) => [a, b],
        (Err(error), _) | (_, Err(error)) => return unreadable(&error, place(""), found),
    };
    for (path, entry) in &a {
        match b.get(path) {
            Some(other) => pair(volumes, path, [entry, other], &place(path), ids, found)
                .or_else(|error| unreadable(&error, place(path), found))?,
            None => found.add(place(path), "is in the first image only", None),
        }
    }
    for path in b.keys().filter(|path| !a.contains_key(*path)) {
        found.add(place(path), "is in the second image only", None);
    }
    Ok(())
}

/// What cannot be read on one side is no reason to tell nothing about the rest.
fn unreadable(error: &Error, place: String, found: &mut Differences) -> Result<()> {
    interrupt::check()?;
    found.add(place, "cannot be compared", Some(&error.one_line()));
    Ok(())
}

fn tree(volume: &dyn Volume) -> Result<BTreeMap<String, Entry>> {
    let mut all = BTreeMap::new();
    all.extend(volume.entry("")?.map(|root| (String::new(), root)));
    volume::walk(volume, "", &mut |path, entry| {
        all.insert(path.to_string(), entry.clone());
        Ok(())
    })?;
    Ok(all)
}

fn pair(
    volumes: [&dyn Volume; 2],
    path: &str,
    [a, b]: [&Entry; 2],
    place: &str,
    ids: &Identifiers,
    found: &mut Differences,
) -> Result<()> {
    if a.kind != b.kind {
        found.add(place, format!("is {} and {}", a.kind.article(), b.kind.article()), None);
        return Ok(());
    }
    found.values(place, "mode", [&format!("{:04o}", a.mode), &format!("{:04o}", b.mode)], None);
    let owner = |it: &Entry| it.owner.map_or(String::new(), |(uid, gid)| format!("{uid}:{gid}"));
    found.values(place, "owner", [&owner(a), &owner(b)], None);
    let time = |it: &Entry| it.mtime.map_or(String::new(), |time| format!("@{time}"));
    found.values(place, "modification time", [&time(a), &time(b)], Some(cause::TIME));
    match a.kind {
        Kind::Symlink => {
            found.values(place, "target", [&volumes[0].target(path)?, &volumes[1].target(path)?], None);
        }
        Kind::File => content(volumes, path, [a, b], place, ids, found)?,
        _ => {}
    }
    Ok(())
}

fn content(
    volumes: [&dyn Volume; 2],
    path: &str,
    [a, b]: [&Entry; 2],
    place: &str,
    ids: &Identifiers,
    found: &mut Differences,
) -> Result<()> {
    let Some(bytes) = compare(volumes, path, [a.size, b.size])? else { return Ok(()) };
    let what = if a.size == b.size {
        bytes.to_string()
    } else {
        format!("has {} and {} bytes, the first that differs at {}", a.size, b.size, bytes.first)
    };
    let why = if a.size.max(b.size) > MAX_CAUSE {
        None
    } else {
        cause::of(&volumes[0].read(path, MAX_CAUSE)?, &volumes[1].read(path, MAX_CAUSE)?, ids)
    };
    found.add(place, what, why.as_deref());
    Ok(())
}

/// Compares a file of both; what only one has differs, and is not read.
fn compare(volumes: [&dyn Volume; 2], path: &str, sizes: [u64; 2]) -> Result<Option<Bytes>> {
    let failed = |cause: std::io::Error| volume::failed(path, &cause);
    let [mut a, mut b] = [volumes[0].open(path)?, volumes[1].open(path)?];
    let (mut one, mut two) = (vec![0; PIECE], vec![0; PIECE]);
    let mut bytes = Bytes { differ: 0, first: u64::MAX, of: sizes[0].max(sizes[1]) };
    let mut at = 0;
    loop {
        interrupt::check()?;
        let hole = a.zeros().map_err(failed)?.min(b.zeros().map_err(failed)?);
        if hole > 0 {
            a.skip(hole);
            b.skip(hole);
            at += hole;
            continue;
        }
        let (n, m) = (fill(&mut a, &mut one).map_err(failed)?, fill(&mut b, &mut two).map_err(failed)?);
        let common = n.min(m);
        bytes.add(&one[..common], &two[..common], at);
        at += common as u64;
        if common < PIECE {
            bytes.add_rest(at);
            return Ok(bytes.any());
        }
    }
}
