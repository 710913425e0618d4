//! genimage configurations: whatever comes out is TOML, and is laid out or refused.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use bimg::board::Disk;
use bimg::data::DataDirs;
use bimg::digest::Digest;
use bimg::disk;
use bimg::import::genimage;
use bimg::ops::disk::{Inputs, spec};
use bimg::tree::Timestamp;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("bimg-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("the directory for temporary files takes one more");
    dir
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (config, profile) = (DIR.join("genimage.cfg"), DIR.join("card.toml"));
    fs::write(&config, bytes).expect("the file can be written");
    let Ok(imported) = genimage::import(&config, None) else { return };
    imported.profile.parse::<toml::Table>().expect("a profile is TOML");
    fs::write(&profile, &imported.profile).expect("the file can be written");
    let file = profile.to_str().expect("the name is text");
    let Ok(found) = Disk::load(file, &DataDirs::builtin()) else { return };
    let firmware = BTreeMap::new();
    let inputs = Inputs { seed: Digest::of(b""), firmware: &firmware, epoch: Timestamp::default() };
    let _ = spec(&found, &inputs, &mut |_| Ok(None)).and_then(|spec| disk::layout(&spec));
});
