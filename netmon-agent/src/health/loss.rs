//! R9: loss of one address, over [`Settings::loss_samples`]: 60 of them are 120 s at the usual interval.
//!
//! A sample is one probe of those that are far enough apart (`sampling`); a burst adds none of its own, so a second of
//! silence is one lost sample and not six.
//!
//! **An outage is no loss.** Samples that were lost since the last reply of any kind are taken back when the address
//! turns out to be down, and nothing is recorded until it is up again: a blackhole leaves no trace here, however short.
//! What was seen before it stays, unless the outage was longer than the window itself.

use std::time::Duration;

use super::{
    settings::Settings,
    verdict::{Reason, ReasonCode},
    wilson,
};
use crate::time::Mono;

/// Samples of the window, by default and at most: there is a bit for each.
pub const SAMPLES: u32 = 60;

/// An outage longer than this makes the samples of before it too old.
const MEMORY: Duration = Duration::from_secs(120);

/// The window of one address.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// One bit a sample, the newest lowest; set where it was lost.
    bits: u64,
    samples: u32,
    /// Samples lost since the last reply.
    run: u32,
    fell: Option<Mono>,
    degraded: Option<Mono>,
}

impl Loss {
    /// Samples lost, of how many.
    pub fn counts(&self) -> (u32, u32) {
        (self.bits.count_ones(), self.samples)
    }

    /// Whether it is too much.
    pub fn is_degraded(&self) -> bool {
        self.degraded.is_some()
    }

    /// Any probe was answered.
    pub fn replied(&mut self) {
        self.run = 0;
    }

    /// A sample was concluded, of an address that is up or was never judged.
    pub fn record(&mut self, now: Mono, lost: bool, settings: &Settings) {
        if self.fell.take().is_some_and(|fell| now.since(fell) > MEMORY) {
            *self = Self::default();
        }
        let window = settings.loss_samples.min(SAMPLES);
        self.run = if lost { (self.run + 1).min(window) } else { 0 };
        self.bits = (self.bits << 1 | u64::from(lost)) & ((1 << window) - 1);
        self.samples = (self.samples + 1).min(window);
        // Nothing is said of less than half a window.
        if self.samples < window / 2 {
            return;
        }
        let lost = self.bits.count_ones();
        match self.degraded {
            None => {
                let (lower, _) = wilson::interval(lost.into(), self.samples.into(), settings.confidence);
                self.degraded = (lower > settings.loss_ratio).then_some(now);
            }
            Some(since) if lost <= settings.loss_left && now.since(since) >= settings.degraded_dwell => {
                self.degraded = None;
            }
            Some(_) => {}
        }
    }

    /// The address is down: the losses that led to it are the outage's.
    pub fn outage(&mut self, now: Mono) {
        self.bits >>= self.run;
        self.samples = self.samples.saturating_sub(self.run);
        self.run = 0;
        self.fell = Some(now);
    }

    /// Why, with the numbers; while it is degraded.
    pub fn reason(&self, subject: &str, what: &str, settings: &Settings) -> Option<Reason> {
        self.degraded?;
        let (lost, all) = self.counts();
        let (lower, _) = wilson::interval(lost.into(), all.into(), settings.confidence);
        let percent = |r: f64| r * 100.0;
        let detail = format!(
            "{what}: {lost} of the last {all} probes lost ({:.1} %, surely more than {:.1} %)",
            percent(f64::from(lost) / f64::from(all.max(1))),
            percent(lower),
        );
        Some(Reason::new(ReasonCode::Loss, subject, detail))
    }
}

/// Fewest lost of a full window that make it degraded; more than there are samples when nothing can.
pub fn lost_to_enter(settings: &Settings) -> u32 {
    let Settings { loss_samples: all, loss_ratio: ratio, confidence, .. } = *settings;
    let enters = |lost: &u32| wilson::interval((*lost).into(), all.into(), confidence).0 > ratio;
    (0..=all).find(enters).unwrap_or(all + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000_000)
    }

    fn feed(loss: &mut Loss, from: u64, samples: &[bool]) -> u64 {
        for (i, lost) in samples.iter().enumerate() {
            loss.record(s(from + 2 * i as u64), *lost, &Settings::default());
            if !lost {
                loss.replied();
            }
        }
        from + 2 * samples.len() as u64
    }

    #[test]
    fn r9_eight_of_sixty_enter_and_one_of_sixty_leaves_after_the_dwell() {
        assert_eq!(lost_to_enter(&Settings::default()), 8);
        let mut loss = Loss::default();
        let mut t = feed(&mut loss, 0, &[false; 60]);
        for _ in 0..7 {
            t = feed(&mut loss, t, &[true, false]);
        }
        assert!(!loss.is_degraded());
        t = feed(&mut loss, t, &[true, false]);
        assert!(loss.is_degraded());
        let mut clean = 0;
        while loss.is_degraded() {
            t = feed(&mut loss, t, &[false]);
            clean += 1;
        }
        assert_eq!(loss.counts(), (1, 60));
        assert_eq!(clean, 57, "the second to last of the losses leaves after 57");
    }

    #[test]
    fn r9_a_shorter_window_is_entered_by_fewer() {
        let short = Settings { loss_samples: 30, ..Settings::default() };
        let enters = lost_to_enter(&short);
        assert!(enters < 8, "{enters}");
        let mut loss = Loss::default();
        (0..30).for_each(|i| loss.record(s(2 * i), false, &short));
        (30..60).for_each(|i| loss.record(s(2 * i), i < 30 + u64::from(enters) - 1, &short));
        assert_eq!((loss.is_degraded(), loss.counts()), (false, (enters - 1, 30)));
        (60..90).for_each(|i| loss.record(s(2 * i), i < 60 + u64::from(enters), &short));
        assert!(loss.is_degraded());
    }

    #[test]
    fn r9_nothing_is_said_of_half_a_window() {
        let mut loss = Loss::default();
        feed(&mut loss, 0, &[true, false].repeat(14));
        assert!(!loss.is_degraded());
    }

    #[test]
    fn r9_an_outage_takes_its_losses_with_it() {
        let mut loss = Loss::default();
        let mut t = feed(&mut loss, 0, &[false; 60]);
        for _ in 0..30 {
            t = feed(&mut loss, t, &[true, true]);
            loss.outage(s(t));
            t = feed(&mut loss, t + 10, &[false]);
        }
        assert_eq!(loss.counts().0, 0);
        assert!(!loss.is_degraded());
    }

    #[test]
    fn r9_what_was_before_a_long_outage_is_forgotten() {
        let mut loss = Loss::default();
        let t = feed(&mut loss, 0, &[true, false].repeat(30));
        assert!(loss.is_degraded());
        loss.outage(s(t));
        let mut short = loss.clone();
        feed(&mut short, t + 60, &[false]);
        assert!(short.is_degraded(), "a short one mends no loss");
        feed(&mut loss, t + 121, &[false]);
        assert_eq!((loss.is_degraded(), loss.counts()), (false, (0, 1)));
    }
}
