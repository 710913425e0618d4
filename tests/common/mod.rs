//! A user's project in a temporary directory (a board, a kernel in miniature, a toolchain) and the real
//! `bimg` run in it. Needs no network, no KVM and no loop devices; a build takes a second or two.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod live;
pub mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A whole board, every line of which some test replaces.
pub const BOARD: &str = r#"description = "Acme evaluation board"
arch = "arm64"
toolchain = "fake"

[kernel]
source = { path = "linux" }
defconfig = "acme_defconfig"
fragments = ["acme.config"]
targets = ["Image"]
dtbs = ["acme/board-a.dtb"]
cmdline = "console=ttyAMA0"

[boot]
chain = "extlinux"

[disk]
table = "gpt"

[[disk.partition]]
name = "boot"
type = "esp"
filesystem = "vfat"
content = "boot"
size = "8M"
bootable = true

[[disk.partition]]
name = "root"
filesystem = "ext4"
content = "root"
room = "4M"

[rootfs]
kind = "directory"
path = "rootfs"
overlays = ["overlay"]
grow = false
"#;

const TOOLCHAIN: &str = r#"kind = "gcc"
arch = ["arm64"]
prefix = ["fake-"]
min_version = "5.1"
packages.debian = ["gcc-fake"]
"#;

/// Waits while `SLOW` is beside it, and tells which processes wait.
const COMPILER: &str = r#"#!/bin/sh
here=${0%/*}
case $1 in
--version | -dumpmachine) ;;
*)
	if [ -e "$here/SLOW" ]; then echo $$ >> "$here/pids"; fi
	while [ -e "$here/SLOW" ]; do sleep 0.1; done
	;;
esac
exec FIXTURES/fake-cross/fake-gcc "$@"
"#;

/// A directory with a project in it.
pub struct Project {
    dir: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The same, if it ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        self
    }
}

impl Project {
    pub fn new() -> Self {
        let project = Project { dir: tempfile::tempdir().unwrap() };
        for dir in ["work/boards", "work/toolchains", "work/rootfs/etc", "work/overlay/etc", "home", "tools"]
        {
            std::fs::create_dir_all(project.root().join(dir)).unwrap();
        }
        copy(&Path::new(FIXTURES).join("fake-kernel"), &project.path("linux"));
        project.write("boards/acme.toml", BOARD);
        project.write("boards/acme.config", "CONFIG_LED=m\n");
        project.write("toolchains/fake.toml", TOOLCHAIN);
        project.write("rootfs/etc/motd", "hello\n");
        project.write("overlay/etc/issue", "overlaid\n");
        project.tool("fake-gcc", &COMPILER.replace("FIXTURES", FIXTURES));
        project.tool("fake-ld", &format!("#!/bin/sh\nexec {FIXTURES}/fake-cross/fake-ld \"$@\"\n"));
        // Dates and modes of a directory are part of the image.
        project.shell("chmod -R u=rwX,go=rX . && find . -exec touch -h -d @1700000000 {} +");
        project
    }

    /// The temporary directory itself: cache, home and tools lie in it.
    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Below the working directory of bimg.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join("work").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces a text that is there.
    #[track_caller]
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} does not hold {from:?}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// A program that bimg finds before the host's.
    pub fn tool(&self, name: &str, script: &str) {
        write_program(&self.root().join("tools").join(name), script.as_bytes());
    }

    /// Makes the compiler wait, or go on.
    pub fn slow(&self, slow: bool) {
        let path = self.root().join("tools/SLOW");
        if slow { std::fs::write(path, "").unwrap() } else { std::fs::remove_file(path).unwrap() }
    }

    /// Processes of a slow compiler that still run.
    pub fn waiting(&self) -> Vec<String> {
        let pids = std::fs::read_to_string(self.root().join("tools/pids")).unwrap_or_default();
        let runs = |pid: &&str| {
            // One that is dead but not yet waited for is a matter of the host's init.
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        pids.split_whitespace().filter(runs).map(str::to_string).collect()
    }

    /// A shell command in the working directory.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let outcome = finish(self.command("sh").args(["-c", script]));
        assert_eq!(outcome.status, Some(0), "{script}: {}{}", outcome.stdout, outcome.stderr);
        outcome.stdout + &outcome.stderr
    }

    /// A program in the working directory, with nothing of the caller's environment but PATH.
    pub fn command(&self, program: &str) -> Command {
        #[expect(clippy::disallowed_methods, reason = "tests need processes as a user's shell starts them")]
        let mut command = Command::new(program);
        let system = std::env::var("PATH").unwrap();
        let path = format!("{}:{system}:/usr/sbin:/sbin", self.root().join("tools").display());
        command.env_clear().env("PATH", path).stdin(Stdio::null()).current_dir(self.path(""));
        command.env("HOME", self.root().join("home")).env("XDG_CACHE_HOME", self.root().join("cache"));
        command
    }

    /// bimg, ready to run.
    pub fn bimg(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_bimg"));
        command.args(args);
        command
    }

    /// bimg to its end.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.outcome(&mut self.bimg(args))
    }

    /// `bimg build --board acme ARGS`, well ended.
    #[track_caller]
    pub fn build(&self, args: &[&str]) -> Outcome {
        self.run(&[&["build", "--board", "acme"], args].concat()).ok()
    }

    /// `bimg plan --board acme ARGS`: its stages with their reasons.
    #[track_caller]
    pub fn plan(&self, args: &[&str]) -> Vec<String> {
        let plan = self.run(&[&["plan", "--board", "acme"], args].concat()).ok().stdout;
        let stages = plan.split("stages\n").nth(1).unwrap().split("\n\n").next().unwrap();
        stages.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// Runs a command; paths of this run become `[DIR]`.
    pub fn outcome(&self, command: &mut Command) -> Outcome {
        let outcome = finish(command);
        Outcome { stdout: self.redact(&outcome.stdout), stderr: self.redact(&outcome.stderr), ..outcome }
    }

    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.root().display().to_string(), "[DIR]")
    }

    /// Every file of the temporary directory with what tells that it was written to; but for locks and
    /// remembered digests, which say nothing about what is built.
    pub fn snapshot(&self, below: &str) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
        let mut all = BTreeMap::new();
        collect(&self.root().join(below), &mut all);
        all
    }

    /// Digest and name of every artifact.
    pub fn artifacts(&self) -> String {
        self.shell("cd out/acme && sha256sum *")
    }

    /// Files under a final name in the out directory while the image is not whole.
    #[track_caller]
    pub fn assert_nothing_half(&self, whole: &str) {
        for line in whole.lines() {
            let (digest, name) = line.split_once("  ").unwrap();
            if self.path("out/acme").join(name).exists() {
                let found = self.shell(&format!("sha256sum out/acme/{name}"));
                assert!(found.starts_with(digest), "{name} is there and not whole");
            }
        }
    }
}

/// Times differ from run to run, and so does how far a slow host is after ten seconds.
fn timeless(text: &str) -> String {
    let one = |line: &str| {
        let start = ["done in ", "failed after "].iter().find_map(|word| Some(line.find(word)? + word.len()));
        start.map_or(format!("{line}\n"), |end| format!("{}TIME\n", &line[..end]))
    };
    text.lines().filter(|line| !line.ends_with("%)")).map(one).collect()
}

/// A failure with its status and all of its words, and nothing on stdout.
#[track_caller]
pub fn assert_fails(outcome: &Outcome, status: i32, expected: &str) {
    assert_eq!(timeless(&outcome.stderr), expected);
    assert_eq!(outcome.status, Some(status));
    assert_eq!(outcome.stdout, "");
}

fn collect(path: &Path, all: &mut BTreeMap<PathBuf, (u64, u64, i64, i64)>) {
    let Ok(meta) = path.symlink_metadata() else { return };
    if path.file_name().is_some_and(|name| name == "lock" || name == "memo") {
        return;
    }
    all.insert(path.to_owned(), (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), all);
        }
    }
}

fn finish(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Writes a program, by a process of its own: what other tests start meanwhile would inherit a descriptor that writes
/// here, and until it is closed nobody can start the program (`Text file busy`).
pub fn write_program(path: &Path, bytes: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "as above")]
    let mut command = Command::new("sh");
    command.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]).arg(path);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(child.wait().unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    #[expect(clippy::disallowed_methods, reason = "as above")]
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
