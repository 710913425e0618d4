//! `bimg image` on images that others made: what it shows, what it refuses, and the exact words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod odd;
mod output;
mod squashfs;

use common::{Outcome, Project};

/// Makes `pi.img`: an MBR, a FAT as a Raspberry Pi boots from it, an ext4 with modules. Nothing of bimg's.
const MAKE: &str = r#"
set -e
export SOURCE_DATE_EPOCH=1700000000 MTOOLS_SKIP_CHECK=1
mkdir -p tree/lib/modules/6.12.9/kernel tree/etc tree/bin boot
printf 'x\0vermagic=6.12.9 SMP mod_unload aarch64\0' > tree/lib/modules/6.12.9/kernel/led.ko
echo 'kernel/led.ko:' > tree/lib/modules/6.12.9/modules.dep
echo board > tree/etc/hostname
echo '#!' > tree/bin/su; chmod 4755 tree/bin/su; chmod 0750 tree/etc
ln -sf ../etc/hostname tree/bin/name
ln -sf /etc tree/absolute
printf 'arm_64bit=1\n' > boot/config.txt
printf 'console=serial0 root=PARTUUID=1234abcd-02 rootwait\n' > boot/cmdline.txt
{ head -c 56 /dev/zero; printf 'ARM\144'; head -c 3000 /dev/zero
  printf 'Linux version 6.12.9 (a@b) (gcc) #1\n\0'; head -c 90000 /dev/zero; } > boot/kernel8.img
printf '/dts-v1/; / { model = "pi"; };' | dtc -I dts -O dtb -o boot/bcm2711-rpi-4-b.dtb - 2>/dev/null
echo s > boot/start4.elf; echo f > boot/fixup4.dat
find tree boot -exec touch -h -d @1700000000 {} +
rm -f boot.fs root.fs pi.img
truncate -s 8M boot.fs root.fs
mkfs.vfat -F 16 -s 1 -n BOOT -i 11112222 boot.fs > /dev/null
mcopy -m -i boot.fs boot/* ::
mke2fs -q -F -t ext4 -L root -U 11111111-2222-3333-4444-555555555555 -E hash_seed=11111111-2222-3333-4444-555555555555,root_owner=0:0 -d tree root.fs
truncate -s 20M pi.img
printf 'label: dos\nlabel-id: 0x1234abcd\nstart=2048, size=16384, type=c, bootable\nstart=20480, size=16384, type=83\n' |
  sfdisk -q --no-reread --no-tell-kernel pi.img
dd if=boot.fs of=pi.img bs=1M seek=1 conv=notrunc status=none
dd if=root.fs of=pi.img bs=1M seek=10 conv=notrunc status=none
"#;

fn project() -> Project {
    let project = Project::new();
    project.shell(MAKE);
    project
}

/// `bimg image ARGS`.
fn run(project: &Project, args: &[&str]) -> Outcome {
    project.run(&[&["image"], args].concat())
}

/// stdout of a run that ended well.
#[track_caller]
fn shown(project: &Project, args: &[&str]) -> String {
    run(project, args).ok().stdout
}

/// Status and stderr of a run that did not.
#[track_caller]
fn refused(project: &Project, args: &[&str], status: i32, expected: &str) {
    let outcome = run(project, args);
    assert_eq!(outcome.stderr, expected, "stdout: {}", outcome.stdout);
    assert_eq!(outcome.status, Some(status));
}

/// Figures that depend on the version of mke2fs.
fn steady(text: &str) -> String {
    text.lines()
        .map(|line| match line.find(" of 8 MiB used (") {
            Some(at) if line.contains("root") => {
                let end = line.find(')').unwrap();
                let start = line[..at].rfind(", ").unwrap() + 2;
                format!("{}USED{}\n", &line[..start], &line[end + 1..])
            }
            _ if line.contains('█') && line.contains('│') => "BAR\n".to_string(),
            _ => format!("{line}\n"),
        })
        .collect()
}

const SHOWN: &str = "\
pi.img: 20 MiB, MBR, disk 1234abcd

 ┌────┬─────────────────────────────┬───┬─────────────────────────────┬───────┐
 │    │1 BOOT                       │   │2 root                       │       │
 │    │FAT16                        │   │ext4                         │       │
BAR
 └────┴─────────────────────────────┴───┴─────────────────────────────┴───────┘
 0    1M                            9M  10M                           18M  20M
  █ used  ░ free  ▒ data without a filesystem

  #  name              start       size  type               holds
  1                    1 MiB      8 MiB  fat                FAT16
     label BOOT, 174 KiB of 8 MiB used (2 %), bootable
     UUID 1111-2222
     PARTUUID 1234abcd-01
  2                   10 MiB      8 MiB  linux              ext4
     label root, USED
     UUID 11111111-2222-3333-4444-555555555555
     PARTUUID 1234abcd-02

boot
  Raspberry Pi firmware, 1:/config.txt
    Raspberry Pi 4 Model B
      kernel     kernel8.img: 6.12.9, Image for aarch64
      DTB        bcm2711-rpi-4-b.dtb
      cmdline    console=serial0 root=PARTUUID=1234abcd-02 rootwait

modules
  6.12.9: 1 in 2:/lib/modules/6.12.9
    vermagic 6.12.9 SMP mod_unload aarch64
";

#[test]
fn inspect_shows_an_image_that_others_made() {
    let project = project();
    let text = steady(&shown(&project, &["inspect", "pi.img"]));
    assert_eq!(text, SHOWN);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
    for (pack, name) in [("gzip -k", "pi.img.gz"), ("xz -k -0", "pi.img.xz"), ("zstd -q", "pi.img.zst")] {
        project.shell(&format!("{pack} pi.img"));
        let packed = steady(&shown(&project, &["inspect", name]));
        assert_eq!(packed.replacen(name, "pi.img", 1), SHOWN);
    }
    let json: serde_json::Value =
        serde_json::from_str(&shown(&project, &["inspect", "pi.img", "--json"])).unwrap();
    assert_eq!(json["table"], "mbr");
    assert_eq!(json["partitions"][1]["content"]["kind"], "ext4");
    assert_eq!(json["kernels"][0]["release"], "6.12.9");
    assert_eq!(json["boot"][0]["entries"][0]["dtb"], "bcm2711-rpi-4-b.dtb");
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn a_filesystem_without_a_table_is_an_image_as_well() {
    let project = project();
    let text = shown(&project, &["inspect", "boot.fs"]);
    assert!(text.starts_with("boot.fs: 8 MiB, no partition table\n"), "{text}");
    assert!(text.contains("\n  Raspberry Pi firmware, /config.txt\n"), "{text}");
    assert_eq!(shown(&project, &["cat", "boot.fs", ":config.txt"]), "arm_64bit=1\n");
}

#[test]
fn a_card_that_was_pulled_is_shown_as_far_as_it_can_be() {
    let project = project();
    project.shell("debugfs -w -R 'feature needs_recovery' root.fs 2>/dev/null");
    let shown = shown(&project, &["inspect", "root.fs"]);
    let finding = "findings\n  warning: the image was not unmounted: what only its journal holds may be\n    \
                   missing here\n";
    assert!(shown.ends_with(finding), "{shown}");
    assert!(shown.contains("6.12.9"), "{shown}");
}

#[test]
fn files_are_listed_and_printed() {
    let project = project();
    // Whoever runs the tests owns what mke2fs puts in.
    let owner = project.shell("echo $(id -u):$(id -g)");
    let owner = format!("{:>12}", owner.trim());
    assert_eq!(
        shown(&project, &["ls", "pi.img", "root:bin"]),
        format!(
            "lrwxrwxrwx{owner}           15  name -> ../etc/hostname\n-rwsr-xr-x{owner}            3  su\n"
        )
    );
    assert_eq!(shown(&project, &["cat", "pi.img", "2:/absolute/hostname"]), "board\n");
    assert_eq!(shown(&project, &["cat", "pi.img", "root:bin/name"]), "board\n");
    assert_eq!(
        shown(&project, &["ls", "pi.img", "BOOT:CONFIG.TXT", "--json"]),
        "{\"gid\":null,\"kind\":\"file\",\"mode\":\"0755\",\"mtime\":1700000000,\"name\":\"config.txt\",\"size\":12,\"target\":null,\"uid\":null}\n"
    );
    let hash = |text: String| text.split(' ').next().unwrap().to_string();
    assert_eq!(
        hash(
            project
                .shell(&format!("{} image cat pi.img 1:kernel8.img | sha256sum", env!("CARGO_BIN_EXE_bimg")))
        ),
        hash(project.shell("sha256sum boot/kernel8.img"))
    );
}

#[test]
fn extract_keeps_modes_and_links_and_overwrites_nothing() {
    let project = project();
    let said = run(&project, &["extract", "pi.img", "root:", "out"]).ok().stderr;
    assert!(said.starts_with("out: 4 files, "), "{said}");
    assert_eq!(
        project.shell("find out -path '*/lib/*' -o -printf '%m %y %p %l\\n' | LC_ALL=C sort -k3"),
        "755 d out \n777 l out/absolute /etc\n755 d out/bin \n777 l out/bin/name ../etc/hostname\n\
         755 f out/bin/su \n750 d out/etc \n644 f out/etc/hostname \n755 d out/lib \n700 d out/lost+found \n"
    );
    project.shell("cmp out/lib/modules/6.12.9/kernel/led.ko tree/lib/modules/6.12.9/kernel/led.ko");
    assert_eq!(
        run(&project, &["extract", "pi.img", "BOOT:cmdline.txt"]).ok().stderr,
        "cmdline.txt: 1 file, 51 B\n"
    );
    assert_eq!(project.read("cmdline.txt"), "console=serial0 root=PARTUUID=1234abcd-02 rootwait\n");
}

#[test]
fn refusals_of_names_that_are_no_good() {
    let project = project();
    project.shell(
        "truncate -s 20M two.img; printf 'start=2048, size=16384, type=83, bootable\nstart=20480, size=16384, type=83, bootable\n' |
           sfdisk -q --no-reread --no-tell-kernel -X dos two.img
         for at in 1 10; do dd if=root.fs of=two.img bs=1M seek=$at conv=notrunc status=none; done
         tune2fs -L \"$(printf 'a\\tb\\033[2Jc')\" root.fs > /dev/null
         printf 'x' > strange; debugfs -w -R 'write strange \"a\tb\"' root.fs 2>/dev/null",
    );
    refused(
        &project,
        &["ls", "two.img", "root:"],
        2,
        "error: several partitions have the label `root`\n\nhint: name it by its number: 1, 2\n",
    );
    let shown = shown(&project, &["inspect", "two.img"]);
    assert!(shown.contains("warning: 2 partitions of the MBR are marked active\n"), "{shown}");
    // A label that would move the columns or clear the screen does neither.
    let shown = run(&project, &["inspect", "root.fs"]).ok().stdout;
    assert!(shown.contains(" │a bc  ") && shown.contains(" label a bc, "), "{shown}");
    refused(
        &project,
        &["extract", "root.fs", ":a\tb"],
        2,
        "error: `a\\tb` is no name for a file here\n\nhint: say where to put it\n",
    );
}

#[test]
fn refusals() {
    let project = project();
    let missing = "error: cannot open `gone.img`\n  caused by: No such file or directory\n";
    refused(&project, &["inspect", "gone.img"], 1, missing);
    refused(
        &project,
        &["ls", "pi.img", "rot:"],
        2,
        "error: the image has no partition `rot`\n\nhint: did you mean `root`?\n",
    );
    refused(
        &project,
        &["ls", "pi.img", "7:"],
        2,
        "error: the image has no partition `7`\n\nhint: there are: 1 (`BOOT`), 2 (`root`)\n",
    );
    refused(
        &project,
        &["cat", "pi.img", "root:etc/hostnam"],
        2,
        "error: cannot read `/etc/hostnam` in the image\n  caused by: it is not there\n\nhint: did you mean `/etc/hostname`?\n",
    );
    refused(
        &project,
        &["cat", "pi.img", "root:etc"],
        1,
        "error: cannot read `/etc` in the image\n  caused by: it is not a file\n",
    );
    project.shell("truncate -s 1M zero.img");
    refused(
        &project,
        &["ls", "zero.img", ":"],
        1,
        "error: cannot read files in the image\n  caused by: it holds no filesystem that bimg knows\n\n\
         hint: files are read from FAT, ext2, ext3, ext4, erofs and squashfs\n",
    );
    project.shell("mkdir out");
    refused(
        &project,
        &["extract", "pi.img", "root:etc", "out"],
        2,
        "error: `out` is there already\n\nhint: name a place that does not exist yet: nothing is overwritten\n",
    );
    refused(
        &project,
        &["extract", "pi.img", "root:etc", "no/out"],
        1,
        "error: cannot write in `no`\n  caused by: No such file or directory\n",
    );
    assert_eq!(project.shell("ls -A out; ls -d .bimg* 2>/dev/null || true"), "");
}

const GOOD: &str = "\
partition table: good (MBR)
partition 1 `BOOT`, FAT16: good (read, fsck.fat)
partition 2 `root`, ext4: good (read, e2fsck)
boot: Raspberry Pi firmware, 1:/config.txt: good (1 entry)
device trees: good (1 file)
kernels and modules: good (1 kernel, 1 module)
manifest.json: not checked (there is none beside the image)
SHA256SUMS: not checked (there is none beside the image)
signature: not checked (there is none beside the image)
";

#[test]
fn verify_says_what_was_checked() {
    let project = project();
    assert_eq!(shown(&project, &["verify", "pi.img"]), GOOD);
    project.shell("sha256sum pi.img > SHA256SUMS");
    project.run(&["image", "keygen", "key"]).ok();
    project.run(&["image", "sign", "pi.img", "--key", "key"]).ok();
    let text = shown(&project, &["verify", "pi.img"]);
    assert!(
        text.ends_with("signature: not checked (no public key is trusted: name one with `--key`)\n"),
        "{text}"
    );
    let text = shown(&project, &["verify", "pi.img", "--key", "key.pub"]);
    assert!(text.contains("SHA256SUMS: good (SHA-256)\nsignature: good (key "), "{text}");
    assert!(text.ends_with(", `file:pi.img`)\n"), "{text}");
}

/// The lines about what is wrong after a change to the image or what it is made from.
#[track_caller]
fn wrong(change: &str, expected: &str) {
    let project = project();
    project.shell(change);
    let outcome = run(&project, &["verify", "pi.img"]);
    assert_eq!(outcome.status, Some(3), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.starts_with("error: `pi.img` is not sound: "), "{}", outcome.stderr);
    let mut said = String::new();
    let mut lines = outcome.stdout.lines().peekable();
    while let Some(line) = lines.next() {
        if line.contains(": BAD")
            || line.starts_with(' ')
            || lines.peek().is_some_and(|next| next.starts_with(' '))
        {
            said += line;
            said.push('\n');
        }
    }
    assert_eq!(digests(&said), expected);
}

/// The digest of what a test has just changed is not worth spelling out.
fn digests(text: &str) -> String {
    text.split(' ')
        .map(|word| match word.trim_end_matches([',', '\n']) {
            hex if hex.len() == 64 => word.replace(hex, "HEX"),
            _ => word.to_string(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Changes the boot partition in place.
fn in_boot(command: &str) -> String {
    format!(
        "MTOOLS_SKIP_CHECK=1; export MTOOLS_SKIP_CHECK; {command}; dd if=boot.fs of=pi.img bs=1M seek=1 conv=notrunc status=none"
    )
}

#[test]
fn verify_finds_what_does_not_fit() {
    wrong(
        &in_boot("mdel -i boot.fs ::start4.elf"),
        "boot: Raspberry Pi firmware, 1:/config.txt: BAD (1 entry)\n  \
         error: Raspberry Pi 4 Model B: firmware `start4.elf` is not there\n",
    );
    wrong(
        &in_boot("echo root=PARTUUID=1234abcd-05 > c; mcopy -o -i boot.fs c ::cmdline.txt"),
        "boot: Raspberry Pi firmware, 1:/config.txt: BAD (1 entry)\n  \
         error: `root=PARTUUID=1234abcd-05` names nothing on this image\n",
    );
    wrong(
        &in_boot("sed -i s/6.12.9/6.12.7/ boot/kernel8.img; mcopy -o -i boot.fs boot/kernel8.img ::"),
        "kernels and modules: BAD (1 kernel, 1 module)\n  \
         error: kernel `/kernel8.img` is 6.12.7, but there are modules for 6.12.9\n    only\n  \
         warning: nothing boots the kernel of `/lib/modules/6.12.9`\n",
    );
    wrong(
        &in_boot("echo x > d; mcopy -o -i boot.fs d ::bcm2711-rpi-4-b.dtb"),
        "device trees: BAD (1 file)\n  \
         error: `/bcm2711-rpi-4-b.dtb` is no device tree: it does not start as a\n    device tree\n",
    );
    wrong(
        &in_boot("echo x > d; mcopy -o -i boot.fs d ::kernel8.img"),
        "boot: Raspberry Pi firmware, 1:/config.txt: BAD (1 entry)\n  \
         error: kernel `/kernel8.img` is no kernel\n",
    );
}

#[test]
fn verify_knows_a_boot_loader_behind_the_firmware() {
    let project = project();
    project.shell(&in_boot("echo U-Boot 2025.01-3 > d; mcopy -o -i boot.fs d ::kernel8.img"));
    let outcome = run(&project, &["verify", "pi.img"]);
    assert!(
        outcome.stdout.contains("\nboot: Raspberry Pi firmware, 1:/config.txt: good (1 entry)\n"),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
}

#[test]
fn verify_finds_damage() {
    wrong(
        "truncate -s 16M pi.img",
        "partition table: BAD (MBR)\n  error: partition 2 ends at byte 18874368, but the image has 16777216\n\
         partition 2 `root`, ext4: BAD (its size)\n  error: the filesystem has 8388608 bytes, the partition 6291456\n",
    );
    wrong(
        "sha256sum pi.img > SHA256SUMS; printf x | dd of=pi.img bs=1 seek=100 conv=notrunc status=none; \
         sed -i 's/^......../00000000/' SHA256SUMS",
        "SHA256SUMS: BAD (SHA-256)\n  error: the image has the SHA-256\n    HEX, it says\n    HEX\n",
    );
}

#[test]
fn diff_tells_what_and_why() {
    let project = project();
    project.shell("cp pi.img same.img");
    assert_eq!(shown(&project, &["diff", "pi.img", "same.img"]), "");
    project.shell(&in_boot(
        "cp pi.img old.img; sed s/1234abcd/9999abcd/ boot/cmdline.txt > c; touch -d @1700000000 c; \
         mcopy -m -o -i boot.fs c ::cmdline.txt; echo more > n; touch -d @1700000000 n; mcopy -m -i boot.fs n ::new.txt",
    ));
    project.shell("printf '\\000\\000\\000\\000' > z; sfdisk -q --disk-id pi.img 0x9999abcd");
    let outcome = run(&project, &["diff", "old.img", "pi.img"]);
    assert_eq!(
        outcome.stdout,
        "partition table: disk: `1234abcd` and `9999abcd` (an identifier)\n\
         partition 1: PARTUUID: `1234abcd-01` and `9999abcd-01` (an identifier)\n\
         partition 2: PARTUUID: `1234abcd-02` and `9999abcd-02` (an identifier)\n\
         1:/cmdline.txt: 4 of 51 bytes, the first at 30 (an identifier)\n\
         1:/new.txt: is in the second image only\n"
    );
    assert_eq!(outcome.stderr, "error: `old.img` and `pi.img` differ\n");
    assert_eq!(outcome.status, Some(3));
}

#[test]
fn garbage_is_described_and_nothing_more() {
    let project = project();
    project.shell(
        "head -c 3M /dev/urandom > random.img; : > empty.img; printf '\\037\\213\\010\\000' > short.gz",
    );
    let text = shown(&project, &["inspect", "random.img"]);
    assert!(text.starts_with("random.img: 3 MiB, no partition table\n"), "{text}");
    let text = shown(&project, &["inspect", "empty.img"]);
    assert!(text.starts_with("empty.img: 0 B, no partition table\n"), "{text}");
    let outcome = run(&project, &["inspect", "short.gz"]);
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
}
