//! Segments become outages.

use std::{collections::BTreeMap, mem, time::Duration};

use super::{
    record::Waits,
    segments::Segment,
    timeline::{Stretch, Timeline},
};
use crate::{health::State, time::Wall};

/// A state that was bad before a time in which nobody looked, and is the same after it, is one outage where that time is no
/// longer than this: as long as a restart of the agent, a reboot, or a short sleep takes. Of a longer one nobody knows.
pub const CONTINUES: Duration = Duration::from_secs(600);

/// Names of programs told of one outage; those of the others are left out.
pub const MAX_JOBS: usize = 32;

/// A time in which a subject was `down`, or `degraded`, without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// `Down` or `Degraded`.
    pub state: State,
    /// From the first to the last moment at which it was seen so.
    pub stretch: Stretch,
    /// Of that the time in which nobody looked.
    pub unobserved: Duration,
    /// Whether it was seen to begin. If not, it was there when it was first looked at.
    pub begun: bool,
    /// How it ended.
    pub end: End,
    /// Which of the subject's changes told of it first.
    pub change: usize,
    /// Which of them last told where the fault is.
    pub diagnosis: Option<usize>,
}

/// How an outage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was seen to end.
    Seen,
    /// It has not: it is so now.
    Open,
    /// Nobody looked any more, and when somebody looked again, if so, it was over.
    Unseen,
}

impl Outage {
    /// How long it was, the time included in which nobody looked.
    pub fn length(&self) -> Duration {
        self.stretch.length()
    }
}

/// The outages in a subject's segments. `now`: the last moment of a run that still runs.
pub fn outages(segments: &[Segment], now: Option<Wall>) -> Vec<Outage> {
    let mut all: Vec<Outage> = Vec::new();
    let mut before: Option<&Segment> = None;
    for segment in segments {
        if matches!(segment.state, State::Down | State::Degraded) {
            let hole = before.map(|b| segment.stretch.from.since(b.stretch.to));
            let mut goes_on = before.is_some_and(|b| b.state == segment.state) && hole <= Some(CONTINUES);
            for piece in pieces(segment) {
                match all.last_mut().filter(|_| mem::take(&mut goes_on)) {
                    Some(outage) => {
                        outage.stretch.to = piece.stretch.to;
                        outage.unobserved += piece.unobserved + hole.unwrap_or_default();
                        outage.diagnosis = piece.diagnosis.or(outage.diagnosis);
                        outage.end = piece.end;
                    }
                    None => all.push(piece),
                }
            }
        }
        before = Some(segment);
    }
    // What is so at the last look of an agent that runs is so now.
    if let (Some(last), Some(segment), Some(now)) = (all.last_mut(), segments.last(), now)
        && last.end == End::Unseen
        && last.stretch.to == segment.stretch.to
        && last.stretch.to >= now
    {
        last.end = End::Open;
    }
    all
}

/// A segment in which it was bad, in as many outages as it has to be where nobody looked for longer than [`CONTINUES`]: that
/// the agent ran on and found it the same afterwards makes it no more known than it is over a restart.
fn pieces(segment: &Segment) -> Vec<Outage> {
    let piece = |stretch: Stretch, unobserved: Duration| Outage {
        state: segment.state,
        stretch,
        unobserved,
        begun: segment.begun && stretch.from == segment.stretch.from,
        end: if segment.ended && stretch.to == segment.stretch.to { End::Seen } else { End::Unseen },
        change: segment.change,
        // What was told before is what the agent still holds; what is told later is of another.
        diagnosis: segment.diagnoses.iter().rfind(|(at, _)| *at <= stretch.to).map(|(_, change)| *change),
    };
    let (mut all, mut from, mut blind) = (Vec::new(), segment.stretch.from, Duration::ZERO);
    for gap in &segment.gaps {
        if gap.length() > CONTINUES {
            all.push(piece(Stretch { from, to: gap.from }, blind));
            (from, blind) = (gap.to, Duration::ZERO);
        } else {
            blind += gap.length();
        }
    }
    all.push(piece(Stretch { from, to: segment.stretch.to }, blind));
    all
}

/// Who waited for a subject during an outage of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// By name and user, the most waited for first.
    pub jobs: Vec<Job>,
    /// All others together, where there were more than [`MAX_JOBS`].
    pub others: Job,
}

/// Waits of programs of one name and user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The name.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// How many waits.
    pub count: u64,
    /// Waited by all of them together.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
}

impl Job {
    fn add(&mut self, count: u64, total: Duration, longest: Duration) {
        self.count += count;
        self.total += total;
        self.longest = self.longest.max(longest);
    }
}

/// When waits were; none where nothing is known of their run.
pub fn placed(timeline: &Timeline, waits: &Waits) -> Option<Stretch> {
    Some(Stretch { from: timeline.at(waits.run, waits.from)?, to: timeline.at(waits.run, waits.to)? })
}

/// Those of `waits`, all of the outage's subject, that were under way during the outage.
pub fn waited(stretch: Stretch, waits: &[(Stretch, &Waits)]) -> Waited {
    let mut jobs: BTreeMap<(&str, u32), Job> = BTreeMap::new();
    for (when, w) in waits {
        if when.from >= stretch.to || when.to <= stretch.from {
            continue;
        }
        let job = jobs.entry((&w.job, w.uid)).or_insert_with(|| Job {
            name: w.job.clone(),
            uid: w.uid,
            ..Job::default()
        });
        job.add(w.count, w.total, w.longest);
    }
    let mut jobs: Vec<Job> = jobs.into_values().collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job.total));
    let mut others = Job::default();
    for job in jobs.drain(MAX_JOBS.min(jobs.len())..) {
        others.add(job.count, job.total, job.longest);
    }
    Waited { jobs, others }
}

/// Figures of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Time in each state, in the order of [`State::ALL`]; the first is the time that was not observed.
    pub times: [Duration; State::ALL.len()],
    /// How often it was down.
    pub outages: u64,
    /// The longest time that it was.
    pub longest: Duration,
    /// Mean length of those that were seen to end.
    pub mean_to_recover: Option<Duration>,
    /// Time that it was observed not to be down, for each time that it went down.
    pub mean_between: Option<Duration>,
}

impl Summary {
    /// The figures of `outages` and the time in each state, both of one window.
    pub fn of(times: [Duration; State::ALL.len()], outages: &[Outage]) -> Self {
        let down = || outages.iter().filter(|o| o.state == State::Down);
        let count = down().count() as u32;
        let ended: Vec<Duration> = down().filter(|o| o.end == End::Seen).map(Outage::length).collect();
        let well = times[State::Up as usize] + times[State::Degraded as usize];
        Self {
            times,
            outages: u64::from(count),
            longest: down().map(Outage::length).max().unwrap_or_default(),
            mean_to_recover: ended.iter().sum::<Duration>().checked_div(ended.len() as u32),
            mean_between: well.checked_div(count),
        }
    }
}

/// Part of the observed time in which it was not down, 0 to 1; none where nothing was observed.
pub fn availability(times: [Duration; State::ALL.len()]) -> Option<f64> {
    let [_, up, degraded, down] = times;
    let observed = up + degraded + down;
    (!observed.is_zero()).then(|| (up + degraded).as_secs_f64() / observed.as_secs_f64())
}
