//! Remote ends, hashed: enough to tell that trouble is spread over many of them, never which they are.

/// Cells of [`Spread::prefixes`].
pub const PREFIX_CELLS: usize = 64;
/// Cells of [`Spread::flows`].
pub const FLOW_CELLS: usize = 256;

/// Segments sent again by time-out or fast retransmit, of one interface. Two of a kind may share a cell, never one have
/// two; cells only grow, and wrap.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// By [`prefix_hash`].
    pub prefixes: [u32; PREFIX_CELLS],
    /// By [`flow_hash`].
    pub flows: [u32; FLOW_CELLS],
}

/// A retransmission time-out in the agent's own network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// Index of the interface; 0 when unknown.
    pub ifindex: u32,
    /// [`prefix_hash`] of the remote address.
    pub prefix: u32,
}

/// 2⁶⁴ divided by the golden ratio: multiplication by it spreads neighbours far apart (Knuth, TAOCP 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of the network a remote address is in: of an IPv4 address, given IPv4-mapped, its /24; of an IPv6 address its
/// /48, which is what one site has (RFC 6177).
#[inline(always)]
pub fn prefix_hash(octets: &[u8; 16]) -> u32 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, _] = *octets;
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let mapped = high == 0 && i == 0 && j == 0 && k == 0xff && l == 0xff;
    // The tag keeps an IPv4 network from being an IPv6 one of the same bits.
    let network = if mapped { u64::from_be_bytes([0, 0, 0, 0, 1, m, n, o]) } else { high & !0xffff };
    (network.wrapping_mul(GOLDEN) >> 32) as u32
}

/// A hash of a connection, by the address of its socket.
#[inline(always)]
pub fn flow_hash(sock: u64) -> u32 {
    (sock.wrapping_mul(GOLDEN) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
        prefix_hash(&Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets())
    }

    fn v6(text: &str) -> u32 {
        prefix_hash(&text.parse::<Ipv6Addr>().unwrap().octets())
    }

    #[test]
    fn the_host_part_counts_for_nothing() {
        assert_eq!(v4(192, 0, 2, 1), v4(192, 0, 2, 254));
        assert_ne!(v4(192, 0, 2, 1), v4(192, 0, 3, 1));
        assert_eq!(v6("2001:db8:1::1"), v6("2001:db8:1:ffff::2"));
        assert_ne!(v6("2001:db8:1::1"), v6("2001:db8:2::1"));
        assert_ne!(v4(0, 0, 0, 1), v6("::1"));
    }

    /// Cells that `networks` fall into, of [`PREFIX_CELLS`].
    fn cells(networks: impl Iterator<Item = u32>) -> usize {
        let mut seen = [false; PREFIX_CELLS];
        networks.for_each(|hash| seen[hash as usize % PREFIX_CELLS] = true);
        seen.iter().filter(|seen| **seen).count()
    }

    #[test]
    fn neighbours_fall_into_cells_of_their_own() {
        // 64 balls into 64 cells leave 23.4 empty on average; neighbours must not do worse than chance.
        assert!(cells((0..64).map(|i| v4(10, 0, i, 1))) >= 40);
        assert!(cells((0..64).map(|i| v4(i, 7, 7, 1))) >= 36);
        let sites = |i: u16| prefix_hash(&Ipv6Addr::new(0x2001, 0xdb8, i, 0, 0, 0, 0, 1).octets());
        assert!(cells((0..64).map(sites)) >= 40);
        let sockets = |i: u64| flow_hash(0xffff_8881_0000_0000 + i * 2368);
        assert!(cells((0..64).map(sockets)) >= 40);
    }
}
