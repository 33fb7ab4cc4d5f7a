//! The load: what happens to an agent in months, in hours. Each kind has threads of its own, works in turns, and rests when
//! all do.

mod breaker;
mod clients;
mod receiver;
mod requests;
mod targets;
mod traffic;
mod waiters;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Result, ensure};
use netmon_agent::time::{Boot, Mono};
use netmon_tests::agent::await_until;
use netmon_tests::lab::World;
use netmon_tests::truth::Truth;
use nix::unistd::Pid;

pub use receiver::Receiver;
pub use targets::{HOSTS, Targets};

/// From a request for rest until all do: no turn takes longer.
const TO_REST: Duration = Duration::from_secs(180);

/// What is counted, by the name of its column.
const COUNTED: &[&str] = &[
    "flaps",
    "cuts",
    "losses",
    "released",
    "wrong_releases",
    "waits_in_vain",
    "failed_waits",
    "abandoned_waits",
    "subscriptions",
    "event_bytes",
    "scrapes",
    "missed_scrapes",
    "failed_requests",
    "slowest_scrape_ms",
    "connections",
    "targets_put",
    "targets_removed",
    "files_rewritten",
    "reloads",
    "restarts",
];

/// All that the threads of the load share.
#[derive(Debug)]
pub struct Load {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The agent.
    pub pid: Pid,
    /// How much shorter than usual turns of the breaker are: 1 for none.
    pub pace: f64,
    /// Which targets there are.
    pub targets: Targets,
    counts: Mutex<BTreeMap<&'static str, f64>>,
    truth: Mutex<Truth>,
    resting: AtomicBool,
    stopped: AtomicBool,
    working: AtomicUsize,
}

/// A turn of work; as long as there is one, nobody rests.
#[derive(Debug)]
struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends the load when dropped: a scope waits for its threads, also where its own work failed or panicked.
#[derive(Debug)]
pub struct Ending<'a>(pub &'a Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
    }
}

impl Load {
    /// A load that has not begun, on a world that is whole.
    pub fn new(socket: PathBuf, pid: Pid, pace: f64, targets: Targets) -> Self {
        Self {
            socket,
            pid,
            pace,
            targets,
            counts: Mutex::new(COUNTED.iter().map(|name| (*name, 0.0)).collect()),
            truth: Mutex::new(Truth::new(Boot::now())),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            working: AtomicUsize::new(0),
        }
    }

    /// Starts all its threads. One that fails or panics ends the load.
    pub fn start<'s>(&'s self, scope: &'s Scope<'s, '_>, world: &'s World, failures: &'s Mutex<Vec<String>>) {
        let spawn = |name: &'static str, work: Box<dyn FnOnce() -> Result<()> + Send + 's>| {
            scope.spawn(move || {
                let _ending = Ending(self);
                if let Err(e) = work() {
                    lock(failures).push(format!("{name}: {e:#}"));
                }
            });
        };
        spawn("links", Box::new(move || self.break_in_turns(world)));
        spawn("traffic", Box::new(move || self.send_through_loss(world)));
        spawn("targets", Box::new(move || self.churn_targets()));
        spawn("files", Box::new(move || self.rewrite_files()));
        spawn("reloads", Box::new(move || self.reload()));
        for question in waiters::questions() {
            spawn("waiters", Box::new(move || self.keep_waiting(&question)));
        }
        for reporter in 0..2 {
            spawn("abandoned waits", Box::new(move || self.abandon_waits()));
            spawn("subscribers", Box::new(move || self.subscribe()));
            spawn("connections", Box::new(move || self.report_connections(reporter)));
        }
        spawn("scrapes", Box::new(move || self.scrape(world)));
    }

    /// The figures so far.
    pub fn counts(&self) -> BTreeMap<&'static str, f64> {
        lock(&self.counts).clone()
    }

    /// Adds to a figure.
    pub fn count(&self, name: &'static str, more: f64) {
        *lock(&self.counts).entry(name).or_default() += more;
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Lets all come to rest, the world whole, does `work`, and lets them go on.
    ///
    /// # Errors
    /// When somebody does not come to rest, or `work` fails.
    pub fn at_rest<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.resting.store(true, Ordering::SeqCst);
        let still = || Ok((self.is_over() || self.working.load(Ordering::SeqCst) == 0).then_some(()));
        let result = await_until(TO_REST, still).and_then(|rests| {
            ensure!(rests.is_some(), "{} still work after {TO_REST:?}", self.working.load(Ordering::SeqCst));
            work()
        });
        self.resting.store(false, Ordering::SeqCst);
        result
    }

    /// The next turn of the caller, once nobody is to rest; none when all is over.
    fn turn(&self) -> Option<Turn<'_>> {
        loop {
            // In this order: whoever waits for rest sees either this turn, or that it gives way.
            self.working.fetch_add(1, Ordering::SeqCst);
            let turn = Turn(&self.working);
            if self.is_over() {
                return None;
            }
            if !self.resting.load(Ordering::SeqCst) {
                return Some(turn);
            }
            drop(turn);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets time go by, less where all is to end; whether it goes on.
    fn pause(&self, time: Duration) -> bool {
        let end = Mono::now() + time;
        while Mono::now() < end && !self.is_over() {
            thread::sleep(Duration::from_millis(20).min(end.since(Mono::now())));
        }
        !self.is_over()
    }

    /// A pause between turns: it ends with a rest's beginning too.
    fn between(&self, time: Duration) {
        let end = Mono::now() + time;
        while Mono::now() < end && !self.is_over() && !self.resting.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A time up to so many milliseconds.
fn some(most: u64) -> Duration {
    Duration::from_millis(rand::random_range(1..=most))
}
