//! A tar archive at a URL, known by its SHA-256.

use super::spec::shown_url;
use super::unpack::{self, Links};
use super::{Cx, Kind, Pin, Ready, TarballSource, http, identity, inner, missing_offline};
use crate::digest::Digest;
use crate::error::{Error, Exit, Result};
use crate::fsx;

impl TarballSource {
    fn id(&self) -> Digest {
        identity("tarball", &[&self.sha256.to_string()])
    }

    /// The file's name, for progress.
    fn name(&self) -> &str {
        let path = self.tarball.split(['?', '#']).next().unwrap_or_default();
        path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// The archive in the store, from the first place that has it.
    fn download(&self, cx: &Cx<'_>) -> Result<std::path::PathBuf> {
        if let Some(found) = cx.store.find_download(&self.sha256, &self.title(), cx.progress)? {
            return Ok(found);
        }
        if cx.mode.is_offline() {
            return Err(missing_offline(&self.title()));
        }
        let _lock = cx.store.lock(&format!("download-{}", self.sha256), &self.title(), cx.progress)?;
        if let Some(found) = cx.store.find_download(&self.sha256, &self.title(), cx.progress)? {
            return Ok(found);
        }
        let target = cx.store.download(&self.sha256);
        let mut failure: Option<Error> = None;
        for url in std::iter::once(&self.tarball).chain(&self.mirrors) {
            let patience = cx.store.patience();
            match http::download(url, &self.sha256, &target, patience, self.name(), cx.progress) {
                Ok(()) => return Ok(target),
                Err(error) if error.exit() == Exit::Interrupted => return Err(error),
                Err(error) => {
                    failure = Some(match failure {
                        None => error,
                        Some(first) => first.caused_by(error.one_line()),
                    });
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(format!("{} has no URL", self.title()))))
    }
}

impl Kind for TarballSource {
    fn title(&self) -> String {
        format!("tarball `{}`", shown_url(&self.tarball))
    }

    fn resolve(&self, _: &Cx<'_>) -> Result<Pin> {
        Ok(Pin { sha256: Some(self.sha256), ..Pin::default() })
    }

    fn find(&self, _: &Pin, cx: &Cx<'_>) -> Result<Option<Ready>> {
        let id = self.id();
        let tree = cx.store.find_tree(&id)?;
        Ok(tree.map(|tree| Ready { dir: tree.dir, epoch: tree.epoch, identity: id.to_string() }))
    }

    fn fetch(&self, _: &Pin, cx: &Cx<'_>) -> Result<Ready> {
        let archive = self.download(cx)?;
        let id = self.id();
        let tree = cx.store.tree(&id, &self.title(), cx.progress, &mut |into| {
            let file = fsx::open(&archive)?;
            let size = file.metadata().map_err(|cause| fsx::io_error("read", &archive, &cause))?.len();
            let unpacked = unpack::unpack(file, size, into, Links::Inside, self.name(), cx.progress)
                .map_err(|error| error.context(format!("cannot unpack `{}`", shown_url(&self.tarball))))?;
            unpack::strip_top(into, &unpacked)?;
            inner::source_epoch(into, unpacked.newest)
        })?;
        Ok(Ready { dir: tree.dir, epoch: tree.epoch, identity: id.to_string() })
    }
}
