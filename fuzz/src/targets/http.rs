//! HTTP from both sides: what an agent, or whoever is in its place, answers the client, and what anybody asks the agent.

use std::{cell::LazyCell, fmt::Write as _, sync::Arc, time::Duration};

use arbitrary::Arbitrary;
use netmon_agent::{
    health::{Reason, ReasonCode, State, Verdict},
    output::api::{Options, Server, start},
    state::{Board, DeviceView, Snapshot, TargetView},
    time::Moment,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Runtime,
    time::timeout,
};

use super::{Input, input, parts};

/// The lengths in which it comes, a NUL, and the answer.
pub fn answer(bytes: &[u8]) {
    let [lengths, answer] = parts(bytes);
    netmon_client::fuzzing::answer(answer, lengths);
}

/// Likewise a stream of events.
pub fn events(bytes: &[u8]) {
    let [lengths, stream] = parts(bytes);
    netmon_client::fuzzing::events(stream, lengths);
}

#[derive(Arbitrary, Debug)]
struct Request {
    method: u8,
    path: u8,
    name: String,
    query: Vec<(u8, u8, String)>,
    headers: Vec<(u8, u8, String)>,
    body: Option<Body>,
    version: bool,
}

#[derive(Arbitrary, Debug)]
enum Body {
    Text(String),
    Report {
        client: String,
        state: u8,
        more: Option<(u8, String)>,
    },
    Chunks(Vec<Vec<u8>>),
    /// A length that is not its own.
    Lie(u16, Vec<u8>),
}

const METHODS: [&str; 7] = ["GET", "PUT", "DELETE", "POST", "HEAD", "OPTIONS", "get"];
const PATHS: [&str; 13] = [
    "/v1/wait",
    "/v1/status",
    "/",
    "/v1/events",
    "/v1/history",
    "/v1/connections/",
    "/v1/targets",
    "/v1/targets/",
    "/v1/retry-budget",
    "/healthz",
    "/readyz",
    "/metrics",
    "*",
];
const PARAMETERS: [&str; 12] = [
    "state", "stable", "timeout", "device", "target", "only", "all", "since", "until", "format", "limit", "x",
];
const VALUES: [&str; 12] =
    ["up", "usable", "down", "10s", "1ms", "30d", "eth0", "a\"b", "devices", "1", "-1", ""];
const HEADERS: [&str; 12] = [
    "Host",
    "Connection",
    "Accept",
    "Accept-Encoding",
    "Last-Event-ID",
    "Netmon-Job",
    "Expect",
    "Transfer-Encoding",
    "Content-Length",
    "Content-Type",
    "Upgrade",
    "User-Agent",
];
const HEADER_VALUES: [&str; 12] = [
    "x",
    "close",
    "keep-alive",
    "text/event-stream",
    "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
    "gzip",
    "100-continue",
    "chunked",
    "7",
    "application/json",
    "websocket",
    "text/html",
];

fn chosen<'a>(all: &[&'a str], which: u8, other: &'a str) -> &'a str {
    // Every other time one of the words that are known.
    if which % 2 == 0 { all[usize::from(which / 2) % all.len()] } else { other }
}

/// What a client that writes no line breaks into a line could send.
fn word(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | ' ' | '\0')).collect()
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let method = METHODS[usize::from(self.method) % METHODS.len()];
        let path = PATHS[usize::from(self.path) % PATHS.len()];
        let mut target = path.to_owned();
        if path.ends_with('/') && path != "/" {
            target += &word(&self.name);
        }
        for (i, (name, value, other)) in self.query.iter().enumerate() {
            let other = word(other);
            let (name, value) = (chosen(&PARAMETERS, *name, &other), chosen(&VALUES, *value, &other));
            let _ = write!(target, "{}{name}={value}", if i == 0 { '?' } else { '&' });
        }
        let version = if self.version { "1.1" } else { "1.0" };
        let mut head = format!("{method} {target} HTTP/{version}\r\n");
        for (name, value, other) in &self.headers {
            let other = word(other);
            let (name, value) = (chosen(&HEADERS, *name, "X-Y"), chosen(&HEADER_VALUES, *value, &other));
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let plain = |body: &[u8]| (format!("Content-Length: {}\r\n", body.len()), body.to_vec());
        let (line, body) = match &self.body {
            None => (String::new(), Vec::new()),
            Some(Body::Text(text)) => plain(text.as_bytes()),
            Some(Body::Report { client, state, more }) => {
                let states = ["connected", "connecting", "disconnected", "error", "stopped", "x"];
                let mut report = serde_json::json!({
                    "client": client,
                    "state": states[usize::from(*state) % states.len()],
                });
                if let Some((key, value)) = more {
                    let keys = ["last_error", "name", "state", "uid", "since"];
                    report[keys[usize::from(*key) % keys.len()]] = value.as_str().into();
                }
                plain(report.to_string().as_bytes())
            }
            Some(Body::Chunks(chunks)) => {
                let mut body = Vec::new();
                for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    body.extend(chunk);
                    body.extend(b"\r\n");
                }
                body.extend(b"0\r\n\r\n");
                ("Transfer-Encoding: chunked\r\n".to_owned(), body)
            }
            Some(Body::Lie(length, body)) => (format!("Content-Length: {length}\r\n"), body.clone()),
        };
        [(head + &line + "\r\n").into_bytes(), body].concat()
    }
}

/// An agent's outputs, on a clock that goes on by itself when nothing else is to be done: what takes time takes none.
struct World {
    runtime: Runtime,
    folder: tempfile::TempDir,
    _server: Server,
}

thread_local! {
    static WORLD: LazyCell<World> = const { LazyCell::new(World::new) };
}

impl World {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let now = Moment::now();
        let verdict = Verdict {
            state: State::Degraded,
            since: now,
            reasons: vec![Reason::new(ReasonCode::Loss, "a\"b", "10 % of 60")],
            ..Verdict::default()
        };
        let device = DeviceView { name: "eth0".into(), verdict: verdict.clone(), ..DeviceView::default() };
        let target = TargetView { name: "a\"b".into(), verdict: verdict.clone(), ..TargetView::default() };
        let snapshot = Snapshot {
            seq: 7,
            at: now,
            started: now,
            verdict,
            devices: vec![Arc::new(device)],
            targets: vec![Arc::new(target)],
            ..Snapshot::default()
        };
        // Never stale: real time is what the board goes by.
        let board = Board::new(snapshot, Duration::from_secs(1 << 30));
        let socket = folder.path().join("netmon.sock");
        let _inside = runtime.enter();
        let server = start(board, Options { socket, ..Options::default() }).expect("a server");
        drop(_inside);
        Self { runtime, folder, _server: server }
    }

    /// Sends these bytes, and gives what comes until nothing more does.
    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let mut stream =
                UnixStream::connect(self.folder.path().join("netmon.sock")).await.expect("the server");
            // The server may have said enough before it has read all.
            let _ = stream.write_all(bytes).await;
            let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
            while let Ok(Ok(n @ 1..)) = timeout(Duration::from_millis(1), stream.read(&mut buffer)).await {
                answer.extend_from_slice(&buffer[..n]);
            }
            answer
        })
    }
}

/// What anybody writes to the agent's socket: what it answers is HTTP, its JSON is JSON, and nothing is its own mistake.
pub fn request(bytes: &[u8]) {
    let made;
    let asked = match input::<Vec<Request>>(bytes) {
        Some(Input::Raw(raw)) => raw,
        Some(Input::Made(requests)) => {
            made = requests.iter().flat_map(Request::bytes).collect::<Vec<u8>>();
            &made
        }
        None => return,
    };
    let said = WORLD.with(|world| world.ask(asked));
    check(&said);
    // Whatever that was, the next one is served.
    if bytes.len() % 64 == 0 {
        let next = WORLD.with(|world| world.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(next.starts_with(b"HTTP/1.1 200 "), "{}", next.escape_ascii());
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
