//! How much is simulated, and what has to come out.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use netmon_agent::{
    health::{Event, Role, Settings, State, Subject},
    observation::NetworkChange,
};
use netmon_tests::sim::{Agent, Wire, world};

/// Days of each ratio when nothing is said: two years and a half, ten of four ratios.
pub const DAYS: f64 = 912.5;

/// Seconds a day.
pub const DAY: f64 = 86_400.0;

/// Long enough for the first verdict, and for what comes after to owe nothing to the start.
pub const WARM_UP: Duration = Duration::from_secs(60);

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Days of each ratio of independent loss.
    pub days: f64,
    /// Of all draws.
    pub seed: u64,
    /// How many at once.
    pub threads: usize,
}

impl Plan {
    /// `usual` in the proportion that [`Plan::days`] has to [`DAYS`], at least a quarter: of a day, six hours.
    pub fn scaled(&self, usual: f64) -> f64 {
        (usual * self.days / DAYS).max(0.25)
    }

    /// An independent seed for every `part` of every `topic` (SplitMix64's mixing).
    pub fn seed(&self, topic: u64, part: u64) -> u64 {
        let mut z = self.seed.wrapping_add(topic << 40 | part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Does `parts` independent pieces of work, so many at once; what came of them, in order.
    pub fn parallel<T: Send>(&self, parts: usize, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(parts));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(parts) {
                scope.spawn(|| {
                    loop {
                        let part = next.fetch_add(1, Ordering::Relaxed);
                        if part >= parts {
                            return;
                        }
                        let result = (part, work(part as u64));
                        done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_unstable_by_key(|(part, _)| *part);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

/// What was promised, and what of it was not kept.
#[derive(Debug, Default)]
pub struct Bounds {
    missed: Vec<String>,
}

impl Bounds {
    /// Notes whether a bound is kept; the word for it.
    pub fn check(&mut self, kept: bool, what: impl Into<String>) -> &'static str {
        if kept {
            return "met";
        }
        self.missed.push(what.into());
        "MISSED"
    }

    /// What was not kept.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }
}

/// The one target's name.
pub const TARGET: &str = "a";

/// An agent with one uplink, and one target beyond it.
pub fn one_target<W: Wire>(seed: u64, wire: W) -> Agent<W> {
    let mut agent = Agent::new(seed, Settings::default(), world::watch(), wire);
    agent.set_targets(vec![world::target(0, TARGET, "internet", [198, 51, 100, 1], Role::Plain)]);
    let network = world::uplink(2, "eth0", [10, 0, 0, 2], [10, 0, 0, 1]);
    agent.network(NetworkChange::Dump(Box::new(network)));
    agent
}

/// Whether a change is of the one target, and its states before and after.
pub fn of_target(event: &Event) -> Option<(State, State)> {
    match event {
        Event::Changed { subject: Subject::Target(_), previous, state, .. } => Some((*previous, *state)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_kept_and_the_rest_is_not() {
        let mut bounds = Bounds::default();
        assert_eq!((bounds.check(true, "a"), bounds.check(false, "b")), ("met", "MISSED"));
        assert_eq!(bounds.missed(), ["b"]);
    }

    #[test]
    fn parts_come_in_order_and_their_draws_are_their_own() {
        let plan = Plan { days: 1.0, seed: 1, threads: 3 };
        let seeds = plan.parallel(100, |part| (part, plan.seed(2, part)));
        assert!(seeds.iter().map(|(part, _)| *part).eq(0..100));
        let mut all: Vec<u64> = seeds.into_iter().map(|(_, seed)| seed).collect();
        all.extend((0..100).map(|part| plan.seed(3, part)));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
