//! `SHA256SUMS` as `sha256sum` writes it: which digest a file of that directory should have.
//!
//! Lines are `DIGEST  NAME` or, of binary files, `DIGEST *NAME` (sha256sum(1)). A name with a backslash or
//! a line end in it is escaped, the line then begins with a backslash.

use crate::digest::Digest;
use crate::error::{Error, Result};

/// Name of the file.
pub const NAME: &str = "SHA256SUMS";
/// No list of checksums beside an image is larger.
pub const LIMIT: usize = 1 << 20;

/// The digests, by file name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums(Vec<(String, Digest)>);

impl Sums {
    /// Reads the text; `shown` is what messages call it. Blank lines and comments (`#`) are passed over.
    pub fn parse(text: &str, shown: &str) -> Result<Self> {
        let mut sums = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            sums.push(entry(line).ok_or_else(|| {
                Error::new(format!("cannot understand `{shown}`"))
                    .caused_by(format!("line {} is no SHA-256 with a file name", index + 1))
                    .hint("it should be as `sha256sum` writes it")
            })?);
        }
        Ok(Sums(sums))
    }

    /// The digest that a file should have; none when it is not listed.
    pub fn of(&self, name: &str) -> Option<Digest> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, digest)| *digest)
    }
}

fn entry(line: &str) -> Option<(String, Digest)> {
    let (escaped, line) = line.strip_prefix('\\').map_or((false, line), |line| (true, line));
    let (digest, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = if escaped { unescape(name)? } else { name.to_string() };
    Some((name, digest.parse().ok()?)).filter(|(name, _)| !name.is_empty())
}

fn unescape(name: &str) -> Option<String> {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn as_sha256sum_writes_it() {
        let text = format!("{A}  rpi4.img\n\n# by hand\n{B} *./two words.img\r\n\\{A}  odd\\\\\\nname\n");
        let sums = Sums::parse(&text, "SHA256SUMS").unwrap();
        assert_eq!(sums.of("rpi4.img"), Some(A.parse().unwrap()));
        assert_eq!(sums.of("two words.img"), Some(B.parse().unwrap()));
        assert_eq!(sums.of("odd\\\nname"), Some(A.parse().unwrap()));
        assert_eq!(sums.of("other.img"), None);
    }

    #[test]
    fn what_sha256sum_itself_writes() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a.img", "two words", "back\\slash", "line\nend"];
        for name in names {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let text = crate::exec::Cmd::new("sha256sum").args(names).cwd(dir.path()).check().unwrap().text();
        let sums = Sums::parse(&text, "SHA256SUMS").unwrap();
        for name in names {
            assert_eq!(sums.of(name), Some(Digest::of(name.as_bytes())), "{name:?}");
        }
    }

    #[test]
    fn a_line_that_is_none() {
        for line in ["hello", &A[1..], A, &format!("{A}  "), &format!("{A} x"), &format!("\\{A}  a\\b")] {
            assert_eq!(
                Sums::parse(&format!("{B}  x\n{line}\n"), "out/SHA256SUMS").unwrap_err().to_string(),
                "cannot understand `out/SHA256SUMS`\n  caused by: line 2 is no SHA-256 with a file name\n\n\
                 hint: it should be as `sha256sum` writes it",
                "{line:?}"
            );
        }
    }
}
