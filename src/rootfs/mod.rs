//! Root filesystem: layers of one [`Tree`].
//!
//! ```text
//! RootfsSpec -> fingerprint     what the layers consist of, label by label (`rootfs: package list changed`)
//!            -> prepare         the base in place: Debian packages in one tar, a tar, a directory
//!            -> assemble        base, overlays, kernel modules and /boot files, provisioning, growth -> Tree
//! ```
//!
//! Nothing is unpacked: files stay ranges of the base tar until a filesystem writer reads them. Neither
//! root nor fakeroot is needed, and no code of the target runs.

mod busybox;
pub mod debian;
mod fingerprint;
mod finish;
pub mod grow;
mod overlay;
mod provision;
mod spec;

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::data::DataDirs;
use crate::error::{Context, Result};
use crate::progress::Progress;
use crate::tree::directory::{self, Ownership};
use crate::tree::{Content, Inode, Kind, Timestamp, Tree, TreePath, tar};

pub use debian::Package;
pub use fingerprint::{base_fingerprint, host_fingerprint, overlay_fingerprint, unpacked_fingerprint};
pub use provision::{Provision, hostname_of};
pub use spec::{BaseKind, RootfsSpec};

/// The lowest layer, ready to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// An uncompressed tar.
    Tar(PathBuf),
    /// A host directory.
    Directory(PathBuf),
}

/// Puts the base in place; `dir` is a directory for this base alone (named by its fingerprint), `profile`
/// is where relative paths start, `log` gets the output of mmdebstrap.
pub fn prepare(
    spec: &RootfsSpec,
    arch: Arch,
    profile: &Path,
    dir: &Path,
    log: &Path,
    progress: &dyn Progress,
) -> Result<Base> {
    let path = || profile.join(spec.path.as_deref().unwrap_or(Path::new("")));
    match spec.kind {
        BaseKind::Debian => debian::base_tar(spec, arch, dir, log, progress).map(Base::Tar),
        BaseKind::Tar => tar::uncompressed(&path(), &dir.join("base.tar")).map(Base::Tar),
        BaseKind::Directory => Ok(Base::Directory(path())),
    }
}

/// Fails when an overlay that a profile names is not there.
pub fn check_overlay(name: &str, profile: &Path, dirs: &DataDirs) -> Result<()> {
    overlay::find(name, profile, dirs).map(drop)
}

/// What a kernel build adds.
#[derive(Debug, Clone, Copy)]
pub struct KernelFiles<'a> {
    /// `uname -r`.
    pub release: &'a str,
    /// The staged `lib/modules/RELEASE`, for a kernel with modules.
    pub modules: Option<&'a Path>,
    /// Its configuration, for /boot/config-RELEASE.
    pub config: &'a Path,
    /// For /boot/System.map-RELEASE.
    pub system_map: &'a Path,
}

/// Everything a root filesystem is laid together from.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// The profile's table.
    pub spec: &'a RootfsSpec,
    /// Where relative paths of the profile start.
    pub profile: &'a Path,
    /// Where overlays compiled into bimg, or overriding those, are found.
    pub dirs: &'a DataDirs,
    /// From [`prepare`].
    pub base: &'a Base,
    /// The kernel.
    pub kernel: Option<KernelFiles<'a>>,
    /// Host name, keys, password.
    pub provision: &'a Provision,
    /// Host name where nobody gave one.
    pub default_hostname: &'a str,
    /// From [`grow::compile`]; needed when the profile wants growth.
    pub grow: Option<&'a Path>,
    /// Dates what has no date of its own.
    pub epoch: Timestamp,
}

/// A root filesystem, ready for a filesystem writer.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// All of it.
    pub tree: Tree,
    /// Debian packages in it, as its own dpkg database lists them; empty for other systems.
    pub packages: Vec<Package>,
}

/// Lays the layers over each other.
pub fn assemble(layers: &Layers<'_>) -> Result<Rootfs> {
    let spec = layers.spec;
    let mut tree = Tree::new(layers.epoch);
    match layers.base {
        Base::Tar(path) => tar::lay(&mut tree, path)?,
        Base::Directory(path) => directory::lay(&mut tree, &TreePath::root(), path, Ownership::Kept)?,
    }
    if spec.kind == BaseKind::Debian {
        finish::finish(&mut tree, spec.suite.as_deref().unwrap_or_default(), layers.epoch)?;
    }
    let packages = provision::text_of(&tree, "var/lib/dpkg/status")
        .map(|status| debian::packages_in(&status.unwrap_or_default()))?;
    for name in &spec.overlays {
        overlay::find(name, layers.profile, layers.dirs)?.lay(&mut tree, layers.epoch)?;
    }
    if let Some(kernel) = &layers.kernel {
        add_kernel(&mut tree, kernel, layers.epoch)
            .context(|| "cannot add the kernel to the root filesystem")?;
    }
    layers
        .provision
        .clone()
        .over(spec.provision(layers.profile)?)
        .apply(&mut tree, layers.default_hostname)?;
    if let Some(program) = layers.grow.filter(|_| spec.grow) {
        grow::install(&mut tree, program)?;
    }
    Ok(Rootfs { tree, packages })
}

fn add_kernel(tree: &mut Tree, kernel: &KernelFiles<'_>, epoch: Timestamp) -> Result<()> {
    let release = kernel.release;
    if let Some(modules) = kernel.modules {
        let at = TreePath::new(lib(tree)?)?.join("modules")?.join(release)?;
        tree.put_dir(at.as_str(), 0o755)?;
        directory::lay(tree, &at, modules, Ownership::Overlay(epoch))?;
    }
    tree.put_file(&format!("boot/config-{release}"), 0o644, Content::whole(kernel.config)?)?;
    // Addresses help those who attack a kernel: for root only, as Debian has it.
    tree.put_file(&format!("boot/System.map-{release}"), 0o600, Content::whole(kernel.system_map)?)
}

/// Where /lib really is: below /usr on merged systems.
fn lib(tree: &Tree) -> Result<&'static str> {
    let merged = match tree.get(&TreePath::new("lib")?) {
        Some(Inode { kind: Kind::Symlink(target), .. }) => target.trim_matches('/') == "usr/lib",
        _ => false,
    };
    Ok(if merged { "usr/lib" } else { "lib" })
}

#[cfg(test)]
mod tests;
