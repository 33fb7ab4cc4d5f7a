//! Many waiters at once.

use std::{io::Write, os::unix::net::UnixStream, time::Duration};

use netmon_agent::{health::State, time::Mono};

use crate::world::{FRESH, LONG, World, read_all, until};

/// Waiters on raw sockets, all released by one publication. Returns the time from it to the last answer.
fn release(count: usize) -> Duration {
    let mut world = World::with(FRESH, |o| o.reserved_descriptors = 64);
    world.publish(State::Down);
    let mut waiters: Vec<UnixStream> = (0..count)
        .map(|_| {
            let mut stream = UnixStream::connect(world.socket()).unwrap();
            stream
                .write_all(b"GET /v1/wait?state=up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    until("the waiters", || world.waiters() == count as i64);
    let started = Mono::now();
    world.publish(State::Up);
    let answers: Vec<String> = waiters.iter_mut().map(read_all).collect();
    let took = Mono::now().since(started);
    assert!(
        answers
            .iter()
            .all(|a| a.starts_with("HTTP/1.1 200 ") && a.matches("\"satisfied\":true").count() == 1)
    );
    let metrics = world.get("/metrics");
    assert!(metrics.contains(&format!("netmon_wait_requests_total{{result=\"satisfied\"}} {count}\n")));
    took
}

#[test]
fn a_crowd_is_released_once_each() {
    assert!(release(1000) < LONG);
}
