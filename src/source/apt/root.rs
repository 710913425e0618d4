//! A private apt root: its own sources, lists and cache for one suite, component and architecture.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::host::{Host, Settings, quoted};
use super::sync::{OUT_OF_STEP, is_out_of_step, patiently};
use crate::digest::Digest;
use crate::error::{Error, Result, nearest};
use crate::exec::{self, Cmd};
use crate::fsx;
use crate::progress::Unit;
use crate::source::{AptSource, Cx, Kind};
use crate::workdir::Lock;

/// One private root, held against other processes.
pub(super) struct Root<'a> {
    dir: PathBuf,
    cx: Cx<'a>,
    package: String,
    title: String,
    suite: Option<String>,
    _lock: Lock,
}

/// A package as the signed index describes it.
pub(super) struct Found {
    pub version: String,
    pub architecture: String,
    pub sha256: Digest,
    size: u64,
}

impl<'a> Root<'a> {
    /// Makes or reuses the root that fits the request.
    pub fn open(source: &AptSource, cx: &Cx<'a>) -> Result<Self> {
        let etc = cx.store.apt_etc();
        let settings = Settings::load(etc)?;
        let arch = source.arch.as_deref().unwrap_or(&settings.architecture);
        let entries = Host::load(etc)?.entries_for(source.suite.as_deref(), source.component.as_deref())?;
        let stanzas: Vec<String> = entries.iter().map(|entry| entry.stanza(arch)).collect();
        let stanzas = stanzas.join("\n");
        let key = Digest::of_fields([stanzas.as_bytes(), quoted(etc)?.as_bytes()]).short();
        let dir = cx.store.place("apt", &key);
        let lock = cx.store.lock(&format!("apt-{key}"), &source.title(), cx.progress)?;
        for part in ["lists/partial", "cache/archives/partial"] {
            fsx::create_dir_all(&dir.join(part))?;
        }
        fsx::write_atomic(&dir.join("sources.sources"), stanzas.as_bytes())?;
        // An empty status: nothing is installed here, so nothing of the host decides what is found.
        fsx::write_atomic(&dir.join("status"), b"")?;
        fsx::write_atomic(&dir.join("apt.conf"), config(&dir, etc, arch, &settings)?.as_bytes())?;
        Ok(Root {
            dir,
            cx: Cx { store: cx.store, mode: cx.mode, base: cx.base, progress: cx.progress },
            package: source.apt.clone(),
            title: source.title(),
            suite: source.suite.clone(),
            _lock: lock,
        })
    }

    fn apt(&self, program: &str) -> Cmd {
        Cmd::new(program).env("APT_CONFIG", self.dir.join("apt.conf")).arg("-q")
    }

    fn lists_stamp(&self) -> PathBuf {
        self.dir.join("refreshed")
    }

    /// True once the lists were read from the mirror.
    pub fn has_lists(&self) -> bool {
        self.lists_stamp().exists()
    }

    /// Reads the package lists from the mirror, unless this run did already.
    pub fn refresh(&self) -> Result<()> {
        if !self.cx.store.first_refresh(&self.dir) && self.has_lists() {
            return Ok(());
        }
        let suite = self.suite.as_deref().unwrap_or("the host's suites");
        self.cx.progress.note(&format!("reading the package lists of {suite}"));
        patiently(self.cx.store.patience(), self.cx.progress, || self.update())?;
        fsx::write_atomic(&self.lists_stamp(), b"")
    }

    fn update(&self) -> Result<()> {
        let output = self.apt("apt-get").args(["-o", "APT::Update::Error-Mode=any", "update"]).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = complaints(&String::from_utf8_lossy(&output.stderr));
        let error = Error::new(format!("cannot read the package lists for {}", self.title));
        let hint = if said.contains("NO_PUBKEY") || said.contains("not signed") {
            Some("the host's keyring may be older than that suite: upgrade `debian-archive-keyring`")
        } else if said.contains("does not have a Release file") {
            Some("the host's mirror does not have that suite; another alternative may")
        } else if is_out_of_step(&said) {
            Some(OUT_OF_STEP)
        } else {
            None
        };
        let error = error.caused_by(said);
        Err(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }

    /// The package in the given version, by default the newest; `None` when the lists do not have it.
    pub fn show(&self, version: Option<&str>) -> Result<Option<Found>> {
        let wanted = match version {
            Some(version) => format!("{}={version}", self.package),
            None => self.package.clone(),
        };
        let output = self.apt("apt-cache").args(["show", "--no-all-versions", "--", &wanted]).output()?;
        let text = output.text();
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        // A virtual or unknown package has no stanza; the status does not tell (0 for an unknown version).
        let (Some(name), Some(found)) = (field("Package"), field("Version")) else { return Ok(None) };
        if name != self.package || version.is_some_and(|version| version != found) {
            return Ok(None);
        }
        let incomplete = || Error::new(format!("the package lists say too little about {}", self.title));
        Ok(Some(Found {
            version: found.to_string(),
            architecture: field("Architecture").unwrap_or("all").to_string(),
            sha256: field("SHA256").ok_or_else(incomplete)?.parse()?,
            size: field("Size").and_then(|size| size.parse().ok()).ok_or_else(incomplete)?,
        }))
    }

    /// The error for a package that the lists do not have.
    pub fn not_found(&self) -> Error {
        let error = Error::new(format!("there is no {}", self.title));
        let names = self.apt("apt-cache").arg("pkgnames").output().map(|output| output.text());
        match nearest(&self.package, names.unwrap_or_default().lines()) {
            Some(near) if near != self.package => error.hint(format!("nearest: `{near}`")),
            Some(_) => error.caused_by("the suite has it in another version only"),
            None => error,
        }
    }

    /// Downloads the package to `target`; apt checks it against the signed index.
    pub fn download(&self, found: &Found, target: &Path) -> Result<()> {
        let dir = self.dir.join("incoming");
        fsx::remove_dir_all(&dir)?;
        fsx::create_dir_all(&dir)?;
        let wanted = format!("{}={}", self.package, found.version);
        let log = self.dir.join("download.log");
        let stderr = File::create(&log).map_err(|cause| fsx::io_error("create", &log, &cause))?;
        let command = self.apt("apt-get").args(["download", "--", &wanted]).cwd(&dir);
        let mut group = command.spawn(Stdio::null(), Stdio::null(), Stdio::from(stderr))?;
        let total = Some(found.size);
        let status = loop {
            if let Some(status) = group.try_wait()? {
                break status;
            }
            crate::interrupt::check()?;
            std::thread::sleep(Duration::from_millis(50));
            self.cx.progress.count(&self.package, bytes_in(&dir)?, total, Unit::Bytes);
        };
        if !status.success() {
            let said = complaints(&fsx::read_to_string(&log)?);
            return Err(Error::new(format!("cannot download {}", self.title)).caused_by(said));
        }
        let package = one_file(&dir)?;
        // apt has checked it; the name in the store promises this digest, so it is checked here too.
        let digest = Digest::of_file(&package)?;
        if digest != found.sha256 {
            return Err(Error::new(format!("{} is damaged", self.title))
                .caused_by(format!("its sha256 is {digest}"))
                .caused_by(format!("expected         {}", found.sha256)));
        }
        self.cx.progress.count(&self.package, found.size, total, Unit::Bytes);
        if let Some(parent) = target.parent() {
            fsx::create_dir_all(parent)?;
        }
        fsx::rename(&package, target)
    }
}

fn config(dir: &Path, etc: &Path, arch: &str, settings: &Settings) -> Result<String> {
    let (dir, etc) = (quoted(dir)?, quoted(etc)?);
    let mut config = format!(
        r#"// Everything of the host's configuration but its keyrings, logins and proxies is left out.
Dir "/";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{dir}/sources.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "{etc}/trusted.gpg";
Dir::Etc::trustedparts "{etc}/trusted.gpg.d";
Dir::Etc::netrc "{etc}/auth.conf";
Dir::Etc::netrcparts "{etc}/auth.conf.d";
Dir::State "{dir}";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
Dir::Log "{dir}";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "";
APT::Default-Release "";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::PDiffs "false";
"#
    );
    for line in &settings.lines {
        config.push_str(line);
        config.push('\n');
    }
    Ok(config)
}

/// The lines in which apt says what is wrong, without their letters; the last lines when it has none.
fn complaints(stderr: &str) -> String {
    let errors: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("E: ").or(line.strip_prefix("W: ")))
        // It follows every failure and says nothing about this one.
        .filter(|line| !line.starts_with("Some index files failed"))
        .collect();
    if errors.is_empty() { exec::tail(stderr, 5) } else { errors.join("\n") }
}

fn bytes_in(dir: &Path) -> Result<u64> {
    let failed = |cause: std::io::Error| fsx::io_error("read", dir, &cause);
    let mut sum = 0;
    for entry in dir.read_dir().map_err(failed)? {
        // It may be renamed under our eyes.
        sum += entry.map_err(failed)?.metadata().map_or(0, |meta| meta.len());
    }
    Ok(sum)
}

fn one_file(dir: &Path) -> Result<PathBuf> {
    let failed = |cause: std::io::Error| fsx::io_error("read", dir, &cause);
    let entry = dir.read_dir().map_err(failed)?.next().transpose().map_err(failed)?;
    entry
        .map(|entry| entry.path())
        .ok_or_else(|| Error::new(format!("`apt-get download` left nothing in `{}`", dir.display())))
}
