//! A kernel that several deployments have lies on the boot partition once.

use std::fs;

use crate::board::Board;
use crate::lab::Lab;

fn kernels(board: &Board) -> Vec<String> {
    board.names("boot/bimg/kernels")
}

/// Bytes of the kernel in miniature, as no packing makes them fewer.
const LARGE: u64 = 400_000;

/// A lab whose kernel is large and does not pack.
fn large() -> Lab {
    let lab = Lab::new();
    lab.project.shell(&format!(
        "openssl enc -aes-128-ctr -K 00 -iv 00 </dev/zero 2>/dev/null | head -c {LARGE} >linux/large"
    ));
    lab.project.edit(
        "linux/Makefile",
        "\t@objcopy -O binary $< $(boot)/Image\n",
        "\t@objcopy -O binary $< $(boot)/Image && cat $(srctree)/large >>$(boot)/Image\n",
    );
    lab
}

/// Deploys, and tells whether the kernel was on the wire.
fn sends(lab: &Lab, args: &[&str]) -> bool {
    let before = lab.board().wire().sent();
    lab.deploy(args).ok();
    lab.board().wire().sent() - before > LARGE
}

#[test]
fn modules_alone_leave_the_kernel_where_it_is() {
    let lab = large();
    let board = lab.board();
    lab.edit_kernel("one");
    assert!(sends(&lab, &[]));
    let one = kernels(board);
    let before = board.digests(&["boot/bimg/kernels"]);
    lab.edit_module("other");
    assert!(!sends(&lab, &[]));
    assert_eq!((kernels(board), board.digests(&["boot/bimg/kernels"])), (one.clone(), before));
    assert_eq!(board.deployments().len(), 2);

    // Another kernel, and the first one with other modules: it is on the board still.
    lab.edit_kernel("two");
    assert!(sends(&lab, &[]));
    assert_eq!(kernels(board).len(), 2);
    lab.edit_kernel("one");
    lab.edit_module("third");
    assert!(!sends(&lab, &[]));
    assert_eq!(kernels(board).len(), 2);
}

#[test]
fn kernels_go_with_the_last_deployment_that_has_them() {
    let lab = Lab::new();
    let board = lab.board();
    for (kernel, module) in [("a", "1"), ("a", "2"), ("b", "2"), ("c", "2"), ("c", "3")] {
        lab.edit_kernel(kernel);
        lab.edit_module(module);
        lab.deploy(&[]).ok();
    }
    // Three deployments stay, of two kernels.
    let mut used: Vec<String> = board.deployments().iter().map(|id| board.kernel(id)).collect();
    assert_eq!(used.len(), 3);
    used.sort();
    used.dedup();
    assert_eq!(
        kernels(board).iter().map(|name| format!("boot/bimg/kernels/{name}")).collect::<Vec<_>>(),
        used
    );
}

/// Has the board run a kernel that is not the image's: where that lies, and its digest.
fn runs_its_own(lab: &Lab) -> (String, String) {
    let board = lab.board();
    lab.edit_kernel("one");
    lab.deploy(&[]).ok();
    let image = board.kernel(&board.running()) + "/Image";
    let whole = board.digests(&[&image]);
    (image, whole)
}

#[test]
fn a_kernel_that_is_damaged_is_not_shared() {
    let lab = large();
    let board = lab.board();
    let (image, whole) = runs_its_own(&lab);
    lab.edit_kernel("two");
    lab.deploy(&[]).ok();
    fs::write(board.path(&image), "half").unwrap();
    lab.edit_kernel("one");
    lab.edit_module("other");
    assert!(sends(&lab, &[]));
    assert_eq!(board.digests(&[&image]), whole);
    assert_eq!(board.kernel(&board.running()) + "/Image", image);
    // Gone as a whole, though it runs.
    fs::remove_dir_all(board.path("boot/bimg/kernels")).unwrap();
    lab.edit_module("third");
    assert!(sends(&lab, &["--no-reboot"]));
    assert_eq!(board.digests(&[&image]), whole);
}

#[test]
fn a_kernel_that_was_damaged_while_it_ran_is_brought_again() {
    let lab = large();
    let board = lab.board();
    let (image, whole) = runs_its_own(&lab);
    fs::write(board.path(&image), "half").unwrap();
    lab.edit_module("other");
    // It was good when it was started, and is not read for each deploy.
    assert!(!sends(&lab, &["--no-reboot"]));
    assert!(sends(&lab, &[]));
    assert_eq!(board.digests(&[&image]), whole);
}

#[test]
fn a_kernel_that_arrived_waits_for_the_rest() {
    let lab = large();
    let board = lab.board();
    lab.edit_kernel("one");
    lab.deploy(&["--no-reboot"]).ok();
    // As a power cut leaves it after the first of the two renames.
    let [id] = board.deployments().try_into().unwrap();
    let [own, partial] = [id.clone(), format!("{id}.partial")].map(|name| board.path("boot/bimg").join(name));
    fs::rename(&own, &partial).unwrap();
    assert!(!sends(&lab, &["--no-reboot"]));
    assert_eq!((board.deployments(), kernels(board).len()), (vec![id.clone()], 1));

    // Other modules for the same kernel; what only the interrupted one named is still needed.
    fs::rename(&own, &partial).unwrap();
    lab.edit_module("other");
    assert!(!sends(&lab, &[]));
    assert_eq!((board.deployments(), kernels(board).len()), (vec![board.running()], 1));
    assert_ne!(board.running(), id);

    // And cut before the first of them.
    lab.edit_kernel("two");
    lab.deploy(&["--no-reboot"]).ok();
    let id = board.other();
    let kernel = board.path(&board.kernel(&id));
    fs::rename(&kernel, kernel.with_extension("partial")).unwrap();
    for dir in ["boot/bimg", "lib/modules/.bimg"] {
        fs::rename(board.path(dir).join(&id), board.path(dir).join(format!("{id}.partial"))).unwrap();
    }
    lab.edit_module("another");
    assert!(!sends(&lab, &["--no-reboot"]));
}
