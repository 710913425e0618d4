//! A git revision, fetched shallow into a bare repository of the store and checked out from there.
//!
//! git runs with no configuration but its own defaults: no hooks, no aliases, no helpers, no filters, so
//! nothing that a repository or the user's configuration says is run. Submodules are not fetched.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::spec::shown_url;
use super::{Cx, GitSource, Kind, Pin, Ready, identity, missing_offline};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::exec::{self, Cmd};
use crate::progress::{Progress, Unit};
use crate::{fsx, interrupt};

/// A git command that runs no code of anybody else's, and gives the same files for everybody: of the caller's
/// variables only those that say how to reach a server count.
fn git() -> Cmd {
    let strange = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("GIT_") && !name.starts_with("GIT_SSL_") && !name.starts_with("GIT_HTTP_")
    });
    strange
        .fold(Cmd::new("git"), Cmd::env_remove)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Empty: no program asks for a password either.
        .env("GIT_ASKPASS", "")
        .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0"])
        .args(["-c", "core.attributesFile=/dev/null", "-c", "safe.directory=*"])
        .args(["-c", "protocol.version=2", "-c", "advice.detachedHead=false"])
}

/// The commit date of a work tree's HEAD, seconds since 1970; `None` without git or commits.
pub(super) fn head_epoch(dir: &Path) -> Option<i64> {
    let output = git().arg("-C").arg(dir).args(["log", "-1", "--no-show-signature", "--format=%ct"]).output();
    output.ok().filter(|output| output.status.success())?.text().trim().parse().ok()
}

fn is_commit_id(rev: &str) -> bool {
    rev.len() == 40 && rev.bytes().all(|b| b.is_ascii_hexdigit())
}

impl GitSource {
    /// The URL, or the absolute path of a local repository.
    fn url(&self, cx: &Cx<'_>) -> String {
        // `host:path` is ssh; git itself asks the same question: is there a slash before the colon?
        let remote = self.git.find(':').is_some_and(|at| !self.git[..at].contains('/'));
        if remote { self.git.clone() } else { cx.base.join(&self.git).display().to_string() }
    }

    fn id(commit: &str) -> Digest {
        identity("git", &[commit])
    }

    fn commit<'p>(&self, pin: &'p Pin) -> Result<&'p str> {
        pin.commit.as_deref().filter(|commit| is_commit_id(commit)).ok_or_else(|| {
            Error::new(format!("the lock has no commit for {}", self.title()))
                .hint("run `bimg update --board NAME`")
        })
    }

    /// Asks the repository which commit the revision is now.
    fn ask(&self, cx: &Cx<'_>) -> Result<String> {
        let (url, rev) = (self.url(cx), &self.rev);
        let shown = shown_url(&url);
        let command = git().args(["ls-remote", "--"]).arg(&url).shown_as(format!("git ls-remote {shown}"));
        let listing = command.check()?.text();
        // A tag that is an object of its own is listed as well with the commit that it names, as `TAG^{}`.
        let full = ["refs/tags/", "refs/heads/", "", "refs/"].map(|start| format!("{start}{rev}"));
        let names: Vec<String> = full.into_iter().flat_map(|name| [format!("{name}^{{}}"), name]).collect();
        let find = |name: &String| {
            listing.lines().find_map(|line| line.split_once('\t').filter(|(_, at)| at == name))
        };
        if let Some((commit, _)) = names.iter().find_map(find) {
            return Ok(commit.to_string());
        }
        let known: Vec<&str> = listing
            .lines()
            .filter_map(|line| line.split_once('\t')?.1.strip_prefix("refs/"))
            .filter_map(|name| name.strip_prefix("tags/").or(name.strip_prefix("heads/")))
            .collect();
        let error = Error::new(format!("`{shown}` has no tag or branch `{rev}`"));
        Err(match crate::error::nearest(rev, known) {
            Some(near) => error.hint(format!("nearest: `{near}`; a commit is written with all 40 digits")),
            None => error.hint("a commit is written with all 40 digits"),
        })
    }

    /// Brings the commit into the bare repository `repo`.
    fn bring(&self, commit: &str, repo: &Path, cx: &Cx<'_>) -> Result<()> {
        let at = |repo: &Path| git().arg("--git-dir").arg(repo);
        // Also where a killed run left the beginnings of a repository; a whole one stays as it is.
        fsx::create_dir_all(repo)?;
        remove_leftovers(repo)?;
        git().args(["init", "--quiet", "--bare", "--template=", "--"]).arg(repo).check()?;
        let has = || -> Result<bool> {
            let object = format!("{commit}^{{commit}}");
            Ok(at(repo).args(["cat-file", "-e", &object]).output()?.status.success())
        };
        if has()? {
            return Ok(());
        }
        let url = self.url(cx);
        let fetch = |depth: &[&str], what: &[&str]| {
            let command = at(repo)
                .args(["fetch", "--progress", "--no-tags", "--no-recurse-submodules", "--force"])
                .args(depth)
                .arg("--")
                .arg(&url)
                .args(what)
                .shown_as(format!("git fetch {} {}", shown_url(&url), what.join(" ")));
            run_with_progress(&command, &self.title(), cx.progress)
        };
        let direct = fetch(&["--depth=1"], &[commit]);
        if has()? {
            return Ok(());
        }
        // A server may give only what a name points to: then its whole history holds the commit, or none does.
        // Any other failure would only come again, after a long while.
        let says = ["not our ref", "unadvertised object", "does not support"];
        if direct.as_ref().is_err_and(|error| {
            let text = error.to_string();
            !says.iter().any(|said| text.contains(said))
        }) {
            return direct;
        }
        let whole: &[&str] = if repo.join("shallow").exists() { &["--unshallow"] } else { &[] };
        fetch(whole, &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])?;
        if has()? {
            return Ok(());
        }
        direct?;
        let shown = shown_url(&self.git);
        Err(Error::new(format!("`{shown}` does not have commit {commit}"))
            .hint("run `bimg update --board NAME`"))
    }
}

/// Removes what a killed git leaves in a repository that nobody else is using: locks, which would stop every
/// later one, and packs that did not arrive whole.
fn remove_leftovers(repo: &Path) -> Result<()> {
    fn locks(dir: &Path) -> Result<()> {
        for name in fsx::names(dir)? {
            let path = dir.join(&name);
            if path.is_dir() && name != "objects" {
                locks(&path)?;
            } else if path.extension().is_some_and(|ending| ending == "lock") {
                fsx::remove_file(&path)?;
            }
        }
        Ok(())
    }
    locks(repo)?;
    let packs = repo.join("objects/pack");
    if packs.is_dir() {
        for name in fsx::names(&packs)?.iter().filter(|name| name.starts_with("tmp_")) {
            fsx::remove_file(&packs.join(name))?;
        }
    }
    Ok(())
}

impl Kind for GitSource {
    fn title(&self) -> String {
        format!("`{}` of `{}`", self.rev, shown_url(&self.git))
    }

    fn resolve(&self, cx: &Cx<'_>) -> Result<Pin> {
        let commit = if is_commit_id(&self.rev) {
            self.rev.to_ascii_lowercase()
        } else if cx.mode.is_offline() {
            return Err(missing_offline(&self.title()));
        } else {
            self.ask(cx)?
        };
        Ok(Pin { commit: Some(commit), ..Pin::default() })
    }

    fn find(&self, pin: &Pin, cx: &Cx<'_>) -> Result<Option<Ready>> {
        let id = Self::id(self.commit(pin)?);
        let tree = cx.store.find_tree(&id)?;
        Ok(tree.map(|tree| Ready { dir: tree.dir, epoch: tree.epoch, identity: id.to_string() }))
    }

    fn fetch(&self, pin: &Pin, cx: &Cx<'_>) -> Result<Ready> {
        if cx.mode.is_offline() {
            return Err(missing_offline(&self.title()));
        }
        let commit = self.commit(pin)?;
        let id = Self::id(commit);
        let key = Digest::of(self.url(cx).as_bytes()).short();
        let repo = cx.store.place("git", &format!("{key}.git"));
        let tree = cx.store.tree(&id, &self.title(), cx.progress, &mut |into| {
            let _lock = cx.store.lock(&format!("git-{key}"), &self.title(), cx.progress)?;
            self.bring(commit, &repo, cx)?;
            let epoch = check_out(&repo, commit, into)?;
            if into.join(".gitmodules").exists() {
                cx.progress.warn(&format!("{} has submodules, which are not fetched", self.title()));
            }
            Ok(epoch)
        })?;
        Ok(Ready { dir: tree.dir, epoch: tree.epoch, identity: id.to_string() })
    }
}

/// Writes the commit's files into `into`, without a `.git`, and returns the commit's date.
fn check_out(repo: &Path, commit: &str, into: &Path) -> Result<i64> {
    let index: PathBuf = into.with_file_name("index");
    let at = || {
        git()
            .env("GIT_INDEX_FILE", &index)
            .args(["-c", "core.bare=false", "--git-dir"])
            .arg(repo)
            .arg("--work-tree")
            .arg(into)
    };
    at().args(["read-tree", commit]).check()?;
    at().args(["checkout-index", "--all", "--force", "--quiet"]).cwd(into).check()?;
    fsx::remove_file(&index)?;
    let date = at().args(["log", "-1", "--no-show-signature", "--format=%ct", commit]).check()?.text();
    date.trim().parse().map_err(|_| Error::new(format!("commit {commit} has no date")))
}

/// Runs a git command and counts the objects it reports: `Receiving objects:  45% (450/1000)`.
fn run_with_progress(command: &Cmd, what: &str, progress: &dyn Progress) -> Result<()> {
    let mut group = command.spawn(Stdio::null(), Stdio::null(), Stdio::piped())?;
    let mut said = Vec::new();
    let mut line = Vec::new();
    let (sender, bytes) = channel();
    if let Some(mut stderr) = group.child.stderr.take() {
        // On a thread of its own, so that Ctrl-C is heard while git is silent.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    loop {
        interrupt::check()?;
        let bytes = match bytes.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        for byte in bytes {
            if !matches!(byte, b'\r' | b'\n') {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            match objects(&text) {
                Some((done, total)) => progress.count(what, done, Some(total), Unit::Items),
                None if byte == b'\n' => said.push(text),
                None => {}
            }
        }
    }
    let status = group.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(command.failed(status).caused_by(exec::tail(&said.join("\n"), 10)))
}

fn objects(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("Receiving objects:")?.split_once('(')?;
    let (done, rest) = counts.split_once('/')?;
    Some((done.parse().ok()?, rest.split(')').next()?.parse().ok()?))
}
