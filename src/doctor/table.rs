//! The tools that building, writing and running an image may need: minimum version, how to ask for
//! the version, and the packages that hold them.
//!
//! Minimum versions are those of the kernel's `Documentation/process/changes.rst`; the ones of a
//! kernel tree's own `scripts/min-tool-version.sh` win over them. A cross tool
//! (`aarch64-linux-gnu-gcc`) is judged by the row of its last part (`gcc`).

/// How a tool is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A program in PATH, and what makes it print its version. No arguments: being there is enough.
    Program {
        /// Arguments.
        args: &'static [&'static str],
        /// The text right before the version, when that is not the first in sight; else empty.
        marker: &'static str,
    },
    /// A C header, which the host's compiler is asked to find.
    Header(&'static str),
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Program or library name, as in [`Need::tool`](super::Need).
    pub name: &'static str,
    /// Oldest version that will do; empty for any.
    pub min: &'static str,
    /// How it is found.
    pub probe: Probe,
    /// What the kernel tree's `min-tool-version.sh` calls it; empty when it does not know it.
    pub kernel_name: &'static str,
    /// Package names on Debian and Ubuntu, Fedora, Arch; separated by spaces.
    pub packages: [&'static str; 3],
    /// What it is for when no plan says so, and whether builds do without it.
    pub purpose: Purpose,
}

/// What a tool is for in a check without a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Every kernel build uses it.
    Kernel(&'static str),
    /// Some boards or options use it.
    Some(&'static str),
}

const VERSION: Probe = Probe::Program { args: &["--version"], marker: "" };
const PRESENT: Probe = Probe::Program { args: &[], marker: "" };

const fn row(name: &'static str, min: &'static str, probe: Probe, packages: [&'static str; 3]) -> Tool {
    Tool { name, min, probe, kernel_name: "", packages, purpose: Purpose::Some("") }
}

const fn kernel(why: &'static str, tool: Tool) -> Tool {
    Tool { purpose: Purpose::Kernel(why), ..tool }
}

const fn some(why: &'static str, tool: Tool) -> Tool {
    Tool { purpose: Purpose::Some(why), ..tool }
}

const fn known_as(kernel_name: &'static str, tool: Tool) -> Tool {
    Tool { kernel_name, ..tool }
}

/// All rows.
pub const TOOLS: &[Tool] = &[
    kernel(
        "compiles the kernel's host programs",
        known_as("gcc", row("gcc", "5.1", VERSION, ["gcc libc6-dev", "gcc glibc-devel", "gcc glibc"])),
    ),
    kernel("runs the kernel build", row("make", "4.0", VERSION, ["make", "make", "make"])),
    kernel(
        "links the kernel's host programs",
        known_as("binutils", row("ld", "2.25", VERSION, ["binutils", "binutils", "binutils"])),
    ),
    kernel("generates Kconfig's lexer", row("flex", "2.5.35", VERSION, ["flex", "flex", "flex"])),
    kernel("generates Kconfig's parser", row("bison", "2.0", VERSION, ["bison", "bison", "bison"])),
    kernel("computes kernel time constants", row("bc", "", VERSION, ["bc", "bc", "bc"])),
    kernel(
        "runs kernel build scripts",
        row("perl", "5.0", Probe::Program { args: &["-v"], marker: "(v" }, ["perl", "perl", "perl"]),
    ),
    kernel("indexes the modules", row("depmod", "", VERSION, ["kmod", "kmod", "kmod"])),
    some(
        "reads objects (objtool, BTF)",
        row("libelf", "", Probe::Header("gelf.h"), ["libelf-dev", "elfutils-libelf-devel", "libelf"]),
    ),
    some(
        "signs modules, holds trusted keys",
        row("openssl", "", Probe::Header("openssl/opensslv.h"), ["libssl-dev", "openssl-devel", "openssl"]),
    ),
    some("packs kernel headers and initramfs", row("cpio", "", VERSION, ["cpio", "cpio", "cpio"])),
    some("packs and unpacks sources", row("xz", "", VERSION, ["xz-utils", "xz", "xz"])),
    some("packs and unpacks sources", row("zstd", "", PRESENT, ["zstd", "zstd", "zstd"])),
    some(
        "makes type information (BTF)",
        known_as("pahole", row("pahole", "1.16", VERSION, ["dwarves", "dwarves", "pahole"])),
    ),
    some("installs kernel headers", row("rsync", "", VERSION, ["rsync", "rsync", "rsync"])),
    some(
        "compiles with LLVM=1",
        known_as("llvm", row("clang", "13.0.1", VERSION, ["clang", "clang", "clang"])),
    ),
    some("links with LLVM=1", known_as("llvm", row("ld.lld", "13.0.1", VERSION, ["lld", "lld", "lld"]))),
    some("indexes objects with LLVM=1", row("llvm-ar", "", PRESENT, ["llvm", "llvm", "llvm"])),
    some("makes repeated kernel builds fast", row("ccache", "", VERSION, ["ccache", "ccache", "ccache"])),
    some("fetches git sources", row("git", "", VERSION, ["git", "git", "git"])),
    some("fetches Debian packages", row("apt-get", "", PRESENT, ["apt", "apt", "apt"])),
    some("unpacks Debian packages", row("dpkg-deb", "", PRESENT, ["dpkg", "dpkg", "dpkg"])),
    some(
        "makes a Debian root filesystem",
        row("mmdebstrap", "", VERSION, ["mmdebstrap", "mmdebstrap", "mmdebstrap"]),
    ),
    some("runs mmdebstrap without root", row("newuidmap", "", PRESENT, ["uidmap", "shadow-utils", "shadow"])),
    some("compiles device trees", row("dtc", "", VERSION, ["device-tree-compiler", "dtc", "dtc"])),
    some("edits device trees", row("fdtput", "", VERSION, ["device-tree-compiler", "dtc", "dtc"])),
    some("merges overlays", row("fdtoverlay", "", VERSION, ["device-tree-compiler", "dtc", "dtc"])),
    some(
        "wraps kernels for U-Boot",
        row("mkimage", "", VERSION, ["u-boot-tools", "uboot-tools", "uboot-tools"]),
    ),
    some(
        "makes ext4 filesystems",
        row("mke2fs", "", Probe::Program { args: &["-V"], marker: "mke2fs " }, ["e2fsprogs"; 3]),
    ),
    some("checks ext4 filesystems", row("e2fsck", "", PRESENT, ["e2fsprogs"; 3])),
    some("shows SquashFS filesystems", row("unsquashfs", "", PRESENT, ["squashfs-tools"; 3])),
    some("checks FAT filesystems", row("fsck.fat", "", PRESENT, ["dosfstools"; 3])),
    some(
        "runs 32-bit Arm boards",
        row(
            "qemu-system-arm",
            "",
            VERSION,
            ["qemu-system-arm ipxe-qemu", "qemu-system-arm", "qemu-system-arm"],
        ),
    ),
    some(
        "runs 64-bit Arm boards",
        row(
            "qemu-system-aarch64",
            "",
            VERSION,
            ["qemu-system-arm ipxe-qemu", "qemu-system-aarch64", "qemu-system-aarch64"],
        ),
    ),
    some(
        "runs RISC-V boards",
        row(
            "qemu-system-riscv64",
            "",
            VERSION,
            ["qemu-system-misc ipxe-qemu", "qemu-system-riscv", "qemu-system-riscv"],
        ),
    ),
    some(
        "runs x86 boards",
        row("qemu-system-x86_64", "", VERSION, ["qemu-system-x86", "qemu-system-x86", "qemu-system-x86"]),
    ),
    some(
        "unmounts drives before they are flashed",
        row("umount", "", PRESENT, ["mount", "util-linux", "util-linux"]),
    ),
    some(
        "has the kernel read a flashed drive's table",
        row("blockdev", "", PRESENT, ["util-linux", "util-linux", "util-linux"]),
    ),
    some("ejects flashed drives", row("eject", "", PRESENT, ["eject", "util-linux", "util-linux"])),
    some("handles disk images", row("qemu-img", "", VERSION, ["qemu-utils", "qemu-img", "qemu-img"])),
    some(
        "makes throwaway keys for tests",
        row("ssh-keygen", "", PRESENT, ["openssh-client", "openssh-clients", "openssh"]),
    ),
    some("logs in to boards", row("ssh", "", PRESENT, ["openssh-client", "openssh-clients", "openssh"])),
];

/// The row that speaks for a tool: its own, for `clang-16` that of `clang`, for a cross tool that of
/// its last part.
pub fn lookup(name: &str) -> Option<&'static Tool> {
    let own = |name: &str| TOOLS.iter().find(|tool| tool.name == name);
    let base = name.rsplit('/').next().unwrap_or(name);
    let base = base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    let base = if own(name).is_some() { name } else { base };
    own(base).or_else(|| own(base.rsplit_once("-linux-").and_then(|(_, rest)| rest.rsplit('-').next())?))
}

/// The version that QEMU has in Debian 12 itself: what needs more comes from its backports.
pub const DEBIAN_12_QEMU: &str = "7.2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_whole() {
        for tool in TOOLS {
            assert!(tool.packages.iter().all(|names| !names.is_empty()), "{}", tool.name);
            assert!(tool.min.is_empty() || tool.min.parse::<crate::doctor::Version>().is_ok());
            assert_eq!(TOOLS.iter().filter(|other| other.name == tool.name).count(), 1, "{}", tool.name);
        }
    }

    #[test]
    fn cross_tools_follow_their_kind() {
        assert_eq!(lookup("aarch64-linux-gnu-gcc").unwrap().name, "gcc");
        assert_eq!(lookup("/opt/x/bin/arm-none-linux-gnueabihf-ld").unwrap().name, "ld");
        assert_eq!(lookup("qemu-system-arm").unwrap().name, "qemu-system-arm");
        assert_eq!(lookup("/usr/lib/llvm-16/bin/clang-16").unwrap().name, "clang");
        assert_eq!(lookup("aarch64-linux-gnu-gcc-12").unwrap().name, "gcc");
        assert_eq!(lookup("qemu-system-x86_64").unwrap().name, "qemu-system-x86_64");
        assert!(lookup("no-such-tool").is_none());
        assert!(lookup("make").is_some());
    }
}
