//! Durations in their order: exact while they are few, within a per cent or less when they are many.

use std::time::Duration;

use hdrhistogram::Histogram;

/// So many are kept as they are: 2 KB.
const FEW: usize = 256;
/// A minute; longer ones are counted as one.
const LONGEST: u64 = 60_000_000_000;

#[derive(Debug)]
pub(super) struct Quantiles {
    few: Vec<u64>,
    many: Option<Histogram<u32>>,
    digits: u8,
    count: u64,
    shortest: Duration,
    longest: Duration,
}

impl Quantiles {
    /// `digits`: how many are exact once there are many, 1 to 5. Three cost up to 70 KB, two 9 KB.
    pub(super) fn new(digits: u8) -> Self {
        Self {
            few: Vec::new(),
            many: None,
            digits,
            count: 0,
            shortest: Duration::MAX,
            longest: Duration::ZERO,
        }
    }

    pub(super) fn take(&mut self, value: Duration) {
        self.count += 1;
        self.shortest = self.shortest.min(value);
        self.longest = self.longest.max(value);
        let nanos = value.as_nanos() as u64;
        match &mut self.many {
            Some(many) => record(many, nanos),
            None if self.few.len() < FEW => self.few.push(nanos),
            None => {
                let mut many = histogram(self.digits);
                std::mem::take(&mut self.few).into_iter().for_each(|nanos| record(&mut many, nanos));
                record(&mut many, nanos);
                self.many = Some(many);
            }
        }
    }

    /// The shortest such that these shares, ascending or not, are no longer than it; 0 gives the shortest, 1 the longest.
    /// `None` where there is none at all.
    pub(super) fn at<const N: usize>(&self, shares: [f64; N]) -> Option<[Duration; N]> {
        if self.count == 0 {
            return None;
        }
        let mut sorted = self.few.clone();
        sorted.sort_unstable();
        Some(shares.map(|share| match &self.many {
            _ if share <= 0.0 => self.shortest,
            _ if share >= 1.0 => self.longest,
            // A bucket's value may lie beyond what was seen.
            Some(many) => {
                Duration::from_nanos(many.value_at_quantile(share)).clamp(self.shortest, self.longest)
            }
            None => {
                let rank = (share * sorted.len() as f64).ceil() as usize;
                Duration::from_nanos(sorted[rank.clamp(1, sorted.len()) - 1])
            }
        }))
    }
}

/// Microseconds to a minute. It starts small, for what a near host needs, and grows with what comes.
fn histogram(digits: u8) -> Histogram<u32> {
    let mut histogram =
        Histogram::new_with_bounds(1_000, 2_000, digits).expect("constants within what it allows");
    histogram.auto(true);
    histogram
}

fn record(histogram: &mut Histogram<u32>, nanos: u64) {
    // It grows to the longest, so nothing is refused.
    let _ = histogram.record(nanos.min(LONGEST));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl Iterator<Item = u64>, digits: u8) -> Quantiles {
        let mut quantiles = Quantiles::new(digits);
        millis.for_each(|ms| quantiles.take(Duration::from_millis(ms)));
        quantiles
    }

    #[test]
    fn few_are_exact() {
        let found = of((1..=100).rev(), 2).at([0.0, 0.5, 0.9, 0.99, 1.0]).unwrap();
        assert_eq!(found.map(|d| d.as_millis()), [1, 50, 90, 99, 100]);
        assert_eq!(of([7].into_iter(), 3).at([0.5]), Some([Duration::from_millis(7)]));
        assert_eq!(of([].into_iter(), 3).at([0.5]), None);
    }

    #[test]
    fn many_are_as_exact_as_was_asked_for() {
        for (digits, error) in [(3, 0.001), (2, 0.01)] {
            let found = of((1..=10_000).rev(), digits).at([0.0, 0.5, 0.99, 1.0]).unwrap();
            for (found, exact) in found.iter().zip([0.001, 5.0, 9.9, 10.0]) {
                let found = found.as_secs_f64();
                assert!((found - exact).abs() <= exact * error, "{found} for {exact}");
            }
        }
    }

    #[test]
    fn nothing_is_too_long() {
        let found = of((1..=1000).map(|_| 3_600_000), 3).at([0.5, 1.0]).unwrap();
        assert_eq!(found.map(|d| d.as_secs()), [3600, 3600]);
    }
}
