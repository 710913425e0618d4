//! The store: one process at a time per entry, damage noticed, nothing half-made kept.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{Bench, Heard};
use crate::digest::Digest;
use crate::error::Error;
use crate::fsx;
use crate::source::Store;

#[test]
fn two_at_once_do_the_work_once() {
    let bench = Bench::new();
    let id = Digest::of(b"x");
    let fills = AtomicU32::new(0);
    let heard = Heard::default();
    // Two stores, as two processes have.
    let stores = [&bench.store, &Store::open(bench.store.root()).unwrap()];
    std::thread::scope(|scope| {
        for store in stores {
            scope.spawn(|| {
                let tree = store.tree(&id, "`linux`", &heard, &mut |into| {
                    fills.fetch_add(1, Ordering::SeqCst);
                    // Not done before the other one has said that it waits.
                    let start = Instant::now();
                    while heard.waits.lock().unwrap().is_empty() {
                        assert!(start.elapsed() < Duration::from_secs(120), "nobody waits");
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    fsx::write_atomic(&into.join("a/Makefile"), b"all:")?;
                    Ok(7)
                });
                let tree = tree.unwrap();
                assert_eq!((tree.epoch, tree.dir.join("a/Makefile").exists()), (7, true));
            });
        }
    });
    assert_eq!(fills.load(Ordering::SeqCst), 1);
    assert_eq!(*heard.waits.lock().unwrap(), ["waiting for another bimg (fetching `linux`)"]);
    assert_eq!(*heard.lines.lock().unwrap(), [""; 0]);
}

#[test]
fn a_changed_tree_is_unpacked_again() {
    let bench = Bench::new();
    let id = Digest::of(b"x");
    let fill = || {
        bench.store.tree(&id, "`linux`", &bench.heard, &mut |into| {
            fsx::write_atomic(&into.join("a/Makefile"), b"all:")?;
            Ok(7)
        })
    };
    let dir = fill().unwrap().dir;
    assert!(bench.store.find_tree(&id).unwrap().is_some());
    // Nobody edits a file in place, which would not be noticed; and everybody can remove all of it.
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o222;
    assert_eq!((mode(&dir.join("a/Makefile")), mode(&dir.join("a")) & 0o200), (0, 0o200));
    // A build in the tree itself leaves files behind.
    fsx::write_atomic(&dir.join("a/vmlinux.o"), b"").unwrap();
    assert!(bench.store.find_tree(&id).unwrap().is_none());
    fill().unwrap();
    assert!(!dir.join("a/vmlinux.o").exists());
    fsx::remove_dir_all(&dir.join("a")).unwrap();
    fill().unwrap();
    assert!(dir.join("a/Makefile").exists());
    let warning = "`linux` in the store was changed or damaged; it is unpacked again";
    assert_eq!(*bench.heard.lines.lock().unwrap(), [warning, warning]);
}

#[test]
fn a_failed_or_killed_fill_leaves_nothing_to_find() {
    let bench = Bench::new();
    let id = Digest::of(b"x");
    let failed = bench.store.tree(&id, "x", &bench.heard, &mut |into| {
        fsx::write_atomic(&into.join("half"), b"")?;
        Err(Error::new("no"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert!(bench.store.find_tree(&id).unwrap().is_none());
    // Killed: its partial tree is still there, and is not built upon.
    let partial = bench.store.root().join("trees").join(format!("{}.partial", &id.to_string()[..32]));
    fsx::write_atomic(&partial.join("tree/half"), b"").unwrap();
    let tree = bench.store.tree(&id, "x", &bench.heard, &mut |_| Ok(1)).unwrap();
    assert!(!tree.dir.join("half").exists());
    assert!(!partial.exists());
}
