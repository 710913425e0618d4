//! minisign signatures: `FILE.minisig` beside a file, checked with the public keys that are trusted.
//!
//! Format: <https://jedisct1.github.io/minisign/>. A signature names its key by a number, signs the file and,
//! once more, a comment. Only the signing of a digest is taken (`ED`, what minisign makes since 2017), so a
//! file of any size takes no memory.

mod sign;

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use minisign::SignatureBox;

pub use sign::{NewKeys, SecretKey, keygen};

use crate::data;
use crate::error::{Context, Error, Result};
use crate::{fsx, interrupt};

/// What a signature is called: the file's name and this.
pub const SUFFIX: &str = ".minisig";
/// No signature is larger.
pub const LIMIT: usize = 64 << 10;

/// A public key that is trusted.
#[derive(Debug, Clone)]
pub struct PublicKey {
    key: minisign::PublicKey,
    shown: String,
}

impl PublicKey {
    /// Reads a `.pub` file.
    pub fn load(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let bytes = fsx::read_small(path)?;
        let bad = |cause: &str| {
            Error::usage(format!("`{shown}` is no minisign public key"))
                .caused_by(cause)
                .hint("`bimg image keygen` makes a pair of keys; the file that ends in `.pub` is meant")
        };
        let text = String::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        let key = minisign::PublicKeyBox::from_string(&text)
            .and_then(minisign::PublicKeyBox::into_public_key)
            .map_err(|cause| bad(&cause.to_string()))?;
        Ok(PublicKey { key, shown })
    }

    /// The keys that the user trusts: every `.pub` file in `keys/` of the configuration directory.
    pub fn trusted() -> Result<Vec<Self>> {
        let Some(dir) = data::config_dir().map(|dir| dir.join("keys")).filter(|dir| dir.is_dir()) else {
            return Ok(Vec::new());
        };
        let names = fsx::names(&dir)?;
        let files = names.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "pub"));
        files.map(|name| Self::load(&dir.join(name))).collect()
    }

    /// The number by which signatures name it, as minisign shows it.
    pub fn id(&self) -> String {
        id(self.key.keynum())
    }
}

/// A signature that can be read; nothing is checked by that.
pub struct Signature {
    inner: SignatureBox,
    shown: String,
}

/// A signature that fits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// The key's file.
    pub key: String,
    /// The key's number.
    pub id: String,
    /// What the signer says, signed as well.
    pub comment: String,
}

impl Signature {
    /// Where the signature of a file is.
    pub fn path(file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(SUFFIX);
        PathBuf::from(name)
    }

    /// Reads the text; `shown` is what messages call it.
    pub fn parse(bytes: &[u8], shown: &str) -> Result<Self> {
        let bad = |cause: &str| Error::new(format!("`{shown}` is no minisign signature")).caused_by(cause);
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        // minisign takes any length here, and then counts on 64 bytes of base64.
        if text.lines().nth(3).is_some_and(|line| line.trim().len() != 88) {
            return Err(bad("the signature of its comment has not 64 bytes"));
        }
        let inner = SignatureBox::from_string(text).map_err(|cause| bad(&cause.to_string()))?;
        if !inner.is_prehashed() {
            return Err(
                bad("it is of the old kind that signs no digest").hint("sign anew with a minisign of today")
            );
        }
        Ok(Signature { inner, shown: shown.to_string() })
    }

    /// Whether it names one of the keys.
    pub fn is_of(&self, keys: &[PublicKey]) -> bool {
        keys.iter().any(|key| key.key.keynum() == self.inner.keynum())
    }

    /// Checks `data` with whichever of the keys the signature names; `what` is what messages call the data.
    pub fn verify(&self, keys: &[PublicKey], data: impl Read, what: &str) -> Result<Signed> {
        let number = self.inner.keynum();
        let Some(key) = keys.iter().find(|key| key.key.keynum() == number) else {
            let error = Error::new(format!("`{what}` is signed with a key that is not trusted"))
                .caused_by(format!("`{}` names the key {}", self.shown, id(number)));
            let error = keys.iter().fold(error, |error, key| {
                error.caused_by(format!("trusted is {} (`{}`)", key.id(), key.shown))
            });
            return Err(error);
        };
        let mut data = Once { data, failure: None };
        let verdict = minisign::verify(&key.key, &self.inner, &mut data, true, false, false);
        interrupt::check()?;
        if let Some(cause) = data.failure {
            return Err(fsx::io_error("read", Path::new(what), &cause));
        }
        verdict.map_err(|_| {
            Error::new(format!("`{what}` is not what was signed"))
                .caused_by(format!(
                    "`{}` does not fit, with the key {} (`{}`)",
                    self.shown,
                    key.id(),
                    key.shown
                ))
                .hint("fetch both again from where they came; do not use them as they are")
        })?;
        let comment = self.inner.trusted_comment().unwrap_or_default();
        let comment = comment.chars().filter(|c| !c.is_control()).collect();
        Ok(Signed { key: key.shown.clone(), id: key.id(), comment })
    }
}

/// Checks a file with the signature beside it; `None` when there is none.
pub fn verify_file(path: &Path, keys: &[PublicKey]) -> Result<Option<Signed>> {
    let beside = Signature::path(path);
    if !beside.exists() {
        return Ok(None);
    }
    let what = path.display().to_string();
    let signature = Signature::parse(&fsx::read_small(&beside)?, &beside.display().to_string())
        .context(|| format!("cannot check `{what}`"))?;
    signature.verify(keys, fsx::open(path)?, &what).map(Some)
}

/// As minisign shows a key's number.
fn id(number: &[u8]) -> String {
    let value = number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    format!("{value:016X}")
}

/// What minisign reads: from the start to the end, once; it never seeks unless it prints.
struct Once<R> {
    data: R,
    failure: Option<std::io::Error>,
}

impl<R: Read> Read for &mut Once<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            interrupt::check_io()?;
            match self.data.read(buffer) {
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    let told = std::io::Error::from(cause.kind());
                    self.failure = Some(cause);
                    return Err(told);
                }
                Ok(n) => return Ok(n),
            }
        }
    }
}

impl<R> Seek for &mut Once<R> {
    fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Signer {
        dir: tempfile::TempDir,
        pair: minisign::KeyPair,
    }

    impl Signer {
        fn new() -> Self {
            let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
            let signer = Signer { dir: tempfile::tempdir().unwrap(), pair };
            std::fs::write(signer.path("my.pub"), signer.pair.pk.to_box().unwrap().to_string()).unwrap();
            std::fs::write(signer.path("x.img"), "image").unwrap();
            std::fs::write(signer.path("x.img.minisig"), signer.sign("image")).unwrap();
            signer
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn sign(&self, text: &str) -> String {
            minisign::sign(None, &self.pair.sk, text.as_bytes(), Some("release 1"), None)
                .unwrap()
                .into_string()
        }

        fn key(&self) -> PublicKey {
            PublicKey::load(&self.path("my.pub")).unwrap()
        }

        fn told(&self, error: &Error) -> String {
            error
                .to_string()
                .replace(&self.dir.path().display().to_string(), "DIR")
                .replace(&self.key().id(), "ID")
        }

        fn verify(&self) -> std::result::Result<Option<Signed>, String> {
            verify_file(&self.path("x.img"), &[self.key()]).map_err(|error| self.told(&error))
        }
    }

    #[test]
    fn one_that_fits() {
        let signer = Signer::new();
        let signed = signer.verify().unwrap().unwrap();
        assert_eq!((signed.comment.as_str(), signed.id.len()), ("release 1", 16));
        assert!(signed.key.ends_with("my.pub"));
        std::fs::remove_file(signer.path("x.img.minisig")).unwrap();
        assert_eq!(signer.verify(), Ok(None));
    }

    #[test]
    fn a_file_that_was_changed() {
        let signer = Signer::new();
        std::fs::write(signer.path("x.img"), "imagf").unwrap();
        assert_eq!(
            signer.verify().unwrap_err(),
            "`DIR/x.img` is not what was signed\n  \
             caused by: `DIR/x.img.minisig` does not fit, with the key ID (`DIR/my.pub`)\n\n\
             hint: fetch both again from where they came; do not use them as they are"
        );
    }

    #[test]
    fn a_comment_that_was_changed() {
        let signer = Signer::new();
        let forged = signer.sign("image").replace("release 1", "release 2");
        std::fs::write(signer.path("x.img.minisig"), forged).unwrap();
        assert!(signer.verify().unwrap_err().starts_with("`DIR/x.img` is not what was signed\n"));
    }

    #[test]
    fn a_key_that_is_not_trusted() {
        let (signer, other) = (Signer::new(), Signer::new());
        std::fs::write(signer.path("x.img.minisig"), other.sign("image")).unwrap();
        assert_eq!(
            signer.verify().unwrap_err().replace(&other.key().id(), "OTHER"),
            "`DIR/x.img` is signed with a key that is not trusted\n  \
             caused by: `DIR/x.img.minisig` names the key OTHER\n  \
             caused by: trusted is ID (`DIR/my.pub`)"
        );
    }

    #[test]
    fn what_is_no_signature() {
        let signer = Signer::new();
        let good = signer.sign("image");
        let lines: Vec<&str> = good.lines().collect();
        let legacy = good.replacen("\nRU", "\nRW", 1);
        let cases = [
            (String::new(), "Missing untrusted comment"),
            ("hello\n".to_string(), "Missing signature"),
            (lines[..2].join("\n"), "Missing trusted comment"),
            (lines[..3].join("\n"), "Missing global signature"),
            (format!("{}\nAAAA\n", lines[..3].join("\n")), "the signature of its comment has not 64 bytes"),
            (
                legacy,
                "it is of the old kind that signs no digest\n\nhint: sign anew with a minisign of today",
            ),
        ];
        for (text, why) in cases {
            std::fs::write(signer.path("x.img.minisig"), &text).unwrap();
            assert_eq!(
                signer.verify().unwrap_err(),
                format!(
                    "cannot check `DIR/x.img`\n  \
                     caused by: `DIR/x.img.minisig` is no minisign signature\n  caused by: {why}"
                ),
                "{text}"
            );
        }
        std::fs::write(signer.path("x.img.minisig"), [0xFF]).unwrap();
        assert!(signer.verify().unwrap_err().ends_with("caused by: it is not text"));
    }

    #[test]
    fn damage_anywhere_is_an_error_and_no_panic() {
        let signer = Signer::new();
        let good = signer.sign("image").into_bytes();
        for at in 0..good.len() {
            for cut in [true, false] {
                let mut bad = good.clone();
                if cut {
                    bad.truncate(at);
                } else {
                    bad[at] ^= 0x15;
                }
                let signature = Signature::parse(&bad, "x");
                let fits = signature.is_ok_and(|one| one.verify(&[signer.key()], &b"image"[..], "y").is_ok());
                // The untrusted comment and the last line end say nothing.
                let harmless =
                    !cut && at < good.iter().position(|byte| *byte == b'\n').unwrap() || at + 1 >= good.len();
                assert!(!fits || harmless, "byte {at}");
            }
        }
    }

    #[test]
    fn what_is_no_key() {
        let signer = Signer::new();
        for (text, why) in [
            ("", "Missing comment in public key"),
            ("x\ny\n", "Base64 conversion failed - was an actual public key given?"),
        ] {
            std::fs::write(signer.path("bad.pub"), text).unwrap();
            assert_eq!(
                signer.told(&PublicKey::load(&signer.path("bad.pub")).unwrap_err()),
                format!(
                    "`DIR/bad.pub` is no minisign public key\n  caused by: {why}\n\n\
                     hint: `bimg image keygen` makes a pair of keys; the file that ends in `.pub` is meant"
                )
            );
        }
    }

    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(5))
        }
    }

    #[test]
    fn a_file_that_cannot_be_read() {
        let signer = Signer::new();
        let signature = Signature::parse(signer.sign("image").as_bytes(), "x").unwrap();
        assert_eq!(
            signature.verify(&[signer.key()], Fails, "x.img").unwrap_err().to_string(),
            "cannot read `x.img`\n  caused by: Input/output error"
        );
    }
}
