//! Buildroot's defconfigs: `BR2_X=y`, `BR2_X="text"`, one a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::board::text::{At, Text};
use crate::error::{Error, Result};

/// The symbols of a defconfig.
#[derive(Debug)]
pub struct Defconfig {
    text: Arc<Text>,
    symbols: BTreeMap<String, At<String>>,
}

impl Defconfig {
    /// Parses a file; `shown` is what messages call it.
    pub fn parse(shown: &str, text: &str) -> Result<Self> {
        let text = Text::new(shown, text);
        let mut symbols = BTreeMap::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let span = at..at + line.trim_end().len();
            at += line.len();
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = text.place(span);
            let Some((name, value)) = line.split_once('=') else {
                return Err(place
                    .error("a line is neither `NAME=value` nor a comment", "this one")
                    .hint("is it a Buildroot defconfig?"));
            };
            // As in make, the last one wins.
            symbols.insert(name.trim().to_string(), At { value: unquote(value.trim()), place });
        }
        if !symbols.keys().any(|name| name.starts_with("BR2_")) {
            return Err(Error::usage(format!("`{shown}` is not a Buildroot defconfig"))
                .caused_by("it sets no `BR2_` symbol")
                .hint("name a file such as `configs/raspberrypi4_64_defconfig`"));
        }
        Ok(Defconfig { text, symbols })
    }

    /// True for `BR2_NAME=y`.
    pub fn has(&self, name: &str) -> bool {
        self.symbols.get(&format!("BR2_{name}")).is_some_and(|value| value.as_str() == "y")
    }

    /// The text of `BR2_NAME`, if it is said and not empty.
    pub fn text(&self, name: &str) -> Option<&At<String>> {
        self.symbols.get(&format!("BR2_{name}")).filter(|value| !value.is_empty())
    }

    /// Its words.
    pub fn words(&self, name: &str) -> Vec<&str> {
        self.text(name).map_or_else(Vec::new, |text| text.split_ascii_whitespace().collect())
    }

    /// The symbols that are `y` and start so, without that start.
    pub fn all<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.symbols
            .iter()
            .filter(|(_, value)| value.as_str() == "y")
            .filter_map(move |(name, _)| name.strip_prefix("BR2_")?.strip_prefix(start))
    }

    /// Where a symbol stands, for notes; the top of the file for one that is not there.
    pub fn origin(&self, name: &str) -> String {
        let place = self.symbols.get(&format!("BR2_{name}")).map(|value| value.place.clone());
        place.unwrap_or_else(|| self.text.place(0..0)).origin_line()
    }

    /// What messages call the file.
    pub fn shown(&self) -> &str {
        self.text.shown()
    }
}

/// `"a \"b\""` as Kconfig writes strings.
fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_string();
    };
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_texts_and_comments() {
        let text = "# BR2_no=y\nBR2_arm=y\n\nBR2_A=\"one \\\"two\\\"\"\nBR2_A_B=y\nBR2_EMPTY=\"\"\n# BR2_X is not set\n";
        let config = Defconfig::parse("x_defconfig", text).unwrap();
        assert!(config.has("arm") && !config.has("no") && !config.has("X"));
        assert_eq!(config.text("A").unwrap().as_str(), "one \"two\"");
        assert_eq!(config.words("A"), ["one", "\"two\""]);
        assert!(config.text("EMPTY").is_none());
        assert_eq!(config.all("A_").collect::<Vec<_>>(), ["B"]);
        assert_eq!(config.origin("A_B"), "x_defconfig:5");
        assert_eq!(config.origin("NOPE"), "x_defconfig:1");
    }

    #[test]
    fn what_it_is_not() {
        assert_eq!(
            Defconfig::parse("x", "BR2_arm=y\nhello\n").unwrap_err().to_string(),
            "a line is neither `NAME=value` nor a comment\n --> x:2:1\n  |\n2 | hello\n  | ^^^^^ this one\n\n\
             hint: is it a Buildroot defconfig?"
        );
        assert_eq!(
            Defconfig::parse("x", "CONFIG_ARM=y\n").unwrap_err().to_string(),
            "`x` is not a Buildroot defconfig\n  caused by: it sets no `BR2_` symbol\n\n\
             hint: name a file such as `configs/raspberrypi4_64_defconfig`"
        );
    }
}
