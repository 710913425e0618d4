//! A terminal: finished stages scroll up, the running ones and their tasks live on the last lines.
//!
//! indicatif moves the cursor, keeps the redraw rate and estimates the time left; every line's text
//! comes from [`text`].

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::progress::{Event, Progress, Unit};

use super::text::{self, Count, Mark, Paint};

/// An estimate before this is a guess.
const SETTLED: Duration = Duration::from_secs(3);

/// Draws on a terminal.
pub struct Terminal {
    verbose: bool,
    paint: Paint,
    width: fn() -> usize,
    multi: MultiProgress,
    state: Mutex<State>,
}

struct State {
    /// Lines that stay.
    out: Box<dyn Write + Send>,
    stages: Vec<Stage>,
    tasks: Vec<(String, ProgressBar)>,
}

struct Stage {
    name: String,
    reason: String,
    start: Instant,
    bar: ProgressBar,
}

impl Terminal {
    /// On stderr.
    pub fn stderr(paint: Paint, verbose: bool) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        Self::new(target, Box::new(std::io::stderr()), stderr_width, paint, verbose)
    }

    fn new(
        target: ProgressDrawTarget,
        out: Box<dyn Write + Send>,
        width: fn() -> usize,
        paint: Paint,
        verbose: bool,
    ) -> Self {
        let state = Mutex::new(State { out, stages: Vec::new(), tasks: Vec::new() });
        Terminal { verbose, paint, width, multi: MultiProgress::with_draw_target(target), state }
    }

    /// Ends the live lines; those of running stages stay, marked as failed.
    pub fn fail(&self) {
        self.fail_at(Instant::now());
    }

    fn fail_at(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in state.tasks.drain(..) {
            bar.finish_and_clear();
        }
        for stage in std::mem::take(&mut state.stages) {
            stage.bar.finish_and_clear();
            let time = now.duration_since(stage.start);
            let line =
                text::stage(Mark::Failed, &stage.name, time, &stage.reason, (self.width)(), self.paint);
            self.keep(&mut state, &line);
        }
    }

    /// Prints a line above the live ones.
    fn keep(&self, state: &mut State, line: &str) {
        self.multi.suspend(|| {
            // The terminal may have gone; the work goes on.
            let _ = writeln!(state.out, "{line}").and_then(|()| state.out.flush());
        });
    }

    fn start(&self, state: &mut State, name: &str, reason: &str) {
        let (paint, width) = (self.paint, self.width);
        let (shown, why) = (name.to_string(), reason.to_string());
        let draw = move |bar: &ProgressState, out: &mut dyn std::fmt::Write| {
            const TURNS: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
            let turn = TURNS[(bar.elapsed().as_millis() / 100 % 10) as usize];
            let line = text::stage(Mark::Running(turn), &shown, bar.elapsed(), &why, width(), paint);
            let _ = out.write_str(&line);
        };
        // Above the tasks, below the stages that began earlier.
        let bar = self.multi.insert(state.stages.len(), ProgressBar::no_length());
        bar.set_style(line_style(draw));
        bar.enable_steady_tick(Duration::from_millis(200));
        state.stages.push(Stage {
            name: name.to_string(),
            reason: reason.to_string(),
            start: Instant::now(),
            bar,
        });
    }

    fn finish(&self, state: &mut State, name: &str, time: Duration, fresh: bool) {
        let mut reason = String::new();
        if let Some(at) = state.stages.iter().position(|stage| stage.name == name) {
            let stage = state.stages.remove(at);
            stage.bar.finish_and_clear();
            self.multi.remove(&stage.bar);
            reason = stage.reason;
        }
        if state.stages.is_empty() {
            for (_, bar) in state.tasks.drain(..) {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
        }
        let mark = if fresh { Mark::Fresh } else { Mark::Done };
        let line = text::stage(mark, name, time, &reason, (self.width)(), self.paint);
        self.keep(state, &line);
    }

    fn advance(&self, state: &mut State, task: &str, done: u64, total: Option<u64>, unit: Unit) {
        let at = state.tasks.iter().position(|(name, _)| name == task);
        if Some(done) == total {
            if let Some(at) = at {
                let (_, bar) = state.tasks.remove(at);
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
            return;
        }
        let at = at.unwrap_or_else(|| {
            let bar = self.multi.add(ProgressBar::no_length());
            bar.set_style(line_style(task_line(task, unit, self.width, self.paint)));
            state.tasks.push((task.to_string(), bar));
            state.tasks.len() - 1
        });
        let bar = &state.tasks[at].1;
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    }
}

impl Progress for Terminal {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *event {
            Event::StageStarted { stage, reason } => self.start(&mut state, stage, reason),
            Event::StageFinished { stage, seconds, fresh } => {
                let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                self.finish(&mut state, stage, time, fresh);
            }
            Event::Progress { task, done, total, unit } => {
                self.advance(&mut state, task, done, total, unit);
            }
            Event::Output { line } => {
                if self.verbose {
                    self.keep(&mut state, &self.paint.dim(&text::clean(line)));
                }
            }
            Event::Note { text } => self.keep(&mut state, &text::clean(text)),
            Event::Warning { text } => self.keep(&mut state, &text::warning(text, self.paint)),
        }
    }
}

/// A style that is one line, drawn by `draw`.
fn line_style(
    draw: impl Fn(&ProgressState, &mut dyn std::fmt::Write) + Clone + Send + Sync + 'static,
) -> ProgressStyle {
    // The template is a constant that parses; the default is only there to avoid a panic.
    ProgressStyle::with_template("{line}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("line", draw)
}

fn task_line(
    task: &str,
    unit: Unit,
    width: fn() -> usize,
    paint: Paint,
) -> impl Fn(&ProgressState, &mut dyn std::fmt::Write) + Clone + Send + Sync + 'static {
    let task = task.to_string();
    move |bar, out| {
        let left = Some(bar.eta()).filter(|left| bar.elapsed() > SETTLED && !left.is_zero());
        let count = Count { done: bar.pos(), total: bar.len(), unit, rate: bar.per_sec(), left };
        let _ = out.write_str(&text::task(&task, &count, width(), paint));
    }
}

/// Columns of the terminal on stderr.
fn stderr_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns >= 20)
        .unwrap_or(80)
}

#[cfg(test)]
mod tests;
