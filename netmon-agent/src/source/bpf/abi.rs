//! The types shared with the kernel side, in the form in which aya passes them to the kernel.

use netmon_ebpf::{Format, Offsets, Settings};

/// A type of `netmon_ebpf`, passed as its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

#[expect(unsafe_code, reason = "aya takes only types that are declared to be plain bytes")]
mod pod {
    use super::{Format, Offsets, Raw, Settings};

    // SAFETY: `repr(C)`, integers only, and without padding, which netmon-ebpf asserts at compile time.
    unsafe impl aya::Pod for Raw<Offsets> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Format> {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Raw<Settings> {}
}

#[cfg(test)]
#[expect(unsafe_code, reason = "bytes are read as aya reads them")]
mod tests {
    use super::*;

    /// The bytes of a value, each of them looked at: Miri tells one that was never written, as padding is.
    fn bytes<T: Copy>(value: T) -> u64
    where
        Raw<T>: aya::Pod,
    {
        let raw = Raw(value);
        // SAFETY: `Raw<T>` is marked as plain bytes; whether it is, is what the test is for.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const raw).cast::<u8>(), size_of::<Raw<T>>()) };
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    /// A value of nothing but ones, each field of it written.
    fn ones<T: Copy>() -> T
    where
        Raw<T>: aya::Pod,
    {
        let mut value = std::mem::MaybeUninit::<T>::uninit();
        // SAFETY: the types marked above are of integers alone, which any bytes are.
        unsafe {
            value.as_mut_ptr().cast::<u8>().write_bytes(1, size_of::<T>());
            value.assume_init()
        }
    }

    #[test]
    fn every_type_is_its_bytes_and_nothing_else() {
        assert_eq!(bytes(ones::<Offsets>()), size_of::<Offsets>() as u64);
        assert_eq!(bytes(ones::<Format>()), size_of::<Format>() as u64);
        assert_eq!(bytes(ones::<Settings>()), size_of::<Settings>() as u64);
    }
}
