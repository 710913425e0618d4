//! `bimg deploy` against real guests. Ignored by `cargo test`, because they build real kernels: `scripts/test` runs
//! them, `scripts/check-power-cuts` with more cuts. BIMG_GUEST_HOME is a directory with `build/` and `out/`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails where it panics")]

mod machine;

use std::process::Stdio;
use std::time::{Duration, Instant};

use machine::{Lab, output};

/// A second kernel, told apart by its release.
const SECOND: [&str; 2] = ["--set", "CONFIG_LOCALVERSION=\"-second\""];

#[track_caller]
fn fails(lab: &Lab, args: &[&str], status: i32) -> String {
    let output = lab.to_guest(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{said}");
    said
}

fn release(lab: &Lab) -> String {
    String::from_utf8(lab.ssh("uname -r").stdout).unwrap().trim().to_string()
}

/// Deploy, trial, commit, list, rollback, remove.
fn cycle(lab: &Lab) {
    let first = release(lab);
    let said = output(lab.to_guest(&["deploy"]).args(SECOND).args(["--check", "modprobe dummy"]));
    assert!(said.contains("-second"), "{said}");
    assert_eq!(release(lab), format!("{first}-second"));
    let second = lab.running();
    let said = output(lab.to_guest(&["deploy"]).args(SECOND));
    assert!(said.contains("already"), "{said}");
    // The same release as the image's: its modules are not touched, and the deployment has its own.
    let image = lab.ssh("umount -l /lib/modules/*-second; cd /lib/modules && find . -path './.bimg' -prune -o -type f -exec sha256sum {} + | sort");
    output(&mut lab.to_guest(&["deploy"]));
    let third = lab.running();
    assert_eq!(release(lab), first);
    let list = output(&mut lab.to_guest(&["target", "list"]));
    assert!(list.contains(&second) && list.contains(&third), "{list}");
    assert!(list.lines().any(|line| line.starts_with(&third) && line.contains("running, default")), "{list}");
    assert!(
        String::from_utf8(lab.ssh("grep ' /usr/lib/modules/' /proc/mounts").stdout).unwrap().contains(&first)
    );
    fails(lab, &["target", "remove", &third], 1);
    fails(lab, &["target", "remove", &second], 1);
    output(&mut lab.to_guest(&["target", "rollback"]));
    assert_eq!(lab.running(), second);
    output(&mut lab.to_guest(&["target", "remove", &third]));
    output(&mut lab.to_guest(&["target", "rollback"]));
    assert_eq!((lab.running().as_str(), release(lab)), ("image", first));
    let again =
        lab.ssh("cd /lib/modules && find . -path './.bimg' -prune -o -type f -exec sha256sum {} + | sort");
    assert_eq!(image.stdout, again.stdout);
    output(&mut lab.to_guest(&["target", "remove", &second]));
}

/// Three kernels that do not come up: each time the guest is back by itself.
fn broken(lab: &Lab) {
    let before = lab.running();
    for (set, cause) in [
        // The init of a deployment is a script: a panic.
        ("CONFIG_BINFMT_SCRIPT=n", Some("Kernel panic")),
        // Its root never appears.
        ("CONFIG_VIRTIO_BLK=n", Some("Kernel panic")),
        // It comes up, and nobody can reach it.
        ("CONFIG_VIRTIO_NET=n", None),
    ] {
        let log = lab.path("console").display().to_string();
        let hosts = format!("[host.guest]\naddress = \"{}\"\nconsole-log = \"{log}\"\n", lab.host());
        std::fs::create_dir_all(lab.path("config/bimg")).unwrap();
        std::fs::write(lab.path("config/bimg/hosts.toml"), hosts).unwrap();
        let start = Instant::now();
        let mut deploy = lab.bimg(&["deploy", "--set", set, "--host", "guest", "--accept-new"]);
        let said = deploy.env("XDG_CONFIG_HOME", lab.path("config")).output().unwrap();
        let (status, said) = (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned());
        assert_eq!(status, Some(4), "{set}: {said}");
        assert!(said.contains("did not pass its trial"), "{set}: {said}");
        assert!(cause.is_none_or(|cause| said.contains(cause)), "{set}: {said}");
        assert_eq!(lab.running(), before, "{set}");
        eprintln!("{set}: back after {} s", start.elapsed().as_secs());
    }
}

/// Numbers that look random and are the same each time (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Cuts the power, or the connection, at random moments of a deploy.
fn cuts(lab: &Lab, count: u64) {
    let seed = std::env::var("BIMG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let mut random = Random(seed);
    let mut machine = lab.start();
    let build = || drop(output(lab.bimg(&["build", "--stage", "kernel"]).args(SECOND)));
    let deploy = || {
        let mut deploy = lab.to_guest(&["deploy"]);
        deploy.args(SECOND);
        deploy
    };
    // How long a whole deploy takes here.
    build();
    let start = Instant::now();
    output(&mut deploy());
    let mut whole = start.elapsed().as_millis() as u64;
    undo(lab);
    let (mut old, mut new) = (0, 0);
    for cut in 0..count {
        build();
        let start = Instant::now();
        let mut child = deploy().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = Duration::from_millis(random.below(whole));
        while start.elapsed() < moment {
            std::thread::sleep(Duration::from_millis(1));
            if child.try_wait().unwrap().is_some() {
                // There was more beside the one before.
                whole = start.elapsed().as_millis() as u64;
                break;
            }
        }
        let moment = start.elapsed().as_millis();
        let power = random.below(2) == 0;
        if power {
            machine.cut();
        }
        // With bimg its connection goes.
        let _ = child.kill();
        child.wait().unwrap();
        if power {
            machine = lab.start();
        } else {
            // It may be about to reboot.
            std::thread::sleep(Duration::from_secs(8));
            machine.wait_ssh();
        }
        let after = lab.running();
        if after == "image" {
            old += 1;
        } else {
            new += 1;
        }
        // Whatever it was, the next deploy completes.
        let said = output(&mut deploy());
        let now = lab.running();
        let list = output(&mut lab.to_guest(&["target", "list"]));
        let line = list.lines().find(|line| line.starts_with(&now)).unwrap_or_default();
        assert!(now != "image" && line.contains("running, default"), "cut {cut}: {said}\n{list}");
        assert!(!line.contains("trial"), "cut {cut}: {said}\n{list}");
        undo(lab);
        machine.power_off(lab);
        lab.check_disk();
        machine = lab.start();
        eprintln!(
            "cut {cut}: {} after {moment} ms of {whole} ms: {after} ran; the next deploy completed; fsck clean",
            if power { "power" } else { "connection" }
        );
    }
    machine.power_off(lab);
    eprintln!("{count} cuts, seed {seed}: {old} times the old kernel, {new} times the new one");
}

/// Back to the kernel of the image, and nothing of the deployment is left: the next deploy sends everything again.
fn undo(lab: &Lab) {
    let id = lab.running();
    output(&mut lab.to_guest(&["target", "rollback"]));
    assert_eq!(lab.running(), "image");
    output(&mut lab.to_guest(&["target", "remove", &id]));
    let left = lab.ssh(
        "mkdir -p /tmp/boot && mount -t vfat -o ro /dev/vda1 /tmp/boot && cd /tmp/boot/bimg && find . && cd / &&
         umount /tmp/boot; ls /lib/modules/.bimg",
    );
    assert_eq!(String::from_utf8_lossy(&left.stdout), ".\n./kernels\n");
}

fn board() -> String {
    std::env::var("BIMG_GUEST_BOARD").unwrap_or_else(|_| "qemu-arm64".to_string())
}

#[test]
#[ignore = "builds real kernels: scripts/test runs it"]
fn deploys_come_and_go_on_arm64() {
    come_and_go("qemu-arm64");
}

#[test]
#[ignore = "builds real kernels: scripts/test runs it"]
fn deploys_come_and_go_on_riscv64() {
    come_and_go("qemu-riscv64");
}

fn come_and_go(board: &str) {
    let lab = Lab::new(board);
    let machine = lab.start();
    cycle(&lab);
    machine.power_off(&lab);
    lab.check_disk();
}

#[test]
#[ignore = "builds real kernels: scripts/test runs it"]
fn broken_kernels_take_themselves_back() {
    let lab = Lab::new(&board());
    let machine = lab.start();
    broken(&lab);
    machine.power_off(&lab);
    lab.check_disk();
}

#[test]
#[ignore = "builds real kernels: scripts/test runs it"]
fn power_and_connection_may_go_at_any_moment() {
    let count = std::env::var("BIMG_CUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    cuts(&Lab::new(&board()), count);
}
