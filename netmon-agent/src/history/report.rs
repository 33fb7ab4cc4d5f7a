//! Records become the answer to a question.

use std::collections::BTreeMap;

use jiff::{ToSpan, Zoned, tz::TimeZone};
use netmon_client::wire;

use super::{
    outages::{self, End, Job, Outage, Summary},
    record::{Change, Records, RunId, Waits},
    segments::{self, Segment},
    timeline::{Stretch, Timeline},
};
use crate::{
    health::{State, Subject},
    output::{STEP_NS, api::wire_map, rfc3339},
    time::Wall,
};

/// Outages in one answer when nobody says otherwise, and at most.
pub const LIMITS: (usize, usize) = (1000, 10_000);

/// Longest period of an answer; it has a row a day.
pub const MAX_PERIOD: std::time::Duration = std::time::Duration::from_secs(3660 * 86_400);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The period.
    pub window: Stretch,
    /// Whose outages; those of all without one.
    pub subject: Option<Whose>,
    /// Most outages in the answer: the latest.
    pub limit: usize,
    /// Whose days.
    pub zone: TimeZone,
}

/// Which subject is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This one.
    Exactly(Subject),
    /// The device or target of this name.
    Named(String),
}

impl Whose {
    /// Reads `network`, `device:eth0`, `target:10.0.0.1`, or a name alone.
    pub fn read(text: &str) -> Self {
        match text.split_once(':') {
            Some(("device", name)) => Self::Exactly(Subject::Device(name.to_owned())),
            Some(("target", name)) => Self::Exactly(Subject::Target(name.to_owned())),
            _ if text == Subject::Network.name() => Self::Exactly(Subject::Network),
            _ => Self::Named(text.to_owned()),
        }
    }

    /// Whether it is `subject`.
    pub fn is(&self, subject: &Subject) -> bool {
        match self {
            Self::Exactly(one) => one == subject,
            Self::Named(name) => *subject != Subject::Network && subject.name() == name,
        }
    }

    /// What stands in the answer where nothing is known of it.
    fn guess(&self) -> Subject {
        match self {
            Self::Exactly(one) => one.clone(),
            Self::Named(name) => Subject::Target(name.clone()),
        }
    }
}

/// Answers from `records`. `live`: the run that still runs, whose last look is in its record.
pub fn answer(records: &Records, question: &Question, live: Option<RunId>) -> wire::History {
    let timeline = Timeline::new(&records.runs, &records.gaps);
    let now = live.and_then(|run| timeline.run(run)).map(|stretch| stretch.to);
    // Of what is to come nothing is known; that is not the same as not observed.
    let to = now.map_or(question.window.to, |now| question.window.to.min(now));
    let window = Stretch { from: question.window.from.min(to), to };
    let shown = question.subject.clone().unwrap_or(Whose::Exactly(Subject::Network));
    let mut waits: BTreeMap<&Subject, Vec<(Stretch, &Waits)>> = BTreeMap::new();
    for one in &records.waits {
        let Some(when) = outages::placed(&timeline, one) else { continue };
        waits.entry(&one.subject).or_default().push((when, one));
    }
    let mut found: Vec<(Outage, &Subject, &Change, Option<&Change>)> = Vec::new();
    let mut summed: Option<(&Subject, Vec<Segment>, Vec<Outage>)> = None;
    for (subject, changes) in by_subject(records) {
        let wanted = question.subject.as_ref().is_none_or(|whose| whose.is(subject));
        if !wanted && !shown.is(subject) {
            continue;
        }
        let segments = segments::segments(&timeline, &changes);
        let mut all = outages::outages(&segments, now);
        all.retain(|o| o.stretch.from < window.to && o.stretch.to > window.from);
        if wanted {
            found.extend(
                all.iter().map(|o| (o.clone(), subject, changes[o.change], o.diagnosis.map(|i| changes[i]))),
            );
        }
        // Where a device and a target have one name, the figures are of the first that is known.
        if shown.is(subject) && summed.is_none() {
            summed = Some((subject, segments, all));
        }
    }
    found.sort_by(|a, b| (a.0.stretch.from, a.1).cmp(&(b.0.stretch.from, b.1)));
    let omitted = found.len().saturating_sub(question.limit);
    let outages = found[omitted..]
        .iter()
        .map(|(outage, subject, began, located)| {
            let waits = waits.get(subject).map_or(&[][..], Vec::as_slice);
            let waited = outages::waited(outage.stretch, waits);
            told(outage, subject, began, *located, &waited)
        })
        .collect();
    let guess = shown.guess();
    let (subject, segments, all) = summed.unwrap_or((&guess, Vec::new(), Vec::new()));
    wire::History {
        schema: wire::SCHEMA,
        since: rfc3339(window.from),
        until: rfc3339(window.to),
        outages,
        omitted: omitted as u64,
        summary: summary(subject, &Summary::of(segments::times(&segments, window), &all)),
        days: days(&segments, &all, window, &question.zone),
    }
}

/// What was known of the whole network in `window`: stretches of one state each, in order. Where there is none, nobody
/// looked, or the state was unknown.
pub fn seen(records: &Records, window: Stretch) -> Vec<(Stretch, State)> {
    let timeline = Timeline::new(&records.runs, &records.gaps);
    let changes: Vec<&Change> = records.changes.iter().filter(|c| c.subject == Subject::Network).collect();
    let mut all = Vec::new();
    for segment in segments::segments(&timeline, &changes) {
        let mut from = segment.stretch.from;
        for gap in &segment.gaps {
            all.push((Stretch { from, to: gap.from }, segment.state));
            from = gap.to;
        }
        all.push((Stretch { from, to: segment.stretch.to }, segment.state));
    }
    let all = all.into_iter().map(|(stretch, state)| (stretch.within(window), state));
    all.filter(|(stretch, _)| !stretch.is_empty()).collect()
}

fn by_subject(records: &Records) -> BTreeMap<&Subject, Vec<&Change>> {
    let mut all: BTreeMap<&Subject, Vec<&Change>> = BTreeMap::new();
    for change in &records.changes {
        all.entry(&change.subject).or_default().push(change);
    }
    all
}

fn told(
    outage: &Outage,
    subject: &Subject,
    began: &Change,
    located: Option<&Change>,
    waited: &outages::Waited,
) -> wire::Outage {
    let start = outage.stretch.from;
    let stepped = began.told.as_nanos().abs_diff(start.as_nanos()) >= STEP_NS;
    // What was written by this program reads; what was not is told without.
    let diagnosis = located.and_then(|c| serde_json::from_str(c.diagnosis.as_deref()?).ok());
    wire::Outage {
        kind: subject.kind().into(),
        subject: subject.name().into(),
        state: wire_map::state(outage.state),
        start: rfc3339(start),
        start_seen: outage.begun,
        start_told: (stepped && outage.begun).then(|| rfc3339(began.told)),
        end: (outage.end != End::Open).then(|| rfc3339(outage.stretch.to)),
        end_seen: outage.end == End::Seen,
        seconds: outage.length().as_secs_f64(),
        unobserved_seconds: outage.unobserved.as_secs_f64(),
        reasons: serde_json::from_str(&began.reasons).unwrap_or_default(),
        diagnosis,
        waited: waited.jobs.iter().map(job).collect(),
        waited_others: (waited.others.count > 0).then_some(wire::Others {
            count: waited.others.count,
            seconds: waited.others.total.as_secs_f64(),
            longest_seconds: waited.others.longest.as_secs_f64(),
        }),
    }
}

fn job(job: &Job) -> wire::Job {
    wire::Job {
        job: job.name.clone(),
        uid: job.uid,
        count: job.count,
        seconds: job.total.as_secs_f64(),
        longest_seconds: job.longest.as_secs_f64(),
    }
}

fn times(times: [std::time::Duration; State::ALL.len()]) -> wire::Times {
    let [unobserved, up, degraded, down] = times.map(|t| t.as_secs_f64());
    wire::Times {
        up_seconds: up,
        degraded_seconds: degraded,
        down_seconds: down,
        unobserved_seconds: unobserved,
        availability: outages::availability(times),
    }
}

fn summary(subject: &Subject, s: &Summary) -> wire::Summary {
    wire::Summary {
        kind: subject.kind().into(),
        subject: subject.name().into(),
        times: times(s.times),
        outages: s.outages,
        longest_seconds: s.longest.as_secs_f64(),
        mean_time_to_recover_seconds: s.mean_to_recover.map(|d| d.as_secs_f64()),
        mean_time_between_failures_seconds: s.mean_between.map(|d| d.as_secs_f64()),
    }
}

fn days(segments: &[Segment], outages: &[Outage], window: Stretch, zone: &TimeZone) -> Vec<wire::Day> {
    let mut days = Vec::new();
    let mut from = window.from;
    while from < window.to {
        let Some((date, next)) = day(from, zone) else { break };
        let stretch = Stretch { from, to: next.min(window.to) };
        let began = |o: &&Outage| {
            o.state == State::Down && o.stretch.from >= stretch.from && o.stretch.from < stretch.to
        };
        days.push(wire::Day {
            date,
            since: rfc3339(stretch.from),
            until: rfc3339(stretch.to),
            times: times(segments::times(segments, stretch)),
            outages: outages.iter().filter(began).count() as u64,
        });
        from = next;
    }
    days
}

/// The date at `at`, and when the next day begins.
fn day(at: Wall, zone: &TimeZone) -> Option<(String, Wall)> {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).ok()?;
    let here = Zoned::new(at, zone.clone());
    let next = here.checked_add(1.day()).ok()?.start_of_day().ok()?;
    let next = u64::try_from(next.timestamp().as_nanosecond()).ok()?;
    Some((here.date().to_string(), Wall::from_nanos(next)))
}
