use std::path::Path;

use super::*;

#[test]
fn every_built_in_toolchain_parses() {
    let data = DataDirs::builtin();
    for name in names(&data).unwrap() {
        assert_eq!(load(&name, &data).unwrap().name, name);
    }
    for arch in [Arch::Arm, Arch::Arm64, Arch::Riscv, Arch::X86_64] {
        assert!(load(&default_name(arch), &data).unwrap().arch.contains(&arch));
    }
}

#[test]
fn versions_are_found_and_compared_by_number() {
    for (text, version) in [
        ("aarch64-linux-gnu-gcc (Debian 12.2.0-14) 12.2.0", "12.2.0"),
        ("Debian clang version 16.0.6 (27)", "16.0.6"),
        ("GNU ld (GNU Binutils for Debian) 2.40", "2.40"),
        ("aarch64-redhat-linux-gcc (GCC) 15.1.1 20250521 (Red Hat 15.1.1-2)", "15.1.1"),
        ("kmod version 30", "30"),
    ] {
        assert_eq!(Version::find(text).unwrap().to_string(), version, "{text}");
    }
    let version = |text: &str| text.parse::<Version>().unwrap();
    assert!(version("9.3") < version("12.2.0"));
    assert_eq!(version("5.1"), version("5.1.0"));
}

#[test]
fn bad_files_say_where_and_why() {
    let message = |text: &str| parse("x", "toolchains/x.toml", text).unwrap_err().to_string();
    assert_eq!(
        message("kind = \"gcc\"\narch = [\"arm64\"]\nprefx = [\"a-\"]\nmin_version = \"5.1\"\n"),
        "`toolchains/x.toml` is not a valid toolchain\n  caused by: unknown field `prefx`, expected one of \
         `kind`, `arch`, `prefix`, `llvm`, `min_version`, `packages`\n \
         --> toolchains/x.toml:3:1\n  |\n3 | prefx = [\"a-\"]\n  | ^^^^^ here\n\nhint: did you mean `prefix`?"
    );
    assert_eq!(
        message("kind = \"gcc\"\narch = [\"arm64\"]\nprefix = [\"a-\"]\nmin_version = \"new\"\n"),
        "`toolchains/x.toml` is not a valid toolchain\n  \
         caused by: `new` is not a version: numbers with dots are expected\n \
         --> toolchains/x.toml:4:15\n  |\n4 | min_version = \"new\"\n  |               ^^^^^ here"
    );
    assert_eq!(
        message("kind = \"clang\"\narch = [\"arm64\"]\nmin_version = \"13\"\n"),
        "toolchains/x.toml: a clang toolchain needs `llvm`"
    );
    assert_eq!(
        message(
            "kind = \"gcc\"\narch = [\"arm64\"]\nprefix = [\"/opt/my tools/a-\"]\nmin_version = \"5.1\"\n"
        ),
        "toolchains/x.toml: `prefix` and `llvm` may hold no blanks: make splits words"
    );
}

#[test]
fn the_tools_of_llvm_lie_beside_its_compiler() {
    assert_eq!(beside_clang("clang-16", "ld.lld"), "ld.lld-16");
    assert_eq!(beside_clang("/opt/clang/bin/clang", "llvm-ar"), "/opt/clang/bin/llvm-ar");
}

#[test]
fn unknown_names_get_the_nearest() {
    assert_eq!(
        load("gcc-arm46", &DataDirs::builtin()).unwrap_err().to_string(),
        "unknown toolchain `gcc-arm46`\n\nhint: did you mean `gcc-arm64`?"
    );
    assert_eq!(
        load("$(reboot)", &DataDirs::builtin()).unwrap_err().to_string(),
        "unknown toolchain `$(reboot)`\n\nhint: known toolchains: `clang`, `gcc-arm`, `gcc-arm64`, \
         `gcc-riscv64`, `gcc-x86_64`"
    );
}

/// A compiler that says what it is told to.
fn fake(dir: &Path, name: &str, machine: &str, version: &str) -> String {
    for tool in ["gcc", "ld"] {
        let script = format!(
            "#!/bin/sh\ncase $1 in -dumpmachine) echo {machine};; *) echo 'fake ({tool}) {version}';; esac\n"
        );
        crate::exec::write_program(&dir.join(format!("{name}{tool}")), &script).unwrap();
    }
    dir.join(name).display().to_string()
}

fn toolchain(prefixes: &[&str]) -> Toolchain {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix:?}")).collect();
    let text = format!(
        "kind = \"gcc\"\narch = [\"arm64\"]\nprefix = [{}]\nmin_version = \"5.1\"\n[packages]\ndebian = [\"gcc-a\"]\n\
         fedora = [\"gcc-a\", \"binutils-a\"]\n",
        prefixes.join(", ")
    );
    parse("mine", "x.toml", &text).unwrap()
}

#[test]
fn detection_takes_the_first_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = fake(dir.path(), "host-", "x86_64-linux-gnu", "12.2.0");
    let right = fake(dir.path(), "cross-", "aarch64-linux-gnu", "12.2.0");
    let found = toolchain(&["no-such-", &wrong, &right]).detect(Arch::Arm64).unwrap();
    assert_eq!((found.prefix.as_str(), found.version.to_string().as_str()), (right.as_str(), "12.2.0"));
    assert_eq!(found.identity, "fake (gcc) 12.2.0\nfake (ld) 12.2.0");
}

#[test]
fn a_missing_old_or_unfit_toolchain_says_what_to_install() {
    let hint =
        "hint: install `gcc-a` (debian), `gcc-a binutils-a` (fedora); `bimg doctor` prints the command";
    assert_eq!(
        toolchain(&["no-such-"]).detect(Arch::Arm64).unwrap_err().to_string(),
        format!("toolchain `mine` is not installed\n  caused by: `no-such-gcc` is not in PATH\n\n{hint}")
    );
    let dir = tempfile::tempdir().unwrap();
    let old = fake(dir.path(), "old-", "aarch64-linux-gnu", "4.9.2");
    assert_eq!(
        toolchain(&[&old]).detect(Arch::Arm64).unwrap_err().to_string(),
        format!(
            "toolchain `mine` is too old\n  caused by: `{old}gcc` is version 4.9.2, the kernel needs 5.1 or newer\n\n{hint}"
        )
    );
    assert_eq!(
        toolchain(&["a-"]).detect(Arch::Riscv).unwrap_err().to_string(),
        "toolchain `mine` makes no code for riscv64\n\nhint: the usual one is `gcc-riscv64`"
    );
}
