//! `bimg image`: looking into finished images.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::image::extract::{self, Extracted};
use crate::image::inspect::{self, Inspection};
use crate::image::volume::{self, Entry, Kind, Volume};
use crate::image::{Image, Part};

/// A place in an image: `PART:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Partition by number, name or label; empty for an image without a table.
    pub part: String,
    /// Path from its filesystem's root.
    pub path: String,
}

impl std::str::FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (part, path) = text.split_once(':').unwrap_or((text, ""));
        Ok(Place { part: part.to_string(), path: path.to_string() })
    }
}

/// Opens an image.
pub fn open_image(path: &Path) -> Result<Image> {
    Image::open(path)
}

/// Everything that can be said of an image.
pub fn inspect(path: &Path) -> Result<Inspection> {
    inspect::inspect(&open_image(path)?)
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
        .hint("files are read from FAT, ext2, ext3 and ext4")
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
pub fn list(path: &Path, place: &Place) -> Result<Vec<Listed>> {
    let image = open_image(path)?;
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
pub fn cat(path: &Path, place: &Place, sink: &mut dyn FnMut(&mut dyn Read) -> Result<()>) -> Result<()> {
    let image = open_image(path)?;
    let (_, volume) = volume_at(&image, place)?;
    let Some((path, _)) = volume::resolve(volume.as_ref(), &place.path)? else {
        return Err(missing(volume.as_ref(), &place.path));
    };
    sink(&mut volume.open(&path)?)
}

/// Copies a file or a directory out; says where to as well.
pub fn extract(path: &Path, place: &Place, to: Option<PathBuf>) -> Result<(PathBuf, Extracted)> {
    let image = open_image(path)?;
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
