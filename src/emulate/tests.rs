//! Argument vectors, what cannot work, and whole tests against a shell script that plays QEMU.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::*;
use crate::boot::ChainName;
use crate::boot::config_txt::{Choice, Files};
use crate::exec::write_program;
use crate::progress::Silent;

fn spec(text: &str) -> EmulatorSpec {
    toml::from_str(text).unwrap()
}

fn virt() -> EmulatorSpec {
    spec(
        "machine = 'virt'\ncpu = 'cortex-a57'\ncpus = 2\nmemory = '1G'\nconsole = 'ttyAMA0'\ndisk = 'virtio'\n\
         network = true\nfirmware = { bios = 'u-boot.bin' }\n",
    )
}

fn raspi4b() -> EmulatorSpec {
    spec(
        "machine = 'raspi4b'\nconsole = 'ttyAMA0'\ndisk = 'sd'\nnetwork = false\n\
         dtb-remove = { '/soc/mmc@7e300000' = ['mmc-pwrseq'] }\ndtb-disable = ['/soc/clock@7ef00000']\n",
    )
}

fn line(inv: &Invocation<'_>) -> String {
    Cmd::new("qemu").args(qemu::args(inv)).display()
}

#[test]
fn arguments_for_u_boot_on_virt() {
    let spec = virt();
    let mut inv = Invocation {
        spec: &spec,
        bios: Some("fw/u-boot.bin".into()),
        kernel: None,
        direct: None,
        disk: Path::new("a,b/disk.qcow2"),
        ssh_port: Some(2222),
        serial: Serial::Pipe,
    };
    assert_eq!(
        line(&inv),
        "qemu -machine virt -nodefaults -display none -cpu cortex-a57 -smp 2 -m 1024M -no-reboot \
         -chardev stdio,id=console,signal=off -serial chardev:console \
         -drive if=none,id=disk,format=qcow2,file=a,,b/disk.qcow2 -device virtio-blk-device,drive=disk \
         -netdev user,id=net,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-device,netdev=net \
         -device virtio-rng-device -device i6300esb -bios fw/u-boot.bin"
    );
    inv.serial = Serial::Terminal;
    assert!(line(&inv).contains(
        " -m 1024M -chardev stdio,id=console,mux=on,signal=off -mon chardev=console -serial chardev:console "
    ));
    // Whoever reboots the guest wants to see it come back.
    assert!(!line(&inv).contains("-no-reboot"));
    inv.bios = Some("default".into());
    inv.kernel = Some("fw/u-boot.bin".into());
    assert!(line(&inv).ends_with(" -bios default -kernel fw/u-boot.bin"));
}

#[test]
fn arguments_for_a_raspberry_pi() {
    let mut spec = raspi4b();
    let direct = Direct {
        kernel: "w/kernel".into(),
        dtb: Some("w/emulated.dtb".into()),
        initrd: Some("w/initramfs".into()),
        cmdline: "root=PARTUUID=1 console=ttyAMA0".into(),
        choice: Choice {
            kernel: "kernel8.img".into(),
            wide: true,
            dtb: None,
            dtparams: vec![],
            overlays: vec![],
            initramfs: vec![],
            cmdline: String::new(),
            uart: true,
        },
    };
    let args = |spec: &EmulatorSpec, ssh_port| {
        line(&Invocation {
            spec,
            bios: None,
            kernel: None,
            direct: Some(&direct),
            disk: Path::new("w/disk.qcow2"),
            ssh_port,
            serial: Serial::Pipe,
        })
    };
    assert_eq!(
        args(&spec, None),
        "qemu -machine raspi4b -nodefaults -display none -no-reboot \
         -chardev stdio,id=console,signal=off -serial chardev:console \
         -drive if=sd,format=qcow2,file=w/disk.qcow2 -kernel w/kernel -dtb w/emulated.dtb -initrd w/initramfs \
         -append 'root=PARTUUID=1 console=ttyAMA0'"
    );
    spec.machine = MachineName::Raspi3b;
    spec.console = "ttyS1".into();
    let three = args(&spec, Some(2222));
    assert!(three.contains(" -serial null -serial chardev:console "), "{three}");
    assert!(three.contains(" -device usb-net,netdev=net "), "{three}");
}

#[test]
fn cards_are_powers_of_two() {
    let size = |image, bus, card| qemu::disk_size(ByteSize::mib(image), bus, card);
    assert_eq!(size(400, DiskBus::Sd, None).unwrap(), ByteSize::mib(512));
    assert_eq!(size(512, DiskBus::Sd, None).unwrap(), ByteSize::mib(512));
    assert_eq!(size(400, DiskBus::Virtio, None).unwrap(), ByteSize::mib(400));
    assert_eq!(size(400, DiskBus::Sd, Some(ByteSize::mib(3200))).unwrap(), ByteSize::mib(4096));
    assert_eq!(
        size(400, DiskBus::Sd, Some(ByteSize::mib(100))).unwrap_err().to_string(),
        "a card of 100 MiB is smaller than the image, which has 400 MiB"
    );
    assert_eq!(size(400, DiskBus::Sd, Some(ByteSize::mib(2 << 20))).unwrap(), ByteSize::mib(2 << 20));
    for card in [(2 << 40) + 1, 16_777_215 << 40, u64::MAX] {
        let error = size(400, DiskBus::Sd, Some(ByteSize(card))).unwrap_err().to_string();
        assert!(error.starts_with("QEMU emulates no card of ") && error.contains("2 TiB at most"), "{error}");
    }
    let error = size(400, DiskBus::Virtio, Some(ByteSize(u64::MAX))).unwrap_err().to_string();
    assert!(error.starts_with("QEMU emulates no card of "), "{error}");
}

#[test]
fn what_cannot_work_is_told() {
    let error = |spec: &EmulatorSpec, arch| spec.check(arch).unwrap_err().to_string();
    let pi = "emulator machine `raspi4b` cannot be used\n  caused by: ";
    let mut spec = raspi4b();
    assert!(spec.check(Arch::Arm64).is_ok());
    assert_eq!(error(&spec, Arch::Arm), format!("{pi}it starts 64-bit Arm kernels, and this board is `arm`"));
    spec.network = true;
    assert_eq!(
        error(&spec, Arch::Arm64),
        format!("{pi}QEMU gives it no network\n\nhint: set `network = false`")
    );
    spec.firmware.bios = Some("x".into());
    assert_eq!(
        error(&spec, Arch::Arm64),
        format!("{pi}it takes no firmware: what config.txt names is booted directly")
    );
    spec.disk = DiskBus::Virtio;
    assert_eq!(
        error(&spec, Arch::Arm64),
        format!("{pi}it boots from an SD card\n\nhint: set `disk = \"sd\"`")
    );

    let virtual_machine = "emulator machine `virt` cannot be used\n  caused by: ";
    let mut spec = virt();
    assert!(spec.check(Arch::Riscv).is_ok());
    assert_eq!(error(&spec, Arch::X86_64), format!("{virtual_machine}x86_64 has no machine of that name"));
    spec.dtb_disable = vec!["/soc".into()];
    assert_eq!(
        error(&spec, Arch::Arm64),
        format!("{virtual_machine}`dtb-remove` and `dtb-disable` fit only the Raspberry Pi machines")
    );
    spec.firmware = EmulatorFirmware::default();
    assert_eq!(
        error(&spec, Arch::Arm64),
        format!(
            "{virtual_machine}it needs firmware that boots the image\n\n\
             hint: name a U-Boot build: `firmware = {{ bios = \"uboot:usr/lib/u-boot/qemu_arm64/u-boot.bin\" }}`"
        )
    );
    spec.disk = DiskBus::Sd;
    assert_eq!(
        error(&spec, Arch::Arm64),
        format!("{virtual_machine}it has no SD card\n\nhint: set `disk = \"virtio\"`")
    );
    let typo = toml::from_str::<EmulatorSpec>("machine = 'raspi5'\n").unwrap_err().to_string();
    assert!(
        typo.contains("line 1") && typo.contains("expected one of `virt`, `raspi3b`, `raspi4b`"),
        "{typo}"
    );
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(
        qemu::ssh_port(Some(port)).unwrap_err().to_string(),
        format!(
            "port {port} cannot be used for SSH\n  caused by: Address already in use\n\n\
             hint: leave the port out, and a free one is taken"
        )
    );
    assert_ne!(qemu::ssh_port(None).unwrap(), port);
}

#[test]
fn credentials_go_by_the_hardware() {
    let key = Credential::Key { private: "a,b/key".into() };
    assert_eq!(key.args(), ["-fw_cfg", "name=opt/bimg/ssh-key,file=a,,b/key.pub"]);
    assert_eq!(key.chosen(), None);
    assert_eq!(key.login(), Login::Ssh { key: "a,b/key".into() });
    assert!(Credential::Password.args().is_empty());
    let (_, hash) = Credential::Password.chosen().unwrap();
    let made = Cmd::new("openssl").args(["passwd", "-6", "-salt", "bimg", "bimg"]).check().unwrap().text();
    assert_eq!(hash, made.trim());

    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // A second boot replaces the key of the first.
        let made = Credential::throwaway(&virt(), dir.path()).unwrap();
        assert_eq!(made, Credential::Key { private: dir.path().join("key") });
        assert!(fsx::read_to_string(&dir.path().join("key.pub")).unwrap().starts_with("ssh-ed25519 "));
    }
    assert_eq!(Credential::throwaway(&raspi4b(), dir.path()).unwrap(), Credential::Password);
    assert_eq!(Credential::Password.ssh_config(dir.path(), None).unwrap(), None);
    assert_eq!(key.ssh_config(dir.path(), None).unwrap(), None);
    let spaced = dir.path().join("a b");
    fsx::create_dir_all(&spaced).unwrap();
    let made = Credential::Key { private: spaced.join("key") };
    let config = made.ssh_config(&spaced, Some(2222)).unwrap().unwrap();
    assert_eq!(made.describe(Some(&config)), format!("SSH: ssh -F {} guest", config.display()));
    // As SSH itself understands it.
    let read = Cmd::new("ssh").arg("-F").arg(&config).args(["-G", "guest"]).check().unwrap().text();
    for line in [
        "hostname 127.0.0.1".to_string(),
        "port 2222".to_string(),
        "user root".to_string(),
        format!("identityfile {}/key", spaced.display()),
        format!("userknownhostsfile {}/known_hosts", spaced.display()),
        "stricthostkeychecking accept-new".to_string(),
    ] {
        assert!(read.lines().any(|have| have.trim_matches('"') == line), "{line}: {read}");
    }
}

/// A directory with an image, firmware, and a script in QEMU's place.
struct Stage {
    dir: tempfile::TempDir,
    machine: Machine,
}

impl Stage {
    /// `body` is what the script does once it is started as a machine.
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fsx::write_atomic(&path("board.img"), &vec![0; 1 << 20]).unwrap();
        fsx::write_atomic(&path("u-boot.bin"), b"").unwrap();
        let script = format!(
            "#!/bin/sh\ncase $* in\n'-machine help') echo 'virt QEMU Virtual Machine'; exit;;\n\
             --version) echo 'QEMU emulator version 7.2.22'; exit;;\nesac\n{body}\n"
        );
        write_program(&path("qemu"), &script).unwrap();
        let machine = Machine {
            spec: virt(),
            arch: Arch::Arm64,
            program: Some(path("qemu")),
            firmware: Some(dir.path().to_owned()),
            firmware_origin: "package `u-boot-qemu`".into(),
        };
        Stage { dir, machine }
    }

    fn spec<T>(&self, then: impl FnOnce(&mut TestSpec<'_>) -> T) -> T {
        let (image, work) = (self.dir.path().join("board.img"), self.dir.path().join("work"));
        let mut spec = TestSpec {
            start: Start { image: &image, work: &work, card_size: None, ssh_port: None, credential: None },
            chain: ChainName::UbootScript,
            release: "6.12.48".into(),
            module: Some("dummy".into()),
            login: Login::Serial { user: "root".into(), password: "secret".into() },
            log: self.dir.path().join("out/test.log"),
            boot_timeout: Duration::from_secs(120),
            silence: Duration::from_secs(120),
        };
        then(&mut spec)
    }

    fn test(&self, change: impl FnOnce(&mut TestSpec<'_>)) -> Result<TestReport> {
        self.spec(|spec| {
            change(spec);
            test(&self.machine, spec, &Silent)
        })
    }

    fn redact(&self, text: &str) -> String {
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }

    /// A failed test's message with the temporary directory cut out.
    fn failure(&self, change: impl FnOnce(&mut TestSpec<'_>)) -> String {
        self.redact(&self.test(change).unwrap_err().to_string())
    }
}

const BOOT: &str = r"
printf 'U-Boot 2023.01\r\n\r\nbimg: Linux 6.12.48 from virtio 0:1\r\nStarting kernel ...\r\n'
printf '[    0.000000] Linux version 6.12.48 (x)\r\n'
";

/// A login and a shell, with the commands that the test uses.
const SHELL: &str = r#"
printf 'board login: '
read -r user
printf '%s\r\nPassword: ' "$user"
read -r password
if [ "$password" != secret ]; then printf '\r\nLogin incorrect\r\nboard login: '; read -r user; fi
printf '\r\n~ # '
uname() { echo 6.12.48; }
dmesg() { :; }
modprobe() { [ "$1" = dummy ]; }
grep() { echo 'dummy 12288 0 - Live 0x0'; }
df() { echo '/dev/root 7900000 1 1 1% /'; }
while read -r line; do
	printf '%s\r\n' "$line"
	[ "$line" = poweroff ] && exit
	eval "$line"
	printf '~ # '
done
"#;

#[test]
fn a_whole_test_on_a_serial_console() {
    let stage = Stage::new(&format!("{BOOT}{SHELL}"));
    let report = stage.test(|spec| spec.start.card_size = Some(ByteSize::mib(8192))).unwrap();
    assert_eq!(
        report.assertions.iter().map(|a| a.what.as_str()).collect::<Vec<_>>(),
        [
            "U-Boot reads boot.scr",
            "U-Boot starts the kernel",
            "`root` logs in on the serial console",
            "uname -r is 6.12.48",
            "module dummy loads",
            "the root filesystem has grown to 7.5 GiB",
            "the board powers off"
        ]
    );
    assert_eq!(report.banner.as_deref(), Some("[    0.000000] Linux version 6.12.48 (x)"));
    assert!(fsx::read_to_string(&report.log).unwrap().contains("Starting kernel"));
    // Nothing is left but the log: no throwaway disk, no empty error file.
    assert!(!stage.dir.path().join("work/disk.qcow2").exists());
    assert!(!stage.dir.path().join("out/test.stderr").exists());
}

#[test]
fn assertions_that_do_not_hold() {
    let stage = Stage::new(&format!("{BOOT}{SHELL}"));
    let first = |text: String| text.lines().next().unwrap_or_default().to_string();
    assert_eq!(
        first(stage.failure(|spec| spec.release = "6.1.0".into())),
        "the board runs Linux 6.12.48, and 6.1.0 was built"
    );
    assert_eq!(
        first(stage.failure(|spec| spec.module = Some("absent".into()))),
        "module `absent` does not load"
    );
    let refused = stage.failure(|spec| {
        spec.login = Login::Serial { user: "root".into(), password: "wrong".into() };
    });
    assert_eq!(first(refused.clone()), "the serial console refused user `root`");
    assert!(refused.ends_with(
        "hint: the password must be the one whose hash the image was built with: `--root-password-hash`"
    ));
    assert_eq!(
        first(stage.failure(|spec| spec.module = Some("x; reboot".into()))),
        "`x; reboot` is not the name of a kernel module"
    );
}

#[test]
fn an_image_without_a_password_is_told_at_once() {
    let stage = Stage::new(&format!(
        "{BOOT}echo; echo 'board: root has no password, so there is no login on this console.'; sleep 60"
    ));
    let text = stage.failure(|_| {});
    assert_eq!(text.lines().next(), Some("the serial console takes no login: root has no password"));
    assert!(text.ends_with("hint: build the image with `--root-password-hash`"));
}

#[test]
fn hopeless_boots_end_at_once() {
    let panic =
        "[    1.500000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
    let stage = Stage::new(&format!("{BOOT}printf '{panic}\\r\\n'; sleep 60"));
    // Had it waited for its own patience or the guest's to end, that is what it would say.
    assert_eq!(
        stage.failure(|_| {}),
        "the kernel cannot mount the root filesystem\n  \
         caused by: Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n  \
         caused by: last lines of the console:\n    \
         U-Boot 2023.01\n    \n    \
         bimg: Linux 6.12.48 from virtio 0:1\n    \
         Starting kernel ...\n    \
         [    0.000000] Linux version 6.12.48 (x)\n    \
         [    1.500000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n  \
         log: DIR/out/test.log\n\n\
         hint: the kernel lacks the driver of the disk or of the filesystem, or `root=` names another partition"
    );
    for (said, told) in [
        ("[    1.0] Internal error: Oops: 96000044 [#1]", "the kernel crashed"),
        ("[    1.0] Kernel panic - not syncing: Attempted to kill init!", "the kernel panicked"),
        ("[    1.0] Kernel panic - not syncing: No working init found.", "the kernel found no init to start"),
        ("bimg: cannot boot /Image", "U-Boot could not start what boot.scr names"),
    ] {
        let stage = Stage::new(&format!("{BOOT}printf '{said}\\r\\n'; sleep 60"));
        assert_eq!(stage.failure(|_| {}).lines().next(), Some(told));
    }
    let stage = Stage::new("printf 'U-Boot 2023.01\\r\\nScanning virtio 0:1...\\r\\n=> '; sleep 60");
    assert_eq!(
        stage.failure(|_| {}),
        "U-Boot stopped at its prompt\n  \
         caused by: last lines of the console:\n    U-Boot 2023.01\n    Scanning virtio 0:1...\n    =>\n  \
         log: DIR/out/test.log\n\n\
         hint: it found nothing to boot: see what it scanned in the log"
    );
}

#[test]
fn silence_and_timeouts() {
    let stage = Stage::new("sleep 60");
    assert_eq!(
        stage.failure(|spec| spec.silence = Duration::from_secs(1)),
        "nothing was printed on the serial console in 1 s\n  log: DIR/out/test.log\n\n\
         hint: the boot firmware does not start, or `console=` on the kernel command line names another port"
    );
    let stage = Stage::new("echo 'U-Boot 2023.01'; sleep 60");
    let text = stage.spec(|spec| {
        let qemu = Cmd::new(stage.dir.path().join("qemu"));
        let mut console = console::Console::start(&qemu, &spec.log, spec.silence).unwrap();
        while console.line_with("U-Boot 2023.01").is_none() {
            console.pump(Duration::from_millis(50)).unwrap();
        }
        spec.boot_timeout = Duration::from_secs(1);
        test::boot_chain(&mut console, spec, None, &mut |_| {}).unwrap_err().to_string()
    });
    assert_eq!(
        stage.redact(&text),
        "timed out after 1 s waiting for U-Boot to read boot.scr\n  \
         caused by: last lines of the console:\n    U-Boot 2023.01\n  log: DIR/out/test.log"
    );
}

#[test]
fn an_emulator_that_does_not_work() {
    let stage = Stage::new("echo 'qemu: could not load firmware' >&2; exit 1");
    assert_eq!(
        stage.failure(|_| {}),
        "the emulator ended before the test did\n  caused by: qemu: could not load firmware\n  \
         log: DIR/out/test.log"
    );
    let mut stage = Stage::new("");
    stage.machine.spec.firmware.bios = Some("usr/u-boot.bin".into());
    assert_eq!(
        stage.failure(|_| {}),
        "emulator firmware `usr/u-boot.bin` is not in package `u-boot-qemu`\n\n\
         hint: check `emulator.firmware` of the profile, and the version of that package"
    );
    stage.machine.firmware = None;
    assert_eq!(
        stage.failure(|_| {}),
        "`emulator.firmware` names `usr/u-boot.bin`, but the profile has no source for it"
    );
    stage.machine.spec = raspi4b();
    assert_eq!(
        stage.failure(|_| {}),
        "this QEMU has no machine `raspi4b`\n  caused by: QEMU emulator version 7.2.22\n\n\
         hint: QEMU 9.0 is the first with `raspi4b`: on Debian 12 install `qemu-system-arm` from bookworm-backports"
    );
    stage.machine.program = Some("no-such-qemu".into());
    assert_eq!(
        stage.failure(|_| {}),
        "the emulator cannot be used\n  caused by: cannot start `no-such-qemu`\n  \
         caused by: No such file or directory\n\nhint: `bimg doctor` names the package that holds it"
    );
}

/// An image with a FAT at 1 MiB, made by the usual tools; `table` are sgdisk's words, none for an MBR.
fn card(dir: &Path, table: &[&str], files: &[(&str, &str)]) -> PathBuf {
    let (image, fat) = (dir.join("card.img"), dir.join("card.fat"));
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(40 << 20).unwrap();
    std::fs::File::create(&fat).unwrap().set_len(36 << 20).unwrap();
    if table.is_empty() {
        // An MBR with one FAT32 partition (type 0x0c) from sector 2048.
        let mut mbr = [0; 512];
        mbr[446 + 4] = 0x0c;
        mbr[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
        mbr[446 + 12..446 + 16].copy_from_slice(&(36u32 << 11).to_le_bytes());
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        std::fs::File::options().write(true).open(&image).unwrap().write_all_at(&mbr, 0).unwrap();
    } else {
        Cmd::new("sgdisk").args(table).arg(&image).check().unwrap();
    }
    Cmd::new("mkfs.vfat").args(["-F", "32", "-s", "1"]).arg(&fat).check().unwrap();
    for (name, text) in files {
        let host = dir.join("file");
        fsx::write_atomic(&host, text.as_bytes()).unwrap();
        if let Some((folder, _)) = name.split_once('/') {
            // Fails for the second file of a folder.
            let _ = Cmd::new("mmd").arg("-i").arg(&fat).args(["-D", "s", &format!("::{folder}")]).output();
        }
        Cmd::new("mcopy").arg("-i").arg(&fat).arg(&host).arg(format!("::{name}")).check().unwrap();
    }
    file.write_all_at(&fsx::read(&fat).unwrap(), 1 << 20).unwrap();
    image
}

#[test]
fn the_boot_partition_is_found_and_booted_as_config_txt_says() {
    let dir = tempfile::tempdir().unwrap();
    let dtb = dir.path().join("in.dtb");
    let source =
        "/dts-v1/; / { soc { mmc@7e300000 { mmc-pwrseq = <1>; bus-width = <4>; }; clock@7ef00000 { }; }; };";
    fsx::write_atomic(&dir.path().join("in.dts"), source.as_bytes()).unwrap();
    Cmd::new("dtc").args(["-q", "-o"]).arg(&dtb).arg(dir.path().join("in.dts")).check().unwrap();
    // An empty partition first: the FAT is the second.
    let gpt = ["-a", "1", "-n", "1:40:1000", "-n", "2:1M:+36M", "-t", "2:0700"];
    let image = card(
        dir.path(),
        &gpt,
        &[("config.txt", "kernel=os/linux.img\n"), ("os/linux.img", "linux"), ("cmdline.txt", "quiet\n")],
    );
    let prepare = |image: &Path| {
        let (work, credential) = (dir.path(), Some(&Credential::Password));
        let start = Start { image, work, card_size: None, ssh_port: None, credential };
        raspberry_pi::prepare(&start, config_txt_model(), &raspi4b(), &Silent)
    };
    let error = prepare(&image).unwrap_err();
    assert_eq!(
        error.to_string(),
        "config.txt leads to DTB `bcm2711-rpi-4-b.dtb`, which is not on the boot partition\n\n\
         hint: the Raspberry Pi's firmware would not find it either"
    );
    // Through an MBR, with a DTB to adapt.
    let image = card(dir.path(), &[], &[("kernel8.img", "linux")]);
    let fat = dir.path().join("card.fat");
    Cmd::new("mcopy").arg("-i").arg(&fat).arg(&dtb).arg("::bcm2711-rpi-4-b.dtb").check().unwrap();
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&fsx::read(&fat).unwrap(), 1 << 20).unwrap();
    let direct = prepare(&image).unwrap();
    assert_eq!(direct.describe(), "kernel8.img with bcm2711-rpi-4-b.dtb");
    assert_eq!(fsx::read_to_string(&direct.kernel).unwrap(), "linux");
    let adapted = Cmd::new("dtc").args(["-q", "-I", "dtb"]).arg(direct.dtb.unwrap()).check().unwrap().text();
    assert!(adapted.contains("bus-width") && !adapted.contains("mmc-pwrseq"), "{adapted}");
    assert!(adapted.contains("status = \"disabled\""), "{adapted}");
    assert!(adapted.contains("bimg,root-hash = \"$6$bimg$"), "{adapted}");
    assert!(adapted.contains("stdout-path = \"serial0:115200n8\""), "{adapted}");
    assert!(!card::Card::open(&image).unwrap().exists("config.txt"));
}

fn config_txt_model() -> crate::boot::config_txt::Model {
    MachineName::Raspi4b.raspberry_pi().unwrap()
}

#[test]
fn an_image_without_a_boot_partition() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("empty.img");
    fsx::write_atomic(&image, &vec![0; 4096]).unwrap();
    let error = card::Card::open(&image).err().unwrap().to_string();
    assert_eq!(
        error.replace(&dir.path().display().to_string(), "DIR"),
        "`DIR/empty.img` holds no FAT partition\n\nhint: a Raspberry Pi's firmware boots from the first FAT of the card"
    );
}
