//! Where the faults are: asks the pure [`crate::diagnosis`] at every change, has a look run where it is granted, and
//! gives what is found later as findings of their own.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::look;
use crate::{
    diagnosis::{
        self, Census, Diagnosis, Evident, Finding, Judged, Known, Outcome, Place, Scheduler, Seen, Settings,
        Still, Task,
    },
    health::{Health, Reason, State, Subject, Target},
    observation::TargetId,
    plan::{Planned, Planner},
    state::ChangeEvent,
    time::{Boot, Moment, Mono},
};

/// What takes a look at every target is found anew no more often than this for each that there is: a tenth of a second for
/// a hundred thousand, so that an outage of them all is not as many counts.
const GATHER: Duration = Duration::from_micros(1);

/// A place that was found after the change that made it worth looking for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: Subject,
    pub(super) state: State,
    pub(super) reasons: Vec<Reason>,
    pub(super) diagnosis: Diagnosis,
}

impl Found {
    /// It reaches those who follow as one more word on its subject, whose state stays as it is.
    pub(super) fn into_event(self, seq: u64, at: Boot) -> ChangeEvent {
        let Self { subject, state, reasons, diagnosis } = self;
        ChangeEvent { seq, at, subject, previous: state, state, reasons, diagnosis: Some(diagnosis) }
    }
}

/// A look under way.
#[derive(Debug)]
struct Running {
    task: Task,
    answer: oneshot::Receiver<Seen>,
}

#[derive(Debug)]
pub(super) struct Diagnoser {
    scheduler: Scheduler,
    known: Known,
    census: Option<(Mono, Census)>,
    /// How many targets there are.
    population: u32,
    /// When the place of the whole is to be found anew, since that of a target is another.
    whole_due: Option<Mono>,
    running: Option<Running>,
    /// What the last look saw; none in it where it ended without a word.
    answered: Option<(Task, Option<Seen>)>,
    /// A gateway's neighbour entry changed.
    neighbours: bool,
}

impl Diagnoser {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            known: Known::default(),
            census: None,
            population: 0,
            whole_due: None,
            running: None,
            answered: None,
            neighbours: false,
        }
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        self.scheduler.configure(settings);
    }

    /// All places that are known now.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// By [`Outcome::ALL`].
    pub(super) fn counts(&self) -> [u64; Outcome::ALL.len()] {
        self.scheduler.counts()
    }

    /// When [`Diagnoser::step`] has something to do.
    pub(super) fn due(&self) -> Option<Mono> {
        [self.scheduler.due(), self.whole_due].into_iter().flatten().min()
    }

    /// Waits for the look that is under way; without one, for ever.
    pub(super) async fn answer(&mut self) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let seen = (&mut running.answer).await.ok();
        self.answered = self.running.take().map(|running| (running.task, seen));
    }

    /// A gateway's neighbour entry changed: by it a silent gateway may turn out to be gone.
    pub(super) fn note_neighbours(&mut self) {
        self.neighbours = true;
    }

    /// The targets are others now.
    pub(super) fn forget_others(&mut self, health: &Health) {
        self.known.retain(|id| health.target(id).is_some());
        self.population = health.targets().count() as u32;
        self.census = None;
    }

    /// A verdict changed: where the fault is, by the evidence in hand.
    pub(super) fn changed(
        &mut self,
        now: Moment,
        health: &Health,
        planner: &Planner,
        subject: &Subject,
    ) -> Option<Diagnosis> {
        match subject {
            Subject::Device(_) => None,
            Subject::Network => {
                self.whole_due = None;
                let found = diagnosis::of_whole(health, &self.known);
                self.known.whole = found.map(|f| Diagnosis { at: now.boot, finding: Arc::new(f) });
                self.known.whole.clone()
            }
            Subject::Target(name) => {
                let target = health.target(planner.number(name)?)?;
                let id = target.spec.id;
                let evident = diagnosis::of_target(health, target, self.census(now.mono, health));
                match &evident {
                    Some(evident) if evident.open.is_some() => self.scheduler.want(now.mono, id),
                    _ => self.scheduler.forget(id),
                }
                let found = evident.map(|evident| match self.seen(id, &evident).cloned() {
                    Some(seen) => seen,
                    None => self.known.in_hand(now.boot, evident),
                });
                self.known.put(id, found.clone());
                self.whole_due.get_or_insert(now.mono + GATHER * self.population);
                found
            }
        }
    }

    /// What a look has seen in this outage already, at the very address.
    fn seen(&self, id: TargetId, evident: &Evident) -> Option<&Diagnosis> {
        let at = |d: &&Diagnosis| d.finding.trace.as_ref().is_some_and(|t| Some(t.address) == evident.open);
        self.known.target(id).filter(at)
    }

    /// Takes in what was seen, begins what is due, and gives what has been found meanwhile.
    pub(super) fn step(&mut self, now: Moment, health: &Health, planned: &[Planned]) -> Vec<Found> {
        let mut found = Vec::new();
        if std::mem::take(&mut self.neighbours) {
            self.look_at_gateways(now, health, &mut found);
        }
        if let Some((task, seen)) = self.answered.take() {
            found.extend(self.take_in(now, health, &task, seen.as_ref()));
        }
        while self.scheduler.due().is_some_and(|due| due <= now.mono) && self.begin(now, health, planned) {}
        if !found.is_empty() || self.whole_due.is_some_and(|due| due <= now.mono) {
            found.extend(self.whole_anew(now, health));
        }
        found
    }

    /// Whether a look could not be begun, so that another may have its turn.
    fn begin(&mut self, now: Moment, health: &Health, planned: &[Planned]) -> bool {
        let census = Census::of(health);
        let open = |id: TargetId| Some(diagnosis::of_target(health, health.target(id)?, &census)?.open);
        let settled = health.verdict().state != State::Unknown;
        let next = self.scheduler.next(now.mono, |id| match open(id) {
            _ if !settled => Still::TooEarly,
            None => Still::Recovered,
            Some(None) => Still::Explained,
            Some(Some(_)) => Still::Open,
        });
        let Some(id) = next else { return false };
        let timeout = self.scheduler.settings().timeout;
        let task = open(id).flatten().and_then(|address| task(health, planned, id, address, timeout));
        match task.map(|task| look::begin(task.clone()).map(|answer| Running { task, answer })) {
            Some(Ok(running)) => self.running = Some(running),
            Some(Err(error)) => {
                tracing::debug!(%error, "no thread to look at a target with");
                self.scheduler.ended(Outcome::Failed);
            }
            None => self.scheduler.ended(Outcome::Failed),
        }
        self.running.is_none()
    }

    fn take_in(&mut self, now: Moment, health: &Health, task: &Task, seen: Option<&Seen>) -> Option<Found> {
        let census = Census::of(health);
        let target = health.target(task.target);
        let evident = target.and_then(|t| Some((t, diagnosis::of_target(health, t, &census)?)));
        let Some((target, evident)) = evident else {
            self.scheduler.ended(Outcome::Recovered);
            return None;
        };
        if evident.open != Some(task.address) {
            self.scheduler.ended(Outcome::Explained);
            return None;
        }
        let judged = seen.ok_or_else(|| "it ended".to_owned()).and_then(|seen| diagnosis::judge(task, seen));
        let Judged { place, detail, trace } = match judged {
            Ok(judged) => judged,
            Err(why) => {
                tracing::debug!(host = task.host, why, "a target could not be looked at");
                self.scheduler.ended(Outcome::Failed);
                return None;
            }
        };
        self.scheduler.ended(if place.is_some() { Outcome::Located } else { Outcome::Inconclusive });
        let place = place.unwrap_or(evident.place);
        let took = seen.map_or(Duration::ZERO, |seen| seen.took);
        let detail = match place {
            Place::Path if evident.place == Place::Path => format!("{detail}; {}", evident.detail),
            _ => detail,
        };
        let finding = Finding { place, detail, took, target: None, trace };
        Some(self.tell(target, Diagnosis { at: now.boot, finding: Arc::new(finding) }))
    }

    /// A gateway that is silent may turn out not to answer for its address either: the kernel asks it once the entry it
    /// has is old. Never the other way round, for an entry that is gone says nothing.
    fn look_at_gateways(&mut self, now: Moment, health: &Health, found: &mut Vec<Found>) {
        for gateway in health.gateways() {
            let known = self.known.target(gateway.spec.id).map(|d| d.finding.place);
            if known != Some(Place::Gateway) {
                continue;
            }
            let census = self.census(now.mono, health);
            let Some(evident) = diagnosis::of_target(health, gateway, census) else { continue };
            if evident.place == Place::Neighbour {
                let diagnosis = self.known.in_hand(now.boot, evident);
                found.push(self.tell(gateway, diagnosis));
            }
        }
    }

    fn tell(&mut self, target: &Target, diagnosis: Diagnosis) -> Found {
        self.known.put(target.spec.id, Some(diagnosis.clone()));
        let subject = Subject::Target(target.spec.name.to_string());
        let (state, reasons) = (target.verdict.state, target.verdict.reasons.clone());
        Found { subject, state, reasons, diagnosis }
    }

    /// What was found of a target may name the place of the whole. It is told where that is another place, or what a
    /// look saw.
    fn whole_anew(&mut self, now: Moment, health: &Health) -> Option<Found> {
        self.whole_due = None;
        let Some(found) = diagnosis::of_whole(health, &self.known) else {
            self.known.whole = None;
            return None;
        };
        let before = self.known.whole.as_ref().map(|known| Arc::clone(&known.finding));
        if before.as_deref() == Some(&found) {
            return None;
        }
        let tells = found.took > Duration::ZERO || before.is_none_or(|before| before.place != found.place);
        let diagnosis = Diagnosis { at: now.boot, finding: Arc::new(found) };
        self.known.whole = Some(diagnosis.clone());
        if !tells {
            return None;
        }
        let (state, reasons) = (health.verdict().state, health.verdict().reasons.clone());
        Some(Found { subject: Subject::Network, state, reasons, diagnosis })
    }

    fn census(&mut self, now: Mono, health: &Health) -> &Census {
        let fresh = |(at, _): &(Mono, Census)| now.since(*at) < GATHER * self.population;
        let kept = self.census.take().filter(fresh);
        &self.census.insert(kept.unwrap_or_else(|| (now, Census::of(health)))).1
    }
}

/// What is to be looked at; none for a target that is no more.
fn task(
    health: &Health,
    planned: &[Planned],
    id: TargetId,
    address: IpAddr,
    timeout: Duration,
) -> Option<Task> {
    let target = health.target(id)?;
    let evidence = target.addresses.iter().find(|a| a.address == address)?;
    let network = health.network();
    let on_link = evidence.way.as_ref().and_then(|way| {
        let link = *way.links.first().filter(|_| !way.beyond)?;
        Some((link, network.links.get(&link)?.name.escaped()))
    });
    Some(Task {
        target: id,
        host: target.spec.host.clone(),
        address,
        method: target.spec.method.clone(),
        path: Arc::clone(&planned.iter().find(|p| p.spec.id == id)?.path),
        on_link,
        timeout,
    })
}

#[cfg(test)]
#[path = "diagnose_tests.rs"]
mod tests;
