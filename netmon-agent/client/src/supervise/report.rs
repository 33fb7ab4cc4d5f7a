//! Tells the agent of the connections that are kept. A report lasts as long as the connection that brought it, so there
//! is one, which idles most of the time.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    record::ConnectionSnapshot,
    shell::{Shared, spawn},
};
use crate::{
    Error,
    client::percent,
    clock,
    http::{self, Patience},
    proto::{ANSWER, backoff},
    wire::{ConnectionReport, MAX_CONNECTION_ERROR},
};

/// How often it is looked whether the agent is still there, where nothing else tells.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How often figures are told that change without a change of state.
pub(super) const REFRESH: Duration = Duration::from_secs(60);
/// Pause before another try at an agent that takes no reports.
const NOT_TAKEN: Duration = Duration::from_secs(60);

/// What has become of the reports to the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportState {
    /// The agent is there and takes them.
    pub connected: bool,
    /// Connections that it has been told of.
    pub reported: usize,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The thread that reports. Dropping it ends the reports, and with them what the agent shows.
#[derive(Debug)]
pub(super) struct Reporter {
    outbox: Arc<Outbox>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// The same for the one task that reports.
    #[cfg(feature = "tokio")]
    pub(super) notify: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeSet<String>,
    /// The agent may have gone.
    look: bool,
    stop: bool,
    stream: Option<UnixStream>,
    state: ReportState,
}

impl Outbox {
    /// This connection is another, or gone.
    pub(super) fn mark(&self, name: &str) {
        self.lock().names.insert(name.to_owned());
        self.rings();
    }

    /// The agent may have gone.
    pub(super) fn look(&self) {
        self.lock().look = true;
        self.rings();
    }

    fn rings(&self) {
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        self.notify.notify_one();
    }

    /// What there is to tell now.
    #[cfg(feature = "tokio")]
    pub(super) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.lock().names)
    }

    pub(super) fn state(&self) -> ReportState {
        self.lock().state.clone()
    }

    /// So many connections have been told of.
    pub(super) fn told(&self, reported: usize) {
        let mut inner = self.lock();
        (inner.state.connected, inner.state.reported) = (true, reported);
    }

    /// Something went wrong with one of them.
    pub(super) fn failed(&self, error: &Error) {
        self.lock().state.last_error = Some(error.to_string());
    }

    /// The agent takes none any more. How long to leave it alone, after so many sessions that came to nothing.
    pub(super) fn lost(&self, error: &Error, failures: u32) -> Duration {
        self.lock().state = ReportState { last_error: Some(error.to_string()), ..ReportState::default() };
        if error.is_transient() { backoff(failures) } else { NOT_TAKEN }
    }

    fn stop(&self) {
        let mut inner = self.lock();
        inner.stop = true;
        if let Some(stream) = &inner.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Waits for something to tell, or for `pause`; what there is. None when it is to end.
    fn next(&self, pause: Duration) -> Option<BTreeSet<String>> {
        let deadline = clock::after(pause);
        let mut inner = self.lock();
        while !inner.stop && inner.names.is_empty() && !inner.look {
            let Some(left) = deadline.and_then(clock::left) else { break };
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.look = false;
        (!inner.stop).then(|| std::mem::take(&mut inner.names))
    }

    /// Waits, whatever there is to tell; whether it is to go on.
    fn pause(&self, pause: Duration) -> bool {
        let deadline = clock::after(pause);
        let mut inner = self.lock();
        while !inner.stop {
            let Some(left) = deadline.and_then(clock::left) else { break };
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        !inner.stop
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    pub(super) fn start(shared: &Arc<Shared>, socket: &Path, client: &str) -> Result<Self, Error> {
        let outbox = Arc::new(Outbox::default());
        shared.add_outbox(&outbox);
        let work = Work {
            shared: shared.clone(),
            outbox: outbox.clone(),
            socket: socket.to_owned(),
            client: client.to_owned(),
        };
        let thread = spawn("netmon-report", move || work.run())?;
        Ok(Self { outbox, thread: Some(thread) })
    }

    pub(super) fn state(&self) -> ReportState {
        self.outbox.state()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.outbox.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
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
    fn run(&self) {
        let mut failures = 0u32;
        loop {
            let mut told = BTreeSet::new();
            let Err(error) = self.session(&mut told) else { return };
            failures = if told.is_empty() { failures.saturating_add(1) } else { 1 };
            let pause = self.outbox.lost(&error, failures);
            // While any hand is on the stream the agent takes it for open, and shows what it was told over it.
            drop(self.outbox.lock().stream.take());
            if !self.outbox.pause(pause) {
                return;
            }
        }
    }

    /// Reports over one connection, until it fails. Without an error it is to end. `told` has the names that the agent
    /// shows.
    fn session(&self, told: &mut BTreeSet<String>) -> Result<(), Error> {
        let stream = http::connect(&self.socket)?;
        self.outbox.lock().stream = Some(stream.try_clone()?);
        let (mut refresh, mut pause) = (clock::now(), Duration::ZERO);
        while let Some(mut names) = self.outbox.next(pause) {
            pause = LOOK;
            if clock::left(refresh).is_none() {
                refresh += REFRESH;
                names.extend(all(&self.shared, told));
            }
            if is_closed(&stream)? {
                return Err(Error::Disconnected);
            }
            for name in names {
                self.tell(&stream, &name, told)?;
            }
            self.outbox.told(told.len());
        }
        Ok(())
    }

    fn tell(&self, stream: &UnixStream, name: &str, told: &mut BTreeSet<String>) -> Result<(), Error> {
        let Some(question) = Question::of(&self.shared, &self.client, name, told)? else { return Ok(()) };
        let stream_of_it = stream.try_clone()?;
        let answer = http::exchange(stream_of_it, question.request.as_bytes(), Patience::of(Some(ANSWER)));
        let result = answer.and_then(|reply| reply.done()).map(|()| question.note(told));
        match result {
            // One name of many: what is wrong with it is told, and it is tried again with the next refresh.
            Err(e @ (Error::BadRequest(_) | Error::Refused(_))) => {
                self.outbox.failed(&e);
                Ok(())
            }
            // No room: with the next refresh, too.
            Err(e @ Error::Busy { retry_after, .. }) if retry_after > LOOK && !is_closed(stream)? => {
                self.outbox.failed(&e);
                Ok(())
            }
            // Too fast. A connection that was refused altogether is found closed.
            Err(Error::Busy { retry_after, .. }) => {
                self.outbox.mark(name);
                if self.outbox.pause(retry_after.min(LOOK)) && is_closed(stream)? {
                    return Err(Error::Disconnected);
                }
                Ok(())
            }
            result => result,
        }
    }
}

/// Whether the agent has ended the connection: it says nothing that was not asked for.
fn is_closed(mut stream: &UnixStream) -> Result<bool, Error> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false)?;
    match read {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
        Ok(_) | Err(_) => Ok(true),
    }
}

/// What there is to tell of: connections that are, and those that were.
pub(super) fn all(shared: &Shared, told: &BTreeSet<String>) -> Vec<String> {
    shared.snapshots().into_iter().map(|s| s.name).chain(told.iter().cloned()).collect()
}

/// What the agent is asked to take.
pub(super) struct Question<'a> {
    name: &'a str,
    is_gone: bool,
    pub(super) request: String,
}

impl<'a> Question<'a> {
    /// What is to be told of this connection; nothing where the agent knows of none, and there is none.
    pub(super) fn of(
        shared: &Shared,
        client: &str,
        name: &'a str,
        told: &BTreeSet<String>,
    ) -> Result<Option<Self>, Error> {
        let (method, body) = match shared.named(name) {
            Some(snapshot) => {
                let body = serde_json::to_string(&report(client, &snapshot));
                ("PUT", body.map_err(|e| Error::Protocol(e.to_string()))?)
            }
            None if told.contains(name) => ("DELETE", String::new()),
            None => return Ok(None),
        };
        let request = format!(
            "{method} /v1/connections/{} HTTP/1.1\r\nHost: netmon\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            percent(name),
            body.len()
        );
        Ok(Some(Self { name, is_gone: method == "DELETE", request }))
    }

    /// The agent has taken it.
    pub(super) fn note(&self, told: &mut BTreeSet<String>) {
        if self.is_gone {
            told.remove(self.name);
        } else {
            told.insert(self.name.to_owned());
        }
    }
}

fn report(client: &str, snapshot: &ConnectionSnapshot) -> ConnectionReport {
    ConnectionReport {
        client: client.to_owned(),
        state: snapshot.state,
        state_seconds: snapshot.state_for.as_secs_f64(),
        attempts: snapshot.attempts,
        reconnects: snapshot.reconnects,
        last_error: snapshot.last_error.as_deref().map(clipped),
        last_success_seconds: snapshot.last_success_ago.map(|ago| ago.as_secs_f64()),
        uptime_ratio: Some(snapshot.uptime_ratio()),
    }
}

/// As much as the agent shows: a body has a bound.
fn clipped(error: &str) -> String {
    let end = (0..=MAX_CONNECTION_ERROR.min(error.len())).rev().find(|end| error.is_char_boundary(*end));
    error[..end.unwrap_or(0)].to_owned()
}
