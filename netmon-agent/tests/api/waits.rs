//! Who is released, when, and what it is told.

use std::{io::Write, os::unix::net::UnixStream, thread, time::Duration};

use netmon_agent::{
    health::State,
    time::{Boot, Mono},
};
use netmon_client::{Condition, Error, State as Told, WaitOptions};

use crate::world::{FRESH, LONG, World, read_all, until, wait_for};

#[test]
fn a_waiter_is_woken_by_the_state_it_waits_for_and_by_no_other() {
    let mut world = World::new(FRESH);
    let client = world.client();
    let waiter = thread::spawn(move || client.wait(&wait_for(Condition::Up, 0, LONG)).unwrap());
    until("the waiter", || world.waiters() == 1);
    world.publish(State::Unknown);
    world.publish(State::Down);
    world.publish(State::Degraded);
    thread::sleep(Duration::from_millis(50));
    assert!(!waiter.is_finished() && world.waiters() == 1);
    world.publish(State::Up);
    let waited = waiter.join().unwrap();
    assert!(waited.satisfied && waited.state == Told::Up && waited.blocking.is_empty());
    assert_eq!(waited.seq, 103);
    until("a free slot", || world.waiters() == 0);
    let metrics = world.get("/metrics");
    assert!(metrics.contains("netmon_wait_requests_total{result=\"satisfied\"} 1\n"));
    // It is told by the task that wrote the answer, which may come to it after the waiter is gone.
    until("how long it took", || world.get("/metrics").contains("netmon_wait_wake_seconds_count 1\n"));
}

#[test]
fn a_wait_that_ends_unfulfilled_says_what_blocks() {
    let mut world = World::new(FRESH);
    world.publish(State::Down);
    let waited = world.client().wait(&wait_for(Condition::Usable, 0, Duration::from_millis(30))).unwrap();
    assert!(!waited.satisfied && waited.state == Told::Down);
    assert_eq!(waited.blocking[0].code, "no_carrier");
    assert!(world.get("/v1/wait?state=up&timeout=10ms").starts_with("HTTP/1.1 409 "));
    let down = world.client().wait(&wait_for(Condition::Down, 0, LONG)).unwrap();
    assert!(down.satisfied);
}

#[test]
fn nobody_is_released_on_unknown_or_stale_state() {
    let mut world = World::new(Duration::from_millis(300));
    let client = world.client();
    for condition in Condition::ALL {
        let waited = client.wait(&wait_for(condition, 0, Duration::from_millis(20))).unwrap();
        assert!(!waited.satisfied && !waited.blocking.is_empty(), "{condition}");
    }
    world.publish(State::Up);
    until("staleness", || world.board.is_stale(Boot::now()));
    let waited = client.wait(&wait_for(Condition::Up, 0, Duration::from_millis(50))).unwrap();
    assert!(!waited.satisfied && waited.state == Told::Unknown);
    assert_eq!(waited.blocking[0].code, "stale");
    assert_eq!(client.status().unwrap().state, Told::Unknown);
    assert!(world.get("/healthz").starts_with("HTTP/1.1 503 "));
    assert!(world.get("/readyz").starts_with("HTTP/1.1 503 "));
    // Evaluated again, though nothing is published: the waiter must find out by itself.
    // Without a time-out, at which it would look once more.
    let waiter = thread::spawn(move || client.wait(&WaitOptions::up()).unwrap());
    until("the waiter", || world.waiters() == 1);
    until("the waiter's release", || {
        world.board.evaluated(Boot::now());
        waiter.is_finished()
    });
    assert!(waiter.join().unwrap().satisfied);
}

#[test]
fn stable_is_counted_from_the_last_change() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let since = Mono::now();
    let waited = world.client().wait(&wait_for(Condition::Up, 300, LONG)).unwrap();
    assert!(waited.satisfied && Mono::now().since(since) >= Duration::from_millis(299));
    // It holds already: at once.
    let again = world.client().wait(&wait_for(Condition::Up, 300, LONG)).unwrap();
    assert!(again.satisfied && again.waited_seconds < 0.25, "{}", again.waited_seconds);

    let client = world.client();
    let waiter = thread::spawn(move || client.wait(&wait_for(Condition::Up, 60_000, LONG)));
    until("the waiter", || world.waiters() == 1);
    world.publish(State::Down);
    thread::sleep(Duration::from_millis(20));
    assert!(!waiter.is_finished());
    world.stop();
    assert!(matches!(waiter.join().unwrap(), Err(Error::Busy { .. } | Error::Disconnected)));
}

#[test]
fn a_wait_may_be_asked_in_any_way_that_http_allows() {
    let mut world = World::new(FRESH);
    let connect = |request: &str| {
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let whole = "GET /v1/wait?state=up HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // One that asks on when it was answered, one that had asked before, one in one piece, one with a header of its own.
    let mut after = connect(whole);
    let mut before = connect(whole);
    let mut pipelined = connect(&format!("{whole}{last}"));
    let mut other = connect(&format!("{}X-Y: z\r\n\r\n", whole.strip_suffix("\r\n").unwrap()));
    other.write_all(last.as_bytes()).unwrap();
    let mut pieces = connect(&whole[..20]);
    until("four waiters", || world.waiters() == 4);
    before.write_all(last.as_bytes()).unwrap();
    pieces.write_all(&whole.as_bytes()[20..]).unwrap();
    pieces.write_all(last.as_bytes()).unwrap();
    until("five waiters", || world.waiters() == 5);
    world.publish(State::Up);
    until("their release", || world.waiters() == 0);
    after.write_all(last.as_bytes()).unwrap();
    for stream in [&mut after, &mut before, &mut pipelined, &mut other, &mut pieces] {
        let answers = read_all(stream);
        assert_eq!(answers.matches("\"satisfied\":true").count(), 1, "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answers}");
        assert!(answers.ends_with("\r\n\r\nup\n"), "{answers}");
    }
    assert!(world.get("/metrics").contains("netmon_wait_requests_total{result=\"satisfied\"} 5\n"));
}

#[test]
fn who_hangs_up_is_missed_however_it_asked() {
    let world = World::new(FRESH);
    for header in ["", "X-Y: z\r\n"] {
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        write!(stream, "GET /v1/wait HTTP/1.1\r\nHost: x\r\n{header}\r\n").unwrap();
        until("the waiter", || world.waiters() == 1);
        drop(stream);
        until("a free place", || world.waiters() == 0);
    }
    assert!(world.get("/metrics").contains("netmon_wait_requests_total{result=\"hangup\"} 2\n"));
}

#[test]
fn a_release_wakes_those_of_its_condition_and_leaves_the_others() {
    let mut world = World::new(FRESH);
    world.publish(State::Down);
    let wait = |query: &str| {
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        write!(stream, "GET /v1/wait?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let queries =
        ["state=up", "state=degraded", "state=usable", "state=up&stable=60s", "state=up&device=eth0"];
    let waiters: Vec<_> = queries.iter().flat_map(|q| (0..20).map(|_| (*q, wait(q)))).collect();
    until("the waiters", || world.waiters() == 100);
    world.publish(State::Down);
    world.publish(State::Up);
    until("their release", || world.waiters() == 40);
    let (released, left): (Vec<_>, Vec<_>) =
        waiters.into_iter().partition(|(q, _)| !q.contains("degraded") && !q.contains("60s"));
    for (query, mut stream) in released {
        assert_eq!(read_all(&mut stream).matches("\"satisfied\":true").count(), 1, "{query}");
    }
    world.publish(State::Degraded);
    until("their release", || world.waiters() == 20);
    drop(left);
    until("nobody", || world.waiters() == 0);
}
