//! A project with a build, boards with its image on them, and bimg between the two.

use std::fmt::Write;
use std::process::Command;

use crate::board::Board;
use crate::common::live::Live;
use crate::common::{BOARD, Outcome, Project};

/// `bimg target status` of a board that nothing has been deployed to.
pub const STATUS: &str = "host       board\n\
     board      Acme Board A\n\
     machine    aarch64\n\
     kernel     6.12.0-fake #1\n\
     running    image\n\
     default    image\n\
     boot       uboot-script on /dev/mmcblk0p1\n\
     free       9.5 GiB for boot files, 9.5 GiB for modules\n\
     up         7 s\n";

/// What is deployed from, and to.
pub struct Lab {
    /// Off before their files go.
    pub boards: Vec<Board>,
    pub project: Project,
}

impl Lab {
    /// One board, `board`.
    pub fn new() -> Lab {
        Lab::with(&["board"])
    }

    /// A build of the image, and boards that run it.
    pub fn with(names: &[&str]) -> Lab {
        let project = Project::new();
        let profile = BOARD.replace("chain = \"extlinux\"", "chain = \"uboot-script\"");
        project.write("boards/acme.toml", &format!("{profile}\n[deploy]\ntimeout = 20\n"));
        // Something to send: no two bytes alike, as far as gzip can see.
        project.write("linux/init/main.c", &(project.read("linux/init/main.c") + &filler("kernel", 1)));
        project.write("linux/drivers/gpio.c", &(project.read("linux/drivers/gpio.c") + &filler("gpio", 2)));
        project.tool("fake-strip", "#!/bin/sh\nexec strip \"$@\"\n");
        project.build(&[]);
        let boards: Vec<Board> = names.iter().map(|name| Board::new(&project, name)).collect();
        let lab = Lab { boards, project };
        lab.configure();
        lab
    }

    /// The first board.
    pub fn board(&self) -> &Board {
        &self.boards[0]
    }

    /// The ssh configuration for its boards.
    pub fn configure(&self) {
        let dir = self.project.root();
        let mut text: String = self.boards.iter().map(Board::config).collect();
        for board in &self.boards {
            let own = dir.join(&board.name);
            let _ = write!(
                text,
                "Match originalhost {}\n  UserKnownHostsFile {1}/known_hosts\n  IdentityFile {1}/user_key\n",
                board.name,
                own.display()
            );
        }
        text += "Match all\n  IdentitiesOnly yes\n  IdentityAgent none\n  GlobalKnownHostsFile /dev/null\n";
        std::fs::write(dir.join("ssh_config"), text).unwrap();
    }

    /// bimg with what it needs to reach the boards.
    pub fn bimg(&self, args: &[&str]) -> Command {
        let mut command = self.project.bimg(args);
        command.env("BIMG_SSH_CONFIG", self.project.root().join("ssh_config")).env("USER", "tester");
        command
    }

    /// bimg to its end.
    pub fn run(&self, args: &[&str]) -> Outcome {
        let outcome = self.project.outcome(&mut self.bimg(args));
        Outcome { stdout: redact(&outcome.stdout), stderr: redact(&outcome.stderr), ..outcome }
    }

    /// bimg that is watched while it runs.
    pub fn live(&self, args: &[&str]) -> Live {
        Live::start(&mut self.bimg(args))
    }

    /// `bimg deploy` to the first board.
    pub fn deploy(&self, args: &[&str]) -> Outcome {
        self.run(&[&["deploy", "--board", "acme", "--host", &self.board().name], args].concat())
    }

    /// `bimg target WORDS` about the first board.
    pub fn target(&self, words: &[&str]) -> Outcome {
        self.run(&[&["target"], words, &["--board", "acme", "--host", &self.board().name]].concat())
    }

    /// Command lines of the ssh clients that run for it.
    pub fn clients(&self) -> Vec<String> {
        let config = self.project.root().join("ssh_config").display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
        lines
            .map(|line| line.replace('\0', " "))
            .filter(|line| line.starts_with("ssh ") && line.contains(&config))
            .collect()
    }

    /// Puts something before the ssh configuration, where it counts.
    pub fn prefer(&self, text: &str) {
        let path = self.project.root().join("ssh_config");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{text}{before}")).unwrap();
    }

    /// A change of a module's source.
    pub fn edit_module(&self, word: &str) {
        let text = self.project.read("linux/drivers/led.c");
        let text = text.lines().filter(|line| !line.starts_with("INFO(word")).collect::<Vec<_>>().join("\n");
        self.project.write("linux/drivers/led.c", &format!("{text}\nINFO(word, \"word={word}\");\n"));
    }

    /// Deploys a change of a module's source; what runs then.
    pub fn deploy_edited(&self, word: &str) -> String {
        self.edit_module(word);
        self.deploy(&[]).ok();
        self.board().running()
    }

    /// A change of the kernel itself.
    pub fn edit_kernel(&self, word: &str) {
        let text = self.project.read("linux/init/main.c");
        let text =
            text.lines().filter(|line| !line.starts_with("const char word")).collect::<Vec<_>>().join("\n");
        self.project.write("linux/init/main.c", &format!("{text}\nconst char word[] = \"{word}\";\n"));
    }
}

/// A C array that does not compress.
fn filler(name: &str, seed: u64) -> String {
    let mut random = Random(seed);
    let words: Vec<String> = (0..30_000).map(|_| format!("{:#x}u", random.next() as u32)).collect();
    format!("const unsigned int {name}_filler[] = {{{}}};\n", words.join(","))
}

/// A generator that gives the same numbers each time (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// What differs from run to run: names of deployments, fingerprints, times, sizes on the wire.
pub fn redact(text: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let text = text.replace(&format!("tester@{host}"), "tester@[HOST]");
    // A slow host tells how far it is.
    text.split_inclusive('\n').filter(|line| !line.trim_end().ends_with("%)")).map(line).collect()
}

fn line(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let word = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let hex = word(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase());
        let name = word(|c| c.is_ascii_alphanumeric() || c == '_');
        let skip = if hex == 12 && name == 12 {
            out.push_str("[ID]");
            12
        } else if rest.starts_with("SHA256:") {
            out.push_str("[KEY]");
            word(|c| c.is_ascii_alphanumeric() || "+/:".contains(c))
        } else if rest.starts_with("20") && rest.get(10..11) == Some("T") && rest.get(19..20) == Some("Z") {
            out.push_str("[DATE]");
            20
        } else if let Some((key, name, behind)) = number(rest) {
            out.push_str(key);
            out.push_str(name);
            rest.len() - behind.len()
        } else if let Some(n) = kib(rest) {
            out.push_str("[SIZE]");
            n
        } else if c.is_ascii_digit() && seconds(rest).is_some() {
            out.push_str("[TIME] s");
            seconds(rest).unwrap_or_default()
        } else if c.is_ascii_digit() && rest.find(" on the wire)").is_some_and(|at| !rest[..at].contains('('))
        {
            out.push_str("[SIZE]");
            rest.find(" on the wire)").unwrap_or_default()
        } else {
            let n = name.max(c.len_utf8());
            out.push_str(&rest[..n]);
            n
        };
        rest = &rest[skip..];
    }
    out
}

/// A number that differs: what is before it, its name, and what is behind it.
fn number(text: &str) -> Option<(&'static str, &'static str, &str)> {
    const NUMBERS: &[(&str, &str)] = &[
        ("127.0.0.1 port ", "[PORT]"),
        ("[127.0.0.1]:", "[PORT]"),
        ("\"seconds\":", "[TIME]"),
        ("\"wire\":", "[SIZE]"),
        ("\"bytes\":", "[SIZE]"),
    ];
    let digit = |c: char| c.is_ascii_digit() || ".e-".contains(c);
    NUMBERS
        .iter()
        .find_map(|(key, name)| Some((*key, *name, text.strip_prefix(key)?.trim_start_matches(digit))))
}

/// Length of `1.2 KiB`: what a compiler makes of the fake kernel.
fn kib(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    (text[..end].contains('.') && text[end..].starts_with(" KiB")).then_some(end + 4)
}

/// Length of `1.2 s`, `1.2s`, `1m02s`, or a whole number of seconds that counts down.
fn seconds(text: &str) -> Option<usize> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit());
    if let Some((minutes, rest)) = text.split_once('m')
        && minutes.chars().all(|c| c.is_ascii_digit())
        && digits(rest) == Some(2)
        && rest[2..].starts_with('s')
    {
        return Some(minutes.len() + 4);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let unit = [" s", "s"].into_iter().find(|unit| text[end..].starts_with(unit))?;
    let ends = |at: usize| !text[at..].starts_with(|c: char| c.is_alphanumeric());
    let counts = text[end..].starts_with(" s unless");
    let long = unit == "s";
    ((text[..end].contains('.') || counts || long) && ends(end + unit.len())).then_some(end + unit.len())
}

/// Only what a failure says, without what went before it.
#[track_caller]
pub fn assert_refused(outcome: &Outcome, status: i32, expected: &str) {
    let at = outcome.stderr.find("error: ").unwrap_or_else(|| panic!("it did not fail: {outcome:?}"));
    assert_text(&outcome.stderr[at..], expected);
    assert_eq!(outcome.status, Some(status));
}

/// The very words.
#[track_caller]
pub fn assert_text(text: &str, expected: &str) {
    assert_eq!(text, expected);
}
