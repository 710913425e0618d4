//! Scripts on a board. Each is `remote/prelude.sh` and a file beside it; the words it needs are its arguments.

use std::io::{self, Write};

use super::facts::Facts;
use crate::boot::{SlotState, Slots};
use crate::error::{Error, Result};
use crate::exec::{Input, Output, quote, tail};
use crate::fsx;
use crate::ssh::{Host, Options, Script, Session, Staying};

const PRELUDE: &str = include_str!("remote/prelude.sh");
/// Status by which a script says that its last words on stderr are the reason.
const DIED: i32 = 9;
/// The last words of GNU tar, whatever it failed for.
const TAR_ENDS: &str = ": Exiting with failure status due to previous errors";

/// How to get to a board.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// Where it is.
    pub host: &'a Host,
    /// How to connect.
    pub ssh: &'a Options,
    /// Its boot chain.
    pub slots: &'a dyn Slots,
    /// Number of its boot partition, among those of root's disk.
    pub boot_partition: u32,
}

impl Reach<'_> {
    /// Connects, and finds out how scripts run as root.
    pub fn open(&self) -> Result<Remote> {
        let (session, uid) = Session::open(self.host, self.ssh, "id -u")?;
        Remote::new(session, &uid, self.boot_partition, self.slots)
    }
}

/// The failure of a write to a script's input.
pub fn cannot_send(cause: &io::Error) -> Error {
    Error::new("cannot send to the board").caused_by(fsx::describe(cause))
}

/// A board that can be worked on.
pub struct Remote {
    session: Session,
    sudo: bool,
    /// Number of the boot partition on root's disk.
    boot_partition: u32,
    /// A file that is always on it.
    boot_file: &'static str,
}

impl Remote {
    /// Finds out whether scripts run as root: at once, or by `sudo`. `uid`: as whom we are logged in.
    fn new(session: Session, uid: &str, boot_partition: u32, slots: &dyn Slots) -> Result<Remote> {
        let boot_file = slots.evidence().first().map_or("boot.scr", |(path, _)| path);
        let remote = Remote { session, sudo: uid != "0", boot_partition, boot_file };
        if remote.sudo {
            let as_root = remote.uid();
            if !as_root.as_ref().is_ok_and(|uid| uid == "0") {
                let mut error = Error::new(format!("{} is not root there", remote.session.host()))
                    .caused_by("kernels are installed as root, and `sudo -n` does not help");
                if let Err(cause) = as_root {
                    error = error.caused_by(cause.chain().last().unwrap_or_default().to_string());
                }
                return Err(error.hint("log in as root@HOST, or allow this user `sudo` without a password"));
            }
        }
        Ok(remote)
    }

    fn uid(&self) -> Result<String> {
        let output = self.checked("ask who we are", &self.session.run(&self.script("id -u", &[]))?)?;
        Ok(output.trim().to_string())
    }

    fn script<'a>(&self, text: &'a str, args: &'a [&'a str]) -> Script<'a> {
        Script { text, args, sudo: self.sudo }
    }

    /// The connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// `text` behind the prelude, able to find the boot filesystem, without comments: a third of it.
    fn whole(&self, text: &str) -> String {
        let (partition, file) = (self.boot_partition, quote(self.boot_file));
        let whole = format!("{PRELUDE}boot_where() {{ boot_find {partition} {file} || :; }}\n{text}");
        whole
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| [line, "\n"])
            .collect()
    }

    /// Runs a script and returns what it printed.
    pub fn run(&self, what: &str, text: &str, args: &[&str]) -> Result<String> {
        let text = self.whole(text);
        let output = self.session.run(&self.script(&text, args))?;
        self.checked(what, &output)
    }

    /// Starts a script that reads what `feed` writes. A failure of its own is an error, that of writing a value.
    pub fn feed(
        &self,
        what: &str,
        text: &str,
        args: &[&str],
        feed: impl FnOnce(&mut Input) -> Result<Option<io::Error>>,
    ) -> Result<String> {
        let text = self.whole(text);
        let mut running = self.session.start(&self.script(&text, args), true)?;
        let fed = running.stdin().map_or(Ok(None), |mut stdin| feed(&mut stdin));
        let output = running.finish();
        let broken = fed?;
        // Where the script ended early, its own words say more than a broken pipe.
        let printed = self.checked(what, &output?)?;
        broken.map_or(Ok(printed), |cause| Err(cannot_send(&cause)))
    }

    /// The same, with bytes that are there already.
    pub fn send(&self, what: &str, text: &str, args: &[&str], bytes: &[u8]) -> Result<String> {
        self.feed(what, text, args, |stdin| Ok(stdin.write_all(bytes).err()))
    }

    /// Starts a script that stays, and returns its first line.
    pub fn stay(&self, text: &str, args: &[&str]) -> Result<(Staying, String)> {
        let text = self.whole(text);
        self.session.stay(&self.script(&text, args))
    }

    /// Any shell command of the user's; its status is for the caller.
    pub fn command(&self, command: &str) -> Result<Output> {
        // The client itself ends with 255 when the connection has broken, or the shell there was killed.
        // Not every login finds what is root's.
        let text = "export PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin\"\nsh -c \"$1\"\nstatus=$?\n[ $status -lt 255 ] || status=254\nexit $status\n";
        self.session.run(&self.script(text, &[command]))
    }

    fn checked(&self, what: &str, output: &Output) -> Result<String> {
        if output.status.success() {
            return Ok(output.text());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_string();
        let error = Error::new(format!("{}: cannot {what}", self.session.host()));
        Err(if output.status.code() == Some(DIED) && !words.is_empty() {
            let (words, hint) = match words.rsplit_once("\nhint: ") {
                Some((words, hint)) => (words, Some(hint)),
                None => (words.as_str(), None),
            };
            // What a program said before is why; GNU tar then adds that it said something.
            let (before, last) = words.rsplit_once('\n').unwrap_or(("", words));
            let why = before.lines().rfind(|line| !line.ends_with(TAR_ENDS));
            let error = why.into_iter().fold(error.caused_by(last), Error::caused_by);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        } else if words.is_empty() {
            error.caused_by(format!("its shell ended with status {}", output.status.code().unwrap_or(-1)))
        } else {
            error.caused_by(tail(&words, 3))
        })
    }

    /// What the board says of itself briefly.
    pub fn peek(&self) -> Result<Facts> {
        Facts::parse(&self.run("look at the board", include_str!("remote/peek.sh"), &[])?)
    }

    /// Looks at everything. `images`: boot files of the image's own kernel whose hashes are wanted, with what they are
    /// called in a deployment.
    pub fn look(&self, slots: &dyn Slots, images: &[(String, String)], base: bool) -> Result<Facts> {
        let mut text = [include_str!("remote/peek.sh"), include_str!("remote/look.sh")].concat();
        text.push_str("boot() {\necho \"free-boot $(free \"$boot_at\")\"\n");
        let mut call = |words: &[&str]| {
            text.extend(words.iter().flat_map(|word| [quote(word), " ".to_string()]));
            text.push('\n');
        };
        slots.evidence().iter().for_each(|(path, needle)| call(&["evidence", path, needle]));
        slots.state(&SlotState::default()).iter().for_each(|(path, _)| call(&["state", path]));
        for (path, name) in images {
            call(&["image_file", path, name]);
        }
        text.push_str("list\n}\n");
        // In a subshell, which a mount that fails may end.
        text.push_str(
            "boot_where\n\
             if [ -n \"$boot_at$boot_dev\" ]; then\n\
             echo \"boot-device ${boot_dev:-$boot_at}\"\n\
             (boot_open ro && boot) 2>\"$run/look\" || echo \"boot-error $(tail -n 1 \"$run/look\")\"\n\
             else echo 'boot-error no such partition beside the root filesystem, and none is mounted'; fi\n",
        );
        if base {
            text.push_str("base\n");
        }
        Facts::parse(&self.run("look at the board", &text, &[])?)
            .map_err(|error| error.context(format!("{}: cannot look at the board", self.session.host())))
    }
}
