//! Read-only filesystems, judged by fsck.erofs.

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
