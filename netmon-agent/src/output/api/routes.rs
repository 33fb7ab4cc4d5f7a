//! What is asked, and what is answered.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use netmon_client::wire;

use super::{
    App, budget, events, held::SomeRoom, history, page, reply, reports, server::Peer, stream, targets, wait,
    wire_map,
};
use crate::{
    health,
    output::metrics::{self, Writer},
    time::{Boot, Mono},
};

/// From this many targets on a scrape or a status is written outside the runtime's own threads: it takes milliseconds.
pub(super) const BIG: usize = 200;
/// Where metrics are.
pub(super) const METRICS: &str = "/metrics";

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/v1/status", get(status))
        .route("/v1/wait", get(wait::handler))
        .route("/v1/events", get(events::events))
        .route(budget::PATH, post(budget::ask))
        .route("/v1/history", get(history::handler))
        .route("/v1/connections/{name}", reports::route())
        .route("/v1/targets", get(targets::all))
        .route("/v1/targets/{name}", targets::route())
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route(METRICS, get(metrics))
        .fallback(async || reply::error(StatusCode::NOT_FOUND, NOT_FOUND))
        .method_not_allowed_fallback(async |uri: Uri| {
            let only = if uri.path() == budget::PATH { budget::METHOD } else { "this is read with GET only" };
            reply::error(StatusCode::METHOD_NOT_ALLOWED, only)
        })
        .with_state(app)
}

const NOT_FOUND: &str = "no such path; there are: /, /v1/status, /v1/wait, /v1/events, /v1/history, /v1/connections/NAME, /v1/targets, /v1/targets/NAME, /v1/retry-budget, /healthz, /readyz, /metrics";

async fn status(
    State(app): State<Arc<App>>,
    _: SomeRoom,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let pairs = query.map_or_else(|_| Vec::new(), |Query(pairs)| pairs);
    match pairs.iter().find(|(name, _)| name == "only").map(|(_, value)| value.as_str()) {
        None => of_status(app, |status| reply::json(StatusCode::OK, status)).await,
        Some("devices") => {
            app.refresher.refresh().await;
            let (snapshot, walls) = (app.board.snapshot(), app.walls.now());
            let status = wire_map::status_of_devices(&snapshot, &app.board, Boot::now(), walls);
            reply::json(StatusCode::OK, &status)
        }
        Some(other) => reply::error(StatusCode::BAD_REQUEST, &format!("only={other:?}; there is: devices")),
    }
}

/// The state as of now, as `write` has it.
async fn of_status(app: Arc<App>, write: fn(&wire::Status) -> Response) -> Response {
    app.refresher.refresh().await;
    if app.board.snapshot().targets.len() < BIG {
        return write(&told(&app));
    }
    // Never closed, so this waits and does not fail.
    let permit = app.big_statuses.clone().acquire_owned().await;
    let made = tokio::task::spawn_blocking(move || {
        // Held until the work is done, even if the client has gone.
        let _permit = permit;
        write(&told(&app))
    });
    let failed = |_| reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the state could not be written");
    made.await.unwrap_or_else(failed)
}

fn told(app: &App) -> wire::Status {
    let walls = app.walls.now();
    let connections = reports::told(&app.connections, walls);
    wire::Status { connections, ..wire_map::status(&app.board.snapshot(), &app.board, Boot::now(), walls) }
}

/// Whether the core evaluates: for those who restart what hangs.
async fn healthz(State(app): State<Arc<App>>) -> Response {
    let now = Boot::now();
    if app.board.is_stale(now) {
        let said = format!("stale: {}\n", wire_map::stale_reason(&app.board, now).detail);
        return text(StatusCode::SERVICE_UNAVAILABLE, said);
    }
    text(StatusCode::OK, "ok\n".into())
}

/// Whether there is a verdict, whatever it is.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    let now = Boot::now();
    let state = app.board.snapshot().verdict.state;
    if app.board.is_stale(now) {
        let said = format!("stale: {}\n", wire_map::stale_reason(&app.board, now).detail);
        return text(StatusCode::SERVICE_UNAVAILABLE, said);
    }
    let status = match state {
        health::State::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    text(status, format!("{state}\n"))
}

fn text(status: StatusCode, text: String) -> Response {
    reply::body(status, "text/plain; charset=utf-8", text)
}

async fn metrics(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let is_big = app.board.snapshot().targets.len() >= BIG;
    // A big one is sent while it is written, and needs none.
    if !is_big && let Err(none) = SomeRoom::find(&app, peer) {
        return none.into_response();
    }
    let Some(place) = app.scrapes.take(peer.holder(), Mono::now()) else {
        return reply::busy("too many scrapes at once");
    };
    app.refresher.refresh().await;
    let format = metrics::format(&joined(&headers, header::ACCEPT), app.metrics.native_histograms);
    let gzip = accepts_gzip(&headers);
    let writer = move || if gzip { Writer::compressed(format) } else { Writer::new(format) };
    let body = if is_big {
        // The place goes with it: held until the work is done, even if the client has gone.
        let (tap, body) = stream::open(place);
        let worker = app.clone();
        tokio::task::spawn_blocking(move || exposition(&worker, writer().through(Box::new(tap))));
        body
    } else {
        Body::from(exposition(&app, writer()))
    };
    let mut response = reply::body(StatusCode::OK, format.content_type(), body);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn exposition(app: &App, writer: Writer) -> Vec<u8> {
    let stale = app.board.is_stale(Boot::now());
    let (snapshot, walls) = (app.board.snapshot(), app.walls.now());
    budget::tell(app);
    let connections = app.connections.all();
    metrics::render(&snapshot, &connections, stale, walls, &app.own, app.metrics, writer)
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    metrics::accepts_gzip(&joined(headers, header::ACCEPT_ENCODING))
}

fn joined(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",")
}
