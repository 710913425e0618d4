//! The files of every chain, byte for byte, and what goes wrong.

mod config_txt;
mod slots;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use self::config_txt::Memory;
use super::config_txt::{Choice, Model, Overlay, choose};
use super::*;
use crate::exec::Cmd;

fn no_firmware() -> &'static BTreeMap<String, Firmware> {
    static NONE: BTreeMap<String, Firmware> = BTreeMap::new();
    &NONE
}

#[test]
fn what_follows_two_dashes_is_for_init() {
    assert_eq!(for_kernel("a=--b --c -- single --"), ("a=--b --c", "-- single --"));
    assert_eq!(for_kernel(" quiet  ro "), ("quiet  ro", ""));
    assert_eq!(for_kernel("--"), ("", "--"));
    assert_eq!(for_kernel("quiet\t--\tx"), ("quiet", "--\tx"));
}

/// The directory as the profile's firmware `rpi`.
fn rpi(dir: &Path) -> BTreeMap<String, Firmware> {
    let firmware = Firmware { dir: dir.to_owned(), origin: "package `raspi-firmware`".to_string() };
    BTreeMap::from([("rpi".to_string(), firmware)])
}

fn input(arch: Arch, kernel: &str) -> BootInput<'static> {
    BootInput {
        arch,
        kernel: (kernel.to_string(), Content::from("kernel")),
        dtbs: Vec::new(),
        overlays: Vec::new(),
        dir: "",
        cmdline: "root=PARTUUID=1234-02 rootwait console=ttyAMA0".to_string(),
        initramfs: None,
        release: "6.12.48".to_string(),
        epoch: 1_700_000_000,
        firmware: no_firmware(),
    }
}

fn dtb(name: &str) -> (String, Content) {
    (name.to_string(), Content::from("dtb"))
}

fn files(spec: &BootSpec, input: &BootInput<'_>) -> BTreeMap<String, Vec<u8>> {
    let list = chain(spec).and_then(|chain| chain.files(input)).unwrap();
    list.into_iter()
        .map(|file| {
            let mut bytes = Vec::new();
            file.content.open().unwrap().read_to_end(&mut bytes).unwrap();
            (file.path.as_str().to_string(), bytes)
        })
        .collect()
}

fn text(files: &BTreeMap<String, Vec<u8>>, path: &str) -> String {
    String::from_utf8(files[path].clone()).unwrap()
}

fn failure(spec: &BootSpec, input: &BootInput<'_>) -> String {
    chain(spec).and_then(|chain| chain.files(input)).unwrap_err().to_string()
}

#[test]
fn extlinux_without_and_with_a_device_tree() {
    let spec = BootSpec::new(ChainName::Extlinux);
    let mut input = input(Arch::Arm64, "Image");
    let plain = files(&spec, &input);
    assert_eq!(plain.keys().collect::<Vec<_>>(), ["Image", "extlinux/extlinux.conf"]);
    assert_eq!(
        text(&plain, "extlinux/extlinux.conf"),
        "# Read by U-Boot (distro boot); made by bimg.\n\
         default linux\n\
         # Tenths of a second before the default boots.\n\
         timeout 10\n\
         \n\
         label linux\n    \
             menu label Linux 6.12.48\n    \
             kernel /Image\n    \
             append root=PARTUUID=1234-02 rootwait console=ttyAMA0\n"
    );
    input.dtbs = vec![dtb("allwinner/a.dtb")];
    input.overlays = vec![dtb("allwinner/x.dtbo"), dtb("y.dtbo")];
    input.initramfs = Some(Content::from("cpio"));
    let full = files(&spec, &input);
    assert_eq!(
        full.keys().collect::<Vec<_>>(),
        [
            "Image",
            "dtbs/allwinner/a.dtb",
            "extlinux/extlinux.conf",
            "initramfs.img",
            "overlays/x.dtbo",
            "overlays/y.dtbo"
        ]
    );
    assert!(text(&full, "extlinux/extlinux.conf").ends_with(
        "    kernel /Image\n    initrd /initramfs.img\n    fdt /dtbs/allwinner/a.dtb\n    \
         fdtoverlays /overlays/x.dtbo /overlays/y.dtbo\n    \
         append root=PARTUUID=1234-02 rootwait console=ttyAMA0\n"
    ));
    input.dtbs.push(dtb("allwinner/b.dtb"));
    assert!(text(&files(&spec, &input), "extlinux/extlinux.conf").contains("    fdtdir /dtbs\n"));
}

#[test]
fn boot_script_for_a_virtual_machine() {
    let made = files(&BootSpec::new(ChainName::UbootScript), &input(Arch::Arm64, "Image"));
    assert_eq!(made.keys().collect::<Vec<_>>(), ["Image", "bimg.env", "boot.scr"]);
    assert_eq!(
        std::str::from_utf8(&made["boot.scr"][uimage::HEADER_LEN + 8..]).unwrap(),
        r#"# Run by U-Boot (distro boot); made by bimg.
# bimg slots 1

# What to boot: a trial, once; else the default; else the image's own kernel.
setenv bimg_trial none
setenv bimg_default image
setenv bimg_read 'load ${devtype} ${devnum}:${distro_bootpart} ${scriptaddr} ${prefix}bimg.env 200 && test "${filesize}" = 200'
setenv bimg_import 'env import -t ${scriptaddr} 200 bimg_trial bimg_default'
setenv bimg_source 'load ${devtype} ${devnum}:${distro_bootpart} ${scriptaddr} ${prefix}bimg/${bimg_id} && source ${scriptaddr}'
if run bimg_read; then run bimg_import; fi

# The trial is taken away before it starts, and it has to be seen gone on the disk.
if test "${bimg_trial}" != none; then
  echo "bimg: trial boot of ${bimg_trial}"
  setenv bimg_id ${bimg_trial}/trial.scr
  mw.b ${scriptaddr} 23
  if fatwrite ${devtype} ${devnum}:${distro_bootpart} ${scriptaddr} ${prefix}bimg.env 200; then
    mw.b ${scriptaddr} 0 200
    if run bimg_read && run bimg_import && test "${bimg_trial}" = none; then run bimg_source; fi
  fi
  echo "bimg: the trial does not start"
fi
if test "${bimg_default}" != image; then
  setenv bimg_id ${bimg_default}/boot.scr
  run bimg_source
  echo "bimg: the default does not start"
fi

# The image's own kernel.
echo "bimg: Linux 6.12.48 from ${devtype} ${devnum}:${distro_bootpart}"
setenv bimg_kernel 'Image'
setenv bootargs 'root=PARTUUID=1234-02 rootwait console=ttyAMA0'
if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${prefix}${bimg_kernel}; then
  booti ${kernel_addr_r} - ${fdtcontroladdr}
fi
echo "bimg: cannot boot ${prefix}${bimg_kernel}"
"#
    );
}

#[test]
fn boot_script_with_everything() {
    let mut input = input(Arch::Arm, "zImage");
    input.dtbs = vec![dtb("a.dtb")];
    input.overlays = vec![dtb("overlays/o.dtbo")];
    input.initramfs = Some(Content::from("cpio"));
    assert_eq!(
        uboot_script::script(&input, false).unwrap().split("${distro_bootpart}\"\n").nth(1).unwrap(),
        r#"setenv bimg_kernel 'zImage'
setenv bootargs 'root=PARTUUID=1234-02 rootwait console=ttyAMA0'
setenv bimg_fdt 'dtbs/a.dtb'
setenv bimg_initramfs initramfs.img
if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${prefix}${bimg_kernel} && load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${prefix}${bimg_fdt} && fdt addr ${fdt_addr_r} && fdt resize 0x10000 && load ${devtype} ${devnum}:${distro_bootpart} ${scriptaddr} ${prefix}'overlays/o.dtbo' && fdt apply ${scriptaddr} && load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ${prefix}${bimg_initramfs}; then
  bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}
fi
echo "bimg: cannot boot ${prefix}${bimg_kernel}"
"#
    );
}

#[test]
fn mkimage_accepts_the_script() {
    let dir = tempfile::tempdir().unwrap();
    for (arch, name) in [
        (Arch::Arm, "ARM Linux Script"),
        (Arch::Arm64, "AArch64 Linux Script"),
        (Arch::Riscv, "RISC-V Linux Script"),
        (Arch::X86_64, "AMD x86_64 Linux Script"),
    ] {
        let path = dir.path().join("boot.scr");
        crate::fsx::write_atomic(
            &path,
            &uimage::script(arch, "bimg boot script", 1_700_000_000, "echo hello\n").unwrap(),
        )
        .unwrap();
        let listing = Cmd::new("mkimage").arg("-l").arg(&path).check().unwrap().text();
        assert_eq!(
            listing,
            format!(
                "Image Name:   bimg boot script\n\
                 Created:      Tue Nov 14 22:13:20 2023\n\
                 Image Type:   {name} (uncompressed)\n\
                 Data Size:    19 Bytes = 0.02 KiB = 0.00 MiB\n\
                 Load Address: 00000000\n\
                 Entry Point:  00000000\n\
                 Contents:\n   Image 0: 11 Bytes = 0.01 KiB = 0.00 MiB\n"
            )
        );
    }
}

/// A directory like the one of the firmware package.
fn firmware_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put =
        |path: &str| crate::fsx::write_atomic(&dir.path().join("lib").join(path), path.as_bytes()).unwrap();
    [
        "start4.elf",
        "fixup4.dat",
        "start4x.elf",
        "overlays/vc4.dtbo",
        "overlays/i2c-rtc.dtbo",
        "overlays/README",
    ]
    .into_iter()
    .for_each(put);
    dir
}

fn rpi4(firmware: &BTreeMap<String, Firmware>) -> (BootSpec, BootInput<'_>) {
    let spec: BootSpec = toml::from_str(
        r#"
        chain = "rpi-firmware"
        firmware = ["rpi:lib/start4.elf", "rpi:lib/fixup4.dat", { from = "rpi:lib/overlays/*.dtbo", to = "overlays/" }]
        dtoverlays = ["i2c-rtc,ds3231"]
        config = ["[cm4]", "otg_mode=1"]
        "#,
    )
    .unwrap();
    let mut input = input(Arch::Arm64, "Image");
    input.dtbs = vec![dtb("broadcom/bcm2711-rpi-4-b.dtb")];
    input.firmware = firmware;
    (spec, input)
}

#[test]
fn raspberry_pi_4() {
    let dir = firmware_dir();
    let firmware = rpi(dir.path());
    let (spec, input) = rpi4(&firmware);
    let made = files(&spec, &input);
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        [
            "bcm2711-rpi-4-b.dtb",
            "bimg-default.txt",
            "bimg-trial.txt",
            "cmdline-trial.txt",
            "cmdline.txt",
            "config.txt",
            "fixup4.dat",
            "kernel8.img",
            "overlays/i2c-rtc.dtbo",
            "overlays/vc4.dtbo",
            "start4.elf",
            "tryboot.txt"
        ]
    );
    assert_eq!(text(&made, "cmdline.txt"), "root=PARTUUID=1234-02 rootwait console=ttyAMA0\n");
    assert_eq!(text(&made, "start4.elf"), "start4.elf");
    assert_eq!(
        text(&made, "config.txt"),
        r#"# Read by the Raspberry Pi's firmware before the kernel starts; made by bimg.
# https://www.raspberrypi.com/documentation/computers/config_txt.html

# "arm_64bit": state in which the firmware starts the kernel.
arm_64bit=1

# "kernel": file to load.
kernel=kernel8.img

# "device_tree": DTB to load; the firmware's own choice goes by vendor kernel names.
device_tree=bcm2711-rpi-4-b.dtb

# "enable_uart": serial console on GPIO 14 and 15, with a core clock that keeps its baud rate.
enable_uart=1

# "dtoverlay": applied to the DTB, from overlays/.
dtoverlay=i2c-rtc,ds3231

# From the board's profile.
[cm4]
otg_mode=1

# bimg slots 1
# "include", "os_prefix": a kernel that `bimg deploy` brought, when it is the default.
[all]
include bimg-default.txt
"#
    );
    assert_eq!(
        text(&made, "tryboot.txt").strip_prefix(&text(&made, "config.txt")).unwrap(),
        r"
# The kernel that is tried, under a watchdog; older firmware passes over it.
include bimg-trial.txt
kernel_watchdog_timeout=60
"
    );
    // What we write, our reader understands.
    assert_eq!(
        choose(&Memory(made), Model::Pi4B).unwrap(),
        Choice {
            kernel: "kernel8.img".into(),
            wide: true,
            dtb: Some("bcm2711-rpi-4-b.dtb".into()),
            dtparams: vec![],
            overlays: vec![Overlay { path: "overlays/i2c-rtc.dtbo".into(), params: vec!["ds3231".into()] }],
            initramfs: vec![],
            cmdline: "root=PARTUUID=1234-02 rootwait console=ttyAMA0".into(),
            uart: true,
        }
    );
}

#[test]
fn missing_firmware_is_named() {
    let dir = firmware_dir();
    let firmware = rpi(dir.path());
    let (mut spec, input) = rpi4(&firmware);
    spec.firmware[0] = FirmwareFile::at_root("rpi:lib/start4.bin");
    assert_eq!(
        failure(&spec, &input),
        "firmware file `lib/start4.bin` is not in package `raspi-firmware`\n\nhint: nearest: `lib/start4.elf`"
    );
    spec.firmware.remove(0);
    assert_eq!(
        failure(&spec, &input),
        "the boot partition lacks the firmware file `start4.elf`\n  \
         caused by: a board with this DTB does not start without it\n\n\
         hint: add the path of `start4.elf` to `boot.firmware`; in package `raspi-firmware` it is `usr/lib/raspi-firmware/start4.elf`"
    );
    let (mut spec, mut input) = rpi4(&firmware);
    spec.dtoverlays.push("disable-bt".into());
    assert_eq!(
        failure(&spec, &input),
        "`boot.dtoverlays` names `disable-bt`, but the boot partition has no `overlays/disable-bt.dtbo`\n\n\
         hint: add it to the profile's overlays, or to `boot.firmware` with `to = \"overlays/\"`"
    );
    spec.dtoverlays.pop();
    input.firmware = no_firmware();
    assert_eq!(
        failure(&spec, &input),
        "`boot.firmware` names `rpi:lib/start4.elf`, which is in no firmware of the profile\n\n\
         hint: give the profile a `[firmware]` table: `NAME = { apt = \"PACKAGE\" }`, and write `NAME:PATH`"
    );
}

#[test]
fn bad_profiles_are_told_why() {
    let dir = firmware_dir();
    let firmware = rpi(dir.path());
    let (mut spec, mut input) = rpi4(&firmware);
    spec.firmware.push(FirmwareFile { from: "rpi:lib/start4x.elf".into(), to: "CONFIG.TXT".into() });
    assert_eq!(
        failure(&spec, &input),
        "two files of the boot partition are called `CONFIG.TXT`\n  \
         caused by: `config.txt` is there already, and FAT ignores case\n\n\
         hint: the profile's `boot.firmware` may not hold a file that the boot chain makes"
    );
    spec.firmware.pop();
    spec.firmware.push(FirmwareFile { from: "rpi:lib/start4x.elf".into(), to: "../x".into() });
    assert_eq!(
        failure(&spec, &input),
        "path `../x` leaves its root with `..`\n\nhint: paths in a layer may not hold `..`"
    );
    spec.firmware.pop();
    spec.config.push("a=1\nb=2".into());
    assert_eq!(
        failure(&spec, &input),
        "`boot.config` holds `a=1\\nb=2`, which is not a line of config.txt\n\n\
         hint: one line each, 98 characters at most: the firmware ignores the rest"
    );
    spec.config.pop();
    input.kernel.0 = "uImage".into();
    assert_eq!(
        failure(&spec, &input),
        "the Raspberry Pi's firmware cannot start a kernel called `uImage`\n\nhint: on arm64 it starts `Image` and `Image.gz`"
    );
    input.arch = Arch::Riscv;
    assert_eq!(
        failure(&spec, &input),
        "boot chain `rpi-firmware` cannot start a kernel for riscv64\n\nhint: a Raspberry Pi is `arm` or `arm64`"
    );
    spec.chain = ChainName::Extlinux;
    assert_eq!(
        failure(&spec, &input),
        "`boot.config` does not fit boot chain `extlinux`\n\n\
         hint: only `rpi-firmware` reads `boot.config`: remove it or change the chain"
    );
}

#[test]
fn bad_command_lines_are_told_why() {
    let script = BootSpec::new(ChainName::UbootScript);
    let mut input = input(Arch::Riscv, "Image");
    input.cmdline = "a\nb".into();
    assert_eq!(
        failure(&script, &input),
        "the kernel command line cannot be used\n  caused by: it holds the control character `\\n`\n\n\
         hint: a command line is one line of text"
    );
    input.cmdline = "x".repeat(1024);
    assert_eq!(
        failure(&script, &input),
        "the kernel command line cannot be used\n  \
         caused by: it is 1024 bytes long, and a kernel for riscv64 keeps 1023"
    );
    input.cmdline = "a='b'".into();
    assert_eq!(
        failure(&script, &input),
        "a U-Boot script cannot hold `a='b'`\n  caused by: U-Boot's shell has no way to quote `'`\n\n\
         hint: use `\"`, which the kernel understands too"
    );
    input.cmdline = "a=${b}".into();
    assert_eq!(
        failure(&BootSpec::new(ChainName::Extlinux), &input),
        "the kernel command line cannot be used\n  \
         caused by: it holds `${`, which U-Boot would replace by a variable of its own"
    );
    input.cmdline = "quiet".into();
    input.kernel.0 = "bzImage".into();
    assert_eq!(
        failure(&script, &input),
        "boot chain `uboot-script` cannot start a kernel called `bzImage`\n\n\
         hint: it starts `Image`, `Image.gz`, `zImage` and `uImage`"
    );
}

#[test]
fn profile_mistakes_have_a_place() {
    let error = toml::from_str::<BootSpec>("chain = \"extlinux\"\nfirmwares = []\n").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("unknown field `firmwares`"), "{error}");
    let error = toml::from_str::<BootSpec>("chain = \"extlinux\"\nfirmware = [{ from = \"a\" }]\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 2") && error.contains("missing field `to`"), "{error}");
    let error = toml::from_str::<BootSpec>("chain = \"grub\"\n").unwrap_err().to_string();
    assert!(error.contains("expected one of `extlinux`, `uboot-script`, `rpi-firmware`"), "{error}");
}
