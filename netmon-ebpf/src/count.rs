//! The maps, and how to add to them.

use aya_ebpf::{
    btf_maps::{PerCpuArray, PerCpuHashMap},
    macros::btf_map,
};
use aya_log_ebpf::debug;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use netmon_ebpf::{Counters, Key, LocalAddress, MAX_COUNTERS, MAX_SYNACKS, lost, slot};

#[btf_map]
static COUNTERS: PerCpuHashMap<Key, Counters, { MAX_COUNTERS as usize }> = PerCpuHashMap::new();

#[btf_map]
static SYNACKS: PerCpuHashMap<LocalAddress, u64, { MAX_SYNACKS as usize }> = PerCpuHashMap::new();

#[btf_map]
static LOST: PerCpuArray<u64, { lost::COUNT as usize }> = PerCpuArray::new();

const BPF_NOEXIST: u64 = 1;

/// This CPU's counters of one namespace and interface.
pub struct Row(*mut u64);

impl Row {
    #[inline(always)]
    pub fn add<const SLOT: usize>(&self, amount: u64) {
        const { assert!(SLOT < slot::COUNT) };
        // SAFETY: the pointer is to a `Counters` in the map, and the slot is within it.
        unsafe { add(self.0.add(SLOT), amount) }
    }
}

/// The counters of `key`. `None`, and counted as lost, when the map has no room for another key.
#[inline(always)]
pub fn row(key: &Key) -> Option<Row> {
    if key.ifindex == 0 {
        lose(lost::UNRESOLVED, key.netns);
    }
    let found = COUNTERS.get_ptr_mut(key).or_else(|| {
        // Another CPU may be first to insert the key; its row serves as well.
        let _ = COUNTERS.insert(key, [0; slot::COUNT], BPF_NOEXIST);
        COUNTERS.get_ptr_mut(key)
    });
    if found.is_none() {
        lose(lost::COUNTERS, key.netns);
    }
    found.map(|counters| Row(counters.cast()))
}

/// One more SYN-ACK sent again from `address`.
#[inline(always)]
pub fn synack(address: &LocalAddress) {
    let found = SYNACKS.get_ptr_mut(address).or_else(|| {
        let _ = SYNACKS.insert(address, 0, BPF_NOEXIST);
        SYNACKS.get_ptr_mut(address)
    });
    match found {
        // SAFETY: the pointer is to a `u64` in the map.
        Some(counter) => unsafe { add(counter, 1) },
        None => lose(lost::SYNACKS, address.netns),
    }
}

/// Counts a loss, and says so the first time it is of this sort on this CPU.
///
/// Never inlined: a log line takes more instructions than all of a program's own work.
#[inline(never)]
fn lose(place: u32, netns: u32) {
    let Some(counter) = LOST.get_ptr_mut(place) else { return };
    // SAFETY: the pointer is to a `u64` in the map.
    unsafe {
        if *counter == 0 {
            // The macro wants a program's context and makes no use of it.
            debug!((), "first event of network namespace {} to be counted as lost in place {}", netns, place);
        }
        add(counter, 1);
    }
}

/// Adds in one step although the counter is this CPU's alone: a softirq may run the program in the middle of it.
///
/// # Safety
/// `counter` must point to a `u64` in a map.
#[inline(always)]
unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}
