//! What became of each subject, and what of that is to be told when. Pure.
//!
//! A state is told when it has held for [`Rule::after`], and is another than the last that did: a flap that is over within
//! that time is never told, and neither is a state that came back. `unknown` is no state of the network but of what is
//! known of it: unless it is asked for, it is passed over, and what held before goes on holding when it is known again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::rule::Rule;
use crate::{
    health::{State, Subject},
    state::ChangeEvent,
    time::Mono,
};

/// Something to tell.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The change to what is told, with its reasons. Its `previous` may be another than ours: what did not hold.
    pub change: Arc<ChangeEvent>,
    /// The last state that was held before.
    pub previous: State,
    /// Since when it could have been told.
    pub due: Mono,
    /// Notices of the same subject that this one stands for, beside itself.
    pub collapsed: u64,
}

impl Notice {
    /// Of whom.
    pub fn subject(&self) -> &Subject {
        &self.change.subject
    }
}

/// One notifier's view of all subjects.
#[derive(Debug)]
pub struct Tracker {
    rule: Rule,
    tracks: HashMap<Subject, Track>,
    /// The candidates that are known to hold, by when they have held long enough.
    due: BTreeSet<(Mono, Subject)>,
}

#[derive(Debug, Default)]
struct Track {
    /// The last state that held; none before the first.
    held: Option<State>,
    candidate: Option<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    change: Arc<ChangeEvent>,
    due: Mono,
}

impl Tracker {
    /// Of nobody so far.
    pub fn new(rule: Rule) -> Self {
        Self { rule, tracks: HashMap::new(), due: BTreeSet::new() }
    }

    /// The same with another rule: what held is known, what waits to hold begins anew with the next look.
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.due.clear();
        self.tracks.retain(|subject, _| rule.subjects.has(subject));
        self.tracks.values_mut().for_each(|track| track.candidate = None);
        Self { rule, ..self }
    }

    /// A subject has this state, since then.
    pub fn see(&mut self, since: Mono, change: &Arc<ChangeEvent>) {
        let Self { rule, tracks, due } = self;
        let (subject, state) = (&change.subject, change.state);
        if !rule.subjects.has(subject) {
            return;
        }
        if !tracks.contains_key(subject) {
            tracks.insert(subject.clone(), Track::default());
        }
        let Some(track) = tracks.get_mut(subject) else { return };
        if let Some(candidate) = &track.candidate {
            due.remove(&(candidate.due, subject.clone()));
        }
        if state == State::Unknown && !rule.states.has(State::Unknown) {
            return;
        }
        if state == track.held.unwrap_or(State::Unknown) {
            track.candidate = None;
            return;
        }
        let at = match &track.candidate {
            Some(candidate) if candidate.change.state == state => candidate.due,
            _ => since + rule.after,
        };
        track.candidate = Some(Candidate { change: Arc::clone(change), due: at });
        due.insert((at, subject.clone()));
    }

    /// When [`Tracker::poll`] has something to tell, if nothing happens before.
    pub fn next(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What has held long enough at `now`; call it until there is nothing more.
    pub fn poll(&mut self, now: Mono) -> Option<Notice> {
        while self.next().is_some_and(|at| at <= now) {
            let (_, subject) = self.due.pop_first()?;
            let track = self.tracks.get_mut(&subject)?;
            let Some(Candidate { change, due }) = track.candidate.take() else { continue };
            let (state, before) = (change.state, track.held.replace(change.state));
            let told = before.is_some() || self.rule.initial || state != State::Up;
            if told && self.rule.states.has(state) {
                let previous = before.unwrap_or(State::Unknown);
                return Some(Notice { change, previous, due, collapsed: 0 });
            }
        }
        None
    }

    /// Forgets subjects that are no more.
    pub fn retain(&mut self, is: impl Fn(&Subject) -> bool) {
        self.tracks.retain(|subject, _| is(subject));
        let Self { tracks, due, .. } = self;
        due.retain(|(_, subject)| tracks.contains_key(subject));
    }
}

#[cfg(test)]
mod tests;
