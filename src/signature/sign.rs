//! Making keys and signatures in minisign's format. Keys that minisign 0.11 makes without a password (`-W`)
//! lack their checksum and are refused.
//!
//! A signature says the file's name in its signed comment and no time, so it tells nothing that the file
//! does not. Its bytes differ from one signing to the next: the nonce is hedged with randomness.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use minisign::{ErrorKind, KeyPair, PublicKeyBox, SecretKeyBox};

use super::{Once, Signature, id};
use crate::error::{Error, Result};
use crate::{fsx, interrupt};

/// How the base64 of an encrypted key begins: `Ed` for the signatures, `Sc` for scrypt.
const ENCRYPTED: &str = "RWRTY";

/// A secret key that can sign.
pub struct SecretKey {
    key: minisign::SecretKey,
}

impl SecretKey {
    /// Reads a secret key's file; `password` opens one that has a password.
    pub fn load(path: &Path, password: Option<&str>) -> Result<Self> {
        let shown = path.display();
        let bad = |cause: &str| {
            Error::usage(format!("`{shown}` is no minisign secret key"))
                .caused_by(cause)
                .hint("`bimg image keygen` makes a pair of keys; the file without `.pub` is meant")
        };
        let text = String::from_utf8(fsx::read_small(path)?).map_err(|_| bad("it is not text"))?;
        // minisign only counts bytes, so its words would be of no help.
        if PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key).is_ok() {
            return Err(bad("it is a public key"));
        }
        let boxed = SecretKeyBox::from_string(&text).map_err(|cause| bad(&cause.to_string()))?;
        let encrypted = text.lines().nth(1).is_some_and(|line| line.starts_with(ENCRYPTED));
        let key = match password {
            None if encrypted => {
                return Err(Error::usage(format!("the key `{shown}` has a password"))
                    .hint("name a file that holds it with `--password-file`"));
            }
            Some(_) if !encrypted => {
                return Err(Error::usage(format!("the key `{shown}` has no password"))
                    .hint("leave `--password-file` out"));
            }
            Some(password) => boxed.into_secret_key(Some(password.to_string())),
            None => boxed.into_unencrypted_secret_key(),
        }
        .map_err(|cause| match cause.kind() {
            ErrorKind::Verify if encrypted => Error::usage(format!("cannot open the key `{shown}`"))
                .caused_by("the password is not the key's, or the file is damaged"),
            _ => bad(&cause.to_string()),
        })?;
        Ok(SecretKey { key })
    }

    /// Signs a file; the signature goes beside it. Returns where.
    pub fn sign(&self, file: &Path) -> Result<PathBuf> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.chars().any(char::is_control) {
            return Err(Error::usage(format!(
                "`{}` cannot be signed: a control character is in its name",
                name.escape_debug()
            )));
        }
        // The signature goes beside it: of a pipe that would say nothing.
        fsx::regular(file)?;
        let mut data = Once { data: fsx::open(file)?, failure: None };
        let comment = format!("file:{name}");
        let public = minisign::PublicKey::from_secret_key(&self.key);
        let untrusted = "signature from a bimg secret key";
        let signed = public.and_then(|public| {
            minisign::sign(Some(&public), &self.key, &mut data, Some(&comment), Some(untrusted))
        });
        interrupt::check()?;
        if let Some(cause) = data.failure {
            return Err(fsx::io_error("read", file, &cause));
        }
        let signed = signed
            .map_err(|cause| Error::new(format!("cannot sign `{}`", file.display())).caused_by(cause))?;
        let target = Signature::path(file);
        fsx::write_atomic(&target, signed.to_string().as_bytes())?;
        Ok(target)
    }
}

/// A new pair of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeys {
    /// The secret key's file, readable by its owner alone.
    pub secret: PathBuf,
    /// The public key's file.
    pub public: PathBuf,
    /// The number that signatures name.
    pub id: String,
}

/// Makes a pair of keys, `NAME` and `NAME.pub`; neither may exist. With a password, the secret one is
/// encrypted.
pub fn keygen(secret: &Path, password: Option<&str>) -> Result<NewKeys> {
    let public = PathBuf::from(format!("{}.pub", secret.display()));
    for path in [secret, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(Error::usage(format!("`{}` is there already", path.display()))
                .hint("a key is never overwritten: choose another name"));
        }
    }
    let failed = |cause: minisign::PError| Error::new("cannot make a pair of keys").caused_by(cause);
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_string())),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(failed)?;
    let id = id(pair.pk.keynum());
    let comment = format!("bimg public key {id}");
    let text = pair.sk.to_box(Some("bimg secret key")).map_err(failed)?.into_string();
    let public_text = format!("untrusted comment: {comment}\n{}\n", pair.pk.to_base64());
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(secret)
        .map_err(|cause| fsx::io_error("create", secret, &cause))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|cause| fsx::io_error("write", secret, &cause))
        .and_then(|()| fsx::write_atomic(&public, public_text.as_bytes()));
    if written.is_err() {
        // It is ours, and nobody has the public key to it. The failure above is the one to tell.
        let _ = fsx::remove_file(secret);
    }
    written?;
    Ok(NewKeys { secret: secret.to_owned(), public, id })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::signature::{PublicKey, verify_file};

    #[test]
    fn what_is_signed_verifies_and_keys_are_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (image, secret) = (dir.path().join("x.img"), dir.path().join("key"));
        std::fs::write(&image, "image").unwrap();
        let keys = keygen(&secret, None).unwrap();
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        SecretKey::load(&secret, None).unwrap().sign(&image).unwrap();
        let public = PublicKey::load(&keys.public).unwrap();
        assert_eq!(public.id(), keys.id);
        let signed = verify_file(&image, &[public]).unwrap().unwrap();
        assert_eq!(signed.comment, "file:x.img");
        let told = |error: Error| error.to_string().replace(&dir.path().display().to_string(), "DIR");
        assert_eq!(
            told(keygen(&secret, None).unwrap_err()),
            "`DIR/key` is there already\n\nhint: a key is never overwritten: choose another name"
        );
        assert_eq!(
            told(SecretKey::load(&secret, Some("x")).err().unwrap()),
            "the key `DIR/key` has no password\n\nhint: leave `--password-file` out"
        );
        assert!(told(SecretKey::load(&keys.public, None).err().unwrap()).starts_with(
            "`DIR/key.pub` is no minisign secret key\n  caused by: it is a public key\n\nhint: "
        ));
        let locked = dir.path().join("locked");
        keygen(&locked, Some("right")).unwrap();
        assert_eq!(
            told(SecretKey::load(&locked, Some("wrong")).err().unwrap()),
            "cannot open the key `DIR/locked`\n  caused by: the password is not the key's, or the file is damaged"
        );
    }
}
