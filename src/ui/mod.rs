//! What a person or a program sees: the listener behind [`Progress`], and the rendering of errors.
//!
//! | stderr is | shows |
//! |---|---|
//! | a terminal | one line per finished stage, live bars below ([`terminal`]) |
//! | anything else | plain lines, progress every ten seconds ([`plain`]) |
//!
//! With `--json`, each event is a line on stdout ([`json`]), unless the command is there for what it prints: that is
//! then alone on stdout. Everything but data goes to stderr.
//! [`text`] holds the wording of every line as pure functions.

pub mod ask;
pub mod image;
pub mod json;
pub mod plain;
pub mod terminal;
pub mod text;

use std::io::{IsTerminal, Write};

use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

use self::text::Paint;

/// What the command line asked for.
#[derive(Debug, Default, Clone, Copy)]
pub struct Options {
    /// `--json`: events on stdout, one per line.
    pub json: bool,
    /// The command prints data, and a program reads it: no event and no error goes to stdout.
    pub data: bool,
    /// `-v`: also what the tools print.
    pub verbose: bool,
    /// `-q`: results and errors only.
    pub quiet: bool,
}

/// The listener for this process.
pub struct Ui {
    paint: Paint,
    json: bool,
    listener: Listener,
}

enum Listener {
    Quiet,
    Json(json::Json),
    Plain(plain::Plain),
    Terminal(terminal::Terminal),
}

impl Ui {
    /// Chooses the listener from the options and from what stderr is.
    pub fn new(options: Options) -> Self {
        let stderr = std::io::stderr();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = stderr.is_terminal() && !dumb;
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = Paint(terminal && !no_color);
        let listener = if options.json && !options.data {
            Listener::Json(json::Json::new(Box::new(std::io::stdout())))
        } else if options.quiet {
            Listener::Quiet
        } else if terminal {
            Listener::Terminal(terminal::Terminal::stderr(paint, options.verbose))
        } else {
            Listener::Plain(plain::Plain::new(Box::new(stderr), options.verbose))
        };
        Ui { paint, json: options.json, listener }
    }

    /// Whether results, too, are wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a failure: ends the live lines, names the stage it struck, prints the story on stderr.
    pub fn fail(&self, error: &Error) {
        match &self.listener {
            Listener::Json(json) => json.fail(error),
            Listener::Terminal(terminal) => terminal.fail(),
            Listener::Plain(plain) => plain.fail(error.exit()),
            Listener::Quiet => {}
        }
        // stderr may be closed; then there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{}", text::error(error, self.paint));
    }
}

impl Progress for Ui {
    fn event(&self, event: &Event<'_>) {
        match &self.listener {
            Listener::Quiet => {}
            Listener::Json(json) => json.event(event),
            Listener::Plain(plain) => plain.event(event),
            Listener::Terminal(terminal) => terminal.event(event),
        }
    }
}

/// Writes data to stdout. A reader that has gone (`bimg plan | head`) is not a failure.
pub fn data(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new("cannot write to standard output").caused_by(crate::fsx::describe(&cause)))
        }
        _ => Ok(()),
    }
}

/// The same for words of a board's: nothing that it says repaints the terminal.
pub fn said(text: &str) -> Result<()> {
    data(&text::clean_lines(text))
}

/// Copies a file's content to stdout; `failed` tells of a failure to read it.
pub fn copy(from: &mut dyn std::io::Read, failed: &dyn Fn(std::io::Error) -> Error) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let mut piece = vec![0; 1 << 16];
    loop {
        crate::interrupt::check()?;
        let n = from.read(&mut piece).map_err(failed)?;
        match stdout.write_all(&piece[..n]).and_then(|()| stdout.flush()) {
            Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(cause) => {
                return Err(
                    Error::new("cannot write to standard output").caused_by(crate::fsx::describe(&cause))
                );
            }
            Ok(()) if n == 0 => return Ok(()),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests;
