//! Images and places that are refused.

use super::*;

#[track_caller]
fn target(project: &Project, path: &str, why: &str) {
    assert_fails(
        &flash(project, &["--yes", "images/x.img", path]),
        2,
        &format!(
            "error: cannot write an image to `{path}`\n  caused by: {why}\n\n\
             hint: `bimg flash --list` shows the drives that can be written to\n"
        ),
    );
}

#[test]
fn what_is_no_place_for_an_image() {
    let project = plain();
    target(&project, "images", "it is a directory, neither a drive nor a file");
    project.shell("mkfifo pipe");
    target(&project, "pipe", "it is a pipe, neither a drive nor a file");
    target(&project, "/dev/null", "it is a character device, neither a drive nor a file");
    target(&project, "/dev/sdzz", "there is no such drive");
    assert_fails(
        &flash(&project, &["--yes", "images/x.img", "no/card.img"]),
        1,
        "error: cannot open `no/card.img`\n  caused by: No such file or directory\n",
    );
}

#[test]
fn the_image_itself() {
    let project = plain();
    project.shell("ln -s images/x.img link.img");
    for path in ["images/x.img", "link.img"] {
        assert_fails(
            &flash(&project, &["--yes", "images/x.img", path]),
            2,
            &format!("error: `{path}` is the image itself\n"),
        );
    }
}

#[test]
fn an_image_that_is_not_there_leaves_nothing_behind() {
    let project = plain();
    assert_fails(
        &flash(&project, &["no.img", "card.img"]),
        1,
        "error: cannot open `no.img`\n  caused by: No such file or directory\n",
    );
    project.shell("head -c 1000 images/x.img | xz | head -c 500 > bad.img.xz");
    assert_eq!(flash(&project, &["bad.img.xz", "card.img"]).status, Some(1));
    assert!(!project.path("card.img").exists());
}

#[test]
fn one_partition_of_nothing() {
    let project = built();
    let outcome = flash(&project, &["--yes", "--partition", "boot", "out/acme/acme.img", "new.img"]);
    let at = outcome.stderr.find("error: ").unwrap();
    assert_eq!(
        outcome.stderr[at..],
        *"error: `new.img` has no partition to write\n  caused by: it is empty\n\n\
          hint: flash the whole image first, without `--partition`\n"
    );
    assert_eq!(outcome.status, Some(2));
    assert!(!project.path("new.img").exists());
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let project = plain();
    let host = server::start_files(project.path("images"), "404 Not Found");
    for url in [format!("http://me:s3cret@{host}/x.img"), format!("ftp://me:s3cret@{host}/x.img")] {
        for json in [&["--json"][..], &[]] {
            let outcome = flash(&project, &[json, &["--yes", &url, "card.img"]].concat());
            let told = outcome.stdout + &outcome.stderr;
            assert!(told.contains(&format!("{host}/x.img")) && !told.contains("s3cret"), "{told}");
        }
    }
}

#[test]
fn a_way_that_nobody_goes() {
    let project = plain();
    for url in ["ftp://host/x.img", "file:///x.img"] {
        assert_fails(
            &flash(&project, &[url, "card.img"]),
            2,
            &format!(
                "error: cannot fetch `{url}`\n  \
                 caused by: images come from files, standard input (`-`), `http://` and `https://`\n"
            ),
        );
    }
    assert!(!project.path("card.img").exists());
}

#[test]
fn a_file_that_another_writes() {
    let project = plain();
    project.shell("cp images/x.img card.img");
    let held = std::fs::File::open(project.path("card.img")).unwrap();
    held.lock().unwrap();
    assert_fails(
        &flash(&project, &["--yes", "images/x.img", "card.img"]),
        1,
        "error: will not write to `card.img`\n  caused by: another bimg is writing to it\n",
    );
    drop(held);
    flash(&project, &["--yes", "images/x.img", "card.img"]).ok();
}

#[test]
fn what_is_too_small_to_be_an_image() {
    let project = plain();
    project.shell(": > empty.img && printf x > byte.img && gzip -k empty.img && cp images/x.img card.img");
    for (image, size) in [("empty.img", 0), ("byte.img", 1), ("empty.img.gz", 0)] {
        for card in ["card.img", "new.img"] {
            let outcome = flash(&project, &["--yes", image, card]);
            let at = outcome.stderr.find("error: ").unwrap();
            assert_eq!(
                outcome.stderr[at..],
                format!(
                    "error: `{image}` is no image of a disk\n  caused by: it has {size} bytes, and the smallest sector has 512\n\n\
                     hint: was its download cut off, or did the command before the pipe fail?\n"
                )
            );
            assert_eq!(outcome.status, Some(2));
        }
        project.shell("cmp images/x.img card.img && ! test -e new.img");
    }
}

#[test]
fn what_holds_an_image_without_being_one() {
    let project = plain();
    project.shell(
        "{ printf 'PK\\003\\004'; cat images/x.img; } > x.zip && gzip -k x.zip && cp images/x.img card.img",
    );
    for (image, it) in [("x.zip", "it is"), ("x.zip.gz", "unpacked it is")] {
        for card in ["card.img", "new.img"] {
            assert_fails(
                &flash(&project, &[image, card]),
                2,
                &format!(
                    "error: `{image}` is no image of a disk\n  caused by: {it} a zip archive, not the bytes of a disk\n\n\
                     hint: get the image itself with `unzip`, and flash that\n"
                ),
            );
        }
    }
    let zip = std::fs::File::open(project.path("x.zip")).unwrap();
    let piped = project.bimg(&["flash", "-", "new.img"]).stdin(zip).output().unwrap();
    let told = String::from_utf8(piped.stderr).unwrap();
    assert!(
        told.contains("error: `standard input` is no image of a disk\n  caused by: it is a zip archive, "),
        "{told}"
    );
    project.shell("cmp images/x.img card.img && ! test -e new.img");
}

#[test]
fn a_file_that_is_there_unasked() {
    let project = plain();
    project.write("card.img", "precious");
    assert_fails(
        &flash(&project, &["images/x.img", "card.img"]),
        2,
        "error: will not write to `card.img` unasked\n  caused by: there is no terminal to ask on\n\n\
         hint: a script says `--yes`\n",
    );
    assert_eq!(project.read("card.img"), "precious");
}

#[test]
fn a_file_that_is_too_small() {
    let project = plain();
    project.write("card.img", "precious");
    let outcome = flash(&project, &["--yes", "images/x.img", "card.img"]);
    assert!(
        outcome.stderr.contains("error: `images/x.img` does not fit on `card.img`\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(project.read("card.img"), "precious");
}

#[test]
fn yes_to_no_drive_in_particular() {
    let project = plain();
    assert_fails(
        &flash(&project, &["--yes", "images/x.img"]),
        2,
        "error: `--yes` takes a DEVICE\n\n\
         hint: without anybody to ask, a drive has to be named: `bimg flash --yes IMAGE DEVICE`\n",
    );
}
