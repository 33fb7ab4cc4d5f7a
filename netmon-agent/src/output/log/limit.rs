use std::{fmt, time::Duration};

use crate::time::Mono;

/// At most one line in this time from one place.
const PERIOD: Duration = Duration::from_secs(60);

/// Keeps one place in the code from flooding the log. The line that comes through tells how many did not.
#[derive(Debug, Default)]
pub struct RateLimit {
    last: Option<Mono>,
    held_back: u64,
}

impl RateLimit {
    /// Warns, at most once a minute.
    pub fn warn(&mut self, line: fmt::Arguments<'_>) {
        match self.allow(Mono::now()) {
            Some(0) => tracing::warn!("{line}"),
            Some(n) => tracing::warn!("{line} ({n} more like it in the last while)"),
            None => {}
        }
    }

    /// Whether a line may come now, and how many were held back before it.
    pub fn allow(&mut self, now: Mono) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < PERIOD) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let mut limit = RateLimit::default();
        let mut at = |s: u64| limit.allow(Mono::from_nanos(s * 1_000_000_000));
        assert_eq!([at(1), at(2), at(60), at(61), at(62)], [Some(0), None, None, Some(2), None]);
    }
}
