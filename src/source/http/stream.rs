//! A file on a server as a stream: a connection that breaks is taken up again where it broke.

use std::io::{self, Read};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::{Failure, Head, Patience, Told, failed, head, next, request, wait};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The bytes of one file, in order, once.
pub struct Stream {
    url: String,
    patience: Patience,
    told: Receiver<Told>,
    /// Bytes received so far.
    have: u64,
    /// Bytes of the whole file, when the server tells.
    total: Option<u64>,
    etag: Option<String>,
    /// Bytes to throw away first: the server began anew.
    again: u64,
    chunk: Vec<u8>,
    at: usize,
    /// Attempts left until one of them brings something new.
    left: u32,
    pause: Duration,
}

/// How servers say that there is no such file; object stores that list nothing forbid to ask.
const NONE: [u16; 3] = [403, 404, 410];

/// A small file; `None` when the server has none. More than `limit` bytes are an error.
pub fn fetch(url: &str, limit: usize, patience: &Patience) -> Result<Option<Vec<u8>>> {
    let Some(stream) = Stream::find(url, patience, &NONE)? else { return Ok(None) };
    let mut bytes = Vec::new();
    stream.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(own)?;
    if bytes.len() > limit {
        return Err(failed(url).caused_by(format!("it is larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

impl Stream {
    /// Asks for `url`.
    pub fn open(url: &str, patience: &Patience) -> Result<Self> {
        Self::find(url, patience, &[404])?
            .ok_or_else(|| failed(url).caused_by("the server answered 404 Not Found"))
    }

    /// The same; `None` when the server answers with one of the statuses in `none`.
    fn find(url: &str, patience: &Patience, none: &[u16]) -> Result<Option<Self>> {
        let mut left = patience.attempts;
        let mut pause = patience.back_off;
        loop {
            let told = request(url, 0, None, patience);
            let why = match head(&told) {
                Ok(head) if head.status == 200 => {
                    return Ok(Some(Self::begin(url, patience, told, head)));
                }
                Ok(head) if none.contains(&head.status) => return Ok(None),
                Ok(head) if !head.passing() => return Err(failed(url).caused_by(head.answer())),
                Ok(head) => head.answer(),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            left = left.saturating_sub(1);
            if left == 0 {
                let attempts = patience.attempts;
                return Err(failed(url).caused_by(format!("{why}, {attempts} attempts in a row")));
            }
            wait(pause)?;
            pause *= 2;
        }
    }

    fn begin(url: &str, patience: &Patience, told: Receiver<Told>, head: Head) -> Self {
        Stream {
            url: url.to_string(),
            patience: patience.clone(),
            told,
            have: 0,
            total: head.length,
            etag: head.etag,
            again: 0,
            chunk: Vec::new(),
            at: 0,
            left: patience.attempts,
            pause: patience.back_off,
        }
    }

    /// Bytes of the whole file, when the server tells.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Equal for the same file, when the server has a name for its content.
    pub fn identity(&self) -> Option<Digest> {
        let etag = self.etag.as_ref()?;
        Some(Digest::of_fields([self.url.as_bytes(), etag.as_bytes()]))
    }

    /// The next bytes into `chunk`; false at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let why = match next(&self.told) {
                Ok(Told::Bytes(bytes)) => {
                    let skipped = self.again.min(bytes.len() as u64);
                    self.again -= skipped;
                    (self.chunk, self.at) = (bytes, skipped as usize);
                    if self.at == self.chunk.len() {
                        continue;
                    }
                    self.have += (self.chunk.len() - self.at) as u64;
                    (self.left, self.pause) = (self.patience.attempts, self.patience.back_off);
                    return Ok(true);
                }
                Ok(Told::Head(_)) => continue,
                Ok(Told::End) if self.again == 0 && self.total.is_none_or(|total| self.have >= total) => {
                    return Ok(false);
                }
                Ok(Told::End | Told::Failed(_)) => {
                    let of = self.total.map_or(String::new(), |total| format!(" of {total}"));
                    format!("the connection ended after {}{of} bytes", self.have)
                }
                Err(Failure::Passing(why)) => why,
                Err(Failure::Final(error)) => return Err(error),
            };
            self.retry(why)?;
        }
    }

    /// Connects again, until that works or patience ends.
    fn retry(&mut self, mut why: String) -> Result<()> {
        loop {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                let attempts = self.patience.attempts;
                return Err(failed(&self.url).caused_by(format!("{why}, {attempts} attempts in a row")));
            }
            wait(self.pause)?;
            self.pause *= 2;
            self.told = request(&self.url, self.have, self.etag.clone(), &self.patience);
            let head = match head(&self.told) {
                Ok(head) => head,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => {
                    why = passing;
                    continue;
                }
            };
            match head.status {
                206 if head.range_start == Some(self.have) => self.again = 0,
                200 => self.again = self.have,
                _ if head.passing() => {
                    why = head.answer();
                    continue;
                }
                _ => return Err(failed(&self.url).caused_by(head.answer())),
            }
            let total = head.length.map(|length| length + self.have - self.again);
            if total != self.total || head.etag != self.etag {
                return Err(failed(&self.url).caused_by("the file on the server changed meanwhile"));
            }
            return Ok(());
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.advance().map_err(io::Error::other)? {
            return Ok(0);
        }
        let n = buffer.len().min(self.chunk.len() - self.at);
        buffer[..n].copy_from_slice(&self.chunk[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Our own error again, after its way through a `Read`.
fn own(cause: io::Error) -> Error {
    match cause.downcast::<Error>() {
        Ok(error) => error,
        Err(cause) => Error::new("cannot download").caused_by(cause),
    }
}
