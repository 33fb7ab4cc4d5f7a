//! What an agent's stream tells of the network, and how sure that is. Pure: time is passed in, nanoseconds of this
//! process's `CLOCK_BOOTTIME`.
//!
//! The agent stamps its stream: "this is everything, up to this moment". A state is published with the stamp, not with
//! the event, so that one that was passed already when it was read (after a stop, a lost connection) is never shown. An
//! agent that does not stamp is believed as of when it is heard.

use std::time::Duration;

use crate::{
    Condition, State,
    proto::{Item, Opened},
    wire::Change,
};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    stale_after: u64,
    /// What to add to the agent's boot time for ours, modulo 2⁶⁴: not 0 across time namespaces only.
    shift: u64,
    stamps: bool,
    /// The last state that was told, …
    told: State,
    /// … and the last that was vouched for; unknown without a connection.
    known: State,
    /// As of when; 0 before the first time.
    as_of: u64,
    /// Since when each condition has held; none while it does not.
    since: [Option<u64>; Condition::ALL.len()],
    last_id: Option<u64>,
}

/// How a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has held for as long as it has to.
    Holds,
    /// It will have, in so long, if nothing comes between.
    In(Duration),
    /// It does not hold, or that can't be known.
    No,
}

impl Tracker {
    /// A stream began: it was asked for at `asked`, its header is here `now`.
    pub(crate) fn opened(&mut self, opened: &Opened, resumes: bool, asked: u64, now: u64) {
        self.stale_after = nanos(opened.stale_after);
        self.stamps = opened.boottime_ns.is_some();
        self.shift = match opened.boottime_ns {
            Some(at) if !(asked..=now).contains(&at) => asked.wrapping_sub(at),
            _ => 0,
        };
        if resumes && !self.stamps {
            // Nothing may have changed since: then no event would tell the state.
            self.tell(opened.state, now);
            self.vouch(now);
        }
    }

    /// Takes in what came over the stream.
    pub(crate) fn take(&mut self, item: &Item, now: u64) {
        match item {
            Item::Change(change) => self.change(change, now),
            Item::Beat(Some(at)) if self.stamps => {
                // Not later than now, whatever the agent says.
                self.vouch(at.wrapping_add(self.shift).min(now));
            }
            Item::Beat(_) if self.stamps => {}
            Item::Beat(_) => self.vouch(now),
        }
    }

    /// The stream ended: nothing is known until the next one vouches for something.
    pub(crate) fn lost(&mut self) {
        self.known = State::Unknown;
    }

    /// Number of the last change that came.
    pub(crate) fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// The state, and when it ends to be valid.
    pub(crate) fn word(&self) -> (State, u64) {
        (self.known, self.as_of.saturating_add(self.stale_after))
    }

    /// Age at which a state is no longer valid.
    pub(crate) fn stale_after(&self) -> Duration {
        Duration::from_nanos(self.stale_after)
    }

    /// Age of what was last vouched for; none before the first time.
    pub(crate) fn age(&self, now: u64) -> Option<Duration> {
        (self.as_of > 0).then(|| Duration::from_nanos(now.saturating_sub(self.as_of)))
    }

    /// How `condition` stands that has to have held for `stable`.
    pub(crate) fn standing(&self, condition: Condition, stable: Duration, now: u64) -> Standing {
        let (known, deadline) = self.word();
        let since = self.since[condition as usize];
        match since {
            Some(since) if condition.holds(known) && now <= deadline => {
                let missing = nanos(stable).saturating_sub(now.saturating_sub(since));
                if missing == 0 { Standing::Holds } else { Standing::In(Duration::from_nanos(missing)) }
            }
            _ => Standing::No,
        }
    }

    fn change(&mut self, change: &Change, now: u64) {
        self.last_id = Some(change.seq);
        let at = change.boottime_ns.map_or(now, |at| at.wrapping_add(self.shift).min(now));
        match change.kind.as_str() {
            "state" => self.tell(change.state, at),
            // What was between is not known.
            "gap" => {
                self.since = Default::default();
                self.tell(change.state, now);
            }
            _ => return,
        }
        if change.state == State::Unknown {
            self.known = State::Unknown;
        } else if !self.stamps {
            self.vouch(now);
        }
    }

    fn tell(&mut self, state: State, at: u64) {
        self.told = state;
        for condition in Condition::ALL {
            let since = &mut self.since[condition as usize];
            *since = condition.holds(state).then(|| since.unwrap_or(at));
        }
    }

    /// All that was told is everything up to `at`.
    fn vouch(&mut self, at: u64) {
        if self.as_of > 0 && at > self.as_of.saturating_add(self.stale_after) {
            // Nobody knew for a time: nothing can be said to have held through it.
            for since in self.since.iter_mut().flatten() {
                *since = at.max(*since);
            }
        }
        self.as_of = at.max(self.as_of);
        self.known = self.told;
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
