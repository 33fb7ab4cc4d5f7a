//! The programs' counters against the kernel's own totals: what only the totals have.

use crate::observation::{TcpCounters, TcpTotals, TcpUnattributed};

/// A difference is worth a warning from so many events …
const WORTH_TELLING: u64 = 1000;
/// … and from so large a part of what the kernel counted.
const WORTH_TELLING_RATIO: f64 = 0.01;

/// Compares at every reading, and remembers what a single reading can't tell.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    start: Option<TcpTotals>,
    /// What interfaces that were forgotten had counted: it stays in the kernel's totals.
    forgotten: TcpCounters,
    segments: Residue,
    resets: Residue,
    told: bool,
}

impl Ledger {
    /// `totals` are the kernel's at the time the programs start to count.
    pub(super) fn new(totals: Option<TcpTotals>) -> Self {
        Self { start: totals, ..Self::default() }
    }

    /// An interface is gone, and these were its counters.
    pub(super) fn forget(&mut self, counters: &TcpCounters) {
        self.forgotten.add(counters);
    }

    /// `totals` must have been read before the counters: so an event in between makes a difference smaller, never
    /// larger.
    pub(super) fn compare<'a>(
        &mut self,
        totals: Option<TcpTotals>,
        devices: impl Iterator<Item = &'a TcpCounters>,
    ) -> TcpUnattributed {
        let (Some(start), Some(now)) = (self.start, totals) else { return TcpUnattributed::default() };
        let mut counted = self.forgotten;
        devices.for_each(|counters| counted.add(counters));
        let growth = |of: fn(&TcpTotals) -> u64| of(&now).saturating_sub(of(&start));
        let segments = counted.retransmitted_segments.iter().sum();
        TcpUnattributed {
            retransmitted_segments: self.segments.settle(growth(|t| t.retransmitted_segments), segments),
            resets_sent: self.resets.settle(growth(|t| t.resets_sent), counted.resets_sent),
            active_opens: growth(|t| t.active_opens).saturating_sub(counted.active_opens),
            passive_opens: growth(|t| t.passive_opens).saturating_sub(counted.passive_opens),
            failed_connects: growth(|t| t.failed_connects).saturating_sub(counted.failed_connects),
        }
    }

    /// A sentence for the log, once, when the programs see much less than the kernel counts.
    pub(super) fn warning(
        &mut self,
        totals: Option<TcpTotals>,
        unattributed: &TcpUnattributed,
    ) -> Option<String> {
        let (start, now) = (self.start?, totals?);
        if self.told {
            return None;
        }
        let kernel = now.retransmitted_segments.saturating_sub(start.retransmitted_segments);
        let missing = unattributed.retransmitted_segments;
        self.told = missing >= WORTH_TELLING && missing as f64 > WORTH_TELLING_RATIO * kernel as f64;
        self.told.then(|| {
            format!(
                "the kernel sent {kernel} segments again since the start, and {missing} of them are laid to no \
                 device; netmon_tcp_unattributed tells how it goes on"
            )
        })
    }
}

/// What the kernel's totals have beyond the programs' counters; it only grows.
///
/// The kernel counts a segment some instructions before the program does, so a residue counts only when the next
/// reading still shows it.
#[derive(Debug, Default)]
struct Residue {
    last: u64,
    settled: u64,
}

impl Residue {
    fn settle(&mut self, total: u64, counted: u64) -> u64 {
        let residue = total.saturating_sub(counted);
        self.settled = self.settled.max(residue.min(self.last));
        self.last = residue;
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(retransmitted_segments: u64, resets_sent: u64) -> Option<TcpTotals> {
        Some(TcpTotals { retransmitted_segments, resets_sent, ..TcpTotals::default() })
    }

    #[test]
    fn a_residue_counts_once_it_stays() {
        let mut residue = Residue::default();
        assert_eq!(residue.settle(10, 9), 0);
        assert_eq!(residue.settle(10, 10), 0, "an event caught between the two counters");
        assert_eq!(residue.settle(15, 12), 0);
        assert_eq!(residue.settle(20, 17), 3);
        assert_eq!(residue.settle(20, 25), 3, "never shrinks, never goes negative");
    }

    #[test]
    fn without_counters_all_growth_is_unattributed() {
        let mut ledger = Ledger::new(totals(100, 7));
        for expected in [(0, 0), (5, 1)] {
            let found = ledger.compare(totals(105, 8), std::iter::empty());
            assert_eq!((found.retransmitted_segments, found.resets_sent), expected);
        }
    }

    #[test]
    fn what_a_lost_interface_counted_stays_counted() {
        let mut ledger = Ledger::new(totals(0, 0));
        ledger.forget(&TcpCounters { retransmitted_segments: [4, 0, 0, 0, 0], ..TcpCounters::default() });
        let left = TcpCounters { retransmitted_segments: [0, 6, 0, 0, 0], ..TcpCounters::default() };
        for _ in 0..2 {
            assert_eq!(ledger.compare(totals(10, 0), std::iter::once(&left)), TcpUnattributed::default());
        }
    }

    #[test]
    fn a_large_difference_is_told_once() {
        let mut ledger = Ledger::new(totals(0, 0));
        let small = TcpUnattributed { retransmitted_segments: WORTH_TELLING, ..TcpUnattributed::default() };
        assert_eq!(ledger.warning(totals(1_000_000, 0), &small), None, "0.1 % is the recursion guard's");
        let large = TcpUnattributed { retransmitted_segments: 20_000, ..TcpUnattributed::default() };
        assert!(ledger.warning(totals(1_000_000, 0), &large).is_some_and(|text| text.contains("20000")));
        assert_eq!(ledger.warning(totals(2_000_000, 0), &large), None);
    }
}
