//! First-boot growth: a small static program that makes the root partition and its ext4 fill the card
//! while mounted (`grow/grow.c`), compiled with the board's own toolchain.
//!
//! It needs no libc and no tools on the board, so it serves every root filesystem; what starts it is the
//! busybox userspace of `boards/common/rootfs`, or a systemd unit where there is systemd. The marker
//! [`MARKER`] says that it is still to be done; the boot removes it after success.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::exec::Cmd;
use crate::fsx;
use crate::tree::{Content, Tree, TreePath};

/// Present as long as root has not grown.
pub const MARKER: &str = "etc/bimg/grow";

const PROGRAM: &str = "usr/lib/bimg/grow";
const UNIT: &str = "bimg-grow.service";

const SOURCES: [(&str, &str); 2] =
    [("grow.c", include_str!("grow/grow.c")), ("table.c", include_str!("grow/table.c"))];

const FLAGS: [&str; 15] = [
    "-std=gnu11",
    "-Os",
    "-Wall",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-stack-protector",
    "-fno-pic",
    "-fno-pie",
    "-fomit-frame-pointer",
    "-fno-asynchronous-unwind-tables",
    "-nostdlib",
    "-static",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-s",
];

/// What the program depends on besides the compiler: for fingerprints.
pub fn fingerprint() -> Digest {
    let sources = SOURCES.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    Digest::of_fields(sources.chain(FLAGS.iter().map(|flag| flag.as_bytes())))
}

/// Compiles the program in `dir`; `compiler` is gcc for the target, or any clang.
pub fn compile(compiler: &str, arch: Arch, dir: &Path) -> Result<PathBuf> {
    fsx::create_dir_all(dir)?;
    for (name, text) in SOURCES {
        fsx::write_atomic(&dir.join(name), text.as_bytes())?;
    }
    let program = dir.join("grow");
    // Names without a directory: no path of this machine gets into the program.
    let mut cmd = Cmd::new(compiler).cwd(dir).args(FLAGS);
    let is_clang =
        Path::new(compiler).file_name().is_some_and(|name| name.to_string_lossy().contains("clang"));
    if is_clang {
        let triple = match arch {
            Arch::Arm => "arm-linux-gnueabihf",
            Arch::Arm64 => "aarch64-linux-gnu",
            Arch::Riscv => "riscv64-linux-gnu",
            Arch::X86_64 => "x86_64-linux-gnu",
        };
        cmd = cmd.arg(format!("--target={triple}")).arg("-fuse-ld=lld");
    }
    cmd = cmd.args(["-o", "grow", "grow.c"]);
    if !is_clang {
        // 64-bit shifts are calls on 32-bit Arm.
        cmd = cmd.arg("-lgcc");
    }
    cmd.check().context(|| "cannot compile the program that grows the root filesystem")?;
    Ok(program)
}

/// Puts the program, the marker and whatever starts them into a root filesystem.
pub fn install(tree: &mut Tree, program: &Path) -> Result<()> {
    let exists = |tree: &Tree, path: &str| TreePath::new(path).is_ok_and(|path| tree.get(&path).is_some());
    let systemd = ["usr/lib/systemd/systemd", "lib/systemd/systemd"].iter().any(|path| exists(tree, path));
    if systemd {
        tree.put_file(&format!("etc/systemd/system/{UNIT}"), 0o644, UNIT_TEXT)?;
        tree.put_symlink(
            &format!("etc/systemd/system/multi-user.target.wants/{UNIT}"),
            &format!("../{UNIT}"),
        )?;
    } else if !exists(tree, "usr/lib/bimg/boot") {
        return Err(Error::new("nothing in the root filesystem would start its growth on the first boot")
            .caused_by("it has neither systemd nor the overlay `common/rootfs`")
            .hint("say `grow = false` in `[rootfs]`"));
    }
    tree.put_file(PROGRAM, 0o755, Content::from(fsx::read(program)?))?;
    tree.put_file(
        MARKER,
        0o644,
        "The root filesystem fills its card on the next boot, which removes this file.\n",
    )
}

const UNIT_TEXT: &str = "\
[Unit]
Description=Let the root filesystem fill its card
ConditionPathExists=/etc/bimg/grow

[Service]
Type=oneshot
ExecStart=/usr/lib/bimg/grow
ExecStartPost=/bin/rm -f /etc/bimg/grow

[Install]
WantedBy=multi-user.target
";

#[cfg(test)]
#[path = "grow_tests.rs"]
mod tests;
