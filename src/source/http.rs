//! Downloads that survive bad lines: resumed with `Range` and `If-Range` (RFC 9110 sections 13.1.5, 14),
//! retried with back-off, and put in place only with the right SHA-256.

mod stream;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::spec::shown_url;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::{fsx, interrupt};

pub use stream::{Stream, fetch};

/// How long to wait and how often to try.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Attempts in a row that bring nothing new.
    pub attempts: u32,
    /// Pause before the second attempt; doubled each time.
    pub back_off: Duration,
    /// A server that says nothing for so long is gone.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { attempts: 5, back_off: Duration::from_secs(1), silence: Duration::from_secs(30) }
    }
}

/// One attempt's end.
enum Failure {
    /// Trying again may help.
    Passing(String),
    /// It will not.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// Fetches `url` to `target`, whose content must have the digest `sha256`. The caller holds the entry's lock.
pub(super) fn download(
    url: &str,
    sha256: &Digest,
    target: &Path,
    patience: &Patience,
    what: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let mut transfer = Transfer::open(url, target, patience, what, progress)?;
    let resumed = transfer.have > 0;
    transfer.run()?;
    let mut found = transfer.digest()?;
    if found != *sha256 && resumed {
        // The beginning may have come from another file: once more, all of it.
        transfer.restart()?;
        transfer.run()?;
        found = transfer.digest()?;
    }
    if found != *sha256 {
        transfer.restart()?;
        return Err(Error::new(format!("`{}` is not the file that was asked for", shown_url(url)))
            .caused_by(format!("its sha256 is {found}"))
            .caused_by(format!("expected         {sha256}"))
            .hint("if the change is meant, put the new sha256 in the profile"));
    }
    transfer.commit(target)
}

/// A download in progress.
struct Transfer<'a> {
    url: &'a str,
    patience: &'a Patience,
    what: &'a str,
    progress: &'a dyn Progress,
    partial: std::path::PathBuf,
    /// Holds the ETag that the bytes so far came with.
    validator: std::path::PathBuf,
    file: File,
    have: u64,
}

/// What the thread that reads the network tells.
enum Told {
    Head(Head),
    Bytes(Vec<u8>),
    End,
    Failed(String),
}

/// The beginning of an answer.
struct Head {
    status: u16,
    reason: String,
    range_start: Option<u64>,
    /// Of this answer's body.
    length: Option<u64>,
    etag: Option<String>,
}

impl Head {
    /// For messages.
    fn answer(&self) -> String {
        format!("the server answered {} {}", self.status, self.reason)
    }

    /// True when the same question may get a better answer later.
    fn passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..=599)
    }
}

impl<'a> Transfer<'a> {
    fn open(
        url: &'a str,
        target: &Path,
        patience: &'a Patience,
        what: &'a str,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let partial = fsx::partial_name(target);
        let validator = partial.with_extension("etag");
        if let Some(parent) = target.parent() {
            fsx::create_dir_all(parent)?;
        }
        let failed = |cause: std::io::Error| fsx::io_error("write", &partial, &cause);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&partial)
            .map_err(failed)?;
        let have = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Transfer { url, patience, what, progress, partial, validator, file, have })
    }

    /// Attempts until all bytes are there.
    fn run(&mut self) -> Result<()> {
        let mut left = self.patience.attempts;
        let mut pause = self.patience.back_off;
        let mut furthest = self.have;
        loop {
            let why = match self.attempt() {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            if self.have > furthest {
                furthest = self.have;
                (left, pause) = (self.patience.attempts, self.patience.back_off);
            }
            left = left.saturating_sub(1);
            if left == 0 {
                let attempts = self.patience.attempts;
                let error = self.failed().caused_by(format!("{why}, {attempts} attempts in a row"));
                return Err(if self.have > 0 {
                    error.hint("run it again to go on from there")
                } else {
                    error
                });
            }
            self.progress.note(&format!("`{}`: {why}; trying again", shown_url(self.url)));
            wait(pause)?;
            pause *= 2;
        }
    }

    fn attempt(&mut self) -> std::result::Result<(), Failure> {
        let etag = if self.have > 0 { fsx::read_optional(&self.validator)? } else { None };
        let told = request(self.url, self.have, etag, self.patience);
        let head = head(&told)?;
        match head.status {
            206 if head.range_start == Some(self.have) => {}
            200 => self.restart()?,
            // The partial file is as long as the whole, or is of another one.
            206 | 416 if self.have > 0 => {
                self.restart()?;
                return Err(Failure::Passing("the server cannot go on from there".to_string()));
            }
            _ if head.passing() => return Err(Failure::Passing(head.answer())),
            _ => return Err(Failure::Final(self.failed().caused_by(head.answer()))),
        }
        if let Some(etag) = head.etag {
            fsx::write_atomic(&self.validator, etag.as_bytes())?;
        }
        let total = head.length.map(|length| self.have + length);
        self.receive(&told, total)
    }

    fn receive(&mut self, told: &Receiver<Told>, total: Option<u64>) -> std::result::Result<(), Failure> {
        let mut shown = Instant::now();
        self.progress.count(self.what, self.have, total, Unit::Bytes);
        loop {
            match next(told)? {
                Told::Bytes(bytes) => {
                    self.file
                        .write_all(&bytes)
                        .map_err(|cause| fsx::io_error("write", &self.partial, &cause))?;
                    self.have += bytes.len() as u64;
                    if shown.elapsed() > Duration::from_millis(100) {
                        shown = Instant::now();
                        self.progress.count(self.what, self.have, total, Unit::Bytes);
                    }
                }
                Told::End => match total {
                    Some(total) if self.have < total => return Err(self.cut(Some(total))),
                    _ => {
                        self.progress.count(self.what, self.have, total, Unit::Bytes);
                        return Ok(());
                    }
                },
                Told::Failed(_) => return Err(self.cut(total)),
                Told::Head(_) => {}
            }
        }
    }

    fn cut(&self, total: Option<u64>) -> Failure {
        let of = total.map_or(String::new(), |total| format!(" of {total}"));
        Failure::Passing(format!("the connection ended after {}{of} bytes", self.have))
    }

    /// Forgets what is there.
    fn restart(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|cause| fsx::io_error("write", &self.partial, &cause))?;
        self.have = 0;
        fsx::remove_file(&self.validator)
    }

    fn digest(&mut self) -> Result<Digest> {
        Digest::of_file(&self.partial)
    }

    fn commit(self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|cause| fsx::io_error("sync", &self.partial, &cause))?;
        fsx::remove_file(&self.validator)?;
        fsx::rename(&self.partial, target)
    }

    fn failed(&self) -> Error {
        failed(self.url)
    }
}

fn failed(url: &str) -> Error {
    Error::new(format!("cannot download `{}`", shown_url(url)))
}

/// Starts a thread that asks for what comes after `have` bytes and reads it, so that Ctrl-C is heard while a
/// server is silent.
fn request(url: &str, have: u64, etag: Option<String>, patience: &Patience) -> Receiver<Told> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .accept_encoding("identity")
        .user_agent(concat!("bimg/", env!("CARGO_PKG_VERSION")))
        .tls_config(
            TlsConfig::builder()
                .provider(TlsProvider::NativeTls)
                .root_certs(RootCerts::PlatformVerifier)
                .build(),
        )
        .build()
        .into();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
        if let Some(etag) = etag {
            request = request.header("If-Range", etag);
        }
    }
    let (sender, receiver) = sync_channel(16);
    std::thread::spawn(move || match request.call() {
        Ok(response) => read(response, &sender),
        Err(cause) => {
            let _ = sender.send(Told::Failed(describe(&cause)));
        }
    });
    receiver
}

/// The beginning of the answer.
fn head(told: &Receiver<Told>) -> std::result::Result<Head, Failure> {
    match next(told)? {
        Told::Head(head) => Ok(head),
        Told::Failed(why) => Err(Failure::Passing(why)),
        Told::Bytes(_) | Told::End => Err(Failure::Passing("there was no answer".to_string())),
    }
}

/// The next message; a thread that is gone has ended.
fn next(told: &Receiver<Told>) -> std::result::Result<Told, Failure> {
    loop {
        match told.recv_timeout(Duration::from_millis(50)) {
            Ok(told) => return Ok(told),
            Err(RecvTimeoutError::Disconnected) => return Ok(Told::End),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
        }
    }
}

/// Pauses, unless a signal comes.
pub(super) fn wait(pause: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < pause {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(20).min(pause));
    }
    Ok(())
}

/// Runs on the network thread; an error to send means that nobody waits any more.
fn read(response: Response<ureq::Body>, sender: &SyncSender<Told>) {
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_string);
    let status = response.status();
    let head = Told::Head(Head {
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or_default().to_string(),
        range_start: header("content-range")
            .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()),
        length: header("content-length").and_then(|length| length.parse().ok()),
        // A weak validator says nothing about bytes (RFC 9110 section 13.1.5).
        etag: header("etag").filter(|etag| !etag.starts_with("W/")),
    });
    if sender.send(head).is_err() {
        return;
    }
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    loop {
        let mut bytes = vec![0; 128 << 10];
        let told = match body.read(&mut bytes) {
            Ok(0) => Told::End,
            Ok(n) => {
                bytes.truncate(n);
                Told::Bytes(bytes)
            }
            Err(cause) => Told::Failed(fsx::describe(&cause)),
        };
        let last = !matches!(told, Told::Bytes(_));
        if sender.send(told).is_err() || last {
            return;
        }
    }
}

fn describe(cause: &ureq::Error) -> String {
    match cause {
        ureq::Error::Io(cause) => fsx::describe(cause),
        ureq::Error::Timeout(_) => "the server does not answer".to_string(),
        ureq::Error::HostNotFound => "the host name is not known".to_string(),
        ureq::Error::ConnectionFailed => "the connection failed".to_string(),
        other => other.to_string(),
    }
}
