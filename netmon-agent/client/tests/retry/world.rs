//! Plays a history to the engine.

use std::time::Duration;

use netmon_client::retry::{Engine, GaveUp, Network, Outcome, Pause, Policy, Statistics, Step};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Uniform numbers of 0..1, the same for the same seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One attempt as it was played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub start: Duration,
    pub end: Duration,
    pub outcome: Outcome,
    /// At its end; what hindsight refunds is not among these.
    pub refunded: bool,
    /// An outage was known at its start; at some moment of it.
    pub started_in_outage: bool,
    pub cut: bool,
}

/// What came of a history.
#[derive(Debug)]
pub(crate) struct Played {
    pub attempts: Vec<Attempt>,
    /// Of each news of an outage: when, and how many attempts it refunded in hindsight.
    pub news: Vec<(Duration, u32)>,
    /// None: it waits for a network that never comes.
    pub end: Option<Result<(), GaveUp>>,
    pub over_at: Duration,
    pub left: Option<u32>,
    pub statistics: Statistics,
    /// The last release that each attempt waited for, where one did.
    pub released: Vec<bool>,
}

/// Plays `changes` of the network, sorted by time, to an engine that begins at 0. `attempt` tells of an attempt that
/// starts then how long it takes and how it ends.
pub(crate) fn play(
    policy: Policy,
    first: Network,
    changes: &[(Duration, Network)],
    seed: u64,
    mut attempt: impl FnMut(Duration) -> (Duration, Outcome),
) -> Played {
    let mut dice = Dice(seed);
    let mut engine = Engine::new(policy, ms(0), first);
    let mut changes = changes.iter().copied().peekable();
    let (mut now, mut network) = (ms(0), first);
    let mut played = Played {
        attempts: vec![],
        news: vec![],
        end: None,
        over_at: ms(0),
        left: None,
        statistics: Statistics::default(),
        released: vec![],
    };
    let mut released = false;
    for _ in 0..100_000 {
        while let Some((at, change)) = changes.next_if(|(at, _)| *at <= now) {
            tell(&mut engine, at, change, &mut played);
            network = change;
        }
        let step = engine.step(now, || dice.roll());
        assert_eq!(engine.step(now, || panic!("it has been drawn")), step, "asking changes nothing");
        let until = match step {
            Step::Run { attempt: number } => {
                assert_eq!(number as usize, played.attempts.len() + 1);
                let start = now;
                engine.attempt_started(now);
                let (takes, mut outcome) = attempt(now);
                let mut end = now + takes;
                let Step::Running { until } = engine.step(now, || 0.0) else { panic!("{engine:?}") };
                if let Some(until) = until.filter(|u| *u < end) {
                    (end, outcome) = (until, Outcome::RETRYABLE);
                }
                let started_in_outage = network == Network::Unusable;
                let mut cut = started_in_outage;
                while let Some((at, change)) = changes.next_if(|(at, _)| *at <= end) {
                    tell(&mut engine, at, change, &mut played);
                    network = change;
                    cut |= change == Network::Unusable;
                }
                now = end;
                let refunded = engine.attempt_ended(now, outcome);
                played.attempts.push(Attempt { start, end, outcome, refunded, started_in_outage, cut });
                played.released.push(released);
                released = false;
                continue;
            }
            Step::Sleep { until, why } => {
                released |= why != Pause::Backoff;
                Some(until)
            }
            Step::AwaitNetwork { until } => {
                released = true;
                until
            }
            Step::Running { .. } => panic!("nothing runs"),
            Step::Done => {
                played.end = Some(Ok(()));
                break;
            }
            Step::GiveUp(why) => {
                played.end = Some(Err(why));
                break;
            }
        };
        let next = changes.peek().map(|(at, _)| *at);
        let Some(next) = [until, next].into_iter().flatten().min() else { break };
        assert!(next > now, "{step:?} at {now:?} is no progress");
        now = next;
    }
    played.over_at = now;
    played.left = engine.attempts_left();
    played.statistics = *engine.statistics();
    played
}

fn tell(engine: &mut Engine, at: Duration, network: Network, played: &mut Played) {
    let before = engine.statistics().refunds;
    engine.network(at, network);
    if network == Network::Unusable {
        played.news.push((at, engine.statistics().refunds - before));
    }
}
