//! What can go wrong once the profile is sound (host, sources, kernel, image), and the exact words that
//! come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use common::server::{self, Manner};
use common::{Outcome, Project, assert_fails};

const BUILD: &[&str] = &["build", "--board", "acme"];
const NEW: &str = "sources: started: `kernel` is not pinned yet\nsources: done in TIME\n";
const KERNEL: &str = "kernel: started: no finished build\n";
const BUILT: &str = "sources: started: `kernel` is not pinned yet\nsources: done in TIME\n\
    kernel: started: no finished build\nkernel: done in TIME\n\
    rootfs: started: not built yet\nrootfs: done in TIME\n";

mod host {
    use super::*;

    /// The message without the command that installs what is missing: it is this distribution's.
    fn without_hint(outcome: &Outcome) -> String {
        let (story, hint) = outcome.stderr.split_once("\n\nhint: ").unwrap();
        assert!(hint.starts_with("install what is missing with "), "{hint}");
        story.to_string()
    }

    #[test]
    fn nothing_but_a_shell() {
        let project = Project::new();
        let mut bimg = project.bimg(BUILD);
        project.shell("mkdir ../bin && ln -s $(command -v sh) ../bin/sh");
        let outcome = project.outcome(bimg.env("PATH", project.root().join("bin")));
        assert_eq!(
            without_hint(&outcome),
            "error: this machine is not ready for the build\n  \
             caused by: `gcc` 5.1 or newer is missing: compiles the kernel's host programs\n  \
             caused by: `make` 4.0 or newer is missing: runs the kernel build\n  \
             caused by: `ld` 2.25 or newer is missing: links the kernel's host programs\n  \
             caused by: `flex` 2.5.35 or newer is missing: generates Kconfig's lexer\n  \
             caused by: `bison` 2.0 or newer is missing: generates Kconfig's parser\n  \
             caused by: `bc` is missing: computes kernel time constants\n  \
             caused by: `perl` 5.0 or newer is missing: runs kernel build scripts\n  \
             caused by: `fake-gcc` 5.1 or newer is missing: cross-compiles the kernel\n  \
             caused by: `fake-ld` is missing: links the kernel\n  \
             caused by: the headers of `openssl` are missing: checks and signs with the kernel's certificates"
        );
        assert_eq!(outcome.status, Some(1));
        assert!(outcome.stderr.contains("gcc-fake"), "{}", outcome.stderr);
    }

    #[test]
    fn a_date_that_is_none() {
        let project = Project::new();
        assert_fails(
            &project.outcome(project.bimg(BUILD).env("SOURCE_DATE_EPOCH", "yesterday")),
            2,
            "error: `SOURCE_DATE_EPOCH` is `yesterday`\n  \
             caused by: it is not a number of seconds since 1970\n\n\
             hint: unset it, or set it as `date +%s` prints it\n",
        );
    }

    #[test]
    fn a_board_that_stands_alone() {
        let project = Project::new();
        assert_fails(
            &project.run(&["build", "acme"]),
            2,
            "error: unexpected argument 'acme' found\n\n  tip: a board is named with '--board acme'\n\n\
             Usage: bimg build [OPTIONS] --board <NAME|FILE>\n\nFor more information, try '--help'.\n",
        );
        for words in
            [&["build", "--board", "acme", "acme"][..], &["boards", "list", "acme"], &["plan", "--acme"]]
        {
            let stderr = project.run(words).stderr;
            assert!(
                stderr.contains("unexpected argument") && !stderr.contains("a board is named"),
                "{stderr}"
            );
        }
    }

    #[test]
    fn arguments_that_are_not_utf_8() {
        let project = Project::new();
        let word = OsStr::from_bytes(b"\xE9");
        assert_fails(
            &project.outcome(project.bimg(&["build"]).arg(word)),
            2,
            "error: unexpected argument '\u{FFFD}' found\n\n  tip: a board is named with '--board \u{FFFD}'\n\n\
             Usage: bimg build [OPTIONS] --board <NAME|FILE>\n\nFor more information, try '--help'.\n",
        );
        let outcome = project.outcome(project.bimg(&["build", "--board"]).arg(word));
        assert_eq!(
            (outcome.status, outcome.stderr.contains("panicked")),
            (Some(2), false),
            "{}",
            outcome.stderr
        );
    }

    #[test]
    fn directories_that_cannot_be_written_to() {
        let project = Project::new();
        project.write("file", "");
        assert_fails(
            &project.run(&["build", "--board", "acme", "--build-dir", "file/build"]),
            1,
            "error: cannot use the build directory `[DIR]/work/file/build/acme`\n  \
             caused by: cannot write to `[DIR]/work/file`\n  caused by: Not a directory\n\n\
             hint: choose another one with `--build-dir`, or run bimg in a folder of your own\n",
        );
        let doctor = project.run(&["doctor", "--board", "acme", "--build-dir", "file/build"]);
        assert_eq!(doctor.status, Some(1));
        assert!(
            doctor.stderr.contains("cannot use the build directory `[DIR]/work/file/build/acme`"),
            "{}",
            doctor.stderr
        );
        // Before anything is fetched or compiled.
        let out = "error: cannot use the output directory `[DIR]/work/file/acme`\n  \
             caused by: cannot write to `[DIR]/work/file`\n  caused by: Not a directory\n\n\
             hint: choose another one with `--out`\n";
        let build = ["build", "--board", "acme", "--out", "file"];
        assert_fails(&project.run(&build), 1, out);
        project.run(&[&build[..], &["--stage", "kernel"]].concat()).ok();
    }

    #[test]
    fn old_tools() {
        let project = Project::new();
        project.tool("make", "#!/bin/sh\necho GNU Make 3.81\n");
        project.tool("gcc", "#!/bin/sh\necho 'gcc (GCC) 4.8.5 20150623'\n");
        project.tool(
            "fake-gcc",
            "#!/bin/sh\ncase $1 in -dumpmachine) echo aarch64-fake ;; *) echo 'fake-gcc 4.9.4' ;; esac\n",
        );
        assert_eq!(
            without_hint(&project.run(BUILD)),
            "error: this machine is not ready for the build\n  \
             caused by: `gcc` is 4.8.5, but 5.1 or newer is needed: compiles the kernel's host programs\n  \
             caused by: `make` is 3.81, but 4.0 or newer is needed: runs the kernel build\n  \
             caused by: `fake-gcc` is 4.9.4, but 5.1 or newer is needed: cross-compiles the kernel"
        );
    }
}

mod sources {
    use super::*;

    /// A project whose kernel comes from a server.
    fn served(manner: Manner) -> (Project, Vec<u8>, String) {
        let project = Project::new();
        let sha256 =
            project.shell("tar -cf linux.tar linux && sha256sum linux.tar && rm -r linux")[..64].to_string();
        let body = std::fs::read(project.path("linux.tar")).unwrap();
        let host = server::start(body.clone(), manner);
        let source = format!("source = {{ tarball = \"http://{host}/linux.tar\", sha256 = \"{sha256}\" }}");
        project.edit("boards/acme.toml", "source = { path = \"linux\" }", &source);
        (project, body, host)
    }

    fn failure(project: &Project, host: &str) -> Outcome {
        let outcome = project.run(BUILD);
        Outcome { stderr: outcome.stderr.replace(host, "HOST"), ..outcome }
    }

    const FAILED: &str = "sources: started: `kernel` is not pinned yet\n";

    #[test]
    fn a_wrong_sha256() {
        let (project, body, host) = served(Manner::Good);
        let right = project.shell("sha256sum linux.tar")[..64].to_string();
        let wrong = "0".repeat(64);
        project.edit("boards/acme.toml", &right, &wrong);
        assert!(!body.is_empty());
        assert_fails(
            &failure(&project, &host),
            1,
            &format!(
                "{FAILED}sources: failed after TIME\nerror: stage `sources` failed for board `acme`\n  \
                 caused by: cannot fetch source `kernel`\n  \
                 caused by: `http://HOST/linux.tar` is not the file that was asked for\n  \
                 caused by: its sha256 is {right}\n  caused by: expected         {wrong}\n\n\
                 hint: if the change is meant, put the new sha256 in the profile\n"
            ),
        );
        assert!(!project.path("bimg.lock").exists());
    }

    #[test]
    fn a_truncated_download() {
        let (project, body, host) = served(Manner::Truncated);
        std::fs::write(project.path("half"), &body[..body.len() / 2]).unwrap();
        let half = project.shell("sha256sum half")[..64].to_string();
        let whole = project.shell("sha256sum linux.tar")[..64].to_string();
        assert_fails(
            &failure(&project, &host),
            1,
            &format!(
                "{FAILED}sources: failed after TIME\nerror: stage `sources` failed for board `acme`\n  \
                 caused by: cannot fetch source `kernel`\n  \
                 caused by: `http://HOST/linux.tar` is not the file that was asked for\n  \
                 caused by: its sha256 is {half}\n  caused by: expected         {whole}\n\n\
                 hint: if the change is meant, put the new sha256 in the profile\n"
            ),
        );
    }

    #[test]
    fn a_server_that_stops_midway() {
        let (project, body, host) = served(Manner::StopsMidway);
        let (half, all) = (body.len() / 2, body.len());
        let again = format!(
            "`http://HOST/linux.tar`: the connection ended after {half} of {all} bytes; trying again\n"
        );
        assert_fails(
            &failure(&project, &host),
            1,
            &format!(
                "{FAILED}{}sources: failed after TIME\nerror: stage `sources` failed for board `acme`\n  \
                 caused by: cannot fetch source `kernel`\n  \
                 caused by: cannot download `http://HOST/linux.tar`\n  \
                 caused by: the connection ended after {half} of {all} bytes, 5 attempts in a row\n\n\
                 hint: run it again to go on from there\n",
                again.repeat(4)
            ),
        );
    }

    #[test]
    fn no_source_at_all() {
        let project = Project::new();
        project.edit("boards/acme.toml", "path = \"linux\"", "path = \"linxu\"");
        assert_fails(
            &project.run(BUILD),
            1,
            &format!(
                "{FAILED}sources: failed after TIME\nerror: stage `sources` failed for board `acme`\n  \
                 caused by: cannot fetch source `kernel`\n  caused by: cannot use `linxu`\n  \
                 caused by: No such file or directory\n\n\
                 hint: the path starts where bimg was started, or at a profile that is given by path\n"
            ),
        );
    }

    #[test]
    fn locked_and_changed() {
        let project = Project::new();
        project.build(&["--stage", "sources"]);
        project.edit("boards/acme.toml", "path = \"linux\"", "path = \"../work/linux\"");
        for more in [&[][..], &["--offline"]] {
            assert_fails(
                &project.run(&[&["build", "--board", "acme", "--locked"], more].concat()),
                1,
                &format!(
                    "{FAILED}sources: failed after TIME\nerror: stage `sources` failed for board `acme`\n  \
                     caused by: `--locked`: source `kernel` is not what `bimg.lock` pins\n  \
                     caused by: the profile asks for `path ../work/linux`\n  \
                     caused by: the lock has `path linux`, as it is\n\n\
                     hint: run once without `--locked` to pin it, and keep the changed lock\n"
                ),
            );
        }
    }

    #[test]
    fn locked_and_offline_without_what_the_lock_pins() {
        let (project, _, host) = served(Manner::Good);
        project.build(&["--stage", "sources"]);
        project.shell("rm -r ../cache/bimg");
        assert_fails(
            &project.run(&["build", "--board", "acme", "--locked", "--offline"]),
            1,
            &format!(
                "sources: started: `kernel` is not in the store yet\nsources: failed after TIME\n\
                 error: stage `sources` failed for board `acme`\n  \
                 caused by: cannot fetch source `kernel`\n  \
                 caused by: tarball `http://{host}/linux.tar` is not in the store\n  \
                 caused by: `--offline` uses only what was fetched before\n\n\
                 hint: run once without `--offline`\n"
            ),
        );
    }
}

mod kernel {
    use super::*;

    #[track_caller]
    fn fails(change: impl FnOnce(&Project), status: i32, expected: &str) {
        let project = Project::new();
        change(&project);
        let expected = format!(
            "{NEW}{KERNEL}kernel: failed after TIME\nerror: stage `kernel` failed for board `acme`\n{expected}"
        );
        assert_fails(&project.run(BUILD), status, &expected);
    }

    #[test]
    fn no_such_defconfig() {
        fails(
            |project| project.edit("boards/acme.toml", "acme_defconfig", "acne_defconfig"),
            2,
            "  caused by: this kernel has no defconfig `acne_defconfig` for arm64\n  \
             caused by: there is no `arch/arm64/configs/acne_defconfig` in `[DIR]/work/linux`\n\n\
             hint: did you mean `acme_defconfig`?\n",
        );
    }

    #[test]
    fn no_such_device_tree() {
        fails(
            |project| project.edit("boards/acme.toml", "acme/board-a.dtb", "acme/board-b.dtb"),
            2,
            "  caused by: this kernel has no device tree `acme/board-b.dtb`\n\n\
             hint: boards/acme.toml:10:9 names a DTB that this kernel does not have; nearest: `acme/board-a.dtb`\n",
        );
    }

    #[test]
    fn requests_that_kconfig_does_not_honour() {
        fails(
            |project| project.write("boards/acme.config", "# lights\nCONFIG_LED=m\nCONFIG_BUS=n\n"),
            2,
            "  caused by: Kconfig did not honour `CONFIG_LED=m` (boards/acme.config:2)\n  \
             caused by: it became `n`: it depends on `BUS && GPIO` (Kconfig:16), and `BUS` is n, `GPIO` is n\n\n\
             hint: ask for `CONFIG_BUS=y`, `CONFIG_GPIO=y` as well, or drop the request\n",
        );
        fails(
            |project| project.write("boards/acme.config", "CONFIG_WIFI=y\n"),
            2,
            "  caused by: Kconfig did not honour `CONFIG_WIFI=y` (boards/acme.config:1)\n  \
             caused by: it is no option of this kernel\n",
        );
        fails(
            |project| project.write("boards/acme.config", "CONFIG_SLOW=y\nCONFIG_FAST=y\n"),
            2,
            "  caused by: Kconfig did not honour `CONFIG_SLOW=y` (boards/acme.config:1)\n  \
             caused by: it became `n`: only one option of a choice can be set, and it is `CONFIG_FAST` (Kconfig:36)\n\n\
             hint: both `CONFIG_SLOW=y` (boards/acme.config:1) and `CONFIG_FAST=y` (boards/acme.config:2) are asked for: \
             keep one of them\n",
        );
    }

    #[test]
    fn a_later_layer_may_take_another_option_of_a_choice() {
        let project = Project::new();
        project.write("boards/acme.config", "CONFIG_FAST=y\n");
        project.build(&["--stage", "kernel", "--set", "CONFIG_SLOW=y"]);
        assert!(
            project
                .shell("cat build/kernel/*/obj/.config")
                .contains("CONFIG_SLOW=y\n# CONFIG_FAST is not set\n")
        );
    }

    #[test]
    fn source_that_does_not_compile() {
        fails(
            |project| project.edit("linux/drivers/gpio.c", "return 1;", "return one;"),
            1,
            "  caused by: `make Image modules acme/board-a.dtb` exited with status 2\n  \
             caused by: [DIR]/work/linux/drivers/gpio.c:4:29: error: 'one' undeclared (first use in this function)\n  \
             log: build/acme/log/kernel.log\n\n\
             hint: correct the source at that line, or turn off the option that builds it\n",
        );
    }
}

mod image {
    use super::*;

    #[track_caller]
    fn fails(change: impl FnOnce(&Project), status: i32, expected: &str) {
        let project = Project::new();
        change(&project);
        let expected = format!(
            "{BUILT}image: started: not built yet\nimage: failed after TIME\nerror: stage `image` failed for board `acme`\n{expected}"
        );
        assert_fails(&project.run(BUILD), status, &expected);
        assert_eq!(
            project.shell("ls out/acme 2>/dev/null || true"),
            "",
            "something is there under its final name"
        );
    }

    #[test]
    fn content_larger_than_its_partition() {
        fails(
            |project| {
                project.shell("head -c 12M /dev/urandom > rootfs/large");
                project.edit("boards/acme.toml", "room = \"4M\"", "size = \"8M\"");
            },
            1,
            "  caused by: partition `root` is too small for its content\n  \
             caused by: ext4 needs 17 MiB, the partition has 8 MiB\n  caused by: declared at boards/acme.toml:28:8\n\n\
             hint: raise its `size`, or leave `size` out and let the content decide\n",
        );
    }

    #[track_caller]
    fn layer(options: &str, path: &str, expected: &str) {
        fails(
            |project| {
                project.write("evil", "x");
                project.shell(&format!("tar -cf rootfs.tar {options} evil"));
                project.edit(
                    "boards/acme.toml",
                    "kind = \"directory\"\npath = \"rootfs\"",
                    "kind = \"tar\"\npath = \"rootfs.tar\"",
                );
            },
            1,
            &format!("  caused by: cannot use the layer `rootfs.tar`\n  caused by: path `{path}` {expected}"),
        );
    }

    #[test]
    fn layers_that_leave_their_root() {
        let hint = "\n\nhint: paths in a layer may not hold `..`\n";
        layer("-P --transform s,^,../../,", "../../evil", &format!("leaves its root with `..`{hint}"));
        layer(
            "-P --transform s,^,etc/../../,",
            "etc/../../evil",
            &format!("leaves its root with `..`{hint}"),
        );
        layer(
            "-P --transform s,^,/etc/,",
            "/etc/evil",
            "is absolute\n\nhint: paths in a layer are relative to its root\n",
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_whole() {
        let project = Project::new();
        project.build(&["--stage", "rootfs"]);
        // As on a full disk, but without the rights that mounting a small one takes: no file above 100 KiB.
        let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" build --board acme";
        let outcome = project.outcome(project.command("sh").args(["-c", script, env!("CARGO_BIN_EXE_bimg")]));
        assert_fails(
            &outcome,
            1,
            "sources: up to date\nkernel: up to date\nrootfs: up to date\n\
             image: started: not built yet\nimage: failed after TIME\n\
             error: stage `image` failed for board `acme`\n  \
             caused by: cannot write the image `[DIR]/work/out/acme/acme.img`\n  \
             caused by: cannot write `[DIR]/work/out/acme/acme.img.partial`\n  caused by: File too large\n",
        );
        assert!(!project.path("out/acme/acme.img").exists());
        project.build(&[]);
    }

    #[test]
    fn a_full_disk() {
        let project = Project::new();
        project.shell("yes 'what nobody knew of' | head -c 32M > rootfs/large");
        project.build(&["--stage", "rootfs"]);
        // A small tmpfs of our own, where the host lets us have one; `a_file_that_cannot_be_written_whole`
        // needs nothing.
        let private = if rustix::process::geteuid().is_root() { "unshare -m" } else { "unshare -rm" };
        let fails = |size: &str, expected: &str| {
            let script = format!(
                "mkdir -p out && {private} sh -c 'mount -t tmpfs -o size={size} full out || exit 77; \
                 \"$0\" build --board acme; status=$?; ls -R out >&2; exit $status' \"$0\""
            );
            let bimg = env!("CARGO_BIN_EXE_bimg");
            let outcome = project.outcome(project.command("sh").args(["-c", &script, bimg]));
            if outcome.status != Some(77) && !outcome.stderr.starts_with("unshare: ") {
                let done = "sources: up to date\nkernel: up to date\nrootfs: up to date\n";
                assert_fails(&outcome, 1, &format!("{done}{expected}"));
            }
        };
        // Before anything is written.
        fails(
            "256k",
            "error: this machine is not ready for the build\n  \
             caused by: `[DIR]/work/out/acme` would take 12 MiB, but only 256 KiB are free there\n\n\
             hint: free some room, or point `--build-dir` and `--out` to another disk\n\
             out:\n",
        );
        fails(
            "16M",
            "image: started: not built yet\nimage: failed after TIME\n\
             error: stage `image` failed for board `acme`\n  \
             caused by: cannot write the image `[DIR]/work/out/acme/acme.img`\n  \
             caused by: cannot write `[DIR]/work/out/acme/acme.img.partial`\n  \
             caused by: No space left on device\n\n\
             hint: free some room on that disk, or use another one; for a build: `--build-dir`, `--out`, `XDG_CACHE_HOME`\n\
             out:\nacme\n\nout/acme:\n",
        );
    }

    #[test]
    fn a_directory_in_place_of_a_file() {
        let project = Project::new();
        assert_fails(
            &project.run(&["build", "--board", "acme", "--ssh-key", "boards"]),
            1,
            "error: cannot use the SSH key `boards`\n  caused by: cannot read `boards`\n  caused by: Is a directory\n",
        );
        project.shell("mkfifo overlay/etc/fifo");
        assert_fails(
            &project.run(BUILD),
            1,
            &format!(
                "{BUILT}error: stage `image` failed for board `acme`\n  caused by: cannot use the layer `overlay`\n  \
                 caused by: `overlay/etc/fifo` is neither a file, a directory nor a symbolic link\n\n\
                 hint: an overlay holds what git can hold; take devices from a `tar` layer\n"
            ),
        );
    }
}

mod unreadable {
    use super::*;

    /// bimg as somebody who cannot read everything: root only without the rights that override modes.
    fn run(project: &Project, args: &[&str]) -> Outcome {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = project.command("setpriv");
            command.args(["--bounding-set=-dac_override,-dac_read_search", env!("CARGO_BIN_EXE_bimg")]);
            command
        } else {
            project.command(env!("CARGO_BIN_EXE_bimg"))
        };
        project.outcome(command.args(args))
    }

    #[track_caller]
    fn fails(change: &str, args: &[&str], status: i32, expected: &str) {
        let project = Project::new();
        project.shell(change);
        assert_fails(&run(&project, &[BUILD, args].concat()), status, expected);
        assert_eq!(project.shell("ls out/acme 2>/dev/null || true"), "");
    }

    #[test]
    fn what_a_person_wrote() {
        let denied = |path: &str| format!("error: cannot read `{path}`\n  caused by: Permission denied\n");
        fails("chmod 000 boards/acme.toml", &[], 1, &denied("boards/acme.toml"));
        fails("chmod 000 boards/acme.config", &[], 1, &denied("boards/acme.config"));
        fails(
            "echo key >key.pub && chmod 000 key.pub",
            &["--ssh-key", "key.pub"],
            1,
            "error: cannot use the SSH key `key.pub`\n  caused by: cannot read `key.pub`\n  \
             caused by: Permission denied\n",
        );
    }

    #[test]
    fn a_file_of_a_layer() {
        let hint =
            "hint: make it readable for you, or have root pack the directory into a tar and use that\n";
        fails(
            "chmod 000 rootfs/etc/motd",
            &[],
            1,
            &format!(
                "error: cannot use the layer `rootfs`\n  caused by: cannot read `rootfs/etc/motd`\n  \
                 caused by: Permission denied\n\n{hint}"
            ),
        );
        fails(
            "chmod 000 overlay/etc/issue",
            &[],
            1,
            &format!(
                "{BUILT}error: stage `image` failed for board `acme`\n  \
                 caused by: cannot use the layer `overlay`\n  caused by: cannot read `overlay/etc/issue`\n  \
                 caused by: Permission denied\n\n{hint}"
            ),
        );
    }

    #[test]
    fn a_file_of_the_kernels_source() {
        fails(
            "chmod 000 linux/init/main.c",
            &[],
            1,
            &format!(
                "{NEW}{KERNEL}kernel: failed after TIME\nerror: stage `kernel` failed for board `acme`\n  \
                 caused by: `make Image modules acme/board-a.dtb` exited with status 2\n  \
                 caused by: cc1: fatal error: [DIR]/work/linux/init/main.c: Permission denied\n  \
                 log: build/acme/log/kernel.log\n\nhint: make the file readable for you\n"
            ),
        );
    }
}
