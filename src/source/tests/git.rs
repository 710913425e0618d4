//! Revisions of a local repository.

use std::path::Path;

use super::super::Mode;
use super::{Bench, source};
use crate::exec::Cmd;
use crate::fsx;

fn git(dir: &Path, args: &[&str]) -> String {
    Cmd::new("git")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0100")
        .env("GIT_COMMITTER_DATE", "1700000000 +0100")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-C"])
        .arg(dir)
        .args(args)
        .check()
        .unwrap()
        .text()
        .trim()
        .to_string()
}

/// A repository with one commit, tagged `v1`, on the branch `main`; returns the commit.
fn repository(bench: &Bench) -> String {
    let dir = bench.path().join("linux");
    fsx::create_dir_all(&dir).unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    fsx::write_atomic(&dir.join("scripts/run.sh"), b"#!/bin/sh\n").unwrap();
    let commit = commit(bench, "all: one\n");
    git(&dir, &["tag", "-a", "-m", "one", "v1"]);
    commit
}

fn commit(bench: &Bench, makefile: &str) -> String {
    let dir = bench.path().join("linux");
    fsx::write_atomic(&dir.join("Makefile"), makefile.as_bytes()).unwrap();
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "x"]);
    git(&dir, &["rev-parse", "HEAD"])
}

#[test]
fn tags_branches_and_commits_are_pinned() {
    let bench = Bench::new();
    let one = repository(&bench);
    let url = format!("file://{}/linux", bench.path().display());
    for rev in ["v1", "main", &one] {
        for git in ["linux", &url] {
            let from = source(&format!(r#"{{ git = "{git}", rev = "{rev}" }}"#));
            let fetched = bench.fetch(&[from], Mode::Normal).unwrap();
            assert_eq!(fetched.locked.pin.commit.as_deref(), Some(&one[..]));
            assert_eq!(fsx::read_to_string(&fetched.dir.join("Makefile")).unwrap(), "all: one\n");
            assert_eq!((fetched.epoch, fetched.dir.join(".git").exists()), (1_700_000_000, false));
        }
    }
    // The branch moves on; the pin does not, until an update.
    let two = commit(&bench, "all: two\n");
    let main = [source(r#"{ git = "linux", rev = "main" }"#)];
    let read = |mode| {
        let fetched = bench.fetch(&main, mode).unwrap();
        fsx::read_to_string(&fetched.dir.join("Makefile")).unwrap()
    };
    assert_eq!(read(Mode::Offline), "all: one\n");
    assert_eq!(read(Mode::Locked), "all: one\n");
    assert_eq!(read(Mode::Update), "all: two\n");
    assert_eq!(read(Mode::Normal), "all: two\n");
    // Someone else with the same lock and an empty store gets the same commit, no longer at any tip.
    fsx::remove_dir_all(&bench.store.root().join("trees")).unwrap();
    fsx::remove_dir_all(&bench.store.root().join("git")).unwrap();
    commit(&bench, "all: three\n");
    let again = bench.fetch(&main, Mode::Locked).unwrap();
    assert_eq!(again.locked.pin.commit.as_deref(), Some(&two[..]));
    assert_eq!(fsx::read_to_string(&again.dir.join("Makefile")).unwrap(), "all: two\n");
}

#[test]
fn failures_are_exact() {
    let bench = Bench::new();
    repository(&bench);
    assert_eq!(
        bench.failure(&[source(r#"{ git = "linux", rev = "v1.1" }"#)], Mode::Normal),
        "cannot fetch source `kernel`\n  caused by: `TMP/linux` has no tag or branch `v1.1`\n\n\
         hint: nearest: `v1`; a commit is written with all 40 digits"
    );
    assert_eq!(
        bench.failure(&[source(r#"{ git = "linux", rev = "v1" }"#)], Mode::Offline),
        "cannot fetch source `kernel`\n  caused by: `v1` of `linux` is not in the store\n  \
         caused by: `--offline` uses only what was fetched before\n\n\
         hint: run once without `--offline`"
    );
    let gone = "1".repeat(40);
    let text = bench.failure(&[source(&format!(r#"{{ git = "linux", rev = "{gone}" }}"#))], Mode::Normal);
    assert!(text.contains(&format!("upload-pack: not our ref {gone}")), "{text}");
    let text = bench.failure(&[source(r#"{ git = "nowhere", rev = "v1" }"#)], Mode::Normal);
    assert!(text.contains("does not appear to be a git repository"), "{text}");
}

#[test]
fn a_path_takes_its_date_from_its_commit() {
    let bench = Bench::new();
    repository(&bench);
    let fetched = bench.fetch(&[source(r#"{ path = "linux" }"#)], Mode::Normal).unwrap();
    assert_eq!((fetched.epoch, fetched.editable), (1_700_000_000, true));
    assert_eq!(fetched.dir, bench.path().canonicalize().unwrap().join("linux"));
}
