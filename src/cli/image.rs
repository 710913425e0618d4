//! `bimg image`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::error::{Error, Result};
use crate::image::verify::Verdict;
use crate::image::volume;
use crate::ops::{self, Keys, Listed, Place};
use crate::progress::Progress;
use crate::signature::{self, PublicKey, SecretKey};
use crate::ui::{self, Ui};
use crate::units::{ByteSize, count};

/// Look into finished images, check, compare and sign them
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Show partitions, filesystems, boot chain and kernels
    Inspect(Inspect),
    /// List a directory in an image
    Ls(Ls),
    /// Print a file in an image
    Cat(Cat),
    /// Copy files out of an image
    ///
    /// Modes and symbolic links are kept, but for setuid and setgid; owners and
    /// devices are not.
    Extract(Extract),
    /// Check that an image is sound
    ///
    /// Its partition table, its filesystems, that kernel, modules and device
    /// trees fit together, and what manifest.json, SHA256SUMS and a signature
    /// beside it say. Exits with 3 when something is wrong.
    Verify(Verify),
    /// Show how two images differ, and why
    ///
    /// From the partition table over files to bytes. Exits with 3 when they
    /// differ.
    Diff(Diff),
    /// Sign a file with a secret key
    ///
    /// The signature, in minisign's format, goes beside the file under its name
    /// and `.minisig`.
    Sign(Sign),
    /// Make a pair of keys for signing
    ///
    /// FILE is the secret key, readable by you alone; FILE.pub is the public
    /// one, to hand out.
    Keygen(Keygen),
}

/// Show partitions, filesystems, boot chain and kernels
#[derive(Debug, Args)]
pub struct Inspect {
    /// Image, compressed or not
    image: PathBuf,
}

/// List a directory in an image
#[derive(Debug, Args)]
pub struct Ls {
    /// Image, compressed or not
    image: PathBuf,
    /// Partition by number, name or label, and a path in it
    #[arg(value_name = "PART:PATH")]
    place: Place,
}

/// Print a file in an image
#[derive(Debug, Args)]
pub struct Cat {
    /// Image, compressed or not
    image: PathBuf,
    /// Partition by number, name or label, and a path in it
    #[arg(value_name = "PART:PATH")]
    place: Place,
}

/// Copy files out of an image
#[derive(Debug, Args)]
pub struct Extract {
    /// Image, compressed or not
    image: PathBuf,
    /// Partition by number, name or label, and a path in it
    #[arg(value_name = "PART:PATH")]
    place: Place,
    /// Where to, must not exist yet [default: the name of what is copied, here]
    #[arg(value_name = "TO")]
    to: Option<PathBuf>,
}

/// Check that an image is sound
#[derive(Debug, Args)]
pub struct Verify {
    /// Image, compressed or not
    image: PathBuf,
    /// Public key that must have signed it; may be repeated [default: those in ~/.config/bimg/keys]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

/// Show how two images differ, and why
#[derive(Debug, Args)]
pub struct Diff {
    /// Image, compressed or not
    first: PathBuf,
    /// Image to compare it with
    second: PathBuf,
}

/// Sign a file with a secret key
#[derive(Debug, Args)]
pub struct Sign {
    /// What to sign: the image as it is handed out
    file: PathBuf,
    /// Secret key, as `bimg image keygen` or minisign makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File whose first line is the key's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Make a pair of keys for signing
#[derive(Debug, Args)]
pub struct Keygen {
    /// The secret key's file, must not exist yet
    file: PathBuf,
    /// File whose first line is a password to encrypt the secret key with
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Image {
    /// Whether it is there for what it prints.
    pub fn is_data(&self) -> bool {
        !matches!(self, Image::Extract(_) | Image::Sign(_) | Image::Keygen(_))
    }

    /// Does what was asked.
    pub fn run(self, ui: &Ui) -> Result<()> {
        match self {
            Image::Inspect(command) => command.run(ui),
            Image::Ls(command) => command.run(ui),
            Image::Cat(command) => command.run(ui),
            Image::Extract(command) => command.run(ui),
            Image::Verify(command) => command.run(ui),
            Image::Diff(command) => command.run(ui),
            Image::Sign(command) => command.run(ui),
            Image::Keygen(command) => command.run(ui),
        }
    }
}

impl Inspect {
    fn run(self, ui: &Ui) -> Result<()> {
        let found = ops::inspect(&self.image, ui)?;
        ui::data(&if ui.is_json() {
            format!("{}\n", json!(found))
        } else {
            ui::image::text(&self.image.display().to_string(), &found)
        })
    }
}

impl Ls {
    fn run(self, ui: &Ui) -> Result<()> {
        let mut out = String::new();
        for listed in ops::list(&self.image, &self.place, ui)? {
            // Writing to a string cannot fail.
            let _ = if ui.is_json() {
                writeln!(out, "{}", row_json(&listed))
            } else {
                writeln!(out, "{}", ui::image::row(&listed.entry, listed.target.as_deref()))
            };
        }
        ui::data(&out)
    }
}

fn row_json(listed: &Listed) -> serde_json::Value {
    let entry = &listed.entry;
    json!({
        "name": entry.name, "kind": entry.kind, "size": entry.size, "mode": format!("{:04o}", entry.mode),
        "uid": entry.owner.map(|owner| owner.0), "gid": entry.owner.map(|owner| owner.1),
        "mtime": entry.mtime, "target": listed.target,
    })
}

impl Cat {
    fn run(self, ui: &Ui) -> Result<()> {
        let failed = |cause: std::io::Error| {
            volume::cannot_read(&volume::normal(&self.place.path)).caused_by(crate::fsx::describe(&cause))
        };
        ops::cat(&self.image, &self.place, ui, &mut |content| ui::copy(content, &failed))
    }
}

impl Extract {
    fn run(self, ui: &Ui) -> Result<()> {
        let (to, done) = ops::extract(&self.image, &self.place, self.to, ui)?;
        for left_out in &done.left_out {
            ui.warn(&format!("{left_out}: left out"));
        }
        ui.note(&format!("{}: {}, {}", to.display(), count(done.files, "file"), ByteSize(done.bytes)));
        Ok(())
    }
}

impl Verify {
    fn run(self, ui: &Ui) -> Result<()> {
        let keys = if self.key.is_empty() {
            Keys::Trusted(PublicKey::trusted()?)
        } else {
            Keys::Required(self.key.iter().map(|path| PublicKey::load(path)).collect::<Result<_>>()?)
        };
        let checks = ops::verify(&self.image, &keys, ui)?;
        ui::data(&if ui.is_json() {
            format!("{}\n", json!({ "checks": checks }))
        } else {
            ui::image::checks(&checks)
        })?;
        let done = checks.iter().filter(|check| check.verdict != Verdict::Skipped).count();
        let bad = checks.iter().filter(|check| check.verdict == Verdict::Bad).count();
        let name = self.image.display();
        match (bad, done) {
            (0, 0) => Err(Error::new(format!("nothing of `{name}` could be checked"))
                .caused_by("it has no partition table and no filesystem that bimg knows")
                .hint("is it the image of a disk?")),
            (0, _) => Ok(()),
            _ => Err(Error::mismatch(format!(
                "`{name}` is not sound: {bad} of {done} checks found something wrong"
            ))),
        }
    }
}

impl Diff {
    fn run(self, ui: &Ui) -> Result<()> {
        let compared = ops::diff(&self.first, &self.second, ui)?;
        ui::data(&if ui.is_json() {
            format!("{}\n", json!(compared))
        } else {
            ui::image::differences(&compared.differences, &compared.inputs)
        })?;
        if compared.differences.is_empty() {
            return Ok(());
        }
        Err(Error::mismatch(format!("`{}` and `{}` differ", self.first.display(), self.second.display())))
    }
}

impl Sign {
    fn run(self, ui: &Ui) -> Result<()> {
        let password = password(self.password_file.as_deref())?;
        let key = SecretKey::load(&self.key, password.as_deref())?;
        let signature = key.sign(&self.file)?;
        ui.note(&format!("signed: {}", signature.display()));
        Ok(())
    }
}

impl Keygen {
    fn run(self, ui: &Ui) -> Result<()> {
        let password = password(self.password_file.as_deref())?;
        let keys = signature::keygen(&self.file, password.as_deref())?;
        ui.note(&format!("secret key: {} (keep it to yourself)", keys.secret.display()));
        ui.note(&format!("public key: {} ({})", keys.public.display(), keys.id));
        Ok(())
    }
}

/// The first line of a file; an empty one is a mistake.
fn password(file: Option<&Path>) -> Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let bytes = crate::fsx::read_small(file)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("the password in `{}` is not text", file.display())))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Some(line.to_string())),
        _ => Err(Error::usage(format!("`{}` holds no password", file.display()))
            .hint("its first line is the password")),
    }
}
