//! Tells the agent of the connections that are kept, over one connection, which idles most of the time.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::poll_fn,
    io::ErrorKind,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio::{
    net::UnixStream,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::super::{
    report::{LOOK, Outbox, Question, REFRESH, ReportState, all},
    shell::Shared,
};
use crate::{Error, aio::wire, http, proto::ANSWER};

/// The task that reports. Dropping it ends the reports, and with them what the agent shows.
pub(super) struct Reporter {
    outbox: Arc<Outbox>,
    task: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts it once the one before has ended, whose reports those of this one would be refused for.
    pub(super) fn start(shared: &Arc<Shared>, socket: &Path, client: &str, before: Option<Self>) -> Self {
        let outbox = Arc::new(Outbox::default());
        shared.add_outbox(&outbox);
        let work = Work {
            shared: shared.clone(),
            outbox: outbox.clone(),
            socket: socket.to_owned(),
            client: client.to_owned(),
        };
        let before = before.and_then(|mut before| before.task.take());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
            work.run().await;
        });
        Self { outbox, task: Some(task) }
    }

    pub(super) fn state(&self) -> ReportState {
        self.outbox.state()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    socket: PathBuf,
    client: String,
}

impl Work {
    async fn run(&self) {
        let mut failures = 0u32;
        loop {
            let mut told = BTreeSet::new();
            // Its connection ends with it.
            let Err(error) = self.session(&mut told).await;
            failures = if told.is_empty() { failures.saturating_add(1) } else { 1 };
            sleep(self.outbox.lost(&error, failures)).await;
        }
    }

    /// Reports over one connection, until it fails. `told` has the names that the agent shows.
    async fn session(&self, told: &mut BTreeSet<String>) -> Result<Infallible, Error> {
        let connected = UnixStream::connect(&self.socket).await;
        let mut stream = connected.map_err(|source| http::not_connected(&self.socket, source))?;
        let mut refresh = Instant::now();
        loop {
            let mut names = self.outbox.take();
            if refresh <= Instant::now() {
                refresh += REFRESH;
                names.extend(all(&self.shared, told));
            }
            for name in names {
                if is_closed(&stream) {
                    return Err(Error::Disconnected);
                }
                self.tell(&mut stream, &name, told).await?;
            }
            self.outbox.told(told.len());
            self.idle(&stream, refresh).await?;
        }
    }

    /// Waits for something to tell, until `refresh` at most, or for the agent's end.
    async fn idle(&self, stream: &UnixStream, refresh: Instant) -> Result<(), Error> {
        let (mut news, mut sleep) = (pin!(self.outbox.notify.notified()), pin!(sleep_until(refresh)));
        loop {
            let mut readable = pin!(stream.readable());
            let heard = poll_fn(|context| {
                if readable.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                let passed = sleep.as_mut().poll(context).is_ready();
                if passed || news.as_mut().poll(context).is_ready() {
                    Poll::Ready(false)
                } else {
                    Poll::Pending
                }
            });
            match heard.await {
                true if is_closed(stream) => return Err(Error::Disconnected),
                true => {}
                false => return Ok(()),
            }
        }
    }

    async fn tell(
        &self,
        stream: &mut UnixStream,
        name: &str,
        told: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let Some(question) = Question::of(&self.shared, &self.client, name, told)? else { return Ok(()) };
        let answer = wire::exchange(stream, question.request.as_bytes(), Some(ANSWER)).await;
        match answer.and_then(|reply| reply.done()) {
            Ok(()) => question.note(told),
            // One name of many: what is wrong with it is told, and it is tried again with the next refresh.
            Err(e @ (Error::BadRequest(_) | Error::Refused(_))) => self.outbox.failed(&e),
            // No room: with the next refresh, too.
            Err(e @ Error::Busy { retry_after, .. }) if retry_after > LOOK && !is_closed(stream) => {
                self.outbox.failed(&e);
            }
            // Too fast. A connection that was refused altogether is found closed.
            Err(Error::Busy { retry_after, .. }) => {
                self.outbox.mark(name);
                sleep(retry_after.min(LOOK)).await;
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Whether the agent has ended the connection: it says nothing that was not asked for.
fn is_closed(stream: &UnixStream) -> bool {
    match stream.try_read(&mut [0]) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => false,
        Ok(_) | Err(_) => true,
    }
}
