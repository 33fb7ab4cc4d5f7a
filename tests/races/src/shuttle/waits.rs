//! Waits that end, and the history's writer, which is woken to take them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shuttle::thread;

use crate::jobs::{Jobs, Kind};
use crate::time::Boot;

/// Takes what ended, if it is woken for any: so many waits.
fn take(jobs: &Jobs) -> u64 {
    let woken = pin!(jobs.ended()).poll(&mut Context::from_waker(Waker::noop()));
    if woken == Poll::Pending {
        return 0;
    }
    let taken = jobs.take();
    assert!(taken.iter().all(|(_, tally)| tally.count > 0), "{taken:?}");
    taken.iter().map(|(_, tally)| tally.count).sum()
}

pub fn taken() {
    let jobs = Jobs::default();
    let waiters = ["a", "a", "b"].map(|job| {
        let jobs = jobs.clone();
        thread::spawn(move || {
            let kind = Kind { job: job.to_owned(), uid: 0, device: None, target: None };
            drop(jobs.begin(kind, Boot::default()));
        })
    });
    let mut sum = take(&jobs) + take(&jobs);
    for waiter in waiters {
        waiter.join().expect("who waits");
    }
    sum += take(&jobs);
    assert_eq!(sum, 3);
    assert_eq!(jobs.take(), []);
}
