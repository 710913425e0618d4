//! A machine's `/sys`, `/proc`, `/run` and `/dev`, as far as they tell of drives.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::flash::device::{Device, Host, System};

/// A card reader on USB.
pub const USB: &str = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0";
/// Another one.
pub const USB_2: &str = "pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/host7/target7:0:0/7:0:0:0";
/// An SSD.
pub const NVME: &str = "pci0000:00/0000:00:06.0/0000:01:00.0/nvme/nvme0";
/// A disk on SATA.
pub const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
/// A card in a slot of its own.
pub const CARD: &str = "platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa";

pub struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    /// No drive at all.
    pub fn new() -> Self {
        let tree = Tree { dir: tempfile::tempdir().unwrap() };
        tree.make("sys/class/block");
        tree.write("proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw\n");
        tree.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        tree
    }

    /// A laptop: an SSD with EFI, a root in LVM on dm-crypt and swap; a USB stick of 29.7 GiB, not mounted.
    pub fn laptop() -> Self {
        let tree = Tree::new();
        tree.drive("nvme0n1", NVME, "259:0", 1_000_215_216);
        tree.attribute("nvme0n1", "device/model", "Samsung SSD 980 500GB");
        tree.partition("nvme0n1", "nvme0n1p1", "259:1", 1_048_576);
        tree.partition("nvme0n1", "nvme0n1p2", "259:2", 999_000_000);
        tree.stacked("dm-0", "254:0", 998_000_000, &["nvme0n1p2"]);
        tree.mapped("dm-0", "luks-root", "CRYPT-LUKS2-1111-luks-root");
        tree.stacked("dm-1", "254:1", 900_000_000, &["dm-0"]);
        tree.mapped("dm-1", "vg-root", "LVM-abcdef");
        tree.stacked("dm-2", "254:2", 16_000_000, &["dm-0"]);
        tree.mapped("dm-2", "vg-swap", "LVM-ghijkl");
        tree.mount("254:1", "/", "ext4", "/dev/mapper/vg-root");
        tree.mount("259:1", "/boot/efi", "vfat", "/dev/nvme0n1p1");
        tree.swap("/dev/dm-2");
        tree.stick("sdb", "8:16");
        tree
    }

    /// A USB stick with two partitions.
    pub fn stick(&self, name: &str, number: &str) {
        let minor: u32 = number.split(':').nth(1).unwrap().parse().unwrap();
        self.drive(name, if name == "sdb" { USB } else { USB_2 }, number, 62_333_952);
        self.attribute(name, "removable", "1");
        self.attribute(name, "device/vendor", "SanDisk ");
        self.attribute(name, "device/model", "Ultra           ");
        self.attribute(name, "diskseq", "9");
        for (index, size) in [(1, 524_288), (2, 61_800_000)] {
            let number = format!("8:{}", minor + index);
            self.partition(name, &format!("{name}{index}"), &number, size);
        }
        self.udev(number, "E:ID_PART_TABLE_TYPE=dos\n");
        let first = format!("8:{}", minor + 1);
        self.udev(&first, "E:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=my_boot\nE:ID_FS_LABEL_ENC=my\\x20boot\nE:ID_PART_ENTRY_NUMBER=1\n");
        let second = format!("8:{}", minor + 2);
        self.udev(&second, "E:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=rootfs\nE:ID_PART_ENTRY_NUMBER=2\n");
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn host(&self) -> Host {
        Host::at(self.root())
    }

    pub fn read(&self) -> System {
        self.host().read().unwrap()
    }

    pub fn device(&self, name: &str) -> Device {
        self.read().devices[name].clone()
    }

    /// A whole drive; `place` is its device's directory below `/sys/devices`.
    pub fn drive(&self, name: &str, place: &str, number: &str, sectors: u64) {
        let dir = format!("sys/devices/{place}/block/{name}");
        self.block(name, &dir, number, sectors);
        symlink("../..", self.at(&dir).join("device")).unwrap();
        self.attribute(name, "removable", "0");
    }

    pub fn partition(&self, drive: &str, name: &str, number: &str, sectors: u64) {
        let dir = self.dir_of(drive).join(name);
        let dir = dir.strip_prefix(self.root().canonicalize().unwrap()).unwrap().to_owned();
        self.block(name, dir.to_str().unwrap(), number, sectors);
        self.attribute(name, "partition", "1");
    }

    /// A device that the kernel makes up, on others.
    pub fn stacked(&self, name: &str, number: &str, sectors: u64, on: &[&str]) {
        self.block(name, &format!("sys/devices/virtual/block/{name}"), number, sectors);
        for lower in on {
            std::fs::write(self.dir_of(lower).join("holders").join(name), "").unwrap();
            std::fs::write(self.dir_of(name).join("slaves").join(lower), "").unwrap();
        }
    }

    pub fn mapped(&self, name: &str, shown: &str, uuid: &str) {
        self.attribute(name, "dm/name", shown);
        self.attribute(name, "dm/uuid", uuid);
        self.write(&format!("dev/mapper/{shown}"), "");
    }

    pub fn attribute(&self, name: &str, file: &str, value: &str) {
        let path = self.dir_of(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{value}\n")).unwrap();
    }

    pub fn mount(&self, number: &str, point: &str, filesystem: &str, source: &str) {
        let line = format!("30 27 {number} / {point} rw,relatime shared:1 - {filesystem} {source} rw\n");
        self.append("proc/self/mountinfo", &line);
    }

    pub fn unmount(&self, point: &str) {
        let text = std::fs::read_to_string(self.at("proc/self/mountinfo")).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains(&format!(" / {point} "))).collect();
        self.write("proc/self/mountinfo", &(kept.join("\n") + "\n"));
    }

    pub fn swap(&self, path: &str) {
        self.append(
            "proc/swaps",
            &format!("{path}                               partition\t8000\t\t0\t\t-2\n"),
        );
    }

    pub fn udev(&self, number: &str, text: &str) {
        self.write(&format!("run/udev/data/b{number}"), text);
    }

    pub fn make(&self, dir: &str) {
        std::fs::create_dir_all(self.at(dir)).unwrap();
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.at(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn append(&self, file: &str, line: &str) {
        let text = std::fs::read_to_string(self.at(file)).unwrap();
        self.write(file, &(text + line));
    }

    fn dir_of(&self, name: &str) -> PathBuf {
        self.at(&format!("sys/class/block/{name}")).canonicalize().unwrap()
    }

    fn block(&self, name: &str, dir: &str, number: &str, sectors: u64) {
        for below in ["holders", "slaves"] {
            self.make(&format!("{dir}/{below}"));
        }
        symlink(self.at(dir), self.at(&format!("sys/class/block/{name}"))).unwrap();
        self.attribute(name, "dev", number);
        self.attribute(name, "size", &sectors.to_string());
        self.attribute(name, "ro", "0");
        self.write(&format!("dev/{name}"), "");
    }
}
