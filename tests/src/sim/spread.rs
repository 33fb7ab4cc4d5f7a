//! How values are spread.

use std::fmt;

/// Values, in order. Seconds, where nothing else is said.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    /// The spread of these. Those that are no number are left out.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Their mean; NaN of none.
    pub fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len() as f64
    }

    /// The least value that a part `q` (0–1) of all are no greater than: the nearest rank. NaN of none.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    /// The least; NaN of none.
    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The greatest; NaN of none.
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// A bar for each of `bins` parts of `from` to `to`, as high as many are in it.
    pub fn bars(&self, from: f64, to: f64, bins: usize) -> String {
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let mut counts = vec![0usize; bins];
        for v in self.sorted.iter().filter(|v| (from..to).contains(*v)) {
            let bin = ((v - from) / (to - from) * bins as f64) as usize;
            counts[bin.min(bins - 1)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or_default().max(1);
        // Rounded up: what is there is seen.
        counts.into_iter().map(|n| BARS[(n * 8).div_ceil(most)]).collect()
    }
}

impl fmt::Display for Spread {
    /// Minimum, mean, median, 99th percentile, maximum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [self.min(), self.mean(), self.quantile(0.5), self.quantile(0.99), self.max()];
        figures.iter().try_for_each(|v| write!(f, " {v:7.2}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let s = Spread::new((1..=100).rev().map(f64::from));
        assert_eq!((s.min(), s.quantile(0.5), s.quantile(0.99), s.max()), (1.0, 50.0, 99.0, 100.0));
        assert_eq!((s.mean(), s.count()), (50.5, 100));
        assert!(Spread::default().max().is_nan());
    }

    #[test]
    fn bars_are_as_high_as_many_are_there() {
        let s = Spread::new([0.5, 0.5, 0.5, 0.5, 1.5, 3.5, 3.5, 9.0]);
        assert_eq!(s.bars(0.0, 4.0, 4), "█▂ ▄");
    }
}
