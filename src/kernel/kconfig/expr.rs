//! Kconfig expressions: parsed, evaluated against a `.config`, and the parts that fail named.
//!
//! Grammar and three-valued logic: Documentation/kbuild/kconfig-language.rst, "Menu dependencies".

use std::fmt;

use super::super::config::Values;

/// `n`, `m` or `y`; "and" is the minimum, "or" the maximum, "not" swaps `n` and `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tri {
    /// No.
    N,
    /// Module.
    M,
    /// Yes.
    Y,
}

impl Tri {
    /// The value of a bool or tristate; anything else counts as `n`, as it does in Kconfig.
    pub fn of(value: &str) -> Self {
        match value {
            "y" => Tri::Y,
            "m" => Tri::M,
            _ => Tri::N,
        }
    }
}

impl fmt::Display for Tri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tri::N => "n",
            Tri::M => "m",
            Tri::Y => "y",
        })
    }
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A symbol, or one of the constants `y`, `m`, `n`.
    Symbol(String),
    /// `$(…)`: asks the compiler or the shell; taken for true, since it cannot be known here.
    Macro(String),
    /// `A = B`, `A >= B`, …
    Compare(Atom, &'static str, Atom),
    /// `!A`
    Not(Box<Expr>),
    /// `A && B`
    And(Vec<Expr>),
    /// `A || B`
    Or(Vec<Expr>),
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Atom {
    /// A symbol, or a bare constant such as `23600`.
    Word(String),
    /// A quoted text.
    Text(String),
}

impl Expr {
    /// Parses; `None` for what is no expression.
    pub fn parse(text: &str) -> Option<Expr> {
        let tokens = tokenize(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0 };
        let expr = parser.or()?;
        // `depends on A if B`: matters only while B holds.
        if parser.take("if") {
            let condition = parser.or()?;
            return parser.ended().then(|| Expr::Or(vec![Expr::Not(Box::new(condition)), expr]));
        }
        parser.ended().then_some(expr)
    }

    /// The value under a configuration.
    pub fn eval(&self, values: &Values) -> Tri {
        match self {
            Expr::Symbol(name) => match name.as_str() {
                "y" | "m" | "n" => Tri::of(name),
                name => Tri::of(values.get(name)),
            },
            Expr::Macro(_) => Tri::Y,
            Expr::Compare(left, op, right) => compare(left, op, right, values),
            Expr::Not(inner) => match inner.eval(values) {
                Tri::Y => Tri::N,
                Tri::M => Tri::M,
                Tri::N => Tri::Y,
            },
            Expr::And(parts) => parts.iter().map(|part| part.eval(values)).min().unwrap_or(Tri::Y),
            Expr::Or(parts) => parts.iter().map(|part| part.eval(values)).max().unwrap_or(Tri::N),
        }
    }

    /// The innermost terms that keep this from reaching `need`, each as people say it: `` `NET` is n ``.
    pub fn unmet(&self, values: &Values, need: Tri) -> Vec<String> {
        if self.eval(values) >= need {
            return Vec::new();
        }
        match self {
            Expr::And(parts) => parts.iter().flat_map(|part| part.unmet(values, need)).collect(),
            Expr::Or(parts) => {
                let shown: Vec<String> = parts.iter().map(|part| format!("`{part}`")).collect();
                vec![format!("none of {} holds", shown.join(", "))]
            }
            Expr::Symbol(_) => vec![format!("`{self}` is {}", self.eval(values))],
            Expr::Not(inner) => match **inner {
                Expr::Symbol(_) => vec![format!("`{inner}` is {}", inner.eval(values))],
                _ => vec![format!("`{inner}` holds")],
            },
            Expr::Compare(..) | Expr::Macro(_) => vec![format!("`{self}` does not hold")],
        }
    }

    /// Symbols that would have to be turned on: the ones that stand alone among the unmet terms.
    pub fn missing_symbols<'a>(&'a self, values: &Values, need: Tri, found: &mut Vec<&'a str>) {
        match self {
            Expr::Symbol(name) if self.eval(values) < need && !matches!(name.as_str(), "n" | "m" | "y") => {
                found.push(name);
            }
            Expr::And(parts) => parts.iter().for_each(|part| part.missing_symbols(values, need, found)),
            _ => {}
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, parts: &[Expr], op: &str| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    write!(f, " {op} ")?;
                }
                match part {
                    Expr::And(_) | Expr::Or(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Expr::Symbol(name) => f.write_str(name),
            Expr::Macro(text) => f.write_str(text),
            Expr::Compare(left, op, right) => write!(f, "{left} {op} {right}"),
            Expr::Not(inner) => match **inner {
                Expr::And(_) | Expr::Or(_) | Expr::Compare(..) => write!(f, "!({inner})"),
                _ => write!(f, "!{inner}"),
            },
            Expr::And(parts) => join(f, parts, "&&"),
            Expr::Or(parts) => join(f, parts, "||"),
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Word(word) => f.write_str(word),
            Atom::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

fn compare(left: &Atom, op: &str, right: &Atom, values: &Values) -> Tri {
    let value = |atom: &Atom| match atom {
        Atom::Text(text) => text.clone(),
        Atom::Word(word) if word.starts_with(|c: char| c.is_ascii_digit()) => word.clone(),
        Atom::Word(word) if matches!(word.as_str(), "y" | "m" | "n") => word.clone(),
        Atom::Word(word) => values.get(word).trim_matches('"').to_string(),
    };
    let (left, right) = (value(left), value(right));
    let rank = |text: &str| match text {
        // A symbol that is not set is n, or an empty text, or zero.
        "" | "n" => Some(0),
        "m" => Some(1),
        "y" => Some(2),
        text => match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        },
    };
    let order = match (rank(&left), rank(&right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.cmp(&right),
    };
    let holds = match op {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    };
    if holds { Tri::Y } else { Tri::N }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Op(&'static str),
    Word(String),
    Text(String),
    Macro(String),
}

fn tokenize(text: &str) -> Option<Vec<Token>> {
    const OPS: [&str; 11] = ["&&", "||", "!=", "<=", ">=", "=", "<", ">", "!", "(", ")"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        if let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) {
            tokens.push(Token::Op(op));
            rest = &rest[op.len()..];
        } else if rest.starts_with("$(") {
            let end = macro_end(rest)?;
            tokens.push(Token::Macro(rest[..end].to_string()));
            rest = &rest[end..];
        } else if let Some(quote) = rest.chars().next().filter(|c| *c == '"' || *c == '\'') {
            let end = rest[1..].find(quote)? + 1;
            tokens.push(Token::Text(rest[1..end].to_string()));
            rest = &rest[end + 1..];
        } else {
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_-./".contains(c)).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            tokens.push(Token::Word(rest[..end].to_string()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Some(tokens)
}

/// Length of a `$(…)` with its inner parentheses.
fn macro_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn ended(&self) -> bool {
        self.at == self.tokens.len()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = match self.tokens.get(self.at) {
            Some(Token::Op(op)) => *op == wanted,
            Some(Token::Word(word)) => word == wanted,
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Option<Expr> {
        let mut parts = vec![self.and()?];
        while self.take("||") {
            parts.push(self.and()?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Expr::Or(parts)) }
    }

    fn and(&mut self) -> Option<Expr> {
        let mut parts = vec![self.not()?];
        while self.take("&&") {
            parts.push(self.not()?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Expr::And(parts)) }
    }

    fn not(&mut self) -> Option<Expr> {
        if self.take("!") {
            return Some(Expr::Not(Box::new(self.not()?)));
        }
        if self.take("(") {
            let inner = self.or()?;
            return self.take(")").then_some(inner);
        }
        let left = self.atom()?;
        for op in ["=", "!=", "<=", ">=", "<", ">"] {
            if self.take(op) {
                return match (left, self.atom()?) {
                    (Ok(left), Ok(right)) => Some(Expr::Compare(left, op, right)),
                    (Err(text), _) | (_, Err(text)) => Some(Expr::Macro(text)),
                };
            }
        }
        Some(match left {
            Ok(Atom::Word(word) | Atom::Text(word)) => Expr::Symbol(word),
            Err(text) => Expr::Macro(text),
        })
    }

    /// A word or text; `Err` carries a macro.
    fn atom(&mut self) -> Option<Result<Atom, String>> {
        let atom = match self.tokens.get(self.at)? {
            Token::Word(word) => Ok(Atom::Word(word.clone())),
            Token::Text(text) => Ok(Atom::Text(text.clone())),
            Token::Macro(text) => Err(text.clone()),
            Token::Op(_) => return None,
        };
        self.at += 1;
        Some(atom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values::parse("CONFIG_A=y\nCONFIG_M=m\nCONFIG_V=23400\nCONFIG_T=\"x\"\n")
    }

    #[test]
    fn evaluates_like_kconfig() {
        for (text, value) in [
            ("A", Tri::Y),
            ("B", Tri::N),
            ("M", Tri::M),
            ("!M", Tri::M),
            ("A && M", Tri::M),
            ("B || M && A", Tri::M),
            ("!(A && B)", Tri::Y),
            ("A && m", Tri::M),
            ("V >= 23301", Tri::Y),
            ("V<23301||B", Tri::N),
            ("T != \"\"", Tri::Y),
            ("U = \"\"", Tri::Y),
            ("M <= A", Tri::Y),
            ("B=n", Tri::Y),
            ("$(cc-option,-fx=$(y)) && A", Tri::Y),
            ("B if !A", Tri::Y),
        ] {
            assert_eq!(Expr::parse(text).unwrap().eval(&values()), value, "{text}");
        }
        for text in ["", "A &&", "(A", "A B", "&& A"] {
            assert_eq!(Expr::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_the_terms_that_fail() {
        let unmet = |text: &str, need| Expr::parse(text).unwrap().unmet(&values(), need);
        assert_eq!(
            unmet("A && B && !A && (C || D && E)", Tri::M),
            ["`B` is n", "`A` is y", "none of `C`, `D && E` holds"]
        );
        assert_eq!(unmet("A && M", Tri::Y), ["`M` is m"]);
        assert_eq!(unmet("V > 30000", Tri::Y), ["`V > 30000` does not hold"]);
        assert_eq!(unmet("A || B", Tri::Y), [""; 0]);
    }
}
