//! Debian packages as the base: downloaded, checked and unpacked by mmdebstrap into one tar.
//!
//! `--variant=extract` runs no code of the target: no binfmt, no emulation, no root. Where the packages
//! come from is what the host's apt is configured with; nothing of it is changed. The tar is the same
//! bytes for the same package versions, whoever makes it.
//!
//! What maintainer scripts would have done is in `finish`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::spec::RootfsSpec;
use crate::arch::Arch;
use crate::error::{Context, Error, Exit, Result};
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::{Event, Progress};
use crate::source::Patience;
use crate::source::apt::host::{Host, Settings};
use crate::source::apt::sync::{OUT_OF_STEP, is_out_of_step, patiently};

/// Later times are clamped to this one. A fixed date, because everything mmdebstrap itself creates gets it,
/// and a date of the board (its kernel's, say) would fetch all packages anew whenever that moves.
const EPOCH: i64 = 1_735_689_600;

/// Makes dpkg's database from the packages: what is in the image can be told without them.
const STATUS_HOOK: &str = r#"set -e
for deb in "$1"/var/cache/apt/archives/*.deb; do
	dpkg-deb -f "$deb" | sed '/^Package:/a Status: install ok unpacked'
	echo
done >"$1/var/lib/dpkg/status""#;

/// A package in the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
}

/// Packages as dpkg's status file lists them, sorted.
pub fn packages_in(status: &str) -> Vec<Package> {
    let field = |stanza: &str, name: &str| {
        let value = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_string())
    };
    let package = |stanza: &str| {
        Some(Package {
            name: field(stanza, "Package")?,
            version: field(stanza, "Version")?,
            arch: field(stanza, "Architecture")?,
        })
    };
    let mut packages: Vec<Package> = status.split("\n\n").filter_map(package).collect();
    packages.sort();
    packages
}

/// Makes `dir/base.tar` unless it is there; `log` gets the whole output.
pub fn base_tar(
    spec: &RootfsSpec,
    arch: Arch,
    dir: &Path,
    log: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let target = dir.join("base.tar");
    if target.is_file() {
        return Ok(target);
    }
    let suite = spec.suite.as_deref().unwrap_or_default();
    fsx::create_dir_all(dir)?;
    let about = || format!("cannot unpack the Debian packages of `{suite}` for {arch}");
    let unpack = |security| {
        patiently(&Patience::default(), progress, || {
            unpack(spec, arch, suite, security, &target, log, progress)
        })
    };
    match unpack(true) {
        Err(error) if error.exit() != Exit::Interrupted && misses_security(&error, suite) => {
            progress.warn(&format!(
                "the mirror has no readable `{suite}-security` for {arch}: packages are those of `{suite}` itself"
            ));
            unpack(false)
        }
        result => result,
    }
    .context(about)?;
    Ok(target)
}

/// Only the security suite could not be read; the release itself can.
fn misses_security(error: &Error, suite: &str) -> bool {
    let mut causes =
        error.chain().flat_map(str::lines).filter(|line| line.starts_with("E: Failed to fetch")).peekable();
    causes.peek().is_some() && causes.all(|line| line.contains(&format!("/{suite}-security/")))
}

fn unpack(
    spec: &RootfsSpec,
    arch: Arch,
    suite: &str,
    security: bool,
    target: &Path,
    log: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let sources = target.with_file_name("mirror.sources");
    fsx::write_atomic(&sources, repositories(spec, arch, suite, security)?.as_bytes())?;
    let partial = fsx::partial_name(target);
    fsx::remove_file(&partial)?;
    let mut complaints = Vec::new();
    let result = mmdebstrap(spec, arch, suite)?.arg(&partial).arg(&sources).run_logged(log, &mut |line| {
        progress.event(&Event::Output { line });
        if line.starts_with("E: ") && !complaints.contains(&line.to_string()) {
            complaints.push(line.to_string());
        }
    });
    match result {
        Ok(()) => {
            std::fs::File::open(&partial)
                .and_then(|file| file.sync_all())
                .map_err(|cause| fsx::io_error("sync", &partial, &cause))?;
            fsx::rename(&partial, target)
        }
        Err(error) if error.exit() == Exit::Interrupted => Err(error),
        Err(error) => {
            fsx::remove_file(&partial)?;
            Err(explain(error, &complaints, suite))
        }
    }
}

fn mmdebstrap(spec: &RootfsSpec, arch: Arch, suite: &str) -> Result<Cmd> {
    // As root no namespace is needed, and in a container there may be none; nothing has to be mounted.
    let mode = if rustix::process::geteuid().is_root() { "root" } else { "unshare" };
    let settings = Settings::load(Path::new("/etc/apt"))?;
    Ok(Cmd::new("mmdebstrap")
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .arg(format!("--mode={mode}"))
        .args(["--variant=extract", "--format=tar", "--skip=chroot/mount"])
        .arg(format!("--architectures={}", arch.debian()))
        .arg(format!("--include={}", spec.packages.join(",")))
        .args(settings.lines.iter().map(|line| format!("--aptopt={line}")))
        .arg(format!("--extract-hook={STATUS_HOOK}"))
        .arg(suite))
}

/// The release and its security updates, from the host's mirrors and with its keyring.
fn repositories(spec: &RootfsSpec, arch: Arch, suite: &str, security: bool) -> Result<String> {
    let host = Host::load(Path::new("/etc/apt"))?;
    let rolling = ["sid", "unstable", "testing", "experimental"].contains(&suite) || suite.contains('-');
    let mut suites = vec![suite.to_string()];
    if security && !rolling {
        suites.push(format!("{suite}-security"));
    }
    let mut stanzas = Vec::new();
    for suite in &suites {
        for mut entry in host.entries_for(Some(suite), Some("main"))? {
            entry.components = spec.components().into_iter().map(str::to_string).collect();
            let stanza = entry.stanza(arch.debian());
            if !stanzas.contains(&stanza) {
                stanzas.push(stanza);
            }
        }
    }
    Ok(stanzas.join("\n"))
}

/// mmdebstrap's own words, and what to do about the usual ones.
fn explain(error: Error, complaints: &[String], suite: &str) -> Error {
    // The last lines tell that mmdebstrap failed, which the error says already.
    let told: Vec<&str> = complaints
        .iter()
        .map(String::as_str)
        .filter(|line| !line.contains("failed to run") && !line.contains("apt-get "))
        .collect();
    let all = told.join("\n");
    let hint = if is_out_of_step(&all) {
        Some(OUT_OF_STEP.to_string())
    } else if all.contains("Unable to locate package") || all.contains("no installation candidate") {
        Some(format!("`{suite}` has no such package for this architecture: look at `packages` in `[rootfs]`"))
    } else if all.contains("does not have a Release file") || all.contains("404") {
        Some(format!("is `{suite}` a suite of the mirror in the host's apt configuration?"))
    } else if all.contains("resolving") || all.contains("connect") {
        Some("the mirror cannot be reached: is the network up?".to_string())
    } else if all.contains("NO_PUBKEY") || all.contains("not signed") {
        Some("the keyring does not know this suite: update the package `debian-archive-keyring`".to_string())
    } else if complaints
        .iter()
        .any(|line| line.contains("subuid") || line.contains("newuidmap") || line.contains("unshare"))
    {
        Some("unpacking without root needs user namespaces: install `uidmap`, and give your user a range in /etc/subuid and /etc/subgid".to_string())
    } else {
        None
    };
    let error = if all.is_empty() { error } else { error.caused_by(all) };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RootfsSpec {
        toml::from_str("kind = \"debian\"\nsuite = \"bookworm\"\npackages = [\"kmod\", \"dropbear-bin\"]")
            .unwrap()
    }

    #[test]
    fn the_command_runs_nothing_of_the_target() {
        let shown = mmdebstrap(&spec(), Arch::Arm64, "bookworm").unwrap().display();
        assert!(shown.contains("--variant=extract"), "{shown}");
        assert!(shown.contains("--architectures=arm64 --include=kmod,dropbear-bin"), "{shown}");
    }

    #[test]
    fn packages_are_read_from_dpkgs_status() {
        let status = "Package: kmod\nStatus: install ok unpacked\nArchitecture: arm64\nVersion: 30\nDescription: x\n y: z\n\n\
                      Package: busybox-static\nVersion: 1:1.35.0-4+b3\nArchitecture: arm64\n\n";
        let shown: Vec<_> = packages_in(status)
            .into_iter()
            .map(|it| format!("{} {} {}", it.name, it.version, it.arch))
            .collect();
        assert_eq!(shown, ["busybox-static 1:1.35.0-4+b3 arm64", "kmod 30 arm64"]);
    }

    fn explained(lines: &[&str]) -> String {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        explain(Error::new("`mmdebstrap` exited with status 25"), &lines, "bookworm").to_string()
    }

    #[test]
    fn usual_failures_say_what_to_do() {
        assert_eq!(
            explained(&[
                "E: Unable to locate package busybx",
                "E: apt-get --yes install failed",
                "E: mmdebstrap failed to run"
            ]),
            "`mmdebstrap` exited with status 25\n  caused by: E: Unable to locate package busybx\n\n\
             hint: `bookworm` has no such package for this architecture: look at `packages` in `[rootfs]`"
        );
        assert!(
            explained(&["E: Failed to fetch http://x/InRelease  Temporary failure resolving 'x'"])
                .ends_with("hint: the mirror cannot be reached: is the network up?")
        );
        let mismatch = "E: Failed to fetch http://x/Packages.xz  File has unexpected size (2 != 1). Mirror sync in progress?";
        assert_eq!(
            explained(&[mismatch]),
            format!(
                "`mmdebstrap` exited with status 25\n  caused by: {mismatch}\n\n\
                 hint: the mirror is being updated, or one of its servers is behind: try again in a while, \
                 or name another mirror in the host's apt configuration"
            )
        );
        assert!(explained(&["E: invalid /etc/subuid: no entry"]).contains("install `uidmap`"));
    }

    #[test]
    fn only_an_unreadable_security_suite_is_done_without() {
        let failed = |lines: &str| Error::new("x").caused_by(lines);
        let security = "E: Failed to fetch http://s/debian-security/dists/trixie-security/main/binary-riscv64/Packages.xz  File has unexpected size";
        let release = "E: Failed to fetch http://d/debian/dists/trixie/main/binary-riscv64/Packages.xz  404";
        assert!(misses_security(&failed(security), "trixie"));
        assert!(!misses_security(&failed(&format!("{security}\n{release}")), "trixie"));
        assert!(!misses_security(&failed("E: Unable to locate package x"), "trixie"));
    }
}
