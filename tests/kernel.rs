//! Whole kernel builds in seconds, on a kernel tree in miniature with a compiler of another name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bimg::arch::Arch;
use bimg::error::Result;
use bimg::exec::Cmd;
use bimg::kernel::{self, Fragment, Freshness, KernelArtifacts, KernelSpec};
use bimg::progress::{Event, Progress, Silent};
use bimg::toolchain;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A directory with a copy of the miniature kernel.
struct Kernel {
    dir: tempfile::TempDir,
}

impl Kernel {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel { dir };
        copy(&Path::new(FIXTURES).join("fake-kernel"), &kernel.path("linux"));
        kernel
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn spec(&self) -> KernelSpec {
        let text = format!(
            "kind = \"gcc\"\narch = [\"arm64\"]\nprefix = [\"{FIXTURES}/fake-cross/fake-\"]\nmin_version = \"5.1\"\n"
        );
        KernelSpec {
            arch: Arch::Arm64,
            toolchain: toolchain::parse("fake", "fake.toml", &text).unwrap().detect(Arch::Arm64).unwrap(),
            source: self.path("linux"),
            source_identity: "miniature".to_string(),
            editable: true,
            defconfig: "acme_defconfig".to_string(),
            fragments: Vec::new(),
            sets: Vec::new(),
            targets: vec!["Image".to_string()],
            dtbs: vec!["acme/board-a.dtb".to_string()],
            overlays: Vec::new(),
            origins: BTreeMap::new(),
            external_modules: Vec::new(),
            load_address: None,
            dir: self.path("build"),
            log: self.path("kernel.log"),
            epoch: 1_762_797_900,
            jobs: Some(2),
            ccache: false,
        }
    }

    /// The message with what differs from run to run replaced.
    fn redact(&self, text: &str) -> String {
        let root = self.path("").display().to_string();
        text.replace(root.trim_end_matches('/'), "[DIR]").replace(FIXTURES, "[FIXTURES]")
    }

    fn error(&self, spec: &KernelSpec) -> String {
        self.redact(&build(spec).unwrap_err().to_string())
    }
}

fn copy(from: &Path, to: &Path) {
    Cmd::new("cp").arg("-a").arg(from).arg(to).check().unwrap();
}

fn build(spec: &KernelSpec) -> Result<KernelArtifacts> {
    kernel::build(spec, &Silent).map(|(artifacts, _)| artifacts)
}

fn fragment(text: &str) -> Fragment {
    Fragment { name: "boards/common/x.config".to_string(), text: text.to_string() }
}

fn reasons(spec: &KernelSpec) -> Vec<String> {
    match kernel::freshness(spec).unwrap() {
        Freshness::Fresh(_) => Vec::new(),
        Freshness::Stale { reasons } => reasons,
    }
}

/// Remembers warnings.
#[derive(Default)]
struct Heard {
    warnings: Mutex<Vec<String>>,
}

impl Progress for Heard {
    fn event(&self, event: &Event<'_>) {
        if let Event::Warning { text } = event {
            self.warnings.lock().unwrap().push((*text).to_string());
        }
    }
}

#[test]
fn builds_stages_and_tells() {
    let kernel = Kernel::new();
    copy(&Path::new(FIXTURES).join("hello-module"), &kernel.path("hello"));
    let mut spec = kernel.spec();
    spec.targets.push("uImage".to_string());
    spec.load_address = Some(0x8_0000);
    spec.fragments = vec![fragment("CONFIG_LED=m\nCONFIG_LOCALVERSION=\"-x\"\n")];
    spec.sets = vec!["CONFIG_LOCALVERSION=\"-acme\"".to_string()];
    spec.external_modules = vec![kernel.path("hello")];
    let artifacts = build(&spec).unwrap();

    assert_eq!(artifacts.release, "6.12.0-fake-acme");
    for (name, path) in artifacts.files() {
        assert!(path.is_file(), "{name}");
        assert!(artifacts.digest(name).is_some(), "{name}");
    }
    let files = Cmd::new("find").args([".", "-name", "*.ko", "-o", "-type", "l"]).cwd(&artifacts.modules_dir);
    let mut files: Vec<String> = files.check().unwrap().text().lines().map(str::to_string).collect();
    files.sort();
    assert_eq!(files, ["./kernel/drivers/gpio.ko", "./kernel/drivers/led.ko", "./updates/hello.ko"]);
    let deps = std::fs::read_to_string(artifacts.modules_dir.join("modules.dep")).unwrap();
    assert!(deps.contains("updates/hello.ko:"), "{deps}");
    Cmd::new("mkimage").arg("-l").arg(&artifacts.images["uImage"]).check().unwrap();

    assert_eq!(
        kernel.redact(&artifacts.command),
        "make -C [DIR]/linux O=[DIR]/build/obj ARCH=arm64 CROSS_COMPILE=[FIXTURES]/fake-cross/fake- Image modules \
         acme/board-a.dtb"
    );
    let log = kernel.read("kernel.log");
    assert!(log.contains("  CC      init/main.o\n"), "{log}");
    assert_eq!(kernel::freshness(&spec).unwrap(), Freshness::Fresh(Box::new(artifacts)));
    // The sources are as they were.
    for (source, fixture) in [("linux", "fake-kernel"), ("hello", "hello-module")] {
        Cmd::new("diff")
            .arg("-r")
            .arg(kernel.path(source))
            .arg(Path::new(FIXTURES).join(fixture))
            .check()
            .unwrap();
    }
}

#[test]
fn a_key_that_the_kernel_makes_for_itself_is_told_of_and_ones_own_is_an_input() {
    let kernel = Kernel::new();
    let mut spec = kernel.spec();
    spec.fragments = vec![fragment("CONFIG_MODULE_SIG=y\n")];
    let heard = Heard::default();
    kernel::build(&spec, &heard).unwrap();
    assert_eq!(
        *heard.warnings.lock().unwrap(),
        [
            "CONFIG_MODULE_SIG: the kernel's build makes a key for its modules, another one in each build directory, so \
          nobody can reproduce this kernel; name an RSA key of your own with \
          `--set 'CONFIG_MODULE_SIG_KEY=\"/path/to/key.pem\"'` and the same inputs give the same bytes again"
        ]
    );
    kernel.write("key.pem", "key");
    spec.sets = vec![format!("CONFIG_MODULE_SIG_KEY=\"{}\"", kernel.path("key.pem").display())];
    let heard = Heard::default();
    kernel::build(&spec, &heard).unwrap();
    assert!(heard.warnings.lock().unwrap().is_empty());
    assert!(reasons(&spec).is_empty());
    kernel.write("key.pem", "another key");
    assert_eq!(reasons(&spec), ["file of CONFIG_MODULE_SIG_KEY changed"]);
    std::fs::remove_file(kernel.path("key.pem")).unwrap();
    assert_eq!(
        kernel.error(&spec),
        "the file that CONFIG_MODULE_SIG_KEY names cannot be read\n  caused by: cannot read `[DIR]/key.pem`\n  \
         caused by: No such file or directory"
    );
}

/// Their versions would be in the configuration, the headers and the image.
#[test]
fn programs_that_a_kernel_does_not_use_are_hidden_from_its_kconfig() {
    let kernel = Kernel::new();
    let mut spec = kernel.spec();
    std::fs::create_dir_all(spec.obj()).unwrap();
    let flags = |spec: &KernelSpec| {
        let variables = kernel::make::Make::new(spec).unwrap().variables();
        variables.into_iter().find(|(name, _)| *name == "MAKEFLAGS").unwrap().1
    };
    assert_eq!(flags(&spec), "RUSTC=none PAHOLE=none");
    kernel.write("linux/Makefile", "RUSTC = rustc\nPAHOLE = pahole\nversions:\n\t@echo $(RUSTC) $(PAHOLE)\n");
    let make = kernel::make::Make::new(&spec).unwrap();
    let said = make.cmd(&["versions".to_string()]).check().unwrap().text();
    assert!(said.contains("\nnone none\n"), "{said}");
    spec.sets = vec!["CONFIG_RUST=y".to_string()];
    assert_eq!(flags(&spec), "PAHOLE=none");
    kernel.write("linux/arch/arm64/configs/acme_defconfig", "CONFIG_DEBUG_INFO_BTF=y\n");
    assert_eq!(flags(&spec), "");
    spec.fragments = vec![fragment("# CONFIG_DEBUG_INFO_BTF is not set\n")];
    assert_eq!(flags(&spec), "PAHOLE=none");
}

#[test]
fn two_folders_give_the_same_bytes() {
    let digests = |below: &str| {
        let kernel = Kernel::new();
        std::fs::create_dir_all(kernel.path(below)).unwrap();
        std::fs::rename(kernel.path("linux"), kernel.path(below).join("tree")).unwrap();
        let mut spec = kernel.spec();
        spec.source = kernel.path(below).join("tree");
        spec.dir = kernel.path(below).join("out/kernel");
        spec.targets.push("vmlinux".to_string());
        let artifacts = build(&spec).unwrap();
        let vmlinux = std::fs::read(&artifacts.images["vmlinux"]).unwrap();
        let root = kernel.path("").display().to_string();
        let found = vmlinux.windows(root.len()).any(|window| window == root.as_bytes());
        assert!(!found, "vmlinux holds the path of its build");
        let banner = b"Linux fake #1 Mon Nov 10 18:05:00 UTC 2025 bimg@bimg";
        assert!(vmlinux.windows(banner.len()).any(|window| window == banner));
        artifacts.digests
    };
    assert_eq!(digests("a"), digests("another/much/deeper/place"));
}

#[test]
fn every_change_has_its_reason() {
    let kernel = Kernel::new();
    let mut spec = kernel.spec();
    spec.fragments = vec![fragment("CONFIG_LED=m\n")];
    assert_eq!(reasons(&spec), ["no finished build"]);
    build(&spec).unwrap();
    assert_eq!(reasons(&spec), [""; 0]);

    let changed = |change: &dyn Fn(&mut KernelSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        reasons(&spec)
    };
    assert_eq!(changed(&|s| s.fragments[0].text.push('\n')), ["fragment boards/common/x.config changed"]);
    assert_eq!(
        changed(&|s| s.defconfig = "defconfig".to_string()),
        ["defconfig changed from `acme_defconfig` to `defconfig`"]
    );
    assert_eq!(changed(&|s| s.sets.push("CONFIG_LED=n".to_string())), ["--set CONFIG_LED is new"]);
    // Another board may share this kernel: asking for less is fresh.
    assert_eq!(changed(&|s| s.dtbs.clear()), [""; 0]);
    assert_eq!(
        changed(&|s| s.targets.push("vmlinux".to_string())),
        ["image vmlinux is new", "output vmlinux was changed from outside"]
    );
    assert_eq!(changed(&|s| s.toolchain.identity = "fake 13".to_string()), ["toolchain changed"]);
    assert_eq!(changed(&|s| s.jobs = Some(7)), [""; 0]);
    // An overlay changes what is in every device tree.
    let overlay = changed(&|s| s.overlays.push("acme/x.dtbo".to_string()));
    assert!(
        overlay.contains(&"symbols in device trees changed from `no` to `yes`".to_string()),
        "{overlay:?}"
    );

    std::fs::remove_file(spec.image("Image")).unwrap();
    assert_eq!(reasons(&spec), ["output Image is gone"]);
    std::fs::remove_dir_all(spec.stage()).unwrap();
    assert_eq!(reasons(&spec), ["output Image is gone", "the staged modules are gone"]);
    build(&spec).unwrap();
    kernel.write("linux/init/main.c", "int start(void) { return 2; }\n");
    assert_eq!(reasons(&spec), ["source init/main.c changed"]);
    // A source from the store cannot change: nothing is walked.
    assert_eq!(changed(&|s| s.editable = false), [""; 0]);
}

#[test]
fn a_commit_in_a_work_tree_counts() {
    let kernel = Kernel::new();
    let git = |dir: &str, args: &[&str]| {
        let git = Cmd::new("git").args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-C"]);
        git.arg(kernel.path(dir)).args(args).check().unwrap().text()
    };
    git("linux", &["init", "-q", "-b", "main"]);
    git("linux", &["add", "-A"]);
    git("linux", &["commit", "-q", "-m", "one"]);
    git("linux", &["worktree", "add", "-q", "../tree", "-b", "mine"]);
    let mut spec = kernel.spec();
    spec.source = kernel.path("tree");
    build(&spec).unwrap();
    assert_eq!(reasons(&spec), [""; 0]);
    let one = git("tree", &["rev-parse", "HEAD"]);
    git("tree", &["commit", "-q", "--allow-empty", "-m", "two"]);
    let two = git("tree", &["rev-parse", "HEAD"]);
    assert_eq!(reasons(&spec), [format!("git revision changed from `{}` to `{}`", one.trim(), two.trim())]);
}

#[test]
fn an_edit_is_built_and_nothing_of_the_old_modules_stays() {
    let kernel = Kernel::new();
    let spec = kernel.spec();
    let before = build(&spec).unwrap();
    kernel.write("linux/init/main.c", "int start(void) { return 2; }\n");
    let mut other = spec.clone();
    other.sets = vec!["CONFIG_GPIO=n".to_string()];
    let after = build(&other).unwrap();
    assert_ne!(before.digest("Image"), after.digest("Image"));
    assert!(!after.modules_dir.join("kernel/drivers/gpio.ko").exists());
    assert_eq!(reasons(&other), [""; 0]);
}

#[test]
fn kconfig_runs_when_something_that_it_reads_has_changed() {
    let kernel = Kernel::new();
    let mut spec = kernel.spec();
    let config = spec.config();
    let configured = |spec: &KernelSpec| {
        build(spec).unwrap();
        std::fs::read_to_string(&spec.log).unwrap().contains("olddefconfig")
    };
    assert!(configured(&spec));
    let date = || config.metadata().unwrap().modified().unwrap();
    let (first, text) = (date(), std::fs::read(&config).unwrap());

    kernel.write("linux/init/main.c", "int start(void) { return 2; }\n");
    assert!(!configured(&spec));
    // With the same outcome: make sees no other configuration.
    let kconfig = kernel.read("linux/Kconfig");
    kernel.write("linux/Kconfig", &(kconfig + "# end\n"));
    assert!(configured(&spec));
    assert_eq!(date(), first);

    spec.sets = vec!["CONFIG_GPIO=n".to_string()];
    assert!(configured(&spec));
    spec.sets.clear();
    assert!(configured(&spec));
    assert_eq!(std::fs::read(&config).unwrap(), text);
    std::fs::write(&config, "CONFIG_GPIO=n\n").unwrap();
    assert!(configured(&spec));
    assert_eq!(std::fs::read(&config).unwrap(), text);
    std::fs::remove_file(&config).unwrap();
    assert!(configured(&spec));
    assert_eq!(std::fs::read(&config).unwrap(), text);
    // What make took from it is another's.
    std::fs::write(spec.obj().join("include/config/auto.conf"), "CONFIG_GPIO=n\n").unwrap();
    kernel.write("linux/init/main.c", "int start(void) { return 3; }\n");
    assert!(configured(&spec));
    assert_ne!(date(), first);
}

#[test]
fn a_defconfig_that_is_a_link_counts_by_what_it_leads_to() {
    let kernel = Kernel::new();
    let spec = kernel.spec();
    let own = kernel.path("linux/arch/arm64/configs").join(&spec.defconfig);
    std::fs::rename(&own, kernel.path("bsp_defconfig")).unwrap();
    std::os::unix::fs::symlink(kernel.path("bsp_defconfig"), &own).unwrap();
    build(&spec).unwrap();
    assert_eq!(reasons(&spec), [""; 0]);
    let text = kernel.read("bsp_defconfig");
    kernel.write("bsp_defconfig", &(text + "# end\n"));
    assert_eq!(reasons(&spec), [format!("defconfig {} changed", spec.defconfig)]);
}

#[test]
fn a_killed_build_continues_to_the_same_bytes() {
    let whole = Kernel::new();
    let expected = build(&whole.spec()).unwrap().digests;

    let kernel = Kernel::new();
    let spec = kernel.spec();
    build(&spec).unwrap();
    // An incremental build dies while it writes an object that had been built before.
    let gpio = kernel.read("linux/drivers/gpio.c");
    kernel.write("linux/drivers/KILL", "");
    kernel.write("linux/drivers/gpio.c", &gpio.replace("return 1", "return 2"));
    assert_eq!(
        kernel.error(&spec),
        "`make Image modules acme/board-a.dtb` was killed by signal 9\n  caused by: it printed no reason\n  log: [DIR]/kernel.log"
    );
    assert_eq!(std::fs::read(spec.obj().join("drivers/gpio.o")).unwrap(), b"half");
    assert_eq!(reasons(&spec), ["no finished build"]);
    std::fs::remove_file(kernel.path("linux/drivers/KILL")).unwrap();
    let changed = build(&spec).unwrap().digests;
    assert_ne!(changed, expected);
    kernel.write("linux/drivers/gpio.c", &gpio);
    assert_eq!(build(&spec).unwrap().digests, expected);
}

#[test]
fn two_builds_of_one_directory_make_one() {
    let kernel = Kernel::new();
    let spec = kernel.spec();
    let results: Vec<BTreeMap<_, _>> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..2).map(|_| scope.spawn(|| build(&spec).unwrap().digests)).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(kernel.read("kernel.log").matches("acme_defconfig").count(), 1);
}

#[test]
fn progress_counts_objects() {
    #[derive(Default)]
    struct Counts(Mutex<Vec<(u64, Option<u64>)>>);
    impl Progress for Counts {
        fn event(&self, event: &Event<'_>) {
            if let Event::Progress { task: "compiling", done, total, .. } = event {
                self.0.lock().unwrap().push((*done, *total));
            }
        }
    }
    let kernel = Kernel::new();
    let counts = Counts::default();
    kernel::build(&kernel.spec(), &counts).unwrap();
    let seen = counts.0.into_inner().unwrap();
    // main, version, gpio, vmlinux, gpio.ko and the DTB.
    assert_eq!(seen.iter().map(|(done, _)| *done).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(seen.iter().all(|(done, total)| total.is_some_and(|total| total >= *done)));
}

mod bad_input {
    use super::*;

    #[test]
    fn compile_error() {
        let kernel = Kernel::new();
        kernel.write("linux/init/main.c", "int start(void) { return x; }\n");
        assert_eq!(
            kernel.error(&kernel.spec()),
            "`make Image modules acme/board-a.dtb` exited with status 2\n  \
             caused by: [DIR]/linux/init/main.c:1:26: error: 'x' undeclared (first use in this function)\n  \
             log: [DIR]/kernel.log\n\n\
             hint: correct the source at that line, or turn off the option that builds it"
        );
        let mut spec = kernel.spec();
        spec.editable = false;
        assert!(
            kernel.error(&spec).ends_with(
                "\n\nhint: turn off the option that builds it; or let `kernel.source` be the `path` of a tree of your own \
                 and correct it there: what is edited in the store is lost"
            )
        );
    }

    #[test]
    fn defconfig_that_is_not_there() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        spec.defconfig = "acne_defconfig".to_string();
        assert_eq!(
            kernel.error(&spec),
            "this kernel has no defconfig `acne_defconfig` for arm64\n  \
             caused by: there is no `arch/arm64/configs/acne_defconfig` in `[DIR]/linux`\n\n\
             hint: did you mean `acme_defconfig`?"
        );
        assert!(!spec.dir.exists(), "nothing may be written before the checks");
    }

    #[test]
    fn device_tree_that_is_not_there() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        spec.dtbs = vec!["board-a.dtb".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "this kernel has no device tree `board-a.dtb`\n\nhint: nearest: `acme/board-a.dtb`"
        );
        spec.dtbs = vec!["acme/board-b.dtb".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "this kernel has no device tree `acme/board-b.dtb`\n\nhint: nearest: `acme/board-a.dtb`"
        );
        spec.dtbs = vec!["../x.dtb".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "`../x.dtb` is not the name of a device tree\n\nhint: it is a path below arch/arm64/boot/dts, ending in `.dtb`"
        );
    }

    #[test]
    fn symbols_not_honoured() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        spec.defconfig = "defconfig".to_string();
        spec.fragments = vec![fragment("# lights\nCONFIG_LED=m\n")];
        assert_eq!(
            kernel.error(&spec),
            "Kconfig did not honour `CONFIG_LED=m` (boards/common/x.config:2)\n  \
             caused by: it became `n`: it depends on `BUS && GPIO` (Kconfig:16), and `BUS` is n, `GPIO` is n\n\n\
             hint: ask for `CONFIG_BUS=y`, `CONFIG_GPIO=y` as well, or drop the request"
        );
        spec.sets = vec!["CONFIG_LEDS=y".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "Kconfig did not honour 2 of 2 requests\n  \
             caused by: boards/common/x.config:2: `CONFIG_LED=m` became `n`: it depends on `BUS && GPIO` (Kconfig:16), and \
             `BUS` is n, `GPIO` is n\n  \
             caused by: --set: `CONFIG_LEDS=y` is no option of this kernel\n\n\
             hint: ask for `CONFIG_BUS=y`, `CONFIG_GPIO=y` as well, or drop the request"
        );
    }

    #[test]
    fn modules_that_do_not_fit() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        spec.sets = vec!["CONFIG_LOST=m".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "the staged modules do not fit together\n  \
             caused by: kernel/drivers/lost.ko needs unknown symbol missing_symbol\n  \
             log: [DIR]/kernel.log\n\n\
             hint: enable the option that provides the symbol, or build the module in with `=y`"
        );
    }

    #[test]
    fn sources_that_kbuild_would_refuse() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        kernel.write("linux/.config", "");
        assert_eq!(
            kernel.error(&spec),
            "kernel source `[DIR]/linux` is not clean\n  \
             caused by: it holds `.config` of a build made inside it, and kbuild then refuses any other\n\n\
             hint: keep its .config if you need it, then run `make -C [DIR]/linux ARCH=arm64 mrproper`"
        );
        spec.source = kernel.path("build");
        std::fs::create_dir_all(&spec.source).unwrap();
        assert_eq!(
            kernel.error(&spec),
            "`[DIR]/build` is not a kernel source tree\n  caused by: it has no `Makefile`"
        );
    }

    #[test]
    fn paths_that_make_cannot_take() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        spec.dir = kernel.path("my builds");
        assert_eq!(
            kernel.error(&spec),
            "kernel path `[DIR]/my builds/obj` holds ` `\n\nhint: kbuild cannot work there; move it, or choose another \
             `--build-dir`"
        );
    }

    #[test]
    fn images_of_another_architecture() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        spec.targets = vec!["bzImage".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "there is no image `bzImage` for arm64\n\nhint: its kernel comes as `Image`, `Image.gz`, `uImage`, `vmlinux`"
        );
        spec.targets = vec!["uImage".to_string()];
        assert_eq!(
            kernel.error(&spec),
            "a `uImage` needs the address to load it to\n\nhint: give `load_address` of the board's memory, for example \
             `load_address = 0x8000`"
        );
    }

    #[test]
    fn external_modules() {
        let kernel = Kernel::new();
        let mut spec = kernel.spec();
        // The name of its directory is nothing that make gets to see.
        copy(&Path::new(FIXTURES).join("hello-module"), &kernel.path("my $(hello) module"));
        spec.external_modules = vec![kernel.path("my $(hello) module")];
        assert!(build(&spec).unwrap().modules_dir.join("updates/hello.ko").is_file());
        std::fs::create_dir_all(kernel.path("empty")).unwrap();
        spec.external_modules = vec![kernel.path("empty")];
        assert_eq!(
            kernel.error(&spec),
            "external module `[DIR]/empty` failed\n  caused by: it has neither `Kbuild` nor `Makefile`\n\n\
             hint: a module directory holds a `Kbuild` with lines such as `obj-m := hello.o`"
        );
        // Its header lies beside it, where the copy has nothing.
        copy(&Path::new(FIXTURES).join("hello-module"), &kernel.path("hello"));
        kernel.write("shared.h", "#define SHARED 1\n");
        let text = kernel.read("hello/hello.c");
        kernel.write("hello/hello.c", &format!("#include \"../shared.h\"\n{text}"));
        spec.external_modules = vec![kernel.path("hello")];
        let error = kernel.error(&spec);
        let key = error.split("bimg-external/hello-").nth(1).unwrap().split('/').next().unwrap();
        assert_eq!(
            error.replace(key, "KEY"),
            "external module `[DIR]/hello` failed\n  \
             caused by: `make modules` exited with status 2\n  \
             caused by: [DIR]/build/obj/bimg-external/hello-KEY/hello.c:1:10: fatal error: ../shared.h: No such file or directory\n  \
             log: [DIR]/kernel.log\n\n\
             hint: `hello.c:1` leads out of the directory with `..`, and kbuild writes beside the sources of a module, so what it \
             gets is a copy of the directory alone; name the one above it in `modules`, with a `Kbuild` there that says \
             `obj-m += hello/`"
        );
        spec.external_modules = vec![kernel.path("nowhere")];
        assert_eq!(
            kernel.error(&spec),
            "external module `[DIR]/nowhere` cannot be read\n  caused by: cannot read `[DIR]/nowhere`\n  \
             caused by: No such file or directory"
        );
    }
}
