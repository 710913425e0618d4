//! What goes to stdout, and what is left behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::common::live::Live;
use super::{Project, project, refused, run};

#[test]
fn json_of_a_compressed_image_is_the_data_alone() {
    let project = project();
    project
        .shell("xz -k -0 pi.img; cp pi.img other.img; printf x | dd of=other.img conv=notrunc status=none");
    let json = |args: &[&str]| run(&project, &[args, &["--json"]].concat());
    assert_eq!(json(&["cat", "pi.img.xz", "1:config.txt"]).ok().stdout, "arm_64bit=1\n");
    assert_eq!(json(&["ls", "pi.img.xz", "1:config.txt"]).ok().stdout.lines().count(), 1);
    let one = |stdout: &str| serde_json::from_str::<Value>(stdout).unwrap();
    assert_eq!(one(&json(&["inspect", "pi.img.xz"]).ok().stdout)["table"], "mbr");
    // A failure has its status, and its words on stderr.
    let differ = json(&["diff", "pi.img.xz", "other.img"]);
    assert_eq!(differ.status, Some(3));
    assert!(one(&differ.stdout)["differences"][0]["what"].is_string());
    assert!(differ.stderr.ends_with("error: `pi.img.xz` and `other.img` differ\n"), "{}", differ.stderr);
    project.shell("echo wrong > SHA256SUMS");
    let bad = json(&["verify", "pi.img.xz"]);
    assert_eq!(bad.status, Some(3));
    assert!(one(&bad.stdout)["checks"].is_array());
    assert_eq!(json(&["cat", "pi.img.xz", "1:none"]).stdout, "");
}

#[test]
fn the_hash_of_a_large_file_is_interrupted() {
    let project = Project::new();
    project.shell("truncate -s 200G big.img");
    let live = Live::start(&mut project.bimg(&["image", "verify", "big.img"]));
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    live.signal(Signal::INT);
    assert_eq!(live.end().0, Some(130));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_pipe_is_not_signed() {
    let project = Project::new();
    project.shell("mkfifo pipe");
    run(&project, &["keygen", "key"]).ok();
    refused(
        &project,
        &["sign", "pipe", "--key", "key"],
        2,
        "error: cannot read `pipe`\n  caused by: it is not a regular file\n",
    );
}

/// No file may grow, as on a full disk.
fn full(project: &Project, args: &str) -> String {
    let program = env!("CARGO_BIN_EXE_bimg");
    project.shell(&format!("trap '' XFSZ; (ulimit -f 0; {program} {args} 2>&1 || true)"))
}

#[test]
fn nothing_half_is_left_on_a_full_disk() {
    let project = Project::new();
    assert_eq!(
        full(&project, "image keygen key"),
        "error: cannot write `key`\n  caused by: File too large\n"
    );
    assert_eq!(
        full(&project, "generate man man"),
        "error: cannot write manual pages to `man`\n  caused by: File too large\n"
    );
    assert_eq!(project.shell("ls key* man* 2>&1 | grep -c cannot"), "2\n");
    run(&project, &["keygen", "key"]).ok();
}
