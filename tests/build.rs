//! Whole runs of `bimg build` and `bimg plan` by the real binary: what they make, judged by others'
//! tools; what they leave alone; what they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Project;
use serde_json::Value;

const FRESH: &str = "sources: up to date\nkernel: up to date\nrootfs: up to date\nimage: up to date\n";

fn manifest(project: &Project) -> Value {
    serde_json::from_str(&project.read("out/acme/manifest.json")).unwrap()
}

#[test]
fn the_image_is_accepted_by_every_judge() {
    let project = Project::new();
    let built = project.build(&[]);
    assert!(
        built.stdout.starts_with("out/acme/acme.img\n") && built.stdout.contains("kernel 6.12.0-fake\n"),
        "{}",
        built.stdout
    );
    assert!(built.stdout.ends_with("\nnext:\n  bimg flash out/acme/acme.img\n"));

    let table = project.shell("sgdisk -v out/acme/acme.img");
    assert!(table.contains("No problems found"), "{table}");
    let table = project.shell("sfdisk --verify out/acme/acme.img");
    assert!(table.contains("No errors detected"), "{table}");
    let sums = project.shell("cd out/acme && sha256sum -c SHA256SUMS");
    assert_eq!(sums, "acme.img: OK\nacme.img.bmap: OK\nmanifest.json: OK\n");
    project.shell("bmaptool copy out/acme/acme.img copied && cmp out/acme/acme.img copied");

    let manifest = manifest(&project);
    for (partition, judge) in
        manifest["disk"]["partitions"].as_array().unwrap().iter().zip(["fsck.fat -n", "e2fsck -fn"])
    {
        let (name, start, size) = (&partition["name"], &partition["start"], &partition["size"]);
        project.shell(&format!(
            "dd if=out/acme/acme.img of={name} iflag=skip_bytes,count_bytes skip={start} count={size} bs=1M && {judge} {name}"
        ));
    }
    let root = |path: &str| project.shell(&format!("debugfs -R 'cat {path}' root 2>/dev/null"));
    assert_eq!(root("/etc/motd"), "hello\n");
    assert_eq!(root("/etc/issue"), "overlaid\n");
    assert!(root("/boot/config-6.12.0-fake").contains("CONFIG_LED=m"));
    assert!(root("/lib/modules/6.12.0-fake/modules.dep").contains("kernel/drivers/led.ko:"));
    let extlinux = project.shell("mtype -i boot ::extlinux/extlinux.conf");
    let partuuid = manifest["disk"]["partitions"][1]["partuuid"].as_str().unwrap();
    assert!(extlinux.contains(&format!("append console=ttyAMA0 root=PARTUUID={partuuid} ")), "{extlinux}");
    project.shell("mtype -i boot ::Image | cmp - build/kernel/*/obj/arch/arm64/boot/Image");

    let text = project.read("out/acme/manifest.json");
    assert!(!text.contains(&project.root().display().to_string()), "the manifest holds a host path: {text}");
    assert_eq!(manifest["command"], "bimg build --locked --board acme");
    let mut dated = project.bimg(&["build", "--board", "acme", "--format", "gz", "--hostname", "box"]);
    project.outcome(dated.env("SOURCE_DATE_EPOCH", "1700000000")).ok();
    assert_eq!(
        self::manifest(&project)["command"],
        "SOURCE_DATE_EPOCH=1700000000 bimg build --locked --board acme --hostname box --format gz"
    );
    assert_eq!(self::manifest(&project)["epoch"], 1_700_000_000);
    assert_eq!(
        manifest["kernel"]["command"],
        "make -C $SOURCE O=$BUILD/obj ARCH=arm64 CROSS_COMPILE=fake- Image modules acme/board-a.dtb"
    );
}

#[test]
fn a_partition_without_a_type_gets_that_of_its_filesystem() {
    for (table, fat, linux) in [
        ("gpt", "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "0fc63daf-8483-4772-8e79-3d69d8477de4"),
        ("mbr", "c", "83"),
    ] {
        let project = Project::new();
        project.edit("boards/acme.toml", "type = \"esp\"\n", "");
        project.edit("boards/acme.toml", "table = \"gpt\"", &format!("table = \"{table}\""));
        project.build(&[]);
        let table = project.shell("sfdisk --dump out/acme/acme.img").to_lowercase();
        assert!(
            table.contains(&format!("type={fat}, ")) && table.contains(&format!("type={linux}")),
            "{table}"
        );
    }
}

#[test]
fn a_second_build_rewrites_nothing() {
    let project = Project::new();
    project.build(&[]);
    let before = project.snapshot("");
    let second = project.build(&[]);
    assert_eq!(second.stderr, FRESH);
    assert_eq!(project.snapshot(""), before);
}

#[test]
fn every_change_is_named_by_the_plan_and_by_the_build() {
    let project = Project::new();
    let none: &[&str] = &[];
    let later = "image the stages before it run first";
    assert_eq!(
        project.plan(none),
        [
            "sources `kernel` is not pinned yet",
            "kernel its source is not there yet",
            "rootfs not built yet",
            later
        ]
    );
    assert!(!project.path("build").exists() && !project.path("out").exists());
    assert!(!project.path("bimg.lock").exists() && !project.root().join("cache").exists());
    project.build(none);

    let fresh = ["sources up to date", "kernel up to date", "rootfs up to date", "image up to date"];
    let change = |args: &[&str], stage: &str, reason: &str| {
        let before = project.snapshot("");
        let plan = project.plan(args);
        assert_eq!(project.snapshot(""), before, "a plan wrote something");
        assert!(plan.contains(&format!("{stage} {reason}")), "{plan:#?}");
        let built = project.build(args);
        assert!(built.stderr.contains(&format!("{stage}: started: {reason}\n")), "{}", built.stderr);
        assert_eq!(project.plan(args), fresh);
    };
    project.write("boards/acme.config", "CONFIG_LED=m\nCONFIG_LOCALVERSION=\"-two\"\n");
    change(none, "kernel", "fragment boards/acme.config changed");
    change(&["--set", "CONFIG_LED=n"], "kernel", "--set CONFIG_LED is new");
    change(none, "kernel", "--set CONFIG_LED is gone");
    project.write("linux/drivers/gpio.c", &(project.read("linux/drivers/gpio.c") + "int another;\n"));
    change(none, "kernel", "source drivers/gpio.c changed");
    project.write("overlay/etc/issue", "another\n");
    change(none, "image", "rootfs overlay `overlay` changed");
    change(&["--hostname", "box"], "image", "rootfs host name changed");
    change(none, "image", "rootfs host name changed");
    project.edit("boards/acme.toml", "evaluation", "production");
    change(none, "image", "profile boards/acme.toml changed");
    project.edit("out/acme/SHA256SUMS", "  acme.img\n", "  acme.imp\n");
    change(none, "image", "`out/acme/SHA256SUMS` is gone or was changed");
    std::fs::remove_file(project.path("out/acme/acme.img")).unwrap();
    change(none, "image", "`out/acme/acme.img` is gone or was changed");

    project.write("rootfs/etc/motd", "good morning\n");
    assert_eq!(project.plan(none)[2], "rootfs `rootfs` changed");
    let built = project.build(none);
    assert!(built.stderr.contains("rootfs: started: `rootfs` changed\n"), "{}", built.stderr);
    assert!(built.stderr.contains("image: started: rootfs `rootfs` changed\n"), "{}", built.stderr);
}

#[test]
fn each_output_directory_has_its_own_image() {
    let project = Project::new();
    let elsewhere = ["--out", "elsewhere"];
    project.build(&[]);
    assert_eq!(project.plan(&elsewhere)[3], "image not built yet");
    let built = project.build(&["--out", "elsewhere", "--hostname", "box"]);
    assert!(built.stderr.contains("image: started: not built yet\n"), "{}", built.stderr);
    // The other one is what it was.
    assert_eq!(project.build(&[]).stderr, FRESH);
    assert_eq!(project.plan(&elsewhere)[3], "image rootfs host name changed");
    project.build(&elsewhere);
    project.shell("cmp out/acme/acme.img elsewhere/acme/acme.img");
    assert_eq!(project.build(&[]).stderr, FRESH);
    assert_eq!(project.build(&elsewhere).stderr, FRESH);
}

#[test]
fn a_base_that_somebody_touched_is_made_again() {
    let project = Project::new();
    project.shell("tar --sort=name --owner=0 --group=0 -C rootfs -czf rootfs.tar.gz .");
    project.edit(
        "boards/acme.toml",
        "kind = \"directory\"\npath = \"rootfs\"",
        "kind = \"tar\"\npath = \"rootfs.tar.gz\"",
    );
    project.build(&[]);
    let artifacts = project.artifacts();
    let base = project.shell("ls build/rootfs/*/base.tar");
    project.shell("sed -i s/hello/HELLO/ build/rootfs/*/base.tar");
    let built = project.build(&[]);
    let reason = format!("rootfs: started: `{}` is gone or was changed\n", base.trim());
    assert!(built.stderr.contains(&reason), "{}", built.stderr);
    assert_eq!(project.artifacts(), artifacts);
    project.shell("gzip -dc rootfs.tar.gz | sed s/hello/howdy/ | gzip -n >new && mv new rootfs.tar.gz");
    let built = project.build(&[]);
    assert!(built.stderr.contains("rootfs: started: `rootfs.tar.gz` changed\n"), "{}", built.stderr);
}

#[test]
fn place_umask_language_and_jobs_change_no_byte() {
    let first = Project::new();
    first.build(&["-j1", "--format", "zstd"]);
    let second = Project::new();
    std::fs::create_dir_all(second.root().join("elsewhere/deeper")).unwrap();
    let place = second.root().join("elsewhere/deeper/work");
    std::fs::rename(second.path(""), &place).unwrap();
    let bimg = env!("CARGO_BIN_EXE_bimg");
    let mut shell = second.command("sh");
    let script = "umask 077 && exec \"$0\" build --board acme -j3 --no-ccache --format zstd";
    shell.args(["-c", script, bimg]).current_dir(&place);
    second
        .outcome(shell.env("TZ", "Asia/Tokyo").env("LANG", "tr_TR.UTF-8").env("LC_ALL", "tr_TR.UTF-8"))
        .ok();
    std::fs::rename(&place, second.path("")).unwrap();
    assert_eq!(first.artifacts(), second.artifacts());
}

#[test]
fn a_profile_by_path_makes_the_same_image_anywhere() {
    let build = || {
        let project = Project::new();
        project.shell("mv boards/acme.toml . && head -c 5000 linux/Makefile >spl.bin");
        project.edit("acme.toml", "acme.config", "boards/acme.config");
        project.edit(
            "acme.toml",
            "[rootfs]",
            "[[disk.blob]]\nname = \"spl\"\nfile = \"spl.bin\"\noffset = \"1M\"\n\n[rootfs]",
        );
        let profile = project.path("acme.toml").display().to_string();
        project.run(&["build", "--board", &profile]).ok();
        assert!(!project.read("out/acme/manifest.json").contains(&project.root().display().to_string()));
        project.artifacts()
    };
    assert_eq!(build(), build());
}

#[test]
fn a_stage_can_be_the_last() {
    let project = Project::new();
    let built = project.build(&["--stage", "kernel"]);
    assert_eq!(built.stdout, "acme: built up to `kernel`, kernel 6.12.0-fake\n");
    assert!(!project.path("out").exists() && !project.path("build/rootfs").exists());
    let built = project.build(&["--stage", "rootfs"]);
    assert_eq!(built.stdout, "acme: built up to `rootfs`, kernel 6.12.0-fake\n");
    assert!(built.stderr.starts_with("sources: up to date\nkernel: up to date\nrootfs: started: "));
    assert!(!project.path("out").exists());
}

#[test]
fn a_compressed_image_holds_the_same_bytes() {
    let project = Project::new();
    for (format, suffix, judge) in [("zstd", "zst", "zstd"), ("xz", "xz", "xz"), ("gz", "gz", "gzip")] {
        project.build(&["--format", format]);
        let file = format!("out/acme/acme.img.{suffix}");
        project.shell(&format!("{judge} -t {file} && {judge} -dc {file} | cmp - out/acme/acme.img"));
        assert!(project.read("out/acme/SHA256SUMS").contains(&format!("  acme.img.{suffix}\n")));
        project.shell("cd out/acme && sha256sum -c SHA256SUMS");
    }
    // Compressed files of another run would describe another image sooner or later.
    assert_eq!(
        project.shell("ls out/acme"),
        "SHA256SUMS\nacme.img\nacme.img.bmap\nacme.img.gz\nmanifest.json\n"
    );
    let formats = ["--format", "sparse", "--format", "partitions", "--format", "qcow2", "--format", "sparse"];
    project.build(&formats);
    assert_eq!(
        project.shell("ls out/acme"),
        "SHA256SUMS\nacme.boot.img\nacme.img\nacme.img.bmap\nacme.qcow2\nacme.root.img\nacme.simg\nmanifest.json\n"
    );
    project.shell(
        "cd out/acme && sha256sum -c SHA256SUMS && simg2img acme.simg back && cmp back acme.img && rm back",
    );
    assert!(project.read("out/acme/manifest.json").contains("\"acme.root.img\""));
    project.build(&[]);
    assert_eq!(project.shell("ls out/acme"), "SHA256SUMS\nacme.img\nacme.img.bmap\nmanifest.json\n");
}

#[test]
fn an_image_that_cannot_be_replaced_stays_whole() {
    let project = Project::new();
    project.build(&["--format", "gz"]);
    let before = project.artifacts();
    project.write("overlay/etc/issue", "another\n");
    // No file above 100 KiB: planned well, and cut short while it is written.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" build --board acme --format gz";
    let failed = project.outcome(project.command("sh").args(["-c", script, env!("CARGO_BIN_EXE_bimg")]));
    assert_eq!(failed.status, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("image: started: rootfs overlay "), "{}", failed.stderr);
    assert_eq!(project.artifacts(), before);
    project.write("overlay/etc/issue", "overlaid\n");
    assert_eq!(project.build(&["--format", "gz"]).stderr, FRESH);
}

#[test]
fn a_build_that_ends_while_it_clears_up_leaves_no_list_of_what_is_gone() {
    let project = Project::new();
    project.build(&["--format", "gz", "--format", "xz"]);
    project.shell("cd out/acme && rm acme.img.gz && mkdir acme.img.gz");
    project.write("overlay/etc/issue", "another\n");
    let failed = project.run(&["build", "--board", "acme"]);
    assert!(
        failed.stderr.ends_with(
            "error: stage `image` failed for board `acme`\n  \
             caused by: cannot remove `[DIR]/work/out/acme/acme.img.gz`\n  caused by: Is a directory\n"
        ),
        "{}",
        failed.stderr
    );
    let left = project.shell("ls out/acme");
    assert!(!left.contains("SHA256SUMS") && !left.contains("manifest.json\n"), "{left}");
    // The next one still knows what to remove.
    assert!(left.contains("acme.img.xz\n"), "{left}");
    project.shell("rmdir out/acme/acme.img.gz");
    project.build(&[]);
    assert_eq!(project.shell("ls out/acme"), "SHA256SUMS\nacme.img\nacme.img.bmap\nmanifest.json\n");
}

#[test]
fn what_a_killed_build_left_half_written_goes_with_the_next_image() {
    let project = Project::new();
    project.build(&[]);
    project.shell(
        "cd out/acme && touch acme.img.zst.partial acme.root.img.partial acme.partial.txt acme2.img.partial",
    );
    project.write("overlay/etc/issue", "another\n");
    project.build(&[]);
    assert_eq!(
        project.shell("ls out/acme"),
        "SHA256SUMS\nacme.img\nacme.img.bmap\nacme.partial.txt\nacme2.img.partial\nmanifest.json\n"
    );
}

#[test]
fn a_plan_names_each_tool_once() {
    let project = Project::new();
    project.edit("boards/acme.toml", "{ path = \"linux\" }", "{ apt = \"linux-source-9\" }");
    project.edit("boards/acme.toml", "[boot]", "[firmware]\nsoc = { apt = \"firmware-acme\" }\n\n[boot]");
    let plan = project.run(&["plan", "--board", "acme"]).ok().stdout;
    assert_eq!(plan.lines().find(|line| line.starts_with("tools: ")).unwrap().matches("apt-get").count(), 1);
}

#[test]
fn one_filesystem_for_all_in_two_slots() {
    let project = Project::new();
    let boot = "[[disk.partition]]\nname = \"boot\"\ntype = \"esp\"\nfilesystem = \"vfat\"\ncontent = \"boot\"\n\
                size = \"8M\"\nbootable = true\n\n";
    project.edit("boards/acme.toml", boot, "");
    project.edit("boards/acme.toml", "\"console=ttyAMA0\"", "\"console=ttyAMA0 -- root=x single\"");
    project.edit(
        "boards/acme.toml",
        "[rootfs]",
        "[[disk.partition]]\nname = \"b\"\nfilesystem = \"ext4\"\ncontent = \"root\"\n\n\
         [[disk.partition]]\nname = \"c\"\nfilesystem = \"erofs\"\ncontent = \"root\"\n\n\
         [[disk.partition]]\nname = \"d\"\nfilesystem = \"squashfs\"\ncontent = \"root\"\n\n[rootfs]",
    );
    project.build(&["--format", "partitions"]);
    let manifest = manifest(&project);
    let partuuid = manifest["disk"]["partitions"][0]["partuuid"].as_str().unwrap();
    let conf =
        project.shell("debugfs -R 'cat /boot/extlinux/extlinux.conf' out/acme/acme.root.img 2>/dev/null");
    assert!(conf.contains("kernel /boot/Image\n"), "{conf}");
    assert!(conf.contains("fdt /boot/dtbs/acme/board-a.dtb\n"), "{conf}");
    // What follows `--` is for init, also when it looks like something else.
    let root =
        format!("console=ttyAMA0 root=PARTUUID={partuuid} rootfstype=ext4 rootwait -- root=x single\n");
    assert!(conf.contains(&root), "{conf}");
    let slot = project.shell("debugfs -R 'cat /boot/extlinux/extlinux.conf' out/acme/acme.b.img 2>/dev/null");
    assert_eq!(slot, conf);
    project.shell("fsck.erofs --extract=c out/acme/acme.c.img && cmp c/boot/Image build/kernel/*/obj/arch/arm64/boot/Image");
    project.shell(
        "unsquashfs -q -n -d d out/acme/acme.d.img && cmp d/boot/Image build/kernel/*/obj/arch/arm64/boot/Image",
    );
    let squash = &manifest["disk"]["partitions"][3];
    assert_eq!((&squash["filesystem"], &squash["filesystem_uuid"]), (&"squashfs".into(), &Value::Null));
    let uuids: Vec<&str> = (0..2)
        .map(|slot| manifest["disk"]["partitions"][slot]["filesystem_uuid"].as_str().unwrap())
        .collect();
    assert_ne!(uuids[0], uuids[1]);
}

#[test]
fn output_is_what_was_asked_for() {
    let project = Project::new();
    let json = project.build(&["--json", "-v"]);
    assert_eq!(json.stderr, "");
    let events: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(named("stage-finished").len(), 4);
    assert_eq!(named("stage-started")[1]["reason"], "no finished build");
    assert_eq!(events.last().unwrap()["event"], "built");
    assert_eq!(events.last().unwrap()["release"], "6.12.0-fake");

    let quiet = project.build(&["-q", "--hostname", "box"]);
    assert_eq!(quiet.stderr, "");
    // Not a terminal: nothing but text, with and without the wish to have no colours.
    for no_color in ["", "1"] {
        let mut bimg = project.bimg(&["build", "--board", "acme", "-v", "--hostname", "box"]);
        project.edit("boards/acme.toml", "evaluation", "evaluation and more");
        let built = project.outcome(bimg.env("NO_COLOR", no_color).env("TERM", "xterm-256color")).ok();
        assert!(built.stderr.contains("image: started: profile boards/acme.toml changed\n"));
        let failed = project.outcome(project.bimg(&["build", "--board", "acne"]).env("NO_COLOR", no_color));
        for text in [built.stdout, built.stderr, failed.stderr] {
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        }
    }
}

#[test]
fn make_runs_any_goal_where_the_build_compiles() {
    let project = Project::new();
    project.write("boards/acme.config", "CONFIG_LOCALVERSION=\"-x\"\n");
    let make = |goals: &[&str]| project.run(&[&["make", "--board", "acme"], goals].concat());
    // Nothing is built yet: it gets the board's configuration, and its source.
    let menu =
        project.outcome(project.bimg(&["make", "--board", "acme", "menuconfig"]).env("TERM", "xterm")).ok();
    let told = menu.stderr.replace(project.shell("cd build/kernel && ls").trim(), "KEY");
    assert_eq!(told, "in `build/kernel/KEY/obj`\n");
    assert_eq!(
        menu.stdout.lines().filter(|line| !line.starts_with("make: ")).collect::<Vec<_>>(),
        ["TERM=xterm", "CONFIG_LED=m"]
    );
    assert!(project.shell("cat build/kernel/*/obj/.config").contains("CONFIG_LED=m"));
    project.build(&[]);
    assert!(!project.shell("cat build/kernel/*/obj/.config").contains("CONFIG_LED=m"));
    let artifacts = project.artifacts();

    assert!(make(&["clean"]).ok().stderr.starts_with("in `build/kernel/"));
    let built = project.build(&[]).stderr;
    assert!(built.contains("kernel: started: output Image is gone\n"), "{built}");
    make(&["mrproper"]).ok();
    assert_eq!(project.shell("find build/kernel/*/obj -name .config -o -name Image"), "");
    project.build(&[]);
    assert_eq!(project.artifacts(), artifacts);

    for version in ["-a", "-b"] {
        let set = format!("CONFIG_LOCALVERSION=\"{version}\"");
        let told = make(&["--set", &set, "-s", "kernelrelease"]).ok().stdout;
        assert_eq!(told, format!("6.12.0-fake{version}\n"));
    }

    let failed = make(&["V=1", "nonsense"]);
    assert_eq!(failed.status, Some(1));
    assert!(
        failed.stderr.ends_with("error: `make V=1 nonsense` exited with status 2\n"),
        "{}",
        failed.stderr
    );
    project.build(&[]);
    assert_eq!(project.run(&["make", "--board", "acme"]).status, Some(2));
}

const VIRT: &str = r#"
[firmware]
uboot = { path = "rootfs" }

[emulator]
machine = "virt"
console = "ttyAMA0"
disk = "virtio"
network = false
firmware = { bios = "uboot:etc/motd" }
"#;

#[test]
fn firmware_of_the_emulator_is_one_of_the_board() {
    let project = Project::new();
    let with = |bios: &str| common::BOARD.to_string() + &VIRT.replace("uboot:etc/motd", bios);
    project.write("boards/acme.toml", &with("uboot:etc/motd"));
    project.run(&["boards", "check", "acme"]).ok();
    for (bios, why) in [
        ("u-boot.bin", "the emulator's `bios` is `u-boot.bin`, which names no firmware"),
        ("ubot:etc/motd", "there is no firmware `ubot`"),
    ] {
        project.write("boards/acme.toml", &with(bios));
        let outcome = project.run(&["boards", "check", "acme"]);
        assert_eq!(outcome.status, Some(2));
        let line = with(bios).lines().position(|line| line == "[emulator]").unwrap() + 1;
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&format!("boards/acme.toml:{line}:")), "{}", outcome.stderr);
    }
}

#[test]
fn what_comes_next_names_the_board_as_the_user_did() {
    let project = Project::new();
    project.shell("mkdir own && cp -a linux rootfs overlay own && cp boards/acme.config own");
    let profile = common::BOARD.to_string() + VIRT;
    project.write("own/My board.toml", &profile);
    let outcome = project.run(&["build", "--board", "own/My board.toml"]).ok();
    let next = outcome.stdout.split("next:\n").nth(1).unwrap();
    assert_eq!(
        next,
        "  bimg run --board 'own/My board.toml'\n  bimg test --board 'own/My board.toml'\n  \
         bimg flash out/my-board/my-board.img\n"
    );
    let manifest: Value = serde_json::from_str(&project.read("out/my-board/manifest.json")).unwrap();
    assert_eq!(manifest["command"], "bimg build --locked --board './My board.toml'");
    project.shell("rm out/my-board/manifest.json");
    let outcome = project.run(&["test", "--board", "own/My board.toml"]);
    assert!(
        outcome.stderr.ends_with("\nhint: build it: `bimg build --board 'own/My board.toml'`\n"),
        "{}",
        outcome.stderr
    );
}
