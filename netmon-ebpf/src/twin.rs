//! What the kernel keeps from a program because it is running on that processor already.
//!
//! A program in process context can be interrupted by a softirq, and an event in there finds the program busy: the
//! kernel skips it (`__bpf_trace_run` of kernel/trace/bpf_trace.c). A second program on the same tracepoint is busy at
//! other moments. It runs after the first, so it sees by the first one's marks whether that had its turn.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};

#[btf_map]
static TURNS: PerCpuArray<Turns, 1> = PerCpuArray::new();

/// This CPU's marks.
#[repr(C)]
struct Turns {
    /// How often the first program began.
    begun: u32,
    /// What `begun` was when the second last looked.
    seen: u32,
    /// 1 while the first one is at work.
    at_work: u32,
}

/// The first program's turn.
pub struct Turn(*mut Turns);

/// The first program begins.
#[inline(always)]
pub fn begin() -> Option<Turn> {
    let turns = TURNS.get_ptr_mut(0)?;
    // SAFETY: the pointer is to this CPU's `Turns`. Volatile, for a softirq in between must find each mark in its time.
    unsafe {
        let begun = &raw mut (*turns).begun;
        begun.write_volatile(begun.read_volatile().wrapping_add(1));
        (&raw mut (*turns).at_work).write_volatile(1);
    }
    Some(Turn(turns))
}

impl Turn {
    /// The first program ends.
    #[inline(always)]
    pub fn end(self) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0).at_work).write_volatile(0) }
    }
}

/// Whether the first program was kept from the event that the second is told of now.
///
/// Between its last mark and its end the first one looks as if it had had a turn of this event. The event that it did
/// have is then taken for the one left out: so there is never one too few, and rarely one in the other's place.
#[inline(always)]
pub fn was_left_out() -> bool {
    let Some(turns) = TURNS.get_ptr_mut(0) else { return false };
    // SAFETY: as above.
    unsafe {
        if (&raw const (*turns).at_work).read_volatile() == 1 {
            return true;
        }
        let begun = (&raw const (*turns).begun).read_volatile();
        let seen = &raw mut (*turns).seen;
        let left_out = seen.read_volatile() == begun;
        seen.write_volatile(begun);
        left_out
    }
}
