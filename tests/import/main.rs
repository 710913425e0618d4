//! Layouts and boards of others: genimage and the imported layout make the same table and the same bytes;
//! every refusal has its words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod buildroot;
mod generated;
mod hostile;
mod refusals;
mod side_by_side;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bimg::board::Disk;
use bimg::data::DataDirs;
use bimg::digest::Digest;
use bimg::disk::{self, ImageFacts, Table};
use bimg::error::Result;
use bimg::exec::Cmd;
use bimg::import::{Imported, genimage};
use bimg::ops::disk::{Inputs, spec};
use bimg::progress::Silent;
use bimg::tree::Timestamp;

/// Input files: bytes that differ from place to place and from file to file.
const FILES: [(&str, usize); 8] = [
    ("spl.bin", 6_000),
    ("u-boot.bin", 300_001),
    ("env.bin", 4_096),
    ("boot.img", 1 << 20),
    ("rootfs.ext4", 1_500_000),
    ("odd.bin", 700_001),
    ("bootcode.bin", 20_480),
    ("mbr.bin", 440),
];

static CONTENT: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let byte = |number: usize, at: usize| (at % 251 + at / 251 % 239 * 3 + number * 17) as u8;
    let file = |(number, &(name, len)): (usize, &(&'static str, usize))| {
        (name, (0..len).map(|at| byte(number, at)).collect())
    };
    FILES.iter().enumerate().map(file).collect()
});

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["in", "root", "out"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        for (name, bytes) in CONTENT.iter() {
            fs::write(dir.path().join("in").join(name), bytes).unwrap();
        }
        Case { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What genimage makes of it, or its complaint.
    fn genimage(&self, config: &str, image: &str) -> std::result::Result<PathBuf, String> {
        fs::write(self.path("genimage.cfg"), config).unwrap();
        let arg = |name: &str, path: &str| format!("--{name}={}", self.path(path).display());
        let output = Cmd::new("genimage")
            .args([arg("config", "genimage.cfg"), arg("rootpath", "root"), arg("inputpath", "in")])
            .args([arg("outputpath", "out"), arg("tmppath", "tmp")])
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(self.path("out").join(image));
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn import(&self, config: &str, image: Option<&str>) -> Result<Imported> {
        fs::write(self.path("in/genimage.cfg"), config).unwrap();
        genimage::import(&self.path("in/genimage.cfg"), image)
    }

    /// The image of an imported layout, given the same files.
    fn bimg(&self, profile: &str) -> Result<(PathBuf, ImageFacts, disk::Layout)> {
        let file = self.path("in/board.toml");
        fs::write(&file, profile).unwrap();
        let disk = Disk::load(file.to_str().unwrap(), &DataDirs::builtin())?;
        let firmware = BTreeMap::new();
        let inputs = Inputs { seed: Digest::of(b"import"), firmware: &firmware, epoch: Timestamp::default() };
        let spec = spec(&disk, &inputs, &mut |_| Ok(None))?;
        let layout = disk::layout(&spec)?;
        let path = self.path("out/bimg.img");
        let facts = disk::write(&spec, &layout, &path, || Ok(()), &Silent)?;
        Ok((path, facts, layout))
    }
}

/// `sfdisk --dump` without the file's name and without identifiers that nobody gave.
fn dump(image: &Path, config: &str) -> String {
    let text = Cmd::new("sfdisk").arg("--dump").arg(image).check().unwrap().text();
    let is_gpt = text.contains("label: gpt");
    let keep_id = if is_gpt { config.contains("disk-uuid") } else { !config.contains("random") };
    let given = |line: &str| {
        // A partition's identifier is given where its own section says so.
        let name = line.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
        name.is_some_and(|name| {
            config
                .split(&format!("partition {name} {{"))
                .nth(1)
                .is_some_and(|section| section.split('}').next().unwrap().contains("partition-uuid"))
        })
    };
    text.replace(image.to_str().unwrap(), "disk")
        .lines()
        .filter(|line| keep_id || !line.starts_with("label-id:"))
        .filter(|line| !line.starts_with("device:"))
        // That follows from the length of the file, which genimage ends with its last content.
        .filter(|line| !line.starts_with("grain:"))
        .map(|line| {
            let keep = |field: &&str| !field.trim().starts_with("uuid=") || given(line);
            line.split(',').filter(keep).collect::<Vec<_>>().join(",") + "\n"
        })
        .collect()
}

/// Bytes besides those of the tables and of filesystems, which each makes in its own way.
fn same_bytes(
    theirs: &Path,
    ours: &Path,
    facts: &ImageFacts,
    layout: &disk::Layout,
    align: usize,
    table: Table,
) {
    let (mut a, mut b) = (fs::read(theirs).unwrap(), fs::read(ours).unwrap());
    // genimage leaves out what comes after the last content.
    let len = a.len().max(b.len());
    a.resize(len, 0);
    b.resize(len, 0);
    let mut masks: Vec<Range<usize>> = Vec::new();
    if table != Table::None {
        masks.push(440..512);
    }
    if table.has_gpt() {
        masks.push(512..1024);
        let entries = u64::from_le_bytes(b[512 + 72..512 + 80].try_into().unwrap()) as usize * 512;
        masks.push(entries..entries + 16384);
        masks.push(len - 33 * 512..len);
    }
    for (part, placed) in facts.partitions.iter().zip(&layout.partitions) {
        let start = placed.start.0 as usize;
        if part.filesystem.is_some() {
            masks.push(start..start + placed.size.0 as usize);
        }
        if table == Table::Mbr && placed.number > 4 {
            masks.push(start - align..start - align + 512);
        }
    }
    for mask in masks {
        let mask = mask.start.min(len)..mask.end.min(len);
        a[mask.clone()].fill(0);
        b[mask].fill(0);
    }
    assert!(a == b, "byte {:?} differs", a.iter().zip(&b).position(|(a, b)| a != b));
}

/// Both make the same of a configuration; returns the notes.
#[track_caller]
fn same(config: &str) -> Vec<String> {
    same_image(config, None, "sdcard.img")
}

#[track_caller]
fn same_image(config: &str, wanted: Option<&str>, image: &str) -> Vec<String> {
    let case = Case::new();
    let theirs = case.genimage(config, image).unwrap_or_else(|complaint| panic!("{complaint}\n{config}"));
    let imported = case.import(config, wanted).unwrap_or_else(|error| panic!("{error}\n{config}"));
    compare(&case, config, &theirs, &imported);
    imported.notes.into_iter().map(|note| note.text).collect()
}

#[track_caller]
fn compare(case: &Case, config: &str, theirs: &Path, imported: &Imported) {
    let profile = &imported.profile;
    let (ours, facts, layout) =
        case.bimg(profile).unwrap_or_else(|error| panic!("{error}\n{config}\n{profile}"));
    let table: toml::Table = profile.parse().unwrap();
    let table = match table["disk"]["table"].as_str().unwrap() {
        "none" => Table::None,
        "mbr" => Table::Mbr,
        "gpt" => Table::Gpt,
        _ => Table::Hybrid,
    };
    if table != Table::None {
        assert_eq!(dump(&ours, config), dump(theirs, config), "bimg, genimage\n{config}\n{profile}");
    }
    let align = profile.lines().find_map(|line| line.strip_prefix("align = ")).unwrap();
    let align: bimg::units::ByteSize = align.trim_matches('"').parse().unwrap();
    same_bytes(theirs, &ours, &facts, &layout, align.0 as usize, table);
}

/// A generator of configurations: the same ones on every run.
struct Random(u64);

impl Random {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len() as u64) as usize]
    }
}
