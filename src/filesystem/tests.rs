//! Every filesystem written here is judged by someone else's checker and read by someone else's reader.

mod ext2;
mod readonly;

use std::io::Read;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::exec::Cmd;
use crate::tree::{Inode, Kind as Node, Meta};

const SEED: [u8; 32] = [7; 32];
/// 2024-02-29 12:34:57 UTC.
const TIME: Timestamp = Timestamp { secs: 1_709_210_097, nanos: 120_000_000 };

/// A partition in memory that insists on ascending order.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    end: u64,
}

impl Sink for Memory {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        assert!(offset >= self.end, "{offset} after {}", self.end);
        self.end = offset + bytes.len() as u64;
        assert!(self.end <= self.bytes.len() as u64);
        self.bytes[offset as usize..self.end as usize].copy_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<()> {
        self.bytes(offset, &vec![0; len as usize])
    }

    fn content(&mut self, offset: u64, content: &Content, from: u64, len: u64) -> Result<()> {
        let mut bytes = Vec::new();
        content.open()?.read_to_end(&mut bytes).unwrap();
        self.bytes(offset, &bytes[from as usize..(from + len) as usize])
    }
}

fn request<'a>(tree: &'a Tree, label: &'a str) -> Request<'a> {
    // A test is over before it matters.
    Request { tree, label, seed: SEED, scratch: Box::leak(Box::default()) }
}

/// Writes a filesystem over a medium full of old data, as a used card is.
fn build(kind: Kind, tree: &Tree, label: &str, size: Option<u64>) -> Vec<u8> {
    let request = request(tree, label);
    let size = size.map_or_else(|| kind.format().needed(&request, ByteSize(0)).unwrap(), ByteSize);
    let mut memory = Memory { bytes: vec![0xA5; size.0 as usize], end: 0 };
    kind.format().plan(&request, size).unwrap().write(&mut memory).unwrap();
    memory.bytes
}

/// Why a filesystem of 32 MiB cannot be.
fn refused(kind: Kind, tree: &Tree, label: &str) -> String {
    let planned = kind.format().plan(&request(tree, label), ByteSize::mib(32));
    planned.and_then(|mut planned| planned.prepare()).unwrap_err().to_string()
}

fn save(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fs.img");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn judge(program: &str, args: &[&str], image: &Path) -> String {
    let output = Cmd::new(program).args(args).arg(image).output().unwrap();
    let text = output.text();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn fsck_fat(bytes: &[u8]) {
    let (_dir, image) = save(bytes);
    let text = judge("fsck.fat", &["-n", "-v"], &image);
    assert!(!text.contains("Free cluster summary wrong"), "{text}");
}

fn e2fsck(bytes: &[u8]) -> (TempDir, PathBuf) {
    let (dir, image) = save(bytes);
    judge("e2fsck", &["-fn"], &image);
    (dir, image)
}

/// The same for sizes that do not fit into memory: free space stays a hole.
fn e2fsck_sparse(kind: Kind, tree: &Tree, size: ByteSize) -> (TempDir, PathBuf) {
    struct Hole(std::fs::File);
    impl Sink for Hole {
        fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
            std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset).unwrap();
            Ok(())
        }

        fn zeros(&mut self, _: u64, _: u64) -> Result<()> {
            Ok(())
        }

        fn content(&mut self, offset: u64, content: &Content, from: u64, len: u64) -> Result<()> {
            let mut reader = content.open()?;
            std::io::copy(&mut (&mut reader).take(from), &mut std::io::sink()).unwrap();
            let (mut piece, zeros) = (vec![0; 1 << 20], vec![0; 1 << 20]);
            let mut done = 0;
            while done < len {
                let n = (len - done).min(1 << 20) as usize;
                reader.read_exact(&mut piece[..n]).unwrap();
                if piece[..n] != zeros[..n] {
                    self.bytes(offset + done, &piece[..n])?;
                }
                done += n as u64;
            }
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fs.img");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(size.0).unwrap();
    kind.format().plan(&request(tree, ""), size).unwrap().write(&mut Hole(file)).unwrap();
    judge("e2fsck", &["-fn"], &path);
    (dir, path)
}

fn boot_tree() -> Tree {
    let mut tree = Tree::new(TIME);
    tree.put_file("config.txt", 0o644, "kernel=kernel8.img\n").unwrap();
    tree.put_file("README", 0o644, "").unwrap();
    tree.put_file("kernel8.img", 0o644, vec![3; 1_234_567]).unwrap();
    tree.put_file("overlays/disable-bt.dtbo", 0o644, vec![4; 512]).unwrap();
    tree.put_file("overlays/disable-bt-pi5.dtbo", 0o644, vec![5; 513]).unwrap();
    tree.put_file("overlays/a/b/c/Größe 日本語 𝄞.txt", 0o644, "deep").unwrap();
    tree.put_dir("empty", 0o755).unwrap();
    tree
}

/// Every file of a FAT volume, read by the fatfs crate.
fn read_fat(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    fn walk<T: fatfs::ReadWriteSeek>(dir: &fatfs::Dir<'_, T>, path: &str, out: &mut Vec<(String, Vec<u8>)>) {
        for entry in dir.iter().map(|entry| entry.unwrap()) {
            let name = entry.file_name();
            let path = format!("{path}/{name}");
            if name == "." || name == ".." {
            } else if entry.is_dir() {
                walk(&entry.to_dir(), &path, out);
            } else {
                let mut bytes = Vec::new();
                entry.to_file().read_to_end(&mut bytes).unwrap();
                out.push((path, bytes));
            }
        }
    }
    let fs = fatfs::FileSystem::new(std::io::Cursor::new(bytes.to_vec()), fatfs::FsOptions::new()).unwrap();
    let mut files = Vec::new();
    walk(&fs.root_dir(), "", &mut files);
    files.sort();
    files
}

fn files_of(tree: &Tree) -> Vec<(String, Vec<u8>)> {
    tree.iter()
        .filter_map(|(path, _, inode)| match &inode.kind {
            Node::File(content) => {
                let mut bytes = Vec::new();
                content.open().unwrap().read_to_end(&mut bytes).unwrap();
                Some((path.to_string(), bytes))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn fat_of_every_width_reads_back() {
    let tree = boot_tree();
    for (kind, mib) in [(Kind::Fat12, 4), (Kind::Fat16, 16), (Kind::Fat32, 64), (Kind::Vfat, 300)] {
        let bytes = build(kind, &tree, "boot", Some(mib << 20));
        fsck_fat(&bytes);
        assert_eq!(read_fat(&bytes), files_of(&tree), "{kind:?}");
    }
}

#[test]
fn mtools_sees_label_names_and_utc_times() {
    let bytes = build(Kind::Fat32, &boot_tree(), "boot", None);
    let (_dir, image) = save(&bytes);
    let listing = judge("mdir", &["-/", "-i"], &image);
    for part in [
        "Volume in drive : is BOOT",
        "config.txt",
        "2024-02-29  12:34",
        "disable-bt-pi5.dtbo",
        "DISABL~1 DTB",
    ] {
        assert!(listing.contains(part), "no {part:?} in {listing}");
    }
    let serial = Kind::Fat32.format().uuid(&SEED);
    assert_eq!(serial, "0707-0707");
    assert!(listing.contains(&format!("Volume Serial Number is {serial}")), "{listing}");
}

#[test]
fn fat_fits_exactly_what_it_says_it_needs() {
    // Odd sizes round the limits of clusters and of the allocation table.
    for len in (0..12).map(|n| n * 377_777).chain([511, 512, 513, 2047, 2048, 2049, 33 << 20]) {
        let mut tree = Tree::new(TIME);
        tree.put_file("data.bin", 0o644, vec![1; len]).unwrap();
        for kind in [Kind::Vfat, Kind::Fat16] {
            let bytes = build(kind, &tree, "", None);
            fsck_fat(&bytes);
            assert!(bytes.len() < len + len / 50 + (4 << 20), "{kind:?} {len} {}", bytes.len());
        }
    }
}

#[test]
fn fat_takes_thousands_of_names_in_one_directory() {
    let mut tree = Tree::new(TIME);
    for i in 0..5000 {
        tree.put_file(&format!("overlays/long overlay name {i}.dtbo"), 0o644, "x").unwrap();
        tree.put_file(&format!("OVER{i:04}.BIN"), 0o644, "").unwrap();
    }
    let bytes = build(Kind::Fat32, &tree, "MANY", None);
    fsck_fat(&bytes);
    assert_eq!(read_fat(&bytes).len(), 10_000);
}

#[test]
fn fat_aliases_collide_with_nothing() {
    let mut tree = Tree::new(TIME);
    for name in [
        "LONGNA~1",
        "LONGNA~2.TXT",
        "longname one.txt",
        "longname two.txt",
        "LONGNA~10.x",
        "longna~1x",
        "ÀÉ.txt",
        "a b",
        "a.b.c",
        ".profile",
        "x".repeat(255).as_str(),
    ] {
        tree.put_file(name, 0o644, name).unwrap();
    }
    let bytes = build(Kind::Fat16, &tree, "", None);
    fsck_fat(&bytes);
    assert_eq!(read_fat(&bytes), files_of(&tree));
}

#[test]
fn fat_says_what_it_cannot_hold() {
    let plan_error = |tree: &Tree, label: &str| {
        Kind::Vfat.format().needed(&request(tree, label), ByteSize(0)).unwrap_err().to_string()
    };
    let mut tree = Tree::new(TIME);
    tree.put_symlink("boot/vmlinuz", "vmlinuz-6.12").unwrap();
    assert_eq!(
        plan_error(&tree, ""),
        "`/boot/vmlinuz` is a symbolic link, which FAT cannot hold\n\n\
         hint: put it on another filesystem, or a copy of what it points to in its place"
    );
    let mut tree = Tree::new(TIME);
    tree.put_file("d/Config.txt", 0o644, "").unwrap();
    tree.put_file("d/config.txt", 0o644, "").unwrap();
    assert_eq!(
        plan_error(&tree, ""),
        "`/d` cannot be put on FAT\n  caused by: `Config.txt` and `config.txt` differ only by case\n  \
         caused by: FAT names ignore case\n\nhint: rename one of them, or put them on another filesystem"
    );
    assert_eq!(
        plan_error(&Tree::new(TIME), "a long label"),
        "`a long label` cannot be a FAT label\n  caused by: it is longer than 11 bytes\n\n\
         hint: a FAT label has at most 11 ASCII letters, digits, spaces, `-` or `_`"
    );
    let mut tree = Tree::new(TIME);
    let big = Content::Range { file: PathBuf::from("/x").into(), offset: 0, len: 5 << 30 };
    tree.put_file("big", 0o644, big).unwrap();
    assert_eq!(
        plan_error(&tree, ""),
        "`/big` is too large for FAT\n  caused by: it has 5 GiB, the limit is 4 GiB"
    );
    let narrow =
        |tree: &Tree| Kind::Fat16.format().needed(&request(tree, ""), ByteSize(0)).unwrap_err().to_string();
    let mut tree = Tree::new(TIME);
    for i in 0..300 {
        tree.put_file(&format!("file {i}"), 0o644, "").unwrap();
    }
    assert_eq!(
        narrow(&tree),
        "the root directory of a FAT16 cannot hold 300 names\n  \
         caused by: they take 600 entries, the limit is 512\n\n\
         hint: make it FAT32, or move some of them into a directory"
    );
    let mut tree = Tree::new(TIME);
    tree.put_file("big", 0o644, Content::Range { file: PathBuf::from("/x").into(), offset: 0, len: 3 << 30 })
        .unwrap();
    assert_eq!(narrow(&tree), "FAT16 cannot hold 3 GiB\n  caused by: its limit is 2.0 GiB");
}

#[test]
fn ext4_of_every_size_is_whole() {
    // Around the ends of groups, of flex groups, and of those that hold a backup of the superblock.
    let mut tree = Tree::new(TIME);
    tree.put_file("etc/hostname", 0o644, "card\n").unwrap();
    for groups in [1u64, 2, 3, 16, 17, 32] {
        for blocks in [1, 2, 49, 256, 512] {
            let size = ByteSize(groups * (128 << 20) + blocks * 4096);
            let (_dir, image) = e2fsck_sparse(Kind::Ext4, &tree, size);
            assert_eq!(std::fs::metadata(&image).unwrap().len(), size.0);
        }
    }
}

#[test]
fn ext4_has_an_inode_for_every_name() {
    let mut tree = Tree::new(TIME);
    for i in 0..70_000 {
        tree.put_symlink(&format!("d{}/link-{i}", i % 100), "target").unwrap();
    }
    let needed = Kind::Ext4.format().needed(&request(&tree, ""), ByteSize(0)).unwrap();
    e2fsck_sparse(Kind::Ext4, &tree, needed);
}

#[test]
fn ext4_keeps_access_control_lists() {
    // As getfattr(1) shows `setfacl -m u:1000:rw,g:50:r` of a file with mode 0640.
    let list = |unused: u32| {
        let entry = |tag: u16, perm: u16, id: u32| {
            [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let (user, group) = (entry(2, 6, 1000), entry(8, 4, 50));
        let others = [(4, 4), (16, 6), (32, 0)].map(|(tag, perm)| entry(tag, perm, unused));
        let [owning_group, mask, other] = others;
        [2u32.to_le_bytes().to_vec(), entry(1, 6, unused), user, owning_group, group, mask, other].concat()
    };
    let with = |value: &[u8]| {
        let mut tree = Tree::new(TIME);
        let mut meta = Meta::root(0o660, TIME);
        meta.xattrs.insert("system.posix_acl_access".into(), value.to_vec());
        let path = crate::tree::TreePath::new("journal").unwrap();
        tree.insert(path, Inode { meta, kind: Node::File("x".into()) }).unwrap();
        tree
    };
    let (_dir, image) = e2fsck(&build(Kind::Ext4, &with(&list(u32::MAX)), "", None));
    // debugfs shows the list as a program would get it, but for the identity where there is none.
    let shown = judge("debugfs", &["-R", "ea_get -x /journal system.posix_acl_access"], &image);
    let expected: Vec<String> = list(0).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(shown.contains(&expected.join(" ")), "{shown}");
    assert_eq!(
        refused(Kind::Ext4, &with(&list(0)[..7]), ""),
        "ext4 cannot hold `/journal`\n  \
         caused by: its attribute `system.posix_acl_access` is not an access list"
    );
}

/// A root filesystem with one of everything.
fn root_tree() -> Tree {
    let mut tree = Tree::new(TIME);
    tree.put_file("bin/busybox", 0o4755, vec![1; 100_001]).unwrap();
    tree.link(
        crate::tree::TreePath::new("bin/sh").unwrap(),
        &crate::tree::TreePath::new("bin/busybox").unwrap(),
    )
    .unwrap();
    tree.put_symlink("etc/mtab", "/proc/mounts").unwrap();
    tree.put_symlink("etc/long", &"x/".repeat(100)).unwrap();
    tree.put_file("etc/empty", 0o600, "").unwrap();
    let mut special = |path: &str, kind: Node, mode: u32| {
        let meta = Meta { uid: 100_000, gid: 5, ..Meta::root(mode, TIME) };
        tree.insert(crate::tree::TreePath::new(path).unwrap(), Inode { meta, kind }).unwrap();
    };
    special("dev/console", Node::CharDevice { major: 5, minor: 1 }, 0o600);
    special("dev/mmcblk0", Node::BlockDevice { major: 179, minor: 70_000 }, 0o660);
    special("run/pipe", Node::Fifo, 0o644);
    special("run/socket", Node::Socket, 0o755);
    let mut meta = Meta::root(0o755, Timestamp { secs: 5_000_000_000, nanos: 7 });
    meta.xattrs.insert(
        "security.capability".into(),
        vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    meta.xattrs.insert("user.note".into(), vec![b'n'; 1000]);
    let file = Inode { meta, kind: Node::File("ping".into()) };
    tree.insert(crate::tree::TreePath::new("bin/ping").unwrap(), file).unwrap();
    for i in 0..3000 {
        tree.put_file(&format!("usr/share/many/file number {i:05} with a longish name"), 0o644, "x").unwrap();
    }
    tree
}

#[test]
fn ext4_keeps_everything_on_a_used_card() {
    let tree = root_tree();
    let bytes = build(Kind::Ext4, &tree, "root", None);
    let (_dir, image) = e2fsck(&bytes);
    let fs = ext4_view::Ext4::load(Box::new(bytes.clone())).unwrap();
    for (path, content) in files_of(&tree) {
        assert_eq!(fs.read(path.as_str()).unwrap(), content, "{path}");
    }
    let debugfs = |command: &str| judge("debugfs", &["-R", command], &image);
    let busybox = debugfs("stat /bin/busybox");
    for part in ["Mode:  04755", "Links: 2", "mtime: 0x65e079f1:1c9c3800"] {
        assert!(busybox.contains(part), "no {part:?} in {busybox}");
    }
    assert!(debugfs("stat /dev/mmcblk0").contains("Device major/minor number: 179:70000"));
    assert!(debugfs("stat /dev/console").contains("User: 100000   Group:     5"));
    assert!(debugfs("stat /run/pipe").contains("Type: FIFO"));
    assert!(debugfs("ea_get -x /bin/ping security.capability").contains("01 00 00 02"));
    let dump = judge("dumpe2fs", &["-h"], &image);
    let uuid = Kind::Ext4.format().uuid(&SEED);
    assert!(dump.contains(&format!("Filesystem UUID:          {uuid}")), "{dump}");
    assert!(dump.contains("Filesystem volume name:   root"), "{dump}");
}

#[test]
fn ext4_journal_and_inode_tables_are_cleared() {
    let mut tree = Tree::new(TIME);
    tree.put_file("a", 0o644, vec![1; 5000]).unwrap();
    let bytes = build(Kind::Ext4, &tree, "", Some(300 << 20));
    let (dir, image) = e2fsck(&bytes);
    let journal = dir.path().join("journal");
    judge("debugfs", &["-R", &format!("dump <8> {}", journal.display())], &image);
    let journal = std::fs::read(journal).unwrap();
    assert_eq!(journal.len(), 4096 * 4096);
    assert!(journal[4096..].iter().all(|byte| *byte == 0), "old data shows through the journal");
    // Free space is nobody's business: what was there is still there.
    assert_eq!(bytes.last(), Some(&0xA5));
}

#[test]
fn ext4_room_and_size_are_honoured() {
    for (files, len, room) in
        [(0, 0, 0u64), (1, 1, 1 << 20), (5000, 100, 0), (40, 1 << 20, 50 << 20), (100, 500_000, 200 << 20)]
    {
        let mut tree = Tree::new(TIME);
        let content = Content::from(vec![9; len]);
        for i in 0..files {
            tree.put_file(&format!("d{}/f{i}", i % 7), 0o644, content.clone()).unwrap();
        }
        let request = request(&tree, "");
        let size = Kind::Ext4.format().needed(&request, ByteSize(room)).unwrap();
        let bytes = build(Kind::Ext4, &tree, "", Some(size.0));
        let (_dir, image) = e2fsck(&bytes);
        let dump = judge("dumpe2fs", &["-h"], &image);
        let free = dump.lines().find_map(|line| line.strip_prefix("Free blocks:")).unwrap();
        let free: u64 = free.trim().parse().unwrap();
        assert!(free * 4096 >= room, "{free} blocks are free, {room} bytes were asked for");
        assert!(
            free * 4096 <= room + (size.0 / 50).max(12 << 20),
            "{free} blocks are free of {size}, {room} asked"
        );
    }
}

#[test]
fn ext4_fits_above_a_step_of_the_journal() {
    let mut tree = Tree::new(TIME);
    tree.put_file("data", 0o644, vec![1; 117 << 20]).unwrap();
    let needed = Kind::Ext4.format().needed(&request(&tree, ""), ByteSize(0)).unwrap();
    assert!((ByteSize::mib(120)..ByteSize::mib(128)).contains(&needed), "{needed}");
    e2fsck(&build(Kind::Ext4, &tree, "", Some(128 << 20)));
}

#[test]
fn ext4_says_what_it_cannot_hold() {
    let plan_error = |tree: &Tree, label: &str| refused(Kind::Ext4, tree, label);
    let mut tree = Tree::new(TIME);
    let mut meta = Meta::root(0o644, TIME);
    meta.xattrs.insert("mine.x".into(), vec![1]);
    tree.insert(crate::tree::TreePath::new("a").unwrap(), Inode { meta, kind: Node::File("".into()) })
        .unwrap();
    assert_eq!(
        plan_error(&tree, ""),
        "ext4 cannot hold `/a`\n  caused by: xattr name \"mine.x\" has no recognized namespace"
    );
    let mut tree = Tree::new(TIME);
    let mut meta = Meta::root(0o644, TIME);
    meta.xattrs.insert("user.large".into(), vec![1; 5000]);
    tree.insert(crate::tree::TreePath::new("b").unwrap(), Inode { meta, kind: Node::File("".into()) })
        .unwrap();
    assert_eq!(
        plan_error(&tree, ""),
        "ext4 cannot hold `/b`\n  caused by: its attributes are larger than a block of 4 KiB"
    );
    let mut tree = Tree::new(TIME);
    tree.put_dir("lost+found", 0o700).unwrap();
    tree.put_file("lost+found/x", 0o644, "").unwrap();
    assert_eq!(
        plan_error(&tree, ""),
        "ext4 cannot hold `/lost+found/x`\n  caused by: /lost+found belongs to the filesystem checker\n\n\
         hint: leave it out of the layer"
    );
    assert_eq!(
        plan_error(&Tree::new(TIME), "a-label-of-17-byt"),
        "`a-label-of-17-byt` cannot be an ext4 label\n  caused by: it is longer than 16 bytes"
    );
}

#[test]
fn same_input_same_bytes() {
    for kind in [Kind::Vfat, Kind::Ext4] {
        let tree = if kind == Kind::Ext4 { root_tree() } else { boot_tree() };
        assert!(build(kind, &tree, "x", None) == build(kind, &tree, "x", None), "{kind:?}");
    }
}
