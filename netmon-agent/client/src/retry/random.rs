use std::hash::{BuildHasher, RandomState};

/// A uniform number of 0..1. The standard library's hash keys come from the system's randomness, and are others each
/// time: so are their hashes, and no two processes share them.
pub(crate) fn uniform() -> f64 {
    let bits = RandomState::new().hash_one(0u8);
    // 53 bits are what the number holds.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_uniform() {
        let n = 100_000;
        let mut tenths = [0u32; 10];
        for _ in 0..n {
            tenths[(uniform() * 10.0) as usize] += 1;
        }
        // Each has a deviation of 95: seven of them, or once in 10¹¹ runs.
        assert!(tenths.iter().all(|count| count.abs_diff(n / 10) < 700), "{tenths:?}");
    }
}
