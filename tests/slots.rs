//! Trial boots through a real U-Boot: `boot.scr` and its state file, with kernels that only say their name and reset.
//!
//! They need the image and the firmware of a finished build: `cargo test --test slots -- --ignored` after
//! `bimg build --board qemu-arm64` and `bimg build --board qemu-riscv64`, as `scripts/test` does.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bimg::arch::Arch;
use bimg::boot::{self, BootFile, BootInput, BootSpec, ChainName, SlotDirs, SlotId, SlotState};
use bimg::exec::Cmd;
use bimg::fsx;
use bimg::tree::Content;

/// A board that QEMU has, its image copied, and tiny kernels on it.
struct Board {
    dir: tempfile::TempDir,
    arch: Arch,
    firmware: PathBuf,
    spec: BootSpec,
}

const OLD: &str = "aaaaaaaaaaaa";
const NEW: &str = "bbbbbbbbbbbb";

fn slot(id: &str) -> SlotId {
    id.parse().unwrap()
}

fn state(default: Option<&str>, trial: Option<&str>) -> SlotState {
    SlotState { default: default.map(slot), trial: trial.map(slot) }
}

impl Board {
    fn new(arch: Arch, name: &str) -> Self {
        let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out").join(name);
        let board = Board {
            dir: tempfile::tempdir().unwrap(),
            arch,
            firmware: out.clone(),
            spec: BootSpec::new(ChainName::UbootScript),
        };
        Cmd::new("cp")
            .arg("--sparse=always")
            .arg(out.join(format!("{name}.img")))
            .arg(board.image())
            .check()
            .unwrap();
        // The image's own kernel gives way to one that says "image"; boot.scr and the state file stay.
        board.put("Image", &kernel(arch, "image"));
        for id in [OLD, NEW] {
            board.deploy(id, &kernel(arch, id));
        }
        board
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// The boot partition, as mtools name it. It is the first one and 4 MiB into the disk.
    fn fat(&self) -> String {
        format!("{}@@4M", self.image().display())
    }

    fn mtools(&self, program: &str, args: &[&str]) {
        Cmd::new(program)
            .args(["-i", &self.fat()])
            .args(args)
            .env("MTOOLS_SKIP_CHECK", "1")
            .output()
            .unwrap();
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let host = self.dir.path().join("file");
        fsx::write_atomic(&host, bytes).unwrap();
        let host = host.display().to_string();
        let arg = format!("::{path}");
        Cmd::new("mcopy").args(["-o", "-i", &self.fat(), &host, &arg]).check().unwrap();
    }

    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let output = Cmd::new("mtype").args(["-i", &self.fat(), &format!("::{path}")]).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    fn remove(&self, path: &str) {
        self.mtools("mdel", &[&format!("::{path}")]);
    }

    fn deploy(&self, id: &str, kernel: &[u8]) {
        for file in self.files(id, kernel) {
            let path = file.path.as_str().to_string();
            let mut dir = String::new();
            for part in path.split('/').take(path.matches('/').count()) {
                dir = format!("{dir}/{part}");
                // There already, for all but the first file.
                self.mtools("mmd", &["-D", "s", &format!("::{dir}")]);
            }
            let mut bytes = Vec::new();
            file.content.open().unwrap().read_to_end(&mut bytes).unwrap();
            self.put(&path, &bytes);
        }
    }

    fn files(&self, id: &str, kernel: &[u8]) -> Vec<BootFile> {
        let chain = boot::chain(&self.spec).unwrap();
        let firmware = BTreeMap::new();
        let input = BootInput {
            arch: self.arch,
            kernel: ("Image".into(), Content::from(kernel.to_vec())),
            dtbs: Vec::new(),
            overlays: Vec::new(),
            dir: "",
            cmdline: "default".into(),
            initramfs: None,
            release: "1".into(),
            epoch: 0,
            firmware: &firmware,
        };
        chain.slots().unwrap().files(&input, &SlotDirs { id: slot(id), kernel: slot(id) }, "trial").unwrap()
    }

    fn say(&self, state: &SlotState) {
        for (path, bytes) in boot::chain(&self.spec).unwrap().slots().unwrap().state(state) {
            self.put(path, &bytes);
        }
    }

    fn said(&self) -> Option<SlotState> {
        boot::chain(&self.spec).unwrap().slots().unwrap().parse(&|path| self.get(path))
    }

    /// The boot partition's bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut file = std::fs::File::open(self.image()).unwrap();
        file.seek(SeekFrom::Start(4 << 20)).unwrap();
        let mut bytes = vec![0; 64 << 20];
        file.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Powers the board on until its kernel resets it: the kernels that spoke, and all of the console.
    fn boot_with(&self, drive: &str) -> (Vec<String>, String) {
        let program = format!("qemu-system-{}", self.arch.qemu());
        let mut cmd = Cmd::new("timeout").args(["90", &program]);
        cmd = cmd.args(["-machine", "virt", "-nodefaults", "-display", "none", "-serial", "stdio"]);
        cmd = cmd.args(["-no-reboot", "-m", "512M"]);
        let uboot = self.firmware.join("u-boot.bin");
        cmd = match self.arch {
            Arch::Riscv => cmd.arg("-bios").arg(self.firmware.join("fw_jump.elf")).arg("-kernel").arg(uboot),
            _ => cmd.args(["-cpu", "cortex-a53", "-bios"]).arg(uboot),
        };
        let drive = format!("if=none,id=disk,format=raw,file={}{drive}", self.image().display());
        let output =
            cmd.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk"]).output().unwrap();
        let console = output.text().replace('\r', "");
        assert!(output.status.success(), "{console}");
        let kernels = console.lines().filter_map(|line| line.strip_prefix("kernel ")).map(str::to_string);
        (kernels.collect(), console)
    }

    #[track_caller]
    fn boots(&self, expected: &str) -> String {
        let (kernels, console) = self.boot_with("");
        assert_eq!(kernels, [expected], "{console}");
        self.clean();
        console
    }

    #[track_caller]
    fn clean(&self) {
        let volume = self.dir.path().join("volume");
        fsx::write_atomic(&volume, &self.bytes()).unwrap();
        Cmd::new("fsck.fat").arg("-n").arg(volume).check().unwrap();
    }
}

/// An `Image` (kernel Documentation/arch/arm64/booting.rst, arch/riscv/boot-image-header.rst) that prints
/// `kernel NAME` and resets the board.
fn kernel(arch: Arch, name: &str) -> Vec<u8> {
    let (head, magic, code): (u32, u32, &[u32]) = match arch {
        // b 64; UART at 0x9000000, PSCI SYSTEM_RESET by HVC.
        Arch::Arm64 => (
            0x1400_0010,
            0x644d_5241,
            &[
                0x1000_0140,
                0xd2a1_2001,
                0x3840_1402,
                0x3400_0062,
                0xb900_0022,
                0x17ff_fffd,
                0x5280_0120,
                0x72b0_8000,
                0xd400_0002,
                0x1400_0000,
            ],
        ),
        // j 64; SBI console_putchar, SBI system_reset.
        Arch::Riscv => (
            0x0400_006f,
            0x0543_5352,
            &[
                0x0000_0417,
                0x03c4_0413,
                0x0004_4503,
                0x0005_0a63,
                0x0010_0893,
                0x0000_0073,
                0x0014_0413,
                0xfedf_f06f,
                0x5352_58b7,
                0x3548_8893,
                0x0000_0813,
                0x0010_0513,
                0x0000_0593,
                0x0000_0073,
                0x0000_006f,
            ],
        ),
        Arch::Arm | Arch::X86_64 => unreachable!("no board of the tests has one"),
    };
    let mut image = vec![0; 64];
    image[0..4].copy_from_slice(&head.to_le_bytes());
    // Where it is loaded, from a 2 MiB boundary; 0 is as good on arm64.
    image[8..16].copy_from_slice(&if arch == Arch::Riscv { 0x20_0000u64 } else { 0 }.to_le_bytes());
    image[16..24].copy_from_slice(&0x1000u64.to_le_bytes());
    // Little-endian, 4 KiB pages, anywhere in memory.
    image[24..32].copy_from_slice(&if arch == Arch::Arm64 { 0xau64 } else { 0 }.to_le_bytes());
    image[32..36].copy_from_slice(&if arch == Arch::Riscv { 2u32 } else { 0 }.to_le_bytes());
    if arch == Arch::Riscv {
        image[48..53].copy_from_slice(b"RISCV");
    }
    image[56..60].copy_from_slice(&magic.to_le_bytes());
    image.extend(code.iter().flat_map(|word| word.to_le_bytes()));
    image.extend(format!("\r\nkernel {name}\r\n\0").bytes());
    image.resize(4096, 0);
    image
}

/// The whole story of a trial.
fn trial(board: &Board) {
    // As the build left it. Booting writes nothing.
    let before = board.bytes();
    assert_eq!(board.said(), Some(SlotState::default()));
    board.boots("image");
    assert!(board.bytes() == before, "a boot without a trial has written to the boot partition");

    // Armed: once, and one byte of the whole filesystem is other than before.
    board.say(&state(None, Some(NEW)));
    let before = board.bytes();
    let console = board.boots(NEW);
    assert!(console.contains(&format!("bimg: trial boot of {NEW}\n")), "{console}");
    let after = board.bytes();
    let changed: Vec<usize> = (0..before.len()).filter(|&i| before[i] != after[i]).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!((before[changed[0]], after[changed[0]]), (b'b', b'#'));
    assert_eq!(board.said(), Some(SlotState::default()));
    board.boots("image");

    // Found good, then another one that is not.
    board.say(&state(Some(NEW), None));
    board.boots(NEW);
    board.say(&state(Some(NEW), Some(OLD)));
    board.boots(OLD);
    board.boots(NEW);
    assert_eq!(board.said(), Some(state(Some(NEW), None)));
}

/// What cannot be started is passed over in the same boot.
fn passes_over(board: &Board) {
    let garbage: Vec<u8> = (0..4096u32).map(|i| (i * 167 + i / 256) as u8).collect();
    board.put(&format!("bimg/kernels/{NEW}/Image"), &garbage);
    board.say(&state(Some(OLD), Some(NEW)));
    let console = board.boots(OLD);
    assert!(console.contains("bimg: the trial does not start"), "{console}");
    board.boots(OLD);

    // A script that is cut off has the wrong checksum.
    board.deploy(NEW, &kernel(board.arch, NEW));
    let script = board.get(&format!("bimg/{NEW}/trial.scr")).unwrap();
    board.put(&format!("bimg/{NEW}/trial.scr"), &script[..script.len() - 9]);
    board.say(&state(Some(OLD), Some(NEW)));
    board.boots(OLD);

    // No such deployments.
    board.say(&state(Some("cccccccccccc"), Some("dddddddddddd")));
    let console = board.boots("image");
    assert!(console.contains("bimg: the default does not start"), "{console}");
    board.remove(&format!("bimg/kernels/{OLD}/Image"));
    board.say(&state(Some(OLD), None));
    board.boots("image");
}

/// State files that say nothing that can be trusted.
fn doubtful_states(board: &Board) {
    let sector = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(512, b'\n');
        bytes
    };
    let noise: Vec<u8> = (0..512u32).map(|i| (i * i * 31 + 7) as u8).collect();
    for (what, bytes) in [
        ("noise", noise),
        ("zeros", vec![0; 512]),
        ("ones", vec![0xff; 512]),
        ("nothing", Vec::new()),
        ("too short", format!("bimg_trial={NEW}\nbimg_default={NEW}\n").into_bytes()),
        // Its first byte does not take the trial away.
        ("trial further down", sector(&format!("# bimg\nbimg_trial={NEW}\nbimg_default=image\n"))),
        ("no default", sector(&format!("bimg_default={NEW}; run bimg_source\n"))),
        ("commands", sector("bimg_trial=none; reset\nbimg_default=x && reset\n")),
        ("a way out", sector("bimg_trial=none\nbimg_default=../../etc\nbootcmd=reset\n")),
    ] {
        board.put("bimg.env", &bytes);
        let (kernels, console) = board.boot_with("");
        assert_eq!(kernels, ["image"], "{what}: {console}");
        board.clean();
    }
    board.remove("bimg.env");
    board.boots("image");
    // A trial that cannot be taken away is none.
    board.say(&state(Some(OLD), Some(NEW)));
    let (kernels, console) = board.boot_with(",readonly=on");
    assert_eq!(kernels, [OLD], "{console}");
    // The same disk, when it can be written.
    board.boots(NEW);
    board.boots(OLD);
}

#[test]
#[ignore = "needs out/qemu-arm64"]
fn a_trial_boots_once_on_arm64() {
    let board = Board::new(Arch::Arm64, "qemu-arm64");
    trial(&board);
    passes_over(&board);
}

#[test]
#[ignore = "needs out/qemu-arm64"]
fn a_state_file_is_believed_only_when_it_is_whole() {
    doubtful_states(&Board::new(Arch::Arm64, "qemu-arm64"));
}

#[test]
#[ignore = "needs out/qemu-riscv64"]
fn a_trial_boots_once_on_riscv64() {
    trial(&Board::new(Arch::Riscv, "qemu-riscv64"));
}
