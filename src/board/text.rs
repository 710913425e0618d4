//! TOML in, typed values out; every value remembers where it was written.
//!
//! [`At`] is a value with its [`Place`]. Errors show the excerpt, point below it, and name the
//! nearest valid word.

use std::cell::RefCell;
use std::ops::{Deref, Range};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::data::DataFile;
use crate::error::{Error, Result, nearest};

/// A file's text and the name to show for it.
#[derive(Debug)]
pub struct Text {
    shown: String,
    text: String,
}

impl Text {
    /// `shown` is what errors call the file.
    pub fn new(shown: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Text { shown: shown.into(), text: text.into() })
    }

    /// What errors call the file.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The bytes `span` of it, which start and end between characters.
    pub fn place(self: &Arc<Self>, span: Range<usize>) -> Place {
        Place { text: Arc::clone(self), span }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

thread_local! {
    /// The file being parsed: serde has no other way to hand it to [`At`].
    static CURRENT: RefCell<Option<Arc<Text>>> = const { RefCell::new(None) };
}

/// Where something was written.
#[derive(Debug, Clone)]
pub struct Place {
    text: Arc<Text>,
    span: Range<usize>,
}

impl Place {
    /// Line number, from 1.
    pub fn line(&self) -> usize {
        let end = self.span.start.min(self.text.text.len());
        self.text.text[..end].matches('\n').count() + 1
    }

    /// Column in characters, from 1.
    fn column(&self) -> usize {
        let before = &self.text.text[..self.span.start.min(self.text.text.len())];
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }

    /// `boards/rpi4.toml:14:9`, for one-line messages.
    pub fn origin(&self) -> String {
        format!("{}:{}", self.origin_line(), self.column())
    }

    /// `configs/x_defconfig:14`, for files whose lines say one thing each.
    pub fn origin_line(&self) -> String {
        format!("{}:{}", self.text.shown, self.line())
    }

    /// A usage error with an excerpt that points here.
    pub fn error(&self, message: impl Into<String>, label: &str) -> Error {
        Error::usage(message).snippet(excerpt(&self.text, self.span.clone(), label))
    }
}

impl Place {
    /// Adds an excerpt that points here to another part's error, as a usage error.
    pub fn wrap(&self, error: Error) -> Error {
        error.into_usage().snippet(excerpt(&self.text, self.span.clone(), "here"))
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let text = CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| Text::new("", ""));
        let place = text.place(spanned.span());
        Ok(At { value: spanned.into_inner(), place })
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// Parses a profile.
pub fn parse<T: DeserializeOwned>(file: &DataFile) -> Result<T> {
    parse_text(&file.shown, "profile", file.text()?)
}

/// Parses the text of a TOML file of any kind, `what`.
pub fn parse_text<T: DeserializeOwned>(shown: &str, what: &str, text: &str) -> Result<T> {
    let text = Text::new(shown, text);
    let before = CURRENT.replace(Some(Arc::clone(&text)));
    let parsed = toml::from_str(&text.text);
    CURRENT.set(before);
    parsed.map_err(|error| explain(&text, what, &error))
}

/// serde's words, with an excerpt and the nearest valid name.
fn explain(text: &Text, what: &str, error: &toml::de::Error) -> Error {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().trim().replace('\n', ", ");
    let out = Error::usage(format!("`{}` is not a valid {what}", text.shown)).caused_by(&message);
    let out = out.snippet(excerpt(text, span, "here"));
    match hint(&message) {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

/// "unknown field `fragmnets`, expected one of `a`, `b`" → the nearest of them.
fn hint(message: &str) -> Option<String> {
    let (what, expected) = message.split_once(", expected ")?;
    let typed = what.split('`').nth(1)?;
    let words: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    if let Some(name) = nearest(typed, words.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    (!words.is_empty() && what.starts_with("unknown")).then(|| {
        format!("valid here: {}", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
    })
}

fn excerpt(text: &Text, span: Range<usize>, label: &str) -> String {
    let start = span.start.min(text.text.len());
    // A span may cover a whole table; its first line says enough.
    let line_end = text.text[start..].find('\n').map_or(text.text.len(), |n| start + n);
    let span = start..span.end.clamp(start, line_end.max(start));
    let snippet = Snippet::source(text.text.as_str())
        .path(text.shown.as_str())
        .annotation(AnnotationKind::Primary.span(span).label(label));
    let report = [Level::ERROR.primary_title("").element(snippet)];
    let rendered = Renderer::plain().render(&report);
    // The title line is ours to print.
    rendered.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        name: At<String>,
        size: Option<crate::units::ByteSize>,
    }

    fn file(text: &str) -> DataFile {
        let bytes = Cow::Owned(text.as_bytes().to_vec());
        DataFile { shown: "boards/x.toml".into(), name: "boards/x.toml".into(), mode: 0o644, bytes }
    }

    fn sample(text: &str) -> Result<Sample> {
        parse(&file(text))
    }

    #[test]
    fn an_unknown_key_is_shown_with_the_nearest() {
        let error = sample("name = 'a'\nsixe = 3\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "`boards/x.toml` is not a valid profile\n  \
             caused by: unknown field `sixe`, expected `name` or `size`\n \
             --> boards/x.toml:2:1\n  |\n2 | sixe = 3\n  | ^^^^ here\n\nhint: did you mean `size`?"
        );
    }

    #[test]
    fn a_value_knows_its_place() {
        let ascii = sample("\n\nname = 'a'\n").unwrap();
        assert_eq!(ascii.name.place.origin(), "boards/x.toml:3:8");
        assert_eq!(ascii.name.place.origin_line(), "boards/x.toml:3");
        // As the excerpt counts: in characters.
        let inline = parse::<BTreeMap<String, Sample>>(&file("\"ä\" = { name = 'a' }\n")).unwrap();
        assert_eq!(inline["ä"].name.place.origin(), "boards/x.toml:1:16");
    }
}
