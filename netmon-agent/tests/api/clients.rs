//! Clients that are slow, gone or hostile.

use std::{io::Write, os::unix::net::UnixStream, time::Duration};

use netmon_agent::{health::State, time::Mono};
use netmon_client::{Condition, Error, State as Told};

use crate::world::{FRESH, LONG, World, read_all, until, wait_for};

#[test]
fn a_client_that_hangs_up_frees_its_place() {
    let world = World::with(FRESH, |o| o.max_waiters = 1);
    let mut gone = UnixStream::connect(world.socket()).unwrap();
    gone.write_all(b"GET /v1/wait?state=up HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    until("the waiter", || world.waiters() == 1);
    let refused = world.client().wait(&wait_for(Condition::Up, 0, LONG));
    assert!(matches!(refused, Err(Error::Busy { retry_after, .. }) if retry_after == Duration::from_secs(1)));
    drop(gone);
    until("a free place", || world.waiters() == 0);
    let waited = world.client().wait(&wait_for(Condition::Up, 0, Duration::from_millis(10)));
    assert!(!waited.unwrap().satisfied);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let mut world = World::with(FRESH, |o| o.max_waiters = 1);
    world.publish(State::Down);
    let socket = world.socket();
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(format!("GET {request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    };
    let status = read_all(&mut ask("/v1/status"));
    assert!(status.starts_with("HTTP/1.1 200 ") && status.contains("\"down\""), "{status}");
    let two = read_all(&mut ask("/healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz"));
    assert_eq!(two.matches("HTTP/1.1 200 ").count(), 2, "{two}");
    let mut waiter = ask("/v1/wait?state=up");
    until("the waiter", || world.waiters() == 1);
    world.publish(State::Up);
    assert!(read_all(&mut waiter).contains("\"satisfied\":true"));
    // A client that is gone altogether frees its place all the same.
    let waiter = ask("/v1/wait?state=down");
    until("the waiter", || world.waiters() == 1);
    drop(waiter);
    until("a free place", || world.waiters() == 0);
}

#[test]
fn hostile_clients_cost_only_themselves() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let long = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9000));
    assert!(world.raw(&long).starts_with("HTTP/1.1 431 "));
    assert!(!world.raw("\x16\x03\x01nonsense\r\n\r\n").contains("200 OK"));
    // A request that never ends is cut after 5 s; meanwhile others are served.
    let mut slow = UnixStream::connect(world.socket()).unwrap();
    slow.write_all(b"GET /v1/sta").unwrap();
    let silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(world.socket()).unwrap()).collect();
    assert_eq!(world.client().status().unwrap().state, Told::Up);
    slow.set_read_timeout(Some(LONG)).unwrap();
    let started = Mono::now();
    assert!(!read_all(&mut slow).contains("200 OK"));
    let cut = Mono::now().since(started);
    assert!(cut > Duration::from_secs(2) && cut < LONG, "{cut:?}");
    drop(silent);
}
