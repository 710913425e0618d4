//! What lies beside an image and speaks for it: a block map, `SHA256SUMS`, minisign signatures.
//!
//! ```text
//! SHA256SUMS.minisig --signs--> SHA256SUMS --lists--> x.img.bmap --sums of what is written--> x.img
//!                                          '--------------lists----------------------------> x.img
//! x.img.minisig ------------------------------signs----------------------------------------> x.img
//! ```
//!
//! A block map that `SHA256SUMS` lists and that has a SHA-2 for every range speaks for all that is written: then
//! nobody has to read the blocks that nobody needs. Otherwise the whole file is hashed while it is read, and
//! the first MiB is not written before the sum is known to be right.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::digest::Digest;
use crate::disk::{Bmap, MAX_BMAP};
use crate::error::{Context, Error, Result};
use crate::fsx;
use crate::input::Origin;
use crate::progress::{Progress, Unit};
use crate::signature::{self, PublicKey, Signature, Signed};
use crate::sums::{self, Sums};

/// Extensions of compressed files, which the name of a block map goes without.
const COMPRESSED: [&str; 7] = ["xz", "zst", "zstd", "gz", "gzip", "bz2", "bzip2"];

/// Whose signatures count.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// A key was named on the command line: what is not signed with it is not written.
    pub required: bool,
}

impl Trust {
    /// The key that was named, or all that the user trusts.
    pub fn new(key: Option<&Path>) -> Result<Self> {
        Ok(match key {
            Some(path) => Trust { keys: vec![PublicKey::load(path)?], required: true },
            None => Trust { keys: PublicKey::trusted()?, required: false },
        })
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Beside {
    /// The block map, where there is one that may be used.
    pub bmap: Option<Bmap>,
    /// What the SHA-256 of the stored image has to be, where nothing else speaks for it.
    pub sha256: Option<Digest>,
    /// Who signed it.
    pub signed: Option<Signed>,
}

/// A small file, whole.
struct Small {
    origin: Origin,
    bytes: Vec<u8>,
}

impl Small {
    fn fetch(origin: Option<Origin>, limit: usize) -> Result<Option<Self>> {
        let Some(origin) = origin else { return Ok(None) };
        let bytes =
            origin.fetch(limit)?.filter(|bytes| !(matches!(origin, Origin::Url(_)) && is_page(bytes)));
        Ok(bytes.map(|bytes| Small { origin, bytes }))
    }

    fn shown(&self) -> String {
        self.origin.to_string()
    }

    fn name(&self) -> &str {
        self.origin.file_name().unwrap_or_default()
    }
}

/// Many a server answers with a page for people, and status 200, when it has no such file.
fn is_page(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let begins = |tag: &[u8]| start.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag));
    begins(b"<!doctype html") || begins(b"<html")
}

/// Reads everything beside the image and checks it, as far as that goes without reading the image for anything but a
/// signature of its own.
pub fn look(origin: &Origin, trust: &Trust, progress: &dyn Progress) -> Result<Beside> {
    let sums = Small::fetch(origin.sibling(sums::NAME), sums::LIMIT)?;
    let listed = match &sums {
        Some(file) => Sums::parse(&String::from_utf8_lossy(&file.bytes), &file.shown())?,
        None => Sums::default(),
    };
    let image = origin.file_name().and_then(|name| listed.of(name));
    let map = find_map(origin)?;
    let map_is_listed = match &map {
        Some(map) => check_listed(map, &listed)?,
        None => false,
    };
    let bmap = map.as_ref().map(|map| Bmap::parse(&map.shown(), &map.bytes)).transpose()?;
    let complete = map_is_listed && bmap.as_ref().is_some_and(has_every_sum);
    let speaks = complete || image.is_some();
    let signer = signer(origin, sums.as_ref().filter(|_| speaks), trust, progress)?;
    // Only of what is signed may a map say what is written.
    let usable = !trust.required || (signer.of_sums && map_is_listed);
    if let (Some(map), false) = (&map, usable) {
        progress.note(&format!("`{}` is not used: it is not signed", map.shown()));
    }
    Ok(Beside {
        sha256: image.filter(|_| !(complete && usable)),
        bmap: bmap.filter(|_| usable),
        signed: signer.signed,
    })
}

/// `x.img.zst.bmap`, `x.img.bmap` or `x.bmap`: where bmaptool looks as well.
fn find_map(origin: &Origin) -> Result<Option<Small>> {
    let Some(name) = origin.file_name() else { return Ok(None) };
    for stem in stems(name) {
        if let Some(map) = Small::fetch(origin.sibling(&format!("{stem}.bmap")), MAX_BMAP)? {
            return Ok(Some(map));
        }
    }
    Ok(None)
}

/// A name, the same without the extension of a compression, and that without one more.
fn stems(name: &str) -> Vec<&str> {
    let stem_of = |name: &'_ str| name.rsplit_once('.').map(|(stem, _)| stem.len()).filter(|len| *len > 0);
    let mut stems = vec![name];
    let packed = COMPRESSED.iter().find_map(|end| name.strip_suffix(end)?.strip_suffix('.'));
    stems.extend(packed.filter(|stem| !stem.is_empty()));
    let plain = stems[stems.len() - 1];
    stems.extend(stem_of(plain).map(|len| &plain[..len]));
    stems
}

/// True when the map is listed; one that is not as listed is an error.
fn check_listed(map: &Small, listed: &Sums) -> Result<bool> {
    let Some(expected) = listed.of(map.name()) else { return Ok(false) };
    let found = Digest::of(&map.bytes);
    if found == expected {
        return Ok(true);
    }
    Err(Error::new(format!("`{}` is not the file that `{}` lists", map.shown(), sums::NAME))
        .caused_by(format!("its sha256 is {found}"))
        .caused_by(format!("expected         {expected}"))
        .hint("the two are from different builds, or one is damaged: fetch both again"))
}

/// SHA-1 says that nothing went wrong by chance, and no more.
fn has_every_sum(bmap: &Bmap) -> bool {
    bmap.sum_name() != "sha1" && (0..bmap.len()).all(|index| bmap.sum(index).is_some())
}

/// Who signed, and what.
#[derive(Default)]
struct Signer {
    signed: Option<Signed>,
    of_sums: bool,
}

fn signer(origin: &Origin, sums: Option<&Small>, trust: &Trust, progress: &dyn Progress) -> Result<Signer> {
    if let Some(sums) = sums
        && let Some(file) = Small::fetch(sums.origin.beside(signature::SUFFIX), signature::LIMIT)?
        && let Some(signature) = known(&file, trust, progress)?
    {
        let signed = signature.verify(&trust.keys, sums.bytes.as_slice(), &sums.shown())?;
        return Ok(Signer { signed: Some(signed), of_sums: true });
    }
    if let Some(file) = Small::fetch(origin.beside(signature::SUFFIX), signature::LIMIT)?
        && let Some(signature) = known(&file, trust, progress)?
    {
        if let Origin::File(path) = origin {
            let signed =
                signature.verify(&trust.keys, Counted::open(path, progress)?, &origin.to_string())?;
            return Ok(Signer { signed: Some(signed), of_sums: false });
        }
        let why = "it signs the image itself, all of which has to be read before anything is written";
        if !trust.required {
            progress.warn(&format!("`{}` was not checked: {why}", file.shown()));
            return Ok(Signer::default());
        }
        return Err(Error::new(format!("cannot check `{}`", file.shown()))
            .caused_by(why)
            .hint("download the image first, or have `SHA256SUMS` signed"));
    }
    if !trust.required {
        return Ok(Signer::default());
    }
    let error = Error::new(format!("`{origin}` is not signed"));
    Err(match origin.file_name() {
        Some(name) => error.caused_by(format!(
            "beside it is neither `{}{end}` for a `{}` that lists it, nor `{name}{end}`",
            sums::NAME,
            sums::NAME,
            end = signature::SUFFIX
        )),
        None => error.caused_by("standard input has nothing beside it"),
    })
}

/// The signature, if one of the keys made it. Where no key has to have made it, others are only told of: who forges
/// an image could leave the signature out as well.
fn known(file: &Small, trust: &Trust, progress: &dyn Progress) -> Result<Option<Signature>> {
    let signature = Signature::parse(&file.bytes, &file.shown())
        .context(|| "cannot check the signature of the image".to_string())?;
    if trust.required || signature.is_of(&trust.keys) {
        return Ok(Some(signature));
    }
    let why = "its key is not trusted; `--key FILE` trusts one";
    progress.warn(&format!("`{}` was not checked: {why}", file.shown()));
    Ok(None)
}

/// A file that tells how far it was read.
struct Counted<'a> {
    file: File,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl<'a> Counted<'a> {
    fn open(path: &Path, progress: &'a dyn Progress) -> Result<Self> {
        let file = fsx::open(path)?;
        let total = file.metadata().map_err(|cause| fsx::io_error("read", path, &cause))?.len();
        Ok(Counted { file, done: 0, total, progress })
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.done += n as u64;
        self.progress.count("checking the signature", self.done, Some(self.total), Unit::Bytes);
        Ok(n)
    }
}
