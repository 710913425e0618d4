//! A directory with input files, and what genimage and bimg make of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bimg::board::Disk;
use bimg::data::DataDirs;
use bimg::digest::Digest;
use bimg::disk::{self, ImageFacts};
use bimg::exec::Cmd;
use bimg::ops::disk::{Inputs, spec};
use bimg::progress::Silent;
use bimg::tree::Timestamp;

/// Input files by name: bytes that differ from place to place and from file to file.
pub const FILES: [(&str, usize); 7] = [
    ("spl.bin", 6_000),
    ("u-boot.bin", 300_001),
    ("env.bin", 4_096),
    ("boot.vfat", 2 << 20),
    ("rootfs.ext4", 3 << 20),
    ("odd.bin", 1_000_001),
    ("bootcode.bin", 20_480),
];

pub struct Case {
    pub dir: tempfile::TempDir,
}

impl Case {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["in", "root", "out"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        for (number, (name, len)) in FILES.iter().enumerate() {
            let bytes: Vec<u8> =
                (0..*len).map(|at| (at % 251 + at / 251 % 239 * 3 + number * 17) as u8).collect();
            fs::write(dir.path().join("in").join(name), bytes).unwrap();
        }
        Case { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn genimage(&self, config: &str) -> PathBuf {
        fs::write(self.path("genimage.cfg"), format!("image sdcard.img {{\n{config}\n}}\n")).unwrap();
        let arg = |name: &str, path: &str| format!("--{name}={}", self.path(path).display());
        Cmd::new("genimage")
            .args([arg("config", "genimage.cfg"), arg("rootpath", "root"), arg("inputpath", "in")])
            .args([arg("outputpath", "out"), arg("tmppath", "tmp")])
            .check()
            .unwrap();
        self.path("out/sdcard.img")
    }

    pub fn bimg(&self, profile: &str) -> (PathBuf, ImageFacts) {
        let file = self.path("in/board.toml");
        fs::write(&file, profile).unwrap();
        let disk = Disk::load(file.to_str().unwrap(), &DataDirs::builtin()).unwrap();
        let firmware = BTreeMap::new();
        let inputs = Inputs {
            seed: Digest::of(b"layouts"),
            firmware: &firmware,
            epoch: Timestamp { secs: 1_700_000_000, nanos: 0 },
        };
        let spec = spec(&disk, &inputs, &mut |_| Ok(None)).unwrap();
        let path = self.path("out/bimg.img");
        let facts = disk::write(&spec, &disk::layout(&spec).unwrap(), &path, || Ok(()), &Silent).unwrap();
        (path, facts)
    }
}

/// `sfdisk --dump` without the file's name, and without identifiers unless they are all given.
pub fn dump(image: &Path, ids: bool) -> String {
    let text = Cmd::new("sfdisk").arg("--dump").arg(image).check().unwrap().text();
    let keep = |field: &&str| ids || !field.trim().starts_with("uuid=");
    text.replace(image.to_str().unwrap(), "disk")
        .lines()
        .filter(|line| ids || !line.starts_with("label-id:"))
        .filter(|line| !line.starts_with("device:"))
        .map(|line| line.split(',').filter(keep).collect::<Vec<_>>().join(",") + "\n")
        .collect()
}
