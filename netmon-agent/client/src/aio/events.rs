//! Streams of changes.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use super::wire::{Wire, within};
use crate::{
    Error, Event, EventOptions, State, clock,
    proto::{ANSWER, Feed, Item, Next, Opened, reconnect},
    wire::Change,
};

/// One connection's events. See [`crate::EventStream`].
#[derive(Debug)]
pub struct EventStream {
    wire: Wire,
    feed: Feed,
    opened: Opened,
    last_id: Option<u64>,
    /// When bytes came last: it counts over calls that were dropped.
    heard: Instant,
}

impl EventStream {
    pub(super) async fn open(path: &Path, options: EventOptions) -> Result<Self, Error> {
        within(Some(ANSWER), async {
            let mut wire = Wire::open(path, &Feed::request(options)).await?;
            let mut feed = Feed::default();
            let opened = loop {
                match feed.opened()? {
                    Some(opened) => break opened,
                    None => wire.fill(feed.exchange()).await?,
                }
            };
            Ok(Self { wire, feed, opened, last_id: options.last_id, heard: clock::now() })
        })
        .await
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

    /// The next event; none when the agent closed the stream. Nothing is lost when the future is dropped.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::{Event, EventOptions, aio};
    /// let agent = aio::Client::new(aio::Client::default_socket());
    /// let mut stream = agent.event_stream(EventOptions::default()).await?;
    /// while let Some(event) = stream.read().await? {
    ///     if let Event::Change(change) = event {
    ///         println!("{} is {}", change.subject, change.state.as_str());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::EventStream::read`].
    pub async fn read(&mut self) -> Result<Option<Event>, Error> {
        Ok(self.item().await?.map(|item| match item {
            Item::Change(change) => Event::Change(change),
            Item::Beat(_) => Event::Heartbeat,
        }))
    }

    pub(super) fn opened(&self) -> Opened {
        self.opened
    }

    pub(super) async fn item(&mut self) -> Result<Option<Item>, Error> {
        loop {
            match self.feed.next()? {
                Next::Item(item) => {
                    if let Item::Change(change) = &item {
                        self.last_id = Some(change.seq);
                    }
                    return Ok(Some(item));
                }
                Next::Read => {
                    let silent = clock::now().duration_since(self.heard);
                    // What came while nobody asked is found in the runtime's next turn.
                    let left = self.opened.stale_after.saturating_sub(silent).max(Duration::from_millis(1));
                    within(Some(left), self.wire.fill(self.feed.exchange())).await?;
                    self.heard = clock::now();
                }
                Next::End => return Ok(None),
            }
        }
    }
}

/// Changes over as many connections as it takes. See [`crate::Events`].
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    options: EventOptions,
    stream: Option<EventStream>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Events {
    pub(super) fn new(path: PathBuf, options: EventOptions) -> Self {
        Self { path, options, stream: None, failures: 0, retry_at: None }
    }

    /// The next change. Nothing is lost when the future is dropped.
    ///
    /// ```no_run
    /// # async fn example() {
    /// # use netmon_client::{EventOptions, aio};
    /// let agent = aio::Client::new(aio::Client::default_socket());
    /// let mut events = agent.events(EventOptions::default());
    /// loop {
    ///     match events.next().await {
    ///         Ok(change) => println!("{} {}", change.subject, change.state.as_str()),
    ///         Err(e) => eprintln!("{e}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// A lost connection, told once: the next call pauses, connects again and resumes where it was.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            let read = match &mut self.stream {
                Some(stream) => stream.read().await,
                None => {
                    if let Some(at) = self.retry_at {
                        sleep_until(at.into()).await;
                    }
                    match EventStream::open(&self.path, self.options).await {
                        Ok(stream) => {
                            self.stream = Some(stream);
                            continue;
                        }
                        Err(e) => Err(e),
                    }
                }
            };
            let error = match read {
                Ok(Some(Event::Heartbeat)) => continue,
                Ok(Some(Event::Change(change))) => {
                    self.options.last_id = Some(change.seq);
                    self.failures = 0;
                    return Ok(*change);
                }
                Ok(None) => Error::Disconnected,
                Err(e) => e,
            };
            self.stream = None;
            self.failures = self.failures.saturating_add(1);
            self.retry_at = clock::after(reconnect(self.failures, &error));
            return Err(error);
        }
    }
}
