//! The machines' surroundings: one thread for the time of all of them, and one for each call of the user's code while it
//! runs. An idle connection has no thread.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    changes::Queue,
    link::{Closing, Made, Operate},
    machine::{Input, Machine, Task},
    options::{OptionsError, SuperviseOptions},
    record::ConnectionSnapshot,
    report::Outbox,
};
use crate::{State, clock, retry::uniform, wire::ConnectionState};

/// Calls of one connection that have not come back, most of them given up. With so many no further one begins.
const MAX_CALLS: usize = 4;

pub(super) struct Shared {
    origin: Instant,
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Default)]
struct Inner {
    kept: BTreeMap<u64, Kept>,
    next: u64,
    network: State,
    stopped: bool,
    streams: Vec<Weak<Queue>>,
    outboxes: Vec<Weak<Outbox>>,
    /// Connections that are over and still to be closed, by whoever lets go of the lock.
    closings: Vec<Closing>,
}

struct Kept {
    name: Arc<str>,
    machine: Machine,
    link: Arc<dyn Operate>,
    calls: usize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { origin: clock::now(), inner: Mutex::default(), wake: Condvar::new() }
    }

    /// Wakes the machines when their time has come, until it is stopped.
    pub(super) fn run(self: &Arc<Self>) {
        let mut inner = self.lock();
        while !inner.stopped {
            let now = self.now();
            let is_due = |k: &Kept| k.machine.deadline().is_some_and(|deadline| deadline <= now);
            let due: Vec<u64> = inner.kept.iter().filter(|(_, k)| is_due(k)).map(|(id, _)| *id).collect();
            for id in due {
                self.tell(&mut inner, id, Input::Wake);
            }
            if !inner.closings.is_empty() {
                self.release(inner);
                inner = self.lock();
                continue;
            }
            let next = inner.kept.values().filter_map(|k| k.machine.deadline()).min();
            inner = match next {
                Some(next) => {
                    let pause = next.saturating_sub(self.now());
                    self.wake.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Supervises one more; its number.
    pub(super) fn add(
        self: &Arc<Self>,
        name: &str,
        options: SuperviseOptions,
        link: Arc<dyn Operate>,
    ) -> Result<u64, OptionsError> {
        options.validate()?;
        if !crate::wire::is_connection_name(name) {
            return Err(OptionsError::Name(name.to_owned()));
        }
        let mut inner = self.lock();
        if inner.stopped {
            return Err(OptionsError::Stopped);
        }
        if inner.kept.values().any(|k| &*k.name == name) {
            return Err(OptionsError::Taken(name.to_owned()));
        }
        let id = inner.next;
        inner.next += 1;
        let machine = Machine::new(self.now(), options, inner.network);
        inner.kept.insert(id, Kept { name: name.into(), machine, link, calls: 0 });
        inner.mark(name);
        self.tell(&mut inner, id, Input::Wake);
        self.release(inner);
        Ok(id)
    }

    /// Stops one, and forgets it if nobody holds it any more.
    pub(super) fn stop(self: &Arc<Self>, id: u64, forget: bool) {
        let mut inner = self.lock();
        self.tell(&mut inner, id, Input::Stop);
        if forget && let Some(kept) = inner.kept.remove(&id) {
            inner.mark(&kept.name);
        }
        self.release_here(inner);
    }

    /// Stops all, for good.
    pub(super) fn stop_all(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.stopped = true;
        for id in inner.kept.keys().copied().collect::<Vec<_>>() {
            self.tell(&mut inner, id, Input::Stop);
        }
        for stream in inner.streams.drain(..).filter_map(|s| s.upgrade()) {
            stream.end();
        }
        self.release_here(inner);
    }

    /// Has the thread of [`Shared::run`] look.
    pub(super) fn wake(&self) {
        self.wake.notify_all();
    }

    /// The connection does not work, if it still is the one: asked with the lock, under which it is given up and made.
    pub(super) fn broken(self: &Arc<Self>, id: u64, error: String, is_it: impl FnOnce() -> bool) {
        let mut inner = self.lock();
        if is_it() {
            self.tell(&mut inner, id, Input::Broken(error));
        }
        self.release(inner);
    }

    pub(super) fn network(self: &Arc<Self>, state: State) {
        let mut inner = self.lock();
        if inner.network == state {
            return;
        }
        inner.network = state;
        for id in inner.kept.keys().copied().collect::<Vec<_>>() {
            self.tell(&mut inner, id, Input::Network(state));
        }
        // The agent may be another now.
        inner.outboxes.iter().filter_map(Weak::upgrade).for_each(|outbox| outbox.look());
        self.release(inner);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    pub(super) fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        let (inner, now) = (self.lock(), self.now());
        inner.kept.values().map(|k| k.snapshot(now)).collect()
    }

    pub(super) fn snapshot(&self, id: u64) -> Option<ConnectionSnapshot> {
        let (inner, now) = (self.lock(), self.now());
        inner.kept.get(&id).map(|k| k.snapshot(now))
    }

    /// The same by name.
    pub(super) fn named(&self, name: &str) -> Option<ConnectionSnapshot> {
        let (inner, now) = (self.lock(), self.now());
        inner.kept.values().find(|k| &*k.name == name).map(|k| k.snapshot(now))
    }

    pub(super) fn add_stream(&self, queue: &Arc<Queue>) {
        let mut inner = self.lock();
        if inner.stopped {
            queue.end();
        }
        inner.streams.retain(|s| s.strong_count() > 0);
        inner.streams.push(Arc::downgrade(queue));
    }

    pub(super) fn add_outbox(&self, outbox: &Arc<Outbox>) {
        self.lock().outboxes.push(Arc::downgrade(outbox));
    }

    /// Tells a machine something and does what it wants done.
    fn tell(self: &Arc<Self>, inner: &mut Inner, id: u64, input: Input) {
        let now = self.now();
        let Some(kept) = inner.kept.get_mut(&id) else { return };
        let mut changed = kept.machine.handle(now, uniform(), input);
        while let Some(task) = kept.machine.poll_task() {
            match task {
                Task::Drop => inner.closings.extend(kept.link.clone().take()),
                Task::Connect(call) => {
                    if let Err(e) = self.call(kept, id, Call::Connect(call)) {
                        changed |= kept.machine.handle(now, uniform(), Input::Connected(call, Err(e)));
                    }
                }
                Task::Check(call) => {
                    if let Err(e) = self.call(kept, id, Call::Check(call)) {
                        changed |= kept.machine.handle(now, uniform(), Input::Checked(call, Err(e)));
                    }
                }
            }
        }
        kept.link.set_ended(kept.machine.state() == ConnectionState::Stopped || kept.machine.gave_up());
        if changed {
            let (snapshot, name) = (kept.snapshot(now), kept.name.clone());
            inner
                .streams
                .retain(|stream| stream.upgrade().map(|queue| queue.push(snapshot.clone())).is_some());
            inner.mark(&name);
        }
        self.wake.notify_all();
    }

    /// Has the user's code called, on a thread of its own.
    fn call(self: &Arc<Self>, kept: &mut Kept, id: u64, call: Call) -> Result<(), String> {
        if kept.calls >= MAX_CALLS {
            return Err(format!("{} earlier calls have not come back yet", kept.calls));
        }
        let (shared, link) = (Arc::downgrade(self), kept.link.clone());
        let work = move || match call {
            Call::Connect(call) => {
                let result = link.connect();
                match shared.upgrade() {
                    Some(shared) => shared.attempted(id, call, result),
                    None => result.into_iter().for_each(|made| made.discard()),
                }
            }
            Call::Check(call) => {
                let result = link.check();
                if let Some(shared) = shared.upgrade() {
                    shared.answered(id, |_| Input::Checked(call, result));
                }
            }
        };
        let builder = thread::Builder::new().name("netmon-call".to_owned());
        builder.spawn(work).map_err(|e| format!("no thread for it: {e}"))?;
        kept.calls += 1;
        Ok(())
    }

    fn attempted(self: &Arc<Self>, id: u64, call: u64, result: Result<Box<dyn Made>, String>) {
        let (made, outcome) = match result {
            Ok(made) => (Some(made), Ok(())),
            Err(e) => (None, Err(e)),
        };
        let mut unwanted = made;
        self.answered(id, |kept| {
            // Before the machine says that it is there.
            if kept.machine.awaits_attempt(call) {
                unwanted.take().into_iter().for_each(|made| made.keep());
            }
            Input::Connected(call, outcome)
        });
        unwanted.into_iter().for_each(|made| made.discard());
    }

    fn answered(self: &Arc<Self>, id: u64, input: impl FnOnce(&Kept) -> Input) {
        let mut inner = self.lock();
        let Some(kept) = inner.kept.get_mut(&id) else { return };
        kept.calls -= 1;
        let input = input(kept);
        self.tell(&mut inner, id, input);
        self.release_here(inner);
    }

    /// Lets go of the lock and has closed what is over, by the user's code, on another thread.
    fn release(&self, mut inner: MutexGuard<'_, Inner>) {
        let closings = std::mem::take(&mut inner.closings);
        drop(inner);
        if !closings.is_empty() {
            let work = move || closings.into_iter().for_each(|close| close());
            // Without a thread they are dropped, which closes most things too.
            let _ = thread::Builder::new().name("netmon-close".to_owned()).spawn(work);
        }
    }

    /// The same on this thread.
    fn release_here(&self, mut inner: MutexGuard<'_, Inner>) {
        let closings = std::mem::take(&mut inner.closings);
        drop(inner);
        closings.into_iter().for_each(|close| close());
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.origin)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Notes for those who report that this connection is another.
    fn mark(&mut self, name: &str) {
        self.outboxes.retain(|outbox| outbox.upgrade().map(|outbox| outbox.mark(name)).is_some());
    }
}

impl Kept {
    fn snapshot(&self, now: Duration) -> ConnectionSnapshot {
        ConnectionSnapshot { name: self.name.to_string(), ..self.machine.snapshot(now) }
    }
}

#[derive(Clone, Copy)]
enum Call {
    Connect(u64),
    Check(u64),
}

/// Starts a thread of the supervisor's own.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}
