//! Board names and profiles that cannot be used, and the exact words that come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{BOARD, Project, assert_fails};

const BUILD: &[&str] = &["build", "--board", "acme"];

/// The profile with one text replaced does not even get planned.
#[track_caller]
fn refused(from: &str, to: &str, expected: &str) {
    let project = Project::new();
    project.edit("boards/acme.toml", from, to);
    assert_fails(&project.run(BUILD), 2, expected);
    assert!(!project.path("build").exists());
}

mod names {
    use super::*;

    #[track_caller]
    fn unknown(board: &str, expected: &str) {
        assert_fails(&Project::new().run(&["build", "--board", board]), 2, expected);
    }

    #[test]
    fn an_unknown_board() {
        unknown(
            "acne",
            "error: there is no board `acne`\n\nhint: did you mean `acme`? `bimg boards list` shows all\n",
        );
        unknown(
            "xyzzy",
            "error: there is no board `xyzzy`\n\nhint: boards: acme, qemu-arm64, qemu-riscv64, rpi4, rpi4-uboot\n",
        );
    }

    #[test]
    fn a_name_that_is_none() {
        for name in ["a b", "it's", "say \"hi\"", "$(reboot)", "`reboot`", "-", "Acme", ""] {
            let board = format!("--board={name}");
            let expected = format!(
                "error: `{name}` is not a board name\n  caused by: a name holds lower-case letters, digits, `-`, `_` and \
                 `.`, and starts with a letter or digit\n\nhint: `bimg boards list` shows the boards there are\n"
            );
            assert_fails(&Project::new().run(&["build", &board]), 2, &expected);
        }
        unknown(
            "red\u{1b}[31m\n",
            "error: `red\\u{1b}[31m\\n` is not a board name\n  caused by: a name holds lower-case letters, digits, `-`, \
             `_` and `.`, and starts with a letter or digit\n\nhint: `bimg boards list` shows the boards there are\n",
        );
    }

    #[test]
    fn a_profile_that_is_not_there() {
        unknown(
            "elsewhere/acme.toml",
            "error: cannot read `elsewhere/acme.toml`\n  caused by: No such file or directory\n\n\
             hint: `bimg boards list` shows the boards that need no path\n",
        );
        let project = Project::new();
        std::fs::create_dir(project.path("dir.toml")).unwrap();
        assert_fails(
            &project.run(&["build", "--board", "./dir.toml"]),
            2,
            "error: cannot read `./dir.toml`\n  caused by: Is a directory\n\n\
             hint: `bimg boards list` shows the boards that need no path\n",
        );
    }

    #[test]
    fn a_profile_of_any_name() {
        let project = Project::new();
        for path in ["A.toml", "./My Board.toml"] {
            std::fs::copy(project.path("boards/acme.toml"), project.path(path)).unwrap();
            project.run(&["boards", "check", path]).ok();
        }
    }

    #[test]
    fn an_unknown_kernel_variant() {
        let project = Project::new();
        let run = |variant: &str| project.run(&["build", "--board", "acme", "--kernel", variant]);
        assert_fails(
            &run("lean"),
            2,
            "error: `boards/acme.toml` has no kernel variant `lean`\n\n\
             hint: this board has one kernel only: leave `--kernel` out\n",
        );
        project.edit(
            "boards/acme.toml",
            "[boot]",
            "[kernel.variant.lean]\ndefconfig = \"allnoconfig\"\n\n[boot]",
        );
        assert_fails(
            &run("leen"),
            2,
            "error: `boards/acme.toml` has no kernel variant `leen`\n\nhint: variants: lean\n",
        );
    }
}

mod profile {
    use super::*;

    #[test]
    fn malformed_toml() {
        refused(
            "[kernel]",
            "[kernel",
            "error: `boards/acme.toml` is not a valid profile\n  caused by: unclosed table, expected `]`\n \
             --> boards/acme.toml:5:8\n  |\n5 | [kernel\n  |        ^ here\n",
        );
    }

    #[test]
    fn an_unknown_key() {
        refused(
            "fragments",
            "fragmnets",
            "error: `boards/acme.toml` is not a valid profile\n  caused by: unknown field `fragmnets`, expected one of \
             `source`, `defconfig`, `fragments`, `targets`, `load_address`, `dtbs`, `overlays`, `modules`, `cmdline`, `variant`\n \
             --> boards/acme.toml:8:1\n  |\n8 | fragmnets = [\"acme.config\"]\n  | ^^^^^^^^^ here\n\n\
             hint: did you mean `fragments`?\n",
        );
        refused(
            "table = \"gpt\"",
            "table = \"gtp\"",
            "error: `boards/acme.toml` is not a valid profile\n  caused by: unknown variant `gtp`, expected one of `mbr`, `gpt`, `hybrid`, `none`\n  \
             --> boards/acme.toml:17:9\n   |\n17 | table = \"gtp\"\n   |         ^^^^^ here\n\n\
             hint: did you mean `gpt`?\n",
        );
    }

    #[test]
    fn a_wrong_type() {
        refused(
            "size = \"8M\"",
            "size = true",
            "error: `boards/acme.toml` is not a valid profile\n  \
             caused by: expected a size such as `64M`, a number of bytes, or `rest`\n  \
             --> boards/acme.toml:24:8\n   |\n24 | size = true\n   |        ^^^^ here\n",
        );
        refused(
            "targets = [\"Image\"]",
            "targets = \"Image\"",
            "error: `boards/acme.toml` is not a valid profile\n  \
             caused by: invalid type: string \"Image\", expected a sequence\n \
             --> boards/acme.toml:9:11\n  |\n9 | targets = \"Image\"\n  |           ^^^^^^^ here\n",
        );
    }

    #[test]
    fn impossible_sizes() {
        refused(
            "size = \"8M\"",
            "size = \"8Q\"",
            "error: `boards/acme.toml` is not a valid profile\n  \
             caused by: `8Q` is not a size; write bytes, or a number with K, M, G or T: `512`, `8K`, `64M`\n  \
             --> boards/acme.toml:24:8\n   |\n24 | size = \"8Q\"\n   |        ^^^^ here\n",
        );
        refused(
            "size = \"8M\"",
            "size = 1000",
            "error: partition `boot` cannot have a size of 1000 B\n  \
             --> boards/acme.toml:24:8\n   |\n24 | size = 1000\n   |        ^^^^ said here\n\n\
             hint: a size is a multiple of the sector size, 512 bytes\n",
        );
        refused(
            "table = \"gpt\"",
            "table = \"gpt\"\nalign = 1000",
            "error: an alignment of 1000 B is impossible\n  \
             --> boards/acme.toml:18:9\n   |\n18 | align = 1000\n   |         ^^^^ said here\n\n\
             hint: partitions start on sectors: a multiple of 512, better of 1M\n",
        );
        refused(
            "room = \"4M\"",
            "room = \"4M\"\nsize = \"32M\"",
            "error: partition `root` has both a size and room\n  \
             --> boards/acme.toml:31:8\n   |\n31 | room = \"4M\"\n   |        ^^^^ said here\n\n\
             hint: `size` is the whole partition; `room` is added to what the content needs\n",
        );
    }

    #[test]
    fn files_that_are_not_there() {
        refused(
            "acme.config",
            "acne.config",
            "error: fragment `acne.config` is not there\n \
             --> boards/acme.toml:8:14\n  |\n8 | fragments = [\"acne.config\"]\n  |              ^^^^^^^^^^^^^ named here\n\n\
             hint: files are looked up beside the profile, then as `boards/NAME`\n",
        );
        refused(
            "arch =",
            "extends = [\"common/acme.toml\"]\narch =",
            "error: profile `common/acme.toml` is not there\n \
             --> boards/acme.toml:2:12\n  |\n2 | extends = [\"common/acme.toml\"]\n  |            ^^^^^^^^^^^^^^^^^^ extended here\n\n\
             hint: names are looked up beside the profile, then as `boards/NAME`\n",
        );
        refused(
            "path = \"rootfs\"",
            "path = \"roofts\"",
            "error: `roofts` is not there\n  \
             --> boards/acme.toml:33:1\n   |\n33 | [rootfs]\n   | ^^^^^^^^ its `path`\n\n\
             hint: the path starts where bimg was started, or at a profile that is given by path\n",
        );
        refused(
            "overlays = [\"overlay\"]",
            "overlays = [\"overlya\"]",
            "error: the overlay `overlya` is not there\n  \
             --> boards/acme.toml:33:1\n   |\n33 | [rootfs]\n   | ^^^^^^^^ here\n\n\
             hint: an overlay is a directory: `overlya`, or `boards/overlya`\n",
        );
        refused(
            "kind = \"directory\"",
            "kind = \"tar\"",
            "error: cannot read `rootfs`\n  caused by: Is a directory\n  \
             --> boards/acme.toml:33:1\n   |\n33 | [rootfs]\n   | ^^^^^^^^ here\n",
        );
    }

    #[test]
    fn kernel_options_that_are_none() {
        let project = Project::new();
        let hint = "hint: write `CONFIG_X=y`, `CONFIG_X=\"text\"` or `# CONFIG_X is not set`\n";
        assert_fails(
            &project.run(&["build", "--board", "acme", "--set", "FOO=y"]),
            2,
            &format!("error: --set: `FOO=y` is not a kernel option\n\n{hint}"),
        );
        project.write("boards/acme.config", "hello\n");
        assert_fails(
            &project.run(BUILD),
            2,
            &format!("error: boards/acme.config:1: `hello` is not a kernel option\n\n{hint}"),
        );
    }

    #[test]
    fn a_uimage_without_its_address() {
        let project = Project::new();
        project.edit("boards/acme.toml", "targets = [\"Image\"]", "targets = [\"uImage\"]");
        assert_fails(
            &project.run(BUILD),
            2,
            "error: a `uImage` needs the address to load it to\n \
             --> boards/acme.toml:9:12\n  |\n9 | targets = [\"uImage\"]\n  |            ^^^^^^^^ named here\n\n\
             hint: give `load_address` of the board's memory, for example `load_address = 0x8000`\n",
        );
        project.edit("boards/acme.toml", "targets = [", "load_address = 0x80000\ntargets = [");
        project.edit("boards/acme.toml", "\"extlinux\"", "\"uboot-script\"");
        project.run(BUILD).ok();
        let kernel = project.shell("mkimage -l build/kernel/*/obj/arch/arm64/boot/uImage");
        assert!(kernel.contains("Load Address: 00080000\n"), "{kernel}");
    }

    #[test]
    fn a_command_line_of_two_lines() {
        let project = Project::new();
        project.edit("boards/acme.toml", "\"console=ttyAMA0\"", "\"console=ttyAMA0\\nquiet\"");
        assert_fails(
            &project.run(BUILD),
            2,
            "error: the command line holds the control character `\\n`\n  \
             --> boards/acme.toml:11:11\n   |\n11 | cmdline = \"console=ttyAMA0\\nquiet\"\n   |           ^^^^^^^^^^^^^^^^^^^^^^^^ here\n\n\
             hint: a kernel's command line is one line of text\n",
        );
        // One line in a text of several.
        project.edit("boards/acme.toml", "\"console=ttyAMA0\\nquiet\"", "\"\"\"console=ttyAMA0\n\"\"\"");
        project.plan(&[]);
    }

    #[test]
    fn a_description_is_one_line() {
        let project = Project::new();
        project.edit("boards/acme.toml", "\"Acme evaluation board\"", "\"Acme\\n\\u001b[31mboard\"");
        let list = project.run(&["boards", "list"]).ok().stdout;
        assert!(list.lines().any(|line| line.ends_with(" Acme  [31mboard")), "{list:?}");
    }

    #[test]
    fn a_layout_among_the_boards_is_passed_over() {
        let project = Project::new();
        project.write("card.cfg", "image card.img { hdimage {} partition a { size = 1M } }");
        project.run(&["import", "genimage", "card.cfg", "--into", "boards/card.toml"]).ok();
        let list = project.run(&["boards", "list"]).ok();
        assert!(!list.stdout.contains("card") && !list.stderr.contains("card"), "{list:?}");
        let check = project.run(&["boards", "check"]).ok().stderr;
        assert!(check.contains("acme: ok\n") && !check.contains("card"), "{check}");
        // A board that forgot something is still told of.
        project.edit("boards/acme.toml", "arch = \"arm64\"\n", "");
        assert!(project.run(&["boards", "check"]).stderr.contains("`boards/acme.toml` does not say `arch`"));
    }

    #[test]
    fn a_root_without_a_name() {
        let project = Project::new();
        project.write(
            "boards/acme.toml",
            &(BOARD.split("[disk]").next().unwrap().to_string()
                + "[disk]\ntable = \"none\"\n\n[[disk.partition]]\nname = \"root\"\nfilesystem = \"ext4\"\ncontent = \"root\"\n\n\
                   [rootfs]\nkind = \"directory\"\npath = \"rootfs\"\n"),
        );
        for words in [&["plan", "--board", "acme"][..], BUILD] {
            assert_fails(
                &project.run(words),
                2,
                "error: partition `root` has no PARTUUID\n  caused by: the disk has no partition table\n\n\
                 hint: name the root filesystem in `kernel.cmdline`: `root=/dev/mmcblk0`\n",
            );
        }
    }

    #[test]
    fn a_loop() {
        let project = Project::new();
        project.write("boards/base.toml", "extends = [\"acme.toml\"]\n");
        project.write("boards/acme.toml", &format!("extends = [\"base.toml\"]\n{BOARD}"));
        assert_fails(
            &project.run(BUILD),
            2,
            "error: profile `acme.toml` extends itself\n \
             --> boards/base.toml:1:12\n  |\n1 | extends = [\"acme.toml\"]\n  |            ^^^^^^^^^^^ extended here again\n\n\
             hint: remove one of the two `extends`\n",
        );
    }

    #[test]
    fn words_that_mean_nothing() {
        refused(
            "toolchain = \"fake\"",
            "toolchain = \"fkae\"",
            "error: unknown toolchain `fkae`\n \
             --> boards/acme.toml:3:13\n  |\n3 | toolchain = \"fkae\"\n  |             ^^^^^^ here\n\n\
             hint: did you mean `fake`?\n",
        );
        refused(
            "toolchain = \"fake\"",
            "toolchain = \"gcc-riscv64\"",
            "error: toolchain `gcc-riscv64` makes no code for arm64\n \
             --> boards/acme.toml:3:13\n  |\n3 | toolchain = \"gcc-riscv64\"\n  |             ^^^^^^^^^^^^^ named here\n\n\
             hint: leave it out, or name the usual one: `gcc-arm64`\n",
        );
        refused(
            "targets = [\"Image\"]",
            "targets = [\"zImage\"]",
            "error: a kernel for arm64 has no image format `zImage`\n \
             --> boards/acme.toml:9:12\n  |\n9 | targets = [\"zImage\"]\n  |            ^^^^^^^^ named here\n\n\
             hint: formats: Image, Image.gz, uImage, vmlinux\n",
        );
        refused(
            "type = \"esp\"",
            "type = \"epsi\"",
            "error: `epsi` is not a partition type\n  \
             --> boards/acme.toml:21:8\n   |\n21 | type = \"epsi\"\n   |        ^^^^^^ here\n\n\
             hint: did you mean `esp`?\n",
        );
    }

    #[test]
    fn layouts_that_make_no_sense() {
        let laid_out = |from: &str, to: &str, expected: &str| {
            let project = Project::new();
            project.edit("boards/acme.toml", from, to);
            assert_fails(&project.run(BUILD), 2, expected);
            assert!(!project.path("out").exists());
        };
        laid_out(
            "name = \"root\"",
            "name = \"root\"\nlogical = true",
            "error: partition `root` cannot be logical\n  caused by: only an MBR has logical partitions\n  \
             caused by: declared at boards/acme.toml:28:8\n\nhint: leave out `logical`\n",
        );
        laid_out(
            "table = \"gpt\"",
            "table = \"mbr\"\ngpt-location = \"1M\"",
            "error: `gpt-location`, `gpt-backup` and `uuid` do not fit this disk\n  \
             caused by: it has an MBR alone\n\nhint: leave them out, or declare `table = \"gpt\"`\n",
        );
        laid_out(
            "room = \"4M\"",
            "size = \"rest\"",
            "error: partition `root` takes the rest of a disk of unknown size\n  \
             caused by: declared at boards/acme.toml:28:8\n\n\
             hint: say the `size` of the disk, or of the partition\n",
        );
        laid_out(
            "[rootfs]",
            "[[disk.blob]]\nname = \"spl\"\noffset = \"8K\"\nsize = \"32K\"\nfill = 0\n\n[rootfs]",
            "error: the GPT and blob `spl` overlap\n  caused by: the GPT starts at 512 and has 16896\n  \
             caused by: blob `spl` starts at 8K and has 32K\n  caused by: declared at boards/acme.toml:34:8\n\n\
             hint: blob `spl` can start at 17K or later, or the GPT's entries can: `gpt-location = \"40K\"`; \
             with `table = \"mbr\"` everything from 512 on is free\n",
        );
        laid_out(
            "[rootfs]",
            "[[disk.blob]]\nname = \"spl\"\noffset = 0\nsize = 512\nfill = 0\n\n[rootfs]",
            "error: blob `spl` and the MBR overlap\n  caused by: blob `spl` starts at 0 and has 512\n  \
             caused by: the MBR starts at 440 and has 72\n  caused by: declared at boards/acme.toml:34:8\n\n\
             hint: blob `spl` can start at 17K or later; if its file holds nothing there, say `holes = [[440, 512]]`\n",
        );
        refused(
            "[rootfs]",
            "[[disk.blob]]\nname = \"spl\"\noffset = 0\npartition = \"rot\"\nfile = \"spl\"\n\n[rootfs]",
            "error: there is no partition `rot`\n  \
             --> boards/acme.toml:36:13\n   |\n36 | partition = \"rot\"\n   |             ^^^^^ named here\n\n\
             hint: did you mean `root`?\n",
        );
        refused(
            "content = \"root\"",
            "",
            "error: `boards/acme.toml` needs a partition with `content = \"root\"`\n\n\
             hint: bimg puts the root filesystem into it\n",
        );
        refused(
            "filesystem = \"ext4\"",
            "filesystem = \"squashfs\"\nlabel = \"root\"",
            "error: partition `root` cannot have a label\n  --> boards/acme.toml:30:9\n   |\n\
             30 | label = \"root\"\n   |         ^^^^^^ said here\n\n\
             hint: a squashfs has none; leave `label` out\n",
        );
        refused(
            "filesystem = \"ext4\"",
            "filesystem = \"exr4\"",
            "error: `boards/acme.toml` is not a valid profile\n  caused by: unknown variant `exr4`, expected one of \
             `vfat`, `fat32`, `fat16`, `fat12`, `ext4`, `ext3`, `ext2`, `erofs`, `squashfs`\n  \
             --> boards/acme.toml:29:14\n   |\n29 | filesystem = \"exr4\"\n   |              ^^^^^^ here\n\n\
             hint: did you mean `ext4`?\n",
        );
    }

    #[test]
    fn types_that_a_table_has_for_itself() {
        let hint = "write what the partition holds: a name such as `linux`, or a code such as `0x83`";
        refused(
            "type = \"esp\"",
            "type = \"0x00\"",
            &format!(
                "error: `0x00` is the type of an empty entry\n  \
                 --> boards/acme.toml:21:8\n   |\n21 | type = \"0x00\"\n   |        ^^^^^^ here\n\nhint: {hint}\n"
            ),
        );
        refused(
            "type = \"esp\"",
            "type = \"esp\"\nmbr-type = \"0xee\"",
            &format!(
                "error: `0xee` is the type of the entry that protects a GPT\n  \
                 --> boards/acme.toml:22:12\n   |\n22 | mbr-type = \"0xee\"\n   |            ^^^^^^ here\n\n\
                 hint: it is made with every GPT; {hint}\n"
            ),
        );
    }

    #[test]
    fn names_labels_and_sizes_that_no_tool_takes() {
        refused(
            "name = \"root\"",
            "name = \"\"",
            "error: the name of a partition is empty\n  \
             --> boards/acme.toml:28:8\n   |\n28 | name = \"\"\n   |        ^^ this one\n\n\
             hint: name it by what it is for\n",
        );
        refused(
            "name = \"root\"",
            "name = \"a\\u001bb\"",
            "error: the partition name `a\\u{1b}b` holds a control character\n  \
             --> boards/acme.toml:28:8\n   |\n28 | name = \"a\\u001bb\"\n   |        ^^^^^^^^^^ this one\n\n\
             hint: a name is letters, digits and signs on one line\n",
        );
        refused(
            "filesystem = \"ext4\"",
            "filesystem = \"ext4\"\nlabel = \"a\\u0000\"",
            "error: the label of partition `root` holds a NUL\n  \
             --> boards/acme.toml:30:9\n   |\n30 | label = \"a\\u0000\"\n   |         ^^^^^^^^^ said here\n\n\
             hint: a filesystem's label ends at a NUL\n",
        );
        let blob = |lines: &str| format!("[[disk.blob]]\n{lines}\n\n[rootfs]");
        refused(
            "[rootfs]",
            "[[disk.partition]]\nname = \"data\"\nsize = \"1M\"\nlabel = \"data\"\n\n[rootfs]",
            "error: partition `data` has a label but no filesystem\n  \
             --> boards/acme.toml:36:9\n   |\n36 | label = \"data\"\n   |         ^^^^^^ said here\n\n\
             hint: leave `label` out, or add a `filesystem`\n",
        );
        refused(
            "[rootfs]",
            &blob("name = \"spl\"\noffset = \"32K\"\nfill = 0\nsize = 0"),
            "error: blob `spl` cannot have a size of 0\n  \
             --> boards/acme.toml:37:8\n   |\n37 | size = 0\n   |        ^ said here\n\n\
             hint: leave `size` out, and it is that of the file\n",
        );
        refused(
            "[rootfs]",
            &blob("name = \"spl\"\noffset = 0\nfile = \"spl\"\nholes = [[440, 512, 513]]"),
            "error: `boards/acme.toml` is not a valid profile\n  \
             caused by: a hole is two numbers: its first byte and its end\n  \
             --> boards/acme.toml:37:9\n   |\n37 | holes = [[440, 512, 513]]\n   |         ^^^^^^^^^^^^^^^^^ here\n",
        );
        let spl = "name = \"spl\"\noffset = \"32K\"\nfill = 0\nsize = 512";
        refused(
            "[rootfs]",
            &blob(&format!("{spl}\n[[disk.blob]]\n{spl}")),
            "error: two blobs are called `spl`\n  \
             --> boards/acme.toml:39:8\n   |\n39 | name = \"spl\"\n   |        ^^^^^ the second one\n\n\
             hint: give each blob a name of its own\n",
        );
    }

    #[test]
    fn uuids_that_tell_nothing_apart() {
        refused(
            "room = \"4M\"",
            "room = \"4M\"\nuuid = \"00000000-0000-0000-0000-000000000000\"",
            "error: the UUID of partition `root` is the nil one\n  \
             --> boards/acme.toml:32:8\n   |\n32 | uuid = \"00000000-0000-0000-0000-000000000000\"\n   |        \
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ said here\n\n\
             hint: that one stands for none; leave `uuid` out and one is derived\n",
        );
        let project = Project::new();
        let uuid = "0fc63daf-8483-4772-8e79-3d69d8477d01";
        for (from, uuid) in [("bootable = true", uuid), ("room = \"4M\"", &uuid.to_uppercase())] {
            project.edit("boards/acme.toml", from, &format!("{from}\nuuid = \"{uuid}\""));
        }
        let expected = "error: partition `boot` and partition `root` have the same UUID\n  \
             --> boards/acme.toml:33:8\n   |\n33 | uuid = \"0FC63DAF-8483-4772-8E79-3D69D8477D01\"\n   |        \
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the second one\n\n\
             hint: give each a UUID of its own, or leave `uuid` out and one is derived\n";
        for command in [&["plan", "--board", "acme"][..], &["assemble", "acme", "--output", "x.img"]] {
            assert_fails(&project.run(command), 2, expected);
        }
        let check = project.run(&["boards", "check", "acme"]);
        assert_fails(&check, 2, &format!("{expected}error: 1 of 1 profiles cannot be used\n"));
    }

    #[test]
    fn a_disk_that_is_too_small() {
        let project = Project::new();
        project.edit("boards/acme.toml", "table = \"gpt\"", "table = \"gpt\"\nsize = \"10M\"");
        assert_fails(
            &project.run(BUILD),
            2,
            "error: the disk is too small for what it holds\n  \
             caused by: it needs 16.0 MiB, up to the end of partition `root`, and has 10 MiB\n\n\
             hint: raise the disk's `size` to 17M or more, or leave it out\n",
        );
    }

    #[test]
    fn overlapping_partitions() {
        let project = Project::new();
        project.edit("boards/acme.toml", "size = \"8M\"", "size = \"8M\"\noffset = \"4M\"");
        project.edit("boards/acme.toml", "room = \"4M\"", "room = \"4M\"\noffset = \"8M\"");
        assert_fails(
            &project.run(BUILD),
            2,
            "error: partition `boot` and partition `root` overlap\n  \
             caused by: partition `boot` starts at 4M and has 8M\n  \
             caused by: partition `root` starts at 8M and has 4M\n  \
             caused by: declared at boards/acme.toml:20:8\n  caused by: declared at boards/acme.toml:29:8\n\n\
             hint: partition `root` can start at 12M or later\n",
        );
    }
}
