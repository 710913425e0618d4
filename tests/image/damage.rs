//! Damaged images: every part that is still good is told of, the rest has its words.

use super::{Outcome, project, refused, run};
use crate::common::Project;

/// Changes the bytes of `pi.img`.
fn change(project: &Project, damage: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(project.path("pi.img")).unwrap();
    damage(&mut bytes);
    std::fs::write(project.path("pi.img"), bytes).unwrap();
}

fn verified(project: &Project, image: &str) -> Outcome {
    run(project, &["verify", image])
}

/// Differences as JSON has them: place, what, cause.
fn differences(project: &Project, args: [&str; 2]) -> Vec<[String; 3]> {
    let outcome = run(project, &["diff", args[0], args[1], "--json"]);
    assert_eq!(outcome.status, Some(3), "{}", outcome.stderr);
    let found: serde_json::Value = serde_json::from_str(outcome.stdout.lines().next().unwrap()).unwrap();
    let field = |it: &serde_json::Value, name: &str| it[name].as_str().unwrap_or_default().to_string();
    found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| ["place", "what", "cause"].map(|name| field(it, name)))
        .collect()
}

#[test]
fn group_descriptors_of_zeros() {
    let project = project();
    project.shell("cp pi.img good.img");
    change(&project, |bytes| bytes[(10 << 20) + 2048..][..1024].fill(0));
    let why = "the descriptor of group 0 has a wrong checksum";
    let told = format!(
        "cannot open the filesystem of partition 2 `root`\n  caused by: cannot read the filesystem\n  caused by: {why}"
    );
    for args in
        [&["ls", "pi.img", "2:"][..], &["cat", "pi.img", "2:etc/hostname"], &["extract", "pi.img", "2:etc"]]
    {
        refused(&project, args, 1, &format!("error: {told}\n"));
    }
    let line = told.replace("\n  caused by", "");
    let found = run(&project, &["inspect", "pi.img", "--json"]).ok().stdout;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["findings"][0]["text"], line);
    assert_eq!(found["kernels"][0]["release"], "6.12.9");
    let outcome = verified(&project, "pi.img");
    assert!(
        outcome.stdout.contains("\npartition 2 `root`, ext4: BAD (e2fsck)\n  error: cannot open "),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("\npartition 1 `BOOT`, FAT16: good (read, fsck.fat)\n"),
        "{}",
        outcome.stdout
    );
    for (args, which) in [(["good.img", "pi.img"], "second"), (["pi.img", "good.img"], "first")] {
        let [[place, what, cause]] = &differences(&project, args)[..] else { panic!("more than one") };
        assert_eq!(place, "partition 2 `root`");
        assert!(what.ends_with(" of 8388608 bytes, the first at 2048"), "{what}");
        assert_eq!(*cause, format!("in the {which} image: {line}"));
    }
}

#[test]
fn a_chain_of_clusters_that_loops() {
    let project = project();
    project.shell("cp pi.img good.img");
    // The kernel has the clusters from 6 on; both tables are changed.
    change(&project, |bytes| {
        for table in [512, 512 + 64 * 512] {
            let at = (1 << 20) + table + 9 * 2;
            bytes[at..at + 2].copy_from_slice(&[6, 0]);
        }
    });
    let told = "cannot read `/kernel8.img` in the image";
    let why = "its chain of clusters loops";
    for args in [&["cat", "pi.img", "1:kernel8.img"][..], &["extract", "pi.img", "1:", "out"]] {
        refused(&project, args, 1, &format!("error: {told}\n  caused by: {why}\n"));
    }
    assert!(!project.path("out").exists());
    let outcome = verified(&project, "pi.img");
    let start = format!("\npartition 1 `BOOT`, FAT16: BAD (read, fsck.fat)\n  error: {told}: {why}\n");
    assert!(outcome.stdout.contains(&start), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("  error: fsck.fat: and one more line\n"), "{}", outcome.stdout);
    // The rest is compared all the same.
    project.shell(
        "dd if=pi.img of=boot.fs bs=1M skip=1 count=8 status=none; export MTOOLS_SKIP_CHECK=1
         echo s2 > boot/start4.elf; touch -d @1700000000 boot/start4.elf; mcopy -m -o -i boot.fs boot/start4.elf ::
         dd if=boot.fs of=pi.img bs=1M seek=1 conv=notrunc status=none",
    );
    assert_eq!(
        differences(&project, ["good.img", "pi.img"]),
        [
            ["1:/kernel8.img", "cannot be compared", &format!("{told}: {why}")],
            ["1:/start4.elf", "has 2 and 3 bytes, the first that differs at 1", ""]
        ]
    );
}

#[test]
fn a_name_that_comes_twice() {
    let project = project();
    project.shell("cp pi.img good.img");
    // The last file of the root directory gets the name of another.
    change(&project, |bytes| {
        let entry = (1 << 20) + 129 * 512 + 8 * 32;
        assert_eq!(bytes[entry..entry + 11], *b"START4  ELF");
        bytes[entry..entry + 11].copy_from_slice(b"FIXUP4  DAT");
    });
    refused(
        &project,
        &["extract", "pi.img", "1:", "out"],
        1,
        "error: cannot read `/fixup4.dat` in the image\n  caused by: its directory holds that name twice\n",
    );
    assert!(!project.path("out").exists());
    let outcome = verified(&project, "pi.img");
    assert!(
        outcome.stdout.contains(
            "\n  error: `/fixup4.dat` shares cluster 5 with another\n  \
             warning: 1 cluster is in use, but no file has it\n"
        ),
        "{}",
        outcome.stdout
    );
    assert_eq!(
        differences(&project, ["good.img", "pi.img"]),
        [["1:/start4.elf", "is in the first image only", ""]]
    );
}

#[test]
fn signatures_that_do_not_hold() {
    let project = project();
    project.run(&["image", "keygen", "key"]).ok();
    project.run(&["image", "keygen", "other"]).ok();
    let says = |key: &str, expected: &str| {
        let outcome = run(&project, &["verify", "pi.img", "--key", key]);
        let text = outcome.stdout.split_once("\nsignature: ").unwrap().1.to_string();
        let is_id = |word: &str| word.len() == 16 && word.chars().all(|c| c.is_ascii_hexdigit());
        let words = text.split([' ', ':', '\n']).filter(|word| is_id(word));
        assert_eq!(words.fold(text.clone(), |text, id| text.replace(id, "ID")), expected);
        assert_eq!(outcome.status, Some(3));
    };
    says("key.pub", "BAD\n  error: there is none beside the image\n");
    project.run(&["image", "sign", "pi.img", "--key", "key"]).ok();
    says(
        "other.pub",
        "BAD\n  error: `pi.img` is signed with a key that is not trusted: `pi.img.minisig`\n    \
         names the key ID: trusted is ID (`other.pub`)\n",
    );
    change(&project, |bytes| bytes[100] ^= 1);
    says(
        "key.pub",
        "BAD\n  error: `pi.img` is not what was signed: `pi.img.minisig` does not fit, with\n    \
         the key ID (`key.pub`)\n",
    );
    project.write("pi.img.minisig", "a\nb\nc\nd\n");
    says(
        "key.pub",
        "BAD\n  error: cannot check `pi.img`: `pi.img.minisig` is no minisign signature: the\n    \
         signature of its comment has not 64 bytes\n",
    );
}

#[test]
fn partitions_over_each_other() {
    let project = project();
    project.shell("cp pi.img good.img");
    change(&project, |bytes| bytes[446 + 24..446 + 28].copy_from_slice(&4096_u32.to_le_bytes()));
    let finding = "error: partition 1 and partition 2 overlap";
    let outcome = verified(&project, "pi.img");
    assert!(
        outcome.stdout.starts_with(&format!("partition table: BAD (MBR)\n  {finding}\n")),
        "{}",
        outcome.stdout
    );
    let found = differences(&project, ["good.img", "pi.img"]);
    assert_eq!(
        found[..2],
        [
            ["partition 2", "start: 10 MiB and 2 MiB", ""],
            ["partition table", &format!("in the second image only: {finding}"), ""]
        ]
    );
}

#[test]
fn a_table_whose_partitions_are_cut_off() {
    let project = project();
    project.shell("truncate -s 700 pi.img");
    let outcome = verified(&project, "pi.img");
    assert!(
        outcome.stdout.starts_with(
            "partition table: BAD (MBR)\n  error: partition 1 ends at byte 9437184, but the image has 700\n  \
             error: partition 2 ends at byte 18874368, but the image has 700\n\
             partition 1: not checked (it holds no filesystem that is known)\n"
        ),
        "{}",
        outcome.stdout
    );
    assert_eq!(outcome.stderr, "error: `pi.img` is not sound: 1 of 1 checks found something wrong\n");
    refused(
        &project,
        &["ls", "pi.img", "1:"],
        1,
        "error: cannot read files in partition 1\n  caused by: it holds no filesystem that bimg knows\n\n\
         hint: files are read from FAT, ext2, ext3, ext4, erofs and squashfs\n",
    );
}

#[test]
fn what_a_boot_menu_names() {
    let project = project();
    project.shell(
        r"set -e
        mkdir -p tree/extlinux tree/dir; cp boot/kernel8.img tree/Image; head -c 3000 boot/kernel8.img > tree/mute
        : > tree/empty; echo x > tree/text; rm tree/lib/modules/6.12.9/modules.dep
        printf '%s\n' 'label a' 'kernel /gone' 'label b' 'kernel /dir' 'label c' 'kernel /empty' 'label d' \
            'kernel /text' 'label e' 'kernel /mute' 'fdt /empty' 'label f' 'kernel /Image' 'initrd /gone.cpio' \
            'fdt /gone.dtb' 'append root=LABEL=gone' > tree/extlinux/extlinux.conf
        cd tree/lib/modules/6.12.9/kernel
        for n in 1 2 3 4; do printf 'nothing\0' > m$n.ko; done; printf 'x\0vermagic=6.1.0 SMP\0' > old.ko
        cd ../../../../..; truncate -s 8M menu.img; mke2fs -q -F -t ext4 -L root -d tree menu.img",
    );
    let text = verified(&project, "menu.img").stdout;
    let (_, text) = text.split_once("\nboot: ").unwrap();
    assert_eq!(
        text.split_once("manifest.json").unwrap().0,
        "extlinux, /extlinux/extlinux.conf: BAD (6 entries)\n  \
         error: kernel `/gone` is not there\n  \
         error: kernel `/dir` is a directory\n  \
         error: kernel `/empty` is empty\n  \
         error: kernel `/text` is no kernel\n  \
         warning: kernel `/mute` does not say its release\n  \
         error: DTB `/empty` is empty\n  \
         error: DTB `/gone.dtb` is not there\n  \
         error: initramfs `/gone.cpio` is not there\n  \
         error: `root=LABEL=gone` names nothing on this image\n\
         device trees: not checked (there are none where something boots from)\n\
         kernels and modules: BAD (2 kernels, 6 modules)\n  \
         error: `/lib/modules/6.12.9` has no `modules.dep`: modprobe finds nothing\n  \
         error: `/lib/modules/6.12.9/kernel/m1.ko`,\n    \
         `/lib/modules/6.12.9/kernel/m2.ko`, `/lib/modules/6.12.9/kernel/m3.ko` and 1\n    \
         more say no vermagic\n  \
         error: `/lib/modules/6.12.9/kernel/old.ko` asks for `6.1.0 SMP`\n"
    );
    project.shell("rm -r tree/lib; : > tree/extlinux/extlinux.conf; truncate -s 8M no.img; mke2fs -q -F -t ext4 -d tree no.img");
    let text = verified(&project, "no.img").stdout;
    assert!(
        text.contains(
            "\nboot: extlinux, /extlinux/extlinux.conf: good (0 entries)\n  warning: it names nothing to boot\n"
        ),
        "{text}"
    );
    // Modules without a kernel, a kernel without modules.
    project.shell("rm root.fs; truncate -s 8M root.fs; mke2fs -q -F -t ext4 root.fs; dd if=root.fs of=pi.img bs=1M seek=10 conv=notrunc status=none");
    let text = verified(&project, "pi.img").stdout;
    assert!(text.contains("\nkernels and modules: not checked (there are no modules)\n"), "{text}");
}

#[test]
fn a_checker_that_says_nothing_and_one_that_has_no_room() {
    let project = project();
    let run = |project: &Project| verified(project, "root.fs");
    let outcome = project.outcome(project.bimg(&["image", "verify", "root.fs"]).env("TMPDIR", "/nowhere"));
    assert_eq!(
        outcome.stderr,
        "error: cannot write a temporary copy of the partition to `/nowhere`\n  \
         caused by: No such file or directory\n\n\
         hint: `TMPDIR` says where it goes; it takes as much room as the partition's content\n"
    );
    project.tool("e2fsck", "#!/bin/sh\nexit 4\n");
    let text = run(&project).stdout;
    assert!(
        text.contains("\nthe image, ext4: BAD (read, e2fsck)\n  error: e2fsck found something wrong\n"),
        "{text}"
    );
    project.tool("e2fsck", "#!/bin/sh\nseq 7\nexit 4\n");
    let text = run(&project).stdout;
    assert!(text.contains("\n  error: e2fsck: 5\n  error: e2fsck: and 2 more lines\n"), "{text}");
}

#[test]
fn bytes_that_belong_to_no_file() {
    let project = project();
    project.shell("cp pi.img good.img");
    change(&project, |bytes| {
        bytes[100] ^= 1;
        bytes[9 * (1 << 20) + 5] ^= 1;
        // The last cluster of the FAT: nobody has it.
        bytes[9 * (1 << 20) - 1] ^= 1;
    });
    assert_eq!(
        differences(&project, ["good.img", "pi.img"]),
        [
            ["outside the partitions", "1 of 1048576 bytes, the first at 9437189", ""],
            ["boot code in the first sector", "1 of 440 bytes, the first at 100", ""],
            [
                "partition 1 `BOOT`",
                "1 of 8388608 bytes, the first at 8388607",
                "the files are equal: free space, journal or other metadata"
            ]
        ]
    );
}

#[test]
fn another_table() {
    let project = project();
    project.shell(
        "printf 'label: gpt\nlabel-id: 11111111-1111-1111-1111-111111111111\nstart=2048, size=2048, name=one, uuid=21111111-1111-1111-1111-111111111111\n' > a
         sed 's/size=2048, name=one/size=4096, name=two, attrs=LegacyBIOSBootable, type=uefi/' a > b
         for name in a b; do truncate -s 4M $name.img; sfdisk -q --no-reread --no-tell-kernel $name.img < $name; done",
    );
    assert_eq!(
        differences(&project, ["a.img", "b.img"]),
        [
            ["partition 1 `one`", "size: 1 MiB and 2 MiB", ""],
            ["partition 1 `one`", "type: `linux` and `esp`", ""],
            ["partition 1 `one`", "name: `one` and `two`", ""],
            ["partition 1 `one`", "flags: `0x0` and `0x4, bootable`", ""],
            ["partition 1 `one`", "1048576 of 2097152 bytes, the first at 1048576", ""]
        ]
    );
}
