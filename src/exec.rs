//! The only place that starts a process.
//!
//! Arguments are vectors, never a shell string. Children get a null stdin, `LC_ALL=C`, `TZ=UTC`
//! and a process group of their own; Ctrl-C kills the whole group, so nothing is left behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::error::{Error, Result};
use crate::{fsx, interrupt};

/// How often a waiting loop looks for Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

/// A command to run.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    cwd: Option<PathBuf>,
    shown: Option<String>,
    terminal: bool,
}

/// What a finished process printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: ExitStatus,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Cmd {
    /// A command by name (looked up in PATH) or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Cmd {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            shown: None,
            terminal: true,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// What a failure calls the command, where its whole text would hide the words that matter.
    #[must_use]
    pub fn shown_as(mut self, text: impl Into<String>) -> Self {
        self.shown = Some(text.into());
        self
    }

    /// Starts it in a session of its own: neither it nor what it starts can ask anything on `/dev/tty`.
    #[must_use]
    pub fn without_terminal(mut self) -> Self {
        self.terminal = false;
        self
    }

    /// The command as one would type it, quoted for a POSIX shell.
    pub fn display(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| quote(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn command(&self) -> Command {
        // `setsid` becomes the program.
        let (program, first) =
            if self.terminal { (&*self.program, None) } else { (OsStr::new("setsid"), Some(&self.program)) };
        #[expect(clippy::disallowed_methods, reason = "this module owns process creation")]
        let mut command = Command::new(program);
        command.args(first).args(&self.args).stdin(Stdio::null());
        command.env("LC_ALL", "C").env("TZ", "UTC").env("PATH", search_path());
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command
    }

    fn start_error(&self, cause: &std::io::Error) -> Error {
        let name = self.program.to_string_lossy();
        let error = Error::new(format!("cannot start `{name}`")).caused_by(fsx::describe(cause));
        if cause.kind() == std::io::ErrorKind::NotFound {
            error.hint("`bimg doctor` names the package that holds it")
        } else {
            error
        }
    }

    /// Starts the process in its own group with pipes as asked for.
    pub fn spawn(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Group> {
        interrupt::check()?;
        let mut command = self.command();
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        if self.terminal {
            command.process_group(0);
        } else if which(&self.program.to_string_lossy()).is_none() {
            return Err(self.start_error(&Errno::NOENT.into()));
        }
        // A session is a group as well; whoever leads one already cannot begin it.
        let child = command.spawn().map_err(|cause| {
            if self.terminal { self.start_error(&cause) } else { Cmd::new("setsid").start_error(&cause) }
        })?;
        let group = Group { child, reaped: false };
        group.pid().into_iter().for_each(interrupt::guard);
        Ok(group)
    }

    /// Runs to the end and returns what it printed, whatever its status.
    pub fn output(&self) -> Result<Output> {
        self.output_with(Stdio::null())
    }

    /// The same with something to read.
    pub fn output_with(&self, stdin: Stdio) -> Result<Output> {
        let mut group = self.spawn(stdin, Stdio::piped(), Stdio::piped())?;
        let stdout = group.child.stdout.take();
        let stderr = group.child.stderr.take();
        let drain = |pipe: Option<Box<dyn Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut pipe) = pipe {
                    // A broken pipe only cuts the text short; the exit status tells of failure.
                    let _ = pipe.read_to_end(&mut bytes);
                }
                bytes
            })
        };
        let stdout = drain(stdout.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
        let stderr = drain(stderr.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
        let status = group.wait()?;
        Ok(Output {
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
            status,
        })
    }

    /// Runs to the end; a status other than 0 is an error with the tail of stderr.
    pub fn check(&self) -> Result<Output> {
        let output = self.output()?;
        if output.status.success() {
            return Ok(output);
        }
        Err(self.failed(output.status).caused_by(tail(&String::from_utf8_lossy(&output.stderr), 10)))
    }

    /// Runs to the end with stdout and stderr, in order, appended to the log at `log`; each line also
    /// goes to `on_line`. A status other than 0 is an error that names the log.
    pub fn run_logged(&self, log: &Path, on_line: &mut dyn FnMut(&str)) -> Result<()> {
        let write_error = |cause: std::io::Error| fsx::io_error("write", log, &cause);
        if let Some(parent) = log.parent() {
            fsx::create_dir_all(parent)?;
        }
        let mut file = File::options().create(true).append(true).open(log).map_err(write_error)?;
        writeln!(file, "$ {}", self.display()).map_err(write_error)?;
        let (mut reader, writer) = std::io::pipe().map_err(write_error)?;
        let twin = writer.try_clone().map_err(write_error)?;
        let mut group = self.spawn(Stdio::null(), Stdio::from(writer), Stdio::from(twin))?;
        let (mut rest, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            // In this order: all that it said before it ended is in the pipe by now. A grandchild may hold that open
            // after the child is gone: do not wait for it.
            let ended = group.try_wait()?.is_some();
            if readable(&reader, if ended { Duration::ZERO } else { POLL }) {
                let n = reader.read(&mut piece).map_err(write_error)?;
                if n == 0 {
                    break;
                }
                file.write_all(&piece[..n]).map_err(write_error)?;
                rest.extend_from_slice(&piece[..n]);
                if let Some(end) = memchr::memrchr(b'\n', &rest) {
                    for line in rest[..end].split(|byte| *byte == b'\n') {
                        on_line(String::from_utf8_lossy(line).trim_end());
                    }
                    rest.drain(..=end);
                }
            } else if ended {
                break;
            }
            interrupt::check()?;
        }
        if !rest.is_empty() {
            on_line(String::from_utf8_lossy(&rest).trim_end());
        }
        let status = group.wait()?;
        if status.success() { Ok(()) } else { Err(self.failed(status).log(log)) }
    }

    /// Runs on the user's terminal: stdin, stdout and stderr are ours, and so is the process group. A signal to
    /// us ends it too.
    pub fn interactive(&self) -> Result<ExitStatus> {
        let mut child =
            self.command().stdin(Stdio::inherit()).spawn().map_err(|cause| self.start_error(&cause))?;
        let failed = |cause: std::io::Error| Error::new("cannot wait for a process").caused_by(cause);
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(status);
            }
            if interrupt::requested() {
                if let Some(pid) = pid(&child) {
                    // Asked, not killed: it has a terminal to put right.
                    let _ = kill_process(pid, Signal::TERM);
                }
                child.wait().map_err(failed)?;
                return Err(Error::interrupted());
            }
            pause(&child);
        }
    }

    /// The error for a status other than 0.
    pub fn failed(&self, status: ExitStatus) -> Error {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended without a status".to_string(),
        };
        let shown = self.shown.clone().unwrap_or_else(|| self.display());
        Error::new(format!("`{}` {how}", shorten(&shown)))
    }
}

/// The write end of a process's stdin. A process that reads nothing more keeps nobody from hearing Ctrl-C.
#[derive(Debug)]
pub struct Input(ChildStdin);

impl Input {
    fn new(pipe: ChildStdin) -> Input {
        // Without this a write waits for the process alone, as it did before.
        let _ = fcntl_getfl(&pipe).and_then(|flags| fcntl_setfl(&pipe, flags | OFlags::NONBLOCK));
        Input(pipe)
    }
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => interrupt::check_io()?,
                other => return other,
            }
            wait_for(&self.0, PollFlags::OUT, POLL);
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A running process and its group; killed, all of it, when dropped.
#[derive(Debug)]
pub struct Group {
    /// The process; its pipes can be taken.
    pub child: Child,
    reaped: bool,
}

impl Group {
    /// Takes the write end of its stdin.
    pub fn stdin(&mut self) -> Option<Input> {
        self.child.stdin.take().map(Input::new)
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .map_err(|cause| Error::new("cannot wait for a process").caused_by(cause))?;
        if status.is_some() {
            self.end();
        }
        Ok(status)
    }

    /// Waits for the end, but not longer than that.
    pub fn ends_within(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && matches!(self.try_wait(), Ok(None)) {
            pause(&self.child);
        }
    }

    /// Waits for the end; on Ctrl-C kills the group and fails.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            interrupt::check()?;
            pause(&self.child);
        }
    }

    /// Ends the whole group: SIGTERM, then SIGKILL after a second.
    pub fn kill(&mut self) {
        if self.reaped {
            return;
        }
        let Some(pid) = self.pid() else { return };
        // Errors mean that the group is gone already, which is what we want.
        let _ = kill_process_group(pid, Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            pause(&self.child);
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.wait();
        self.end();
    }

    fn pid(&self) -> Option<Pid> {
        pid(&self.child)
    }

    /// The process is no more.
    fn end(&mut self) {
        self.reaped = true;
        self.pid().into_iter().for_each(interrupt::release);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}

/// Until a process that nobody has waited for yet ends, and no longer than [`POLL`].
fn pause(child: &Child) {
    let pidfd = pid(child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let timeout = Timespec { tv_sec: 0, tv_nsec: POLL.as_nanos() as _ };
    let woken = pidfd.map(|fd| poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)));
    // Kernels before 5.3 have no such descriptors.
    if !matches!(woken, Some(Ok(_))) {
        std::thread::sleep(POLL / 10);
    }
}

/// True once a pipe has something to read, or has ended; false when that takes longer than `time`.
fn readable(pipe: &impl AsFd, time: Duration) -> bool {
    wait_for(pipe, PollFlags::IN, time)
}

/// The same for whatever may be waited for.
fn wait_for(pipe: &impl AsFd, what: PollFlags, time: Duration) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: time.as_nanos() as _ };
    let events = poll(&mut [PollFd::new(pipe, what)], Some(&timeout));
    // A signal may come in between.
    matches!(events, Ok(1..))
}

/// The last `lines` lines of a tool's output.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Where programs are looked for: the user's PATH, then the system directories, which Debian leaves
/// out of a user's PATH although `depmod` and `mke2fs` live there.
pub fn search_path() -> OsString {
    const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let present: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for dir in SYSTEM {
        if !present.iter().any(|known| known == Path::new(dir)) {
            path.push(":");
            path.push(dir);
        }
    }
    path
}

/// Finds a program in [`search_path`].
pub fn which(program: &str) -> Option<PathBuf> {
    which_in(program, &search_path())
}

/// Finds a program in the directories of `path`.
pub fn which_in(program: &str, path: &OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_program(path));
    }
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|path| is_program(path))
}

/// Quotes a word for a POSIX shell, only when it needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn shorten(command: &str) -> String {
    const MAX: usize = 160;
    if command.chars().count() <= MAX {
        return command.to_string();
    }
    let head: String = command.chars().take(MAX).collect();
    format!("{head}…")
}

/// Writes a program for a test, by a process of its own: what other tests start meanwhile would inherit a descriptor
/// that writes here, and until it is closed nobody can start the program (`Text file busy`).
#[cfg(test)]
pub fn write_program(path: &Path, text: &str) -> Result<()> {
    let script = "printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"";
    Cmd::new("sh").args(["-c", script, "sh"]).arg(path).arg(text).check().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal() {
        // Process and session.
        let cmd = Cmd::new("cut").args(["-d ", "-f1,6", "/proc/self/stat"]).without_terminal();
        let text = cmd.output().unwrap().text();
        let (process, session) = text.trim().split_once(' ').unwrap();
        assert_eq!(process, session);
        assert_eq!(
            Cmd::new("bimg-no-such").without_terminal().output().unwrap_err().to_string(),
            "cannot start `bimg-no-such`\n  caused by: No such file or directory\n\n\
             hint: `bimg doctor` names the package that holds it"
        );
    }

    #[test]
    fn output_and_status() {
        let out = Cmd::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output().unwrap();
        assert_eq!(
            (out.text().as_str(), out.stderr.as_slice(), out.status.code()),
            ("out\n", b"err\n".as_slice(), Some(3))
        );
        let error = Cmd::new("sh").args(["-c", "echo why >&2; exit 3"]).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo why >&2; exit 3'` exited with status 3\n  caused by: why"
        );
    }

    #[test]
    fn a_missing_program_says_so() {
        let error = Cmd::new("no-such-program").output().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot start `no-such-program`\n  caused by: No such file or directory\n\nhint: `bimg doctor` names the package that holds it"
        );
    }

    #[test]
    fn logged_lines_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log/x.log");
        let mut lines = Vec::new();
        Cmd::new("sh")
            .args(["-c", "echo a; echo b >&2; echo c"])
            .run_logged(&log, &mut |line| lines.push(line.to_string()))
            .unwrap();
        assert_eq!(lines, ["a", "b", "c"]);
        assert!(fsx::read_to_string(&log).unwrap().ends_with("a\nb\nc\n"));
    }

    #[test]
    fn last_words_are_logged_and_nothing_that_runs_on_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut lines = Vec::new();
        let mut slow = |line: &str| {
            // However late one gets to it.
            std::thread::sleep(POLL * 3);
            lines.push(line.to_string());
        };
        let script = "sleep 60 & echo $!; echo 'not a line' | tr -d '\\n'";
        Cmd::new("sh").args(["-c", script]).run_logged(&log, &mut slow).unwrap();
        let pid = Pid::from_raw(lines[0].parse().unwrap()).unwrap();
        // It was not waited for; nobody else will.
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(lines[1..], ["not a line"]);
        assert!(fsx::read_to_string(&log).unwrap().ends_with("\nnot a line"));
    }

    #[test]
    fn quoting_survives_a_shell() {
        for word in ["plain", "two words", "it's", "$(reboot)", "", "a;b"] {
            let echoed = Cmd::new("sh").args(["-c", &format!("printf %s {}", quote(word))]).check().unwrap();
            assert_eq!(echoed.text(), word);
        }
    }
}
