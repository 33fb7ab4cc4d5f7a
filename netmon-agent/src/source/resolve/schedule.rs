//! When a name is looked up again. Pure: the time and the luck are arguments.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use crate::time::Mono;

/// So many names are looked up at a time.
pub(super) const UNDER_WAY: usize = 64;

/// The bounds of every pause.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// No answer is used for less, whatever its time to live: a record of 0 s must not keep a resolver busy.
    pub shortest: Duration,
    /// No answer is used for longer.
    pub longest: Duration,
    /// The pause after a first failure; it doubles with each further one.
    pub first_retry: Duration,
    /// The longest pause while resolvers fail.
    pub last_retry: Duration,
    /// The longest pause while this machine fails: no resolver, no way to it. Asking costs nobody else anything, but
    /// does not help either, and a new route or a new `resolv.conf` ends the pause.
    pub last_local_retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            shortest: Duration::from_secs(5),
            longest: Duration::from_secs(3600),
            first_retry: Duration::from_secs(1),
            last_retry: Duration::from_secs(60),
            last_local_retry: Duration::from_secs(300),
        }
    }
}

/// How a look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With addresses that live so long.
    Answered(Duration),
    /// The same, but one family's resolver failed.
    Partly(Duration),
    /// It failed.
    Failed,
    /// It failed for want of something on this machine.
    FailedHere,
}

#[derive(Debug)]
struct Name {
    due: Mono,
    /// When the last look-up began, if one ever did.
    begun: Option<Mono>,
    busy: bool,
    failures: u32,
    /// Whether it was ever answered.
    answered: bool,
}

/// All names, by the time at which each is due.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    names: HashMap<Arc<str>, Name>,
    queue: BTreeSet<(Mono, Arc<str>)>,
    under_way: usize,
}

impl Schedule {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, names: HashMap::new(), queue: BTreeSet::new(), under_way: 0 }
    }

    /// From now on these names, and no others. A new one is due at once.
    pub(super) fn set(&mut self, now: Mono, names: &HashSet<Arc<str>>) {
        self.names.retain(|name, _| names.contains(name));
        self.queue.retain(|(_, name)| names.contains(name));
        for name in names {
            if !self.names.contains_key(name) {
                let new = Name { due: now, begun: None, busy: false, failures: 0, answered: false };
                self.names.insert(Arc::clone(name), new);
                self.queue.insert((now, Arc::clone(name)));
            }
        }
    }

    /// When the next look-up is to begin; `None` while there is none, or no room for it.
    pub(super) fn due(&self) -> Option<Mono> {
        self.queue.first().map(|(due, _)| *due).filter(|_| self.under_way < UNDER_WAY)
    }

    /// A name to look up now.
    pub(super) fn begin(&mut self, now: Mono) -> Option<Arc<str>> {
        self.due().filter(|due| *due <= now)?;
        let (_, name) = self.queue.pop_first()?;
        if let Some(n) = self.names.get_mut(&name) {
            n.busy = true;
            n.begun = Some(now);
        }
        self.under_way += 1;
        Some(name)
    }

    /// A look-up that began has ended. `luck`, from 0 to 1, spreads names that were looked up together.
    pub(super) fn end(&mut self, now: Mono, name: &Arc<str>, end: End, luck: f64) {
        self.under_way = self.under_way.saturating_sub(1);
        // A name that was dropped and came back while its look-up was under way is queued already.
        let Some(n) = self.names.get_mut(name).filter(|n| n.busy) else { return };
        n.busy = false;
        n.failures = if matches!(end, End::Answered(_)) { 0 } else { n.failures.saturating_add(1) };
        let lives = |ttl: Duration, answered| {
            let ttl = ttl.clamp(self.pace.shortest, self.pace.longest);
            // Later than its TTL, so that a cache on the way has to ask anew; the first time anywhere in its second
            // half, so that a thousand names that came with one configuration do not stay together.
            let factor = if answered { 1.0 + luck / 10.0 } else { 0.5 + luck / 2.0 };
            ttl.mul_f64(factor).clamp(self.pace.shortest, self.pace.longest)
        };
        let retry = |last: Duration| {
            let doubled = 2_u32.saturating_pow(n.failures.saturating_sub(1).min(20));
            self.pace.first_retry.saturating_mul(doubled).min(last).mul_f64(1.0 + luck / 10.0)
        };
        let pause = match end {
            End::Answered(ttl) => lives(ttl, n.answered),
            End::Partly(ttl) => lives(ttl, n.answered).min(retry(self.pace.last_retry)),
            End::Failed => retry(self.pace.last_retry),
            End::FailedHere => retry(self.pace.last_local_retry),
        };
        n.answered |= matches!(end, End::Answered(_) | End::Partly(_));
        n.due = now + pause;
        self.queue.insert((n.due, Arc::clone(name)));
    }

    /// The world may be another: every name is due now, though none sooner after its last look-up than its shortest
    /// pause. A network that flaps must not multiply the questions.
    pub(super) fn hurry(&mut self, now: Mono) {
        for (name, n) in &mut self.names {
            let pause = if n.failures > 0 { self.pace.first_retry } else { self.pace.shortest };
            n.failures = 0;
            let soon = n.begun.map_or(now, |begun| now.max(begun + pause));
            if !n.busy && soon < n.due {
                self.queue.remove(&(n.due, Arc::clone(name)));
                n.due = soon;
                self.queue.insert((soon, Arc::clone(name)));
            }
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
