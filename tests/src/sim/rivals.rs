//! How others decide, from the same probes: what our rules are held against.

/// Down after so many probes lost in a row, up with the first that is answered: what most do by default (`fall 3` of
/// HAProxy, keepalived and Kubernetes' `failureThreshold`).
#[derive(Clone, Debug)]
pub struct InARow {
    needed: u32,
    lost: u32,
}

impl InARow {
    /// Three in a row.
    pub fn three() -> Self {
        Self { needed: 3, lost: 0 }
    }

    /// Takes a probe; whether it is down now.
    pub fn take(&mut self, lost: bool) -> bool {
        self.lost = if lost { self.lost.saturating_add(1) } else { 0 };
        self.lost >= self.needed
    }
}

/// Down while the exponentially weighted loss is above a threshold, with a lower one to leave by: SmokePing's `ExpLoss`
/// with `hist = 16` (the oldest of 16 weighs 1 %, so the newest weighs 25 %), `rising = 50` and `falling = 20`. From no
/// loss at all it takes three in a row to get there, so that it finds a blackhole no later than [`InARow::three`].
#[derive(Clone, Debug, Default)]
pub struct Ewma {
    loss: f64,
    down: bool,
}

impl Ewma {
    const NEWEST: f64 = 0.25;
    const RISING: f64 = 0.5;
    const FALLING: f64 = 0.2;

    /// Takes a probe; whether it is down now.
    pub fn take(&mut self, lost: bool) -> bool {
        self.loss += Self::NEWEST * (f64::from(u8::from(lost)) - self.loss);
        self.down = self.loss >= Self::RISING || self.down && self.loss >= Self::FALLING;
        self.down
    }
}

/// Too slow while the exponentially weighted round trip is above its control limit: Roberts' chart (1959) as the NIST
/// handbook has it (6.3.2.4), λ = 0.25 and three sigma, with mean and variance of the last hour.
#[derive(Clone, Debug, Default)]
pub struct ControlChart {
    ewma: f64,
    mean: f64,
    variance: f64,
    samples: u32,
}

impl ControlChart {
    const NEWEST: f64 = 0.25;
    const SIGMAS: f64 = 3.0;
    /// Of the base: an hour of samples at 2 s.
    const HOUR: f64 = 1800.0;
    /// Samples without which nothing is said, as R11.
    const ENOUGH: u32 = 100;

    /// Takes a round trip; whether it is too slow now. Any unit.
    pub fn take(&mut self, rtt: f64) -> bool {
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            (self.ewma, self.mean) = (rtt, rtt);
        }
        self.ewma += Self::NEWEST * (rtt - self.ewma);
        let width = (self.variance * Self::NEWEST / (2.0 - Self::NEWEST)).sqrt();
        let slow = self.samples > Self::ENOUGH && self.ewma > self.mean + Self::SIGMAS * width;
        if !slow {
            // Until the hour is full, the plain mean.
            let weight = 1.0 / f64::from(self.samples).min(Self::HOUR);
            let off = rtt - self.mean;
            self.mean += weight * off;
            self.variance = (1.0 - weight) * (self.variance + weight * off * off);
        }
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_and_no_fewer() {
        let mut d = InARow::three();
        let seen = [true, true, false, true, true, true, true, false].map(|lost| d.take(lost));
        assert_eq!(seen, [false, false, false, false, false, true, true, false]);
    }

    #[test]
    fn ewma_falls_with_the_third_and_rises_when_enough_were_answered() {
        let mut d = Ewma::default();
        assert_eq!([true, true, true].map(|lost| d.take(lost)), [false, false, true]);
        // 0.578 · 0.75ⁿ < 0.2 from n = 4 on.
        assert_eq!([false; 5].map(|lost| d.take(lost)), [true, true, true, false, false]);
    }

    #[test]
    fn a_control_chart_knows_its_hour() {
        let mut c = ControlChart::default();
        for i in 0..1000 {
            let rtt = if i % 2 == 0 { 9.0 } else { 11.0 };
            assert!(!c.take(rtt), "{i}");
        }
        assert!((c.mean - 10.0).abs() < 0.1 && (c.variance - 1.0).abs() < 0.1, "{} {}", c.mean, c.variance);
        assert!((1..10).any(|_| c.take(20.0)), "twice as slow is found soon");
        let still = (0..30).filter(|_| c.take(10.0)).count();
        assert!(still < 12, "and so is that it is over: {still}");
    }
}
