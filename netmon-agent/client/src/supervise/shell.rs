//! The machines' surroundings. With threads: one for the time of all of them, and one for each call of the user's code
//! while it runs; an idle connection has none. With tasks (`aio`) each connection has one, which looks to its time and
//! runs its calls.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    changes::Queue,
    link::{Closing, Operate},
    machine::{Call, Input, Machine, Task},
    options::{OptionsError, SuperviseOptions},
    record::ConnectionSnapshot,
    report::Outbox,
};
use crate::{State, clock, retry::uniform, wire::ConnectionState};

pub(super) struct Shared {
    by: By,
    origin: Instant,
    inner: Mutex<Inner>,
    wake: Condvar,
}

/// What the work is done by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Threads,
    #[cfg(feature = "tokio")]
    Tasks,
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
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(by: By) -> Self {
        Self { by, origin: by.now(), inner: Mutex::default(), wake: Condvar::new() }
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
        inner.kept.insert(id, Kept { name: name.into(), machine, link });
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
                Task::Begin(call) => {
                    if let Err(e) = kept.link.clone().begin(self, id, call) {
                        changed |= kept.machine.handle(now, uniform(), call.ended(Err(e)));
                    }
                }
            }
        }
        kept.link.set_ended(kept.machine.state() == ConnectionState::Stopped || kept.machine.gave_up());
        kept.link.told();
        if changed {
            let (snapshot, name) = (kept.snapshot(now), kept.name.clone());
            inner
                .streams
                .retain(|stream| stream.upgrade().map(|queue| queue.push(snapshot.clone())).is_some());
            inner.mark(&name);
        }
        self.wake.notify_all();
    }

    /// What a call came to. A connection that it made is kept, by `keep`, if it is still awaited.
    pub(super) fn ended(
        self: &Arc<Self>,
        id: u64,
        call: Call,
        result: Result<(), String>,
        keep: impl FnOnce(),
    ) {
        let mut inner = self.lock();
        // Before the machine says that it is there.
        if inner.kept.get(&id).is_some_and(|kept| kept.machine.awaited() == Some(call)) {
            keep();
        }
        self.tell(&mut inner, id, call.ended(result));
        self.release_here(inner);
    }

    /// Whose time has come is told so; what it awaits then, and when its time comes again. None: it has been stopped.
    #[cfg(feature = "tokio")]
    pub(super) fn plan(self: &Arc<Self>, id: u64) -> Option<Plan> {
        let mut inner = self.lock();
        let now = self.now();
        let is_due = |k: &Kept| k.machine.deadline().is_some_and(|deadline| deadline <= now);
        if inner.kept.get(&id).is_some_and(is_due) {
            self.tell(&mut inner, id, Input::Wake);
        }
        let machine = inner.kept.get(&id).map(|k| &k.machine);
        let plan = machine.filter(|m| m.state() != ConnectionState::Stopped).map(|machine| Plan {
            awaited: machine.awaited(),
            // What is without end has no deadline.
            deadline: machine.deadline().and_then(|deadline| self.origin.checked_add(deadline)),
        });
        self.release_here(inner);
        plan
    }

    /// Lets go of the lock and has closed what is over, by the user's code, on another thread: it may block.
    fn release(&self, mut inner: MutexGuard<'_, Inner>) {
        let closings = std::mem::take(&mut inner.closings);
        drop(inner);
        if self.by != By::Threads {
            closings.into_iter().for_each(|close| close());
        } else if !closings.is_empty() {
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
        self.by.now().duration_since(self.origin)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl By {
    fn now(self) -> Instant {
        match self {
            Self::Threads => clock::now(),
            // The runtime's clock, which tests may stop.
            #[cfg(feature = "tokio")]
            Self::Tasks => tokio::time::Instant::now().into_std(),
        }
    }
}

/// What the task of a connection has to look to.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) awaited: Option<Call>,
    pub(super) deadline: Option<Instant>,
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

/// Starts a thread of the supervisor's own.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}
