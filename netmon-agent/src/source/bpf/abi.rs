//! The types shared with the kernel side, in the form in which aya passes them to the kernel.

use netmon_ebpf::{Drop, Format, Key, LocalAddress, Offsets, RttHistogram, Settings, Spread};

/// A type of `netmon_ebpf`, passed as its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

#[expect(unsafe_code, reason = "aya takes only types that are declared to be plain bytes")]
mod pod {
    use super::{Drop, Format, Key, LocalAddress, Offsets, Raw, RttHistogram, Settings, Spread};

    // SAFETY: `repr(C)`, integers only, and without padding, which netmon-ebpf asserts at compile time.
    unsafe impl aya::Pod for Raw<Key> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<LocalAddress> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Drop> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<RttHistogram> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Spread> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Offsets> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Format> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Settings> {}
}
