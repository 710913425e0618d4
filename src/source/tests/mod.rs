//! Tests of the sources without any network but loopback; each user-visible failure by its exact text.

mod apt;
mod git;
mod host;
mod http;
mod lock;
mod spec;
mod store;
mod unpack;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::{Fetched, Lock, Mode, Patience, Request, Source, Store, fetch};
use crate::error::Result;
use crate::progress::{Event, Progress};

/// Remembers notes, warnings and the last count of each task.
#[derive(Default)]
pub(super) struct Heard {
    pub lines: Mutex<Vec<String>>,
    /// Who waited for a lock. Children of other tests may have inherited one, so anybody may have to.
    pub waits: Mutex<Vec<String>>,
    pub counts: Mutex<Vec<(u64, Option<u64>)>>,
}

impl Progress for Heard {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Note { text } if text.starts_with("waiting for another bimg ") => {
                self.waits.lock().unwrap().push((*text).to_string());
            }
            Event::Note { text } | Event::Warning { text } => {
                self.lines.lock().unwrap().push((*text).to_string());
            }
            Event::Progress { done, total, .. } => self.counts.lock().unwrap().push((*done, *total)),
            _ => {}
        }
    }
}

/// A store, a lock and a place for profiles, all in one temporary directory.
pub(super) struct Bench {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub heard: Heard,
}

impl Bench {
    pub fn new() -> Self {
        // Longer than any server here is kept from answering by what else the host has to do.
        Self::with_silence(Duration::from_secs(60))
    }

    /// One that takes a server for gone which says nothing for so long.
    pub fn with_silence(silence: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let patience = Patience { attempts: 3, back_off: Duration::from_millis(5), silence };
        let store = Store::open(dir.path().join("store")).unwrap().with_patience(patience);
        Bench { dir, store, heard: Heard::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn lock(&self) -> Lock {
        Lock::load(&self.path().join("bimg.lock")).unwrap()
    }

    /// As a new run of bimg would fetch it.
    pub fn fetch(&self, alternatives: &[Source], mode: Mode) -> Result<Fetched> {
        let request = Request { name: "kernel", alternatives, base: self.path() };
        fetch(&request, &self.store, &mut self.lock(), mode, &self.heard)
    }

    /// An error's text with this run's paths and ports taken out.
    pub fn failure(&self, alternatives: &[Source], mode: Mode) -> String {
        self.redact(&self.fetch(alternatives, mode).unwrap_err().to_string())
    }

    pub fn redact(&self, text: &str) -> String {
        text.replace(self.path().to_str().unwrap(), "TMP")
    }
}

/// A source as a profile writes it.
pub(super) fn source(text: &str) -> Source {
    #[derive(serde::Deserialize)]
    struct Profile {
        source: Source,
    }
    toml::from_str::<Profile>(&format!("source = {text}")).unwrap().source
}

/// A tar archive of files, in memory; `/` at the end of a name makes a directory.
pub(super) fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(if name.ends_with("run.sh") { 0o4755 } else { 0o600 });
        header.set_mtime(1_700_000_000);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}
