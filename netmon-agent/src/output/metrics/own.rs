//! The agent's own families, kept by the `prometheus` crate: what the outputs count, and the process.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
    core::Collector,
    process_collector::ProcessCollector,
    proto::{MetricFamily, MetricType},
};

use super::{
    Discovered, Exports,
    catalogue::{self, Family},
    writer::{Writer, labels},
};
use crate::{
    history::Counters,
    output::{log, notify},
    sys,
};

/// How a wait ended: every value of the label `result`.
pub const WAIT_RESULTS: [&str; 7] =
    ["satisfied", "timeout", "hangup", "refused", "shutdown", "not_found", "bad_request"];

/// What became of a question to the retry budget: every value of the label `result`.
const BUDGET_RESULTS: [&str; 4] = ["granted", "refused", "returned", "bad_request"];

/// Upper bounds of the wake-up histogram, seconds.
const WAKE_BUCKETS: [f64; 12] = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0];

/// Upper bounds of the histogram of what notifications took, seconds: an outage may be in between.
const DELAY_BUCKETS: [f64; 10] = [0.05, 0.2, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];

/// Counters of the outputs. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Own {
    registry: Registry,
    /// Programs that wait now.
    pub wait_clients: IntGauge,
    /// Subscribers now.
    pub event_clients: IntGauge,
    /// Subscribers that missed changes.
    pub events_dropped: IntCounter,
    /// Tokens left of the retry budget.
    pub retry_budget_tokens: Gauge,
    retry_budget_requests: IntCounterVec,
    /// What the history counts.
    pub history: Counters,
    /// What notifiers count.
    pub notify: notify::Counters,
    /// What discovery found.
    pub discovered: Discovered,
    /// What was exported.
    pub exports: Exports,
    wait_requests: IntCounterVec,
    wait_wake: Histogram,
    scrapes: IntCounterVec,
    refused: IntCounterVec,
    not_accepted: IntCounterVec,
    reports: IntCounterVec,
}

impl Own {
    /// Counters at zero, the process collector among them.
    pub fn new() -> Self {
        let own = Self {
            registry: Registry::new(),
            wait_clients: made(IntGauge::with_opts(opts(&catalogue::WAIT_CLIENTS))),
            event_clients: made(IntGauge::with_opts(opts(&catalogue::EVENT_CLIENTS))),
            events_dropped: made(IntCounter::with_opts(opts(&catalogue::EVENTS_DROPPED))),
            retry_budget_tokens: made(Gauge::with_opts(opts(&catalogue::RETRY_BUDGET_TOKENS))),
            retry_budget_requests: counters(&catalogue::RETRY_BUDGET_REQUESTS, &BUDGET_RESULTS),
            history: Counters {
                errors: made(IntCounter::with_opts(opts(&catalogue::HISTORY_ERRORS))),
                dropped: made(IntCounter::with_opts(opts(&catalogue::HISTORY_DROPPED))),
                bytes: made(IntGauge::with_opts(opts(&catalogue::HISTORY_BYTES))),
                changes: made(IntGauge::with_opts(opts(&catalogue::HISTORY_CHANGES))),
            },
            notify: notify::Counters {
                notices: by(&catalogue::NOTIFICATIONS, IntCounterVec::new),
                retries: by(&catalogue::NOTIFICATION_RETRIES, IntCounterVec::new),
                waiting: by(&catalogue::NOTIFICATION_QUEUE, IntGaugeVec::new),
                delay: by(&catalogue::NOTIFICATION_DELAY, |opts, labels| {
                    HistogramVec::new(HistogramOpts::from(opts).buckets(DELAY_BUCKETS.to_vec()), labels)
                }),
            },
            discovered: Discovered::new(),
            exports: Exports::new(),
            wait_requests: counters(&catalogue::WAIT_REQUESTS, &WAIT_RESULTS),
            wait_wake: made(Histogram::with_opts(
                HistogramOpts::from(opts(&catalogue::WAIT_WAKE)).buckets(WAKE_BUCKETS.to_vec()),
            )),
            scrapes: counters(&catalogue::SCRAPES, &["ok", "refused"]),
            refused: counters(&catalogue::CONNECTIONS_REFUSED, &["unix", "tcp"]),
            not_accepted: counters(&catalogue::ACCEPT_FAILURES, &["unix", "tcp"]),
            reports: counters(&catalogue::CLIENT_REPORTS, &["ok", "refused", "limited"]),
        };
        let collectors: [Box<dyn Collector>; 20] = [
            Box::new(own.wait_clients.clone()),
            Box::new(own.event_clients.clone()),
            Box::new(own.events_dropped.clone()),
            Box::new(own.retry_budget_tokens.clone()),
            Box::new(own.retry_budget_requests.clone()),
            Box::new(own.history.errors.clone()),
            Box::new(own.history.dropped.clone()),
            Box::new(own.history.bytes.clone()),
            Box::new(own.history.changes.clone()),
            Box::new(own.notify.notices.clone()),
            Box::new(own.notify.retries.clone()),
            Box::new(own.notify.waiting.clone()),
            Box::new(own.notify.delay.clone()),
            Box::new(own.wait_requests.clone()),
            Box::new(own.wait_wake.clone()),
            Box::new(own.scrapes.clone()),
            Box::new(own.refused.clone()),
            Box::new(own.not_accepted.clone()),
            Box::new(own.reports.clone()),
            Box::new(ProcessCollector::for_self()),
        ];
        for collector in
            collectors.into_iter().chain(own.discovered.collectors()).chain(own.exports.collectors())
        {
            made(own.registry.register(collector));
        }
        own
    }

    /// The retry budget was asked, with this result.
    pub fn asked_for_retry(&self, result: &str) {
        self.retry_budget_requests.with_label_values(&[result]).inc();
    }

    /// A wait ended, with one of [`WAIT_RESULTS`].
    pub fn wait_ended(&self, result: &str) {
        self.wait_requests.with_label_values(&[result]).inc();
    }

    /// A waiter was released so long after its snapshot was made.
    pub fn woke(&self, after: Duration) {
        self.wait_wake.observe(after.as_secs_f64());
    }

    /// How many waiters were released by a publication, and the sum of the times from it, seconds.
    pub fn woken(&self) -> (u64, f64) {
        (self.wait_wake.get_sample_count(), self.wait_wake.get_sample_sum())
    }

    /// Metrics were asked for.
    pub fn scraped(&self, served: bool) {
        self.scrapes.with_label_values(&[if served { "ok" } else { "refused" }]).inc();
    }

    /// A connection found no room at a listener, `unix` or `tcp`.
    pub fn refused(&self, listener: &str) {
        self.refusals(listener).inc();
    }

    /// The counter of those, and of connections closed to make room for others.
    pub fn refusals(&self, listener: &str) -> IntCounter {
        self.refused.with_label_values(&[listener])
    }

    /// A connection could not be accepted at a listener, `unix` or `tcp`.
    pub fn not_accepted(&self, listener: &str) {
        self.not_accepted.with_label_values(&[listener]).inc();
    }

    /// A connection was reported: `ok`, `refused` or `limited`.
    pub fn reported(&self, result: &str) {
        self.reports.with_label_values(&[result]).inc();
    }

    /// Writes its families.
    pub fn write(&self, writer: &mut Writer) {
        for gathered in self.registry.gather() {
            // All come from the catalogue but the process collector's, and a test checks those.
            if let Some(family) = catalogue::ALL.iter().find(|f| f.name == gathered.name()) {
                writer.family(family);
                write_family(writer, &gathered);
            }
        }
        writer.family(&catalogue::LOG_LOST).sample("", &[], log::lost());
        if let Some(bytes) = sys::allocated_memory() {
            writer.family(&catalogue::ALLOCATED).sample("", &[], bytes);
        }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new()
    }
}

fn write_family(writer: &mut Writer, family: &MetricFamily) {
    for metric in family.get_metric() {
        let pairs: Vec<(&str, &str)> = metric.get_label().iter().map(|l| (l.name(), l.value())).collect();
        let text = labels(&pairs);
        match family.get_field_type() {
            // The collector tells whole seconds, which is days of an idle agent's work.
            MetricType::COUNTER if family.name() == catalogue::PROCESS_CPU.name => {
                let precise = cpu_seconds().unwrap_or(metric.get_counter().get_value());
                writer.sample(&text, &[], precise);
            }
            MetricType::COUNTER => writer.sample(&text, &[], metric.get_counter().get_value()),
            MetricType::GAUGE => writer.sample(&text, &[], metric.get_gauge().get_value()),
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let (mut bounds, mut counts, mut before) = (Vec::new(), Vec::new(), 0);
                for bucket in histogram.get_bucket().iter().filter(|b| b.upper_bound().is_finite()) {
                    bounds.push(bucket.upper_bound());
                    counts.push(bucket.cumulative_count() - before);
                    before = bucket.cumulative_count();
                }
                counts.push(histogram.get_sample_count().saturating_sub(before));
                writer.histogram(&text, &bounds, &counts, histogram.get_sample_sum());
            }
            _ => {}
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    let t = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
    Some(t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9)
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn by<T>(family: &Family, make: impl FnOnce(Opts, &[&str]) -> prometheus::Result<T>) -> T {
    made(make(opts(family), family.labels))
}

pub(super) fn counter_vec(family: &Family) -> IntCounterVec {
    made(IntCounterVec::new(opts(family), family.labels))
}

pub(super) fn gauge_vec(family: &Family) -> GaugeVec {
    made(GaugeVec::new(opts(family), family.labels))
}

pub(super) fn int_gauge_vec(family: &Family) -> IntGaugeVec {
    made(IntGaugeVec::new(opts(family), family.labels))
}

fn counters(family: &Family, values: &[&str]) -> IntCounterVec {
    let vec = counter_vec(family);
    for value in values {
        vec.with_label_values(&[value]);
    }
    vec
}

fn made<T>(result: prometheus::Result<T>) -> T {
    result.expect("names and labels of the catalogue are valid and unique, as its test shows")
}
