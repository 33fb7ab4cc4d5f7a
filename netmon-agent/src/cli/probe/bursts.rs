//! Losses in a row, and how much round trips differ from one to the next.

use std::{collections::BTreeMap, time::Duration};

/// Interarrival jitter (RFC 3550, section 6.4.1), of round trips: J += (|D| − J) / 16.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    last: Option<Duration>,
    nanos: f64,
}

impl Jitter {
    pub(super) fn take(&mut self, rtt: Duration) {
        if let Some(last) = self.last.replace(rtt) {
            self.nanos += (rtt.abs_diff(last).as_nanos() as f64 - self.nanos) / 16.0;
        }
    }

    pub(super) fn value(&self) -> Duration {
        Duration::from_nanos(self.nanos as u64)
    }
}

/// Runs of probes lost in a row. Outcomes come in any order: a time-out is known after later probes' replies.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    seen: u64,
    waiting: BTreeMap<u64, Option<bool>>,
    run: u64,
    /// How many runs there were of each length; the one that may go on is not among them.
    ended: BTreeMap<u64, u64>,
}

impl Bursts {
    /// `lost`: `None` proves nothing, and neither ends nor lengthens a run.
    pub(super) fn take(&mut self, seq: u64, lost: Option<bool>) {
        self.waiting.insert(seq, lost);
        while let Some(lost) = self.waiting.remove(&(self.seen + 1)) {
            self.seen += 1;
            match lost {
                Some(true) => self.run += 1,
                Some(false) if self.run > 0 => {
                    *self.ended.entry(std::mem::take(&mut self.run)).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    /// How many runs there were of each length.
    pub(super) fn lengths(&self) -> BTreeMap<u64, u64> {
        let mut lengths = self.ended.clone();
        if self.run > 0 {
            *lengths.entry(self.run).or_default() += 1;
        }
        lengths
    }

    /// How many there were, and how long the longest was.
    pub(super) fn counts(&self) -> (u64, u64) {
        let longest = self.ended.last_key_value().map_or(0, |(length, _)| *length);
        (self.ended.values().sum::<u64>() + u64::from(self.run > 0), longest.max(self.run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut jitter = Jitter::default();
        for ms in [10, 26, 26] {
            jitter.take(Duration::from_millis(ms));
        }
        // 16/16 = 1 ms, then 1 - 1/16.
        assert_eq!(jitter.value(), Duration::from_micros(937) + Duration::from_nanos(500));
    }

    #[test]
    fn bursts_are_found_in_whatever_order_outcomes_come() {
        let lost = [false, true, true, false, true, true, true, false, true];
        for reversed in [false, true] {
            let mut bursts = Bursts::default();
            let mut order: Vec<u64> = (1..=lost.len() as u64).collect();
            if reversed {
                order.reverse();
            }
            for seq in order {
                bursts.take(seq, Some(lost[seq as usize - 1]));
            }
            assert_eq!(bursts.counts(), (3, 3));
            assert_eq!(bursts.lengths(), [(1, 1), (2, 1), (3, 1)].into());
        }
        let mut bursts = Bursts::default();
        for (seq, lost) in [(1, Some(true)), (2, None), (3, Some(true))] {
            bursts.take(seq, lost);
        }
        assert_eq!(bursts.counts(), (1, 2));
    }
}
