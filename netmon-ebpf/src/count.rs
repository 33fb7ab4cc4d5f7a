//! The maps of counters, and how to add to them.

use aya_ebpf::{
    btf_maps::{HashMap, PerCpuArray, PerCpuHashMap},
    macros::btf_map,
};
use aya_log_ebpf::debug;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use netmon_ebpf::{
    AddressCounters, Counters, DeviceName, Key, LocalAddress, MAX_ADDRESSES, MAX_COUNTERS, MAX_DROP_REASON,
    MAX_NAMES, MAX_OTHERS, Settings, address_slot, kind, lost, slot,
};

use crate::walk::Device;

#[btf_map]
static COUNTERS: PerCpuHashMap<Key, Counters, { MAX_COUNTERS as usize }> = PerCpuHashMap::new();

#[btf_map]
static OTHERS: PerCpuHashMap<Key, Counters, { MAX_OTHERS as usize }> = PerCpuHashMap::new();

#[btf_map]
static ADDRESSES: PerCpuHashMap<LocalAddress, AddressCounters, { MAX_ADDRESSES as usize }> =
    PerCpuHashMap::new();

#[btf_map]
static NAMES: HashMap<Key, DeviceName, { MAX_NAMES as usize }> = HashMap::new();

#[btf_map]
static LOST: PerCpuArray<u64, { lost::COUNT as usize }> = PerCpuArray::new();

/// Set by the loader, frozen like the offsets.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::DEFAULT;

pub const BPF_NOEXIST: u64 = 1;

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

/// This CPU's counters of one namespace and interface.
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
    COUNTERS.get_ptr_mut(key).or_else(|| {
        // Another CPU may be first to insert the key; its row serves as well.
        let _ = COUNTERS.insert(key, [0; slot::COUNT], BPF_NOEXIST);
        COUNTERS.get_ptr_mut(key)
    })
}

#[inline(always)]
fn others_row(key: &Key, device: Device) -> Option<*mut Counters> {
    OTHERS.get_ptr_mut(key).or_else(|| {
        if OTHERS.insert(key, [0; slot::COUNT], BPF_NOEXIST).is_ok() {
            name(key, device);
        }
        OTHERS.get_ptr_mut(key)
    })
}

/// Notes what the interface of `key` is called. Netlink tells only of the agent's own namespace.
#[inline(always)]
fn name(key: &Key, device: Device) {
    if let Some(name) = device.name()
        && NAMES.insert(key, name, 0).is_err()
    {
        lose(lost::NAMES, key.netns);
    }
}

/// So many more of what `SLOT` stands for at `address`, unless it is another namespace's.
#[inline(always)]
pub fn at_address<const SLOT: usize>(address: &LocalAddress, amount: u64) {
    const { assert!(SLOT < address_slot::COUNT) };
    if address.netns != 0 && !is_own(address.netns) {
        return;
    }
    let found = ADDRESSES.get_ptr_mut(address).or_else(|| {
        let _ = ADDRESSES.insert(address, [0; address_slot::COUNT], BPF_NOEXIST);
        ADDRESSES.get_ptr_mut(address)
    });
    match found {
        // SAFETY: the pointer is to an `AddressCounters` in the map, and the slot is within it.
        Some(counters) => unsafe { add(counters.cast::<u64>().add(SLOT), amount) },
        None => lose(lost::ADDRESSES, address.netns),
    }
}

/// Counts a loss, and says so the first time it is of this sort on this CPU.
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

/// Adds in one step: another CPU may add to the same counter, and even to one that is this CPU's alone a softirq may
/// in the middle of it.
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
