//! The asynchronous form, on any runtime.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Failure, Judge, Retryer, Step, Timer, Verdict, run::Run};

impl<J> Retryer<J> {
    /// As [`run`](Self::run), on tokio: an attempt whose time is over, or that is cancelled, is dropped. `operation` is
    /// called with the attempt's number.
    ///
    /// # Errors
    /// [`Failure`] tells why it was given up, and with what error.
    #[cfg(feature = "tokio")]
    pub async fn run_async<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        operation: impl FnMut(u32) -> F,
    ) -> Result<T, Failure<T, E>>
    where
        J: Judge<T, E>,
    {
        self.run_on(&super::TokioTimer, operation).await
    }

    /// As [`run`](Self::run), on any runtime, by its timer: an attempt whose time is over, or that is cancelled, is
    /// dropped. `operation` is called with the attempt's number.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use netmon_client::retry::{Network, Policy, Retryer, testing::FakeClock};
    ///
    /// let clock = FakeClock::new();
    /// clock.network_at(Duration::ZERO, Network::Usable);
    /// clock.network_at(Duration::from_secs(3), Network::Unusable);
    /// clock.network_at(Duration::from_secs(33), Network::Usable);
    /// let retryer = Retryer::new(Policy { attempts: Some(1), ..Policy::default() })?.network(clock.clone());
    /// let uploaded = clock.run(retryer.run_on(&clock, async |attempt| {
    ///     clock.pause(Duration::from_secs(5)).await;
    ///     if attempt == 1 { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok("uploaded") }
    /// }))?;
    /// assert_eq!(uploaded, "uploaded");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Failure`] tells why it was given up, and with what error.
    pub async fn run_on<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        timer: &impl Timer,
        mut operation: impl FnMut(u32) -> F,
    ) -> Result<T, Failure<T, E>>
    where
        J: Judge<T, E>,
    {
        let mut run = Run::begin(&self.parts, timer.now());
        let mut last = None;
        loop {
            let now = timer.now();
            let until = match run.step(now) {
                Step::Run { attempt } => {
                    let until = run.start(now);
                    let result = attempt_until(timer, &mut run, now, until, operation(attempt)).await;
                    let verdict = match &result {
                        Some(result) => self.judge.judge(result),
                        None if run.is_cancelled() => {
                            run.cancel(timer.now());
                            continue;
                        }
                        None => Some(Verdict::RETRYABLE),
                    };
                    run.end(timer.now(), until, verdict);
                    match (verdict, result) {
                        (None, Some(Ok(value))) => return Ok(value),
                        (_, result) => last = result,
                    }
                    continue;
                }
                Step::Sleep { until, .. } => Some(until),
                Step::AwaitNetwork { until } => until,
                Step::GiveUp(why) => return Err(Failure { why, last, statistics: run.statistics() }),
                // No attempt runs here, and a success has returned.
                Step::Running { .. } | Step::Done => unreachable!("an attempt has ended"),
            };
            let mut sleep = pin!(until.map(|until| timer.sleep(until.saturating_sub(now))));
            poll_fn(|context| {
                if rings(&mut run, context) {
                    return Poll::Ready(());
                }
                sleep.as_mut().as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(context))
            })
            .await;
        }
    }
}

/// Runs an attempt to its end: none when its time is over, or all is cancelled.
async fn attempt_until<R>(
    timer: &impl Timer,
    run: &mut Run<'_>,
    now: Duration,
    until: Option<Duration>,
    attempt: impl Future<Output = R>,
) -> Option<R> {
    let mut attempt = pin!(attempt);
    let mut sleep = pin!(until.map(|until| timer.sleep(until.saturating_sub(now))));
    poll_fn(|context| {
        if let Poll::Ready(result) = attempt.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        // News of the network are for later; the bell may ring for a cancellation again.
        while rings(run, context) {
            if run.is_cancelled() {
                return Poll::Ready(None);
            }
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// Whether there is news; else the task is woken when there is.
fn rings(run: &mut Run<'_>, context: &Context<'_>) -> bool {
    match run.bell() {
        Some(bell) => bell.poll(context).is_ready(),
        // It is new: look again.
        None => true,
    }
}
