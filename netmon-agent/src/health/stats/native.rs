//! Round-trip times since the target was made, in the buckets of Prometheus' native histograms: kept only where these
//! are asked for.

use std::time::Duration;

/// Buckets an octave, as a power of two: what Prometheus' own clients choose for a growth of 10 %. The native histogram's
/// `schema`.
const SCHEMA: i32 = 3;

/// A native histogram that grows: bucket `i` holds what is above `2^((i−1)/8)` s and up to `2^(i/8)` s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeHistogram {
    /// Times of no length.
    zero: u64,
    /// Buckets with their counts, by bucket.
    buckets: Vec<(i16, u64)>,
}

impl NativeHistogram {
    /// Its resolution: `2^schema` buckets an octave.
    pub const fn schema() -> i32 {
        SCHEMA
    }

    /// How many times had no length.
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// Buckets that hold something, with their counts, by bucket.
    pub fn buckets(&self) -> &[(i16, u64)] {
        &self.buckets
    }

    /// Counts one time.
    pub fn record(&mut self, rtt: Duration) {
        match bucket(rtt.as_secs_f64()) {
            Some(bucket) => self.count(bucket, 1),
            None => self.zero += 1,
        }
    }

    /// Counts all that `other` has.
    pub fn add(&mut self, other: &Self) {
        self.zero += other.zero;
        for (bucket, count) in &other.buckets {
            self.count(*bucket, *count);
        }
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.buckets.capacity() * size_of::<(i16, u64)>()
    }

    fn count(&mut self, bucket: i16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(i) => self.buckets[i].1 += count,
            Err(i) => self.buckets.insert(i, (bucket, count)),
        }
    }
}

/// The bucket that holds `seconds`; none for nothing.
fn bucket(seconds: f64) -> Option<i16> {
    (seconds > 0.0).then(|| (seconds.log2() * f64::from(1 << SCHEMA)).ceil() as i16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_its_upper_bound() {
        assert_eq!([0.25, 0.5, 1.0, 2.0].map(bucket), [Some(-16), Some(-8), Some(0), Some(8)]);
        assert_eq!([0.500_001, 1.000_001, 1.09].map(bucket), [Some(-7), Some(1), Some(1)]);
        assert_eq!((bucket(1e-9), bucket(0.0)), (Some(-239), None));
    }

    #[test]
    fn two_add_up() {
        let of = |ms: &[u64]| {
            let mut h = NativeHistogram::default();
            ms.iter().for_each(|ms| h.record(Duration::from_millis(*ms)));
            h
        };
        let mut sum = of(&[0, 3, 400]);
        sum.add(&of(&[3, 40]));
        assert_eq!(sum, of(&[400, 40, 3, 3, 0]));
        assert_eq!((sum.zero(), sum.buckets().len()), (1, 3));
    }
}
