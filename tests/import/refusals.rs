//! What cannot be imported, and the exact words that come back.

use super::*;

/// Configurations, each with the story that it ends in.
const GENIMAGE: &[(&str, &str)] = &[
    (
        "image a { hdimage {} } image b { hdimage {} }",
        "`x.cfg` describes 2 disks
  caused by: `a`, `b`

hint: choose one: `--image a`",
    ),
    (
        "image a { vfat {} size = 1M } flash f {}",
        "`x.cfg` describes no disk
  caused by: none of its images is an `hdimage`: `a` is `vfat`

hint: bimg builds disks; flash and UBI images stay with genimage",
    ),
    (
        "flash f {}",
        "`x.cfg` describes no disk
  caused by: none of its images is an `hdimage`: it has none

hint: bimg builds disks; flash and UBI images stay with genimage",
    ),
    (
        "image a { }",
        "image `a` is of no kind
 --> x.cfg:1:7
  |
1 | image a { }
  |       ^ this one

hint: say what it is: `hdimage {}`, `vfat {}`, `ext4 {}`, `file {}`, ...",
    ),
    (
        "image a { hdimage {} vfat {} }",
        "image `a` is of two kinds
 --> x.cfg:1:22
  |
1 | image a { hdimage {} vfat {} }
  |                      ^^^^ the second one

hint: leave out `hdimage` or `vfat`",
    ),
    (
        "image { }",
        "the section `image` has no title
 --> x.cfg:1:7
  |
1 | image { }
  |       ^ it belongs here

hint: name it: `image NAME { ... }`",
    ),
    (
        "image a hdimage {}",
        "`{` is expected, not a word
 --> x.cfg:1:9
  |
1 | image a hdimage {}
  |         ^^^^^^^ here",
    ),
    (
        "image a { hdimage {}",
        "the section `image` does not end
 --> x.cfg:1:7
  |
1 | image a { hdimage {}
  |       ^ it starts here

hint: close it with `}`",
    ),
    (
        "image a { hdimage {} } }",
        "an option is expected, not `}`
 --> x.cfg:1:24
  |
1 | image a { hdimage {} } }
  |                        ^ here",
    ),
    (
        "image a { hdimage { align = 3 } partition b { size = 1M } }",
        "an alignment of 3 bytes is impossible
 --> x.cfg:1:29
  |
1 | image a { hdimage { align = 3 } partition b { size = 1M } }
  |                             ^ said here

hint: partitions start on sectors: a multiple of 512, and 1G at most",
    ),
    (
        "image a { hdimage { gpt = 1 } partition b { size = 1M } }",
        "`gpt` is neither true nor false
 --> x.cfg:1:27
  |
1 | image a { hdimage { gpt = 1 } partition b { size = 1M } }
  |                           ^ said here

hint: write `true` or `false`",
    ),
    (
        "image a { hdimage { gpt = on gpt-location = 100 } partition b { size = 1M } }",
        "the GPT cannot lie at 100 bytes
 --> x.cfg:1:45
  |
1 | image a { hdimage { gpt = on gpt-location = 100 } partition b { size = 1M } }
  |                                             ^^^ said here

hint: its entries start on a sector: a multiple of 512",
    ),
    (
        r#"image a { hdimage { partition-table-type = "bsd" } partition b { size = 1M } }"#,
        r#"`bsd` is no kind of partition table
 --> x.cfg:1:44
  |
1 | image a { hdimage { partition-table-type = "bsd" } partition b { size = 1M } }
  |                                            ^^^^^ here

hint: genimage knows `none`, `mbr`, `gpt` and `hybrid`"#,
    ),
    (
        "image a { hdimage { disk-signature = 0x123456789 } partition b { size = 1M } }",
        "`disk-signature` is not a number from 0 to 4294967295
 --> x.cfg:1:38
  |
1 | image a { hdimage { disk-signature = 0x123456789 } partition b { size = 1M } }
  |                                      ^^^^^^^^^^^ here

hint: numbers are written as in C: `12`, `0x83`",
    ),
    (
        "image a { hdimage { gpt = on disk-uuid = xyz } partition b { size = 1M } }",
        "`disk-uuid` is not a UUID
 --> x.cfg:1:42
  |
1 | image a { hdimage { gpt = on disk-uuid = xyz } partition b { size = 1M } }
  |                                          ^^^ here

hint: a UUID looks like `0fc63daf-8483-4772-8e79-3d69d8477de4`",
    ),
    (
        "image a { hdimage { extended-partition = 5 } partition b { size = 1M } }",
        "`extended-partition` is not a number from 0 to 4
 --> x.cfg:1:42
  |
1 | image a { hdimage { extended-partition = 5 } partition b { size = 1M } }
  |                                          ^ here

hint: numbers are written as in C: `12`, `0x83`",
    ),
    (
        "image a { hdimage {} partition b { size = 1X } }",
        "`size` is not a size
 --> x.cfg:1:43
  |
1 | image a { hdimage {} partition b { size = 1X } }
  |                                           ^^ here

hint: write bytes, or a number with k, M, G or s (sectors): `512`, `8K`, `64M`, `33s`",
    ),
    (
        "image a { hdimage {} partition b { size = 50% } }",
        "`size` is a percentage
 --> x.cfg:1:43
  |
1 | image a { hdimage {} partition b { size = 50% } }
  |                                           ^^^ said here

hint: only a filesystem that is filled from a directory can have one",
    ),
    (
        "image a { hdimage {} partition b { size = 1M offset = 700 } }",
        "the offset of `b`, 700 bytes, is not a multiple of its alignment, 512
 --> x.cfg:1:55
  |
1 | image a { hdimage {} partition b { size = 1M offset = 700 } }
  |                                                       ^^^ said here

hint: change one of the two",
    ),
    (
        "image a { hdimage {} partition b { size = 700 } }",
        "the size of `b`, 700 bytes, is not a multiple of 512
 --> x.cfg:1:32
  |
1 | image a { hdimage {} partition b { size = 700 } }
  |                                ^ this one

hint: partitions are counted in sectors",
    ),
    (
        "image a { hdimage {} partition b { } }",
        "partition `b` has neither size nor content
 --> x.cfg:1:32
  |
1 | image a { hdimage {} partition b { } }
  |                                ^ this one

hint: give it a `size` or an `image`",
    ),
    (
        "image a { hdimage {} partition b { partition-type = 0x183 size = 1M } }",
        "`partition-type` is not a number from 0 to 255
 --> x.cfg:1:53
  |
1 | image a { hdimage {} partition b { partition-type = 0x183 size = 1M } }
  |                                                     ^^^^^ here

hint: numbers are written as in C: `12`, `0x83`",
    ),
    (
        "image a { hdimage {} partition b { autoresize = on } }",
        "partition `b` takes the rest of a disk of unknown size
 --> x.cfg:1:32
  |
1 | image a { hdimage {} partition b { autoresize = on } }
  |                                ^ this one

hint: say the `size` of `a`",
    ),
    (
        "image a { hdimage {} size = 1M partition b { autoresize = on } partition c { autoresize = on } }",
        "two partitions take the rest of the disk
 --> x.cfg:1:74
  |
1 | image a { hdimage {} size = 1M partition b { autoresize = on } partition c { autoresize = on } }
  |                                                                          ^ the second one

hint: leave out `autoresize` here or in `b`",
    ),
    (
        "image a { hdimage {} size = 1M partition b { offset = 1M autoresize = on } }",
        "too little is left for partition `b`
  caused by: 0 B are left, and it needs 1 B
 --> x.cfg:1:42
  |
1 | image a { hdimage {} size = 1M partition b { offset = 1M autoresize = on } }
  |                                          ^ this one

hint: raise the `size` of the image",
    ),
    (
        "image a { hdimage {} partition b { size = 1M image = c } } image c { file {} size = 2M }",
        "partition `b` is too small for its image
  caused by: the image has 2 MiB, the partition 1 MiB
 --> x.cfg:1:32
  |
1 | image a { hdimage {} partition b { size = 1M image = c } } image c { file {} size = 2M }
  |                                ^ this one

hint: raise the partition's `size`, or leave it out",
    ),
    (
        r#"image a { hdimage {} partition b { holes = {"440-512"} image = x } }"#,
        r#"a hole is not one
 --> x.cfg:1:45
  |
1 | image a { hdimage {} partition b { holes = {"440-512"} image = x } }
  |                                             ^^^^^^^^^ here

hint: write its first byte and its end: `"(440; 1K)"`"#,
    ),
    (
        "image a { hdimage {} partition b { image = c } } image c { hdimage {gpt=on} partition x { image = c } }",
        "image `c` lies within itself
 --> x.cfg:1:56
  |
1 | image a { hdimage {} partition b { image = c } } image c { hdimage {gpt=on} partition x { image = c } }
  |                                                        ^ this one

hint: name another `image` in one of the partitions",
    ),
    (
        "image a { hdimage {partition-table-type = none} partition b { image = x } partition c { image = y } }",
        "where `c` lies depends on files
 --> x.cfg:1:85
  |
1 | image a { hdimage {partition-table-type = none} partition b { image = x } partition c { image = y } }
  |                                                                                     ^ this one

hint: give it an `offset`, or those before it a `size`",
    ),
    (
        "image a { hdimage {} name += x }",
        "`name` is not a list
 --> x.cfg:1:27
  |
1 | image a { hdimage {} name += x }
  |                           ^^ nothing can be added to it

hint: write `=`",
    ),
    (
        "image a { hdimage {} name = { x } }",
        "a value is expected, not `{`
 --> x.cfg:1:29
  |
1 | image a { hdimage {} name = { x } }
  |                             ^ here",
    ),
    (
        r#"image a { vfat { files = { "a" "b" } } size = 1M }"#,
        r#"`,` or `}` is expected, not a word
 --> x.cfg:1:32
  |
1 | image a { vfat { files = { "a" "b" } } size = 1M }
  |                                ^^^ here"#,
    ),
    (
        r#"include("nope.cfg")"#,
        r#"`nope.cfg` is not there
 --> x.cfg:1:9
  |
1 | include("nope.cfg")
  |         ^^^^^^^^^^ included here

hint: files are looked up beside the configuration, then in the working directory"#,
    ),
    (
        r#"include "nope.cfg""#,
        r#"`(` is expected, not a word
 --> x.cfg:1:9
  |
1 | include "nope.cfg"
  |         ^^^^^^^^^^ here"#,
    ),
    (
        "imag a { }",
        "genimage has no option `imag` at the top of the file
 --> x.cfg:1:1
  |
1 | imag a { }
  | ^^^^ here

hint: did you mean `image`?",
    ),
    (
        "image a { hdimage { aling = 1M } }",
        "genimage has no option `aling` in `hdimage`
 --> x.cfg:1:21
  |
1 | image a { hdimage { aling = 1M } }
  |                     ^^^^^ here

hint: did you mean `align`?",
    ),
    (
        "image a { hdimage {} partition b { sise = 3 } }",
        "genimage has no option `sise` in `partition`
 --> x.cfg:1:36
  |
1 | image a { hdimage {} partition b { sise = 3 } }
  |                                    ^^^^ here

hint: did you mean `size`?",
    ),
    (
        "config { a ( }",
        "`=` or `{` is expected, not `(`
 --> x.cfg:1:12
  |
1 | config { a ( }
  |            ^ here",
    ),
    (
        "image a { hdimage {} partition b { image = a } }",
        "the disks of `x.cfg` lie within each other
  caused by: `a`

hint: name another `image` in one of their partitions",
    ),
    (
        "image a { hdimage {gpt = on} partition b { partition-type-uuid = Q size = 1M } }",
        "`Q` is not a partition type
 --> x.cfg:1:66
  |
1 | image a { hdimage {gpt = on} partition b { partition-type-uuid = Q size = 1M } }
  |                                                                  ^ here

hint: did you mean `QNX4.x`?",
    ),
];

#[test]
fn genimage_configurations() {
    let case = Case::new();
    let shown = case.path("in/genimage.cfg").display().to_string();
    for (config, story) in GENIMAGE {
        match case.import(config, None) {
            Ok(imported) => panic!("{config}\n{}", imported.profile),
            Err(error) => assert_eq!(error.to_string().replace(&shown, "x.cfg"), *story, "{config}"),
        }
    }
}

mod command {
    use crate::common::{Project, assert_fails};

    const CONFIG: &str = "image sd.img { hdimage {} partition a { size = 1M partition-type = 0x83 } }\n";

    fn project() -> Project {
        let project = Project::new();
        project.write("x.cfg", CONFIG);
        project
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let project = project();
        let args = ["import", "genimage", "x.cfg", "--into", "boards/acme.toml"];
        let before = project.read("boards/acme.toml");
        assert_fails(
            &project.run(&args),
            2,
            "error: `boards/acme.toml` is there already\n\n\
             hint: choose another name, or replace it with `--force`\n",
        );
        assert_eq!(project.read("boards/acme.toml"), before);
        let outcome = project.run(&[&args[..], &["--force"]].concat()).ok();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", "wrote boards/acme.toml\n"));
        assert!(project.read("boards/acme.toml").contains("[disk]\ntable = \"mbr\"\n"));
    }

    #[test]
    fn names_of_images_and_files() {
        let project = project();
        let told = |args: &[&str], expected: &str| {
            assert_fails(&project.run(&[&["import", "genimage"], args].concat()), 2, expected);
        };
        told(
            &["x.cfg", "--image", "sd.imh"],
            "error: cannot import `x.cfg`\n  caused by: `x.cfg` has no disk image `sd.imh`\n\n\
             hint: did you mean `sd.img`?\n",
        );
        told(
            &["x.cfg", "--image", "zzz"],
            "error: cannot import `x.cfg`\n  caused by: `x.cfg` has no disk image `zzz`\n\n\
             hint: its disk images: `sd.img`\n",
        );
        told(
            &["nope.cfg"],
            "error: cannot import `nope.cfg`\n  caused by: cannot read `nope.cfg`\n  \
             caused by: No such file or directory\n",
        );
        told(
            &["/dev/null"],
            "error: cannot import `/dev/null`\n  caused by: cannot read `/dev/null`\n  \
             caused by: it is not a regular file\n",
        );
    }

    #[test]
    fn the_profile_on_stdout_and_the_notes_on_stderr() {
        let project = project();
        project.write(
            "y.cfg",
            "image r.ext2 { ext2 { features = x } size = 2M exec-post = \"sync\" }\n\
             image sd.img { hdimage { disk-signature = 0x1a } exec-pre = \"date\"\npartition r { image = r.ext2 partition-type = 0x83 } }\n",
        );
        let outcome = project.run(&["import", "genimage", "y.cfg"]).ok();
        assert_eq!(
            outcome.stderr,
            "note: y.cfg:2: `exec-pre` of `sd.img` is left out: bimg runs no commands of a layout\n\
             note: y.cfg:1: `exec-post` of `r.ext2` is left out: bimg runs no commands of a layout\n\
             note: y.cfg:1: `features = x` of `r.ext2` is left out: bimg has features of its own\n"
        );
        assert_eq!(
            outcome.stdout,
            "# Disk layout of `sd.img`, from genimage's `y.cfg`.\n#\n# To look after by hand:\n\
             # - `exec-pre` of `sd.img` is left out: bimg runs no commands of a layout\n\
             # - `exec-post` of `r.ext2` is left out: bimg runs no commands of a layout\n\
             # - `features = x` of `r.ext2` is left out: bimg has features of its own\n\n\
             [disk]\ntable = \"mbr\"\nalign = 512\nsignature = 0x0000001a\n\n\
             [[disk.partition]]\nname = \"r\"\ntype = \"0x83\"\nfilesystem = \"ext2\"\ncontent = \"root\"\n\
             offset = 512\nsize = \"2M\"\n"
        );
    }
}
