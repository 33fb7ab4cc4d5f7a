//! Every order of steps, and every value that memory may show by C11's rules, of what is lock-free: by loom, in the product's
//! own files. They take what threads share state by from `crate::sync`, which here is loom's, and what they stand on from
//! small stand-ins.

#[path = "../../../../netmon-agent/src/output/api"]
#[expect(dead_code, reason = "the models use a part of what the files have")]
mod api {
    #[path = "../../../../tests/races/src/loom/condition.rs"]
    mod condition;
    #[path = "../../../../tests/races/src/loom/quiet.rs"]
    mod quiet;

    mod company;
    mod desk;
    mod judge;
    mod ticket;

    #[path = "../../../../tests/races/src/loom/waiters.rs"]
    pub mod waiters;
}
#[path = "../../../../netmon-agent/client/src/clock.rs"]
#[expect(dead_code, reason = "of the clocks, the word needs their names")]
mod clock;
mod reader;
mod stand_ins;
#[path = "../../../../netmon-agent/client/src/monitor/word.rs"]
#[expect(dead_code, reason = "the models read by clocks of their own")]
mod word;

pub use netmon_client::State;
pub use stand_ins::{health, state, time};

/// In place of the product's.
mod sync {
    // Arcs are counted, and cells set, by the standard library: loom plays its threads on one, one after the other.
    pub use std::sync::{Arc, OnceLock, PoisonError};

    pub use loom::sync::{Mutex, MutexGuard, atomic};
}

use std::sync::atomic::{AtomicUsize, Ordering};

fn main() {
    let models: [(&str, fn()); 8] = [
        ("a state is believed no longer than it is valid", reader::validity),
        ("who read a state reads none that was before it", reader::order),
        ("a state of before a suspend is not believed after it", reader::suspend),
        ("a ticket is answered once, by its group or its own task", api::waiters::once),
        ("what found no room is there for who sees the answer", api::waiters::rest),
        ("a full socket leaves the ticket to its own task", api::waiters::full),
        ("nobody of a batch is lost, and none is served twice", api::waiters::batch),
        ("who leaves a batch that is put back does not come back", api::waiters::leaving),
    ];
    for (name, model) in models {
        static ORDERS: AtomicUsize = AtomicUsize::new(0);
        ORDERS.store(0, Ordering::Relaxed);
        let mut builder = loom::model::Builder::new();
        // Switches that a thread did not ask for, in one order: nearly all that is wrong shows with two (Musuvathi and
        // Qadeer, "Iterative context bounding", 2007).
        builder.preemption_bound = Some(3);
        builder.check(move || {
            ORDERS.fetch_add(1, Ordering::Relaxed);
            model();
        });
        println!("{:>9} orders: {name}", ORDERS.load(Ordering::Relaxed));
    }
}
