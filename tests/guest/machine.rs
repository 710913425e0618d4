//! A guest on QEMU with a disk that stays: booted from bimg's own image through its own boot loader, reached by
//! SSH on loopback, killed as a power cut does it.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest boot, on a busy machine without KVM.
const BOOT: Duration = Duration::from_secs(240);

/// The image with somebody's key is the board's until it is copied.
static IMAGE: Mutex<()> = Mutex::new(());

pub struct Lab {
    pub board: String,
    /// Where `build/` and `out/` are.
    pub home: PathBuf,
    /// Keys, disk, console.
    pub dir: tempfile::TempDir,
    pub port: u16,
}

#[expect(clippy::disallowed_methods, reason = "tests need processes as a user's shell starts them")]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

#[track_caller]
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

impl Lab {
    /// Builds the board's image with a key of our own, onto a disk of 1 GiB.
    pub fn new(board: &str) -> Lab {
        let home = std::env::var_os("BIMG_GUEST_HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let lab = Lab { board: board.to_string(), home, dir: tempfile::tempdir().unwrap(), port };
        output(command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(lab.path("key")));
        let config = format!(
            "Host *\nUserKnownHostsFile {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nLogLevel ERROR\n",
            lab.path("known_hosts").display(),
            lab.path("key").display()
        );
        std::fs::write(lab.path("ssh.config"), config).unwrap();
        let key = lab.path("key.pub").display().to_string();
        let _image = IMAGE.lock().unwrap_or_else(PoisonError::into_inner);
        output(&mut lab.bimg(&["build", "--ssh-key", &key]));
        let image = lab.out().join(format!("{board}.img"));
        output(command("cp").arg("--sparse=always").arg(image).arg(lab.path("disk")));
        std::fs::File::options().write(true).open(lab.path("disk")).unwrap().set_len(1 << 30).unwrap();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn out(&self) -> PathBuf {
        self.home.join("out").join(&self.board)
    }

    pub fn host(&self) -> String {
        format!("root@127.0.0.1:{}", self.port)
    }

    /// `bimg VERB.. --board BOARD ARGS`.
    pub fn bimg(&self, args: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_bimg"));
        let (verb, rest) = args.split_at(if args[0] == "target" { 2 } else { 1 });
        command.args(verb).args(["--board", &self.board]).args(rest);
        command.env("BIMG_BUILD_DIR", self.home.join("build")).env("BIMG_OUT_DIR", self.home.join("out"));
        command.env("BIMG_SSH_CONFIG", self.path("ssh.config"));
        command
    }

    /// The same to the guest.
    pub fn to_guest(&self, args: &[&str]) -> Command {
        let mut command = self.bimg(args);
        command.args(["--host", &self.host(), "--accept-new"]);
        command
    }

    /// Power on.
    pub fn start(&self) -> Machine {
        let out = self.out();
        let firmware = |name: &str| out.join(name).display().to_string();
        let (program, machine): (&str, Vec<String>) = match self.board.as_str() {
            "qemu-arm64" => (
                "qemu-system-aarch64",
                vec!["-cpu".into(), "cortex-a53".into(), "-bios".into(), firmware("u-boot.bin")],
            ),
            "qemu-riscv64" => (
                "qemu-system-riscv64",
                vec!["-bios".into(), firmware("fw_jump.elf"), "-kernel".into(), firmware("u-boot.bin")],
            ),
            other => panic!("no machine for {other}"),
        };
        let console = self.path("console");
        let mut qemu = command(program);
        qemu.args(["-machine", "virt", "-m", "512M", "-nodefaults", "-display", "none"]).args(machine);
        qemu.arg("-chardev").arg(format!("file,id=console,append=on,path={}", console.display()));
        qemu.args(["-serial", "chardev:console"]);
        // What the guest has flushed is on the disk, what it has not is lost with QEMU: as a power cut does it.
        qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", self.path("disk").display()));
        qemu.args(["-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device"]);
        qemu.arg("-netdev").arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{}-:22", self.port));
        qemu.args(["-device", "virtio-net-device,netdev=net"]);
        let machine = Machine { child: qemu.spawn().unwrap(), port: self.port, console };
        machine.wait_ssh();
        machine
    }

    /// A command in the guest.
    pub fn ssh(&self, script: &str) -> Output {
        let mut ssh = command("ssh");
        ssh.arg("-F").arg(self.path("ssh.config")).args([
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "BatchMode=yes",
        ]);
        ssh.args(["-p", &self.port.to_string(), "root@127.0.0.1", "--", script]).output().unwrap()
    }

    /// The deployment that runs; `image` for the image's own kernel.
    pub fn running(&self) -> String {
        let cmdline = String::from_utf8(self.ssh("cat /proc/cmdline").stdout).unwrap();
        let id = cmdline.split_whitespace().find_map(|word| word.strip_prefix("bimg_deploy="));
        assert!(cmdline.contains("root="), "the guest does not answer");
        id.unwrap_or("image").to_string()
    }

    /// Both filesystems, judged by their own checkers.
    #[track_caller]
    pub fn check_disk(&self) {
        let dump = output(command("sfdisk").arg("--dump").arg(self.path("disk")));
        let numbers = |line: &str| -> Option<(u64, u64)> {
            let field = |key: &str| {
                line.split(key).nth(1)?.trim_start_matches([' ', '=']).split(',').next()?.trim().parse().ok()
            };
            Some((field("start")?, field("size")?))
        };
        let partitions: Vec<(u64, u64)> = dump.lines().filter_map(numbers).collect();
        assert_eq!(partitions.len(), 2, "{dump}");
        for (checker, (start, size)) in ["fsck.fat", "e2fsck"].iter().zip(partitions) {
            let part = self.path("part");
            output(
                command("dd")
                    .arg(format!("if={}", self.path("disk").display()))
                    .arg(format!("of={}", part.display()))
                    .args([
                        "bs=512",
                        &format!("skip={start}"),
                        &format!("count={size}"),
                        "conv=sparse",
                        "status=none",
                    ]),
            );
            let flags = if *checker == "e2fsck" { "-fn" } else { "-n" };
            output(command(checker).arg(flags).arg(&part));
            std::fs::remove_file(part).unwrap();
        }
    }
}

pub struct Machine {
    child: Child,
    port: u16,
    console: PathBuf,
}

impl Machine {
    pub fn wait_ssh(&self) {
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < BOOT, "the guest does not come up:\n{}", tail(&self.console));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn answers(&self) -> bool {
        let greeting = || -> std::io::Result<[u8; 4]> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        greeting().is_ok_and(|bytes| &bytes == b"SSH-")
    }

    /// The power goes.
    pub fn cut(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// An orderly end.
    pub fn power_off(mut self, lab: &Lab) {
        lab.ssh("poweroff");
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < BOOT, "the guest does not power off");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
