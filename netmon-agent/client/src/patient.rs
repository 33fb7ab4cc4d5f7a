//! A wait over restarts of the agent: what to ask, and what an answer means. The blocking and the async side share it.

use std::time::{Duration, Instant};

use crate::{Error, WaitOptions, proto::backoff, wire::Waited};

/// One wait, however many questions it takes.
#[derive(Debug)]
pub(crate) struct Patient {
    options: WaitOptions,
    started: Instant,
    failures: u32,
}

/// What follows of an answer.
#[derive(Debug)]
pub(crate) enum Next {
    /// The wait is over.
    Done(Result<Waited, Error>),
    /// Ask again, after so long.
    Pause(Duration),
}

impl Patient {
    pub(crate) fn new(options: &WaitOptions, now: Instant) -> Self {
        Self { options: options.clone(), started: now, failures: 0 }
    }

    /// What to ask at `now`.
    pub(crate) fn options(&self, now: Instant) -> WaitOptions {
        WaitOptions { timeout: self.left(now), ..self.options.clone() }
    }

    /// What the answer means that came at `now`.
    pub(crate) fn judge(&mut self, answer: Result<Waited, Error>, now: Instant) -> Next {
        let error = match answer {
            Ok(waited) => {
                let waited_seconds = now.duration_since(self.started).as_secs_f64();
                return Next::Done(Ok(Waited { waited_seconds, ..waited }));
            }
            Err(error) => error,
        };
        let left = self.left(now);
        if !error.is_transient() || left.is_some_and(|left| left.is_zero()) {
            return Next::Done(Err(error));
        }
        self.failures = self.failures.saturating_add(1);
        let asked = match &error {
            Error::Busy { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        };
        let pause = backoff(self.failures).max(asked);
        Next::Pause(left.map_or(pause, |left| pause.min(left)))
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.options.timeout.map(|timeout| timeout.saturating_sub(now.duration_since(self.started)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn patient(timeout: Option<u64>) -> (Patient, impl Fn(u64) -> Instant) {
        let start = clock::now();
        let options = WaitOptions { timeout: timeout.map(Duration::from_millis), ..WaitOptions::up() };
        (Patient::new(&options, start), move |ms| start + Duration::from_millis(ms))
    }

    fn pause(next: Next) -> u128 {
        match next {
            Next::Pause(pause) => pause.as_millis(),
            Next::Done(answer) => panic!("{answer:?}"),
        }
    }

    #[test]
    fn asks_again_until_its_time_is_up_and_no_longer() {
        let (mut patient, at) = patient(Some(1000));
        assert_eq!(patient.options(at(0)).timeout, Some(Duration::from_millis(1000)));
        assert_eq!(pause(patient.judge(Err(Error::Disconnected), at(100))), 100);
        assert_eq!(patient.options(at(200)).timeout, Some(Duration::from_millis(800)));
        assert_eq!(pause(patient.judge(Err(Error::Timeout), at(200))), 200);
        let busy = Error::Busy { retry_after: Duration::from_secs(7), message: String::new() };
        assert_eq!(pause(patient.judge(Err(busy), at(400))), 600);
        assert!(matches!(
            patient.judge(Err(Error::Disconnected), at(1000)),
            Next::Done(Err(Error::Disconnected))
        ));
    }

    #[test]
    fn what_no_try_mends_ends_it_and_a_success_tells_the_whole_time() {
        let (mut patient, at) = patient(None);
        let no = patient.judge(Err(Error::NotFound("no eth9".into())), at(1));
        assert!(matches!(no, Next::Done(Err(Error::NotFound(_)))));
        assert_eq!(pause(patient.judge(Err(Error::Disconnected), at(2))), 100);
        let answer = patient.judge(Ok(Waited { satisfied: true, ..Waited::default() }), at(2500));
        assert!(matches!(answer, Next::Done(Ok(waited)) if waited.waited_seconds == 2.5));
    }
}
