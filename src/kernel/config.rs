//! Configuration: what fragments and `--set` ask for, laid over a defconfig, and whether Kconfig
//! honoured it.
//!
//! The last request of a symbol wins, as in scripts/kconfig/merge_config.sh. `make olddefconfig` then
//! settles everything else, and silently drops what dependencies forbid: [`dishonoured`] finds that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::spec::Fragment;
use crate::error::{Error, Result};

/// One symbol as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Without `CONFIG_`.
    pub symbol: String,
    /// `y`, `m`, `n`, a number, or a quoted string.
    pub value: String,
    /// `boards/common/lean.config:12` or `--set`.
    pub origin: String,
    /// Which fragment it is from, in their order; `--set` comes after all of them.
    pub layer: usize,
}

impl Request {
    /// As messages show it: `CONFIG_X=y`.
    pub fn display(&self) -> String {
        format!("CONFIG_{}={}", self.symbol, self.value)
    }
}

/// Symbol values of a `.config`; a symbol that is not set is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(HashMap<String, String>);

impl Values {
    /// Reads a `.config`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(assignment).filter(|(_, value)| *value != "n");
        Values(pairs.map(|(symbol, value)| (symbol.to_string(), value.to_string())).collect())
    }

    /// The value, `n` when not set.
    pub fn get(&self, symbol: &str) -> &str {
        self.0.get(symbol).map_or("n", String::as_str)
    }

    /// True for `y`.
    pub fn is_y(&self, symbol: &str) -> bool {
        self.get(symbol) == "y"
    }

    /// What makes `now` of this configuration, as the lines of a fragment, sorted.
    pub fn changes(&self, now: &Values) -> Vec<String> {
        let symbols: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let changed = symbols.into_iter().filter(|symbol| self.get(symbol) != now.get(symbol));
        changed.map(|symbol| line(symbol, now.get(symbol))).collect()
    }

    /// Symbols set to `y` and to `m`.
    pub fn counts(&self) -> (u64, u64) {
        let count = |wanted: &str| self.0.values().filter(|value| *value == wanted).count() as u64;
        (count("y"), count("m"))
    }
}

/// `CONFIG_X=value` or `# CONFIG_X is not set`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("# CONFIG_") {
        let symbol = rest.strip_suffix(" is not set")?;
        return is_symbol(symbol).then_some((symbol, "n"));
    }
    let (symbol, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    is_symbol(symbol).then_some((symbol, value))
}

fn is_symbol(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Collects the requests of all fragments and sets, one per symbol, in order of its last mention.
pub fn requests(fragments: &[Fragment], sets: &[String]) -> Result<Vec<Request>> {
    let mut all = Vec::new();
    for (layer, fragment) in fragments.iter().enumerate() {
        for (index, line) in fragment.text.lines().enumerate() {
            let origin = format!("{}:{}", fragment.name, index + 1);
            match assignment(line) {
                Some((symbol, value)) => all.push(request(symbol, value, origin, layer)?),
                None if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
                None => return Err(not_a_request(&origin, line.trim())),
            }
        }
    }
    for set in sets {
        let (symbol, value) = assignment(set).ok_or_else(|| not_a_request("--set", set))?;
        all.push(request(symbol, value, "--set".to_string(), fragments.len())?);
    }
    let mut last = BTreeMap::new();
    for (index, request) in all.iter().enumerate() {
        last.insert(request.symbol.clone(), index);
    }
    let mut index = 0;
    all.retain(|request| {
        index += 1;
        last.get(&request.symbol) == Some(&(index - 1))
    });
    Ok(all)
}

fn request(symbol: &str, value: &str, origin: String, layer: usize) -> Result<Request> {
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    let hex = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
    let number = value.strip_prefix("0x").or(value.strip_prefix("0X")).is_some_and(hex)
        || value.parse::<i64>().is_ok();
    if !(quoted || number || matches!(value, "y" | "m" | "n")) {
        return Err(Error::usage(format!("{origin}: `CONFIG_{symbol}={value}` has no valid value"))
            .hint("write `y`, `m`, `n`, a number, or a text in double quotes"));
    }
    Ok(Request { symbol: symbol.to_string(), value: value.to_string(), origin, layer })
}

fn not_a_request(origin: &str, line: &str) -> Error {
    Error::usage(format!("{origin}: `{line}` is not a kernel option"))
        .hint("write `CONFIG_X=y`, `CONFIG_X=\"text\"` or `# CONFIG_X is not set`")
}

/// A value as a `.config` or a fragment says it.
fn line(symbol: &str, value: &str) -> String {
    match value {
        "n" => format!("# CONFIG_{symbol} is not set"),
        value => format!("CONFIG_{symbol}={value}"),
    }
}

/// The text of a `.config`: the base without what is asked for, then the requests.
pub fn merge(base: &str, requests: &[Request]) -> String {
    let asked: HashSet<&str> = requests.iter().map(|request| request.symbol.as_str()).collect();
    let kept = base.lines().filter(|line| assignment(line).is_none_or(|(symbol, _)| !asked.contains(symbol)));
    let asked_for = requests.iter().map(|Request { symbol, value, .. }| line(symbol, value));
    let mut lines: Vec<String> = kept.map(str::to_string).chain(asked_for).collect();
    lines.push(String::new());
    lines.join("\n")
}

/// The requests that the final configuration does not hold.
pub fn dishonoured<'a>(requests: &'a [Request], config: &Values) -> Vec<&'a Request> {
    requests.iter().filter(|request| !same(&request.value, config.get(&request.symbol))).collect()
}

fn same(wanted: &str, got: &str) -> bool {
    let number = |text: &str| match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse::<i128>().ok(),
    };
    // A text that is not visible is left out of .config, which is as good as empty.
    let empty = |text: &str| text == "\"\"" || text == "n";
    wanted == got
        || (empty(wanted) && empty(got))
        || number(wanted).is_some_and(|wanted| number(got) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(name: &str, text: &str) -> Fragment {
        Fragment { name: name.to_string(), text: text.to_string() }
    }

    #[test]
    fn the_last_request_wins_and_keeps_its_origin() {
        let fragments = [
            fragment("a.config", "# about A\n\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_A=m\n"),
            fragment("b.config", "# CONFIG_B is not set\n"),
        ];
        let requests = requests(&fragments, &["CONFIG_C=\"x y\"".to_string()]).unwrap();
        let shown: Vec<String> = requests.iter().map(|r| format!("{} {}", r.origin, r.display())).collect();
        assert_eq!(shown, ["a.config:5 CONFIG_A=m", "b.config:1 CONFIG_B=n", "--set CONFIG_C=\"x y\""]);
        assert_eq!(
            merge("# head\nCONFIG_A=y\n# CONFIG_D is not set\nCONFIG_E=1\n", &requests),
            "# head\n# CONFIG_D is not set\nCONFIG_E=1\nCONFIG_A=m\n# CONFIG_B is not set\nCONFIG_C=\"x y\"\n"
        );
    }

    #[test]
    fn honoured_means_the_same_value() {
        let config = Values::parse("CONFIG_A=y\nCONFIG_H=0x80\nCONFIG_S=\"\"\n# CONFIG_N is not set\n");
        let sets = [
            "CONFIG_A=y",
            "CONFIG_H=128",
            "CONFIG_S=\"\"",
            "CONFIG_T=\"\"",
            "CONFIG_N=n",
            "CONFIG_O=n",
            "CONFIG_A2=m",
        ]
        .map(str::to_string);
        let requests = requests(&[], &sets).unwrap();
        let bad: Vec<String> = dishonoured(&requests, &config).iter().map(|r| r.display()).collect();
        assert_eq!(bad, ["CONFIG_A2=m"]);
    }

    #[test]
    fn lines_that_mean_nothing_are_errors() {
        let message = |text: &str| requests(&[fragment("x.config", text)], &[]).unwrap_err().to_string();
        assert_eq!(
            message("CONFIG_A=y\nCONFIG_B y\n"),
            "x.config:2: `CONFIG_B y` is not a kernel option\n\nhint: write `CONFIG_X=y`, `CONFIG_X=\"text\"` or \
             `# CONFIG_X is not set`"
        );
        assert_eq!(
            message("CONFIG_A=yes\n"),
            "x.config:1: `CONFIG_A=yes` has no valid value\n\nhint: write `y`, `m`, `n`, a number, or a text in \
             double quotes"
        );
        assert_eq!(
            requests(&[], &["FOO=y".to_string()]).unwrap_err().to_string(),
            "--set: `FOO=y` is not a kernel option\n\nhint: write `CONFIG_X=y`, `CONFIG_X=\"text\"` or \
             `# CONFIG_X is not set`"
        );
    }
}
