//! Files copied from fetched firmware packages to the boot partition.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{BootInput, Files, file_name};
use crate::error::{Error, Result};
use crate::source;
use crate::tree::Content;

/// A file of the firmware, or several by a `*` in the last component of the path.
///
/// In a profile `"rpi:usr/lib/raspi-firmware/start4.elf"` is a file of the firmware that `[firmware]`
/// calls `rpi`; it goes to the partition's root under its own name.
/// `{ from = "rpi:usr/lib/raspi-firmware/overlays/*.dtbo", to = "overlays/" }` says where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirmwareFile {
    /// `NAME:PATH`: a firmware of the profile and a path in it.
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

/// A fetched firmware.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// Its directory.
    pub dir: PathBuf,
    /// How messages call it: ``package `raspi-firmware` ``.
    pub origin: String,
}

/// Puts what the profile lists; a file that is not there is an error that names its package.
pub(super) fn put(files: &mut Files, list: &[FirmwareFile], input: &BootInput<'_>) -> Result<()> {
    for entry in list {
        let (firmware, path) = locate(&entry.from, input.firmware)?;
        let found = source::files(&firmware.dir, path).map_err(|error| {
            let missing = Error::new(format!("firmware file `{path}` is not in {}", firmware.origin));
            match error.hint_text() {
                Some(hint) => missing.hint(hint),
                None => missing.hint("check `boot.firmware` of the profile, and the version of that package"),
            }
        })?;
        for path in found {
            files.put(
                &entry.target(file_name(&path)),
                Content::whole(&source::resolve(&firmware.dir, &path)?)?,
            )?;
        }
    }
    Ok(())
}

/// `NAME:PATH` in the profile's firmware.
fn locate<'a, 'b>(from: &'b str, all: &'a BTreeMap<String, Firmware>) -> Result<(&'a Firmware, &'b str)> {
    let named = from.split_once(':').and_then(|(name, path)| Some((all.get(name)?, path)));
    named.ok_or_else(|| {
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let error = Error::usage(format!("`boot.firmware` names `{from}`, which is in no firmware of the profile"));
        match names.as_slice() {
            [] => error.hint("give the profile a `[firmware]` table: `NAME = { apt = \"PACKAGE\" }`, and write `NAME:PATH`"),
            _ => error.hint(format!("write `NAME:PATH`; the profile's firmware: {}", names.join(", "))),
        }
    })
}
