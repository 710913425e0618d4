//! Compiles `boards/` and `toolchains/` into the binary: a sorted table of (path, mode, bytes).

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    for dir in ["boards", "toolchains"] {
        collect(&root.join(dir), &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let executable = fs::metadata(&file)?.permissions().mode() & 0o100 != 0;
        let mode = if executable { "0o755" } else { "0o644" };
        let path = file.display().to_string();
        writeln!(
            table,
            "    BuiltinFile {{ name: {name:?}, mode: {mode}, bytes: include_bytes!({path:?}) }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push(']');
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("builtin.rs"), table)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
