use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use super::{
    CancelToken, Clock, Errors, Failure, Judge, Network, NetworkView, Observer, Policy, PolicyError, Report,
    Standard, Step, SystemClock, Values, Verdict,
    observer::OnFinish,
    run::{Parts, Run},
};
use crate::Monitor;

/// Runs operations until they succeed, by a [`Policy`]: through outages when it sees the network, and without an agent
/// as well as can be. One serves any number of operations, at once too.
///
/// What fails is classified by [`Standard`], or as [`classify`](Self::classify) says.
///
/// ```
/// use std::{io, sync::Arc};
/// use netmon_client::{Client, Monitor, retry::{Policy, Retryer}};
///
/// let retryer = Retryer::new(Policy::default())?
///     .name("upload")
///     .monitor(Monitor::connect(Client::default_socket())?)
///     .on_finish(|report| println!("{}: {:?}", report.operation, report.statistics));
///
/// # fn upload(_: &str) -> io::Result<u64> { Ok(7) }
/// let bytes = retryer.run(|attempt| {
///     if attempt.number() > 1 {
///         println!("once more");
///     }
///     upload("backup.tar")
/// })?;
/// # assert_eq!(bytes, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Retryer<J = Errors<Standard>> {
    pub(super) parts: Parts,
    pub(super) judge: J,
}

impl Retryer {
    /// A retryer that sees no network yet: see [`monitor`](Self::monitor).
    ///
    /// # Errors
    /// A policy that leaves no attempt, no time or no delay.
    pub fn new(policy: Policy) -> Result<Self, PolicyError> {
        policy.validate()?;
        let parts = Parts {
            name: Cow::Borrowed("default"),
            policy,
            network: None,
            clock: Arc::new(SystemClock),
            cancel: CancelToken::new(),
            observers: Vec::new(),
        };
        Ok(Self { parts, judge: Errors(Standard) })
    }
}

impl<J> Retryer<J> {
    /// The operation's name, in statistics and metrics; `default` by default. One of few: each is a series of metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.parts.name = name.into();
        self
    }

    /// Sees the network as the agent does. While no agent answers nothing is known, and nothing waits for it; attempts
    /// that begin then are counted ([`Statistics::blind_attempts`](super::Statistics::blind_attempts)).
    pub fn monitor(self, monitor: impl Into<Arc<Monitor>>) -> Self {
        self.network(monitor.into())
    }

    /// Sees the network by other means.
    pub fn network(mut self, view: impl NetworkView + 'static) -> Self {
        self.parts.network = Some(Arc::new(view));
        self
    }

    /// Sees no network: delays alone decide.
    pub fn without_agent(mut self) -> Self {
        self.parts.network = None;
        self
    }

    /// Another clock than the system's, for [`run`](Self::run): a program's tests need no time with
    /// [`FakeClock`](super::testing::FakeClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.parts.clock = Arc::new(clock);
        self
    }

    /// Ends all that this one runs, when cancelled.
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.parts.cancel = token;
        self
    }

    /// Somebody else who hears what becomes of operations: [`Metrics`](super::Metrics) in an `Arc`, for one.
    pub fn observe(mut self, observer: impl Observer + 'static) -> Self {
        self.parts.observers.push(Arc::new(observer));
        self
    }

    /// Calls back at the end of each operation.
    pub fn on_finish(self, callback: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.observe(OnFinish(callback))
    }

    /// Which errors are tried again, in place of the standard ones: a closure `|error: &E| -> Verdict`, or such and
    /// more of them ([`Classify::or`](super::Classify::or)).
    pub fn classify<C>(self, classifier: C) -> Retryer<Errors<C>> {
        Retryer { parts: self.parts, judge: Errors(classifier) }
    }

    /// Which errors are tried again: those of which this is true.
    pub fn retry_errors_if<E>(
        self,
        predicate: impl Fn(&E) -> bool,
    ) -> Retryer<Errors<impl Fn(&E) -> Verdict>> {
        self.classify(move |error: &E| if predicate(error) { Verdict::RETRYABLE } else { Verdict::Permanent })
    }

    /// Which values are tried again: those of which this is true. An unfinished job, an empty answer …
    ///
    /// ```
    /// use netmon_client::retry::{Policy, Retryer, testing::FakeClock};
    ///
    /// let mut answers = ["pending", "pending", "done"].into_iter();
    /// let answer = Retryer::new(Policy::default())?
    ///     .clock(FakeClock::new())
    ///     .retry_if(|answer: &&str| *answer == "pending")
    ///     .run(|_| answers.next().ok_or_else(|| std::io::Error::other("no more")))?;
    /// assert_eq!(answer, "done");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry_if<T>(self, predicate: impl Fn(&T) -> bool) -> Retryer<Values<J, impl Fn(&T) -> Verdict>> {
        self.classify_values(
            move |value: &T| {
                if predicate(value) { Verdict::RETRYABLE } else { Verdict::Unknown }
            },
        )
    }

    /// What values are: [`Verdict::Unknown`] is a success.
    pub fn classify_values<T, F: Fn(&T) -> Verdict>(self, classifier: F) -> Retryer<Values<J, F>> {
        Retryer { parts: self.parts, judge: Values(self.judge, classifier) }
    }

    /// Runs `operation` until it succeeds, on this thread. It is called with the attempt's number and how much time it
    /// has: nothing can end it from outside, so let it look at [`Attempt::remaining`] and [`Attempt::is_cancelled`].
    ///
    /// # Errors
    /// [`Failure`] tells why it was given up, and with what error.
    pub fn run<T, E>(
        &self,
        mut operation: impl FnMut(&Attempt<'_>) -> Result<T, E>,
    ) -> Result<T, Failure<T, E>>
    where
        J: Judge<T, E>,
    {
        let clock = &*self.parts.clock;
        let mut now = clock.now();
        let mut run = Run::begin(&self.parts, now);
        let mut last = None;
        loop {
            match run.step(now) {
                Step::Run { attempt } => {
                    let until = run.start(now);
                    let result = operation(&Attempt { number: attempt, until, parts: &self.parts });
                    let verdict = self.judge.judge(&result);
                    now = clock.now();
                    run.end(now, until, verdict);
                    match (verdict, result) {
                        (None, Ok(value)) => return Ok(value),
                        (_, result) => last = Some(result),
                    }
                    continue;
                }
                Step::Sleep { until, .. } => wait(clock, &mut run, Some(until)),
                Step::AwaitNetwork { until } => wait(clock, &mut run, until),
                Step::GiveUp(why) => return Err(Failure { why, last, statistics: run.statistics() }),
                // No attempt runs here, and a success has returned.
                Step::Running { .. } | Step::Done => unreachable!("an attempt has ended"),
            }
            now = clock.now();
        }
    }
}

fn wait(clock: &dyn Clock, run: &mut Run<'_>, until: Option<Duration>) {
    if let Some(bell) = run.bell() {
        clock.wait(bell, until);
    }
}

impl<J> fmt::Debug for Retryer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retryer").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// One attempt of a blocking operation, as the operation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    number: u32,
    until: Option<Duration>,
    parts: &'a Parts,
}

impl Attempt<'_> {
    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How much time it has left, of its own ([`Policy::attempt_timeout`]) and of everything ([`Policy::max_time`]); none:
    /// no end. A millisecond at least, as sockets take no time-out of 0.
    pub fn remaining(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_sub(self.parts.clock.now()).max(Duration::from_millis(1)))
    }

    /// Whether it should end: its time is over, or all is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.parts.cancel.is_cancelled() || self.until.is_some_and(|until| self.parts.clock.now() >= until)
    }

    /// The network now: an attempt that would rather not wait for a time-out may end when it is gone. It is refunded.
    pub fn network(&self) -> Network {
        self.parts.network.as_ref().map(|view| view.glance().network).unwrap_or_default()
    }
}
