//! Connections to boards: the user's own OpenSSH client, one connection with many sessions in it.
//!
//! ```text
//! Host ("root@10.0.0.5:2222") -> Session::open   ssh -M: connects, checks the host key, logs in
//!                             -> Session::run    one more session on it, milliseconds each
//! ```
//!
//! OpenSSH itself and not a library: it reads `~/.ssh/config` (jump hosts, `Match`, certificates), `known_hosts`
//! (hashed names, `@cert-authority`, `@revoked`), agents and hardware keys as its users know it, and nothing
//! can be got wrong a second time. Nothing is ever asked: `BatchMode` turns a question into a failure.
//! See ssh_config(5) for every option named here.

mod explain;
mod host;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use host::Host;

use crate::error::{Error, Exit, Result};
use crate::exec::{Cmd, Group, Input, Output, quote};
use crate::{fsx, interrupt};

/// How often a waiting loop looks around.
const POLL: Duration = Duration::from_millis(5);
/// Between two signs of life for a script that stays; `lock.sh` has patience for several.
const BEAT: Duration = Duration::from_secs(5);
/// The longest wait for the end of such a script.
const LEAVING: Duration = Duration::from_secs(1);
/// The longest wait for the last words of a client that has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is kept of the client's own words.
const WORDS: usize = 64 << 10;
/// What comes before the first word of ours: what a login shell reads may print something as well.
const BEGIN: &str = "bimg begins";

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// A configuration file in place of the user's own (`ssh -F`).
    pub config: Option<PathBuf>,
    /// Trust a host that is not known yet, and remember its key. A changed key is refused all the same.
    pub accept_new: bool,
    /// The longest wait for the host to answer.
    pub timeout: Duration,
}

impl Options {
    /// What every client is started with.
    fn cmd(&self) -> Cmd {
        // A jump host's client is told no option of these: it must find nobody to ask.
        let mut cmd = Cmd::new("ssh").without_terminal().env("SSH_ASKPASS_REQUIRE", "never");
        if let Some(config) = &self.config {
            cmd = cmd.arg("-F").arg(config);
        }
        let timeout = format!("ConnectTimeout={}", self.timeout.as_secs().max(1));
        let keys = if self.accept_new { "accept-new" } else { "yes" };
        let keys = format!("StrictHostKeyChecking={keys}");
        for option in [
            "BatchMode=yes",
            timeout.as_str(),
            keys.as_str(),
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "TCPKeepAlive=yes",
            // What a login would bring along does not belong here.
            "RequestTTY=no",
            "RemoteCommand=none",
            "PermitLocalCommand=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "EscapeChar=none",
            // Compressed here, where all cores can do it.
            "Compression=no",
        ] {
            cmd = cmd.args(["-o", option]);
        }
        cmd
    }
}

/// A connection that is up.
pub struct Session {
    host: Host,
    options: Options,
    /// Holds the control socket; 0700.
    dir: interrupt::Scratch,
    master: Mutex<Group>,
}

impl Session {
    /// Connects, logs in, and returns the line that `greeting`, a shell command, prints there.
    pub fn open(host: &Host, options: &Options, greeting: &str) -> Result<(Session, String)> {
        // A socket's path is at most 107 bytes: not below TMPDIR, which may be deep.
        let dir = tempfile::Builder::new()
            .prefix("bimg-ssh-")
            .tempdir_in("/tmp")
            .map(interrupt::Scratch::new)
            .map_err(|cause| fsx::io_error("create", Path::new("/tmp"), &cause))?;
        let socket = dir.path().join("s");
        let cmd = options
            .cmd()
            .args(["-v", "-T", "-o", "ControlMaster=yes", "-o", "ControlPersist=no"])
            .arg("-o")
            .arg(format!("ControlPath={}", socket.display()))
            .args(host.args())
            // Ends with its input: however this process ends, it leaves no connection behind.
            .arg(format!("echo {BEGIN}; {greeting}; exec cat >/dev/null"));
        let mut master = cmd.spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())?;
        let line = first_line(master.child.stdout.take());
        let words = Arc::new(Mutex::new(Vec::new()));
        let reader = master.child.stderr.take().map(|mut stderr| {
            let words = Arc::clone(&words);
            // Ends with the client; reading on keeps that from blocking.
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(n @ 1..) = stderr.read(&mut piece) {
                    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                    if words.len() < WORDS {
                        words.extend_from_slice(&piece[..n]);
                    }
                }
            })
        });
        // The key exchange of a slow board takes seconds, after the connection itself.
        let deadline = Instant::now() + options.timeout + Duration::from_secs(20);
        while !socket.exists() {
            let ended = master.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                // The last words may still be in the pipe, which a proxy command may keep open.
                let last = Instant::now() + LAST_WORDS;
                while ended && Instant::now() < last && reader.as_ref().is_some_and(|it| !it.is_finished()) {
                    std::thread::sleep(POLL);
                }
                let words = words.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(explain::refusal(host, options, &String::from_utf8_lossy(&words)));
            }
            interrupt::check()?;
            std::thread::sleep(POLL);
        }
        let session =
            Session { host: host.clone(), options: options.clone(), dir, master: Mutex::new(master) };
        let line = await_line(&line, Some(deadline))?;
        let silent = |how: &str| Err(explain::silent(host, options, greeting, how));
        if line.is_none() && Instant::now() > deadline {
            return silent("does not answer in time");
        }
        match session.ended(if line.is_none() { LAST_WORDS } else { Duration::ZERO }) {
            None => Ok((session, line.unwrap_or_default())),
            // 255 is the client's own.
            Some(status) => match status.code() {
                Some(code @ 0..255) if line.is_none() => silent(&format!("ends with status {code}")),
                _ => Err(session.lost("")),
            },
        }
    }

    /// Whom this is a connection to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    fn cmd(&self, command: &str) -> Cmd {
        self.options
            .cmd()
            // What the script says on stderr is read; how the client does is not its business.
            .args(["-T", "-o", "LogLevel=INFO", "-o", "ControlMaster=no", "-o"])
            .arg(format!("ControlPath={}", self.dir.path().join("s").display()))
            .args(self.host.args())
            .arg(command)
            .shown_as(format!("ssh {}", self.host))
    }

    /// Starts a shell script on the board; the words are for its own `$1`, `$2`...
    pub fn start(&self, script: &Script<'_>, stdin: bool) -> Result<Running<'_>> {
        if !self.alive() {
            return Err(self.lost(""));
        }
        let mut group = self.begin(script, stdin)?;
        let stdout = drain(group.child.stdout.take());
        let stderr = drain(group.child.stderr.take());
        if !stdin {
            drop(group.stdin());
        }
        Ok(Running { session: self, group, stdout, stderr })
    }

    /// Starts the shell there, and gives it the script; more input may follow.
    fn begin(&self, script: &Script<'_>, more: bool) -> Result<Group> {
        let (command, text) = script.sent(more);
        let mut group = self.cmd(&command).spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())?;
        if let Some(stdin) = &mut group.child.stdin {
            // Where nobody reads it, how the client ends says why.
            let _ = stdin.write_all(text.as_bytes());
        }
        Ok(group)
    }

    /// Runs a script to its end, without input.
    pub fn run(&self, script: &Script<'_>) -> Result<Output> {
        self.start(script, false)?.finish()
    }

    /// Starts a script that stays until its input ends, as it does when this is dropped or the connection breaks.
    /// Also returns the first line that it printed, or what went wrong.
    pub fn stay(&self, script: &Script<'_>) -> Result<(Staying, String)> {
        let mut group = self.begin(script, true)?;
        let stderr = drain(group.child.stderr.take());
        let line = first_line(group.child.stdout.take());
        if let Some(line) = await_line(&line, None)? {
            return Ok((Staying::new(group), line));
        }
        let status = group.wait()?;
        let words = String::from_utf8_lossy(&stderr.join().unwrap_or_default()).trim().to_string();
        if status.code() == Some(255) { Err(self.lost(&words)) } else { Ok((Staying::new(group), words)) }
    }

    /// False once the connection is gone.
    pub fn alive(&self) -> bool {
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(master.try_wait(), Ok(None))
    }

    /// How the connection ended, if it does within that time.
    fn ended(&self, time: Duration) -> Option<ExitStatus> {
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        master.ends_within(time);
        master.try_wait().ok().flatten()
    }

    /// Ends the connection at once: what runs on the board sees it cut.
    pub fn cut(&self) {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }

    fn lost(&self, words: &str) -> Error {
        let error = Error::new(format!("the connection to {} broke", self.host)).with_exit(Exit::Unreachable);
        let words = words.trim();
        if words.is_empty() { error } else { error.caused_by(crate::exec::tail(words, 3)) }
    }
}

/// A POSIX shell script and its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// The text.
    pub text: &'a str,
    /// `$1` and so on.
    pub args: &'a [&'a str],
    /// Run as root by `sudo -n`.
    pub sudo: bool,
}

impl Script<'_> {
    /// What the login shell is told, whatever shell it is and whatever the script holds, and the input that the script is:
    /// csh ends a quoted word with its line and looks for `!` in it, fish reads `\\` as `\`, and dropbear ends the connection at
    /// 9000 bytes. Half a script is not begun with. Where more input follows, the script is its first line, which a shell reads
    /// byte by byte: that takes 0.4 s for 10 kB in an emulated board.
    fn sent(&self, more: bool) -> (String, String) {
        let sudo = if self.sudo { "sudo -n " } else { "" };
        let args: String = self.args.iter().flat_map(|arg| [" ".to_string(), quote(arg)]).collect();
        let text = format!("set --{args}\n{}", self.text);
        let (begin, text) = if more {
            let line = text.replace('\\', r"\\").replace('\n', r"\n") + "\n";
            (format!("IFS= read -r bimg && echo {BEGIN} && eval \"$(printf %b \"$bimg\")\""), line)
        } else {
            (format!("echo {BEGIN} && eval \"$(cat)\""), format!("{{ {text}\n}}\n"))
        };
        (format!("exec {sudo}sh -c '{begin}'"), text)
    }
}

/// Reads the first line of a script, in a thread that ends with it.
fn first_line(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (to, first) = std::sync::mpsc::channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut begun = false;
            let mut line = Vec::new();
            // A broken pipe is an end like any other.
            while let Ok(1..) = pipe.read_until(b'\n', &mut line)
                && !begun
            {
                begun = own(&line).is_some();
                line.clear();
            }
            // Nobody may be waiting any more.
            let _ = to.send(String::from_utf8_lossy(&line).trim().to_string());
        });
    }
    first
}

/// What of `bytes` a script printed, if it has begun.
fn own(bytes: &[u8]) -> Option<&[u8]> {
    let begin = [BEGIN.as_bytes(), b"\n"].concat();
    memchr::memmem::find(bytes, &begin).map(|at| &bytes[at + begin.len()..])
}

/// Waits for it; `None` when the script ended without one, or it has not come by the deadline.
fn await_line(line: &Receiver<String>, deadline: Option<Instant>) -> Result<Option<String>> {
    while deadline.is_none_or(|deadline| Instant::now() <= deadline) {
        match line.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => return Ok(Some(line).filter(|line| !line.is_empty())),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(None)
}

type Drain = std::thread::JoinHandle<Vec<u8>>;

fn drain(pipe: Option<impl Read + Send + 'static>) -> Drain {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe only cuts the text short; the exit status tells of failure.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// A script that stays on the board until this is dropped.
pub struct Staying {
    /// The script's client.
    group: Group,
    /// Ends the beat, and with it the script's input, when it is gone.
    stop: Option<Sender<()>>,
}

impl Drop for Staying {
    /// Lets the script put away what it holds: whoever comes next finds it free.
    fn drop(&mut self) {
        self.stop = None;
        self.group.ends_within(LEAVING);
    }
}

impl Staying {
    /// Sends a line now and then: a board whose cable was pulled is told nothing, and must be able to see it.
    fn new(mut group: Group) -> Staying {
        let (stop, stopped) = std::sync::mpsc::channel();
        if let Some(mut stdin) = group.stdin() {
            std::thread::spawn(move || {
                while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    if stdin.write_all(b"\n").is_err() {
                        return;
                    }
                }
            });
        }
        Staying { group, stop: Some(stop) }
    }
}

/// A script that runs on the board.
pub struct Running<'a> {
    session: &'a Session,
    group: Group,
    stdout: Drain,
    stderr: Drain,
}

impl Running<'_> {
    /// Takes its input.
    pub fn stdin(&mut self) -> Option<Input> {
        self.group.stdin()
    }

    /// Waits for its end. A connection that breaks meanwhile is an error; the script's own status is not.
    pub fn finish(mut self) -> Result<Output> {
        drop(self.group.stdin());
        let status = self.group.wait()?;
        let stdout = self.stdout.join().unwrap_or_default();
        let output = Output {
            stdout: own(&stdout).map(<[u8]>::to_vec).unwrap_or(stdout),
            stderr: self.stderr.join().unwrap_or_default(),
            status,
        };
        // 255 is the client's own.
        if output.status.code() == Some(255) || output.status.code().is_none() {
            return Err(self.session.lost(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(output)
    }
}
