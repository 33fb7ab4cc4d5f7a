//! What the probes of one host add up to.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::observation::{FailureReason, ProbeOutcome, StampSource};

/// A minute; longer round trips are counted as one.
const LONGEST: u64 = 60_000_000_000;

/// The sums of one host's probes.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) inconclusive: u64,
    pub(super) send_errors: u64,
    late: u64,
    duplicates: u64,
    reordered: u64,
    stamps: [u64; 3],
    rtt: Histogram<u32>,
    longest: Duration,
    shortest: Duration,
    jitter: Jitter,
    bursts: Bursts,
}

impl Summary {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            received: 0,
            lost: 0,
            inconclusive: 0,
            send_errors: 0,
            late: 0,
            duplicates: 0,
            reordered: 0,
            stamps: [0; 3],
            rtt: histogram(),
            longest: Duration::ZERO,
            shortest: Duration::MAX,
            jitter: Jitter::default(),
            bursts: Bursts::default(),
        }
    }

    /// Counts a step of the probe with this number.
    pub(super) fn take(&mut self, seq: u64, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Sent => self.sent += 1,
            ProbeOutcome::Reply { rtt, stamp, reordered, .. } => {
                self.received += 1;
                self.reordered += u64::from(*reordered);
                self.stamps[*stamp as usize] += 1;
                // It grows to the longest, so nothing is refused.
                let _ = self.rtt.record((rtt.as_nanos() as u64).min(LONGEST));
                self.longest = self.longest.max(*rtt);
                self.shortest = self.shortest.min(*rtt);
                self.jitter.take(*rtt);
                self.bursts.take(seq, Some(false));
            }
            ProbeOutcome::Failed { reason: FailureReason::SendError, .. } => {
                self.send_errors += 1;
                self.bursts.take(seq, None);
            }
            ProbeOutcome::Failed { .. } => {
                self.lost += 1;
                self.bursts.take(seq, Some(true));
            }
            ProbeOutcome::Inconclusive { .. } => {
                self.inconclusive += 1;
                self.bursts.take(seq, None);
            }
            ProbeOutcome::Late { .. } => self.late += 1,
            ProbeOutcome::Duplicate => self.duplicates += 1,
            ProbeOutcome::Corrupted => {}
        }
    }

    /// Probes of which it is known what became of them.
    pub(super) fn settled(&self) -> u64 {
        self.received + self.lost + self.inconclusive + self.send_errors
    }

    /// The share lost of those that proved something, 0 to 1.
    fn loss(&self) -> f64 {
        match self.received + self.lost {
            0 => 0.0,
            known => self.lost as f64 / known as f64,
        }
    }

    /// Minimum, median, 90th, 99th percentile, maximum; `None` without a reply.
    fn quantiles(&self) -> Option<[Duration; 5]> {
        (self.received > 0).then(|| {
            // A bucket's value may lie beyond what was seen.
            let at =
                |q| Duration::from_nanos(self.rtt.value_at_quantile(q)).clamp(self.shortest, self.longest);
            [self.shortest, at(0.5), at(0.9), at(0.99), self.longest]
        })
    }

    /// A few lines for a person.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} sent, {} received, {} lost ({:.1} %){}",
            self.sent,
            self.received,
            self.lost,
            self.loss() * 100.0,
            self.oddities()
        )];
        if let Some(quantiles) = self.quantiles() {
            let [min, p50, p90, p99, max] = quantiles.map(millis);
            let jitter = millis(self.jitter.value());
            lines.push(format!(
                "rtt min/p50/p90/p99/max {min}/{p50}/{p90}/{p99}/{max} ms, jitter {jitter} ms"
            ));
            let stamps: Vec<String> = StampSource::ALL
                .iter()
                .zip(self.stamps)
                .filter(|(_, n)| *n > 0)
                .map(|(source, n)| format!("{} {n}", source.as_str()))
                .collect();
            lines.push(format!("stamps: {}", stamps.join(", ")));
        }
        if self.lost > 0 {
            let (count, longest) = self.bursts.counts();
            lines.push(format!("loss in {count} {}, the longest {longest}", plural(count, "burst")));
        }
        lines
    }

    fn oddities(&self) -> String {
        [
            (self.late, "late"),
            (self.duplicates, "duplicate"),
            (self.reordered, "reordered"),
            (self.inconclusive, "inconclusive"),
            (self.send_errors, "not sent"),
        ]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!(", {n} {what}"))
        .collect()
    }

    /// The same for a program.
    pub(super) fn json(&self) -> Value {
        let (count, longest) = self.bursts.counts();
        let rtt = self.quantiles().map(|quantiles| {
            let [min, p50, p90, p99, max] = quantiles.map(|d| d.as_nanos() as u64);
            json!({"min_ns": min, "p50_ns": p50, "p90_ns": p90, "p99_ns": p99, "max_ns": max})
        });
        let stamps: serde_json::Map<String, Value> = StampSource::ALL
            .iter()
            .zip(self.stamps)
            .map(|(source, n)| (source.as_str().to_owned(), n.into()))
            .collect();
        json!({
            "sent": self.sent, "received": self.received, "lost": self.lost, "loss_ratio": self.loss(),
            "late": self.late, "duplicates": self.duplicates, "reordered": self.reordered,
            "inconclusive": self.inconclusive, "send_errors": self.send_errors,
            "rtt": rtt, "jitter_ns": self.jitter.value().as_nanos() as u64,
            "loss_bursts": {"count": count, "longest": longest},
            "timestamps": stamps,
        })
    }
}

/// Microseconds to a minute, three digits. It starts at 8 KB, for what a near host needs, and grows with what comes.
fn histogram() -> Histogram<u32> {
    let mut histogram = Histogram::new_with_bounds(1_000, 2_000, 3).expect("constants within what it allows");
    histogram.auto(true);
    histogram
}

/// Milliseconds with three decimals, as ping prints them.
pub(super) fn millis(d: Duration) -> String {
    format!("{:.3}", d.as_secs_f64() * 1e3)
}

fn plural(n: u64, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Interarrival jitter (RFC 3550, section 6.4.1), of round trips: J += (|D| − J) / 16.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<Duration>,
    nanos: f64,
}

impl Jitter {
    fn take(&mut self, rtt: Duration) {
        if let Some(last) = self.last.replace(rtt) {
            self.nanos += (rtt.abs_diff(last).as_nanos() as f64 - self.nanos) / 16.0;
        }
    }

    fn value(&self) -> Duration {
        Duration::from_nanos(self.nanos as u64)
    }
}

/// Runs of probes lost in a row. Outcomes come in any order: a time-out is known after later probes' replies.
#[derive(Debug, Default)]
struct Bursts {
    seen: u64,
    waiting: BTreeMap<u64, Option<bool>>,
    run: u64,
    count: u64,
    longest: u64,
}

impl Bursts {
    /// `lost`: `None` proves nothing, and neither ends nor lengthens a run.
    fn take(&mut self, seq: u64, lost: Option<bool>) {
        self.waiting.insert(seq, lost);
        while let Some(lost) = self.waiting.remove(&(self.seen + 1)) {
            self.seen += 1;
            match lost {
                Some(true) => {
                    self.run += 1;
                    self.count += u64::from(self.run == 1);
                    self.longest = self.longest.max(self.run);
                }
                Some(false) => self.run = 0,
                None => {}
            }
        }
    }

    /// How many there were, and how long the longest was.
    fn counts(&self) -> (u64, u64) {
        (self.count, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(ms: u64) -> ProbeOutcome {
        ProbeOutcome::Reply {
            rtt: Duration::from_millis(ms),
            stamp: StampSource::Kernel,
            ttl: Some(64),
            reordered: false,
        }
    }

    fn failed(reason: FailureReason) -> ProbeOutcome {
        ProbeOutcome::Failed { reason, reporter: None }
    }

    fn of(outcomes: &[ProbeOutcome]) -> Summary {
        let mut summary = Summary::new();
        for (i, outcome) in outcomes.iter().enumerate() {
            summary.take(i as u64 + 1, &ProbeOutcome::Sent);
            summary.take(i as u64 + 1, outcome);
        }
        summary
    }

    #[test]
    fn loss_is_of_what_proved_something() {
        let timeout = failed(FailureReason::Timeout);
        let inconclusive = ProbeOutcome::Inconclusive { lag: Duration::from_secs(1) };
        let summary = of(&[reply(1), timeout, inconclusive, failed(FailureReason::SendError)]);
        assert_eq!(summary.loss(), 0.5);
        assert_eq!(summary.settled(), 4);
        assert!(summary.lines()[0].ends_with("1 lost (50.0 %), 1 inconclusive, 1 not sent"));
    }

    #[test]
    fn nothing_received_has_no_round_trip() {
        let summary = of(&[failed(FailureReason::Timeout)]);
        assert_eq!(summary.quantiles(), None);
        assert_eq!(summary.json()["rtt"], Value::Null);
        assert_eq!(summary.json().get("rtt_ns"), None);
    }

    #[test]
    fn percentiles_stay_within_what_was_seen() {
        let summary = of(&(1..=100).map(reply).collect::<Vec<_>>());
        let [min, p50, p90, p99, max] = summary.quantiles().unwrap().map(|d| d.as_secs_f64() * 1e3);
        assert_eq!((min, max), (1.0, 100.0));
        for (value, expected) in [(p50, 50.0), (p90, 90.0), (p99, 99.0)] {
            assert!((value - expected).abs() < 0.1, "{value} for {expected}");
        }
    }

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
        }
        let mut bursts = Bursts::default();
        for (seq, lost) in [(1, Some(true)), (2, None), (3, Some(true))] {
            bursts.take(seq, lost);
        }
        assert_eq!(bursts.counts(), (1, 2));
    }
}
