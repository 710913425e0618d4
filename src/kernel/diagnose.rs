//! From a failed build's output to its cause and what to do: rules as data.
//!
//! With `-jN` the last lines of a failed make are rarely the ones that matter. The first line that a
//! rule knows is the cause; rules that also match harmless lines (`Rule::late`) get their turn only
//! when no sure one matched. Add a rule together with its captured log in `tests`.

use std::collections::VecDeque;

/// One kind of failure.
struct Rule {
    /// Text to find in a line; each `{}` stands for anything, kept for the texts below.
    pattern: &'static str,
    /// What happened, with `{1}`, `{2}` for what the pattern kept; empty: the line itself.
    cause: &'static str,
    /// What to do about it.
    hint: &'static str,
    /// Matches lines of builds that go well, too.
    late: bool,
}

const fn rule(pattern: &'static str, cause: &'static str, hint: &'static str) -> Rule {
    Rule { pattern, cause, hint, late: false }
}

const fn late(pattern: &'static str, cause: &'static str, hint: &'static str) -> Rule {
    Rule { pattern, cause, hint, late: true }
}

/// For mistakes in the source.
pub const SOURCE_HINT: &str = "correct the source at that line, or turn off the option that builds it";
/// The same where the source is in the store, whose trees are replaced once somebody has changed them.
pub const STORE_HINT: &str = "turn off the option that builds it; or let `kernel.source` be the `path` of a tree of \
                              your own and correct it there: what is edited in the store is lost";
const MEMORY_HINT: &str = "fewer compilers at once need less: `--jobs 1`; or add memory or swap";
const DOCTOR: &str = "`bimg doctor` prints the command that installs what is missing";

/// In order: of two rules for one line, the first wins.
const RULES: &[Rule] = &[
    rule(
        "No space left on device",
        "the disk is full",
        "free some room, or build elsewhere with `--build-dir`",
    ),
    rule(
        "Disk quota exceeded",
        "the disk quota is used up",
        "free some room, or build elsewhere with `--build-dir`",
    ),
    rule("Killed signal terminated program {}", "out of memory: the system killed `{1}`", MEMORY_HINT),
    rule("fatal error: Killed", "out of memory: the system killed the compiler", MEMORY_HINT),
    rule("virtual memory exhausted", "out of memory", MEMORY_HINT),
    rule("out of memory allocating", "out of memory", MEMORY_HINT),
    rule("Cannot allocate memory", "out of memory", MEMORY_HINT),
    rule(
        "fatal error: openssl/{}:",
        "the OpenSSL headers are missing (`openssl/{1}`)",
        "install `libssl-dev` (debian), `openssl-devel` (fedora) or `openssl` (arch), or turn module signing off",
    ),
    rule(
        "fatal error: libelf.h:",
        "the libelf headers are missing",
        "install `libelf-dev` (debian), `elfutils-libelf-devel` (fedora) or `libelf` (arch)",
    ),
    rule(
        "fatal error: gelf.h:",
        "the libelf headers are missing",
        "install `libelf-dev` (debian), `elfutils-libelf-devel` (fedora) or `libelf` (arch)",
    ),
    rule(
        "please install libelf-dev",
        "the libelf headers are missing",
        "install `libelf-dev` (debian), `elfutils-libelf-devel` (fedora) or `libelf` (arch)",
    ),
    rule(
        "fatal error: gcc-plugin.h:",
        "the headers for compiler plugins are missing",
        "install the compiler's plugin headers, or turn CONFIG_GCC_PLUGINS off: it also ruins ccache hits",
    ),
    rule(
        "BTF: {}: pahole {} is not available",
        "`pahole` is missing and CONFIG_DEBUG_INFO_BTF needs it",
        "install `dwarves` (debian, fedora) or `pahole` (arch), or `--set CONFIG_DEBUG_INFO_BTF=n`",
    ),
    rule(
        "BTF: {}: No such file",
        "`pahole` is missing or failed, and CONFIG_DEBUG_INFO_BTF needs it",
        "install `dwarves` (debian, fedora) or `pahole` (arch), or `--set CONFIG_DEBUG_INFO_BTF=n`",
    ),
    rule(
        "Failed to generate BTF for vmlinux",
        "BTF could not be made",
        "a newer `pahole` may do (`dwarves` in debian and fedora), or `--set CONFIG_DEBUG_INFO_BTF=n`",
    ),
    rule(
        "missing MODULE_LICENSE() in {}",
        "module `{1}` declares no licence",
        "add `MODULE_LICENSE(\"GPL\");` to its source",
    ),
    rule(
        "ERROR: modpost: \"{}\" [{}] undefined!",
        "module `{2}` needs `{1}`, which nothing exports",
        "enable the option that provides the symbol, or build the module in with `=y`",
    ),
    rule(
        "modpost: GPL-incompatible module {} uses GPL-only symbol '{}'",
        "module `{1}` is not under the GPL and uses `{2}`",
        "a module may use that symbol only under a GPL-compatible MODULE_LICENSE",
    ),
    rule(
        "undefined reference to `{}'",
        "`{1}` is used but not built",
        "the option whose code defines it is off, or is `=m` while its user is `=y`",
    ),
    rule(
        "undefined symbol: {}",
        "`{1}` is used but not built",
        "the option whose code defines it is off, or is `=m` while its user is `=y`",
    ),
    rule(
        "multiple definition of `{}'",
        "`{1}` is defined twice",
        "an old object may be left over: remove the build directory, or correct the source",
    ),
    rule(
        "No rule to make target '{}.dtb'",
        "this kernel has no device tree `{1}.dtb`",
        "the name is the path below arch/ARCH/boot/dts: `broadcom/bcm2711-rpi-4-b.dtb`",
    ),
    rule(
        "No rule to make target '{}.dtbo'",
        "this kernel has no overlay `{1}.dtbo`",
        "the name is the path below arch/ARCH/boot/dts: `overlays/disable-bt.dtbo`",
    ),
    rule(
        "No rule to make target '{}.pem', needed by",
        "the configuration names a certificate that is not there: `{1}.pem`",
        "`--set 'CONFIG_SYSTEM_TRUSTED_KEYS=\"\"'`, and the same for CONFIG_SYSTEM_REVOCATION_KEYS",
    ),
    rule(
        "No rule to make target '{}', needed by '{}'",
        "`{2}` needs `{1}`, which is not there",
        "if the source lost a file, restore it; if it was cleaned while building, build again",
    ),
    rule(
        "No rule to make target '{}'.",
        "this kernel cannot make `{1}`",
        "the source tree is incomplete, or too old for that target",
    ),
    rule(
        "error: unknown type name 'bool'",
        "",
        "headers of another build are in the way: run `make mrproper` in the source tree and build again",
    ),
    rule(
        "unrecognized command-line option '{}'",
        "the compiler does not know `{1}`",
        "it may be too old for this kernel, or the toolchain belongs to another architecture",
    ),
    rule(
        "unrecognized argument in option '{}'",
        "the compiler does not know `{1}`",
        "it may be too old for this kernel, or the toolchain belongs to another architecture",
    ),
    rule(
        "*** {} is too old.",
        "the kernel refuses this toolchain: {1} is too old",
        "the lines below it in the log name the version found and the version needed",
    ),
    rule(
        "compiler lacks asm-goto",
        "the compiler is too old for this kernel",
        "use a newer toolchain: `bimg doctor` names the versions",
    ),
    rule(
        "*** The source tree is not clean",
        "the source tree holds an earlier build made inside it",
        "run `make mrproper` in the source tree: it removes .config and what was built there",
    ),
    rule(
        "SSL error:{}",
        "signing failed: {1}",
        "the signing key is missing or bad: see CONFIG_MODULE_SIG_KEY, or `--set CONFIG_MODULE_SIG=n`",
    ),
    rule(
        "sign-file: {}",
        "signing failed: {1}",
        "the signing key is missing or bad: see CONFIG_MODULE_SIG_KEY, or `--set CONFIG_MODULE_SIG=n`",
    ),
    rule(
        "ccache: error: {}",
        "ccache failed: {1}",
        "correct its configuration (`ccache --show-config` prints it), or build with `--no-ccache`",
    ),
    rule("FATAL ERROR: {}", "dtc failed: {1}", "correct the device tree source that the log names above it"),
    rule("Error: {}.dts{} syntax error", "", "correct the device tree source at that line"),
    rule("fatal error: {}: Permission denied", "", "make the file readable for you"),
    rule(": fatal error: {}", "", SOURCE_HINT),
    rule(": error: {}", "", SOURCE_HINT),
    rule(": Error: {}", "", "the assembler refuses that line; its toolchain may be too old for it"),
    rule("{}: command not found", "`{1}` is not installed", DOCTOR),
    rule("/bin/sh: {}: {}: not found", "`{2}` is not installed", DOCTOR),
    rule("make: {}: No such file or directory", "`{1}` is not installed", DOCTOR),
    rule("]: {}: No such file or directory", "`{1}` is not installed", DOCTOR),
    rule("env: '{}': No such file or directory", "`{1}` is not installed", DOCTOR),
    rule("] Killed", "the system or somebody killed a compiler, most often for want of memory", MEMORY_HINT),
    late("depmod: ERROR: {}", "depmod: {1}", "a module of the build does not fit the others"),
    late(
        "depmod: WARNING: {}",
        "depmod: {1}",
        "a module needs a symbol that neither kernel nor modules have",
    ),
    late(
        "*** [{}: scripts/{}] Error",
        "a program that the kernel builds for its own use failed: `scripts/{2}`",
        "most often something that builds need is missing; `bimg doctor` prints the command that installs it",
    ),
    late(
        "recipe for target 'scripts/{}' failed",
        "a program that the kernel builds for its own use failed: `scripts/{1}`",
        "most often something that builds need is missing; `bimg doctor` prints the command that installs it",
    ),
    late("Permission denied", "", "the build directory and the tools in the source tree must be accessible"),
    late("*** {}.  Stop.", "make gave up: {1}", "the log tells more"),
];

/// Programs by the package that holds them, where the names differ.
const PACKAGES: &[(&str, &str)] = &[
    ("pahole", "`dwarves` (debian, fedora) or `pahole` (arch)"),
    ("depmod", "`kmod`"),
    ("mkimage", "`u-boot-tools` (debian), `uboot-tools` (fedora, arch)"),
    ("xz", "`xz-utils` (debian) or `xz` (fedora, arch)"),
    ("ld.lld", "`lld`"),
    ("llvm-ar", "`llvm`"),
];

/// Why a build failed, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What happened: one line, or the compiler's lines.
    pub cause: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The lines of a build that may tell why it failed: early suspects and the very last.
#[derive(Debug, Default)]
pub struct Lines {
    suspects: Vec<String>,
    last: VecDeque<String>,
}

impl Lines {
    const SUSPECTS: usize = 400;
    const LAST: usize = 12;

    /// Takes a line of output.
    pub fn push(&mut self, line: &str) {
        // kbuild's own progress lines are indented; nearly every line of a good build is one.
        let chatter = line.ends_with('\'') && line.contains("ing directory '");
        if chatter || line.is_empty() || (line.starts_with("  ") && !line.contains("rror:")) {
            return;
        }
        if self.suspects.len() < Self::SUSPECTS {
            self.suspects.push(line.to_string());
        }
        if self.last.len() == Self::LAST {
            self.last.pop_front();
        }
        self.last.push_back(line.to_string());
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        // Past the limit the two lists do not overlap; below it the second repeats the first harmlessly.
        self.suspects.iter().chain(&self.last).map(String::as_str)
    }
}

/// Finds the cause; without a rule that fits, the last lines.
pub fn diagnose(lines: &Lines) -> Diagnosis {
    for late in [false, true] {
        for line in lines.all() {
            for rule in RULES.iter().filter(|rule| rule.late == late) {
                if let Some(kept) = capture(rule.pattern, line) {
                    return apply(rule, line, &kept, lines);
                }
            }
        }
    }
    let last: Vec<&str> = lines.last.iter().map(String::as_str).collect();
    let cause = if last.is_empty() { "it printed no reason".to_string() } else { last.join("\n") };
    Diagnosis { cause, hint: None }
}

fn apply(rule: &Rule, line: &str, kept: &[&str], lines: &Lines) -> Diagnosis {
    // A shell names itself and its line before the program: `/bin/sh: line 1: flex: command not found`.
    let program = |text: &'_ str| -> usize { text.rfind(": ").map_or(0, |at| at + 2) };
    let kept: Vec<&str> = match rule.hint {
        DOCTOR => kept.iter().map(|text| &text[program(text)..]).collect(),
        _ => kept.to_vec(),
    };
    let fill = |template: &str| {
        kept.iter()
            .enumerate()
            .fold(template.to_string(), |text, (i, kept)| text.replace(&format!("{{{}}}", i + 1), kept))
    };
    let cause = if rule.cause.is_empty() { compiler_lines(line, lines) } else { fill(rule.cause) };
    let hint = match kept.last() {
        Some(program) if rule.hint == DOCTOR => package_hint(program),
        _ => fill(rule.hint),
    };
    Diagnosis { cause, hint: Some(hint) }
}

fn package_hint(program: &str) -> String {
    match PACKAGES.iter().find(|(name, _)| *name == program) {
        Some((_, package)) => format!("install {package}; {DOCTOR}"),
        None if !program.contains(['/', ' ']) => format!("install `{program}`; {DOCTOR}"),
        None => DOCTOR.to_string(),
    }
}

/// The line and the errors that follow it in the same file: at most three.
fn compiler_lines(line: &str, lines: &Lines) -> String {
    let file = line.split(':').next().unwrap_or_default();
    let same_file = lines
        .suspects
        .iter()
        .map(String::as_str)
        .skip_while(|other| *other != line)
        .skip(1)
        .filter(|other| other.starts_with(file) && other.contains("rror: "));
    std::iter::once(line).chain(same_file).take(3).collect::<Vec<_>>().join("\n")
}

/// What stands for each `{}` of the pattern, if it is found in the line.
fn capture<'a>(pattern: &str, line: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = pattern.split("{}");
    let first = pieces.next()?;
    let mut rest = &line[line.find(first)? + first.len()..];
    if first.is_empty() {
        rest = line;
    }
    let mut kept = Vec::new();
    for piece in pieces {
        let (start, end) = match piece {
            "" => (rest.len(), rest.len()),
            piece => rest.find(piece).map(|at| (at, at + piece.len()))?,
        };
        kept.push(rest[..start].trim());
        rest = &rest[end..];
    }
    Some(kept)
}

#[cfg(test)]
mod tests;
