//! `PUT` and `DELETE /v1/connections/NAME`: a program reports a connection that it holds, and what of it is shown.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    extract::{Extension, Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Version, header},
    response::Response,
    routing::{MethodRouter, put},
};
use hyper::rt::{Sleep, Timer};
use netmon_client::wire::{self, ConnectionReport};
use tokio::{sync::watch, time::timeout};

use super::{
    App,
    connections::{Connections, Refusal, Reported, Reporter},
    events::AT_ONCE,
    reply,
};
use crate::{output::WallOffset, time::Boot};

/// Largest body of a report, bytes.
const MAX_BODY: usize = 4 << 10;
/// What a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection that idles is looked at, whether it still reports something.
const LOOK: Duration = Duration::from_secs(30);
/// When to try again where there is no room.
const FULL: HeaderValue = HeaderValue::from_static("60");

/// There over the Unix socket only.
type Over = Option<Extension<Arc<Reporter>>>;
type Name = Result<Path<String>, PathRejection>;

pub(super) fn route() -> MethodRouter<Arc<App>> {
    put(report).delete(forget).fallback(async || {
        let said = "a connection is told by PUT and DELETE; GET /v1/status has them all";
        reply::error(StatusCode::METHOD_NOT_ALLOWED, said)
    })
}

async fn report(State(app): State<Arc<App>>, over: Over, name: Name, request: Request) -> Response {
    answer(&app, take(over, name, request).await)
}

async fn forget(State(app): State<Arc<App>>, over: Over, name: Name) -> Response {
    let forgotten = || -> Result<(), Fault> {
        let (reporter, name) = whose(over, name)?;
        Ok(reporter.forget(&name, Boot::now())?)
    };
    answer(&app, forgotten())
}

async fn take(over: Over, name: Name, request: Request) -> Result<(), Fault> {
    let (reporter, name) = whose(over, name)?;
    if ends(request.version(), request.headers()) {
        let said = "a report lasts as long as its connection, and this one ends with the answer: keep it open (HTTP/1.1, without Connection: close)";
        return Err(Fault::Said(StatusCode::BAD_REQUEST, said.into()));
    }
    let report = read(request.into_body()).await?;
    Ok(reporter.report(&name, report, Boot::now())?)
}

fn whose(over: Over, name: Name) -> Result<(Arc<Reporter>, String), Fault> {
    let Some(Extension(reporter)) = over else {
        return Err(Fault::Said(
            StatusCode::FORBIDDEN,
            "connections are reported over the Unix socket only".into(),
        ));
    };
    let Path(name) = name.map_err(|e| Fault::Said(StatusCode::BAD_REQUEST, e.body_text()))?;
    Ok((reporter, name))
}

/// Whether the connection is over after this request (RFC 9112, section 9.3).
fn ends(version: Version, headers: &HeaderMap) -> bool {
    let options = headers.get_all(header::CONNECTION);
    let says = |word: &str| {
        let mut values = options.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        values.any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    says("close") || version < Version::HTTP_11 && !says("keep-alive")
}

async fn read(body: Body) -> Result<ConnectionReport, Fault> {
    let said = |status, text: String| Fault::Said(status, text);
    let bytes = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let text = format!("the body could not be read, or has more than {MAX_BODY} bytes");
            return Err(said(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Err(_) => {
            let text = format!("the body took more than {} s to come", BODY_TIMEOUT.as_secs());
            return Err(said(StatusCode::REQUEST_TIMEOUT, text));
        }
    };
    serde_json::from_slice(&bytes).map_err(|e| {
        let text = format!(
            "the body is no report: {e}; it reads like {{\"client\":\"backup\",\"state\":\"connected\"}}"
        );
        said(StatusCode::BAD_REQUEST, text)
    })
}

/// Why a request is not done.
enum Fault {
    Said(StatusCode, String),
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn answer(app: &App, result: Result<(), Fault>) -> Response {
    let too_fast =
        || "too many reports of this user; 50 a second, and one new name a second, is the pace".to_owned();
    let (status, said) = match result {
        Ok(()) => {
            app.own.reported("ok");
            return reply::json(StatusCode::OK, &serde_json::json!({ "ok": true }));
        }
        Err(Fault::Said(status, said)) => (status, said),
        Err(Fault::Refused(refusal)) => match refusal {
            Refusal::Bad(said) => (StatusCode::BAD_REQUEST, said),
            Refusal::Taken(said) => (StatusCode::CONFLICT, said),
            Refusal::Unknown(said) => (StatusCode::NOT_FOUND, said),
            Refusal::Full(said) => (StatusCode::SERVICE_UNAVAILABLE, said),
            Refusal::TooFast => (StatusCode::TOO_MANY_REQUESTS, too_fast()),
        },
    };
    app.own.reported(match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "limited",
        _ => "refused",
    });
    let mut response = reply::error(status, &said);
    let again = match status {
        StatusCode::SERVICE_UNAVAILABLE => FULL,
        StatusCode::TOO_MANY_REQUESTS => HeaderValue::from_static("1"),
        _ => return response,
    };
    response.headers_mut().insert(header::RETRY_AFTER, again);
    response
}

/// As others see them.
pub(super) fn told(connections: &Connections, walls: WallOffset) -> Vec<wire::Connection> {
    connections.all().iter().map(|reported| of(reported, walls)).collect()
}

fn of(reported: &Reported, walls: WallOffset) -> wire::Connection {
    wire::Connection {
        client: reported.client.clone(),
        uid: reported.uid,
        name: reported.name.clone(),
        state: reported.state,
        since: walls.rfc3339(reported.since),
        since_boottime_ns: reported.since.as_nanos(),
        attempts: reported.attempts,
        reconnects: reported.reconnects,
        last_error: reported.last_error.clone(),
        last_success: reported.last_success.map(|at| walls.rfc3339(at)),
        uptime_ratio: reported.uptime_ratio,
    }
}

/// Follows the connections for one stream of events. It holds no queue: it is a number in the registry's backlog.
#[derive(Debug)]
pub(super) struct Follower {
    connections: Connections,
    version: watch::Receiver<u64>,
    /// None before the first word.
    seen: Option<u64>,
}

impl Follower {
    pub(super) fn new(connections: &Connections) -> Self {
        Self { version: connections.subscribe(), connections: connections.clone(), seen: None }
    }

    /// Returns when there is something new.
    pub(super) async fn changed(&mut self) {
        // The sender lives as long as `connections`.
        if self.version.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is new, a few changes at a time: until nothing comes there may be more.
    pub(super) fn collect(&mut self, now: Boot, walls: WallOffset) -> Vec<wire::ConnectionEvent> {
        let version = *self.version.borrow_and_update();
        let event = |at, kind: &str, connections, gone| wire::ConnectionEvent {
            at: walls.rfc3339(at),
            kind: kind.to_owned(),
            connections,
            gone,
        };
        let changes = match self.seen {
            Some(seen) if seen == version => return Vec::new(),
            Some(seen) => self.connections.next_changes(seen, AT_ONCE),
            None => None,
        };
        let Some(changes) = changes else {
            // All that there are, as of now or of a moment later: a change that comes meanwhile is told again.
            self.seen = Some(version);
            return vec![event(now, "connections", told(&self.connections, walls), false)];
        };
        self.seen = self.seen.map(|seen| seen + changes.len() as u64);
        let one = |c: &Arc<super::connections::Changed>| {
            event(c.at, "connection", vec![of(&c.reported, walls)], c.gone)
        };
        changes.iter().map(one).collect()
    }
}

/// Times the headers of one connection to the socket: hyper counts the pause between two requests as part of the
/// next one's header, and a program that reports may have nothing to say for hours.
#[derive(Clone, Debug)]
pub(super) struct Patient(pub(super) Arc<Reporter>);

impl Timer for Patient {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.until(tokio::time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.until(tokio::time::sleep_until(deadline.into()))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Patient {
    fn until(&self, sleep: tokio::time::Sleep) -> Pin<Box<dyn Sleep>> {
        Box::pin(Pause { sleep: Box::pin(sleep), reporter: self.0.clone() })
    }
}

/// Ends when the time has come and nothing is reported over the connection.
struct Pause {
    sleep: Pin<Box<tokio::time::Sleep>>,
    reporter: Arc<Reporter>,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if !self.reporter.holds_any() {
                return Poll::Ready(());
            }
            self.sleep = Box::pin(tokio::time::sleep(LOOK));
        }
    }
}

impl Sleep for Pause {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_with_the_answer_is_known() {
        let headers = |value: &str| -> HeaderMap {
            [(header::CONNECTION, HeaderValue::from_str(value).unwrap())].into_iter().collect()
        };
        assert!(!ends(Version::HTTP_11, &HeaderMap::new()) && ends(Version::HTTP_10, &HeaderMap::new()));
        assert!(ends(Version::HTTP_11, &headers("te, Close")));
        assert!(!ends(Version::HTTP_10, &headers("Keep-Alive")));
    }

    #[test]
    fn who_follows_is_told_a_few_changes_at_a_time() {
        let connections = Connections::new(0);
        let walls = crate::output::WallAnchor::default().now();
        let mut follower = Follower::new(&connections);
        assert_eq!(follower.collect(Boot::now(), walls).len(), 1, "all there are");
        let reporter = connections.reporter(0);
        for n in 0..AT_ONCE + 5 {
            let report = ConnectionReport { client: "c".into(), ..ConnectionReport::default() };
            reporter.report(&format!("{n}"), report, Boot::now()).unwrap();
        }
        let mut told = || {
            let events = follower.collect(Boot::now(), walls);
            events.iter().map(|e| e.connections[0].name.clone()).collect::<Vec<_>>()
        };
        let (first, second) = (told(), told());
        assert_eq!((first.len(), second.len()), (AT_ONCE, 5));
        assert_eq!(second[0], AT_ONCE.to_string());
        assert!(told().is_empty());
    }

    #[tokio::test]
    async fn a_connection_may_idle_while_something_is_reported_over_it() {
        let connections = Connections::new(0);
        let reporter = Arc::new(connections.reporter(0));
        let pause = || Patient(reporter.clone()).sleep(Duration::from_millis(5));
        timeout(Duration::from_secs(20), pause()).await.unwrap();
        let report = ConnectionReport { client: "c".into(), ..ConnectionReport::default() };
        reporter.report("a", report, Boot::now()).unwrap();
        timeout(Duration::from_millis(100), pause()).await.unwrap_err();
        reporter.forget("a", Boot::now()).unwrap();
        timeout(Duration::from_secs(20), pause()).await.unwrap();
    }
}
