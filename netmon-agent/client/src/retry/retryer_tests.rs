use std::{
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    CancelToken, Failed, GaveUp, Jitter, Metrics, Network, Observer, Outcome, Policy, Pulse, Report, Retryer,
    Statistics, Step, Timer, Verdict, permanent, testing::FakeClock,
};

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn plain() -> Policy {
    Policy { jitter: Jitter::None, spread: false, ..Policy::default() }
}

fn retryer(policy: Policy, clock: &FakeClock) -> Retryer {
    Retryer::new(policy).unwrap().clock(clock.clone()).network(clock.clone())
}

fn reset() -> io::Error {
    ErrorKind::ConnectionReset.into()
}

/// An outage from the 10th to the 40th second.
fn outage() -> FakeClock {
    let clock = FakeClock::new();
    for (at, network) in [(0, Network::Usable), (10, Network::Unusable), (40, Network::Usable)] {
        clock.network_at(s(at), network);
    }
    clock
}

#[test]
fn runs_until_it_succeeds() {
    let clock = FakeClock::new();
    let mut failures = 3;
    let done = retryer(plain(), &clock).run(|attempt| {
        if failures > 0 {
            failures -= 1;
            return Err(reset());
        }
        Ok(attempt.number())
    });
    assert_eq!(done.unwrap(), 4);
    assert_eq!(clock.time(), s(1 + 2 + 4));
}

#[test]
fn tells_why_it_gave_up() {
    let clock = FakeClock::new();
    let failure = retryer(plain(), &clock).run(|_| Err::<(), _>(reset())).unwrap_err();
    assert_eq!((failure.why, failure.statistics.attempts), (GaveUp::Exhausted, 5));
    assert_eq!(failure.error().unwrap().kind(), ErrorKind::ConnectionReset);
    assert_eq!(failure.to_string(), "gave up after 5 attempts in 15.0 s: all failed: connection reset");

    let missing = || io::Error::from(ErrorKind::NotFound);
    let failure = retryer(plain(), &clock).run(|_| Err::<(), _>(missing())).unwrap_err();
    assert_eq!((failure.why, failure.statistics.attempts), (GaveUp::Permanent, 1));

    let odd = retryer(plain(), &clock).run(|_| Err::<(), _>(io::Error::other("odd"))).unwrap_err();
    assert_eq!(odd.why, GaveUp::Permanent, "what is unknown is not tried again");
    assert_eq!(odd.into_error().unwrap().to_string(), "odd");

    clock.network_at(clock.time(), Network::Unusable);
    let failure = retryer(plain(), &clock).run(|_| Err::<(), _>(reset())).unwrap_err();
    assert_eq!((failure.why, failure.last.is_none()), (GaveUp::NoNetwork, true));
}

#[test]
fn classifiers_and_predicates_decide() {
    let clock = FakeClock::new();
    let tries = |result: Result<(), super::Failure<(), String>>| match result {
        Ok(()) => 0,
        Err(failure) => failure.statistics.attempts,
    };
    let fail = |_: &super::Attempt<'_>| Err::<(), _>("busy".to_owned());
    let by = |verdict| retryer(plain(), &clock).classify(move |_: &String| verdict).run(fail);
    assert_eq!(tries(by(Verdict::RETRYABLE)), 5);
    assert_eq!(tries(by(Verdict::Permanent)), 1);
    assert_eq!(tries(retryer(plain(), &clock).retry_errors_if(|e: &String| e == "busy").run(fail)), 5);
    assert_eq!(tries(retryer(plain(), &clock).retry_errors_if(|e: &String| e == "no").run(fail)), 1);

    let marked = retryer(plain(), &clock).run(|_| Err::<(), _>(io::Error::other(permanent(reset()))));
    assert_eq!(marked.unwrap_err().why, GaveUp::Permanent);
    let boxed = retryer(plain(), &clock)
        .classify(super::classify::boxed)
        .run(|_| Ok::<u8, Box<dyn std::error::Error + Send + Sync>>("no number".parse()?));
    assert_eq!(boxed.unwrap_err().why, GaveUp::Permanent);
}

#[test]
fn values_can_be_tried_again_and_are_kept() {
    let clock = FakeClock::new();
    let retryer = retryer(plain(), &clock).retry_if(|n: &u32| *n < 3);
    assert_eq!(retryer.run(|attempt| Ok::<_, io::Error>(attempt.number())).unwrap(), 3);
    let failure = retryer.run(|_| Ok::<_, io::Error>(0)).unwrap_err();
    assert_eq!((failure.why, failure.last.unwrap().unwrap()), (GaveUp::Exhausted, 0));
    let failure = retryer.run(|_| Err::<u32, _>(reset())).unwrap_err();
    assert_eq!(failure.statistics.attempts, 5, "errors are classified as before");
}

#[test]
fn an_outage_within_a_blocking_attempt_is_seen_afterwards() {
    let clock = outage();
    let retryer = retryer(Policy { attempts: Some(1), ..plain() }, &clock);
    let mut starts = vec![];
    retryer
        .run(|attempt| {
            starts.push(clock.time());
            clock.advance(s(41));
            if attempt.number() == 1 { Err(reset()) } else { Ok(()) }
        })
        .unwrap();
    assert_eq!(starts, [s(0), s(45)], "usable since the 40th second, and stable five seconds later");
}

#[test]
fn an_outage_of_thirty_seconds_costs_no_attempt() {
    let clock = outage();
    let done = retryer(Policy { spread: true, ..plain() }, &clock).run(|attempt| {
        // An upload of 25 s.
        clock.advance(s(5));
        if attempt.network() == Network::Unusable {
            return Err(reset());
        }
        for _ in 0..20 {
            clock.advance(s(1));
            if attempt.network() == Network::Unusable {
                return Err(reset());
            }
        }
        Ok(attempt.number())
    });
    assert_eq!(done.unwrap(), 2);
    assert!((s(45 + 25)..=s(48 + 25)).contains(&clock.time()), "{clock:?}");
}

#[test]
fn attempts_know_their_time() {
    let clock = FakeClock::new();
    let policy = Policy { attempt_timeout: Some(s(10)), max_time: Some(s(25)), ..plain() };
    let mut left = vec![];
    let failure = retryer(policy, &clock)
        .run(|attempt| {
            left.push(attempt.remaining().unwrap());
            assert!(!attempt.is_cancelled());
            clock.advance(s(11));
            assert!(attempt.is_cancelled());
            assert_eq!(attempt.remaining(), Some(Duration::from_millis(1)));
            Err::<(), _>(io::Error::other("I was told to stop"))
        })
        .unwrap_err();
    assert_eq!(left, [s(10), s(10)]);
    assert_eq!((failure.why, failure.statistics.attempts), (GaveUp::MaxTime, 2));
}

#[test]
fn cancels_at_the_next_look() {
    let (clock, token) = (FakeClock::new(), CancelToken::new());
    let retryer = retryer(plain(), &clock).cancel(token.clone());
    let failure = retryer
        .run(|attempt| {
            token.cancel();
            assert!(attempt.is_cancelled());
            Err::<(), _>(reset())
        })
        .unwrap_err();
    assert_eq!((failure.why, failure.statistics.attempts, clock.time()), (GaveUp::Cancelled, 1, s(0)));
    assert_eq!(retryer.run(|_| Ok::<_, io::Error>(())).unwrap_err().statistics.attempts, 0);
}

#[test]
fn cancels_a_real_pause_and_hears_of_a_real_network() {
    let token = CancelToken::new();
    let slow = Policy { initial: s(3600), max_delay: s(3600), max_time: None, ..plain() };
    let retryer = Retryer::new(slow.clone()).unwrap().cancel(token.clone());
    let worker = thread::spawn(move || retryer.run(|_| Err::<(), _>(reset())).unwrap_err().why);
    thread::sleep(Duration::from_millis(20));
    token.cancel();
    assert_eq!(worker.join().unwrap(), GaveUp::Cancelled);

    let pulse = Arc::new(Pulse::new());
    pulse.set(Network::Unusable);
    let policy = Policy { stable: Duration::ZERO, ..slow };
    let retryer = Retryer::new(policy).unwrap().network(pulse.clone());
    let worker = thread::spawn(move || retryer.run(|_| Ok::<_, io::Error>(())));
    thread::sleep(Duration::from_millis(20));
    pulse.set(Network::Usable);
    worker.join().unwrap().unwrap();
}

#[derive(Default)]
struct Witness(Mutex<Vec<String>>);

impl Observer for Witness {
    fn failed(&self, failed: &Failed<'_>) {
        let Failed { operation, attempt, refunded, .. } = failed;
        self.0.lock().unwrap().push(format!("{operation} {attempt} failed {refunded}"));
    }

    fn waiting(&self, _: &str, step: Step) {
        self.0.lock().unwrap().push(match step {
            Step::Sleep { why, .. } => format!("{why:?}"),
            _ => "AwaitNetwork".into(),
        });
    }

    fn finished(&self, report: &Report<'_>) {
        self.0.lock().unwrap().push(format!("{:?} {}", report.result, report.statistics.refunds));
    }
}

#[test]
fn observers_hear_it_all() {
    let (clock, witness, metrics) = (outage(), Arc::new(Witness::default()), Arc::new(Metrics::new()));
    let retryer = retryer(plain(), &clock).name("upload").observe(witness.clone()).observe(metrics.clone());
    retryer
        .run(|attempt| match attempt.number() {
            1 => Err(reset()),
            2 => {
                clock.advance(s(20));
                Err(reset())
            }
            _ => Ok(()),
        })
        .unwrap();
    let heard = witness.0.lock().unwrap().clone();
    let due =
        ["upload 1 failed false", "Backoff", "upload 2 failed true", "AwaitNetwork", "Stable", "Ok(()) 1"];
    assert_eq!(heard, due);
    let text = metrics.render();
    for line in [
        "operations_total{operation=\"upload\",result=\"success_after_retry\"} 1",
        "attempts_total{operation=\"upload\"} 3",
        "refunds_total{operation=\"upload\"} 1",
        "blind_attempts_total{operation=\"upload\"} 0",
        "paused_seconds_total{operation=\"upload\"} 24",
        "backoff_seconds_total{operation=\"upload\"} 1",
        "running_seconds_total{operation=\"upload\"} 20",
    ] {
        assert!(text.contains(&format!("netmon_client_retry_{line}\n")), "{line}: {text}");
    }
}

#[test]
fn what_panics_or_is_dropped_has_ended_too() {
    let metrics = Arc::new(Metrics::new());
    let retryer = Retryer::new(plain()).unwrap().without_agent().observe(metrics.clone());
    let panics = std::panic::AssertUnwindSafe(|| retryer.run(|_| -> io::Result<()> { panic!("oh") }));
    assert!(std::panic::catch_unwind(panics).is_err());
    let clock = FakeClock::new();
    clock.run(async {
        let never = retryer.run_on(&clock, async |_| std::future::pending::<io::Result<()>>().await);
        let mut never = std::pin::pin!(never);
        std::future::poll_fn(|context| {
            assert!(never.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    });
    let text = metrics.render();
    assert!(text.contains("result=\"cancelled\"} 2\n"), "{text}");
    assert!(text.contains("blind_attempts_total{operation=\"default\"} 2\n"), "{text}");
}

#[test]
fn async_attempts_are_dropped_when_their_time_is_over() {
    let clock = FakeClock::new();
    let policy = Policy { attempts: Some(2), attempt_timeout: Some(s(10)), ..plain() };
    let dropped = AtomicU32::new(0);
    struct Count<'a>(&'a AtomicU32);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let retryer = retryer(policy, &clock);
    let slow = retryer.run_on(&clock, async |_| {
        let _count = Count(&dropped);
        clock.pause(s(60)).await;
        Ok::<_, io::Error>(())
    });
    let failure = clock.run(slow).unwrap_err();
    assert_eq!((failure.why, failure.last.is_none(), clock.time()), (GaveUp::Exhausted, true, s(21)));
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    assert_eq!(failure.statistics.running, s(20));
}

#[test]
fn async_attempts_are_dropped_when_cancelled() {
    let (clock, token) = (FakeClock::new(), CancelToken::new());
    let retryer = retryer(plain(), &clock).cancel(token.clone());
    let canceller = async {
        clock.pause(s(7)).await;
        token.cancel();
    };
    let operation = retryer.run_on(&clock, async |_| {
        clock.pause(s(60)).await;
        Ok::<_, io::Error>(())
    });
    let (mut canceller, mut operation) = (std::pin::pin!(canceller), std::pin::pin!(operation));
    let mut done = false;
    let failure = clock.run(std::future::poll_fn(|context| {
        done = done || canceller.as_mut().poll(context).is_ready();
        operation.as_mut().poll(context)
    }));
    assert_eq!((failure.unwrap_err().why, clock.time()), (GaveUp::Cancelled, s(7)));
}

#[test]
fn async_pauses_follow_the_network() {
    let clock = outage();
    let retryer = retryer(plain(), &clock);
    let mut starts = vec![];
    let upload = retryer.run_on(&clock, |attempt| {
        starts.push(clock.time());
        let clock = clock.clone();
        async move {
            clock.pause(s(12)).await;
            if attempt == 1 { Err(reset()) } else { Ok(()) }
        }
    });
    clock.run(upload).unwrap();
    assert_eq!(starts, [s(0), s(45)]);
}

#[test]
fn an_asynchronous_operation_can_move_to_another_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let clock = FakeClock::new();
    let retryer = Retryer::new(plain()).unwrap().network(Pulse::new()).observe(Metrics::new());
    let timer = clock.clone();
    let operation =
        is_send(async move { retryer.run_on(&timer, |n| async move { Ok::<_, io::Error>(n) }).await });
    assert_eq!(thread::spawn(move || clock.run(operation).unwrap()).join().unwrap(), 1);
}

#[test]
fn success_at_once_allocates_nothing() {
    let pulse = Arc::new(Pulse::new());
    pulse.set(Network::Usable);
    let metrics = Arc::new(Metrics::new());
    let retryer = Retryer::new(Policy::default()).unwrap().network(pulse).observe(metrics.clone());
    metrics.declare("default");
    let run = |n: u32| retryer.run(|_| if n == 0 { Err(reset()) } else { Ok(n) }).unwrap();
    run(1);
    let counted = allocation_counter::measure(|| {
        for n in 1..=1000 {
            assert_eq!(run(n), n);
        }
    });
    assert_eq!(counted.count_total, 0);
    let clock = FakeClock::new();
    let counted = allocation_counter::measure(|| {
        let operation = pin_run(&retryer, &clock);
        assert_eq!(operation, 1);
    });
    assert_eq!(counted.count_total, 0);
}

/// Polls an asynchronous operation that is ready at once.
fn pin_run<T: Timer>(retryer: &Retryer, timer: &T) -> u32 {
    let operation = std::pin::pin!(retryer.run_on(timer, async |n| Ok::<_, io::Error>(n)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match operation.poll(&mut context) {
        std::task::Poll::Ready(result) => result.unwrap(),
        std::task::Poll::Pending => panic!("it had nothing to wait for"),
    }
}

#[test]
fn a_bad_policy_is_refused() {
    assert!(Retryer::new(Policy { attempts: Some(0), ..plain() }).is_err());
    let _ = (Outcome::RETRYABLE, Statistics::default());
}
