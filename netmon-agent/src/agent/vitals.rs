//! Whether the agent's loops still turn: what the service manager's watchdog is fed on.
//!
//! The core looks at its evidence every second. The probe engine may have nothing to do for longer, so it is knocked at,
//! and turns once for that. A process whose engine hangs would go on to publish what it saw last; one whose core hangs is
//! stale, which clients see, and nobody mends. Both are ended by who started it, and begun anew.

use std::{fmt, time::Duration};

/// How often within the manager's time it is told that all is well; one time may be missed.
const TIMES: u32 = 4;

/// The core looks at its evidence every second; a loop is not said to stand still before this, however short the manager's
/// patience is.
const LEAST: Duration = Duration::from_millis(2500);

/// Time since each loop last turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vitals {
    pub(super) core: Duration,
    pub(super) probe: Duration,
}

/// A loop that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Still {
    which: &'static str,
    since: Duration,
}

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} has not turned for {:.1} s", self.which, self.since.as_secs_f64())
    }
}

/// How often to look, and to tell, for a manager whose patience is `limit`.
pub(super) fn pace(limit: Duration) -> Duration {
    limit / TIMES
}

/// Whether the manager may be told that all is well. Each loop was knocked at or due within the last [`pace`], so that one
/// that has not turned for twice as long does not.
pub(super) fn judge(limit: Duration, vitals: Vitals) -> Result<(), Still> {
    let longest = (pace(limit) * 2).max(LEAST);
    let all = [("core", vitals.core), ("probe engine", vitals.probe)];
    match all.into_iter().find(|(_, age)| *age > longest) {
        Some((which, since)) => Err(Still { which, since }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn both_loops_have_to_turn() {
        let limit = s(40);
        let judged = |core, probe| judge(limit, Vitals { core, probe }).map_err(|still| still.which);
        assert_eq!(judged(s(0), s(0)), Ok(()));
        assert_eq!(judged(s(20), s(20)), Ok(()));
        assert_eq!(judged(s(21), s(0)), Err("core"));
        assert_eq!(judged(s(0), s(21)), Err("probe engine"));
        let hasty = |core| judge(s(1), Vitals { core, probe: s(0) }).is_ok();
        assert!(hasty(s(2)) && !hasty(s(3)), "it turns every second");
        let said = judge(limit, Vitals { core: s(0), probe: s(90) }).unwrap_err().to_string();
        assert_eq!(said, "the probe engine has not turned for 90.0 s");
    }

    proptest! {
        /// Loops that turn within the pace are never ended, whenever each look happens to be; and one that stops for good
        /// is not fed for longer than the manager's patience.
        #[test]
        fn who_turns_is_fed_in_time_and_who_hangs_is_not(
            limit in 5u64..600,
            phase in 0.0f64..1.0,
            stops in 0u64..1000,
        ) {
            let limit = s(limit);
            let step = pace(limit);
            let mut fed = Duration::ZERO;
            for look in 1..200u32 {
                let now = step * look;
                // The engine turned when it was last knocked at, or a part of the pace ago, until it stopped.
                let turned = (now.saturating_sub(step.mul_f64(phase))).min(s(stops));
                let vitals = Vitals { core: step.mul_f64(phase), probe: now - turned };
                if judge(limit, vitals).is_ok() {
                    prop_assert!(now - fed <= limit);
                    fed = now;
                } else {
                    prop_assert!(now > s(stops), "it turned");
                }
            }
            prop_assert!(fed <= s(stops) + step * 2 + step);
        }
    }
}
