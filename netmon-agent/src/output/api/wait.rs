//! `GET /v1/wait`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use netmon_client::{Condition as Wanted, wire};

use super::{
    App,
    condition::{Condition, Memory, Outcome},
    group::{Member, sleep_until},
    reply::{self, Answer},
    server::Peer,
    wire_map,
};
use crate::{
    history::jobs::{self, Kind, Waiting},
    time::Boot,
};

/// Longest time-out that may be asked for. Without one a wait has no end.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 86_400);

/// What is asked for, and for how long at most.
pub(super) type Asked = (Condition, Option<Duration>);

const PARAMETERS: &str = "state, stable, timeout, device, target";

/// Waits, asked in a way that is none of [`super::plain`].
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let Peer::Unix { uid, pid } = peer else {
        return reply::error(StatusCode::FORBIDDEN, "waiting is for the Unix socket only");
    };
    let parsed = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| parse(&pairs));
    let job = headers.get(jobs::HEADER).and_then(|name| jobs::from_header(name.as_bytes()));
    wait(&app, Who { uid, pid, job }, parsed).await.0.into_response()
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) pid: Option<i32>,
    /// What it calls itself, if anything.
    pub(super) job: Option<String>,
}

/// Waits for what somebody asks; dropped when the client hangs up. What comes with the answer counts the wait's end
/// when it is dropped, which has time until the answer is on its way.
pub(super) async fn wait(app: &App, who: Who, asked: Result<Asked, String>) -> (Answer, Option<Waited<'_>>) {
    let (condition, timeout) = match asked {
        Ok(asked) => asked,
        Err(said) => {
            app.own.wait_ended("bad_request");
            return (Answer::error(StatusCode::BAD_REQUEST, &said), None);
        }
    };
    let started = Boot::now();
    let mut memory = Memory::default();
    let first = condition.check(&app.board.snapshot(), started, !app.board.may_release(started), &mut memory);
    if let Outcome::NoSuch(said) = first {
        app.own.wait_ended("not_found");
        return (Answer::error(StatusCode::NOT_FOUND, &said), None);
    }
    let Some(place) = app.waiters.take(who.uid) else {
        app.own.wait_ended("refused");
        return (Answer::busy("too many programs wait already"), None);
    };
    let waiting = note(app, who, &condition, started);
    let member = app.groups.join(condition, memory);
    let mut waited = Waited { app, member, result: "hangup", _waiting: waiting };
    app.own.wait_clients.inc();
    let deadline = timeout.map(|t| started + t);
    let mut closing = app.closing.clone();
    let mut was_woken = false;
    let answer = loop {
        // Made before the look, so that nothing is missed between the two.
        let woken = waited.member.woken();
        let (outcome, published) = waited.member.look();
        let now = Boot::now();
        match outcome {
            Outcome::Satisfied { state } => {
                if let Some(published) = published.filter(|_| was_woken) {
                    app.own.woke(now.since(published));
                }
                waited.result = "satisfied";
                break answer(app, started, state, None);
            }
            Outcome::NoSuch(said) => {
                waited.result = "not_found";
                break Answer::error(StatusCode::NOT_FOUND, &said);
            }
            // In boot time, so a suspended machine's waiters end with it.
            Outcome::Blocked { state, reasons, .. } if deadline.is_some_and(|d| now >= d) => {
                waited.result = "timeout";
                break answer(app, started, state, Some(reasons));
            }
            Outcome::Blocked { .. } => {}
        }
        tokio::select! {
            () = woken => was_woken = true,
            () = sleep_until(deadline, now) => was_woken = false,
            () = place.evicted() => {
                waited.result = "refused";
                break Answer::busy("other users' programs need the room");
            }
            _ = closing.wait_for(|closing| *closing) => {
                waited.result = "shutdown";
                break Answer::busy("the agent is shutting down");
            }
        }
    };
    (answer, Some(waited))
}

/// Has the history know who waits, if it is for the end of an outage. Now, and not at the end of the wait, when ten thousand
/// may be released at once.
fn note(app: &App, who: Who, condition: &Condition, now: Boot) -> Option<Waiting> {
    let ledger = app.ledger.as_ref()?;
    if !matches!(condition.wanted, Wanted::Up | Wanted::Usable) {
        return None;
    }
    let job = who.job.unwrap_or_else(|| jobs::name_of(who.pid));
    let (device, target) = (condition.device.clone(), condition.target.clone());
    Some(ledger.jobs.begin(Kind { job, uid: who.uid, device, target }, now))
}

fn answer(
    app: &App,
    started: Boot,
    state: crate::health::State,
    blocking: Option<Vec<wire::Reason>>,
) -> Answer {
    let waited = wire::Waited {
        satisfied: blocking.is_none(),
        state: wire_map::state(state),
        seq: app.board.snapshot().seq,
        waited_seconds: Boot::now().since(started).as_secs_f64(),
        blocking: blocking.unwrap_or_default(),
    };
    Answer::json(if waited.satisfied { StatusCode::OK } else { StatusCode::CONFLICT }, &waited)
}

/// A wait that was let in. Dropping it counts its end, also when the client hangs up and the wait is simply dropped.
#[derive(Debug)]
pub(super) struct Waited<'a> {
    app: &'a App,
    member: Member,
    result: &'static str,
    _waiting: Option<Waiting>,
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        self.app.own.wait_ended(self.result);
        self.app.own.wait_clients.dec();
    }
}

/// The question in a query's parameters, or what is wrong with it.
pub(super) fn parse(pairs: &[(String, String)]) -> Result<Asked, String> {
    let mut condition = Condition::default();
    let mut timeout = None;
    for (i, (name, value)) in pairs.iter().enumerate() {
        if pairs[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("parameter {name:?} comes twice"));
        }
        // Clients that build a URL from a template send what they don't use as empty.
        if value.is_empty() && PARAMETERS.split(", ").any(|p| p == name) {
            continue;
        }
        match name.as_str() {
            "state" => condition.wanted = value.parse()?,
            "stable" => condition.stable = duration(name, value)?,
            "timeout" => timeout = Some(duration(name, value)?),
            "device" => condition.device = Some(value.clone()),
            "target" => condition.target = Some(value.clone()),
            _ => return Err(format!("unknown parameter {name:?}; there are: {PARAMETERS}")),
        }
    }
    Ok((condition, timeout))
}

fn duration(name: &str, value: &str) -> Result<Duration, String> {
    let bad = || format!("{name}={value:?} is no duration; it reads like 10s, 500ms, 1m30s, at most 30d");
    humantime::parse_duration(value).ok().filter(|d| *d <= MAX_TIMEOUT).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use netmon_client::Condition as Wanted;

    use super::*;

    fn parsed(query: &str) -> Result<Asked, String> {
        let pairs: Vec<_> =
            query.split('&').filter_map(|p| p.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
        parse(&pairs)
    }

    #[test]
    fn parameters_are_taken_or_named() {
        let (condition, timeout) =
            parsed("state=usable&stable=1m30s&timeout=500ms&device=eth0&target=").unwrap();
        let expected = Condition {
            wanted: Wanted::Usable,
            stable: Duration::from_secs(90),
            device: Some("eth0".into()),
            target: None,
        };
        assert_eq!((condition, timeout), (expected, Some(Duration::from_millis(500))));
        assert_eq!(parsed("").unwrap(), (Condition::default(), None));
        let refused = |query: &str| parsed(query).unwrap_err();
        assert!(refused("stat=up").contains("\"stat\"") && refused("stat=up").contains(PARAMETERS));
        assert!(refused("state=unknown").contains("up, usable, down, degraded"));
        assert!(refused("stable=5").contains("10s"));
        assert!(refused("timeout=-1s").contains("timeout"));
        assert!(refused("timeout=31d").contains("30d"));
        assert!(refused("state=up&state=down").contains("twice"));
    }
}
