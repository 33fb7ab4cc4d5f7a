use std::time::Duration;

use netmon_client::retry::{GaveUp, Jitter, Network, Outcome, Policy};
use proptest::prelude::*;

use crate::world::{Dice, Played, ms, play};

fn policies() -> impl Strategy<Value = Policy> {
    let jitter = prop_oneof![Just(Jitter::Full), Just(Jitter::Proportional), Just(Jitter::None)];
    let attempts = prop_oneof![Just(None), (1u32..8).prop_map(Some)];
    let time = prop_oneof![Just(None), (1u64..400_000).prop_map(|t| Some(ms(t)))];
    let attempt = prop_oneof![Just(None), (1u64..20_000).prop_map(|t| Some(ms(t)))];
    let delays = (1u64..5000, 1.0f64..3.0, 1u64..90_000);
    let rest = (0u32..12, 0u64..8000, any::<bool>(), 0u64..8000);
    (attempts, delays, jitter, time, attempt, rest).prop_map(
        |(attempts, (initial, multiplier, most), jitter, max_time, attempt_timeout, rest)| Policy {
            attempts,
            initial: ms(initial),
            multiplier,
            max_delay: ms(most),
            jitter,
            max_time,
            attempt_timeout,
            max_refunds: rest.0,
            hindsight: ms(rest.1),
            spread: rest.2,
            stable: ms(rest.3),
        },
    )
}

fn networks() -> impl Strategy<Value = Network> {
    prop_oneof![Just(Network::Usable), Just(Network::Unusable), Just(Network::Unknown)]
}

/// Changes up to some minutes apart, many of them close together.
fn changes() -> impl Strategy<Value = Vec<(Duration, Network)>> {
    let gap = prop_oneof![1u64..100, 1u64..10_000, 1u64..150_000];
    proptest::collection::vec((gap, networks()), 0..20).prop_map(|changes| {
        let mut at = 0;
        let later = changes.into_iter().map(|(gap, network)| {
            at += gap;
            (ms(at), network)
        });
        later.collect()
    })
}

fn outcomes() -> impl Strategy<Value = (Duration, Outcome)> {
    let wish = prop_oneof![3 => Just(None), 1 => (0u64..60_000).prop_map(|t| Some(ms(t)))];
    let outcome = prop_oneof![
        12 => wish.prop_map(|retry_after| Outcome::Retryable { retry_after }),
        1 => Just(Outcome::Success),
        1 => Just(Outcome::Permanent),
    ];
    (prop_oneof![Just(0u64), 0u64..1000, 0u64..60_000].prop_map(ms), outcome)
}

fn check(policy: &Policy, first: Network, changes: &[(Duration, Network)], played: &Played) {
    let Played { attempts, statistics, .. } = played;
    let count = attempts.len() as u32;
    assert_eq!(statistics.attempts, count);

    // As many attempts as asked for and refunded, and no more refunds than allowed.
    assert!(policy.attempts.is_none_or(|most| count <= most + statistics.refunds));
    assert!(statistics.refunds <= policy.max_refunds);
    if played.end == Some(Err(GaveUp::Exhausted)) {
        assert_eq!(policy.attempts, Some(count - statistics.refunds));
    }

    // None in an outage, none after the deadline, none with an end beyond it.
    let deadline = policy.max_time.unwrap_or(Duration::MAX);
    for attempt in attempts {
        assert!(!attempt.started_in_outage && attempt.start < deadline && attempt.end <= deadline);
        let most = policy.attempt_timeout.unwrap_or(Duration::MAX);
        assert!(attempt.end - attempt.start <= most);
    }
    assert!(played.over_at <= deadline, "nothing to wait for after the deadline");

    // Refunds under the rule only: cut within, or shortly before the news.
    let retryable = |o: Outcome| matches!(o, Outcome::Retryable { .. });
    for attempt in attempts.iter().filter(|a| a.refunded) {
        assert!(attempt.cut && retryable(attempt.outcome), "{attempt:?}");
    }
    for (at, refunds) in &played.news {
        let excusable = attempts.iter().filter(|a| {
            let recent = a.end <= *at && *at - a.end <= policy.hindsight;
            recent && !a.refunded && a.outcome == Outcome::RETRYABLE
        });
        assert!(*refunds as usize <= excusable.count());
    }
    let refunds = attempts.iter().filter(|a| a.refunded).count() as u32;
    assert_eq!(refunds + played.news.iter().map(|(_, n)| n).sum::<u32>(), statistics.refunds);

    // One after the other, each as late as it has to be.
    let mut failures = 0;
    for (n, pair) in attempts.windows(2).enumerate() {
        let (before, after) = (pair[0], pair[1]);
        assert!(before.start <= before.end && before.end <= after.start);
        let Outcome::Retryable { retry_after } = before.outcome else { panic!("{before:?} was repeated") };
        let gap = after.start - before.end;
        assert!(gap >= retry_after.unwrap_or_default(), "{before:?} {after:?}");
        failures += u32::from(!before.refunded);
        let quiet = played.news.iter().all(|(at, _)| *at > after.start) && first != Network::Unusable;
        if quiet && !played.released[n + 1] {
            let (least, most) = policy.range(failures);
            let least = least.max(retry_after.unwrap_or_default());
            assert!(gap >= least && gap <= least + (most - policy.range(failures).0), "{before:?} {after:?}");
        }
    }

    // Where the network is never told to be down, nothing is ever held back.
    if first != Network::Unusable && changes.iter().all(|(_, n)| *n != Network::Unusable) {
        assert_eq!((statistics.paused, statistics.outages, statistics.refunds), (ms(0), 0, 0));
    }
    // Time goes somewhere.
    let within = statistics.paused + statistics.backed_off + statistics.running;
    assert!(within <= played.over_at);
    assert!(played.end.is_none() || within == played.over_at, "{within:?} of {:?}", played.over_at);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_rules(
        policy in policies(),
        first in networks(),
        changes in changes(),
        outcomes in proptest::collection::vec(outcomes(), 1..12),
        seed in any::<u64>(),
    ) {
        policy.validate().unwrap();
        // The script comes to an end, or a policy without bounds would have none.
        let mut script = outcomes.iter().cycle().take(60).copied();
        let attempt = |_| script.next().unwrap_or((ms(1), Outcome::Success));
        let played = play(policy.clone(), first, &changes, seed, attempt);
        check(&policy, first, &changes, &played);
        // It ends, unless it waits for a network that never comes, without end.
        let waits = policy.max_time.is_none() && changes.last().map_or(first, |c| c.1) == Network::Unusable;
        prop_assert!(played.end.is_some() || waits);
    }

    #[test]
    fn delays_stay_within_their_range(
        policy in policies(),
        failures in any::<u32>(),
        random in -1.0f64..2.0,
        wish in proptest::option::of(any::<u64>().prop_map(Duration::from_secs)),
    ) {
        let (least, most) = policy.range(failures);
        let cap = policy.max_delay;
        prop_assert!(least <= most);
        let quarter = if policy.jitter == Jitter::Proportional { cap / 4 } else { ms(0) };
        prop_assert!(most <= cap + quarter);
        let delay = policy.delay(failures, random, None);
        prop_assert!(delay >= least && delay <= most);
        let wished = policy.delay(failures, random, wish);
        prop_assert!(wished >= delay);
        // Four billion seconds are as good as never.
        prop_assert!(wished >= wish.unwrap_or_default().min(Duration::from_secs(u32::MAX.into())));
        prop_assert!(policy.range(failures.saturating_add(1)).1 >= most, "later is never sooner");
    }
}

#[test]
fn full_jitter_is_uniform() {
    let (policy, mut dice) = (Policy::default(), Dice(7));
    for (failures, least, most) in [(1, 0.25, 1.0), (3, 0.25, 4.0), (9, 0.25, 60.0)] {
        let n = 100_000;
        let delays: Vec<f64> =
            (0..n).map(|_| policy.delay(failures, dice.roll(), None).as_secs_f64()).collect();
        let width = most - least;
        let mean = delays.iter().sum::<f64>() / f64::from(n);
        // The mean of n uniform draws has a deviation of width / √(12 n); five of them.
        assert!((mean - (least + most) / 2.0).abs() < 5.0 * width / (12.0 * f64::from(n)).sqrt(), "{mean}");
        let mut tenths = [0u32; 10];
        for delay in delays {
            tenths[(((delay - least) / width * 10.0) as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|&count| count.abs_diff(n as u32 / 10) < 500), "{tenths:?}");
    }
}
