//! Times as people write them.

use std::time::Duration;

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::time::Wall;

/// Reads a point in time: so long before `now` (`24h`, `7d`), RFC 3339, or a date with or without a time in `zone`.
///
/// # Errors
/// It is none of these; in words for a person.
pub fn when(text: &str, now: Wall, zone: &TimeZone) -> Result<Wall, String> {
    let before = |d: Duration| now.as_nanos().saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    let at = |t: Timestamp| u64::try_from(t.as_nanosecond()).ok();
    let civil = |t: civil::DateTime| at(t.to_zoned(zone.clone()).ok()?.timestamp());
    let text = text.trim();
    let found = if text == "now" {
        Some(now.as_nanos())
    } else if let Ok(d) = humantime::parse_duration(text) {
        Some(before(d))
    } else if let Ok(t) = text.parse::<Timestamp>() {
        at(t)
    } else if let Ok(t) = text.parse::<civil::DateTime>() {
        civil(t)
    } else {
        None
    };
    found.map(Wall::from_nanos).ok_or_else(|| {
        format!(
            "{text:?} is no time; it reads like 24h (so long ago), 2026-01-31, 2026-01-31T13:00 or \
             2026-01-31T12:00:00Z"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = Wall::from_nanos(1_700_000_000_000_000_000);
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let read = |text: &str| when(text, now, &zone).map(|t| t.as_nanos() / 1_000_000_000);
        assert_eq!(read("1h"), Ok(1_700_000_000 - 3600));
        assert_eq!(read("now"), Ok(1_700_000_000));
        assert_eq!(read("2023-11-14T22:13:20Z"), Ok(1_700_000_000));
        assert_eq!(read("2023-11-14T22:13:20+01:00"), Ok(1_700_000_000 - 3600));
        assert_eq!(read("2023-11-15T00:13:20"), Ok(1_700_000_000));
        assert_eq!(read("2023-11-15"), Ok(1_700_000_000 - 800));
        assert_eq!(read("300y").unwrap(), 0, "before 1970 nothing was seen");
        assert!(read("yesterday").unwrap_err().contains("24h"));
        assert!(read("1969-12-31T00:00:00Z").is_err());
    }
}
