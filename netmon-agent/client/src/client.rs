use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::{
    Error, State, clock,
    events::{EventOptions, EventStream, Events},
    http::{self, Patience, Response},
    wire::{ApiError, Status, Waited},
};

/// How long an answer that the agent has at hand may take.
const ANSWER: Duration = Duration::from_secs(5);
/// What an answer at the deadline may take to arrive.
const GRACE: Duration = Duration::from_secs(2);

/// Asks the agent: one connection a question.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Healthy.
    #[default]
    Up,
    /// Up or degraded.
    Usable,
    /// Not working.
    Down,
    /// Working with faults.
    Degraded,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 4] = [Self::Up, Self::Usable, Self::Down, Self::Degraded];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Usable => "usable",
            Self::Down => "down",
            Self::Degraded => "degraded",
        }
    }

    /// Whether `state` meets it. `unknown` meets none.
    pub fn holds(self, state: State) -> bool {
        match self {
            Self::Up => state == State::Up,
            Self::Usable => state.is_usable(),
            Self::Down => state == State::Down,
            Self::Degraded => state == State::Degraded,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|c| c.as_str() == word)
            .ok_or_else(|| format!("no state {word:?} to wait for; there are up, usable, down, degraded"))
    }
}

/// What to wait for, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitOptions {
    /// The state.
    pub condition: Condition,
    /// Of this device instead of the whole network.
    pub device: Option<String>,
    /// Of this target instead of the whole network. With a device: of both.
    pub target: Option<String>,
    /// How long it must have held without a break.
    pub stable: Duration,
    /// When to give up; none: never.
    pub timeout: Option<Duration>,
}

impl WaitOptions {
    /// Waits until the network is up, without end.
    pub fn up() -> Self {
        Self::default()
    }

    /// Waits until the network is up or degraded, without end.
    pub fn usable() -> Self {
        Self { condition: Condition::Usable, ..Self::default() }
    }

    fn query(&self) -> String {
        let mut query = format!("/v1/wait?state={}", self.condition);
        for (name, value) in [("device", &self.device), ("target", &self.target)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", percent(value)));
            }
        }
        if !self.stable.is_zero() {
            query.push_str(&format!("&stable={}ms", up_to_ms(self.stable)));
        }
        if let Some(timeout) = self.timeout {
            query.push_str(&format!("&timeout={}ms", up_to_ms(timeout)));
        }
        query
    }
}

impl Client {
    /// A client of the agent at `socket`. Connects at each question only.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { path: socket.into() }
    }

    /// Where the agent is found: `$NETMON_SOCKET`; else `/run/netmon/netmon.sock`, for root or when it is there; else
    /// `$XDG_RUNTIME_DIR/netmon.sock`.
    pub fn default_socket() -> PathBuf {
        let system = Path::new("/run/netmon/netmon.sock");
        if let Some(path) = env::var_os("NETMON_SOCKET").filter(|p| !p.is_empty()) {
            return path.into();
        }
        match env::var_os("XDG_RUNTIME_DIR").filter(|p| !p.is_empty()) {
            Some(own) if !is_root() && !system.exists() => Path::new(&own).join("netmon.sock"),
            _ => system.into(),
        }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// The whole state now.
    ///
    /// # Errors
    /// No agent, no permission, no answer within 5 s, or not an agent's answer.
    pub fn status(&self) -> Result<Status, Error> {
        let patience = clock::after(ANSWER).map_or(Patience::Endless, Patience::Until);
        let response = http::get(http::connect(&self.path)?, "/v1/status", &[], patience)?;
        json(checked(response)?)
    }

    /// Waits. `satisfied` in the answer tells whether it came about before the time-out.
    ///
    /// # Errors
    /// As [`Client::status`]; an unknown device or target ([`Error::NotFound`]); [`Error::Busy`] when the agent has no
    /// room or is shutting down; [`Error::Disconnected`] when it went away meanwhile.
    pub fn wait(&self, options: &WaitOptions) -> Result<Waited, Error> {
        let deadline = options.timeout.and_then(|t| clock::after(t.saturating_add(GRACE)));
        let patience = deadline.map_or(Patience::Endless, Patience::Until);
        let response = http::get(http::connect(&self.path)?, &options.query(), &[], patience)?;
        if response.status == 409 {
            return json(response);
        }
        json(checked(response)?)
    }

    /// Changes as they come, over reconnects: see [`Events`].
    pub fn events(&self, options: EventOptions) -> Events {
        Events::new(self.clone(), options)
    }

    /// Changes as they come, over this one connection.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn event_stream(&self, options: EventOptions) -> Result<EventStream, Error> {
        EventStream::open(http::connect(&self.path)?, options)
    }
}

/// The answer if it is a success, else what it says is wrong.
pub(crate) fn checked(response: Response) -> Result<Response, Error> {
    let status = response.status;
    if status == 200 {
        return Ok(response);
    }
    let retry_after = response.header("retry-after").and_then(|s| s.parse().ok()).unwrap_or(1);
    let body = response.into_body()?;
    let message = serde_json::from_slice::<ApiError>(&body)
        .map_or_else(|_| format!("HTTP status {status}"), |e| e.error);
    Err(match status {
        400 => Error::BadRequest(message),
        404 => Error::NotFound(message),
        403 | 409 => Error::Refused(message),
        429 | 503 => Error::Busy { retry_after: Duration::from_secs(retry_after), message },
        _ => Error::Protocol(message),
    })
}

fn json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    serde_json::from_slice(&response.into_body()?).map_err(|e| Error::Protocol(e.to_string()))
}

/// Whole milliseconds, rounded up: waiting shorter than asked would be wrong.
fn up_to_ms(d: Duration) -> u128 {
    d.as_nanos().div_ceil(1_000_000)
}

/// Percent-encoding (RFC 3986) of everything but unreserved characters.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// Whether this process runs as root: the effective user in `/proc/self/status` (proc_pid_status(5)).
fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn a_wait_asks_for_what_was_meant() {
        let options = WaitOptions {
            condition: Condition::Usable,
            device: Some("a\"b&é".into()),
            target: Some("gw".into()),
            stable: Duration::from_micros(1500),
            timeout: Some(Duration::from_secs(60)),
        };
        let query = "/v1/wait?state=usable&device=a%22b%26%C3%A9&target=gw&stable=2ms&timeout=60000ms";
        assert_eq!(options.query(), query);
        assert_eq!(WaitOptions::up().query(), "/v1/wait?state=up");
    }

    #[test]
    fn errors_tell_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        assert!(matches!(Client::new(&path).status(), Err(Error::NoAgent { path: p, .. }) if p == path));

        let ask = |answer: &str| {
            let fake = Fake::new(vec![answer.to_owned()]);
            Client::new(fake.path()).wait(&WaitOptions::up())
        };
        let error = |code: &str, more: &str| {
            let body = r#"{"error":"words"}"#;
            ask(&format!("HTTP/1.1 {code}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len()))
                .unwrap_err()
        };
        assert!(matches!(error("404 Not Found", ""), Error::NotFound(w) if w == "words"));
        assert!(matches!(error("400 Bad Request", ""), Error::BadRequest(w) if w == "words"));
        let busy = error("503 Service Unavailable", "Retry-After: 7\r\n");
        assert!(matches!(busy, Error::Busy { retry_after, .. } if retry_after == Duration::from_secs(7)));
        assert!(matches!(error("500 Oh", ""), Error::Protocol(_)));
        assert!(matches!(ask(""), Err(Error::Disconnected)));
        assert!(matches!(ask("HTTP/1.1 200 OK\r\n\r\nnot json"), Err(Error::Protocol(_))));

        let waited = ask(
            "HTTP/1.1 409 Conflict\r\n\r\n{\"satisfied\":false,\"state\":\"down\",\"seq\":4,\"waited_seconds\":1.5,\"blocking\":[]}",
        );
        assert!(matches!(waited, Ok(Waited { satisfied: false, state: State::Down, seq: 4, .. })));
    }

    #[test]
    fn a_silent_agent_is_a_timeout() {
        let fake = Fake::silent();
        let options = WaitOptions { timeout: Some(Duration::ZERO), ..WaitOptions::up() };
        assert!(matches!(Client::new(fake.path()).wait(&options), Err(Error::Timeout)));
    }
}
