//! Round-trip times in logarithmic buckets: 64 to an octave, each divided evenly, as HdrHistogram does it. Below 128 ns
//! a bucket is one nanosecond.

/// Buckets an octave, as a power of two.
const STEPS: u32 = 6;

/// The bucket that holds `ns`; 3775 at most.
pub(super) fn bucket(ns: u64) -> u16 {
    let Some(shift) = (63 - (ns | 1).leading_zeros()).checked_sub(STEPS) else { return ns as u16 };
    (((shift + 1) << STEPS) as u64 + ((ns >> shift) & ((1 << STEPS) - 1))) as u16
}

/// The middle of a bucket, ns: at most 1/128 of any value in it away from that value.
pub(super) fn middle(bucket: u16) -> u64 {
    let (octave, step) = (u32::from(bucket >> STEPS), u64::from(bucket & ((1 << STEPS) - 1)));
    let Some(shift) = octave.checked_sub(1) else { return step };
    let low = ((1 << STEPS) + step) << shift;
    low + ((1 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_one_another() {
        assert_eq!([0, 63, 64, 127, 128, 129, 130].map(bucket), [0, 63, 64, 127, 128, 128, 129]);
        assert_eq!(bucket(u64::MAX), 3775);
        assert!((0..3775).all(|b| middle(b) < middle(b + 1)));
        assert!((0..=3775).all(|b| bucket(middle(b)) == b));
    }

    proptest! {
        #[test]
        fn a_bucket_is_narrow(ns in prop_oneof![0..100_000u64, 0..60_000_000_000u64, any::<u64>()]) {
            let off = middle(bucket(ns)).abs_diff(ns);
            prop_assert!(u128::from(off) * 128 <= u128::from(ns), "{ns} is {off} away");
        }
    }
}
