//! The table logic on image files, cut off after every single write, judged by sgdisk and sfdisk.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::tree::Timestamp;

const MIB: u64 = 2048;

struct Card {
    dir: tempfile::TempDir,
}

impl Card {
    /// `table.c` compiled for this machine, beside an image.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in SOURCES.into_iter().chain([("image.c", include_str!("grow/image.c"))]) {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Cmd::new("cc")
            .cwd(dir.path())
            .args(["-Wall", "-Wextra", "-Werror", "-o", "image", "image.c"])
            .check()
            .unwrap();
        Card { dir }
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("card.img")
    }

    fn resize(&self, mib: u64) {
        self.file().set_len(mib << 20).unwrap();
    }

    fn sgdisk(&self, args: &[&str]) -> String {
        Cmd::new("sgdisk").args(args).arg(self.image()).output().unwrap().text()
    }

    /// A GPT card: a small image with root behind a boot partition, written to 512 MiB.
    fn gpt() -> Self {
        let card = Self::new();
        card.resize(64);
        card.sgdisk(&["-n1:4M:+16M", "-t1:ef00", "-n2:20M:63M", "-c2:root", "-A2:set:2"]);
        std::fs::rename(card.image(), card.dir.path().join("template")).unwrap();
        card.fresh_gpt();
        card
    }

    fn fresh_gpt(&self) {
        std::fs::copy(self.dir.path().join("template"), self.image()).unwrap();
        self.resize(512);
    }

    fn grow(&self, part: &str, start: u64, writes: Option<u32>) -> String {
        let mut cmd =
            Cmd::new("./image").cwd(self.dir.path()).args(["card.img", part]).arg(start.to_string());
        if let Some(writes) = writes {
            cmd = cmd.arg(writes.to_string());
        }
        cmd.output().unwrap().text().trim().to_string()
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(self.image()).unwrap()
    }

    /// The first MiB.
    fn table(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        self.file().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn primary_is_valid(&self) -> bool {
        let file = self.file();
        let read = |at: u64, len: usize| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        let number = |bytes: &[u8], at: usize, len: usize| {
            bytes[at..at + len].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let mut header = read(512, 92);
        let array = read(number(&header, 72, 8) * 512, 128 * 128);
        let (header_crc, array_crc) = (number(&header, 16, 4), number(&header, 88, 4));
        header[16..20].fill(0);
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            u64::from(crc.sum())
        };
        crc(&header) == header_crc && crc(&array) == array_crc
    }
}

#[test]
fn gpt_grows_and_its_backup_moves_to_the_end() {
    let card = Card::gpt();
    assert_eq!(card.grow("2", 20 * MIB, None), format!("grown {}", 491 * MIB));
    assert!(card.sgdisk(&["-v"]).contains("No problems found"), "{}", card.sgdisk(&["-v"]));
    let shown = card.sgdisk(&["-i2"]);
    assert!(
        shown.contains("Partition name: 'root'") && shown.contains("Attribute flags: 0000000000000004"),
        "{shown}"
    );
    Cmd::new("sfdisk").arg("--verify").arg(card.image()).check().unwrap();
    assert_eq!(card.grow("2", 20 * MIB, None), format!("full {}", 491 * MIB));
}

#[test]
fn a_power_cut_after_any_write_leaves_a_valid_table_and_the_next_run_completes_it() {
    let card = Card::gpt();
    for writes in 0.. {
        card.fresh_gpt();
        let cut = card.grow("2", 20 * MIB, Some(writes));
        assert!(card.primary_is_valid(), "after {writes} writes");
        card.grow("2", 20 * MIB, None);
        assert!(card.sgdisk(&["-v"]).contains("No problems found"), "after {writes} writes");
        assert_eq!(card.grow("2", 20 * MIB, None), format!("full {}", 491 * MIB));
        if cut != "cut" {
            assert_eq!(writes, 6, "the number of writes");
            break;
        }
    }
}

#[test]
fn a_partition_behind_root_is_the_end() {
    let card = Card::gpt();
    card.sgdisk(&["-e", "-n3:300M:+8M"]);
    assert_eq!(card.grow("2", 20 * MIB, None), format!("grown {}", 280 * MIB));
    assert!(card.sgdisk(&["-v"]).contains("No problems found"));
}

#[test]
fn mbr_grows_in_one_write() {
    let card = Card::new();
    card.resize(64);
    let script = card.dir.path().join("script");
    std::fs::write(&script, "label: dos\nstart=4MiB, size=16MiB, type=c, bootable\nstart=20MiB, type=83\n")
        .unwrap();
    let run = format!("sfdisk -q {} <script", card.image().display());
    Cmd::new("sh").cwd(card.dir.path()).args(["-c", &run]).check().unwrap();
    card.resize(512);
    assert_eq!(card.grow("2", 20 * MIB, Some(0)), "cut");
    assert_eq!(card.grow("2", 20 * MIB, None), format!("grown {}", 492 * MIB));
    assert_eq!(card.grow("2", 20 * MIB, Some(0)), format!("full {}", 492 * MIB));
    assert_eq!(card.grow("1", 4 * MIB, None), format!("full {}", 16 * MIB));
    Cmd::new("sfdisk").arg("--verify").arg(card.image()).check().unwrap();
}

#[test]
fn what_it_does_not_know_it_does_not_touch() {
    let card = Card::gpt();
    assert_eq!(
        card.grow("2", 21 * MIB, None),
        "unknown: the table and the kernel disagree about where it starts"
    );
    let damage = |at: u64| card.file().write_all_at(b"x", at).unwrap();
    for (at, why) in [
        (1024 + 5, "the primary GPT array is damaged"),
        (512 + 30, "the primary GPT header is damaged"),
        (511, "there is no partition table"),
    ] {
        damage(at);
        let before = card.table();
        assert_eq!(card.grow("2", 20 * MIB, None), format!("unknown: {why}"));
        assert_eq!(card.table(), before);
    }
}

#[test]
fn the_program_is_small_static_and_reproducible() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = std::fs::read(compile("cc", Arch::X86_64, one.path()).unwrap()).unwrap();
    let second = std::fs::read(compile("cc", Arch::X86_64, two.path()).unwrap()).unwrap();
    assert_eq!(first, second);
    assert!(first.len() < 16 << 10, "{}", first.len());
}

#[test]
fn a_root_filesystem_that_would_never_start_it_says_so() {
    let mut tree = Tree::new(Timestamp::default());
    let program = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(
        install(&mut tree, program.path()).unwrap_err().to_string(),
        "nothing in the root filesystem would start its growth on the first boot\n  \
         caused by: it has neither systemd nor the overlay `common/rootfs`\n\n\
         hint: say `grow = false` in `[rootfs]`"
    );
    tree.put_file("usr/lib/systemd/systemd", 0o755, "").unwrap();
    install(&mut tree, program.path()).unwrap();
    assert!(tree.get(&TreePath::new("etc/systemd/system/bimg-grow.service").unwrap()).is_some());
}
