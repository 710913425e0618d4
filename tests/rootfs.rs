//! Layers through the writers onto a card, judged by debugfs, e2fsck and sgdisk.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bimg::digest::Digest;
use bimg::disk::{self, DiskSpec, Fill, PartitionSpec, PartitionType, Size, Table};
use bimg::exec::Cmd;
use bimg::filesystem;
use bimg::progress::Silent;
use bimg::tree::{Timestamp, Tree};
use bimg::units::ByteSize;
use tar::{Builder, EntryType, Header};

const ROOT: u64 = 8 << 20;

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(1_600_000_000);
    header
}

/// A tar with everything that is easily lost without root.
fn delicate_tar(path: &Path) {
    let mut tar = Builder::new(Vec::new());
    tar.append_data(&mut header(EntryType::Directory, 0o755, 0), "./", std::io::empty()).unwrap();
    let mut su = header(EntryType::Regular, 0o4755, 2);
    su.set_uid(100_000);
    su.set_gid(4_000_000);
    tar.append_data(&mut su, "./bin/su", &b"su"[..]).unwrap();
    tar.append_link(&mut header(EntryType::Link, 0o4755, 0), "./bin/again", "./bin/su").unwrap();
    // Version 2, CAP_NET_RAW permitted; its fifth byte is where a parser of lines breaks.
    let capability: &[u8] =
        b"\x01\x00\x00\x02\x0a\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    tar.append_pax_extensions([("SCHILY.xattr.security.capability", capability)]).unwrap();
    tar.append_data(&mut header(EntryType::Regular, 0o755, 4), "./bin/ping", &b"ping"[..]).unwrap();
    let mut null = header(EntryType::Char, 0o666, 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    tar.append_data(&mut null, "./dev/null", std::io::empty()).unwrap();
    tar.append_data(&mut header(EntryType::Directory, 0o1777, 0), "./tmp/", std::io::empty()).unwrap();
    std::fs::File::create(path).unwrap().write_all(&tar.into_inner().unwrap()).unwrap();
}

fn image(dir: &Path, table: Table, tree: Tree) -> PathBuf {
    let spec = DiskSpec {
        partitions: vec![PartitionSpec {
            offset: Some(ByteSize(ROOT)),
            size: Size::Auto { room: ByteSize::mib(16) },
            fill: Fill::filesystem(filesystem::Kind::Ext4, "root", Some(tree)),
            ..PartitionSpec::new("root", PartitionType::parse("linux").unwrap())
        }],
        ..DiskSpec::new(table, Digest::of(b"rootfs"))
    };
    let path = dir.join("card.img");
    let layout = disk::layout(&spec).unwrap();
    disk::write(&spec, &layout, &path, || Ok(()), &Silent).unwrap();
    path
}

fn debugfs(image: &Path, request: &str) -> String {
    let device = format!("{}?offset={ROOT}", image.display());
    Cmd::new("debugfs").args(["-R", request]).arg(device).check().unwrap().text()
}

fn delicate_tree(dir: &Path) -> Tree {
    let path = dir.join("base.tar");
    delicate_tar(&path);
    let mut tree = Tree::new(Timestamp { secs: 1_700_000_000, nanos: 0 });
    bimg::tree::tar::lay(&mut tree, &path).unwrap();
    tree
}

#[test]
fn what_a_tar_holds_is_on_the_card_without_root() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), Table::Gpt, delicate_tree(dir.path()));
    let su = debugfs(&image, "stat /bin/su");
    for part in ["Mode:  04755", "User: 100000", "Group: 4000000", "Links: 2", "mtime: 0x5f5e1000"] {
        assert!(su.contains(part), "{part}: {su}");
    }
    let number = |text: &str| text.split_whitespace().nth(1).map(str::to_string);
    assert_eq!(number(&su), number(&debugfs(&image, "stat /bin/again")));
    let capability = debugfs(&image, "ea_get -x /bin/ping security.capability");
    assert!(capability.contains("01 00 00 02 0a 20 00"), "{capability}");
    let null = debugfs(&image, "stat /dev/null");
    assert!(
        null.contains("character special") && null.contains("Device major/minor number: 01:03"),
        "{null}"
    );
    assert!(debugfs(&image, "stat /tmp").contains("Mode:  01777"));
}

#[test]
fn a_written_image_grows_on_a_larger_card() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["table.c", "image.c"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rootfs/grow").join(name);
        std::fs::copy(source, dir.path().join(name)).unwrap();
    }
    Cmd::new("cc").cwd(dir.path()).args(["-o", "grow", "image.c"]).check().unwrap();
    for table in [Table::Gpt, Table::Mbr] {
        let image = image(dir.path(), table, delicate_tree(dir.path()));
        let card = std::fs::metadata(&image).unwrap().len() * 8;
        std::fs::File::options().write(true).open(&image).unwrap().set_len(card).unwrap();
        let start = (ROOT / 512).to_string();
        let grown =
            Cmd::new("./grow").cwd(dir.path()).args(["card.img", "1", &start]).check().unwrap().text();
        let sectors: u64 = grown.trim().strip_prefix("grown ").unwrap().parse().unwrap();
        assert!(ROOT + sectors * 512 > card - (2 << 20), "{table:?}: {sectors}");
        Cmd::new("sfdisk").arg("--verify").arg(&image).check().unwrap();
        if table == Table::Gpt {
            let verdict = Cmd::new("sgdisk").arg("-v").arg(&image).check().unwrap().text();
            assert!(verdict.contains("No problems found"), "{verdict}");
        }
        // The filesystem in its partition, which the kernel grows next, is as it was.
        assert!(debugfs(&image, "stat /bin/su").contains("Mode:  04755"));
    }
}
