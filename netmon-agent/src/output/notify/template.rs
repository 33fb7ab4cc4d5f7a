//! Texts with fields of a notice in them: arguments of commands, bodies of webhooks. Pure.
//!
//! `{state}` is a field, and every other brace is itself, so that JSON needs nothing doubled. `{{state}}` is the text
//! `{state}`.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{Deserialize, Serialize};

/// What a text may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The state that is told.
    State,
    /// The last one that held before.
    Previous,
    /// `state` (of the network), `device` or `target`.
    Kind,
    /// The device's or target's name; `network`.
    Subject,
    /// Why: `code subject: detail`, joined by `; `.
    Reasons,
    /// Where the fault is, as far as that is known: `place: detail`.
    Location,
    /// The change's number.
    Seq,
    /// When it changed, RFC 3339.
    At,
    /// This machine's name.
    Host,
    /// Notices of the same subject that this one stands for beside itself.
    Collapsed,
    /// This notice's own name, the same each time it is sent.
    Id,
    /// Who tells.
    Notifier,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 12] = [
        Self::State,
        Self::Previous,
        Self::Kind,
        Self::Subject,
        Self::Reasons,
        Self::Location,
        Self::Seq,
        Self::At,
        Self::Host,
        Self::Collapsed,
        Self::Id,
        Self::Notifier,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Previous => "previous",
            Self::Kind => "kind",
            Self::Subject => "subject",
            Self::Reasons => "reasons",
            Self::Location => "location",
            Self::Seq => "seq",
            Self::At => "at",
            Self::Host => "host",
            Self::Collapsed => "collapsed",
            Self::Id => "id",
            Self::Notifier => "notifier",
        }
    }
}

/// The values of all fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words([String; Field::ALL.len()]);

impl Words {
    /// Each field's value.
    pub fn new(value: impl FnMut(Field) -> String) -> Self {
        Self(Field::ALL.map(value))
    }

    /// A field's value.
    pub fn get(&self, field: Field) -> &str {
        &self.0[field as usize]
    }
}

/// A text with fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A field that there is none of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Where it stands in the text, with its braces.
    pub place: Range<usize>,
    /// What it is called.
    pub name: String,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no such field: {{{}}}", self.name)
    }
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// The first field that is unknown.
    pub fn parse(text: &str) -> Result<Self, UnknownField> {
        let mut parts = Vec::new();
        let (mut plain, mut at) = (String::new(), 0);
        while at < text.len() {
            let rest = &text[at..];
            if let Some(name) = rest.strip_prefix('{').and_then(name) {
                let length = name.len() + 2;
                let Some(field) = Field::ALL.into_iter().find(|f| f.as_str() == name) else {
                    return Err(UnknownField { place: at..at + length, name: name.to_owned() });
                };
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Field(field));
                at += length;
                continue;
            }
            let doubled =
                rest.strip_prefix("{{").and_then(name).filter(|name| rest[name.len() + 3..].starts_with('}'));
            if let Some(name) = doubled {
                plain.push_str(&rest[1..name.len() + 3]);
                at += name.len() + 4;
                continue;
            }
            let next = rest.chars().next().map_or(1, char::len_utf8);
            plain.push_str(&rest[..next]);
            at += next;
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { written: text.to_owned(), parts })
    }

    /// The text as it was written.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The text with these values in it.
    pub fn render(&self, words: &Words) -> String {
        self.render_with(words, Cow::Borrowed)
    }

    /// The same as a part of a JSON text: values are escaped as within a string (RFC 8259, section 7).
    pub fn render_json(&self, words: &Words) -> String {
        self.render_with(words, |word| {
            let quoted = serde_json::Value::from(word).to_string();
            Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
        })
    }

    fn render_with<'a>(&self, words: &'a Words, escape: impl Fn(&'a str) -> Cow<'a, str>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => out.push_str(&escape(words.get(*field))),
            }
        }
        out
    }
}

/// The name at the start of `rest` that a brace closes.
fn name(rest: &str) -> Option<&str> {
    let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_'))?;
    (end > 0 && rest[end..].starts_with('}')).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> Words {
        Words::new(|f| format!("<{}>", f.as_str()))
    }

    fn rendered(text: &str) -> String {
        Template::parse(text).unwrap().render(&words())
    }

    #[test]
    fn fields_are_filled_in_and_other_braces_stay() {
        for (text, expected) in [
            ("{subject} is {state}", "<subject> is <state>"),
            ("", ""),
            ("{", "{"),
            ("{}", "{}"),
            ("{state", "{state"),
            ("{State}", "{State}"),
            ("{ state }", "{ state }"),
            ("{{state}}", "{state}"),
            ("{{{state}}}", "{{state}}"),
            (r#"{"a":{"b":"{at}"}}"#, r#"{"a":{"b":"<at>"}}"#),
            ("ü{host}ü", "ü<host>ü"),
        ] {
            assert_eq!(rendered(text), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let error = Template::parse("ü {stat} {state}").unwrap_err();
        assert_eq!((error.name.as_str(), error.place), ("stat", 3..9));
    }

    #[test]
    fn each_field_has_a_word_of_its_own() {
        for (i, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, i);
            assert_eq!(rendered(&format!("{{{}}}", field.as_str())), format!("<{}>", field.as_str()));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_value_is_the_json_stays_what_it_was(value: String) {
            let words = Words::new(|_| value.clone());
            let template = Template::parse(r#"{"text": "{subject} is {state}", "n": 1}"#).unwrap();
            let json: serde_json::Value = serde_json::from_str(&template.render_json(&words)).unwrap();
            prop_assert_eq!(&json["text"], &format!("{value} is {value}"));
            prop_assert_eq!(json.as_object().unwrap().len(), 2);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Template::parse(&text).map(|t| t.render(&Words::default()));
        }

        #[test]
        fn a_text_without_braces_is_itself(text in "[^{}]*") {
            prop_assert_eq!(Template::parse(&text).unwrap().render(&Words::default()), text);
        }
    }
}
