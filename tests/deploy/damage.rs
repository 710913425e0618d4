//! What a power cut, a full disk or somebody's hand did to a board: each costs no more than it must.

use crate::board::Fate;
use crate::lab::{Lab, assert_refused, assert_text};

#[test]
fn notes_that_say_nothing() {
    let lab = Lab::new();
    let board = lab.board();
    let first = lab.deploy_edited("first");
    lab.deploy_edited("second");
    let own = format!("lib/modules/.bimg/{first}");
    // Somebody's own, beside those of bimg.
    board.write("lib/modules/.bimg/notes and more/info", "release=6.0\n");
    board.write(&format!("{own}.bak/info"), "release=6.0\n");
    for (info, good) in [("", ""), ("\u{1}\u{2}\nsize=\nrelease", "\n"), ("size=x\n", "boot -1\nx\n")] {
        board.write(&format!("{own}/info"), info);
        board.write(&format!("{own}/good"), good);
        assert_text(
            &lab.target(&["list"]).ok().stdout,
            "id            release                  since                     size  state\n\
             image         6.12.0-fake              -                            -  good\n\
             [ID]  -                        -                          0 B  never tried\n\
             [ID]  6.12.0-fake              [DATE] [SIZE]  running, default\n",
        );
    }
    lab.deploy_edited("third");
    assert_eq!(board.state().0, board.running());
    assert_eq!(board.read(&format!("lib/modules/.bimg/{}/good", board.running())).lines().nth(1), Some("3"));
}

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

#[test]
fn a_running_kernel_that_cannot_tell_its_files() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("first");
    lab.deploy(&[]).ok();
    let mut word = 0;
    for text in ["", "abcdef\n", "\u{1}\u{2}\u{3}"] {
        let files = format!("lib/modules/.bimg/{}/files", board.running());
        board.write(&files, text);
        word += 1;
        lab.edit_module(&format!("module {word}"));
        lab.deploy(&[]).ok();
        assert_eq!(board.state().0, board.running());
    }
    std::fs::remove_file(board.path(&format!("lib/modules/.bimg/{}/files", board.running()))).unwrap();
    lab.edit_module("alone");
    // The kernel of the image is not the one that runs.
    assert_refused(
        &lab.deploy(&["--modules-only"]),
        1,
        "error: deploy to board failed\n  \
         caused by: the running kernel's `Image` was not found on the board\n\n\
         hint: deploy the whole kernel once: without `--kernel-only`, `--modules-only`, `--dtb-only`\n",
    );
    lab.deploy(&[]).ok();
    assert_eq!(board.state().0, board.running());
}

#[test]
fn a_module_of_the_running_deployment_that_somebody_changed() {
    let lab = Lab::new();
    let board = lab.board();
    let id = lab.deploy_edited("one");
    let module = format!("lib/modules/.bimg/{id}/modules/kernel/drivers/led.ko");
    let whole = board.digests(&[&module]);
    assert!(!lab.deploy(&[]).ok().stderr.contains("warning"));
    board.write(&module, "copied there by hand");
    let outcome = lab.deploy(&[]).ok();
    assert_text(&outcome.stdout, "board  runs 6.12.0-fake ([ID]) already\n");
    let said = "warning: board: `kernel/drivers/led.ko` of the running deployment [ID] was changed on the board; \
                `bimg target rollback` and another deploy bring back what was built\n";
    assert!(outcome.stderr.contains(said), "{outcome:?}");
    lab.target(&["rollback"]).ok();
    lab.deploy(&[]).ok();
    assert_eq!((board.running(), board.digests(&[&module])), (id, whole));
}

#[test]
fn a_configuration_that_somebody_removed() {
    let lab = Lab::new();
    let one = lab.deploy_edited("one");
    std::fs::remove_file(lab.board().path(&format!("lib/modules/.bimg/{one}/config"))).unwrap();
    let two = lab.deploy_edited("two");
    assert!(lab.board().path(&format!("lib/modules/.bimg/{two}/config")).is_file());
}

#[test]
fn links_among_the_modules_of_the_base() {
    let lab = Lab::new();
    let board = lab.board();
    let drivers = board.path("lib/modules/6.12.0-fake/kernel/drivers");
    let elsewhere = board.path("var/drivers");
    std::fs::rename(&drivers, &elsewhere).unwrap();
    std::os::unix::fs::symlink("/var/drivers", &drivers).unwrap();
    std::os::unix::fs::symlink("/usr/src/linux", board.path("lib/modules/6.12.0-fake/build")).unwrap();
    let before = board.digests(&["var/drivers"]);
    lab.deploy_edited("first");
    let own = format!("lib/modules/.bimg/{}/modules", board.running());
    assert!(board.path(&format!("{own}/kernel/drivers")).symlink_metadata().unwrap().is_dir());
    assert_eq!(board.digests(&["var/drivers"]), before);
}

#[test]
fn a_deployment_that_is_half_gone_is_brought_again() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("first");
    lab.edit_module("first");
    lab.deploy(&["--no-reboot"]).ok();
    let [id] = board.deployments().try_into().unwrap();
    let whole = board.digests(&["boot/bimg", "lib/modules/.bimg"]);
    let files = |text: &str| {
        let end = |line: &str| line.ends_with("/stamp") || line.ends_with("/info");
        text.lines().filter(|line| !end(line)).map(str::to_string).collect::<Vec<_>>()
    };
    for gone in [
        format!("boot/bimg/{id}/trial.scr"),
        format!("boot/bimg/{id}/boot.scr"),
        format!("lib/modules/.bimg/{id}/init"),
        format!("lib/modules/.bimg/{id}/modules/kernel/drivers/led.ko"),
        format!("lib/modules/.bimg/{id}/stamp"),
    ] {
        std::fs::remove_file(board.path(&gone)).unwrap();
        lab.deploy(&["--no-reboot"]).ok();
        assert_eq!(files(&board.digests(&["boot/bimg", "lib/modules/.bimg"])), files(&whole), "{gone}");
    }
    let sent = board.wire().sent();
    lab.deploy(&["--no-reboot"]).ok();
    assert!(board.wire().sent() - sent < 60_000);
    board.trials(Fate::Good);
    lab.deploy(&[]).ok();
    assert_eq!(board.running(), id);
}
