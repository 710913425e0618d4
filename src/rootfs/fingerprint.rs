//! What the layers consist of, label by label: the labels end up in `rootfs: package list changed`.
//!
//! Tars and directories count by content. As they may be large, a digest is remembered together with the
//! sizes, times and inode numbers it was made from, and made again only when one of those moves.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::overlay::{self, Overlay};
use super::spec::{BaseKind, RootfsSpec};
use crate::arch::Arch;
use crate::data::DataDirs;
use crate::digest::Digest;
use crate::error::{Error, Result};
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
        BaseKind::Tar => vec![(label, remembered(&profile.join(path), "file", memo, Digest::of_file)?)],
        BaseKind::Directory => {
            let kept = |root: &Path| digest_directory(root, Ownership::Kept);
            vec![(label, remembered(&profile.join(path), "directory", memo, kept)?)]
        }
    })
}

/// Of what a Debian base has become: the same list of packages may mean other packages tomorrow. Counted is
/// what reaches the image, for the tar itself tells which host unpacked it, from which mirror.
pub fn unpacked_fingerprint(suite: &str, tar: &Path, memo: &Path) -> Result<Digest> {
    remembered(tar, "unpacked", memo, |tar| {
        let mut tree = Tree::new(Timestamp::default());
        crate::tree::tar::lay(&mut tree, tar)?;
        super::finish::finish(&mut tree, suite, Timestamp::default())?;
        digest_tree(&tree)
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
            Overlay::Host(path) => host_fingerprint(&path, Some(memo))?,
            Overlay::Data { files, .. } => Digest::of_fields(files.iter().flat_map(|(path, file)| {
                [path.as_bytes(), if file.mode == 0o755 { b"x" } else { b"-" }, &file.bytes[..]]
            })),
        };
        Ok((format!("overlay `{name}`"), digest))
    };
    spec.overlays.iter().map(one).collect()
}

/// Of what a host file, or a host directory as an overlay, gives to an image; remembered in `memo`, if there is one.
pub fn host_fingerprint(path: &Path, memo: Option<&Path>) -> Result<Digest> {
    let overlay = |root: &Path| digest_directory(root, Ownership::Overlay(Timestamp::default()));
    match (path.is_dir(), memo) {
        (true, Some(memo)) => remembered(path, "overlay", memo, overlay),
        (true, None) => overlay(path),
        (false, Some(memo)) => remembered(path, "file", memo, Digest::of_file),
        (false, None) => Digest::of_file(path),
    }
}

/// A directory's content with all that would reach the image.
fn digest_directory(root: &Path, ownership: Ownership) -> Result<Digest> {
    let mut tree = Tree::new(Timestamp::default());
    directory::lay(&mut tree, &TreePath::root(), root, ownership)?;
    digest_tree(&tree)
}

/// Every name with its metadata and content; of hard links, which name is the first.
fn digest_tree(tree: &Tree) -> Result<Digest> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut first = HashMap::new();
    for (path, id, inode) in tree.iter() {
        let first = first.entry(id).or_insert(path.as_str());
        let content = match &inode.kind {
            _ if *first != path.as_str() => first.to_string(),
            Kind::File(content) => Digest::of_reader(&mut content.open()?, |cause| {
                Error::new(format!("cannot read the layer's `{path}`")).caused_by(cause)
            })?
            .to_string(),
            other => format!("{other:?}"),
        };
        fields.push(path.as_str().into());
        fields.push(format!("{:?} {content}", inode.meta).into());
    }
    Ok(Digest::of_fields(fields.iter().map(Vec::as_slice)))
}

#[derive(Serialize, Deserialize)]
struct Memo {
    /// Of names, sizes, times and inode numbers.
    state: Digest,
    content: Digest,
}

/// `what` tells apart the ways to digest one path.
fn remembered(
    path: &Path,
    what: &str,
    memo: &Path,
    digest: impl FnOnce(&Path) -> Result<Digest>,
) -> Result<Digest> {
    let mut fields = Vec::new();
    state_of(path, &mut fields)?;
    let state = Digest::of_fields(fields.iter().map(Vec::as_slice));
    let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let key = Digest::of_fields([what.as_bytes(), place.as_os_str().as_encoded_bytes()]);
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
    fn what_the_host_leaves_in_a_base_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let digest = |host: &str, version: &str, extra: bool| {
            let path = dir.path().join("base.tar");
            let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
            let mut put = |name: &str, text: &str| {
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o644);
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            };
            if extra {
                put("./etc/apt/apt.conf.d/99mmdebstrap", "Acquire::Check-Date \"false\";");
            }
            put("./etc/hostname", host);
            put("./etc/resolv.conf", host);
            put("./etc/apt/sources.list.d/0000mirror.sources", host);
            put("./usr/bin/tool", version);
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Link);
            link.set_size(0);
            tar.append_link(&mut link, "./usr/bin/again", "./usr/bin/tool").unwrap();
            tar.finish().unwrap();
            unpacked_fingerprint("bookworm", &path, Path::new("/nowhere")).unwrap()
        };
        let first = digest("here", "1", false);
        assert_eq!(digest("elsewhere.example.org", "1", true), first);
        assert_ne!(digest("here", "2", false), first);
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
            remembered(&dir.path().join("o/x"), "file", memo.path(), count).unwrap();
        }
        assert_eq!(hashed.get(), 1);
    }
}
