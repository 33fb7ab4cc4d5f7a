//! `POST /v1/retry-budget`: a retry asked for, or what it had cost given back.

use std::sync::{Arc, MutexGuard, PoisonError};

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use netmon_client::{Spending, wire};

use super::{App, reply, server::Peer};
use crate::{
    budget::{Bucket, Settings},
    time::Boot,
};

pub(super) const PATH: &str = "/v1/retry-budget";
pub(super) const METHOD: &str = "this is asked with POST only: each question may take from the budget";

/// A body is not read: the question is in the parameters.
pub(super) async fn ask(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let Peer::Unix { uid, .. } = peer else {
        return reply::error(StatusCode::FORBIDDEN, "the retry budget is for the Unix socket only");
    };
    let asked = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| parse(&pairs));
    let asked = match asked {
        Ok(asked) => asked,
        Err(said) => {
            app.own.asked_for_retry("bad_request");
            return reply::error(StatusCode::BAD_REQUEST, &said);
        }
    };
    let (answer, result) = answer(&mut bucket(&app), Boot::now(), uid, asked);
    app.own.asked_for_retry(result);
    if answer.granted {
        return reply::json(StatusCode::OK, &answer);
    }
    let mut response = reply::json(StatusCode::CONFLICT, &answer);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(answer.retry_after));
    response
}

/// Puts what is left into the metrics.
pub(super) fn tell(app: &App) {
    app.own.retry_budget_tokens.set(bucket(app).tokens(Boot::now()));
}

fn bucket(app: &App) -> MutexGuard<'_, Bucket> {
    app.budget.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer, and the word for it in the metrics.
fn answer(bucket: &mut Bucket, now: Boot, uid: u32, asked: Spending) -> (wire::Budget, &'static str) {
    let Settings { transient, throttle, .. } = bucket.settings();
    let (cost, grant) = match asked {
        Spending::Transient => (transient, bucket.take(now, uid, transient)),
        Spending::Throttle => (throttle, bucket.take(now, uid, throttle)),
        // No retry costs more, so none gives back more.
        Spending::Success { cost } => (0, bucket.give_back(now, uid, cost.min(transient.max(throttle)))),
    };
    let result = match asked {
        Spending::Success { .. } => "returned",
        _ if grant.granted => "granted",
        _ => "refused",
    };
    let retry_after = grant.retry_after.as_secs() + u64::from(grant.retry_after.subsec_nanos() > 0);
    (wire::Budget { granted: grant.granted, cost, tokens: grant.tokens as u32, retry_after }, result)
}

fn parse(pairs: &[(String, String)]) -> Result<Spending, String> {
    let (mut kind, mut cost) = (None, None);
    for (name, value) in pairs {
        let place = match name.as_str() {
            "kind" => &mut kind,
            "cost" => &mut cost,
            _ => return Err(format!("unknown parameter {name:?}; there are: kind, cost")),
        };
        if place.replace(value.as_str()).is_some() {
            return Err(format!("parameter {name:?} comes twice"));
        }
    }
    match (kind, cost) {
        (Some("transient"), None) => Ok(Spending::Transient),
        (Some("throttle"), None) => Ok(Spending::Throttle),
        (Some("success"), Some(cost)) => match cost.parse() {
            Ok(cost) => Ok(Spending::Success { cost }),
            Err(_) => Err(format!("cost={cost:?} is no number of tokens")),
        },
        (Some("success"), None) => {
            Err("kind=success needs cost=, what the retry had cost by its answer".to_owned())
        }
        (Some("transient" | "throttle"), Some(_)) => Err("cost= is for kind=success only".to_owned()),
        (Some(other), _) => Err(format!("no kind {other:?}; there are: transient, throttle, success")),
        (None, _) => Err("kind= is missing; there are: transient, throttle, success".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<Spending, String> {
        let pairs: Vec<_> =
            query.split('&').filter_map(|p| p.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
        parse(&pairs)
    }

    #[test]
    fn questions_are_taken_or_named() {
        assert_eq!(parsed("kind=transient"), Ok(Spending::Transient));
        assert_eq!(parsed("kind=throttle"), Ok(Spending::Throttle));
        assert_eq!(parsed("kind=success&cost=14"), Ok(Spending::Success { cost: 14 }));
        for (query, word) in [
            ("", "missing"),
            ("kind=other", "\"other\""),
            ("kind=success", "cost="),
            ("kind=success&cost=-1", "no number"),
            ("kind=transient&cost=1", "kind=success only"),
            ("kind=transient&kind=transient", "twice"),
            ("sort=transient", "unknown parameter"),
        ] {
            let said = parsed(query).unwrap_err();
            assert!(said.contains(word), "{query}: {said}");
        }
    }

    #[test]
    fn an_answer_says_what_it_cost_and_when_to_come_again() {
        let now = Boot::from_nanos(0);
        let mut bucket = Bucket::new(Settings { tokens: 20, ..Settings::default() }, now);
        let granted = wire::Budget { granted: true, cost: 14, tokens: 6, retry_after: 0 };
        assert_eq!(answer(&mut bucket, now, 0, Spending::Transient), (granted, "granted"));
        let refused = wire::Budget { granted: false, cost: 14, tokens: 6, retry_after: 8 };
        assert_eq!(answer(&mut bucket, now, 0, Spending::Transient), (refused, "refused"));
        let throttled = wire::Budget { granted: true, cost: 5, tokens: 1, retry_after: 0 };
        assert_eq!(answer(&mut bucket, now, 0, Spending::Throttle), (throttled, "granted"));
        // Whoever claims to have paid a fortune gets no more back than a retry costs.
        let back = wire::Budget { granted: true, cost: 0, tokens: 15, retry_after: 0 };
        assert_eq!(answer(&mut bucket, now, 0, Spending::Success { cost: 1_000_000 }), (back, "returned"));
    }
}
