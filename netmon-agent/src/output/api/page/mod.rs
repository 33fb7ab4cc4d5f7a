//! `GET /`: the state for a person with a browser.
//!
//! Written whole by the agent, so that it can be read without scripts; then it loads itself anew. With its own script it
//! listens to events, and after one asks for what changes (`part=live`) and puts that in place. However many targets there
//! are, a page has one sheet of them, the worst first; what it shows of each is drawn from what the agent holds anyhow.
//!
//! | file | what |
//! |---|---|
//! | `question` | what is asked for in the address (pure) |
//! | `pick` | which targets a sheet has (pure) |
//! | `past` | the last days by the ledger, read now and then |
//! | `shell` | the document, what may run in it |
//! | `verdict`, `targets`, `devices`, `outages`, `connections`, `about` | its parts |
//! | `spark`, `marks`, `words` | drawings, shapes, sentences |
//! | `live.js`, `style.css` | the script and the style |

mod about;
mod connections;
mod devices;
mod marks;
mod outages;
mod past;
mod pick;
mod question;
mod shell;
mod spark;
mod targets;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use jiff::tz::TimeZone;
use netmon_client::wire;

use self::{past::Past, question::Question, verdict::Told, words::Clock};
use super::{App, held::SomeRoom, reply, reports, routes::BIG, server::Peer, wire_map};
use crate::{health, state::Snapshot, time::Boot};

pub(super) use past::Cache;

/// Pages written at one time; who comes then waits.
pub(super) const WRITERS: usize = 2;

/// Figures on a page may be so old for each target that there is: all of them made anew for each page would cost a core of
/// 10,000 targets more than its probes do. The state is never old.
const FIGURES: Duration = Duration::from_micros(500);

/// What a page is made of.
struct View<'a> {
    asked: &'a Question,
    snapshot: &'a Snapshot,
    /// The state over all; unknown where nobody looks any more.
    state: health::State,
    reasons: Told,
    is_stale: bool,
    connections: Vec<wire::Connection>,
    past: Option<Arc<Past>>,
    clock: Clock,
    host: String,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    _: SomeRoom,
    peer: Option<Extension<Peer>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let parsed = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| Question::parse(&pairs));
    let asked = match parsed {
        Ok(asked) => asked,
        Err(said) => return reply::error(StatusCode::BAD_REQUEST, &said),
    };
    let targets = app.board.snapshot().targets.len();
    app.refresher.refresh_older_than(FIGURES * u32::try_from(targets).unwrap_or(u32::MAX)).await;
    let past = past::past(&app).await;
    // Never closed, so this waits and does not fail.
    let permit = app.pages.clone().acquire_owned().await;
    let writer = app.clone();
    let write = move || {
        // Held until the work is done, even if the client has gone.
        let _permit = permit;
        written(&writer, &asked, past)
    };
    let made = if targets < BIG { Ok(write()) } else { tokio::task::spawn_blocking(write).await };
    let Ok(text) = made else {
        return reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written");
    };
    let mut response = reply::body(StatusCode::OK, "text/html; charset=utf-8", text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, shell::POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if matches!(peer, Some(Extension(Peer::Tcp(_)))) {
        // A page that asks now and then is not to keep one of few connections meanwhile.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn written(app: &App, asked: &Question, past: Option<Arc<Past>>) -> String {
    let (snapshot, now, walls) = (app.board.snapshot(), Boot::now(), app.walls.now());
    let stale = app.board.is_stale(now).then(|| wire_map::stale_reason(&app.board, now));
    let view = View {
        asked,
        snapshot: &snapshot,
        state: if stale.is_some() { health::State::Unknown } else { snapshot.verdict.state },
        is_stale: stale.is_some(),
        reasons: Told::of(stale, &snapshot.verdict),
        connections: reports::told(&app.connections, walls),
        past,
        clock: Clock { now, walls, zone: TimeZone::system() },
        host: host(),
    };
    html(&view)
}

fn html(view: &View<'_>) -> String {
    if view.asked.part { shell::live(view) } else { shell::document(view) }.into_string()
}

/// The machine's name, of which there may be many pages in a browser.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
