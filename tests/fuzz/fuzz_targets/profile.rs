//! Board profiles, and the layout of what they describe: no area overlaps another or leaves the disk.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use bimg::board::{Board, Disk, Select};
use bimg::data::DataDirs;
use bimg::digest::Digest;
use bimg::disk;
use bimg::ops::disk::{Inputs, spec};
use bimg::tree::Timestamp;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("bimg-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("the directory for temporary files takes one more");
    dir.join("board.toml")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fs::write(&*FILE, bytes).expect("the file can be written");
    let (file, dirs) = (FILE.to_str().expect("the name is text"), DataDirs::builtin());
    let _ = Board::load(&Select { board: file, variant: None }, &dirs);
    let Ok(found) = Disk::load(file, &dirs) else { return };
    let firmware = BTreeMap::new();
    let inputs = Inputs { seed: Digest::of(b""), firmware: &firmware, epoch: Timestamp::default() };
    let Ok(layout) = spec(&found, &inputs, &mut |_| Ok(None)).and_then(|spec| disk::layout(&spec)) else {
        return;
    };
    let mut parts: Vec<(u64, u64)> =
        layout.partitions.iter().map(|part| (part.start.0, part.start.0 + part.size.0)).collect();
    parts.sort_unstable();
    assert!(parts.windows(2).all(|two| two[0].1 <= two[1].0), "{parts:?}");
    assert!(parts.iter().all(|part| part.0 <= part.1 && part.1 <= layout.size.0), "{parts:?}");
});
