//! `bimg flash` by the real binary, onto regular files: what arrives, what is checked, what is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod signatures;

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use common::server;
use common::{Outcome, Project, assert_fails};

/// A project with an image of 24 MiB: a FAT, an ext4 and nothing in between.
fn built() -> Project {
    let project = Project::new();
    project.build(&[]);
    project
}

/// A project with a small image that has no partition table, a block map or anything else beside it.
fn plain() -> Project {
    let project = Project::new();
    project.shell("mkdir images && head -c 3000000 /dev/urandom > images/x.img");
    project
}

#[track_caller]
fn flash(project: &Project, args: &[&str]) -> Outcome {
    project.run(&[&["flash"], args].concat())
}

/// Its last lines, without what differs from run to run.
fn told(outcome: &Outcome) -> String {
    let untimed = |line: &str| if line.ends_with("/s") { "  TIME".to_string() } else { line.to_string() };
    outcome.stdout.lines().map(|line| untimed(line) + "\n").collect()
}

mod arrives {
    use super::*;

    #[test]
    fn a_new_file_gets_the_image() {
        let project = built();
        let outcome = flash(&project, &["out/acme/acme.img", "card.img"]).ok();
        project.shell("cmp out/acme/acme.img card.img");
        let expected = "card.img\n  ";
        assert!(told(&outcome).starts_with(expected), "{}", outcome.stdout);
        assert!(told(&outcome).ends_with(" of data, read back and equal\n  TIME\n"), "{}", outcome.stdout);
        assert!(outcome.stderr.starts_with("flash: started: `out/acme/acme.img` to `card.img`\n"));
        let json = flash(&project, &["--json", "--no-verify", "out/acme/acme.img", "card2.img"]).ok().stdout;
        let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "flashed");
        assert_eq!(last["device"], "card2.img");
        assert_eq!(last["verified"], false);
        assert_eq!(last["size"], project.path("out/acme/acme.img").metadata().unwrap().len());
        project.shell("cmp out/acme/acme.img card2.img");
    }

    /// First and last byte of each mapped range.
    fn mapped(project: &Project) -> Vec<(usize, usize)> {
        let map = project.read("out/acme/acme.img.bmap");
        let blocks = map.lines().filter(|line| line.contains("<Range")).map(|line| {
            let span = line.split('>').nth(1).unwrap().split('<').next().unwrap().trim();
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap())
        });
        blocks.map(|(first, last)| (first * 4096, last * 4096 + 4095)).collect()
    }

    #[test]
    fn a_larger_file_keeps_its_size_and_what_the_map_leaves_out_like_a_card() {
        let project = built();
        project.shell("head -c 64M /dev/zero | tr '\\0' x > card.img");
        flash(&project, &["--yes", "out/acme/acme.img", "card.img"]).ok();
        let read = |name: &str| std::fs::read(project.path(name)).unwrap();
        let (image, card) = (read("out/acme/acme.img"), read("card.img"));
        assert_eq!(card.len(), 64 << 20);
        let mut expected = vec![b'x'; card.len()];
        for (first, last) in mapped(&project) {
            let last = last.min(image.len() - 1);
            expected[first..=last].copy_from_slice(&image[first..=last]);
        }
        assert!(card == expected, "other bytes than the mapped ones were written");
    }

    #[test]
    fn every_compression_from_a_file_a_pipe_and_a_server() {
        let project = plain();
        project.shell(
            "cd images && xz -T1 --block-size=1MiB -k x.img && zstd -q x.img && gzip -k x.img && bzip2 -k x.img",
        );
        let host = server::start_files(project.path("images"), "404 Not Found");
        for name in ["x.img", "x.img.xz", "x.img.zst", "x.img.gz", "x.img.bz2"] {
            let path = format!("images/{name}");
            flash(&project, &[&path, "from-file.img"]).ok();
            let body = std::fs::read(project.path(&path)).unwrap();
            let mut pipe = project.bimg(&["flash", "--quiet", "-", "from-pipe.img"]);
            let mut child = pipe.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(&body).unwrap();
            assert!(child.wait().unwrap().success());
            let url = format!("http://{host}/{name}");
            flash(&project, &[&url, "from-url.img"]).ok();
            for from in ["file", "pipe", "url"] {
                project.shell(&format!("cmp images/x.img from-{from}.img && rm from-{from}.img"));
            }
        }
    }

    #[test]
    fn writes_only_what_differs() {
        let project = built();
        flash(&project, &["out/acme/acme.img", "card.img"]).ok();
        let place = mapped(&project).last().unwrap().0 + 100;
        project.shell(&format!("printf x | dd of=card.img bs=1 seek={place} conv=notrunc status=none"));
        let json =
            flash(&project, &["--json", "--yes", "--minimize-writes", "out/acme/acme.img", "card.img"]);
        let last: serde_json::Value = serde_json::from_str(json.ok().stdout.lines().last().unwrap()).unwrap();
        assert!(last["written"].as_u64().unwrap() < last["mapped"].as_u64().unwrap() / 2, "{last}");
        project.shell("cmp out/acme/acme.img card.img");
    }
}

mod checks {
    use super::*;

    const STARTED: &str = "flash: started: `images/x.img` to `card.img`\nflash: failed after TIME\n";

    #[test]
    fn sums_of_the_image() {
        let project = plain();
        project.shell("cd images && sha256sum x.img > SHA256SUMS");
        flash(&project, &["images/x.img", "card.img"]).ok();
        project
            .shell("rm card.img; printf x | dd of=images/x.img bs=1 seek=2000000 conv=notrunc status=none");
        let outcome = flash(&project, &["images/x.img", "card.img"]);
        let right = project.read("images/SHA256SUMS")[..64].to_string();
        let wrong = project.shell("sha256sum images/x.img")[..64].to_string();
        let warning = "warning: `card.img` holds a part of the image and does not boot\n";
        assert_fails(
            &Outcome { stderr: outcome.stderr.replace(warning, ""), ..outcome },
            1,
            &format!(
                "{STARTED}error: `images/x.img` is not the file that was asked for\n  \
                 caused by: its sha256 is {wrong}\n  caused by: expected         {right}\n\n\
                 hint: it was damaged on its way, or is from another release: fetch it again\n"
            ),
        );
    }

    #[test]
    fn sums_of_the_block_map_speak_for_the_image() {
        let project = built();
        // Bytes that no file of the image uses: nobody has to read them.
        let size = project.path("out/acme/acme.img").metadata().unwrap().len();
        project.edit("out/acme/acme.img.bmap", "<ImageSize>", "<ImageSize> ");
        let found = project.shell("sha256sum out/acme/acme.img.bmap")[..64].to_string();
        let sums = project.read("out/acme/SHA256SUMS");
        let expected = sums.lines().find(|line| line.ends_with("acme.img.bmap")).unwrap()[..64].to_string();
        assert_fails(
            &flash(&project, &["out/acme/acme.img", "card.img"]),
            1,
            &format!(
                "error: `out/acme/acme.img.bmap` is not the file that `SHA256SUMS` lists\n  \
                 caused by: its sha256 is {found}\n  caused by: expected         {expected}\n\n\
                 hint: the two are from different builds, or one is damaged: fetch both again\n"
            ),
        );
        assert!(!project.path("card.img").exists() && size > 0);
    }

    #[test]
    fn a_block_map_is_found_where_bmaptool_finds_it() {
        let project = plain();
        project.shell("zstd -q images/x.img");
        for (image, names) in [
            ("images/x.img", ["x.img.bmap", "x.bmap"].as_slice()),
            ("images/x.img.zst", ["x.img.zst.bmap", "x.img.bmap", "x.bmap"].as_slice()),
        ] {
            for name in names {
                let path = format!("images/{name}");
                project.write(&path, "hello");
                let outcome = flash(&project, &[image, "card.img"]);
                let start = format!("error: cannot use the block map `{path}`\n");
                assert!(outcome.stderr.starts_with(&start), "{name}: {}", outcome.stderr);
                assert!(!project.path("card.img").exists());
                project.shell(&format!("rm {path}"));
            }
        }
    }
}

mod from_a_server {
    use super::*;

    #[test]
    fn what_lies_beside_is_checked_as_well() {
        let project = built();
        let url =
            format!("http://{}/acme.img", server::start_files(project.path("out/acme"), "404 Not Found"));
        flash(&project, &[&url, "card.img"]).ok();
        project.shell("cmp out/acme/acme.img card.img && rm card.img");
        project.edit("out/acme/acme.img.bmap", "<ImageSize>", "<ImageSize> ");
        let outcome = flash(&project, &[&url, "card.img"]);
        let start = format!("error: `{url}.bmap` is not the file that `SHA256SUMS` lists\n");
        assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
        assert!(!project.path("card.img").exists());
    }

    #[test]
    fn servers_that_are_not_plain_about_what_they_do_not_have() {
        let project = plain();
        for status in ["403 Forbidden", "410 Gone"] {
            let url = format!("http://{}/x.img", server::start_files(project.path("images"), status));
            flash(&project, &["--yes", &url, "card.img"]).ok();
            project.shell("cmp images/x.img card.img");
        }
        project.write("images/SHA256SUMS", "\n<!DOCTYPE html>\n<title>Not here</title>\n");
        let url = format!("http://{}/x.img", server::start_files(project.path("images"), "404 Not Found"));
        flash(&project, &["--yes", &url, "card.img"]).ok();
        // In a file of one's own it is a mistake.
        assert_fails(
            &flash(&project, &["--yes", "images/x.img", "card.img"]),
            1,
            "error: cannot understand `images/SHA256SUMS`\n  \
             caused by: line 2 is no SHA-256 with a file name\n\nhint: it should be as `sha256sum` writes it\n",
        );
    }

    #[test]
    fn a_signature_of_the_image_itself() {
        let project = plain();
        let pair = signatures::key(&project);
        signatures::sign(&project, &pair, "images/x.img");
        let url = format!("http://{}/x.img", server::start_files(project.path("images"), "404 Not Found"));
        assert_fails(
            &flash(&project, &["--key", "my.pub", &url, "card.img"]),
            1,
            &format!(
                "error: cannot check `{url}.minisig`\n  caused by: it signs the image itself, all of which has \
                 to be read before anything is written\n\n\
                 hint: download the image first, or have `SHA256SUMS` signed\n"
            ),
        );
        project.shell("cd images && sha256sum x.img > SHA256SUMS");
        signatures::sign(&project, &pair, "images/SHA256SUMS");
        flash(&project, &["--key", "my.pub", &url, "card.img"]).ok();
        project.shell("cmp images/x.img card.img && rm card.img images/SHA256SUMS*");
        // Where no key is asked for, it is written all the same.
        project.shell("mkdir -p ../home/.config/bimg/keys && cp my.pub ../home/.config/bimg/keys");
        let outcome = flash(&project, &[&url, "card.img"]).ok();
        let warning = format!(
            "warning: `{url}.minisig` was not checked: it signs the image itself, all of which has to be read \
             before anything is written\n"
        );
        assert!(outcome.stderr.starts_with(&warning), "{}", outcome.stderr);
        project.shell("cmp images/x.img card.img && rm card.img");
    }
}

mod terminal {
    use super::*;

    /// bimg on a terminal of its own, where `answer` is typed.
    fn typed(project: &Project, answer: &str) -> (Option<i32>, String) {
        let command = format!("{} flash images/x.img card.img", env!("CARGO_BIN_EXE_bimg"));
        let mut script = project.command("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        // What is typed before the question reaches whoever has the terminal then.
        let (mut shown, mut byte) = (Vec::new(), [0]);
        while !shown.ends_with(b"type `yes`: ") && stdout.read(&mut byte).unwrap() == 1 {
            shown.push(byte[0]);
        }
        stdin.write_all(answer.as_bytes()).unwrap();
        stdout.read_to_end(&mut shown).unwrap();
        drop(stdin);
        (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).replace('\r', ""))
    }

    #[test]
    fn the_answer_decides() {
        let project = plain();
        project.shell("head -c 4M /dev/zero > card.img");
        let (status, shown) = typed(&project, "no\n");
        assert!(
            shown.contains(
                "card.img: a file of 4 MiB\n  will be overwritten\nto write `images/x.img` to it, type `yes`: "
            ),
            "{shown}"
        );
        assert!(shown.contains("nothing was written to `card.img`"), "{shown}");
        assert_eq!(status, Some(1));
        assert_eq!(project.shell("tr -d '\\0' < card.img | wc -c").trim(), "0");
        let (status, shown) = typed(&project, "\u{3}");
        assert_eq!(status, Some(130), "{shown}");
        assert_eq!(project.shell("tr -d '\\0' < card.img | wc -c").trim(), "0");
        let (status, shown) = typed(&project, "yes\n");
        assert_eq!(status, Some(0), "{shown}");
        project.shell("cmp --bytes=3000000 images/x.img card.img");
    }
}

#[test]
fn the_list_is_there_on_any_machine() {
    let project = Project::new();
    let table = flash(&project, &["--list"]).ok().stdout;
    assert!(table.starts_with("DRIVE ") || table == "there is no drive\n", "{table}");
    for line in flash(&project, &["--list", "--json"]).ok().stdout.lines() {
        let drive: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(drive["drive"].as_str().unwrap().starts_with("/dev/") && drive["refused"].is_array());
    }
}

#[test]
fn the_disk_of_this_machine_is_never_an_offer() {
    // Whatever runs these tests has its root somewhere: if that is a drive, it is refused and says why.
    let project = Project::new();
    for line in flash(&project, &["--list", "--json", "--allow-fixed"]).ok().stdout.lines() {
        let drive: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = drive["drive"].as_str().unwrap();
        let holds_root =
            project.shell(&format!("lsblk --noheadings --output MOUNTPOINTS {path} 2>/dev/null || true"));
        if holds_root.lines().any(|point| point.trim() == "/") {
            assert_ne!(drive["refused"].as_array().unwrap().len(), 0, "{drive}");
        }
    }
}
