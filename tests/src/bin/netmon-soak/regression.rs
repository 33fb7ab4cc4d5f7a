//! How a figure grows with time, and how sure that is: least squares over means of blocks of time. Pure.

/// A straight line through figures, by ordinary least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Growth per hour.
    pub per_hour: f64,
    /// The bounds of its 95 % confidence interval.
    pub low: f64,
    /// The upper one.
    pub high: f64,
    /// From how many blocks.
    pub blocks: usize,
}

/// Fewer blocks say nothing of a slope.
pub const LEAST_BLOCKS: usize = 8;

/// The 97.5 % quantile of the normal distribution.
const NORMAL: f64 = 1.959_964;

/// The means of `samples` (hours, value), which are in order, in blocks of so many hours: what a load does to a figure in
/// turns cancels out within a block, and what one sample shares with the next.
pub fn blocks(samples: &[(f64, f64)], hours: f64) -> Vec<(f64, f64)> {
    let Some(start) = samples.first().map(|s| s.0) else { return Vec::new() };
    let number = |at: f64| ((at - start) / hours) as usize;
    let mean = |block: &[(f64, f64)]| {
        let n = block.len() as f64;
        (block.iter().map(|s| s.0).sum::<f64>() / n, block.iter().map(|s| s.1).sum::<f64>() / n)
    };
    samples.chunk_by(|a, b| number(a.0) == number(b.0)).map(mean).collect()
}

/// The slope of `points` (hours, value); none of fewer than [`LEAST_BLOCKS`].
///
/// The interval is Student's, its standard error widened by what each point shares with the one before (a first-order
/// autoregression of the residuals): √((1 + ρ)/(1 − ρ)), where ρ is positive.
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    if points.len() < LEAST_BLOCKS {
        return None;
    }
    let n = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let per_hour = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    let residuals: Vec<f64> = points.iter().map(|p| p.1 - mean_y - per_hour * (p.0 - mean_x)).collect();
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    let shared = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
    let rho = if squares > 0.0 { (shared / squares).clamp(0.0, 0.9) } else { 0.0 };
    let error = (squares / (n - 2.0) / spread).sqrt() * ((1.0 + rho) / (1.0 - rho)).sqrt();
    let half = student(n - 2.0) * error;
    Some(Slope { per_hour, low: per_hour - half, high: per_hour + half, blocks: points.len() })
}

/// The 97.5 % quantile of Student's distribution, by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5);
/// within 0.1 % from six degrees of freedom on.
fn student(freedom: f64) -> f64 {
    let z = NORMAL;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn line(per_hour: f64, noise: f64, seed: u64) -> Vec<(f64, f64)> {
        let mut random = SmallRng::seed_from_u64(seed);
        let at = |i: i32| f64::from(i) / 12.0;
        (0..24).map(|i| (at(i), 1000.0 + per_hour * at(i) + noise * random.random_range(-1.0..1.0))).collect()
    }

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, table) in [(6.0, 2.447), (9.0, 2.262), (20.0, 2.086), (120.0, 1.980)] {
            assert!((student(freedom) - table).abs() < 0.003, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn a_line_without_noise_is_found_exactly() {
        let found = slope(&line(37.0, 0.0, 0)).unwrap();
        assert!((found.per_hour - 37.0).abs() < 1e-6 && found.high - found.low < 1e-6, "{found:?}");
        let flat = slope(&line(0.0, 0.0, 0)).unwrap();
        assert_eq!((flat.low, flat.high), (0.0, 0.0));
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let held = (0..1000)
            .filter(|seed| slope(&line(5.0, 10.0, *seed)).is_some_and(|s| (s.low..s.high).contains(&5.0)))
            .count();
        // 950 of 1000, and it errs to the wide side.
        assert!((930..=990).contains(&held), "{held}");
    }

    #[test]
    fn what_each_point_shares_with_the_last_widens_the_interval() {
        // A walk at random has no slope, and looks like one.
        let seems = (0..200).filter(|seed| {
            let mut at = 0.0;
            let walk: Vec<_> = line(0.0, 1.0, *seed)
                .iter()
                .map(|(x, y)| {
                    (*x, {
                        at += y - 1000.0;
                        at
                    })
                })
                .collect();
            slope(&walk).is_some_and(|s| s.low > 0.0 || s.high < 0.0)
        });
        let naive = 200 / 2;
        assert!(seems.count() < naive);
    }

    #[test]
    fn few_points_or_one_moment_have_no_slope() {
        assert_eq!(slope(&line(1.0, 0.0, 0)[..LEAST_BLOCKS - 1]), None);
        assert_eq!(slope(&[(1.0, 2.0); 20]), None);
    }

    #[test]
    fn a_block_is_the_mean_of_its_samples() {
        let samples = [(1.0, 10.0), (1.04, 20.0), (1.2, 30.0), (1.9, 7.0)];
        let means = blocks(&samples, 0.1);
        assert_eq!(means.len(), 3);
        assert!((means[0].0 - 1.02).abs() < 1e-9 && means[0].1 == 15.0);
        assert_eq!(means[2], (1.9, 7.0));
        assert!(blocks(&[], 0.1).is_empty());
    }
}
