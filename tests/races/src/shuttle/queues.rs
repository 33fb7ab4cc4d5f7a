//! A subscriber's queue, filled by the monitor's worker.

use shuttle::sync::Arc;
use shuttle::thread;

use crate::State;
use crate::subscription::{Queue, Subscription, Update};

/// Told one after the other.
const UPDATES: [Update; 3] = [Update::Resumed(State::Up), Update::Lost, Update::Resumed(State::Down)];

fn filled(queue: &Arc<Queue>) -> thread::JoinHandle<()> {
    let queue = queue.clone();
    thread::spawn(move || {
        UPDATES.into_iter().for_each(|update| queue.push(update));
        queue.close();
    })
}

pub fn order() {
    let queue = Arc::new(Queue::new(false));
    let worker = filled(&queue);
    let told: Vec<_> = Subscription(queue).collect();
    assert_eq!(told, UPDATES);
    worker.join().expect("the worker");
}

pub fn shared() {
    let queue = Arc::new(Queue::new(false));
    let worker = filled(&queue);
    let takes = || {
        let subscription = Subscription(queue.clone());
        thread::spawn(move || subscription.count())
    };
    let counts = [takes(), takes()].map(|taker| taker.join().expect("who takes"));
    assert_eq!(counts.iter().sum::<usize>(), UPDATES.len());
    worker.join().expect("the worker");
}
