//! `bimg.lock`.

use super::super::{Lock, LockEntry, Mode, Pin, Request, fetch};
use super::{Bench, source};
use crate::error::Exit;
use crate::fsx;

fn entry(name: &str, asked: &str, version: &str) -> LockEntry {
    let pin = Pin { version: Some(version.to_string()), ..Pin::default() };
    LockEntry { name: name.to_string(), asked: asked.to_string(), instead_of: Vec::new(), pin }
}

fn all(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

#[test]
fn entries_are_sorted_and_leave_those_of_other_boards() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    lock.put(&entry("kernel", "apt b", "1"), &all(&["apt b"])).unwrap();
    lock.put(&entry("firmware", "apt f", "1"), &all(&["apt f"])).unwrap();
    // Another process with a lock of its own, and another board's kernel.
    let mut other = bench.lock();
    other.put(&entry("kernel", "apt c", "2"), &all(&["apt c"])).unwrap();
    let third = LockEntry { instead_of: all(&["apt b"]), ..entry("kernel", "apt c", "3") };
    lock.put(&third, &all(&["apt b", "apt c"])).unwrap();
    let text = fsx::read_to_string(&bench.path().join("bimg.lock")).unwrap();
    assert_eq!(
        text,
        "\
# What each source was resolved to. Written by bimg; keep it with the board.
# `bimg update --board NAME` moves it on.
version = 1

[[source]]
name = \"firmware\"
asked = \"apt f\"
version = \"1\"

[[source]]
name = \"kernel\"
asked = \"apt b\"
version = \"1\"

[[source]]
name = \"kernel\"
asked = \"apt c\"
instead_of = [\"apt b\"]
version = \"3\"
"
    );
    assert_eq!(bench.lock().entries(), lock.entries());
}

#[test]
fn boards_that_share_an_alternative_keep_their_own_choice() {
    let bench = Bench::new();
    let mut lock = bench.lock();
    let (first, second, both) = (all(&["apt a"]), all(&["apt b"]), all(&["apt a", "apt b"]));
    let choice = |lock: &Lock, alternatives: &[String]| {
        lock.find("kernel", alternatives).map(|(_, entry)| (entry.asked.clone(), entry.pin.to_string()))
    };
    let is = |asked: &str, version: &str| Some((asked.to_string(), format!("version {version}")));
    lock.put(&entry("kernel", "apt a", "1"), &first).unwrap();
    lock.put(&entry("kernel", "apt b", "1"), &second).unwrap();
    assert_eq!(choice(&lock, &both), is("apt a", "1"));
    // `bimg update` of the board with both, when the first one cannot be had.
    let instead = LockEntry { instead_of: first.clone(), ..entry("kernel", "apt b", "2") };
    lock.put(&instead, &both).unwrap();
    let mut lock = bench.lock();
    assert_eq!(choice(&lock, &both), is("apt b", "2"));
    assert_eq!(choice(&lock, &first), is("apt a", "1"));
    // And when it can be had again.
    lock.put(&entry("kernel", "apt a", "3"), &both).unwrap();
    let lock = bench.lock();
    assert_eq!(choice(&lock, &both), is("apt a", "3"));
    assert_eq!(choice(&lock, &second), is("apt b", "2"));
    assert_eq!(choice(&lock, &all(&["apt c"])), None);
}

#[test]
fn a_lock_that_cannot_be_written_is_told_of_before_anything_is_fetched() {
    let bench = Bench::new();
    let path = bench.path().join("dir/bimg.lock");
    let mut lock = Lock::load(&path).unwrap();
    std::fs::write(bench.path().join("dir"), "").unwrap();
    // Nobody is asked for it.
    let sha256 = "0".repeat(64);
    let nowhere =
        [source(&format!("{{ tarball = \"http://127.0.0.1:9/linux.tar\", sha256 = \"{sha256}\" }}"))];
    let request = Request { name: "kernel", alternatives: &nowhere, base: bench.path() };
    let error = fetch(&request, &bench.store, &mut lock, Mode::Normal, &bench.heard).unwrap_err();
    assert_eq!(
        bench.redact(&error.to_string()),
        "cannot pin sources in `TMP/dir/bimg.lock`\n  \
         caused by: cannot write to `TMP/dir`\n  caused by: Not a directory\n\n\
         hint: this file says what an image was made from, and belongs where bimg is run: run it in a folder of your own"
    );
}

#[test]
fn a_damaged_lock_says_where() {
    let bench = Bench::new();
    let path = bench.path().join("bimg.lock");
    fsx::write_atomic(&path, b"version = 1\n[[source]]\nname = 3\n").unwrap();
    let error = bench.redact(&Lock::load(&path).unwrap_err().to_string());
    assert_eq!(
        error,
        "cannot read the lock `TMP/bimg.lock`\n  \
         caused by: TOML parse error at line 3, column 8\n      \
         |\n    3 | name = 3\n      |        ^\n    \
         invalid type: integer `3`, expected a string\n\n\
         hint: restore it from version control, or remove it and run `bimg update --board NAME`"
    );
    fsx::write_atomic(&path, b"version = 2\n").unwrap();
    let error = Lock::load(&path).unwrap_err();
    assert_eq!(error.chain().last(), Some("it is of version 2, this bimg knows version 1"));
}

#[test]
fn locked_refuses_a_change_and_names_it() {
    let bench = Bench::new();
    fsx::create_dir_all(&bench.path().join("linux")).unwrap();
    fsx::create_dir_all(&bench.path().join("linux-next")).unwrap();
    let (old, new) = (source(r#"{ path = "linux" }"#), source(r#"{ path = "linux-next" }"#));
    assert_eq!(
        bench.failure(std::slice::from_ref(&old), Mode::Locked),
        "`--locked`: source `kernel` is not what `TMP/bimg.lock` pins\n  \
         caused by: the profile asks for `path linux`\n  \
         caused by: the lock has nothing under this name\n\n\
         hint: run once without `--locked` to pin it, and keep the changed lock"
    );
    bench.fetch(std::slice::from_ref(&old), Mode::Normal).unwrap();
    bench.fetch(std::slice::from_ref(&old), Mode::Locked).unwrap();
    assert_eq!(
        bench.failure(&[new], Mode::Locked),
        "`--locked`: source `kernel` is not what `TMP/bimg.lock` pins\n  \
         caused by: the profile asks for `path linux-next`\n  \
         caused by: the lock has `path linux`, as it is\n\n\
         hint: run once without `--locked` to pin it, and keep the changed lock"
    );
}

#[test]
fn the_first_alternative_that_works_is_pinned_and_all_failures_are_told() {
    let bench = Bench::new();
    let (one, two) = (source(r#"{ path = "one" }"#), source(r#"{ path = "two" }"#));
    let both = [one, two];
    assert_eq!(
        bench.failure(&both, Mode::Normal),
        "cannot fetch source `kernel`\n  \
         caused by: none of its alternatives works\n  \
         caused by: directory `one`: cannot use `TMP/one`: No such file or directory\n  \
         caused by: directory `two`: cannot use `TMP/two`: No such file or directory\n\n\
         hint: the path starts where bimg was started, or at a profile that is given by path"
    );
    fsx::create_dir_all(&bench.path().join("two")).unwrap();
    let fetched = bench.fetch(&both, Mode::Normal).unwrap();
    assert_eq!((fetched.locked.asked.as_str(), fetched.editable), ("path two", true));
    assert!(fetched.epoch > 1_700_000_000);
    // Pinned is pinned: the other one comes only with an update.
    fsx::create_dir_all(&bench.path().join("one")).unwrap();
    assert_eq!(bench.fetch(&both, Mode::Normal).unwrap().locked.asked, "path two");
    assert_eq!(bench.fetch(&both, Mode::Update).unwrap().locked.asked, "path one");
    assert_eq!(bench.fetch(&both, Mode::Normal).unwrap().locked.asked, "path one");
    let none = bench.fetch(&[], Mode::Normal).unwrap_err();
    assert_eq!(
        (none.exit(), none.chain().last()),
        (Exit::Usage, Some("the profile lists no alternative for it"))
    );
}

#[test]
fn boards_that_pin_at_once_lose_nothing() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let mut lock = bench.lock();
            let asked = format!("apt {n:02}");
            scope.spawn(move || {
                lock.put(&entry("kernel", &asked, "1"), std::slice::from_ref(&asked)).unwrap();
            });
        }
    });
    assert_eq!(bench.lock().entries().len(), 16);
}

#[test]
fn a_key_that_means_nothing_is_refused() {
    let bench = Bench::new();
    let path = bench.path().join("bimg.lock");
    let text = "version = 1\n\n[[source]]\nname = \"kernel\"\nasked = \"git x rev=y\"\ncommt = \"1\"\n";
    fsx::write_atomic(&path, text.as_bytes()).unwrap();
    let error = Lock::load(&path).unwrap_err().to_string();
    assert!(error.contains("unknown field `commt`"), "{error}");
    fsx::write_atomic(&path, text.replace("commt", "commit").as_bytes()).unwrap();
    assert_eq!(Lock::load(&path).unwrap().entries()[0].pin.commit.as_deref(), Some("1"));
}
