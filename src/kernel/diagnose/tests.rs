use super::*;

fn cause_and_hint(log: &str) -> String {
    let mut lines = Lines::default();
    log.lines().for_each(|line| lines.push(line));
    let diagnosis = diagnose(&lines);
    match diagnosis.hint {
        Some(hint) => format!("{}\nhint: {hint}", diagnosis.cause),
        None => diagnosis.cause,
    }
}

/// Captured output, and what is made of it.
#[test]
fn the_failures_of_the_guide() {
    let doctor = "`bimg doctor` prints the command that installs what is missing";
    for (log, expected) in [
        (
            "  LEX     scripts/kconfig/lexer.lex.c\n/bin/sh: 1: flex: not found\n\
             make[3]: *** [scripts/Makefile.host:9: scripts/kconfig/lexer.lex.c] Error 127\n",
            format!("`flex` is not installed\nhint: install `flex`; {doctor}"),
        ),
        (
            "/bin/sh: line 1: bison: command not found\n",
            format!("`bison` is not installed\nhint: install `bison`; {doctor}"),
        ),
        (
            "make[3]: bc: No such file or directory\n",
            format!("`bc` is not installed\nhint: install `bc`; {doctor}"),
        ),
        (
            "  HOSTCC  scripts/sign-file\nscripts/sign-file.c:25:10: fatal error: openssl/opensslv.h: No such file or directory\n\
             compilation terminated.\n",
            "the OpenSSL headers are missing (`openssl/opensslv.h`)\nhint: install `libssl-dev` (debian), `openssl-devel` \
             (fedora) or `openssl` (arch), or turn module signing off".to_string(),
        ),
        (
            "tools/objtool/include/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory\n",
            "the libelf headers are missing\nhint: install `libelf-dev` (debian), `elfutils-libelf-devel` (fedora) or \
             `libelf` (arch)".to_string(),
        ),
        (
            "BTF: .tmp_vmlinux1: pahole (pahole) is not available\nFailed to generate BTF for vmlinux\n",
            "`pahole` is missing and CONFIG_DEBUG_INFO_BTF needs it\nhint: install `dwarves` (debian, fedora) or `pahole` \
             (arch), or `--set CONFIG_DEBUG_INFO_BTF=n`".to_string(),
        ),
        (
            "ERROR: modpost: missing MODULE_LICENSE() in /x/hello.o\n",
            "module `/x/hello.o` declares no licence\nhint: add `MODULE_LICENSE(\"GPL\");` to its source".to_string(),
        ),
        (
            "ERROR: modpost: \"crc7_be\" [drivers/mmc/host/mmc_spi.ko] undefined!\n",
            "module `drivers/mmc/host/mmc_spi.ko` needs `crc7_be`, which nothing exports\nhint: enable the option that \
             provides the symbol, or build the module in with `=y`".to_string(),
        ),
        (
            "aarch64-linux-gnu-ld: drivers/usb/core/hub.o: in function `hub_probe':\nhub.c:(.text+0x10): undefined reference \
             to `usb_phy_get'\n",
            "`usb_phy_get` is used but not built\nhint: the option whose code defines it is off, or is `=m` while its user \
             is `=y`".to_string(),
        ),
        (
            "make[3]: *** No rule to make target 'arch/arm64/boot/dts/broadcom/bcm2711-rpi-4-c.dtb'.  Stop.\n",
            "this kernel has no device tree `arch/arm64/boot/dts/broadcom/bcm2711-rpi-4-c.dtb`\nhint: the name is the path \
             below arch/ARCH/boot/dts: `broadcom/bcm2711-rpi-4-b.dtb`".to_string(),
        ),
        (
            "make[3]: *** No rule to make target 'debian/certs/debian-uefi-certs.pem', needed by 'certs/x509_certificate_list'.  \
             Stop.\n",
            "the configuration names a certificate that is not there: `debian/certs/debian-uefi-certs.pem`\nhint: `--set \
             'CONFIG_SYSTEM_TRUSTED_KEYS=\"\"'`, and the same for CONFIG_SYSTEM_REVOCATION_KEYS".to_string(),
        ),
        (
            "include/linux/x.h:3:1: error: unknown type name 'bool'\n",
            "include/linux/x.h:3:1: error: unknown type name 'bool'\nhint: headers of another build are in the way: run `make \
             mrproper` in the source tree and build again".to_string(),
        ),
        (
            "At main.c:170:\n- SSL error:02001002:system library:fopen:No such file or directory: bss_file.c:69\n\
             sign-file: certs/signing_key.pem: No such file or directory\n",
            "signing failed: 02001002:system library:fopen:No such file or directory: bss_file.c:69\nhint: the signing key is \
             missing or bad: see CONFIG_MODULE_SIG_KEY, or `--set CONFIG_MODULE_SIG=n`".to_string(),
        ),
        (
            "ccache: error: Failed to create directory /proc/x/tmp: No such file or directory\nmake: *** [Makefile:52: x.o] \
             Error 1\n",
            "ccache failed: Failed to create directory /proc/x/tmp: No such file or directory\nhint: correct its \
             configuration (`ccache --show-config` prints it), or build with `--no-ccache`".to_string(),
        ),
        (
            "make[3]: *** [/s/scripts/Makefile.host:123: scripts/mod/modpost] Error 1\nmake[2]: *** [/s/Makefile:1268: \
             scripts] Error 2\n",
            "a program that the kernel builds for its own use failed: `scripts/mod/modpost`\nhint: most often something that \
             builds need is missing; `bimg doctor` prints the command that installs it".to_string(),
        ),
        (
            "Makefile:1000: recipe for target 'scripts/kconfig/conf' failed\n",
            "a program that the kernel builds for its own use failed: `scripts/kconfig/conf`\nhint: most often something that \
             builds need is missing; `bimg doctor` prints the command that installs it".to_string(),
        ),
        (
            "aarch64-linux-gnu-gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n",
            "out of memory: the system killed `cc1`\nhint: fewer compilers at once need less: `--jobs 1`; or add memory or \
             swap".to_string(),
        ),
        (
            "  HOSTCC  scripts/dtc/libfdt/fdt_strerror.o\nmake[5]: *** [/s/scripts/Makefile.build:234: kernel/sched/fair.o] Killed\n",
            "the system or somebody killed a compiler, most often for want of memory\nhint: fewer compilers at once need less: \
             `--jobs 1`; or add memory or swap".to_string(),
        ),
        (
            "/tmp/ccX.s: Assembler messages:\n/tmp/ccX.s: Fatal error: can't write 17 bytes to section .text of x.o: 'No space \
             left on device'\n",
            "the disk is full\nhint: free some room, or build elsewhere with `--build-dir`".to_string(),
        ),
        (
            "*** Compiler is too old.\n***   Your GCC version:    4.9.2\n***   Minimum GCC version: 5.1.0\n",
            "the kernel refuses this toolchain: Compiler is too old\nhint: the lines below it in the log name the version \
             found and the version needed".to_string(),
        ),
        (
            "aarch64-linux-gnu-gcc: error: unrecognized command-line option '-mabi=lp64d'\n",
            "the compiler does not know `-mabi=lp64d`\nhint: it may be too old for this kernel, or the toolchain belongs to \
             another architecture".to_string(),
        ),
    ] {
        assert_eq!(cause_and_hint(log), expected);
    }
}

#[test]
fn compiler_errors_show_their_lines() {
    let log = "  CC      drivers/a.o\n/s/drivers/a.c: In function 'f':\n/s/drivers/a.c:3:5: error: 'x' undeclared\n    3 |     x;\n\
               /s/drivers/a.c:3:5: note: each undeclared identifier\n/s/drivers/b.c:9:1: error: other file\n\
               /s/drivers/a.c:7:1: error: expected ';'\nmake[4]: *** [/s/scripts/Makefile.build:229: drivers/a.o] Error 1\n";
    assert_eq!(
        cause_and_hint(log),
        "/s/drivers/a.c:3:5: error: 'x' undeclared\n/s/drivers/a.c:7:1: error: expected ';'\n\
         hint: correct the source at that line, or turn off the option that builds it"
    );
}

#[test]
fn what_no_rule_knows_shows_the_last_lines() {
    assert_eq!(cause_and_hint("  CC      a.o\nsomething odd\n"), "something odd");
    assert_eq!(cause_and_hint(""), "it printed no reason");
}

#[test]
fn the_first_suspects_survive_a_flood() {
    let notes: Vec<String> = (0..5000).map(|i| format!("note {i}")).collect();
    let log = format!("a.c:1:2: error: first\n{}", notes.join("\n"));
    assert!(cause_and_hint(&log).starts_with("a.c:1:2: error: first\n"));
}
