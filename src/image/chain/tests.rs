//! Configurations as boards and distributions have them.

use super::*;

#[test]
fn extlinux_gives_its_default_first() {
    let text = "# made by hand\nDEFAULT second\ntimeout 10\n\nlabel first\n  kernel ../Image\n\n\
        label second\n  menu label The second\n  linux /boot/Image-6.12\n  initrd /boot/initrd\n  \
        fdt dtbs/a.dtb\n  fdtoverlays /o/1.dtbo /o/2.dtbo\n  append root=LABEL=x  quiet\n";
    let entries = extlinux::entries(text, "boot/extlinux/extlinux.conf");
    assert_eq!(
        entries[0],
        Entry {
            title: "The second".into(),
            kernel: Some("boot/Image-6.12".into()),
            initrd: vec!["boot/initrd".into()],
            dtb: Some("boot/extlinux/dtbs/a.dtb".into()),
            overlays: vec!["o/1.dtbo".into(), "o/2.dtbo".into()],
            cmdline: Some("root=LABEL=x  quiet".into()),
            needs: Vec::new(),
        }
    );
    assert_eq!((entries[1].title.as_str(), entries[1].kernel.as_deref()), ("first", Some("boot/Image")));
    assert_eq!(entries.len(), 2);
    assert!(extlinux::entries("kernel x\nappend y", "extlinux.conf").is_empty());
}

#[test]
fn a_script_of_ours_is_understood() {
    let text = "\x27\x05\x19\x56header\nsetenv bimg_kernel 'Image'\n\
        setenv bootargs 'console=ttyS0 root=PARTUUID=1'\nsetenv bimg_fdt 'dtbs/x y.dtb'\n\
        if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${prefix}${bimg_kernel} \
        && load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${prefix}${bimg_fdt}; then\n  \
        booti ${kernel_addr_r} - ${fdt_addr_r}\nfi\n";
    let entry = script::entry(text);
    assert_eq!(entry.kernel.as_deref(), Some("Image"));
    assert_eq!(entry.dtb.as_deref(), Some("dtbs/x y.dtb"));
    assert_eq!(entry.cmdline.as_deref(), Some("console=ttyS0 root=PARTUUID=1"));
}

#[test]
fn a_script_that_asks_the_board_says_what_it_can() {
    let text = "setenv bootargs root=/dev/mmcblk0p2 ${extra}\nfatload mmc 0:1 ${loadaddr} zImage\n\
        fatload mmc 0:1 ${fdt_addr_r} ${fdtfile}\nfatload mmc 0 0x1000 other\n";
    let entry = script::entry(text);
    assert_eq!(entry.kernel.as_deref(), Some("zImage"));
    assert_eq!(entry.dtb, None);
    assert_eq!(entry.cmdline.as_deref(), Some("root=/dev/mmcblk0p2 ${extra}"));
}

#[test]
fn a_script_cannot_fill_the_memory() {
    let text = format!("setenv a xxxxxxxx\n{}", "setenv a ${a}${a}${a}${a}\n".repeat(60));
    assert_eq!(script::entry(&text).cmdline, None);
}

#[test]
fn grub_entries_are_read_where_they_name_files() {
    let text = "set default=0\nmenuentry 'Buildroot' --class x {\n  linux /boot/bzImage root=/dev/sda1 ro\n\
        initrd /boot/initrd.img\n}\nmenuentry \"Other\" {\n linux ($root)/Image console=ttyS0\n\
        devicetree (hd0,gpt1)/a.dtb\n initrd $initrd\n}\nmenuentry x { linux $kernel\n}\n";
    let entries = grub::entries(text);
    assert_eq!(entries[0].title, "Buildroot");
    assert_eq!(entries[0].kernel.as_deref(), Some("boot/bzImage"));
    assert_eq!(entries[0].cmdline.as_deref(), Some("root=/dev/sda1 ro"));
    assert_eq!(entries[1].kernel.as_deref(), Some("Image"));
    assert_eq!((entries[1].dtb.as_deref(), entries[1].initrd.len()), (Some("a.dtb"), 0));
    assert_eq!(entries[2].kernel, None);
}
