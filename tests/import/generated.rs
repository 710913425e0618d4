//! Configurations that nobody wrote: whatever genimage makes of them, bimg makes as well.

use super::*;

fn config(random: &mut Random) -> String {
    let table = random.pick(&["mbr", "mbr", "gpt", "gpt", "hybrid", "none"]);
    let mut out = String::from("image sdcard.img {\n  hdimage {\n");
    let _ = writeln!(out, "    partition-table-type = \"{table}\"");
    if random.chance(60) {
        let _ = writeln!(out, "    align = {}", random.pick(&["512", "1s", "4K", "17K", "1M", "0x10000"]));
    }
    if table == "mbr" && random.chance(40) {
        let _ = writeln!(out, "    disk-signature = {:#x}", random.next() as u32);
    }
    if table == "mbr" && random.chance(20) {
        let _ = writeln!(out, "    extended-partition = {}", 1 + random.below(4));
    }
    if matches!(table, "gpt" | "hybrid") && random.chance(20) {
        let _ = writeln!(out, "    gpt-location = {}", random.pick(&["64K", "1M", "1536"]));
    }
    if matches!(table, "gpt" | "hybrid") && random.chance(15) {
        // Otherwise genimage's file ends before the disk that its table describes.
        out.push_str("    gpt-no-backup = true\n    fill = true\n");
    } else if random.chance(50) {
        out.push_str("    fill = true\n");
    }
    out.push_str("  }\n");
    let sized = random.chance(30);
    if sized {
        let _ = writeln!(out, "  size = {}", random.pick(&["16M", "24M", "20004K"]));
    }
    let count = 1 + random.below(6);
    let mut far = 0;
    for index in 0..count {
        partition(random, &mut out, table, index, &mut far, sized && index + 1 == count);
    }
    out.push_str("}\n");
    out
}

fn partition(random: &mut Random, out: &mut String, table: &str, index: u64, far: &mut u64, last: bool) {
    let _ = writeln!(out, "  partition part{index} {{");
    let listed = random.chance(75);
    if !listed {
        out.push_str("    in-partition-table = \"no\"\n");
    }
    let files = ["spl.bin", "u-boot.bin", "env.bin", "boot.img", "odd.bin"];
    let has_file = !listed || table == "none" || random.chance(85);
    if has_file {
        let _ = writeln!(out, "    image = \"{}\"", random.pick(&files));
    }
    if !has_file || random.chance(25) {
        let _ = writeln!(out, "    size = {}", random.pick(&["1M", "1056K", "2113s", "2M"]));
    }
    if !listed || random.chance(25) {
        *far += 1 + random.below(2);
        let _ = writeln!(
            out,
            "    offset = {}",
            random.pick(&[&format!("{}M", *far * 2)[..], &format!("{}K", *far * 1024 + 34)[..]])
        );
    }
    if listed && random.chance(20) {
        let _ = writeln!(out, "    align = {}", random.pick(&["1M", "2M", "68K"]));
    }
    if listed && matches!(table, "mbr" | "hybrid") {
        if random.chance(60) {
            let _ = writeln!(out, "    partition-type = {}", random.pick(&["0x83", "0xC", "130", "0xda"]));
        } else if table == "mbr" {
            // genimage's own would be that of an empty entry.
            out.push_str("    partition-type = 0x83\n");
        }
    }
    if listed && matches!(table, "gpt" | "hybrid") {
        if random.chance(40) {
            let kind =
                random.pick(&["L", "S", "H", "U", "F", "R", "V", "b921b045-1df0-41c3-af44-4c6f280d3fae"]);
            let _ = writeln!(out, "    partition-type-uuid = {kind}");
        }
        if random.chance(30) {
            let uuid = random.next();
            let _ = writeln!(out, "    partition-uuid = 0fc63daf-8483-4772-8e79-{:012x}", uuid >> 16);
        }
    }
    if listed && random.chance(30) {
        out.push_str("    bootable = true\n");
    }
    if last && listed && random.chance(50) {
        out.push_str("    autoresize = true\n");
    }
    out.push_str("  }\n");
}

/// What genimage takes, bimg lays out in the same way; what it refuses makes no panic.
#[test]
fn whatever_genimage_makes_of_it() {
    let mut random = Random(3);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..120 {
        let config = config(&mut random);
        let case = Case::new();
        let imported = case.import(&config, None);
        let Ok(theirs) = case.genimage(&config, "sdcard.img") else {
            if let Ok(imported) = imported {
                let _ = case.bimg(&imported.profile);
            }
            refused += 1;
            continue;
        };
        let imported = match imported {
            // Without a table, places that depend on files cannot be said.
            Err(error) if config.contains("\"none\"") => {
                assert!(error.to_string().contains("depends on files"), "{error}\n{config}");
                continue;
            }
            other => other.unwrap_or_else(|error| panic!("{error}\n{config}")),
        };
        compare(&case, &config, &theirs, &imported);
        taken += 1;
    }
    assert!(taken > 40, "{taken} of {} were laid out", taken + refused);
}
