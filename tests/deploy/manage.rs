//! `bimg target`.

use crate::board::Fate;
use crate::lab::{Lab, STATUS, assert_refused, assert_text};

#[test]
fn kernels_come_and_go() {
    let lab = Lab::new();
    let board = lab.board();
    assert_text(&lab.target(&["status"]).ok().stdout, STATUS);
    board.write("proc/device-tree/model", "Acme \u{1b}[2JBoard\u{7} A\0");
    assert_text(&lab.target(&["status"]).ok().stdout, STATUS);
    assert_text(
        &lab.target(&["list"]).ok().stdout,
        "id            release                  since                     size  state\n\
         image         6.12.0-fake              -                            -  running, default\n",
    );
    assert_refused(
        &lab.target(&["rollback"]),
        1,
        "error: there is nothing to go back to\n  \
         caused by: the board's default is the kernel of its image\n\n\
         hint: `bimg target list` shows the kernels there\n",
    );
    // A journal that knows of no boot before.
    std::fs::create_dir_all(board.path("var/log/journal")).unwrap();
    board.program("journalctl", "echo 'Specifying boot ID or boot offset has no effect' >&2; exit 1");
    assert_refused(
        &lab.target(&["console-log"]),
        1,
        "error: board keeps no log of a failed boot\n  \
         caused by: no trial of a deployment has failed there, and its kernel has no pstore\n\n\
         hint: `console-log` in hosts.toml names a file that its serial console is written to\n",
    );

    let one = lab.deploy_edited("one");
    let two = lab.deploy_edited("two");
    lab.edit_module("three");
    lab.deploy(&["--no-reboot"]).ok();
    let three = board.deployments().into_iter().find(|id| ![&one, &two].contains(&id)).unwrap();
    let named = |text: String| text;
    assert_text(
        &named(lab.target(&["list"]).ok().stdout),
        "id            release                  since                     size  state\n\
         image         6.12.0-fake              -                            -  good\n\
         [ID]  6.12.0-fake              [DATE] [SIZE]  good\n\
         [ID]  6.12.0-fake              [DATE] [SIZE]  running, default\n\
         [ID]  6.12.0-fake              [DATE] [SIZE]  never tried\n",
    );
    assert_text(
        &lab.target(&["status", "--json"]).ok().stdout,
        "{\"host\":\"board\",\"model\":\"Acme Board A\",\"machine\":\"aarch64\",\"release\":\"6.12.0-fake\",\"version\":\"#1\",\"running\":\"[ID]\",\"default\":\"[ID]\",\"trial\":null,\"on_trial\":false,\"boot_chain\":\"uboot-script\",\"boot_filesystem\":\"/dev/mmcblk0p1\",\"free_boot\":10239998976,\"free_root\":10239998976,\"uptime\":7,\"leftovers\":[],\"problem\":null}\n",
    );

    assert_refused(
        &lab.target(&["remove", &two]),
        1,
        "error: [ID] stays on the board\n  \
         caused by: it is running\n\n\
         hint: boot another one first: `bimg target rollback`\n",
    );
    assert_refused(
        &lab.target(&["remove", &one]),
        1,
        "error: [ID] stays on the board\n  \
         caused by: it is the last one known to be good, where a rollback would go\n\n\
         hint: deploy another kernel first\n",
    );
    assert_refused(
        &lab.target(&["remove", "image"]),
        1,
        "error: image stays on the board\n  \
         caused by: it is the kernel of the image, where a board ends that has nothing else\n\n\
         hint: `bimg flash` replaces it\n",
    );
    assert_refused(
        &lab.target(&["remove", "6.12.0-fake"]),
        2,
        "error: several deployments of the board are `6.12.0-fake`\n  \
         caused by: [ID], [ID], [ID]\n\n\
         hint: name one by its ID\n",
    );
    assert_refused(
        &lab.target(&["remove", "6.13"]),
        2,
        "error: the board has no deployment `6.13`\n\n\
         hint: `bimg target list` shows the kernels there\n",
    );
    assert_text(
        &lab.target(&["remove", &three[..4], "--json"]).ok().stdout,
        "{\"host\":\"board\",\"removed\":\"[ID]\"}\n",
    );
    assert!(!board.path(&format!("boot/bimg/{three}")).exists());
    assert!(!board.path(&format!("lib/modules/.bimg/{three}")).exists());

    assert_text(&lab.target(&["rollback"]).ok().stdout, "board  runs 6.12.0-fake ([ID])\n");
    assert_eq!((board.running(), board.state().0), (one.clone(), one.clone()));
    let json = lab.target(&["rollback", "--json"]).ok().stdout;
    assert!(json.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{json}");
    assert_text(
        json.lines().last().unwrap(),
        "{\"host\":\"board\",\"running\":\"image\",\"release\":\"6.12.0-fake\"}",
    );
    assert_eq!((board.running(), board.state().0), ("image".to_string(), "image".to_string()));
    assert_text(
        &lab.target(&["list"]).ok().stdout,
        "id            release                  since                     size  state\n\
         image         6.12.0-fake              -                            -  running, default\n\
         [ID]  6.12.0-fake              [DATE] [SIZE]  good\n\
         [ID]  6.12.0-fake              [DATE] [SIZE]  good\n",
    );
}

#[test]
fn old_ones_are_pruned() {
    let lab = Lab::new();
    let board = lab.board();
    let mut all = Vec::new();
    for word in ["one", "two", "three", "four", "five"] {
        lab.edit_module(word);
        lab.deploy(&[]).ok();
        all.push(board.running());
    }
    let mut kept = all[2..].to_vec();
    kept.sort();
    assert_eq!(board.deployments(), kept);
    assert_eq!(board.names("lib/modules/.bimg"), kept);

    lab.project.edit("boards/acme.toml", "timeout = 20", "timeout = 20\nkeep = 1");
    assert_refused(
        &lab.deploy(&[]),
        2,
        "error: `deploy.keep` is 1\n  \
         caused by: a board needs the running kernel and one to go back to\n  \
         --> boards/acme.toml:39:1\n   \
         |\n\
         39 | [deploy]\n   \
         | ^^^^^^^^ here\n\n\
         hint: 2 or more\n",
    );
}

#[test]
fn those_that_fail_do_not_pile_up() {
    let lab = Lab::new();
    let board = lab.board();
    let good = lab.deploy_edited("good");
    board.trials(Fate::Hangs);
    for word in ["one", "two", "three", "four"] {
        lab.edit_module(word);
        assert_eq!(lab.deploy(&[]).status, Some(4));
    }
    // As many as stay, and the last one.
    assert_eq!(board.deployments().len(), 4);
    assert!(board.deployments().contains(&good));
    // Those that nobody started as well.
    for word in ["five", "six"] {
        lab.edit_module(word);
        let outcome = lab.deploy(&["--no-reboot"]).ok();
        assert!(outcome.stderr.contains("board: removing old deployments: [ID]\n"), "{outcome:?}");
    }
    assert_eq!((board.deployments().len(), board.running()), (4, good));
}

#[test]
fn the_one_before_a_new_one_is_what_ran_then() {
    let lab = Lab::new();
    let board = lab.board();
    lab.project.edit("boards/acme.toml", "timeout = 20", "timeout = 20\nkeep = 2");
    let one = lab.deploy_edited("one");
    let two = lab.deploy_edited("two");
    // The second was found wanting.
    lab.target(&["rollback"]).ok();
    assert_eq!(board.running(), one);
    lab.deploy_edited("three");
    assert!(!board.deployments().contains(&two));
    lab.target(&["rollback"]).ok();
    assert_eq!(board.running(), one);
    // The same from the image.
    lab.target(&["rollback"]).ok();
    assert_eq!(board.running(), "image");
    lab.deploy_edited("four");
    lab.target(&["rollback"]).ok();
    assert_eq!(board.running(), "image");
    // And nothing of that stays when all others go.
    for id in board.deployments() {
        assert_eq!(board.names("lib/modules/.bimg").len(), board.deployments().len() + 1);
        lab.target(&["remove", &id]).ok();
    }
    assert_eq!(board.names("lib/modules/.bimg"), [] as [&str; 0]);
}

#[test]
fn no_rollback_leads_to_one_that_failed_since() {
    let lab = Lab::new();
    let board = lab.board();
    let one = lab.deploy_edited("one");
    let two = lab.deploy_edited("two");
    lab.deploy_edited("three");
    // Two was good once. Its guard has sent the board back from another trial, and kept the log.
    board.write(&format!("lib/modules/.bimg/{two}/log"), "Oops\n");
    lab.target(&["rollback"]).ok();
    assert_eq!(board.running(), one);
}

#[test]
fn a_trial_that_goes_on() {
    let lab = Lab::new();
    let board = lab.board();
    lab.edit_kernel("trial");
    lab.deploy(&["--no-reboot"]).ok();
    let [id] = board.deployments().try_into().unwrap();
    // Armed, and started; its deploy has died.
    board.write(
        "boot/bimg.env",
        &board.read("boot/bimg.env").replacen(
            "bimg_trial=none\nbimg_default=image\nbimg_trial=none",
            &format!("bimg_trial={id}\nbimg_default=image\nbimg_trial=none"),
            1,
        )[..512],
    );
    board.reset();
    assert_eq!((board.running(), board.state()), (id.clone(), ("image".to_string(), "none".to_string())));
    assert_text(
        &lab.target(&["status"]).ok().stdout,
        "host       board\n\
         board      Acme Board A\n\
         machine    aarch64\n\
         kernel     6.12.0-fake #1\n\
         running    [ID], on trial\n\
         default    image\n\
         boot       uboot-script on /dev/mmcblk0p1\n\
         free       9.5 GiB for boot files, 9.5 GiB for modules\n\
         up         7 s\n",
    );
    assert_text(
        &lab.target(&["list"]).ok().stdout,
        "id            release                  since                     size  state\n\
         image         6.12.0-fake              -                            -  default\n\
         [ID]  6.12.0-fake              [DATE] [SIZE]  running, trial\n",
    );
    // Another kernel has to wait.
    lab.edit_kernel("another");
    assert_refused(
        &lab.deploy(&[]),
        1,
        "error: deploy to board failed\n  \
         caused by: board is on the trial boot of another kernel\n  \
         caused by: [ID], brought by tester@[HOST] at [DATE]\n\n\
         hint: it goes back by itself in [TIME] s unless its deploy confirms it; `bimg target rollback` does so at once\n",
    );
    // The same one goes on where it was left, and what only looks leaves it there.
    lab.edit_kernel("trial");
    assert_text(
        &lab.deploy(&["--dry-run"]).ok().stdout,
        "board  would get 6.12.0-fake ([ID]): 0 files, 0 B; then a trial boot\n",
    );
    lab.deploy(&["--no-reboot", "--check", "false"]).ok();
    assert_eq!((board.state().0.as_str(), board.boots()), ("image", 2));
    // One whose root filesystem always starts read-only is confirmed all the same.
    board.write("proc/self/mountinfo", &board.read("proc/self/mountinfo").replace(" / / rw", " / / ro"));
    assert_text(
        &lab.deploy(&[]).ok().stdout,
        "board  runs 6.12.0-fake ([ID]), the default now; nothing to send, [TIME] s\n",
    );
    assert_eq!(board.state().0, id);
    board.trials(Fate::Good);
}
