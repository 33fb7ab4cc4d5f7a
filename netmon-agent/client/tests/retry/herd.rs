//! A thousand clients fail together: how many come back within the same 100 ms?

use std::time::Duration;

use netmon_client::retry::{Jitter, Network, Outcome, Policy};

use crate::world::{Dice, ms, play};

const CLIENTS: u64 = 1000;
const RUNS: u64 = 20;

/// Of the busiest 100 ms, the mean over some runs.
fn peak(mut when: impl FnMut(u64) -> Duration) -> f64 {
    let mut sum = 0;
    for run in 0..RUNS {
        let mut bins = vec![0u32; 1000];
        for client in 0..CLIENTS {
            bins[(when(run * CLIENTS + client).as_millis() / 100) as usize] += 1;
        }
        sum += bins.into_iter().max().unwrap_or_default();
    }
    f64::from(sum) / RUNS as f64
}

/// When a client that failed at 0 comes back.
fn first_retry(jitter: Jitter, seed: u64) -> Duration {
    let policy = Policy { jitter, ..Policy::default() };
    let mut results = [Outcome::RETRYABLE, Outcome::Success].into_iter();
    let attempt = |_| (ms(0), results.next().expect("two attempts"));
    play(policy, Network::Usable, &[], seed, attempt).attempts[1].start
}

/// When a client that waits comes back after the network, beyond the 5 s that it has to be stable.
fn release(outage: Duration, spread: bool, seed: u64) -> Duration {
    let policy = Policy { spread, ..Policy::default() };
    let back = [(outage, Network::Usable)];
    let played = play(policy, Network::Unusable, &back, seed, |_| (ms(0), Outcome::Success));
    played.attempts[0].start - outage - ms(5000)
}

#[test]
fn a_thousand_clients_do_not_come_back_as_one() {
    let retries =
        [Jitter::Full, Jitter::Proportional, Jitter::None].map(|j| (j, peak(|seed| first_retry(j, seed))));
    println!("peak of 1,000 clients per 100 ms, mean of {RUNS} runs");
    for (jitter, peak) in retries {
        println!("  first retry, jitter {jitter:?}: {peak:.0}");
    }
    let mut dice = Dice(1);
    let bare = peak(|_| ms(1000).mul_f64(dice.roll()));
    let lifted = peak(|_| ms(1000).mul_f64(dice.roll()).max(ms(250)));
    println!("  beside: U(0, 1 s) {bare:.0}; the same, what is under 250 ms at 250 ms {lifted:.0}");
    let releases = [30, 60, 600].map(|outage| {
        let at = |spread| peak(|seed| release(Duration::from_secs(outage), spread, seed));
        (outage, at(true), at(false))
    });
    for (outage, spread, plain) in releases {
        println!("  release after {outage} s: {spread:.0}, without spread {plain:.0}");
    }

    let [full, proportional, none] = retries.map(|(_, peak)| peak);
    assert!(none == 1000.0 && (380.0..440.0).contains(&proportional) && (135.0..170.0).contains(&full));
    assert!(full < lifted * 0.7, "no better than to lift what is under the floor");
    for ((_, spread, plain), most) in releases.into_iter().zip([60.0, 40.0, 30.0]) {
        assert!(spread < most && plain == 1000.0, "{spread} {plain}");
    }
}
