//! What a window says: counts, and percentiles through one HdrHistogram, worked out when somebody asks.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{buckets::middle, history::Visitor};

/// A window of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The last 60 s, from the samples themselves; the last 256 probes where there were more.
    Minute,
    /// The running minute and the five before it.
    FiveMinutes,
    /// The running five minutes and the twelve times five before them.
    Hour,
}

impl Span {
    /// Every window, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::FiveMinutes, Self::Hour];

    /// The word for it in labels and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }
}

/// Figures of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Probes answered in time.
    pub answered: u64,
    /// Probes lost.
    pub lost: u64,
    /// Median RTT.
    pub p50: Option<Duration>,
    /// 90th percentile.
    pub p90: Option<Duration>,
    /// 99th percentile.
    pub p99: Option<Duration>,
    /// Longest RTT, exact.
    pub max: Option<Duration>,
}

impl Figures {
    /// Probes that were answered or given up. One that proves nothing, or could not be sent, is none of them.
    pub fn probes(&self) -> u64 {
        self.answered + self.lost
    }

    /// Lost of [`Figures::probes`], 0–1.
    pub fn loss_ratio(&self) -> Option<f64> {
        (self.probes() > 0).then(|| self.lost as f64 / self.probes() as f64)
    }
}

/// Works percentiles out: two histograms for all addresses in turn.
#[derive(Debug)]
pub struct Quantiles {
    /// Three digits, for samples as they were: off by 0.05 % at most.
    fine: Histogram<u32>,
    /// Two digits, for the middles of buckets: 0.4 %, after the 0.8 % of the buckets.
    coarse: Histogram<u32>,
}

impl Default for Quantiles {
    fn default() -> Self {
        // 1 ns to 60 s; these bounds are valid, so this can't fail.
        let histogram = |digits| Histogram::new_with_bounds(1, 60_000_000_000, digits).expect("valid bounds");
        Self { fine: histogram(3), coarse: histogram(2) }
    }
}

impl Quantiles {
    /// Figures of samples: RTTs, none for a lost one.
    pub(super) fn of_samples(&mut self, samples: impl Iterator<Item = Option<Duration>>) -> Figures {
        self.fine.reset();
        let (mut lost, mut max_ns) = (0, 0);
        for sample in samples {
            match sample {
                Some(rtt) => {
                    let ns = rtt.as_nanos() as u64;
                    max_ns = max_ns.max(ns);
                    self.fine.saturating_record(ns);
                }
                None => lost += 1,
            }
        }
        read(&self.fine, self.fine.len(), lost, max_ns)
    }

    /// Figures of what `visit` shows.
    pub(super) fn of_slots(&mut self, visit: impl FnOnce(&mut Gathering<'_>)) -> Figures {
        self.coarse.reset();
        let mut gathering = Gathering { histogram: &mut self.coarse, answered: 0, lost: 0, max_ns: 0 };
        visit(&mut gathering);
        let Gathering { answered, lost, max_ns, .. } = gathering;
        read(&self.coarse, answered, lost, max_ns)
    }
}

/// One slot by itself. Its buckets come in their order, so ranks are counted off without a histogram: of the tens of slots that
/// a drawing of an hour has, that is a tenth of the work.
#[derive(Debug, Default)]
pub(super) struct OneSlot {
    entries: Vec<(u16, u64)>,
    answered: u64,
    lost: u64,
    max_ns: u64,
}

impl OneSlot {
    /// The figures of what `visit` shows, a slot.
    pub(super) fn figures(&mut self, visit: impl FnOnce(&mut Self)) -> Figures {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = Self { entries, ..Self::default() };
        visit(self);
        Figures {
            answered: self.answered,
            lost: self.lost,
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            max: (self.answered > 0).then(|| Duration::from_nanos(self.max_ns)),
        }
    }

    fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (q * self.answered as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.entries.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(bucket, _)| Duration::from_nanos(middle(*bucket).min(self.max_ns)))
    }
}

impl Visitor for OneSlot {
    fn slot(&mut self, lost: u64, max_ns: u64) {
        self.lost += lost;
        self.max_ns = self.max_ns.max(max_ns);
    }

    fn bucket(&mut self, bucket: u16, count: u64) {
        self.answered += count;
        self.entries.push((bucket, count));
    }
}

/// Slots on their way into one histogram.
pub(super) struct Gathering<'a> {
    histogram: &'a mut Histogram<u32>,
    answered: u64,
    lost: u64,
    max_ns: u64,
}

impl Visitor for Gathering<'_> {
    fn slot(&mut self, lost: u64, max_ns: u64) {
        self.lost += lost;
        self.max_ns = self.max_ns.max(max_ns);
    }

    fn bucket(&mut self, bucket: u16, count: u64) {
        self.answered += count;
        self.histogram.saturating_record_n(middle(bucket), u32::try_from(count).unwrap_or(u32::MAX));
    }
}

fn read(histogram: &Histogram<u32>, answered: u64, lost: u64, max_ns: u64) -> Figures {
    let quantile = |q| {
        let ns = histogram.median_equivalent(histogram.value_at_quantile(q));
        // The middle of the highest bucket may lie above every sample.
        (answered > 0).then(|| Duration::from_nanos(ns.min(max_ns)))
    };
    Figures {
        answered,
        lost,
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        max: (answered > 0).then(|| Duration::from_nanos(max_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks_with_a_bounded_error() {
        let mut q = Quantiles::default();
        let none = q.of_samples([None, None].into_iter());
        assert_eq!(none, Figures { lost: 2, ..Figures::default() });
        assert_eq!(none.loss_ratio(), Some(1.0));
        let f = q.of_samples((1..=100).map(|ms| Some(Duration::from_millis(ms))));
        let [p50, p90, p99, max] = [f.p50, f.p90, f.p99, f.max].map(|d| d.unwrap().as_secs_f64() * 1e3);
        assert!(
            (p50 - 50.0).abs() < 0.05 && (p90 - 90.0).abs() < 0.1 && (p99 - 99.0).abs() < 0.1,
            "{p50} {p90} {p99}"
        );
        assert_eq!((max, f.probes(), f.loss_ratio()), (100.0, 100, Some(0.0)));
        let one = q.of_samples(std::iter::once(Some(Duration::from_nanos(61_500))));
        assert!((one.p50.unwrap().as_nanos() as i64 - 61_500).abs() < 70);
    }
}
