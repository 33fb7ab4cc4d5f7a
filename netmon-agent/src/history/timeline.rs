//! Runs of the agent, laid end to end on one time line.
//!
//! Boot time orders what happened and tells how long it took; the wall clock only says when. It may have been stepped
//! since: all that a boot saw is told by the distance of the two clocks at its last sign of life, which is the one that
//! somebody has set right.

use std::{collections::HashMap, time::Duration};

use super::record::{Gap, Run, RunId};
use crate::time::{Boot, Wall};

/// A stretch of the time line. Empty when it ends where it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Its first moment.
    pub from: Wall,
    /// The first moment after it.
    pub to: Wall,
}

impl Stretch {
    /// What both have in common.
    pub fn within(self, other: Stretch) -> Stretch {
        let from = self.from.max(other.from);
        Stretch { from, to: self.to.min(other.to).max(from) }
    }

    /// Its length.
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.to <= self.from
    }
}

/// When each run was, and when it did not look.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    runs: Vec<Placed>,
    by_id: HashMap<RunId, usize>,
}

#[derive(Clone, Debug)]
struct Placed {
    stretch: Stretch,
    offset: i64,
    gaps: Vec<Stretch>,
}

impl Timeline {
    /// Lays `runs`, ordered by number, end to end.
    pub fn new(runs: &[Run], gaps: &[Gap]) -> Self {
        let offsets = offsets(runs);
        let mut placed: Vec<Placed> = runs
            .iter()
            .map(|run| {
                let offset = offsets[run.boot.as_str()];
                let stretch = Stretch { from: wall(run.started, offset), to: wall(run.seen, offset) };
                Placed { stretch, offset, gaps: Vec::new() }
            })
            .collect();
        // A clock that was wrong in one boot and right in the next makes them overlap: no moment counts twice.
        for i in (1..placed.len()).rev() {
            let next = placed[i].stretch.from;
            let before = &mut placed[i - 1].stretch;
            before.to = before.to.min(next);
            before.from = before.from.min(before.to);
        }
        let by_id: HashMap<RunId, usize> = runs.iter().enumerate().map(|(i, run)| (run.id, i)).collect();
        // One that makes good for rows that were dropped is written after later ones.
        let mut gaps: Vec<&Gap> = gaps.iter().collect();
        gaps.sort_by_key(|gap| gap.from);
        for gap in gaps {
            let Some(run) = by_id.get(&gap.run).and_then(|i| placed.get_mut(*i)) else { continue };
            let stretch = Stretch { from: wall(gap.from, run.offset), to: wall(gap.to, run.offset) };
            let seen = stretch.within(run.stretch);
            match run.gaps.last_mut() {
                _ if seen.is_empty() => {}
                // One right after the other is one: a look of no length, at what was known before it, is none.
                Some(last) if seen.from <= last.to => last.to = last.to.max(seen.to),
                _ => run.gaps.push(seen),
            }
        }
        Self { runs: placed, by_id }
    }

    /// When a run was; none for a run that is not in the records.
    pub fn run(&self, id: RunId) -> Option<Stretch> {
        Some(self.placed(id)?.stretch)
    }

    /// When something was that a run saw, as far as that run's time reaches.
    pub fn at(&self, id: RunId, at: Boot) -> Option<Wall> {
        let run = self.placed(id)?;
        Some(wall(at, run.offset).clamp(run.stretch.from, run.stretch.to))
    }

    /// When a run did not look, in order.
    pub fn gaps(&self, id: RunId) -> &[Stretch] {
        self.placed(id).map_or(&[], |run| &run.gaps)
    }

    fn placed(&self, id: RunId) -> Option<&Placed> {
        self.by_id.get(&id).map(|i| &self.runs[*i])
    }
}

/// By boot, the distance of the clocks that holds for all of its runs: that of the last of them.
pub(super) fn offsets(runs: &[Run]) -> HashMap<&str, i64> {
    runs.iter().map(|run| (run.boot.as_str(), run.offset)).collect()
}

fn wall(at: Boot, offset: i64) -> Wall {
    let ns = i128::from(at.as_nanos()) + i128::from(offset);
    // Before 1970 and after 2554 nothing was ever seen.
    Wall::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: RunId, boot: &str, started: u64, seen: u64, offset: i64) -> Run {
        let at = Boot::from_nanos;
        Run { id, boot: boot.into(), started: at(started), seen: at(seen), offset, clean: true }
    }

    fn stretch(from: u64, to: u64) -> Stretch {
        Stretch { from: Wall::from_nanos(from), to: Wall::from_nanos(to) }
    }

    #[test]
    fn a_clock_set_right_later_tells_the_whole_boot() {
        // The first run began with a clock that was a thousand behind, which the second had set right.
        let line = Timeline::new(&[run(1, "a", 10, 50, 0), run(2, "a", 60, 90, 1000)], &[]);
        assert_eq!((line.run(1), line.run(2)), (Some(stretch(1010, 1050)), Some(stretch(1060, 1090))));
        assert_eq!(
            (line.at(1, Boot::from_nanos(20)), line.at(3, Boot::default())),
            (Some(Wall::from_nanos(1020)), None)
        );
    }

    #[test]
    fn no_moment_counts_twice() {
        let gap = Gap { run: 1, from: Boot::from_nanos(20), to: Boot::from_nanos(90) };
        let line = Timeline::new(&[run(1, "a", 0, 100, 1000), run(2, "b", 0, 10, 1050)], &[gap]);
        assert_eq!((line.run(1), line.run(2)), (Some(stretch(1000, 1050)), Some(stretch(1050, 1060))));
        assert_eq!(line.gaps(1), [stretch(1020, 1050)]);
        assert_eq!(line.at(1, Boot::from_nanos(99)), Some(Wall::from_nanos(1050)));
    }

    #[test]
    fn gaps_may_be_written_in_any_order() {
        let gap = |from, to| Gap { run: 1, from: Boot::from_nanos(from), to: Boot::from_nanos(to) };
        let gaps = [gap(60, 70), gap(20, 30), gap(10, 65), gap(90, 95)];
        let line = Timeline::new(&[run(1, "a", 0, 100, 0)], &gaps);
        assert_eq!(line.gaps(1), [stretch(10, 70), stretch(90, 95)]);
    }
}
