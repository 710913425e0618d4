//! Configurations that nobody should have written: an error in bounded time, and no panic.

use std::time::{Duration, Instant};

use super::*;

const SEEDS: [&str; 3] = [
    "image boot.vfat { vfat { label = \"B\" files = { \"spl.bin\", \"env.bin\" } file a/b { image = \"x\" } extraargs = \"-F 32\" } size = 8M }
image sdcard.img { hdimage { align = 1M disk-signature = 0x1234 extended-partition = 2 }
partition u { in-partition-table = \"no\" image = \"u-boot.bin\" offset = 8K size = 1016K holes = {\"(440; 1K)\"} }
partition boot { partition-type = 0xC bootable = true image = \"boot.vfat\" }
partition root { partition-type = 0x83 image = \"rootfs.ext4\" autoresize = true } size = 64M }",
    "include(\"a.cfg\") # x
image in.img { hdimage { partition-table-type = \"none\" } partition a { image = 'spl.bin' } size = 1M }
image sdcard.img { hdimage { gpt = on gpt-location = 64K gpt-no-backup = yes disk-uuid = 3F2504E0-4F89-41D3-9A0C-0305E82C3301 }
partition a { image = \"in.img\" partition-type-uuid = U partition-uuid = ${ID:-x} } /* c */
partition b { size = 33s align = 4K hidden = true } }",
    "image sdcard.img { hdimage { partition-table-type = hybrid } exec-pre = \"x \\\"y\\\" \\x41\"
partition a { image = \"odd.bin\" partition-type = 0x0c } partition b { image = \"r.sq\" forced-primary = true } }
image r.sq { squashfs { compression = xz } size = 1M mountpoint = \"/\" } image d.ext4 { ext4 { label = x } size = 120% }
flash f { pebsize = 4K } config { a = b c { d = {1,2} } }",
];

/// Ends in bounded time, well or with an error; a layout that comes out is laid out or refused.
fn survive(case: &Case, config: &str, limit: Duration) {
    let start = Instant::now();
    if let Ok(imported) = case.import(config, None) {
        let file = case.path("in/board.toml");
        fs::write(&file, &imported.profile).unwrap();
        let table: std::result::Result<toml::Table, _> = imported.profile.parse();
        assert!(table.is_ok(), "{config}\n{}", imported.profile);
        if let Ok(disk) = Disk::load(file.to_str().unwrap(), &DataDirs::builtin()) {
            let firmware = BTreeMap::new();
            let inputs = Inputs { seed: Digest::of(b""), firmware: &firmware, epoch: Timestamp::default() };
            let _ = spec(&disk, &inputs, &mut |_| Ok(None)).and_then(|spec| disk::layout(&spec));
        }
    }
    let time = start.elapsed();
    assert!(time < limit, "{time:?} for {} bytes", config.len());
}

#[test]
fn mutated() {
    let case = Case::new();
    fs::write(case.path("in/a.cfg"), "flash g { }\n").unwrap();
    let mut random = Random(11);
    let words = [
        "{",
        "}",
        "\"",
        "'",
        "=",
        "+=",
        ",",
        "(",
        ")",
        "#",
        "/*",
        "*/",
        "${",
        "\\",
        "\n",
        "partition",
        "image",
        "size",
        "offset = 18446744073709551615",
        "size = 99999999999G",
        "align = 0x7fffffffffffffff",
        "-1",
        "0x",
        "08",
        "100%",
        "\u{e9}",
        "\0",
        "holes = {\"(0;0)\"}",
        "include(\"genimage.cfg\")",
        "hdimage {}",
        "autoresize = on",
    ];
    for round in 0..1500 {
        let mut text = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len() as u64) as usize;
            match random.below(5) {
                0 => text[at] = random.next() as u8,
                1 => drop(text.drain(at..(at + random.below(20) as usize).min(text.len()))),
                2 => text.truncate(at.max(1)),
                3 => drop(text.splice(at..at, random.pick(&words).bytes())),
                _ => {
                    let piece = text[at..(at + 40).min(text.len())].to_vec();
                    let to = random.below(text.len() as u64) as usize;
                    drop(text.splice(to..to, piece));
                }
            }
            if text.is_empty() {
                text.push(b' ');
            }
        }
        survive(&case, &String::from_utf8_lossy(&text), Duration::from_secs(5));
    }
}

#[test]
fn large_and_deep() {
    let case = Case::new();
    let long = Duration::from_secs(30);
    let much = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    for text in [
        much("{", 1 << 20),
        much("config { a {", 1 << 20),
        format!("config {{ {} }}", much("a { ", 1 << 20)),
        much("image a { ", 1 << 20),
        much("/*", 1 << 20),
        much("# x\n", 1 << 20),
        format!("image \"{}\" {{ hdimage {{}} }}", much("x", 1 << 20)),
        format!("image a {{ vfat {{ files = {{ {} }} }} size = 1M }}", much("\"x\", ", 1 << 20)),
        format!(
            "image a {{ hdimage {{}} {} }}",
            (0..4000).fold(String::new(), |mut all, n| {
                let _ = write!(all, "partition p{n} {{ image = x }} ");
                all
            })
        ),
        (0..40_000).fold(String::new(), |mut all, n| {
            let _ = write!(all, "image i{n} {{ hdimage {{}} }} ");
            all
        }),
        much("${X}", 1 << 20),
        "image a { hdimage {} partition b { image = a } }".to_string(),
        // Each of eight disks within disks would hold the next one many times.
        (0..8).fold(String::new(), |mut all, n| {
            let inner = (0..30).fold(String::new(), |mut all, k| {
                let _ = write!(all, "partition p{k} {{ offset = {k}M image = d{} }} ", n + 1);
                all
            });
            let _ = write!(all, "image d{n} {{ hdimage {{ partition-table = no }} size = 40M {inner} }} ");
            all
        }),
    ] {
        survive(&case, &text, long);
    }
}

#[test]
fn files_that_include_each_other() {
    let case = Case::new();
    fs::write(case.path("in/a.cfg"), "include(\"b.cfg\") include(\"b.cfg\")").unwrap();
    fs::write(case.path("in/b.cfg"), "include(\"a.cfg\") include(\"a.cfg\")").unwrap();
    let error = case.import("include(\"a.cfg\")", None).unwrap_err().to_string();
    assert!(error.contains("files include each other too deeply"), "{error}");
    fs::write(case.path("in/a.cfg"), "# 512 KiB of nothing much\n".repeat(20_000)).unwrap();
    let error = case.import(&"include(\"a.cfg\")\n".repeat(1000), None).unwrap_err().to_string();
    assert!(error.contains("the included files hold more than 16 MiB"), "{error}");
}
