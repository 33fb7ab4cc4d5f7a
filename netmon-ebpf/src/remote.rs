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
    /// By [`prefix_hash`](crate::prefix_hash).
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
    /// [`prefix_hash`](crate::prefix_hash) of the remote address.
    pub prefix: u32,
}

/// 2⁶⁴ divided by the golden ratio: multiplication by it spreads neighbours far apart (Knuth, TAOCP 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of a connection, by the address of its socket.
#[inline(always)]
pub fn flow_hash(sock: u64) -> u32 {
    (sock.wrapping_mul(GOLDEN) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_memory_fall_into_cells_of_their_own() {
        // A slab of sockets: 64 balls into 256 cells share 7 on average.
        let mut seen = [false; FLOW_CELLS];
        let slab = |i: u64| flow_hash(0xffff_8881_0000_0000 + i * 2368) as usize % FLOW_CELLS;
        (0..64).map(slab).for_each(|cell| seen[cell] = true);
        assert!(seen.iter().filter(|seen| **seen).count() >= 50);
    }
}
