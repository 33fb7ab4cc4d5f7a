//! What anybody writes to the agent's socket or over TCP, in as many connections as he likes, while the state changes.

use std::{cell::RefCell, net::SocketAddr, sync::Arc, time::Duration};

use arbitrary::Arbitrary;
use netmon_agent::{
    health::{Reason, ReasonCode, State, Verdict},
    history::{Jobs, Live, Reader},
    output::api::{Ledger, Options, Server, Web, start},
    state::{Board, DeviceView, Snapshot, TargetView},
    time::{Boot, Moment},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    runtime::Runtime,
    time::timeout,
};

use super::{Input, asked::Request, input, web};

/// Inputs after which a world is made anew: what users may do at their pace, they may do again.
const LIFE: u32 = 256;
/// Connections of one input at most, and what is done in them.
const CONNECTIONS: usize = 4;
const DEEDS: usize = 24;
/// Bytes that are read of an answer: a stream of events has no end.
const MOST: usize = 8 << 20;
/// So many targets that states and metrics are written apart.
const MANY: usize = 220;

#[derive(Arbitrary, Debug)]
struct Visit {
    world: u8,
    deeds: Vec<(u8, Deed)>,
}

/// What is done, over one of the connections or to the state.
#[derive(Arbitrary, Debug)]
enum Deed {
    Ask(Request),
    Any(Vec<u8>),
    /// All but the end of it, which may come later.
    Begin(Request, u8),
    /// A wait, as programs ask.
    Wait(u8, u8),
    /// What anybody reads, by which header.
    Read(u8, u8),
    /// A connection that a program holds, under one of a few names; gone with the third.
    Report(u8, u8, u8),
    /// So many of them at once.
    Reports(u8),
    /// Another's word for who asks (RFC 7617).
    Login(u8),
    Hear,
    /// Nothing more is said over it.
    Close,
    Leave,
    /// The state is another.
    Change(u8),
    /// Time goes on, in tens of milliseconds.
    Pass(u16),
    /// The agent ends, one time of eight.
    Stop(u8),
}

impl Deed {
    /// What is said by it.
    fn bytes(&self) -> Vec<u8> {
        let get = |target: &str, header: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n").into_bytes()
        };
        let put = |name: u8, body: &str| {
            let length = body.len();
            format!(
                "PUT /v1/connections/n{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        match self {
            Self::Ask(request) | Self::Begin(request, _) => request.bytes(),
            Self::Any(bytes) => bytes.clone(),
            Self::Wait(what, how) => {
                let query = of(&WAITS, *what);
                get(&format!("/v1/wait?{query}"), of(&WAITERS, *how))
            }
            Self::Read(what, how) => get(of(&READ, *what), of(&READERS, *how)),
            Self::Report(name, client, state) => {
                let name = name % 4;
                if state % 8 == 7 {
                    return format!("DELETE /v1/connections/n{name} HTTP/1.1\r\nHost: x\r\n\r\n")
                        .into_bytes();
                }
                let state = of(&["connected", "connecting", "disconnected", "error"], *state);
                let more = format!(
                    "\"state_seconds\":{client}.5,\"last_error\":\"a\\u001b\",\"last_success_seconds\":1e9,\"uptime_ratio\":2.0"
                );
                let client = client % 3;
                put(name, &format!("{{\"client\":\"c{client}\",\"state\":\"{state}\",{more}}}")).into_bytes()
            }
            Self::Reports(count) => {
                let one = |name| put(name, "{\"client\":\"many\",\"state\":\"connected\"}");
                (0..*count).map(one).collect::<String>().into_bytes()
            }
            Self::Login(which) => get("/healthz", of(&LOGINS, *which)),
            _ => Vec::new(),
        }
    }
}

fn of<'a>(all: &[&'a str], which: u8) -> &'a str {
    all[usize::from(which) % all.len()]
}

const WAITS: [&str; 10] = [
    "state=up",
    "state=degraded",
    "state=down&timeout=1ms",
    "state=usable&device=eth0",
    "target=a%22b&state=up",
    "state=up&timeout=10s",
    "state=up&stable=1ms",
    "device=none",
    "state=x",
    "state=degraded&target=t1",
];
const WAITERS: [&str; 5] = [
    "",
    "Connection: close\r\n",
    "Netmon-Job: a%20b\r\n",
    // What is left to the HTTP server.
    "X-New: 1\r\n",
    "X-New: 1\r\nNetmon-Job: a\r\nConnection: close\r\n",
];
const READ: [&str; 14] = [
    "/v1/status",
    "/v1/status?only=devices",
    "/v1/events?all=1",
    "/v1/events?connections=1",
    "/v1/events",
    "/metrics",
    "/healthz",
    "/readyz",
    "/",
    "/v1/history?since=1h",
    "/v1/targets",
    "/v1/connections/n1",
    "/v1/retry-budget",
    "/v2",
];
const READERS: [&str; 6] = [
    "",
    "Accept-Encoding: gzip\r\n",
    "Accept: application/openmetrics-text;version=1.0.0\r\n",
    "Last-Event-ID: 1\r\n",
    "Accept: text/event-stream\r\nLast-Event-ID: 0\r\n",
    "Connection: close\r\n",
];
/// alice:a, bob:a, alice:b, and what is no pair.
const LOGINS: [&str; 4] = [
    "Authorization: Basic YWxpY2U6YQ==\r\n",
    "Authorization: Basic Ym9iOmE=\r\n",
    "Authorization: basic YWxpY2U6Yg==\r\n",
    "Authorization: Basic =\r\n",
];

/// What the agent is like that is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Usual,
    /// With many targets.
    Big,
    /// The state was not looked at for long, and nothing is known.
    Stale,
    /// One may wait.
    Full,
    /// Over TCP it asks who is there.
    Guarded,
    /// Over TCP it speaks TLS alone.
    Encrypted,
}

const KINDS: [Kind; 6] = [Kind::Usual, Kind::Big, Kind::Stale, Kind::Full, Kind::Guarded, Kind::Encrypted];

/// An agent's outputs, on a clock that goes on by itself when nothing else is to be done: what takes time takes none.
struct World {
    runtime: Runtime,
    folder: tempfile::TempDir,
    board: Board,
    kind: Kind,
    /// Until it is stopped.
    server: Option<Server>,
    tcp: Option<SocketAddr>,
    played: u32,
}

thread_local! {
    static WORLDS: RefCell<[Option<World>; KINDS.len()]> = const { RefCell::new([const { None }; KINDS.len()]) };
}

fn snapshot(kind: Kind, state: State, seq: u64) -> Snapshot {
    let now = Moment::now();
    let verdict = Verdict {
        state,
        since: now,
        reasons: vec![Reason::new(ReasonCode::Loss, "a\"b", "10 % of 60")],
        ..Verdict::default()
    };
    let device = DeviceView { name: "eth0".into(), verdict: verdict.clone(), ..DeviceView::default() };
    let target = |nth: usize| {
        let name = if nth == 0 { "a\"b".to_owned() } else { format!("t{nth}") };
        Arc::new(TargetView { name: name.as_str().into(), verdict: verdict.clone(), ..TargetView::default() })
    };
    let count = if kind == Kind::Big { MANY } else { 1 };
    Snapshot {
        seq,
        at: now,
        started: now,
        devices: vec![Arc::new(device)],
        targets: (0..count).map(target).collect(),
        verdict,
        ..Snapshot::default()
    }
}

enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Connection {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Unix(stream) => stream,
            Self::Tcp(stream) => stream,
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        // The server may have said enough before it has read all.
        let _ = timeout(Duration::from_millis(1), self.stream().write_all(bytes)).await;
    }

    /// What comes until nothing more does.
    async fn hear(&mut self, said: &mut Vec<u8>) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(Ok(n @ 1..)) = timeout(Duration::from_millis(1), self.stream().read(&mut buffer)).await {
            said.extend_from_slice(&buffer[..n]);
            if said.len() > MOST {
                return;
            }
        }
    }
}

impl World {
    fn new(kind: Kind) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let state = if kind == Kind::Stale { State::Unknown } else { State::Degraded };
        // Real time is what the board goes by.
        let age = if kind == Kind::Stale { Duration::ZERO } else { Duration::from_secs(1 << 30) };
        let board = Board::new(snapshot(kind, state, 1), age);
        let ledger = (kind == Kind::Usual).then(|| Ledger {
            reader: Reader::new(folder.path().join("history.db")),
            live: Live::default(),
            jobs: Jobs::default(),
        });
        let web = match kind {
            Kind::Guarded => Some(format!("basic_auth_users: {{alice: {}}}\n", web::OF_A)),
            Kind::Encrypted => {
                let (certificate, keys) = web::certificate();
                std::fs::write(folder.path().join("cert.pem"), certificate).expect("a file");
                std::fs::write(folder.path().join("key.pem"), keys).expect("a file");
                Some("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n".to_owned())
            }
            _ => None,
        };
        let web = web.map(|text| {
            let path = folder.path().join("web.yml");
            std::fs::write(&path, text).expect("a file");
            Arc::new(Web::read(&path, true).expect("a web configuration"))
        });
        let options = Options {
            web,
            socket: folder.path().join("netmon.sock"),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            max_waiters: if kind == Kind::Full { 1 } else { 100 },
            ledger,
            ..Options::default()
        };
        let inside = runtime.enter();
        let server = start(board.clone(), options).expect("a server");
        drop(inside);
        let tcp = server.tcp().first().copied();
        Self { runtime, folder, board, kind, server: Some(server), tcp, played: 0 }
    }

    async fn connect(&self, over: u8) -> Option<Connection> {
        match self.tcp.filter(|_| over >= 128) {
            Some(address) => TcpStream::connect(address).await.ok().map(Connection::Tcp),
            None => {
                UnixStream::connect(self.folder.path().join("netmon.sock")).await.ok().map(Connection::Unix)
            }
        }
    }

    fn change(&self, to: u8) {
        if self.kind == Kind::Stale {
            return;
        }
        let states = [State::Up, State::Down, State::Degraded, State::Unknown];
        let seq = self.board.snapshot().seq + 1;
        self.board.publish(snapshot(self.kind, states[usize::from(to) % states.len()], seq), []);
    }

    /// Does all that, and gives what each connection was told.
    fn play(&mut self, deeds: &[(u8, Deed)]) -> Vec<Vec<u8>> {
        let server = &mut self.server.take();
        let this = &*self;
        let slots = [(); CONNECTIONS];
        let mut connections = slots.map(|()| None);
        let mut said = slots.map(|()| Vec::new());
        let mut ends = slots.map(|()| Vec::new());
        // The state is degraded, and known to be as of now.
        this.change(2);
        this.runtime.block_on(async {
            for (over, deed) in deeds.iter().take(DEEDS) {
                let which = usize::from(*over) % CONNECTIONS;
                match deed {
                    Deed::Change(to) => {
                        this.change(*to);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    Deed::Pass(tens) => {
                        tokio::time::sleep(Duration::from_millis(10 * u64::from(*tens))).await;
                        continue;
                    }
                    Deed::Stop(when) => {
                        if let Some(server) = server.take_if(|_| when % 8 == 7) {
                            server.shutdown().await;
                        }
                        continue;
                    }
                    _ => {}
                }
                if connections[which].is_none() {
                    connections[which] = this.connect(*over).await;
                }
                let Some(connection) = &mut connections[which] else { continue };
                let said = &mut said[which];
                let end = std::mem::take(&mut ends[which]);
                if !end.is_empty() {
                    connection.say(&end).await;
                }
                match deed {
                    Deed::Begin(_, left) => {
                        let bytes = deed.bytes();
                        let (begin, end) = bytes.split_at(bytes.len().saturating_sub((*left).into()));
                        connection.say(begin).await;
                        ends[which] = end.to_vec();
                    }
                    Deed::Hear => {}
                    Deed::Close => _ = connection.stream().shutdown().await,
                    Deed::Leave => {
                        connections[which] = None;
                        continue;
                    }
                    _ => connection.say(&deed.bytes()).await,
                }
                // What is written apart goes on with the real clock, and no further than it is read.
                if this.kind == Kind::Big || matches!(deed, Deed::Hear) {
                    connection.hear(said).await;
                } else if !matches!(deed, Deed::Begin(..) | Deed::Close) {
                    // It is read before anything else happens.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            for (connection, said) in connections.iter_mut().zip(&mut said) {
                if let Some(connection) = connection {
                    connection.hear(said).await;
                }
            }
        });
        self.server = server.take();
        said.into()
    }

    /// Sends these bytes, and gives what comes until nothing more does.
    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.change(2);
        self.runtime.block_on(async {
            let (mut connection, mut said) = (self.connect(0).await.expect("the server"), Vec::new());
            connection.say(bytes).await;
            connection.hear(&mut said).await;
            said
        })
    }
}

/// In a world of this kind.
fn within<T>(which: usize, play: impl FnOnce(&mut World) -> T) -> T {
    WORLDS.with_borrow_mut(|worlds| {
        let slot = &mut worlds[which];
        if slot.as_ref().is_some_and(|world| world.played >= LIFE || world.server.is_none()) {
            *slot = None;
        }
        let world = slot.get_or_insert_with(|| World::new(KINDS[which]));
        world.played += 1;
        world.board.evaluated(Boot::now());
        play(world)
    })
}

/// What anybody writes: what is answered is HTTP, its JSON is JSON, and nothing is the agent's own mistake.
pub fn request(bytes: &[u8]) {
    let which = match input::<Visit>(bytes) {
        Some(Input::Raw(raw)) => {
            check(&within(0, |world| world.ask(raw)));
            0
        }
        Some(Input::Made(visit)) => {
            // The usual one most of the time.
            let which = Some(usize::from(visit.world) % 16).filter(|nth| *nth < KINDS.len()).unwrap_or(0);
            let said = within(which, |world| world.play(&visit.deeds));
            // An alert or a handshake of TLS (RFC 8446, section 5.1) is none of ours to read.
            let is_tls =
                |said: &[u8]| KINDS[which] == Kind::Encrypted && matches!(said, [0x15 | 0x16, 3, ..]);
            said.iter().filter(|said| !is_tls(said)).for_each(|said| check(said));
            which
        }
        None => return,
    };
    // Whatever that was, the next one is served.
    if bytes.len().is_multiple_of(64) {
        let next = within(which, |world| world.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"));
        let expected: &[u8] = if KINDS[which] == Kind::Stale { b"HTTP/1.1 503 " } else { b"HTTP/1.1 200 " };
        assert!(next.starts_with(expected), "{}", next.escape_ascii());
    }
}

/// The first answer, if there is any.
fn check(said: &[u8]) {
    if said.is_empty() {
        return;
    }
    let shown = || said[..said.len().min(600)].escape_ascii().to_string();
    let status = said.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).map(String::from_utf8_lossy);
    let status: u16 =
        status.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no HTTP: {}", shown()));
    assert!((100..600).contains(&status) && status != 500, "{}", shown());
    let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") else {
        panic!("no end: {}", shown())
    };
    let head = String::from_utf8_lossy(&said[..end]).to_ascii_lowercase();
    let body = &said[end + 4..];
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
    let length = field("content-length:").map(|n| n.parse::<usize>().expect("a length"));
    if let Some(length) = length.filter(|length| *length <= body.len())
        && field("content-type:").is_some_and(|kind| kind.starts_with("application/json"))
        && length > 0
    {
        serde_json::from_slice::<serde_json::Value>(&body[..length])
            .unwrap_or_else(|e| panic!("no JSON: {e}: {}", shown()));
    }
}
