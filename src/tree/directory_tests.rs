use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const EPOCH: Timestamp = Timestamp { secs: 1_700_000_000, nanos: 0 };

fn tree() -> Tree {
    Tree::new(EPOCH)
}

fn inode<'a>(tree: &'a Tree, path: &str) -> &'a Inode {
    tree.get(&TreePath::new(path).unwrap()).unwrap()
}

fn put(dir: &Path, path: &str, mode: u32) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, path).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_overlay_is_what_git_would_keep() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "etc/x", 0o600);
    put(dir.path(), "usr/bin/run", 0o711);
    fs::set_permissions(dir.path().join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("/etc/shadow", dir.path().join("etc/link")).unwrap();
    let mut tree = tree();
    tree.put_dir("usr", 0o750).unwrap();
    lay(&mut tree, &TreePath::root(), dir.path(), Ownership::Overlay(EPOCH)).unwrap();
    let shown: Vec<_> = tree
        .iter()
        .map(|(path, _, inode)| {
            format!("{path} {:o} {} {}", inode.meta.mode, inode.meta.uid, inode.meta.mtime.secs)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "/ 755 0 1700000000",
            "/etc 755 0 1700000000",
            "/etc/link 777 0 1700000000",
            "/etc/x 644 0 1700000000",
            "/usr 750 0 1700000000",
            "/usr/bin 755 0 1700000000",
            "/usr/bin/run 755 0 1700000000",
        ]
    );
    // Kept, never followed.
    assert_eq!(inode(&tree, "etc/link").kind, Kind::Symlink("/etc/shadow".to_string()));
    let Kind::File(content) = &inode(&tree, "etc/x").kind else { panic!() };
    let mut text = String::new();
    content.open().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "etc/x");
}

#[test]
fn a_kept_directory_keeps_modes_times_links_and_attributes() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "bin/su", 0o4755);
    fs::hard_link(dir.path().join("bin/su"), dir.path().join("bin/again")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::from_raw_mode(0o600))
        .unwrap();
    let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(77, 5));
    File::options().write(true).open(dir.path().join("bin/su")).unwrap().set_times(time).unwrap();
    let long = format!("user.{}", "long".repeat(50));
    let set = |file: &str, name: &str| {
        rustix::fs::setxattr(dir.path().join(file), name, b"a\nb", rustix::fs::XattrFlags::empty())
    };
    let attribute = set("bin/su", "user.note").and(set("bin", &long));
    let mut tree = tree();
    lay(&mut tree, &TreePath::root(), dir.path(), Ownership::Kept).unwrap();
    let su = inode(&tree, "bin/su");
    let me = rustix::process::getuid().as_raw();
    assert_eq!((su.meta.mode, su.meta.uid, su.meta.mtime), (0o4755, me, Timestamp { secs: 77, nanos: 5 }));
    if attribute.is_ok() {
        assert_eq!(su.meta.xattrs["user.note"], b"a\nb");
        assert_eq!(inode(&tree, "bin").meta.xattrs[&long], b"a\nb");
    }
    assert_eq!(inode(&tree, "fifo").kind, Kind::Fifo);
    let ids: Vec<_> =
        tree.iter().filter(|(path, ..)| path.as_str().starts_with("bin/")).map(|it| it.1).collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn what_git_cannot_hold_has_no_place_in_an_overlay() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let error =
        lay(&mut tree(), &TreePath::root(), dir.path(), Ownership::Overlay(EPOCH)).unwrap_err().to_string();
    assert_eq!(
        error.replace(&dir.path().display().to_string(), "overlay"),
        "cannot use the layer `overlay`\n  \
         caused by: `overlay/fifo` is neither a file, a directory nor a symbolic link\n\n\
         hint: an overlay holds what git can hold; take devices from a `tar` layer"
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "etc/secret", 0o000);
    if File::open(dir.path().join("etc/secret")).is_ok() {
        // Root reads everything; the message is checked with the error that a user gets.
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = readable_hint(fsx::io_error("read", Path::new("etc/secret"), &denied), &denied);
        assert_eq!(
            error.to_string(),
            "cannot read `etc/secret`\n  caused by: permission denied\n\n\
             hint: make it readable for you, or have root pack the directory into a tar and use that"
        );
        return;
    }
    let error =
        lay(&mut tree(), &TreePath::root(), dir.path(), Ownership::Overlay(EPOCH)).unwrap_err().to_string();
    assert_eq!(
        error.replace(&dir.path().display().to_string(), "overlay"),
        "cannot use the layer `overlay`\n  caused by: cannot read `overlay/etc/secret`\n  \
         caused by: Permission denied\n\n\
         hint: make it readable for you, or have root pack the directory into a tar and use that"
    );
}

#[test]
fn a_missing_directory_is_named() {
    let error = lay(&mut tree(), &TreePath::root(), Path::new("no/such/overlay"), Ownership::Kept)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "cannot use the layer `no/such/overlay`\n  caused by: cannot read `no/such/overlay`\n  \
         caused by: No such file or directory"
    );
}
