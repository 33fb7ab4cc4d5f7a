//! Server-sent events (WHATWG HTML, section 9.2).

use std::{os::unix::net::UnixStream, thread, time::Duration};

use crate::{
    Client, Error, State,
    client::checked,
    clock,
    http::{self, Patience, Response},
    wire::Change,
};

/// Longest event that is taken, bytes.
const MAX_EVENT: usize = 1 << 20;
/// Silence that means that the agent is gone, when the agent does not say (three default intervals).
const STALE_AFTER: Duration = Duration::from_secs(6);
/// First and longest pause before another connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventOptions {
    /// Resume after the change with this number. None: from now on, beginning with the state as it is.
    pub last_id: Option<u64>,
    /// Also every update: one event for each publication, changed or not.
    pub all: bool,
}

/// What comes over a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A change, or the state as it is (`previous` equals `state`), or a gap.
    Change(Box<Change>),
    /// The agent lives, and nothing changed.
    Heartbeat,
}

/// One connection's events.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    lines: Lines,
    last_id: Option<u64>,
    stale_after: Duration,
    state: State,
}

impl EventStream {
    pub(crate) fn open(stream: UnixStream, options: EventOptions) -> Result<Self, Error> {
        let target = if options.all { "/v1/events?all=1" } else { "/v1/events" };
        let id = options.last_id.map(|id| id.to_string());
        let mut headers = vec![("Accept", "text/event-stream")];
        if let Some(id) = &id {
            headers.push(("Last-Event-ID", id));
        }
        let patience = clock::after(Duration::from_secs(5)).map_or(Patience::Endless, Patience::Until);
        let mut response = checked(http::get(stream, target, &headers, patience)?)?;
        let stale_after = response
            .header("netmon-stale-after-ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(STALE_AFTER, Duration::from_millis);
        let state = State::from(response.header("netmon-state").unwrap_or_default().to_owned());
        response.set_patience(Patience::Each(stale_after));
        Ok(Self { response, lines: Lines::default(), last_id: options.last_id, stale_after, state })
    }

    /// The state of the whole network when the stream began.
    pub fn state(&self) -> State {
        self.state
    }

    /// Number of the last change that came.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// Age at which the agent's state is stale; also the silence after which [`EventStream::read`] gives up.
    pub fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// The next event; none when the agent closed the stream.
    ///
    /// # Errors
    /// [`Error::Timeout`] when nothing, not even a heartbeat, came for [`EventStream::stale_after`]: the state is
    /// unknown. Otherwise a broken connection or stream.
    pub fn read(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.lines.next_event()? {
                if let Event::Change(change) = &event {
                    self.last_id = Some(change.seq);
                }
                return Ok(Some(event));
            }
            if self.lines.buffer.len() > MAX_EVENT {
                return Err(Error::Protocol(format!("an event over {MAX_EVENT} bytes")));
            }
            match self.response.read_some(&mut self.lines.buffer) {
                Ok(true) => {}
                Ok(false) | Err(Error::Disconnected) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }
}

/// Changes over as many connections as it takes. Each `Err` is a lost connection, told once; the next call of `next`
/// pauses, connects again and resumes where it was. It never ends by itself.
#[derive(Debug)]
pub struct Events {
    client: Client,
    options: EventOptions,
    stream: Option<EventStream>,
    failures: u32,
}

impl Events {
    pub(crate) fn new(client: Client, options: EventOptions) -> Self {
        Self { client, options, stream: None, failures: 0 }
    }
}

impl Iterator for Events {
    type Item = Result<Change, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    if self.failures > 0 {
                        thread::sleep(backoff(self.failures));
                    }
                    match self.client.event_stream(self.options) {
                        Ok(stream) => self.stream.insert(stream),
                        Err(e) => {
                            self.failures += 1;
                            return Some(Err(e));
                        }
                    }
                }
            };
            let error = match stream.read() {
                Ok(Some(Event::Heartbeat)) => continue,
                Ok(Some(Event::Change(change))) => {
                    self.options.last_id = Some(change.seq);
                    self.failures = 0;
                    return Some(Ok(*change));
                }
                Ok(None) => Error::Disconnected,
                Err(e) => e,
            };
            self.stream = None;
            self.failures += 1;
            return Some(Err(error));
        }
    }
}

/// Pause before another try, after so many failures.
pub(crate) fn backoff(failures: u32) -> Duration {
    (BACKOFF.0 * 2u32.saturating_pow(failures.saturating_sub(1).min(10))).min(BACKOFF.1)
}

/// Lines of a stream, put together to events.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    data: String,
}

impl Lines {
    /// The next whole event in the buffer.
    fn next_event(&mut self) -> Result<Option<Event>, Error> {
        while let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if self.data.is_empty() {
                    continue;
                }
                let change = serde_json::from_str(&self.data).map_err(|e| Error::Protocol(e.to_string()))?;
                self.data.clear();
                return Ok(Some(Event::Change(Box::new(change))));
            }
            if line.starts_with(':') {
                return Ok(Some(Event::Heartbeat));
            }
            // The data says it all; `id` and `event` repeat it for browsers.
            if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
                if self.data.len() > MAX_EVENT {
                    return Err(Error::Protocol(format!("an event over {MAX_EVENT} bytes")));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fake::Fake;

    pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    pub(crate) fn event(seq: u64, state: &str) -> String {
        format!(
            "id: {seq}\nevent: state\ndata: {{\"seq\":{seq},\"at\":\"\",\"kind\":\"state\",\"subject\":\"network\",\
             \"state\":\"{state}\",\"previous\":\"unknown\",\"reasons\":[]}}\n\n"
        )
    }

    #[test]
    fn changes_resume_on_the_next_connection() {
        let fake = Fake::new(vec![
            format!("{HEAD}: hello\n\n{}{}", event(7, "up"), event(9, "down")),
            format!("{HEAD}{}", event(10, "up")),
        ]);
        let mut events = Client::new(fake.path()).events(EventOptions::default());
        let mut next = || events.next().unwrap();
        assert_eq!(next().unwrap().seq, 7);
        assert_eq!(next().unwrap().state, State::Down);
        assert!(matches!(next(), Err(Error::Disconnected)));
        assert_eq!(next().unwrap().seq, 10);
        assert!(!fake.request().contains("Last-Event-ID"));
        assert!(fake.request().contains("Last-Event-ID: 9\r\n"));
    }

    #[test]
    fn silence_is_noticed() {
        let head = HEAD.replace("\r\n\r\n", "\r\nNetmon-Stale-After-Ms: 50\r\n\r\n");
        let fake = Fake::start(vec![(format!("{head}{}", event(1, "up")), true)]);
        let mut stream = Client::new(fake.path()).event_stream(EventOptions::default()).unwrap();
        assert!(matches!(stream.read(), Ok(Some(Event::Change(_)))));
        assert!(matches!(stream.read(), Err(Error::Timeout)));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let fake = Fake::new(vec![format!("{HEAD}data: {}", "x".repeat(MAX_EVENT * 2))]);
        let mut stream = Client::new(fake.path()).event_stream(EventOptions::default()).unwrap();
        assert!(matches!(stream.read(), Err(Error::Protocol(_))));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let pauses: Vec<u128> = (1..8).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff(u32::MAX), BACKOFF.1);
    }
}
