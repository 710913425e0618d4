//! Packages from a repository of our own in a directory, through the real apt.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::super::{Mode, Request, Store, fetch, find_kernel_tree, kernel_tree};
use super::{Bench, source, tar_of};
use crate::digest::Digest;
use crate::error::Exit;
use crate::exec::{Cmd, which};
use crate::fsx;
use crate::progress::{Event, Progress};

const ARCHITECTURES: [&str; 5] = ["amd64", "arm64", "armhf", "i386", "riscv64"];

/// A mirror in a directory and a host that is configured for it; `None` on hosts without apt.
struct Mirror {
    bench: Bench,
    packages: Vec<(String, String)>,
}

impl Mirror {
    fn new(trusted: bool) -> Option<Self> {
        which("apt-get")?;
        let bench = Bench::new();
        let (etc, root) = (bench.path().join("etc"), bench.path().display().to_string());
        let trusted = if trusted { "Trusted: yes\n" } else { "" };
        let sources = format!(
            "Types: deb\nURIs: file:{root}/mirror/debian\nSuites: bookworm\nComponents: main\n{trusted}"
        );
        fsx::write_atomic(&etc.join("apt/sources.list.d/debian.sources"), sources.as_bytes()).unwrap();
        fsx::write_atomic(&etc.join("os-release"), b"VERSION_CODENAME=bookworm\n").unwrap();
        // What a host may have, and what must not run here.
        let conf = format!(
            "Acquire::http::Proxy \"http://proxy.example:3142\";\n\
             APT::Update::Pre-Invoke {{ \"touch {root}/hooked\"; }};\n\
             DPkg::Pre-Invoke {{ \"touch {root}/hooked\"; }};\n"
        );
        fsx::write_atomic(&etc.join("apt/apt.conf.d/99hooks"), conf.as_bytes()).unwrap();
        let mut mirror = Mirror { bench, packages: Vec::new() };
        mirror.another_run("store");
        Some(mirror)
    }

    /// A store of somebody else's, or this one's in a later run.
    fn another_run(&mut self, store: &str) {
        let patience = self.bench.store.patience().clone();
        let store = Store::open(self.bench.path().join(store)).unwrap().with_patience(patience);
        self.bench.store = store.with_apt_etc(self.bench.path().join("etc/apt"));
    }

    fn pool(&self, file: &str) -> PathBuf {
        self.bench.path().join("mirror/debian/pool").join(file)
    }

    /// Adds a package that holds `files`, and publishes it in `suite`.
    fn add(&mut self, suite: &str, name: &str, version: &str, arch: &str, files: &[(&str, &[u8])]) {
        let build = self.bench.path().join("build");
        fsx::remove_dir_all(&build).unwrap();
        for (path, bytes) in files {
            fsx::write_atomic(&build.join(path), bytes).unwrap();
        }
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {arch}\n\
             Maintainer: T <t@example.org>\nDescription: x\n"
        );
        fsx::write_atomic(&build.join("DEBIAN/control"), control.as_bytes()).unwrap();
        let file = format!("{name}_{version}_{arch}.deb");
        let deb = self.pool(&file);
        fsx::create_dir_all(deb.parent().unwrap()).unwrap();
        Cmd::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .args([&build, &deb])
            .check()
            .unwrap();
        let (size, sha256) = (deb.metadata().unwrap().len(), Digest::of_file(&deb).unwrap());
        let stanza = format!("{control}Filename: pool/{file}\nSize: {size}\nSHA256: {sha256}\n");
        self.packages.push((arch.to_string(), stanza));
        self.publish(suite);
    }

    fn publish(&self, suite: &str) {
        let dists = self.bench.path().join("mirror/debian/dists").join(suite);
        let mut release = format!(
            "Origin: Debian\nSuite: {suite}\nCodename: {suite}\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n\
             Architectures: {}\nComponents: main\nSHA256:\n",
            ARCHITECTURES.join(" ")
        );
        for arch in ARCHITECTURES {
            let own: Vec<&str> = self
                .packages
                .iter()
                .filter(|(of, _)| of == arch || of == "all")
                .map(|(_, stanza)| stanza.as_str())
                .collect();
            let (path, text) = (format!("main/binary-{arch}/Packages"), own.join("\n"));
            fsx::write_atomic(&dists.join(&path), text.as_bytes()).unwrap();
            writeln!(release, " {} {} {path}", Digest::of(text.as_bytes()), text.len()).unwrap();
        }
        fsx::write_atomic(&dists.join("Release"), release.as_bytes()).unwrap();
    }

    fn add_kernel(&mut self, version: &str) {
        let tar = tar_of(&[("linux-source-9/Makefile", version), ("linux-source-9/Kconfig", "")]);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar).unwrap();
        let archive = xz.finish().unwrap();
        let files: [(&str, &[u8]); 1] = [("usr/src/linux-source-9.tar.xz", &archive)];
        self.add("bookworm", "linux-source-9", version, "all", &files);
    }
}

#[test]
fn a_kernel_source_is_fetched_pinned_and_unpacked_twice() {
    let Some(mut mirror) = Mirror::new(true) else { return };
    mirror.add_kernel("9.0-1");
    let from = [source(r#"{ apt = "linux-source-9", suite = "bookworm" }"#)];
    let bench = &mirror.bench;
    assert_eq!(
        bench.failure(&from, Mode::Offline),
        "cannot fetch source `kernel`\n  \
         caused by: package `linux-source-9` of `bookworm` is not in the store\n  \
         caused by: `--offline` uses only what was fetched before\n\n\
         hint: run once without `--offline`"
    );
    let package = bench.fetch(&from, Mode::Normal).unwrap();
    assert_eq!((package.locked.pin.version.as_deref(), package.epoch), (Some("9.0-1"), 1_700_000_000));
    // A look at what is there does not unpack it.
    assert!(find_kernel_tree(&package, &bench.store).unwrap().is_none());
    let kernel = kernel_tree(&package, &bench.store, &bench.heard).unwrap();
    let found = find_kernel_tree(&package, &bench.store).unwrap().unwrap();
    assert_eq!((found.dir, found.identity), (kernel.dir.clone(), kernel.identity.clone()));
    assert_eq!(fsx::read_to_string(&kernel.dir.join("Makefile")).unwrap(), "9.0-1");
    assert_ne!(kernel.identity, package.identity);
    assert!(!bench.path().join("hooked").exists());

    // The mirror moves on; the pin stays until an update, the lists being read once a run.
    mirror.add_kernel("9.1-1");
    mirror.another_run("store");
    let version = |mirror: &Mirror, mode| {
        mirror.bench.fetch(&from, mode).unwrap().locked.pin.version.unwrap_or_default()
    };
    assert_eq!(version(&mirror, Mode::Normal), "9.0-1");
    assert_eq!(version(&mirror, Mode::Offline), "9.0-1");
    assert_eq!(version(&mirror, Mode::Update), "9.1-1");
    assert_eq!(version(&mirror, Mode::Update), "9.1-1");
    assert_eq!(*mirror.bench.heard.lines.lock().unwrap(), ["reading the package lists of bookworm"; 2]);

    // Somebody else with this lock, when the mirror no longer has that version.
    mirror.packages.clear();
    mirror.add_kernel("9.2-1");
    mirror.another_run("elsewhere");
    assert_eq!(
        mirror.bench.failure(&from, Mode::Normal),
        "cannot fetch source `kernel`\n  \
         caused by: package `linux-source-9` of `bookworm` is not what the lock pins\n  \
         caused by: the mirror no longer has version 9.1-1\n\n\
         hint: `bimg update --board NAME` moves on to what the mirror has now"
    );
    assert_eq!(version(&mirror, Mode::Update), "9.2-1");
}

#[test]
fn foreign_architectures_and_other_suites() {
    let Some(mut mirror) = Mirror::new(true) else { return };
    mirror.add("trixie", "u-boot-x", "1:2~rc-1", "riscv64", &[("usr/lib/u-boot.bin", b"riscv")]);
    mirror.add("trixie", "u-boot-x", "1:2~rc-1", "arm64", &[("usr/lib/u-boot.bin", b"arm")]);
    for (arch, content) in [("arm64", "arm"), ("riscv64", "riscv")] {
        let from = source(&format!(
            r#"{{ apt = "u-boot-x", suite = "trixie", arch = "{arch}", component = "main" }}"#
        ));
        let fetched = mirror.bench.fetch(&[from], Mode::Normal).unwrap();
        assert_eq!(fsx::read_to_string(&fetched.dir.join("usr/lib/u-boot.bin")).unwrap(), content);
        assert_eq!(fetched.locked.pin.architecture.as_deref(), Some(arch));
    }
    let conf = mirror.bench.store.root().join("apt");
    let root = fsx::open(&conf).map(|_| conf.read_dir().unwrap().next().unwrap().unwrap().path()).unwrap();
    let conf = fsx::read_to_string(&root.join("apt.conf")).unwrap();
    assert!(conf.contains("Acquire::http::Proxy \"http://proxy.example:3142\";"), "{conf}");
    assert!(!conf.contains("Invoke"), "{conf}");
}

#[test]
fn what_the_mirror_does_not_have() {
    let Some(mut mirror) = Mirror::new(true) else { return };
    mirror.add_kernel("9.0-1");
    assert_eq!(
        mirror.bench.failure(&[source(r#"{ apt = "linux-source-8", suite = "bookworm" }"#)], Mode::Normal),
        "cannot fetch source `kernel`\n  \
         caused by: there is no package `linux-source-8` of `bookworm`\n\n\
         hint: nearest: `linux-source-9`"
    );
    assert_eq!(
        mirror.bench.failure(&[source(r#"{ apt = "linux-source-9", version = "1" }"#)], Mode::Normal),
        "cannot fetch source `kernel`\n  \
         caused by: there is no package `linux-source-9`\n  \
         caused by: the suite has it in another version only"
    );
    let Some(strict) = Mirror::new(false) else { return };
    let text = strict.bench.failure(&[source(r#"{ apt = "x", suite = "sarge" }"#)], Mode::Normal);
    assert_eq!(
        text,
        "cannot fetch source `kernel`\n  \
         caused by: cannot read the package lists for package `x` of `sarge`\n  \
         caused by: The repository 'file:TMP/mirror/debian sarge Release' does not have a Release file.\n\n\
         hint: the host's mirror does not have that suite; another alternative may"
    );
}

#[test]
fn unsigned_lists_and_wrong_packages_are_refused() {
    let Some(mut mirror) = Mirror::new(false) else { return };
    mirror.add_kernel("9.0-1");
    let from = [source(r#"{ apt = "linux-source-9" }"#)];
    let text = mirror.bench.failure(&from, Mode::Normal);
    assert!(text.contains("bookworm Release' is not signed"), "{text}");

    let Some(mut mirror) = Mirror::new(true) else { return };
    mirror.add_kernel("9.0-1");
    let deb = mirror.pool("linux-source-9_9.0-1_all.deb");
    let mut bytes = fsx::read(&deb).unwrap();
    bytes[100] ^= 1;
    fsx::write_atomic(&deb, &bytes).unwrap();
    let error = mirror.bench.fetch(&from, Mode::Normal).unwrap_err();
    let chain: Vec<&str> = error.chain().collect();
    assert_eq!(chain[..2], ["cannot fetch source `kernel`", "cannot download package `linux-source-9`"]);
    assert!(chain[2].contains("Hash Sum mismatch"), "{error}");
    assert_eq!(error.exit(), Exit::Failure);
}

/// Repairs the mirror as soon as it hears that it is out of step.
struct Repair<'a>(&'a Mirror);

impl Progress for Repair<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Event::Note { text } = event
            && text.starts_with("the mirror's lists do not fit together")
        {
            self.0.publish("bookworm");
        }
        self.0.bench.heard.event(event);
    }
}

#[test]
fn a_mirror_that_is_out_of_step_is_asked_again() {
    let Some(mut mirror) = Mirror::new(true) else { return };
    mirror.add_kernel("9.0-1");
    let dists = mirror.bench.path().join("mirror/debian/dists/bookworm/main");
    let disturb = || {
        for arch in ARCHITECTURES {
            let list = dists.join(format!("binary-{arch}/Packages"));
            let newer = fsx::read_to_string(&list).unwrap().replace("9.0-1", "9.1-1");
            fsx::write_atomic(&list, newer.as_bytes()).unwrap();
        }
    };
    disturb();
    let from = [source(r#"{ apt = "linux-source-9", suite = "bookworm" }"#)];
    let text = mirror.bench.failure(&from, Mode::Normal);
    let start = "cannot fetch source `kernel`\n  \
                 caused by: cannot read the package lists for package `linux-source-9` of `bookworm`\n  \
                 caused by: Failed to fetch file:TMP/mirror/debian/dists/bookworm/main/binary-";
    let end = "/Packages  Hash Sum mismatch\n\n\
               hint: the mirror is being updated, or one of its servers is behind: try again in a while, \
               or name another mirror in the host's apt configuration";
    assert!(text.starts_with(start) && text.ends_with(end), "{text}");
    let again = "the mirror's lists do not fit together; trying again in";
    let told = [
        "reading the package lists of bookworm".to_string(),
        format!("{again} 25ms (1 of 2)"),
        format!("{again} 50ms (2 of 2)"),
    ];
    assert_eq!(*mirror.bench.heard.lines.lock().unwrap(), told);

    mirror.another_run("store");
    disturb();
    let bench = &mirror.bench;
    let request = Request { name: "kernel", alternatives: &from, base: bench.path() };
    let fetched = fetch(&request, &bench.store, &mut bench.lock(), Mode::Normal, &Repair(&mirror)).unwrap();
    assert_eq!(fetched.locked.pin.version.as_deref(), Some("9.0-1"));
}
