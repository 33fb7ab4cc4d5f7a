//! Connections that programs report, over real sockets: requests as they stand, and the client's supervisor.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use netmon_agent::{
    output::api::{self, Options, Server},
    state::{Board, Snapshot},
    time::{Moment, Mono},
};
use netmon_client::{
    Client, EventOptions,
    supervise::{SuperviseOptions, Supervisor},
    wire::{Connection, ConnectionEvent, ConnectionState},
};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(30);

struct World {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    board: Board,
    server: Option<Server>,
}

impl World {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let first = Snapshot { seq: 100, at: Moment::now(), started: Moment::now(), ..Snapshot::default() };
        let board = Board::new(first, Duration::from_secs(600));
        let mut world = Self { runtime, folder, board, server: None };
        world.start();
        world
    }

    fn start(&mut self) {
        let options = Options {
            socket: self.socket(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            heartbeat: Duration::from_millis(50),
            ..Options::default()
        };
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

    fn connections(&self) -> Vec<Connection> {
        self.client().status().unwrap().connections
    }

    /// The body of an answer.
    fn get(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn reporter(&self) -> Program {
        Program(BufReader::new(UnixStream::connect(self.socket()).unwrap()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A connection to the agent, kept open.
struct Program(BufReader<UnixStream>);

impl Program {
    /// Sends a request and reads the answer: status and body.
    fn ask(&mut self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        answer(&mut self.0)
    }

    fn put(&mut self, name: &str, body: &str) -> (u16, String) {
        self.ask(&format!("PUT /v1/connections/{name}"), "", body)
    }
}

fn answer(from: &mut impl BufRead) -> (u16, String) {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, String::from_utf8(body).unwrap())
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Mono::now() + LONG;
    while !condition() {
        assert!(Mono::now() < deadline, "{what} never came about");
        thread::sleep(Duration::from_millis(2));
    }
}

const CONNECTED: &str = r#"{"client":"backup","state":"connected"}"#;

#[test]
fn a_report_is_shown_everywhere_and_goes_with_its_reporter() {
    let world = World::new();
    let mut program = world.reporter();
    let full = r#"{"client":"backup","state":"error","state_seconds":60,"attempts":3,"reconnects":2,
        "last_error":"refused\nby <peer>","last_success_seconds":61.5,"uptime_ratio":0.25}"#;
    assert_eq!(program.put("v%20center", full), (200, "{\"ok\":true}\n".into()));
    assert_eq!(program.put("other", CONNECTED).0, 200);
    let told = world.connections();
    assert_eq!(told.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["other", "v center"]);
    let one = &told[1];
    assert_eq!((one.client.as_str(), one.state), ("backup", ConnectionState::Error));
    assert_eq!((one.attempts, one.reconnects, one.uptime_ratio), (3, 2, Some(0.25)));
    assert_eq!(one.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(one.last_error.as_deref(), Some("refused by <peer>"));
    let age = netmon_agent::time::Boot::now().as_nanos() - one.since_boottime_ns;
    assert!((60_000_000_000..90_000_000_000).contains(&age), "{age}");
    assert!(one.since.ends_with('Z') && one.last_success.as_ref().unwrap() < &one.since);

    let metrics = world.get("/metrics");
    for line in [
        "netmon_client_connection_state{client=\"backup\",connection=\"v center\",state=\"error\"} 1\n",
        "netmon_client_connection_state{client=\"backup\",connection=\"v center\",state=\"connected\"} 0\n",
        "netmon_client_connection_state{client=\"backup\",connection=\"other\",state=\"connected\"} 1\n",
        "netmon_client_connection_reconnects_total{client=\"backup\",connection=\"v center\"} 2\n",
        "netmon_client_connection_uptime_ratio{client=\"backup\",connection=\"v center\"} 0.25\n",
        "netmon_client_reports_total{result=\"ok\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    assert!(world.get("/").contains("refused by &lt;peer&gt;"));

    // Another connection is another program: it takes nothing away, and gives nothing up.
    let mut other = world.reporter();
    assert_eq!(other.put("other", CONNECTED).0, 409);
    assert_eq!(other.ask("DELETE /v1/connections/other", "", "").0, 404);
    assert_eq!(program.ask("DELETE /v1/connections/other", "", "").0, 200);
    assert_eq!(other.put("other", CONNECTED).0, 200);
    drop(program);
    until("the end of the first", || world.connections().len() == 1);
    let metrics = world.get("/metrics");
    assert!(!metrics.contains("v center") && metrics.contains("connection=\"other\""));
    drop(other);
    until("the end of the second", || !world.get("/metrics").contains("netmon_client_connection_state"));
}

#[test]
fn what_is_no_report_is_refused_with_what_to_do() {
    let world = World::new();
    let mut program = world.reporter();
    for (line, body, status, words) in [
        ("PUT /v1/connections/a", "", 400, "\"state\":\"connected\""),
        ("PUT /v1/connections/a", r#"{"client":"c","state":"fine"}"#, 400, "disconnected"),
        ("PUT /v1/connections/a", r#"{"client":"c","state":"error","x":1}"#, 400, "`x`"),
        ("PUT /v1/connections/a", r#"{"client":"","state":"error"}"#, 400, "client \"\""),
        ("PUT /v1/connections/a%0Ab", CONNECTED, 400, "control characters"),
        ("PUT /v1/connections/a%ff", CONNECTED, 400, "UTF-8"),
        ("PUT /v1/connections/", CONNECTED, 404, "/v1/connections/NAME"),
        ("PUT /v1/connections/a/b", CONNECTED, 404, "/v1/connections/NAME"),
        ("GET /v1/connections/a", "", 405, "/v1/status"),
        ("POST /v1/connections/a", CONNECTED, 405, "PUT"),
        ("DELETE /v1/connections/a", "", 404, "over this connection"),
    ] {
        let (told, said) = program.ask(line, "", body);
        let said = said.replace("\\\"", "\"");
        assert!(told == status && said.contains(words), "{line} {body}: {told} {said}");
    }
    let (status, said) = world.reporter().ask("PUT /v1/connections/a", "Connection: close\r\n", CONNECTED);
    assert!(status == 400 && said.contains("keep it open"), "{said}");
    let long = format!(r#"{{"client":"c","state":"error","last_error":"{}"}}"#, "x".repeat(5000));
    let (status, said) = world.reporter().put("a", &long);
    assert!(status == 413 && said.contains("4096"), "{said}");
    assert!(world.connections().is_empty());

    // Over TCP, where a browser may be made to ask, nothing is reported.
    let address = world.server.as_ref().unwrap().tcp()[0];
    for method in ["PUT", "DELETE"] {
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        let length = CONNECTED.len();
        write!(
            stream.get_mut(),
            "{method} /v1/connections/a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{CONNECTED}"
        )
        .unwrap();
        let (status, said) = answer(&mut stream);
        assert!(status == 403 && said.contains("Unix socket"), "{said}");
    }
    assert!(world.connections().is_empty());
    assert!(world.get("/metrics").contains("netmon_client_reports_total{result=\"ok\"} 0\n"));
}

#[test]
fn who_reports_too_much_is_held_back_and_keeps_what_it_has() {
    let world = World::new();
    let mut program = world.reporter();
    let told: Vec<u16> = (0..70).map(|n| program.put(&format!("c{n}"), CONNECTED).0).collect();
    assert_eq!((told[63], told[64]), (200, 503));
    let (status, said) = program.put("c64", CONNECTED);
    assert!(status == 503 && said.contains("64 connections"), "{said}");
    let fast = (0..2000).map(|_| program.put("c0", CONNECTED).0).find(|status| *status != 200);
    assert_eq!(fast, Some(429));
    assert_eq!(world.connections().len(), 64);
    let metrics = world.get("/metrics");
    assert!(!metrics.contains("netmon_client_reports_total{result=\"limited\"} 0\n"));
    drop(program);
    until("their end", || world.connections().is_empty());
}

#[test]
fn a_reporter_may_idle_and_others_may_not() {
    let world = World::new();
    let mut program = world.reporter();
    // As a program does that asks first, and reports over the same connection.
    assert_eq!(program.ask("GET /v1/status", "", "").0, 200);
    assert_eq!(program.put("a", CONNECTED).0, 200);
    let mut idle = world.reporter();
    assert_eq!(idle.ask("GET /v1/status", "", "").0, 200);
    // The header's time of five seconds counts from the last answer.
    let started = Mono::now();
    idle.0.get_ref().set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(idle.0.read(&mut [0]).unwrap(), 0);
    assert!(Mono::now().since(started) > Duration::from_secs(3));
    thread::sleep(Duration::from_secs(1));
    assert_eq!(world.connections().len(), 1);
    assert_eq!(program.ask("DELETE /v1/connections/a", "", "").0, 200);
}

/// Reads server-sent events: the kind and the data of each.
struct Stream(BufReader<UnixStream>);

impl Stream {
    fn open(world: &World, query: &str) -> Self {
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET /v1/events{query} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    fn next(&mut self) -> (String, String, bool) {
        let (mut kind, mut has_id) = (String::new(), false);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0);
            has_id |= line.starts_with("id:");
            if let Some(word) = line.strip_prefix("event: ") {
                kind = word.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (kind, data.trim().to_owned(), has_id);
            }
        }
    }

    fn connections(&mut self) -> ConnectionEvent {
        loop {
            let (kind, data, has_id) = self.next();
            if kind.starts_with("connection") {
                assert!(!has_id, "it would be resumed from a number of another kind");
                let event: ConnectionEvent = serde_json::from_str(&data).unwrap();
                assert_eq!(event.kind, kind);
                return event;
            }
        }
    }
}

#[test]
fn changes_of_connections_come_to_those_who_ask_for_them_alone() {
    let world = World::new();
    let mut program = world.reporter();
    program.put("a", CONNECTED);
    let mut stream = Stream::open(&world, "?connections=1");
    let first = stream.connections();
    assert_eq!((first.kind.as_str(), first.connections.len()), ("connections", 1));
    let mut plain = Stream::open(&world, "");
    let mut client = world.client().events(EventOptions::default());
    assert_eq!((plain.next().0, client.next().unwrap().unwrap().kind), ("state".into(), "state".into()));

    program.put("a", CONNECTED);
    program.put("a", r#"{"client":"backup","state":"error","last_error":"reset"}"#);
    let change = stream.connections();
    assert_eq!((change.kind.as_str(), change.gone), ("connection", false));
    assert_eq!(change.connections[0].last_error.as_deref(), Some("reset"));
    drop(program);
    let gone = stream.connections();
    assert!(gone.gone && gone.connections[0].state == ConnectionState::Error);

    world.board.publish(Snapshot { seq: 101, at: Moment::now(), ..Snapshot::default() }, []);
    world.board.set_stale_after(Duration::ZERO);
    assert_eq!((plain.next().0, client.next().unwrap().unwrap().kind), ("gap".into(), "gap".into()));
    assert!(world.get("/v1/events?connections=2").contains("400"));
}

#[test]
fn a_supervisor_reports_and_reports_again_to_the_next_agent() {
    let mut world = World::new();
    let made = Arc::new(AtomicUsize::new(0));
    let supervisor = Supervisor::without_agent().unwrap();
    let mut options = SuperviseOptions::default();
    options.policy.initial = Duration::from_millis(10);
    let count = made.clone();
    let connect = move || Ok::<_, String>(count.fetch_add(1, SeqCst));
    let link = supervisor.supervise_with("link", options, connect, |_| Ok::<_, String>(()), |_| {}).unwrap();
    supervisor.report_to(&world.client(), "test \"1\"").unwrap();
    let shown = |world: &World, state| {
        until("the report", || {
            let told = world.connections();
            told.len() == 1 && told[0].state == state && told[0].client == "test \"1\""
        });
    };
    shown(&world, ConnectionState::Connected);
    link.failed(&link.wait(Some(LONG)).unwrap(), "lost");
    until("the next", || made.load(SeqCst) == 2);
    shown(&world, ConnectionState::Connected);
    assert_eq!(world.connections()[0].reconnects, 1);
    until("word of it", || supervisor.report_state().is_some_and(|s| s.connected && s.reported == 1));

    world.stop();
    world.start();
    shown(&world, ConnectionState::Connected);
    link.stop();
    shown(&world, ConnectionState::Stopped);
    drop(link);
    until("its end", || world.connections().is_empty());
    let other = supervisor.supervise("other", || Err::<(), _>("refused"), |()| Ok::<_, String>(())).unwrap();
    until("an error", || world.connections().iter().any(|c| c.last_error.as_deref() == Some("refused")));
    drop(supervisor);
    until("its end", || world.connections().is_empty());
    assert_eq!(other.state(), ConnectionState::Stopped);
}
