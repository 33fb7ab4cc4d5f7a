//! Writes one exposition: Prometheus text 0.0.4, OpenMetrics 1.0, or protobuf.

use std::fmt::Write;

use super::{
    catalogue::{Family, Kind},
    protobuf::Encoder,
};
use crate::health::NativeHistogram;

/// Which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text exposition format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

impl Format {
    /// Its content type. Prometheus 3 refuses an answer without one.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A count.
    Int(u64),
    /// Anything else.
    Float(f64),
}

impl Value {
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(x) => x,
        }
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Int(n)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Int(b.into())
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::Float(x)
    }
}

/// A histogram to be written. Counts are not cumulative, the last is above every bound.
#[derive(Clone, Copy, Debug)]
pub struct Buckets<'a> {
    /// Upper bounds, in their order.
    pub bounds: &'a [f64],
    /// One more than there are bounds.
    pub counts: &'a [u64],
    /// Of all values.
    pub sum: f64,
    /// The same values in the buckets of a native histogram, where they are kept.
    pub native: Option<&'a NativeHistogram>,
}

/// Takes families in a form that is no text: of each its samples, then its end.
pub trait Sink: std::fmt::Debug {
    /// One metric of a counter, a gauge or what goes out as one. `labels` are written ([`labels`]), `more` follow them.
    fn sample(&mut self, family: &Family, labels: &str, more: &[(&str, &str)], value: Value);

    /// One histogram, with its native form where there is one.
    fn histogram(&mut self, family: &Family, labels: &str, buckets: &Buckets<'_>);

    /// The family is complete. One without any sample does not appear.
    fn end(&mut self, family: &Family);

    /// All families are.
    fn finish(self: Box<Self>) -> Vec<u8>;
}

/// The exposition so far. A family's header is written with its first sample: one without series does not appear.
#[derive(Debug)]
pub struct Writer {
    out: String,
    /// In place of `out`.
    sink: Option<Box<dyn Sink>>,
    format: Format,
    family: Option<Family>,
    headed: bool,
}

impl Writer {
    /// An empty exposition.
    pub fn new(format: Format) -> Self {
        let (out, sink): (_, Option<Box<dyn Sink>>) = match format {
            Format::Protobuf => (String::new(), Some(Box::<Encoder>::default())),
            _ => (String::with_capacity(64 << 10), None),
        };
        Self { out, sink, format, family: None, headed: false }
    }

    /// One whose families go elsewhere.
    pub fn to(sink: Box<dyn Sink>) -> Self {
        Self { out: String::new(), sink: Some(sink), format: Format::Protobuf, family: None, headed: false }
    }

    /// Samples that follow are of this family. Each family once.
    pub fn family(&mut self, family: &Family) -> &mut Self {
        self.end_family();
        self.family = Some(*family);
        self.headed = false;
        self
    }

    /// One sample. `labels` are written already ([`labels`]); `more` are appended.
    pub fn sample(&mut self, labels: &str, more: &[(&str, &str)], value: impl Into<Value>) {
        match (&mut self.sink, &self.family) {
            (Some(sink), Some(family)) => sink.sample(family, labels, more, value.into()),
            _ => self.line("", labels, more, None, value.into()),
        }
    }

    /// A histogram of counts per bucket, not cumulative; the last is above every bound.
    pub fn histogram(&mut self, labels: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.native_histogram(labels, bounds, counts, sum, None);
    }

    /// The same with a native form of all its values, for the format that has one.
    pub fn native_histogram(
        &mut self,
        labels: &str,
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
        native: Option<&NativeHistogram>,
    ) {
        if let (Some(sink), Some(family)) = (&mut self.sink, &self.family) {
            return sink.histogram(family, labels, &Buckets { bounds, counts, sum, native });
        }
        let mut total = 0;
        for (i, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds.get(i).copied().unwrap_or(f64::INFINITY);
            self.line("_bucket", labels, &[], Some(bound), Value::Int(total));
        }
        self.line("_sum", labels, &[], None, Value::Float(sum));
        self.line("_count", labels, &[], None, Value::Int(total));
    }

    /// The whole exposition.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_family();
        if let Some(sink) = self.sink {
            return sink.finish();
        }
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out.into_bytes()
    }

    fn end_family(&mut self) {
        if let (Some(sink), Some(family)) = (&mut self.sink, &self.family) {
            sink.end(family);
        }
    }

    fn line(&mut self, suffix: &str, labels: &str, more: &[(&str, &str)], bound: Option<f64>, value: Value) {
        let Some(family) = self.family else { return };
        if !self.headed {
            self.head(&family);
            self.headed = true;
        }
        self.out.push_str(family.name);
        self.out.push_str(suffix);
        if !labels.is_empty() || !more.is_empty() || bound.is_some() {
            self.out.push('{');
            self.out.push_str(labels);
            let mut first = labels.is_empty();
            for (name, value) in more {
                push_label(&mut self.out, &mut first, name, value);
            }
            if let Some(bound) = bound {
                let bound = self.bound(bound);
                push_label(&mut self.out, &mut first, "le", &bound);
            }
            self.out.push('}');
        }
        // Writing to a String can't fail.
        let _ = match value {
            Value::Int(n) => writeln!(self.out, " {n}"),
            Value::Float(x) if x == f64::INFINITY => writeln!(self.out, " +Inf"),
            Value::Float(x) => writeln!(self.out, " {x}"),
        };
    }

    fn head(&mut self, family: &Family) {
        let open = self.format == Format::OpenMetrics;
        let (name, kind) = match family.kind {
            Kind::Counter if open => (family.name.trim_end_matches("_total"), "counter"),
            Kind::Info if open => (family.name.trim_end_matches("_info"), "info"),
            kind => (family.name, kind.as_str()),
        };
        let _ = writeln!(self.out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
        if open && let Some(unit) = family.unit() {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
    }

    /// OpenMetrics wants bounds to look like floats.
    fn bound(&self, bound: f64) -> String {
        if bound == f64::INFINITY {
            return "+Inf".into();
        }
        match self.format {
            Format::OpenMetrics if bound.fract() == 0.0 => format!("{bound:.1}"),
            _ => bound.to_string(),
        }
    }
}

/// Label pairs as text, to be used for many samples.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let (mut out, mut first) = (String::new(), true);
    for (name, value) in pairs {
        push_label(&mut out, &mut first, name, value);
    }
    out
}

fn push_label(out: &mut String, first: &mut bool, name: &str, value: &str) {
    if !std::mem::take(first) {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::metrics::catalogue;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\"y\\z\n{},="), ("b", "é")]), "a=\"x\\\"y\\\\z\\n{},=\",b=\"é\"");
    }

    #[test]
    fn the_two_formats_differ_where_they_must() {
        let write = |format| {
            let mut w = Writer::new(format);
            w.family(&catalogue::LINK_RX_BYTES).sample("device=\"e\"", &[], 7);
            w.family(&catalogue::BUILD_INFO).sample("", &[("version", "1")], true);
            w.family(&catalogue::CAPABILITY);
            w.family(&catalogue::PROBE_BURST).histogram("", &[1.0, 2.5], &[1, 0, 2], 9.5);
            String::from_utf8(w.finish()).unwrap()
        };
        let text = write(Format::Text);
        let expected = "# TYPE netmon_link_receive_bytes_total counter\nnetmon_link_receive_bytes_total{device=\"e\"} 7\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("# TYPE netmon_build_info gauge\nnetmon_build_info{version=\"1\"} 1\n"));
        assert!(!text.contains("capability") && !text.contains("EOF"));
        let buckets: Vec<&str> =
            text.lines().filter(|l| l.contains("burst_length") && !l.starts_with('#')).collect();
        let name = "netmon_probe_loss_burst_length";
        assert_eq!(
            buckets[..3],
            [1, 1, 3]
                .map(|n| n)
                .iter()
                .zip(["1", "2.5", "+Inf"])
                .map(|(n, le)| format!("{name}_bucket{{le=\"{le}\"}} {n}"))
                .collect::<Vec<_>>()[..]
        );
        assert_eq!(buckets[3..], [format!("{name}_sum 9.5"), format!("{name}_count 3")]);

        let open = write(Format::OpenMetrics);
        assert!(
            open.contains(
                "# TYPE netmon_link_receive_bytes counter\n# UNIT netmon_link_receive_bytes bytes\n"
            )
        );
        assert!(
            open.contains("# TYPE netmon_build info\n")
                && open.contains("le=\"1.0\"")
                && open.contains("le=\"2.5\"")
        );
        assert!(open.ends_with("\n# EOF\n"));
    }
}
