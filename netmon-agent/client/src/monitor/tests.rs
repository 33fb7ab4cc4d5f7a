//! The monitor beside a fake agent.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{subscription::CAPACITY, *};
use crate::{
    events::tests::{HEAD, event},
    fake::Fake,
    wire::Change,
};

const LONG: Option<Duration> = Some(Duration::from_secs(20));

/// A header of an agent that stamps.
fn stamping(stale_after_ms: u64) -> String {
    let more = format!(
        "\r\nNetmon-Stale-After-Ms: {stale_after_ms}\r\nNetmon-Boottime-Ns: {}\r\n\r\n",
        clock::boot()
    );
    HEAD.replace("\r\n\r\n", &more)
}

fn stamp() -> String {
    format!(":at {}\n\n", clock::boot())
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = clock::after(Duration::from_secs(20)).unwrap();
    while !look() {
        assert!(clock::left(deadline).is_some(), "{what} never came about");
        thread::yield_now();
    }
}

fn next(updates: &Subscription) -> Update {
    updates.recv_timeout(Duration::from_secs(20)).expect("an update")
}

fn change(update: &Update) -> Arc<Change> {
    match update {
        Update::Change(change) => change.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn follows_the_agent() {
    let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "up")), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    assert!(monitor.is_up() && monitor.is_usable() && monitor.is_connected());
    let updates = monitor.subscribe();
    fake.say(&event(2, "down"));
    assert!(monitor.wait_for(Condition::Down, Duration::from_millis(20), LONG));
    assert_eq!(monitor.state(), State::Down);
    assert_eq!(change(&next(&updates)).seq, 2);
    assert!(!monitor.wait_for(Condition::Up, Duration::ZERO, Some(Duration::from_millis(20))));
    fake.say(&event(3, "degraded"));
    assert!(monitor.wait_for(Condition::Usable, Duration::ZERO, LONG));
    assert!(!monitor.is_up());
}

#[test]
fn a_state_waits_for_its_stamp() {
    let fake = Fake::start(vec![(format!("{}{}{}", stamping(6000), event(1, "up"), stamp()), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    assert!(monitor.is_up());
    let updates = monitor.subscribe();
    // Passed already when it is read: nobody is released on it.
    fake.say(&format!("{}{}", event(2, "down"), event(3, "up")));
    assert_eq!((change(&next(&updates)).seq, change(&next(&updates)).seq), (2, 3));
    assert!(!monitor.wait_for(Condition::Down, Duration::ZERO, Some(Duration::from_millis(20))));
    fake.say(&stamp());
    assert!(monitor.wait_for(Condition::Up, Duration::ZERO, LONG));
}

#[test]
fn says_unknown_without_an_agent_and_when_it_goes() {
    let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "up")), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    assert!(monitor.is_up());
    let updates = monitor.subscribe();
    fake.hang_up();
    until("unknown", || monitor.state() == State::Unknown);
    assert_eq!(next(&updates), Update::Lost);
    until("its failures", || monitor.connection().failures >= 2);
    let connection = monitor.connection();
    assert!(!connection.connected && connection.last_error.is_some() && connection.reconnects == 0);
    assert_eq!(updates.try_recv(), None, "told once");
    let nobody = Monitor::connect(fake.path().with_extension("none")).unwrap();
    assert_eq!(nobody.state(), State::Unknown);
    assert!(matches!(&*nobody.connection().last_error.unwrap(), Error::NoAgent { .. }));
}

#[test]
fn says_unknown_when_the_agent_falls_silent() {
    for head in [HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 60\r\n\r\n"), stamping(60)] {
        let fake = Fake::start(vec![(format!("{head}{}{}", event(1, "up"), stamp()), true)]);
        let monitor = Monitor::connect(fake.path()).unwrap();
        until("the silence", || monitor.state() == State::Unknown);
        assert!(!monitor.wait_for(Condition::Up, Duration::ZERO, Some(Duration::from_millis(1))));
    }
}

#[test]
fn says_unknown_when_its_own_thread_does_not_run() {
    let fake = Fake::start(vec![(format!("{}{}{}", stamping(60), event(1, "up"), stamp()), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    // Whoever holds this lock holds the thread up, and nothing but the clock can tell.
    monitor.shared.wait(LONG, |shared, _| {
        until("the silence", || shared.state() == State::Unknown);
        Ok::<_, Option<Duration>>(())
    });
}

#[test]
fn comes_back_and_says_what_was_missed() {
    let fake = Fake::start(vec![
        (format!("{}{}{}", stamping(6000), event(1, "up"), stamp()), true),
        (format!("{}{}{}", stamping(6000), event(5, "down"), stamp()), true),
        (format!("{}{}", stamping(6000), stamp()), true),
    ]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    let updates = monitor.subscribe();
    fake.hang_up();
    assert_eq!(next(&updates), Update::Lost);
    assert_eq!(change(&next(&updates)).seq, 5);
    assert_eq!(next(&updates), Update::Resumed(State::Down));
    assert!(!fake.request().contains("Last-Event-ID"));
    assert!(fake.request().contains("Last-Event-ID: 1\r\n"));
    fake.hang_up();
    assert_eq!((next(&updates), next(&updates)), (Update::Lost, Update::Resumed(State::Down)));
    assert!(fake.request().contains("Last-Event-ID: 5\r\n"));
    assert_eq!(monitor.connection().reconnects, 2);
}

#[test]
fn every_update_is_asked_for_while_somebody_wants_them() {
    let update = |seq| event(seq, "up").replace("\"kind\":\"state\"", "\"kind\":\"update\"");
    let fake = Fake::start(vec![
        (format!("{}{}{}", stamping(60_000), event(1, "up"), stamp()), true),
        (format!("{}{}{}", stamping(60_000), stamp(), update(1)), true),
        (format!("{}{}", stamping(60_000), stamp()), true),
    ]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    assert!(fake.request().starts_with("GET /v1/events HTTP"));
    let (changes, all) = (monitor.subscribe(), monitor.subscribe_all());
    let asked = fake.request();
    assert!(asked.starts_with("GET /v1/events?all=1 HTTP") && asked.contains("Last-Event-ID: 1\r\n"));
    assert_eq!(change(&next(&all)).kind, "update");
    assert!(monitor.is_up(), "asking anew loses nothing");
    drop(all);
    fake.say(&update(1));
    assert!(fake.request().starts_with("GET /v1/events HTTP"));
    assert_eq!(changes.try_recv(), None);
    assert!(monitor.is_up() && monitor.connection().failures == 0);
}

#[test]
fn a_slow_subscriber_is_told_how_much_it_missed() {
    let fake = Fake::start(vec![(format!("{}{}{}", stamping(60_000), event(1, "up"), stamp()), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    let (slow, quick) = (monitor.subscribe(), monitor.subscribe());
    let many = 3 * CAPACITY as u64;
    let seen = thread::spawn(move || quick.filter(|u| matches!(u, Update::Change(_))).count());
    for seq in 2..2 + many {
        fake.say(&event(seq, if seq % 2 == 0 { "down" } else { "up" }));
    }
    // That all of it came, another subscriber sees.
    let last = monitor.subscribe();
    fake.say(&event(2 + many, "degraded"));
    while change(&next(&last)).seq != 2 + many {}
    assert_eq!(next(&slow), Update::Lagged(2 * CAPACITY as u64 + 1));
    let kept: Vec<u64> = std::iter::from_fn(|| slow.try_recv()).map(|u| change(&u).seq).collect();
    assert_eq!((kept.len(), kept.last()), (CAPACITY, Some(&(2 + many))));
    assert!(kept.windows(2).all(|w| w[1] == w[0] + 1));
    // As quick as this thread lets it be; what it missed, if anything, it was told.
    drop(monitor);
    assert!(seen.join().unwrap() > 0);
    assert_eq!(slow.recv(), None);
}

#[test]
fn dropping_it_ends_what_waits_for_it_and_does_not_wait_for_the_agent() {
    let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "up")), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    let updates = monitor.subscribe();
    let waiting = thread::spawn(move || updates.count());
    let before: Instant = clock::now();
    drop(monitor);
    // The silence that ends a read by itself is 6 s.
    assert!(clock::now().duration_since(before) < Duration::from_secs(4));
    assert_eq!(waiting.join().unwrap(), 0);
}

#[test]
fn a_wait_for_a_device_goes_on_at_the_next_agent() {
    let answer =
        |code: &str, body: &str| format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let satisfied = r#"{"satisfied":true,"state":"up","seq":4,"waited_seconds":0.0,"blocking":[]}"#;
    let fake = Fake::new(vec![
        String::new(),
        answer("503 Busy", r#"{"error":"the agent is shutting down"}"#)
            .replace("\r\n\r\n", "\r\nRetry-After: 0\r\n\r\n"),
        answer("200 OK", satisfied),
    ]);
    let client = Client::new(fake.path());
    let options = WaitOptions { device: Some("eth0".into()), timeout: LONG, ..WaitOptions::up() };
    assert!(client.wait_through(&options).unwrap().satisfied);
    for _ in 0..3 {
        assert!(fake.request().starts_with("GET /v1/wait?state=up&device=eth0&timeout="));
    }
    let none = WaitOptions { timeout: Some(Duration::from_millis(150)), ..WaitOptions::up() };
    assert!(client.wait_through(&none).unwrap_err().is_transient());
}

#[test]
fn subscriptions_that_are_gone_are_not_kept_where_nothing_happens() {
    let fake = Fake::start(vec![(stamping(60_000), true)]);
    let monitor = Monitor::connect(fake.path()).unwrap();
    let held = monitor.subscribe();
    (0..100).for_each(|_| drop(monitor.subscribe()));
    assert!(monitor.shared.subscribers() <= 2);
    drop(held);
}
