//! Round trips as bars, a character each.

use std::{env, time::Duration};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_BARS: [char; 8] = ['_', '.', ',', '-', '~', '+', '*', '#'];

/// The bar of a round trip among others, of which `low` is the shortest and `high` the longest.
pub(super) fn bar(rtt: Duration, low: Duration, high: Duration, unicode: bool) -> char {
    let bars = if unicode { BARS } else { ASCII_BARS };
    bars[level(rtt, low, high)]
}

/// What stands for a lost probe.
pub(super) fn lost(unicode: bool) -> char {
    if unicode { '×' } else { 'x' }
}

/// Where a round trip lies between the shortest and the longest, 0 to 7. What differs by less than the half of the
/// shortest, or than 50 µs, is made no mountain of.
fn level(rtt: Duration, low: Duration, high: Duration) -> usize {
    let span = high.saturating_sub(low).max(low / 2).max(Duration::from_micros(50));
    let part = rtt.saturating_sub(low).as_secs_f64() / span.as_secs_f64();
    ((part * 7.0).round() as usize).min(7)
}

/// Whether the locale shows Unicode.
pub(super) fn has_unicode() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| is_utf8(&value))
}

/// Whether a locale of this name shows Unicode.
fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_differences_are_no_mountains() {
        let ms = Duration::from_millis;
        assert_eq!(level(ms(101), ms(100), ms(101)), 0);
        assert_eq!(level(ms(150), ms(100), ms(150)), 7);
        assert_eq!(level(ms(0), ms(0), ms(0)), 0);
        assert_eq!(level(ms(500), ms(1), ms(2)), 7);
    }

    #[test]
    fn a_locale_tells_what_it_shows() {
        assert!(is_utf8("de_DE.UTF-8") && is_utf8("C.utf8"));
        assert!(!is_utf8("C") && !is_utf8("en_US.ISO-8859-1"));
    }
}
