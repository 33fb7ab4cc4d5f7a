//! Round-trip times as the kernel measured them, in histograms of powers of two.

/// Buckets of a histogram: bucket 0 is 0 µs, bucket *n* is from 2ⁿ⁻¹ µs up to but not including 2ⁿ µs, and the last is
/// all from 2²⁶ µs (67 s).
pub const RTT_BUCKETS: usize = 28;

/// One histogram.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttHistogram {
    /// Sum in µs.
    pub sum: u64,
    /// Measurements by bucket.
    pub buckets: [u64; RTT_BUCKETS],
}

/// The histograms of one interface, by [`rtt_kind`].
pub type Rtt = [RttHistogram; rtt_kind::COUNT];

/// Places in [`Rtt`].
pub mod rtt_kind {
    /// Of the handshake, when a connection was established.
    pub const HANDSHAKE: usize = 0;
    /// Smoothed, when a connection closed.
    pub const CLOSE: usize = 1;
    /// Smoothed, of every 64th segment received.
    pub const SAMPLED: usize = 2;
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// The bucket of a round-trip time in µs.
#[inline(always)]
pub fn rtt_bucket(us: u32) -> usize {
    // The number of bits, by halving: the target has no instruction for it.
    let mut rest = us;
    let mut bits = 0;
    if rest >= 1 << 16 {
        rest >>= 16;
        bits += 16;
    }
    if rest >= 1 << 8 {
        rest >>= 8;
        bits += 8;
    }
    if rest >= 1 << 4 {
        rest >>= 4;
        bits += 4;
    }
    if rest >= 1 << 2 {
        rest >>= 2;
        bits += 2;
    }
    if rest >= 1 << 1 {
        rest >>= 1;
        bits += 1;
    }
    let bits = bits + rest as usize;
    if bits < RTT_BUCKETS { bits } else { RTT_BUCKETS - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_the_number_of_bits() {
        for us in (0..100_000).chain([u32::MAX, 1 << 26, (1 << 26) - 1, 1 << 25, 1 << 31]) {
            let bits = (u32::BITS - us.leading_zeros()) as usize;
            assert_eq!(rtt_bucket(us), bits.min(RTT_BUCKETS - 1), "{us}");
        }
    }
}
