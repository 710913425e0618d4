//! A git revision, fetched shallow into a bare repository of the store and checked out from there.
//!
//! git runs with no configuration but its own defaults: no hooks, no aliases, no helpers, no filters, so
//! nothing that a repository or the user's configuration says is run. Submodules are not fetched.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::{Cx, GitSource, Kind, Mode, Pin, Ready, identity, missing_offline};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::exec::{self, Cmd};
use crate::progress::{Progress, Unit};
use crate::{fsx, interrupt};

/// A git command that runs no code of anybody else's.
fn git() -> Cmd {
    Cmd::new("git")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env_remove("GIT_CONFIG_COUNT")
        .env_remove("GIT_CONFIG_PARAMETERS")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0"])
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
            Error::new(format!("the lock has no commit for {}", self.title())).hint("run `bimg update`")
        })
    }

    /// Asks the repository which commit the revision is now.
    fn ask(&self, cx: &Cx<'_>) -> Result<String> {
        let (url, rev) = (self.url(cx), &self.rev);
        let listing = git().args(["ls-remote", "--"]).arg(&url).check()?.text();
        let names = [
            format!("refs/tags/{rev}^{{}}"),
            format!("refs/tags/{rev}"),
            format!("refs/heads/{rev}"),
            rev.clone(),
        ];
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
        let error = Error::new(format!("`{url}` has no tag or branch `{rev}`"));
        Err(match crate::error::nearest(rev, known) {
            Some(near) => error.hint(format!("nearest: `{near}`; a commit is written with all 40 digits")),
            None => error.hint("a commit is written with all 40 digits"),
        })
    }

    /// Brings the commit into the bare repository `repo`.
    fn bring(&self, commit: &str, repo: &Path, cx: &Cx<'_>) -> Result<()> {
        let at = |repo: &Path| git().arg("--git-dir").arg(repo);
        if !repo.join("HEAD").exists() {
            fsx::create_dir_all(repo)?;
            git().args(["init", "--quiet", "--bare", "--template=", "--"]).arg(repo).check()?;
        }
        let has = || -> Result<bool> {
            let object = format!("{commit}^{{commit}}");
            Ok(at(repo).args(["cat-file", "-e", &object]).output()?.status.success())
        };
        if has()? {
            return Ok(());
        }
        let fetch = |depth: &[&str], what: &[&str]| {
            let command = at(repo)
                .args(["fetch", "--progress", "--no-tags", "--no-recurse-submodules", "--force"])
                .args(depth)
                .arg("--")
                .arg(self.url(cx))
                .args(what);
            run_with_progress(&command, &self.title(), cx.progress)
        };
        let direct = fetch(&["--depth=1"], &[commit]);
        if has()? {
            return Ok(());
        }
        // A server may give only what a name points to: then its whole history holds the commit, or none does.
        fetch(&[], &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])?;
        if has()? {
            return Ok(());
        }
        direct?;
        Err(Error::new(format!("`{}` does not have commit {commit}", self.git)).hint("run `bimg update`"))
    }
}

impl Kind for GitSource {
    fn title(&self) -> String {
        format!("`{}` of `{}`", self.rev, self.git)
    }

    fn resolve(&self, cx: &Cx<'_>) -> Result<Pin> {
        let commit = if is_commit_id(&self.rev) {
            self.rev.to_ascii_lowercase()
        } else if cx.mode == Mode::Offline {
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
        if cx.mode == Mode::Offline {
            return Err(missing_offline(&self.title()));
        }
        let commit = self.commit(pin)?;
        let id = Self::id(commit);
        let key = Digest::of(self.url(cx).as_bytes()).short();
        let repo = cx.store.place("git", &format!("{key}.git"));
        let tree = cx.store.tree(&id, &self.title(), cx.progress, &mut |into| {
            let _lock = cx.store.lock(&format!("git-{key}"), &self.title(), cx.progress)?;
            self.bring(commit, &repo, cx)?;
            check_out(&repo, commit, into)
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
    let date =
        at().args(["show", "--no-patch", "--no-show-signature", "--format=%ct", commit]).check()?.text();
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
