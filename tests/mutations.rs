//! Profiles with anything in them: thousands of small accidents, always the same ones. Nothing panics,
//! nothing takes long, and a layout that comes out is a sound one.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use bimg::board::{Board, Disk, Select};
use bimg::data::DataDirs;
use bimg::digest::Digest;
use bimg::disk;
use bimg::ops::disk::{Inputs, spec};
use bimg::tree::Timestamp;

/// What every part of the layout language looks like.
const LAYOUT: &str = r#"
[disk]
table = "mbr"
size = "512M"
align = "1M"
signature = 0x12345678

[[disk.partition]]
name = "boot"
type = "0x0c"
filesystem = "vfat"
size = "16M"
bootable = true
number = 2

[[disk.partition]]
name = "raw"
type = "linux"
size = "1M"
offset = 34304
fill = 0xff
align = 512

[[disk.partition]]
name = "a"
type = "linux"
size = "4M"
logical = true

[[disk.partition]]
name = "b"
type = "linux"
filesystem = "ext4"
room = "8M"
logical = true

[[disk.partition]]
name = "hole"
size = "2M"
offset = "128M"
logical = true

[[disk.partition]]
name = "data"
size = "rest"
logical = true

[[disk.blob]]
name = "code"
size = "8K"
fill = 0
offset = 0
holes = [[440, 512], ["4K", "5K"]]

[[disk.blob]]
name = "inner"
partition = "hole"
size = "64K"
fill = 0xff
offset = "256K"
"#;

/// The same for a GPT.
const GPT: &str = r#"
[disk]
table = "hybrid"
uuid = "b1c0ffee-1234-4321-aaaa-0123456789ab"
gpt-location = "1M"
gpt-backup = false
signature = 1

[[disk.partition]]
name = "esp"
type = "esp"
mbr-type = "0x0c"
filesystem = "fat32"
attributes = ["required", "no-automount"]
uuid = "00000000-0000-4000-8000-000000000001"
label = "ESP"

[[disk.partition]]
name = "root"
type = "root-arm64"
number = 7
size = "64M"

[[disk.blob]]
name = "spl"
size = "32K"
fill = 1
offset = "8K"
"#;

/// Values that have surprised parsers and arithmetic before.
const VALUES: [&str; 24] = [
    "0",
    "1",
    "-1",
    "511",
    "512",
    "513",
    "18446744073709551615",
    "9223372036854775807",
    "4294967296",
    "\"\"",
    "\"0\"",
    "\"rest\"",
    "\"1T\"",
    "\"16777215T\"",
    "\"8K\"",
    "\"1\\u0000\"",
    "true",
    "[]",
    "{}",
    "\"hybrid\"",
    "\"none\"",
    "\"gpt\"",
    "\"ext4\"",
    "1e9",
];

/// A generator that any test run repeats (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn mutate(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let mut bytes = None;
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(lines.len());
        match dice.roll(7) {
            0 | 1 => {
                if let Some((key, _)) = lines[at].split_once(" = ") {
                    lines[at] = format!("{key} = {}", VALUES[dice.roll(VALUES.len())]);
                }
            }
            2 => drop(lines.remove(at)),
            3 => lines.insert(dice.roll(lines.len()), lines[at].clone()),
            4 => {
                let other = dice.roll(lines.len());
                lines.swap(at, other);
            }
            5 => {
                let cut = lines[at].char_indices().nth(dice.roll(8)).map_or(0, |(at, _)| at);
                lines[at].truncate(cut);
            }
            _ => {
                let mut text = lines.join("\n").into_bytes();
                let at = dice.roll(text.len().max(1));
                if let Some(byte) = text.get_mut(at) {
                    *byte = dice.roll(256) as u8;
                }
                bytes = Some(text);
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    bytes.unwrap_or_else(|| lines.join("\n").into_bytes())
}

/// Partitions lie on sectors, inside the disk and in nobody's way, and each has a number of its own.
fn is_sound(layout: &disk::Layout, table: disk::Table) {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    let mut numbers = Vec::new();
    for placed in &layout.partitions {
        assert!(placed.start.0.is_multiple_of(512) && placed.size.0.is_multiple_of(512), "{placed:?}");
        assert!(placed.size.0 > 0 && placed.start.0 + placed.size.0 <= layout.size.0, "{placed:?}");
        spans.push((placed.start.0, placed.start.0 + placed.size.0));
        numbers.push(placed.number);
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{layout:?}");
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "{layout:?}");
    assert!(table == disk::Table::None || numbers.first().is_none_or(|first| *first > 0));
}

#[test]
fn no_accident_in_a_layout_is_a_surprise() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("board.toml");
    let (firmware, mut laid_out, mut slowest) = (BTreeMap::new(), 0, Duration::ZERO);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for round in 0..4000 {
        let text = mutate([LAYOUT, GPT][round % 2], &mut dice);
        fs::write(&file, &text).unwrap();
        let start = Instant::now();
        let made = Disk::load(file.to_str().unwrap(), &DataDirs::builtin()).and_then(|disk| {
            let seed = Digest::of(b"mutations");
            let inputs = Inputs { seed, firmware: &firmware, epoch: Timestamp::default() };
            let spec = spec(&disk, &inputs, &mut |_| Ok(None))?;
            Ok((disk::layout(&spec)?, spec.table))
        });
        slowest = slowest.max(start.elapsed());
        match made {
            Ok((layout, table)) => {
                is_sound(&layout, table);
                laid_out += 1;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    // Enough of them are still layouts, so that not only the parser was tried.
    assert!(laid_out > 200, "{laid_out}");
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
}

#[test]
fn no_accident_in_a_board_is_a_surprise() {
    let dirs = DataDirs::builtin();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("board.toml");
    let mut dice = Dice(0x0123_4567_89AB_CDEF);
    for name in ["qemu-arm64", "qemu-riscv64", "rpi4"] {
        let text = dirs.find(&format!("boards/{name}.toml")).unwrap().unwrap().text().unwrap().to_string();
        for _ in 0..700 {
            fs::write(&file, mutate(&text, &mut dice)).unwrap();
            let select = Select { board: file.to_str().unwrap(), variant: None };
            if let Err(error) = Board::load(&select, &dirs) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
