//! The kernel of a Buildroot board: `[kernel]` but for the command line.

use std::path::Path;

use super::defconfig::Defconfig;
use super::tree::BuildrootTree;
use super::{Copied, Files, list};
use crate::arch::Arch;
use crate::digest::Digest;
use crate::error::Result;
use crate::import::{Notes, quote};
use crate::kernel;
use crate::tree::TreePath;

/// Where kernel.org keeps tarballs, and the stable tree with all tags.
const TARBALLS: &str = "https://cdn.kernel.org/pub/linux/kernel";
const STABLE: &str = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git";
/// Where releases of the Civil Infrastructure Platform are.
const CIP: &str = "https://git.kernel.org/pub/scm/linux/kernel/git/cip/linux-cip.git";

/// Lines of `[kernel]`.
#[derive(Debug, Default)]
pub struct Kernel {
    /// The value of `source`; `None` where the shared one has to do.
    pub source: Option<String>,
    /// `defconfig`.
    pub defconfig: String,
    /// The value of `fragments`.
    pub fragments: Option<String>,
    /// Image format.
    pub target: &'static str,
    /// Device trees.
    pub dtbs: Vec<String>,
}

/// Reads what the defconfig says of the kernel.
pub fn read(
    config: &Defconfig,
    tree: &BuildrootTree,
    arch: Arch,
    files: &mut Files,
    notes: &mut Notes,
) -> Result<Kernel> {
    patches(config, tree, notes)?;
    let fragments = fragments(config, tree, files, notes)?;
    Ok(Kernel {
        source: source(config, tree, notes)?,
        defconfig: base(config, tree, files, notes)?,
        fragments: (!fragments.is_empty()).then(|| list(&fragments)),
        target: target(config, arch, notes),
        dtbs: device_trees(config, notes),
    })
}

fn source(config: &Defconfig, tree: &BuildrootTree, notes: &mut Notes) -> Result<Option<String>> {
    let missing = |notes: &mut Notes, symbol: &str, why: String| {
        notes.at(
            config.origin(symbol),
            format!("{why}: Debian's 6.12 takes its place, change `kernel.source`"),
        );
        Ok(None)
    };
    if !config.has("LINUX_KERNEL") {
        return missing(notes, "LINUX_KERNEL", "the board builds no kernel".into());
    }
    if let Some(location) = config.text("LINUX_KERNEL_CUSTOM_TARBALL_LOCATION") {
        return match tarball(location, config, tree)? {
            Some(source) => Ok(Some(source)),
            None => missing(
                notes,
                "LINUX_KERNEL_CUSTOM_TARBALL_LOCATION",
                format!("no hash is known of the kernel `{}`", location.escape_debug()),
            ),
        };
    }
    let repository = config.text("LINUX_KERNEL_CUSTOM_REPO_URL");
    if let (Some(url), Some(rev)) = (repository, config.text("LINUX_KERNEL_CUSTOM_REPO_VERSION"))
        && config.has("LINUX_KERNEL_CUSTOM_GIT")
        && is_revision(rev)
        && !url.contains(['$', ' '])
    {
        return Ok(Some(git(url, rev)));
    }
    if repository.is_some() {
        return missing(
            notes,
            "LINUX_KERNEL_CUSTOM_REPO_URL",
            "the kernel's repository cannot be used".into(),
        );
    }
    let (symbol, version) = match config.text("LINUX_KERNEL_CUSTOM_VERSION_VALUE") {
        Some(version) => ("LINUX_KERNEL_CUSTOM_VERSION_VALUE", Some(version.value.clone())),
        None => ("LINUX_KERNEL", latest(config, tree)?),
    };
    let Some(version) = version else {
        return missing(notes, symbol, "the kernel is Buildroot's latest, and its tree is not here".into());
    };
    let Some(version) = plain_version(&version) else {
        return missing(notes, symbol, format!("`{}` is no version of kernel.org", version.escape_debug()));
    };
    released(version, config, tree, symbol, notes)
}

/// A release of kernel.org: as a tarball where its hash is known, else from its repository.
fn released(
    version: &str,
    config: &Defconfig,
    tree: &BuildrootTree,
    symbol: &str,
    notes: &mut Notes,
) -> Result<Option<String>> {
    if version.contains("-cip") {
        return Ok(Some(git(CIP, &format!("v{version}"))));
    }
    let file = format!("linux-{version}.tar.xz");
    if let Some(sha256) = hash(&file, config, tree)? {
        let major = version.split('.').next().unwrap_or(version);
        return Ok(Some(format!(
            "{{ tarball = {}, sha256 = {} }}",
            quote(&format!("{TARBALLS}/v{major}.x/{file}")),
            quote(&sha256)
        )));
    }
    notes.at(
        config.origin(symbol),
        format!("no hash is known of `{file}`: the kernel comes from git, which is slower"),
    );
    Ok(Some(git(STABLE, &format!("v{version}"))))
}

fn git(url: &str, rev: &str) -> String {
    format!("{{ git = {}, rev = {} }}", quote(url), quote(rev))
}

/// `6.12.3`, `6.18-rc2`, `5.10.162-cip24`.
fn plain_version(version: &str) -> Option<&str> {
    let number = version.split('-').next().unwrap_or_default();
    let parts: Vec<&str> = number.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    ((2..=4).contains(&parts.len()) && parts.iter().all(digits) && version.chars().all(rest))
        .then_some(version)
}

fn is_revision(rev: &str) -> bool {
    !rev.starts_with('-') && rev.chars().all(|c| c.is_ascii_alphanumeric() || "._/-+".contains(c))
}

/// The version that Buildroot itself would take.
fn latest(config: &Defconfig, tree: &BuildrootTree) -> Result<Option<String>> {
    let wanted = if config.has("LINUX_KERNEL_LATEST_CIP_VERSION") {
        "BR2_LINUX_KERNEL_LATEST_CIP_VERSION"
    } else if config.has("LINUX_KERNEL_LATEST_CIP_RT_VERSION") {
        "BR2_LINUX_KERNEL_LATEST_CIP_RT_VERSION"
    } else {
        "BR2_LINUX_KERNEL_LATEST_VERSION"
    };
    let Some(text) = tree.read("linux/Config.in")? else { return Ok(None) };
    Ok(text.lines().find_map(|line| {
        let (version, condition) = line.trim().strip_prefix("default \"")?.split_once("\" if ")?;
        (condition.trim() == wanted).then(|| version.to_string())
    }))
}

/// `$(call github,OWNER,REPO,REV)/...`, or a URL whose hash the tree knows.
fn tarball(location: &str, config: &Defconfig, tree: &BuildrootTree) -> Result<Option<String>> {
    for (call, host) in [("github", "https://github.com"), ("gitlab", "https://gitlab.com")] {
        if let Some((arguments, _)) =
            location.strip_prefix(&format!("$(call {call},")).and_then(|rest| rest.split_once(')'))
            && let [owner, repository, rev] = arguments.split(',').map(str::trim).collect::<Vec<_>>()[..]
            && [owner, repository, rev].iter().all(|word| is_revision(word))
        {
            return Ok(Some(git(&format!("{host}/{owner}/{repository}"), rev)));
        }
    }
    let is_url = location.starts_with("https://") || location.starts_with("http://");
    if !is_url || location.contains(['$', ' ']) {
        return Ok(None);
    }
    let file = location.rsplit('/').next().unwrap_or_default();
    Ok(hash(file, config, tree)?
        .map(|sha256| format!("{{ tarball = {}, sha256 = {} }}", quote(location), quote(&sha256))))
}

/// The SHA-256 that Buildroot has for a tarball: the board's own list first.
fn hash(file: &str, config: &Defconfig, tree: &BuildrootTree) -> Result<Option<String>> {
    let mut lists: Vec<String> = Vec::new();
    for dir in config.words("GLOBAL_PATCH_DIR") {
        lists.push(format!("{dir}/linux/linux.hash"));
        lists.push(format!("{dir}/linux-headers/linux-headers.hash"));
    }
    lists.push("linux/linux.hash".into());
    lists.push("package/linux-headers/linux-headers.hash".into());
    for list in lists {
        let Some(text) = tree.read(&list)? else { continue };
        for line in text.lines() {
            if let ["sha256", sum, name] = line.split_ascii_whitespace().collect::<Vec<_>>()[..]
                && name == file
                && sum.parse::<Digest>().is_ok()
            {
                return Ok(Some(sum.to_ascii_lowercase()));
            }
        }
    }
    Ok(None)
}

/// `kernel.defconfig`.
fn base(config: &Defconfig, tree: &BuildrootTree, files: &mut Files, notes: &mut Notes) -> Result<String> {
    if config.has("LINUX_KERNEL_USE_ARCH_DEFAULT_CONFIG") {
        return Ok("defconfig".into());
    }
    if let Some(path) = config.text("LINUX_KERNEL_CUSTOM_CONFIG_FILE") {
        return match files.copy(tree, path)? {
            Copied::As(name) => Ok(name),
            Copied::NotThere => {
                notes.at(
                    config.origin("LINUX_KERNEL_CUSTOM_CONFIG_FILE"),
                    format!(
                        "`{}` is not there: the architecture's defconfig takes its place, change `kernel.defconfig`",
                        path.escape_debug()
                    ),
                );
                Ok("defconfig".into())
            }
        };
    }
    match config.text("LINUX_KERNEL_DEFCONFIG") {
        Some(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.+".contains(c)) => {
            Ok(format!("{}_defconfig", name.as_str()))
        }
        _ => {
            notes.at(
                config.origin("LINUX_KERNEL_DEFCONFIG"),
                "no kernel configuration is said: the architecture's defconfig is taken",
            );
            Ok("defconfig".into())
        }
    }
}

fn fragments(
    config: &Defconfig,
    tree: &BuildrootTree,
    files: &mut Files,
    notes: &mut Notes,
) -> Result<Vec<String>> {
    let mut fragments = Vec::new();
    for path in config.words("LINUX_KERNEL_CONFIG_FRAGMENT_FILES") {
        match files.copy(tree, path)? {
            Copied::As(name) => fragments.push(name),
            Copied::NotThere => notes.at(
                config.origin("LINUX_KERNEL_CONFIG_FRAGMENT_FILES"),
                format!("the fragment `{}` is not there, and left out", path.escape_debug()),
            ),
        }
    }
    Ok(fragments)
}

fn target(config: &Defconfig, arch: Arch, notes: &mut Notes) -> &'static str {
    let usual = match arch {
        Arch::Arm => "zImage",
        Arch::Arm64 | Arch::Riscv => "Image",
        Arch::X86_64 => "bzImage",
    };
    let said = [
        ("LINUX_KERNEL_IMAGE", "Image"),
        ("LINUX_KERNEL_IMAGEGZ", "Image.gz"),
        ("LINUX_KERNEL_ZIMAGE", "zImage"),
        ("LINUX_KERNEL_BZIMAGE", "bzImage"),
    ];
    if let Some((_, target)) = said.iter().find(|(symbol, _)| config.has(symbol))
        && kernel::image_targets(arch).contains(target)
    {
        return target;
    }
    let strange = [
        ("LINUX_KERNEL_UIMAGE", "a `uImage`"),
        ("LINUX_KERNEL_APPENDED_UIMAGE", "a `uImage` with its device tree"),
        ("LINUX_KERNEL_APPENDED_ZIMAGE", "a `zImage` with its device tree"),
        ("LINUX_KERNEL_IMAGE_TARGET_CUSTOM", "an image format of its own"),
        ("LINUX_KERNEL_VMLINUX", "a `vmlinux`"),
    ];
    for (symbol, what) in strange {
        if config.has(symbol) {
            notes.at(config.origin(symbol), format!("the board boots {what}; here it is a `{usual}`"));
        }
    }
    usual
}

fn device_trees(config: &Defconfig, notes: &mut Notes) -> Vec<String> {
    for path in config.words("LINUX_KERNEL_CUSTOM_DTS_PATH") {
        notes.at(
            config.origin("LINUX_KERNEL_CUSTOM_DTS_PATH"),
            format!(
                "the device tree `{}` is not in the kernel: add it to a tree of your own and to `kernel.dtbs`",
                path.escape_debug()
            ),
        );
    }
    let mut dtbs = Vec::new();
    for name in config.words("LINUX_KERNEL_INTREE_DTS_NAME") {
        let dtb = format!("{}.dtb", name.trim_end_matches(".dts"));
        if name.contains('$') || TreePath::new(&dtb).is_err() {
            notes.at(
                config.origin("LINUX_KERNEL_INTREE_DTS_NAME"),
                format!("`{}` is not the name of a device tree, and left out", name.escape_debug()),
            );
        } else if !dtbs.contains(&dtb) {
            dtbs.push(dtb);
        }
    }
    dtbs
}

fn patches(config: &Defconfig, tree: &BuildrootTree, notes: &mut Notes) -> Result<()> {
    let mut count = config.words("LINUX_KERNEL_PATCH").len();
    for dir in config.words("GLOBAL_PATCH_DIR") {
        count += tree
            .below(&format!("{dir}/linux"))?
            .iter()
            .filter(|name| Path::new(name).extension().is_some_and(|ext| ext == "patch"))
            .count();
    }
    if count > 0 {
        let symbol = if config.text("LINUX_KERNEL_PATCH").is_some() {
            "LINUX_KERNEL_PATCH"
        } else {
            "GLOBAL_PATCH_DIR"
        };
        let (patches, are) = if count == 1 { ("patch", "is") } else { ("patches", "are") };
        notes.at(
            config.origin(symbol),
            format!("{count} {patches} of the kernel {are} left out: apply them to a tree of your own, `{{ path = \"...\" }}`"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["6.12", "6.12.3", "5.10.162-cip24-rt10", "2.6.32.1", "6.18-rc2"] {
            assert!(plain_version(good).is_some(), "{good}");
        }
        for bad in ["6", "custom", "6.x", "6.1$(X)", "6.1 2", "", "1.2.3.4.5"] {
            assert!(plain_version(bad).is_none(), "{bad}");
        }
    }
}
