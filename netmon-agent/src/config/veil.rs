//! What of a configuration an error may show: not the values of tables that may hold secrets. Pure.
//!
//! An excerpt is made of the file as it stands, also of one that can't be parsed, so a table is found by its header's line.

/// First parts of the names of tables whose values are nobody's business: a URL's path may be a secret, and so may what is
/// written into a key that there is not.
const SECRETIVE: [&str; 1] = ["notify"];

/// Whether the line that begins at byte `at` of `text` is of a table that may hold secrets.
pub(super) fn is_secretive(text: &str, at: usize) -> bool {
    let line = text[at..].lines().next().unwrap_or_default();
    let header = header(line).or_else(|| text[..at].lines().rev().find_map(header));
    // Before any header stands what is named whole: notify.webhook = […].
    let name = header.or_else(|| key(line).map(|(name, _)| name));
    let first = name.unwrap_or_default().split('.').next().unwrap_or_default().trim();
    SECRETIVE.contains(&first.trim_matches(['"', '\'']))
}

/// The same line, as wide as before, with its values made out.
pub(super) fn veiled(line: &str) -> String {
    if header(line).is_some() {
        return line.to_owned();
    }
    // A line without a key goes on with the value of another.
    let (shown, hidden) = key(line).map_or(("", line), |(name, _)| line.split_at(name.len()));
    let veil = |c: char| if c.is_whitespace() || "=[]{},\"'#".contains(c) { c } else { '•' };
    shown.chars().chain(hidden.chars().map(veil)).collect()
}

/// A parser's words without the value that they quote: `invalid type: string "…", expected …`.
pub(super) fn unquoted(message: &str) -> String {
    let Some((before, rest)) = message.split_once(" \"") else { return message.to_owned() };
    match rest.rsplit_once('"') {
        Some((_, after)) => format!("{before}{after}"),
        None => before.to_owned(),
    }
}

/// The name in a header's line.
fn header(line: &str) -> Option<&str> {
    let line = line.trim();
    let (rest, end) = match line.strip_prefix("[[") {
        Some(rest) => (rest, "]]"),
        None => (line.strip_prefix('[')?, "]"),
    };
    let name = rest.split_once(end).map_or(rest, |(name, _)| name).trim();
    is_name(name).then_some(name)
}

/// The key that a line begins with, with the blanks before it, and what follows it.
fn key(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    // One without a value may be the end of one that is written in base64.
    let has_value = !value.trim_matches(|c: char| c == '=' || c.is_whitespace()).is_empty();
    (is_name(name.trim()) && has_value).then_some((name, value))
}

fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, word: &str) -> bool {
        let at = text.find(word).unwrap();
        is_secretive(text, text[..at].rfind('\n').map_or(0, |i| i + 1))
    }

    #[test]
    fn a_table_is_known_by_the_header_above() {
        let text = "notify.command = [1]\n[agent]\ninterval = 3\n  [[ notify.webhook ]] # here\n\nurl = \"a\"\n\
                    body = [\n\"two\",\n]\n[[target]]\nhost = \"b\"\n[notify\nlast = 1";
        for word in ["notify.command", "webhook", "url", "two", "last"] {
            assert!(at(text, word), "{word}");
        }
        for word in ["agent", "interval", "target", "host"] {
            assert!(!at(text, word), "{word}");
        }
    }

    #[test]
    fn values_are_made_out_and_places_stay() {
        assert_eq!(veiled("  url = \"https://a/b\" # c"), "  url = \"•••••••••••\" # •");
        assert_eq!(veiled("secret = s3=t"), "secret = ••=•");
        assert_eq!(veiled("go on = 'and' on"), "go on = '•••' ••");
        assert_eq!(veiled("T/x4=="), "••••==");
        assert_eq!(veiled("[[notify.webhook]]"), "[[notify.webhook]]");
    }

    #[test]
    fn a_parser_tells_no_value() {
        let told = "invalid type: string \"curl \"s3cr3t\"\", expected a sequence";
        assert_eq!(unquoted(told), "invalid type: string, expected a sequence");
        assert_eq!(unquoted("missing field `url`"), "missing field `url`");
        assert_eq!(unquoted("invalid value: string \"s3"), "invalid value: string");
    }
}
