//! R11 by bounds: the core sorts round trips into buckets of 6 to 12 %, so its word is taken, and held against the
//! exact medians with room for that.

use std::time::Duration;

use crate::{health::Settings, time::Mono};

/// Samples of the recent median.
const RECENT: usize = 15;

/// The base is worked out anew after so many samples.
const ANEW: usize = 15;

/// A base is held against what is seen for so long.
const HELD: Duration = Duration::from_secs(3600);

/// The samples of one address, microseconds.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    recent: Vec<f64>,
    norm: Vec<f64>,
    slow: Option<Mono>,
}

impl Latency {
    pub fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    pub fn outage(&mut self) {
        self.recent.clear();
    }

    /// Takes a sample, if there is one, with the core's word after it; an error when that can't be.
    pub fn learn(
        &mut self,
        at: Mono,
        sample: Option<(Duration, bool)>,
        slow: bool,
        settings: &Settings,
    ) -> Result<(), String> {
        let Some((rtt, steady)) = sample else {
            return if slow == self.is_slow() { Ok(()) } else { Err("changed without a sample".into()) };
        };
        self.recent.push(rtt.as_micros() as f64);
        let over = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..over);
        match (self.slow, slow) {
            (None, true) => {
                let (least, _) = self.threshold(settings, 1.0).ok_or("slow without a base")?;
                if self.median()? < least {
                    return Err(format!("slow at {} µs, which is under {least}", self.median()?));
                }
                self.slow = Some(at);
            }
            (None, false) => {
                if let (Some((_, most)), Ok(median)) = (self.threshold(settings, 1.0), self.median())
                    && median > most
                {
                    return Err(format!("not slow at {median} µs, which is over {most}"));
                }
            }
            (Some(since), false) if at.since(since) >= HELD => {
                *self = Self { recent: self.recent.clone(), ..Self::default() }
            }
            (Some(since), false) => {
                let (_, most) = self.threshold(settings, 0.5).ok_or("no base any more")?;
                if at.since(since) < settings.degraded_dwell || self.median()? > most {
                    return Err(format!("over at {} µs after {:?}", self.median()?, at.since(since)));
                }
                self.slow = None;
            }
            (Some(_), true) => {}
        }
        if steady && self.slow.is_none() {
            self.norm.push(rtt.as_micros() as f64);
        }
        Ok(())
    }

    fn median(&self) -> Result<f64, String> {
        if self.recent.len() < RECENT { Err("too few samples".into()) } else { Ok(median(&self.recent)) }
    }

    /// Least and most that the base with this part of the margin can be; none without one.
    fn threshold(&self, settings: &Settings, part: f64) -> Option<(f64, f64)> {
        let enough = settings.latency_samples as usize;
        let more = self.norm.len().checked_sub(enough)?;
        let norm = &self.norm[..enough + more / ANEW * ANEW];
        let base = median(norm);
        let deviations: Vec<f64> = norm.iter().map(|v| (v - base).abs()).collect();
        // A bucket's middle is off by a fourteenth, or by 256 µs; a deviation by twice that.
        let off = (base / 14.0).max(256.0);
        let margin = |base: f64, deviation: f64| {
            (6.0 * 1.4826 * deviation.max(0.0)).max(base).max(settings.latency_floor.as_micros() as f64)
        };
        let deviation = median(&deviations);
        let least = base - off + part * margin(base - off, deviation - 3.0 * off);
        let most = base + off + part * margin(base + off, deviation + 3.0 * off);
        Some((least - 1.0, most + 1.0))
    }
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}
