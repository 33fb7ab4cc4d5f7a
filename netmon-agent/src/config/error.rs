//! What is wrong with a configuration, and where.

use std::{fmt, ops::Range, path::Path, path::PathBuf};

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {}: {error}; name another with --config, or make it readable", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(Located),
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

/// A fault with its place in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Located {
    path: PathBuf,
    line: usize,
    column: usize,
    source: String,
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
        write!(f, "{:pad$}{}", "", "^".repeat(self.width), pad = self.column - 1)?;
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
}

impl Fault {
    /// A fault at `span`.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), hint: None }
    }

    /// With a word on how to mend it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With line, column and the line itself.
    pub(super) fn locate(self, text: &str, path: &Path) -> ConfigError {
        let span = self.span.unwrap_or(0..0);
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = floor_char(text, span.end).clamp(start, line_end);
        ConfigError::Invalid(Located {
            path: path.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source: text[line_start..line_end].replace('\t', " "),
            width: text[start..end].chars().count().max(1),
            message: self.message,
            hint: self.hint,
        })
    }
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
        let hint = nearest_key(&message).or_else(|| {
            // `[target]` for `[[target]]`; nothing else here is a list of tables.
            (message == "invalid type: map, expected a sequence")
                .then(|| "one of several is written with two brackets: `[[target]]`".to_owned())
        });
        // The list of all keys buries the message when the nearest one is known.
        let is_unknown = message.starts_with("unknown ");
        let message = match &hint {
            Some(_) if is_unknown => {
                message.split(", expected").next().unwrap_or_default().replacen("field", "key", 1)
            }
            _ => message.replacen("missing field", "missing key", 1),
        };
        Self { span: e.span(), message, hint }
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
