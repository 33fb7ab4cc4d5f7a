//! What was known of one subject: stretches of one state each. What is in none of them was not observed.

use std::time::Duration;

use super::{
    record::Change,
    timeline::{Stretch, Timeline},
};
use crate::{health::State, time::Wall};

/// A stretch in which a subject had one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The state; never unknown.
    pub state: State,
    /// From the change that told of it to the next, or to the last look.
    pub stretch: Stretch,
    /// Stretches within it in which nobody looked, none at either end.
    pub gaps: Vec<Stretch>,
    /// Whether it was seen to begin: another state was known just before.
    pub begun: bool,
    /// Whether it was seen to end: another state is known just after.
    pub ended: bool,
    /// Which of the subject's changes told of it.
    pub change: usize,
    /// Which of them told where the fault is, and when, in order.
    pub diagnoses: Vec<(Wall, usize)>,
}

impl Segment {
    /// How much of it was observed in `window`.
    pub fn observed(&self, window: Stretch) -> Duration {
        let blind: Duration = self.gaps.iter().map(|gap| gap.within(window).length()).sum();
        self.stretch.within(window).length().saturating_sub(blind)
    }
}

/// The segments of one subject, whose changes these are, in order.
pub fn segments(timeline: &Timeline, changes: &[&Change]) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::new();
    // The one that the next change ends; none before a run's first word, and while the state is unknown.
    let mut open: Option<usize> = None;
    for (i, change) in changes.iter().enumerate() {
        let (Some(run), Some(at)) = (timeline.run(change.run), timeline.at(change.run, change.at)) else {
            continue;
        };
        let current = open.take().filter(|last| changes[all[*last].change].run == change.run);
        if let Some(current) = current {
            let last = &mut all[current];
            if last.state == change.state {
                if change.diagnosis.is_some() {
                    last.diagnoses.push((at, i));
                }
                open = Some(current);
                continue;
            }
            last.stretch.to = at.max(last.stretch.from);
            last.ended = change.state != State::Unknown;
        }
        if change.state != State::Unknown {
            open = Some(all.len());
            all.push(Segment {
                state: change.state,
                stretch: Stretch { from: at, to: run.to.max(at) },
                gaps: Vec::new(),
                begun: !matches!(change.previous, State::Unknown) && change.previous != change.state,
                ended: false,
                change: i,
                diagnoses: change.diagnosis.iter().map(|_| (at, i)).collect(),
            });
        }
    }
    for segment in &mut all {
        cut(segment, timeline.gaps(changes[segment.change].run));
    }
    all.retain(|segment| !segment.stretch.is_empty());
    all
}

/// Takes the gaps out: those at an end make it shorter, and nobody saw it begin or end there. Nor did anybody see it begin
/// whose first look after a gap found it so.
fn cut(segment: &mut Segment, gaps: &[Stretch]) {
    let whole = segment.stretch;
    if gaps.iter().any(|gap| gap.to == whole.from) {
        segment.begun = false;
    }
    for gap in gaps.iter().map(|gap| gap.within(whole)).filter(|gap| !gap.is_empty()) {
        if gap.from <= segment.stretch.from {
            segment.stretch.from = gap.to.max(segment.stretch.from);
            segment.begun = false;
        } else if gap.to >= segment.stretch.to {
            segment.stretch.to = gap.from.min(segment.stretch.to);
            segment.ended = false;
        } else {
            segment.gaps.push(gap);
        }
    }
    if segment.stretch.to < segment.stretch.from {
        segment.stretch.to = segment.stretch.from;
    }
}

/// How long a subject was in each state in `window`, in the order of [`State::ALL`]; the first is what is left: the time
/// in which it was not observed.
pub fn times(segments: &[Segment], window: Stretch) -> [Duration; State::ALL.len()] {
    let mut times = [Duration::ZERO; State::ALL.len()];
    for segment in segments {
        times[segment.state as usize] += segment.observed(window);
    }
    let observed: Duration = times.iter().sum();
    times[State::Unknown as usize] = window.length().saturating_sub(observed);
    times
}
