//! A connection and the user's code for it. That code may block, hang and panic: it runs on threads of its own.

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock;

/// What the supervisor does with a connection, whatever its type.
pub(super) trait Operate: Send + Sync {
    /// Calls the user's `connect`.
    fn connect(self: Arc<Self>) -> Result<Box<dyn Made>, String>;
    /// Calls the user's `health_check` with the connection.
    fn check(&self) -> Result<(), String>;
    /// Takes the connection from those who use it. What comes back closes it.
    fn take(self: Arc<Self>) -> Option<Closing>;
    /// Notes whether those who wait for a connection wait in vain.
    fn set_ended(&self, ended: bool);
}

/// Closes a connection, by code of the user's.
pub(super) type Closing = Box<dyn FnOnce() + Send>;

/// A new connection.
pub(super) trait Made: Send {
    /// Gives it to those who use it.
    fn keep(self: Box<Self>);
    /// Closes it: nobody wants it any more.
    fn discard(self: Box<Self>);
}

type Connect<C> = Box<dyn Fn() -> Result<C, String> + Send + Sync>;
type Check<C> = Box<dyn Fn(&C) -> Result<(), String> + Send + Sync>;
type Close<C> = Box<dyn Fn(&C) + Send + Sync>;

pub(super) struct Link<C> {
    slot: Mutex<Slot<C>>,
    changed: Condvar,
    connect: Connect<C>,
    check: Check<C>,
    close: Close<C>,
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

impl<C: Send + Sync + 'static> Operate for Link<C> {
    fn connect(self: Arc<Self>) -> Result<Box<dyn Made>, String> {
        let connection = Arc::new(guarded(|| (self.connect)())?);
        Ok(Box::new(New { link: self, connection }))
    }

    fn check(&self) -> Result<(), String> {
        let connection = self.get().ok_or("there is no connection any more")?;
        guarded(|| {
            let checked = (self.check)(&connection);
            // The last hand on it may be this one.
            drop(connection);
            checked
        })
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

struct New<C> {
    link: Arc<Link<C>>,
    connection: Arc<C>,
}

impl<C: Send + Sync + 'static> Made for New<C> {
    fn keep(self: Box<Self>) {
        self.link.lock().connection = Some(self.connection);
        self.link.changed.notify_all();
    }

    fn discard(self: Box<Self>) {
        self.link.close(self.connection);
    }
}

/// Runs code of the user's; a panic is an error like any other.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // The code's own state may be half done, as after an error; what is ours it does not see.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(format!("panicked: {}", words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
