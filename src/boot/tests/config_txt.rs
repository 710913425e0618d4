//! What the Raspberry Pi's firmware would boot.

use std::collections::BTreeMap;

use crate::boot::config_txt::{self, Model, Overlay};
use crate::error::Result;

/// A boot partition.
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Memory {
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Memory(files.into_iter().map(|(path, text)| (path.to_string(), text.into())).collect())
    }
}

impl config_txt::Files for Memory {
    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.0[path].clone())
    }
}

const PI4_DTB: &str = "bcm2711-rpi-4-b.dtb";

#[test]
fn firmware_defaults_per_model() {
    let partition = Memory::new([
        ("kernel8.img", ""),
        ("kernel7.img", ""),
        (PI4_DTB, ""),
        ("bcm2710-rpi-3-b.dtb", ""),
        ("bcm2837-rpi-3-b.dtb", ""),
        ("cmdline.txt", "root=/dev/mmcblk0p2\nnot read\n"),
    ]);
    let pi4 = config_txt::choose(&partition, Model::Pi4B).unwrap();
    assert_eq!((pi4.kernel.as_str(), pi4.wide, pi4.dtb.as_deref()), ("kernel8.img", true, Some(PI4_DTB)));
    assert_eq!(pi4.cmdline, "root=/dev/mmcblk0p2");
    let pi3 = config_txt::choose(&partition, Model::Pi3B).unwrap();
    assert_eq!((pi3.kernel.as_str(), pi3.wide), ("kernel7.img", false));
    assert_eq!(pi3.dtb.as_deref(), Some("bcm2710-rpi-3-b.dtb"));

    let mut mainline = partition;
    mainline.0.insert("config.txt".into(), b"arm_64bit=1\nupstream_kernel=1\n".to_vec());
    let pi3 = config_txt::choose(&mainline, Model::Pi3B).unwrap();
    assert_eq!((pi3.kernel.as_str(), pi3.dtb.as_deref()), ("kernel8.img", Some("bcm2837-rpi-3-b.dtb")));
}

#[test]
fn filters_combine_as_the_firmware_does() {
    let config = "\
        kernel=common.img\n\
        [pi3]\nkernel=three.img\n\
        [pi4]\n  kernel=four.img  \n\
        [cm4]\nkernel=module.img\n\
        [none]\nkernel=never.img\n\
        [EDID=X]\n[pi4]\nkernel=monitor.img\n\
        [all]\n#kernel=comment.img\n\
        [tryboot]\nkernel=trial.img\n\
        [all]\n[board-type=0x11]\ncmdline=four.txt\n\
        [all]\ninclude extra.txt\ninclude absent.txt\n";
    let partition = Memory::new([
        ("config.txt", config),
        ("extra.txt", "[pi3]\ndtoverlay=three\n[pi4]\ndtparam=audio=on\ndtoverlay=four:a=1,b\ndtparam=c=2\n"),
        ("three.img", ""),
        ("four.img", ""),
        ("four.txt", "quiet"),
        ("overlays/three.dtbo", ""),
        ("overlays/four.dtbo", ""),
        (PI4_DTB, ""),
        ("bcm2837-rpi-3-b.dtb", ""),
    ]);
    let pi4 = config_txt::choose(&partition, Model::Pi4B).unwrap();
    assert_eq!((pi4.kernel.as_str(), pi4.cmdline.as_str()), ("four.img", "quiet"));
    assert_eq!(pi4.dtparams, ["audio=on"]);
    assert_eq!(
        pi4.overlays,
        [Overlay { path: "overlays/four.dtbo".into(), params: vec!["a=1".into(), "b".into(), "c=2".into()] }]
    );
    let pi3 = config_txt::choose(&partition, Model::Pi3B).unwrap();
    assert_eq!((pi3.kernel.as_str(), pi3.overlays[0].path.as_str()), ("three.img", "overlays/three.dtbo"));
}

#[test]
fn prefixes_need_a_kernel_and_a_device_tree_behind_them() {
    let mut partition = Memory::new([
        ("config.txt", "os_prefix=new/\ndtoverlay=x\nauto_initramfs=1\n"),
        ("kernel8.img", ""),
        (PI4_DTB, ""),
        ("new/kernel8.img", ""),
        ("new/initramfs8", ""),
        ("overlays/x.dtbo", ""),
    ]);
    let half = config_txt::choose(&partition, Model::Pi4B).unwrap();
    assert_eq!((half.kernel.as_str(), half.initramfs.len()), ("kernel8.img", 0));
    partition.0.insert(format!("new/{PI4_DTB}"), Vec::new());
    let whole = config_txt::choose(&partition, Model::Pi4B).unwrap();
    assert_eq!(whole.kernel, "new/kernel8.img");
    assert_eq!(whole.initramfs, ["new/initramfs8"]);
    assert_eq!(whole.overlays[0].path, "overlays/x.dtbo");
}

#[test]
fn files_that_config_txt_names_must_be_there() {
    let error = |config: &str| {
        let partition = Memory::new([("config.txt", config), ("kernel8.img", ""), (PI4_DTB, "")]);
        config_txt::choose(&partition, Model::Pi4B).unwrap_err().to_string()
    };
    let hint = "\n\nhint: the Raspberry Pi's firmware would not find it either";
    for (config, what) in [
        ("kernel=gone.img", "kernel `gone.img`"),
        ("arm_64bit=0", "kernel `kernel7l.img` or `kernel7.img` or `kernel.img`"),
        ("device_tree=gone.dtb", "DTB `gone.dtb`"),
        ("dtoverlay=gone", "overlay `overlays/gone.dtbo`"),
        ("initramfs gone.gz followkernel", "initramfs `gone.gz`"),
    ] {
        assert_eq!(
            error(config),
            format!("config.txt leads to {what}, which is not on the boot partition{hint}")
        );
    }
    assert_eq!(
        error("include config.txt"),
        "`config.txt` is included too deeply\n\nhint: config.txt seems to include itself"
    );
}
