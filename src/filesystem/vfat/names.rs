//! Long names and the short (8.3) names that go with them.
//!
//! Every name that is not an upper-case 8.3 name as it stands gets a long-name entry, so its case
//! survives, and a short alias `LONGNA~1` that is unique in its directory.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};

/// A short name as it is stored: 8 + 3 bytes, padded with spaces.
pub type Short = [u8; 11];

/// How a name is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The short name or alias.
    pub short: Short,
    /// The name in UTF-16 when it needs long-name entries.
    pub long: Option<Vec<u16>>,
}

impl Stored {
    /// Directory entries that it takes.
    pub fn entries(&self) -> usize {
        1 + self.long.as_ref().map_or(0, |name| name.len().div_ceil(13))
    }
}

/// Stores the names of one directory, in the order given, which must be sorted for stable aliases.
pub fn store(names: &[&str]) -> Result<Vec<Stored>> {
    let mut folded = HashMap::with_capacity(names.len());
    for name in names {
        check(name)?;
        if let Some(other) = folded.insert(fold(name), *name) {
            return Err(Error::new(format!("`{other}` and `{name}` differ only by case"))
                .caused_by("FAT names ignore case")
                .hint("rename one of them, or put them on another filesystem"));
        }
    }
    // Names that are short already keep theirs; aliases go round them, and round every long name that a
    // driver would take for the alias (`config~1.txt`).
    let taken = folded.keys().filter_map(|name| as_short(name)).collect();
    let mut aliases = Aliases { taken, next: HashMap::new() };
    names
        .iter()
        .map(|name| match as_short(name) {
            Some(short) => Ok(Stored { short, long: None }),
            None => Ok(Stored { short: aliases.make(name)?, long: Some(name.encode_utf16().collect()) }),
        })
        .collect()
}

/// The names as a driver compares them.
fn fold(name: &str) -> String {
    name.chars()
        .map(|c| {
            // One to one, as the upcase tables of drivers are: `ß` stays `ß`.
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        })
        .collect()
}

fn check(name: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::new(format!("FAT cannot hold the name `{}`", name.escape_debug())).caused_by(why))
    };
    if let Some(c) = name.chars().find(|c| c.is_control() || "\"*/:<>?\\|".contains(*c)) {
        return bad(&format!("the character `{}` is not allowed", c.escape_debug()));
    }
    if name.ends_with(['.', ' ']) {
        return bad("it ends with a dot or a space");
    }
    if name.encode_utf16().count() > 255 {
        return bad("it is longer than 255 UTF-16 units");
    }
    Ok(())
}

/// The name as a short one, if that is what it is, exactly.
fn as_short(name: &str) -> Option<Short> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len())
        && extension.len() <= 3
        && !name.ends_with('.')
        && base.bytes().chain(extension.bytes()).all(|b| is_short(b) && !b.is_ascii_lowercase());
    fits.then(|| pad(base.as_bytes(), extension.as_bytes()))
}

/// Bytes that a short name may hold.
fn is_short(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

fn pad(base: &[u8], extension: &[u8]) -> Short {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// Makes aliases; each attempt costs one counter step, so a directory takes linear time.
struct Aliases {
    taken: HashSet<Short>,
    /// Next number by (shortened base, extension, digits).
    next: HashMap<(Vec<u8>, Vec<u8>, u32), u32>,
}

impl Aliases {
    fn make(&mut self, name: &str) -> Result<Short> {
        let (base, extension) =
            name.rsplit_once('.').filter(|(base, _)| !base.is_empty()).unwrap_or((name, ""));
        let base = basis(base, 7);
        let extension = basis(extension, 3);
        for digits in 1..=6 {
            let stem = &base[..base.len().min(7 - digits as usize)];
            let next = self
                .next
                .entry((stem.to_vec(), extension.clone(), digits))
                .or_insert_with(|| 10u32.pow(digits - 1));
            while *next < 10u32.pow(digits) {
                let short = pad(&[stem, b"~", next.to_string().as_bytes()].concat(), &extension);
                *next += 1;
                if self.taken.insert(short) {
                    return Ok(short);
                }
            }
        }
        Err(Error::new(format!("no short alias is left for `{name}`"))
            .caused_by("too many alike names in one directory"))
    }
}

/// At most `max` bytes of a name part as a short name may hold them.
fn basis(part: &str, max: usize) -> Vec<u8> {
    part.chars()
        .filter(|c| !matches!(c, ' ' | '.'))
        .map(|c| match u8::try_from(c) {
            Ok(byte) if is_short(byte) => byte.to_ascii_uppercase(),
            _ => b'_',
        })
        .take(max)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<String> {
        store(names).unwrap().iter().map(|it| String::from_utf8_lossy(&it.short).into_owned()).collect()
    }

    #[test]
    fn aliases_go_round_names_that_look_like_them() {
        assert_eq!(
            shorts(&["LONGNA~1", "README", "config.txt", "longname-a.txt", "longname-b.txt", "longname-c"]),
            ["LONGNA~1   ", "README     ", "CONFIG~1TXT", "LONGNA~1TXT", "LONGNA~2TXT", "LONGNA~2   "]
        );
    }

    #[test]
    fn no_alias_is_another_files_long_name() {
        assert_eq!(
            shorts(&["config.txt", "config~1.txt", "config~2.TXT"]),
            ["CONFIG~3TXT", "CONFIG~4TXT", "CONFIG~5TXT"]
        );
    }

    #[test]
    fn odd_names_get_aliases() {
        assert_eq!(
            shorts(&[".hidden", "a+b c.d.dtbo", "été", "日本語.txt", "𝄞"]),
            ["HIDDEN~1   ", "A_BCD~1 DTB", "_T_~1      ", "___~1   TXT", "_~1        "]
        );
    }

    #[test]
    fn thousands_of_alike_names_stay_unique() {
        let names: Vec<String> = (0..12_345).map(|i| format!("file{i:06}.dtbo")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let unique: HashSet<Short> = store(&names).unwrap().iter().map(|it| it.short).collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn names_that_fat_cannot_hold() {
        let text = |names: &[&str]| store(names).unwrap_err().to_string();
        assert_eq!(
            text(&["README", "readme"]),
            "`README` and `readme` differ only by case\n  caused by: FAT names ignore case\n\n\
             hint: rename one of them, or put them on another filesystem"
        );
        assert_eq!(
            text(&["a:b"]),
            "FAT cannot hold the name `a:b`\n  caused by: the character `:` is not allowed"
        );
        assert_eq!(
            text(&["a."]),
            "FAT cannot hold the name `a.`\n  caused by: it ends with a dot or a space"
        );
    }
}
