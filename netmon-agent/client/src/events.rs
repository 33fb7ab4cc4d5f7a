//! Streams of changes.

use std::{os::unix::net::UnixStream, path::Path, thread, time::Duration};

use crate::{
    Client, Error, State,
    http::{self, Patience, Wire},
    proto::{ANSWER, Feed, Item, Next, Opened, reconnect},
    wire::Change,
};

/// Which events.
///
/// ```no_run
/// # use netmon_client::{Client, EventOptions};
/// // Where an earlier run of this program had come to.
/// let options = EventOptions { last_id: Some(1_234_567), ..EventOptions::default() };
/// let events = Client::new(Client::default_socket()).events(options);
/// ```
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
///
/// ```no_run
/// # use netmon_client::{Client, Event, EventOptions};
/// let mut stream = Client::new(Client::default_socket()).event_stream(EventOptions::default())?;
/// while let Some(event) = stream.read()? {
///     if let Event::Change(change) = event {
///         println!("{} is {}", change.subject, change.state.as_str());
///     }
/// }
/// # Ok::<(), netmon_client::Error>(())
/// ```
#[derive(Debug)]
pub struct EventStream {
    wire: Wire,
    feed: Feed,
    opened: Opened,
    last_id: Option<u64>,
}

impl EventStream {
    pub(crate) fn open(path: &Path, options: EventOptions) -> Result<Self, Error> {
        Self::over(http::connect(path)?, options)
    }

    pub(crate) fn over(stream: UnixStream, options: EventOptions) -> Result<Self, Error> {
        let mut wire = Wire::new(stream, &Feed::request(options), Patience::of(Some(ANSWER)))?;
        let mut feed = Feed::default();
        let opened = loop {
            match feed.opened()? {
                Some(opened) => break opened,
                None => wire.fill(feed.exchange())?,
            }
        };
        wire.patience = Patience::Each(opened.stale_after);
        Ok(Self { wire, feed, opened, last_id: options.last_id })
    }

    /// The state of the whole network when the stream began.
    pub fn state(&self) -> State {
        self.opened.state
    }

    /// Number of the last change that came.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// Age at which the agent's state is stale; also the silence after which [`EventStream::read`] gives up.
    pub fn stale_after(&self) -> Duration {
        self.opened.stale_after
    }

    /// The next event; none when the agent closed the stream.
    ///
    /// # Errors
    /// [`Error::Timeout`] when nothing, not even a heartbeat, came for [`EventStream::stale_after`]: the state is
    /// unknown. Otherwise a broken connection or stream.
    pub fn read(&mut self) -> Result<Option<Event>, Error> {
        Ok(self.item()?.map(|item| match item {
            Item::Change(change) => Event::Change(change),
            Item::Beat(_) => Event::Heartbeat,
        }))
    }

    pub(crate) fn opened(&self) -> Opened {
        self.opened
    }

    pub(crate) fn item(&mut self) -> Result<Option<Item>, Error> {
        loop {
            match self.feed.next()? {
                Next::Item(item) => {
                    if let Item::Change(change) = &item {
                        self.last_id = Some(change.seq);
                    }
                    return Ok(Some(item));
                }
                Next::Read => self.wire.fill(self.feed.exchange())?,
                Next::End => return Ok(None),
            }
        }
    }
}

/// Changes over as many connections as it takes. Each `Err` is a lost connection, told once; the next call of `next`
/// pauses, connects again and resumes where it was. It never ends by itself.
///
/// ```no_run
/// # use netmon_client::{Client, EventOptions};
/// for change in Client::new(Client::default_socket()).events(EventOptions::default()) {
///     match change {
///         Ok(change) => println!("{} {}", change.subject, change.state.as_str()),
///         Err(e) => eprintln!("{e}"),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Events {
    client: Client,
    options: EventOptions,
    stream: Option<EventStream>,
    failures: u32,
    /// Before the next connection.
    pause: Duration,
}

impl Events {
    pub(crate) fn new(client: Client, options: EventOptions) -> Self {
        Self { client, options, stream: None, failures: 0, pause: Duration::ZERO }
    }
}

impl Iterator for Events {
    type Item = Result<Change, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    thread::sleep(std::mem::take(&mut self.pause));
                    match self.client.event_stream(self.options) {
                        Ok(stream) => self.stream.insert(stream),
                        Err(e) => {
                            self.failures = self.failures.saturating_add(1);
                            self.pause = reconnect(self.failures, &e);
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
            self.failures = self.failures.saturating_add(1);
            self.pause = reconnect(self.failures, &error);
            return Some(Err(error));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        fake::Fake,
        proto::{MAX_EVENT, backoff},
    };

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
        assert_eq!(backoff(u32::MAX).as_millis(), 2000);
        let pauses: Vec<u128> = (0..100).map(|_| reconnect(3, &Error::Disconnected).as_millis()).collect();
        assert!(pauses.iter().all(|ms| (200..=400).contains(ms)) && pauses.iter().any(|ms| *ms != pauses[0]));
        let busy = Error::Busy { retry_after: Duration::from_secs(7), message: String::new() };
        assert_eq!(reconnect(3, &busy), Duration::from_secs(7));
    }
}
