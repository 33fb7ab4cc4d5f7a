//! What is known of the agent: its last status, the changes since, the targets' last round trips. Values in, no I/O.

use std::collections::{HashMap, VecDeque};

use netmon_client::{
    State,
    wire::{Change, Status},
};

use super::track::Track;

/// Changes kept, the oldest go first.
const CHANGES: usize = 500;

/// Whether the agent answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// It does.
    #[default]
    There,
    /// It does not.
    Away {
        /// Since when, nanoseconds of `CLOCK_BOOTTIME`.
        since: u64,
        /// What the last try came to.
        why: String,
    },
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// What the agent told last, with the changes told since.
    pub(super) status: Status,
    /// Whether it still answers.
    pub(super) reach: Reach,
    /// The newest first.
    pub(super) changes: VecDeque<Change>,
    tracks: HashMap<String, Track>,
    /// Statuses seen.
    seen: u64,
}

impl Store {
    /// A status came.
    pub(super) fn take_status(&mut self, status: Status) {
        self.reach = Reach::There;
        self.seen += 1;
        self.status = status;
        for (place, target) in self.status.targets.iter().enumerate() {
            // Names are many and nearly always known: none is copied to look it up.
            let track = match self.tracks.get_mut(&target.name) {
                Some(track) => track,
                None => self.tracks.entry(target.name.clone()).or_default(),
            };
            (track.place, track.seen) = (place, self.seen);
            track.look(target);
        }
        if self.tracks.len() > self.status.targets.len() {
            self.tracks.retain(|_, track| track.seen == self.seen);
        }
        // It was asked for before these came, and would undo them.
        let newer: Vec<Change> = self.changes.iter().filter(|c| c.seq > self.status.seq).cloned().collect();
        for change in newer.into_iter().rev() {
            self.apply(&change);
        }
    }

    /// A change came, or the word that some were missed, or the state as it is.
    pub(super) fn take_change(&mut self, change: Change) {
        self.reach = Reach::There;
        if change.seq > self.status.seq {
            self.apply(&change);
        }
        let is_change = change.state != change.previous || change.diagnosis.is_some() || change.kind == "gap";
        // A connection that is made anew begins with what may have been told already.
        let known = self.changes.iter().take_while(|c| c.seq >= change.seq).any(|c| *c == change);
        if is_change && !known {
            self.changes.truncate(CHANGES - 1);
            self.changes.push_front(change);
        }
    }

    /// The agent does not answer.
    pub(super) fn lose(&mut self, why: String, now: u64) {
        match &mut self.reach {
            Reach::There => self.reach = Reach::Away { since: now, why },
            Reach::Away { why: last, .. } => *last = why,
        }
    }

    /// The state that may be told: unknown while nobody says.
    pub(super) fn state(&self) -> State {
        if self.reach == Reach::There { self.status.state } else { State::Unknown }
    }

    /// What is remembered of a target.
    pub(super) fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.get(name)
    }

    /// Makes a change be seen in the status.
    fn apply(&mut self, change: &Change) {
        let status = &mut self.status;
        let (state, since) = (change.state, change.boottime_ns);
        let (reasons, diagnosis) = (change.reasons.clone(), change.diagnosis.clone());
        let turned = change.state != change.previous;
        match change.kind.as_str() {
            "state" | "gap" => {
                (status.state, status.reasons, status.diagnosis) = (state, reasons, diagnosis);
                status.since_boottime_ns = since.filter(|_| turned).unwrap_or(status.since_boottime_ns);
            }
            "device" => {
                let Some(d) = status.devices.iter_mut().find(|d| d.name == change.subject) else { return };
                (d.state, d.reasons) = (state, reasons);
                d.since_boottime_ns = since.filter(|_| turned).unwrap_or(d.since_boottime_ns);
            }
            "target" => {
                let place = self.tracks.get(&change.subject).map(|track| track.place);
                let Some(t) = place.and_then(|place| status.targets.get_mut(place)) else { return };
                (t.state, t.reasons, t.diagnosis) = (state, reasons, diagnosis);
                t.since_boottime_ns = since.filter(|_| turned).unwrap_or(t.since_boottime_ns);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Device, Target};

    use super::*;

    fn status(seq: u64, state: State) -> Status {
        let target = |name: &str| Target { name: name.into(), state, ..Target::default() };
        Status {
            seq,
            state,
            devices: vec![Device { name: "eth0".into(), state, ..Device::default() }],
            targets: vec![target("a"), target("b")],
            ..Status::default()
        }
    }

    fn change(seq: u64, kind: &str, subject: &str, state: State) -> Change {
        let (kind, subject) = (kind.into(), subject.into());
        Change { seq, kind, subject, state, boottime_ns: Some(seq), ..Change::default() }
    }

    #[test]
    fn a_change_shows_at_once_and_no_older_status_undoes_it() {
        let mut store = Store::default();
        store.take_status(status(10, State::Up));
        for (seq, kind, subject) in [(11, "device", "eth0"), (12, "target", "b"), (13, "state", "network")] {
            store.take_change(change(seq, kind, subject, State::Down));
        }
        let states = |store: &Store| {
            let s = &store.status;
            (s.state, s.devices[0].state, s.targets[0].state, s.targets[1].state)
        };
        let after = (State::Down, State::Down, State::Up, State::Down);
        assert_eq!(states(&store), after);
        assert_eq!((store.status.since_boottime_ns, store.status.devices[0].since_boottime_ns), (13, 11));
        store.take_status(status(11, State::Up));
        assert_eq!(states(&store), (State::Down, State::Up, State::Up, State::Down));
        store.take_status(status(13, State::Up));
        assert_eq!(states(&store), (State::Up, State::Up, State::Up, State::Up));
        assert_eq!(store.changes.iter().map(|c| c.seq).collect::<Vec<_>>(), [13, 12, 11]);
    }

    #[test]
    fn what_is_no_change_or_known_is_not_listed() {
        let mut store = Store::default();
        let as_it_is = Change { previous: State::Up, ..change(5, "state", "network", State::Up) };
        store.take_change(as_it_is);
        assert!(store.changes.is_empty());
        let gap = Change { previous: State::Up, ..change(6, "gap", "network", State::Up) };
        for _ in 0..2 {
            store.take_change(gap.clone());
        }
        assert_eq!(store.changes.len(), 1);
        for seq in 7..2000 {
            store.take_change(change(seq, "target", "gone", State::Down));
        }
        assert_eq!((store.changes.len(), store.changes[0].seq), (CHANGES, 1999));
    }

    #[test]
    fn nothing_is_known_while_the_agent_is_away() {
        let mut store = Store::default();
        store.take_status(status(1, State::Up));
        store.lose("gone".into(), 7);
        store.lose("still gone".into(), 9);
        assert_eq!(store.reach, Reach::Away { since: 7, why: "still gone".into() });
        assert_eq!((store.state(), store.status.state), (State::Unknown, State::Up));
        store.take_status(status(2, State::Up));
        assert_eq!(store.state(), State::Up);
    }

    #[test]
    fn a_target_that_is_gone_is_forgotten() {
        let mut store = Store::default();
        store.take_status(status(1, State::Up));
        let mut fewer = status(2, State::Up);
        fewer.targets.remove(0);
        store.take_status(fewer);
        assert!(store.track("a").is_none());
        store.take_change(change(3, "target", "b", State::Down));
        assert_eq!(store.status.targets[0].state, State::Down, "its place has changed");
    }
}
