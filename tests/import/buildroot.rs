//! Boards in the shapes that Buildroot has them: what comes out can be used, and what does not is told.

use crate::common::{Project, assert_fails};

const CARD: &str = "image boot.vfat {
\tvfat { files = { \"Image\", \"board.dtb\", \"boot.scr\", \"logo.bmp\" } }
\tsize = 64M
}
image sdcard.img {
\thdimage { }
\tpartition spl { in-partition-table = \"no\" image = \"sunxi-spl.bin\" offset = 8K }
\tpartition u-boot { in-partition-table = \"no\" image = \"u-boot.itb\" offset = 40K size = 1M }
\tpartition boot { partition-type = 0xC bootable = \"true\" image = \"boot.vfat\" }
\tpartition rootfs { partition-type = 0x83 image = \"rootfs.ext4\" }
}
";

const PINE: &str = "BR2_aarch64=y
BR2_GLOBAL_PATCH_DIR=\"board/acme/pine/patches\"
BR2_ROOTFS_POST_IMAGE_SCRIPT=\"support/scripts/genimage.sh\"
BR2_ROOTFS_POST_SCRIPT_ARGS=\"-c board/acme/pine/genimage.cfg\"
BR2_LINUX_KERNEL=y
BR2_LINUX_KERNEL_CUSTOM_VERSION=y
BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE=\"6.18.32\"
BR2_LINUX_KERNEL_USE_CUSTOM_CONFIG=y
BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE=\"board/acme/pine/linux.config\"
BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES=\"board/acme/pine/usb.fragment board/acme/pine/gone.fragment\"
BR2_LINUX_KERNEL_INTREE_DTS_NAME=\"allwinner/sun50i-a64-pine64\"
BR2_TARGET_UBOOT=y
BR2_TARGET_UBOOT_BOARD_DEFCONFIG=\"pine64_plus\"
BR2_PACKAGE_HOST_UBOOT_TOOLS_BOOT_SCRIPT_SOURCE=\"board/acme/pine/boot.cmd\"
BR2_PACKAGE_HOST_UBOOT_TOOLS_BOOT_SCRIPT=y
BR2_PACKAGE_STRACE=y
";

const SUM: &str = "55e5bcbc68d66776fc46896291f0a24844beb57817345a854d65e3d055fa423e";

fn project(name: &str, defconfig: &str, files: &[(&str, &str)]) -> Project {
    let project = Project::new();
    for dir in ["configs", "linux", "board/acme/pine/patches/linux", "board/acme/pine/overlay"] {
        std::fs::create_dir_all(project.path("br").join(dir)).unwrap();
    }
    project.write(&format!("br/configs/{name}_defconfig"), defconfig);
    for (file, text) in files {
        let path = project.path("br").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    project
}

fn pine() -> Project {
    let sums = format!("# From kernel.org\nsha256  {SUM}  linux-6.18.32.tar.xz\n");
    project(
        "pine",
        PINE,
        &[
            ("board/acme/pine/genimage.cfg", CARD),
            ("board/acme/pine/linux.config", "CONFIG_X=y\n"),
            ("board/acme/pine/usb.fragment", "CONFIG_USB=y\n"),
            ("board/acme/pine/patches/linux/linux.hash", &sums),
            ("board/acme/pine/patches/linux/0001-x.patch", ""),
            (
                "board/acme/pine/boot.cmd",
                "setenv bootargs console=ttyS0,115200 root=/dev/mmcblk0p2 rootwait\n",
            ),
        ],
    )
}

#[test]
fn a_board_with_everything() {
    let project = pine();
    let outcome =
        project.run(&["import", "buildroot", "br/configs/pine_defconfig", "--into", "boards/pine.toml"]).ok();
    assert_eq!(
        outcome.stderr,
        "note: br/configs/pine_defconfig:2: 1 patch of the kernel is left out: apply them to a tree of your own, `{ path = \"...\" }`\n\
         note: br/configs/pine_defconfig:10: the fragment `board/acme/pine/gone.fragment` is not there, and left out\n\
         note: br/configs/pine_defconfig:3: partition `boot` also held `logo.bmp`: left out\n\
         note: br/configs/pine_defconfig:16: Buildroot's packages are left out, Debian's go to `rootfs.packages`: STRACE\n\
         wrote boards/pine.toml\n"
    );
    let profile = project.read("boards/pine.toml");
    let body = profile.split_once("\n\n").unwrap().1;
    assert_eq!(
        body,
        format!(
            "extends = [\"common/debian.toml\"]
description = \"pine, as in Buildroot\"
arch = \"arm64\"

[kernel]
source = {{ tarball = \"https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.18.32.tar.xz\", sha256 = \"{SUM}\" }}
defconfig = \"pine/linux.config\"
fragments = [\"pine/usb.fragment\"]
targets = [\"Image\"]
dtbs = [\"allwinner/sun50i-a64-pine64.dtb\"]
cmdline = \"console=ttyS0,115200\"

[firmware]
uboot = {{ apt = \"u-boot-sunxi\", suite = \"bookworm\", arch = \"arm64\" }}

[boot]
chain = \"uboot-script\"

[disk]
table = \"mbr\"
align = 512

[[disk.blob]]
name = \"spl\"
file = \"uboot:usr/lib/u-boot/pine64_plus/u-boot-sunxi-with-spl.fit.itb\"
offset = \"8K\"
size = \"1056K\"

[[disk.partition]]
name = \"boot\"
type = \"0x0c\"
filesystem = \"vfat\"
content = \"boot\"
size = \"64M\"
bootable = true

[[disk.partition]]
name = \"rootfs\"
type = \"0x83\"
filesystem = \"ext4\"
content = \"root\"
room = \"64M\"
"
        )
    );
    assert_eq!(project.read("boards/pine/linux.config"), "CONFIG_X=y\n");
    // By name, by path, and from standard output.
    assert_eq!(project.run(&["boards", "check", "pine"]).ok().stderr, "pine: ok\n");
    project.run(&["boards", "check", "boards/pine.toml"]).ok();
    let outcome = project.run(&["import", "buildroot", "br/configs/pine_defconfig"]).ok();
    let root = project.root();
    project.write("elsewhere.toml", &outcome.stdout.replace("[DIR]", root.to_str().unwrap()));
    project.run(&["boards", "check", "./elsewhere.toml"]).ok();
}

#[test]
fn files_beside_the_profile_stay_too() {
    let project = pine();
    std::fs::create_dir(project.path("boards/pine")).unwrap();
    project.write("boards/pine/linux.config", "mine\n");
    assert_fails(
        &project.run(&["import", "buildroot", "br/configs/pine_defconfig", "--into", "boards/pine.toml"]),
        2,
        "error: `boards/pine/linux.config` is there already\n\n\
         hint: choose another name, or replace it with `--force`\n",
    );
    assert!(!project.path("boards/pine.toml").exists());
    assert_eq!(project.shell("ls boards/pine"), "linux.config\n");
    // Nor is anything written before the last of them has been looked for.
    project.shell("cd boards/pine && mv linux.config usb.fragment");
    let outcome =
        project.run(&["import", "buildroot", "br/configs/pine_defconfig", "--into", "boards/pine.toml"]);
    assert!(
        outcome.stderr.starts_with("error: `boards/pine/usb.fragment` is there already\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(project.shell("ls boards/pine"), "usb.fragment\n");
}

/// The profile of a board, which can be used as it is.
fn usable(name: &str, defconfig: &str, files: &[(&str, &str)]) -> String {
    let project = project(name, defconfig, files);
    let into = format!("boards/{name}.toml");
    project.run(&["import", "buildroot", &format!("br/configs/{name}_defconfig"), "--into", &into]).ok();
    let checked = project.run(&["boards", "check", name]);
    let profile = project.read(&into);
    assert_eq!(checked.status, Some(0), "{}\n{profile}", checked.stderr);
    profile
}

#[test]
fn a_raspberry_pi() {
    let profile = usable(
        "pi4",
        "BR2_aarch64=y\nBR2_LINUX_KERNEL=y\nBR2_LINUX_KERNEL_CUSTOM_TARBALL=y\n\
         BR2_LINUX_KERNEL_CUSTOM_TARBALL_LOCATION=\"$(call github,raspberrypi,linux,b657cd2f)/linux-b657cd2f.tar.gz\"\n\
         BR2_LINUX_KERNEL_DEFCONFIG=\"bcm2711\"\nBR2_LINUX_KERNEL_INTREE_DTS_NAME=\"broadcom/bcm2711-rpi-4-b\"\n\
         BR2_PACKAGE_RPI_FIRMWARE=y\nBR2_PACKAGE_RPI_FIRMWARE_VARIANT_PI4=y\n\
         BR2_ROOTFS_POST_IMAGE_SCRIPT=\"board/pi4/post-image.sh\"\n",
        &[
            ("board/pi4/genimage-pi4.cfg", CARD),
            ("board/pi4/cmdline.txt", "console=ttyAMA0,115200 root=/dev/mmcblk0p2 rootwait\n"),
            ("board/pi4/config.txt", "kernel=Image\n"),
        ],
    );
    for line in [
        "source = { git = \"https://github.com/raspberrypi/linux\", rev = \"b657cd2f\" }",
        "defconfig = \"bcm2711_defconfig\"",
        "cmdline = \"console=ttyAMA0,115200\"",
        "chain = \"rpi-firmware\"",
        "    \"rpi:usr/lib/raspi-firmware/start4.elf\",",
        "# [[disk.blob]]",
        "# - `u-boot.itb` at 40K is not packaged: make it and take its `[[disk.blob]]` out of the comment below",
        "# - bimg writes config.txt: what `board/pi4/config.txt` says besides goes to `boot.config`",
    ] {
        assert!(profile.lines().any(|it| it == line), "{line}\n{profile}");
    }
}

#[test]
fn boards_that_say_little() {
    let profile = usable("bare", "BR2_riscv=y\nBR2_TARGET_GENERIC_GETTY_PORT=\"ttyS0\"\n", &[]);
    for line in [
        "extends = [\"common/linux-6.12.toml\", \"common/debian.toml\"]",
        "arch = \"riscv64\"",
        "cmdline = \"console=ttyS0,115200\"",
        "suite = \"trixie\"",
        "table = \"gpt\"",
        "# - the board builds no kernel: Debian's 6.12 takes its place, change `kernel.source`",
        "# - the board has no genimage layout: the disk is a usual one, with a boot partition and the root",
    ] {
        assert!(profile.lines().any(|it| it == line), "{line}\n{profile}");
    }
}

#[test]
fn loaders_in_partitions_and_one_root() {
    let layout = "image sdcard.img { hdimage { gpt = true }
        partition fsbl1 { image = \"tf-a.stm32\" }
        partition fip { image = \"fip.bin\" size = 2M }
        partition rootfs { image = \"rootfs.ext4\" bootable = yes partition-uuid = %UUID% } }";
    let profile = usable(
        "stm",
        "BR2_arm=y\nBR2_cortex_a7=y\nBR2_LINUX_KERNEL=y\nBR2_LINUX_KERNEL_CUSTOM_GIT=y\n\
         BR2_LINUX_KERNEL_CUSTOM_REPO_URL=\"https://github.com/acme/linux.git\"\n\
         BR2_LINUX_KERNEL_CUSTOM_REPO_VERSION=\"v6.1-acme\"\nBR2_LINUX_KERNEL_DEFCONFIG=\"multi_v7\"\n\
         BR2_TARGET_UBOOT=y\nBR2_ROOTFS_OVERLAY=\"board/stm/overlay\"\n\
         BR2_ROOTFS_POST_SCRIPT_ARGS=\"-c $(BR2_EXTERNAL_ACME_PATH)/board/stm/genimage.cfg\"\n",
        &[
            ("board/stm/genimage.cfg", layout),
            (
                "board/stm/overlay/boot/extlinux/extlinux.conf",
                "label x\n\tappend root=/dev/mmcblk0p3 console=ttySTM0\n",
            ),
        ],
    );
    for line in [
        "targets = [\"zImage\"]",
        "source = { git = \"https://github.com/acme/linux.git\", rev = \"v6.1-acme\" }",
        "chain = \"extlinux\"",
        "cmdline = \"console=ttySTM0\"",
        "content = \"root\"",
        "# - partition `fsbl1` waits for `tf-a.stm32`: make it and name it as the partition's `file`",
        "# - `partition-uuid` is the placeholder `%UUID%`, so it is left out",
    ] {
        assert!(profile.lines().any(|it| it == line), "{line}\n{profile}");
    }
}

#[test]
fn what_cannot_be_imported() {
    let told = |defconfig: &str, expected: &str| {
        let project = project("x", defconfig, &[]);
        assert_fails(&project.run(&["import", "buildroot", "br/configs/x_defconfig"]), 2, expected);
    };
    told(
        "BR2_mips=y\n",
        "error: cannot import `br/configs/x_defconfig`\n  caused by: `br/configs/x_defconfig` is for `mips`\n  \
         caused by: bimg builds for arm, arm64, riscv64 and x86_64\n",
    );
    told(
        "CONFIG_ARM=y\n",
        "error: cannot import `br/configs/x_defconfig`\n  \
         caused by: `br/configs/x_defconfig` is not a Buildroot defconfig\n  \
         caused by: it sets no `BR2_` symbol\n\n\
         hint: name a file such as `configs/raspberrypi4_64_defconfig`\n",
    );
    told(
        "BR2_arm=y\nBR2_ROOTFS_POST_SCRIPT_ARGS=\"-c board/x/genimage.cfg\"\n",
        "error: cannot import `br/configs/x_defconfig`\n  caused by: the layout `board/x/genimage.cfg` is not there\n \
         --> br/configs/x_defconfig:2:1\n  |\n\
         2 | BR2_ROOTFS_POST_SCRIPT_ARGS=\"-c board/x/genimage.cfg\"\n  \
         | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ named here\n\n\
         hint: the defconfig belongs below `configs/` of a Buildroot tree\n",
    );
}
