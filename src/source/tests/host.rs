//! The host's apt configuration in both of its languages.

use std::path::Path;

use super::super::apt::host::Host;
use crate::fsx;

const SOURCES: &str = "\
Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /etc/keys.gpg

Types: deb
URIs: http://mirror.example/secure/debian-security
Suites: bookworm-security
Components: main
Signed-By: /etc/keys.gpg

Types: deb
URIs: https://vendor.example/linux/debian
Suites: bookworm
Components: stable

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
";

const LIST: &str = "\
deb cdrom:[Debian]/ bookworm main
deb [arch=amd64 signed-by=/v.gpg] https://vendor.example/repo bookworm main # vendor
deb-src http://old.example/debian bookworm main
deb [ trusted=yes ] http://old.example/debian/ bookworm main contrib
";

fn host(dir: &Path, name: &str, text: &str) -> Host {
    let etc = dir.join("etc/apt");
    fsx::write_atomic(&etc.join("sources.list.d").join(name), text.as_bytes()).unwrap();
    fsx::write_atomic(&dir.join("etc/os-release"), b"ID=debian\nVERSION_CODENAME=bookworm\n").unwrap();
    Host::load(&etc).unwrap()
}

fn stanzas(host: &Host, suite: Option<&str>, component: Option<&str>) -> Vec<String> {
    host.entries_for(suite, component)
        .unwrap()
        .iter()
        .map(|entry| {
            let stanza = entry.stanza("arm64");
            let lines: Vec<&str> = stanza.lines().filter_map(|line| Some(line.split_once(": ")?.1)).collect();
            lines.join(" | ")
        })
        .collect()
}

#[test]
fn suites_come_from_the_right_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), "debian.sources", SOURCES);
    let (main, security) = ("http://mirror.example/debian", "http://mirror.example/secure/debian-security");
    let tail = "arm64 | /etc/keys.gpg";
    assert_eq!(
        stanzas(&host, None, None),
        [
            format!("deb | {main} | bookworm bookworm-updates | main contrib | {tail}"),
            format!("deb | {security} | bookworm-security | main | {tail}"),
        ]
    );
    for (suite, uri, component) in [
        ("bookworm", main, None),
        ("trixie", main, Some("non-free-firmware")),
        ("bookworm-backports", main, Some("main")),
        ("bookworm-security", security, None),
        ("trixie-security", security, Some("main")),
    ] {
        let components = component.unwrap_or(if uri == main { "main contrib" } else { "main" });
        assert_eq!(
            stanzas(&host, Some(suite), component),
            [format!("deb | {uri} | {suite} | {components} | {tail}")]
        );
    }
}

/// What Debian's cloud images have, and a vendor whose mirror is called the same.
#[test]
fn lists_of_mirrors_and_vendors_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let list = "mirror+file:///etc/apt/mirrors/debian.list";
    let text = format!(
        "Types: deb deb-src\nURIs: {list}\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\n\n\
         Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian-security.list\nSuites: bookworm-security\n\
         Components: main\n"
    );
    host(dir.path(), "debian.sources", &text);
    let vendor = "deb [signed-by=/v.gpg] https://vendor.example/runner/debian bookworm main\n";
    // Before and behind the distribution's own.
    host(dir.path(), "a-runner.list", vendor);
    host(dir.path(), "b.list", &format!("deb {list} bookworm-updates main\n"));
    let host = host(dir.path(), "runner.list", vendor);
    assert_eq!(stanzas(&host, Some("bookworm"), None), [format!("deb | {list} | bookworm | main | arm64")]);
    assert_eq!(stanzas(&host, Some("trixie"), None), [format!("deb | {list} | trixie | main | arm64")]);
    assert_eq!(
        stanzas(&host, Some("bookworm-security"), None),
        ["deb | mirror+file:///etc/apt/mirrors/debian-security.list | bookworm-security | main | arm64"]
    );
}

#[test]
fn one_line_entries_and_a_guessed_security_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), "a.list", LIST);
    assert_eq!(
        stanzas(&host, Some("bookworm"), None),
        ["deb | http://old.example/debian/ | bookworm | main contrib | arm64 | yes"]
    );
    assert_eq!(
        stanzas(&host, Some("bookworm-security"), None),
        ["deb | http://old.example/debian-security | bookworm-security | main contrib | arm64 | yes"]
    );
}

#[test]
fn a_host_without_a_distribution_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), "x.list", "deb https://vendor.example/linux/debian bookworm stable\n");
    assert_eq!(
        host.entries_for(Some("trixie"), None).unwrap_err().to_string(),
        "the host's apt configuration names no Debian or Ubuntu mirror\n  \
         caused by: no `deb` entry has a component `main` and a URI like `.../debian` or `.../ubuntu`"
    );
}
