//! Toolchains as data: `toolchains/NAME.toml` says how a compiler is called, which version is needed and
//! which packages hold it; [`Toolchain::detect`] finds it on this host.
//!
//! [`crate::data`] says where a user's files replace the built-in ones.

mod needs;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::arch::Arch;
use crate::board::text;
use crate::data::DataDirs;
use crate::error::{Error, Result, nearest};
use crate::exec::{self, Cmd};

pub use crate::version::Version;

/// The compiler family: it decides the words on kbuild's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// GCC and GNU binutils, called with `CROSS_COMPILE=`.
    Gcc,
    /// clang, lld and the LLVM binutils, called with `LLVM=`.
    Clang,
}

/// One `toolchains/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The name of the file without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The compiler family.
    pub kind: Kind,
    /// Architectures that it makes code for.
    pub arch: Vec<Arch>,
    /// gcc: prefixes to try in order (`aarch64-linux-gnu-`); empty for the host's own compiler.
    #[serde(default)]
    pub prefix: Vec<String>,
    /// clang: the value of kbuild's `LLVM=`: `1`, a suffix such as `-16`, or a directory with its `/`.
    #[serde(default)]
    pub llvm: Option<String>,
    /// The oldest version that builds current kernels.
    pub min_version: Version,
    /// Package names by distribution: `debian`, `fedora`, `arch`.
    #[serde(default)]
    pub packages: BTreeMap<String, Vec<String>>,
}

/// A toolchain that is there and new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name, `gcc-arm64`.
    pub name: String,
    /// The compiler family.
    pub kind: Kind,
    /// gcc: the value of `CROSS_COMPILE=`.
    pub prefix: String,
    /// clang: the value of `LLVM=`.
    pub llvm: Option<String>,
    /// The compiler as it is called: `aarch64-linux-gnu-gcc`, `clang-16`.
    pub compiler: String,
    /// Its version.
    pub version: Version,
    /// What the compiler and the linker say about themselves, one line each: part of a build's identity.
    pub identity: String,
}

impl Installed {
    /// The program that takes debug information out of objects of this toolchain.
    pub fn strip(&self) -> String {
        match self.kind {
            Kind::Gcc => format!("{}strip", self.prefix),
            Kind::Clang => beside_clang(&self.compiler, "llvm-strip"),
        }
    }
}

/// The usual gcc toolchain of an architecture.
pub fn default_name(arch: Arch) -> String {
    format!("gcc-{arch}")
}

/// Loads a toolchain by name.
pub fn load(name: &str, data: &DataDirs) -> Result<Toolchain> {
    let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let file = if sound { data.find(&format!("toolchains/{name}.toml"))? } else { None };
    match file {
        Some(file) => parse(name, &file.shown, file.text()?),
        None => Err(unknown(name, data)?),
    }
}

/// Every known name, sorted.
pub fn names(data: &DataDirs) -> Result<Vec<String>> {
    data.names("toolchains")
}

fn unknown(name: &str, data: &DataDirs) -> Result<Error> {
    let names = names(data)?;
    let error = Error::usage(format!("unknown toolchain `{}`", name.escape_debug()));
    Ok(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("known toolchains: {}", list(&names))),
    })
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Reads the text of a toolchain file; `origin` is how messages call it.
pub fn parse(name: &str, origin: &str, text: &str) -> Result<Toolchain> {
    let mut toolchain: Toolchain = text::parse_text(origin, "toolchain", text)?;
    toolchain.name = name.to_string();
    let wrong = |what: &str| Err(Error::usage(format!("{origin}: {what}")));
    match toolchain.kind {
        _ if toolchain.arch.is_empty() => wrong("`arch` names no architecture"),
        _ if toolchain
            .prefix
            .iter()
            .chain(&toolchain.llvm)
            .any(|word| word.contains(char::is_whitespace)) =>
        {
            wrong("`prefix` and `llvm` may hold no blanks: make splits words")
        }
        Kind::Gcc if toolchain.prefix.is_empty() => wrong("a gcc toolchain needs `prefix`"),
        Kind::Gcc if toolchain.llvm.is_some() => wrong("`llvm` belongs to clang toolchains"),
        Kind::Clang if toolchain.llvm.is_none() => wrong("a clang toolchain needs `llvm`"),
        Kind::Clang if !toolchain.prefix.is_empty() => wrong("`prefix` belongs to gcc toolchains"),
        _ => Ok(toolchain),
    }
}

impl Toolchain {
    /// The compilers to look for, with the prefix that each stands for.
    pub fn compilers(&self) -> Vec<(String, String)> {
        match (self.kind, self.llvm.as_deref()) {
            (Kind::Gcc, _) => {
                self.prefix.iter().map(|prefix| (format!("{prefix}gcc"), prefix.clone())).collect()
            }
            (Kind::Clang, Some(dir)) if dir.ends_with('/') => {
                vec![(format!("{dir}clang"), String::new())]
            }
            (Kind::Clang, Some(suffix)) if suffix.starts_with('-') => {
                vec![(format!("clang{suffix}"), String::new())]
            }
            (Kind::Clang, _) => vec![("clang".to_string(), String::new())],
        }
    }

    /// Finds it on this host and checks architecture and version.
    pub fn detect(&self, arch: Arch) -> Result<Installed> {
        if !self.arch.contains(&arch) {
            return Err(Error::usage(format!("toolchain `{}` makes no code for {arch}", self.name))
                .hint(format!("the usual one is `{}`", default_name(arch))));
        }
        for (compiler, prefix) in self.compilers() {
            if exec::which(&compiler).is_none() || (self.kind == Kind::Gcc && !targets(&compiler, arch)?) {
                continue;
            }
            return self.inspect(compiler, prefix);
        }
        Err(self.missing())
    }

    fn inspect(&self, compiler: String, prefix: String) -> Result<Installed> {
        let said = first_line(&Cmd::new(&compiler).arg("--version").check()?.text());
        let version = Version::find(&said).ok_or_else(|| {
            Error::new(format!("`{compiler} --version` names no version"))
                .caused_by(format!("it says: {said}"))
        })?;
        if version < self.min_version {
            return Err(Error::new(format!("toolchain `{}` is too old", self.name))
                .caused_by(format!(
                    "`{compiler}` is version {version}, the kernel needs {} or newer",
                    self.min_version
                ))
                .hint(self.how_to_install()));
        }
        let linker = match self.kind {
            Kind::Gcc => format!("{prefix}ld"),
            Kind::Clang => beside_clang(&compiler, "ld.lld"),
        };
        let linked = Cmd::new(&linker).arg("--version").check().map_err(|error| {
            error
                .context(format!("toolchain `{}` is incomplete: no linker", self.name))
                .hint(self.how_to_install())
        })?;
        let identity = format!("{said}\n{}", first_line(&linked.text()));
        Ok(Installed {
            name: self.name.clone(),
            kind: self.kind,
            prefix,
            llvm: self.llvm.clone(),
            compiler,
            version,
            identity,
        })
    }

    fn missing(&self) -> Error {
        let names: Vec<String> = self.compilers().into_iter().map(|(name, _)| name).collect();
        let what = match names.as_slice() {
            [one] => format!("`{one}` is not in PATH"),
            [first, ..] => format!("`{first}` is not in PATH, nor is another of {}", list(&names[1..])),
            [] => String::from("it names no compiler"),
        };
        Error::new(format!("toolchain `{}` is not installed", self.name))
            .caused_by(what)
            .hint(self.how_to_install())
    }

    /// One line for people: the packages on each distribution.
    pub fn how_to_install(&self) -> String {
        let by_distribution: Vec<String> = self
            .packages
            .iter()
            .map(|(distribution, packages)| format!("`{}` ({distribution})", packages.join(" ")))
            .collect();
        if by_distribution.is_empty() {
            return format!("toolchain `{}` names no packages to install", self.name);
        }
        format!("install {}; `bimg doctor` prints the command", by_distribution.join(", "))
    }
}

/// True when this gcc makes code for `arch`: a host's own `gcc` does for one architecture only.
fn targets(compiler: &str, arch: Arch) -> Result<bool> {
    let machine = Cmd::new(compiler).arg("-dumpmachine").check()?.text();
    let cpu = machine.split('-').next().unwrap_or_default();
    Ok(match arch {
        Arch::Arm => cpu.starts_with("arm") && !cpu.starts_with("arm64"),
        Arch::Arm64 => cpu == "aarch64",
        Arch::Riscv => cpu == "riscv64",
        Arch::X86_64 => cpu == "x86_64",
    })
}

/// The tool that belongs to a clang: `/opt/clang/bin/clang-16` has `/opt/clang/bin/ld.lld-16`.
fn beside_clang(compiler: &str, tool: &str) -> String {
    let (dir, name) = compiler.rsplit_once('/').map_or(("", compiler), |(dir, name)| (dir, name));
    let name = name.replacen("clang", tool, 1);
    if dir.is_empty() && !compiler.starts_with('/') { name } else { format!("{dir}/{name}") }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests;
