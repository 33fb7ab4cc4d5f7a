//! The programs' side of a [table](netmon_ebpf::Row).

/// `BPF_F_MMAPABLE` of the kernel's include/uapi/linux/bpf.h.
pub const MMAPABLE: usize = 1 << 10;

pub const BPF_NOEXIST: u64 = 1;

/// No row has this number.
pub const NOWHERE: u32 = u32::MAX;

/// Rows given back that are freed for one that is handed out: more than one, so that they become fewer. No more than that, for
/// the verifier goes through each anew in every program. Those whose key came again count as well, so in a full table an event
/// may be lost that a later one would have had room for.
pub const FREED_AT_ONCE: usize = 2;

/// A table, as a module of its own: `look` for the value of a key, `insert` when it has none.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $name:ident: $key:ty => $value:ty, $rows:expr,
        $index:ident, $table:ident, $book:ident, $free:ident
    ) => {
        $(#[$doc])*
        pub mod $name {
            use aya_ebpf::{
                btf_maps::{Array, HashMap, Stack},
                macros::btf_map,
            };
            use netmon_ebpf::{Book, Row, state};

            use super::*;
            use $crate::{
                count::add32,
                tables::{BPF_NOEXIST, FREED_AT_ONCE, MMAPABLE, NOWHERE},
            };

            const ROWS: usize = $rows as usize;
            const _: () = assert!(ROWS.is_power_of_two());

            #[btf_map]
            static $index: HashMap<$key, u32, ROWS> = HashMap::new();
            #[btf_map]
            static $table: Array<Row<$key, $value>, ROWS, MMAPABLE> = Array::new();
            #[btf_map]
            static $book: Array<Book<ROWS>, 1, MMAPABLE> = Array::new();
            #[btf_map]
            static $free: Stack<u32, ROWS> = Stack::new();

            /// The value of `key`; `None` when it has no row.
            #[inline(always)]
            pub fn look(key: &$key) -> Option<*mut $value> {
                // SAFETY: the pointer is to a `u32` in the map.
                let number = unsafe { *$index.get_ptr(key)? };
                let row = $table.get_ptr_mut(number)?;
                // SAFETY: the pointer is to a row in the map.
                unsafe { ((&raw const (*row).state).read_volatile() == state::USED).then_some(&raw mut (*row).value.0) }
            }

            /// The value of `key`, which gets a row where it has none; `None` when there is no room for one.
            #[inline(always)]
            pub fn insert(key: &$key) -> Option<*mut $value> {
                let row = $table.get_ptr_mut(place(key))?;
                // SAFETY: the pointer is to a row in the map.
                Some(unsafe { &raw mut (*row).value.0 })
            }

            #[inline(never)]
            fn place(key: &$key) -> u32 {
                if let Some(number) = $index.get_ptr(key) {
                    // SAFETY: the pointer is to a `u32` in the map.
                    return revive(unsafe { *number });
                }
                let Some(book) = $book.get_ptr_mut(0) else { return NOWHERE };
                for _ in 0..FREED_AT_ONCE {
                    free_one(book);
                }
                let Ok(Some(number)) = $free.pop() else { return NOWHERE };
                let Some(row) = $table.get_ptr_mut(number) else { return NOWHERE };
                // SAFETY: the pointers are to a row and to the book in their maps. The row is nobody else's.
                unsafe {
                    if (*row).state == state::FRESH {
                        add32(&raw mut (*book).high, 1);
                    }
                    (&raw mut (*row).key).write_volatile(*key);
                }
                let taken = $index.insert(key, number, BPF_NOEXIST).is_ok();
                // SAFETY: as above. The insertion takes a lock and lets go of it, so nobody sees this before the key.
                unsafe { (&raw mut (*row).state).write_volatile(if taken { state::USED } else { state::FREE }) };
                if taken {
                    return number;
                }
                let _ = $free.push(number, 0);
                // Another CPU was first, and its row serves as well; or the index is full.
                // SAFETY: the pointer is to a `u32` in the map.
                $index.get_ptr(key).map_or(NOWHERE, |number| unsafe { *number })
            }

            /// The row is its key's again: an event came after the agent had read it out.
            #[inline(always)]
            fn revive(number: u32) -> u32 {
                if let Some(row) = $table.get_ptr_mut(number) {
                    // SAFETY: the pointer is to a row in the map.
                    unsafe { (&raw mut (*row).state).write_volatile(state::USED) };
                }
                number
            }

            /// Frees the next row that the agent gave back, unless its key came again in the meantime.
            #[inline(always)]
            fn free_one(book: *mut Book<ROWS>) {
                // SAFETY: the pointer is to the book, the place is within it by a mask that the verifier sees, and the other
                // to a row in its map. Volatile, for other CPUs and the agent write here.
                unsafe {
                    let tail = (&raw const (*book).tail).read_volatile();
                    if tail == (&raw const (*book).head).read_volatile() {
                        return;
                    }
                    let at = (&raw const (*book).retired).cast::<u32>().add(tail as usize & (ROWS - 1));
                    let number = at.read_volatile();
                    if let Some(row) = $table.get_ptr_mut(number)
                        && (&raw const (*row).state).read_volatile() == state::RETIRED
                    {
                        let key = (&raw const (*row).key).read_volatile();
                        if $index.remove(&key).is_err() {
                            // Another CPU has just freed it, and goes on in the book.
                            return;
                        }
                        (&raw mut (*row).state).write_volatile(state::FREE);
                        let _ = $free.push(number, 0);
                    }
                    (&raw mut (*book).tail).write_volatile(tail.wrapping_add(1));
                }
            }
        }
    };
}
pub(crate) use table;
