//! `GET /v1/events`: changes as server-sent events.
//!
//! A subscriber holds no queue: it is a number in the board's backlog, of which a few changes at a time are put into words
//! for it. A slow one costs no more than these, and learns by a `gap` what it missed.
//!
//! Comments stamp the stream: `:at N` says that what came before is everything up to the core's evaluation at `N`
//! nanoseconds of boot time. So who reads late knows how old it is what it reads. Changes of targets alone may be up to 0.1 s
//! older than a stamp before them: where there are many targets, the core gathers these before it tells of them.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use netmon_client::wire;
use tokio::sync::watch;

use super::{
    App, reply,
    reports::Follower as Connections,
    server::{Peer, TCP_CONNECTIONS},
    wire_map,
};
use crate::{
    state::{Follower, Snapshot},
    time::{Boot, Mono},
};

/// Streams over TCP at one time: half of the connections there. As many pages that are left open in browsers keep no scrape
/// out. Shared by address.
pub(super) const TCP_STREAMS: usize = TCP_CONNECTIONS / 2;

pub(super) async fn events(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let parsed = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| parse(&pairs, &headers));
    let wanted = match parsed {
        Ok(parsed) => parsed,
        Err(said) => return reply::error(StatusCode::BAD_REQUEST, &said),
    };
    let mut place = None;
    if let Some(Extension(peer @ Peer::Tcp(_))) = peer {
        let Some(free) = app.tcp_streams.take(peer.holder(), Mono::now()) else {
            return reply::busy("too many event streams over TCP; the Unix socket has room");
        };
        place = Some(free);
    }
    let (board, now) = (&app.board, Boot::now());
    let state = if board.is_stale(now) {
        wire::State::Unknown
    } else {
        wire_map::state(board.snapshot().verdict.state)
    };
    let (stale_after, boottime) = (board.stale_after().as_millis().to_string(), now.as_nanos().to_string());
    let feed = Feed::new(app.clone(), wanted);
    let stream = futures_util::stream::unfold((feed, place), |(mut feed, place)| async {
        let frame = match &place {
            None => feed.next().await,
            Some(place) => tokio::select! {
                frame = feed.next() => frame,
                () = place.evicted() => None,
            },
        };
        frame.map(|frame| (Ok::<_, Infallible>(frame), (feed, place)))
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        // For clients that must know when silence means something, and what holds when nothing was missed.
        ("netmon-stale-after-ms", &stale_after),
        ("netmon-state", state.as_str()),
        // Of a clock that is another in another time namespace.
        ("netmon-boottime-ns", &boottime),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

/// What a subscriber wants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Wanted {
    /// The last change that it knows.
    last_id: Option<u64>,
    /// Every update.
    all: bool,
    /// Changes of reported connections, too.
    connections: bool,
}

fn parse(pairs: &[(String, String)], headers: &HeaderMap) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for (name, value) in pairs {
        let is_set = match value.as_str() {
            "1" | "true" => Ok(true),
            "0" | "false" | "" => Ok(false),
            _ => Err(format!("{name}={value:?}; there are: 0, 1")),
        };
        match name.as_str() {
            "all" => wanted.all = is_set?,
            "connections" => wanted.connections = is_set?,
            _ => return Err(format!("unknown parameter {name:?}; there are: all, connections")),
        }
    }
    wanted.last_id = match headers.get("last-event-id") {
        // The standard's "no event yet" (WHATWG HTML, 9.2.4).
        Some(value) if value.is_empty() => None,
        Some(value) => {
            let number = value.to_str().ok().and_then(|v| v.trim().parse().ok());
            Some(number.ok_or_else(|| format!("Last-Event-ID {value:?} is no number"))?)
        }
        None => None,
    };
    Ok(wanted)
}

/// Changes that are put into words before their reader has taken them.
pub(super) const AT_ONCE: usize = 32;

struct Feed {
    app: Arc<App>,
    publications: watch::Receiver<Arc<Snapshot>>,
    closing: watch::Receiver<bool>,
    ready: VecDeque<Bytes>,
    last: u64,
    /// There when every update is wanted.
    all: Option<Follower>,
    /// There when connections are.
    connections: Option<Connections>,
    /// An update was published since the last one told.
    update_due: bool,
    /// The subscriber knows that the state is stale.
    told_stale: bool,
    /// What was told last has not been stamped.
    unstamped: bool,
    next_beat: Mono,
}

impl Feed {
    fn new(app: Arc<App>, wanted: Wanted) -> Self {
        let Wanted { last_id, all, connections } = wanted;
        app.own.event_clients.inc();
        let mut publications = app.board.subscribe();
        let snapshot = publications.borrow_and_update().clone();
        let (now, walls) = (Boot::now(), app.walls.now());
        let mut ready = VecDeque::new();
        let mut told_stale = false;
        if last_id.is_none() {
            told_stale = app.board.is_stale(now);
            ready.push_back(frame(&wire_map::as_it_is("state", &snapshot, &app.board, now, walls)));
        }
        let next_beat = Mono::now() + app.heartbeat;
        let closing = app.closing.clone();
        let last = last_id.unwrap_or(snapshot.seq);
        let all = all.then(|| app.board.follow());
        let connections = connections.then(|| Connections::new(&app.connections));
        // Also where nothing was missed: the header goes out with the first bytes of the body, and a client that hears
        // nothing would not know for a while that it is connected.
        Self {
            app,
            publications,
            closing,
            ready,
            last,
            all,
            connections,
            update_due: false,
            told_stale,
            unstamped: true,
            next_beat,
        }
    }

    /// The next bytes; none when the agent shuts down.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if *self.closing.borrow() {
                return None;
            }
            self.collect();
            if !self.ready.is_empty() {
                continue;
            }
            let pause = self.pause();
            let published = tokio::select! {
                changed = self.publications.changed() => {
                    changed.ok()?;
                    true
                }
                () = tokio::time::sleep(pause) => false,
                () = changed(&mut self.connections) => continue,
                _ = self.closing.wait_for(|closing| *closing) => return None,
            };
            if published {
                self.update_due = self.all.is_some();
            } else {
                self.beat();
            }
        }
    }

    /// Takes what is new: changes, a gap, a state gone stale or fresh again, an update.
    fn collect(&mut self) {
        let board = &self.app.board;
        let (now, walls) = (Boot::now(), self.app.walls.now());
        let stale = board.is_stale(now);
        for event in self.connections.iter_mut().flat_map(|c| c.collect(now, walls)) {
            self.ready.push_back(connection_frame(&event));
        }
        // Before the backlog, which has all that this evaluation changed.
        let evaluated = board.last_evaluated();
        // Before the changes: all that led to it are among these, so that numbers only grow.
        let snapshot = board.snapshot();
        let kind = match board.next_changes(self.last, AT_ONCE) {
            Ok(changes) => {
                let more = changes.len() == AT_ONCE;
                for change in changes {
                    self.last = change.seq;
                    self.ready.push_back(frame(&wire_map::change(&change, walls)));
                    self.unstamped = true;
                }
                if more {
                    return;
                }
                // A snapshot older than the last change is about to be replaced: its state would undo that change.
                let told = snapshot.seq < self.last || stale == self.told_stale && !self.update_due;
                if told {
                    if self.unstamped && !stale {
                        self.unstamped = false;
                        self.stamp(evaluated);
                    }
                    return;
                }
                if stale == self.told_stale { "update" } else { "gap" }
            }
            Err(_) => {
                self.app.own.events_dropped.inc();
                // The snapshot's own number: what the backlog has beyond it comes after this event.
                self.last = snapshot.seq;
                "gap"
            }
        };
        (self.told_stale, self.update_due) = (stale, false);
        // With the next look: what the backlog has beyond the snapshot is still to come.
        self.unstamped = true;
        self.ready.push_back(frame(&wire_map::as_it_is(kind, &snapshot, board, now, walls)));
    }

    /// A sign of life, which only an agent that evaluates may give.
    fn beat(&mut self) {
        if Mono::now() < self.next_beat {
            return;
        }
        self.next_beat = Mono::now() + self.app.heartbeat;
        // With the next look, which is now.
        self.unstamped = true;
    }

    /// Says that what was told is everything up to the evaluation `at`, in one piece with the last event.
    fn stamp(&mut self, at: Boot) {
        let stamp = format!(":at {}\n\n", at.as_nanos());
        let last = self.ready.pop_back().unwrap_or_default();
        self.ready.push_back([&*last, stamp.as_bytes()].concat().into());
    }

    fn pause(&self) -> Duration {
        let board = &self.app.board;
        let beat = self.next_beat.since(Mono::now());
        if self.told_stale {
            return beat.min(Duration::from_millis(250));
        }
        let stale = (board.last_evaluated() + board.stale_after()).since(Boot::now());
        // Timers are of whole milliseconds; one more, so as not to look just before it is stale.
        beat.min(stale + Duration::from_millis(1))
    }
}

async fn changed(connections: &mut Option<Connections>) {
    match connections {
        Some(connections) => connections.changed().await,
        None => std::future::pending().await,
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.app.own.event_clients.dec();
    }
}

fn frame(change: &wire::Change) -> Bytes {
    // JSON without line feeds: serde_json escapes them in strings.
    let data = serde_json::to_string(change).expect("strings and numbers only");
    format!("id: {}\nevent: {}\ndata: {data}\n\n", change.seq, change.kind).into()
}

/// Without a number: what is resumed are the network's changes, and these come whole on each stream.
fn connection_frame(event: &wire::ConnectionEvent) -> Bytes {
    let data = serde_json::to_string(event).expect("strings and numbers only");
    format!("event: {}\ndata: {data}\n\n", event.kind).into()
}
