//! What is wrong with a configuration, and where.

use std::{
    borrow::Cow,
    fmt,
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
};

use super::veil::{is_secretive, unquoted, veiled};
use crate::observation::disguises;

/// Longest file, bytes: a hundred thousand targets take a tenth of it.
pub(super) const MAX_FILE: u64 = 64 << 20;
/// Most characters of a line that are shown …
const SHOWN: usize = 160;
/// … and of them before the fault, where it is further back.
const BEFORE: usize = 60;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {}: {error}; {}", path.display(), remedy(error))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no configuration, or one without end.
    #[error("{} has more than {} MiB; a configuration has less", path.display(), MAX_FILE >> 20)]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(Box<Located>),
}

impl ConfigError {
    /// The same without the excerpt of the file: one line, for a log.
    pub fn one_line(&self) -> String {
        match self {
            Self::Invalid(located) => located.one_line(),
            error => error.to_string(),
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "name the file that is there, or leave it out for the defaults",
        ErrorKind::IsADirectory => "name the file in it",
        ErrorKind::PermissionDenied => {
            "make it and its directories readable for this user, or ask as one who may read it"
        }
        _ => "name another, or make it readable",
    }
}

/// A fault with its place in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Located {
    path: PathBuf,
    line: usize,
    column: usize,
    source: String,
    /// Where the caret stands under the source, and how wide it is, in characters.
    caret: usize,
    width: usize,
    message: String,
    hint: Option<String>,
}

impl Located {
    fn one_line(&self) -> String {
        let Self { path, line, column, message, hint, .. } = self;
        let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}:{line}:{column}: {}{hint}", path.display(), message.replace('\n', " "))
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path.display(), self.line, self.column, self.message)?;
        let margin = self.line.to_string().len();
        write!(f, "\n{:margin$} |\n{} | {}\n{:margin$} | ", "", self.line, self.source, "")?;
        write!(f, "{:pad$}{}", "", "^".repeat(self.width), pad = self.caret)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n{:margin$} = {hint}", "")?;
        }
        Ok(())
    }
}

/// A fault with its place in bytes, before the file is looked at again for line and column.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What stands at another place, with the words for it.
    pub(super) other: Option<(Range<usize>, &'static str)>,
}

impl Fault {
    /// A fault at `span`.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), hint: None, other: None }
    }

    /// A fault that needs no place, or of which none is known.
    pub(super) fn of(span: Option<Range<usize>>, message: String, hint: impl Into<String>) -> Self {
        Self { span, message, hint: Some(hint.into()), other: None }
    }

    /// With the line of something else, `words` before its number.
    pub(super) fn see(mut self, other: Range<usize>, words: &'static str) -> Self {
        self.other = Some((other, words));
        self
    }

    /// With a word on how to mend it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With line, column and the line itself, in which values that may be secrets are made out.
    pub(super) fn locate(self, text: &str, path: &Path) -> ConfigError {
        let span = self.span.unwrap_or(0..0);
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = floor_char(text, span.end).clamp(start, line_end);
        let line_of = |at| text[..at].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end].trim_end().chars().count().max(1);
        let source = text[line_start..line_end].trim_end();
        let secretive = is_secretive(text, line_start);
        let source = if secretive { Cow::Owned(veiled(source)) } else { Cow::Borrowed(source) };
        let (source, caret) = excerpt(&source, column - 1);
        let width = width.min(source.chars().count().saturating_sub(caret)).max(1);
        let quotes = secretive && self.message.starts_with("invalid ");
        let message = if quotes { unquoted(&self.message) } else { self.message };
        let message = match self.other {
            Some((other, words)) => {
                format!("{message}; {words} line {}", line_of(floor_char(text, other.start)))
            }
            None => message,
        };
        let (line, message) = (line_of(start), printable(&message));
        let hint = self.hint.as_deref().map(printable);
        ConfigError::Invalid(Box::new(Located {
            path: path.to_owned(),
            line,
            column,
            source,
            caret,
            width,
            message,
            hint,
        }))
    }
}

/// Words of a file among ours: without what commands a terminal.
fn printable(text: &str) -> String {
    let plain = |c: char| c == '\n' || !(c.is_control() || disguises(c));
    text.chars().map(|c| if plain(c) { c } else { '\u{fffd}' }).collect()
}

/// The part of a line around its character number `at`, as a terminal may be given it: characters that command one, or take
/// another place than theirs, are blanks. And where that character stands in it.
fn excerpt(line: &str, at: usize) -> (String, usize) {
    let plain = |c: char| if c.is_control() || disguises(c) { ' ' } else { c };
    let length = line.chars().count();
    if length <= SHOWN {
        return (line.chars().map(plain).collect(), at);
    }
    let start = at.saturating_sub(BEFORE);
    let mut shown: String = line.chars().skip(start).take(SHOWN).map(plain).collect();
    if start + SHOWN < length {
        shown.push('…');
    }
    if start == 0 {
        return (shown, at);
    }
    (format!("…{shown}"), at - start + 1)
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl From<toml::de::Error> for Fault {
    fn from(e: toml::de::Error) -> Self {
        let message = e.message().to_owned();
        let hint = nearest_key(&message).or_else(|| other_type(&message).map(str::to_owned));
        // The list of all keys buries the message when the nearest one is known.
        let is_unknown = message.starts_with("unknown ");
        let message = match &hint {
            Some(_) if is_unknown => {
                message.split(", expected").next().unwrap_or_default().replacen("field", "key", 1)
            }
            _ => message.replacen("missing field", "missing key", 1),
        };
        Self { span: e.span(), message: in_words(message), hint, other: None }
    }
}

/// serde's names of types as those who write a file know them.
fn in_words(message: String) -> String {
    let Some((before, expected)) = message.rsplit_once("expected ") else { return message };
    let words = match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number",
        "f64" => "a number",
        table if table.starts_with("struct ") => "a table",
        _ => return message,
    };
    format!("{before}expected {words}")
        .replace("invalid type: map", "invalid type: table")
        .replace("invalid type: sequence", "invalid type: list")
}

/// What to write in place of a value of another type.
fn other_type(message: &str) -> Option<&'static str> {
    let (found, expected) = message.strip_prefix("invalid type: ")?.split_once(", expected ")?;
    match (found, expected) {
        // `[target]` for `[[target]]`, or `[[agent]]` for `[agent]`, whose first key then is a table.
        ("map", "a sequence") => {
            Some("a table of which there may be several, as [[target]], has two brackets, every other one")
        }
        (_, "a sequence") => Some("write a list in brackets: [\"…\", \"…\"]"),
        (_, "a boolean") => Some("write true or false, without quotes"),
        (_, "u8" | "u16" | "u32" | "u64" | "usize") => Some("write a whole number, without quotes"),
        (_, "f64") => Some("write a number, without quotes"),
        (_, "a string") => Some("write it in quotes"),
        (_, table) if table.starts_with("struct ") || table == "a map" => {
            Some("write a table, once and with one bracket: [agent], and its keys below it")
        }
        _ => None,
    }
}

/// From serde's "unknown field `x`, expected one of `a`, `b`": the known key that is meant, or all of them.
fn nearest_key(message: &str) -> Option<String> {
    let rest =
        message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let mut quoted = rest.split('`').step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).filter(|k| !k.is_empty()).collect();
    if let Some(best) = nearest(unknown, &known) {
        Some(format!("did you mean `{best}`?"))
    } else {
        Some(format!("known here: {}", known.join(", ")))
    }
}

/// The known word that is meant, if one is near enough.
pub(super) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |word: &str| strsim::jaro_winkler(unknown, word);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then_some(best)
}
