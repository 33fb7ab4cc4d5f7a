//! Bells, and who waits for them. A waking that is lost is a thread that waits forever, which shuttle finds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use shuttle::sync::Arc;
use shuttle::thread;

use crate::bell::{Bell, Bells};

pub fn wakes() {
    let bell = Arc::new(Bell::default());
    let rings = [(); 2].map(|()| {
        let bell = bell.clone();
        thread::spawn(move || bell.ring())
    });
    bell.wait(None);
    for ring in rings {
        ring.join().expect("who rings");
    }
    // Rung after that or not, it is noticed once.
    bell.ring();
    bell.wait(None);
}

#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub fn polled() {
    let (bell, task) = (Arc::new(Bell::default()), Arc::new(Task::default()));
    let waker = Waker::from(task.clone());
    let ours = bell.clone();
    let ring = thread::spawn(move || ours.ring());
    let first = bell.poll(&Context::from_waker(&waker));
    ring.join().expect("who rings");
    if first == Poll::Pending {
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "not woken");
        assert_eq!(bell.poll(&Context::from_waker(&waker)), Poll::Ready(()));
    }
    assert_eq!(bell.poll(&Context::from_waker(&waker)), Poll::Pending, "one ring is noticed twice");
}

pub fn all() {
    let bells = Arc::new(Bells::new());
    let first = Arc::new(Bell::default());
    bells.add(&first);
    let theirs = bells.clone();
    let adds = thread::spawn(move || {
        let second = Arc::new(Bell::default());
        theirs.add(&second);
        theirs.ring();
        second.wait(None);
    });
    bells.ring();
    first.wait(None);
    adds.join().expect("who adds");
}
