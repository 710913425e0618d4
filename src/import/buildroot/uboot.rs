//! Which U-Boot of Debian's serves a Buildroot board, by the name of its defconfig.

use crate::arch::Arch;
use crate::import::quote;

/// Debian's packages, as `dpkg -c` lists them (bookworm 2023.01, trixie 2025.01).
const PACKAGES: &str = include_str!("uboot.txt");
/// Where they keep their files.
const DIR: &str = "usr/lib/u-boot";

/// A board's directory in a package.
#[derive(Debug)]
pub struct Packaged {
    package: &'static str,
    arch: &'static str,
    suite: &'static str,
    board: &'static str,
    files: Vec<&'static str>,
}

/// The package that has `board`, a U-Boot defconfig without its ending.
pub fn find(board: &str, arch: Arch) -> Option<Packaged> {
    PACKAGES.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [package, its_arch, suite, name, files @ ..] = words.as_slice() else { return None };
        (*name == board && *its_arch == arch.debian()).then(|| Packaged {
            package,
            arch: its_arch,
            suite,
            board: name,
            files: files.to_vec(),
        })
    })
}

impl Packaged {
    /// The line of `[firmware]`.
    pub fn firmware(&self) -> String {
        format!(
            "uboot = {{ apt = {}, suite = {}, arch = {} }}",
            quote(self.package),
            quote(self.suite),
            quote(self.arch)
        )
    }

    /// The file of that name, as profiles refer to it.
    pub fn file(&self, name: &str) -> Option<String> {
        self.files.contains(&name).then(|| format!("uboot:{DIR}/{}/{name}", self.board))
    }

    /// Allwinner's SPL and U-Boot in one file, which starts where the SPL does.
    pub fn whole_sunxi(&self) -> Option<String> {
        self.file("u-boot-sunxi-with-spl.bin").or_else(|| self.file("u-boot-sunxi-with-spl.fit.itb"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_found_by_defconfig_and_architecture() {
        let pine = find("pine64_plus", Arch::Arm64).unwrap();
        assert_eq!(
            pine.firmware(),
            "uboot = { apt = \"u-boot-sunxi\", suite = \"bookworm\", arch = \"arm64\" }"
        );
        assert_eq!(
            pine.whole_sunxi().unwrap(),
            "uboot:usr/lib/u-boot/pine64_plus/u-boot-sunxi-with-spl.fit.itb"
        );
        let rock = find("rockpro64-rk3399", Arch::Arm64).unwrap();
        assert_eq!(
            rock.file("idbloader.img").unwrap(),
            "uboot:usr/lib/u-boot/rockpro64-rk3399/idbloader.img"
        );
        assert!(rock.file("nope").is_none() && rock.whole_sunxi().is_none());
        assert!(find("pine64_plus", Arch::Arm).is_none() && find("", Arch::Arm64).is_none());
    }

    #[test]
    fn every_line_is_whole() {
        for line in PACKAGES.lines().skip(1) {
            assert!(line.split(' ').count() >= 5 && line.starts_with("u-boot-"), "{line}");
        }
    }
}
