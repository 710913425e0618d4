use super::*;
use crate::exec::Cmd;

fn host(os_release: &str) -> Host {
    Host::from_os_release(os_release, false, true)
}

/// A directory of tools that print what they are told to.
struct FakeTools(tempfile::TempDir);

impl FakeTools {
    fn new(tools: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, prints) in tools {
            // Written by a process of its own: a file that this one had open for writing could still be
            // open in a child that another test is starting, and would be "text file busy".
            let script = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
            let path = dir.path().join(name);
            Cmd::new("/bin/sh").args(["-c", script, "sh"]).arg(path).arg(prints).check().unwrap();
        }
        FakeTools(dir)
    }

    fn report(&self, needs: &[Need], host: Host) -> Report {
        let request = Request { needs, ..Request::default() };
        let mut facts = Prober::with_path(self.0.path()).facts(&request).unwrap();
        facts.host = host;
        evaluate(&request, &facts)
    }

    fn error(&self, needs: &[Need], host: Host) -> String {
        require(&self.report(needs, host)).unwrap_err().to_string()
    }
}

fn cross_gcc() -> Need {
    Need::new("aarch64-linux-gnu-gcc", "cross-compiles the kernel").packages(Packages {
        debian: vec!["gcc-aarch64-linux-gnu".into()],
        fedora: vec!["gcc-aarch64-linux-gnu".into()],
        arch: vec!["aarch64-linux-gnu-gcc".into()],
    })
}

const DEBIAN_12: &str = "ID=debian\nVERSION_CODENAME=bookworm";

#[test]
fn a_missing_toolchain() {
    let tools = FakeTools::new(&[("make", "echo 'GNU Make 4.3'")]);
    assert_eq!(
        tools.error(&[Need::new("make", "runs the kernel build"), cross_gcc()], host(DEBIAN_12)),
        "this machine is not ready for the build\n  \
         caused by: `aarch64-linux-gnu-gcc` 5.1 or newer is missing: cross-compiles the kernel\n\n\
         hint: install what is missing with `sudo apt-get install --yes gcc-aarch64-linux-gnu`"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let tools = FakeTools::new(&[
        ("make", "echo 'GNU Make 3.81'"),
        ("gcc", "echo 'gcc (GCC) 4.9.2 20141101'"),
        ("flex", "echo 'flex 2.6.4'"),
    ]);
    let mut needs = kernel_needs();
    needs.retain(|need| ["gcc", "make", "flex", "bison"].contains(&need.tool.as_str()));
    needs.push(Need::new("libelf", "reads objects (objtool, BTF)"));
    needs.push(Need::new("ccache", "makes repeated kernel builds fast").optional());
    // The fake gcc accepts any header, so that only its version is wrong.
    assert_eq!(
        tools.error(&needs, host("ID=fedora")),
        "this machine is not ready for the build\n  \
         caused by: `gcc` is 4.9.2, but 5.1 or newer is needed: compiles the kernel's host programs\n  \
         caused by: `make` is 3.81, but 4.0 or newer is needed: runs the kernel build\n  \
         caused by: `bison` 2.0 or newer is missing: generates Kconfig's parser\n\n\
         hint: install what is missing with `sudo dnf install --assumeyes bison gcc glibc-devel make`"
    );
}

#[test]
fn headers_are_what_the_compiler_finds() {
    let picky = "read line; case $line in *gelf.h*) exit 1;; esac";
    let tools = FakeTools::new(&[("cc", picky)]);
    let needs = [Need::new("libelf", "reads objects"), Need::new("openssl", "signs modules")];
    assert_eq!(
        tools.error(&needs, host("ID=arch")),
        "this machine is not ready for the build\n  \
         caused by: the headers of `libelf` are missing: reads objects\n\n\
         hint: install what is missing with `sudo pacman -S --needed --noconfirm libelf`"
    );
    let tools = FakeTools::new(&[]);
    assert_eq!(tools.report(&needs, host("ID=arch")).packages, ["libelf", "openssl"]);
}

#[test]
fn a_new_qemu_on_debian_12_comes_from_backports() {
    let tools = FakeTools::new(&[(
        "qemu-system-aarch64",
        "echo 'QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7+deb12u13)'",
    )]);
    let needs = [
        Need::new("qemu-system-aarch64", "runs 64-bit Arm boards"),
        Need::new("make", "runs the kernel build"),
        Need::new("qemu-system-aarch64", "has the raspi4b machine").at_least("9.0".parse().unwrap()),
    ];
    assert_eq!(
        tools.error(&needs, host(DEBIAN_12)),
        "this machine is not ready for the build\n  \
         caused by: `qemu-system-aarch64` is 7.2.15, but 9.0 or newer is needed: has the raspi4b machine\n  \
         caused by: `make` 4.0 or newer is missing: runs the kernel build\n\n\
         hint: install what is missing with `sudo apt-get install --yes make && \
         sudo apt-get install --yes -t bookworm-backports ipxe-qemu qemu-system-arm`\n\
         on Debian 12 this QEMU comes from bookworm-backports; `scripts/setup` of bimg's sources \
         installs it without changing the apt configuration"
    );
    // Debian 13 has it in its own suite.
    assert_eq!(
        tools.report(&needs, host("ID=debian\nVERSION_CODENAME=trixie")).install.unwrap(),
        "sudo apt-get install --yes ipxe-qemu make qemu-system-arm"
    );
}

#[test]
fn an_unknown_distribution_gets_debians_names() {
    let tools = FakeTools::new(&[]);
    assert_eq!(
        tools.error(&[Need::new("xz", "unpacks sources")], host("ID=nixos\nPRETTY_NAME=\"NixOS 25.05\"")),
        "this machine is not ready for the build\n  \
         caused by: `xz` is missing: unpacks sources\n\n\
         hint: install what is missing with the package manager of NixOS 25.05; Debian's names are: xz-utils"
    );
}

#[test]
fn the_kernel_trees_own_minimum_wins() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("scripts")).unwrap();
    std::fs::write(
        tree.path().join("scripts/min-tool-version.sh"),
        "case $1 in gcc) echo 8.1.0;; binutils) if [ $SRCARCH = x86 ]; then echo 2.30.0; fi;; \
         *) echo unknown >&2; exit 1;; esac",
    )
    .unwrap();
    let tools = FakeTools::new(&[
        ("aarch64-linux-gnu-gcc", "echo 'aarch64-linux-gnu-gcc (X) 7.5.0'"),
        ("ld", "echo 'GNU ld (GNU Binutils) 2.29'"),
    ]);
    let needs = [cross_gcc(), Need::new("ld", "links")];
    let request = Request {
        needs: &needs,
        tree: Some(KernelTree { dir: tree.path(), arch: "x86_64" }),
        ..Request::default()
    };
    let facts = Prober::with_path(tools.0.path()).facts(&request).unwrap();
    let report = evaluate(&request, &facts);
    let minimums: Vec<String> =
        report.tools.iter().map(|tool| tool.min.as_ref().unwrap().to_string()).collect();
    assert_eq!(minimums, ["8.1.0", "2.30.0"]);
    assert!(report.tools.iter().all(|tool| tool.status == Status::TooOld));
}

fn facts(disk: Vec<(u64, ByteSize)>, memory: ByteSize) -> Facts {
    Facts { tools: BTreeMap::new(), minimums: BTreeMap::new(), host: host(DEBIAN_12), disk, memory }
}

#[test]
fn directories_on_one_filesystem_share_its_room() {
    let rooms = [
        Room { dir: "build".into(), bytes: ByteSize::mib(3 << 10) },
        Room { dir: "out".into(), bytes: ByteSize::mib(1 << 10) },
    ];
    let request = Request { disk: &rooms, memory: ByteSize::mib(2048), ..Request::default() };
    let free = ByteSize::mib(3500);
    let both = evaluate(&request, &facts(vec![(1, free), (1, free)], ByteSize::mib(512)));
    assert_eq!(
        require(&both).unwrap_err().to_string(),
        "this machine is not ready for the build\n  \
         caused by: `build` and `out` would take 4 GiB, but only 3.4 GiB are free there\n  \
         caused by: the build takes 2 GiB of memory, but only 512 MiB are free\n\n\
         hint: free some room, or point `--build-dir` and `--out` to another disk\n\
         close other programs, or add swap"
    );
    let apart = evaluate(&request, &facts(vec![(1, free), (2, free)], ByteSize::mib(4096)));
    assert!(apart.is_ready());
}

#[test]
fn the_table_and_json() {
    let tools = FakeTools::new(&[("make", "echo 'GNU Make 4.3'"), ("newuidmap", "")]);
    let needs = [
        Need::new("make", "runs the kernel build"),
        Need::new("newuidmap", "runs mmdebstrap without root"),
        Need::new("flex", "generates Kconfig's lexer"),
        Need::new("ccache", "makes repeated kernel builds fast").optional(),
    ];
    let mut report = tools.report(&needs, host(DEBIAN_12));
    report.disk =
        vec![Disk { dirs: vec!["build".into()], free: ByteSize::mib(75_000), needed: ByteSize::mib(3072) }];
    report.memory = Memory { free: ByteSize::mib(1024), needed: ByteSize::mib(2048) };
    assert_eq!(
        report.table(),
        "✓ make       4.3      >= 4.0     runs the kernel build\n\
         ✓ newuidmap  found               runs mmdebstrap without root\n\
         ✗ flex       missing  >= 2.5.35  generates Kconfig's lexer\n\
         - ccache     missing             makes repeated kernel builds fast\n\
         ✓ disk       73.2 GiB free, 3 GiB needed for `build`\n\
         ✗ memory     1 GiB free, 2 GiB needed\n\n\
         install what is missing with `sudo apt-get install --yes flex`\n\
         close other programs, or add swap\n"
    );
    report.tools.truncate(1);
    report.tools[0].path = None;
    assert_eq!(
        serde_json::to_value(&report).unwrap()["tools"][0],
        serde_json::json!({
            "tool": "make", "headers": false, "why": "runs the kernel build", "optional": false,
            "min": "4.0", "version": "4.3", "path": null, "status": "ok"
        })
    );
}
