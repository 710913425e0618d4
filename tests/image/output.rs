//! What goes to stdout, and what is left behind.

use serde_json::Value;

use super::{project, run};

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
