//! How sure a count is.

/// Quantile of the normal distribution of a two-sided confidence of 95 %.
const Z: f64 = 1.959_964;
/// The part of the distribution beyond each bound.
const TAIL: f64 = 0.025;
/// Up to this count the bounds are exact; beyond, the approximation is good to a thousandth.
const EXACT: u64 = 100;

/// Bounds of the mean behind a count of independent events, at 95 % confidence: Garwood (1936), by Wilson and Hilferty's
/// approximation of the quantiles for counts above 100.
pub fn interval(count: u64) -> (f64, f64) {
    let k = count as f64;
    if count > EXACT {
        let quantile = |n: f64, z: f64| n * (1.0 - 1.0 / (9.0 * n) + z / (3.0 * n.sqrt())).powi(3);
        return (quantile(k, -Z), quantile(k + 1.0, Z));
    }
    // The mean at which so many or more are as rare as the tail, and that at which so many or fewer are.
    let lower = match count {
        0 => 0.0,
        _ => solve(k, |mean| 1.0 - at_most(count - 1, mean) < TAIL),
    };
    (lower, solve(k + 4.0 * (k + 4.0).sqrt(), |mean| at_most(count, mean) > TAIL))
}

/// Probability of at most `count` events of a Poisson distribution.
fn at_most(count: u64, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for i in 1..=count {
        term *= mean / i as f64;
        sum += term;
    }
    sum
}

/// The greatest mean from zero to `most` that is `below` the one sought.
fn solve(most: f64, below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, most);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_garwoods() {
        // R: qchisq(0.025, 2k) / 2 and qchisq(0.975, 2k + 2) / 2.
        for (count, lower, upper) in
            [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (5, 1.6235, 11.6683), (100, 81.3636, 121.6265)]
        {
            let (l, u) = interval(count);
            assert!((l - lower).abs() < 2e-3 && (u - upper).abs() < 2e-3, "{count}: {l} {u}");
        }
    }

    #[test]
    fn both_ways_to_reckon_meet() {
        let ((a, b), (c, d)) = (interval(EXACT), interval(EXACT + 1));
        assert!((c - a - 1.0).abs() < 0.1 && (d - b - 1.0).abs() < 0.1, "{a} {b} {c} {d}");
    }
}
