//! A cable that is pulled at any byte: the old kernel stays the default, and the next deploy completes.

use std::collections::BTreeSet;

use rustix::process::Signal;

use crate::common::live::eventually;
use crate::lab::{Lab, Random, assert_refused};
use crate::wire::Fault;

#[test]
fn cut_at_thirty_random_bytes() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("new");
    lab.edit_module("new");
    many_modules(&lab, 32, 32 << 10);
    // A network slower than the board, so that what went over it has been unpacked when it is cut.
    board.wire().limit(1_000_000);
    let deploy = || {
        let before = board.wire().sent();
        let outcome = lab.deploy(&["--no-reboot"]);
        (outcome, board.wire().sent() - before)
    };
    let whole = deploy();
    let whole = (whole.0.ok(), whole.1).1;
    let files = || {
        // What differs from one deploy to the next of the same kernel: when, and inodes.
        let all = board.digests(&["boot", "lib/modules"]);
        let own = |line: &&str| !line.ends_with("/info") && !line.ends_with("/stamp");
        all.lines().filter(own).map(str::to_string).collect::<BTreeSet<_>>()
    };
    let there = files();
    let [id] = board.deployments().try_into().unwrap();
    let mut random = Random(4);
    let (mut cuts, mut again) = (0, 0);
    for turn in 0..30 {
        for half in ["boot/bimg", "lib/modules/.bimg"] {
            std::fs::remove_dir_all(board.path(half).join(&id)).unwrap();
        }
        std::fs::remove_dir_all(board.path("boot/bimg/kernels")).unwrap();
        let at = random.next() % whole;
        board.wire().set(Fault::Cut(at));
        let (outcome, _) = deploy();
        board.wire().set(Fault::None);
        let told = format!("turn {turn}, cut at {at} of {whole}: {outcome:?}");
        assert_eq!(board.state(), ("image".to_string(), "none".to_string()), "{told}");
        if outcome.status != Some(0) {
            assert_eq!(outcome.status, Some(5), "{told}");
            cuts += 1;
        }
        let (outcome, sent) = deploy();
        assert_eq!(outcome.status, Some(0), "{told}\n{outcome:?}");
        again += sent;
        // The same files, and no other.
        let differ: Vec<_> = files().symmetric_difference(&there).cloned().collect();
        assert!(differ.is_empty(), "{told}\n{differ:#?}");
    }
    assert!(cuts >= 25, "{cuts}");
    println!("{cuts} cuts; {again} bytes sent again of {}", whole * 30);
    // Without what had arrived it would be all of it, thirty times.
    assert!(again < whole * 24, "{again} of {}", whole * 30);
}

#[test]
fn what_still_writes_there_is_waited_for() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("new");
    board.write("var/hold", "");
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board", "--no-reboot"]);
    eventually("a transfer", || board.path("var/synced").exists());
    board.wire().set(Fault::Cut(0));
    board.wire().cut();
    assert_eq!(live.end().0, Some(5));
    board.wire().set(Fault::None);
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board"]);
    eventually("the next deploy's turn", || board.path(&(board.run() + "/lock/since")).exists());
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(board.boots(), 1);
    std::fs::remove_file(board.path("var/hold")).unwrap();
    let (status, stderr) = live.end();
    assert_eq!(status, Some(0), "{stderr}");
    let id = board.running();
    assert_eq!((board.deployments(), board.names("lib/modules/.bimg")), (vec![id.clone()], vec![id.clone()]));
    assert!(!board.path(&format!("lib/modules/.bimg/{id}/new")).exists());
    assert_eq!(board.names(&(board.run() + "/writers")), [] as [&str; 0]);
}

#[test]
fn a_cable_that_is_pulled_tells_nobody() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("new");
    board.wire().set(Fault::Stall(60_000));
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board", "--no-reboot"]);
    eventually("a stall", || board.wire().struck() && !board.names(&(board.run() + "/writers")).is_empty());
    board.wire().pull();
    board.wire().set(Fault::None);
    live.signal(Signal::KILL);
    assert_eq!(live.end().0, None);
    // As far as the board knows, that deploy goes on.
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board is being deployed to already\n  \
         caused by: by tester@[HOST], since [DATE]\n\n\
         hint: wait until that has ended; the lock goes with its connection\n",
    );
    board.write("proc/uptime", "67.25 3.50\n");
    lab.deploy(&[]).ok();
    assert_eq!(board.state().0, board.running());
}

#[test]
fn parts_that_arrived_are_not_sent_again() {
    let lab = Lab::new();
    let board = lab.board();
    // More than a part holds.
    many_modules(&lab, 8, 6 << 20);
    board.wire().limit(1_000_000);
    let live = lab.live(&["deploy", "--board", "acme", "--host", "board", "--no-reboot"]);
    // By what is there, not by what was sent: on a busy host that may still be on its way.
    let whole = || {
        let files = board.names("lib/modules/.bimg").into_iter().flat_map(|id| {
            let drivers = format!("lib/modules/.bimg/{id}/sent/modules/kernel/drivers");
            board.names(&drivers).into_iter().map(move |name| format!("{drivers}/{name}"))
        });
        files.filter(|file| board.path(file).metadata().is_ok_and(|meta| meta.len() > 6 << 20)).count()
    };
    eventually("three modules on the board", || whole() >= 3);
    board.wire().set(Fault::Cut(0));
    board.wire().cut();
    let (status, stderr) = live.end();
    assert_eq!(status, Some(5), "{stderr}");
    board.wire().set(Fault::None);
    board.wire().limit(0);
    let before = board.wire().sent();
    lab.deploy(&["--no-reboot"]).ok();
    let sent = board.wire().sent() - before;
    assert!((18_000_000..38_000_000).contains(&sent), "{sent}");
    let [id] = board.names("lib/modules/.bimg").try_into().unwrap();
    let modules = format!("lib/modules/.bimg/{id}/modules/kernel/drivers");
    let there: Vec<String> = board.digests(&[&modules]).lines().map(|line| line[..64].to_string()).collect();
    let built = lab.project.shell("cd build/kernel/*/stage/lib/modules/*/kernel/drivers && find . -type f -exec sha256sum {} + | sort -k 2");
    let built: Vec<String> = built.lines().map(|line| line[..64].to_string()).collect();
    assert_eq!((there.len(), there), (10, built));
}

/// More modules of `size` bytes, which do not compress.
fn many_modules(lab: &Lab, count: usize, size: usize) {
    let mut random = Random(5);
    std::fs::create_dir(lab.project.path("more")).unwrap();
    for number in 0..count {
        let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        std::fs::write(lab.project.path(&format!("more/{number}")), bytes).unwrap();
    }
    lab.project.edit(
        "linux/Makefile",
        "\t@ln -sfn",
        &format!(
            "\t@for more in {}/*; do objcopy --add-section .data.more=$$more $(objtree)/drivers/led.ko \\\n\
             \t\t$(to)/kernel/drivers/more$${{more##*/}}.ko; done\n\t@ln -sfn",
            lab.project.path("more").display()
        ),
    );
}
