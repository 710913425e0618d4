//! What a stage was made from, and whether that still holds.
//!
//! A stamp is written after a stage has ended well and removed before its outputs change, so a killed stage
//! always runs again. Inputs are compared by content; outputs by size and time, which is enough to
//! notice that somebody else touched them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fsx;

/// Labelled inputs of a stage, in order; a label is what a person reads when it changed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs(Vec<(String, String)>);

impl Inputs {
    /// Adds an input by value.
    pub fn add(&mut self, label: impl Into<String>, value: impl Into<String>) {
        self.0.push((label.into(), value.into()));
    }

    /// Adds an input by the digest of its bytes.
    pub fn add_bytes(&mut self, label: impl Into<String>, bytes: &[u8]) {
        self.add(label, Digest::of(bytes).to_string());
    }

    /// Label and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(label, value)| (label.as_str(), value.as_str()))
    }

    /// One digest over all.
    pub fn digest(&self) -> Digest {
        Digest::of_fields(self.0.iter().flat_map(|(label, value)| [label.as_bytes(), value.as_bytes()]))
    }

    /// Why `self` is not `old`, in words.
    fn changes(&self, old: &Inputs) -> Vec<String> {
        let find = |inputs: &Inputs, label: &str| -> Vec<String> {
            inputs.0.iter().filter(|(name, _)| name == label).map(|(_, value)| value.clone()).collect()
        };
        let mut reasons: Vec<String> = Vec::new();
        for (label, _) in &self.0 {
            let (new, was) = (find(self, label), find(old, label));
            let reason = if was.is_empty() { format!("{label} is new") } else { format!("{label} changed") };
            if new != was && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        for (label, _) in &old.0 {
            let reason = format!("{label} is gone");
            if find(self, label).is_empty() && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if reasons.is_empty() && self != old {
            reasons.push("the order of the inputs changed".to_string());
        }
        reasons
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Output {
    path: PathBuf,
    size: u64,
    mtime: i64,
    mtime_nsec: i64,
}

impl Output {
    fn of(path: &Path) -> Result<Self> {
        let meta = path.metadata().map_err(|cause| fsx::io_error("read", path, &cause))?;
        Ok(Output {
            path: path.to_owned(),
            size: meta.len(),
            mtime: meta.mtime(),
            mtime_nsec: meta.mtime_nsec(),
        })
    }

    fn unchanged(&self) -> bool {
        Output::of(&self.path).is_ok_and(|now| {
            (now.size, now.mtime, now.mtime_nsec) == (self.size, self.mtime, self.mtime_nsec)
        })
    }
}

/// The record of a finished stage.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    inputs: Inputs,
    outputs: Vec<Output>,
}

/// A stage's stamp file.
#[derive(Debug, Clone)]
pub struct Stamp {
    path: PathBuf,
}

impl Stamp {
    /// The stamp at `path`.
    pub fn at(path: PathBuf) -> Self {
        Stamp { path }
    }

    /// Why the stage has to run; nothing when it is up to date.
    pub fn reasons(&self, inputs: &Inputs) -> Result<Vec<String>> {
        let Some(text) = fsx::read_optional(&self.path)? else {
            return Ok(vec!["not built yet".to_string()]);
        };
        let Ok(record) = serde_json::from_str::<Record>(&text) else {
            return Ok(vec!["its stamp is from another version".to_string()]);
        };
        let reasons = inputs.changes(&record.inputs);
        if !reasons.is_empty() {
            return Ok(reasons);
        }
        let touched = record.outputs.iter().find(|output| !output.unchanged());
        Ok(touched
            .map(|output| format!("`{}` is gone or was changed", fsx::from_here(&output.path).display()))
            .into_iter()
            .collect())
    }

    /// True when the stage has ended well before, whatever it was made from.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Forgets the stage: called before it starts.
    pub fn clear(&self) -> Result<()> {
        fsx::remove_file(&self.path)
    }

    /// Records a finished stage.
    pub fn write(&self, inputs: &Inputs, outputs: &[PathBuf]) -> Result<()> {
        let outputs = outputs.iter().map(|path| Output::of(path)).collect::<Result<_>>()?;
        let record = Record { inputs: inputs.clone(), outputs };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|cause| Error::new("cannot write a stamp").caused_by(cause))?;
        fsx::write_atomic(&self.path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(list: &[(&str, &str)]) -> Inputs {
        let mut inputs = Inputs::default();
        for (label, value) in list {
            inputs.add(*label, *value);
        }
        inputs
    }

    #[test]
    fn says_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp::at(dir.path().join("stamp/x.json"));
        let output = dir.path().join("out");
        std::fs::write(&output, "1").unwrap();
        let first = inputs(&[("fragment a", "1"), ("--set CONFIG_X", "y")]);
        assert_eq!(stamp.reasons(&first).unwrap(), ["not built yet"]);
        stamp.write(&first, std::slice::from_ref(&output)).unwrap();
        assert!(stamp.reasons(&first).unwrap().is_empty());
        let second = inputs(&[("fragment a", "2"), ("fragment b", "1")]);
        assert_eq!(
            stamp.reasons(&second).unwrap(),
            ["fragment a changed", "fragment b is new", "--set CONFIG_X is gone"]
        );
        std::fs::write(&output, "22").unwrap();
        assert_eq!(
            stamp.reasons(&first).unwrap(),
            [format!("`{}` is gone or was changed", output.display())]
        );
        stamp.clear().unwrap();
        assert_eq!(stamp.reasons(&first).unwrap(), ["not built yet"]);
    }
}
