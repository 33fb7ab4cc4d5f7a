//! Whether retransmissions are one remote's trouble or many's, in the agent's own network namespace.

use aya_ebpf::{
    btf_maps::{PerCpuArray, RingBuf},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use netmon_ebpf::{
    FLOW_CELLS, Key, MAX_SPREAD, PREFIX_CELLS, Spread, TIMEOUTS_BYTES, Timeout, flow_hash, lost, prefix_hash,
};

use crate::{
    count::{self, add32},
    tables::table,
    walk::Sock,
};

table!(
    /// Cells of prefixes and connections by interface.
    rows: Key => Spread, MAX_SPREAD, SPREAD_INDEX, SPREAD, SPREAD_BOOK, SPREAD_FREE
);

#[btf_map]
static TIMEOUTS: RingBuf<Timeout, { TIMEOUTS_BYTES as usize }> = RingBuf::new();

#[btf_map]
static TOLD: PerCpuArray<Told, 1> = PerCpuArray::new();

/// Time-outs told of one prefix, by one CPU in one second.
const TOLD_AT_MOST: u8 = 2;
/// Seconds are cut at 2³⁰ ns: a shift is cheaper than a division.
const SECOND_BITS: u64 = 30;

/// What this CPU told in the current second, by cell of the prefix.
#[repr(C)]
struct Told {
    second: u64,
    counts: [u8; PREFIX_CELLS],
}

/// Segments sent again, on the account of the socket's remote prefix and of its connection.
#[inline(never)]
pub fn add(key: &Key, sock: Sock, segments: u64) {
    if !count::is_own(key.netns) {
        return;
    }
    let found = rows::look(key).or_else(|| rows::insert(key));
    let Some(spread) = found else { return count::lose(lost::SPREAD, key.netns) };
    let prefix = prefix_hash(&sock.remote_address()) as usize % PREFIX_CELLS;
    let flow = flow_hash(sock.0) as usize % FLOW_CELLS;
    // SAFETY: the pointer is to a `Spread` in the map, and the cells are within it.
    unsafe {
        add32((&raw mut (*spread).prefixes).cast::<u32>().add(prefix), segments as u32);
        add32((&raw mut (*spread).flows).cast::<u32>().add(flow), segments as u32);
    }
}

/// A timer of the socket ran out: tells the agent, unless that prefix has been told of often enough.
#[inline(never)]
pub fn timed_out(key: &Key, sock: Sock) {
    if !count::is_own(key.netns) {
        return;
    }
    let Some(told) = TOLD.get_ptr_mut(0) else { return };
    let prefix = prefix_hash(&sock.remote_address());
    // SAFETY: a helper without arguments.
    let second = unsafe { bpf_ktime_get_ns() } >> SECOND_BITS;
    // SAFETY: the pointer is to this CPU's `Told`, and the cell is within it. Should a softirq come in between, a
    // time-out too many is told.
    let enough = unsafe {
        if (*told).second != second {
            (*told).counts = [0; PREFIX_CELLS];
            (*told).second = second;
        }
        let count = (&raw mut (*told).counts).cast::<u8>().add(prefix as usize % PREFIX_CELLS);
        *count += u8::from(*count < TOLD_AT_MOST + 1);
        *count > TOLD_AT_MOST
    };
    if !enough && TIMEOUTS.output(Timeout { ifindex: key.ifindex, prefix }, 0).is_err() {
        count::lose(lost::TIMEOUTS, key.netns);
    }
}
