//! The maps of counters, and how to add to them.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use aya_log_ebpf::debug;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use netmon_ebpf::{
    AddressCounters, Counters, Key, LocalAddress, MAX_ADDRESSES, MAX_COUNTERS, MAX_DROP_REASON, MAX_OTHERS,
    Other, Settings, address_slot, kind, lost, slot,
};

use crate::{
    tables::{MMAPABLE, table},
    walk::Device,
};

table!(
    /// The agent's own network namespace.
    own: Key => Counters, MAX_COUNTERS, COUNTERS_INDEX, COUNTERS, COUNTERS_BOOK, COUNTERS_FREE
);
table!(
    /// Every other network namespace.
    others: Key => Other, MAX_OTHERS, OTHERS_INDEX, OTHERS, OTHERS_BOOK, OTHERS_FREE
);
table!(
    /// Local addresses.
    addresses: LocalAddress => AddressCounters, MAX_ADDRESSES,
    ADDRESSES_INDEX, ADDRESSES, ADDRESSES_BOOK, ADDRESSES_FREE
);

#[btf_map]
static LOST: Array<u64, { lost::COUNT as usize }, MMAPABLE> = Array::new();

/// Set by the loader, frozen like the offsets.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::DEFAULT;

macro_rules! setting {
    ($($field:tt)+) => {
        // SAFETY: a field of a static; volatile, for the compiler must not use the value it was initialised with.
        unsafe { core::ptr::read_volatile(&raw const SETTINGS.$($field)+) }
    };
}

/// Whether `netns` is the agent's own.
#[inline(always)]
pub fn is_own(netns: u32) -> bool {
    netns == setting!(own_netns)
}

/// Whether a drop reason was asked for.
#[inline(always)]
pub fn wants_drops_for(reason: u32) -> bool {
    if reason >= MAX_DROP_REASON {
        return false;
    }
    // SAFETY: the word is within the static, by a mask that the verifier sees; volatile as every other setting.
    let word = unsafe {
        (&raw const SETTINGS.drop_reasons).cast::<u64>().add((reason >> 6 & 3) as usize).read_volatile()
    };
    word >> (reason & 63) & 1 == 1
}

/// Whether events of `netns` are to be counted. Those of an unknown one are, for they may be ours.
#[inline(always)]
pub fn is_wanted(netns: u32) -> bool {
    setting!(all_namespaces) == 1 || netns == 0 || is_own(netns)
}

/// The counters of one namespace and interface.
pub struct Row(*mut u64);

impl Row {
    #[inline(always)]
    pub fn add<const SLOT: usize>(&self, amount: u64) {
        const { assert!(SLOT < slot::COUNT) };
        // SAFETY: the pointer is to a `Counters` in the map, and the slot is within it.
        unsafe { add(self.0.add(SLOT), amount) }
    }

    /// One retransmission of so many segments.
    #[inline(always)]
    pub fn again(&self, kind: usize, segments: u64) {
        if kind < kind::COUNT {
            // SAFETY: as above; the verifier sees the bound too.
            unsafe {
                add(self.0.add(slot::SEGMENTS + kind), segments);
                add(self.0.add(slot::EVENTS + kind), 1);
            }
        }
    }
}

/// The counters of `key`. `None` when its namespace is none of ours, or, counted as lost, when the map has no room for
/// another key. The device gives a new row its name.
#[inline(always)]
pub fn row(key: &Key, device: Device) -> Option<Row> {
    if !is_wanted(key.netns) {
        return None;
    }
    if key.ifindex == 0 {
        lose(lost::UNRESOLVED, key.netns);
    }
    let (found, place) = if setting!(all_namespaces) == 1 && key.netns != 0 && !is_own(key.netns) {
        (others_row(key, device), lost::OTHERS)
    } else {
        (own_row(key), lost::COUNTERS)
    };
    if found.is_none() {
        lose(place, key.netns);
    }
    found.map(|counters| Row(counters.cast()))
}

#[inline(always)]
fn own_row(key: &Key) -> Option<*mut Counters> {
    own::look(key).or_else(|| own::insert(key))
}

/// A new row notes what the interface is called: netlink tells only of the agent's own namespace.
#[inline(always)]
fn others_row(key: &Key, device: Device) -> Option<*mut Counters> {
    let row = others::look(key).or_else(|| {
        let row = others::insert(key)?;
        let name = device.name().unwrap_or_default();
        // SAFETY: the pointer is to an `Other` in the map.
        unsafe { (&raw mut (*row).name).write(name) };
        Some(row)
    })?;
    // SAFETY: as above.
    Some(unsafe { &raw mut (*row).counters })
}

/// So many more of what `SLOT` stands for at `address`, unless it is another namespace's.
#[inline(always)]
pub fn at_address<const SLOT: usize>(address: &LocalAddress, amount: u64) {
    const { assert!(SLOT < address_slot::COUNT) };
    if address.netns != 0 && !is_own(address.netns) {
        return;
    }
    match addresses::look(address).or_else(|| addresses::insert(address)) {
        // SAFETY: the pointer is to an `AddressCounters` in the map, and the slot is within it.
        Some(counters) => unsafe { add(counters.cast::<u64>().add(SLOT), amount) },
        None => lose(lost::ADDRESSES, address.netns),
    }
}

/// Counts a loss, and says so the first time it is of this sort.
///
/// Never inlined: a log line takes more instructions than all of a program's own work.
#[inline(never)]
pub fn lose(place: u32, netns: u32) {
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

/// Adds in one step: another CPU may add to the same counter, or a softirq in the middle of it.
///
/// # Safety
/// `counter` must point to a `u64` in a map.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

/// As [`add`], to a `u32`.
///
/// # Safety
/// `counter` must point to a `u32` in a map.
#[inline(always)]
pub unsafe fn add32(counter: *mut u32, amount: u32) {
    // SAFETY: as the caller promises.
    unsafe {
        atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}
