//! Sizes and offsets with their units.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Bytes: a size, or an offset from the start of a disk or partition.
///
/// Written in profiles as a number with an optional binary suffix: `512`, `8K`, `4M`, `64MiB`, `1G`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// From mebibytes.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }

    /// Rounded up to a multiple of `unit` (not zero).
    #[must_use]
    pub fn align_up(self, unit: ByteSize) -> Self {
        ByteSize(self.0.div_ceil(unit.0) * unit.0)
    }

    /// Without rounding, as a profile takes it: `8K`, `4M`, `1234`.
    pub fn exact(self) -> String {
        match [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")]
            .iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((unit, letter)) => format!("{}{letter}", self.0 / unit),
            None => self.0.to_string(),
        }
    }
}

/// For people: `1 file`, `2 files`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::usage(format!("`{text}` is not a size"))
                .hint("write bytes, or a number with K, M, G or T: `512`, `8K`, `64M`")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let shift = match text[digits..].trim_start() {
            "" | "B" => 0,
            "k" | "K" | "kiB" | "KiB" => 10,
            "M" | "MiB" => 20,
            "G" | "GiB" => 30,
            "T" | "TiB" => 40,
            _ => return Err(bad()),
        };
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(bad)
    }
}

/// For people: `8 KiB`, `61.5 MiB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        // What would be rounded to 1024.0 is one of the next unit.
        while value >= if unit == 0 { 1024.0 } else { 1023.95 } && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if self.0.is_multiple_of(1 << (10 * unit)) {
            write!(f, "{value:.0} {}", UNITS[unit])
        } else {
            write!(f, "{value:.1} {}", UNITS[unit])
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("expected a size such as `64M` or a number of bytes"))?
        {
            Raw::Number(n) => Ok(ByteSize(n)),
            Raw::Text(text) => text.parse().map_err(|error: Error| {
                serde::de::Error::custom(format!(
                    "{}; {}",
                    error.chain().next().unwrap_or_default(),
                    error.hint_text().unwrap_or_default()
                ))
            }),
        }
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A size or offset: bytes, or a number with K, M, G or T (binary).",
            "oneOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+ ?([kKMGT](iB)?|B)?$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        assert_eq!("8K".parse::<ByteSize>().unwrap().0, 8192);
        assert_eq!("64 MiB".parse::<ByteSize>().unwrap(), ByteSize::mib(64));
        assert_eq!("512".parse::<ByteSize>().unwrap().0, 512);
        assert_eq!("8B".parse::<ByteSize>().unwrap().0, 8);
        for text in ["x8", "8iB", "8BiB", "8MiBiB", "8MB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert!("99999999999999T".parse::<ByteSize>().is_err());
        assert_eq!(ByteSize(8192).to_string(), "8 KiB");
        assert_eq!(ByteSize(64_487_424).to_string(), "61.5 MiB");
        assert_eq!(ByteSize(1023).to_string(), "1023 B");
        assert_eq!(ByteSize((1 << 20) - 1).to_string(), "1.0 MiB");
        assert_eq!(ByteSize(1_048_524).to_string(), "1023.9 KiB");
        assert_eq!(ByteSize(8192).exact(), "8K");
        assert_eq!(ByteSize(1 << 40).exact(), "1024G");
        assert_eq!(ByteSize(8704).exact(), "8704");
    }
}
