//! The serial console of a guest: waits for text, keeps a log, and knows early when nothing good can follow.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::exec::{Cmd, Group, Input, tail};
use crate::{fsx, interrupt};

/// How often a wait looks up from the console.
const TICK: Duration = Duration::from_millis(50);
/// How long a crashed guest may go on printing.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Lines of the console shown with an error.
const TAIL: usize = 12;

/// Text that ends a boot, what it means, and what to look at.
struct Dead {
    needle: &'static str,
    means: &'static str,
    hint: &'static str,
}

/// In order: the first that occurs in a line explains it.
const DEAD: &[Dead] = &[
    Dead {
        needle: "No working init found",
        means: "the kernel found no init to start",
        hint: "the root filesystem lacks an /sbin/init that runs on this architecture, or the kernel cannot run it (CONFIG_BINFMT_ELF, CONFIG_BINFMT_SCRIPT)",
    },
    Dead {
        needle: "VFS: Unable to mount root fs",
        means: "the kernel cannot mount the root filesystem",
        hint: "the kernel lacks the driver of the disk or of the filesystem, or `root=` names another partition",
    },
    Dead {
        needle: "Kernel panic - not syncing",
        means: "the kernel panicked",
        hint: "the lines before it in the log say where",
    },
    Dead { needle: "Internal error: ", means: OOPS, hint: OOPS_HINT },
    Dead { needle: "Oops [#", means: OOPS, hint: OOPS_HINT },
    Dead { needle: "kernel BUG at", means: OOPS, hint: OOPS_HINT },
    Dead {
        needle: "bimg: cannot boot",
        means: "U-Boot could not start what boot.scr names",
        hint: "U-Boot's own message stands above it in the log",
    },
    Dead {
        needle: "SCRIPT FAILED: continuing",
        means: "U-Boot's run of boot.scr failed",
        hint: "U-Boot's own message stands above it in the log",
    },
    Dead {
        needle: "EXTLINUX FAILED: continuing",
        means: "U-Boot could not start what extlinux.conf names",
        hint: "U-Boot's own message stands above it in the log",
    },
    Dead {
        needle: "### ERROR ### Please RESET the board ###",
        means: "U-Boot gave up",
        hint: "U-Boot's own message stands above it in the log",
    },
];
const OOPS: &str = "the kernel crashed";
const OOPS_HINT: &str = "the call trace is in the log";

/// What a wait ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Which of the texts waited for.
    pub index: usize,
    /// What was printed before it.
    pub before: String,
}

/// A running guest and its console.
pub struct Console {
    group: Group,
    input: Option<Input>,
    chunks: Receiver<Vec<u8>>,
    log: File,
    log_path: PathBuf,
    errors: PathBuf,
    /// Everything printed so far, without carriage returns and terminal escapes.
    text: String,
    /// End of what [`Console::expect`] has consumed.
    taken: usize,
    /// End of the lines looked at for [`DEAD`].
    scanned: usize,
    cleaner: Cleaner,
    last_output: Instant,
    silence: Duration,
}

impl Console {
    /// Starts `command` with its stdin and stdout as the console, logged to `log`; its stderr goes beside it.
    /// Nothing printed for as long as `silence` right from the start, or after the kernel began to wait for its
    /// root, is a failure.
    pub fn start(command: &Cmd, log: &Path, silence: Duration) -> Result<Self> {
        if let Some(parent) = log.parent() {
            fsx::create_dir_all(parent)?;
        }
        let create = |path: &Path| File::create(path).map_err(|cause| fsx::io_error("write", path, &cause));
        let errors = log.with_extension("stderr");
        let stderr = Stdio::from(create(&errors)?);
        let mut group = command.spawn(Stdio::piped(), Stdio::piped(), stderr)?;
        let input = group.stdin();
        let mut output =
            group.child.stdout.take().ok_or_else(|| Error::new("the emulator has no console"))?;
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = output.read(&mut buffer) {
                if n == 0 || sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Console {
            group,
            input,
            chunks,
            log: create(log)?,
            log_path: log.to_owned(),
            errors,
            text: String::new(),
            taken: 0,
            scanned: 0,
            cleaner: Cleaner::default(),
            last_output: Instant::now(),
            silence,
        })
    }

    /// Types text.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let Some(input) = &mut self.input else { return Err(self.ended()) };
        match input.write_all(text.as_bytes()).and_then(|()| input.flush()) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended()),
        }
    }

    /// Waits until one of `needles` is printed after what was consumed before, and consumes up to its end.
    /// `what` completes `timed out after 60 s waiting for ..`.
    pub fn expect(&mut self, needles: &[&str], what: &str, timeout: Duration) -> Result<Match> {
        let deadline = Instant::now() + timeout;
        loop {
            let fresh = &self.text[self.taken..];
            let hit = needles
                .iter()
                .enumerate()
                .filter_map(|(i, needle)| fresh.find(needle).map(|at| (at, i, needle.len())))
                .min();
            if let Some((at, index, len)) = hit {
                let before = fresh[..at].to_string();
                self.taken += at + len;
                return Ok(Match { index, before });
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out(what, timeout));
            }
            self.pump(TICK)?;
        }
    }

    /// The first line that holds the text.
    pub fn line_with(&self, needle: &str) -> Option<String> {
        self.text.lines().find(|line| line.contains(needle)).map(str::to_string)
    }

    /// Waits a little for output; fails once the guest is beyond hope or gone.
    pub fn pump(&mut self, wait: Duration) -> Result<()> {
        interrupt::check()?;
        match self.chunks.recv_timeout(wait) {
            Ok(chunk) => {
                self.take(&chunk)?;
                while let Ok(chunk) = self.chunks.try_recv() {
                    self.take(&chunk)?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.check_dead()?;
                return Err(self.ended());
            }
        }
        self.check_dead()?;
        self.check_silent()
    }

    /// Waits for the guest to end by itself; false when it still runs after `timeout`.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            interrupt::check()?;
            if let Ok(chunk) = self.chunks.recv_timeout(TICK) {
                self.take(&chunk)?;
            } else if self.group.try_wait()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A failure with the last lines of the console and the path of its log.
    pub fn failure(&self, message: impl Into<String>) -> Error {
        let error = Error::new(message).log(&self.log_path);
        let lines = tail(&self.text, TAIL);
        if lines.is_empty() { error } else { error.caused_by(format!("last lines of the console:\n{lines}")) }
    }

    /// The error for a wait that took too long.
    pub fn timed_out(&self, what: &str, timeout: Duration) -> Error {
        self.failure(format!("timed out after {} s waiting for {what}", timeout.as_secs()))
    }

    fn take(&mut self, chunk: &[u8]) -> Result<()> {
        let text = self.cleaner.clean(chunk);
        self.log
            .write_all(text.as_bytes())
            .map_err(|cause| fsx::io_error("write", &self.log_path, &cause))?;
        self.text.push_str(&text);
        self.last_output = Instant::now();
        Ok(())
    }

    /// Looks at the lines that came in since the last look.
    fn check_dead(&mut self) -> Result<()> {
        let end = self.text.rfind('\n').map_or(0, |at| at + 1);
        let fresh = &self.text[self.scanned.min(end)..end];
        let fatal = fresh.lines().find_map(|line| {
            DEAD.iter().find(|dead| line.contains(dead.needle)).map(|dead| (line.to_string(), dead))
        });
        self.scanned = end;
        if let Some((line, dead)) = fatal {
            self.drain();
            return Err(self.explain(dead.means, &line).hint(dead.hint));
        }
        // U-Boot's prompt, with nothing typed: its autoboot has run out of things to try.
        if &self.text[end..] == "=> " {
            return Err(self
                .failure("U-Boot stopped at its prompt")
                .hint("it found nothing to boot: see what it scanned in the log"));
        }
        Ok(())
    }

    /// Takes what the guest still says in its last moments, such as a call trace.
    fn drain(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline
            && let Ok(chunk) = self.chunks.recv_timeout(LAST_WORDS / 4)
        {
            if self.take(&chunk).is_err() {
                break;
            }
        }
    }

    /// The line that tells, and where in the kernel it happened.
    fn explain(&self, means: &str, line: &str) -> Error {
        let place = self.text.lines().rev().find_map(|line| line.split_once("] pc : ")).map(|(_, pc)| pc);
        let error = Error::new(means).log(&self.log_path).caused_by(strip_time(line));
        match place {
            Some(pc) => error.caused_by(format!("in `{pc}`")),
            None => error.caused_by(format!("last lines of the console:\n{}", tail(&self.text, TAIL))),
        }
    }

    fn check_silent(&self) -> Result<()> {
        if self.last_output.elapsed() < self.silence {
            return Ok(());
        }
        if self.text.trim().is_empty() {
            return Err(self
                .failure(format!("nothing was printed on the serial console in {} s", self.silence.as_secs()))
                .hint("the boot firmware does not start, or `console=` on the kernel command line names another port"));
        }
        if self.text.lines().next_back().is_some_and(|line| line.contains("Waiting for root device")) {
            return Err(self.failure("the kernel waits for a root device that does not appear").hint(
                "the kernel lacks the driver of the disk, or `root=` names no partition of the image",
            ));
        }
        Ok(())
    }

    /// The guest is gone.
    fn ended(&self) -> Error {
        let error = self.failure("the emulator ended before the test did");
        let stderr = fsx::read_to_string(&self.errors).unwrap_or_default();
        if stderr.trim().is_empty() { error } else { error.caused_by(tail(&stderr, 5)) }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.group.kill();
        // Empty when all went well, and then only clutter.
        if std::fs::metadata(&self.errors).is_ok_and(|meta| meta.len() == 0) {
            let _ = fsx::remove_file(&self.errors);
        }
    }
}

/// A line of the kernel without its time stamp.
fn strip_time(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((stamp, text)) if stamp.trim().parse::<f64>().is_ok() => text,
        _ => line,
    }
}

/// Makes plain text of what a serial console prints: no carriage returns, no terminal escapes.
#[derive(Debug, Default)]
struct Cleaner {
    escape: Escape,
    /// The start of a UTF-8 character that the next chunk ends.
    rest: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Started,
    /// After ESC `[`, until a letter.
    Sequence,
}

impl Cleaner {
    fn clean(&mut self, chunk: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.rest);
        for &byte in chunk {
            match self.escape {
                Escape::None if byte == 0x1b => self.escape = Escape::Started,
                Escape::None if byte == b'\n' || byte == b'\t' || byte >= b' ' => bytes.push(byte),
                Escape::None => {}
                Escape::Started if byte == b'[' => self.escape = Escape::Sequence,
                Escape::Sequence if !(0x40..=0x7e).contains(&byte) => {}
                Escape::Started | Escape::Sequence => self.escape = Escape::None,
            }
        }
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.rest = bytes.split_off(error.valid_up_to());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_behind_the_wait_for_a_root_device() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Cmd::new("sh").args([
            "-c",
            "echo 'U-Boot 2023.01'; echo '[    2.0] Waiting for root device PARTUUID=1...'; sleep 60",
        ]);
        let mut console = Console::start(&guest, &dir.path().join("log"), Duration::MAX).unwrap();
        // However long it takes to say so, nothing follows.
        console.expect(&["PARTUUID=1...\n"], "the kernel", Duration::from_secs(50)).unwrap();
        console.silence = Duration::from_millis(200);
        let error = loop {
            if let Err(error) = console.pump(TICK) {
                break error.to_string();
            }
        };
        assert_eq!(
            error.replace(&dir.path().display().to_string(), "DIR"),
            "the kernel waits for a root device that does not appear\n  \
             caused by: last lines of the console:\n    U-Boot 2023.01\n    \
             [    2.0] Waiting for root device PARTUUID=1...\n  log: DIR/log\n\n\
             hint: the kernel lacks the driver of the disk, or `root=` names no partition of the image"
        );
    }

    #[test]
    fn cleaning_survives_any_cut() {
        let raw = "a\r\n\x1b[7l\x1b[1;31mred\x1b[0m\x1b7é\0!\n".as_bytes();
        for cut in 0..raw.len() {
            let mut cleaner = Cleaner::default();
            let text = cleaner.clean(&raw[..cut]) + &cleaner.clean(&raw[cut..]);
            assert_eq!(text, "a\nredé!\n", "cut at {cut}");
        }
    }
}
