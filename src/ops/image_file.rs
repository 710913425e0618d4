//! `bimg image`: looking into finished images.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::diff::{self, Difference};
use crate::image::extract::{self, Extracted};
use crate::image::inspect::{self, Inspection};
use crate::image::verify::{self, Check};
use crate::image::volume::{self, Entry, Kind, Volume};
use crate::image::{Disk, Finding, Image, Part};
use crate::input::{self, Origin};
use crate::progress::Progress;
use crate::signature::{self, PublicKey};
use crate::sums::{self, Sums};
use crate::units::ByteSize;
use crate::{fsx, interrupt};

use super::manifest::Manifest;

/// A place in an image: `PART:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Partition by number, name or label; empty for an image without a table.
    pub part: String,
    /// Path from its filesystem's root.
    pub path: String,
}

impl From<OsString> for Place {
    fn from(text: OsString) -> Self {
        let text = volume::name(text.as_bytes());
        let (part, path) = text.split_once(':').unwrap_or((&text, ""));
        Place { part: part.to_string(), path: path.to_string() }
    }
}

/// No image unpacks to more than this.
const LIMIT: ByteSize = ByteSize(1 << 40);

/// Opens an image; a compressed one is unpacked to a temporary file that has no name.
pub fn open_image(path: &Path, progress: &dyn Progress) -> Result<Image> {
    let origin = Origin::File(path.to_owned());
    let spooled = input::spool(&origin, &std::env::temp_dir(), LIMIT, progress)?;
    let failed = |cause: std::io::Error| fsx::io_error("read", path, &cause);
    Image::new(std::sync::Arc::new(Disk::new(spooled.file).map_err(failed)?)).map_err(failed)
}

/// Everything that can be said of an image.
pub fn inspect(path: &Path, progress: &dyn Progress) -> Result<Inspection> {
    inspect::inspect(&open_image(path, progress)?)
}

/// The filesystem that a place is in.
fn volume_at<'a>(image: &'a Image, place: &Place) -> Result<(&'a Part, Box<dyn Volume>)> {
    let part = image.find(&place.part)?;
    match image.volume(part)? {
        Some(volume) => Ok((part, volume)),
        None => Err(unreadable(part)),
    }
}

fn unreadable(part: &Part) -> Error {
    let holds = match &part.content {
        Some(content) => format!("it holds {}", content.kind),
        None => "it holds no filesystem that bimg knows".to_string(),
    };
    Error::new(format!("cannot read files in {}", part.describe()))
        .caused_by(holds)
        .hint("files are read from FAT, ext2, ext3, ext4, erofs and squashfs")
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub entry: Entry,
    /// Where a symbolic link leads.
    pub target: Option<String>,
}

/// What is in a directory, or the one file that a place names.
pub fn list(path: &Path, place: &Place, progress: &dyn Progress) -> Result<Vec<Listed>> {
    let image = open_image(path, progress)?;
    let (_, volume) = volume_at(&image, place)?;
    let Some((path, entry)) = volume::resolve(volume.as_ref(), &place.path)? else {
        return Err(missing(volume.as_ref(), &place.path));
    };
    let in_dir = entry.kind == Kind::Directory;
    let entries = if in_dir { volume.list(&path)? } else { vec![entry] };
    let listed = |entry: Entry| {
        let target = match entry.kind {
            Kind::Symlink => Some(volume.target(&volume::join(&path, &entry.name))?),
            _ => None,
        };
        Ok(Listed { entry, target })
    };
    entries.into_iter().map(listed).collect()
}

/// Hands a file's content to `sink`.
pub fn cat(
    path: &Path,
    place: &Place,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let image = open_image(path, progress)?;
    let (_, volume) = volume_at(&image, place)?;
    let Some((path, _)) = volume::resolve(volume.as_ref(), &place.path)? else {
        return Err(missing(volume.as_ref(), &place.path));
    };
    sink(&mut volume.open(&path)?)
}

/// Copies a file or a directory out; says where to as well.
pub fn extract(
    path: &Path,
    place: &Place,
    to: Option<PathBuf>,
    progress: &dyn Progress,
) -> Result<(PathBuf, Extracted)> {
    let image = open_image(path, progress)?;
    let (part, volume) = volume_at(&image, place)?;
    if volume::resolve(volume.as_ref(), &place.path)?.is_none() {
        return Err(missing(volume.as_ref(), &place.path));
    }
    let to = match to {
        Some(to) => to,
        None => default_target(part, &place.path)?,
    };
    let done = extract::extract(volume.as_ref(), &place.path, &to)?;
    Ok((to, done))
}

/// The last component of the path, or the partition's name for the root.
fn default_target(part: &Part, path: &str) -> Result<PathBuf> {
    let path = volume::normal(path);
    let name = match path.rsplit('/').next() {
        Some(name) if !name.is_empty() => name.to_string(),
        _ if volume::is_name(part.name()) => part.name().to_string(),
        _ => format!("partition{}", part.number),
    };
    if name.chars().any(char::is_control) {
        return Err(Error::usage(format!("`{}` is no name for a file here", name.escape_debug()))
            .hint("say where to put it"));
    }
    Ok(PathBuf::from(name))
}

/// That a path is not there, with the nearest name that is.
fn missing(volume: &dyn Volume, path: &str) -> Error {
    let path = volume::normal(path);
    let error = volume::not_there(&path).into_usage();
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let Ok(Some((dir, _))) = volume::resolve(volume, dir) else { return error };
    let names: Vec<String> = volume.list(&dir).unwrap_or_default().into_iter().map(|it| it.name).collect();
    match crate::error::nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `/{}`?", volume::join(&dir, near).escape_debug())),
        None => error,
    }
}

/// Whose signatures are believed.
#[derive(Debug)]
pub enum Keys {
    /// One of these must have signed the image.
    Required(Vec<PublicKey>),
    /// If it is signed, then by one of these.
    Trusted(Vec<PublicKey>),
}

/// Checks an image, and what lies beside it.
pub fn verify(path: &Path, keys: &Keys, progress: &dyn Progress) -> Result<Vec<Check>> {
    if Origin::File(path.to_owned()).is_stream() {
        return Err(Error::usage(format!("cannot verify `{}`", path.display()))
            .caused_by("it can be read only once, and this takes twice")
            .hint("save it to a file first"));
    }
    let image = open_image(path, progress)?;
    let mut checks = verify::verify(&image)?;
    interrupt::check()?;
    let digest = Digest::of_file(path)?;
    checks.push(manifest_check(path, digest));
    checks.push(sums_check(path, digest));
    checks.push(signature_check(path, keys)?);
    Ok(checks)
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether `manifest.json` beside the image lists it with its digest.
fn manifest_check(path: &Path, digest: Digest) -> Check {
    const WHAT: &str = "manifest.json";
    let manifest = match load_manifest(path) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Check::skipped(WHAT, "there is none beside the image"),
        Err(error) => return Check::done(WHAT, "", vec![Finding::error(error.one_line())]),
    };
    let name = file_name(path);
    match manifest.artifacts.get(&name) {
        None => Check::skipped(WHAT, format!("it does not name `{name}`")),
        Some(artifact) => Check::done(WHAT, "SHA-256", compare_digest(artifact.sha256, digest)),
    }
}

fn compare_digest(expected: Digest, digest: Digest) -> Vec<Finding> {
    if expected == digest {
        return Vec::new();
    }
    vec![Finding::error(format!("the image has the SHA-256 {digest}, it says {expected}"))]
}

fn load_manifest(path: &Path) -> Result<Option<Manifest>> {
    let manifest = beside(path, "manifest.json");
    if !manifest.exists() {
        return Ok(None);
    }
    let bytes = fsx::read_small(&manifest)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|cause| Error::new(format!("cannot read `{}`", manifest.display())).caused_by(cause))
}

fn sums_check(path: &Path, digest: Digest) -> Check {
    let file = beside(path, sums::NAME);
    let text = match fsx::read_optional(&file) {
        Ok(Some(text)) => text,
        Ok(None) => return Check::skipped(sums::NAME, "there is none beside the image"),
        Err(error) => return Check::done(sums::NAME, "", vec![Finding::error(error.one_line())]),
    };
    let name = file_name(path);
    match Sums::parse(&text, &file.display().to_string()).map(|sums| sums.of(&name)) {
        Ok(None) => Check::skipped(sums::NAME, format!("it does not name `{name}`")),
        Ok(Some(expected)) => Check::done(sums::NAME, "SHA-256", compare_digest(expected, digest)),
        Err(error) => Check::done(sums::NAME, "", vec![Finding::error(error.one_line())]),
    }
}

fn signature_check(path: &Path, keys: &Keys) -> Result<Check> {
    const WHAT: &str = "signature";
    const NONE: &str = "there is none beside the image";
    let (keys, required) = match keys {
        Keys::Required(keys) => (keys, true),
        Keys::Trusted(keys) => (keys, false),
    };
    if keys.is_empty() && signature::Signature::path(path).exists() {
        return Ok(Check::skipped(WHAT, "no public key is trusted: name one with `--key`"));
    }
    Ok(match signature::verify_file(path, keys) {
        Ok(None) if required => Check::done(WHAT, "", vec![Finding::error(NONE)]),
        Ok(None) => Check::skipped(WHAT, NONE),
        Ok(Some(signed)) => Check::done(WHAT, format!("key {}, `{}`", signed.id, signed.comment), Vec::new()),
        Err(error) => {
            interrupt::check()?;
            Check::done(WHAT, "", vec![Finding::error(error.one_line())])
        }
    })
}

/// What differs between two images.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Compared {
    /// In the images, from the table to the bytes.
    pub differences: Vec<Difference>,
    /// Inputs of the builds that differ, from both `manifest.json`; the probable cause of all the rest.
    pub inputs: Vec<String>,
}

/// Compares two images and, where both are there, the manifests beside them.
pub fn diff(a: &Path, b: &Path, progress: &dyn Progress) -> Result<Compared> {
    let (one, two) = (open_image(a, progress)?, open_image(b, progress)?);
    let differences = diff::diff(&one, &two)?;
    let manifests = (load_manifest(a), load_manifest(b));
    let inputs = match manifests {
        (Ok(Some(a)), Ok(Some(b))) if !differences.is_empty() => a.differences(&b),
        // A manifest that cannot be read explains nothing; verify tells of it.
        _ => Vec::new(),
    };
    Ok(Compared { differences, inputs })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_place_may_have_any_bytes() {
        let place = Place::from(OsString::from_vec(b"boot:a\xE9/b:c".to_vec()));
        assert_eq!((place.part.as_str(), volume::raw(&place.path).as_slice()), ("boot", &b"a\xE9/b:c"[..]));
        assert_eq!(Place::from(OsString::from("1")), Place { part: "1".to_string(), path: String::new() });
    }
}
