use std::{
    env, fmt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    Error, State, clock,
    events::{EventOptions, EventStream, Events},
    http::{self, Patience},
    patient::{Next, Patient},
    proto::{ANSWER, GRACE, request},
    wire::{Device, History, Status, Waited},
};

/// The path of the devices' statistics; an agent that does not know the parameter tells of the targets as well.
pub(crate) const DEVICES: &str = "/v1/status?only=devices";
/// How long an answer may take that has to be read from a disk.
pub(crate) const READING: Duration = Duration::from_secs(30);

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
    /// What the waiting program is called in the history of outages; none: what the kernel calls it.
    pub job: Option<String>,
}

/// What to ask the history for. Times are durations before now (`24h`), RFC 3339, or dates (`2026-01-31`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Begin of the period; none: a day ago.
    pub since: Option<String>,
    /// Its end; none: now.
    pub until: Option<String>,
    /// `network`, `device:NAME`, `target:NAME` or a name; none: everything.
    pub subject: Option<String>,
    /// Most outages in the answer, 1 to 10,000, the latest; none: 1,000.
    pub limit: Option<u32>,
    /// The time zone of its days, by IANA's name; none: the agent's.
    pub zone: Option<String>,
}

impl HistoryOptions {
    pub(crate) fn query(&self) -> String {
        let limit = self.limit.map(|n| n.to_string());
        let mut query = String::from("/v1/history");
        for (name, value) in [
            ("since", &self.since),
            ("until", &self.until),
            ("subject", &self.subject),
            ("limit", &limit),
            ("zone", &self.zone),
        ] {
            if let Some(value) = value {
                let mark = if query.contains('?') { '&' } else { '?' };
                query.push_str(&format!("{mark}{name}={}", percent(value)));
            }
        }
        query
    }
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

    pub(crate) fn query(&self) -> String {
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

    /// What to ask, with the name of who waits.
    pub(crate) fn request(&self) -> Vec<u8> {
        let job = self.job.as_deref().map(percent);
        let headers: Vec<(&str, &str)> = job.iter().map(|job| ("Netmon-Job", job.as_str())).collect();
        request("GET", &self.query(), &headers)
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
    /// ```no_run
    /// # use netmon_client::Client;
    /// let status = Client::new(Client::default_socket()).status()?;
    /// for reason in &status.reasons {
    ///     println!("{}: {}", reason.code, reason.detail);
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// No agent, no permission, no answer within 5 s, or not an agent's answer.
    pub fn status(&self) -> Result<Status, Error> {
        http::get(&self.path, "/v1/status", Patience::of(Some(ANSWER)))?.json()
    }

    /// The watched devices with their statistics, as of now: see [`Device`].
    ///
    /// ```no_run
    /// # use netmon_client::Client;
    /// for device in Client::new(Client::default_socket()).devices()? {
    ///     println!("{}: {} bytes received", device.name, device.traffic.rx_bytes);
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn devices(&self) -> Result<Vec<Device>, Error> {
        let status: Status = http::get(&self.path, DEVICES, Patience::of(Some(ANSWER)))?.json()?;
        Ok(status.devices)
    }

    /// One device with its statistics, as of now.
    ///
    /// ```no_run
    /// # use netmon_client::Client;
    /// let eth0 = Client::new(Client::default_socket()).device("eth0")?;
    /// println!("{} errors, MTU {}", eth0.traffic.rx_errors, eth0.mtu);
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`]; [`Error::NotFound`] when no watched device has the name.
    pub fn device(&self, name: &str) -> Result<Device, Error> {
        named(self.devices()?, name)
    }

    /// Waits. `satisfied` in the answer tells whether it came about before the time-out.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, WaitOptions};
    /// # use std::time::Duration;
    /// let options = WaitOptions { timeout: Some(Duration::from_secs(60)), ..WaitOptions::usable() };
    /// if Client::new(Client::default_socket()).wait(&options)?.satisfied {
    ///     println!("go");
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`]; an unknown device or target ([`Error::NotFound`]); [`Error::Busy`] when the agent has no
    /// room or is shutting down; [`Error::Disconnected`] when it went away meanwhile.
    pub fn wait(&self, options: &WaitOptions) -> Result<Waited, Error> {
        let patience = Patience::of(options.timeout.map(|t| t.saturating_add(GRACE)));
        http::ask(&self.path, &options.request(), patience)?.json_of(&[200, 409])
    }

    /// Waits as [`Client::wait`] does, over restarts of the agent: while it is away or has no room, it is asked again,
    /// with pauses of 0.1 to 2 s. What a new agent counts as [`WaitOptions::stable`] begins anew.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, WaitOptions};
    /// let options = WaitOptions { target: Some("vcenter".into()), ..WaitOptions::up() };
    /// Client::new(Client::default_socket()).wait_through(&options)?;
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// What no further try mends: [`Error::NotFound`], [`Error::BadRequest`], [`Error::Permission`],
    /// [`Error::Protocol`]. Otherwise the last error, when no agent answered by the time-out.
    pub fn wait_through(&self, options: &WaitOptions) -> Result<Waited, Error> {
        let mut patient = Patient::new(options, clock::now());
        loop {
            let answer = self.wait(&patient.options(clock::now()));
            match patient.judge(answer, clock::now()) {
                Next::Done(answer) => return answer,
                Next::Pause(pause) => thread::sleep(pause),
            }
        }
    }

    /// Outages and availability of a period.
    ///
    /// # Errors
    /// As [`Client::status`], with 30 s for the answer; [`Error::NotFound`] where no history is kept;
    /// [`Error::BadRequest`] for a time or a limit that can't be read.
    pub fn history(&self, options: &HistoryOptions) -> Result<History, Error> {
        http::get(&self.path, &options.query(), Patience::of(Some(READING)))?.json()
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
        EventStream::open(&self.path, options)
    }
}

/// The device of this name.
pub(crate) fn named(devices: Vec<Device>, name: &str) -> Result<Device, Error> {
    let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
    let unknown = format!("no watched device {name:?}; there are: {}", names.join(", "));
    devices.into_iter().find(|d| d.name == name).ok_or(Error::NotFound(unknown))
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
            job: None,
        };
        let query = "/v1/wait?state=usable&device=a%22b%26%C3%A9&target=gw&stable=2ms&timeout=60000ms";
        assert_eq!(options.query(), query);
        assert_eq!(WaitOptions::up().query(), "/v1/wait?state=up");
    }

    #[test]
    fn a_history_is_asked_for_as_was_meant() {
        assert_eq!(HistoryOptions::default().query(), "/v1/history");
        let options = HistoryOptions {
            since: Some("7d".into()),
            subject: Some("device:eth0".into()),
            limit: Some(5),
            ..HistoryOptions::default()
        };
        assert_eq!(options.query(), "/v1/history?since=7d&subject=device%3Aeth0&limit=5");
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
