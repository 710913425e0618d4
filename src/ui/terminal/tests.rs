use std::sync::Arc;

use indicatif::TermLike;

use super::*;

const COLUMNS: usize = 80;

/// A terminal of 80 columns that understands what indicatif sends.
#[derive(Debug, Clone, Default)]
struct Screen(Arc<Mutex<Cells>>);

#[derive(Debug, Default)]
struct Cells {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    escapes: bool,
}

impl Screen {
    fn text(&self) -> String {
        let cells = self.0.lock().unwrap();
        let rows = cells.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_string());
        rows.collect::<Vec<_>>().join("\n").trim_end().to_string()
    }

    fn put(&self, text: &str) {
        let mut cells = self.0.lock().unwrap();
        for c in text.chars() {
            match c {
                '\n' => (cells.row, cells.column) = (cells.row + 1, 0),
                '\r' => cells.column = 0,
                '\u{1b}' => cells.escapes = true,
                c => {
                    // A full line wraps only when something more comes.
                    if cells.column == COLUMNS {
                        (cells.row, cells.column) = (cells.row + 1, 0);
                    }
                    let (row, column) = (cells.row, cells.column);
                    if cells.rows.len() <= row {
                        cells.rows.resize(row + 1, Vec::new());
                    }
                    if cells.rows[row].len() <= column {
                        cells.rows[row].resize(column + 1, ' ');
                    }
                    cells.rows[row][column] = c;
                    cells.column += 1;
                }
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "every TermLike method returns a result")]
    fn shift(&self, change: impl Fn(&mut Cells)) -> std::io::Result<()> {
        change(&mut self.0.lock().unwrap());
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        COLUMNS as u16
    }

    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        self.shift(|cells| cells.row = cells.row.saturating_sub(n))
    }

    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        self.shift(|cells| cells.row += n)
    }

    fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
        self.shift(|cells| cells.column += n)
    }

    fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
        self.shift(|cells| cells.column = cells.column.saturating_sub(n))
    }

    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.put(text);
        self.put("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.put(text);
        Ok(())
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.shift(|cells| {
            cells.column = 0;
            let row = cells.row;
            if let Some(row) = cells.rows.get_mut(row) {
                row.clear();
            }
        })
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn terminal(verbose: bool) -> (Screen, Terminal) {
    let screen = Screen::default();
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 100);
    (screen.clone(), Terminal::new(target, Box::new(screen), || COLUMNS, Paint(false), verbose))
}

fn started<'a>(stage: &'a str, reason: &'a str) -> Event<'a> {
    Event::StageStarted { stage, reason }
}

fn finished(stage: &str, seconds: f64, fresh: bool) -> Event<'_> {
    Event::StageFinished { stage, seconds, fresh }
}

#[test]
fn a_build_leaves_one_line_per_stage() {
    let (screen, terminal) = terminal(false);
    terminal.event(&started("source", ""));
    terminal.event(&finished("source", 0.012, true));
    terminal.event(&started("kernel", "fragment boards/common/lean.config changed"));
    for done in 0..300 {
        terminal.count("compiling", done, Some(2900), Unit::Items);
        terminal.event(&Event::Output { line: "  CC  init/main.o" });
    }
    terminal.warn("ccache is not installed");
    terminal.event(&finished("kernel", 372.0, false));
    terminal.note("image: out/rpi4/rpi4.img");
    assert_eq!(
        screen.text(),
        "✓ source    0.0s  up to date\n\
         warning: ccache is not installed\n\
         ✓ kernel   6m12s  fragment boards/common/lean.config changed\n\
         image: out/rpi4/rpi4.img"
    );
    assert!(!screen.0.lock().unwrap().escapes, "no colour was asked for");
}

#[test]
fn running_stages_and_tasks_are_live() {
    let (screen, terminal) = terminal(true);
    terminal.event(&started("kernel", "never built"));
    terminal.count("compiling", 5, Some(10), Unit::Items);
    terminal.event(&started("rootfs", "never built"));
    terminal.event(&Event::Output { line: "  CC  init/main.o" });
    // A character that turns, and seconds that go by.
    let running = |line: &str, stage: &str| {
        let time = line.split_whitespace().nth(2).unwrap_or_default();
        let is_time = time.strip_suffix('s').is_some_and(|time| time.parse::<u64>().is_ok());
        let rest = line.char_indices().nth(1).map_or("", |(at, _)| &line[at..]);
        is_time && rest == format!(" {stage} {time:>7}  never built")
    };
    let task = "  compiling             ━━━━━━━━━━━━────────────  5 of 10 (50%)";
    let start = Instant::now();
    loop {
        let text = screen.text();
        let lines: Vec<&str> = text.lines().collect();
        if let ["  CC  init/main.o", kernel, rootfs, last] = lines[..]
            && running(kernel, "kernel")
            && running(rootfs, "rootfs")
            && last == task
        {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_failure_names_the_stages_it_struck() {
    let (screen, terminal) = terminal(false);
    let start = Instant::now();
    terminal.event(&started("kernel", "never built"));
    terminal.count("compiling", 5, Some(10), Unit::Items);
    // Not later than the stage began.
    terminal.fail_at(start);
    assert_eq!(screen.text(), "✗ kernel    0.0s  never built");
}
