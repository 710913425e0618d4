use std::time::Instant;

use ::tar::{Builder, EntryType, Header};

use super::*;
use crate::exec::Cmd;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(5);
    header
}

/// A header whose name no sane writer would give it.
fn raw_name(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = header(kind, size);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

fn archive(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> tempfile::NamedTempFile {
    let mut builder = Builder::new(Vec::new());
    fill(&mut builder);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), builder.into_inner().unwrap()).unwrap();
    file
}

fn read(file: &tempfile::NamedTempFile) -> Result<Tree> {
    let mut tree = Tree::new(Timestamp::default());
    lay(&mut tree, file.path())?;
    Ok(tree)
}

fn refusal(file: &tempfile::NamedTempFile) -> String {
    let text = read(file).unwrap_err().to_string();
    text.replace(&file.path().display().to_string(), "base.tar")
}

fn inode<'a>(tree: &'a Tree, path: &str) -> &'a Inode {
    tree.get(&TreePath::new(path).unwrap()).unwrap()
}

fn text(tree: &Tree, path: &str) -> String {
    let Kind::File(content) = &inode(tree, path).kind else { panic!("{path} is no file") };
    let mut text = String::new();
    content.open().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn every_kind_of_entry_survives() {
    let long = format!("./{}/{}", "d".repeat(120), "f".repeat(120));
    let file = archive(|tar| {
        let mut file = header(EntryType::Regular, 5);
        file.set_mode(0o4755);
        file.set_uid(4_000_000_000);
        file.set_gid(70_000);
        tar.append_data(&mut file, "./a", &b"hello"[..]).unwrap();
        tar.append_data(&mut header(EntryType::Regular, 600), &long, &[b'x'; 600][..]).unwrap();
        let mut link = header(EntryType::Link, 0);
        tar.append_link(&mut link, "hard", "./a").unwrap();
        tar.append_link(&mut header(EntryType::Symlink, 0), "soft", "/abs/olute").unwrap();
        let mut device = header(EntryType::Char, 0);
        device.set_device_major(5).unwrap();
        device.set_device_minor(1).unwrap();
        tar.append_data(&mut device, "dev/console", std::io::empty()).unwrap();
        tar.append_data(&mut header(EntryType::Fifo, 0), "fifo", std::io::empty()).unwrap();
        tar.append_data(&mut header(EntryType::Directory, 0), "empty/", std::io::empty()).unwrap();
    });
    let tree = read(&file).unwrap();
    let a = inode(&tree, "a");
    assert_eq!((a.meta.mode, a.meta.uid, a.meta.gid, a.meta.mtime.secs), (0o4755, 4_000_000_000, 70_000, 5));
    assert_eq!(text(&tree, "a"), "hello");
    assert_eq!(text(&tree, &long).len(), 600);
    assert_eq!(inode(&tree, "soft").kind, Kind::Symlink("/abs/olute".to_string()));
    assert_eq!(inode(&tree, "dev/console").kind, Kind::CharDevice { major: 5, minor: 1 });
    assert_eq!(inode(&tree, "fifo").kind, Kind::Fifo);
    assert_eq!(inode(&tree, "empty").kind, Kind::Directory);
    let ids: Vec<_> =
        tree.iter().filter(|(path, ..)| ["a", "hard"].contains(&path.as_str())).map(|it| it.1).collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn times_before_1970_and_out_of_all_proportion_are_read() {
    // As GNU tar writes them: base 256, all ones in front of a negative number.
    let times: [(&str, [u8; 4], i64); 4] = [
        ("1960", [0xff, 0xff, 0xff, 0xff], -315_619_200),
        ("2300", [0x80, 0, 0, 0], 10_413_792_000),
        ("never", [0xff, 0, 0, 0], i64::MIN),
        ("at last", [0x80, 0xff, 0, 0], i64::MAX),
    ];
    let file = archive(|tar| {
        for (name, first, secs) in times {
            let mut header = raw_name(name, EntryType::Regular, 0);
            header.as_old_mut().mtime[..4].copy_from_slice(&first);
            header.as_old_mut().mtime[4..].copy_from_slice(&secs.to_be_bytes());
            header.set_cksum();
            tar.append(&header, &b""[..]).unwrap();
        }
        for (name, time) in
            [("pax never", b"-99999999999999999999.5"), ("pax at last", b"999999999999999999999.5")]
        {
            tar.append_pax_extensions([("mtime", &time[..])]).unwrap();
            tar.append_data(&mut header(EntryType::Regular, 0), name, &b""[..]).unwrap();
        }
    });
    let tree = read(&file).unwrap();
    for (name, _, secs) in times {
        assert_eq!(inode(&tree, name).meta.mtime.secs, secs, "{name}");
    }
    assert_eq!(inode(&tree, "pax never").meta.mtime.secs, i64::MIN);
    assert_eq!(inode(&tree, "pax at last").meta.mtime.secs, i64::MAX);
}

#[test]
fn pax_headers_carry_binary_attributes_and_fractions_of_a_second() {
    let capability = b"\x01\x00\x00\x02\n\n=\x00";
    let file = archive(|tar| {
        let records: [(&str, &[u8]); 3] = [
            ("mtime", b"-1.25"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.empty", b""),
        ];
        tar.append_pax_extensions(records).unwrap();
        tar.append_data(&mut header(EntryType::Regular, 1), "ping", &b"x"[..]).unwrap();
        tar.append_data(&mut header(EntryType::Regular, 1), "plain", &b"x"[..]).unwrap();
    });
    let tree = read(&file).unwrap();
    let ping = &inode(&tree, "ping").meta;
    assert_eq!(ping.mtime, Timestamp { secs: -2, nanos: 750_000_000 });
    assert_eq!(ping.xattrs["security.capability"], capability);
    assert_eq!(ping.xattrs["user.empty"], b"");
    assert!(inode(&tree, "plain").meta.xattrs.is_empty());
}

#[test]
fn a_path_that_leaves_the_root_is_refused_by_layer_and_entry() {
    let file = archive(|tar| {
        tar.append(&raw_name("../../etc/cron.d/x", EntryType::Regular, 0), std::io::empty()).unwrap();
    });
    assert_eq!(
        refusal(&file),
        "cannot use the layer `base.tar`\n  \
         caused by: path `../../etc/cron.d/x` leaves its root with `..`\n\n\
         hint: paths in a layer may not hold `..`"
    );
}

#[test]
fn an_absolute_path_is_refused_by_layer_and_entry() {
    let file = archive(|tar| {
        tar.append(&raw_name("/etc/passwd", EntryType::Regular, 0), std::io::empty()).unwrap();
    });
    assert_eq!(
        refusal(&file),
        "cannot use the layer `base.tar`\n  \
         caused by: path `/etc/passwd` is absolute\n\n\
         hint: paths in a layer are relative to its root"
    );
}

#[test]
fn a_hard_link_out_of_the_root_is_refused() {
    let file = archive(|tar| {
        let mut link = raw_name("x", EntryType::Link, 0);
        link.set_link_name_literal("/etc/shadow").unwrap();
        link.set_cksum();
        tar.append(&link, std::io::empty()).unwrap();
    });
    assert_eq!(
        refusal(&file),
        "cannot use the layer `base.tar`\n  caused by: entry `x`\n  \
         caused by: path `/etc/shadow` is absolute\n\n\
         hint: paths in a layer are relative to its root"
    );
}

#[test]
fn nothing_is_written_through_a_symbolic_link_of_the_archive() {
    let file = archive(|tar| {
        tar.append_link(&mut header(EntryType::Symlink, 0), "etc", "/").unwrap();
        tar.append_data(&mut header(EntryType::Regular, 0), "etc/passwd", std::io::empty()).unwrap();
    });
    assert!(refusal(&file).contains("`/etc/passwd` lies below `/etc`, which is not a directory"));
    let file = archive(|tar| {
        tar.append_link(&mut header(EntryType::Symlink, 0), "lib", "usr/lib").unwrap();
        tar.append_data(&mut header(EntryType::Directory, 0), "lib/", std::io::empty()).unwrap();
    });
    assert!(refusal(&file).contains("`/lib` is a directory, but a symbolic link to `usr/lib` below"));
}

#[test]
fn damage_is_told_apart() {
    let whole = archive(|tar| {
        tar.append_data(&mut header(EntryType::Regular, 5000), "big", &[0; 5000][..]).unwrap();
    });
    let bytes = std::fs::read(whole.path()).unwrap();
    for (cut, why) in [
        (700, "entry `big`\n  caused by: it ends in the middle"),
        (300, "it ends in the middle"),
        (512 + 5120, "it ends without the empty blocks that close a tar"),
        (0, "it ends without the empty blocks that close a tar"),
    ] {
        std::fs::write(whole.path(), &bytes[..cut]).unwrap();
        assert!(refusal(&whole).contains(why), "{}", refusal(&whole));
    }
    std::fs::write(whole.path(), [b'x'; 1024]).unwrap();
    assert_eq!(refusal(&whole), "cannot use the layer `base.tar`\n  caused by: it is not a tar file");
    let lying = archive(|tar| {
        let mut huge = header(EntryType::Regular, 0);
        huge.set_size(u64::MAX - 5);
        huge.set_path("lie").unwrap();
        huge.set_cksum();
        tar.append(&huge, std::io::empty()).unwrap();
    });
    assert!(refusal(&lying).contains("entry `lie`"), "{}", refusal(&lying));
}

#[test]
fn compressed_archives_give_the_same_tree() {
    let plain = archive(|tar| {
        tar.append_data(&mut header(EntryType::Regular, 5), "a", &b"hello"[..]).unwrap();
    });
    let bytes = std::fs::read(plain.path()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bytes).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&bytes).unwrap();
    let zst = zstd::encode_all(&bytes[..], 1).unwrap();
    let bz2 = Cmd::new("bzip2").arg("-c").arg(plain.path()).check().unwrap().stdout;
    for packed in [gz.finish().unwrap(), xz.finish().unwrap(), zst, bz2] {
        let file = dir.path().join("packed");
        std::fs::write(&file, &packed).unwrap();
        check(&file).unwrap();
        let copy = dir.path().join("copy.tar");
        assert_eq!(uncompressed(&file, &copy).unwrap(), copy);
        assert_eq!(std::fs::read(&copy).unwrap(), bytes);
        std::fs::remove_file(&copy).unwrap();
        std::fs::write(&file, &packed[..packed.len() - 9]).unwrap();
        let error = uncompressed(&file, &copy).unwrap_err().to_string();
        assert!(error.starts_with("cannot decompress `"), "{error}");
        assert!(!copy.exists());
    }
    assert_eq!(uncompressed(plain.path(), &dir.path().join("copy.tar")).unwrap(), plain.path());
}

#[test]
fn what_cannot_be_a_tar_is_told_by_its_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    let told = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        check(&file).map_err(|error| error.to_string().replace(&file.display().to_string(), "f"))
    };
    // What closes a tar, alone: one that holds nothing.
    told(&[0; 1024]).unwrap();
    let hint = "hint: bimg reads tar files as they are, or compressed with gzip, xz, zstd or bzip2";
    for junk in [&b""[..], b"junk", &[b'x'; 1024], &zstd::encode_all(&b"junk"[..], 1).unwrap()] {
        assert_eq!(told(junk).unwrap_err(), format!("`f` is not a tar file\n\n{hint}"));
    }
    let cut = &zstd::encode_all(&[7; 5000][..], 1).unwrap()[..8];
    assert_eq!(
        told(cut).unwrap_err(),
        "cannot decompress `f`\n  caused by: the zstd data ends too early: it is truncated"
    );
    assert!(check(dir.path()).unwrap_err().to_string().ends_with("caused by: Is a directory"));
}

#[test]
fn twenty_thousand_entries_are_read_at_once() {
    let file = archive(|tar| {
        for i in 0..20_000 {
            tar.append_data(&mut header(EntryType::Regular, 3), format!("usr/{}/{i}", i % 97), &b"abc"[..])
                .unwrap();
        }
    });
    let start = Instant::now();
    let tree = read(&file).unwrap();
    assert_eq!(tree.len(), 20_000 + 97 + 2);
    // The goal is below 0.2 s; the bound leaves room for an unoptimised build on a very busy machine.
    assert!(start.elapsed().as_secs_f64() < 15.0, "{:?}", start.elapsed());
}

/// A file with data in `pieces` pieces of uneven places and sizes.
fn with_holes(pieces: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for n in 0..pieces as usize {
        let at = n * size / pieces as usize / 512 * 512;
        let len = (size - at).min(512 * (1 + n % 3));
        bytes[at..at + len].iter_mut().zip((1..=251_u8).cycle()).for_each(|(byte, value)| *byte = value);
    }
    bytes
}

#[test]
fn gnu_tars_sparse_files_read_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("plain", with_holes(1, 700)),
        ("few", with_holes(3, 1 << 20)),
        // More than a header, and than a block behind it, can describe.
        ("many", with_holes(80, (1 << 20) + 77)),
        ("behind", [vec![0; 100_000], b"end".to_vec()].concat()),
        ("nothing", vec![0; 1 << 20]),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in &files {
        // GNU tar looks for holes only in what takes less room than its size.
        let file = File::create(dir.path().join(name)).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (block, at) in bytes.chunks(512).zip((0..).step_by(512)) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at).unwrap();
            }
        }
    }
    for form in ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let posix = if form.starts_with("--sparse") { "--format=posix" } else { "--numeric-owner" };
        Cmd::new("tar")
            .args(["--sparse", "--hole-detection=raw", form, posix, "-C"])
            .arg(dir.path())
            .arg("-cf")
            .arg(file.path())
            .args(files.iter().map(|(name, _)| name))
            .check()
            .unwrap();
        let tree = read(&file).unwrap();
        assert_eq!(tree.len(), 1 + files.len(), "{form}");
        for (name, bytes) in &files {
            let Kind::File(content) = &inode(&tree, name).kind else { panic!("{name} is no file") };
            let mut found = Vec::new();
            content.open().unwrap().read_to_end(&mut found).unwrap();
            assert!(found == *bytes, "{name} with {form}: {content:?}");
            let whole = ["plain", "empty"].contains(name);
            assert!(whole || matches!(content, Content::Sparse { .. }), "{name} with {form}: {content:?}");
        }
    }
}

#[test]
fn maps_of_holes_that_lie_are_refused() {
    let refused = |records: &[(&str, &str)], data: &[u8]| {
        let file = archive(|tar| {
            tar.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
            tar.append_data(&mut header(EntryType::Regular, data.len() as u64), "x", data).unwrap();
        });
        let text = refusal(&file);
        let told =
            text.strip_prefix("cannot use the layer `base.tar`\n  caused by: entry `x`\n  caused by: ");
        told.unwrap_or(&text).to_string()
    };
    let old = |size, blocks, map| {
        refused(
            &[("GNU.sparse.size", size), ("GNU.sparse.numblocks", blocks), ("GNU.sparse.map", map)],
            b"data",
        )
    };
    let outside = "its map of holes names pieces that overlap or lie behind the end";
    assert_eq!(old("100", "2", "0,2,1,2"), outside);
    assert_eq!(old("100", "1", "98,4"), outside);
    assert_eq!(old("100", "1", "18446744073709551615,4"), outside);
    assert_eq!(old("100", "1", "0,5"), "its map of holes names more data than there is");
    assert_eq!(old("100", "2", "0,4"), "its map of holes has another number of pieces than it says");
    assert_eq!(old("100", "1", "0"), "its map of holes is malformed");
    assert_eq!(old("99999999999999", "1", "0,4"), "its map of holes is not credible: 99999999999999 bytes");
    let new = |data: &[u8]| {
        let records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "100")];
        refused(&records, data)
    };
    assert_eq!(new(b"99999999\n"), "its map of holes has too many pieces");
    assert_eq!(new(b"-1\n"), "its map of holes is malformed");
    assert_eq!(new(b"1\n0\n4\n"), "its map of holes names more data than there is");
    let foreign = "it is stored sparse in a form that GNU tar does not know\n\n\
                   hint: make the tar without `--sparse`; the image itself stays sparse";
    assert_eq!(refused(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")], b""), foreign);
    assert_eq!(refused(&[("GNU.sparse.numbers", "2")], b""), foreign);
    let pairs = [("GNU.sparse.offset", "0"), ("GNU.sparse.offset", "4")];
    assert!(refused(&pairs, b"data").ends_with("caused by: a pax header is malformed"));
}
