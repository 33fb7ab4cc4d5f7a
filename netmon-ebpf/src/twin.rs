//! What the kernel keeps from a program because it is running on that processor already.
//!
//! A program in process context can be interrupted by a softirq, and an event in there finds the program busy: the
//! kernel skips it (`__bpf_trace_run` of kernel/trace/bpf_trace.c). A second program on the same tracepoint runs after
//! the first, and is busy at other moments. The first leaves a mark for each event that it has; the second takes it
//! away, and an event without a mark was kept from the first.
//!
//! There are two marks, for one event may come in the midst of another: a softirq in process context, and no softirq in
//! a softirq. `outer` is the first that was free, `inner` the other.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};

#[btf_map]
static MARKS: PerCpuArray<Marks, 1> = PerCpuArray::new();

/// Events in a row that found `outer` taken, until it is known to be left over from one that never came to the second.
const LEFT_OVER: u64 = 8;

/// This CPU's marks: the event's packet, 0 for none.
#[repr(C)]
struct Marks {
    outer: u64,
    inner: u64,
    in_a_row: u64,
}

/// The first program has the event of this packet.
#[inline(always)]
pub fn mark(packet: u64) {
    let Some(marks) = MARKS.get_ptr_mut(0) else { return };
    // SAFETY: the pointer is to this CPU's `Marks`. Volatile, for a softirq in between must find each mark in its time.
    unsafe {
        let outer = &raw mut (*marks).outer;
        if outer.read_volatile() == 0 {
            outer.write_volatile(packet);
        } else {
            (&raw mut (*marks).inner).write_volatile(packet);
        }
    }
}

/// Whether the first program was kept from the event of this packet, which the second is told of now.
#[inline(always)]
pub fn was_left_out(packet: u64) -> bool {
    let Some(marks) = MARKS.get_ptr_mut(0) else { return false };
    // SAFETY: as above.
    unsafe {
        let (outer, inner) = (&raw mut (*marks).outer, &raw mut (*marks).inner);
        let in_a_row = &raw mut (*marks).in_a_row;
        if inner.read_volatile() == packet {
            inner.write_volatile(0);
            *in_a_row += 1;
            if *in_a_row >= LEFT_OVER {
                outer.write_volatile(0);
                *in_a_row = 0;
            }
            return false;
        }
        if outer.read_volatile() == packet {
            // What came in the midst of this event is over: a mark of it that is still there is left over too. `outer`
            // last, for while it is taken such an event leaves no mark there.
            *in_a_row = 0;
            inner.write_volatile(0);
            outer.write_volatile(0);
            return false;
        }
    }
    true
}
