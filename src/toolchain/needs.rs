//! What the doctor looks for before a toolchain is used.

use super::{Kind, Toolchain, beside_clang, targets};
use crate::arch::Arch;
use crate::doctor::{Need, Packages};
use crate::exec;

impl Toolchain {
    /// The programs that a kernel build with this toolchain starts: those of the compiler that
    /// [`detect`](Self::detect) would take; when there is none, of the first that it looks for.
    pub fn needs(&self, arch: Arch) -> Vec<Need> {
        let compilers = self.compilers();
        // The host's own `gcc` is only one of them when it makes code for the board.
        let usable = |compiler: &str| {
            exec::which(compiler).is_some()
                && (self.kind == Kind::Clang || targets(compiler, arch).unwrap_or(false))
        };
        let Some((compiler, prefix)) =
            compilers.iter().find(|(compiler, _)| usable(compiler)).or(compilers.first())
        else {
            return Vec::new();
        };
        let packages = self.packages_by_distribution();
        let need = |tool: String, why: &str| Need::new(tool, why).packages(packages.clone());
        let versioned = |tool: String, why: &str| need(tool, why).at_least(self.min_version.clone());
        match self.kind {
            Kind::Gcc => vec![
                versioned(compiler.clone(), "cross-compiles the kernel"),
                need(format!("{prefix}ld"), "links the kernel"),
            ],
            Kind::Clang => vec![
                versioned(compiler.clone(), "cross-compiles the kernel"),
                versioned(beside_clang(compiler, "ld.lld"), "links the kernel"),
                need(beside_clang(compiler, "llvm-ar"), "archives the kernel's objects"),
            ],
        }
    }

    fn packages_by_distribution(&self) -> Packages {
        let names = |distribution: &str| self.packages.get(distribution).cloned().unwrap_or_default();
        Packages { debian: names("debian"), fedora: names("fedora"), arch: names("arch") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_compiler_does_not_stand_in_for_a_missing_cross_compiler() {
        let foreign = if std::env::consts::ARCH == "aarch64" { Arch::Riscv } else { Arch::Arm64 };
        let toolchain = super::super::parse("a", "a.toml", &format!(
            "kind = \"gcc\"\narch = [\"{foreign}\"]\nprefix = [\"no-such-\", \"\"]\nmin_version = \"5.1\"\n\
             packages.debian = [\"gcc-a\"]\n"
        ))
        .unwrap();
        let needs = toolchain.needs(foreign);
        let tools: Vec<&str> = needs.iter().map(|need| need.tool.as_str()).collect();
        assert_eq!(tools, ["no-such-gcc", "no-such-ld"]);
        assert_eq!(needs[0].packages.as_ref().unwrap().debian, ["gcc-a"]);
        assert_eq!(needs[0].min.as_ref().unwrap().to_string(), "5.1");
    }
}
