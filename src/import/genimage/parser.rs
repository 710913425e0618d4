//! Tokens to sections: the grammar of libconfuse, with genimage's options.
//!
//! As there, a later value replaces an earlier one, `+=` adds to a list, a section with the title of an
//! earlier one takes its place, and an included file is read as if it stood where it is named.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::lexer::{Environment, Lexer, Token};
use super::schema::{Schema, Shape, TOP};
use crate::board::text::{At, Place, Text};
use crate::error::{Error, Result, nearest};

/// A word and where it stands.
pub type Word = At<String>;

/// Sections within sections: genimage's own go three deep.
const DEPTH: usize = 16;
/// Sections within one section: a table holds 128 partitions, a directory some hundred files.
const SECTIONS: usize = 4096;
/// Files within files, as libconfuse has it.
const INCLUDES: usize = 10;
/// Bytes of all files together; a file that includes itself twice would double ten times.
const TOTAL: usize = 16 << 20;

/// A section of the file.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its kind: `image`, `partition`, `hdimage`, ...
    pub name: String,
    /// Its title: `sdcard.img` of an image.
    pub title: Option<Word>,
    /// Where it begins.
    pub place: Place,
    values: BTreeMap<String, Vec<Word>>,
    sections: Vec<Section>,
}

impl Section {
    fn new(name: &str, title: Option<Word>, place: Place) -> Self {
        Section { name: name.to_string(), title, place, values: BTreeMap::new(), sections: Vec::new() }
    }

    /// Where its title stands, or else its name.
    pub fn title_place(&self) -> &Place {
        self.title.as_ref().map_or(&self.place, |title| &title.place)
    }

    /// The value of an option.
    pub fn text(&self, name: &str) -> Option<&Word> {
        self.values.get(name).and_then(|words| words.last())
    }

    /// The values of a list.
    pub fn list(&self, name: &str) -> &[Word] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// A truth value: `true`, `yes` and `on`, or `false`, `no` and `off`.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(word) = self.text(name) else { return Ok(None) };
        match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(Some(true)),
            "false" | "no" | "off" => Ok(Some(false)),
            _ => Err(word
                .place
                .error(format!("`{name}` is neither true nor false"), "said here")
                .hint("write `true` or `false`")),
        }
    }

    /// A whole number in a range, as C writes them: `12`, `0x83`, `010`.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<At<u64>>> {
        let Some(word) = self.text(name) else { return Ok(None) };
        match c_number(word) {
            Some((value, "")) if range.contains(&value) => Ok(Some(At { value, place: word.place.clone() })),
            _ => Err(word
                .place
                .error(format!("`{name}` is not a number from {} to {}", range.start(), range.end()), "here")
                .hint("numbers are written as in C: `12`, `0x83`")),
        }
    }

    /// A size, an offset or an alignment in bytes.
    pub fn size(&self, name: &str) -> Result<Option<At<u64>>> {
        match self.amount(name)? {
            Some(At { value: Amount::Percent(_), place }) => Err(place
                .error(format!("`{name}` is a percentage"), "said here")
                .hint("only a filesystem that is filled from a directory can have one")),
            Some(At { value: Amount::Bytes(value), place }) => Ok(Some(At { value, place })),
            None => Ok(None),
        }
    }

    /// A size that may be a percentage of the content.
    pub fn amount(&self, name: &str) -> Result<Option<At<Amount>>> {
        let Some(word) = self.text(name) else { return Ok(None) };
        match Amount::parse(word) {
            Some(value) => Ok(Some(At { value, place: word.place.clone() })),
            None => Err(word
                .place
                .error(format!("`{name}` is not a size"), "here")
                .hint("write bytes, or a number with k, M, G or s (sectors): `512`, `8K`, `64M`, `33s`")),
        }
    }

    /// The sections of one kind, in order.
    pub fn sections<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |section| section.name == name)
    }

    /// All sections, in order.
    pub fn all(&self) -> &[Section] {
        &self.sections
    }
}

/// A size as genimage writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Of what the content needs.
    Percent(u64),
}

impl Amount {
    /// genimage's `strtoul_suffix`: a number as in C, then `k`, `K`, `M`, `G`, `s` or `%`. What follows the
    /// letter is ignored there, so that `8KB` works.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim_start().is_empty() {
            return Some(Amount::Bytes(0));
        }
        let (number, suffix) = c_number(text)?;
        let unit = match suffix.bytes().next() {
            None => 1,
            Some(b's') => 512,
            Some(b'k' | b'K') => 1 << 10,
            Some(b'M') => 1 << 20,
            Some(b'G') => 1 << 30,
            Some(b'%') => return Some(Amount::Percent(number)),
            Some(_) => return None,
        };
        // Sums of a few of them must not overflow either.
        number.checked_mul(unit).filter(|bytes| *bytes < 1 << 60).map(Amount::Bytes)
    }
}

/// A number as C's `strtoull` reads it, and what follows.
fn c_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (hex, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let len = digits.chars().take_while(|c| c.is_digit(radix)).count();
    Some((u64::from_str_radix(&digits[..len], radix).ok()?, &digits[len..]))
}

/// Reads an included file: its name as errors show it, and its text.
pub type Loader<'a> = &'a dyn Fn(&str) -> Result<Option<(String, String)>>;

/// Parses a configuration.
pub fn parse(text: &Arc<Text>, load: Loader<'_>, environment: Environment<'_>) -> Result<Section> {
    let mut parser = Parser {
        total: text.len(),
        files: vec![Lexer::new(Arc::clone(text), environment)],
        load,
        environment,
    };
    let mut top = Section::new("", None, text.place(0..0));
    parser.section(&mut top, &TOP, 0)?;
    Ok(top)
}

struct Parser<'a> {
    /// The file being read is the last one.
    files: Vec<Lexer<'a>>,
    total: usize,
    load: Loader<'a>,
    environment: Environment<'a>,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<(Token, Place)> {
        loop {
            let included = self.files.len() > 1;
            let Some(file) = self.files.last_mut() else {
                return Err(Error::new("no file is being read"));
            };
            match file.next()? {
                (Token::End, _) if included => self.files.pop(),
                token => return Ok(token),
            };
        }
    }

    /// Up to its `}`, or to the end of the file.
    fn section(&mut self, section: &mut Section, schema: &Schema, depth: usize) -> Result<()> {
        loop {
            let (name, place) = match self.next()? {
                (Token::Word(name), place) => (name, place),
                (Token::Close, _) if depth > 0 => return Ok(()),
                (Token::End, _) if depth == 0 => return Ok(()),
                (Token::End, _) => {
                    return Err(section
                        .title_place()
                        .error(format!("the section `{}` does not end", section.name), "it starts here")
                        .hint("close it with `}`"));
                }
                (token, place) => return Err(unexpected(&token, &place, "an option")),
            };
            match schema.shape(&name) {
                Some(Shape::Text) => self.value(section, name, false)?,
                Some(Shape::List) => self.value(section, name, true)?,
                Some(Shape::Section(inner)) => {
                    self.expect(&Token::Open, "`{`")?;
                    self.subsection(section, &name, None, place, inner, depth)?;
                }
                Some(Shape::Titled(inner)) => {
                    let title = self.title(&name)?;
                    self.expect(&Token::Open, "`{`")?;
                    self.subsection(section, &name, Some(title), place, inner, depth)?;
                }
                Some(Shape::Include) => self.include(&place)?,
                None if schema.open => self.anything(section, name, place, schema, depth)?,
                None => return Err(unknown(section, &name, &place, schema)),
            }
        }
    }

    fn subsection(
        &mut self,
        section: &mut Section,
        name: &str,
        title: Option<Word>,
        place: Place,
        schema: &Schema,
        depth: usize,
    ) -> Result<()> {
        if depth >= DEPTH {
            return Err(place
                .error("sections are nested too deeply", "this one")
                .hint("genimage's own go three deep: is a `}` missing?"));
        }
        let mut inner = Section::new(name, title, place);
        self.section(&mut inner, schema, depth + 1)?;
        let same = |old: &Section| {
            old.name == name && old.title.is_some() && old.title.as_deref() == inner.title.as_deref()
        };
        match section.sections.iter().position(same) {
            Some(index) => section.sections[index] = inner,
            None if section.sections.len() < SECTIONS => section.sections.push(inner),
            None => {
                return Err(inner.place.error(format!("there are more than {SECTIONS} sections"), "here"));
            }
        }
        Ok(())
    }

    fn title(&mut self, name: &str) -> Result<Word> {
        match self.next()? {
            (Token::Word(value), place) => Ok(At { value, place }),
            (_, place) => Err(place
                .error(format!("the section `{name}` has no title"), "it belongs here")
                .hint(format!("name it: `{name} NAME {{ ... }}`"))),
        }
    }

    fn expect(&mut self, wanted: &Token, what: &str) -> Result<()> {
        match self.next()? {
            (token, _) if token == *wanted => Ok(()),
            (token, place) => Err(unexpected(&token, &place, what)),
        }
    }

    /// `= word`, `= { ... }` or `+= { ... }`.
    fn value(&mut self, section: &mut Section, name: String, list: bool) -> Result<()> {
        let append = match self.next()? {
            (Token::Equals, _) => false,
            (Token::Append, _) if list => true,
            (Token::Append, place) => {
                return Err(place
                    .error(format!("`{name}` is not a list"), "nothing can be added to it")
                    .hint("write `=`"));
            }
            (token, place) => return Err(unexpected(&token, &place, "`=`")),
        };
        let words = match self.next()? {
            (Token::Word(value), place) => vec![At { value, place }],
            (Token::Open, _) if list => self.list()?,
            (token, place) => return Err(unexpected(&token, &place, "a value")),
        };
        let values = section.values.entry(name).or_default();
        if !append {
            values.clear();
        }
        values.extend(words);
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            match self.next()? {
                (Token::Close, _) => return Ok(words),
                (Token::Word(value), place) => words.push(At { value, place }),
                (token, place) => return Err(unexpected(&token, &place, "a value or `}`")),
            }
            match self.next()? {
                (Token::Close, _) => return Ok(words),
                (Token::Comma, _) => {}
                (token, place) => return Err(unexpected(&token, &place, "`,` or `}`")),
            }
        }
    }

    /// What may stand in an open section after a name.
    fn anything(
        &mut self,
        section: &mut Section,
        name: String,
        place: Place,
        schema: &Schema,
        depth: usize,
    ) -> Result<()> {
        match self.next()? {
            (Token::Equals | Token::Append, _) => {
                let words = match self.next()? {
                    (Token::Word(value), place) => vec![At { value, place }],
                    (Token::Open, _) => self.list()?,
                    (token, place) => return Err(unexpected(&token, &place, "a value")),
                };
                section.values.insert(name, words);
                Ok(())
            }
            (Token::Open, _) => self.subsection(section, &name, None, place, schema, depth),
            (Token::Word(value), title_place) => {
                self.expect(&Token::Open, "`{`")?;
                let title = At { value, place: title_place };
                self.subsection(section, &name, Some(title), place, schema, depth)
            }
            (token, place) => Err(unexpected(&token, &place, "`=` or `{`")),
        }
    }

    /// `("file")`: what follows is read from there.
    fn include(&mut self, place: &Place) -> Result<()> {
        self.expect(&Token::ParenOpen, "`(`")?;
        let file = match self.next()? {
            (Token::Word(value), place) => At { value, place },
            (token, place) => return Err(unexpected(&token, &place, "the name of a file")),
        };
        self.expect(&Token::ParenClose, "`)`")?;
        if self.files.len() > INCLUDES {
            return Err(place
                .error("files include each other too deeply", "included here")
                .hint("does a file include itself?"));
        }
        let Some((shown, text)) = (self.load)(&file.value).map_err(|error| file.place.wrap(error))? else {
            return Err(file
                .place
                .error(format!("`{}` is not there", file.value.escape_debug()), "included here")
                .hint("files are looked up beside the configuration, then in the working directory"));
        };
        self.total += text.len();
        if self.total > TOTAL {
            return Err(place.error("the included files hold more than 16 MiB", "included here"));
        }
        self.files.push(Lexer::new(Text::new(shown, text), self.environment));
        Ok(())
    }
}

fn unexpected(token: &Token, place: &Place, wanted: &str) -> Error {
    let found = match token {
        Token::Word(_) => "a word",
        Token::Open => "`{`",
        Token::Close => "`}`",
        Token::ParenOpen => "`(`",
        Token::ParenClose => "`)`",
        Token::Equals => "`=`",
        Token::Append => "`+=`",
        Token::Comma => "`,`",
        Token::End => "the end of the file",
    };
    place.error(format!("{wanted} is expected, not {found}"), "here")
}

fn unknown(section: &Section, name: &str, place: &Place, schema: &Schema) -> Error {
    let here = match section.name.as_str() {
        "" => "at the top of the file".to_string(),
        kind => format!("in `{kind}`"),
    };
    let error = place.error(format!("genimage has no option `{}` {here}", name.escape_debug()), "here");
    let known = schema.options.iter().map(|(known, _)| *known);
    match nearest(name, known.clone()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!(
            "it knows {}",
            known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Reads what a configuration includes: beside it, then from the working directory.
pub fn load_beside(dir: &Path, name: &str) -> Result<Option<(String, String)>> {
    for path in [dir.join(name), Path::new(name).to_owned()] {
        if path.is_file() {
            let bytes = crate::fsx::read_small(&path)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Some((path.display().to_string(), text)));
        }
    }
    Ok(None)
}
