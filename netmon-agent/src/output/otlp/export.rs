//! One export: request after request, again where that may help, until it is time for the next.

use std::{net::SocketAddr, sync::mpsc::channel, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request,
    header::{self, HeaderName, HeaderValue},
};
use netmon_client::retry::Policy;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::{
    Settings,
    answer::{Fate, judge},
    encode::{Batch, Encoder},
    resource,
    starts::Memory,
};
use crate::{
    http::{self, Stream, Trust},
    output::{
        api::Figures,
        log::RateLimit,
        metrics::Exports,
        notify::{
            LookUp,
            webhook::{AttemptError, Secret, SecretError},
        },
    },
    time::{Mono, Wall, sleep_until},
};

/// Longest head of an answer, and most of its body that is read, bytes.
const HEAD: usize = 16 << 10;
const BODY: usize = 64 << 10;

/// What became of a batch.
enum Sent {
    Accepted {
        rejected: u64,
    },
    Refused,
    /// It is time for the next export.
    OutOfTime,
}

/// Exports, one after the other.
#[derive(Debug)]
pub(super) struct Exporter {
    settings: Settings,
    resource: Vec<(String, String)>,
    look_up: LookedUp,
    trust: Trust,
    counters: Exports,
    memory: Memory,
    /// It was said that it does not work.
    told: bool,
    partial: RateLimit,
}

/// How names are looked up.
struct LookedUp(LookUp);

impl std::fmt::Debug for LookedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LookedUp")
    }
}

impl Exporter {
    pub(super) fn new(settings: Settings, counters: Exports, look_up: LookUp) -> Self {
        let (resource, trust) =
            (resource::attributes(&settings.resource), Trust::new(settings.ca_file.clone()));
        let look_up = LookedUp(look_up);
        counters.know();
        let memory = Memory::default();
        Self {
            settings,
            resource,
            look_up,
            trust,
            counters,
            memory,
            told: false,
            partial: RateLimit::default(),
        }
    }

    /// Exports what is so now, as far as that can be done until then.
    pub(super) async fn export(&mut self, figures: &Figures, until: Mono) {
        figures.refresh().await;
        let (mut whole, mut rejected) = (true, 0);
        let mut batches = self.batches(figures).into_iter();
        while let Some(batch) = batches.next() {
            let points = batch.points;
            match self.send(batch, until).await {
                Sent::Accepted { rejected: some } => {
                    let some = some.min(points);
                    rejected += some;
                    self.counters.points("accepted", points - some);
                    self.counters.points("rejected", some);
                }
                Sent::Refused => {
                    whole = false;
                    self.counters.points("rejected", points);
                }
                Sent::OutOfTime => {
                    whole = false;
                    let left = points + batches.by_ref().map(|b| b.points).sum::<u64>();
                    self.counters.points("dropped", left);
                }
            }
        }
        if whole {
            if std::mem::take(&mut self.told) {
                tracing::info!(to = self.origin(), "metrics are exported again");
            }
            self.counters.succeeded(Wall::now());
        }
        self.counters.ended(match (whole, rejected) {
            (false, _) => "failed",
            (true, 0) => "ok",
            (true, _) => "partial",
        });
    }

    /// All that is to be sent: compressed, a few megabytes for 10,000 targets.
    fn batches(&mut self, figures: &Figures) -> Vec<Batch> {
        let (sender, made) = channel();
        let Self { settings, resource, memory, .. } = self;
        figures.write(|snapshot, walls| {
            let [agent, now] = [snapshot.started.boot, snapshot.at.boot].map(|at| walls.wall(at).as_nanos());
            let starts = memory.next(snapshot, agent, now);
            Box::new(Encoder::new(resource, starts, now, settings.gzip, sender))
        });
        made.into_iter().collect()
    }

    async fn send(&mut self, batch: Batch, until: Mono) -> Sent {
        let policy = Policy { attempts: None, max_delay: Duration::from_secs(30), ..Policy::default() };
        let (body, mut failures) = (Bytes::from(batch.body), 0);
        loop {
            let limit = self.settings.timeout.min(until.since(Mono::now()));
            if limit.is_zero() {
                self.tell("no time is left before the next export");
                return Sent::OutOfTime;
            }
            let attempted = timeout(limit, self.attempt(body.clone())).await;
            let (wish, why) = match attempted.unwrap_or(Err(AttemptError::TimedOut(limit))) {
                Ok(Fate::Taken { rejected, said }) => {
                    if rejected > 0 || !said.is_empty() {
                        let to = self.origin();
                        self.partial.warn(format_args!("{to} has rejected {rejected} data points: {said}"));
                    }
                    return Sent::Accepted { rejected };
                }
                Ok(Fate::Refused(why)) => {
                    self.tell(&why);
                    return Sent::Refused;
                }
                Ok(Fate::Later { wish, why }) => (wish, why),
                Err(error) => (None, error.to_string()),
            };
            self.tell(&why);
            failures += 1;
            let again = Mono::now() + policy.delay(failures, rand::random(), wish);
            if again >= until {
                return Sent::OutOfTime;
            }
            sleep_until(again).await;
        }
    }

    /// Once until it works again.
    fn tell(&mut self, why: &str) {
        let to = self.origin();
        if std::mem::replace(&mut self.told, true) {
            tracing::debug!(to, "metrics can't be exported: {why}");
        } else {
            tracing::warn!(to, "metrics can't be exported: {why}");
        }
    }

    /// Without the path, which may hold a secret.
    fn origin(&self) -> String {
        let url = &self.settings.url;
        let scheme = if url.tls { "https" } else { "http" };
        format!("{scheme}://{}", http::authority(url.tls, &url.host, url.port))
    }

    async fn attempt(&mut self, body: Bytes) -> Result<Fate, AttemptError> {
        let request = self.request(body)?;
        let url = &self.settings.url;
        let found = match url.host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let looked = (self.look_up.0)(url.host.clone()).await;
                looked.map_err(|why| AttemptError::Name(url.host.clone(), why))?
            }
        };
        let to = found.into_iter().map(|address| SocketAddr::new(address, url.port)).collect::<Vec<_>>();
        let (stream, at) = http::connect(to, self.settings.timeout).await.map_err(|failed| match failed {
            Some((to, error)) => AttemptError::Connect(to, error),
            None => AttemptError::Name(url.host.clone(), "it has no address".to_owned()),
        })?;
        let stream: Box<dyn Stream> = if url.tls {
            let name =
                ServerName::try_from(url.host.clone()).map_err(|e| AttemptError::Request(e.to_string()))?;
            let config = self.trust.config(Mono::now()).await?;
            http::secure(stream, name, config).await.map_err(|e| AttemptError::Tls(at, e))?
        } else {
            Box::new(stream)
        };
        let answer = http::ask(stream, request, HEAD).await.map_err(AttemptError::Http)?;
        let text =
            |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let (status, kind, after) =
            (answer.status().as_u16(), text(header::CONTENT_TYPE), text(header::RETRY_AFTER));
        // The status has said what matters.
        let said = answer.body(BODY).await.unwrap_or_default();
        Ok(judge(status, Some(after.as_str()).filter(|after| !after.is_empty()), &kind, &said))
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, AttemptError> {
        let odd = |e: &dyn std::fmt::Display| AttemptError::Request(e.to_string());
        let url = &self.settings.url;
        let mut headers = HeaderMap::new();
        let usual = [
            (header::HOST, http::authority(url.tls, &url.host, url.port)),
            (header::USER_AGENT, http::USER_AGENT.to_owned()),
            (header::CONTENT_TYPE, "application/x-protobuf".to_owned()),
            (header::CONNECTION, "close".to_owned()),
        ];
        for (name, value) in usual {
            headers.insert(name, HeaderValue::try_from(value).map_err(|e| odd(&e))?);
        }
        if self.settings.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let plain = self.settings.headers.iter().map(|(name, value)| Ok((name, value.clone().into_bytes())));
        let secret = self
            .settings
            .header_files
            .iter()
            .map(|(name, path)| Ok((name, Secret::File(path.clone()).read()?.bytes().to_vec())));
        for header in plain.chain(secret) {
            let (name, value) = header.map_err(|e: SecretError| AttemptError::Secret(e))?;
            let name = HeaderName::try_from(name).map_err(|e| odd(&e))?;
            let mut value = HeaderValue::try_from(value).map_err(|e| odd(&e))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut request = Request::post(&*url.path).body(Full::new(body)).map_err(|e| odd(&e))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}
