//! The asynchronous form on tokio, whose time stands still and goes on when nothing else is to be done.
#![cfg(feature = "tokio")]

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use netmon_client::retry::{CancelToken, GaveUp, Jitter, Network, Policy, Pulse, Retryer};
use tokio::time::{Instant, sleep};

fn policy() -> Policy {
    Policy { jitter: Jitter::None, spread: false, stable: Duration::ZERO, ..Policy::default() }
}

fn reset() -> io::Error {
    ErrorKind::ConnectionReset.into()
}

#[tokio::test(start_paused = true)]
async fn sleeps_by_the_runtimes_clock() {
    let began = Instant::now();
    let policy = Policy { attempt_timeout: Some(Duration::from_secs(30)), ..policy() };
    let retryer = Retryer::new(policy).unwrap();
    let task = tokio::spawn(async move {
        retryer
            .run_async(async |attempt| match attempt {
                1 => Err(reset()),
                2 => {
                    sleep(Duration::from_secs(3600)).await;
                    Ok(attempt)
                }
                _ => Ok(attempt),
            })
            .await
    });
    assert_eq!(task.await.unwrap().unwrap(), 3);
    // 1 s, a time-out, 2 s; tokio's timers are a millisecond late at most.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(33) && took < Duration::from_millis(33_050), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_when_the_network_is_back_or_all_is_cancelled() {
    let (network, token) = (Arc::new(Pulse::new()), CancelToken::new());
    network.set(Network::Unusable);
    let retryer = Retryer::new(Policy { max_time: None, ..policy() })
        .unwrap()
        .network(network.clone())
        .cancel(token.clone());
    let waiting = retryer.clone();
    let task = tokio::spawn(async move { waiting.run_async(async |_| Ok::<_, io::Error>(())).await });
    tokio::task::yield_now().await;
    network.set(Network::Usable);
    task.await.unwrap().unwrap();

    network.set(Network::Unusable);
    let task = tokio::spawn(async move { retryer.run_async(async |_| Ok::<_, io::Error>(())).await });
    tokio::task::yield_now().await;
    token.cancel();
    assert_eq!(task.await.unwrap().unwrap_err().why, GaveUp::Cancelled);
}
