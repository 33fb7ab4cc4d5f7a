//! What is built of locks and conditions, in orders of steps at random and with few switches (PCT), by shuttle: in the
//! product's own files, which take what threads share state by from `crate::sync`.

mod bells;
mod boards;
mod queues;
mod stand_ins;
mod waits;

#[path = "../../../../netmon-agent/client/src/retry/bell.rs"]
mod bell;
#[path = "../../../../netmon-agent/src/state/board.rs"]
#[expect(dead_code, reason = "the models use a part of what the files have")]
mod board;
#[path = "../../../../netmon-agent/client/src/clock.rs"]
#[expect(dead_code, reason = "the queue needs the time that is left")]
mod clock;
#[path = "../../../../netmon-agent/src/history/jobs.rs"]
#[expect(dead_code, reason = "the models use a part of what the files have")]
mod jobs;
#[path = "../../../../netmon-agent/src/output/log"]
mod log {
    mod queue;

    #[path = "../../../../tests/races/src/shuttle/lines.rs"]
    pub mod lines;
    #[path = "../../../../tests/races/src/shuttle/lost.rs"]
    mod writer;
}
#[path = "../../../../netmon-agent/client/src/monitor/subscription.rs"]
#[expect(dead_code, reason = "the models use a part of what the files have")]
mod subscription;

pub use netmon_client::{Monitor, State, wire};
pub use stand_ins::{ChangeEvent, Snapshot, observation, time};

/// In place of the product's.
mod sync {
    pub use std::sync::PoisonError;

    pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, Weak, atomic, mpsc};
}

fn main() {
    let models: [(&str, fn()); 10] = [
        ("a bell that rings wakes whoever waits, or is about to", bells::wakes),
        ("a task that finds a bell silent is woken by it", bells::polled),
        ("every bell that was added before the ring is rung", bells::all),
        ("a subscriber has every update in order, and the end", queues::order),
        ("of two who take from one queue each update goes to one", queues::shared),
        ("of lines of the log each is written or told as lost", log::lines::counted),
        ("of lines that are too long together some are lost, and told", log::lines::bounded),
        ("each wait that ended is taken once by who is woken for it", waits::taken),
        ("a follower of the board has every change once", boards::followed),
        ("who waited for a publication finds it", boards::published),
    ];
    // Orders by each scheduler; a hundred times as many show nothing else.
    let orders = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(3_000);
    for (name, model) in models {
        shuttle::check_random(model, orders);
        shuttle::check_pct(model, orders, 3);
        println!("{:>9} orders: {name}", 2 * orders);
    }
}
