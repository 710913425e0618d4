//! Debian packages: an `ar` archive that holds `data.tar.*` (deb(5)), unpacked without dpkg.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::unpack::{self, Links, Unpacked};
use crate::error::{Error, Result};
use crate::fsx;
use crate::progress::Progress;

const MAGIC: &[u8] = b"!<arch>\n";
/// Name, time, owner, group, mode, size, end: all text, padded with spaces (ar(5)).
const HEADER: usize = 60;

/// Unpacks what a package would install.
pub(super) fn unpack(deb: &Path, into: &Path, what: &str, progress: &dyn Progress) -> Result<Unpacked> {
    let bad = |why: &str| Error::new(format!("`{}` is not a Debian package", deb.display())).caused_by(why);
    let mut file = fsx::open(deb)?;
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err(bad("it does not start like an `ar` archive"));
    }
    loop {
        let mut header = [0; HEADER];
        if file.read_exact(&mut header).is_err() {
            return Err(bad("it holds no `data.tar`"));
        }
        let field =
            |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim().to_string();
        let name = field(0..16);
        let size: u64 = field(48..58).parse().map_err(|_| bad("a member has no size"))?;
        if name.starts_with("data.tar") {
            let links = Links::Any;
            return unpack::unpack(file.take(size), size, into, links, what, progress);
        }
        let skip = size + size % 2;
        file.seek(SeekFrom::Current(skip as i64)).map_err(|cause| fsx::io_error("read", deb, &cause))?;
    }
}
