//! Time and network for a program's own tests: hours of retries take no time.

use std::{
    collections::VecDeque,
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{
    Bell, Clock, Network, NetworkView, Pulse, Timer,
    network::{Detail, Glance},
};

/// A clock that goes on when somebody waits for it only, and a network whose changes are known beforehand. Clones are
/// the same clock.
///
/// ```
/// use std::{io, time::Duration};
/// use netmon_client::retry::{Network, Policy, Retryer, testing::FakeClock};
///
/// let clock = FakeClock::new();
/// clock.network_at(Duration::ZERO, Network::Unusable);
/// clock.network_at(Duration::from_secs(600), Network::Usable);
/// let retryer = Retryer::new(Policy::default())?.clock(clock.clone()).network(clock.clone());
/// let began = retryer.run(|_| Ok::<_, io::Error>(clock.time()))?;
/// assert!(began >= Duration::from_secs(605));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct FakeClock(Arc<World>);

#[derive(Default)]
struct World {
    state: Mutex<State>,
    pulse: Pulse,
}

#[derive(Default)]
struct State {
    now: Duration,
    /// Sorted by time.
    changes: VecDeque<(Duration, Network)>,
    sleepers: Vec<(Duration, Waker)>,
}

impl FakeClock {
    /// At 0, with a network of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time now.
    pub fn time(&self) -> Duration {
        self.lock().now
    }

    /// What becomes of the network at a time; at once where that has passed.
    pub fn network_at(&self, at: Duration, network: Network) {
        let mut state = self.lock();
        let place = state.changes.partition_point(|(other, _)| *other <= at);
        state.changes.insert(place, (at, network));
        let now = state.now;
        drop(state);
        self.advance_to(now);
    }

    /// Lets time pass, within an operation for instance.
    pub fn advance(&self, duration: Duration) {
        self.advance_to(self.time().saturating_add(duration));
    }

    /// Is ready `duration` from now, within [`run`](Self::run).
    pub fn pause(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        Sleep { clock: self.clone(), until: self.time().saturating_add(duration) }
    }

    /// Runs a future to its end; whenever it waits, time goes on to what happens next.
    ///
    /// # Panics
    /// When it waits for something that never happens.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            if !woken.0.swap(false, Ordering::AcqRel) {
                let next = self.next().expect("it waits for something that never happens");
                self.advance_to(next);
            }
        }
    }

    /// When something happens next.
    fn next(&self) -> Option<Duration> {
        let state = self.lock();
        let sleeper = state.sleepers.iter().map(|(until, _)| *until).min();
        [sleeper, state.changes.front().map(|(at, _)| *at)].into_iter().flatten().min()
    }

    fn advance_to(&self, to: Duration) {
        loop {
            let mut state = self.lock();
            match state.changes.front() {
                Some((at, network)) if *at <= to => {
                    let (at, network) = ((*at).max(state.now), *network);
                    state.changes.pop_front();
                    state.now = at;
                    drop(state);
                    self.0.pulse.set_at(at, network);
                }
                _ => {
                    state.now = state.now.max(to);
                    let now = state.now;
                    let (due, later) = state.sleepers.drain(..).partition(|(until, _)| *until <= now);
                    state.sleepers = later;
                    drop(state);
                    let due: Vec<(Duration, Waker)> = due;
                    due.into_iter().for_each(|(_, waker)| waker.wake());
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FakeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FakeClock").field(&self.time()).finish()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        self.time()
    }

    /// Goes to `until`, or to the next change of the network.
    ///
    /// # Panics
    /// When neither ever comes.
    fn wait(&self, _bell: &Bell, until: Option<Duration>) {
        let change = self.lock().changes.front().map(|(at, _)| *at);
        let next = [until, change].into_iter().flatten().min();
        self.advance_to(next.expect("it waits for something that never happens"));
    }
}

impl Timer for FakeClock {
    fn now(&self) -> Duration {
        self.time()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        self.pause(duration)
    }
}

impl NetworkView for FakeClock {
    fn glance(&self) -> Glance {
        self.0.pulse.glance()
    }

    fn detail(&self) -> Detail {
        self.0.pulse.detail_at(self.time())
    }

    fn watch(&self, bell: &Arc<Bell>) {
        self.0.pulse.watch(bell);
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Sleep {
    clock: FakeClock,
    until: Duration,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        state.sleepers.push((self.until, context.waker().clone()));
        Poll::Pending
    }
}
