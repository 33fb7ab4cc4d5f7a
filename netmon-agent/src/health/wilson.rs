//! How sure a ratio is: Wilson's score interval, which holds for few samples and for ratios near zero.

/// Lower and upper bound of the ratio behind `hits` of `n` samples, by Wilson (1927), `z` standard deviations apart: 2.576
/// for a two-sided confidence of 99 %. 0 and 1 without samples.
pub fn interval(hits: f64, n: f64, z: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let (p, z2) = ((hits / n).clamp(0.0, 1.0), z * z);
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out in Python with a z of more digits.
    #[test]
    fn bounds_are_wilsons() {
        for (hits, n, lower, upper) in
            [(8.0, 60.0, 0.0565, 0.2832), (7.0, 60.0, 0.0466, 0.2631), (0.0, 100.0, 0.0, 0.0622)]
        {
            let (l, u) = interval(hits, n, 2.576);
            assert!((l - lower).abs() < 2e-4 && (u - upper).abs() < 2e-4, "{hits} of {n}: {l} {u}");
        }
        assert_eq!(interval(0.0, 0.0, 2.576), (0.0, 1.0));
        assert_eq!(interval(5.0, 5.0, 2.576).1, 1.0);
    }
}
