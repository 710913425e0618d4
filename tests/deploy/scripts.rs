//! The scripts that run on boards, judged by others.

use crate::common::Project;

#[test]
fn shellcheck_finds_nothing() {
    let project = Project::new();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deploy/remote");
    // Each script runs behind the prelude, whose variables and functions it uses.
    let mut scripts = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let prelude =
            if path.ends_with("prelude.sh") { "/dev/null".to_string() } else { format!("{dir}/prelude.sh") };
        project.shell(&format!(
            "cat {prelude} {} > script.sh && shellcheck -s sh -e SC2034,SC1090,SC2317,SC3003 script.sh",
            path.display()
        ));
        scripts += 1;
    }
    assert!(scripts > 5);
}
