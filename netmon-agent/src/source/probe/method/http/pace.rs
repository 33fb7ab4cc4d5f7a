//! Whether the thread keeps its pace. What runs out of time while it does not says nothing of a target (rule R13).

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::super::super::inflight::LATE_TURN;
use crate::time::{Mono, sleep_until};

/// How often a probe under way notes that the thread is there. Most are over before.
const BEAT: Duration = Duration::from_millis(50);

/// When the thread was last there, and when last late; nanoseconds of [`Mono`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    beat: AtomicU64,
    late: AtomicU64,
}

impl Pace {
    /// Does what was asked for at `asked`, and notes meanwhile that the thread is there.
    pub(super) async fn beside<T>(&self, asked: Mono, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut due = asked;
        loop {
            let now = Mono::now();
            self.beat(due, now);
            due = now + BEAT;
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep_until(due) => {}
            }
        }
    }

    /// The thread is there, and was to be so at `due`.
    fn beat(&self, due: Mono, now: Mono) {
        if now.since(due) > LATE_TURN {
            self.late.store(now.as_nanos(), Ordering::Relaxed);
        }
        self.beat.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Whether it was late since `sent`, or is now, a probe having been under way all that time.
    pub(super) fn was_late(&self, sent: Mono, now: Mono) -> bool {
        let beat = Mono::from_nanos(self.beat.load(Ordering::Relaxed)).max(sent);
        self.late.load(Ordering::Relaxed) >= sent.as_nanos() || now.since(beat) > BEAT + LATE_TURN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(t: u64) -> Mono {
        Mono::from_nanos((10_000 + t) * 1_000_000)
    }

    #[test]
    fn a_thread_that_beats_in_time_is_not_late() {
        let pace = Pace::default();
        for t in (0..1_000).step_by(50) {
            pace.beat(ms(t), ms(t + 100));
            assert!(!pace.was_late(ms(0), ms(t + 250)));
        }
    }

    #[test]
    fn one_late_beat_spoils_what_was_under_way_and_nothing_later() {
        let pace = Pace::default();
        pace.beat(ms(0), ms(0));
        pace.beat(ms(50), ms(151));
        pace.beat(ms(201), ms(201));
        assert!(pace.was_late(ms(0), ms(210)) && pace.was_late(ms(151), ms(210)));
        assert!(!pace.was_late(ms(152), ms(210)));
    }

    #[test]
    fn a_thread_that_is_not_heard_of_is_late() {
        let pace = Pace::default();
        assert!(!pace.was_late(ms(0), ms(150)));
        assert!(pace.was_late(ms(0), ms(151)));
        pace.beat(ms(100), ms(100));
        assert!(!pace.was_late(ms(0), ms(250)));
        assert!(pace.was_late(ms(0), ms(251)));
    }

    #[test]
    fn work_is_done_and_the_thread_noted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pace = Pace::default();
        let start = Mono::now();
        assert_eq!(runtime.block_on(pace.beside(start, async { 7 })), 7);
        assert!(pace.beat.load(Ordering::Relaxed) >= start.as_nanos());
    }
}
