//! Maps of every version, judged by `bmaptool` in both directions, and maps from people who mean no good.

use std::fmt::Write as _;
use std::path::Path;

use super::{Bmap, MAX_BMAP};
use crate::exec::Cmd;
use crate::fsx;

const BLOCK: usize = 4096;

/// Ten blocks, the last one not whole.
fn image() -> Vec<u8> {
    (0..9 * BLOCK + 100).map(|i| (i / 7 % 251) as u8 + 1).collect()
}

/// What a map is made of.
struct Parts {
    version: &'static str,
    size: String,
    block: String,
    blocks: String,
    mapped: String,
    kind: &'static str,
    /// Text and checksum.
    ranges: Vec<(String, Option<String>)>,
}

fn sum(kind: &str, bytes: &[u8]) -> String {
    let kind = match kind {
        "sha1" => super::read::Kind::Sha1,
        "sha512" => super::read::Kind::Sha512,
        _ => super::read::Kind::Sha256,
    };
    let mut summer = super::Summer::new(kind);
    summer.update(bytes);
    summer.finish()
}

impl Parts {
    fn new(version: &'static str, kind: &'static str) -> Self {
        let image = image();
        let with_sums = version != "1.0" && version != "1.1" && version != "1.2";
        let range = |text: &str, first: usize, last: usize| {
            let bytes = &image[first * BLOCK..((last + 1) * BLOCK).min(image.len())];
            (text.to_string(), with_sums.then(|| sum(kind, bytes)))
        };
        Parts {
            version,
            size: image.len().to_string(),
            block: BLOCK.to_string(),
            blocks: "10".into(),
            mapped: "6".into(),
            kind,
            ranges: vec![range("0", 0, 0), range("2-4", 2, 4), range(" 8 - 9 ", 8, 9)],
        }
    }

    fn text(&self) -> String {
        let (old, none) = (self.version < "1.4", self.version < "1.3");
        let Parts { version, size, block, blocks, mapped, kind, .. } = self;
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n<!-- A map. -->\n<bmap version=\"{version}\">\n<ImageSize> {size} </ImageSize>\n\
             <BlockSize> {block} </BlockSize>\n<BlocksCount> {blocks} </BlocksCount>\n\
             <MappedBlocksCount> {mapped} </MappedBlocksCount>\n"
        );
        let zeros = "0".repeat(sum(kind, b"").len());
        if !old {
            write!(
                text,
                "<ChecksumType> {kind} </ChecksumType>\n<BmapFileChecksum> {zeros} </BmapFileChecksum>\n"
            )
            .unwrap();
        } else if !none {
            writeln!(text, "<BmapFileSHA1> {zeros} </BmapFileSHA1>").unwrap();
        }
        text.push_str("<BlockMap>\n");
        for (range, sum) in &self.ranges {
            let attribute = match (sum, old) {
                (None, _) => String::new(),
                (Some(sum), true) => format!(" sha1=\"{sum}\""),
                (Some(sum), false) => format!(" chksum=\"{sum}\""),
            };
            writeln!(text, "<Range{attribute}>{range}</Range>").unwrap();
        }
        text.push_str("</BlockMap>\n</bmap>\n");
        if none { text } else { text.replacen(&zeros, &sum(kind, text.as_bytes()), 1) }
    }

    fn refused(&self) -> String {
        refused(&self.text())
    }
}

fn refused(text: &str) -> String {
    let error = Bmap::parse("x.bmap", text.as_bytes()).unwrap_err().to_string();
    error.strip_prefix("cannot use the block map `x.bmap`\n  caused by: ").unwrap().to_string()
}

fn versions() -> impl Iterator<Item = Parts> {
    let all = [("1.0", "sha1"), ("1.1", "sha1"), ("1.2", "sha1"), ("1.3", "sha1"), ("1.4", "sha256")];
    all.into_iter()
        .chain([("2.0", "sha256"), ("2.0", "sha1"), ("2.0", "sha512")])
        .map(|(version, kind)| Parts::new(version, kind))
}

/// What `bmaptool copy` makes of an image and a map.
fn bmaptool(dir: &Path, map: &str) -> Option<Vec<u8>> {
    fsx::write_atomic(&dir.join("x.img"), &image()).unwrap();
    fsx::write_atomic(&dir.join("x.bmap"), map.as_bytes()).unwrap();
    fsx::remove_file(&dir.join("out")).unwrap();
    let copied =
        Cmd::new("bmaptool").args(["copy", "--bmap", "x.bmap", "x.img", "out"]).cwd(dir).output().unwrap();
    copied.status.success().then(|| fsx::read(&dir.join("out")).unwrap())
}

#[test]
fn every_version_is_read_as_bmaptool_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    for parts in versions() {
        let text = parts.text();
        let map = Bmap::parse("x.bmap", text.as_bytes()).unwrap();
        let what = format!("{} {}", parts.version, parts.kind);
        let image = image();
        let mut ours = vec![0; image.len()];
        assert_eq!((map.image_size(), map.len()), (image.len() as u64, 3), "{what}");
        assert_eq!(map.mapped() as usize, 5 * BLOCK + 100);
        for index in 0..map.len() {
            let range = map.range(index);
            let range = range.start as usize..range.end as usize;
            ours[range.clone()].copy_from_slice(&image[range.clone()]);
            assert_eq!(map.sum(index).is_some(), parts.version >= "1.3", "{what}");
            if let Some((mut summer, expected)) = map.sum(index) {
                summer.update(&image[range]);
                assert_eq!(summer.finish(), expected, "{what}");
            }
        }
        assert_eq!(bmaptool(dir.path(), &text), Some(ours), "{what}");
    }
}

#[test]
fn bmaptools_own_maps_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fsx::write_atomic(&dir.path().join("x.img"), &image()).unwrap();
    let made = Cmd::new("bmaptool").args(["create", "-o", "x.bmap", "x.img"]).cwd(dir.path()).check();
    made.unwrap();
    let map = Bmap::parse("x.bmap", &fsx::read(&dir.path().join("x.bmap")).unwrap()).unwrap();
    assert_eq!((map.image_size(), map.mapped()), (image().len() as u64, image().len() as u64));
    let (mut summer, expected) = map.sum(0).unwrap();
    summer.update(&image());
    assert_eq!(summer.finish(), expected);
}

#[test]
fn a_map_that_was_changed_is_refused_by_both() {
    let dir = tempfile::tempdir().unwrap();
    for parts in versions().filter(|parts| parts.version >= "1.3") {
        let text = parts.text().replace("<Range", "<Range ");
        assert!(bmaptool(dir.path(), &text).is_none(), "{}", parts.version);
        let told = refused(&text);
        assert!(told.starts_with("it was changed or damaged after it was made\n"), "{told}");
    }
    let text = Parts::new("2.0", "sha1").text().replace("A map", "B map");
    assert_eq!(
        refused(&text),
        "it was changed or damaged after it was made\n  \
         caused by: its sha1 is aaa861d642d2f2cc1e2545bbb8bd4d059fbaa6bb\n  \
         caused by: it says it is aaba22a4cc2416121a0a6e8286b87d356b8ccd6c"
    );
}

/// A map of the newest version with one thing changed; its own checksum is right.
fn changed(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = Parts::new("2.0", "sha256");
    change(&mut parts);
    parts.refused()
}

fn with_ranges(ranges: &[&str]) -> String {
    changed(|parts| parts.ranges = ranges.iter().map(|range| ((*range).to_string(), None)).collect())
}

#[test]
fn what_does_not_hold_together_is_refused() {
    assert_eq!(changed(|it| it.version = "3.0"), "its version is 3.0, and 2.0 is the last one that is known");
    assert_eq!(changed(|it| it.version = "x"), "`x` is no version of a block map");
    assert_eq!(changed(|it| it.version = "0.9"), "`0.9` is no version of a block map");
    assert_eq!(
        changed(|it| it.kind = "md5"),
        "its checksums are of the kind `md5`\n  caused by: `sha1`, `sha256` and `sha512` are known"
    );
    assert_eq!(changed(|it| it.size = "-1".into()), "`ImageSize` is `-1`, which is not a number");
    assert_eq!(changed(|it| it.size = "1e99".into()), "`ImageSize` is `1e99`, which is not a number");
    assert_eq!(
        changed(|it| it.size = u64::MAX.to_string()),
        "an image of 18446744073709551615 bytes does not have 10 blocks of 4096 bytes"
    );
    assert_eq!(changed(|it| it.block = "0".into()), "blocks of 0 bytes are not known on any disk");
    assert_eq!(changed(|it| it.block = "4097".into()), "blocks of 4097 bytes are not known on any disk");
    assert_eq!(
        changed(|it| it.mapped = "7".into()),
        "its ranges hold 6 blocks, but `MappedBlocksCount` is 7"
    );
    assert_eq!(changed(|it| it.ranges[1].1 = Some("ab".into())), "its checksums are not equally long");
    assert_eq!(changed(|it| it.ranges[0].1 = Some("xyz".into())), "`xyz` is not a checksum");
    let short = |it: &mut Parts| it.ranges.iter_mut().for_each(|range| range.1 = Some("ab".into()));
    assert_eq!(changed(short), "its checksums are not of the kind `sha256`");
}

#[test]
fn hostile_ranges_are_refused() {
    assert_eq!(with_ranges(&["9-10"]), "the range `9-10` ends beyond the image, which has 10 blocks");
    assert_eq!(
        with_ranges(&["18446744073709551615"]),
        "the range `18446744073709551615-18446744073709551615` ends beyond the image, which has 10 blocks"
    );
    assert_eq!(with_ranges(&["5-3"]), "the range `5-3` ends before it begins");
    assert_eq!(with_ranges(&["4-6", "5-7"]), "the range `5-7` does not lie behind the one before it");
    assert_eq!(with_ranges(&["4-6", "6"]), "the range `6` does not lie behind the one before it");
    assert_eq!(with_ranges(&["4-6", "1-2"]), "the range `1-2` does not lie behind the one before it");
    assert_eq!(with_ranges(&["-1"]), "`-1` is not a range of blocks");
    assert_eq!(with_ranges(&["1-2-3"]), "`1-2-3` is not a range of blocks");
    assert_eq!(with_ranges(&[""]), "`` is not a range of blocks");
    assert_eq!(with_ranges(&["99999999999999999999"]), "`99999999999999999999` is not a range of blocks");
}

#[test]
fn what_is_no_map_is_refused() {
    assert_eq!(refused(""), "it has no `bmap` element");
    assert_eq!(refused("<html><body/></html>"), "it has no `bmap` element");
    assert_eq!(refused("<bmap></bmap>"), "it does not tell its version");
    assert_eq!(refused("<bmap version=\"2.0\"></bmap>"), "`ImageSize` is missing");
    assert_eq!(
        refused("<bmap version=\"2.0\">"),
        "it is not XML\n  caused by: it ends in the middle of an element"
    );
    let two = Parts::new("2.0", "sha256").text().repeat(2);
    assert_eq!(refused(&two), "it is not XML\n  caused by: it has two root elements");
    let bare = Parts::new("2.0", "sha256").text();
    let cut = bare.lines().filter(|line| !line.contains("BmapFileChecksum")).collect::<Vec<_>>().join("\n");
    assert_eq!(refused(&cut), "`BmapFileChecksum` is missing");
    let odd = bare.replace("<BmapFileChecksum> ", "<BmapFileChecksum> zz");
    assert!(refused(&odd).ends_with("which is not a sha256"), "{}", refused(&odd));
    let deep = format!("<bmap version=\"2.0\">{}", "<a>".repeat(100_000));
    assert_eq!(refused(&deep), "its elements nest too deep");
    assert!(
        refused("\u{0}\u{1}<<>>").starts_with("it is not XML") || refused("\u{0}").starts_with("it has no")
    );
    let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n";
    assert_eq!(
        refused(signed),
        "it is wrapped into an OpenPGP signature\n\nhint: `gpg --decrypt` checks the signature and gives the map"
    );
    // Entities are not expanded: no billion laughs.
    let laughs = "<!DOCTYPE b [<!ENTITY a \"1\"><!ENTITY b \"&a;&a;&a;\">]><bmap version=\"2.0\"><ImageSize>&b;</ImageSize></bmap>";
    assert_eq!(refused(laughs), "`ImageSize` is ``, which is not a number");
}

#[test]
fn a_map_of_very_many_ranges_is_refused_soon() {
    let mut text = Parts::new("1.0", "sha1").text().replace("</BlockMap>\n</bmap>\n", "");
    let mut block = 10;
    while text.len() < MAX_BMAP {
        writeln!(text, "<Range>{block}</Range>").unwrap();
        block += 2;
    }
    text.push_str("</BlockMap></bmap>");
    assert_eq!(refused(&text), "it is larger than 32 MiB");
    text.truncate(MAX_BMAP);
    assert_eq!(refused(&text), "it has more than 1048576 ranges");
}
