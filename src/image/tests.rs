//! Whole images, damaged at random: everything that looks into them must come to an end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::exec::Cmd;

/// A FAT with a boot chain and an ext2 with modules, in one small image with the table that `label` names.
pub fn small(dir: &Path, label: &str) -> Vec<u8> {
    let script = format!(
        "set -e; mkdir -p t/lib/modules/6.1.2/kernel t/boot/extlinux b
         printf 'x\\0vermagic=6.1.2 SMP\\0' > t/lib/modules/6.1.2/kernel/a.ko; ln -sf lib t/l; ln -sf /l/../l t/m
         printf 'label x\\nkernel /Image\\nappend root=/dev/x\\n' > t/boot/extlinux/extlinux.conf
         {{ head -c 56 /dev/zero; printf 'ARM\\144Linux version 6.1.2 (x)'; head -c 3000 /dev/zero; }} > b/kernel8.img
         printf 'arm_64bit=1\\ndevice_tree=\\n' > b/config.txt; cp b/kernel8.img t/Image
         rm -f f e i; truncate -s 256K f; truncate -s 512K e; truncate -s 1M i
         mkfs.vfat -F 12 -n BOOT f >/dev/null; mcopy -i f b/* ::
         mke2fs -q -F -t ext4 -O ^has_journal -b 1024 -N 64 -d t e
         printf 'label: {label}\\nstart=64, size=512\\nstart=640, size=1024\\n' | sfdisk -q --no-reread --no-tell-kernel i
         dd if=f of=i bs=512 seek=64 conv=notrunc status=none; dd if=e of=i bs=512 seek=640 conv=notrunc status=none"
    );
    Cmd::new("sh").args(["-c", &script]).cwd(dir).check().unwrap();
    std::fs::read(dir.join("i")).unwrap()
}

/// How often something is damaged; more when somebody has the time.
fn rounds() -> u64 {
    std::env::var("BIMG_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Everything but the checkers of others.
fn look(bytes: Vec<u8>) {
    let Ok(image) = Image::new(Arc::new(bytes)) else { return };
    let _ = inspect::inspect(&image);
    let mut findings = Vec::new();
    for (_, volume) in inspect::Volumes::open(&image, &mut findings).0 {
        let _ = volume::walk(volume.as_ref(), "", &mut |path, _| {
            let _ = volume::resolve(volume.as_ref(), path);
            let _ = volume.read(path, 1 << 20);
            let _ = volume.target(path);
            Ok(())
        });
    }
    for part in &image.parts {
        let _ = verify::fat::check(&image.bytes(part));
    }
}

#[test]
fn partitions_of_one_name_are_told_apart_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    let script = "truncate -s 8M disk; sgdisk -n 1:0:+1M -c 1:root -n 2:0:+1M -c 2:root disk";
    Cmd::new("sh").args(["-c", script]).cwd(dir.path()).check().unwrap();
    let image = Image::open(&disk).unwrap();
    assert_eq!(
        image.find("root").unwrap_err().to_string(),
        "several partitions have the name `root`\n\nhint: name it by its number: 1, 2"
    );
    assert_eq!(image.find("2").unwrap().number, 2);
}

#[test]
fn swap_has_a_label_and_a_uuid_whatever_its_pages() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("swap");
    let uuid = "01234567-89ab-4def-8123-456789abcdef";
    for page in ["4096", "16384", "65536"] {
        std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
        Cmd::new("mkswap").args(["-p", page, "-L", "pages", "-U", uuid]).arg(&disk).check().unwrap();
        let image = Image::open(&disk).unwrap();
        let content = image.parts[0].content.as_ref().unwrap();
        assert_eq!(
            (content.kind.as_str(), content.label.as_str(), content.uuid.as_str()),
            ("swap", "pages", uuid)
        );
    }
}

#[test]
fn what_is_there_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for label in ["dos", "gpt"] {
        let found = inspect::inspect(&Image::new(Arc::new(small(dir.path(), label))).unwrap()).unwrap();
        assert_eq!((found.boot.len(), found.kernels.len(), found.modules.len()), (2, 2, 1), "{found:#?}");
    }
}

#[test]
fn random_damage_of_whole_images_comes_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    for label in ["dos", "gpt"] {
        let good = small(dir.path(), label);
        let mut random = Random(11);
        // Table, boot sector, FAT and root directory; superblock, descriptors, inodes and directories.
        let hot = [(0, 2048), (64 * 512, 8192), (640 * 512 + 1024, 1200), (640 * 512 + 2048, 30_000)];
        for _ in 0..rounds() {
            let mut bytes = good.clone();
            for _ in 0..=random.below(6) {
                let (start, len) = hot[random.below(4) as usize];
                let at = (start + random.below(len)) as usize;
                bytes[at] = [0, 0xFF, random.below(256) as u8, bytes[at] ^ 1 << random.below(8)]
                    [random.below(4) as usize];
            }
            let start = Instant::now();
            look(bytes);
            // An unoptimised build on a busy machine; an endless loop would not care.
            assert!(start.elapsed() < Duration::from_secs(60));
        }
    }
}

#[test]
fn images_cut_anywhere_come_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let good = small(dir.path(), "gpt");
    for end in (0..good.len()).step_by(7919) {
        look(good[..end].to_vec());
    }
}
