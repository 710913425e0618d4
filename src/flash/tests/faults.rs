//! Disks that fail or lie.

use super::disk::{Disk, Fault};
use super::{Bench, MIB, noise, run};
use crate::error::Exit;
use crate::progress::{Event, Progress};

const EIO: i32 = 5;
const ENODEV: i32 = 19;
const EROFS: i32 = 30;

#[test]
fn an_honest_disk_gets_every_byte_in_large_aligned_writes() {
    // Not a multiple of anything.
    let image = noise(9 * MIB + 777, 1);
    let bench = Bench::new(&image);
    let disk = Disk::used(16 * MIB);
    let report = bench.flash(&disk).unwrap();
    let content = disk.content();
    assert!(content[..image.len()] == image);
    assert!(content[image.len()..].iter().all(|byte| *byte == 0xA5));
    assert_eq!((report.size.0, report.mapped.0), (image.len() as u64, image.len() as u64));
    assert_eq!((report.written.0, report.rewritten.0), ((image.len() + MIB) as u64, 0));
    assert!(report.verified);
    // Cleared first, written last.
    let writes = disk.writes.lock().unwrap().clone();
    let mib = MIB as u64;
    let expected = [(0, MIB), (mib, 3 * MIB), (4 * mib, 4 * MIB), (8 * mib, MIB + 777), (0, MIB)];
    assert_eq!(writes, expected);
}

#[test]
fn short_writes_and_reads_are_continued() {
    let image = noise(5 * MIB + 1, 2);
    let disk = Disk::used(6 * MIB).with(Fault::Short(100_001));
    Bench::new(&image).flash(&disk).unwrap();
    assert!(disk.content()[..image.len()] == image);
}

#[test]
fn a_disk_exactly_as_large_as_the_image_is_enough_and_a_byte_less_is_not() {
    let image = noise(2 * MIB + 512, 3);
    let bench = Bench::new(&image);
    let disk = Disk::used(image.len());
    bench.flash(&disk).unwrap();
    assert!(disk.content() == image);
    let small = Disk::used(image.len() - 1);
    assert_eq!(
        bench.fails(&small),
        "`x.img` does not fit on `/dev/sdx`\n  \
         caused by: the image has 2.0 MiB (2097664 bytes), the drive 2.0 MiB (2097663 bytes)"
    );
    assert_eq!(small.written(), 0);
}

#[test]
fn a_forgotten_write_and_a_flipped_bit_are_repaired() {
    let image = noise(9 * MIB, 4);
    for fault in [Fault::Drop(5 * MIB as u64, 1), Fault::Flip(7 * MIB as u64 + 3, 1), Fault::Flip(8, 4)] {
        let bench = Bench::new(&image);
        let disk = Disk::used(9 * MIB).with(fault);
        let report = bench.flash(&disk).unwrap();
        assert!(disk.content() == image, "{fault:?}");
        let head = matches!(fault, Fault::Flip(8, _));
        assert_eq!(report.rewritten.0 > 0, !head, "{fault:?}");
        let heard: &[&str] = if head { &[] } else { &["1 piece of 4 MiB differs and is written again"] };
        assert_eq!(bench.heard(), heard);
    }
}

#[test]
fn a_block_that_stays_wrong_is_told_with_its_offset() {
    let image = noise(9 * MIB, 5);
    let bench = Bench::new(&image);
    let disk = Disk::used(9 * MIB).with(Fault::Flip(5_000_001, u64::MAX));
    assert_eq!(
        bench.fails(&disk),
        "`/dev/sdx` does not hold what was written to it\n  \
         caused by: other bytes come back from byte 5000001 on\n  \
         caused by: writing it again 3 times did not help\n\n\
         hint: the drive is worn out, or smaller than it says: do not use it"
    );
    // The first MiB was never written.
    assert!(disk.content()[..MIB].iter().all(|byte| *byte == 0));
    assert_eq!(
        bench.heard().last().unwrap(),
        "warning: `/dev/sdx` holds a part of the image and does not boot"
    );
}

#[test]
fn several_blocks_that_stay_wrong_are_counted() {
    let bench = Bench::new(&noise(13 * MIB, 5));
    let mut disk = Disk::used(13 * MIB).with(Fault::Flip(5_000_001, u64::MAX));
    for (place, more) in [(9_000_001, "1 other place"), (13_000_001, "2 other places")] {
        disk = disk.with(Fault::Flip(place, u64::MAX));
        assert_eq!(
            bench.fails(&disk),
            format!(
                "`/dev/sdx` does not hold what was written to it\n  \
                 caused by: other bytes come back from byte 5000001 on, and at {more}\n  \
                 caused by: writing it again 3 times did not help\n\n\
                 hint: the drive is worn out, or smaller than it says: do not use it"
            )
        );
    }
}

#[test]
fn what_came_through_a_pipe_cannot_be_written_again() {
    let image = noise(9 * MIB, 5);
    let mut bench = Bench::new(&image);
    let fifo = bench.dir.path().join("pipe");
    crate::exec::Cmd::new("mkfifo").arg(&fifo).check().unwrap();
    let writer = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::write(fifo, image).unwrap())
    };
    bench.origin = crate::input::Origin::File(fifo);
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::Flip(5_000_001, 1))),
        "`/dev/sdx` does not hold what was written to it\n  \
         caused by: other bytes come back from byte 4194304 on\n\n\
         hint: an image from a pipe cannot be read again to repair that: flash it from a file"
    );
    writer.join().unwrap();
}

#[test]
fn an_image_that_changes_meanwhile_is_told() {
    /// Whoever hears that a piece is written again changes it.
    struct Meddler(std::path::PathBuf);
    impl Progress for Meddler {
        fn event(&self, event: &Event<'_>) {
            if matches!(event, Event::Note { .. }) {
                let mut image = crate::fsx::read(&self.0).unwrap();
                image[5 * MIB] ^= 1;
                crate::fsx::write_atomic(&self.0, &image).unwrap();
            }
        }
    }
    let bench = Bench::new(&noise(9 * MIB, 5));
    let disk = Disk::used(9 * MIB).with(Fault::Flip(5_000_001, 1));
    let error = run(&bench.job(), &disk, &Meddler(bench.path()), &|| false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image changed while it was being written\n\nhint: flash it again when nothing writes to it any more"
    );
    // The first MiB was never written.
    assert!(disk.content()[..MIB / 2].iter().all(|byte| *byte == 0));
}

#[test]
fn a_head_that_stays_wrong_is_told_too() {
    let disk = Disk::used(3 * MIB).with(Fault::Flip(510, u64::MAX));
    assert_eq!(
        Bench::new(&noise(3 * MIB, 6)).fails(&disk),
        "`/dev/sdx` does not hold what was written to it\n  \
         caused by: other bytes come back from byte 510 on\n  \
         caused by: writing it again 3 times did not help\n\n\
         hint: the drive is worn out, or smaller than it says: do not use it"
    );
}

#[test]
fn a_disk_smaller_than_it_says_is_found_out() {
    let disk = Disk::used(32 * MIB).with(Fault::Wraps(8 * MIB as u64));
    let error = Bench::new(&noise(20 * MIB, 7)).fails(&disk);
    assert!(error.starts_with("`/dev/sdx` does not hold what was written to it\n"), "{error}");
}

#[test]
fn without_reading_back_a_lie_passes() {
    let image = noise(3 * MIB, 8);
    let mut bench = Bench::new(&image);
    bench.verify = false;
    let disk = Disk::used(3 * MIB).with(Fault::Flip(2 * MIB as u64, 1));
    assert!(!bench.flash(&disk).unwrap().verified);
    assert!(disk.content() != image);
}

#[test]
fn a_pulled_card_is_told_in_clear_words() {
    let bench = Bench::new(&noise(9 * MIB, 9));
    let at = 6 * MIB as u64;
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::FailWrite(at, ENODEV))),
        "`/dev/sdx` is gone\n  caused by: cannot write to it at byte 4194304: No such device\n\n\
         hint: plug it in again; `--resume` goes on where it stopped"
    );
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::FailRead(at, ENODEV))),
        "`/dev/sdx` is gone\n  caused by: cannot read it at byte 4194304: No such device\n\n\
         hint: plug it in again; `--resume` goes on where it stopped"
    );
    // Where only differences are written, nothing is kept to go on from.
    let bench = Bench { minimize: true, ..bench };
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::FailWrite(at, ENODEV))),
        "`/dev/sdx` is gone\n  caused by: cannot write to it at byte 4194304: No such device\n\n\
         hint: plug it in again, and flash it again"
    );
    let error = run(&bench.job(), &Disk::used(9 * MIB), &bench.ears, &|| true).unwrap_err();
    assert_eq!(error.to_string(), "`/dev/sdx` was left at 0 B\n  caused by: interrupted");
}

#[test]
fn write_errors_are_told_with_their_place() {
    let bench = Bench::new(&noise(9 * MIB, 10));
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::FailWrite(MIB as u64, EIO))),
        "cannot write to `/dev/sdx`\n  caused by: at byte 1048576: Input/output error\n\n\
         hint: it was pulled out, its reader is loose, or it is worn out"
    );
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::FailWrite(MIB as u64, EROFS))),
        "cannot write to `/dev/sdx`\n  caused by: at byte 1048576: Read-only file system"
    );
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::FailSync(EIO))),
        "cannot write to `/dev/sdx`\n  caused by: Input/output error\n\n\
         hint: it was pulled out, its reader is loose, or it is worn out"
    );
}

#[test]
fn a_write_that_takes_nothing_does_not_hang() {
    let bench = Bench::new(&noise(3 * MIB, 11));
    assert_eq!(
        bench.fails(&Disk::used(9 * MIB).with(Fault::Short(0))),
        "cannot write to `/dev/sdx`\n  caused by: it takes no more bytes"
    );
}

#[test]
fn ctrl_c_leaves_a_card_that_does_not_boot() {
    let image = noise(40 * MIB, 12);
    let bench = Bench::new(&image);
    let disk = Disk::used(40 * MIB);
    let stop = || disk.written() > 8 * MIB;
    let error = run(&bench.job(), &disk, &bench.ears, &stop).unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    let text = error.to_string();
    assert!(text.starts_with("`/dev/sdx` was left at "), "{text}");
    let end = " MiB\n  caused by: interrupted\n\nhint: `--resume` goes on from there";
    assert!(text.ends_with(end), "{text}");
    // No table, no boot code.
    assert!(disk.content()[..MIB / 2].iter().all(|byte| *byte == 0));
    assert_eq!(bench.heard(), ["warning: `/dev/sdx` holds a part of the image and does not boot"]);
}

#[test]
fn only_what_differs_is_written() {
    let mut image = noise(20 * MIB, 13);
    let mut bench = Bench::new(&image);
    let disk = Disk::used(20 * MIB);
    bench.flash(&disk).unwrap();
    // Nothing changed: nothing is written.
    bench.minimize = true;
    disk.writes.lock().unwrap().clear();
    assert_eq!(bench.flash(&disk).unwrap().written.0, 0);
    assert_eq!(disk.written(), 0);
    // A kernel changed, and a block of the head.
    let kernel = noise(3 * MIB, 99);
    image[10 * MIB..13 * MIB].copy_from_slice(&kernel);
    image[70_000] ^= 1;
    crate::fsx::write_atomic(&bench.path(), &image).unwrap();
    let report = bench.flash(&disk).unwrap();
    assert!(disk.content() == image);
    // The kernel, the block in the head, and the first block: cleared and written again.
    assert_eq!(report.written.0 as usize, 3 * MIB + 3 * 4096);
    assert_eq!(disk.written(), 3 * MIB + 3 * 4096);
}

#[test]
fn a_wrong_sum_of_the_file_never_boots() {
    let image = noise(5 * MIB, 14);
    let mut bench = Bench::new(&image);
    bench.sha256 = Some(crate::digest::Digest::of(&image));
    bench.flash(&Disk::used(5 * MIB)).unwrap();
    bench.sha256 = Some(crate::digest::Digest([7; 32]));
    let disk = Disk::used(5 * MIB);
    assert_eq!(
        bench.fails(&disk),
        format!(
            "`x.img` is not the file that was asked for\n  caused by: its sha256 is {}\n  \
             caused by: expected         {}\n\n\
             hint: it was damaged on its way, or is from another release: fetch it again",
            crate::digest::Digest::of(&image),
            "07".repeat(32)
        )
    );
    assert!(disk.content()[..MIB / 2].iter().all(|byte| *byte == 0));
}
