//! A connection and the user's code for it. That code may block, hang and panic: it runs on threads of its own.

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{machine::Call, shell::Shared};
use crate::clock;

/// Calls of one connection that have not come back, most of them given up. With so many no further one begins.
const MAX_CALLS: usize = 4;

/// What the supervisor does with a connection, whatever its type.
pub(super) trait Operate: Send + Sync {
    /// Has the user's code called. `shared` is told what it came to.
    fn begin(self: Arc<Self>, shared: &Arc<Shared>, id: u64, call: Call) -> Result<(), String>;
    /// Takes the connection from those who use it. What comes back closes it.
    fn take(self: Arc<Self>) -> Option<Closing>;
    /// Notes whether those who wait for a connection wait in vain.
    fn set_ended(&self, ended: bool);
    /// The machine has been told something: it may await another call, and at another time.
    fn told(&self) {}
}

/// Closes a connection, by code of the user's.
pub(super) type Closing = Box<dyn FnOnce() + Send>;

type Connect<C> = Box<dyn Fn() -> Result<C, String> + Send + Sync>;
type Check<C> = Box<dyn Fn(&C) -> Result<(), String> + Send + Sync>;
type Close<C> = Box<dyn Fn(&C) + Send + Sync>;

pub(super) struct Link<C> {
    slot: Mutex<Slot<C>>,
    changed: Condvar,
    connect: Connect<C>,
    check: Check<C>,
    close: Close<C>,
    calls: AtomicUsize,
}

struct Slot<C> {
    connection: Option<Arc<C>>,
    ended: bool,
}

impl<C: Send + Sync + 'static> Link<C> {
    pub(super) fn new<E: Display, F: Display>(
        connect: impl Fn() -> Result<C, E> + Send + Sync + 'static,
        check: impl Fn(&C) -> Result<(), F> + Send + Sync + 'static,
        close: impl Fn(&C) + Send + Sync + 'static,
    ) -> Self {
        Self {
            slot: Mutex::new(Slot { connection: None, ended: false }),
            changed: Condvar::new(),
            // Where an error has causes, the alternate form is what tells them (anyhow).
            connect: Box::new(move || connect().map_err(|e| format!("{e:#}"))),
            check: Box::new(move |c| check(c).map_err(|e| format!("{e:#}"))),
            close: Box::new(close),
            calls: AtomicUsize::new(0),
        }
    }

    pub(super) fn get(&self) -> Option<Arc<C>> {
        self.lock().connection.clone()
    }

    /// Waits for a connection; none when `timeout` passed first or none will come.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Option<Arc<C>> {
        let deadline = timeout.and_then(clock::after);
        let mut slot = self.lock();
        loop {
            if slot.connection.is_some() || slot.ended {
                return slot.connection.clone();
            }
            slot = match deadline {
                None => self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = clock::left(deadline)?;
                    self.changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(super) fn is(&self, connection: &C) -> bool {
        self.lock().connection.as_ref().is_some_and(|c| std::ptr::eq(&raw const **c, connection))
    }

    fn lock(&self) -> MutexGuard<'_, Slot<C>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, connection: Arc<C>) {
        // Its words would come too late to be of use to anybody.
        let _ = guarded(|| {
            (self.close)(&connection);
            drop(connection);
            Ok(())
        });
    }
}

impl<C: Send + Sync + 'static> Link<C> {
    fn connect(&self, shared: &Weak<Shared>, id: u64, call: Call) {
        let result = guarded(|| (self.connect)());
        self.calls.fetch_sub(1, Ordering::Relaxed);
        let (mut made, outcome) = match result {
            Ok(connection) => (Some(Arc::new(connection)), Ok(())),
            Err(e) => (None, Err(e)),
        };
        if let Some(shared) = shared.upgrade() {
            shared.ended(id, call, outcome, || {
                self.lock().connection = made.take();
                self.changed.notify_all();
            });
        }
        // Nobody wants it any more.
        made.into_iter().for_each(|connection| self.close(connection));
    }

    fn check(&self, shared: &Weak<Shared>, id: u64, call: Call) {
        let result = self.get().ok_or_else(|| "there is no connection any more".to_owned());
        let result = result.and_then(|connection| {
            guarded(|| {
                let checked = (self.check)(&connection);
                // The last hand on it may be this one.
                drop(connection);
                checked
            })
        });
        self.calls.fetch_sub(1, Ordering::Relaxed);
        if let Some(shared) = shared.upgrade() {
            shared.ended(id, call, result, || {});
        }
    }
}

impl<C: Send + Sync + 'static> Operate for Link<C> {
    fn begin(self: Arc<Self>, shared: &Arc<Shared>, id: u64, call: Call) -> Result<(), String> {
        let earlier = self.calls.fetch_add(1, Ordering::Relaxed);
        let (shared, link) = (Arc::downgrade(shared), self.clone());
        let begun = if earlier < MAX_CALLS {
            let work = move || match call {
                Call::Connect(_) => link.connect(&shared, id, call),
                Call::Check(_) => link.check(&shared, id, call),
            };
            let thread = thread::Builder::new().name("netmon-call".to_owned()).spawn(work);
            thread.map(drop).map_err(|e| format!("no thread for it: {e}"))
        } else {
            Err(format!("{earlier} earlier calls have not come back yet"))
        };
        if begun.is_err() {
            self.calls.fetch_sub(1, Ordering::Relaxed);
        }
        begun
    }

    fn take(self: Arc<Self>) -> Option<Closing> {
        let connection = self.lock().connection.take()?;
        Some(Box::new(move || self.close(connection)))
    }

    fn set_ended(&self, ended: bool) {
        self.lock().ended = ended;
        if ended {
            self.changed.notify_all();
        }
    }
}

/// Runs code of the user's; a panic is an error like any other.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // The code's own state may be half done, as after an error; what is ours it does not see.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(format!("panicked: {}", words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
