//! R10: how much TCP has to send again, by device.
//!
//! A window of [`Settings::retransmit_window`] over the kernel's counters. What is sent again for a time-out or by fast
//! retransmit counts; tail-loss probes and SYNs are no sign of a bad link. Losses come in clusters, so only every fourth
//! segment counts as independent ([`Settings::retransmit_cluster`]); one connection weighs [`Settings::retransmit_flow_share`] of what was
//! sent again at most, and some remote prefixes must be concerned: one slow peer says nothing of this link.
//!
//! The device is degraded when the ratio is surely above the threshold, and no longer when it is surely below. Between
//! the two, and where too little is sent to tell, it stays as it is, but not for ever: when it has not been found
//! degraded anew for [`Settings::retransmit_memory`], it is not.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    Health, LinkKnowledge,
    settings::Settings,
    verdict::{Reason, ReasonCode},
    wilson,
};
use crate::{
    observation::{RetransmitKind, TcpCounters, TcpReading, TcpSpread},
    time::{Moment, Mono},
};

/// How often the counters should be read. They may be read more often, and a scrape does; the rule takes those
/// readings that have what was sent and what was sent again as of one time.
pub const READ_INTERVAL: Duration = Duration::from_secs(5);

/// Readings kept at most.
const KEPT: u32 = 16;

/// One reading of one device.
#[derive(Clone, Debug)]
struct Point {
    at: Mono,
    sent: u64,
    again: u64,
    spread: Option<Arc<TcpSpread>>,
}

/// What the counters grew by within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Growth {
    sent: u64,
    again: u64,
    /// What was sent again, no connection with more than its share.
    weighed: f64,
    prefixes: usize,
    over: Duration,
}

/// The window of one device.
#[derive(Clone, Debug, Default)]
pub struct Retransmits {
    points: VecDeque<Point>,
    growth: Growth,
    degraded: Option<Mono>,
    found: Mono,
}

/// Whether any growth of the counters makes a device degraded under these settings.
pub fn can_enter(settings: &Settings) -> bool {
    let n = f64::from(settings.retransmit_segments) / settings.retransmit_cluster;
    wilson::interval(n, n, settings.confidence).0 > settings.retransmit_ratio
}

impl Retransmits {
    /// Whether too much is sent again.
    pub fn is_degraded(&self) -> bool {
        self.degraded.is_some()
    }

    /// Segments sent again of those sent in the window, 0–1; none where too few were sent, or long ago.
    pub fn ratio(&self, now: Mono, settings: &Settings) -> Option<f64> {
        let last = self.points.back()?;
        let enough = self.growth.sent >= u64::from(settings.retransmit_segments);
        (enough && now.since(last.at) <= settings.retransmit_window * 2)
            .then(|| self.growth.again as f64 / self.growth.sent as f64)
    }

    /// When it stops being degraded if nothing more is heard.
    pub fn until(&self, settings: &Settings) -> Option<Mono> {
        let since = self.degraded?;
        Some((self.found + settings.retransmit_memory).max(since + settings.degraded_dwell))
    }

    /// Time passed.
    pub fn expire(&mut self, now: Mono, settings: &Settings) {
        if self.until(settings).is_some_and(|until| now >= until) {
            self.degraded = None;
        }
    }

    /// The counters were read. A counter that fell is another device's under the same index: the window starts anew.
    pub fn read(
        &mut self,
        at: Mono,
        counters: &TcpCounters,
        spread: Option<Arc<TcpSpread>>,
        settings: &Settings,
    ) {
        let kinds = [RetransmitKind::Rto, RetransmitKind::Fast];
        let again = kinds.iter().map(|k| counters.retransmitted_segments[*k as usize]).sum();
        let point = Point { at, sent: counters.segments_sent, again, spread };
        let window = settings.retransmit_window;
        if self.points.back().is_some_and(|last| at <= last.at) {
            return;
        }
        if self.points.back().is_some_and(|last| at.since(last.at) > window * 2) {
            self.points.clear();
        }
        // The last but one stays only when it is far enough from the one before it.
        let n = self.points.len();
        if n >= 2 && self.points[n - 1].at.since(self.points[n - 2].at) < window / (KEPT - 2) {
            self.points.pop_back();
        }
        while self.points.get(1).is_some_and(|p| at.since(p.at) >= window) {
            self.points.pop_front();
        }
        let growth = self.points.front().map(|first| grown(first, &point, settings));
        match growth {
            Some(Some(growth)) => self.growth = growth,
            Some(None) => {
                self.points.clear();
                self.growth = Growth::default();
            }
            None => self.growth = Growth::default(),
        }
        self.points.push_back(point);
        self.judge(at, settings);
    }

    fn judge(&mut self, now: Mono, settings: &Settings) {
        let enough = self.growth.sent >= u64::from(settings.retransmit_segments);
        let (lower, upper) = self.bounds(settings);
        let spread = self.growth.prefixes >= usize::from(settings.retransmit_prefixes);
        if enough && spread && lower > settings.retransmit_ratio {
            self.found = now;
            self.degraded.get_or_insert(now);
        } else if let Some(since) = self.degraded
            && enough
            && upper < settings.retransmit_ratio
            && now.since(since) >= settings.degraded_dwell
        {
            self.degraded = None;
        }
        self.expire(now, settings);
    }

    /// With losses in clusters of 8, the bounds of segments as they are would err in 3.8 % of windows.
    fn bounds(&self, settings: &Settings) -> (f64, f64) {
        let cluster = settings.retransmit_cluster;
        wilson::interval(
            self.growth.weighed / cluster,
            self.growth.sent as f64 / cluster,
            settings.confidence,
        )
    }

    /// Why, with the numbers; while it is degraded.
    pub fn reason(&self, device: &str, settings: &Settings) -> Option<Reason> {
        self.degraded?;
        let g = &self.growth;
        let (lower, upper) = self.bounds(settings);
        let detail = format!(
            "{device}: {} of {} TCP segments sent again in {} s, towards {} remote prefixes (surely more than {:.1} %, \
             less than {:.1} %)",
            g.again,
            g.sent,
            g.over.as_secs(),
            g.prefixes,
            lower * 100.0,
            upper * 100.0,
        );
        Some(Reason::new(ReasonCode::Retransmits, device, detail))
    }
}

/// Growth from one reading to another; none when a counter fell.
fn grown(from: &Point, to: &Point, settings: &Settings) -> Option<Growth> {
    let none = TcpSpread::default();
    let (before, after) = (from.spread.as_deref().unwrap_or(&none), to.spread.as_deref().unwrap_or(&none));
    let fell = |(a, b): (&u32, &u32)| b < a;
    if before.flows.iter().zip(&after.flows).any(fell)
        || before.prefixes.iter().zip(&after.prefixes).any(fell)
    {
        return None;
    }
    let flows = || before.flows.iter().zip(&after.flows).map(|(a, b)| f64::from(b - a));
    let most = flows().sum::<f64>() * settings.retransmit_flow_share;
    let sent = to.sent.checked_sub(from.sent)?;
    let again = to.again.checked_sub(from.again)?;
    Some(Growth {
        sent,
        again,
        weighed: flows().map(|g| g.min(most)).sum::<f64>().min(again as f64).min(sent as f64),
        prefixes: before.prefixes.iter().zip(&after.prefixes).filter(|(a, b)| b > a).count(),
        over: to.at.since(from.at),
    })
}

impl Health {
    /// The kernel's TCP counters were read. Those that are not of one time prove nothing: what was sent again is then
    /// held against too little that was sent.
    pub(super) fn tcp_read(&mut self, now: Moment, at: Mono, reading: Box<TcpReading>) {
        let nothing = TcpCounters::default();
        let mut concerned = Vec::new();
        let devices = self.devices.iter_mut().filter(|_| reading.sent_is_current);
        for (index, device) in devices {
            let was = device.retransmits.is_degraded();
            let counters = reading.devices.get(index).unwrap_or(&nothing);
            device.retransmits.read(at, counters, reading.spread.get(index).cloned(), &self.settings);
            // While it is degraded, each reading changes the numbers in the reason.
            if was || device.retransmits.is_degraded() {
                concerned.push(*index);
            }
        }
        self.tcp = Some(Arc::from(reading));
        self.dirty = true;
        if self.links == LinkKnowledge::Known {
            concerned.into_iter().for_each(|index| self.judge_device(now, index));
        }
    }

    /// R10's figure of one device, 0–1: segments sent again of those sent in the last half minute. None when too few
    /// were sent to tell.
    pub fn retransmit_ratio(&self, device: &super::Device, now: Mono) -> Option<f64> {
        device.retransmits.ratio(now, &self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000_000)
    }

    /// A device's counters as they grow.
    #[derive(Default)]
    struct Source {
        counters: TcpCounters,
        spread: TcpSpread,
    }

    impl Source {
        /// `sent` more segments, `again` of which were sent again, spread over so many flows and prefixes.
        fn grow(&mut self, sent: u64, again: u64, flows: usize, prefixes: usize) {
            self.counters.segments_sent += sent;
            self.counters.retransmitted_segments[RetransmitKind::Fast as usize] += again;
            for i in 0..again as usize {
                self.spread.flows[i % flows] += 1;
                self.spread.prefixes[i % prefixes] += 1;
            }
        }

        fn read(&self, r: &mut Retransmits, t: u64) {
            r.read(s(t), &self.counters, Some(Arc::new(self.spread.clone())), &Settings::default());
        }

        /// Reads every five seconds for `seconds`.
        fn run(
            &mut self,
            r: &mut Retransmits,
            t: &mut u64,
            seconds: u64,
            per_read: (u64, u64, usize, usize),
        ) {
            for _ in 0..seconds / 5 {
                *t += 5;
                self.grow(per_read.0, per_read.1, per_read.2, per_read.3);
                self.read(r, *t);
            }
        }
    }

    #[test]
    fn r10_many_retransmits_degrade_and_few_end_it() {
        let (mut source, mut r, mut t) = (Source::default(), Retransmits::default(), 100);
        source.run(&mut r, &mut t, 60, (500, 2, 10, 5));
        assert!(!r.is_degraded());
        source.run(&mut r, &mut t, 30, (500, 25, 10, 5));
        assert!(r.is_degraded(), "{r:?}");
        let ratio = r.ratio(s(t), &Settings::default()).unwrap();
        assert!((ratio - 0.05).abs() < 0.001, "{ratio}");
        source.run(&mut r, &mut t, 20, (500, 0, 1, 1));
        assert!(r.is_degraded(), "the dwell");
        source.run(&mut r, &mut t, 60, (500, 0, 1, 1));
        assert!(!r.is_degraded());
    }

    #[test]
    fn r10_one_flow_or_two_prefixes_or_other_kinds_degrade_nothing() {
        for (flows, prefixes) in [(1, 1), (10, 2)] {
            let (mut source, mut r, mut t) = (Source::default(), Retransmits::default(), 100);
            source.run(&mut r, &mut t, 300, (500, 25, flows, prefixes));
            assert!(!r.is_degraded(), "{flows} flows, {prefixes} prefixes");
        }
        let (mut source, mut r, mut t) = (Source::default(), Retransmits::default(), 100);
        for _ in 0..60 {
            source.counters.retransmitted_segments[RetransmitKind::Tlp as usize] += 50;
            source.counters.retransmitted_segments[RetransmitKind::Syn as usize] += 50;
            source.run(&mut r, &mut t, 5, (500, 0, 1, 1));
        }
        assert!(!r.is_degraded());
    }

    #[test]
    fn r10_a_heavy_flow_weighs_a_fifth() {
        let mut source = Source::default();
        source.grow(1, 0, 1, 1);
        let from = Point { at: s(0), sent: 0, again: 0, spread: None };
        source.spread.flows[0] = 96;
        source.spread.flows[1..5].fill(1);
        let to = Point { at: s(30), sent: 1000, again: 100, spread: Some(Arc::new(source.spread)) };
        let growth = grown(&from, &to, &Settings::default()).unwrap();
        assert_eq!((growth.again, growth.weighed), (100, 24.0));
    }

    #[test]
    fn r10_too_few_segments_prove_nothing_and_keep_the_state_for_a_while() {
        let (mut source, mut r, mut t) = (Source::default(), Retransmits::default(), 100);
        source.run(&mut r, &mut t, 300, (60, 30, 10, 5));
        assert_eq!((r.is_degraded(), r.ratio(s(t), &Settings::default())), (false, None));
        source.run(&mut r, &mut t, 30, (500, 50, 10, 5));
        assert!(r.is_degraded());
        source.run(&mut r, &mut t, 280, (5, 0, 1, 1));
        assert!(r.is_degraded());
        source.run(&mut r, &mut t, 60, (5, 0, 1, 1));
        assert!(!r.is_degraded(), "not for ever");
    }

    #[test]
    fn r10_without_readings_it_ends_as_well() {
        let (mut source, mut r, mut t) = (Source::default(), Retransmits::default(), 100);
        source.run(&mut r, &mut t, 60, (500, 50, 10, 5));
        let until = r.until(&Settings::default()).unwrap();
        assert_eq!(until, s(t + 300));
        r.expire(until, &Settings::default());
        assert!(!r.is_degraded());
    }

    #[test]
    fn r10_an_index_that_is_used_again_starts_anew() {
        let (mut source, mut r, mut t) = (Source::default(), Retransmits::default(), 100);
        source.run(&mut r, &mut t, 60, (500, 0, 1, 1));
        let (mut other, before) = (Source::default(), r.points.len());
        other.run(&mut r, &mut t, 5, (450, 440, 10, 5));
        assert_eq!((r.is_degraded(), r.points.len()), (false, 1), "{before} points before");
    }

    #[test]
    fn r10_readings_may_come_at_any_pace() {
        for gap in [1, 2, 3, 7, 15, 29, 31, 59] {
            let (mut source, mut r) = (Source::default(), Retransmits::default());
            for i in 1..=400 / gap {
                source.grow(200 * gap, 10 * gap, 10, 5);
                source.read(&mut r, 100 + i * gap);
                assert!(r.points.len() <= KEPT as usize + 1, "{} points", r.points.len());
            }
            assert!(r.is_degraded(), "every {gap} s");
            assert!((25..=59).contains(&r.growth.over.as_secs()), "every {gap} s: {:?}", r.growth.over);
        }
    }
}
