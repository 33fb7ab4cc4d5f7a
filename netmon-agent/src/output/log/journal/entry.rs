//! A line as an entry of the journal, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use std::fmt::{Debug, Write};

use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
};
use tracing_log::NormalizeEvent;

/// Who it is from.
const IDENTIFIER: &str = "netmon";
/// What stands before the names of a line's own fields, so that none is taken for one of systemd's.
const PREFIX: &str = "NETMON_";
/// Longest name of a field, bytes: the journal drops an entry with a longer one.
const LONGEST_NAME: usize = 64;

/// The entry of an event.
pub(super) fn entry(event: &Event<'_>) -> Vec<u8> {
    // A record of the `log` crate has its place among its fields.
    let normal = event.normalized_metadata();
    let place: &Metadata<'_> = normal.as_ref().unwrap_or_else(|| event.metadata());
    let mut entry = Vec::with_capacity(512);
    put(&mut entry, "PRIORITY", priority(place.level()));
    put(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
    put(&mut entry, "TARGET", place.target());
    if let Some(file) = place.file() {
        put(&mut entry, "CODE_FILE", file);
    }
    if let Some(line) = place.line() {
        put(&mut entry, "CODE_LINE", &line.to_string());
    }
    event.record(&mut Visitor { entry: &mut entry, text: String::new(), of_log: normal.is_some() });
    entry
}

/// Appends a field. A value of several lines has its length before it.
pub(super) fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// What syslog calls the level (syslog(3)). What is usual is no notice.
pub(super) fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// A field's name as the journal takes it: capital letters, digits and underscores.
fn name(field: &str) -> String {
    if field == "message" {
        return "MESSAGE".to_owned();
    }
    let own =
        field.bytes().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_uppercase().into() } else { '_' });
    let mut name = PREFIX.to_owned();
    name.extend(own.skip_while(|c| *c == '_').take(LONGEST_NAME - PREFIX.len()));
    name
}

struct Visitor<'a> {
    entry: &'a mut Vec<u8>,
    text: String,
    of_log: bool,
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Its place, which has been told.
        if !(self.of_log && field.name().starts_with("log.")) {
            put(self.entry, &name(field.name()), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // Writing to a String can't fail; a value that can't be written is left as far as it was.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
        self.text = text;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Subscriber;
    use tracing_subscriber::{Layer, layer::Context, prelude::*};

    use super::*;

    /// The fields of an entry, by the protocol's own rules.
    pub(in crate::output::log) fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut all = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|b| *b == b'\n').unwrap();
            let line = text(&entry[..end]);
            entry = &entry[end + 1..];
            match line.split_once('=') {
                Some((name, value)) => all.push((name.to_owned(), value.to_owned())),
                None => {
                    let (length, rest) = entry.split_first_chunk().unwrap();
                    let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
                    all.push((line, text(value)));
                    entry = rest.strip_prefix(b"\n").unwrap();
                }
            }
        }
        all
    }

    #[derive(Clone, Default)]
    struct Entries(Arc<Mutex<Vec<Vec<u8>>>>);

    impl<S: Subscriber> Layer<S> for Entries {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(entry(event));
        }
    }

    fn told(log: impl FnOnce()) -> Vec<(String, String)> {
        let entries = Entries::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(entries.clone()), log);
        let all = entries.0.lock().unwrap();
        assert_eq!(all.len(), 1);
        fields(&all[0])
    }

    #[test]
    fn each_field_of_a_line_is_one_of_the_journals() {
        let error = std::io::Error::other("two\nlines");
        let all = told(|| {
            tracing::warn!(subject = "eth0=\n", seq = 7u64, ratio = 0.5, up = true, %error, a.b = ?Some(1), "it\nis {}", "so");
        });
        let get = |name: &str| {
            let mut found = all.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
            let value = found.next().unwrap_or_else(|| panic!("no {name} in {all:?}"));
            assert_eq!(found.next(), None, "{name} twice");
            value
        };
        for (name, value) in [
            ("MESSAGE", "it\nis so"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "netmon"),
            ("TARGET", module_path!()),
            ("CODE_FILE", file!()),
            ("NETMON_SUBJECT", "eth0=\n"),
            ("NETMON_SEQ", "7"),
            ("NETMON_RATIO", "0.5"),
            ("NETMON_UP", "true"),
            ("NETMON_ERROR", "two\nlines"),
            ("NETMON_A_B", "Some(1)"),
        ] {
            assert_eq!(get(name), value);
        }
        assert!(get("CODE_LINE").parse::<u32>().is_ok());
    }

    #[test]
    fn a_value_of_one_line_needs_no_length() {
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", "a=b");
        put(&mut entry, "X", "a\n");
        assert_eq!(entry, b"MESSAGE=a=b\nX\n\x02\0\0\0\0\0\0\0a\n\n");
    }

    #[test]
    fn names_are_such_as_the_journal_takes() {
        for (field, expected) in [
            ("message", "MESSAGE"),
            ("state", "NETMON_STATE"),
            ("_x.y-z", "NETMON_X_Y_Z"),
            ("r#type", "NETMON_R_TYPE"),
            ("é", "NETMON_"),
        ] {
            assert_eq!(name(field), expected);
        }
        assert_eq!(name(&"x".repeat(100)).len(), LONGEST_NAME);
    }

    #[test]
    fn levels_are_syslogs() {
        let of = |level| priority(&level);
        assert_eq!([of(Level::ERROR), of(Level::WARN), of(Level::INFO)], ["3", "4", "6"]);
        assert_eq!([of(Level::DEBUG), of(Level::TRACE)], ["7", "7"]);
    }
}
