//! One structured line for each attempt, and for what happens between them.

use std::time::Duration;

use serde_json::{Value, json};

/// How the lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// `key=value`, as log collectors take it.
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// A line in the making: its keys in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// One of this kind, about this job. `level` is `info` or `warn`.
    pub(super) fn new(at: &str, level: &str, message: &str, job: &str) -> Self {
        Self {
            fields: vec![
                ("at", json!(at)),
                ("level", json!(level)),
                ("msg", json!(message)),
                ("job", json!(job)),
            ],
        }
    }

    /// With one more field.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((key, value.into()));
        self
    }

    /// With one more field, where it has a value.
    pub(super) fn maybe(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The text.
    pub(super) fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                // A map of serde_json sorts its keys, unless it is told otherwise for the whole program.
                let all: Vec<String> =
                    self.fields.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
                format!("{{{}}}", all.join(","))
            }
            Format::Logfmt => {
                let all: Vec<String> =
                    self.fields.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
                all.join(" ")
            }
        }
    }
}

/// Bare where it is one word; else in quotes, as JSON has it, so that no line feed and no control character gets out.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
            if !text.is_empty() && text.chars().all(bare) { text.clone() } else { value.to_string() }
        }
        value => value.to_string(),
    }
}

/// Seconds, to the millisecond.
pub(super) fn seconds(d: Duration) -> Value {
    json!((d.as_secs_f64() * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let line = Line::new("2026-01-01T00:00:00Z", "warn", "attempt", "my \"job\"\u{1b}")
            .with("attempt", 2)
            .with("duration", seconds(Duration::from_micros(1_234_567)))
            .with("refunded", true)
            .maybe("signal", None::<i32>)
            .maybe("next", Some("network"));
        assert_eq!(
            line.render(Format::Logfmt),
            "at=2026-01-01T00:00:00Z level=warn msg=attempt job=\"my \\\"job\\\"\\u001b\" attempt=2 duration=1.235 \
             refunded=true next=network"
        );
        let object: Value = serde_json::from_str(&line.render(Format::Json)).unwrap();
        assert_eq!((&object["attempt"], &object["refunded"]), (&json!(2), &json!(true)));
        assert_eq!((&object["job"], &object["duration"]), (&json!("my \"job\"\u{1b}"), &json!(1.235)));
        assert!(
            line.render(Format::Json).starts_with("{\"at\":\"2026-01-01T00:00:00Z\",\"level\":\"warn\",")
        );
    }
}
