//! What the layers consist of, label by label: the labels end up in `rootfs: package list changed`.
//!
//! Tars and directories count by content. As they may be large, a digest is remembered together with the
//! sizes, times and inode numbers it was made from, and made again only when one of those moves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::overlay::{self, Overlay};
use super::spec::{BaseKind, RootfsSpec};
use crate::arch::Arch;
use crate::data::DataDirs;
use crate::digest::Digest;
use crate::error::Result;
use crate::fsx;
use crate::tree::directory::{self, Ownership};
use crate::tree::{Kind, Timestamp, Tree, TreePath};

/// Of the base. `memo` is a directory for remembered digests.
pub fn base_fingerprint(
    spec: &RootfsSpec,
    arch: Arch,
    profile: &Path,
    memo: &Path,
) -> Result<Vec<(String, Digest)>> {
    let text = |label: &str, fields: &[&str]| {
        (label.to_string(), Digest::of_fields(fields.iter().map(|field| field.as_bytes())))
    };
    let path = spec.path.as_deref().unwrap_or(Path::new(""));
    let label = format!("`{}`", path.display());
    Ok(match spec.kind {
        BaseKind::Debian => {
            let mut packages: Vec<&str> = spec.packages.iter().map(String::as_str).collect();
            packages.sort_unstable();
            vec![
                text("suite", &[spec.suite.as_deref().unwrap_or_default()]),
                text("components", &spec.components()),
                text("package list", &packages),
                text("architecture", &[arch.name()]),
            ]
        }
        BaseKind::Tar => vec![(label, remembered(&profile.join(path), memo, Digest::of_file)?)],
        BaseKind::Directory => {
            let kept = |root: &Path| digest_directory(root, Ownership::Kept);
            vec![(label, remembered(&profile.join(path), memo, kept)?)]
        }
    })
}

/// Of each overlay.
pub fn overlay_fingerprint(
    spec: &RootfsSpec,
    profile: &Path,
    dirs: &DataDirs,
    memo: &Path,
) -> Result<Vec<(String, Digest)>> {
    let one = |name: &String| {
        let digest = match overlay::find(name, profile, dirs)? {
            Overlay::Host(path) => {
                let overlay = |root: &Path| digest_directory(root, Ownership::Overlay(Timestamp::default()));
                remembered(&path, memo, overlay)?
            }
            Overlay::Data { files, .. } => Digest::of_fields(files.iter().flat_map(|(path, file)| {
                [path.as_bytes(), if file.mode == 0o755 { b"x" } else { b"-" }, &file.bytes[..]]
            })),
        };
        Ok((format!("overlay `{name}`"), digest))
    };
    spec.overlays.iter().map(one).collect()
}

/// Of a host file, remembered in `memo`.
pub fn file_fingerprint(path: &Path, memo: &Path) -> Result<Digest> {
    remembered(path, memo, Digest::of_file)
}

/// Of what a host directory gives to an image as an overlay, remembered in `memo`.
pub fn directory_fingerprint(path: &Path, memo: &Path) -> Result<Digest> {
    remembered(path, memo, |root| digest_directory(root, Ownership::Overlay(Timestamp::default())))
}

/// A directory's content with all that would reach the image.
fn digest_directory(root: &Path, ownership: Ownership) -> Result<Digest> {
    let mut tree = Tree::new(Timestamp::default());
    directory::lay(&mut tree, &TreePath::root(), root, ownership)?;
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for (path, id, inode) in tree.iter() {
        let content = match &inode.kind {
            Kind::File(content) => Digest::of_reader(&mut content.open()?)
                .map_err(|cause| fsx::io_error("read", &root.join(path.as_str()), &cause))?
                .to_string(),
            other => format!("{other:?}"),
        };
        fields.push(path.as_str().into());
        fields.push(format!("{id:?} {:?} {content}", inode.meta).into());
    }
    Ok(Digest::of_fields(fields.iter().map(Vec::as_slice)))
}

#[derive(Serialize, Deserialize)]
struct Memo {
    /// Of names, sizes, times and inode numbers.
    state: Digest,
    content: Digest,
}

fn remembered(path: &Path, memo: &Path, digest: impl FnOnce(&Path) -> Result<Digest>) -> Result<Digest> {
    let mut fields = Vec::new();
    state_of(path, &mut fields)?;
    let state = Digest::of_fields(fields.iter().map(Vec::as_slice));
    let key = Digest::of(
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).as_os_str().as_encoded_bytes(),
    );
    let file = memo.join(format!("{}.json", key.short()));
    // An unreadable memo only costs the time to make it again.
    let known = fsx::read_optional(&file)?.and_then(|text| serde_json::from_str::<Memo>(&text).ok());
    if let Some(known) = known.filter(|known| known.state == state) {
        return Ok(known.content);
    }
    let content = digest(path)?;
    if !memo.is_dir() {
        // A plan of what was never built leaves no trace.
        return Ok(content);
    }
    let text = serde_json::to_vec(&Memo { state, content }).unwrap_or_default();
    fsx::write_atomic(&file, &text)?;
    Ok(content)
}

fn state_of(path: &Path, fields: &mut Vec<Vec<u8>>) -> Result<()> {
    let failed = |cause: std::io::Error| fsx::io_error("read", path, &cause);
    // The top may be a link to a tar somewhere else; below it nothing is followed.
    let meta =
        if fields.is_empty() { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(failed)?;
    let numbers = [
        u64::from(meta.mode()),
        meta.len(),
        meta.ino(),
        meta.mtime().cast_unsigned(),
        meta.mtime_nsec().cast_unsigned(),
        meta.ctime().cast_unsigned(),
        meta.ctime_nsec().cast_unsigned(),
    ];
    fields.push(path.as_os_str().as_encoded_bytes().to_vec());
    fields.push(numbers.iter().flat_map(|number| number.to_le_bytes()).collect());
    if !meta.is_dir() {
        return Ok(());
    }
    let mut names = fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
        })
        .map_err(failed)?;
    names.sort();
    names.iter().try_for_each(|path| state_of(path, fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> RootfsSpec {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_order_of_packages_does_not_matter_and_their_names_do() {
        let of = |packages: &str| {
            let text = format!("kind = \"debian\"\nsuite = \"bookworm\"\npackages = [{packages}]");
            base_fingerprint(&spec(&text), Arch::Arm64, Path::new(""), Path::new("/nowhere")).unwrap()
        };
        let (one, two, three) = (of("\"a\", \"b\""), of("\"b\", \"a\""), of("\"ab\""));
        assert_eq!(one, two);
        let changed: Vec<_> =
            one.iter().zip(&three).filter(|(a, b)| a != b).map(|(a, _)| a.0.as_str()).collect();
        assert_eq!(changed, ["package list"]);
    }

    #[test]
    fn a_directory_counts_by_content_and_is_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let memo = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("o")).unwrap();
        fs::write(dir.path().join("o/x"), "1").unwrap();
        let spec = spec("kind = \"tar\"\npath = \"x\"\noverlays = [\"o\"]");
        let of = || overlay_fingerprint(&spec, dir.path(), &DataDirs::builtin(), memo.path()).unwrap();
        let first = of();
        assert_eq!(first[0].0, "overlay `o`");
        // The same content, written again: another state, the same digest.
        fs::write(dir.path().join("o/x"), "1").unwrap();
        assert_eq!(of(), first);
        fs::write(dir.path().join("o/x"), "2").unwrap();
        assert_ne!(of(), first);
        let hashed = std::cell::Cell::new(0);
        for _ in 0..2 {
            let count = |_: &Path| {
                hashed.set(hashed.get() + 1);
                Ok(Digest::of(b""))
            };
            remembered(&dir.path().join("o/x"), memo.path(), count).unwrap();
        }
        assert_eq!(hashed.get(), 1);
    }
}
