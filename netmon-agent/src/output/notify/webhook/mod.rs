//! Webhooks: a notice as the body of an HTTP POST, told until it is taken.
//!
//! | file | what |
//! |---|---|
//! | `address` | which addresses may be connected to (pure) |
//! | `delivery` | what an answer means, and when it is tried again (pure) |
//! | `sign` | the signature of a body (pure) |
//! | `secret` | secrets, in files and variables |
//! | `exchange` | one attempt |

pub mod address;
pub mod delivery;
mod exchange;
mod secret;
pub mod sign;

use std::{fmt, path::PathBuf, time::Duration};

use prometheus::IntCounter;

use self::{
    address::Allowed,
    delivery::{Answer, Delivery, Next},
};
pub use self::{
    exchange::{Answered, AttemptError, LookUp, Looking},
    secret::{Secret, SecretError},
};
use super::{
    counters::Fate,
    message::Message,
    outbox::Outbox,
    template::{Field, Template},
};
use crate::{
    health::State,
    http::{self, Trust},
    observation::HttpRequest,
    state::Board,
    time::{Boot, Mono, Wall, sleep_until},
};

/// Where a notice is sent, and how.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// Whether by TLS, to which host and port, and the path with the query, which may hold a secret.
    pub url: HttpRequest,
    /// The body, where it is not the whole notice as JSON.
    pub body: Option<Template>,
    /// What the body is. In JSON the values that are filled in are escaped.
    pub content_type: String,
    /// What it is signed with.
    pub secret: Option<Secret>,
    /// The value of the header `Authorization`.
    pub authorization: Option<Secret>,
    /// Certificates of the authorities to trust, PEM; the system's where none is given.
    pub ca_file: Option<PathBuf>,
    /// Addresses that may be connected to beside those of the public Internet.
    pub allowed: Allowed,
    /// How long one attempt may take, from the name to the answer.
    pub timeout: Duration,
    /// For so long it is tried, outages not counted.
    pub max_age: Duration,
}

impl Webhook {
    /// Scheme, host and port: what of the URL may be shown.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.url.tls { "https" } else { "http" }, self.authority())
    }

    fn authority(&self) -> String {
        http::authority(self.url.tls, &self.url.host, self.url.port)
    }

    /// Whether the body is JSON.
    pub fn is_json(content_type: &str) -> bool {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    }

    fn body(&self, message: &Message) -> String {
        match &self.body {
            None => message.json.clone(),
            Some(template) if Self::is_json(&self.content_type) => template.render_json(&message.words),
            Some(template) => template.render(&message.words),
        }
    }
}

impl fmt::Debug for Webhook {
    /// Without the path, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("origin", &self.origin())
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// A webhook at work.
pub(super) struct Postman<'a> {
    pub(super) webhook: &'a Webhook,
    pub(super) notifier: &'a str,
    trust: Trust,
    look_up: LookUp,
    board: Board,
    retries: IntCounter,
}

impl<'a> Postman<'a> {
    pub(super) fn new(
        notifier: &'a str,
        webhook: &'a Webhook,
        look_up: LookUp,
        board: Board,
        retries: IntCounter,
    ) -> Self {
        Self { webhook, notifier, trust: Trust::new(webhook.ca_file.clone()), look_up, board, retries }
    }

    /// Sends a message until it is taken, or worth nothing any more: what came of it. None when the outbox is closed before.
    pub(super) async fn deliver(&mut self, message: &Message, outbox: &Outbox) -> Option<Fate> {
        let (id, body) = (message.words.get(Field::Id), self.webhook.body(message));
        let mut delivery = Delivery::new(Mono::now(), self.webhook.max_age);
        let (notifier, to) = (self.notifier, self.webhook.origin());
        let mut attempts = 0;
        loop {
            attempts += 1;
            if attempts > 1 {
                self.retries.inc();
            }
            let (why, wish, reached) = match self.attempt(id, body.clone()).await {
                Ok(Answered { status, retry_after }) => {
                    match delivery::judge(status, retry_after.as_deref()) {
                        Answer::Taken => return Some(Fate::Delivered),
                        Answer::Later(wish) => (format!("answered {status}"), wish, true),
                        Answer::Never => {
                            tracing::warn!(notifier, to, attempts, "refused: answered {status}");
                            return Some(Fate::Failed);
                        }
                    }
                }
                Err(e) => (e.to_string(), None, false),
            };
            let now = Mono::now();
            let next = delivery.failed(now, !reached && self.is_down(), wish, rand::random());
            let again = match next {
                Next::Expired => {
                    tracing::warn!(notifier, to, attempts, "given up as too old: {why}");
                    return Some(Fate::Expired);
                }
                Next::At(at) | Next::Network(at) => at,
            };
            // One line a delivery at the usual level, and each attempt to whoever wants to know.
            match attempts {
                1 => tracing::warn!(notifier, to, "not delivered yet: {why}"),
                _ => tracing::debug!(notifier, to, attempts, "not delivered yet: {why}"),
            }
            let waits = matches!(next, Next::Network(_));
            tokio::select! {
                () = sleep_until(again) => {}
                () = self.network_is_back(), if waits => {
                    let at = delivery.network_is_back(Mono::now(), rand::random());
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = outbox.closed() => return None,
                    }
                }
                () = outbox.closed() => return None,
            }
        }
    }

    async fn attempt(&mut self, id: &str, body: String) -> Result<Answered, AttemptError> {
        let limit = self.webhook.timeout;
        let tls = if self.webhook.url.tls { Some(self.trust.config(Mono::now()).await?) } else { None };
        let seconds = Wall::now().as_nanos() / 1_000_000_000;
        let attempt = exchange::attempt(self.webhook, tls, &self.look_up, id, body, seconds);
        tokio::time::timeout(limit, attempt).await.unwrap_or(Err(AttemptError::TimedOut(limit)))
    }

    /// Whether the network is known to be down: then an attempt that fails proves nothing.
    fn is_down(&self) -> bool {
        self.board.snapshot().verdict.state == State::Down && !self.board.is_stale(Boot::now())
    }

    async fn network_is_back(&self) {
        // Where nobody publishes any more, the other limit holds.
        if self.board.subscribe().wait_for(|s| s.verdict.state != State::Down).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
