//! What a power cut, a full disk or somebody's hand did to a board: each costs no more than it must.

use crate::lab::Lab;

#[test]
fn a_kernel_that_cannot_be_confirmed() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_module("first");
    lab.deploy(&["--no-reboot"]).ok();
    let [id] = board.deployments().try_into().unwrap();
    // As on a disk that has become full.
    std::fs::create_dir_all(board.path(&format!("lib/modules/.bimg/{id}/good.new"))).unwrap();
    let outcome = lab.deploy(&[]);
    assert_eq!((board.running().as_str(), board.state().0.as_str(), board.boots()), ("image", "image", 3));
    assert_eq!(outcome.status, Some(4));
    let said = "cannot confirm the new kernel: cannot write /lib/modules/.bimg/[ID]/good: sh: ";
    assert!(outcome.stderr.contains(said) && outcome.stderr.contains("Is a directory"), "{}", outcome.stderr);
}
