//! What a kernel is built from, and what comes out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::data::DataFile;
use crate::digest::Digest;
use crate::error::Result;
use crate::toolchain::Installed;

/// A piece of kernel configuration, laid over the defconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// As messages call it: `boards/common/lean.config`.
    pub name: String,
    /// Its text: `CONFIG_X=y`, `# CONFIG_X is not set`, comments.
    pub text: String,
}

impl Fragment {
    /// The text of a data file.
    pub fn of(file: &DataFile) -> Result<Self> {
        let name = file.shown.trim_end_matches(" (built in)").to_string();
        Ok(Fragment { name, text: file.text()?.to_string() })
    }
}

/// Everything that decides what a kernel build makes, and where it happens.
#[derive(Debug, Clone)]
pub struct KernelSpec {
    /// Target architecture.
    pub arch: Arch,
    /// The compiler, found and checked.
    pub toolchain: Installed,
    /// The source tree; never written to.
    pub source: PathBuf,
    /// What makes this source itself: a content hash, or the path of an editable tree.
    pub source_identity: String,
    /// True for a developer's own tree, whose files change between builds.
    pub editable: bool,
    /// `allnoconfig`, `defconfig`, `NAME_defconfig`, or the path of a configuration file (holds a `/`).
    pub defconfig: String,
    /// Laid over the defconfig in order; the last one wins.
    pub fragments: Vec<Fragment>,
    /// `CONFIG_X=y|m|n|"text"|123`, after the fragments.
    pub sets: Vec<String>,
    /// Images: `Image`, `Image.gz`, `zImage`, `uImage`, `bzImage`, `vmlinux`.
    pub targets: Vec<String>,
    /// Device trees as kbuild names them: `broadcom/bcm2711-rpi-4-b.dtb`.
    pub dtbs: Vec<String>,
    /// Device tree overlays as kbuild names them: `overlays/disable-bt.dtbo`.
    pub overlays: Vec<String>,
    /// Where a profile names a device tree or overlay (`boards/x.toml:14:9`), for messages.
    pub origins: BTreeMap<String, String>,
    /// Directories of modules that live outside the kernel tree.
    pub external_modules: Vec<PathBuf>,
    /// Load and entry address in a `uImage` header.
    pub load_address: Option<u32>,
    /// The build directory of this kernel: `obj/`, `stage/`, `stamp.json` live below.
    pub dir: PathBuf,
    /// The log of the whole stage, started afresh by each build.
    pub log: PathBuf,
    /// Seconds since 1970: every time that the build writes down.
    pub epoch: i64,
    /// Compiler processes at once; from cores and free memory when not given.
    pub jobs: Option<usize>,
    /// Compile through ccache when it is installed.
    pub ccache: bool,
}

impl KernelSpec {
    /// The object directory (kbuild's `O=`).
    pub fn obj(&self) -> PathBuf {
        self.dir.join("obj")
    }

    /// Where the source has its defconfigs.
    pub fn configs(&self) -> PathBuf {
        self.source.join("arch").join(self.arch.kbuild()).join("configs")
    }

    /// The staging tree (INSTALL_MOD_PATH).
    pub fn stage(&self) -> PathBuf {
        self.dir.join("stage")
    }

    /// What [`build`](super::build) locks: its holder may write below `dir`, those that share it may read.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// `arch/arm64/boot` below `obj`.
    pub fn boot_dir(&self) -> PathBuf {
        self.obj().join("arch").join(self.arch.kbuild()).join("boot")
    }

    /// Where kbuild puts an image.
    pub fn image(&self, target: &str) -> PathBuf {
        match target {
            "vmlinux" => self.obj().join(target),
            _ => self.boot_dir().join(target),
        }
    }

    /// Where kbuild puts a device tree or overlay.
    pub fn dtb(&self, name: &str) -> PathBuf {
        self.boot_dir().join("dts").join(name)
    }

    /// The configuration that was built.
    pub fn config(&self) -> PathBuf {
        self.obj().join(".config")
    }
}

/// The images that kbuild, or bimg on top of it, makes for an architecture.
pub fn image_targets(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Arm => &["Image", "zImage", "uImage", "vmlinux"],
        Arch::Arm64 | Arch::Riscv => &["Image", "Image.gz", "uImage", "vmlinux"],
        Arch::X86_64 => &["bzImage", "vmlinux"],
    }
}

/// What a finished kernel build left, with absolute paths when the spec's are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelArtifacts {
    /// What `uname -r` will say.
    pub release: String,
    /// By target name.
    pub images: BTreeMap<String, PathBuf>,
    /// Name as in the spec, and file.
    pub dtbs: Vec<(String, PathBuf)>,
    /// Name as in the spec, and file.
    pub overlays: Vec<(String, PathBuf)>,
    /// Where modules are installed: [`super::staged`] tells what is there.
    pub stage: PathBuf,
    /// `STAGE/lib/modules/RELEASE`; also there, with modules.builtin, when the kernel has no modules.
    pub modules_dir: PathBuf,
    /// The full configuration.
    pub config: PathBuf,
    /// Addresses of the kernel's symbols.
    pub system_map: PathBuf,
    /// What compiler and linker say about themselves, one line each.
    pub toolchain: String,
    /// The one command that compiled it, for a person to repeat; without the number of jobs and ccache.
    pub command: String,
    /// By name: `Image`, `config`, `System.map`, the DTBs, and `modules` over the whole staging tree.
    pub digests: BTreeMap<String, Digest>,
}

impl KernelArtifacts {
    /// Drops the digests of what another board that shares this kernel asked for.
    pub(super) fn keep_own_digests(&mut self) {
        let own: Vec<String> = self.files().map(|(name, _)| name.to_string()).collect();
        self.digests.retain(|name, _| name == "modules" || own.contains(name));
    }

    /// The digest of an artifact by name.
    pub fn digest(&self, name: &str) -> Option<Digest> {
        self.digests.get(name).copied()
    }

    /// Every single file by name, the modules aside.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.images
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
            .chain(self.dtbs.iter().map(|(name, path)| (name.as_str(), path.as_path())))
            .chain(self.overlays.iter().map(|(name, path)| (name.as_str(), path.as_path())))
            .chain([("config", self.config.as_path()), ("System.map", self.system_map.as_path())])
    }
}
