//! SquashFS, alone and in a partition.

use super::{project, refused, run, shown};

#[test]
fn a_squashfs_is_read_as_well() {
    let project = project();
    project.shell(
        "mksquashfs tree sq.img -quiet -no-progress -all-root -mkfs-time 1700000000 -comp zstd &&
         mksquashfs tree lz.img -quiet -no-progress -comp lzo",
    );
    assert_eq!(
        shown(&project, &["ls", "sq.img", ":bin"]),
        "lrwxrwxrwx         0:0           15  name -> ../etc/hostname\n\
         -rwsr-xr-x         0:0            3  su\n"
    );
    assert_eq!(shown(&project, &["cat", "sq.img", ":bin/name"]), "board\n");
    let shown = shown(&project, &["inspect", "sq.img"]);
    assert!(shown.contains("squashfs") && shown.contains("6.12.9"), "{shown}");
    run(&project, &["extract", "sq.img", ":lib", "lib"]).ok();
    project.shell("diff -r lib tree/lib");
    run(&project, &["verify", "sq.img"]).ok();
    refused(
        &project,
        &["ls", "lz.img", ":bin"],
        1,
        "error: cannot open the filesystem of the image\n  caused by: cannot read the filesystem\n  \
         caused by: it is compressed with LZO, which bimg does not unpack\n",
    );
}

#[test]
fn two_partitions_of_squashfs_are_compared_file_by_file() {
    let project = project();
    // Uncompressed, so that an image of files of the same sizes has the same size.
    project.shell(
        r#"set -e
        made() {
            mksquashfs tree fs -quiet -no-progress -all-root -mkfs-time 1700000000 -noI -noD -noF -noX -noappend
            truncate -s 4M "$1"
            printf 'label: dos\nlabel-id: 0x1234abcd\nstart=2048, size=4096, type=83\n' |
                sfdisk -q --no-reread --no-tell-kernel "$1"
            dd if=fs of="$1" bs=1M seek=1 conv=notrunc status=none
        }
        ln -s a tree/kind; echo gone > tree/gone1; find tree -exec touch -h -d @1700000000 {} +; made a.img
        rm tree/kind; mkdir tree/kind; mv tree/gone1 tree/gone2; echo fjord > tree/etc/hostname
        chmod 700 tree/bin; ln -snf /usr tree/absolute
        find tree -exec touch -h -d @1700000000 {} +; touch -d @1700000001 tree/lib; made b.img"#,
    );
    let outcome = run(&project, &["diff", "a.img", "b.img"]);
    let files: Vec<&str> = outcome.stdout.lines().filter(|line| !line.contains("filesystem size")).collect();
    assert_eq!(
        files,
        [
            "1:/absolute: target: `/etc` and `/usr`",
            "1:/bin: mode: `0755` and `0700`",
            "1:/etc/hostname: 3 of 6 bytes, the first at 0",
            "1:/gone1: is in the first image only",
            "1:/kind: is a symbolic link and a directory",
            "1:/lib: modification time: `@1700000000` and `@1700000001` (a time stamp)",
            "1:/gone2: is in the second image only",
        ],
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr, "error: `a.img` and `b.img` differ\n");
    assert_eq!(outcome.status, Some(3));
    assert_eq!(shown(&project, &["ls", "b.img", "1:etc"]).lines().count(), 1);
    assert_eq!(shown(&project, &["cat", "b.img", "1:/etc/hostname"]), "fjord\n");
    let checks = shown(&project, &["verify", "b.img"]);
    assert!(checks.contains("\npartition 1, squashfs: good (read)\n"), "{checks}");
    run(&project, &["extract", "b.img", "1:", "out"]).ok();
    project.shell("chmod 755 tree/bin out/bin; chmod 755 tree/bin/su; diff -r --no-dereference tree out");
}

#[test]
fn a_block_that_does_not_unpack_is_told_with_its_file() {
    let project = project();
    // The data stands behind the superblock: one block, as the file is no fragment.
    project.shell(
        "mkdir big && head -c 131072 /dev/zero | tr '\\0' x > big/file &&
         mksquashfs big sq.img -quiet -no-progress -comp gzip && cp sq.img good.img &&
         printf '\\377\\377\\377\\377' | dd of=sq.img bs=1 seek=98 conv=notrunc status=none",
    );
    let told = "cannot read `/file` in the image";
    let outcome = run(&project, &["cat", "sq.img", ":file"]);
    assert!(outcome.stderr.starts_with(&format!("error: {told}\n  caused by: ")), "{}", outcome.stderr);
    let outcome = run(&project, &["extract", "sq.img", ":file", "out"]);
    assert!(outcome.stderr.starts_with(&format!("error: {told}\n  caused by: ")), "{}", outcome.stderr);
    assert!(!project.path("out").exists());
    let outcome = run(&project, &["diff", "good.img", "sq.img"]);
    let start = format!("/file: cannot be compared ({told}: ");
    assert!(outcome.stdout.starts_with(&start), "{}", outcome.stdout);
    assert_eq!(outcome.status, Some(3));
}
