//! What the documents and scripts promise.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

fn files(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

#[test]
fn every_board_is_in_the_readmes_table() {
    let readme = read("README.md");
    for board in files("boards") {
        let name = board.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("\n| `{name}` |")), "README.md has no row for `{name}`");
    }
}

#[test]
fn every_toml_block_in_the_documents_parses() {
    for document in files("docs").into_iter().chain([root().join("README.md")]) {
        let text = read(&document);
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if let Err(cause) = block.parse::<toml::Table>() {
                panic!("{}: {cause}\n{block}", document.display());
            }
        }
    }
}

#[test]
fn scripts_stay_short() {
    for script in files("scripts") {
        let lines = read(&script).lines().count();
        // A benchmark spells out what a user would type in place of bimg, tool by tool.
        let most = if script.to_string_lossy().contains("/bench-") { 100 } else { 50 };
        assert!(lines < most, "{} has {lines} lines: longer logic belongs in Rust", script.display());
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let top =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    for document in files("docs").into_iter().chain(top) {
        let text = read(&document);
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = document.with_file_name("").join(link);
            let document = document.display();
            assert!(target.exists(), "{document} links to `{link}`, which does not exist");
        }
    }
}
