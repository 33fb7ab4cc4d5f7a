//! HTTP and HTTPS: one GET or HEAD over a connection of its own, and how long each phase of it took.
//!
//! The engine's thread makes the socket and starts the connection, as the TCP method does; the rest is done by the kept
//! libraries (hyper, rustls) on a thread of its own, `http`, which is started with the first such probe. What comes of
//! a probe returns by a channel, and an eventfd that the engine watches.
//!
//! The round trip is what somebody who opens the page waits for: connection, TLS handshake and request up to the first
//! byte of the answer, added up. No kernel stamps any of that, so it is taken by this process ([`StampSource::User`]),
//! and true to what that thread's turn takes: microseconds, or, when hundreds of handshakes fall together, the
//! milliseconds that they take from one another. An answer that comes after the probe was given up is not waited for:
//! there are no late ones.
//!
//! | file | what |
//! |---|---|
//! | `exchange` | one probe, from the connection to the answer's head |
//! | `question` | what is asked, and which answer is a good one (pure) |
//! | `trust` | TLS configurations, made once and kept; who is trusted |
//! | `certificate` | the look at the certificates presented |
//! | `first_byte` | when the answer began |
//! | `pace` | whether the thread runs late (pure, but for its timer) |

mod certificate;
mod exchange;
mod first_byte;
mod pace;
mod question;
mod trust;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::{
    epoll::{Epoll, EpollFlags},
    eventfd::{EfdFlags, EventFd},
};
use tokio::{
    runtime::{self, Handle},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::AbortHandle,
};

use self::{exchange::Exchange, pace::Pace, question::Question, trust::Trust};
use super::{
    super::{
        inflight::Token,
        rtt::{RoundTrip, Stamp},
    },
    Answer, Departure, EventKey, Prober, Request, Shared, What, tcp, watch,
};
use crate::{
    observation::{FailureReason, Method, ProbeDetail, StampSource},
    time::Mono,
};

/// Probes under way at most. One holds a descriptor and, while its answer is read, up to 64 KiB.
const UNDER_WAY: usize = 1_000;

/// What is known of a probe so far: written as it goes on, read when it is given up.
type Known = Arc<Mutex<ProbeDetail>>;

/// Adds to what is known.
fn learn(known: &Known, what: impl FnOnce(&mut ProbeDetail)) {
    what(&mut known.lock().unwrap_or_else(PoisonError::into_inner));
}

/// What is known, where it is anything.
fn told(known: &Known) -> Option<Box<ProbeDetail>> {
    let detail = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (detail != ProbeDetail::default()).then(|| Box::new(detail))
}

/// Why a probe failed, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    reason: FailureReason,
    reporter: Option<IpAddr>,
}

impl From<FailureReason> for Failure {
    fn from(reason: FailureReason) -> Self {
        Self { reason, reporter: None }
    }
}

/// A probe that is waited for.
#[derive(Debug)]
struct Job {
    task: AbortHandle,
    known: Known,
}

pub(super) struct HttpProber {
    place: usize,
    epoll: Rc<Epoll>,
    background: Option<Background>,
    jobs: HashMap<Token, Job>,
}

impl HttpProber {
    pub(super) fn new(place: usize, epoll: Rc<Epoll>) -> Self {
        Self { place, epoll, background: None, jobs: HashMap::new() }
    }

    fn background(&mut self) -> io::Result<&Background> {
        let background = match self.background.take() {
            Some(running) => running,
            None => {
                let new = Background::start()?;
                let key = EventKey::new(self.place, Token(0), 0);
                watch(&self.epoll, &*new.outbox.wake, key, EpollFlags::EPOLLIN)?;
                new
            }
        };
        Ok(self.background.insert(background))
    }
}

impl Prober for HttpProber {
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure> {
        let Method::Http(asked) = &request.spec.method else { return Err(request.misplaced()) };
        let question = Question::new(asked, request.address)?;
        let background = self.background()?;
        let room = background.room()?;
        let to = request.to(asked.port);
        let socket = tcp::stream(to, &request.spec.path)?;
        let at = Stamp::now();
        let departure = Departure { at, attempts: 1 };
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                let what = What::Failed { reason: FailureReason::Refused, reporter: None };
                shared.answers.push(Answer { token: request.token, at: Mono::now(), what });
                return Ok(departure);
            }
            Err(e) => return Err(e),
        }
        let known = Known::default();
        let trust = background.trust.clone();
        let exchange = Exchange { socket, sent: at.mono, question, known: known.clone(), trust };
        let task = background.spawn(request.token, exchange, room);
        self.jobs.insert(request.token, Job { task, known });
        Ok(departure)
    }

    fn ready(&mut self, _key: EventKey, _errors: bool, shared: &mut Shared) {
        let Some(background) = &self.background else { return };
        // It does not block, and how often it was written to is of no interest.
        let _ = background.outbox.wake.read();
        for answer in background.answers.try_iter() {
            if !matches!(answer.what, What::Detail(_)) {
                // It may still be reading what follows the head, and ends by itself.
                self.jobs.remove(&answer.token);
            }
            shared.answers.push(answer);
        }
    }

    fn settled(&mut self, token: Token) {
        if let Some(job) = self.jobs.remove(&token) {
            job.task.abort();
        }
    }

    fn dropped(&mut self, sent: Mono, now: Mono, _shared: &mut Shared) -> bool {
        self.background.as_ref().is_some_and(|background| background.pace.was_late(sent, now))
    }

    fn known(&self, token: Token) -> Option<Box<ProbeDetail>> {
        told(&self.jobs.get(&token)?.known)
    }
}

/// The way back to the engine's thread.
#[derive(Clone, Debug)]
struct Outbox {
    answers: mpsc::Sender<Answer>,
    wake: Arc<EventFd>,
}

impl Outbox {
    /// What a probe came to, after what was learnt on the way.
    fn put(&self, token: Token, known: &Known, outcome: Result<Duration, Failure>) {
        let at = Mono::now();
        let outcome = match outcome {
            Ok(rtt) => {
                What::Reply { trip: RoundTrip { rtt, source: StampSource::User, stepped: false }, ttl: None }
            }
            Err(Failure { reason, reporter }) => What::Failed { reason, reporter },
        };
        for what in told(known).map(What::Detail).into_iter().chain([outcome]) {
            // Where nobody listens the prober is gone, and with it the wish to know.
            let _ = self.answers.send(Answer { token, at, what });
        }
        let _ = self.wake.write(1);
    }
}

/// The thread that the exchanges run on. Dropped, it ends, and they with it.
#[derive(Debug)]
struct Background {
    runtime: Handle,
    outbox: Outbox,
    answers: mpsc::Receiver<Answer>,
    room: Arc<Semaphore>,
    trust: Arc<Trust>,
    pace: Arc<Pace>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// # Errors
    /// No thread, no eventfd, no epoll instance to be had.
    fn start() -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        // One thread reads certificate files, one after another: who waits for the same finds them read.
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            // Told to stop or left alone, it is the same.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        let (sender, answers) = mpsc::channel();
        Ok(Self {
            runtime: handle,
            outbox: Outbox { answers: sender, wake },
            answers,
            room: Arc::new(Semaphore::new(UNDER_WAY)),
            trust: Arc::default(),
            pace: Arc::default(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// # Errors
    /// `EAGAIN` when too many are under way.
    fn room(&self) -> io::Result<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().map_err(|_| io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn spawn(&self, token: Token, exchange: Exchange, room: OwnedSemaphorePermit) -> AbortHandle {
        let outbox = self.outbox.clone();
        let (known, pace, sent) = (exchange.known.clone(), self.pace.clone(), exchange.sent);
        let task = async move {
            pace.beside(sent, exchange.run(|outcome| outbox.put(token, &known, outcome))).await;
            drop(room);
        };
        self.runtime.spawn(task).abort_handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_bounded_and_room_comes_back() {
        let background = Background::start().unwrap();
        let mut held: Vec<_> = (0..UNDER_WAY).map(|_| background.room().unwrap()).collect();
        assert_eq!(background.room().unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        held.pop();
        assert!(background.room().is_ok());
    }

    #[test]
    fn nothing_known_is_not_told() {
        let known = Known::default();
        assert_eq!(told(&known), None);
        learn(&known, |detail| detail.status = Some(200));
        assert_eq!(told(&known).unwrap().status, Some(200));
    }
}
