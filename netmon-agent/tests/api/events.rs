//! Changes as server-sent events.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use netmon_agent::{
    health::State,
    state::BACKLOG,
    time::{Boot, Mono},
};
use netmon_client::{Condition, EventOptions, Monitor, State as Told, wire::Change};

use crate::world::{FRESH, LONG, World, until, wait_for};

#[test]
fn a_subscriber_that_does_not_read_is_cut_and_holds_nobody_up() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let mut deaf = UnixStream::connect(world.socket()).unwrap();
    deaf.write_all(b"GET /v1/events?all=1 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    until("the subscriber", || world.subscribers() == 1);
    let started = Mono::now();
    while world.subscribers() == 1 {
        assert!(Mono::now().since(started) < LONG, "it was never cut");
        world.publish(State::Down);
        world.publish(State::Up);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(world.client().wait(&wait_for(Condition::Up, 0, LONG)).unwrap().satisfied);
}

#[test]
fn events_come_in_order_and_resume() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let mut events = world.client().events(EventOptions::default());
    let first = events.next().unwrap().unwrap();
    assert_eq!((first.seq, first.state, first.previous), (101, Told::Up, Told::Up));
    for state in [State::Down, State::Degraded, State::Up] {
        world.publish(state);
    }
    let told: Vec<_> = events.by_ref().take(3).map(|e| e.unwrap()).map(|e| (e.seq, e.state)).collect();
    assert_eq!(told, [(102, Told::Down), (103, Told::Degraded), (104, Told::Up)]);
    // What happens while the server is away is told afterwards.
    world.stop();
    world.publish(State::Down);
    world.start(|_| {});
    let mut next = events.filter_map(Result::ok);
    assert_eq!(next.next().map(|e| (e.seq, e.state, e.kind)), Some((105, Told::Down, "state".into())));
    drop(next);

    let mut all = world.client().events(EventOptions { all: true, last_id: Some(105) });
    until("a subscriber", || world.server.as_ref().unwrap().own().event_clients.get() == 0);
    let publisher = thread::spawn(move || {
        until("a subscriber", || world.server.as_ref().unwrap().own().event_clients.get() == 1);
        world.publish(State::Down);
        world
    });
    assert_eq!(all.next().unwrap().unwrap().kind, "update");
    publisher.join().unwrap();
}

#[test]
fn a_subscriber_who_missed_too_much_gets_the_state_as_it_is() {
    let mut world = World::new(FRESH);
    for _ in 0..BACKLOG {
        world.publish(State::Up);
        world.publish(State::Down);
    }
    for last_id in [3, 105, u64::MAX] {
        let mut events = world.client().events(EventOptions { last_id: Some(last_id), all: false });
        let gap = events.next().unwrap().unwrap();
        assert_eq!((gap.kind.as_str(), gap.seq, gap.state), ("gap", world.seq, Told::Down));
    }
    assert!(world.get("/metrics").contains("\nnetmon_events_dropped_total 3\n"));
}

#[test]
fn a_monitor_follows_through_silence_and_restart() {
    let mut world = World::new(Duration::from_millis(500));
    world.publish(State::Up);
    let monitor = Monitor::connect(world.socket()).unwrap();
    assert!(monitor.is_up());
    world.publish(State::Down);
    assert!(monitor.wait_for(Condition::Down, Duration::ZERO, Some(LONG)));
    // The core falls silent: told, not believed for ever.
    until("unknown", || monitor.state() == Told::Unknown);
    until("down again", || {
        world.board.evaluated(Boot::now());
        monitor.state() == Told::Down
    });
    world.stop();
    until("unknown without an agent", || monitor.state() == Told::Unknown);
    world.start(|_| {});
    until("the state after a restart, though nothing changed", || {
        world.board.evaluated(Boot::now());
        monitor.state() == Told::Down
    });
}

/// Subscribes by hand, after number `last` if there is one.
fn subscribe(world: &World, query: &str, last: Option<u64>) -> UnixStream {
    let mut stream = UnixStream::connect(world.socket()).unwrap();
    let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    write!(stream, "GET /v1/events{query} HTTP/1.1\r\nHost: x\r\n{last}\r\n").unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Reads on until a change with this number or a later one was told: the changes, and what of the next is there already.
fn read_until(stream: &mut UnixStream, seq: u64, mut left: String) -> (Vec<Change>, String) {
    let mut changes: Vec<Change> = Vec::new();
    loop {
        while let Some((line, more)) = left.split_once('\n') {
            if let Some(data) = line.strip_prefix("data: ") {
                changes.push(serde_json::from_str(data).unwrap());
            }
            left = more.to_owned();
        }
        if changes.last().is_some_and(|change| change.seq >= seq) {
            return (changes, left);
        }
        let mut piece = [0; 16 << 10];
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the stream ended before {seq}");
        left.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
}

fn numbers(changes: &[Change]) -> Vec<u64> {
    changes.iter().map(|change| change.seq).collect()
}

#[test]
fn the_backlog_is_told_to_its_very_edge() {
    let mut world = World::new(FRESH);
    let kept = BACKLOG as u64;
    for _ in 0..kept {
        world.publish(State::Up);
        world.publish(State::Down);
    }
    let newest = world.seq;
    // All that is kept, the last one, and nothing new.
    for last in [newest - kept, newest - 1] {
        let (changes, _) = read_until(&mut subscribe(&world, "", Some(last)), newest, String::new());
        assert_eq!(numbers(&changes), (last + 1..=newest).collect::<Vec<_>>());
        assert!(changes.iter().all(|change| change.kind == "state"));
    }
    let mut stream = subscribe(&world, "", Some(newest));
    world.publish(State::Up);
    let (changes, _) = read_until(&mut stream, world.seq, String::new());
    assert_eq!(numbers(&changes), [newest + 1]);
    // One further back is a gap, and then all goes on.
    let mut stream = subscribe(&world, "", Some(world.seq - kept - 1));
    let (changes, left) = read_until(&mut stream, world.seq, String::new());
    assert_eq!((changes.len(), changes[0].kind.as_str(), changes[0].seq), (1, "gap", world.seq));
    world.publish(State::Degraded);
    let (changes, _) = read_until(&mut stream, world.seq, left);
    assert_eq!((changes.len(), changes[0].kind.as_str(), changes[0].seq), (1, "state", world.seq));
}

#[test]
fn numbers_of_an_agent_before_are_a_gap_and_never_another_change() {
    let mut world = World::new(FRESH);
    for state in [State::Up, State::Down, State::Up] {
        world.publish(state);
    }
    let last = world.seq;
    // The next agent: numbers that start further on, and a backlog of its own.
    world.restart_as_new(10_000);
    world.publish(State::Up);
    let first = world.seq;
    let mut stream = subscribe(&world, "", Some(last));
    let (changes, left) = read_until(&mut stream, first, String::new());
    assert_eq!((changes.len(), changes[0].kind.as_str(), changes[0].seq), (1, "gap", first));
    world.publish(State::Down);
    let (changes, _) = read_until(&mut stream, world.seq, left);
    assert_eq!((numbers(&changes), changes[0].kind.as_str()), (vec![first + 1], "state"));
    // Who knows the new agent resumes without one.
    let (changes, _) = read_until(&mut subscribe(&world, "", Some(first)), world.seq, String::new());
    assert_eq!((numbers(&changes), changes[0].kind.as_str()), (vec![first + 1], "state"));
}

#[test]
fn a_reader_that_is_overrun_is_told_of_the_gap_and_goes_on() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let first = world.seq;
    let mut slow = subscribe(&world, "", Some(first));
    // More than the backlog and the socket hold together, in less time than a reader is given.
    for _ in 0..3 * BACKLOG {
        world.publish(State::Down);
        world.publish(State::Up);
    }
    let (changes, left) = read_until(&mut slow, world.seq, String::new());
    let mut expected = first + 1;
    let mut gaps = 0;
    for change in &changes {
        // Each follows the last, or a gap says that some are missing.
        if change.kind == "gap" {
            gaps += 1;
            assert!(change.seq >= expected, "{} after {}", change.seq, expected - 1);
        } else {
            assert_eq!(change.seq, expected);
        }
        expected = change.seq + 1;
    }
    assert!(gaps >= 1 && changes.len() < 6 * BACKLOG, "{gaps} gaps in {} changes", changes.len());
    world.publish(State::Down);
    let (changes, _) = read_until(&mut slow, world.seq, left);
    assert_eq!(numbers(&changes), [world.seq]);
}

#[test]
fn a_thousand_subscribers_are_told_all_in_order() {
    const SUBSCRIBERS: usize = 1000;
    let mut world = World::with(FRESH, |o| o.reserved_descriptors = 64);
    world.publish(State::Up);
    let mut all: Vec<UnixStream> = (0..SUBSCRIBERS)
        .map(|n| subscribe(&world, if n % 2 == 0 { "" } else { "?all=1" }, Some(world.seq)))
        .collect();
    until("the subscribers", || world.subscribers() == SUBSCRIBERS as i64);
    let first = world.seq;
    for _ in 0..25 {
        world.publish(State::Down);
        world.publish(State::Down);
        world.publish(State::Up);
    }
    for (n, stream) in all.iter_mut().enumerate() {
        let (changes, _) = read_until(stream, world.seq, String::new());
        let (updates, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.kind == "update");
        assert_eq!(numbers(&changes), (first + 1..=world.seq).collect::<Vec<_>>(), "subscriber {n}");
        assert!(n % 2 == 1 || updates.is_empty());
    }
    drop(all);
    until("nobody", || world.subscribers() == 0);
}
