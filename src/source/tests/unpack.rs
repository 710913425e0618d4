//! Archives: every compression, and everything that a hostile one may try.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::unpack::{Links, strip_top, unpack};
use super::super::{files, resolve};
use super::{Bench, tar_of};
use crate::error::Result;
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Silent;

fn try_unpack(archive: &[u8], into: &Path, links: Links) -> Result<i64> {
    fsx::create_dir_all(into)?;
    let bytes = std::io::Cursor::new(archive.to_vec());
    let unpacked = unpack(bytes, archive.len() as u64, into, links, "test", &Silent)?;
    strip_top(into, &unpacked)?;
    Ok(unpacked.newest)
}

fn failure(archive: &[u8]) -> String {
    let bench = Bench::new();
    let error = try_unpack(archive, &bench.path().join("tree/t"), Links::Inside).unwrap_err();
    // Whatever it tried, nothing is outside.
    assert!(!bench.path().join("evil").exists());
    assert!(!bench.path().join("tree/evil").exists());
    bench.redact(&error.to_string())
}

/// An entry that `tar::Builder` would refuse to write.
fn raw(name: &str, kind: tar::EntryType, target: &str, builder: &mut tar::Builder<Vec<u8>>) {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(if kind == tar::EntryType::Regular { 4 } else { 0 });
    header.set_cksum();
    builder.append(&header, &b"evil"[..header.size().unwrap() as usize]).unwrap();
}

fn hostile(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, target) in entries {
        raw(name, *kind, target, &mut builder);
    }
    builder.into_inner().unwrap()
}

#[test]
fn every_compression_gives_the_same_tree() {
    let plain = tar_of(&[("linux-6/", ""), ("linux-6/Makefile", "all:\n"), ("linux-6/a/run.sh", "#!")]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let bench = Bench::new();
    let file = bench.path().join("x.tar");
    fsx::write_atomic(&file, &plain).unwrap();
    let bz2 = Cmd::new("bzip2").arg("-c").arg(&file).check().unwrap().stdout;
    let zst = zstd::encode_all(&plain[..], 1).unwrap();
    for (name, archive) in [
        ("plain", plain.clone()),
        ("gz", gz.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zst", zst),
        ("bz2", bz2),
    ] {
        let into = bench.path().join(name).join("tree");
        assert_eq!(try_unpack(&archive, &into, Links::Inside).unwrap(), 1_700_000_000, "{name}");
        assert_eq!(fsx::read_to_string(&into.join("Makefile")).unwrap(), "all:\n", "{name}");
        // The archive's odd modes become plain ones, whatever the umask.
        let mode = |path: &str| into.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("Makefile"), mode("a/run.sh")), (0o644, 0o755));
        // Cut short, every one of them says so.
        if name != "plain" {
            let cut = &archive[..archive.len() - 12];
            let error = try_unpack(cut, &bench.path().join(name).join("cut"), Links::Inside).unwrap_err();
            assert_eq!(error.chain().next(), Some("the archive is damaged or not a tar archive"), "{name}");
        }
    }
}

#[test]
fn a_single_top_file_or_two_tops_are_not_stripped() {
    let bench = Bench::new();
    let into = bench.path().join("t/tree");
    try_unpack(&tar_of(&[("only", "x")]), &into, Links::Inside).unwrap();
    assert_eq!(files(&into, "*").unwrap(), ["only"]);
    let into = bench.path().join("u/tree");
    try_unpack(&tar_of(&[("a/x", "x"), ("b", "y")]), &into, Links::Inside).unwrap();
    assert_eq!(files(&into, "**/*").unwrap(), ["a/x", "b"]);
}

#[test]
fn names_that_leave_the_tree() {
    use tar::EntryType::Regular;
    assert_eq!(
        failure(&hostile(&[("../evil", Regular, "")])),
        "path `../evil` leaves its root with `..`\n\nhint: paths in a layer may not hold `..`"
    );
    assert_eq!(
        failure(&hostile(&[("/tmp/evil", Regular, "")])),
        "path `/tmp/evil` is absolute\n\nhint: paths in a layer are relative to its root"
    );
}

#[test]
fn links_that_leave_the_tree() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let through = "`a` is not a directory\n  caused by: the archive writes through a link or a file";
    assert_eq!(failure(&hostile(&[("a", Symlink, "../.."), ("a/evil", Regular, "")])), through);
    assert_eq!(
        failure(&hostile(&[("a", Symlink, ".."), ("a", Directory, ""), ("a/evil", Regular, "")])),
        through
    );
    assert_eq!(
        failure(&hostile(&[("a", Symlink, "/etc/passwd"), ("b", Regular, "")])),
        "symbolic link `a` leads out of the archive\n  caused by: it points to `/etc/passwd`"
    );
    // The top directory is stripped, so one level up is out; a link over a link could be anywhere.
    for target in ["../x", "b/../x"] {
        assert_eq!(
            failure(&hostile(&[("top/a", Symlink, target)])),
            format!("symbolic link `top/a` leads out of the archive\n  caused by: it points to `{target}`")
        );
    }
    let hard = "`b` is a hard link to `a/passwd`\n  caused by: the archive holds no such file before it";
    assert_eq!(failure(&hostile(&[("a", Symlink, "/etc"), ("b", Link, "a/passwd")])), hard);
    // A link to a link would lead from another place to another one.
    assert_eq!(
        failure(&hostile(&[("a/b/c", Symlink, "../../x"), ("x", Regular, ""), ("z", Link, "a/b/c")])),
        "`z` is a hard link to `a/b/c`\n  caused by: the archive holds no such file before it"
    );
    assert_eq!(
        failure(&hostile(&[("dev", tar::EntryType::Char, "")])),
        "`dev` is a device, a pipe or of an unknown kind\n  \
         caused by: a source may hold files, directories and links only"
    );
}

#[test]
fn a_link_is_replaced_not_written_through() {
    use tar::EntryType::{Regular, Symlink};
    let bench = Bench::new();
    fsx::write_atomic(&bench.path().join("victim"), b"safe").unwrap();
    let archive = hostile(&[("a", Symlink, "../../victim"), ("a", Regular, ""), ("b", Regular, "")]);
    try_unpack(&archive, &bench.path().join("x/tree"), Links::Any).unwrap();
    assert_eq!(fsx::read_to_string(&bench.path().join("victim")).unwrap(), "safe");
    assert_eq!(fsx::read_to_string(&bench.path().join("x/tree/a")).unwrap(), "evil");
}

#[test]
fn what_is_no_archive() {
    let not_tar = failure(b"<html>not found</html>\n");
    assert_eq!(not_tar, "the archive is damaged or not a tar archive\n  caused by: it is truncated");
    assert_eq!(failure(b""), "the archive is empty");
    let cut = tar_of(&[("linux/Makefile", &"x".repeat(5000))]);
    assert_eq!(
        failure(&cut[..2000]),
        "the archive is damaged or not a tar archive\n  caused by: it is truncated"
    );
}

#[test]
fn files_by_pattern_stay_inside() {
    let bench = Bench::new();
    let root = bench.path().join("tree");
    for name in ["usr/lib/fw/start4.elf", "usr/lib/fw/start4x.elf", "usr/lib/fw/fixup4.dat", "usr/README"] {
        fsx::write_atomic(&root.join(name), name.as_bytes()).unwrap();
    }
    std::os::unix::fs::symlink("/usr/lib/fw", root.join("boot")).unwrap();
    std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
    std::os::unix::fs::symlink("../../../../usr/README", root.join("usr/up")).unwrap();
    assert_eq!(
        files(&root, "usr/lib/fw/start4*.elf").unwrap(),
        ["usr/lib/fw/start4.elf", "usr/lib/fw/start4x.elf"]
    );
    assert_eq!(files(&root, "**/fixup?.dat").unwrap(), ["usr/lib/fw/fixup4.dat"]);
    // Links are read as under a root directory of their own.
    assert_eq!(resolve(&root, "boot/start4.elf").unwrap(), root.join("usr/lib/fw/start4.elf"));
    assert_eq!(resolve(&root, "usr/up").unwrap(), root.join("usr/README"));
    assert_eq!(
        bench.redact(&resolve(&root, "loop").unwrap_err().to_string()),
        "cannot read `TMP/tree/loop`\n  caused by: too many levels of symbolic links"
    );
    assert_eq!(
        bench.redact(&files(&root, "usr/lib/fw/start5.elf").unwrap_err().to_string()),
        "no file matches `usr/lib/fw/start5.elf`\n  caused by: in `TMP/tree`\n\n\
         hint: nearest: `usr/lib/fw/start4.elf`"
    );
    assert!(files(&root, "../*").is_err());
}

#[test]
fn times_that_no_compiler_takes_become_the_nearest() {
    for (time, kept) in [(-315_619_200_i64, 0), (i64::MIN, 0), (i64::MAX, 253_402_300_799)] {
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        let mtime = &mut header.as_old_mut().mtime;
        mtime[..4].fill(if time < 0 { 0xff } else { 0 });
        mtime[0] |= 0x80;
        mtime[4..].copy_from_slice(&time.to_be_bytes());
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, &b""[..]).unwrap();
        let bench = Bench::new();
        let into = bench.path().join("tree");
        assert_eq!(try_unpack(&builder.into_inner().unwrap(), &into, Links::Inside).unwrap(), kept);
        assert!(into.join("f").is_file());
    }
}
