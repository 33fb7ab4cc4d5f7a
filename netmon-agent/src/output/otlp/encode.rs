//! Families as `ExportMetricsServiceRequest` messages of OTLP 1.x (opentelemetry-proto, `metrics.proto`), written by hand
//! as those of Prometheus are: the values come one by one, and no tree of them is ever held. Names, units and kinds are
//! as the specification's "Prometheus and OpenMetrics Compatibility" has them: a name stays as it is, so what arrives in a
//! Prometheus in the end has the names that a scrape has.

use std::sync::mpsc::Sender;

use super::starts::Starts;
use crate::{
    health::NativeHistogram,
    output::metrics::{
        Buckets, Sink, Value,
        catalogue::{Family, Kind},
        wire::{ZERO_THRESHOLD, each_label, put_bytes, put_double, put_fixed, put_uint, varint, zigzag},
    },
};

/// Bytes of metrics in a request before it is closed: half of what the more careful receivers take.
const BATCH: usize = 2 << 20;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: one that is lost costs nothing but its moment.
const CUMULATIVE: u64 = 2;

/// One request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: Vec<u8>,
    /// Data points in it.
    pub(super) points: u64,
}

/// What a metric's points are, and the field of `Metric` that they stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Gauge = 5,
    Sum = 7,
    Histogram = 9,
    Exponential = 10,
}

/// Takes families, and gives batches as they are full.
#[derive(Debug)]
pub(super) struct Encoder {
    /// `Resource`, as a field.
    resource: Vec<u8>,
    starts: Starts,
    /// When the values are of, nanoseconds since 1970.
    now: u64,
    gzip: bool,
    batches: Sender<std::io::Result<Batch>>,
    /// Metrics of this batch.
    metrics: Vec<u8>,
    /// Points of this family, as fields: plain ones, and those of native histograms.
    plain: Vec<u8>,
    exponential: Vec<u8>,
    points: u64,
    point: Vec<u8>,
    inner: Vec<u8>,
}

impl Encoder {
    /// Of a resource with these attributes, with values of this moment.
    pub(super) fn new(
        resource: &[(String, String)],
        starts: Starts,
        now: u64,
        gzip: bool,
        batches: Sender<std::io::Result<Batch>>,
    ) -> Self {
        let (mut attributes, mut field, mut inner) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in resource {
            put_attribute(&mut attributes, &mut inner, 1, key, value);
        }
        put_bytes(&mut field, 1, &attributes);
        Self {
            resource: field,
            starts,
            now,
            gzip,
            batches,
            metrics: Vec::new(),
            plain: Vec::new(),
            exponential: Vec::new(),
            points: 0,
            point: Vec::new(),
            inner,
        }
    }

    /// Attributes of a point, as this field. All fields stand in the order of their numbers, as those of other encoders do.
    fn attributes(&mut self, labels: &str, more: &[(&str, &str)], field: u32) {
        let Self { point, inner, .. } = self;
        let mut attribute = |name: &str, value: &str| put_attribute(point, inner, field, name, value);
        each_label(labels, &mut attribute);
        more.iter().for_each(|(name, value)| attribute(name, value));
    }

    /// Start and time of a point.
    fn times(&mut self, family: &Family, labels: &str) {
        if shape(family.kind) != Shape::Gauge {
            put_there(&mut self.point, 2, self.starts.of(family, labels));
        }
        put_there(&mut self.point, 3, self.now);
    }

    fn end_point(&mut self, family: &Family, exponential: bool) {
        let to = if exponential { &mut self.exponential } else { &mut self.plain };
        put_bytes(to, 1, &self.point);
        self.points += 1;
        if self.metrics.len() + self.plain.len() + self.exponential.len() >= BATCH {
            self.end_family(family);
            self.end_batch();
        }
    }

    fn end_family(&mut self, family: &Family) {
        let (mut plain, mut exponential) =
            (std::mem::take(&mut self.plain), std::mem::take(&mut self.exponential));
        self.metric(family, shape(family.kind), &mut plain);
        self.metric(family, Shape::Exponential, &mut exponential);
        (self.plain, self.exponential) = (plain, exponential);
    }

    /// A metric of these points; one without any does not appear.
    fn metric(&mut self, family: &Family, shape: Shape, points: &mut Vec<u8>) {
        if points.is_empty() {
            return;
        }
        if shape != Shape::Gauge {
            put_uint(points, 2, CUMULATIVE);
        }
        if shape == Shape::Sum && family.kind == Kind::Counter {
            put_uint(points, 3, 1);
        }
        let Self { point: metric, inner, metrics, .. } = self;
        metric.clear();
        put_bytes(metric, 1, family.name.as_bytes());
        put_bytes(metric, 2, family.help.as_bytes());
        let unit = unit(family);
        if !unit.is_empty() {
            put_bytes(metric, 3, unit.as_bytes());
        }
        put_bytes(metric, shape as u32, points);
        put_attribute(metric, inner, 12, "prometheus.type", type_of(family.kind));
        put_bytes(metrics, 2, metric);
        points.clear();
    }

    fn end_batch(&mut self) {
        if self.metrics.is_empty() {
            return;
        }
        let mut scope = Vec::new();
        put_bytes(&mut scope, 1, b"netmon");
        put_bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
        let mut scopes = Vec::with_capacity(self.metrics.len() + 64);
        put_bytes(&mut scopes, 1, &scope);
        scopes.append(&mut self.metrics);
        // `ResourceMetrics` and `ScopeMetrics` by their lengths, lest the whole is copied once more for each.
        let mut head = Vec::new();
        varint(&mut head, 2 << 3 | 2);
        varint(&mut head, scopes.len() as u64);
        let mut body = Vec::with_capacity(scopes.len() + self.resource.len() + 64);
        varint(&mut body, 1 << 3 | 2);
        varint(&mut body, (self.resource.len() + head.len() + scopes.len()) as u64);
        body.extend_from_slice(&self.resource);
        body.append(&mut head);
        body.append(&mut scopes);
        let points = std::mem::take(&mut self.points);
        let body = if self.gzip { crate::output::metrics::gzip(&body) } else { Ok(body) };
        // Where nobody takes it, nobody wants it.
        let _ = self.batches.send(body.map(|body| Batch { body, points }));
    }
}

impl Sink for Encoder {
    fn sample(&mut self, family: &Family, labels: &str, more: &[(&str, &str)], value: Value) {
        self.point.clear();
        self.times(family, labels);
        match value {
            Value::Int(n) if i64::try_from(n).is_ok() => put_fixed(&mut self.point, 6, n),
            value => put_double(&mut self.point, 4, value.as_f64()),
        }
        self.attributes(labels, more, 7);
        self.end_point(family, false);
    }

    fn histogram(&mut self, family: &Family, labels: &str, buckets: &Buckets<'_>) {
        self.point.clear();
        if let Some(native) = buckets.native {
            self.attributes(labels, &[], 1);
            self.times(family, labels);
            put_exponential(&mut self.point, &mut self.inner, native, buckets.sum);
            return self.end_point(family, true);
        }
        self.times(family, labels);
        let Self { point, inner, .. } = self;
        put_there(point, 4, buckets.counts.iter().sum());
        put_double(point, 5, buckets.sum);
        inner.clear();
        buckets.counts.iter().for_each(|count| inner.extend(count.to_le_bytes()));
        put_bytes(point, 6, inner);
        inner.clear();
        buckets.bounds.iter().for_each(|bound| inner.extend(bound.to_le_bytes()));
        if !inner.is_empty() {
            put_bytes(point, 7, inner);
        }
        self.attributes(labels, &[], 9);
        self.end_point(family, false);
    }

    fn end(&mut self, family: &Family) {
        self.end_family(family);
    }

    fn finish(mut self: Box<Self>) -> Vec<u8> {
        self.end_batch();
        Vec::new()
    }
}

/// Fields of `ExponentialHistogramDataPoint`. Prometheus' bucket `i` ends where this one's bucket `i` begins.
fn put_exponential(point: &mut Vec<u8>, inner: &mut Vec<u8>, native: &NativeHistogram, sum: f64) {
    let all = native.buckets();
    put_there(point, 4, all.iter().map(|(_, count)| count).sum::<u64>() + native.zero());
    put_double(point, 5, sum);
    put_uint(point, 6, zigzag(NativeHistogram::schema().into()));
    put_there(point, 7, native.zero());
    if let (Some((first, _)), Some((last, _))) = (all.first(), all.last()) {
        let mut counts = Vec::with_capacity(all.len() * 2);
        let mut next = all.iter().peekable();
        for bucket in *first..=*last {
            let count = next.next_if(|(b, _)| *b == bucket).map_or(0, |(_, count)| *count);
            varint(&mut counts, count);
        }
        inner.clear();
        let offset = i64::from(*first) - 1;
        if offset != 0 {
            put_uint(inner, 1, zigzag(offset));
        }
        put_bytes(inner, 2, &counts);
        put_bytes(point, 8, inner);
    }
    put_double(point, 14, ZERO_THRESHOLD);
}

/// A number where it is one: nought is what a field is that is not there.
fn put_there(out: &mut Vec<u8>, field: u32, n: u64) {
    if n != 0 {
        put_fixed(out, field, n);
    }
}

/// A `KeyValue` with a string.
fn put_attribute(out: &mut Vec<u8>, inner: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    inner.clear();
    put_bytes(inner, 1, key.as_bytes());
    let mut any = Vec::with_capacity(value.len() + 4);
    put_bytes(&mut any, 1, value.as_bytes());
    put_bytes(inner, 2, &any);
    put_bytes(out, field, inner);
}

fn shape(kind: Kind) -> Shape {
    match kind {
        // That it is one, is what counts: a sum that is not monotonic.
        Kind::Counter | Kind::Info => Shape::Sum,
        // Ours have neither sum nor count, without which a summary is none.
        Kind::Gauge | Kind::Summary => Shape::Gauge,
        Kind::Histogram => Shape::Histogram,
    }
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Summary => "gauge",
        Kind::Histogram => "histogram",
        Kind::Info => "info",
    }
}

/// By UCUM, as OpenTelemetry has units.
fn unit(family: &Family) -> &'static str {
    match family.unit() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        _ => "",
    }
}
