//! How sure a ratio is, by Wilson (1927).

/// Quantile of R9's and R10's bounds.
const Z: f64 = 2.576;

fn bound(hits: f64, n: f64, side: f64) -> f64 {
    let p = hits / n;
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    (p + Z * Z / (2.0 * n) + side * spread) / (1.0 + Z * Z / n)
}

/// The least that the ratio behind `hits` of `n` can be.
pub fn lower(hits: f64, n: f64) -> f64 {
    bound(hits, n, -1.0)
}

/// And the most.
pub fn upper(hits: f64, n: f64) -> f64 {
    bound(hits, n, 1.0)
}
