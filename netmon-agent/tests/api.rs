//! The socket API over real sockets: a board, snapshots published by hand, raw connections and the client.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use netmon_agent::{
    health::{AddressStats, Reason, ReasonCode, State, Subject, Verdict},
    observation::{ProbeDetail, ProbeOutcome, StampSource},
    output::api::{self, Options, Server, SocketError},
    state::{AddressView, BACKLOG, Board, ChangeEvent, DeviceView, Snapshot, TargetView},
    time::{Boot, Moment, Mono},
};
use netmon_client::{Client, Condition, Error, EventOptions, Monitor, State as Told, WaitOptions};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// Of a state that is never stale within a test.
const FRESH: Duration = Duration::from_secs(600);

struct World {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    board: Board,
    server: Option<Server>,
    seq: u64,
    verdict: Verdict,
}

impl World {
    fn new(stale_after: Duration) -> Self {
        Self::with(stale_after, |_| {})
    }

    fn with(stale_after: Duration, change: impl FnOnce(&mut Options)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let first = Snapshot { seq: 100, at: Moment::now(), started: Moment::now(), ..Snapshot::default() };
        let board = Board::new(first, stale_after);
        let mut world = Self { runtime, folder, board, server: None, seq: 100, verdict: Verdict::default() };
        world.start(change);
        world
    }

    fn start(&mut self, change: impl FnOnce(&mut Options)) {
        let mut options = Options {
            socket: self.socket(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            heartbeat: Duration::from_millis(50),
            ..Options::default()
        };
        change(&mut options);
        let _inside = self.runtime.enter();
        self.server = Some(api::start(self.board.clone(), options).unwrap());
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("netmon.sock")
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    fn publish(&mut self, state: State) {
        let now = Moment::now();
        let previous = self.verdict.state;
        let reasons = match state {
            State::Up => vec![],
            _ => vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")],
        };
        let changed = self.verdict.update(now, state, reasons.clone());
        self.seq += u64::from(changed);
        let subject = Subject::Network;
        let change =
            ChangeEvent { seq: self.seq, at: now.boot, subject, previous, state, reasons, diagnosis: None };
        let device =
            DeviceView { name: "eth0".into(), verdict: self.verdict.clone(), ..DeviceView::default() };
        let snapshot = Snapshot {
            seq: self.seq,
            at: now,
            started: now,
            verdict: self.verdict.clone(),
            devices: vec![Arc::new(device)],
            ..Snapshot::default()
        };
        self.board.publish(snapshot, changed.then_some(change));
    }

    fn waiters(&self) -> i64 {
        self.server.as_ref().unwrap().own().wait_clients.get()
    }

    /// Sends a request as it stands and returns all that comes until the server closes.
    fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let _ = stream.write_all(request.as_bytes());
        read_all(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_all(stream: &mut impl Read) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Mono::now() + LONG;
    while !condition() {
        assert!(Mono::now() < deadline, "{what} never came about");
        thread::sleep(Duration::from_millis(2));
    }
}

fn wait_for(condition: Condition, stable: u64, timeout: Duration) -> WaitOptions {
    let stable = Duration::from_millis(stable);
    WaitOptions { condition, stable, timeout: Some(timeout), ..WaitOptions::default() }
}

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
    assert!(metrics.contains("netmon_wait_wake_seconds_count 1\n"));
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
fn bad_questions_are_answered_with_what_there_is() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let unknown = WaitOptions { device: Some("eth1".into()), ..WaitOptions::up() };
    assert!(matches!(world.client().wait(&unknown), Err(Error::NotFound(w)) if w.contains("eth0")));
    let device = WaitOptions { device: Some("eth0".into()), ..WaitOptions::up() };
    assert!(world.client().wait(&device).unwrap().satisfied);
    let expected = [
        ("/v1/wait?stat=up", "400 ", "state, stable, timeout, device, target"),
        ("/v1/wait?state=fine", "400 ", "up, usable, down, degraded"),
        ("/v1/wait?stable=5", "400 ", "10s"),
        ("/v1/wait?target=x", "404 ", "no target"),
        ("/v1/events?every=1", "400 ", "all"),
        ("/v1/nothing", "404 ", "/v1/status"),
        ("/healthz", "200 ", "ok"),
        ("/readyz", "200 ", "up"),
        ("/", "200 ", "<title>netmon: up</title>"),
    ];
    for (path, code, words) in expected {
        let answer = world.get(path);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(words),
            "{path}: {answer}"
        );
    }
    // HEAD ends with the head, which is all that is asked for here.
    for (id, code) in [("", "200 "), ("12", "200 "), ("12x", "400 "), ("-1", "400 ")] {
        let head = format!(
            "HEAD /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nLast-Event-ID: {id}\r\n\r\n"
        );
        assert!(world.raw(&head).starts_with(&format!("HTTP/1.1 {code}")), "{id:?}");
    }
    let posted =
        world.raw("POST /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("\"error\""));
}

#[test]
fn the_retry_budget_is_asked_by_post_and_nothing_else_is() {
    let small = netmon_agent::budget::Settings { tokens: 20, per_second: 0.001, ..Default::default() };
    let world = World::with(FRESH, |o| o.retry = small);
    let ask = |method: &str, path: &str| {
        world.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    let asked = "/v1/retry-budget?kind=transient";
    for (method, path, code, words) in [
        ("POST", asked, "200 ", "\"granted\":true,\"cost\":14,\"tokens\":6,\"retry_after\":0"),
        ("POST", asked, "409 ", "\"granted\":false,\"cost\":14,\"tokens\":6"),
        ("POST", "/v1/retry-budget?kind=throttle", "200 ", "\"tokens\":1,"),
        ("POST", "/v1/retry-budget?kind=success&cost=14", "200 ", "\"tokens\":15,"),
        ("POST", "/v1/retry-budget", "400 ", "kind= is missing"),
        ("GET", asked, "405 ", "POST only"),
        ("PUT", asked, "405 ", "POST only"),
        ("DELETE", asked, "405 ", "POST only"),
        ("POST", "/v1/status", "405 ", "GET only"),
        ("POST", "/v1/wait", "405 ", "GET only"),
        ("POST", "/v1/events", "405 ", "GET only"),
        ("POST", "/metrics", "405 ", "GET only"),
        ("POST", "/", "405 ", "GET only"),
        ("POST", "/v1/nothing", "404 ", "/v1/retry-budget"),
    ] {
        let answer = ask(method, path);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(words),
            "{method} {path}: {answer}"
        );
    }
    let refused = ask("POST", "/v1/retry-budget?kind=transient");
    assert!(refused.starts_with("HTTP/1.1 200 "), "what came back is there: {refused}");
    let again = ask("POST", "/v1/retry-budget?kind=transient");
    let wait = again.lines().find_map(|l| l.strip_prefix("retry-after: ")).unwrap();
    assert!(wait.parse::<u64>().unwrap() > 1000, "{again}");
    let metrics = world.get("/metrics");
    for line in [
        "netmon_retry_budget_requests_total{result=\"granted\"} 3",
        "netmon_retry_budget_requests_total{result=\"refused\"} 2",
        "netmon_retry_budget_requests_total{result=\"returned\"} 1",
        "netmon_retry_budget_requests_total{result=\"bad_request\"} 1",
        "netmon_retry_budget_tokens 1.",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Over TCP, whoever that is has no part in it.
    let mut stream = TcpStream::connect(world.server.as_ref().unwrap().tcp()[0]).unwrap();
    write!(stream, "POST {asked} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 403 "));
}

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

#[test]
fn a_subscriber_that_does_not_read_is_cut_and_holds_nobody_up() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let mut deaf = UnixStream::connect(world.socket()).unwrap();
    deaf.write_all(b"GET /v1/events?all=1 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let subscribers = |world: &World| world.server.as_ref().unwrap().own().event_clients.get();
    until("the subscriber", || subscribers(&world) == 1);
    let started = Mono::now();
    while subscribers(&world) == 1 {
        assert!(Mono::now().since(started) < LONG, "it was never cut");
        world.publish(State::Down);
        world.publish(State::Up);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(world.client().wait(&wait_for(Condition::Up, 0, LONG)).unwrap().satisfied);
}

#[test]
fn tcp_reads_and_does_not_wait() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let address = world.server.as_ref().unwrap().tcp()[0];
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        read_all(&mut stream)
    };
    let metrics = get("/metrics");
    assert!(
        metrics.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n")
    );
    assert!(metrics.contains("\nnetmon_state{state=\"up\"} 1\n"));
    assert!(get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(get("/v1/wait?state=up").starts_with("HTTP/1.1 403 "));
    // Sixty-four are served; more are sent away.
    let held: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    until("a full house", || {
        let mut more = TcpStream::connect(address).unwrap();
        more.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        read_all(&mut more).starts_with("HTTP/1.1 503 ")
    });
    drop(held);
    until("room again", || get("/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_busy_port_is_said_and_the_socket_works_all_the_same() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let world = World::with(FRESH, |o| o.listen = vec![address]);
    let capability = &world.server.as_ref().unwrap().capabilities()[0];
    assert!(!capability.ok && capability.detail.contains(&address.to_string()));
    assert!(capability.remedy.contains(&format!("ss -ltnp 'sport = :{}'", address.port())));
    world.client().status().unwrap();
}

#[test]
fn the_socket_file_is_ours_alone() {
    let mut world = World::new(FRESH);
    let start = |socket: PathBuf| {
        let _inside = world.runtime.enter();
        api::start(world.board.clone(), Options { socket, ..Options::default() })
    };
    assert!(matches!(start(world.socket()), Err(SocketError::InUse(_))));
    let file = world.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(start(file.clone()), Err(SocketError::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    world.stop();
    assert!(!world.socket().exists());
    // A socket left by an agent that was killed.
    drop(std::os::unix::net::UnixListener::bind(world.socket()).unwrap());
    world.start(|_| {});
    world.client().status().unwrap();
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

#[test]
fn shutting_down_answers_everybody_in_time() {
    let mut world = World::new(FRESH);
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let client = world.client();
            thread::spawn(move || client.wait(&WaitOptions::up()))
        })
        .collect();
    let mut events = world.client().events(EventOptions::default());
    events.next().unwrap().unwrap();
    let silent = UnixStream::connect(world.socket()).unwrap();
    until("fifty waiters", || world.waiters() == 50);
    let started = Mono::now();
    world.stop();
    assert!(Mono::now().since(started) < Duration::from_secs(10));
    for waiter in waiters {
        assert!(matches!(waiter.join().unwrap(), Err(Error::Busy { .. })));
    }
    assert!(events.next().unwrap().is_err());
    assert!(!world.socket().exists());
    drop(silent);
}

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

#[test]
fn a_crowd_is_released_once_each() {
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(4096);
    if soft < wanted {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    }
    assert!(release(1000) < LONG);
}

#[test]
fn a_state_of_many_targets_is_told_to_many_at_once() {
    let world = World::new(FRESH);
    let target = |n: u32| {
        let mut stats = AddressStats::default();
        let rtt = Duration::from_micros(100 + u64::from(n));
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
        stats.record(Moment::now().mono, &reply);
        let address = AddressView {
            address: [10, 0, 0, 1].into(),
            state: State::Up,
            stats: Arc::new(stats),
            detail: ProbeDetail::default(),
        };
        let name = format!("t{n}").into();
        Arc::new(TargetView { name, addresses: vec![address], ..TargetView::default() })
    };
    let at = Moment::now();
    let targets = (0..300).map(target).collect();
    world.board.publish(Snapshot { seq: 101, at, targets, ..Snapshot::default() }, []);
    let socket = world.socket();
    let ask = move || Client::new(&socket).status().unwrap().targets;
    let askers: Vec<_> = (0..8).map(|_| thread::spawn(ask.clone())).collect();
    for asker in askers {
        let targets = asker.join().unwrap();
        assert_eq!(targets.len(), 300);
        let of_last = &targets[299].addresses[0];
        assert_eq!((of_last.replies, of_last.ttl), (1, Some(64)));
        for window in of_last.windows.values() {
            assert_eq!((window.probes, window.max_ns), (1, Some(399_000)));
        }
        assert_eq!(of_last.windows.keys().collect::<Vec<_>>(), ["1h", "1m", "5m"]);
    }
}
