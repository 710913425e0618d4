//! What the maintainer scripts of unpacked Debian packages would have done, as far as it matters, and what
//! does not belong on a board.
//!
//! 1. /bin, /sbin and /lib* become links into /usr: bookworm's packages are split, trixie's assume the links;
//! 2. traces of the host that unpacked them, and documentation except for licences, go;
//! 3. the directories and device nodes that a system expects are made;
//! 4. a command for each busybox applet, where no package brought that command.

use super::busybox;
use super::provision::text_of;
use crate::error::{Error, Result};
use crate::tree::{Inode, Kind, Meta, Timestamp, Tree, TreePath};

/// Makes a root filesystem out of unpacked packages.
pub fn finish(tree: &mut Tree, suite: &str, epoch: Timestamp) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        merge_into_usr(tree, name)?;
    }
    clean(tree)?;
    skeleton(tree, epoch)?;
    if text_of(tree, "etc/os-release")?.is_none() {
        let text = format!(
            "PRETTY_NAME=\"Debian ({suite})\"\nNAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_CODENAME={suite}\n"
        );
        tree.put_file("etc/os-release", 0o644, text.as_str())?;
    }
    link_applets(tree)
}

fn has(tree: &Tree, path: &str) -> Result<bool> {
    Ok(tree.get(&TreePath::new(path)?).is_some())
}

/// Moves what is below /NAME to /usr/NAME and puts a link in its place.
fn merge_into_usr(tree: &mut Tree, name: &str) -> Result<()> {
    let from = TreePath::new(name)?;
    let to = TreePath::new("usr")?.join(name)?;
    match tree.get(&from).map(|inode| inode.kind.clone()) {
        Some(Kind::Directory) => {}
        None if tree.get(&to).is_some() => return tree.put_symlink(name, &format!("usr/{name}")),
        _ => return Ok(()),
    }
    let moved: Vec<(TreePath, Inode)> =
        tree.below(&from).map(|(path, _, inode)| (path.clone(), inode.clone())).collect();
    for (path, inode) in moved {
        let Some(below) = path.as_str().strip_prefix(name) else { continue };
        let target = to.join(below.trim_start_matches('/'))?;
        match (tree.get(&target), &inode.kind) {
            (Some(Inode { kind: Kind::Directory, .. }), Kind::Directory) => {}
            (Some(_), _) => {
                // One of them is the other's compatibility link (`/lib/x -> /usr/lib/x`), which is now itself.
                if matches!(inode.kind, Kind::Symlink(_)) {
                    continue;
                }
                tree.link(target, &path)?;
            }
            (None, Kind::Directory) => {
                tree.insert(target, inode)?;
            }
            // A second name instead of a copy: hard links stay together.
            (None, _) => tree.link(target, &path)?,
        }
    }
    tree.remove(&from);
    tree.put_symlink(name, &format!("usr/{name}"))
}

fn clean(tree: &mut Tree) -> Result<()> {
    // mmdebstrap copies the host's name and resolver so that scripts may use the network.
    for path in ["etc/hostname", "etc/resolv.conf", "etc/fstab", "var/cache/apt", "var/log/apt"] {
        tree.remove(&TreePath::new(path)?);
    }
    if !has(tree, "usr/bin/apt")? {
        for path in ["etc/apt", "var/lib/apt"] {
            tree.remove(&TreePath::new(path)?);
        }
    }
    for path in ["usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian"] {
        tree.remove(&TreePath::new(path)?);
    }
    let doc = TreePath::new("usr/share/doc")?;
    let superfluous: Vec<TreePath> = tree
        .below(&doc)
        .filter(|(path, _, inode)| inode.kind != Kind::Directory && path.name() != "copyright")
        .filter(|(_, _, inode)| !matches!(inode.kind, Kind::Symlink(_)))
        .map(|(path, ..)| path.clone())
        .collect();
    for path in superfluous {
        tree.remove(&path);
    }
    Ok(())
}

fn skeleton(tree: &mut Tree, epoch: Timestamp) -> Result<()> {
    let directories = [
        ("boot", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("mnt", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("srv", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("usr/bin", 0o755),
        ("usr/local/bin", 0o755),
        ("usr/local/sbin", 0o755),
        ("usr/sbin", 0o755),
        ("var/log", 0o755),
        ("var/tmp", 0o1777),
    ];
    for (path, mode) in directories {
        if !has(tree, path)? {
            tree.put_dir(path, mode)?;
        }
    }
    for (path, target) in [("var/run", "/run"), ("var/lock", "/run/lock"), ("etc/mtab", "/proc/self/mounts")]
    {
        if !has(tree, path)? {
            tree.put_symlink(path, target)?;
        }
    }
    // What init's first words need before devtmpfs is there.
    for (path, mode, minor, major) in [("dev/console", 0o600, 1, 5), ("dev/null", 0o666, 3, 1)] {
        if !has(tree, path)? {
            let inode = Inode { meta: Meta::root(mode, epoch), kind: Kind::CharDevice { major, minor } };
            tree.insert(TreePath::new(path)?, inode)?;
        }
    }
    Ok(())
}

fn link_applets(tree: &mut Tree) -> Result<()> {
    let Some(Inode { kind: Kind::File(content), .. }) = tree.get(&TreePath::new("usr/bin/busybox")?) else {
        return Ok(());
    };
    let mut binary = Vec::new();
    let unreadable = |why: &str| Error::new("cannot link the commands of busybox").caused_by(why);
    std::io::Read::read_to_end(&mut content.open()?, &mut binary)
        .map_err(|cause| unreadable(&cause.to_string()))?;
    let applets = busybox::applets(&binary)
        .ok_or_else(|| unreadable("its table of applets was not found: this is a busybox of a new kind"))?;
    for applet in applets {
        if applet == "linuxrc"
            || has(tree, &format!("usr/bin/{applet}"))?
            || has(tree, &format!("usr/sbin/{applet}"))?
        {
            continue;
        }
        if applet == "init" {
            tree.put_symlink("usr/sbin/init", "../bin/busybox")?;
        } else {
            tree.put_symlink(&format!("usr/bin/{applet}"), "busybox")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Timestamp = Timestamp { secs: 7, nanos: 0 };

    fn kind(tree: &Tree, path: &str) -> Option<Kind> {
        tree.get(&TreePath::new(path).unwrap()).map(|inode| inode.kind.clone())
    }

    fn link(target: &str) -> Kind {
        Kind::Symlink(target.to_string())
    }

    fn split() -> Tree {
        let mut tree = Tree::new(EPOCH);
        tree.put_file("bin/busybox", 0o755, "ELF\0[\0[[\0ash\0init\0lsmod\0modprobe\0sh\0zcat\0\0").unwrap();
        tree.put_file("bin/kmod", 0o755, "kmod").unwrap();
        tree.put_symlink("sbin/modprobe", "/bin/kmod").unwrap();
        tree.put_symlink("bin/lsmod", "kmod").unwrap();
        tree.put_file("lib/aarch64-linux-gnu/libc.so.6", 0o755, "libc").unwrap();
        tree.put_file("usr/lib/aarch64-linux-gnu/libz.so.1", 0o644, "libz").unwrap();
        tree.link(TreePath::new("lib/hard").unwrap(), &TreePath::new("bin/kmod").unwrap()).unwrap();
        tree.put_file("etc/hostname", 0o644, "builder").unwrap();
        tree.put_file("usr/share/doc/kmod/copyright", 0o644, "GPL").unwrap();
        tree.put_file("usr/share/doc/kmod/changelog.gz", 0o644, "x").unwrap();
        tree
    }

    #[test]
    fn a_split_usr_is_merged() {
        let mut tree = split();
        finish(&mut tree, "bookworm", EPOCH).unwrap();
        assert_eq!(kind(&tree, "bin"), Some(link("usr/bin")));
        assert_eq!(kind(&tree, "lib"), Some(link("usr/lib")));
        assert_eq!(kind(&tree, "lib64"), None);
        for path in
            ["usr/lib/aarch64-linux-gnu/libc.so.6", "usr/lib/aarch64-linux-gnu/libz.so.1", "usr/bin/kmod"]
        {
            assert!(matches!(kind(&tree, path), Some(Kind::File(_))), "{path}");
        }
        let id = |path: &str| tree.iter().find(|(at, ..)| at.as_str() == path).unwrap().1;
        assert_eq!(id("usr/lib/hard"), id("usr/bin/kmod"));
    }

    #[test]
    fn applets_leave_the_commands_of_packages_alone() {
        let mut tree = split();
        finish(&mut tree, "bookworm", EPOCH).unwrap();
        assert_eq!(kind(&tree, "usr/bin/sh"), Some(link("busybox")));
        assert_eq!(kind(&tree, "usr/sbin/init"), Some(link("../bin/busybox")));
        assert_eq!(kind(&tree, "usr/bin/lsmod"), Some(link("kmod")));
        assert_eq!(kind(&tree, "usr/bin/modprobe"), None);
        assert_eq!(kind(&tree, "usr/sbin/modprobe"), Some(link("/bin/kmod")));
    }

    #[test]
    fn the_host_leaves_no_trace_and_licences_stay() {
        let mut tree = split();
        finish(&mut tree, "bookworm", EPOCH).unwrap();
        assert_eq!(kind(&tree, "etc/hostname"), None);
        assert_eq!(kind(&tree, "usr/share/doc/kmod/changelog.gz"), None);
        assert!(kind(&tree, "usr/share/doc/kmod/copyright").is_some());
        assert_eq!(kind(&tree, "dev/console"), Some(Kind::CharDevice { major: 5, minor: 1 }));
        assert_eq!(tree.get(&TreePath::new("tmp").unwrap()).unwrap().meta.mode, 0o1777);
    }

    #[test]
    fn a_merged_usr_gets_its_links() {
        let mut tree = Tree::new(EPOCH);
        tree.put_file("usr/bin/kmod", 0o755, "kmod").unwrap();
        tree.put_dir("usr/lib64", 0o755).unwrap();
        finish(&mut tree, "trixie", EPOCH).unwrap();
        assert_eq!(
            (kind(&tree, "bin"), kind(&tree, "lib64")),
            (Some(link("usr/bin")), Some(link("usr/lib64")))
        );
    }
}
