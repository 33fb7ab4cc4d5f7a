//! How far the agent trusts itself: rules R13 and R14.

use std::time::Duration;

use super::{
    Event, Health, Review,
    rto::Timeouts,
    settings::Settings,
    verdict::{Reason, ReasonCode},
};
use crate::time::{Moment, Mono};

/// What a look at the clocks shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The machine slept for this long.
    Suspended(Duration),
    /// The agent itself stood still for this long.
    Stalled(Duration),
}

/// R14: watches the distance of the two clocks, and the gap between two looks.
#[derive(Clone, Debug, Default)]
pub struct ClockWatch {
    last: Option<Moment>,
}

impl ClockWatch {
    /// The last look.
    pub fn last(&self) -> Option<Moment> {
        self.last
    }

    /// Looks at the clocks. Wall-clock steps can't be seen here, and change nothing.
    pub fn look(&mut self, now: Moment, settings: &Settings) -> Option<Interruption> {
        let last = self.last.replace(now)?;
        let awake = now.mono.since(last.mono);
        let asleep = now.boot.since(last.boot).saturating_sub(awake);
        if asleep > settings.suspend_jump {
            Some(Interruption::Suspended(asleep))
        } else if awake > settings.stall_gap {
            Some(Interruption::Stalled(awake))
        } else {
            None
        }
    }
}

/// R13, after Lifeguard's local health multiplier: each moment of own lateness stretches time-outs by one more of their
/// length, each quiet spell takes one off.
#[derive(Clone, Debug)]
pub struct LateScore {
    scale: u8,
    changed: Mono,
}

/// Time without lateness after which the score falls by one: an interval. A single late moment must not stretch the
/// time-outs of an outage that begins after it.
const QUIET: Duration = Duration::from_secs(2);

/// Latenesses closer than this are one moment.
const ONE_MOMENT: Duration = Duration::from_secs(1);

impl Default for LateScore {
    fn default() -> Self {
        Self { scale: 1, changed: Mono::default() }
    }
}

impl LateScore {
    /// The factor on time-outs, 1 – [`Settings::max_timeout_scale`].
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// The agent ran late. True when the factor changed.
    pub fn late(&mut self, now: Mono, settings: &Settings) -> bool {
        if self.scale > 1 && now.since(self.changed) < ONE_MOMENT {
            return false;
        }
        self.changed = now;
        let raised = self.scale.saturating_add(1).min(settings.max_timeout_scale);
        std::mem::replace(&mut self.scale, raised) != raised
    }

    /// Time passed without lateness. True when the factor changed.
    pub fn quiet(&mut self, now: Mono) -> bool {
        if self.scale == 1 || now.since(self.changed) < QUIET {
            return false;
        }
        self.scale -= 1;
        self.changed = now;
        true
    }
}

impl Health {
    /// R13: the agent itself ran late.
    pub(super) fn note_lateness(&mut self, now: Mono) {
        if self.late.late(now, &self.settings) {
            self.events.push_back(Event::TimeoutScale(self.late.scale()));
        }
    }

    /// R14: after a suspend or a stall nothing is known, and everything is probed at once.
    pub(super) fn look_at_clocks(&mut self, now: Moment) {
        let Some(interruption) = self.clocks.look(now, &self.settings) else { return };
        let reason = match interruption {
            Interruption::Suspended(d) => Reason::new(
                ReasonCode::Suspended,
                "",
                format!("the machine was suspended for {:.1} s", d.as_secs_f64()),
            ),
            Interruption::Stalled(d) => Reason::new(
                ReasonCode::Stalled,
                "",
                format!("the agent stood still for {:.1} s", d.as_secs_f64()),
            ),
        };
        self.interrupted = Some(reason);
        self.settled = false;
        self.started = now.mono;
        self.timeouts = Timeouts::default();
        self.progress.forget();
        self.reviews.set(Review::Progress, None);
        for id in &self.order {
            let Some(t) = self.targets.get_mut(id) else { continue };
            for a in &mut t.addresses {
                a.forget();
                self.timers.set((*id, a.address), None);
                self.events.push_back(Event::Probe { target: *id, address: a.address });
            }
        }
        self.judge_all(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64, boot_ms: u64) -> Moment {
        Moment {
            mono: Mono::from_nanos(mono_ms * 1_000_000),
            boot: crate::time::Boot::from_nanos(boot_ms * 1_000_000),
        }
    }

    #[test]
    fn r14_suspend_and_stall_are_told_apart() {
        let settings = Settings::default();
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(at(0, 0), &settings), None);
        assert_eq!(watch.look(at(1000, 1000), &settings), None);
        assert_eq!(
            watch.look(at(1500, 61_500), &settings),
            Some(Interruption::Suspended(Duration::from_secs(60)))
        );
        assert_eq!(watch.look(at(2500, 62_500), &settings), None);
        assert_eq!(
            watch.look(at(7500, 67_500), &settings),
            Some(Interruption::Stalled(Duration::from_secs(5)))
        );
    }

    #[test]
    fn r13_the_score_rises_once_a_moment_and_falls_when_quiet() {
        let settings = Settings::default();
        let mut score = LateScore::default();
        let s = |ms: u64| Mono::from_nanos((100_000 + ms) * 1_000_000);
        assert!(score.late(s(0), &settings));
        assert!(!score.late(s(10), &settings));
        assert_eq!(score.scale(), 2);
        for i in 1..20 {
            score.late(s(i * 1000), &settings);
        }
        assert_eq!(score.scale(), 8);
        assert!(!score.quiet(s(20_000)));
        assert!(score.quiet(s(21_000)));
        assert_eq!(score.scale(), 7);
    }
}
