//! R12, R13 and R14 from lists of what happened.

use std::time::Duration;

use crate::{
    health::{ReasonCode, Settings, State},
    time::{Moment, Mono},
};

/// Judgements of one subject before damping: R12 looks at those that are usable or down.
#[derive(Clone, Debug, Default)]
pub struct Judged(Vec<(Mono, Said)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Usable,
    /// Down, by its own fault or another's.
    Down(bool),
}

impl Judged {
    /// Takes one. A repeated one is none; what comes between the two kinds is no flap.
    pub fn say(&mut self, now: Mono, state: State, own: bool) {
        let said = match state {
            State::Unknown => return,
            State::Up | State::Degraded => Said::Usable,
            State::Down => Said::Down(own),
        };
        let last = self.0.last().map(|(_, last)| *last);
        let same_kind = last.is_some_and(|last| (last == Said::Usable) == (said == Said::Usable));
        if !same_kind {
            self.0.push((now, said));
        }
    }

    /// Whether `up` is not to be said of it yet: +1000 at each fall, halved every half-life; above the one threshold
    /// until it is at the other, five minutes at most.
    pub fn suppressed(&self, now: Mono, settings: &Settings) -> bool {
        let half_life = settings.flap_half_life.as_secs_f64();
        let (high, low) = (f64::from(settings.flap_suppress), f64::from(settings.flap_reuse));
        let most = low * (settings.flap_max.as_secs_f64() / half_life).exp2();
        let (mut penalty, mut as_of, mut until) = (0.0, Mono::default(), Mono::default());
        for pair in self.0.windows(2) {
            let [(_, Said::Usable), (fell, Said::Down(true))] = *pair else { continue };
            penalty = (penalty * (-fell.since(as_of).as_secs_f64() / half_life).exp2() + 1000.0).min(most);
            as_of = fell;
            if until > fell || penalty > high {
                let steady = Duration::from_secs_f64((half_life * (penalty / low).log2()).max(0.0));
                until = fell + steady.min(settings.flap_max);
            }
        }
        until > now
    }
}

/// R14: what two looks at the clocks show.
pub fn interruption(last: Moment, now: Moment, settings: &Settings) -> Option<ReasonCode> {
    let awake = now.mono.as_nanos() - last.mono.as_nanos();
    let whole = now.boot.as_nanos() - last.boot.as_nanos();
    if Duration::from_nanos(whole.saturating_sub(awake)) > settings.suspend_jump {
        Some(ReasonCode::Suspended)
    } else if Duration::from_nanos(awake) > settings.stall_gap {
        Some(ReasonCode::Stalled)
    } else {
        None
    }
}

/// R13: the factor on time-outs.
#[derive(Debug)]
pub struct Scale {
    pub factor: u8,
    changed: Mono,
    /// What it was set to and the world was not told yet.
    pub to_tell: Vec<u8>,
}

impl Scale {
    pub fn new() -> Self {
        Self { factor: 1, changed: Mono::default(), to_tell: Vec::new() }
    }

    /// The agent was late: one more, once a second.
    pub fn late(&mut self, now: Mono, settings: &Settings) {
        if self.factor > 1 && now.since(self.changed) < Duration::from_secs(1) {
            return;
        }
        self.changed = now;
        self.set((self.factor + 1).min(settings.max_timeout_scale));
    }

    /// It was not: one less after two quiet seconds.
    pub fn quiet(&mut self, now: Mono) {
        if self.factor > 1 && now.since(self.changed) >= Duration::from_secs(2) {
            self.changed = now;
            self.set(self.factor - 1);
        }
    }

    fn set(&mut self, factor: u8) {
        if factor != self.factor {
            self.factor = factor;
            self.to_tell.push(factor);
        }
    }
}
