//! What the board shows becomes rows: pure.
//!
//! Every change comes by its number. Where some were missed – the disk was so slow, or so full, that the board's backlog is
//! over – the state of everything is taken from the snapshot, and the time between was not observed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use netmon_client::wire;

use super::{
    jobs::{Kind, Tally},
    record::{Change, Gap, Waits},
    store::Batch,
};
use crate::{
    health::{State, Subject},
    output::{WallOffset, api::wire_map},
    state::{ChangeEvent, Snapshot, TargetView},
    time::Boot,
};

/// A device that is gone was unplugged, which is an outage, or is no more, which is none: after this nothing is known of it.
const GONE: Duration = Duration::from_secs(86_400);

/// What has been written of every subject.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    known: HashMap<Subject, Known>,
    /// Number of the last change taken.
    seq: u64,
    /// The last moment that is accounted for.
    until: Boot,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    since: Boot,
    /// When it was last down or degraded; none if never.
    bad_until: Option<Boot>,
    /// Whether the state is in the file, and not lost on the way.
    written: bool,
}

impl Known {
    fn is_bad(&self) -> bool {
        matches!(self.state, State::Down | State::Degraded)
    }
}

impl Follower {
    /// Follows from change number `seq` on, at `now`.
    pub fn new(seq: u64, now: Boot) -> Self {
        Self { known: HashMap::new(), seq, until: now }
    }

    /// Number of the last change taken.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Takes changes that follow the last one.
    pub fn take(&mut self, changes: &[Arc<ChangeEvent>], now: Boot, walls: WallOffset, out: &mut Batch) {
        for change in changes {
            let c = wire_map::change(change, walls);
            self.seq = change.seq;
            self.put(&change.subject, change.state, change.at);
            out.changes.push(Change {
                run: 0,
                seq: change.seq,
                at: change.at,
                told: walls.wall(change.at),
                subject: change.subject.clone(),
                previous: change.previous,
                state: change.state,
                reasons: json_of(&c.reasons),
                diagnosis: c.diagnosis.as_ref().map(json),
            });
        }
        self.until = self.until.max(now);
    }

    /// Takes times in which nobody looked.
    pub fn take_gaps(&mut self, gaps: &[(Boot, Boot)], out: &mut Batch) {
        out.gaps.extend(gaps.iter().map(|&(from, to)| Gap { run: 0, from, to }));
    }

    /// Changes were missed: what is so now, and that nothing is known of the time since the last one taken.
    pub fn resync(&mut self, snapshot: &Snapshot, walls: WallOffset, out: &mut Batch) {
        let at = snapshot.at.boot;
        out.gaps.push(Gap { run: 0, from: self.until, to: at });
        self.seq = snapshot.seq;
        self.until = self.until.max(at);
        for (subject, verdict, diagnosis) in snapshot.verdicts() {
            let before = self.known.get(&subject).map_or((State::Unknown, true), |k| (k.state, k.written));
            if (verdict.state, true) == before {
                continue;
            }
            self.put(&subject, verdict.state, at);
            out.changes.push(Change {
                run: 0,
                seq: snapshot.seq,
                at,
                told: walls.wall(at),
                subject,
                // Not `before`: that it was so until now, nobody has seen.
                previous: State::Unknown,
                state: verdict.state,
                reasons: json_of(&verdict.reasons.iter().map(wire_map::reason).collect::<Vec<_>>()),
                diagnosis: diagnosis.map(|d| json(&wire_map::diagnosis(d, walls))),
            });
        }
        self.forget_others(snapshot, walls, out);
    }

    /// What was taken since `at` was never written: it is missed, too.
    pub fn forget_since(&mut self, at: Boot) {
        self.until = self.until.min(at);
        self.known.values_mut().for_each(|known| known.written = false);
    }

    /// Subjects that the snapshot no longer shows are not observed any more.
    pub fn forget_others(&mut self, snapshot: &Snapshot, walls: WallOffset, out: &mut Batch) {
        let devices: HashSet<&str> = snapshot.devices.iter().map(|d| d.name.as_str()).collect();
        let targets: HashSet<&str> = snapshot.targets.iter().map(|t| &*t.name).collect();
        let at = snapshot.at.boot;
        let gone = |(subject, known): (&Subject, &Known)| match subject {
            Subject::Network => false,
            Subject::Device(name) => {
                !devices.contains(name.as_str())
                    && (known.state != State::Down || at.since(known.since) >= GONE)
            }
            Subject::Target(name) => !targets.contains(name.as_str()),
        };
        let mut all: Vec<Subject> =
            self.known.iter().filter(|one| gone(*one)).map(|(subject, _)| subject.clone()).collect();
        all.sort();
        for subject in all {
            let Some(known) = self.known.remove(&subject) else { continue };
            if known.state == State::Unknown {
                continue;
            }
            out.changes.push(Change {
                run: 0,
                seq: snapshot.seq,
                at,
                told: walls.wall(at),
                subject,
                previous: known.state,
                state: State::Unknown,
                reasons: String::new(),
                diagnosis: None,
            });
        }
    }

    /// Takes waits that ended, as far as what they waited for was down or degraded meanwhile.
    pub fn take_waits(&self, ended: &[(Arc<Kind>, Tally)], snapshot: &Snapshot, out: &mut Batch) {
        for (kind, tally) in ended {
            let device = kind.device.clone().map(Subject::Device);
            let target = kind.target.as_deref().map(|name| Subject::Target(name_of(snapshot, name)));
            let network = (device.is_none() && target.is_none()).then_some(Subject::Network);
            for subject in [device, target, network].into_iter().flatten() {
                let was_bad = self.known.get(&subject).is_some_and(|known| {
                    known.is_bad() || known.bad_until.is_some_and(|until| until > tally.from)
                });
                if !was_bad {
                    continue;
                }
                out.waits.push(Waits {
                    run: 0,
                    subject,
                    job: kind.job.clone(),
                    uid: kind.uid,
                    count: tally.count,
                    from: tally.from,
                    to: tally.to,
                    total: tally.total,
                    longest: tally.longest,
                });
            }
        }
    }

    fn put(&mut self, subject: &Subject, state: State, at: Boot) {
        let fresh = Known { state: State::Unknown, since: at, bad_until: None, written: true };
        let known = match self.known.get_mut(subject) {
            Some(known) => known,
            None => self.known.entry(subject.clone()).or_insert(fresh),
        };
        known.written = true;
        if known.state == state {
            return;
        }
        if known.is_bad() {
            known.bad_until = Some(at);
        }
        (known.state, known.since) = (state, at);
    }
}

/// The name of the target that goes by this name or host.
fn name_of(snapshot: &Snapshot, name: &str) -> String {
    let named = |t: &&Arc<TargetView>| &*t.name == name;
    let hosts = |t: &&Arc<TargetView>| t.host == name;
    let found = snapshot.targets.iter().find(named).or_else(|| snapshot.targets.iter().find(hosts));
    found.map_or_else(|| name.to_owned(), |t| (*t.name).to_owned())
}

fn json_of(reasons: &[wire::Reason]) -> String {
    if reasons.is_empty() { String::new() } else { json(reasons) }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings and numbers only")
}
