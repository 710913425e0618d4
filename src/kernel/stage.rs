//! The staging tree: `lib/modules/RELEASE` as it will lie on the target.
//!
//! Made under `stage.partial` and renamed when whole, so what an earlier kernel or a killed run left
//! never gets into an image.

use std::path::{Path, PathBuf};

use super::config::Values;
use super::make::Make;
use super::run::Runner;
use super::spec::KernelSpec;
use crate::digest::Digest;
use crate::error::{Error, Exit, Result};
use crate::exec::Cmd;
use crate::{fsx, interrupt};

/// Installs all modules and returns the final `lib/modules/RELEASE`.
pub fn stage(
    spec: &KernelSpec,
    make: &Make,
    values: &Values,
    release: &str,
    runner: Runner<'_>,
) -> Result<PathBuf> {
    let stage = spec.stage();
    let partial = fsx::partial_name(&stage);
    fsx::remove_dir_all(&partial)?;
    let modules = partial.join("lib/modules").join(release);
    fsx::create_dir_all(&modules)?;
    if values.is_y("MODULES") {
        let target = absolute(&partial)?;
        install(make, None, &target, runner)?;
        for dir in &spec.external_modules {
            external(spec, make, dir, &target, runner)?;
        }
        for link in ["build", "source"] {
            // They point into the build directory, which no target has.
            fsx::remove_file(&modules.join(link))?;
        }
        depmod(make, &partial, release, runner)?;
    } else if let Some(dir) = spec.external_modules.first() {
        return Err(Error::usage(format!("external module `{}` cannot be built", dir.display()))
            .caused_by("CONFIG_MODULES is n in this kernel")
            .hint("`--set CONFIG_MODULES=y`"));
    }
    fsx::remove_dir_all(&stage)?;
    fsx::rename(&partial, &stage)?;
    Ok(stage.join("lib/modules").join(release))
}

/// `modules_install`, without the debug information that would multiply the size of a root file system
/// (the unstripped modules stay in the object directory) and without its depmod: ours is checked.
fn install(make: &Make, external: Option<&Path>, target: &Path, runner: Runner<'_>) -> Result<()> {
    let mut cmd = make
        .cmd(&["modules_install".to_string()])
        .arg(format!("INSTALL_MOD_PATH={}", target.display()))
        .arg("INSTALL_MOD_STRIP=1")
        .arg("DEPMOD=true");
    if let Some(dir) = external {
        cmd = cmd.arg(format!("M={}", dir.display()));
    }
    runner.run(&cmd)
}

/// Builds the modules of a directory outside the kernel tree, in a copy, and installs them to `updates/`.
fn external(spec: &KernelSpec, make: &Make, dir: &Path, target: &Path, runner: Runner<'_>) -> Result<()> {
    let failed = |error: Error| error.context(format!("external module `{}` failed", dir.display()));
    let source = dir.canonicalize().map_err(|cause| fsx::io_error("open", dir, &cause)).map_err(failed)?;
    if !["Kbuild", "Makefile"].iter().any(|name| source.join(name).is_file()) {
        return Err(failed(Error::new("it has neither `Kbuild` nor `Makefile`"))
            .hint("a module directory holds a `Kbuild` with lines such as `obj-m := hello.o`"));
    }
    // make takes no blanks, colons and the like in a path.
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = source.file_name().unwrap_or_default().to_string_lossy().chars().map(plain).collect();
    let key = Digest::of(source.as_os_str().as_encoded_bytes()).short();
    let copy = spec.obj().join("bimg-external").join(format!("{name}-{key}"));
    fsx::remove_dir_all(&copy)?;
    copy_tree(&source, &copy).map_err(failed)?;
    let copy = absolute(&copy)?;
    let jobs = spec.jobs.unwrap_or_else(super::make::jobs).max(1);
    let build =
        make.cmd(&["modules".to_string()]).arg(format!("M={}", copy.display())).arg(format!("-j{jobs}"));
    let result = runner.run(&build).and_then(|()| install(make, Some(&copy), target, runner));
    match result {
        Err(error) if error.exit() != Exit::Interrupted => {
            let error = match leads_out(&copy, 0) {
                Some(place) => error.better_hint(outside_hint(&source, &place)),
                None => error,
            };
            Err(failed(error))
        }
        result => result,
    }
}

fn outside_hint(source: &Path, place: &str) -> String {
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "`{place}` leads out of the directory with `..`, and kbuild writes beside the sources of a module, so what it \
         gets is a copy of the directory alone; name the one above it in `modules`, with a `Kbuild` there that says \
         `obj-m += {name}/`"
    )
}

/// The first line, as `FILE:LINE`, of what a module is built from that leads out of its directory: more steps up
/// than its file is levels down.
fn leads_out(dir: &Path, depth: usize) -> Option<String> {
    for name in fsx::names(dir).ok()? {
        let path = dir.join(&name);
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if let Some(place) = leads_out(&path, depth + 1) {
                return Some(format!("{name}/{place}"));
            }
            continue;
        }
        let read = ["Kbuild", "Makefile"].contains(&name.as_str())
            || [".c", ".h", ".S"].iter().any(|suffix| name.ends_with(suffix));
        let text = if read { fsx::read_to_string(&path).unwrap_or_default() } else { continue };
        let up = "../".repeat(depth + 1);
        // Only what tells where to look for a file: a comment may well speak of `../`.
        let points = |line: &str| !name.ends_with(['c', 'h', 'S']) || line.trim_start().starts_with('#');
        let out = |line: &str| points(line) && (line.contains(&up) || line.trim_end().ends_with("/.."));
        if let Some(at) = text.lines().position(out) {
            return Some(format!("{name}:{}", at + 1));
        }
    }
    None
}

/// Files, directories and symbolic links; version control is left behind.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fsx::create_dir_all(to)?;
    let failed = |cause: std::io::Error| fsx::io_error("copy", from, &cause);
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                copy_tree(&source, &target)?;
            }
        } else if kind.is_symlink() {
            std::fs::read_link(&source)
                .and_then(|link| std::os::unix::fs::symlink(link, &target))
                .map_err(failed)?;
        } else if kind.is_file() {
            interrupt::check()?;
            std::fs::copy(&source, &target).map_err(failed)?;
        }
    }
    Ok(())
}

/// Indexes the staged modules for the target; a symbol that nothing provides is an error (`-e`).
fn depmod(make: &Make, stage: &Path, release: &str, runner: Runner<'_>) -> Result<()> {
    // depmod prints `-e` findings as warnings and exits with 0.
    let mut unresolved = Vec::new();
    let cmd = Cmd::new("depmod")
        .args(["-a", "-e", "-F"])
        .arg(make.obj().join("System.map"))
        .arg("-b")
        .arg(stage)
        .arg(release);
    runner.run_watched(&cmd, &mut |line| {
        if line.contains("needs unknown symbol") || line.contains("disagrees about version") {
            unresolved.push(shorten_module(line));
        }
    })?;
    if unresolved.is_empty() {
        return Ok(());
    }
    let error = Error::new("the staged modules do not fit together").log(runner.log);
    let more = unresolved.len().saturating_sub(5);
    let error = unresolved.into_iter().take(5).fold(error, Error::caused_by);
    let error = if more > 0 { error.caused_by(format!("and {more} more")) } else { error };
    Err(error.hint("enable the option that provides the symbol, or build the module in with `=y`"))
}

/// `depmod: WARNING: /stage/lib/modules/R/kernel/x.ko needs unknown symbol y`, from the module on.
fn shorten_module(line: &str) -> String {
    let text = line.split_once("WARNING: ").map_or(line, |(_, text)| text);
    match text.split_once("/lib/modules/").and_then(|(_, path)| path.split_once('/')) {
        Some((_, rest)) => rest.to_string(),
        None => text.to_string(),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|cause| fsx::io_error("open", path, &cause))
}
