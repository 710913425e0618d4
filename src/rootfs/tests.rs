use std::fs;

use super::*;

const EPOCH: Timestamp = Timestamp { secs: 1_700_000_000, nanos: 0 };

/// A directory with a base, a kernel's results and an overlay.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Lab { dir: tempfile::tempdir().unwrap() };
        lab.put("stage/lib/modules/6.12.9/kernel/a.ko", "module");
        lab.put("stage/lib/modules/6.12.9/modules.dep", "kernel/a.ko:\n");
        lab.put("config", "CONFIG_X=y\n");
        lab.put("System.map", "0 T _text\n");
        lab.put("overlay/etc/motd", "hello\n");
        lab
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// A tar like mmdebstrap's, of split or merged /usr.
    fn base(&self, merged: bool) {
        let mut tar = ::tar::Builder::new(Vec::new());
        let mut add = |path: &str, text: &str| {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        };
        let usr = if merged { "usr/" } else { "" };
        add(&format!("./{usr}bin/busybox"), "ELF\0[\0[[\0ash\0init\0sh\0\0");
        add(&format!("./{usr}lib/libc.so.6"), "libc");
        add("./var/lib/dpkg/status", "Package: busybox-static\nVersion: 1\nArchitecture: arm64\n\n");
        fs::write(self.path("base.tar"), tar.into_inner().unwrap()).unwrap();
    }

    fn assemble(&self, provision: &Provision) -> Result<Rootfs> {
        let spec: RootfsSpec = toml::from_str(
            "kind = \"debian\"\nsuite = \"bookworm\"\npackages = [\"busybox-static\"]\noverlays = [\"common/rootfs\", \"overlay\"]",
        )
        .unwrap();
        let modules = self.path("stage/lib/modules/6.12.9");
        let program = self.path("config");
        assemble(&Layers {
            spec: &spec,
            profile: self.dir.path(),
            dirs: &DataDirs::builtin(),
            base: &Base::Tar(self.path("base.tar")),
            kernel: Some(KernelFiles {
                release: "6.12.9",
                modules: Some(&modules),
                config: &self.path("config"),
                system_map: &self.path("System.map"),
            }),
            provision,
            default_hostname: "qemu-arm64",
            grow: Some(&program),
            epoch: EPOCH,
        })
    }
}

fn shown(tree: &Tree, path: &str) -> String {
    let inode = tree.get(&TreePath::new(path).unwrap()).unwrap_or_else(|| panic!("no {path}"));
    format!("{:o} {} {}", inode.meta.mode, inode.meta.uid, inode.meta.mtime.secs)
}

#[test]
fn all_layers_come_together_on_split_and_merged_systems() {
    for merged in [false, true] {
        let lab = Lab::new();
        lab.base(merged);
        let rootfs = lab.assemble(&Provision::default()).unwrap();
        let tree = &rootfs.tree;
        assert_eq!(shown(tree, "usr/lib/modules/6.12.9/kernel/a.ko"), "644 0 1700000000");
        assert_eq!(shown(tree, "boot/config-6.12.9"), "644 0 1700000000");
        assert_eq!(shown(tree, "boot/System.map-6.12.9"), "600 0 1700000000");
        assert_eq!(shown(tree, "etc/motd"), "644 0 1700000000");
        assert_eq!(shown(tree, "usr/lib/bimg/boot"), "755 0 1700000000");
        assert_eq!(shown(tree, "usr/lib/bimg/grow"), "755 0 1700000000");
        assert_eq!(shown(tree, "etc/shadow"), "600 0 1700000000");
        assert!(tree.get(&TreePath::new(grow::MARKER).unwrap()).is_some());
        assert_eq!(
            tree.get(&TreePath::new("lib").unwrap()).unwrap().kind,
            Kind::Symlink("usr/lib".to_string())
        );
        assert_eq!(rootfs.packages[0].name, "busybox-static");
        // A secret that everybody has is none: host keys are made on the board.
        assert!(tree.iter().all(|(path, ..)| !path.as_str().contains("host_key")));
    }
}

#[test]
fn an_overlay_cannot_replace_the_links_of_a_merged_system() {
    let lab = Lab::new();
    lab.base(true);
    lab.put("overlay/lib/firmware/x.bin", "x");
    let error = lab.assemble(&Provision::default()).unwrap_err().to_string();
    assert_eq!(
        error.replace(&lab.dir.path().display().to_string(), "boards"),
        "cannot use the layer `boards/overlay`\n  \
         caused by: `/lib` is a directory, but a symbolic link to `usr/lib` below\n\n\
         hint: a layer cannot write through a symbolic link; give the real path"
    );
}

#[test]
fn a_base_that_is_no_tar_says_so() {
    let lab = Lab::new();
    lab.put("base.tar", &"not a tar ".repeat(100));
    let error = lab.assemble(&Provision::default()).unwrap_err().to_string();
    assert!(error.ends_with("base.tar`\n  caused by: it is not a tar file"), "{error}");
}
