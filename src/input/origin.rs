//! Where an image comes from, and the files beside it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fsx;
use crate::source::{Patience, http_fetch, shown_url};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, or anything else with a path.
    File(PathBuf),
    /// Standard input; it can be read once.
    Stdin,
    /// An `http` or `https` URL.
    Url(String),
}

impl Origin {
    /// As typed: `-`, a URL, or a path.
    pub fn new(text: &str) -> Self {
        match text {
            "-" => Origin::Stdin,
            _ if text.starts_with("http://") || text.starts_with("https://") => Origin::Url(text.to_string()),
            _ => Origin::File(PathBuf::from(text)),
        }
    }

    /// False when what was read is gone.
    pub fn repeatable(&self) -> bool {
        match self {
            Origin::File(path) => path.metadata().is_ok_and(|meta| {
                use std::os::unix::fs::FileTypeExt;
                meta.is_file() || meta.file_type().is_block_device()
            }),
            Origin::Stdin => false,
            Origin::Url(_) => true,
        }
    }

    /// True for a pipe or a device that yields its bytes once; it is there.
    pub fn is_stream(&self) -> bool {
        match self {
            Origin::File(path) => path.exists() && !path.is_dir() && !self.repeatable(),
            Origin::Stdin => true,
            Origin::Url(_) => false,
        }
    }

    /// The same place with `suffix` behind the name; standard input has none.
    pub fn beside(&self, suffix: &str) -> Option<Origin> {
        match self {
            Origin::File(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                Some(Origin::File(PathBuf::from(name)))
            }
            Origin::Url(url) => {
                let (path, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
                Some(Origin::Url(format!("{path}{suffix}{query}")))
            }
            Origin::Stdin => None,
        }
    }

    /// The same directory with another file name.
    pub fn sibling(&self, name: &str) -> Option<Origin> {
        match self {
            Origin::File(path) => Some(Origin::File(path.with_file_name(name))),
            Origin::Url(url) => {
                let (path, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
                let (dir, _) = path.rsplit_once('/')?;
                Some(Origin::Url(format!("{dir}/{name}{query}")))
            }
            Origin::Stdin => None,
        }
    }

    /// Its file name.
    pub fn file_name(&self) -> Option<&str> {
        match self {
            Origin::File(path) => path.file_name()?.to_str(),
            Origin::Url(url) => {
                url.split(['?', '#']).next()?.rsplit('/').next().filter(|name| !name.is_empty())
            }
            Origin::Stdin => None,
        }
    }

    /// A small file, whole; `None` when there is none. More than `limit` bytes are an error.
    pub fn fetch(&self, limit: usize) -> Result<Option<Vec<u8>>> {
        match self {
            Origin::File(path) => read_limited(path, limit),
            Origin::Url(url) => http_fetch(url, limit, &Patience::default()),
            Origin::Stdin => Ok(None),
        }
    }
}

fn read_limited(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let failed = |cause: std::io::Error| fsx::io_error("read", path, &cause);
    match path.metadata() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(cause)),
        Ok(meta) if !meta.is_file() => return Err(refused(path, "it is not a regular file")),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    fsx::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(refused(path, &format!("it is larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

fn refused(path: &Path, why: &str) -> crate::error::Error {
    crate::error::Error::new(format!("cannot read `{}`", path.display())).caused_by(why)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Stdin => f.write_str("standard input"),
            Origin::Url(url) => f.write_str(&shown_url(url)),
        }
    }
}
