//! Files copied from fetched firmware packages to the boot partition.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{BootInput, Files};
use crate::error::{Error, Result, nearest};
use crate::fsx;
use crate::tree::{Content, TreePath};

/// A file of the firmware, or several by a `*` in the last component of the path.
///
/// In a profile `"usr/lib/raspi-firmware/start4.elf"` goes to the partition's root under its own
/// name; `{ from = "usr/lib/raspi-firmware/overlays/*.dtbo", to = "overlays/" }` says where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirmwareFile {
    /// Path in the firmware's directory.
    pub from: String,
    /// Path on the boot partition; one that ends with `/` is a directory that keeps the file's name.
    pub to: String,
}

impl FirmwareFile {
    /// Keeps its name, at the root of the partition.
    pub fn at_root(from: &str) -> Self {
        FirmwareFile { from: from.to_string(), to: "/".to_string() }
    }

    fn target(&self, name: &str) -> String {
        if self.to == "/" {
            name.to_string()
        } else if self.to.ends_with('/') {
            format!("{}{name}", self.to)
        } else {
            self.to.clone()
        }
    }
}

impl<'de> Deserialize<'de> for FirmwareFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            from: String,
            to: String,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = FirmwareFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path in the firmware, or a table { from, to }")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> std::result::Result<FirmwareFile, E> {
                Ok(FirmwareFile::at_root(path))
            }

            fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> std::result::Result<FirmwareFile, M::Error> {
                let Table { from, to } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(FirmwareFile { from, to })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for FirmwareFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FirmwareFile".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A file of the fetched firmware (`*` allowed in its name), and where it goes on the boot partition.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "from": { "type": "string" }, "to": { "type": "string" } },
                    "required": ["from", "to"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// Puts what the profile lists; a file that is not there is an error that names its package.
pub(super) fn put(files: &mut Files, list: &[FirmwareFile], input: &BootInput<'_>) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let Some(root) = input.firmware else {
        return Err(Error::usage(format!(
            "`boot.firmware` names `{}`, but the profile has no firmware source",
            list[0].from
        ))
        .hint("give the profile a firmware source that holds the file"));
    };
    for entry in list {
        for (name, content) in find(root, entry, input.firmware_origin)? {
            files.put(&entry.target(&name), content)?;
        }
    }
    Ok(())
}

fn find(root: &Path, entry: &FirmwareFile, origin: &str) -> Result<Vec<(String, Content)>> {
    let path = TreePath::new(&entry.from)?;
    let dir = path.parent().unwrap_or_else(TreePath::root);
    let names = names(&root.join(dir.as_str()));
    let pattern = path.name();
    let chosen: Vec<&String> = names.iter().filter(|name| matches(pattern, name)).collect();
    if chosen.is_empty() {
        let error = Error::new(format!("firmware file `{}` is not in {origin}", entry.from));
        return Err(match nearest(pattern, names.iter().map(String::as_str)) {
            Some(name) => error.hint(format!("nearest: `{}`", dir.join(name)?.as_str())),
            None => error.hint("check `boot.firmware` of the profile, and the version of that package"),
        });
    }
    chosen
        .into_iter()
        .map(|name| {
            let file = root.join(dir.as_str()).join(name);
            let len =
                fsx::open(&file)?.metadata().map_err(|cause| fsx::io_error("read", &file, &cause))?.len();
            Ok((name.clone(), Content::Range { file: Arc::new(file), offset: 0, len }))
        })
        .collect()
}

/// Regular files of a directory, sorted; an absent directory has none.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Shell-like matching with `*` only.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|skip| tail.is_char_boundary(skip) && matches(rest, &tail[skip..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn star_matches_any_run() {
        assert!(matches("*.dtbo", "vc4.dtbo"));
        assert!(matches("start4*.elf", "start4.elf"));
        assert!(matches("*", ""));
        assert!(!matches("*.dtbo", "README.md"));
        assert!(!matches("start4.elf", "start4x.elf"));
    }
}
