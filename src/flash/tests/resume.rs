//! Going on where an earlier run was stopped, as the drive itself tells.

use super::disk::{Disk, Fault};
use super::{Bench, MIB, noise, run};

/// Flashes until so much was written, then is interrupted.
fn interrupted(bench: &Bench, disk: &Disk, after: usize) {
    run(&bench.job(), disk, &bench.ears, &|| disk.written() > after).unwrap_err();
    disk.writes.lock().unwrap().clear();
    bench.ears.0.lock().unwrap().clear();
}

#[test]
fn an_interrupted_run_goes_on_from_where_it_was() {
    let image = noise(60 * MIB, 50);
    let mut bench = Bench::new(&image);
    let disk = Disk::used(64 * MIB);
    interrupted(&bench, &disk, 30 * MIB);
    bench.resume = true;
    let report = bench.flash(&disk).unwrap();
    let content = disk.content();
    assert!(content[..image.len()] == image);
    assert!(content[image.len()..].iter().all(|byte| *byte == 0xA5));
    assert!(report.verified && report.written.0 < 40 * MIB as u64, "{report:?}");
    assert_eq!(report.mapped.0 as usize, image.len());
    let heard = bench.heard();
    assert!(
        heard[0].starts_with("`/dev/sdx` has the first ") && heard[0].ends_with(" MiB already"),
        "{heard:?}"
    );
    // Done is done: nothing says any more that it was begun.
    assert!(bench.flash(&disk).unwrap().written.0 as usize > image.len());
}

#[test]
fn what_was_lost_meanwhile_is_found_when_it_is_read_back() {
    let image = noise(40 * MIB, 51);
    let mut bench = Bench::new(&image);
    let disk = Disk::used(40 * MIB);
    interrupted(&bench, &disk, 30 * MIB);
    disk.bytes.lock().unwrap()[9 * MIB + 5] ^= 1;
    bench.resume = true;
    let report = bench.flash(&disk).unwrap();
    assert!(disk.content() == image);
    assert_eq!(report.rewritten.0, 4096);
}

#[test]
fn another_image_or_a_drive_used_since_begins_anew() {
    let image = noise(40 * MIB, 52);
    let fresh = "`/dev/sdx` does not say that this image was begun: it is written from the start";
    // Another image.
    let mut bench = Bench::new(&image);
    let disk = Disk::used(40 * MIB);
    interrupted(&bench, &disk, 30 * MIB);
    let other = noise(40 * MIB, 53);
    crate::fsx::write_atomic(&bench.path(), &other).unwrap();
    bench.resume = true;
    bench.flash(&disk).unwrap();
    assert!(disk.content() == other);
    assert_eq!(bench.heard(), [fresh]);
    // A drive that was given a table meanwhile.
    let mut bench = Bench::new(&image);
    let disk = Disk::used(40 * MIB);
    interrupted(&bench, &disk, 30 * MIB);
    disk.bytes.lock().unwrap()[510] = 0x55;
    bench.resume = true;
    bench.flash(&disk).unwrap();
    assert!(disk.content() == image);
    assert_eq!(bench.heard(), [fresh]);
    // One where nothing was begun.
    let mut bench = Bench::new(&image);
    bench.resume = true;
    bench.flash(&Disk::used(40 * MIB)).unwrap();
    assert_eq!(bench.heard(), [fresh]);
}

#[test]
fn a_pulled_drive_goes_on_too() {
    // Synced every 64 MiB: what the drive had by then counts.
    let image = noise(90 * MIB, 54);
    let mut bench = Bench::new(&image);
    let pulled = Disk::used(90 * MIB).with(Fault::FailWrite(80 * MIB as u64, 19));
    bench.flash(&pulled).unwrap_err();
    let disk = Disk::used(90 * MIB);
    disk.bytes.lock().unwrap().copy_from_slice(&pulled.content());
    bench.resume = true;
    let report = bench.flash(&disk).unwrap();
    assert!(disk.content() == image);
    assert!(report.written.0 < 40 * MIB as u64, "{report:?}");
}
