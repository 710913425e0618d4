//! Looking at the machine: the doctor's only I/O.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::{Error, Result};
use crate::exec::{self, Cmd};
use crate::fsx;
use crate::units::ByteSize;
use crate::version::Version;

use super::host::Host;
use super::table::{self, Probe};
use super::{Facts, Found, KernelTree, Request, Room};

/// Looks for tools in a search path.
#[derive(Debug, Clone)]
pub struct Prober {
    path: OsString,
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

impl Prober {
    /// In the path that [`exec`] runs tools from.
    pub fn new() -> Self {
        Prober { path: exec::search_path() }
    }

    /// In a path of one's own.
    pub fn with_path(path: impl Into<OsString>) -> Self {
        Prober { path: path.into() }
    }

    /// Everything that judging `request` takes.
    pub fn facts(&self, request: &Request<'_>) -> Result<Facts> {
        // Side by side: most of the time is spent waiting for processes to start.
        let found: Vec<Option<Found>> = std::thread::scope(|scope| {
            let probes: Vec<_> =
                request.needs.iter().map(|need| scope.spawn(|| self.find(&need.tool))).collect();
            probes.into_iter().map(|probe| probe.join().unwrap_or_default()).collect()
        });
        crate::interrupt::check()?;
        let tools = request
            .needs
            .iter()
            .zip(found)
            .filter_map(|(need, found)| Some((need.tool.clone(), found?)))
            .collect();
        Ok(Facts {
            tools,
            minimums: request.tree.map(|tree| self.minimums(tree)).unwrap_or_default(),
            host: Host::detect()?,
            disk: request.disk.iter().map(room).collect::<Result<_>>()?,
            memory: memory()?,
        })
    }

    fn cmd(&self, program: impl AsRef<std::ffi::OsStr>) -> Cmd {
        Cmd::new(program).env("PATH", &self.path)
    }

    /// A tool and its version, None when it is not there.
    pub fn find(&self, tool: &str) -> Option<Found> {
        let (args, marker) = match table::lookup(tool).map(|row| row.probe) {
            Some(Probe::Header(header)) => {
                return self.has_header(header).then_some(Found { path: None, version: None });
            }
            Some(Probe::Program { args, marker }) => (args, marker),
            None => (["--version"].as_slice(), ""),
        };
        let path = exec::which_in(tool, &self.path)?;
        let version = if args.is_empty() { None } else { self.version(&path, args, marker) };
        Some(Found { path: Some(path), version })
    }

    /// What a tool says of itself; some say it on stderr.
    fn version(&self, path: &Path, args: &[&str], marker: &str) -> Option<Version> {
        let output = self.cmd(path).args(args).output().ok()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let find = |text: &str| {
            if marker.is_empty() { Version::find(text) } else { Version::after(text, marker) }
        };
        find(&output.text()).or_else(|| find(&stderr))
    }

    /// Asks the host's compiler: it knows where it looks. Without one, nothing can use the header.
    fn has_header(&self, header: &str) -> bool {
        let Some(cc) = ["gcc", "cc", "clang"].iter().find_map(|cc| exec::which_in(cc, &self.path)) else {
            return false;
        };
        let compile = || -> Result<bool> {
            let cmd = self.cmd(&cc).args(["-x", "c", "-fsyntax-only", "-"]);
            let mut group = cmd.spawn(Stdio::piped(), Stdio::null(), Stdio::null())?;
            if let Some(mut stdin) = group.stdin() {
                // A compiler that does not read has failed, and its status says so.
                let _ = writeln!(stdin, "#include <{header}>");
            }
            Ok(group.wait()?.success())
        };
        compile().unwrap_or(false)
    }

    /// What the kernel tree itself asks for. An older tree has no such script: then the table counts.
    fn minimums(&self, tree: KernelTree<'_>) -> BTreeMap<String, Version> {
        let script = tree.dir.join("scripts/min-tool-version.sh");
        let mut minimums = BTreeMap::new();
        if !script.is_file() {
            return minimums;
        }
        for row in table::TOOLS.iter().filter(|row| !row.kernel_name.is_empty()) {
            let name = row.kernel_name;
            if minimums.contains_key(name) {
                continue;
            }
            let cmd = self.cmd("/bin/sh").arg(&script).arg(name);
            // A tool that the script does not know is left to the table.
            if let Ok(output) = cmd.env("ARCH", tree.arch).env("SRCARCH", srcarch(tree.arch)).check()
                && let Ok(version) = output.text().trim().parse()
            {
                minimums.insert(name.to_string(), version);
            }
        }
        minimums
    }
}

/// The kernel Makefile's own renaming.
fn srcarch(arch: &str) -> &str {
    match arch {
        "x86_64" | "i386" => "x86",
        arch => arch,
    }
}

/// The filesystem of the directory, or of the nearest parent that exists, and what is free there.
fn room(room: &Room) -> Result<(u64, ByteSize)> {
    let absolute =
        std::path::absolute(&room.dir).map_err(|cause| fsx::io_error("find", &room.dir, &cause))?;
    let dir: PathBuf = absolute.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")).to_owned();
    let id = dir.metadata().map_err(|cause| fsx::io_error("read", &dir, &cause))?.dev();
    let facts = rustix::fs::statvfs(&dir).map_err(|cause| fsx::io_error("read", &dir, &cause.into()))?;
    Ok((id, ByteSize(facts.f_bavail.saturating_mul(facts.f_frsize))))
}

/// Memory and swap that can be had.
fn memory() -> Result<ByteSize> {
    let path = Path::new("/proc/meminfo");
    let text = fsx::read_to_string(path)?;
    available(&text)
        .ok_or_else(|| Error::new(format!("`{}` does not tell the available memory", path.display())))
}

fn available(meminfo: &str) -> Option<ByteSize> {
    let kib = |key: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(ByteSize((kib("MemAvailable")? + kib("SwapFree").unwrap_or(0)) << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:       24615180 kB\nMemAvailable:    2097152 kB\nSwapFree:        1048576 kB\n";
        assert_eq!(available(text), Some(ByteSize::mib(3072)));
        assert_eq!(available("nonsense"), None);
    }

    #[test]
    fn room_of_a_directory_that_does_not_exist_yet() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |path: PathBuf| room(&Room { dir: path, bytes: ByteSize(0) }).unwrap();
        let (id, free) = ask(dir.path().join("a/b/c"));
        assert_eq!(id, ask(dir.path().to_owned()).0);
        assert!(free.0 > 0);
    }
}
