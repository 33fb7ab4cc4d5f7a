//! Remote prefixes as hashes: kernel side and agent must agree on them.

/// A hash of the prefix a remote address is in: its /24 if it is IPv4, else its /48.
///
/// `octets` is the address in network byte order, IPv4 as an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2).
/// Every bit of the result depends on every bit of the prefix, so any of them will do for the number of a cell. Two
/// prefixes differ in 32 bits of it by chance alone: among 1,000 of them the odds of an equal pair are 1 in 8,600.
///
/// It keeps no secret: who chooses the addresses of many hosts can have them share a hash.
#[inline(always)]
pub fn prefix_hash(octets: &[u8; 16]) -> u32 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *octets;
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
    let mapped = high == 0 && low >> 32 == 0xffff;
    // An IPv6 prefix has 48 bits: the next one tells IPv4 prefixes apart from all of them.
    let prefix = if mapped { (low & 0xffff_ffff) >> 8 | 1 << 48 } else { high >> 16 };
    // The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    let mixed = (prefix ^ prefix >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{
        collections::BTreeSet,
        net::{IpAddr, Ipv4Addr},
        vec::Vec,
    };

    use super::prefix_hash;

    fn hash(text: &str) -> u32 {
        prefix_hash(&match text.parse().unwrap() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }

    #[test]
    fn hosts_of_a_prefix_share_its_hash() {
        assert_eq!(hash("192.0.2.0"), hash("192.0.2.255"));
        assert_eq!(hash("192.0.2.7"), hash("::ffff:192.0.2.9"));
        assert_eq!(hash("2001:db8:7::1"), hash("2001:db8:7:ffff:ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn every_bit_of_a_prefix_changes_its_hash_and_no_other_does() {
        let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        for bit in 0..128 {
            let with_bit = |mut octets: [u8; 16]| {
                octets[bit / 8] ^= 0x80 >> (bit % 8);
                prefix_hash(&octets)
            };
            assert_eq!(with_bit(v6) != prefix_hash(&v6), bit < 48, "bit {bit} of IPv6");
            if bit >= 96 {
                assert_eq!(with_bit(v4) != prefix_hash(&v4), bit < 120, "bit {bit} of IPv4");
            }
        }
    }

    #[test]
    fn a_prefix_of_one_family_is_none_of_the_others() {
        assert_ne!(hash("192.0.2.0"), hash("::192.0.2.0"));
        // The bits of 192.0.2.0/24, as the lowest of an IPv6 prefix.
        assert_ne!(hash("192.0.2.0"), hash("0:c0:2::"));
        assert_ne!(hash("0.0.0.0"), hash("::"));
    }

    /// Chi-squared of neighbouring prefixes in 64 cells, by the lowest and by the highest bits: 63 degrees of freedom,
    /// exceeded by chance alone with odds of 1 in 100,000 at 126. As even as that also rules out that cells are missed.
    #[test]
    fn neighbouring_prefixes_spread_evenly() {
        let v4 = |n: u32| prefix_hash(&Ipv4Addr::from(0x0a00_0000 + (n << 8)).to_ipv6_mapped().octets());
        let v6 = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            prefix_hash(&[0x20, 1, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        };
        // Prefixes that differ at the top only, as those of different providers do.
        let v6_high = |n: u32| {
            let [_, _, c, d] = n.to_be_bytes();
            prefix_hash(&[0x20 + c, d, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        };
        for hash in [&v4 as &dyn Fn(u32) -> u32, &v6, &v6_high] {
            let hashes: Vec<u32> = (0..6400).map(hash).collect();
            for shift in [0, 26] {
                let mut cells = [0_i64; 64];
                hashes.iter().for_each(|hash| cells[(hash >> shift & 63) as usize] += 1);
                let chi_squared: i64 = cells.iter().map(|n| (n - 100) * (n - 100)).sum::<i64>() / 100;
                assert!(chi_squared < 126, "{chi_squared}: {cells:?}");
            }
            assert!(hashes.iter().collect::<BTreeSet<_>>().len() >= 6399, "one in 200 has an equal pair");
        }
    }
}
