//! Read-only filesystems, judged by fsck.erofs and unsquashfs.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::tree::TreePath;

/// Without what only root may unpack.
fn plain_tree() -> Tree {
    let mut tree = root_tree();
    for path in ["dev/console", "dev/mmcblk0", "run/pipe", "run/socket", "bin/ping"] {
        tree.remove(&TreePath::new(path).unwrap());
    }
    // Ends that fit behind an inode, that just do not, that are whole blocks.
    for len in [1, 4031, 4032, 4033, 4096, 8192, 8200, 12_287] {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + at / 256) as u8).collect();
        tree.put_file(&format!("ends/{len}"), 0o640, bytes).unwrap();
    }
    for name in ["!", "-", "..a", "Z", "~"] {
        tree.put_file(&format!("order/{name}"), 0o644, name).unwrap();
    }
    tree
}

/// An unpacked filesystem holds what the tree does.
fn same(tree: &Tree, dir: &Path) {
    let mut found = 0;
    for (path, _, inode) in tree.iter() {
        let host = dir.join(path.as_str());
        let meta = host.symlink_metadata().unwrap_or_else(|error| panic!("{path}: {error}"));
        // fsck.erofs gives no setuid away.
        let mode = if matches!(inode.kind, Node::Symlink(_)) { 0o777 } else { inode.meta.mode & 0o777 };
        assert_eq!(meta.mode() & 0o777, mode, "{path}");
        assert_eq!(meta.mtime(), inode.meta.mtime.secs, "{path}");
        match &inode.kind {
            Node::File(content) => {
                let mut bytes = Vec::new();
                content.open().unwrap().read_to_end(&mut bytes).unwrap();
                assert!(std::fs::read(&host).unwrap() == bytes, "{path}");
            }
            Node::Symlink(target) => {
                assert_eq!(std::fs::read_link(&host).unwrap(), Path::new(target), "{path}");
            }
            Node::Directory => assert!(meta.is_dir(), "{path}"),
            _ => unreachable!(),
        }
        found += 1;
    }
    let unpacked = Cmd::new("find").arg(dir).check().unwrap().text().lines().count();
    assert_eq!(unpacked, found);
}

#[test]
fn erofs_reads_back() {
    let tree = plain_tree();
    let bytes = build(Kind::Erofs, &tree, "root", None);
    let (dir, image) = save(&bytes);
    let to = dir.path().join("unpacked");
    let extract = format!("--extract={}", to.display());
    judge("fsck.erofs", &["--preserve-perms", &extract], &image);
    same(&tree, &to);
    assert_eq!(
        Cmd::new("blkid").args(["-o", "value", "-s", "UUID"]).arg(&image).check().unwrap().text().trim(),
        Kind::Erofs.format().uuid(&SEED)
    );
}

#[test]
fn erofs_keeps_devices_owners_and_attributes() {
    let bytes = build(Kind::Erofs, &root_tree(), "", None);
    let (_dir, image) = save(&bytes);
    judge("fsck.erofs", &[], &image);
    let console = judge("dump.erofs", &["--path=/dev/console"], &image);
    for part in ["Uid: 100000", "Gid: 5", "Access: 0600"] {
        assert!(console.contains(part), "no {part:?} in {console}");
    }
    let shell = judge("dump.erofs", &["--path=/bin/sh"], &image);
    assert!(shell.contains("Links: 2"), "{shell}");
    // dump.erofs leaves setuid out: the mode is the third field of the inode, which its number finds.
    let number: usize = shell.split("NID: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(bytes[number * 32 + 4..][..2], 0o104_755_u16.to_le_bytes());
    let ping = judge("dump.erofs", &["--path=/bin/ping"], &image);
    // Header, then two entries padded to four bytes.
    let size = 12 + (4 + 10 + 20usize).next_multiple_of(4) + (4 + 4 + 1000usize).next_multiple_of(4);
    assert!(ping.contains(&format!("Xattr size: {size}")), "{ping}");
    assert_eq!(build(Kind::Erofs, &root_tree(), "", None), bytes);
}

#[test]
fn erofs_says_what_it_cannot_hold() {
    let mut tree = Tree::new(TIME);
    let mut meta = Meta::root(0o644, TIME);
    meta.xattrs.insert("btrfs.compression".into(), b"zstd".to_vec());
    tree.insert(TreePath::new("file").unwrap(), Inode { meta, kind: Node::File("x".into()) }).unwrap();
    let error = Kind::Erofs.format().needed(&request(&tree, ""), ByteSize(0)).unwrap_err().to_string();
    assert_eq!(
        error,
        "erofs cannot hold `/file`\n  caused by: it has no place for the extended attribute `btrfs.compression`"
    );
}

/// Unpacks a squashfs; where it went.
fn unsquash(bytes: &[u8]) -> (TempDir, PathBuf) {
    let (dir, image) = save(bytes);
    let to = dir.path().join("unpacked");
    judge("unsquashfs", &["-q", "-n", "-d", to.to_str().unwrap()], &image);
    (dir, to)
}

#[test]
fn squashfs_reads_back() {
    let mut tree = plain_tree();
    // Blocks and ends of blocks, equal beginnings, zeros within and alone.
    let noise: Vec<u8> =
        (0..300_000u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for len in [131_071, 131_072, 131_073, 262_144, 1_000_000] {
        tree.put_file(&format!("blocks/{len}"), 0o644, noise[..len].to_vec()).unwrap();
    }
    let mut holes = vec![0; 500_000];
    holes[200_000..300_000].copy_from_slice(&noise[..100_000]);
    tree.put_file("blocks/holes", 0o644, holes).unwrap();
    tree.put_file("blocks/zeros", 0o644, vec![0; 400_000]).unwrap();
    let bytes = build(Kind::Squashfs, &tree, "", None);
    let (_dir, to) = unsquash(&bytes);
    same(&tree, &to);
    let inode = |path: &str| to.join(path).metadata().unwrap().ino();
    assert_eq!(inode("bin/sh"), inode("bin/busybox"));
    assert_eq!(to.join("bin/sh").metadata().unwrap().nlink(), 2);
    assert_eq!(bytes.len() % 4096, 0);
    assert!(build(Kind::Squashfs, &tree, "", None) == bytes);
}

#[test]
fn squashfs_keeps_devices_and_owners() {
    let (_dir, image) = save(&build(Kind::Squashfs, &root_tree(), "", None));
    let list = judge("unsquashfs", &["-llnumeric"], &image);
    let has = |parts: &[&str]| {
        list.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(parts))
    };
    assert!(has(&["crw-------", "100000/5", "5,", "1"]), "{list}");
    // 179:70000 as the kernel's `new_encode_dev` has it; unsquashfs shows large minor numbers so.
    assert!(has(&["brw-rw----", "100000/5", &format!("{},112", 0x11_10B3)]), "{list}");
    assert!(has(&["prw-r--r--", "100000/5"]), "{list}");
    assert!(has(&["srwxr-xr-x", "100000/5"]), "{list}");
    assert!(has(&["-rwsr-xr-x", "0/0", "100001"]), "{list}");
    let stat = judge("unsquashfs", &["-stat"], &image);
    for part in ["Compression gzip", "Block size 131072", "Xattrs are compressed"] {
        assert!(stat.contains(part), "no {part:?} in {stat}");
    }
}

#[test]
fn squashfs_keeps_extended_attributes() {
    let mut tree = Tree::new(TIME);
    for (name, value) in [("a", vec![b'n'; 1000]), ("b", vec![b'n'; 1000]), ("d/c", b"other".to_vec())] {
        let mut meta = Meta::root(0o644, TIME);
        meta.xattrs.insert("user.note".into(), value);
        let file = Inode { meta, kind: Node::File("x".into()) };
        tree.insert(TreePath::new(name).unwrap(), file).unwrap();
    }
    let (_dir, to) = unsquash(&build(Kind::Squashfs, &tree, "", None));
    let note = |path: &str| {
        let mut value = vec![0; 2000];
        let len = rustix::fs::getxattr(to.join(path), "user.note", &mut value).unwrap();
        value.truncate(len);
        value
    };
    assert_eq!((note("a"), note("b")), (vec![b'n'; 1000], vec![b'n'; 1000]));
    assert_eq!(note("d/c"), b"other");
}

#[test]
fn squashfs_of_an_empty_tree() {
    let bytes = build(Kind::Squashfs, &Tree::new(TIME), "", None);
    assert_eq!(bytes.len(), 4096);
    let (_dir, to) = unsquash(&bytes);
    same(&Tree::new(TIME), &to);
}

#[test]
fn squashfs_says_what_it_cannot_hold() {
    let needed = |tree: &Tree| {
        Kind::Squashfs.format().needed(&request(tree, ""), ByteSize(0)).unwrap_err().to_string()
    };
    let mut tree = Tree::new(TIME);
    let mut meta = Meta::root(0o644, TIME);
    meta.xattrs.insert("system.posix_acl_access".into(), vec![2, 0, 0, 0]);
    tree.insert(TreePath::new("file").unwrap(), Inode { meta, kind: Node::File("x".into()) }).unwrap();
    assert_eq!(
        needed(&tree),
        "squashfs cannot hold `/file`\n  \
         caused by: it has no place for the extended attribute `system.posix_acl_access`"
    );
    let mut tree = Tree::new(TIME);
    let gone = Content::Range { file: PathBuf::from("/nowhere/x").into(), offset: 0, len: 10 };
    tree.put_file("gone", 0o644, gone).unwrap();
    assert_eq!(
        needed(&tree),
        "cannot write `/gone` into the squashfs filesystem\n  caused by: cannot open `/nowhere/x`\n  \
         caused by: No such file or directory"
    );
}
