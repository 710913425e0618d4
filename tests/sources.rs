//! Sources as a developer has them: trees and firmware that change, repositories, odd environments.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Project, assert_fails};

const BUILD: &[&str] = &["build", "--board", "acme"];

/// A board that takes a boot loader from a directory of the user's.
fn with_firmware() -> Project {
    let project = Project::new();
    project.shell("mkdir u-boot && echo one > u-boot/u-boot.bin && echo notes > u-boot/README");
    project.edit(
        "boards/acme.toml",
        "[boot]\nchain = \"extlinux\"",
        "[firmware]\nuboot = { path = \"u-boot\" }\n\n[boot]\nchain = \"extlinux\"\nfirmware = [\"uboot:u-boot.bin\"]",
    );
    project
}

#[test]
fn firmware_of_the_users_own_counts_by_content() {
    let project = with_firmware();
    project.build(&[]);
    let manifest = project.read("out/acme/manifest.json");
    assert!(!manifest.contains(&project.root().display().to_string()), "{manifest}");
    assert_eq!(project.plan(&[])[3], "image up to date");
    // What is not used does not count.
    project.write("u-boot/README", "other notes\n");
    assert_eq!(project.plan(&[])[3], "image up to date");
    project.write("u-boot/u-boot.bin", "two\n");
    assert_eq!(project.plan(&[])[3], "image firmware uboot:u-boot.bin changed");
    project.build(&[]);
    project.shell(
        "dd if=out/acme/acme.img of=boot iflag=skip_bytes,count_bytes skip=4M count=8M bs=1M 2>/dev/null && \
         mtype -i boot ::u-boot.bin | grep -q two",
    );

    // Where it lies does not count either.
    let other = with_firmware();
    other.write("u-boot/u-boot.bin", "two\n");
    other.build(&[]);
    assert_eq!(project.artifacts(), other.artifacts());
}

#[test]
fn firmware_that_is_not_there_is_missed_before_anything_is_built() {
    let project = with_firmware();
    project.edit("boards/acme.toml", "uboot:u-boot.bin", "uboot:u-boot.img");
    assert_fails(
        &project.run(BUILD),
        1,
        "sources: started: `kernel` is not pinned yet, `firmware.uboot` is not pinned yet\n\
         sources: failed after TIME\nerror: stage `sources` failed for board `acme`\n  \
         caused by: firmware file `u-boot.img` is not in path u-boot\n\n\
         hint: nearest: `u-boot.bin`\n",
    );
    assert!(!project.path("build/kernel").exists());
}

#[test]
fn nothing_of_the_users_git_configuration_gets_into_a_source() {
    let project = Project::new();
    project.shell(
        "cd linux && git init -q -b main && printf '[submodule \"x\"]\\npath = x\\nurl = ../x\\n' > .gitmodules && \
         git add -A && git -c user.name=T -c user.email=t@example.org commit -q -m one && git tag v1 && \
         git -c user.name=T -c user.email=t@example.org tag -a -m two v2",
    );
    project.shell("mkdir -p ../home/.config/git && echo '* text eol=crlf' > ../home/.config/git/attributes");
    project.edit("boards/acme.toml", "path = \"linux\"", "git = \"linux\", rev = \"refs/tags/v2\"");
    let mut bimg = project.bimg(&[BUILD, &["--stage", "kernel"]].concat());
    let odd = [("GIT_DIR", "/nowhere"), ("GIT_INDEX_FILE", "x"), ("GIT_DEFAULT_HASH", "sha256")];
    let built = project.outcome(bimg.envs(odd)).ok();
    assert!(
        built.stderr.contains("warning: `refs/tags/v2` of `linux` has submodules, which are not fetched\n"),
        "{}",
        built.stderr
    );
    let commit = project.shell("git -C linux rev-parse HEAD");
    assert!(project.read("bimg.lock").contains(commit.trim()));
    project.shell("! grep -rl \"$(printf '\\r')\" ../cache/bimg/trees");
}

/// What a killed git leaves in its repository stops nobody.
#[test]
fn a_repository_that_was_left_half_made_is_gone_on_with() {
    let project = Project::new();
    let commit = "git add -A && git -c user.name=T -c user.email=t@example.org commit -q -m x";
    project.shell(&format!("cd linux && git init -q -b main && {commit}"));
    project.edit("boards/acme.toml", "path = \"linux\"", "git = \"linux\", rev = \"main\"");
    project.build(&["--stage", "sources"]);
    project.shell(&format!("cd linux && echo >> Kconfig && {commit}"));
    project.shell(
        "cd ../cache/bimg/git/*.git && touch shallow.lock HEAD.lock objects/pack/tmp_pack_x && rm config",
    );
    project.run(&["update", "--board", "acme"]).ok();
    assert_eq!(project.shell("find ../cache/bimg/git -name '*.lock' -o -name 'tmp_*'"), "");
}

#[test]
fn variables_of_the_callers_change_no_byte() {
    let plain = Project::new();
    plain.build(&[]);
    let odd = Project::new();
    let variables = [
        ("ARCH", "mips"),
        ("CROSS_COMPILE", "no-such-"),
        ("KBUILD_OUTPUT", "/nowhere"),
        ("KBUILD_BUILD_USER", "me"),
        ("KCFLAGS", "-O3"),
        ("CFLAGS", "-O3"),
        ("LOCALVERSION", "-odd"),
        ("MAKEFLAGS", "-i --eval=nothing"),
        ("M", "/nowhere"),
        ("O", "/nowhere"),
        ("V", "1"),
        ("INSTALL_MOD_PATH", "/nowhere"),
        ("CPATH", "/nowhere"),
        ("LANGUAGE", "tr"),
        ("TMPDIR", "/tmp"),
        ("XDG_CONFIG_HOME", "relative"),
    ];
    odd.outcome(odd.bimg(BUILD).envs(variables)).ok();
    assert_eq!(plain.artifacts(), odd.artifacts());
}

#[test]
fn no_home_and_a_relative_cache() {
    let project = Project::new();
    let mut bimg = project.bimg(BUILD);
    let outcome = project.outcome(bimg.env_remove("HOME").env("XDG_CACHE_HOME", "cache"));
    assert_fails(
        &outcome,
        1,
        "error: there is no place for downloads\n  \
         caused by: neither `XDG_CACHE_HOME` nor `HOME` is set to an absolute path\n",
    );
    let mut bimg = project.bimg(BUILD);
    project.outcome(bimg.env("XDG_CACHE_HOME", "cache")).ok();
    assert!(!project.path("cache").exists());
}

#[test]
fn a_build_directory_that_kbuild_cannot_work_in_is_told_at_once() {
    let project = Project::new();
    assert_fails(
        &project.run(&[BUILD, &["--build-dir", "my builds"]].concat()),
        2,
        "error: kernel path `[DIR]/work/my builds` holds ` `\n\n\
         hint: kbuild cannot work there; choose another `--build-dir`\n",
    );
    assert!(!project.path("bimg.lock").exists());
}

/// A host without apt builds from the alternative that needs none.
#[test]
fn one_alternative_that_can_be_fetched_is_enough() {
    let project = Project::new();
    project.edit(
        "boards/acme.toml",
        "source = { path = \"linux\" }",
        "source = [{ apt = \"no-such-linux\" }, { path = \"linux\" }]",
    );
    project.shell("mkdir ../bin && ln -s $(command -v sh) ../bin/sh");
    let mut bimg = project.bimg(&[BUILD, &["--stage", "sources"]].concat());
    project.outcome(bimg.env("PATH", project.root().join("bin"))).ok();
    assert!(project.read("bimg.lock").contains("asked = \"path linux\""));
}
