//! A Debian package, fetched and verified by apt in a private apt root.
//!
//! ```text
//! /etc/apt (read only)  -> host: its mirrors, keyrings, proxies
//!   -> root: one sources file for one suite, component and architecture; own lists and cache
//!   -> apt-get update   at most once per run, and only when a package is looked for
//!   -> apt-get download the .deb, its hash checked by apt against the signed index
//! ```
//!
//! Nothing of the host is changed, nothing is installed, no hook of the host is run, no root is needed.

pub mod host;
mod root;
pub mod sync;

use std::path::PathBuf;

use super::{AptSource, Cx, Kind, Pin, Ready, deb, identity, missing_offline};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::exec;

use root::Root;

impl AptSource {
    fn id(sha256: &Digest) -> Digest {
        identity("deb", &[&sha256.to_string()])
    }

    fn sha256(&self, pin: &Pin) -> Result<Digest> {
        pin.sha256.ok_or_else(|| {
            Error::new(format!("the lock has no sha256 for {}", self.title()))
                .hint("run `bimg update --board NAME`")
        })
    }

    /// The private root that knows this package; `update` refreshes its lists unless this run did.
    fn root<'a>(&self, cx: &Cx<'a>) -> Result<Root<'a>> {
        if exec::which("apt-get").is_none() {
            return Err(Error::new(format!("{} needs apt", self.title()))
                .caused_by("this host has no `apt-get`")
                .hint(
                    "give the source a `tarball`, `git` or `path` alternative; `bimg update --board NAME` then picks it",
                ));
        }
        Root::open(self, cx)
    }

    /// The package of the pinned version and digest, in the store.
    fn download(&self, pin: &Pin, cx: &Cx<'_>) -> Result<PathBuf> {
        let sha256 = self.sha256(pin)?;
        if let Some(found) = cx.store.find_download(&sha256, &self.title(), cx.progress)? {
            return Ok(found);
        }
        if cx.mode.is_offline() {
            return Err(missing_offline(&self.title()));
        }
        let _lock = cx.store.lock(&format!("download-{sha256}"), &self.title(), cx.progress)?;
        if let Some(found) = cx.store.find_download(&sha256, &self.title(), cx.progress)? {
            return Ok(found);
        }
        let target = cx.store.download(&sha256);
        let root = self.root(cx)?;
        root.refresh()?;
        let version = pin.version.as_deref();
        let gone = |why: String| {
            Error::new(format!("{} is not what the lock pins", self.title()))
                .caused_by(why)
                .hint("`bimg update --board NAME` moves on to what the mirror has now")
        };
        let found = root
            .show(version)?
            .ok_or_else(|| gone(format!("the mirror no longer has version {}", version.unwrap_or("?"))))?;
        if found.sha256 != sha256 {
            return Err(gone(format!("the mirror's version {} has sha256 {}", found.version, found.sha256)));
        }
        root.download(&found, &target)?;
        Ok(target)
    }
}

impl Kind for AptSource {
    fn title(&self) -> String {
        let part = |word: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(" {word} `{value}`"))
        };
        format!("package `{}`{}{}", self.apt, part("of", &self.suite), part("for", &self.arch))
    }

    fn resolve(&self, cx: &Cx<'_>) -> Result<Pin> {
        let root = self.root(cx)?;
        if cx.mode.is_offline() {
            if !root.has_lists() {
                return Err(missing_offline(&self.title()));
            }
        } else {
            root.refresh()?;
        }
        let found = root.show(self.version.as_deref())?.ok_or_else(|| root.not_found())?;
        Ok(Pin {
            version: Some(found.version),
            architecture: Some(found.architecture),
            sha256: Some(found.sha256),
            commit: None,
        })
    }

    fn find(&self, pin: &Pin, cx: &Cx<'_>) -> Result<Option<Ready>> {
        let id = Self::id(&self.sha256(pin)?);
        let tree = cx.store.find_tree(&id)?;
        Ok(tree.map(|tree| Ready { dir: tree.dir, epoch: tree.epoch, identity: id.to_string() }))
    }

    fn fetch(&self, pin: &Pin, cx: &Cx<'_>) -> Result<Ready> {
        let package = self.download(pin, cx)?;
        let id = Self::id(&self.sha256(pin)?);
        let tree = cx.store.tree(&id, &self.title(), cx.progress, &mut |into| {
            let unpacked = deb::unpack(&package, into, &self.apt, cx.progress)
                .map_err(|error| error.context(format!("cannot unpack {}", self.title())))?;
            Ok(unpacked.newest)
        })?;
        Ok(Ready { dir: tree.dir, epoch: tree.epoch, identity: id.to_string() })
    }
}
