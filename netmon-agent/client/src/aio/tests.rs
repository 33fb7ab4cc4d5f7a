//! The async side beside a fake agent.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::{
    Condition, Error, Event, EventOptions, State, Update, WaitOptions, clock,
    events::tests::{HEAD, event},
    fake::Fake,
};

const LONG: Duration = Duration::from_secs(20);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.expect("in time")
}

#[tokio::test]
async fn answers_mean_what_they_mean_to_the_blocking_client() {
    let ask = async |answer: &str| {
        let fake = Fake::new(vec![answer.to_owned()]);
        soon(Client::new(fake.path()).wait(&WaitOptions::up())).await
    };
    let said = "HTTP/1.1 404 Not Found\r\nContent-Length: 17\r\n\r\n{\"error\":\"words\"}";
    assert!(matches!(ask(said).await, Err(Error::NotFound(words)) if words == "words"));
    assert!(matches!(ask("").await, Err(Error::Disconnected)));
    assert!(matches!(ask("HTTP/1.1 200 OK\r\n\r\nnot json").await, Err(Error::Protocol(_))));
    let body = "{\"satisfied\":false,\"state\":\"down\",\"seq\":4,\"waited_seconds\":1.5,\"blocking\":[]}";
    let waited = ask(&format!("HTTP/1.1 409 Conflict\r\n\r\n{body}")).await.unwrap();
    assert!(!waited.satisfied && waited.state == State::Down);
    let nobody = Client::new("/nonexistent/netmon.sock");
    assert!(matches!(nobody.status().await, Err(Error::NoAgent { .. })));
}

#[tokio::test]
async fn a_silent_agent_is_a_timeout() {
    let fake = Fake::silent();
    let options = WaitOptions { timeout: Some(Duration::ZERO), ..WaitOptions::up() };
    assert!(matches!(soon(Client::new(fake.path()).wait(&options)).await, Err(Error::Timeout)));
    let head = HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 50\r\n\r\n");
    let fake = Fake::start(vec![(format!("{head}{}", event(1, "up")), true)]);
    let mut stream = Client::new(fake.path()).event_stream(EventOptions::default()).await.unwrap();
    assert!(matches!(soon(stream.read()).await, Ok(Some(Event::Change(_)))));
    assert!(matches!(soon(stream.read()).await, Err(Error::Timeout)));
}

#[tokio::test]
async fn silence_is_noticed_by_calls_that_are_dropped_before() {
    let head = HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 200\r\n\r\n");
    let fake = Fake::start(vec![(head, true)]);
    let mut stream = Client::new(fake.path()).event_stream(EventOptions::default()).await.unwrap();
    let noticed = soon(async {
        loop {
            if let Ok(read) = timeout(Duration::from_millis(20), stream.read()).await {
                return read;
            }
        }
    });
    assert!(matches!(noticed.await, Err(Error::Timeout)));
    // What came meanwhile is no silence, however late it is asked for.
    let head = HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 50\r\n\r\n");
    let fake = Fake::start(vec![(head, true)]);
    let mut stream = Client::new(fake.path()).event_stream(EventOptions::default()).await.unwrap();
    assert!(timeout(Duration::from_millis(1), stream.read()).await.is_err());
    fake.say(&event(1, "up"));
    std::thread::sleep(Duration::from_millis(100));
    assert!(matches!(soon(stream.read()).await, Ok(Some(Event::Change(_)))));
}

#[tokio::test]
async fn a_call_that_is_dropped_loses_no_change() {
    let text: String = (1..=200).map(|seq| event(seq, "up")).collect();
    // A call that is dropped while it connects takes a connection with it.
    let later = std::iter::repeat_n((format!("{HEAD}{}", event(201, "down")), false), 5000);
    let fake = Fake::start([(HEAD.to_owned(), true)].into_iter().chain(later).collect());
    let mut events = Client::new(fake.path()).events(EventOptions::default());
    assert!(timeout(Duration::from_millis(500), events.next()).await.is_err(), "nothing was said");
    let says = std::thread::spawn(move || {
        // In pieces that are no lines.
        for piece in text.as_bytes().chunks(777) {
            fake.say(str::from_utf8(piece).unwrap());
            std::thread::sleep(Duration::from_micros(300));
        }
        fake.hang_up();
        fake
    });
    let (mut seen, mut lost) = (Vec::new(), 0);
    while seen.len() < 201 {
        // Most of these are dropped while they wait, also while they pause or connect.
        match timeout(Duration::from_micros(100), events.next()).await {
            Ok(Ok(change)) => seen.push(change.seq),
            Ok(Err(_)) => lost += 1,
            Err(_) => {}
        }
    }
    assert_eq!(seen, (1..=201).collect::<Vec<_>>());
    assert!(lost > 0);
    drop(says.join().unwrap());
}

#[tokio::test]
async fn a_monitor_follows_and_comes_back() {
    let stamped = |text: &str| {
        let boot = clock::boot();
        let head = format!("\r\nNetmon-Stale-After-Ms: 60000\r\nNetmon-Boottime-Ns: {boot}\r\n\r\n");
        format!("{}{text}:at {boot}\n\n", HEAD.replace("\r\n\r\n", &head))
    };
    let fake = Fake::start(vec![
        (stamped(&event(1, "up")), true),
        (stamped(&event(2, "down")), true),
        (stamped(""), true),
    ]);
    let monitor = soon(Monitor::connect(fake.path())).await;
    assert!(monitor.is_up() && monitor.is_usable() && monitor.is_connected());
    let mut updates = monitor.subscribe();
    fake.hang_up();
    assert_eq!(soon(updates.recv()).await, Some(Update::Lost));
    assert!(soon(monitor.wait_for(Condition::Down, Duration::ZERO, Some(LONG))).await);
    assert!(matches!(soon(updates.recv()).await, Some(Update::Change(change)) if change.seq == 2));
    assert_eq!(soon(updates.recv()).await, Some(Update::Resumed(State::Down)));
    assert_eq!(monitor.connection().reconnects, 1);
    // Asked for while the stream is at rest: it is asked for anew, and nothing is lost.
    let all = monitor.subscribe_all();
    assert!(fake.request().starts_with("GET /v1/events HTTP"));
    assert!(fake.request().contains("Last-Event-ID: 1\r\n"));
    let again = soon(async {
        while monitor.connection().reconnects < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fake.request()
    });
    assert!(again.await.starts_with("GET /v1/events?all=1 HTTP"));
    assert_eq!((monitor.state(), updates.try_recv()), (State::Down, None));
    drop((monitor, all));
    assert_eq!(soon(updates.recv()).await, None);
}

#[tokio::test]
async fn an_agent_that_falls_silent_is_a_change() {
    let head = HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 60\r\n\r\n");
    let fake = Fake::start(vec![(format!("{head}{}", event(1, "up")), true)]);
    let monitor = soon(Monitor::connect(fake.path())).await;
    assert_eq!(soon(monitor.changed(State::Up)).await, State::Unknown);
    assert!(!monitor.wait_for(Condition::Up, Duration::ZERO, Some(Duration::from_millis(1))).await);
}
