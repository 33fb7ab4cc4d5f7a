//! `GET /v1/wait`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{self, Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use netmon_client::{Condition as Wanted, wire};

use super::{
    App,
    condition::{Condition, Memory, Outcome},
    group::{Looked, Member, sleep_until},
    reply::{self, Answer},
    server::Peer,
    shares::Holder,
    ticket::{Fate, Ticket},
    wire_map,
};
use crate::{
    health::State,
    history::jobs::{self, Kind, Waiting},
    time::{Boot, Mono},
};

/// Longest time-out that may be asked for. Without one a wait has no end.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 86_400);

/// What is asked for, and for how long at most.
pub(super) type Asked = (Condition, Option<Duration>);

const PARAMETERS: &str = "state, stable, timeout, device, target";

/// Waits, asked in a way that is none of [`super::plain`].
pub(super) async fn handler(
    extract::State(app): extract::State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let Peer::Unix { uid, pid } = peer else {
        return reply::error(StatusCode::FORBIDDEN, "waiting is for the Unix socket only");
    };
    let parsed = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| parse(&pairs));
    let job = headers.get(jobs::HEADER).and_then(|name| jobs::from_header(name.as_bytes()));
    match wait(&app, Who { uid, pid, job }, parsed, None).await.0 {
        Reply::Say(answer) => answer.into_response(),
        Reply::Said => unreachable!("nobody else answers who has no ticket"),
    }
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) pid: Option<i32>,
    /// What it calls itself, if anything.
    pub(super) job: Option<String>,
}

/// What there is to say at the end of a wait.
#[derive(Debug)]
pub(super) enum Reply {
    /// This.
    Say(Answer),
    /// Nothing: the ticket was answered, or its peer is gone.
    Said,
}

/// Waits for what somebody asks; dropped when the client hangs up. Who has a ticket may be answered by its group. What
/// comes with the reply counts the wait's end when it is dropped, which has time until the answer is on its way.
pub(super) async fn wait<'a>(
    app: &'a App,
    who: Who,
    asked: Result<Asked, String>,
    ticket: Option<&'a Arc<Ticket>>,
) -> (Reply, Option<Waited<'a>>) {
    let (condition, timeout) = match asked {
        Ok(asked) => asked,
        Err(said) => {
            app.own.wait_ended("bad_request");
            return (Reply::Say(Answer::error(StatusCode::BAD_REQUEST, &said)), None);
        }
    };
    let started = ticket.map_or_else(Boot::now, |ticket| ticket.started);
    let mut memory = Memory::default();
    let first = condition.check(&app.board.snapshot(), started, !app.board.may_release(started), &mut memory);
    if let Outcome::NoSuch(said) = first {
        app.own.wait_ended("not_found");
        return (Reply::Say(Answer::error(StatusCode::NOT_FOUND, &said)), None);
    }
    let Some(place) = app.waiters.take(Holder::User(who.uid), Mono::now()) else {
        app.own.wait_ended("refused");
        return (Reply::Say(Answer::busy("too many programs wait already")), None);
    };
    let waiting = note(app, who, &condition, started);
    let member = app.groups.join(condition, memory, ticket);
    let mut waited = Waited { app, member, ticket, result: "hangup", _waiting: waiting };
    app.own.wait_clients.inc();
    let deadline = timeout.map(|t| started + t);
    let mut closing = app.closing.clone();
    let (mut was_woken, mut is_mine) = (false, ticket.is_none());
    let reply = loop {
        // Made before the look, so that nothing is missed between the two.
        let woken = waited.member.woken();
        if ticket.is_some_and(|ticket| matches!(ticket.fate(), Fate::Answered | Fate::Broken)) {
            break Reply::Said;
        }
        let Looked { outcome, seq, published, at: now } = waited.member.look();
        let told = Told { seq, waited: now.since(started) };
        let end = match outcome {
            Outcome::Satisfied { state } => {
                let published = published.filter(|_| was_woken);
                Some(("satisfied", told.answer(state, None), published))
            }
            Outcome::NoSuch(said) => Some(("not_found", Answer::error(StatusCode::NOT_FOUND, &said), None)),
            // In boot time, so a suspended machine's waiters end with it.
            Outcome::Blocked { state, reasons, .. } if deadline.is_some_and(|d| now >= d) => {
                Some(("timeout", told.answer(state, Some(reasons)), None))
            }
            Outcome::Blocked { .. } => None,
        };
        let end = match end {
            Some(end) => end,
            None => tokio::select! {
                () = woken => {
                    was_woken = true;
                    continue;
                }
                () = sleep_until(deadline, now) => {
                    was_woken = false;
                    continue;
                }
                () = place.evicted() => {
                    ("refused", Answer::busy("other users' programs need the room"), None)
                }
                _ = closing.wait_for(|closing| *closing) => {
                    ("shutdown", Answer::busy("the agent is shutting down"), None)
                }
            },
        };
        let (result, answer, published) = end;
        if !is_mine {
            match waited.take().await {
                Taken::AtOnce => {}
                // What was found out before that may be so no longer.
                Taken::Late if matches!(result, "satisfied" | "timeout") => {
                    is_mine = true;
                    continue;
                }
                Taken::Late => {}
                Taken::Never => break Reply::Said,
            }
        }
        if let Some(published) = published {
            app.own.woke(now.since(published));
        }
        waited.result = result;
        break Reply::Say(answer);
    };
    (reply, Some(waited))
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

/// What every answer tells.
struct Told {
    seq: u64,
    waited: Duration,
}

impl Told {
    fn answer(&self, state: State, blocking: Option<Vec<wire::Reason>>) -> Answer {
        let waited = wire::Waited {
            satisfied: blocking.is_none(),
            state: wire_map::state(state),
            seq: self.seq,
            waited_seconds: self.waited.as_secs_f64(),
            blocking: blocking.unwrap_or_default(),
        };
        Answer::json(if waited.satisfied { StatusCode::OK } else { StatusCode::CONFLICT }, &waited)
    }
}

/// A wait that was let in. Dropping it counts its end, also when the client hangs up and the wait is simply dropped.
#[derive(Debug)]
pub(super) struct Waited<'a> {
    app: &'a App,
    member: Member,
    ticket: Option<&'a Arc<Ticket>>,
    result: &'static str,
    _waiting: Option<Waiting>,
}

/// Whether the answer is the waiter's own to give.
enum Taken {
    AtOnce,
    /// Somebody had begun, and could not.
    Late,
    /// It was given.
    Never,
}

impl Waited<'_> {
    /// Takes the answer from the group. One that is being given is awaited.
    async fn take(&self) -> Taken {
        let mut taken = Taken::AtOnce;
        let Some(ticket) = self.ticket else { return taken };
        loop {
            let woken = self.member.woken();
            match ticket.take() {
                Ok(()) => return taken,
                Err(Fate::Answered | Fate::Broken) => return Taken::Never,
                Err(Fate::Open) => taken = Taken::Late,
                Err(Fate::Underway) => {
                    taken = Taken::Late;
                    // Whoever is at it wakes all members when done.
                    woken.await;
                }
            }
        }
    }
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        // A peer that hangs up may have its answer: it need not wait until this task has heard of it. From here on nobody
        // begins to give one.
        let is_given = |fate| matches!(fate, Fate::Underway | Fate::Answered);
        if self.ticket.is_some_and(|ticket| ticket.take().is_err_and(is_given)) {
            self.result = "satisfied";
        }
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
