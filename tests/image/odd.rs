//! What is no image of a disk at all, and places in an image that are none.

use rustix::process::Signal;

use super::common::Project;
use super::common::live::{Live, eventually};
use super::{project, refused, run, shown};

#[test]
fn nothing_to_check_is_no_pass() {
    let project = project();
    project.shell(": > empty.img; printf x > byte.img; head -c 3000 /dev/zero | tr '\\0' U > text.img");
    for name in ["empty.img", "byte.img", "text.img"] {
        refused(
            &project,
            &["verify", name],
            1,
            &format!(
                "error: nothing of `{name}` could be checked\n  \
                 caused by: it has no partition table and no filesystem that bimg knows\n\n\
                 hint: is it the image of a disk?\n"
            ),
        );
    }
    assert_eq!(
        run(&project, &["verify", "byte.img"]).stdout,
        "partition table: not checked (the image has none)\n\
         the image: not checked (it holds no filesystem that is known)\n\
         boot: not checked (no boot chain that bimg knows is on the image)\n\
         kernels and modules: not checked (neither is on the image)\n\
         manifest.json: not checked (there is none beside the image)\n\
         SHA256SUMS: not checked (there is none beside the image)\n\
         signature: not checked (there is none beside the image)\n"
    );
    // What lies beside it does speak for it.
    project.shell("sha256sum byte.img > SHA256SUMS");
    run(&project, &["verify", "byte.img"]).ok();
    project.shell("sha256sum empty.img > SHA256SUMS; printf '{}' > manifest.json");
    let checks = run(&project, &["verify", "byte.img"]);
    assert!(
        checks.stdout.contains("SHA256SUMS: not checked (it does not name `byte.img`)\n"),
        "{}",
        checks.stdout
    );
    assert!(
        checks
            .stdout
            .contains("manifest.json: BAD\n  error: cannot read `manifest.json`: missing field `bimg`"),
        "{}",
        checks.stdout
    );
    // A pipe would hang whoever opens it.
    project.shell("rm SHA256SUMS; mkfifo SHA256SUMS");
    let checks = run(&project, &["verify", "byte.img"]);
    let said = "SHA256SUMS: BAD\n  error: cannot read `SHA256SUMS`: it is not a regular file\n";
    assert!(checks.stdout.contains(said), "{}", checks.stdout);
    assert_eq!(
        shown(&project, &["diff", "byte.img", "byte.img"])
            + &run(&project, &["diff", "byte.img", "pi.img"]).stdout,
        "image: size: 1 B and 20 MiB\n\
         partition table: kind: `no partition table` and `MBR`\n\
         partition table: disk: none and `1234abcd` (an identifier)\n\
         the image: is in the first image only\n\
         partition 1 `BOOT`: is in the second image only\n\
         partition 2 `root`: is in the second image only\n"
    );
}

#[test]
fn a_directory_is_no_image() {
    let project = project();
    project.shell("mkdir dir");
    let expected = "error: cannot read `dir`\n  caused by: it is a directory\n";
    for args in [
        &["inspect", "dir"][..],
        &["verify", "dir"],
        &["ls", "dir", "1:"],
        &["cat", "dir", "1:a"],
        &["extract", "dir", "1:a"],
        &["diff", "pi.img", "dir"],
    ] {
        refused(&project, args, 2, expected);
    }
}

#[test]
fn a_pipe_is_read_once() {
    let project = project();
    project.shell("mkfifo pipe");
    let program = env!("CARGO_BIN_EXE_bimg");
    let text = project.shell(&format!("cat pi.img > pipe & {program} image cat pipe root:etc/hostname"));
    assert_eq!(text, "board\n");
    refused(
        &project,
        &["verify", "pipe"],
        2,
        "error: cannot verify `pipe`\n  caused by: it can be read only once, and this takes twice\n\n\
         hint: save it to a file first\n",
    );
    // One that nobody ever writes to.
    let live = Live::start(&mut project.bimg(&["image", "inspect", "pipe"]));
    eventually("its ear for signals", || live.hears(Signal::INT));
    live.signal(Signal::INT);
    assert_eq!(live.end(), (Some(130), "error: cannot read `pipe`\n  caused by: interrupted\n".to_string()));
}

#[test]
fn places_that_are_none() {
    let project = project();
    let hint = "there are: 1 (`BOOT`), 2 (`root`)";
    refused(
        &project,
        &["ls", "pi.img", ":etc"],
        2,
        &format!("error: no partition is named, and the image has a partition table\n\nhint: {hint}\n"),
    );
    refused(
        &project,
        &["ls", "root.fs", "1:etc"],
        2,
        "error: the image has no partition `1`\n\n\
         hint: it has no partition table: nothing stands before the colon, as in `:/etc`\n",
    );
    project.shell(
        "truncate -s 4M none.img; printf 'label: gpt\\n' | sfdisk -q --no-reread --no-tell-kernel none.img",
    );
    refused(
        &project,
        &["ls", "none.img", "1:"],
        2,
        "error: the image has no partition `1`\n\nhint: its partition table is empty\n",
    );
    project.shell("truncate -s 4M xfs.img; printf XFSB | dd of=xfs.img conv=notrunc status=none");
    refused(
        &project,
        &["ls", "xfs.img", ":"],
        1,
        "error: cannot read files in the image\n  caused by: it holds XFS\n\n\
         hint: files are read from FAT, ext2, ext3, ext4, erofs and squashfs\n",
    );
    let checks = run(&project, &["verify", "xfs.img"]).stdout;
    assert!(checks.contains("\nthe image, XFS: not checked (bimg cannot read it)\n"), "{checks}");
    // A link that leads to itself, a file where a directory is meant, a device.
    project.shell(
        "debugfs -w -R 'symlink loop loop' root.fs 2>/dev/null; debugfs -w -R 'mknod null c 1 3' root.fs 2>/dev/null",
    );
    refused(
        &project,
        &["cat", "root.fs", ":loop"],
        1,
        "error: cannot read `/loop` in the image\n  caused by: too many symbolic links follow each other\n",
    );
    refused(
        &project,
        &["ls", "root.fs", ":etc/hostname/x"],
        2,
        "error: cannot read `/etc/hostname/x` in the image\n  caused by: it is not there\n",
    );
    let outcome = run(&project, &["extract", "root.fs", ":", "out"]).ok();
    assert!(
        outcome.stderr.starts_with("warning: `/null` is a character device: left out\nout: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn names_that_are_not_utf_8() {
    let project = Project::new();
    // A byte that is none, a character that stands for one inside bimg, and a link to both.
    project.shell(
        r"mkdir -p tree/dir && cd tree/dir && printf one > $(printf 'bad\377\376') &&
          printf two > $(printf '\357\236\200') && ln -s $(printf 'bad\377\376') link && mkdir $(printf 'sub\300') &&
          printf three > $(printf 'sub\300')/file && cd ../.. && truncate -s 8M ext.img && mke2fs -q -F -t ext4 -d tree ext.img &&
          mksquashfs tree sq.img -quiet -no-progress -all-root -comp zstd",
    );
    for image in ["ext.img", "sq.img"] {
        project.run(&["image", "verify", image]).ok();
        project.run(&["image", "extract", image, ":dir", image.trim_end_matches(".img")]).ok();
        project.shell(&format!("diff -r --no-dereference tree/dir {}", image.trim_end_matches(".img")));
        assert_eq!(project.run(&["image", "cat", image, ":dir/link"]).ok().stdout, "one");
    }
}

/// As `/var/log/lastlog` is where user numbers are large.
#[test]
fn a_file_that_is_nearly_all_hole() {
    let project = project();
    project.shell(
        "mkdir tree; for word in first wurst; do printf $word > tree/log; mke2fs -q -t ext4 -d tree $word.fs 8M; done
         cp first.fs short.fs
         for fs in first wurst; do debugfs -w -R 'sif log size 0x40000000000' $fs.fs 2> debugfs.log; done",
    );
    let line = |a: &str, b: &str| {
        let text = run(&project, &["diff", a, b]).stdout;
        text.lines().find(|line| line.contains(" bytes, the first ")).unwrap_or(&text).to_string()
    };
    assert_eq!(line("first.fs", "wurst.fs"), "/log: 2 of 4398046511104 bytes, the first at 0");
    assert_eq!(
        line("first.fs", "short.fs"),
        "/log: has 4398046511104 and 5 bytes, the first that differs at 5"
    );
    let checked = run(&project, &["verify", "first.fs"]).stdout;
    assert!(checked.contains("(read, e2fsck)"), "{checked}");
    run(&project, &["extract", "first.fs", ":log", "log"]).ok();
    assert_eq!(
        project.shell("stat -c %s log; head -c 6 log | od -An -c"),
        "4398046511104\n   f   i   r   s   t  \\0\n"
    );
    let blocks: u64 = project.shell("stat -c %b log").trim().parse().unwrap();
    assert!(blocks < 4096, "{blocks}");
}
