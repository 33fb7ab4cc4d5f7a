//! Requests, as choices: what anybody writes to the agent's socket.

use std::fmt::Write as _;

use arbitrary::Arbitrary;

/// One request.
#[derive(Arbitrary, Debug)]
pub struct Request {
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
    if which.is_multiple_of(2) { all[usize::from(which / 2) % all.len()] } else { other }
}

/// What a client that writes no line breaks into a line could send.
fn word(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | ' ' | '\0')).collect()
}

impl Request {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
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
