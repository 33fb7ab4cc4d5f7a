//! A connection, and the task that makes it, looks at it and hears of its end.

use std::{
    fmt::Display,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{sync::Notify, time::sleep_until};

use super::{
    super::{
        link::{Closing, Operate, guarded},
        machine::Call,
        shell::Shared,
    },
    Supervise,
};

pub(super) struct Link<C> {
    slot: Mutex<Slot<C>>,
    /// Rings for all who wait for a connection.
    changed: Notify,
    /// Rings for the task.
    news: Notify,
}

struct Slot<C> {
    connection: Option<Arc<C>>,
    ended: bool,
}

impl<C> Link<C> {
    pub(super) fn new() -> Self {
        let slot = Mutex::new(Slot { connection: None, ended: false });
        Self { slot, changed: Notify::new(), news: Notify::new() }
    }

    pub(super) fn get(&self) -> Option<Arc<C>> {
        self.lock().connection.clone()
    }

    /// Waits for a connection; none when none will come.
    pub(super) async fn wait(&self) -> Option<Arc<C>> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look, so that nothing is missed between the two.
            changed.as_mut().enable();
            {
                let slot = self.lock();
                if slot.connection.is_some() || slot.ended {
                    return slot.connection.clone();
                }
            }
            changed.await;
        }
    }

    pub(super) fn is(&self, connection: &C) -> bool {
        self.lock().connection.as_ref().is_some_and(|c| std::ptr::eq(&raw const **c, connection))
    }

    fn keep(&self, connection: Arc<C>) {
        self.lock().connection = Some(connection);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Slot<C>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Supervise> Operate for Link<C> {
    /// Its task finds what is awaited.
    fn begin(self: Arc<Self>, _: &Arc<Shared>, _: u64, _: Call) -> Result<(), String> {
        Ok(())
    }

    fn take(self: Arc<Self>) -> Option<Closing> {
        let connection = self.lock().connection.take()?;
        Some(Box::new(move || close(connection)))
    }

    fn set_ended(&self, ended: bool) {
        self.lock().ended = ended;
        if ended {
            self.changed.notify_waiters();
        }
    }

    fn told(&self) {
        self.news.notify_one();
    }
}

fn close<C: Supervise>(connection: Arc<C>) {
    // Its words would come too late to be of use to anybody.
    let _ = guarded(|| {
        connection.close();
        drop(connection);
        Ok(())
    });
}

/// A call of the user's code under way: what an attempt brings, or none of a check.
type Work<C> = Pin<Box<dyn Future<Output = Result<Option<Arc<C>>, String>> + Send>>;
/// Waits for a connection's end.
type Watch = Pin<Box<dyn Future<Output = String> + Send>>;

/// What the task wakes for.
enum Event<C> {
    Ended(Call, Result<Option<Arc<C>>, String>),
    Closed(Arc<C>, String),
    /// News, or time has passed.
    Look,
}

/// Stops the connection whose task is no more: with its runtime, for one.
struct End(Arc<Shared>, u64);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stop(self.1, false);
    }
}

/// Drives one connection until it is stopped. What is given up is dropped.
pub(super) async fn drive<C, E, F>(
    shared: Arc<Shared>,
    id: u64,
    link: Arc<Link<C>>,
    connect: impl Fn() -> F + Send + Sync + 'static,
) where
    C: Supervise,
    E: Display,
    F: Future<Output = Result<C, E>> + Send + 'static,
{
    let end = End(shared, id);
    let shared = &end.0;
    let connect = Arc::new(connect);
    let mut work: Option<(Call, Work<C>)> = None;
    let mut watch: Option<(Arc<C>, Watch)> = None;
    while let Some(plan) = shared.plan(id) {
        if work.as_ref().map(|(call, _)| *call) != plan.awaited {
            work = plan.awaited.map(|call| (call, begin(call, &link, &connect)));
        }
        let current = link.get();
        if watch.as_ref().map(|(c, _)| Arc::as_ptr(c)) != current.as_ref().map(Arc::as_ptr) {
            watch = current.map(|connection| (connection.clone(), closed(connection)));
        }
        let mut sleep = pin!(plan.deadline.map(|deadline| sleep_until(deadline.into())));
        let mut news = pin!(link.news.notified());
        let event = poll_fn(|context| {
            if let Some((call, future)) = &mut work
                && let Poll::Ready(result) = poll(future, context)
            {
                return Poll::Ready(Event::Ended(*call, result.and_then(|result| result)));
            }
            if let Some((connection, future)) = &mut watch
                && let Poll::Ready(why) = poll(future, context)
            {
                return Poll::Ready(Event::Closed(connection.clone(), why.unwrap_or_else(|panic| panic)));
            }
            let passed = sleep.as_mut().as_pin_mut().is_some_and(|sleep| sleep.poll(context).is_ready());
            if passed || news.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Look);
            }
            Poll::Pending
        });
        match event.await {
            Event::Ended(call, result) => {
                work = None;
                let (mut made, outcome) = match result {
                    Ok(made) => (made, Ok(())),
                    Err(e) => (None, Err(e)),
                };
                shared.ended(id, call, outcome, || {
                    made.take().into_iter().for_each(|connection| link.keep(connection));
                });
                // Nobody wants it any more.
                made.into_iter().for_each(close);
            }
            Event::Closed(connection, why) => {
                watch = None;
                shared.broken(id, why, || link.is(&connection));
            }
            Event::Look => {}
        }
    }
}

fn begin<C, E, F>(
    call: Call,
    link: &Link<C>,
    connect: &Arc<impl Fn() -> F + Send + Sync + 'static>,
) -> Work<C>
where
    C: Supervise,
    E: Display,
    F: Future<Output = Result<C, E>> + Send + 'static,
{
    match call {
        Call::Connect(_) => {
            let connect = connect.clone();
            // Where an error has causes, the alternate form is what tells them (anyhow).
            Box::pin(async move {
                let made = connect().await.map_err(|e| format!("{e:#}"))?;
                Ok(Some(Arc::new(made)))
            })
        }
        Call::Check(_) => {
            let connection = link.get();
            Box::pin(async move {
                let connection = connection.ok_or("there is no connection any more")?;
                connection.check().await.map_err(|e| format!("{e:#}"))?;
                Ok(None)
            })
        }
    }
}

fn closed<C: Supervise>(connection: Arc<C>) -> Watch {
    Box::pin(async move { format!("{:#}", connection.closed().await) })
}

/// Polls code of the user's; a panic is an error like any other.
fn poll<T>(
    future: &mut Pin<Box<dyn Future<Output = T> + Send>>,
    context: &mut Context<'_>,
) -> Poll<Result<T, String>> {
    match guarded(|| Ok(future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}
