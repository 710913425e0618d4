//! Questions on the terminal: words on stderr, a line from stdin.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ask::Ask;
use crate::error::{Error, Result};
use crate::{fsx, interrupt};

/// How often a question looks for Ctrl-C: the signal itself does not end the wait for a line.
const POLL: Duration = Duration::from_millis(100);

/// The person at this terminal, if there is one.
#[derive(Debug, Default, Clone, Copy)]
pub struct Person;

impl Ask for Person {
    fn ask(&self, question: &str) -> Result<Option<String>> {
        let failed =
            |cause: std::io::Error| Error::new("cannot ask on the terminal").caused_by(fsx::describe(&cause));
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        if !stdin.is_terminal() || !stderr.is_terminal() {
            return Ok(None);
        }
        write!(stderr, "{question} ").and_then(|()| stderr.flush()).map_err(failed)?;
        let pause = Timespec { tv_sec: 0, tv_nsec: POLL.subsec_nanos().into() };
        loop {
            interrupt::check()?;
            let mut wait = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut wait, Some(&pause)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => break,
                Err(cause) => return Err(failed(cause.into())),
            }
        }
        let mut line = String::new();
        if stdin.lock().read_line(&mut line).map_err(failed)? == 0 {
            // Ctrl-D: what follows would stand behind the question.
            writeln!(stderr).map_err(failed)?;
        }
        // Ctrl-C drops what was typed, and may end the wait itself.
        interrupt::check()?;
        Ok(Some(line.trim().to_string()))
    }
}
