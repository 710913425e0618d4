//! `scripts/setup-debian` on hosts with apt sources of all kinds, with the real apt and no package installed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Project;

/// Answers questions with the real apt; of everything else it keeps the words and the source of backports.
const APT_GET: &str = r#"#!/bin/sh
case $1 in
indextargets) exec /usr/bin/apt-get "$@" ;;
esac
for word; do
    case $word in Dir::Etc::sourceparts=*) cat "${word#*=}/bimg-backports.list" >>"${0%/*}/asked" ;; esac
done
for last; do :; done
echo "$last" >>"${0%/*}/asked"
"#;

/// A repository `at` that says where it comes from, with a list of one package.
fn repository(project: &Project, at: &str, suite: &str, origin: &str) {
    project.shell(&format!(
        "dir={at}/dists/{suite}; mkdir -p $dir/main/binary-amd64 && \
         printf 'Package: x\\nVersion: 1\\nArchitecture: all\\n' >$dir/main/binary-amd64/Packages && \
         printf '%s\\n' 'Origin: {origin}' 'Suite: {suite}' 'Codename: {suite}' 'Architectures: amd64' \
         'Components: main' 'Date: Tue, 14 Nov 2023 22:13:20 UTC' 'SHA256:' \
         \" $(sha256sum <$dir/main/binary-amd64/Packages | cut -c 1-64) $(stat -c %s $dir/main/binary-amd64/Packages) main/binary-amd64/Packages\" >$dir/Release"
    ));
}

#[test]
fn backports_come_from_the_distributions_own_mirror() {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !os_release.contains("VERSION_CODENAME=bookworm") {
        println!("skipped: only Debian 12 takes QEMU from backports");
        return;
    }
    let project = Project::new();
    let root = project.path("").display().to_string();
    repository(&project, "vendor/debian", "bookworm", "Vendor");
    repository(&project, "mirror/debian", "bookworm-updates", "Debian");
    repository(&project, "mirror/debian", "bookworm", "Debian");
    let line = |at: &str, suite: &str| format!("deb [trusted=yes] file:{root}{at} {suite} main\n");
    let sources = line("vendor/debian", "bookworm")
        + &line("mirror/debian", "bookworm-updates")
        + &line("mirror/debian", "bookworm");
    project.write("sources.list", &sources);
    project.write(
        "apt.conf",
        &format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{root}sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::State \"{root}state\";\nDir::State::status \"{root}state/status\";\nDir::Cache \"{root}cache\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"\";\n"
        ),
    );
    project.shell("mkdir -p state/lists/partial cache/archives/partial && : >state/status");
    project.shell("APT_CONFIG=$PWD/apt.conf /usr/bin/apt-get -qq update");
    project.tool("apt-get", APT_GET);
    project.tool("dpkg-query", "#!/bin/sh\nexit 1\n");
    project.tool("sudo", "#!/bin/sh\nexec \"$@\"\n");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/setup-debian");
    let mut setup = project.command(script);
    let outcome = project.outcome(setup.arg("qemu-system-arm").env("APT_CONFIG", project.path("apt.conf")));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    let source = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                  file:[DIR]/work/mirror/debian/ bookworm-backports main\n";
    let asked = project.redact(&std::fs::read_to_string(project.root().join("tools/asked")).unwrap());
    assert_eq!(asked, format!("{source}update\n{source}qemu-utils\n"));
}
