//! genimage's configuration language, cut into tokens as libconfuse 3.3 does
//! (<https://github.com/libconfuse/libconfuse>, `src/lexer.l`).
//!
//! Comments are `#`, `//` and `/* */`; a word is quoted with `"` or `'` or runs up to the next
//! `#"'={}()+,*` or blank; `${NAME}` and `${NAME:-default}` are taken from the environment.

use std::ops::Range;
use std::sync::Arc;

use crate::board::text::{Place, Text};
use crate::error::{Error, Result};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name or a value, with quotes and escapes resolved.
    Word(String),
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// `(`.
    ParenOpen,
    /// `)`.
    ParenClose,
    /// `=`.
    Equals,
    /// `+=`.
    Append,
    /// `,`.
    Comma,
    /// The end of the file.
    End,
}

/// Looks a variable up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads one file from front to back.
pub struct Lexer<'a> {
    text: Arc<Text>,
    at: usize,
    environment: Environment<'a>,
}

impl<'a> Lexer<'a> {
    /// At the start of `text`.
    pub fn new(text: Arc<Text>, environment: Environment<'a>) -> Self {
        Lexer { text, at: 0, environment }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn place(&self, span: Range<usize>) -> Place {
        self.text.place(span)
    }

    /// The next token and where it stands.
    pub fn next(&mut self) -> Result<(Token, Place)> {
        self.skip()?;
        let start = self.at;
        let token = match self.rest().bytes().next() {
            None => Token::End,
            Some(b'"') => self.double_quoted()?,
            Some(b'\'') => self.single_quoted()?,
            Some(b'$') if self.rest().starts_with("${") => self.bare_variable(),
            Some(byte) => match self.symbol(byte) {
                Some(token) => token,
                None => self.word(),
            },
        };
        Ok((token, self.place(start..self.at)))
    }

    /// Passes blanks, comments, and what libconfuse ignores: lone `+` and `*`.
    fn skip(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let step = match rest.as_bytes() {
                [b' ' | b'\t' | b'\n' | b'\r' | b'*', ..] | [b'+'] => 1,
                [b'+', next, ..] if *next != b'=' => 1,
                [b'#', ..] | [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
                [b'/', b'*', ..] => match rest.find("*/") {
                    // `/*/` opens only.
                    Some(1) => rest[2..].find("*/").map(|end| end + 4).ok_or_else(|| self.open_comment())?,
                    Some(end) => end + 2,
                    None => return Err(self.open_comment()),
                },
                _ => return Ok(()),
            };
            self.at += step;
        }
    }

    fn open_comment(&self) -> Error {
        self.place(self.at..self.at + 2)
            .error("a comment does not end", "it starts here")
            .hint("close it with `*/`")
    }

    fn symbol(&mut self, byte: u8) -> Option<Token> {
        let token = match byte {
            b'{' => Token::Open,
            b'}' => Token::Close,
            b'(' => Token::ParenOpen,
            b')' => Token::ParenClose,
            b'=' => Token::Equals,
            b',' => Token::Comma,
            b'+' => Token::Append,
            _ => return None,
        };
        self.at += if token == Token::Append { 2 } else { 1 };
        Some(token)
    }

    fn word(&mut self) -> Token {
        let ends = |c: char| {
            matches!(c, ' ' | '#' | '"' | '\'' | '\t' | '\n' | '\r' | '*' | '+' | ',')
                || matches!(c, '=' | '{' | '}' | '(' | ')')
        };
        let rest = self.rest();
        let word = rest[..rest.find(ends).unwrap_or(rest.len())].to_string();
        self.at += word.len();
        Token::Word(word)
    }

    /// `${NAME}` outside quotes; one that is not closed is a word.
    fn bare_variable(&mut self) -> Token {
        let Some(end) = self.rest().find('}') else { return self.word() };
        let value = self.variable(&self.rest()[2..end]);
        self.at += end + 1;
        Token::Word(value)
    }

    fn variable(&self, inside: &str) -> String {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        (self.environment)(name).or_else(|| default.map(str::to_string)).unwrap_or_default()
    }

    fn double_quoted(&mut self) -> Result<Token> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return Err(self.open_quote(start)) };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(Token::Word(value));
                }
                '\\' => self.escape(&mut value)?,
                '$' if rest.starts_with("${") && rest.contains('}') => {
                    let end = rest.find('}').unwrap_or(rest.len());
                    value.push_str(&self.variable(&rest[2..end]));
                    self.at += end + 1;
                }
                c => {
                    value.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    /// What follows a `\` between double quotes: as in C, octal and hexadecimal too.
    fn escape(&mut self, value: &mut String) -> Result<()> {
        let start = self.at;
        let rest = &self.rest()[1..];
        let digits = |text: &str, most: usize, radix: u32| {
            text.chars().take(most).take_while(|c| c.is_digit(radix)).count()
        };
        let (push, len) = match rest.chars().next() {
            None => (None, 0),
            Some('\n') => (None, 1),
            Some(c) if c.is_ascii_digit() => {
                let len = digits(rest, 3, 8);
                match u8::from_str_radix(&rest[..len], 8) {
                    Ok(byte) if !rest[len..].starts_with(|c: char| c.is_ascii_digit()) => {
                        (Some(char::from(byte)), len)
                    }
                    _ => return Err(self.bad_escape(start)),
                }
            }
            Some('x') if digits(&rest[1..], 2, 16) > 0 => {
                let len = digits(&rest[1..], 2, 16) + 1;
                (u8::from_str_radix(&rest[1..len], 16).ok().map(char::from), len)
            }
            Some(c) => {
                let plain = match c {
                    'n' => '\n',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'a' => '\u{7}',
                    'e' => '\u{1b}',
                    't' => '\t',
                    'v' => '\u{b}',
                    other => other,
                };
                (Some(plain), c.len_utf8())
            }
        };
        value.extend(push);
        self.at += 1 + len;
        Ok(())
    }

    fn bad_escape(&self, start: usize) -> Error {
        let end = self.text[start + 1..]
            .find(|c: char| !c.is_ascii_digit())
            .map_or(self.text.len(), |digits| start + 1 + digits);
        self.place(start..end)
            .error("an escape sequence is not one", "here")
            .hint("octal ones go from `\\0` to `\\377`; write `\\\\` for a backslash")
    }

    /// Between single quotes only `\'` and `\\` are escapes, and `\` at the end of a line joins lines.
    fn single_quoted(&mut self) -> Result<Token> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let rest = self.rest();
            let mut chars = rest.chars();
            match (chars.next(), chars.next()) {
                (None, _) => return Err(self.open_quote(start)),
                (Some('\''), _) => {
                    self.at += 1;
                    return Ok(Token::Word(value));
                }
                (Some('\\'), Some('\n')) => self.at += 2,
                (Some('\\'), Some(c @ ('\\' | '\''))) => {
                    value.push(c);
                    self.at += 2;
                }
                (Some(c), _) => {
                    value.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    fn open_quote(&self, start: usize) -> Error {
        let quote = &self.text[start..=start];
        self.place(start..start + 1)
            .error("a quoted text does not end", "it starts here")
            .hint(format!("close it with `{quote}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>> {
        let environment = |name: &str| (name == "SIZE").then(|| "4M".to_string());
        let mut lexer = Lexer::new(Text::new("x.cfg", text), &environment);
        let mut all = Vec::new();
        loop {
            match lexer.next()?.0 {
                Token::End => return Ok(all),
                token => all.push(token),
            }
        }
    }

    fn words(text: &str) -> Vec<String> {
        tokens(text)
            .unwrap()
            .into_iter()
            .map(|token| match token {
                Token::Word(word) => word,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn words_are_cut_as_libconfuse_cuts_them() {
        assert_eq!(words("a=1M//x #c\nb"), ["a", "Equals", "1M//x", "b"]);
        assert_eq!(words("/a/b // c\n/* d\n*/ e"), ["/a/b", "e"]);
        assert_eq!(words("a*b c/*d"), ["a", "b", "c/", "d"]);
        assert_eq!(
            words("x;y+={z,}\r\n(+)"),
            ["x;y", "Append", "Open", "z", "Comma", "Close", "ParenOpen", "ParenClose"]
        );
        assert_eq!(words("/**/ /*/ x */ y"), ["y"]);
        assert_eq!(words("%PART% a:b"), ["%PART%", "a:b"]);
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(words(r#""a\"b\x41\101\t\q" 'c\n\'d'"#), ["a\"bAA\tq", r"c\n'd"]);
        assert_eq!(words("\"two\nlines\" 'joi\\\nned'"), ["two\nlines", "joined"]);
        assert_eq!(words("${SIZE} \"x${SIZE}${NO}${NO:-7}\" ${NO}"), ["4M", "x4M7", ""]);
    }

    #[test]
    fn what_does_not_end_is_told() {
        let told = |text| tokens(text).unwrap_err().to_string();
        assert_eq!(
            told("a /* b"),
            "a comment does not end\n --> x.cfg:1:3\n  |\n1 | a /* b\n  |   ^^ it starts here\n\nhint: close it with `*/`"
        );
        assert_eq!(
            told("a \"b"),
            "a quoted text does not end\n --> x.cfg:1:3\n  |\n1 | a \"b\n  |   ^ it starts here\n\nhint: close it with `\"`"
        );
        assert_eq!(
            told("\"\\999\""),
            "an escape sequence is not one\n --> x.cfg:1:2\n  |\n1 | \"\\999\"\n  |  ^^^^ here\n\n\
             hint: octal ones go from `\\0` to `\\377`; write `\\\\` for a backslash"
        );
        assert!(tokens("\"\\400\"").is_err());
        assert!(tokens("\"\\").is_err());
        assert!(tokens("'\\").is_err());
    }
}
