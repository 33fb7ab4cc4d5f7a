//! One judgement for all who wait for the same.

use std::sync::Arc;

use super::condition::{Condition, Memory, Outcome};
use crate::{health::State, state::Snapshot, time::Boot};

/// What a condition has come to, remembered for the next who asks.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    memory: Memory,
    /// The snapshot last judged; with the state, if it satisfied.
    last: Option<(Arc<Snapshot>, Option<State>)>,
    published: Option<Boot>,
}

impl Judge {
    /// One that starts with a memory of its condition.
    pub fn new(memory: Memory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Takes from another memory of the condition what can't be found out any more.
    pub fn learn(&mut self, memory: &Memory) {
        self.memory.learn(memory);
    }

    /// Judges the newest snapshot. `stale`: whether nobody may be released on it.
    pub fn judge(
        &mut self,
        condition: &Condition,
        snapshot: &Arc<Snapshot>,
        now: Boot,
        stale: bool,
    ) -> Outcome {
        let before = self.last.as_ref().map(|(last, held)| (Arc::ptr_eq(last, snapshot), *held));
        // Time alone turns no satisfied condition into another: a state that stands gets only older.
        if let Some((true, Some(state))) = before
            && !stale
        {
            return Outcome::Satisfied { state };
        }
        let outcome = condition.check(snapshot, now, stale, &mut self.memory);
        let held = match outcome {
            Outcome::Satisfied { state } => Some(state),
            Outcome::Blocked { .. } | Outcome::NoSuch(_) => None,
        };
        match before {
            // It came true by this snapshot, …
            Some((false, None)) if held.is_some() => self.published = Some(snapshot.at.boot),
            // … or was true before it.
            Some((_, Some(_))) if held.is_some() => {}
            _ => self.published = None,
        }
        self.last = Some((snapshot.clone(), held));
        outcome
    }

    /// When the snapshot was made by which the condition came true; none when time did it, or it isn't true.
    pub fn published(&self) -> Option<Boot> {
        self.published
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netmon_client::Condition as Wanted;

    use super::*;
    use crate::{
        health::Verdict,
        time::{Moment, Mono},
    };

    fn at(s: u64) -> Moment {
        Moment { mono: Mono::from_nanos(s * 1_000_000_000), boot: Boot::from_nanos(s * 1_000_000_000) }
    }

    fn published(s: u64, state: State) -> Arc<Snapshot> {
        let mut verdict = Verdict::default();
        verdict.update(at(s), state, vec![]);
        Arc::new(Snapshot { at: at(s), verdict, ..Snapshot::default() })
    }

    fn up_for(seconds: u64) -> Condition {
        Condition { wanted: Wanted::Up, stable: Duration::from_secs(seconds), ..Condition::default() }
    }

    const UP: Outcome = Outcome::Satisfied { state: State::Up };

    #[test]
    fn knows_which_publication_made_it_true() {
        let (condition, mut judge) = (up_for(0), Judge::default());
        let (down, up) = (published(1, State::Down), published(5, State::Up));
        assert!(matches!(judge.judge(&condition, &down, at(2).boot, false), Outcome::Blocked { .. }));
        assert_eq!(judge.judge(&condition, &up, at(6).boot, false), UP);
        assert_eq!(judge.published(), Some(at(5).boot));
        // Who comes a publication later was woken by the first all the same.
        assert_eq!(judge.judge(&condition, &published(7, State::Up), at(8).boot, false), UP);
        assert_eq!(judge.published(), Some(at(5).boot));
        judge.judge(&condition, &down, at(9).boot, false);
        assert_eq!(judge.published(), None);
    }

    #[test]
    fn time_makes_it_true_without_a_publication() {
        let (condition, mut judge, up) = (up_for(5), Judge::default(), published(1, State::Up));
        assert!(matches!(judge.judge(&condition, &up, at(2).boot, false), Outcome::Blocked { .. }));
        assert_eq!(judge.judge(&condition, &up, at(6).boot, false), UP);
        assert_eq!(judge.published(), None);
    }

    #[test]
    fn r15_what_was_satisfied_releases_nobody_once_stale() {
        let (condition, mut judge, up) = (up_for(0), Judge::default(), published(1, State::Up));
        assert_eq!(judge.judge(&condition, &up, at(2).boot, false), UP);
        let stale = judge.judge(&condition, &up, at(9).boot, true);
        assert!(matches!(stale, Outcome::Blocked { state: State::Unknown, retry_at: Some(_), .. }));
        assert_eq!(judge.judge(&condition, &up, at(10).boot, false), UP);
    }

    #[test]
    fn a_newer_snapshot_is_judged_anew() {
        let (condition, mut judge) = (up_for(0), Judge::default());
        assert_eq!(judge.judge(&condition, &published(1, State::Up), at(2).boot, false), UP);
        let down = judge.judge(&condition, &published(3, State::Down), at(3).boot, false);
        assert!(matches!(down, Outcome::Blocked { state: State::Down, .. }));
    }
}
