//! Version numbers of tools, and finding them in what each tool prints.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// A version: numbers between dots. `4.3` equals `4.3.0`; `1.07.1` equals `1.7.1` but shows as it came.
#[derive(Debug, Clone)]
pub struct Version {
    numbers: Vec<u32>,
    text: String,
}

impl Version {
    /// From its numbers.
    pub fn new(numbers: &[u32]) -> Self {
        let text = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        Version { numbers: numbers.to_vec(), text }
    }

    /// In what a tool printed: the first dotted number outside parentheses (`gcc (Debian 12.2.0-14)
    /// 12.2.0`, `GNU ld (…) 2.40`, `v1.24`), else the first number (`kmod version 30`).
    pub fn find(output: &str) -> Option<Self> {
        let mut depth = 0_usize;
        let outside: String = output
            .chars()
            .map(|c| {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth > 0 || c == ')' { ' ' } else { c }
            })
            .collect();
        let words = || outside.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
        words()
            .filter(|word| word.contains('.'))
            .find_map(Self::leading)
            .or_else(|| words().find_map(Self::leading))
    }

    /// In what a tool printed, right after `marker`: perl writes `(v5.36.0)`.
    pub fn after(output: &str, marker: &str) -> Option<Self> {
        output.split_once(marker).and_then(|(_, rest)| Self::leading(rest))
    }

    /// From leading `N.N.N`; what follows (`-14`, `p1`, `.rel1`) does not count.
    fn leading(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].split("..").next()?.trim_end_matches('.').parse().ok()
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()
            .map(|numbers| Version { numbers, text: text.to_string() })
            .ok_or_else(|| Error::usage(format!("`{text}` is not a version")).hint("write `5.1` or `2.5.35`"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let at = |version: &Self, i| version.numbers.get(i).copied().unwrap_or(0);
        let length = self.numbers.len().max(other.numbers.len());
        (0..length).map(|i| at(self, i).cmp(&at(other, i))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is not a version: numbers with dots are expected"))
        })
    }
}

impl schemars::JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Numbers between dots, e.g. `5.1`.",
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]+)*$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_numbers_not_text() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("2.5.35") < version("2.6.4"));
        assert!(version("4.10") > version("4.9.9"));
        assert_eq!(version("5.1"), version("5.1.0"));
        assert_eq!(version("2.5.35").to_string(), "2.5.35");
        assert!("5.x".parse::<Version>().is_err());
        assert!("".parse::<Version>().is_err());
    }

    #[test]
    fn finds_each_tools_version() {
        let cases = [
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022", "", "12.2.0"),
            ("gcc (GCC) 14.1.1 20240522 (Red Hat 14.1.1-4)", "", "14.1.1"),
            (
                "aarch64-none-linux-gnu-gcc (Arm GNU Toolchain 13.2.rel1 (Build arm-13.7)) 13.2.1 20231009",
                "",
                "13.2.1",
            ),
            ("Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu", "", "14.0.6"),
            ("Debian LLD 14.0.6 (compatible with GNU linkers)", "", "14.0.6"),
            ("GNU ld (GNU Binutils for Debian) 2.40", "", "2.40"),
            ("GNU ld version 2.41-37.fc40", "", "2.41"),
            ("GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu", "", "4.3"),
            ("flex 2.6.4", "", "2.6.4"),
            ("bison (GNU Bison) 3.8.2\nWritten by Robert Corbett", "", "3.8.2"),
            ("bc 1.07.1\nCopyright 1991-1994", "", "1.07.1"),
            ("\nThis is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64", "(v", "5.36.0"),
            ("cpio (GNU cpio) 2.13", "", "2.13"),
            ("xz (XZ Utils) 5.4.1\nliblzma 5.4.1", "", "5.4.1"),
            ("v1.24\n", "", "1.24"),
            ("kmod version 30\n+ZSTD +XZ", "", "30"),
            ("rsync  version 3.2.7  protocol version 31", "", "3.2.7"),
            ("Version: DTC 1.6.1", "", "1.6.1"),
            ("Version: DTC v1.7.0-g1234", "", "1.7.0"),
            ("mkimage version 2023.01+dfsg-2", "", "2023.01"),
            ("mmdebstrap 1.3.5", "", "1.3.5"),
            ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", "", "10.0.2"),
            ("mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0", "", "1.47.0"),
            ("git version 2.47.3", "", "2.47.3"),
        ];
        for (output, marker, version) in cases {
            let found =
                if marker.is_empty() { Version::find(output) } else { Version::after(output, marker) };
            assert_eq!(found.unwrap().to_string(), version, "{output}");
        }
        assert_eq!(Version::find("usage: tool [options]"), None);
    }
}
