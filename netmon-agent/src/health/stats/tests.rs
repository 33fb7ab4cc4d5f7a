use std::sync::Arc;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::observation::StampSource;

fn reply(ms: u64) -> ProbeOutcome {
    let rtt = Duration::from_millis(ms);
    ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: None, reordered: false }
}

fn lost() -> ProbeOutcome {
    ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None }
}

fn s(t: u64) -> Mono {
    Mono::from_nanos(t * 1_000_000_000)
}

#[test]
fn loss_is_of_the_last_minute() {
    let mut stats = AddressStats::default();
    for t in 0..100 {
        stats.record(s(t), &if t < 50 { lost() } else { reply(1) });
    }
    assert_eq!(stats.loss(s(100)), (10, 60));
    assert_eq!(stats.loss(s(1000)), (0, 0));
    assert_eq!(stats.counters.failures[FailureReason::Timeout as usize], 50);
    assert_eq!((stats.counters.burst_buckets[6], stats.counters.burst_sum), (1, 50));
}

#[test]
fn a_failed_local_send_is_no_loss() {
    let mut stats = AddressStats::default();
    stats.record(s(1), &ProbeOutcome::Failed { reason: FailureReason::SendError, reporter: None });
    assert_eq!(stats.loss(s(1)), (0, 0));
}

#[test]
fn jitter_is_that_of_rfc_3550() {
    let mut stats = AddressStats::default();
    for (t, ms) in [(1, 10), (2, 26), (3, 10)] {
        stats.record(s(t), &reply(ms));
    }
    // J1 = 16/16 = 1 ms; J2 = 1 + (16 − 1)/16 = 1.9375 ms.
    assert_eq!(stats.jitter(), Some(Duration::from_nanos(1_937_500)));
}

#[test]
fn buckets_take_their_upper_bound() {
    assert_eq!(rtt_bucket(50e-6), 0);
    assert_eq!(rtt_bucket(51e-6), 1);
    assert_eq!(rtt_bucket(11.0), RTT_BUCKETS.len());
}

#[test]
fn a_changed_ttl_counts_once_and_an_unknown_one_does_not() {
    let mut stats = AddressStats::default();
    for (t, ttl) in [Some(64), None, Some(64), Some(57), Some(57), None, Some(64)].into_iter().enumerate() {
        let rtt = Duration::from_millis(1);
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl, reordered: false };
        stats.record(s(t as u64), &reply);
    }
    assert_eq!((stats.ttl(), stats.counters.ttl_changes), (Some(64), 2));
}

#[test]
fn a_corrupted_answer_is_no_reply() {
    let mut stats = AddressStats::default();
    stats.record(s(1), &ProbeOutcome::Corrupted);
    let counters = ProbeCounters { corrupted: 1, ..ProbeCounters::default() };
    assert_eq!((&stats.counters, stats.loss(s(1))), (&counters, (0, 0)));
}

#[test]
fn a_snapshot_keeps_what_it_had() {
    let mut stats = Arc::new(AddressStats::default());
    Arc::make_mut(&mut stats).record(s(1), &reply(1));
    let snapshot = Arc::clone(&stats);
    Arc::make_mut(&mut stats).record(s(2), &lost());
    let probes = |of: &AddressStats| of.figures(Span::Hour, s(2), &mut Quantiles::default()).probes();
    assert_eq!((probes(&snapshot), probes(&stats)), (1, 2));
}

/// A host in the same house: 0.3 ms give or take a sixth, now and then three times as much, one lost in 500.
fn at_home(rng: &mut SmallRng) -> ProbeOutcome {
    if rng.random_bool(0.002) {
        return lost();
    }
    let normal = ((0..4).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 2.0) * 3f64.sqrt();
    let slow = if rng.random_bool(0.01) { 3.0 } else { 1.0 };
    let rtt = Duration::from_secs_f64(3e-4 * (normal / 6.0).exp() * slow);
    ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false }
}

#[test]
fn an_hour_of_a_near_host_fits_in_four_kilobytes() {
    const ADDRESSES: usize = 200;
    let mut rng = SmallRng::seed_from_u64(7);
    let mut all = vec![AddressStats::default(); ADDRESSES];
    for t in (0..2 * 3600).step_by(2) {
        for stats in &mut all {
            stats.record(s(t), &at_home(&mut rng));
        }
    }
    let bytes = |stats: &AddressStats| size_of::<AddressStats>() + stats.heap();
    let mean = all.iter().map(bytes).sum::<usize>() / ADDRESSES;
    let most = all.iter().map(bytes).max().unwrap();
    println!("{mean} bytes an address, {most} at most; {} of them fixed", size_of::<AddressStats>());
    assert!(mean <= 3900 && most <= 4500, "{mean} {most}");
}

/// The same windows, kept as a list of all samples.
#[derive(Default)]
struct Naive {
    minute: u64,
    /// Minute and RTT, none of a lost one.
    all: Vec<(u64, Option<u64>)>,
}

impl Naive {
    fn record(&mut self, at: u64, ns: Option<u64>) {
        self.minute = self.minute.max(at / 60_000_000_000);
        self.all.push((self.minute, ns));
    }

    fn window(&self, span: Span, now: u64) -> Vec<Option<u64>> {
        let now = (now / 60_000_000_000).max(self.minute);
        let within = |minute: u64| match span {
            Span::Hour => minute / 5 + 12 >= now / 5,
            _ => minute + 5 >= now,
        };
        self.all.iter().filter(|(minute, _)| within(*minute)).map(|(_, ns)| *ns).collect()
    }
}

fn check(figures: &Figures, samples: &[Option<u64>]) -> Result<(), TestCaseError> {
    let mut rtts: Vec<u64> = samples.iter().copied().flatten().collect();
    rtts.sort_unstable();
    prop_assert_eq!(figures.answered, rtts.len() as u64);
    prop_assert_eq!(figures.lost, (samples.len() - rtts.len()) as u64);
    prop_assert_eq!(figures.max.map(|d| d.as_nanos() as u64), rtts.last().copied());
    for (have, q) in [(figures.p50, 0.5), (figures.p90, 0.9), (figures.p99, 0.99)] {
        let want = rtts.get((q * rtts.len() as f64).ceil().max(1.0) as usize - 1);
        prop_assert_eq!(have.is_some(), want.is_some());
        let (have, want) = (have.unwrap_or_default().as_nanos() as f64, want.copied().unwrap_or(0) as f64);
        prop_assert!((have - want).abs() <= 0.016 * want, "{q}: {have}, not {want}");
    }
    Ok(())
}

/// Probes by the distance in time from the one before, ns: at a usual pace, after a pause, after hours; some are told
/// late.
fn probes() -> impl Strategy<Value = Vec<(i64, Option<u64>)>> {
    let ms = 1_000_000i64;
    let gap = prop_oneof![
        60 => 0..4_000 * ms,
        3 => 0..400_000 * ms,
        1 => 0..8_000_000 * ms,
        3 => -2_000 * ms..0,
    ];
    let rtt = prop_oneof![
        8 => (200_000..400_000u64).prop_map(Some),
        3 => (5u32..35, 0u64..32).prop_map(|(octave, step)| Some((32 + step) << (octave - 5))),
        1 => Just(None),
    ];
    prop::collection::vec((gap, rtt), 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_are_those_of_all_samples(
        probes in probes(), start in 0..100_000_000_000_000u64, later in prop_oneof![Just(0), 0..8_000_000_000_000u64],
    ) {
        let (mut stats, mut naive, mut now) = (AddressStats::default(), Naive::default(), start);
        let mut quantiles = Quantiles::default();
        for (i, (gap, ns)) in probes.iter().enumerate() {
            let at = now.saturating_add_signed(*gap);
            now = now.max(at);
            let outcome = ns.map_or(lost(), |ns| ProbeOutcome::Reply {
                rtt: Duration::from_nanos(ns),
                stamp: StampSource::Kernel,
                ttl: None,
                reordered: false,
            });
            stats.record(Mono::from_nanos(at), &outcome);
            naive.record(at, *ns);
            if i % 100 == 0 {
                let figures = stats.figures(Span::FiveMinutes, Mono::from_nanos(now), &mut quantiles);
                check(&figures, &naive.window(Span::FiveMinutes, now))?;
            }
        }
        let now = now + later;
        for span in [Span::FiveMinutes, Span::Hour] {
            let figures = stats.figures(span, Mono::from_nanos(now), &mut quantiles);
            check(&figures, &naive.window(span, now))?;
        }
        let minute: Vec<Option<u64>> =
            stats.recent.samples(Mono::from_nanos(now)).map(|d| d.map(|d| d.as_nanos() as u64)).collect();
        check(&stats.figures(Span::Minute, Mono::from_nanos(now), &mut quantiles), &minute)?;
    }
}

#[test]
fn samples_and_pieces_are_what_the_windows_are_made_of() {
    let mut stats = AddressStats::default();
    let mut quantiles = Quantiles::default();
    let start = 7200 + 90;
    for t in (start..start + 4000).step_by(2) {
        stats.record(s(t), &if t % 600 == 0 { lost() } else { reply(1 + t % 7) });
    }
    let now = s(start + 4000);
    let samples: Vec<_> = stats.samples(now).collect();
    assert_eq!((samples.len(), samples[0].0), (30, Duration::from_secs(60)));
    assert!(samples.windows(2).all(|w| w[0].0 > w[1].0), "oldest first");
    let rtts: Vec<_> = samples.iter().filter_map(|(_, rtt)| *rtt).collect();
    assert_eq!(rtts, stats.rtts(now).collect::<Vec<_>>());

    let pieces = stats.pieces(now);
    assert!(pieces.windows(2).all(|w| w[0].to <= w[1].from), "no moment twice: {pieces:?}");
    assert!(pieces.iter().all(|p| p.figures.p50.is_some() && p.figures.p99 <= p.figures.max));
    let hour = stats.figures(Span::Hour, now, &mut quantiles);
    let (answered, lost) =
        pieces.iter().fold((0, 0), |sum, p| (sum.0 + p.figures.answered, sum.1 + p.figures.lost));
    assert_eq!((answered, lost), (hour.answered, hour.lost));
    assert_eq!(pieces.iter().filter(|p| p.to.since(p.from) == Duration::from_secs(300)).count(), 12);
    // Ranks that are counted off are those of the histogram, which has two digits.
    let mut one = AddressStats::default();
    for t in 0..59 {
        one.record(s(7200 + t), &reply(1 + t * t % 40));
    }
    let (alone, whole) = (one.pieces(s(7259)), one.figures(Span::Hour, s(7259), &mut quantiles));
    assert_eq!((alone.len(), alone[0].figures.max), (1, whole.max));
    let near = |a: Option<Duration>, b: Option<Duration>| {
        let (a, b) = (a.unwrap().as_secs_f64(), b.unwrap().as_secs_f64());
        (a / b - 1.0).abs() < 0.01
    };
    let alone = alone[0].figures;
    assert!(
        near(alone.p50, whole.p50) && near(alone.p90, whole.p90) && near(alone.p99, whole.p99),
        "{alone:?} {whole:?}"
    );
    // An hour later nothing of it is shown.
    assert_eq!(stats.pieces(s(start + 12_000)), []);
}
