//! Layouts as pure functions; whole images judged by sfdisk, sgdisk, bmaptool and the checkers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::error::Result;
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Silent;
use crate::target::Target;
use crate::tree::{Extent, Timestamp};

fn tree(files: usize, len: usize) -> Tree {
    let mut tree = Tree::new(Timestamp { secs: 1_700_000_000, nanos: 0 });
    for i in 0..files {
        let content: Vec<u8> = (0..len).map(|n| (n * 31 + i * 7 + n / 4096) as u8).collect();
        tree.put_file(&format!("dir{}/file{i}.bin", i % 3), 0o644, content).unwrap();
    }
    tree
}

fn filesystem(name: &str, kind: &str, fs: filesystem::Kind, tree: Option<Tree>) -> PartitionSpec {
    PartitionSpec {
        bootable: name == "boot",
        size: Size::Auto { room: ByteSize::mib(8) },
        fill: Fill::filesystem(fs, name, tree),
        ..PartitionSpec::new(name, PartitionType::parse(kind).unwrap())
    }
}

fn empty(name: &str, offset: Option<u64>, size: u64) -> PartitionSpec {
    PartitionSpec {
        offset: offset.map(ByteSize),
        size: Size::Fixed(ByteSize(size)),
        ..PartitionSpec::new(name, PartitionType::parse("linux").unwrap())
    }
}

fn blob(name: &str, offset: u64, len: usize) -> BlobSpec {
    BlobSpec { content: Some(vec![0xB1; len].into()), ..BlobSpec::new(name, ByteSize(offset)) }
}

fn disk(table: Table, partitions: Vec<PartitionSpec>) -> DiskSpec {
    DiskSpec { partitions, ..DiskSpec::new(table, Digest::of(b"seed")) }
}

/// FAT and ext4, a blob before them.
fn board(table: Table) -> DiskSpec {
    let boot = filesystem("boot", "fat", filesystem::Kind::Fat32, Some(tree(20, 100_000)));
    let root = filesystem("root", "linux-root-arm64", filesystem::Kind::Ext4, Some(tree(300, 70_001)));
    DiskSpec { blobs: vec![blob("spl", 32 << 10, 60_001)], ..disk(table, vec![boot, root]) }
}

const M: u64 = 1 << 20;

fn starts(spec: &DiskSpec) -> Vec<u64> {
    layout(spec).unwrap().partitions.iter().map(|placed| placed.start.0).collect()
}

fn error(spec: &DiskSpec) -> String {
    layout(spec).unwrap_err().to_string()
}

#[test]
fn partitions_flow_round_what_is_fixed() {
    let spec =
        disk(Table::Gpt, vec![empty("a", None, 6 * M), empty("b", Some(8 * M), 4 * M), empty("c", None, M)]);
    assert_eq!(starts(&spec), [12 * M, 8 * M, 20 * M]);
    let spec =
        disk(Table::Gpt, vec![empty("a", None, 4 * M), empty("b", Some(8 * M), 4 * M), empty("c", None, M)]);
    assert_eq!(starts(&spec), [4 * M, 8 * M, 12 * M]);
    assert_eq!(layout(&spec).unwrap().size, ByteSize(14 * M));
}

#[test]
fn order_never_matters_where_offsets_are_explicit() {
    let parts = [empty("a", Some(4 * M), M), empty("b", Some(16 * M), M), empty("c", Some(8 * M), 2 * M)];
    let reference = layout(&disk(Table::Gpt, parts.to_vec())).unwrap();
    for order in [[2, 0, 1], [1, 2, 0], [2, 1, 0]] {
        let spec = disk(Table::Gpt, order.iter().map(|&i: &usize| parts[i].clone()).collect());
        let other = layout(&spec).unwrap();
        assert_eq!(other.size, reference.size);
        for placed in &reference.partitions {
            let twin = other.partition(&placed.name).unwrap();
            assert_eq!((twin.start, twin.size), (placed.start, placed.size));
        }
    }
}

#[test]
fn a_layout_without_content_is_provisional() {
    let spec = disk(Table::Gpt, vec![filesystem("root", "linux", filesystem::Kind::Ext4, None)]);
    let layout = layout(&spec).unwrap();
    assert!(layout.provisional);
    assert_eq!(layout.partitions[0].size, ByteSize(8 * M));
    assert!(write(&spec, &layout, Path::new("/nonexistent/x"), || Ok(()), &Silent).is_err());
}

#[test]
fn overlaps_name_both_and_what_to_declare() {
    let mut a = empty("a", Some(4 * M), 8 * M);
    a.origin = Some("boards/x.toml:7".into());
    assert_eq!(
        error(&disk(Table::Mbr, vec![a, empty("b", Some(8 * M), M)])),
        "partition `a` and partition `b` overlap\n  \
         caused by: partition `a` starts at 4M and has 8M\n  \
         caused by: partition `b` starts at 8M and has 1M\n  \
         caused by: declared at boards/x.toml:7\n\n\
         hint: partition `b` can start at 12M or later"
    );
    let spec = DiskSpec { blobs: vec![blob("spl", 8 << 10, 32 << 10)], ..disk(Table::Gpt, vec![]) };
    assert_eq!(
        error(&spec),
        "the GPT and blob `spl` overlap\n  \
         caused by: the GPT starts at 512 and has 16896\n  \
         caused by: blob `spl` starts at 8K and has 32K\n\n\
         hint: blob `spl` can start at 17K or later, or the GPT's entries can: `gpt-location = \"40K\"`; with `table = \"mbr\"` everything from 512 on is free"
    );
    let spec = DiskSpec {
        blobs: vec![blob("u-boot", 4 * M - 512, 1024)],
        ..disk(Table::Mbr, vec![empty("a", Some(4 * M), M)])
    };
    assert_eq!(
        error(&spec),
        "blob `u-boot` and partition `a` overlap\n  \
         caused by: blob `u-boot` starts at 8191K/2 and has 1K\n  \
         caused by: partition `a` starts at 4M and has 1M\n\n\
         hint: partition `a` can start at 4100K or later"
            .replace("8191K/2", "4193792")
    );
}

#[test]
fn the_place_that_is_hinted_at_is_free() {
    let hinted = |spec: &DiskSpec, hint: &str| {
        assert_eq!(error(spec).split_once("\n\n").unwrap().1, format!("hint: {hint}"));
    };
    hinted(&disk(Table::Gpt, vec![empty("a", Some(0), M)]), "partition `a` can start at 20K or later");
    hinted(&disk(Table::Mbr, vec![empty("a", Some(0), M)]), "partition `a` can start at 4K or later");
    let moved = DiskSpec {
        gpt_location: ByteSize(M),
        ..disk(Table::Gpt, vec![empty("a", Some(0), M), empty("b", Some(2 * M), M)])
    };
    hinted(&moved, "partition `a` can start at 3M or later");
    layout(&disk(Table::Gpt, vec![empty("a", Some(20 << 10), M)])).unwrap();
}

#[test]
fn sizes_that_do_not_fit() {
    let mut root = filesystem("root", "linux", filesystem::Kind::Ext4, Some(tree(300, 70_001)));
    root.size = Size::Fixed(ByteSize::mib(16));
    root.origin = Some("boards/x.toml:21".into());
    assert_eq!(
        error(&disk(Table::Gpt, vec![root])),
        "partition `root` is too small for its content\n  \
         caused by: ext4 needs 26 MiB, the partition has 16 MiB\n  \
         caused by: declared at boards/x.toml:21\n\n\
         hint: raise its `size`, or leave `size` out and let the content decide"
    );
    let mut boot = filesystem("boot", "fat", filesystem::Kind::Fat32, Some(tree(1, 10)));
    boot.size = Size::Fixed(ByteSize::mib(16));
    assert_eq!(
        error(&disk(Table::Mbr, vec![boot])),
        "partition `boot` is too small for its content\n  \
         caused by: FAT32 needs 33 MiB, the partition has 16 MiB\n\n\
         hint: raise its `size`, or leave `size` out and let the content decide"
    );
    let spec = DiskSpec { size: Some(ByteSize(16 * M)), ..disk(Table::Gpt, vec![empty("a", None, 12 * M)]) };
    assert_eq!(
        error(&spec),
        "the disk is too small for what it holds\n  \
         caused by: it needs 16.0 MiB, up to the end of partition `a`, and has 16 MiB\n\n\
         hint: raise the disk's `size` to 17M or more, or leave it out"
    );
}

#[test]
fn declarations_that_make_no_sense() {
    let named = |name: &str| empty(name, None, M);
    let mut typed = named("a");
    typed.kind = PartitionType::parse("0x0c").unwrap();
    let mut with_uuid = named("a");
    with_uuid.uuid = Some("0fc63daf-8483-4772-8e79-3d69d8477de4".into());
    let mut bad_uuid = named("a");
    bad_uuid.uuid = Some("12".into());
    let mut sizeless = named("a");
    sizeless.size = Size::Auto { room: ByteSize(0) };
    for (spec, expected) in [
        (
            disk(Table::Mbr, ["a", "b", "c", "d", "e"].map(named).to_vec()),
            "the table holds 4 partitions, 5 are declared\n\n\
             hint: say `logical = true` in those that belong into an extended partition, or declare `table = \"gpt\"`",
        ),
        (
            disk(Table::Gpt, vec![named("a"), named("a")]),
            "two partitions are named `a`\n\nhint: identifiers derive from names; give each its own",
        ),
        (
            disk(Table::Gpt, vec![typed]),
            "partition `a` cannot be declared\n  caused by: the partition type `0x0c` has no place in a GPT\n\n\
             hint: write a name such as `linux`, or a GUID",
        ),
        (
            disk(Table::Mbr, vec![with_uuid]),
            "partition `a` cannot have a UUID of its own\n  caused by: an MBR holds only a disk signature\n\n\
             hint: leave out `uuid`, or declare `table = \"gpt\"`",
        ),
        (
            disk(Table::Gpt, vec![bad_uuid]),
            "`12`, the UUID of partition `a`, is not one\n\n\
             hint: a UUID looks like `0fc63daf-8483-4772-8e79-3d69d8477de4`",
        ),
        (
            disk(Table::Gpt, vec![sizeless]),
            "partition `a` has neither content nor size\n\nhint: give it a `size`",
        ),
        (
            disk(Table::Gpt, vec![empty("a", Some(1000), M)]),
            "the offset of partition `a`, 1000 bytes, is not a multiple of 512",
        ),
        (
            disk(Table::Gpt, vec![empty("a", Some(u64::MAX - 4095), M)]),
            "the offset of partition `a` cannot be 16777216.0 TiB\n  caused by: no disk is that large",
        ),
        (
            disk(Table::Gpt, vec![empty("a", None, 1 << 60)]),
            "the size of partition `a` cannot be 1048576 TiB\n  caused by: no disk is that large",
        ),
        (
            DiskSpec { align: ByteSize(1 << 63), ..disk(Table::Gpt, vec![named("a")]) },
            "the alignment of the disk cannot be 8388608 TiB\n  caused by: no disk is that large",
        ),
        (
            DiskSpec { size: Some(ByteSize(3 << 40)), ..disk(Table::Mbr, vec![named("a")]) },
            "an MBR cannot describe a disk of 3 TiB\n  caused by: its limit is 2 TiB\n\nhint: declare `table = \"gpt\"`",
        ),
    ] {
        assert_eq!(error(&spec), expected);
    }
}

fn build(spec: &DiskSpec) -> (TempDir, PathBuf, ImageFacts) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.img");
    let facts = write(spec, &layout(spec).unwrap(), &path, || Ok(()), &Silent).unwrap();
    (dir, path, facts)
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Cmd::new(program).args(args).output().unwrap();
    let text = output.text() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Cuts a partition out and returns its path.
fn cut(image: &Path, facts: &ImageFacts, name: &str) -> PathBuf {
    let part = facts.partitions.iter().find(|part| part.name == name).unwrap();
    let bytes = std::fs::read(image).unwrap();
    let path = image.with_file_name(name);
    std::fs::write(&path, &bytes[part.start.0 as usize..][..part.size.0 as usize]).unwrap();
    path
}

#[test]
fn images_pass_every_judge() {
    for table in [Table::Mbr, Table::Gpt] {
        let spec = board(table);
        let (dir, image, facts) = build(&spec);
        assert_eq!(facts.sha256, Digest::of_file(&image).unwrap());
        assert!(run("sfdisk", &["--verify", text(&image)]).contains("No errors detected"));
        run("fsck.fat", &["-n", text(&cut(&image, &facts, "boot"))]);
        run("e2fsck", &["-fn", text(&cut(&image, &facts, "root"))]);
        let bytes = std::fs::read(&image).unwrap();
        assert!(bytes[32 << 10..][..60_001].iter().all(|byte| *byte == 0xB1));
        let dump = run("sfdisk", &["--dump", text(&image)]);
        for part in &facts.partitions {
            let line = format!("start= {:>11}, size= {:>11}", part.start.0 / 512, part.size.0 / 512);
            assert!(dump.contains(&line), "no {line:?} in {dump}");
        }
        if table == Table::Gpt {
            assert!(run("sgdisk", &["-v", text(&image)]).contains("No problems found"));
            assert!(dump.contains(&spec.partuuid("root").unwrap().to_uppercase()), "{dump}");
            assert!(dump.contains("LegacyBIOSBootable"), "{dump}");
            assert!(dump.contains("B921B045-1DF0-41C3-AF44-4C6F280D3FAE"), "{dump}");
            assert!(dump.contains("name=\"boot\""), "{dump}");
        } else {
            assert!(dump.contains("type=c, bootable"), "{dump}");
            assert!(dump.contains(&format!("label-id: 0x{}", facts.id)), "{dump}");
            assert_eq!(facts.partitions[1].partuuid, Some(format!("{}-02", facts.id)));
        }
        let bmap = dir.path().join("x.bmap");
        fsx::write_atomic(&bmap, facts.bmap().as_bytes()).unwrap();
        let copy = dir.path().join("copy");
        run("bmaptool", &["copy", "--bmap", text(&bmap), text(&image), text(&copy)]);
        assert_eq!(Digest::of_file(&copy).unwrap(), facts.sha256);
        // A used card: what the map leaves out keeps its old content, and nobody minds.
        let mut card = vec![0xA5; facts.size.0 as usize];
        for range in &facts.ranges {
            let range = range.start as usize..(range.start + range.len) as usize;
            card[range.clone()].copy_from_slice(&bytes[range]);
        }
        std::fs::write(&copy, &card).unwrap();
        assert!(facts.mapped.0 < facts.size.0 / 4 * 3, "{} of {}", facts.mapped, facts.size);
        assert!(run("sfdisk", &["--verify", text(&copy)]).contains("No errors detected"));
        run("fsck.fat", &["-n", text(&cut(&copy, &facts, "boot"))]);
        run("e2fsck", &["-fn", text(&cut(&copy, &facts, "root"))]);
        assert_eq!(
            run("blkid", &["-s", "UUID", "-o", "value", text(&image.with_file_name("root"))]).trim(),
            facts.partitions[1].filesystem_uuid.clone().unwrap()
        );
        assert_eq!(
            run("blkid", &["-s", "UUID", "-o", "value", text(&image.with_file_name("boot"))]).trim(),
            facts.partitions[0].filesystem_uuid.clone().unwrap()
        );
    }
}

#[test]
fn same_inputs_same_bytes_and_other_seeds_other_ids() {
    let spec = board(Table::Gpt);
    let (_first, _, facts) = build(&spec);
    let (_second, _, again) = build(&spec);
    assert_eq!(facts.sha256, again.sha256);
    assert_eq!(facts.bmap(), again.bmap());
    let other = DiskSpec { seed: Digest::of(b"other"), ..board(Table::Gpt) };
    for name in ["boot", "root"] {
        assert_ne!(other.partuuid(name).unwrap(), spec.partuuid(name).unwrap());
        assert_ne!(other.filesystem_uuid(name).unwrap(), spec.filesystem_uuid(name).unwrap());
    }
}

#[test]
fn contents_come_from_ranges_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("archive");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 + n / 999) as u8).collect();
    std::fs::write(&source, &bytes).unwrap();
    let file = Arc::new(source.clone());
    let mut tree = tree(0, 0);
    let range = |offset, len| Content::Range { file: file.clone(), offset, len };
    tree.put_file("a", 0o644, range(512, 2_000_000)).unwrap();
    tree.put_file("b", 0o644, range(2_500_000, 400_000)).unwrap();
    let extents = [Extent { at: 70_000, offset: 5, len: 9_000 }, Extent { at: 900_000, offset: 100, len: 1 }];
    let holes = Content::Sparse { file: file.clone(), extents: extents.into(), len: 1_700_000 };
    let mut unfolded = vec![0; 1_700_000];
    unfolded[70_000..79_000].copy_from_slice(&bytes[5..9_005]);
    unfolded[900_000] = bytes[100];
    tree.put_file("c", 0o644, holes).unwrap();
    let spec = disk(Table::Gpt, vec![filesystem("root", "linux", filesystem::Kind::Ext4, Some(tree))]);
    let (_dir, image, facts) = build(&spec);
    let root = cut(&image, &facts, "root");
    let expected = [("a", &bytes[512..2_000_512]), ("b", &bytes[2_500_000..2_900_000]), ("c", &unfolded)];
    for (name, expected) in expected {
        let out = dir.path().join(name);
        run("debugfs", &["-R", &format!("dump /{name} {}", out.display()), text(&root)]);
        assert!(std::fs::read(&out).unwrap() == expected, "{name}");
    }
    // The source shrinks under our hands.
    std::fs::write(&source, &bytes[..2_600_000]).unwrap();
    let path = dir.path().join("y.img");
    let laid_out = layout(&spec).unwrap();
    let error =
        write(&spec, &laid_out, &path, || panic!("it is not whole"), &Silent).unwrap_err().to_string();
    assert_eq!(
        error.replace(text(dir.path()), "DIR"),
        "cannot write the image `DIR/y.img`\n  caused by: cannot write partition `root`\n  \
         caused by: cannot write a file into the ext4 filesystem\n  caused by: cannot read `DIR/archive`\n  \
         caused by: it is shorter than it was a moment ago\n\n\
         hint: something else writes to it; run the build again when that is done"
    );
    assert_eq!(
        std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with("y."))
            .count(),
        0
    );
}

/// A disk that is full after some bytes.
struct Full(AtomicU64);

impl Target for Full {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, bytes: &[u8], _: u64) -> io::Result<usize> {
        let left = self.0.load(Ordering::Relaxed);
        if left < bytes.len() as u64 {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.0.store(left - bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_as_such() -> Result<()> {
    let spec = board(Table::Gpt);
    let target = Arc::new(Full(AtomicU64::new(5 << 20)));
    let error =
        write::write_to(&spec, &layout(&spec)?, target, Path::new("out/x.img.partial"), &Silent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write `out/x.img.partial`\n  caused by: No space left on device\n\n\
         hint: free some room on that disk, or use another one; for a build: `--build-dir`, `--out`, `XDG_CACHE_HOME`"
    );
    Ok(())
}

#[test]
fn odd_sizes_never_break_the_map() {
    for len in
        [0, 1, 511, 512, 4095, 4096, 4097, 65_535, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 17]
    {
        let mut raw = empty("raw", None, 8 * M);
        raw.fill = Fill::Raw(vec![0xEE; len].into());
        let spec = DiskSpec {
            blobs: vec![blob("b", 40_448, len.min(100_000))],
            ..disk(Table::Mbr, vec![raw, empty("e", None, 2 * M)])
        };
        let (dir, image, facts) = build(&spec);
        assert_eq!(facts.sha256, Digest::of_file(&image).unwrap(), "{len}");
        let bmap = dir.path().join("x.bmap");
        fsx::write_atomic(&bmap, facts.bmap().as_bytes()).unwrap();
        let copy = dir.path().join("copy");
        run("bmaptool", &["copy", "--bmap", text(&bmap), text(&image), text(&copy)]);
        assert_eq!(Digest::of_file(&copy).unwrap(), facts.sha256, "{len}");
    }
}

#[test]
fn small_gaps_early_on_are_bridged() {
    let raw = |name: &str, offset: u64, len: u64| {
        let mut raw = empty(name, Some(offset), len);
        raw.fill = Fill::Raw(vec![0xC7; len as usize].into());
        raw
    };
    let parts = vec![raw("a", M, 20 * M), raw("b", 22 * M, M), raw("c", 24 * M, M), raw("d", 32 * M, 8192)];
    let (_dir, image, facts) = build(&disk(Table::Gpt, parts));
    let bytes = std::fs::read(&image).unwrap();
    // The first gap is small enough, the second would be one too many.
    let spans: Vec<(u64, u64)> =
        facts.ranges.iter().map(|range| (range.start, range.start + range.len)).collect();
    assert_eq!(spans[..3], [(0, 23 * M), (24 * M, 25 * M), (32 * M, 32 * M + 8192)]);
    for range in &facts.ranges {
        assert_eq!(
            range.sha256,
            Digest::of(&bytes[range.start as usize..][..range.len as usize]),
            "{range:?}"
        );
    }
    assert_eq!(facts.sha256, Digest::of(&bytes));
}

#[test]
fn compression_is_whole_and_the_same_on_any_number_of_threads() {
    let mut raw = empty("raw", None, 8 * M);
    let noise = (0..100_000u32).flat_map(|n| Digest::of(&(n % 70_000).to_le_bytes()).0).collect::<Vec<u8>>();
    raw.fill = Fill::Raw(noise.into());
    let (dir, image, facts) = build(&disk(Table::Mbr, vec![raw]));
    for (compression, tool) in
        [(Compression::Xz, "xz"), (Compression::Zstd, "zstd"), (Compression::Gz, "gzip")]
    {
        let mut digests = Vec::new();
        for threads in [1, 3] {
            let packed =
                compress(&image, compression, std::num::NonZeroUsize::new(threads), &Silent).unwrap();
            run(tool, &["-t", text(&packed)]);
            digests.push(Digest::of_file(&packed).unwrap());
            let unpacked = Cmd::new(tool).args(["-dc", text(&packed)]).check().unwrap().stdout;
            assert_eq!(Digest::of(&unpacked), facts.sha256, "{compression:?}");
        }
        assert_eq!(digests[0], digests[1], "{compression:?}");
    }
    let name = format!("x.img.{}", Compression::Gz.extension());
    let digest = Digest::of_file(&dir.path().join(&name)).unwrap();
    write_sums(dir.path(), &[("x.img", facts.sha256), (&name, digest)]).unwrap();
    let sums = Cmd::new("sha256sum").args(["-c", "SHA256SUMS"]).cwd(dir.path()).check().unwrap().text();
    assert_eq!(sums, "x.img: OK\nx.img.gz: OK\n");
}

#[test]
fn sparse_images_unpack_to_the_image() {
    // One that ends within a block, too.
    let odd = DiskSpec {
        align: ByteSize(512),
        size: Some(ByteSize(3 * M + 512)),
        ..disk(Table::Mbr, vec![PartitionSpec { fill_byte: Some(5), ..empty("a", Some(2 * M), M + 512) }])
    };
    let mut pattern = empty("raw", None, 8 * M);
    let mut bytes = [7, 1, 2, 3].repeat(1 << 18);
    bytes.extend((0..100_001u32).map(|n| (n * 7) as u8));
    bytes.extend(vec![0; 70_000]);
    bytes.extend([9; 5000]);
    pattern.fill = Fill::Raw(bytes.into());
    for spec in [board(Table::Gpt), odd, disk(Table::Mbr, vec![pattern])] {
        let (dir, path, facts) = build(&spec);
        let written =
            Format::Sparse.output().write(&Finished { path: &path, facts: &facts }, &Silent).unwrap();
        assert_eq!(written, [dir.path().join("x.simg")]);
        let back = dir.path().join("back.img");
        run("simg2img", &[text(&written[0]), text(&back)]);
        assert_eq!(Digest::of_file(&back).unwrap(), facts.sha256);
        let size = written[0].metadata().unwrap().len();
        assert!(size < facts.mapped.0 + 4096, "{size} of {}", facts.mapped);
    }
}

#[test]
fn partitions_come_out_one_by_one() {
    let spec = board(Table::Gpt);
    let (dir, path, facts) = build(&spec);
    let written =
        Format::Partitions.output().write(&Finished { path: &path, facts: &facts }, &Silent).unwrap();
    assert_eq!(written, ["x.boot.img", "x.root.img"].map(|name| dir.path().join(name)));
    run("fsck.fat", &["-n", text(&written[0])]);
    run("e2fsck", &["-fn", text(&written[1])]);
    for (file, name) in written.iter().zip(["boot", "root"]) {
        assert_eq!(Digest::of_file(file).unwrap(), Digest::of_file(&cut(&path, &facts, name)).unwrap());
    }
}

#[test]
fn qemu_reads_its_own_format_and_equal_images_give_equal_files() {
    let (dir, path, facts) = build(&board(Table::Mbr));
    let finished = Finished { path: &path, facts: &facts };
    let mut digests = Vec::new();
    for _ in 0..2 {
        let written = Format::Qcow2.output().write(&finished, &Silent).unwrap();
        assert_eq!(written, [dir.path().join("x.qcow2")]);
        digests.push(Digest::of_file(&written[0]).unwrap());
        assert!(run("qemu-img", &["check", text(&written[0])]).contains("No errors were found"));
        assert!(run("qemu-img", &["compare", text(&path), text(&written[0])]).contains("identical"));
    }
    assert_eq!(digests[0], digests[1]);
}
