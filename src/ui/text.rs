//! The wording of every line, as pure functions of what happened, the width and the palette.

use std::fmt::Write;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};

use crate::error::Error;
use crate::progress::Unit;
use crate::units::ByteSize;

/// The palette: colours, or none at all. Nothing is said by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn style(self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    /// Failures.
    pub fn bad(self, text: &str) -> String {
        self.style(AnsiColor::Red.on_default().bold(), text)
    }

    /// Success.
    pub fn good(self, text: &str) -> String {
        self.style(AnsiColor::Green.on_default(), text)
    }

    /// Warnings.
    pub fn warn(self, text: &str) -> String {
        self.style(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// Labels of advice.
    pub fn hint(self, text: &str) -> String {
        self.style(AnsiColor::Cyan.on_default().bold(), text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.style(Style::new().dimmed(), text)
    }
}

/// An error as a user sees it, without the last line end.
pub fn error(error: &Error, paint: Paint) -> String {
    // What a board or a tool said is in it.
    let story = clean_lines(&error.to_string());
    let label = paint.bad("error:");
    match story.split_once("\n\nhint: ") {
        Some((story, hint)) => format!("{label} {story}\n\n{} {hint}", paint.hint("hint:")),
        None => format!("{label} {story}"),
    }
}

/// A warning, one line.
pub fn warning(text: &str, paint: Paint) -> String {
    format!("{} {}", paint.warn("warning:"), clean(text))
}

/// How long something took: `0.4s`, `12s`, `6m12s`, `1h02m`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    whole(Duration::from_millis(500) + time)
}

/// The same in whole seconds, rounded down: for times that count while one looks.
pub fn whole(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// How a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// At work; the character turns.
    Running(char),
    /// Ended well.
    Done,
    /// Had nothing to do.
    Fresh,
    /// Was at work when the build failed.
    Failed,
}

/// A stage's line: `✓ kernel   6m12s  fragment boards/common/lean.config changed`.
///
/// A finished stage's reason wraps under itself: it stays in the scrollback, so it is shown whole.
/// A running one is cut to the width, as a live line must stay one line.
pub fn stage(mark: Mark, stage: &str, time: Duration, reason: &str, width: usize, paint: Paint) -> String {
    let time = if matches!(mark, Mark::Running(_)) { whole(time) } else { duration(time) };
    let head = format!("{stage:<8} {time:>5}");
    // The mark, a space, the head and two spaces.
    let indent = 2 + head.chars().count() + 2;
    let room = width.saturating_sub(indent).max(16);
    let reason = match mark {
        Mark::Running(_) => cut(reason, room),
        _ => wrap(reason, room, indent),
    };
    let (mark, reason) = match mark {
        Mark::Running(turn) => (paint.hint(&turn.to_string()), paint.dim(&reason)),
        Mark::Done => (paint.good("✓"), reason),
        Mark::Fresh => (paint.good("✓"), paint.dim("up to date")),
        Mark::Failed => (paint.bad("✗"), reason),
    };
    format!("{mark} {head}  {reason}").trim_end().to_string()
}

/// Where a task stands.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// Done so far.
    pub done: u64,
    /// Total, when known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// Per second.
    pub rate: f64,
    /// Estimate of the time left.
    pub left: Option<Duration>,
}

impl Count {
    fn amount(&self, n: u64) -> String {
        match self.unit {
            Unit::Bytes => ByteSize(n).to_string(),
            Unit::Items => n.to_string(),
        }
    }

    /// `1234 of 2900 (42%)`, or `1234` when the total is not known.
    pub fn plain(&self) -> String {
        match self.total {
            // A compilation's total is an estimate and may be passed.
            Some(total) if total > 0 => {
                let total = total.max(self.done);
                let percent = u128::from(self.done) * 100 / u128::from(total);
                format!("{} of {} ({percent}%)", self.amount(self.done), self.amount(total))
            }
            _ => self.amount(self.done),
        }
    }
}

/// A task's live line, never wider than `width`: name, bar, count, rate, time left.
pub fn task(name: &str, count: &Count, width: usize, paint: Paint) -> String {
    const NAME: usize = 20;
    let mut figures = count.plain();
    let spare = |figures: &str| width.saturating_sub(2 + NAME + 2 + figures.chars().count());
    if let Some(left) = count.left {
        let left = format!("  {} left", whole(left));
        if spare(&figures) > left.len() {
            figures.push_str(&left);
        }
    }
    if count.unit == Unit::Bytes && count.rate >= 1.0 {
        let rate = format!("  {}/s", ByteSize(count.rate as u64));
        // A bar says more than a rate: keep room for one.
        if spare(&figures) >= rate.len() + 16 {
            figures.push_str(&rate);
        }
    }
    let room = spare(&figures).saturating_sub(2).min(24);
    let bar = match count.total {
        Some(total) if total > 0 && room >= 6 => {
            let filled = (u128::from(count.done.min(total)) * room as u128 / u128::from(total)) as usize;
            let bar = "━".repeat(filled);
            format!("{}{}  ", paint.good(&bar), paint.dim(&"─".repeat(room - filled)))
        }
        _ => String::new(),
    };
    format!("  {:<NAME$}  {bar}{figures}", cut(name, NAME))
}

/// Without control characters: a tool's line must not repaint the terminal.
pub fn clean(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // A colour sequence is dropped whole, or its tail would be left as litter.
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
            '\t' => text.push('\t'),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// The same for each line of a text.
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// At most `room` characters, the last one `…` when something was cut.
pub fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Broken at spaces into lines of `room`, the second and later ones indented. A word that is longer
/// than the room (a path) stays whole.
pub fn wrap(text: &str, room: usize, indent: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            // Writing to a String cannot fail.
            let _ = write!(lines, "\n{:indent$}", "");
            used = 0;
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests;
