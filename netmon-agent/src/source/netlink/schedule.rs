//! When to read the routes anew.
//!
//! The kernel tells of a lost link or address before it drops the routes over it, and of those IPv4 routes it never
//! tells (`__inet_del_ifa` and `__dev_notify_flags` send first and flush afterwards). So one reading at once is not
//! enough: more follow, until the operation that caused it is over for certain.

use std::time::Duration;

use crate::time::Mono;

/// After the last reason to read, routes are read at these moments.
const AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(15), Duration::from_millis(150), Duration::from_secs(1)];

/// Between readings there is at least this many times what the last one took: a table of a million routes must not
/// keep a core busy.
const REST: u32 = 4;

/// Between readings there is at least this much, so that a burst of events costs few of them.
const SPACING: Duration = Duration::from_millis(10);

/// The plan. Pure: time comes in with every call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedule {
    /// The last reason to read, and how many readings began since.
    reason: Option<(Mono, usize)>,
    not_before: Mono,
}

impl Schedule {
    /// There is a reason to read.
    pub(super) fn trigger(&mut self, now: Mono) {
        self.reason = Some((now, 0));
    }

    /// When the next reading is due; none if there is no reason for one.
    pub(super) fn due(&self) -> Option<Mono> {
        let (at, done) = self.reason?;
        AFTER.get(done).map(|after| (at + *after).max(self.not_before))
    }

    /// A reading begins.
    pub(super) fn begin(&mut self) {
        self.reason = self.reason.map(|(at, done)| (at, done + 1)).filter(|(_, done)| *done < AFTER.len());
    }

    /// The reading that began at `began` is over.
    pub(super) fn finish(&mut self, began: Mono, now: Mono) {
        self.not_before = now + (now.since(began) * REST).max(SPACING);
    }

    /// No reading before `until`.
    pub(super) fn rest_until(&mut self, until: Mono) {
        self.not_before = self.not_before.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Mono {
        Mono::from_nanos(n * 1_000_000)
    }

    /// Plays readings of 1 ms each and says when they began.
    fn play(schedule: &mut Schedule, mut now: Mono, triggers: &[Mono]) -> Vec<u64> {
        let mut began = Vec::new();
        let mut triggers = triggers.iter().copied().peekable();
        loop {
            let next = [schedule.due(), triggers.peek().copied()].into_iter().flatten().min();
            let Some(next) = next else { return began };
            now = now.max(next);
            while triggers.next_if(|t| *t <= now).is_some() {
                schedule.trigger(now);
            }
            if schedule.due().is_some_and(|due| due <= now) {
                began.push(now.as_nanos() / 1_000_000);
                schedule.begin();
                now = now + Duration::from_millis(1);
                schedule.finish(Mono::from_nanos(now.as_nanos() - 1_000_000), now);
            }
        }
    }

    #[test]
    fn one_event_is_followed_by_four_readings() {
        assert_eq!(play(&mut Schedule::default(), ms(0), &[ms(100)]), [100, 115, 250, 1100]);
    }

    #[test]
    fn events_while_reading_are_not_lost_and_a_burst_costs_little() {
        let burst: Vec<Mono> = (0..100).map(|i| ms(100 + i / 10)).collect();
        assert_eq!(play(&mut Schedule::default(), ms(0), &burst), [100, 111, 124, 259, 1109]);
    }

    #[test]
    fn a_long_reading_is_followed_by_a_long_rest() {
        let mut s = Schedule::default();
        s.trigger(ms(0));
        s.begin();
        s.finish(ms(0), ms(500));
        assert_eq!(s.due(), Some(ms(2500)));
    }
}
