//! kbuild's command line and environment: the words that decide what a build makes, in one place.
//!
//! The environment is an allowlist, so that a stray ARCH, CFLAGS or MAKEFLAGS of the caller changes
//! nothing. What makes builds reproducible follows Documentation/kbuild/reproducible-builds.rst: user,
//! host, time and version are fixed, and the source and object directories are mapped to fixed names
//! (`-ffile-prefix-map`, which ccache leaves out of its hash).

use std::path::{Path, PathBuf};

use super::config::{self, Values};
use super::spec::KernelSpec;
use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::exec::{self, Cmd};
use crate::fsx;
use crate::toolchain::Kind;

/// What the source directory is called inside everything that is built.
const MAPPED_SOURCE: &str = "/usr/src/linux";
/// What the object directory is called inside everything that is built.
const MAPPED_OBJ: &str = "/usr/src/linux-obj";

/// Variables of the caller that reach make: where programs and caches are, nothing that changes results.
const KEPT: &[&str] =
    &["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "KBUILD_SIGN_PIN", "KBUILD_VERBOSE"];
/// The same, by prefix.
const KEPT_PREFIXES: &[&str] = &["CCACHE_", "XDG_"];

/// Programs whose version Kconfig writes into every `.config`, and from there into headers and the image, whether or not
/// anything uses them; and the option that does.
const PROBED: [(&str, &str); 2] = [("RUSTC", "RUST"), ("PAHOLE", "DEBUG_INFO_BTF")];

/// Memory to reckon with for one compiler process.
const MEMORY_PER_JOB: u64 = 1 << 30;

/// The paths of a build, absolute, as kbuild will print them into what it makes.
#[derive(Debug, Clone)]
pub struct Make {
    source: PathBuf,
    obj: PathBuf,
    words: Vec<String>,
    flags: String,
    epoch: i64,
    overlays: bool,
    ccache: bool,
    hidden: String,
}

impl Make {
    /// Settles the words common to every make of one build. The object directory must exist.
    pub fn new(spec: &KernelSpec) -> Result<Self> {
        let source = absolute(&spec.source)?;
        let obj = absolute(&spec.obj())?;
        for path in [&source, &obj] {
            check_path(path, "move it, or choose another `--build-dir`")?;
        }
        let flags = format!(
            "-ffile-prefix-map={}={MAPPED_SOURCE} -ffile-prefix-map={}={MAPPED_OBJ}",
            source.display(),
            obj.display()
        );
        Ok(Make {
            words: words(spec),
            flags,
            epoch: spec.epoch,
            overlays: !spec.overlays.is_empty(),
            ccache: uses_ccache(spec),
            hidden: hidden(spec)?,
            source,
            obj,
        })
    }

    /// `make -C SRC O=OBJ ARCH=… CROSS_COMPILE=… CC=… GOALS` with the whole environment.
    pub fn cmd(&self, goals: &[String]) -> Cmd {
        // Errors name the goals; the whole command is in the log.
        self.environment(self.line(&self.words, goals)).shown_as(format!("make {}", goals.join(" ")))
    }

    /// The command for the record of a build: without ccache and the number of jobs, which are this
    /// host's own and change nothing that is built.
    pub fn record(&self, goals: &[String]) -> String {
        let words: Vec<String> =
            self.words.iter().filter(|word| !word.starts_with("CC=ccache ")).cloned().collect();
        self.line(&words, goals).display()
    }

    fn line(&self, words: &[String], goals: &[String]) -> Cmd {
        Cmd::new("make")
            .arg("-C")
            .arg(&self.source)
            .arg(format!("O={}", self.obj.display()))
            .args(words)
            .args(goals)
    }

    /// The source directory, absolute.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The object directory, absolute.
    pub fn obj(&self) -> &Path {
        &self.obj
    }

    fn environment(&self, cmd: Cmd) -> Cmd {
        let kept =
            |name: &str| KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let mut cmd = std::env::vars_os()
            .filter(|(name, _)| !kept(&name.to_string_lossy()))
            .fold(cmd, |cmd, (name, _)| cmd.env_remove(name));
        for (name, value) in self.variables() {
            cmd = cmd.env(name, value);
        }
        cmd
    }

    /// The variables that we set, beside `LC_ALL=C` and `TZ=UTC` of every process.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LC_ALL", "C".to_string()),
            ("TZ", "UTC".to_string()),
            ("KBUILD_BUILD_TIMESTAMP", date(self.epoch)),
            ("KBUILD_BUILD_USER", "bimg".to_string()),
            ("KBUILD_BUILD_HOST", "bimg".to_string()),
            ("KBUILD_BUILD_VERSION", "1".to_string()),
            ("SOURCE_DATE_EPOCH", self.epoch.to_string()),
            // Set and empty: no `+` in the release because the tree happens to lie in a git checkout.
            ("LOCALVERSION", String::new()),
            ("MAKEFLAGS", self.hidden.clone()),
            ("KCFLAGS", self.flags.clone()),
            ("KAFLAGS", self.flags.clone()),
        ];
        if self.ccache
            && std::env::vars_os().all(|(name, _)| name != "CCACHE_DEPEND" && name != "CCACHE_NODEPEND")
        {
            // The dependencies that kbuild has the compiler write anyway (-MMD) spare ccache a run of the
            // preprocessor on every miss: a cold build takes a third less.
            variables.push(("CCACHE_DEPEND", "1".to_string()));
        }
        if self.overlays {
            // Overlays resolve against labels, which dtc drops unless told to keep them.
            variables.push(("DTC_FLAGS", "-@".to_string()));
        }
        variables
    }
}

/// Fails for a path that kbuild cannot work in; `remedy` says what to do.
pub fn check_path(path: &Path, remedy: &str) -> Result<()> {
    // make splits words, and kbuild puts paths into rules.
    let text = path.to_string_lossy();
    match text.chars().find(|c| c.is_whitespace() || ":%#$'\"\\".contains(*c)) {
        None => Ok(()),
        Some(bad) => Err(Error::usage(format!("kernel path `{text}` holds `{bad}`"))
            .hint(format!("kbuild cannot work there; {remedy}"))),
    }
}

/// Variables that hide the programs which this configuration does not use: a host that has them makes the same.
fn hidden(spec: &KernelSpec) -> Result<String> {
    let requests = config::requests(&spec.fragments, &spec.sets)?;
    let base =
        if spec.defconfig.contains('/') { PathBuf::new() } else { spec.configs() }.join(&spec.defconfig);
    let base = Values::parse(&fsx::read_optional(&base)?.unwrap_or_default());
    let everything = ["allyesconfig", "allmodconfig"].contains(&spec.defconfig.as_str());
    let used = |option: &str| match requests.iter().find(|request| request.symbol == option) {
        Some(request) => request.value == "y",
        None => everything || base.is_y(option),
    };
    let unused = PROBED.into_iter().filter(|(_, option)| !used(option));
    Ok(unused.map(|(program, _)| format!("{program}=none")).collect::<Vec<_>>().join(" "))
}

fn uses_ccache(spec: &KernelSpec) -> bool {
    spec.ccache && exec::which("ccache").is_some()
}

/// The makes of a build, as one would type them: for plans. The object directory need not exist.
pub fn commands(spec: &KernelSpec) -> Vec<String> {
    let jobs = format!("-j{}", spec.jobs.unwrap_or_else(jobs).max(1));
    let stage = format!("INSTALL_MOD_PATH={}", spec.stage().display());
    vec![
        shown(spec, [spec.defconfig.as_str()]),
        shown(spec, ["olddefconfig"]),
        shown(spec, std::iter::once(jobs.as_str()).chain(goals(spec))),
        shown(spec, [stage.as_str(), "modules_install"]),
    ]
}

/// The make that compiles, without what depends on the machine: for manifests.
pub fn goal_command(spec: &KernelSpec) -> String {
    let plain = KernelSpec { ccache: false, ..spec.clone() };
    shown(&plain, goals(spec))
}

fn goals(spec: &KernelSpec) -> impl Iterator<Item = &str> {
    let images = spec.targets.iter().map(|target| match target.as_str() {
        "uImage" => super::uimage::payload(spec.arch),
        other => other,
    });
    images.chain(["modules"]).chain(spec.dtbs.iter().chain(&spec.overlays).map(String::as_str))
}

fn shown<'a>(spec: &KernelSpec, words_after: impl IntoIterator<Item = &'a str>) -> String {
    let object_dir = format!("O={}", spec.obj().display());
    Cmd::new("make").arg("-C").arg(&spec.source).arg(object_dir).args(words(spec)).args(words_after).display()
}

/// Architecture and toolchain, as kbuild wants them.
fn words(spec: &KernelSpec) -> Vec<String> {
    let arch = match spec.arch {
        // ARCH=x86 would make allnoconfig a 32-bit kernel.
        Arch::X86_64 => "x86_64",
        other => other.kbuild(),
    };
    let mut words = vec![format!("ARCH={arch}")];
    match (spec.toolchain.kind, &spec.toolchain.llvm) {
        (Kind::Clang, Some(llvm)) => words.push(format!("LLVM={llvm}")),
        _ => words.push(format!("CROSS_COMPILE={}", spec.toolchain.prefix)),
    }
    if uses_ccache(spec) {
        words.push(format!("CC=ccache {}", spec.toolchain.compiler));
    }
    words
}

/// Makes a path absolute and free of symbolic links: make's own idea of where it is.
fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|cause| fsx::io_error("open", path, &cause))
}

/// Seconds since 1970 as `date` prints them, which kbuild puts into `uname -v`.
fn date(epoch: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (days, seconds) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days: years begin in March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} UTC {year}",
        WEEKDAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Compiler processes at once: one per core, as far as free memory goes.
pub fn jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let free = [available_memory(), cgroup_memory()].into_iter().flatten().min();
    jobs_for(cores, free)
}

fn jobs_for(cores: usize, free: Option<u64>) -> usize {
    let by_memory = free.map_or(usize::MAX, |free| (free / MEMORY_PER_JOB) as usize);
    cores.min(by_memory).max(1)
}

fn available_memory() -> Option<u64> {
    let text = fsx::read_to_string(Path::new("/proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// What the tightest memory limit of our cgroup and its parents leaves (cgroup v2).
fn cgroup_memory() -> Option<u64> {
    let text = fsx::read_to_string(Path::new("/proc/self/cgroup")).ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let number = |dir: &Path, name: &str| -> Option<u64> {
        fsx::read_to_string(&dir.join(name)).ok()?.trim().parse().ok()
    };
    Path::new("/sys/fs/cgroup")
        .join(own.trim_start_matches('/'))
        .ancestors()
        .take_while(|dir| dir.starts_with("/sys/fs/cgroup"))
        .filter_map(|dir| Some(number(dir, "memory.max")?.saturating_sub(number(dir, "memory.current")?)))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date() {
        for (epoch, text) in [
            (0, "Thu Jan  1 00:00:00 UTC 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_762_797_900, "Mon Nov 10 18:05:00 UTC 2025"),
            (4_107_542_399, "Sun Feb 28 23:59:59 UTC 2100"),
        ] {
            assert_eq!(date(epoch), text);
        }
    }

    #[test]
    fn jobs_follow_cores_and_memory() {
        const GIB: u64 = 1 << 30;
        assert_eq!(jobs_for(8, Some(32 * GIB)), 8);
        assert_eq!(jobs_for(8, Some(3 * GIB + 5)), 3);
        assert_eq!(jobs_for(8, Some(1)), 1);
        assert_eq!(jobs_for(4, None), 4);
        assert!(jobs() >= 1);
    }
}
