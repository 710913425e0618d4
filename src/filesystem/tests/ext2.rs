//! ext2 and ext3, judged by e2fsck, debugfs and dumpe2fs.

use super::*;
use crate::tree::TreePath;

const BOTH: [Kind; 2] = [Kind::Ext2, Kind::Ext3];

#[test]
fn ext2_keeps_everything_on_a_used_card() {
    for kind in BOTH {
        let mut tree = root_tree();
        // Block maps of one, two and three levels are below.
        tree.put_file("big/two levels", 0o644, vec![7; 5_000_001]).unwrap();
        let bytes = build(kind, &tree, "root", None);
        let (_dir, image) = e2fsck(&bytes);
        let fs = ext4_view::Ext4::load(Box::new(bytes.clone())).unwrap();
        for (path, content) in files_of(&tree) {
            assert!(fs.read(path.as_str()).unwrap() == content, "{path}");
        }
        let debugfs = |command: &str| judge("debugfs", &["-R", command], &image);
        let busybox = debugfs("stat /bin/busybox");
        for part in ["Mode:  04755", "Links: 2", "mtime: 0x65e079f1:1c9c3800"] {
            assert!(busybox.contains(part), "no {part:?} in {busybox}");
        }
        assert!(debugfs("stat /bin/ping").contains("mtime: 0x2a05f200:0000001d"));
        assert!(debugfs("stat /dev/mmcblk0").contains("Device major/minor number: 179:70000"));
        assert!(debugfs("stat /dev/console").contains("User: 100000   Group:     5"));
        assert!(debugfs("stat /dev/console").contains("Device major/minor number: 05:01"));
        assert!(debugfs("stat /run/pipe").contains("Type: FIFO"));
        assert!(debugfs("stat /run/socket").contains("Type: socket"));
        assert!(debugfs("stat /etc/mtab").contains("Fast link dest: \"/proc/mounts\""));
        assert!(debugfs("ea_get -x /bin/ping security.capability").contains("01 00 00 02"));
        assert!(debugfs("ea_get /bin/ping user.note").contains(&"n".repeat(1000)));
        let dump = judge("dumpe2fs", &["-h"], &image);
        let journal = if kind == Kind::Ext3 { "has_journal " } else { "" };
        for part in [
            &format!("Filesystem UUID:          {}", kind.format().uuid(&SEED)),
            "Filesystem volume name:   root",
            &format!(
                "Filesystem features:      {journal}ext_attr dir_index filetype sparse_super large_file"
            ),
        ] {
            assert!(dump.contains(part), "no {part:?} in {dump}");
        }
        assert_eq!(
            Cmd::new("blkid").args(["-o", "value", "-s", "TYPE"]).arg(&image).check().unwrap().text().trim(),
            kind.name()
        );
        assert!(build(kind, &tree, "root", None) == bytes);
    }
}

#[test]
fn ext2_of_every_size_is_whole() {
    let mut tree = Tree::new(TIME);
    tree.put_file("etc/hostname", 0o644, "card\n").unwrap();
    for kind in BOTH {
        for groups in [1u64, 2, 4] {
            for blocks in [1, 2, 49, 560, 700, 4000] {
                e2fsck_sparse(kind, &tree, ByteSize(groups * (128 << 20) + blocks * 4096));
            }
        }
        let least = kind.format().needed(&request(&tree, ""), ByteSize(0)).unwrap();
        assert!(least <= ByteSize::mib(6), "{least}");
        e2fsck_sparse(kind, &tree, least);
    }
}

#[test]
fn ext2_maps_files_of_every_size() {
    const PIECE: u64 = 4096;
    // The ends of the direct blocks and of one level; and into the third, over many groups.
    for blocks in [11, 12, 13, 12 + 1024, 13 + 1024, 14 + 1024 + 1024 * 1024] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(blocks * PIECE - 5).unwrap();
        let mut tree = Tree::new(TIME);
        tree.put_file("file", 0o644, Content::whole(&path).unwrap()).unwrap();
        tree.put_file("second", 0o644, "behind it").unwrap();
        let size = Kind::Ext2.format().needed(&request(&tree, ""), ByteSize(0)).unwrap();
        let (_dir, image) = e2fsck_sparse(Kind::Ext2, &tree, size);
        let stat = judge("debugfs", &["-R", "stat /file"], &image);
        assert!(stat.contains(&format!("Size: {}", blocks * PIECE - 5)), "{stat}");
        assert!(judge("debugfs", &["-R", "cat /second"], &image).contains("behind it"));
    }
}

#[test]
fn ext2_room_is_honoured() {
    for (files, len, room) in [(0, 0, 0u64), (5000, 100, 1 << 20), (100, 500_000, 200 << 20)] {
        let mut tree = Tree::new(TIME);
        let content = Content::from(vec![9; len]);
        for i in 0..files {
            tree.put_file(&format!("d{}/f{i}", i % 7), 0o644, content.clone()).unwrap();
        }
        let size = Kind::Ext3.format().needed(&request(&tree, ""), ByteSize(room)).unwrap();
        let (_dir, image) = e2fsck_sparse(Kind::Ext3, &tree, size);
        let dump = judge("dumpe2fs", &["-h"], &image);
        let free = dump.lines().find_map(|line| line.strip_prefix("Free blocks:")).unwrap();
        let free: u64 = free.trim().parse().unwrap();
        assert!(free * 4096 >= room, "{free} blocks are free, {room} bytes were asked for");
        assert!(free * 4096 <= room + (size.0 / 50).max(2 << 20), "{free} blocks are free of {size}");
    }
}

#[test]
fn ext2_takes_a_lost_and_found_for_its_own() {
    let mut tree = Tree::new(TIME);
    for path in ["a", "lost+found", "z"] {
        tree.put_dir(path, 0o755).unwrap();
    }
    tree.put_file("z/file", 0o644, "content").unwrap();
    let (_dir, image) = e2fsck(&build(Kind::Ext2, &tree, "", None));
    assert!(judge("debugfs", &["-R", "cat /z/file"], &image).contains("content"));
    assert!(judge("debugfs", &["-R", "stat /lost+found"], &image).contains("Mode:  0700"));
}

#[test]
fn ext2_says_what_it_cannot_hold() {
    let plan_error = |tree: &Tree, label: &str, size: ByteSize| {
        Kind::Ext2.format().plan(&request(tree, label), size).err().unwrap().to_string()
    };
    let with = |name: &str, value: Vec<u8>| {
        let mut tree = Tree::new(TIME);
        let mut meta = Meta::root(0o644, TIME);
        meta.xattrs.insert(name.into(), value);
        tree.insert(TreePath::new("a").unwrap(), Inode { meta, kind: Node::File("".into()) }).unwrap();
        tree
    };
    let size = ByteSize::mib(8);
    assert_eq!(
        plan_error(&with("mine.x", vec![1]), "", size),
        "ext2 cannot hold `/a`\n  caused by: it has no place for the extended attribute `mine.x`"
    );
    assert_eq!(
        plan_error(&with("user.large", vec![1; 5000]), "", size),
        "ext2 cannot hold `/a`\n  caused by: its attributes are larger than a block of 4 KiB"
    );
    assert_eq!(
        plan_error(&with("system.posix_acl_access", vec![1]), "", size),
        "ext2 cannot hold `/a`\n  caused by: its attribute `system.posix_acl_access` is not an access list"
    );
    let mut tree = Tree::new(TIME);
    tree.put_file("lost+found/x", 0o644, "").unwrap();
    assert_eq!(
        plan_error(&tree, "", size),
        "ext2 cannot hold `/lost+found/x`\n  caused by: /lost+found belongs to the filesystem checker\n\n\
         hint: leave it out of the layer"
    );
    assert_eq!(
        plan_error(&Tree::new(TIME), "a-label-of-17-byt", size),
        "`a-label-of-17-byt` cannot be an ext2 label\n  caused by: it is longer than 16 bytes"
    );
    let mut tree = Tree::new(TIME);
    for i in 0..32_000 {
        tree.put_dir(&format!("d/{i}"), 0o755).unwrap();
    }
    assert_eq!(
        plan_error(&tree, "", size),
        "ext2 cannot hold `/d`\n  caused by: it would have 32002 names, the limit is 32000"
    );
    let mut tree = Tree::new(TIME);
    let big = Content::Range { file: PathBuf::from("/x").into(), offset: 0, len: 3 << 40 };
    tree.put_file("big", 0o644, big).unwrap();
    assert_eq!(
        plan_error(&tree, "", size),
        "ext2 cannot hold `/big`\n  caused by: it has 3 TiB, the limit is 2 TiB"
    );
    let mut tree = Tree::new(TIME);
    tree.put_file("big", 0o644, vec![0; 9 << 20]).unwrap();
    assert_eq!(plan_error(&tree, "", size), "ext2 cannot hold `/big`\n  caused by: there is no room left");
}

#[test]
fn times_that_no_inode_holds_become_the_nearest() {
    let mut tree = Tree::new(TIME);
    let times = [("early", i64::MIN), ("sixties", -1), ("late", i64::MAX)];
    for (name, secs) in times {
        let meta = Meta::root(0o644, Timestamp { secs, nanos: 0 });
        tree.insert(TreePath::new(name).unwrap(), Inode { meta, kind: Node::File("".into()) }).unwrap();
    }
    for kind in [Kind::Ext2, Kind::Ext3, Kind::Ext4] {
        let (_dir, image) = e2fsck(&build(kind, &tree, "", None));
        let stat = |name: &str| judge("debugfs", &["-R", &format!("stat {name}")], &image);
        for (name, mtime) in [
            ("early", "0x80000000:00000000"),
            ("sixties", "0xffffffff:00000000"),
            ("late", "0x7fffffff:00000003"),
        ] {
            let stat = stat(name);
            assert!(stat.contains(&format!("mtime: {mtime}")), "{stat}");
        }
    }
}
