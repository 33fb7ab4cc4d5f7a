//! R12: what comes and goes too often reads degraded until it has been steady for a while, after RFC 2439.
//!
//! Each loss of a usable state adds [`PENALTY`], which halves every [`Settings::flap_half_life`]. Above
//! [`Settings::flap_suppress`] the subject is suppressed: `up` is not said of it until the penalty has fallen to
//! [`Settings::flap_reuse`]. `down` is never hidden, and who waits for a usable network is not held up.
//!
//! As in RFC 2439 (section 4.2), the longest suppression is counted from the last flap and kept by a ceiling on the
//! penalty: however wild it was, five steady minutes end it; what never is steady stays suppressed.

use std::time::Duration;

use super::{
    settings::Settings,
    verdict::{Reason, ReasonCode, State},
};
use crate::time::Mono;

/// What one loss of a usable state adds.
pub const PENALTY: f64 = 1000.0;

/// The damping of one device or target.
#[derive(Clone, Debug, Default)]
pub struct Flaps {
    /// As of `at`.
    penalty: f64,
    at: Mono,
    /// Losses since it was last steady.
    count: u32,
    /// The last judgement that was one was usable.
    usable: bool,
    until: Option<Mono>,
}

/// The highest penalty: that which has fallen to the reuse threshold after the longest suppression.
pub fn ceiling(settings: &Settings) -> f64 {
    let halvings = settings.flap_max.as_secs_f64() / settings.flap_half_life.as_secs_f64();
    f64::from(settings.flap_reuse) * halvings.exp2()
}

impl Flaps {
    /// When a suppression ends, if it is suppressed at all.
    pub fn until(&self) -> Option<Mono> {
        self.until
    }

    /// Takes a judgement and gives the one that is to be told. `own` is false when the fault is another's (R3): that
    /// is no flap of this one.
    pub fn damp(
        &mut self,
        now: Mono,
        settings: &Settings,
        subject: &str,
        own: bool,
        judged: (State, Vec<Reason>),
    ) -> (State, Vec<Reason>) {
        let (state, mut reasons) = judged;
        self.until = self.until.filter(|until| *until > now);
        match state {
            State::Unknown => {}
            State::Up | State::Degraded => self.usable = true,
            State::Down => {
                if std::mem::take(&mut self.usable) && own {
                    self.lost(now, settings);
                }
            }
        }
        if self.until.is_none() || !matches!(state, State::Up | State::Degraded) {
            return (state, reasons);
        }
        let steady = self.until.map_or(Duration::ZERO, |until| until.since(self.at));
        let detail = format!(
            "{subject} went down {} times in short (penalty {:.0}); it reads degraded until it has been steady for {} s",
            self.count,
            self.penalty,
            steady.as_secs()
        );
        reasons.push(Reason::new(ReasonCode::Flapping, subject, detail));
        (State::Degraded, reasons)
    }

    fn lost(&mut self, now: Mono, settings: &Settings) {
        let half_life = settings.flap_half_life.as_secs_f64();
        let faded = self.penalty * (-now.since(self.at).as_secs_f64() / half_life).exp2();
        let reuse = f64::from(settings.flap_reuse);
        if faded < reuse / 2.0 {
            self.count = 0;
        }
        self.count += 1;
        self.penalty = (faded + PENALTY).min(ceiling(settings));
        self.at = now;
        if self.until.is_some() || self.penalty > f64::from(settings.flap_suppress) {
            let steady = half_life * (self.penalty / reuse).log2();
            self.until = Some(now + Duration::from_secs_f64(steady.max(0.0)).min(settings.flap_max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000_000)
    }

    fn tell(flaps: &mut Flaps, t: u64, state: State) -> State {
        flaps.damp(s(t), &Settings::default(), "eth0", true, (state, Vec::new())).0
    }

    /// Down and up again, each `gap` seconds; when the last down was.
    fn flap(flaps: &mut Flaps, start: u64, gap: u64, times: u64) -> u64 {
        tell(flaps, start, State::Up);
        for i in 1..=times {
            assert_eq!(tell(flaps, start + i * gap, State::Down), State::Down, "down is never hidden");
            tell(flaps, start + i * gap, State::Up);
        }
        start + times * gap
    }

    #[test]
    fn r12_three_flaps_in_half_a_minute_suppress_and_two_do_not() {
        let mut flaps = Flaps::default();
        let last = flap(&mut flaps, 0, 15, 2);
        assert_eq!(tell(&mut flaps, last, State::Up), State::Up);
        let mut flaps = Flaps::default();
        let last = flap(&mut flaps, 0, 15, 3);
        // 1000·(1 + 2^-¼ + 2^-½) = 2548, down to 1000 after 60·log2(2.548) = 80.96 s.
        assert_eq!(tell(&mut flaps, last + 80, State::Up), State::Degraded);
        assert_eq!(tell(&mut flaps, last + 81, State::Up), State::Up);
        assert_eq!(tell(&mut flaps, last + 82, State::Degraded), State::Degraded);
    }

    #[test]
    fn r12_slow_flaps_never_suppress() {
        let mut flaps = Flaps::default();
        flap(&mut flaps, 0, 60, 500);
        assert_eq!(flaps.until(), None);
    }

    #[test]
    fn r12_five_steady_minutes_end_any_suppression() {
        let mut flaps = Flaps::default();
        let last = flap(&mut flaps, 0, 1, 1000);
        assert_eq!(tell(&mut flaps, last + 299, State::Up), State::Degraded);
        assert_eq!(tell(&mut flaps, last + 300, State::Up), State::Up);
    }

    #[test]
    fn r12_a_fault_of_another_is_no_flap() {
        let mut flaps = Flaps::default();
        for t in 0..100 {
            let state = if t % 2 == 0 { State::Up } else { State::Down };
            flaps.damp(s(t), &Settings::default(), "a", false, (state, Vec::new()));
        }
        assert_eq!(flaps.until(), None);
    }

    #[test]
    fn r12_unknown_between_two_states_hides_no_flap() {
        let mut flaps = Flaps::default();
        for t in [0, 4, 8] {
            for (i, state) in [State::Up, State::Unknown, State::Down].into_iter().enumerate() {
                tell(&mut flaps, t + i as u64, state);
            }
        }
        assert_eq!(tell(&mut flaps, 11, State::Up), State::Degraded);
    }
}
