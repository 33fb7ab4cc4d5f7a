//! Loss that comes in bursts: Gilbert (1960) and Elliott (1963), in continuous time.

use std::time::Duration;

use rand::{RngExt, rngs::SmallRng};

/// A channel that is good or bad for spells of exponential length, and loses more while it is bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Mean length of a good spell.
    pub good: Duration,
    /// Mean length of a bad one.
    pub bad: Duration,
    /// Loss in a good spell, 0–1.
    pub loss_good: f64,
    /// Loss in a bad one, 0–1.
    pub loss_bad: f64,
}

impl Model {
    /// The loss over a long time, 0–1.
    pub fn loss(&self) -> f64 {
        let (good, bad) = (self.good.as_secs_f64(), self.bad.as_secs_f64());
        (good * self.loss_good + bad * self.loss_bad) / (good + bad)
    }
}

/// The channel at one time after another.
#[derive(Clone, Debug)]
pub struct Channel {
    model: Model,
    bad: bool,
    from: Duration,
    until: Duration,
}

impl Channel {
    /// A channel that begins with a good spell.
    pub fn new(model: Model, rng: &mut SmallRng) -> Self {
        let until = exponential(model.good, rng);
        Self { model, bad: false, from: Duration::ZERO, until }
    }

    /// Whether what is sent at `at` is lost. Time goes forward only. Every bad spell that ended before is told, by its
    /// begin and its end.
    pub fn loses(
        &mut self,
        at: Duration,
        rng: &mut SmallRng,
        mut tell: impl FnMut(Duration, Duration),
    ) -> bool {
        while self.until <= at {
            if self.bad {
                tell(self.from, self.until);
            }
            self.bad = !self.bad;
            let mean = if self.bad { self.model.bad } else { self.model.good };
            self.from = self.until;
            self.until += exponential(mean, rng);
        }
        let loss = if self.bad { self.model.loss_bad } else { self.model.loss_good };
        loss >= 1.0 || loss > 0.0 && rng.random_bool(loss)
    }
}

/// A spell of exponential length.
pub fn exponential(mean: Duration, rng: &mut SmallRng) -> Duration {
    // Of (0, 1]: its logarithm is a number.
    mean.mul_f64(-(1.0 - rng.random::<f64>()).ln())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn loss_and_spells_are_those_of_the_model() {
        let s = Duration::from_secs_f64;
        let model = Model { good: s(100.0), bad: s(5.0), loss_good: 0.001, loss_bad: 0.8 };
        let mut rng = SmallRng::seed_from_u64(1);
        let mut channel = Channel::new(model, &mut rng);
        let (mut lost, mut spells, mut bad) = (0, 0, 0.0);
        let probes = 1_000_000;
        for i in 0..probes {
            let loses = channel.loses(s(0.5 * f64::from(i)), &mut rng, |from, until| {
                spells += 1;
                bad += (until - from).as_secs_f64();
            });
            lost += u32::from(loses);
        }
        let (loss, mean) = (f64::from(lost) / f64::from(probes), bad / f64::from(spells));
        assert!((loss / model.loss() - 1.0).abs() < 0.1, "{loss} {}", model.loss());
        assert!((mean / 5.0 - 1.0).abs() < 0.1, "{mean}");
        assert!((f64::from(spells) / (500_000.0 / 105.0) - 1.0).abs() < 0.1, "{spells}");
    }

    #[test]
    fn a_bad_spell_that_loses_all_loses_all() {
        let s = Duration::from_secs_f64;
        let model = Model { good: s(10.0), bad: s(10.0), loss_good: 0.0, loss_bad: 1.0 };
        let mut rng = SmallRng::seed_from_u64(2);
        let mut channel = Channel::new(model, &mut rng);
        let (mut run, mut spells) = (Vec::new(), Vec::new());
        for i in 0..200_000 {
            let at = s(0.01 * f64::from(i));
            if channel.loses(at, &mut rng, |from, until| spells.push((from, until))) {
                run.push(at);
            }
        }
        let within = |at: &Duration| spells.iter().any(|(from, until)| from <= at && at < until);
        let (_, last) = spells[spells.len() - 1];
        assert!(run.iter().filter(|at| **at < last).all(within) && run.len() > 50_000);
    }
}
