//! `GET /v1/history`.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use jiff::tz::TimeZone;

use super::{App, held::SomeRoom, reply};
use crate::{
    history::{
        self, Clocks, Jobs, LIMITS, Live, MAX_PERIOD, Question, Reader, StoreError, Stretch, Whose, when,
    },
    time::Wall,
};

/// How much is told of when nobody says since when.
const USUAL: &str = "24h";

/// Histories read at one time; who comes then waits.
pub(super) const READERS: usize = 2;

const PARAMETERS: &str = "since, until, subject, limit, zone";

/// What the history has to do with those who ask and wait.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Reads it.
    pub reader: Reader,
    /// Which run is written.
    pub live: Live,
    /// Who waits.
    pub jobs: Jobs,
}

pub(super) async fn handler(
    State(app): State<Arc<App>>,
    _: SomeRoom,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let parsed = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| parse(&pairs, Wall::now()));
    let question = match parsed {
        Ok(question) => question,
        Err(said) => return reply::error(StatusCode::BAD_REQUEST, &said),
    };
    let Some(ledger) = app.ledger.clone() else {
        return reply::error(StatusCode::NOT_FOUND, "no history is kept: it is off in the configuration");
    };
    // Never closed, so this waits and does not fail.
    let permit = app.histories.clone().acquire_owned().await;
    let made = tokio::task::spawn_blocking(move || {
        // Held until the work is done, even if the client has gone.
        let _permit = permit;
        answer(&app, &ledger, &question)
    });
    let failed = |_| reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the history could not be told");
    made.await.unwrap_or_else(failed)
}

fn answer(app: &App, ledger: &Ledger, question: &Question) -> Response {
    match ledger.reader.load_by(question.window.from, &Clocks::now()) {
        Ok(mut records) => {
            let seen = app.board.last_evaluated();
            let live = ledger.live.run().filter(|run| records.keep_alive(*run, seen));
            reply::json(StatusCode::OK, &history::answer(&records, question, live))
        }
        Err(error @ StoreError::Missing(_)) => {
            let missing = app.board.snapshot();
            let why = missing.capabilities.iter().find(|c| c.name == history::CAPABILITY && !c.ok);
            let why = why.map_or_else(|| error.to_string(), |c| format!("{}; {}", c.detail, c.remedy));
            reply::error(StatusCode::NOT_FOUND, &format!("no history is kept: {why}"))
        }
        Err(error @ StoreError::TooMuch(_)) => reply::error(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, &format!("the history: {error}")),
    }
}

/// The question in a query's parameters, or what is wrong with it.
fn parse(pairs: &[(String, String)], now: Wall) -> Result<Question, String> {
    for (i, (name, _)) in pairs.iter().enumerate() {
        if !PARAMETERS.split(", ").any(|p| p == name) {
            return Err(format!("unknown parameter {name:?}; there are: {PARAMETERS}"));
        }
        if pairs[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("parameter {name:?} comes twice"));
        }
    }
    // Clients that build a URL from a template send what they don't use as empty.
    let given = |wanted: &str| {
        let found = pairs.iter().find(|(name, value)| name == wanted && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    };
    let zone = match given("zone") {
        Some(name) => TimeZone::get(name).map_err(|_| {
            format!("zone={name:?} is no time zone here; it reads like Europe/Berlin, or UTC")
        })?,
        None => TimeZone::system(),
    };
    let time = |name: &str, usual: &str| {
        when(given(name).unwrap_or(usual), now, &zone).map_err(|said| format!("{name}: {said}"))
    };
    let (from, to) = (time("since", USUAL)?, time("until", "now")?);
    if from >= to {
        return Err("since is not before until: nothing lies between".to_owned());
    }
    let window = Stretch { from, to };
    if window.length() > MAX_PERIOD {
        return Err(format!("more than {} days at once", MAX_PERIOD.as_secs() / 86_400));
    }
    let limit = match given("limit") {
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=LIMITS.1).contains(n))
            .ok_or_else(|| format!("limit={text:?} is no number of outages from 1 to {}", LIMITS.1))?,
        None => LIMITS.0,
    };
    Ok(Question { window, subject: given("subject").map(Whose::read), limit, zone })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Subject;

    const NOW: Wall = Wall::from_nanos(1_700_000_000_000_000_000);

    fn parsed(query: &str) -> Result<Question, String> {
        let pairs: Vec<_> =
            query.split('&').filter_map(|p| p.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
        parse(&pairs, NOW)
    }

    #[test]
    fn parameters_are_taken_or_named() {
        let usual = parsed("").unwrap();
        assert_eq!((usual.window.to, usual.window.length()), (NOW, Duration::from_secs(86_400)));
        assert_eq!((usual.subject, usual.limit), (None, LIMITS.0));
        let asked = parsed("since=2h&until=1h&subject=device:eth0&limit=5&zone=UTC").unwrap();
        assert_eq!(asked.window.length(), Duration::from_secs(3600));
        assert_eq!(asked.subject, Some(Whose::Exactly(Subject::Device("eth0".into()))));
        assert_eq!((asked.limit, asked.zone), (5, TimeZone::UTC));
        for (query, words) in [
            ("sinc=1h", PARAMETERS),
            ("since=1h&since=2h", "twice"),
            ("since=soon", "since: "),
            ("since=1h&until=2h", "not before"),
            ("since=1000y", "3660 days"),
            ("limit=0", "from 1 to 10000"),
            ("limit=10001", "from 1 to 10000"),
            ("zone=Mars/Olympus", "Mars/Olympus"),
        ] {
            let said = parsed(query).unwrap_err();
            assert!(said.contains(words), "{query}: {said}");
        }
    }
}
