//! Histories in simulated time, written out. Random ones are in `tests/retry/histories.rs`.

use std::time::Duration;

use super::{Engine, GaveUp, Jitter, Network, Outcome, Pause, Policy, Step};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Plain delays of 1, 2, 4 … seconds, and a release without spread.
fn plain() -> Policy {
    Policy { jitter: Jitter::None, spread: false, ..Policy::default() }
}

fn engine(policy: Policy, network: Network) -> Engine {
    Engine::new(policy, ms(0), network)
}

fn step(engine: &mut Engine, at: u64) -> Step {
    engine.step(ms(at), || 0.5)
}

/// Runs the attempt that is due at `from` until `to`. True when it was refunded.
fn attempt(engine: &mut Engine, from: u64, to: u64, outcome: Outcome) -> bool {
    assert!(matches!(step(engine, from), Step::Run { .. }), "{engine:?}");
    engine.attempt_started(ms(from));
    engine.attempt_ended(ms(to), outcome)
}

fn backoff(until: u64) -> Step {
    Step::Sleep { until: ms(until), why: Pause::Backoff }
}

#[test]
fn tries_as_often_as_asked() {
    let mut e = engine(Policy { attempts: Some(3), ..plain() }, Network::Unknown);
    assert!(!attempt(&mut e, 0, 100, Outcome::RETRYABLE));
    assert_eq!(step(&mut e, 100), backoff(1100));
    assert_eq!(step(&mut e, 1099), backoff(1100));
    attempt(&mut e, 1100, 1200, Outcome::RETRYABLE);
    assert_eq!(step(&mut e, 1200), backoff(3200));
    attempt(&mut e, 3200, 3300, Outcome::RETRYABLE);
    assert_eq!(step(&mut e, 3300), Step::GiveUp(GaveUp::Exhausted));
    let s = e.statistics();
    assert_eq!((s.attempts, s.retries(), s.refunds, s.blind_attempts, s.outages), (3, 2, 0, 3, 0));
    assert_eq!((s.running, s.backed_off, s.paused), (ms(300), ms(3000), ms(0)));
}

#[test]
fn success_and_what_is_permanent_end_it() {
    let mut e = engine(plain(), Network::Usable);
    attempt(&mut e, 0, 10, Outcome::Success);
    assert_eq!(step(&mut e, 10), Step::Done);
    e.give_up(ms(20), GaveUp::Cancelled);
    assert_eq!(step(&mut e, 20), Step::Done, "what is done stays done");

    let mut e = engine(plain(), Network::Usable);
    assert_eq!(step(&mut e, 0), Step::Run { attempt: 1 });
    e.attempt_started(ms(0));
    e.network(ms(5), Network::Unusable);
    assert!(!e.attempt_ended(ms(10), Outcome::Permanent), "an outage makes no bad password good");
    assert_eq!(step(&mut e, 10), Step::GiveUp(GaveUp::Permanent));
}

#[test]
fn the_first_attempt_waits_for_the_network_too() {
    let mut e = engine(plain(), Network::Unusable);
    assert_eq!(step(&mut e, 0), Step::AwaitNetwork { until: Some(ms(3_600_000)) });
    e.network(ms(20_000), Network::Usable);
    assert_eq!(step(&mut e, 20_000), Step::Sleep { until: ms(25_000), why: Pause::Stable });
    e.network(ms(22_000), Network::Unusable);
    assert!(matches!(step(&mut e, 25_000), Step::AwaitNetwork { .. }), "it did not stay");
    e.network(ms(30_000), Network::Usable);
    assert_eq!(step(&mut e, 35_000), Step::Run { attempt: 1 });
    assert_eq!(e.statistics().paused, ms(35_000));
    assert_eq!(e.statistics().outages, 1);
}

#[test]
fn an_outage_ends_the_backoff() {
    let mut e = engine(Policy { initial: ms(60_000), ..plain() }, Network::Usable);
    attempt(&mut e, 0, 10_000, Outcome::Retryable { retry_after: Some(ms(1)) });
    assert_eq!(step(&mut e, 10_000), backoff(70_000));
    e.network(ms(11_000), Network::Unusable);
    assert!(matches!(step(&mut e, 11_000), Step::AwaitNetwork { .. }));
    e.network(ms(21_000), Network::Usable);
    assert_eq!(step(&mut e, 26_000), Step::Run { attempt: 2 }, "44 s of the backoff are forgotten");
    assert_eq!(e.attempts_left(), Some(4), "the server answered: no outage was to blame");
}

#[test]
fn the_release_is_spread_over_a_tenth_of_the_outage() {
    for (outage, spread) in [(30_000, 1500), (2_000_000, 5000)] {
        let mut e = engine(Policy { spread: true, ..plain() }, Network::Unusable);
        e.network(ms(outage), Network::Usable);
        let until = ms(outage + 5000 + spread);
        assert_eq!(step(&mut e, outage + 5000), Step::Sleep { until, why: Pause::Release });
        assert_eq!(step(&mut e, outage + 5000 + spread), Step::Run { attempt: 1 });
    }
}

#[test]
fn who_comes_late_into_an_outage_is_spread_like_the_others() {
    let mut e = engine(Policy { spread: true, ..plain() }, Network::Unusable);
    e.outage_lasted(ms(59_000));
    e.network(ms(1000), Network::Usable);
    assert_eq!(step(&mut e, 6000), Step::Sleep { until: ms(9000), why: Pause::Release });
}

#[test]
fn attempts_cut_by_an_outage_are_refunded_up_to_the_limit() {
    let policy = Policy { attempts: Some(1), max_refunds: 2, ..plain() };
    let mut e = engine(policy, Network::Usable);
    for (n, at) in [(1, 0), (2, 100_000), (3, 200_000)] {
        assert_eq!(step(&mut e, at), Step::Run { attempt: n });
        e.attempt_started(ms(at));
        e.network(ms(at + 1000), Network::Unusable);
        e.network(ms(at + 2000), Network::Usable);
        assert_eq!(e.attempt_ended(ms(at + 100_000), Outcome::RETRYABLE), n < 3);
    }
    assert_eq!(step(&mut e, 300_000), Step::GiveUp(GaveUp::Exhausted));
    assert_eq!((e.statistics().attempts, e.statistics().refunds), (3, 2));
}

#[test]
fn failures_shortly_before_the_news_of_an_outage_are_its_work() {
    let mut e = engine(plain(), Network::Usable);
    attempt(&mut e, 0, 1000, Outcome::RETRYABLE);
    attempt(&mut e, 2000, 10_000, Outcome::RETRYABLE);
    attempt(&mut e, 12_000, 13_000, Outcome::RETRYABLE);
    assert_eq!(e.attempts_left(), Some(2));
    e.network(ms(15_500), Network::Unusable);
    assert_eq!(e.attempts_left(), Some(4), "those of 10 s and 13 s, not that of 1 s");
    e.network(ms(15_600), Network::Usable);
    e.network(ms(15_700), Network::Unusable);
    assert_eq!(e.attempts_left(), Some(4), "once");
}

#[test]
fn the_last_failure_waits_for_the_news_that_may_excuse_it() {
    let once = || Policy { attempts: Some(1), ..plain() };
    let held = |until| Step::Sleep { until: ms(until), why: Pause::Hindsight };
    let mut e = engine(once(), Network::Usable);
    attempt(&mut e, 0, 10, Outcome::RETRYABLE);
    assert_eq!((step(&mut e, 10), step(&mut e, 6009)), (held(6010), held(6010)));
    e.network(ms(6010), Network::Unusable);
    assert_eq!(e.attempts_left(), Some(1));
    assert!(matches!(step(&mut e, 6010), Step::AwaitNetwork { .. }));
    e.network(ms(9000), Network::Usable);
    assert_eq!(step(&mut e, 14_000), Step::Run { attempt: 2 });

    let mut e = engine(once(), Network::Usable);
    attempt(&mut e, 0, 10, Outcome::RETRYABLE);
    e.network(ms(6011), Network::Unusable);
    assert_eq!(step(&mut e, 6011), Step::GiveUp(GaveUp::Exhausted), "too late to have been the cause");
    assert_eq!(e.statistics().refunds, 0);

    let mut e = engine(Policy { max_time: Some(ms(3000)), ..once() }, Network::Usable);
    attempt(&mut e, 0, 10, Outcome::RETRYABLE);
    assert_eq!(step(&mut e, 10), held(3000));
    assert_eq!(step(&mut e, 3000), Step::GiveUp(GaveUp::Exhausted));

    let wish = Outcome::Retryable { retry_after: Some(ms(1)) };
    for (policy, network, outcome) in [
        (once(), Network::Unknown, Outcome::RETRYABLE),
        (once(), Network::Usable, wish),
        (Policy { hindsight: ms(0), ..once() }, Network::Usable, Outcome::RETRYABLE),
        (Policy { max_refunds: 0, ..once() }, Network::Usable, Outcome::RETRYABLE),
    ] {
        let mut e = engine(policy, network);
        attempt(&mut e, 0, 10, outcome);
        assert_eq!(step(&mut e, 10), Step::GiveUp(GaveUp::Exhausted), "nothing would excuse it");
    }
}

#[test]
fn a_servers_wish_outlasts_an_outage() {
    let mut e = engine(plain(), Network::Usable);
    attempt(&mut e, 0, 0, Outcome::Retryable { retry_after: Some(ms(120_000)) });
    e.network(ms(1000), Network::Unusable);
    e.network(ms(31_000), Network::Usable);
    assert_eq!(step(&mut e, 36_000), Step::Sleep { until: ms(120_000), why: Pause::Release });
    let mut short = engine(Policy { max_time: Some(ms(100_000)), ..plain() }, Network::Usable);
    attempt(&mut short, 0, 0, Outcome::Retryable { retry_after: Some(ms(120_000)) });
    assert_eq!(step(&mut short, 0), Step::GiveUp(GaveUp::MaxTime), "there is nothing to wait for");
}

#[test]
fn without_an_agent_nothing_waits() {
    let mut e = engine(plain(), Network::Unknown);
    attempt(&mut e, 0, 0, Outcome::RETRYABLE);
    e.network(ms(500), Network::Usable);
    e.network(ms(600), Network::Unknown);
    assert_eq!(step(&mut e, 600), backoff(1000));
    assert_eq!(step(&mut e, 1000), Step::Run { attempt: 2 });
}

#[test]
fn a_pause_outlasts_the_agent_for_a_while() {
    let mut e = engine(plain(), Network::Unusable);
    e.network(ms(4000), Network::Unknown);
    assert_eq!(step(&mut e, 4000), Step::AwaitNetwork { until: Some(ms(14_000)) });
    e.network(ms(8000), Network::Unusable);
    assert!(matches!(step(&mut e, 14_000), Step::AwaitNetwork { until: Some(u) } if u == ms(3_600_000)));
    e.network(ms(20_000), Network::Unknown);
    assert_eq!(step(&mut e, 30_000), Step::Run { attempt: 1 }, "it stays away, the work goes on");
}

#[test]
fn the_deadline_binds_everywhere() {
    let policy = Policy { max_time: Some(ms(10_000)), ..plain() };
    let mut e = engine(policy.clone(), Network::Unusable);
    assert_eq!(step(&mut e, 9999), Step::AwaitNetwork { until: Some(ms(10_000)) });
    assert_eq!(step(&mut e, 10_000), Step::GiveUp(GaveUp::NoNetwork));

    let mut e = engine(policy.clone(), Network::Unusable);
    e.network(ms(6000), Network::Usable);
    assert_eq!(step(&mut e, 6000), Step::GiveUp(GaveUp::NoNetwork), "stable at 11 s only");

    let mut e = engine(policy.clone(), Network::Usable);
    attempt(&mut e, 0, 0, Outcome::RETRYABLE);
    attempt(&mut e, 1000, 9000, Outcome::RETRYABLE);
    assert_eq!(step(&mut e, 9000), Step::GiveUp(GaveUp::MaxTime), "the next would be due at 11 s");

    let mut e = engine(Policy { attempts: Some(1), ..policy }, Network::Usable);
    assert_eq!(step(&mut e, 0), Step::Run { attempt: 1 });
    e.attempt_started(ms(0));
    assert_eq!(step(&mut e, 1), Step::Running { until: Some(ms(10_000)) });
    e.attempt_ended(ms(10_000), Outcome::RETRYABLE);
    assert_eq!(step(&mut e, 10_000), Step::GiveUp(GaveUp::MaxTime), "not for want of attempts");
}

#[test]
fn an_attempts_time_is_its_own_and_everybodys() {
    let policy = Policy { attempt_timeout: Some(ms(4000)), max_time: Some(ms(6000)), ..plain() };
    let mut e = engine(policy, Network::Usable);
    step(&mut e, 0);
    e.attempt_started(ms(1000));
    assert_eq!(step(&mut e, 1000), Step::Running { until: Some(ms(5000)) });
    let mut e = engine(Policy { max_time: None, ..plain() }, Network::Usable);
    step(&mut e, 0);
    e.attempt_started(ms(0));
    assert_eq!(step(&mut e, 0), Step::Running { until: None });
}

#[test]
fn time_does_not_go_back() {
    let mut e = engine(plain(), Network::Usable);
    attempt(&mut e, 5000, 6000, Outcome::RETRYABLE);
    assert_eq!(step(&mut e, 1), backoff(7000));
    e.network(ms(2), Network::Unusable);
    assert_eq!(e.outage_since(), Some(ms(6000)));
}

#[test]
fn what_is_told_out_of_turn_changes_nothing() {
    let mut e = engine(plain(), Network::Usable);
    assert!(!e.attempt_ended(ms(0), Outcome::Success));
    assert_eq!(step(&mut e, 0), Step::Run { attempt: 1 });
    e.attempt_started(ms(0));
    e.attempt_started(ms(1));
    assert_eq!(e.statistics().attempts, 1);
    e.give_up(ms(2), GaveUp::NoBudget);
    e.network(ms(3), Network::Unusable);
    assert_eq!(step(&mut e, 3), Step::GiveUp(GaveUp::NoBudget));
    assert_eq!(e.statistics().outages, 0);
}
