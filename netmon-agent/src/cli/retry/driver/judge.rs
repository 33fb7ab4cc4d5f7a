//! What an attempt came to, and the whole.

use netmon_client::{
    Spending,
    retry::{GaveUp, Outcome, Pause, Step},
};

use super::{Cancel, Driver, End, Last, Settling};
use crate::cli::retry::{
    attempt::{Ending, Over},
    codes::{Exit, Judgement, TEMPFAIL, TIMED_OUT},
    tell::Ended,
};

impl Driver<'_> {
    pub(super) fn judgement(&self, over: &Over) -> Judgement {
        if over.ending.is_some() {
            // What we ended ourselves did not end by its own will.
            Judgement::Retry
        } else if over.exit.is_typed() && self.last.is_some_and(|last| last.by_terminal) {
            // Nor does who typed that want it again.
            Judgement::Never
        } else {
            self.settings.rules.judge(over.exit)
        }
    }

    /// Tells the engine what the attempt came to, and the log what that means.
    pub(super) fn judge(&mut self, settling: Settling) {
        let Settling { number, started, over, outage, .. } = settling;
        let outage = outage || self.engine.outage_since().is_some();
        let judgement = self.judgement(&over);
        let (outcome, class) = match (over.ending, judgement) {
            (_, Judgement::Success) => (Outcome::Success, "success"),
            _ if self.cancelled.is_some() => (Outcome::Permanent, "interrupted"),
            (Some(Ending::MaxTime), _) => (Outcome::RETRYABLE, "max_time"),
            (_, Judgement::Never) => (Outcome::Permanent, "permanent"),
            _ if outage => (Outcome::RETRYABLE, "outage"),
            (_, Judgement::IfOutage) => (Outcome::Permanent, "permanent"),
            (Some(Ending::Timeout), _) => (Outcome::RETRYABLE, "timeout"),
            _ => (Outcome::RETRYABLE, "transient"),
        };
        let now = self.now();
        if class == "interrupted" {
            self.engine.give_up(now, GaveUp::Cancelled);
        }
        let refunded = self.engine.attempt_ended(over.at, outcome);
        let mut next = self.engine.step(now, rand::random);
        if let Step::Sleep { why: Pause::Backoff, .. } | Step::Run { .. } = next
            && !self.may_retry(judgement)
        {
            self.engine.give_up(now, GaveUp::NoBudget);
            next = self.engine.step(now, rand::random);
        }
        if let Step::Sleep { why: Pause::Hindsight, .. } = next {
            // An outage was looked for already, for as long as such an attempt may need it.
            self.engine.give_up(now, GaveUp::Exhausted);
            next = self.engine.step(now, rand::random);
        }
        if outcome == Outcome::Success {
            self.give_back();
        }
        let lasted = over.at.saturating_sub(started);
        let left = self.engine.attempts_left();
        self.teller.attempt(&Ended { number, exit: over.exit, lasted, class, refunded, left, next, now });
    }

    /// Asks the machine's budget for one more retry. Where there is none to ask, it is granted.
    fn may_retry(&mut self, judgement: Judgement) -> bool {
        self.spent = None;
        if !self.settings.budget || !self.known.met || self.known.lost {
            return true;
        }
        let spending = if judgement == Judgement::Later { Spending::Throttle } else { Spending::Transient };
        match self.client.retry_budget(spending) {
            Ok(budget) => {
                self.spent = budget.granted.then_some(budget.cost);
                if !budget.granted {
                    self.teller.say("no_budget", |line| {
                        line.with("tokens", budget.tokens).with("retry_after", budget.retry_after)
                    });
                }
                budget.granted
            }
            // An older agent, or one that is just going: no reason to fail.
            Err(_) => true,
        }
    }

    fn give_back(&mut self) {
        if let Some(cost) = self.spent.take() {
            let _ = self.client.retry_budget(Spending::Success { cost });
        }
    }

    pub(super) fn gave_up(&mut self, why: GaveUp) -> End {
        let of_command = |last: Last| match last.exit {
            Exit::Code(code) => End::Code(code),
            Exit::Signal(signal) => End::Signal { signal, all: last.by_terminal && last.exit.is_typed() },
        };
        let end = match (why, self.last, self.cancelled) {
            (GaveUp::MaxTime, ..) => End::Code(TIMED_OUT),
            (GaveUp::NoNetwork | GaveUp::NoBudget, ..) => End::Code(TEMPFAIL),
            (GaveUp::Exhausted, Some(Last { timed_out: true, .. }), _) => End::Code(TIMED_OUT),
            (GaveUp::Cancelled, _, Some(Cancel { signal, idle: true })) => {
                End::Signal { signal: signal as i32, all: false }
            }
            (_, Some(last), _) => of_command(last),
            (_, None, _) => End::Code(TEMPFAIL),
        };
        self.teller.gave_up(why, end, self.engine.statistics());
        end
    }
}
