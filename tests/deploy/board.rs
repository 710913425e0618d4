//! A board in miniature: OpenSSH's server, a root directory that holds nothing but busybox, and a harness that plays
//! boot loader and kernel.
//!
//! ```text
//! bimg -> ssh -> Wire (may cut, stall) -> sshd -i -> ForceCommand: chroot ROOT sh -c COMMAND
//! reboot in ROOT leaves a note -> everything there is killed -> loader::choose -> /proc as the new kernel has it
//! ```

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Project, write_program};
use crate::loader::{self, Start};
use crate::wire::Wire;

/// What becomes of a trial boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It comes up.
    Good,
    /// It hangs until a watchdog resets the board.
    Hangs,
    /// It comes up and says that it is another release.
    Release(&'static str),
    /// The board is never seen again.
    Gone,
    /// `reboot` does nothing.
    Stays,
}

/// Programs of a board that answer what the test wants, in place of busybox's.
const FAKES: &[(&str, &str)] = &[
    ("uname", "cat \"/proc/fake$1\""),
    ("reboot", "echo \"$*\" >>/var/reboot"),
    (
        "df",
        "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'\nfree=$(cat \"/var/free$2\" 2>/dev/null || echo 9999999)\n\
         held=$(cat \"/var/free$2.while\" 2>/dev/null) && [ -e \"$held\" ] && free=100\necho \"/dev/root 99999999 0 $free 0% /\"",
    ),
    (
        "mount",
        "echo \"$*\" >>/var/mounts\n[ ! -e /var/mount-fails ] || { echo 'mount: permission denied' >&2; exit 1; }",
    ),
    ("umount", "exit 0"),
    ("sync", "touch /var/synced\nwhile [ -e /var/hold ]; do sleep 0.05; done"),
    ("id", "if [ -e /var/user ] && [ -z \"$FAKE_ROOT\" ]; then echo 1000; else echo 0; fi"),
    ("dmesg", "cat /dev/kmsg"),
    (
        "insmod",
        "name=${1##*/}\nname=${name%.ko}\nif [ -e \"/var/insmod-fails\" ]; then echo \"insmod: can't insert '$1': unknown symbol in module\" >&2; exit 1; fi\nmkdir -p \"/sys/module/$name/holders\"\necho live >\"/sys/module/$name/initstate\"\ncp \"$1\" \"/var/loaded-$name\"\necho \"$*\" >>/var/insmods\necho \"[    9.000000] $name: loaded\" >>/dev/kmsg",
    ),
    (
        "rmmod",
        "if [ -e \"/var/busy-$1\" ]; then echo \"rmmod: can't unload module '$1': Resource temporarily unavailable\" >&2; exit 1; fi\nrm -rf \"/sys/module/$1\" /sys/module/*/holders/\"$1\"\necho \"[    8.000000] $1: unloaded\" >>/dev/kmsg",
    ),
    (
        "modprobe",
        "[ \"$1\" != -c ] || exit 1\nmkdir -p \"/sys/module/$1/holders\"\necho live >\"/sys/module/$1/initstate\"\necho \"[    9.500000] $1: probed\" >>/dev/kmsg",
    ),
];

/// Busybox's shell takes its own applets before anything in PATH. In the copy on the board those that are to be
/// answered by the test have another name.
fn busybox() -> Vec<u8> {
    let mut bytes = fs::read(host("busybox")).unwrap();
    let applets: Vec<&[u8]> =
        FAKES.iter().map(|(name, _)| name.as_bytes()).chain([b"poweroff".as_slice(), b"halt"]).collect();
    let start = find(&bytes, b"\0[\0[[\0").expect("a list of applets");
    for applet in applets {
        let name = [b"\0", applet, b"\0"].concat();
        let Some(at) = find(&bytes[start..], &name) else { continue };
        // The list stays sorted, and its names as long as they are.
        bytes[start + at + applet.len()] += 1;
    }
    bytes
}

/// A program of the host's, which need not be in PATH.
fn host(name: &str) -> PathBuf {
    let dirs = ["/bin", "/usr/bin", "/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(name));
    dirs.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {name} here: scripts/setup"))
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}

/// A board that runs.
pub struct Board {
    pub name: String,
    pub port: u16,
    shared: Arc<Shared>,
    life: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    port: u16,
    wire: Arc<Wire>,
    fate: Mutex<Fate>,
    boots: AtomicUsize,
    notes: Mutex<Vec<String>>,
    stop: AtomicBool,
    servers: Mutex<Vec<Child>>,
}

/// Below the ports that anybody gets who asks for any, so that a board that is off keeps its own.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first: u16 = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32768);
    loop {
        let step = std::process::id() as u16 % 997 * 10 + NEXT.fetch_add(1, Ordering::SeqCst);
        let port = first.saturating_sub(1 + step % 8000).max(1024 + step % 8000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Board {
    /// A board with the image at `image` on it, as it is after its first boot.
    pub fn new(project: &Project, name: &str) -> Board {
        let dir = project.root().join(name);
        let root = dir.join("root");
        for below in [
            "bin",
            "dev",
            "etc",
            "lib",
            "proc/self",
            "proc/sys/kernel/random",
            "proc/sys/vm",
            "proc/device-tree",
            "run",
            "sys/module",
            "tmp",
            "usr/local/bin",
            "var",
        ] {
            fs::create_dir_all(root.join(below)).unwrap();
        }
        write_program(&root.join("bin/busybox"), &busybox());
        let list = run(command(host("busybox")).arg("--list"));
        let faked = |applet: &str| FAKES.iter().any(|(name, _)| *name == applet);
        for applet in list.lines().filter(|applet| !faked(applet) && *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        for (name, text) in FAKES {
            write_program(&root.join("usr/local/bin").join(name), format!("#!/bin/sh\n{text}\n").as_bytes());
        }
        fs::write(root.join("dev/kmsg"), "[    1.000000] Booting Linux\n").unwrap();
        project.shell(&format!(
            "mknod -m 666 {0}/dev/null c 1 3 2>/dev/null || : >{0}/dev/null",
            root.display()
        ));
        let image = "out/acme/acme.img";
        for (from, to) in [("boot:", "boot"), ("root:lib/modules", "lib/modules")] {
            project.run(&["image", "extract", image, from, root.join(to).to_str().unwrap()]).ok();
        }
        let port = port();
        keys(&dir, port);
        let shared = Arc::new(Shared {
            dir,
            port,
            wire: Arc::new(Wire::new()),
            fate: Mutex::new(Fate::Good),
            boots: AtomicUsize::new(0),
            notes: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
            servers: Mutex::new(Vec::new()),
        });
        shared.come_up(&loader::choose(&root.join("boot")), None);
        let life = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.live()
        });
        Board { name: name.to_string(), port, shared, life: Some(life) }
    }

    /// Its part of an ssh configuration.
    pub fn config(&self) -> String {
        format!("Host {}\n  HostName 127.0.0.1\n  Port {}\n", self.name, self.port)
    }

    /// A path on the board.
    pub fn path(&self, name: &str) -> PathBuf {
        self.shared.root().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A program that comes before busybox's.
    pub fn program(&self, name: &str, text: &str) {
        write_program(&self.path("usr/local/bin").join(name), format!("#!/bin/sh\n{text}\n").as_bytes());
    }

    /// A program of the host's and the libraries that it names.
    pub fn take(&self, name: &str, dir: &str) {
        let (root, program) = (self.path(""), host(name));
        let script = format!(
            "cd {0} && mkdir -p {dir} && rm -f {dir}/{name} && cp {1} {dir}/{name} &&
             for lib in $(ldd {1} | grep -o '/[^ ]*'); do mkdir -p .${{lib%/*}} && cp $lib .$lib; done",
            root.display(),
            program.display()
        );
        run(command("sh").args(["-c", &script]));
    }

    /// Its shell is dash, which looks for every command in PATH.
    pub fn dash(&self) {
        self.take("dash", "bin");
        fs::remove_file(self.path("bin/sh")).unwrap();
        symlink("dash", self.path("bin/sh")).unwrap();
    }

    pub fn wire(&self) -> &Wire {
        &self.shared.wire
    }

    /// What becomes of trial boots from now on.
    pub fn trials(&self, fate: Fate) {
        *self.shared.fate.lock().unwrap() = fate;
    }

    pub fn boots(&self) -> usize {
        self.shared.boots.load(Ordering::SeqCst)
    }

    /// Power off and on.
    pub fn reset(&self) {
        let before = self.boots();
        fs::write(self.path("var/reboot"), "reset\n").unwrap();
        crate::common::live::eventually("a boot", || self.boots() > before);
    }

    /// Arguments of every `reboot` so far.
    pub fn reboots(&self) -> Vec<String> {
        self.shared.notes.lock().unwrap().clone()
    }

    /// `(default, armed trial)` as its boot loader reads it.
    pub fn state(&self) -> (String, String) {
        loader::state(&self.path("boot"))
    }

    /// Deployment that runs; `image` for the image's own kernel.
    pub fn running(&self) -> String {
        let cmdline = self.read("proc/cmdline");
        let id = cmdline.split_whitespace().find_map(|word| word.strip_prefix("bimg_deploy="));
        id.unwrap_or("image").to_string()
    }

    /// The one deployment that does not run.
    pub fn other(&self) -> String {
        let running = self.running();
        let others: Vec<String> = self.deployments().into_iter().filter(|id| *id != running).collect();
        let [id] = others.try_into().unwrap();
        id
    }

    /// Digest and name of every file below some of its directories, sorted.
    pub fn digests(&self, below: &[&str]) -> String {
        let root = self.shared.root();
        let script = format!(
            "cd {} && find {} -type f -exec sha256sum {{}} + | sort -k 2",
            root.display(),
            below.join(" ")
        );
        run(command("sh").args(["-c", &script]))
    }

    /// Deployments with boot files.
    pub fn deployments(&self) -> Vec<String> {
        self.names("boot/bimg").into_iter().filter(|name| name != "kernels").collect()
    }

    /// Directory of a deployment's kernel, as its script names it.
    pub fn kernel(&self, id: &str) -> String {
        let script = fs::read(self.path(&format!("boot/bimg/{id}/boot.scr"))).unwrap();
        let script = String::from_utf8_lossy(&script);
        let line = script.lines().find_map(|line| line.strip_prefix("setenv bimg_kernel '")).unwrap();
        format!("boot/{}", line.rsplit_once('/').unwrap().0)
    }

    /// Where scripts keep what is of this boot.
    pub fn run(&self) -> String {
        format!("run/bimg/deploy/{}", self.read("proc/sys/kernel/random/boot_id").trim())
    }

    /// Names below a directory.
    pub fn names(&self, below: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(below)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(life) = self.life.take() {
            let _ = life.join();
        }
        self.shared.wire.end();
        self.shared.power_off();
    }
}

impl Shared {
    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Takes connections, and plays what a `reboot` asks for.
    fn live(&self) {
        let mut listener = self.listen();
        while !self.stop.load(Ordering::SeqCst) {
            let note = self.root().join("var/reboot");
            if let Ok(text) = fs::read_to_string(&note) {
                let fate = self.fate.lock().unwrap().clone();
                self.notes.lock().unwrap().push(text.trim().to_string());
                fs::remove_file(&note).unwrap();
                if fate == Fate::Stays {
                    continue;
                }
                drop(listener);
                self.power_off();
                if !self.boot(&fate) {
                    return;
                }
                listener = self.listen();
            }
            match listener.accept() {
                Ok((stream, _)) => self.serve(stream),
                Err(_) => std::thread::sleep(Duration::from_millis(3)),
            }
        }
    }

    fn listen(&self) -> TcpListener {
        // Another connection may have the port as its own end for a while.
        let mut listener = TcpListener::bind(("127.0.0.1", self.port));
        while listener.is_err() && !self.stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
            listener = TcpListener::bind(("127.0.0.1", self.port));
        }
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// From the reset to a kernel that stays; false when there is none.
    fn boot(&self, fate: &Fate) -> bool {
        std::thread::sleep(Duration::from_millis(100));
        let boot = self.root().join("boot");
        let mut start = loader::choose(&boot);
        let init = |start: &Start| {
            // A kernel whose init= is not there panics, and resets by panic=.
            start
                .id
                .as_ref()
                .is_none_or(|id| self.root().join("lib/modules/.bimg").join(id).join("init").is_file())
        };
        if start.trial && *fate == Fate::Gone {
            return false;
        }
        if start.trial && (*fate == Fate::Hangs || !init(&start)) {
            std::thread::sleep(Duration::from_millis(300));
            start = loader::choose(&boot);
            assert!(!start.trial, "a trial starts once");
        }
        let release = match fate {
            Fate::Release(release) if start.trial => Some(*release),
            _ => None,
        };
        self.come_up(&start, release);
        true
    }

    /// `/proc` and `/run` as they are after a boot.
    fn come_up(&self, start: &Start, release: Option<&str>) {
        let root = self.root();
        let boots = self.boots.load(Ordering::SeqCst) + 1;
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        fs::remove_dir_all(root.join("run")).unwrap();
        fs::create_dir(root.join("run")).unwrap();
        write("proc/cmdline", &format!("{}\n", start.cmdline));
        write("proc/uptime", "7.25 3.50\n");
        for (flag, answer) in
            [("m", "aarch64"), ("r", release.unwrap_or(&start.release)), ("v", "#1"), ("n", "acme")]
        {
            write(&format!("proc/fake-{flag}"), &format!("{answer}\n"));
        }
        write("proc/sys/kernel/random/boot_id", &format!("00000000-0000-4000-8000-{boots:012}\n"));
        write("proc/device-tree/compatible", "acme,board-a\0acme,board\0");
        write("proc/device-tree/model", "Acme Board A\0");
        let mut mounts = String::new();
        let mode = if root.join("var/root-starts-ro").exists() { "ro" } else { "rw" };
        let _ = writeln!(mounts, "22 1 179:2 / / {mode},relatime shared:1 - ext4 /dev/root {mode}");
        let _ = writeln!(mounts, "30 22 179:1 / /boot rw,relatime - vfat /dev/mmcblk0p1 rw");
        write("proc/self/mountinfo", &mounts);
        self.boots.store(boots, Ordering::SeqCst);
    }

    /// Whatever runs there ends, without a word to anybody.
    fn power_off(&self) {
        let mut servers = self.servers.lock().unwrap();
        // What is killed may have started something else an instant before, and takes a moment to be gone.
        loop {
            let doomed = self.running(&servers);
            if doomed.is_empty() {
                break;
            }
            for pid in doomed {
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.wire.cut();
        for mut server in servers.drain(..) {
            let _ = server.wait();
        }
    }

    /// Its servers, all that comes from them, and whatever else is at work in its root directory.
    fn running(&self, servers: &[Child]) -> Vec<i32> {
        let tree = processes();
        let mut family: Vec<i32> = servers.iter().map(|server| server.id().cast_signed()).collect();
        let mut at = 0;
        while at < family.len() {
            let parent = family[at];
            family.extend(tree.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        family.retain(|member| tree.iter().any(|(pid, _)| pid == member));
        let root = self.root();
        let is_here = |pid: &i32| fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|at| at == root);
        family.extend(tree.iter().map(|(pid, _)| *pid).filter(is_here));
        family
    }

    /// One connection: a server of its own, as inetd starts it.
    fn serve(&self, stream: std::net::TcpStream) {
        stream.set_nonblocking(false).unwrap();
        let _ = stream.set_nodelay(true);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = std::os::fd::OwnedFd::from(theirs);
        let server = command(host("sshd"))
            .args(["-i", "-e", "-f"])
            .arg(self.dir.join("sshd_config"))
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs)
            .stderr(fs::File::options().append(true).create(true).open(self.dir.join("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let mut servers = self.servers.lock().unwrap();
        servers.retain_mut(|server| matches!(server.try_wait(), Ok(None)));
        servers.push(server);
        let (wire, back) = (Arc::clone(&self.wire), Arc::clone(&self.wire));
        let number = wire.begin();
        let (from, to) = (ours.try_clone().unwrap(), stream.try_clone().unwrap());
        std::thread::spawn(move || wire.carry(number, stream, ours));
        std::thread::spawn(move || back.carry_back(number, from, to));
    }
}

/// Every process that is not dead, and its parent.
fn processes() -> Vec<(i32, i32)> {
    let parent = |pid: i32| -> Option<(i32, i32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_dead = fields.next().is_none_or(|state| ["Z", "X"].contains(&state));
        Some((pid, fields.next()?.parse().ok()?)).filter(|_| !is_dead)
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(parent)
        .collect()
}

/// Keys and configuration of its SSH server.
fn keys(dir: &Path, port: u16) {
    let key = |name: &str| {
        run(command("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(dir.join(name)));
        fs::read_to_string(dir.join(format!("{name}.pub"))).unwrap()
    };
    let host = key("host_key");
    fs::write(dir.join("authorized_keys"), key("user_key")).unwrap();
    let known = host.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{port} {known}\n")).unwrap();
    let shown = dir.display();
    let root = rustix::process::geteuid().is_root();
    let enter = if root { "exec env -i" } else { "exec unshare -r -m env -i" };
    let inside = if root {
        "exec chroot \"$0\" /bin/sh -c \"$1\""
    } else {
        "mount --bind /dev/null \"$0/dev/null\" && exec chroot \"$0\" /bin/sh -c \"$1\""
    };
    let enter = format!(
        "#!/bin/sh\n{enter} PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c '{inside}' '{shown}/root' \"$SSH_ORIGINAL_COMMAND\"\n"
    );
    write_program(&dir.join("enter"), enter.as_bytes());
    fs::write(
        dir.join("sshd_config"),
        format!(
            "HostKey {shown}/host_key\nAuthorizedKeysFile {shown}/authorized_keys\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             ForceCommand {shown}/enter\n# What a login shell reads is not the board's.\nSetEnv HOME=/nonexistent SHLVL=9\n"
        ),
    )
    .unwrap();
    if root {
        // Where a server that runs as root locks its network side in; compiled in.
        fs::create_dir_all("/run/sshd").unwrap();
    }
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a board is not bimg's child")]
    Command::new(program)
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
