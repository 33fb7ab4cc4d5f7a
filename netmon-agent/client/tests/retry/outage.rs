//! Thirty seconds without a network, five attempts: none is wasted, whenever it begins.

use std::time::Duration;

use netmon_client::retry::{Network, Outcome, Policy};

use crate::world::{Dice, Played, ms, play};

const OUTAGE: Duration = ms(30_000);

/// How the network is lost, and how soon that is known.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A link without carrier: known within milliseconds; whoever connects is refused at once.
    Link,
    /// Silence: known after 5.2 s at most; whoever connects waits for a time-out of a second or more.
    Silence,
}

/// An upload of `takes` that begins at 0 and has to be done again whole, in an outage that begins at `phase`.
fn upload(fault: Fault, phase: Duration, takes: Duration, seed: u64, agent: bool) -> Played {
    let mut dice = Dice(seed ^ 0x5555);
    let (down, up) = match fault {
        Fault::Link => (ms(1).mul_f64(1.0 + 49.0 * dice.roll()), ms(1000).mul_f64(dice.roll())),
        Fault::Silence => (ms(5200).mul_f64(dice.roll()), ms(2700).mul_f64(dice.roll())),
    };
    let (from, to) = (phase, phase + OUTAGE);
    let known = [(from + down, Network::Unusable), (to + up, Network::Usable)];
    let (first, known) = if agent { (Network::Usable, &known[..]) } else { (Network::Unknown, &[][..]) };
    play(Policy::default(), first, known, seed, |start| {
        let end = start + takes;
        if end <= from || start >= to {
            return (takes, Outcome::Success);
        }
        let noticed = match fault {
            Fault::Link => ms(20).mul_f64(dice.roll()),
            Fault::Silence => ms(1000) + ms(9000).mul_f64(dice.roll()),
        };
        (from.saturating_sub(start) + noticed, Outcome::RETRYABLE)
    })
}

#[test]
fn no_attempt_is_wasted_whatever_the_phase() {
    let mut failed_without = 0;
    let mut runs = 0;
    for fault in [Fault::Link, Fault::Silence] {
        for takes in [ms(50), ms(5000), ms(60_000)] {
            for n in 0..500u32 {
                let phase = takes * n / 500;
                let seed = u64::from(n);
                let played = upload(fault, phase, takes, seed, true);
                assert_eq!(played.end, Some(Ok(())), "{fault:?} {takes:?} {phase:?}: {played:?}");
                assert_eq!(played.left, Some(5), "{fault:?} {takes:?} {phase:?}: {played:?}");
                failed_without += u32::from(upload(fault, phase, takes, seed, false).end != Some(Ok(())));
                runs += 1;
            }
        }
    }
    println!(
        "{runs} outages of 30 s: all survived with 0 of 5 attempts spent; without an agent {failed_without} fail"
    );
    assert!(failed_without > runs / 10, "the outage would have been survived anyhow");
}

#[test]
fn attempts_that_fail_at_once_are_not_used_up_before_the_outage_is_known() {
    // A router on the way refuses at once what the agent's probes know by their silence only.
    for n in 0..500u32 {
        let (news, mut dice) = (ms(10).max(ms(5200) * n / 500), Dice(n.into()));
        let known = [(news, Network::Unusable), (OUTAGE, Network::Usable)];
        let policy = Policy { attempts: Some(1 + n % 5), initial: ms(250), ..Policy::default() };
        let played = play(policy, Network::Usable, &known, n.into(), |start| match start < OUTAGE {
            true => (ms(5).mul_f64(dice.roll()), Outcome::RETRYABLE),
            false => (ms(50), Outcome::Success),
        });
        assert_eq!(played.end, Some(Ok(())), "{news:?}: {played:?}");
        assert_eq!(played.left, Some(1 + n % 5), "{news:?}: {played:?}");
    }
}
