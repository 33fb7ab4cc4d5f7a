//! What the keys do, and what the columns are.

use ratatui::style::Style;

use super::{Line, paint::Theme};

const KEYS: &[(&str, &str)] = &[
    ("up, down, k, j", "one row"),
    ("PgUp, PgDn, space", "a page"),
    ("Home, End, g, G", "the first row, the last"),
    ("Tab, left, right", "another pane, which gets more room"),
    ("Enter", "all about what is selected"),
    ("/", "only rows with all these words; Esc takes it away"),
    ("s, r", "sort by something else; the other way round"),
    ("p", "stand still, and go on"),
    ("^L, ^Z", "draw anew; stop until `fg`"),
    ("q, ^C", "quit"),
];

const COLUMNS: &[(&str, &str)] = &[
    ("+state, -loss", "what a pane is sorted by; -: the other way round"),
    ("FOR", "how long it has been so"),
    ("LINK", "carrier; none: no carrier; off: set down"),
    ("RETX", "TCP segments sent again of those of the last 30 s"),
    ("LOSS", "probes lost in the last minute, of the worst address"),
    ("P50, P99", "round-trip times of the last minute, likewise"),
    ("JITTER", "mean change from one round trip to the next (RFC 3550)"),
    ("ROUND TRIPS", "seen by netmon top, the newest at the right; x: a loss"),
];

/// The text.
pub(super) fn text(theme: &Theme) -> Vec<Line> {
    let part = |word: &str, entries: &[(&str, &str)]| -> Vec<Line> {
        let entry = |(name, what): &(&str, &str)| (format!("  {name:18} {what}"), Style::new());
        let title = (word.to_owned(), theme.title(false));
        std::iter::once(title).chain(entries.iter().map(entry)).collect()
    };
    let mut text = part("Keys", KEYS);
    text.push((String::new(), Style::new()));
    text.extend(part("Columns", COLUMNS));
    text
}
