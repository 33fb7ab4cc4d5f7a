//! R11: latency of one address against its own past.
//!
//! Degraded while the median of the last [`Settings::latency_recent`] samples lies more than a margin above the base: the
//! greatest of [`Settings::latency_deviations`] (each 1.4826 · the median absolute deviation), the base itself, and
//! [`Settings::latency_floor`].
//! It is left when that median is back under half the margin, not before [`Settings::degraded_dwell`].
//!
//! The base is the median of about an hour, from a histogram whose counts halve every half hour (and only as far as
//! [`Settings::latency_samples`] remain: what is probed rarely has a longer memory). It is frozen while the address is
//! not up, so an outage or a congestion can't become the norm by its mere length; but after an hour above it the hour
//! that it speaks of is gone: a path that changed for good is learnt anew.

use std::time::Duration;

use super::{
    settings::Settings,
    verdict::{Reason, ReasonCode},
};
use crate::time::Mono;

/// Samples of the recent median, by default and at most.
pub const RECENT: usize = 15;

/// How often the counts of the base halve.
const HALVED: Duration = Duration::from_secs(1800);

/// Longest time for which a base is held against what is seen.
const HELD: Duration = Duration::from_secs(3600);

/// Finest distinction, as a power of two of a microsecond: far below the floor of the margin.
const LOWEST: u32 = 8;

/// Steps an octave: buckets of 6 to 12 %.
const STEPS: u32 = 8;

/// 256 µs to 67 s, and all below.
const BUCKETS: usize = 1 + (26 - LOWEST as usize) * STEPS as usize;

/// Latency of one address. 400 bytes, no heap.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Microseconds, in a ring.
    recent: [u32; RECENT],
    next: u8,
    filled: u8,
    /// How many of them count.
    recent_samples: u8,
    /// Samples until the base is worked out anew.
    until_base: u8,
    counts: [u16; BUCKETS],
    total: u32,
    halved: Mono,
    /// Base and margin, microseconds.
    base: Option<(u32, u32)>,
    degraded: Option<Mono>,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            recent: [0; RECENT],
            next: 0,
            filled: 0,
            recent_samples: RECENT as u8,
            until_base: 0,
            counts: [0; BUCKETS],
            total: 0,
            halved: Mono::default(),
            base: None,
            degraded: None,
        }
    }
}

impl Latency {
    /// Whether it is far above its past.
    pub fn is_degraded(&self) -> bool {
        self.degraded.is_some()
    }

    /// A sample was answered. `steady` is false while the address is not up by other rules: then it is no norm.
    pub fn record(&mut self, now: Mono, rtt: Duration, steady: bool, settings: &Settings) {
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.recent_samples = settings.latency_recent.clamp(1, RECENT as u8);
        self.recent[usize::from(self.next)] = micros;
        self.next = (self.next + 1) % RECENT as u8;
        self.filled = (self.filled + 1).min(RECENT as u8);
        self.judge(now, settings);
        if steady && self.degraded.is_none() {
            self.learn(now, micros, settings);
        }
    }

    /// The address was down, or nothing is known any more: what was recent is not.
    pub fn outage(&mut self) {
        self.filled = 0;
    }

    /// Why, with the numbers; while it is degraded.
    pub fn reason(&self, subject: &str, what: &str) -> Option<Reason> {
        self.degraded?;
        let (base, margin) = self.base?;
        let ms = |micros: u32| f64::from(micros) / 1000.0;
        let detail = format!(
            "{what}: median round trip {:.1} ms, usually {:.1} ms; more than {:.1} ms is too much",
            ms(self.median()),
            ms(base),
            ms(base.saturating_add(margin)),
        );
        Some(Reason::new(ReasonCode::Latency, subject, detail))
    }

    /// Of what is recent; meaningful when there are enough samples.
    fn median(&self) -> u32 {
        let (mut newest_first, count) = (self.recent, usize::from(self.recent_samples));
        newest_first.rotate_left(usize::from(self.next));
        newest_first.reverse();
        *newest_first[..count].select_nth_unstable(count / 2).1
    }

    fn judge(&mut self, now: Mono, settings: &Settings) {
        let Some((base, margin)) = self.base.filter(|_| self.filled >= self.recent_samples) else { return };
        let above = self.median().saturating_sub(base);
        match self.degraded {
            None => self.degraded = (above > margin).then_some(now),
            Some(since) if now.since(since) >= HELD => {
                let Self { recent, next, filled, recent_samples, .. } = *self;
                *self = Self { recent, next, filled, recent_samples, ..Self::default() };
            }
            Some(since) if above <= margin / 2 && now.since(since) >= settings.degraded_dwell => {
                self.degraded = None;
            }
            Some(_) => {}
        }
    }

    fn learn(&mut self, now: Mono, micros: u32, settings: &Settings) {
        let enough = settings.latency_samples;
        if self.total == 0 {
            self.halved = now;
        }
        let full = self.counts[bucket(micros)] == u16::MAX;
        if full || now.since(self.halved) >= HALVED && self.total >= enough * 2 {
            self.halved = now;
            self.counts.iter_mut().for_each(|c| *c /= 2);
            self.total = self.counts.iter().map(|c| u32::from(*c)).sum();
        }
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.until_base = self.until_base.saturating_sub(1);
        if self.total >= enough && self.until_base == 0 {
            self.until_base = RECENT as u8;
            let (base, deviation) = self.centre();
            let spread = (settings.latency_deviations * 1.4826 * f64::from(deviation)) as u32;
            let floor = u32::try_from(settings.latency_floor.as_micros()).unwrap_or(u32::MAX);
            self.base = Some((base, spread.max(base).max(floor)));
        }
    }

    /// Median and median absolute deviation, microseconds, as exact as the buckets.
    fn centre(&self) -> (u32, u32) {
        let half = self.total.div_ceil(2);
        let mut below = 0;
        let middle = self.counts.iter().position(|c| {
            below += u32::from(*c);
            below >= half
        });
        let Some(middle) = middle else { return (0, 0) };
        let median = value(middle);
        // Outwards from the median, always to the nearer side, until half of the samples lie within.
        let (mut low, mut high, mut within) = (middle, middle, u32::from(self.counts[middle]));
        let mut deviation = 0;
        while within < half {
            let down = low.checked_sub(1).map(|i| (median.abs_diff(value(i)), i));
            let up = Some(high + 1).filter(|i| *i < BUCKETS).map(|i| (median.abs_diff(value(i)), i));
            let Some((distance, i)) = [down, up].into_iter().flatten().min() else { break };
            (low, high) = (low.min(i), high.max(i));
            within += u32::from(self.counts[i]);
            deviation = distance;
        }
        (median, deviation)
    }
}

fn bucket(micros: u32) -> usize {
    let Some(octave) = micros.checked_ilog2().filter(|o| *o >= LOWEST) else { return 0 };
    let step = (micros >> (octave - STEPS.ilog2())) % STEPS;
    (1 + (octave - LOWEST) * STEPS + step).min(BUCKETS as u32 - 1) as usize
}

/// The middle of a bucket, microseconds.
fn value(bucket: usize) -> u32 {
    let Some(i) = bucket.checked_sub(1) else { return 1 << (LOWEST - 1) };
    let (octave, step) = (i as u32 / STEPS + LOWEST, i as u32 % STEPS);
    let width = 1 << (octave - STEPS.ilog2());
    (1 << octave) + step * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000_000)
    }

    /// One sample every two seconds; how many until the judgement changed.
    fn feed(latency: &mut Latency, t: &mut u64, ms: f64, most: usize) -> usize {
        let was = latency.is_degraded();
        for i in 0..most {
            if latency.is_degraded() != was {
                return i;
            }
            *t += 2;
            latency.record(s(*t), Duration::from_secs_f64(ms / 1e3), true, &Settings::default());
        }
        most
    }

    #[test]
    fn buckets_hold_what_they_say() {
        for micros in (0..2_000_000).step_by(37) {
            let v = value(bucket(micros));
            assert!(v.abs_diff(micros) <= (micros / 14).max(256), "{micros} is read as {v}");
        }
        assert_eq!(bucket(u32::MAX), BUCKETS - 1);
    }

    #[test]
    fn r11_median_and_deviation_are_those_of_the_samples() {
        let mut l = Latency::default();
        // 20 ± 0…10 ms, evenly: the median is 20, the median deviation 5.
        for i in 0..2001u32 {
            l.counts[bucket(10_000 + i * 10)] += 1;
            l.total += 1;
        }
        let (median, deviation) = l.centre();
        assert!(median.abs_diff(20_000) < 1500 && deviation.abs_diff(5000) < 1500, "{median} {deviation}");
    }

    #[test]
    fn r11_a_rise_is_seen_after_eight_samples_and_left_after_the_dwell() {
        let (mut l, mut t) = (Latency::default(), 0);
        feed(&mut l, &mut t, 12.0, 200);
        assert_eq!(feed(&mut l, &mut t, 23.0, 100), 100, "less than twice the base");
        let (mut l, mut t) = (Latency::default(), 0);
        feed(&mut l, &mut t, 12.0, 200);
        assert_eq!(feed(&mut l, &mut t, 60.0, 100), 8, "16 s");
        let since = t;
        assert_eq!(feed(&mut l, &mut t, 20.0, 200), 200, "not yet under half the margin");
        feed(&mut l, &mut t, 13.0, 100);
        assert!(!l.is_degraded() && t - since >= 60);
    }

    #[test]
    fn r11_the_first_hundred_samples_are_no_base() {
        let (mut l, mut t) = (Latency::default(), 0);
        feed(&mut l, &mut t, 1.0, 99);
        assert_eq!(feed(&mut l, &mut t, 500.0, 8), 8);
    }

    #[test]
    fn r11_the_base_is_frozen_and_given_up_after_an_hour() {
        let (mut l, mut t) = (Latency::default(), 0);
        feed(&mut l, &mut t, 10.0, 300);
        feed(&mut l, &mut t, 80.0, 20);
        let base = l.base;
        assert_eq!(feed(&mut l, &mut t, 80.0, 1700), 1700, "frozen for most of an hour");
        assert_eq!(l.base, base);
        assert!(feed(&mut l, &mut t, 80.0, 200) < 200, "a new path is a new norm");
        assert_eq!(feed(&mut l, &mut t, 80.0, 1000), 1000);
    }

    #[test]
    fn r11_a_base_forgets_after_an_hour_or_two() {
        let (mut l, mut t) = (Latency::default(), 0);
        feed(&mut l, &mut t, 5.0, 1800);
        // A slow change, each step small against the margin.
        for _ in 0..3 {
            feed(&mut l, &mut t, 9.0, 1800);
        }
        let (base, _) = l.base.unwrap();
        assert!(base.abs_diff(9000) < 600, "{base}");
        assert!(l.total < 3700, "{}", l.total);
    }
}
