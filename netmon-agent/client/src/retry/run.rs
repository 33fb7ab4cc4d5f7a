//! One operation under way: what the blocking and the asynchronous form have in common.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use super::{
    Bell, CancelToken, Clock, Engine, Failed, GaveUp, Network, NetworkView, Observer, Outcome, Policy,
    Report, Statistics, Step, Verdict, network::Glance, random,
};

/// What a retryer is made of, whatever its operation returns.
#[derive(Clone)]
pub(super) struct Parts {
    pub name: Cow<'static, str>,
    pub policy: Policy,
    pub network: Option<Arc<dyn NetworkView>>,
    pub clock: Arc<dyn Clock>,
    pub cancel: CancelToken,
    pub observers: Vec<Arc<dyn Observer>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("network", &self.network)
            .field("clock", &self.clock)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

impl Parts {
    fn glance(&self) -> Glance {
        self.network.as_ref().map(|view| view.glance()).unwrap_or_default()
    }
}

pub(super) struct Run<'a> {
    parts: &'a Parts,
    engine: Engine,
    glance: Glance,
    /// Made when there is something to wait for.
    bell: Option<Arc<Bell>>,
    /// What the observers were last told.
    waiting: Option<Step>,
    told: Statistics,
    over: bool,
}

impl<'a> Run<'a> {
    pub(super) fn begin(parts: &'a Parts, now: Duration) -> Self {
        let glance = parts.glance();
        let mut engine = Engine::new(parts.policy.clone(), now, glance.network);
        if glance.network == Network::Unusable
            && let Some(view) = &parts.network
        {
            engine.outage_lasted(view.detail().held);
        }
        let (bell, waiting, told) = (None, None, Statistics::default());
        Self { parts, engine, glance, bell, waiting, told, over: false }
    }

    /// What to do now.
    pub(super) fn step(&mut self, now: Duration) -> Step {
        self.look(now);
        if self.parts.cancel.is_cancelled() {
            self.engine.give_up(now, GaveUp::Cancelled);
        }
        let step = self.engine.step(now, random::uniform);
        match step {
            Step::Sleep { .. } | Step::AwaitNetwork { .. } if self.waiting != Some(step) => {
                self.waiting = Some(step);
                self.progress();
                for observer in &self.parts.observers {
                    observer.waiting(&self.parts.name, step);
                }
            }
            Step::GiveUp(why) => self.finish(Err(why)),
            _ => {}
        }
        step
    }

    /// An attempt begins. When it has to be over.
    pub(super) fn start(&mut self, now: Duration) -> Option<Duration> {
        self.engine.attempt_started(now);
        match self.engine.step(now, random::uniform) {
            Step::Running { until } => until,
            _ => None,
        }
    }

    /// It ended by itself, or its time was over (`Some(Verdict::RETRYABLE)`). None is a success.
    pub(super) fn end(&mut self, now: Duration, until: Option<Duration>, verdict: Option<Verdict>) {
        let outcome = match verdict {
            None => Outcome::Success,
            // What gave up because its time was over says so in words of its own.
            Some(Verdict::Unknown) if until.is_some_and(|until| now >= until) => Outcome::RETRYABLE,
            Some(verdict) => verdict.outcome(),
        };
        if outcome == Outcome::Success {
            self.engine.attempt_ended(now, outcome);
            self.finish(Ok(()));
            return;
        }
        self.look(now);
        let refunded = self.engine.attempt_ended(now, outcome);
        let attempt = self.engine.statistics().attempts;
        self.progress();
        for observer in &self.parts.observers {
            observer.failed(&Failed { operation: &self.parts.name, attempt, outcome, refunded });
        }
    }

    /// Gives up in the middle of an attempt.
    pub(super) fn cancel(&mut self, now: Duration) {
        self.engine.give_up(now, GaveUp::Cancelled);
        self.finish(Err(GaveUp::Cancelled));
    }

    /// What rings when there is news. None at the first time: there may have been news before, look again.
    pub(super) fn bell(&mut self) -> Option<&Bell> {
        if self.bell.is_none() {
            let bell = Arc::new(Bell::default());
            if let Some(view) = &self.parts.network {
                view.watch(&bell);
            }
            self.parts.cancel.watch(&bell);
            self.bell = Some(bell);
            return None;
        }
        self.bell.as_deref()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.parts.cancel.is_cancelled()
    }

    pub(super) fn statistics(&self) -> Statistics {
        *self.engine.statistics()
    }

    /// Tells the engine what became of the network since the last look.
    fn look(&mut self, now: Duration) {
        let glance = self.parts.glance();
        if glance == self.glance {
            return;
        }
        let detail = self.parts.network.as_ref().map(|view| view.detail()).unwrap_or_default();
        let since = now.saturating_sub(detail.held);
        if glance.outages != self.glance.outages && glance.network != Network::Unusable {
            self.engine.network(since.saturating_sub(detail.last_outage), Network::Unusable);
        }
        self.engine.network(since, glance.network);
        self.glance = glance;
    }

    fn progress(&mut self) {
        let statistics = self.statistics();
        let added = statistics - self.told;
        self.told = statistics;
        for observer in &self.parts.observers {
            observer.progressed(&self.parts.name, &added);
        }
    }

    fn finish(&mut self, result: Result<(), GaveUp>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.progress();
        let report = Report { operation: &self.parts.name, result, statistics: self.statistics() };
        for observer in &self.parts.observers {
            observer.finished(&report);
        }
    }
}

impl Drop for Run<'_> {
    /// An operation that is dropped, or panics, ends too.
    fn drop(&mut self) {
        self.finish(Err(GaveUp::Cancelled));
    }
}
