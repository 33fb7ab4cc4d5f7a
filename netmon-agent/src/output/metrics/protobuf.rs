//! Writes one exposition as length-delimited `io.prometheus.client.MetricFamily` messages: `metrics.proto` of
//! Prometheus' `client_model`, by hand, for it is the only form in which a native histogram can be told.
//!
//! A summary of that schema can't be without sum and count, so one of ours goes out as a gauge with the label
//! `quantile`: the same series as in the texts.

use super::{
    catalogue::{Family, Kind},
    value::Value,
    wire::{ZERO_THRESHOLD, each_label, put_bytes, put_double, put_uint, varint, zigzag},
    writer::{Buckets, Sink},
};
use crate::health::NativeHistogram;

/// The family's message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Metrics of the family, as its fields.
    metrics: Vec<u8>,
    metric: Vec<u8>,
    value: Vec<u8>,
    inner: Vec<u8>,
}

impl Sink for Encoder {
    fn sample(&mut self, family: &Family, labels: &str, more: &[(&str, &str)], value: Value) {
        let field = if family.kind == Kind::Counter { 3 } else { 2 };
        self.value.clear();
        put_double(&mut self.value, 1, value.as_f64());
        self.metric(labels, more, field);
    }

    fn histogram(&mut self, _family: &Family, labels: &str, buckets: &Buckets<'_>) {
        let Self { value, inner, .. } = self;
        value.clear();
        put_uint(value, 1, buckets.counts.iter().sum());
        put_double(value, 2, buckets.sum);
        let mut total = 0;
        for (i, count) in buckets.counts.iter().enumerate() {
            total += count;
            inner.clear();
            put_uint(inner, 1, total);
            put_double(inner, 2, buckets.bounds.get(i).copied().unwrap_or(f64::INFINITY));
            put_bytes(value, 3, inner);
        }
        if let Some(native) = buckets.native {
            put_native(value, inner, native);
        }
        self.metric(labels, &[], 7);
    }

    fn end(&mut self, family: &Family, out: &mut Vec<u8>) {
        if self.metrics.is_empty() {
            return;
        }
        let head = &mut self.metric;
        head.clear();
        put_bytes(head, 1, family.name.as_bytes());
        put_bytes(head, 2, family.help.as_bytes());
        put_uint(head, 3, kind(family.kind));
        if let Some(unit) = family.unit() {
            put_bytes(head, 5, unit.as_bytes());
        }
        varint(out, (head.len() + self.metrics.len()) as u64);
        out.append(head);
        out.append(&mut self.metrics);
    }
}

impl Encoder {
    /// Labels, and what stands in `self.value` as this field.
    fn metric(&mut self, labels: &str, more: &[(&str, &str)], field: u32) {
        let Self { metrics, metric, value, inner, .. } = self;
        metric.clear();
        let mut label = |name: &str, value: &str| {
            inner.clear();
            put_bytes(inner, 1, name.as_bytes());
            put_bytes(inner, 2, value.as_bytes());
            put_bytes(metric, 1, inner);
        };
        each_label(labels, &mut label);
        more.iter().for_each(|(name, value)| label(name, value));
        put_bytes(metric, field, value);
        put_bytes(metrics, 4, metric);
    }
}

/// `MetricType`.
fn kind(kind: Kind) -> u64 {
    match kind {
        Kind::Counter => 0,
        Kind::Gauge | Kind::Info | Kind::Summary => 1,
        Kind::Histogram => 4,
    }
}

/// Fields 5, 6, 7, 12 and 13 of `Histogram`: runs of buckets as spans, counts as differences.
fn put_native(out: &mut Vec<u8>, inner: &mut Vec<u8>, native: &NativeHistogram) {
    put_uint(out, 5, zigzag(NativeHistogram::schema().into()));
    put_double(out, 6, ZERO_THRESHOLD);
    put_uint(out, 7, native.zero());
    let mut next = 0;
    for run in native.buckets().chunk_by(|a, b| a.0 + 1 == b.0) {
        let first = i64::from(run[0].0);
        inner.clear();
        put_uint(inner, 1, zigzag(first - next));
        put_uint(inner, 2, run.len() as u64);
        put_bytes(out, 12, inner);
        next = first + run.len() as i64;
    }
    inner.clear();
    let mut before = 0;
    for (_, count) in native.buckets() {
        varint(inner, zigzag(count.wrapping_sub(before) as i64));
        before = *count;
    }
    put_bytes(out, 13, inner);
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
pub(crate) mod tests;
