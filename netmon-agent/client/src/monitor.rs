use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    Condition, Error, State, clock,
    events::{Event, EventOptions, EventStream, backoff},
    http,
    retry::Pulse,
    wire::Change,
};

/// How long [`Monitor::connect`] waits for the first word of the agent.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// The state, kept up to date by a thread of its own: for programs that look often. A read is one atomic load.
///
/// It says [`State::Unknown`] while no agent is connected, and when the agent has been silent for as long as its state
/// stays valid; then it connects again, for as long as it lives.
///
/// ```no_run
/// use netmon_client::{Client, Monitor};
///
/// let network = Monitor::connect(Client::default_socket())?;
/// if network.is_usable() {
///     println!("go");
/// }
/// # Ok::<(), netmon_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// The same for retries, which ask for outages between two looks too.
    pulse: Pulse,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each condition came to hold, as seen from here; none while it does not.
    since: [Option<Instant>; Condition::ALL.len()],
    subscribers: Vec<mpsc::Sender<Change>>,
    stream: Option<UnixStream>,
    /// The first connection has told something, or failed.
    tried: bool,
    stop: bool,
}

impl Monitor {
    /// Watches the agent at `socket`. Returns once the agent has told its state, or after a failed try or a second
    /// without: an agent that comes later is found.
    ///
    /// # Errors
    /// Only when no thread can be made.
    pub fn connect(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let (worker, path) = (shared.clone(), socket.into());
        let thread = thread::Builder::new().name("netmon-monitor".into()).spawn(move || worker.run(&path))?;
        let monitor = Self { shared, thread: Some(thread) };
        let deadline = clock::after(FIRST_WORD);
        let mut inner = monitor.shared.lock();
        while !inner.tried {
            let Some(left) = deadline.and_then(clock::left) else { break };
            inner = monitor.shared.sleep(inner, left);
        }
        drop(inner);
        Ok(monitor)
    }

    /// The state of the whole network. One relaxed atomic load.
    #[inline]
    pub fn state(&self) -> State {
        decode(self.shared.state.load(Ordering::Relaxed))
    }

    /// Whether the network is up.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.shared.state.load(Ordering::Relaxed) == encode(State::Up)
    }

    /// Whether the network is up or degraded.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.state().is_usable()
    }

    /// Waits until `condition` has held for `stable`, as seen from here: what came before the connection does not
    /// count. False when `timeout` passed first; none waits without end.
    pub fn wait_for(&self, condition: Condition, stable: Duration, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(clock::after);
        let mut inner = self.shared.lock();
        loop {
            let held = inner.since[condition as usize].map(|since| clock::now().duration_since(since));
            let missing = match held {
                Some(held) if held >= stable => return true,
                Some(held) => Some(stable - held),
                None => None,
            };
            let left = match deadline.map(clock::left) {
                Some(None) => return false,
                Some(Some(left)) => Some(left),
                None => None,
            };
            let pause = match (missing, left) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b).unwrap_or(Duration::from_secs(3600)),
            };
            inner = self.shared.sleep(inner, pause);
        }
    }

    /// The network as retries see it.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    /// Changes from now on. They queue without bound: read them, or drop the receiver.
    pub fn subscribe(&self) -> mpsc::Receiver<Change> {
        let (sender, receiver) = mpsc::channel();
        self.shared.lock().subscribers.push(sender);
        receiver
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        {
            let mut inner = self.shared.lock();
            inner.stop = true;
            if let Some(stream) = &inner.stream {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(&self, guard: MutexGuard<'a, Inner>, d: Duration) -> MutexGuard<'a, Inner> {
        self.changed.wait_timeout(guard, d).unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self, path: &std::path::Path) {
        let mut last_id = None;
        let mut failures = 0u32;
        loop {
            if self.follow(path, &mut last_id).is_ok_and(|heard| heard) {
                failures = 0;
            }
            failures = failures.saturating_add(1);
            self.set(State::Unknown);
            let deadline = clock::after(backoff(failures));
            let mut inner = self.lock();
            inner.tried = true;
            inner.stream = None;
            self.changed.notify_all();
            while !inner.stop {
                let Some(left) = deadline.and_then(clock::left) else { break };
                inner = self.sleep(inner, left);
            }
            if inner.stop {
                return;
            }
        }
    }

    /// Follows one connection to its end; whether it told anything.
    fn follow(&self, path: &std::path::Path, last_id: &mut Option<u64>) -> Result<bool, Error> {
        let stream = http::connect(path)?;
        {
            let mut inner = self.lock();
            if inner.stop {
                return Ok(false);
            }
            inner.stream = Some(stream.try_clone()?);
        }
        let mut events = EventStream::open(stream, EventOptions { last_id: *last_id, all: false })?;
        let mut heard = false;
        if last_id.is_some() {
            // Nothing may have changed since: then no event would tell the state.
            self.set(events.state());
        }
        loop {
            match events.read() {
                Ok(Some(Event::Change(change))) => {
                    heard = true;
                    *last_id = Some(change.seq);
                    self.take(*change);
                }
                Ok(Some(Event::Heartbeat)) => heard = true,
                Ok(None) | Err(_) => return Ok(heard),
            }
        }
    }

    /// Takes a change in.
    fn take(&self, change: Change) {
        if matches!(change.kind.as_str(), "state" | "gap") {
            self.set(change.state);
        }
        let mut inner = self.lock();
        inner.tried = true;
        inner.subscribers.retain(|s| s.send(change.clone()).is_ok());
        drop(inner);
        self.changed.notify_all();
    }

    fn set(&self, state: State) {
        let mut inner = self.lock();
        let now = clock::now();
        for condition in Condition::ALL {
            let since = &mut inner.since[condition as usize];
            *since = condition.holds(state).then(|| since.unwrap_or(now));
        }
        self.state.store(encode(state), Ordering::Relaxed);
        drop(inner);
        self.pulse.set(state.into());
        self.changed.notify_all();
    }
}

const fn encode(state: State) -> u8 {
    match state {
        State::Unknown => 0,
        State::Up => 1,
        State::Degraded => 2,
        State::Down => 3,
    }
}

#[inline]
const fn decode(value: u8) -> State {
    match value {
        1 => State::Up,
        2 => State::Degraded,
        3 => State::Down,
        _ => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::tests::{HEAD, event},
        fake::Fake,
    };

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn follows_the_agent() {
        let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "up")), true)]);
        let monitor = Monitor::connect(fake.path()).unwrap();
        assert!(monitor.is_up() && monitor.is_usable());
        let changes = monitor.subscribe();
        fake.say(&event(2, "down"));
        assert!(monitor.wait_for(Condition::Down, Duration::from_millis(20), LONG));
        assert_eq!(monitor.state(), State::Down);
        assert_eq!(changes.recv_timeout(Duration::from_secs(20)).unwrap().seq, 2);
        assert!(!monitor.wait_for(Condition::Up, Duration::ZERO, Some(Duration::from_millis(20))));
        fake.say(&event(3, "degraded"));
        assert!(monitor.wait_for(Condition::Usable, Duration::ZERO, LONG));
        assert!(!monitor.is_up());
    }

    #[test]
    fn says_unknown_without_an_agent_and_when_it_goes() {
        let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "up")), true)]);
        let monitor = Monitor::connect(fake.path()).unwrap();
        assert!(monitor.is_up());
        fake.hang_up();
        let deadline = clock::after(Duration::from_secs(20)).unwrap();
        while monitor.state() != State::Unknown {
            assert!(clock::left(deadline).is_some(), "the lost agent was never noticed");
            thread::yield_now();
        }
        let nobody = Monitor::connect(fake.path().with_extension("none")).unwrap();
        assert_eq!(nobody.state(), State::Unknown);
    }

    #[test]
    fn says_unknown_when_the_agent_falls_silent() {
        let head = HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 60\r\n\r\n");
        let fake = Fake::start(vec![(format!("{head}{}", event(1, "up")), true)]);
        let monitor = Monitor::connect(fake.path()).unwrap();
        let deadline = clock::after(Duration::from_secs(20)).unwrap();
        while monitor.state() != State::Unknown {
            assert!(clock::left(deadline).is_some(), "the silence was never noticed");
            thread::yield_now();
        }
    }

    #[test]
    fn dropping_it_does_not_wait_for_the_agent() {
        let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "up")), true)]);
        let monitor = Monitor::connect(fake.path()).unwrap();
        let before = clock::now();
        drop(monitor);
        // The silence that ends a read by itself is 6 s.
        assert!(clock::now().duration_since(before) < Duration::from_secs(4));
    }
}
