//! What a harness knows of the node's link, and whether a waiter's release agrees with it: pure.

use std::time::Duration;

use netmon_agent::time::Boot;
use netmon_client::{Condition, WaitOptions};

/// The link's cuts, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    cuts: Vec<Cut>,
    /// When the world was whole for the first time.
    whole: Boot,
}

/// The link was surely cut from when that was done to when it began to be mended.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Before the kernel did it: from then on it may be known. On a busy machine that is long before `from`.
    begun: Boot,
    /// After the kernel had done it.
    from: Boot,
    /// Before it was mended, and after; none while it lasts.
    mended: Option<(Boot, Boot)>,
}

/// How long the agent may take to see it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// That the link is cut.
    pub down: Duration,
    /// That it is mended.
    pub up: Duration,
}

/// Somebody was released.
#[derive(Clone, Debug)]
pub struct Release {
    /// On what.
    pub waited_for: WaitOptions,
    /// Not before that: the question was sent then, and the agent says for how long it waited.
    pub earliest: Boot,
    /// Not after that: the answer was read.
    pub latest: Boot,
}

impl Truth {
    /// Of a link that works from now on.
    pub fn new(whole: Boot) -> Self {
        Self { cuts: Vec::new(), whole }
    }

    /// The link was cut between these two.
    pub fn cut(&mut self, begun: Boot, from: Boot) {
        self.cuts.push(Cut { begun, from, mended: None });
    }

    /// It was mended between these two.
    pub fn mended(&mut self, before: Boot, after: Boot) {
        if let Some(cut) = self.cuts.last_mut() {
            cut.mended = Some((before, after));
        }
    }

    /// Forgets the cuts that were mended so long before `now`: for runs that last, where no wait does.
    pub fn forget(&mut self, now: Boot, age: Duration) {
        let old = |cut: &Cut| cut.mended.is_some_and(|(_, after)| now > after + age);
        let Some(last) = self.cuts.iter().rposition(old) else { return };
        self.whole = self.cuts[last].mended.map_or(self.whole, |(_, after)| after);
        self.cuts.drain(..=last);
    }

    /// What is wrong with a release; none when it agrees.
    pub fn fault(&self, release: &Release, bounds: Bounds) -> Option<String> {
        let Release { waited_for, earliest, latest } = release;
        match waited_for.condition {
            Condition::Up | Condition::Usable | Condition::Degraded => self.cuts.iter().find_map(|cut| {
                let (end, seen) = match cut.mended {
                    Some((before, _)) => (before, before.since(cut.from) > bounds.down),
                    None => (*latest, true),
                };
                // Seen by any agent that lives, it ends what held; a new one knows of nothing before itself.
                let known = seen && *earliest > cut.from + bounds.down;
                let early = cut.mended.is_none() || *latest < end + waited_for.stable;
                (known && early).then(|| format!("cut since {:?}", latest.since(cut.from)))
            }),
            Condition::Down => {
                let last = self.cuts.iter().rev().find(|cut| cut.begun <= *latest);
                let since = match last {
                    None => self.whole,
                    Some(Cut { mended: Some((_, after)), .. }) => *after,
                    Some(Cut { mended: None, .. }) => return None,
                };
                // A cut that began while the answer was under way explains it.
                let whole = *earliest > since + bounds.up;
                whole.then(|| format!("whole since {:?}", earliest.since(since)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { down: Duration::from_millis(500), up: Duration::from_secs(5) };

    fn at(ms: u64) -> Boot {
        Boot::from_nanos(ms * 1_000_000)
    }

    /// Whole from 0, cut from 10 s to 12 s and from 20 s on; the second time that took 50 ms.
    fn truth() -> Truth {
        let mut truth = Truth::new(at(0));
        truth.cut(at(9_990), at(10_000));
        truth.mended(at(12_000), at(12_010));
        truth.cut(at(19_950), at(20_000));
        truth
    }

    fn is_wrong(condition: Condition, stable: u64, earliest: u64, latest: u64) -> bool {
        let stable = Duration::from_millis(stable);
        let waited_for = WaitOptions { condition, stable, ..WaitOptions::default() };
        truth().fault(&Release { waited_for, earliest: at(earliest), latest: at(latest) }, BOUNDS).is_some()
    }

    #[test]
    fn up_is_wrong_while_cut_once_that_must_be_known() {
        assert!(!is_wrong(Condition::Up, 0, 9_000, 9_001));
        assert!(!is_wrong(Condition::Up, 0, 10_400, 10_450));
        assert!(is_wrong(Condition::Up, 0, 10_600, 10_601));
        assert!(is_wrong(Condition::Usable, 0, 11_990, 11_999));
        // Mended before it was heard: the agent may have seen that.
        assert!(!is_wrong(Condition::Up, 0, 11_990, 12_001));
        assert!(!is_wrong(Condition::Up, 0, 14_000, 14_001));
        assert!(is_wrong(Condition::Up, 0, 30_000, 30_001));
    }

    #[test]
    fn what_has_to_be_stable_counts_from_the_mending() {
        assert!(is_wrong(Condition::Up, 1_000, 12_900, 12_950));
        assert!(!is_wrong(Condition::Up, 1_000, 13_000, 13_050));
    }

    #[test]
    fn a_cut_too_short_to_be_seen_is_held_against_nobody() {
        let mut truth = Truth::new(at(0));
        truth.cut(at(9_990), at(10_000));
        truth.mended(at(10_300), at(10_310));
        let waited_for = WaitOptions { stable: Duration::from_secs(5), ..WaitOptions::up() };
        let release = Release { waited_for, earliest: at(10_700), latest: at(10_701) };
        assert!(truth.fault(&release, BOUNDS).is_none());
    }

    #[test]
    fn what_is_forgotten_leaves_the_moment_from_which_it_was_whole() {
        let mut truth = truth();
        let before = truth.clone();
        truth.forget(at(13_000), Duration::from_secs(5));
        assert_eq!(truth.cuts.len(), before.cuts.len());
        truth.forget(at(18_000), Duration::from_secs(5));
        assert_eq!(truth.cuts.len(), before.cuts.len() - 1);
        for ms in [18_000, 19_000, 30_000] {
            for condition in [Condition::Up, Condition::Down] {
                let waited_for = WaitOptions { condition, ..WaitOptions::default() };
                let release = Release { waited_for, earliest: at(ms), latest: at(ms + 1) };
                let [now, then] = [&truth, &before].map(|t| t.fault(&release, BOUNDS).is_some());
                assert_eq!(now, then, "{condition} at {ms}");
            }
        }
    }

    #[test]
    fn down_is_wrong_where_it_has_long_been_whole() {
        assert!(!is_wrong(Condition::Down, 0, 3_000, 3_001));
        assert!(is_wrong(Condition::Down, 0, 6_000, 6_001));
        assert!(!is_wrong(Condition::Down, 0, 10_100, 10_101));
        assert!(!is_wrong(Condition::Down, 0, 16_000, 16_001));
        assert!(is_wrong(Condition::Down, 0, 18_000, 18_001));
        assert!(!is_wrong(Condition::Down, 0, 25_000, 25_001));
        // The cut came while the answer was under way, or was told of before the one who cut it ran again.
        assert!(!is_wrong(Condition::Down, 0, 9_980, 10_010));
        assert!(!is_wrong(Condition::Down, 0, 19_960, 19_970));
        assert!(is_wrong(Condition::Down, 0, 19_940, 19_949));
    }
}
